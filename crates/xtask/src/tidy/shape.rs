//! Rules on the shape of one file: header, length, functions, words that promise later work, lints with reasons, bounds.

use super::Finding;
use super::lexer;
use super::source::Source;
use crate::repository::TextFile;
use std::collections::BTreeSet;

/// Lines of a file without its tests. 600: more than that holds two ideas.
const FILE_LENGTH_MAX: usize = 600;
/// Lines of a function. 70: what one screen shows.
const FUNCTION_LENGTH_MAX: usize = 70;

/// Words that stand for work that is not done. Split, so that this file does not find itself.
const UNFINISHED: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
const UNFINISHED_MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// All rules that look at one Rust file alone.
pub fn judge(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(header(source));
    findings.extend(lengths(source));
    findings.extend(unfinished(source));
    findings.extend(attributes(source));
    findings.extend(bounds(source));
    findings.extend(channels(source));
    findings.extend(keywords(source));
    findings
}

fn header(source: &Source) -> Option<Finding> {
    let first = source.text.lines().next().unwrap_or_default();
    if !first.starts_with("//! ") {
        return Some(Finding::new(
            &source.path,
            1,
            "a file starts with `//!` and says what it decides or does",
        ));
    }
    let is_placeholder = first.to_lowercase().contains("placeholder");
    is_placeholder.then(|| Finding::new(&source.path, 1, "a placeholder is not a part of the product"))
}

fn lengths(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let length = source.length();
    if length > FILE_LENGTH_MAX {
        let text = format!("{length} lines without tests, at most {FILE_LENGTH_MAX}: it holds two ideas");
        findings.push(Finding::new(&source.path, 0, text));
    }
    for function in source.functions() {
        if function.length > FUNCTION_LENGTH_MAX {
            let text = format!(
                "function `{}` has {} lines, at most {FUNCTION_LENGTH_MAX}",
                function.name, function.length
            );
            findings.push(Finding::new(&source.path, function.line, text));
        }
    }
    findings
}

fn unfinished(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in source.layers.comments.lines().enumerate() {
        for word in words(line).filter(|word| UNFINISHED.contains(word)) {
            let text = format!("`{word}`: finish it or open an issue");
            findings.push(Finding::new(&source.path, index + 1, text));
        }
    }
    for pair in source.tokens.windows(2) {
        if pair[1].text == "!" && UNFINISHED_MACROS.contains(&pair[0].text.as_str()) {
            let text = format!("`{}!` is not for finished code", pair[0].text);
            findings.push(Finding::new(&source.path, pair[0].line, text));
        }
    }
    findings
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
}

/// `#[ignore]` hides a test; a lint is only switched off for a reason that stands beside it.
fn attributes(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for at in 0..source.tokens.len() {
        if source.tokens[at].text != "#" {
            continue;
        }
        let bang = usize::from(source.tokens.get(at + 1).is_some_and(|token| token.text == "!"));
        let Some(name) = source.tokens.get(at + bang + 2) else { continue };
        if source.tokens[at + bang + 1].text != "[" {
            continue;
        }
        let line = name.line;
        if name.text == "ignore" {
            findings.push(Finding::new(
                &source.path,
                line,
                "an ignored test is no test: run it or delete it",
            ));
        }
        if (name.text == "allow" || name.text == "expect") && !has_reason(source, at) {
            let text = format!("`{}` of a lint needs a reason on its line", name.text);
            findings.push(Finding::new(&source.path, line, text));
        }
    }
    findings
}

/// Whether the attribute at token `at` says `reason = ".."` or has a comment on one of its lines.
fn has_reason(source: &Source, at: usize) -> bool {
    let attribute = source.tokens.iter().skip(at).take_while(|token| token.text != "]");
    let mut last_line = source.tokens[at].line;
    for token in attribute {
        if token.text == "reason" {
            return true;
        }
        last_line = token.line;
    }
    let comments = source.layers.comments.lines();
    let mut lines = comments.skip(source.tokens[at].line - 1).take(last_line + 1 - source.tokens[at].line);
    lines.any(|line| !line.trim().is_empty())
}

/// Every bound says why it is what it is: all constants of `limits.rs`, and those called `.._MAX` anywhere.
fn bounds(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_limits = source.path.ends_with("/limits.rs");
    let lines: Vec<&str> = source.text.lines().collect();
    for pair in source.tokens.windows(2).filter(|pair| pair[0].text == "const") {
        let (name, line) = (&pair[1].text, pair[0].line);
        let is_constant = name.starts_with(|first: char| first.is_ascii_uppercase());
        let is_bound = is_limits || name.split('_').any(|part| part == "MAX");
        if !is_constant || !is_bound || source.is_test_line(line) {
            continue;
        }
        let above = lines[..line - 1].iter().rev().find(|above| !above.trim_start().starts_with("#["));
        if !above.is_some_and(|above| above.trim_start().starts_with("///")) {
            let text = format!("bound `{name}` needs a doc comment that gives its reason");
            findings.push(Finding::new(&source.path, line, text));
        }
    }
    findings
}

/// Every queue has a bound.
fn channels(source: &Source) -> Vec<Finding> {
    let is_unbounded = |parts: &[String]| {
        let last = parts.last().map(String::as_str).unwrap_or_default();
        let is_tokio = last == concat!("unbounded", "_channel")
            || last == concat!("Unbounded", "Sender")
            || last == concat!("Unbounded", "Receiver");
        is_tokio
            || parts.ends_with(&["sync".to_owned(), "mpsc".to_owned(), "channel".to_owned()])
                && parts.first().is_some_and(|first| first == "std")
    };
    let paths = source.paths();
    let unbounded = paths.iter().filter(|path| is_unbounded(&path.parts));
    unbounded
        .map(|path| {
            let text = format!("`{}` has no bound: every queue has one", path.parts.join("::"));
            Finding::new(&source.path, path.line, text)
        })
        .collect()
}

/// No `unsafe`, anywhere: the compiler refuses it as well, unless somebody lets it.
fn keywords(source: &Source) -> Vec<Finding> {
    let found = source.tokens.iter().filter(|token| token.text == "unsafe");
    found.map(|token| Finding::new(&source.path, token.line, "`unsafe` is not for this project")).collect()
}

/// Rules for every text file: no tab, no blank at the end of a line, a line break at the end of the file.
pub fn judge_text(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_code = file.path.ends_with(".rs");
    // Blanks at the end of a line of text that code quotes are that text's.
    let quoted = if is_code { lexer::layers(&file.text).lines_open_at_end } else { BTreeSet::new() };
    for (index, line) in file.text.lines().enumerate() {
        if !quoted.contains(&(index + 1)) && line.ends_with([' ', '\t', '\r']) {
            findings.push(Finding::new(&file.path, index + 1, "blank at the end of the line"));
        }
        if line.contains('\t') {
            findings.push(Finding::new(&file.path, index + 1, "tab: use spaces"));
        }
        if !is_code && words(line).any(|word| UNFINISHED.contains(&word)) {
            findings.push(Finding::new(
                &file.path,
                index + 1,
                "a note of unfinished work: finish it or open an issue",
            ));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(Finding::new(&file.path, 0, "no line break at the end of the file"));
    }
    if file.text.ends_with("\n\n") {
        findings.push(Finding::new(&file.path, 0, "empty lines at the end of the file"));
    }
    findings
}
