//! The text of a configuration without what may be secret in it, for those who send it to others.
//!
//! Left out, at any depth: values whose key sounds like a secret, environments, parameters of agents and headers that are set
//! as a whole, arguments of programs behind the program itself, addresses with a password or a query, and comments, in which old
//! settings lie.
//! Names, places of files and numbers stay.

use super::document::{Data, Document, Entry, Table, Value};
use super::problem::Problems;
use std::ops::Range;

const LEFT_OUT: &str = "\"(left out)\"";

/// A key with one of them has a secret, unless it says where a file lies.
const SECRET_WORDS: [&str; 8] =
    ["password", "passwd", "secret", "token", "credential", "private", "key", "auth"];
/// Everything in them is somebody else's, so any of it may be secret.
const OPAQUE_KEYS: [&str; 3] = ["environment", "parameters", "set"];
/// A key with one of them names a program and its arguments.
const PROGRAM_WORDS: [&str; 5] = ["command", "script", "start", "stop", "before"];

/// What is to be done with the parts of a text.
#[derive(Debug, Default)]
struct Parts {
    left_out: Vec<Range<usize>>,
    /// Keys and values that stay; a `#` within begins no comment.
    kept: Vec<Range<usize>>,
}

/// `text` must be a configuration that can be read; otherwise nothing of it is told.
pub fn blank(text: &str, file: &str) -> Result<String, Problems> {
    let document = Document::read(text, file)?;
    let mut parts = Parts::default();
    collect(&document.root, &mut parts);
    let left_out = parts.left_out.into_iter().map(|span| (span, LEFT_OUT));
    let mut spans: Vec<_> = left_out.chain(parts.kept.into_iter().map(|span| (span, ""))).collect();
    spans.sort_by_key(|(span, _)| span.start);
    let (mut blanked, mut at) = (String::with_capacity(text.len()), 0);
    for (span, instead) in spans {
        // The header of a table is the place of all its keys that have none of their own.
        if span.start < at {
            continue;
        }
        blanked.push_str(&without_comments(&text[at..span.start]));
        blanked.push_str(if instead.is_empty() { &text[span.clone()] } else { instead });
        at = span.end;
    }
    blanked.push_str(&without_comments(&text[at..]));
    Ok(blanked)
}

/// Of a text between keys and values.
fn without_comments(text: &str) -> String {
    let line =
        |line: &str| line.split_once('#').map_or_else(|| line.to_owned(), |(before, _)| format!("{before}#"));
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn collect(table: &Table, parts: &mut Parts) {
    for Entry { key, key_span, value } in &table.0 {
        parts.kept.push(key_span.clone());
        let key = key.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| key.contains(word));
        let is_secret = has(&SECRET_WORDS) && !key.ends_with("_file");
        if is_secret || OPAQUE_KEYS.contains(&key.as_str()) {
            leave_out(value, parts);
        } else {
            of_value(value, has(&PROGRAM_WORDS), parts);
        }
    }
}

fn of_value(value: &Value, names_program: bool, parts: &mut Parts) {
    match &value.data {
        Data::Table(inner) => collect(inner, parts),
        Data::List(items) => {
            let (program, arguments) =
                items.split_at(if names_program { items.len().min(1) } else { items.len() });
            program.iter().for_each(|item| of_value(item, false, parts));
            arguments.iter().for_each(|item| leave_out(item, parts));
        }
        Data::Text(text) if text.contains('?') || (text.contains("://") && text.contains('@')) => {
            parts.left_out.push(value.span.clone());
        }
        Data::Text(_) | Data::Integer(_) | Data::Boolean(_) | Data::Other(_) => {
            parts.kept.push(value.span.clone());
        }
    }
}

/// All values below, so that keys stay.
fn leave_out(value: &Value, parts: &mut Parts) {
    match &value.data {
        Data::Table(inner) => inner.0.iter().for_each(|entry| {
            parts.kept.push(entry.key_span.clone());
            leave_out(&entry.value, parts);
        }),
        Data::Text(_) | Data::Integer(_) | Data::Boolean(_) | Data::Other(_) | Data::List(_) => {
            parts.left_out.push(value.span.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_left_out_at_every_depth() {
        let text = "# of the shop: hunter2\n[manager] # hunter2\nplace = \"a#b\"\nstore = \"postgres://muster:hunter2@db/x\"\npassword_file = \"/etc/p\"\n\
                    [groups.a.resources.b]\nenvironment = { KEY = \"hunter2\" }\napi_token = 'hunter2'\n\
                    start = [\"/bin/start\", \"--password=hunter2\",\n  \"hunter2\"]\n\
                    parameters = { user = \"hunter2\", monpassword = \"hunter2\" }\n\
                    [groups.a.resources.c]\ncommand = [\"x\", \"hunter2\"]\nnodes = [\"one\", \"two\"]\n\
                    [groups.a.resources.b.environment]\n\n[x]\nsecrets = [{ a = \"hunter2\" }, \"hunter2\"]\n\
                    [[y]]\npassword = '''\nhunter2\n'''\n[console]\nlisten = \"0.0.0.0:1\"\n\
                    [routers.r.routes.request_headers]\nset = { X-Api = \"hunter2\" }\nauthorization = \"hunter2\"\n\
                    [monitors.m]\npath = \"/health?k=hunter2\"\nkey_file = \"/etc/k\"\n";
        let text =
            text.replace("[groups.a.resources.b.environment]\n", "[groups.d.environment]\nA = \"hunter2\"\n");
        let blanked = blank(&text, "muster.toml").expect("it is TOML");
        assert!(!blanked.contains("hunter2"), "{blanked}");
        for kept in [
            "\"a#b\"",
            "password_file = \"/etc/p\"",
            "key_file = \"/etc/k\"",
            "\"0.0.0.0:1\"",
            "\"/bin/start\"",
            "\"two\"",
            "KEY",
        ] {
            assert!(blanked.contains(kept), "{kept} is missing: {blanked}");
        }
        Document::read(&blanked, "blanked").expect("it is TOML still");
        blank("a = ", "muster.toml").expect_err("nothing is told of what cannot be read");
    }
}
