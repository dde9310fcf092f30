//! Takes the words of a command of ExpressCluster apart: flags with one or two dashes, with or without a value.
//!
//! Pure. What a command does not know is wrong use, and never overlooked. `--help` and the options that say which cell is
//! meant (`--config`, `--api`, `--token-file`, `--state-dir`) are taken by every command.

use crate::cli::client::Target;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Longest list of words; a command line of the system may have more, none of these commands needs them.
const WORDS_MAX: usize = 256;

/// A flag that a command knows.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    pub name: &'static str,
    pub value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    None,
    One,
    /// The next word, unless that is a flag.
    Perhaps,
}

pub const fn plain(name: &'static str) -> Flag {
    Flag { name, value: Value::None }
}

pub const fn valued(name: &'static str) -> Flag {
    Flag { name, value: Value::One }
}

pub const fn perhaps(name: &'static str) -> Flag {
    Flag { name, value: Value::Perhaps }
}

const COMMON: &[Flag] =
    &[plain("--help"), valued("--config"), valued("--api"), valued("--token-file"), valued("--state-dir")];

/// What was typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    flags: BTreeMap<&'static str, Vec<String>>,
    /// What belongs to no flag.
    pub rest: Vec<String>,
}

impl Words {
    pub fn has(&self, name: &str) -> bool {
        self.flags.contains_key(name)
    }

    /// The last value of a flag.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.flags.get(name)?.last().map(String::as_str)
    }

    /// Which of these flags were given.
    pub fn given(&self, names: &[&'static str]) -> Vec<&'static str> {
        names.iter().copied().filter(|name| self.has(name)).collect()
    }

    pub fn number(&self, name: &str, allowed: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, String> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let is_plain = value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse().ok().filter(|number| is_plain && allowed.contains(number));
        let (least, most) = (allowed.start(), allowed.end());
        number.map(Some).ok_or_else(|| format!("`{name}` is `{value}`; allowed: {least} to {most}"))
    }

    /// The cell that is meant.
    pub fn target(&self) -> Target {
        let path = |name| self.value(name).map(PathBuf::from);
        Target {
            config: path("--config"),
            api: self.value("--api").map(str::to_owned),
            state_dir: path("--state-dir"),
            token_file: path("--token-file"),
        }
    }
}

/// The error is a sentence for people.
pub fn take(known: &[Flag], words: &[String]) -> Result<Words, String> {
    if words.len() > WORDS_MAX {
        return Err(format!("more than {WORDS_MAX} words"));
    }
    let mut taken = Words::default();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            taken.rest.push(word.clone());
            continue;
        }
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) if word.starts_with("--") => (name, Some(value.to_owned())),
            Some(_) | None => (word.as_str(), None),
        };
        let flag = known.iter().chain(COMMON).find(|flag| flag.name == name);
        let Some(flag) = flag else { return Err(format!("there is no option `{word}`")) };
        let value = match (flag.value, attached) {
            (Value::None, None) => None,
            (Value::None, Some(_)) => return Err(format!("`{name}` takes no value")),
            (Value::One | Value::Perhaps, Some(value)) => Some(value),
            (Value::One, None) => match words.next() {
                Some(value) => Some(value.clone()),
                None => return Err(format!("`{name}` needs a value")),
            },
            (Value::Perhaps, None) => words.next_if(|next| !next.starts_with('-')).cloned(),
        };
        taken.flags.entry(flag.name).or_default().extend(value);
    }
    Ok(taken)
}

/// Exactly one of these must have been given.
pub fn one_of(words: &Words, names: &[&'static str]) -> Result<&'static str, String> {
    match words.given(names).as_slice() {
        [one] => Ok(one),
        [] => Err(format!("one of {} is needed", names.join(", "))),
        many => Err(format!("{} exclude each other", many.join(" and "))),
    }
}

/// At most one word that belongs to no flag.
pub fn one_name(words: &Words) -> Result<Option<&str>, String> {
    match words.rest.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        [_, second, ..] => Err(format!("`{second}` is not expected here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Flag] = &[plain("-s"), valued("-h"), perhaps("-i"), valued("--port")];

    fn taken(line: &str) -> Result<Words, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        take(KNOWN, &words)
    }

    #[test]
    fn flags_values_and_names_are_told_apart() {
        let words = taken("-s mail -h one -i --port=7 --config x.toml").expect("all of it is known");
        assert!(words.has("-s") && words.has("-i") && words.value("-i").is_none());
        assert_eq!((words.value("-h"), words.value("--port")), (Some("one"), Some("7")));
        assert_eq!(words.rest, ["mail"]);
        assert_eq!(words.target().config, Some(PathBuf::from("x.toml")));
        assert_eq!(words.number("--port", 1..=9), Ok(Some(7)));
        assert_eq!(taken("-i file -s").expect("it is known").value("-i"), Some("file"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert_eq!(taken("-x"), Err("there is no option `-x`".into()));
        assert_eq!(taken("-h"), Err("`-h` needs a value".into()));
        assert_eq!(taken("--help=1"), Err("`--help` takes no value".into()));
        let words = taken("--port 99 a b").expect("it is known");
        assert_eq!(words.number("--port", 1..=9), Err("`--port` is `99`; allowed: 1 to 9".into()));
        assert_eq!(one_name(&words), Err("`b` is not expected here".into()));
        assert_eq!(one_of(&words, &["-s", "-h"]), Err("one of -s, -h is needed".into()));
        let words = taken("-s -h one").expect("it is known");
        assert_eq!(one_of(&words, &["-s", "-h"]), Err("-s and -h exclude each other".into()));
    }
}
