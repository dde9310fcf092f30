//! What the rules ask of one Rust file: its words with their lines, its paths, its functions, which lines are tests.
//!
//! Built once per file from the layers of `lexer`. Lines count from 1.
//! Promise: a grouped import (`use a::{b, c::d}`) yields the same paths as single ones.

use super::lexer::{self, Layers};
use crate::repository::TextFile;
use std::ops::RangeInclusive;

#[derive(Debug)]
pub struct Source {
    pub path: String,
    pub text: String,
    pub layers: Layers,
    pub tokens: Vec<Token>,
    /// Whether the whole file holds tests.
    pub is_test_file: bool,
    test_lines: Vec<RangeInclusive<usize>>,
}

/// A word or a single sign of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// `a::b::C` as it is used or imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodePath {
    pub parts: Vec<String>,
    pub line: usize,
}

impl CodePath {
    /// Whether this names `prefix` or something below it.
    pub fn starts_with(&self, prefix: &[&str]) -> bool {
        self.parts.len() >= prefix.len() && self.parts.iter().zip(prefix).all(|(part, wanted)| part == wanted)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    /// From its `fn` to its last brace; lines that lie within a literal are data and do not count.
    pub length: usize,
}

impl Source {
    pub fn new(file: &TextFile) -> Self {
        let layers = lexer::layers(&file.text);
        let tokens = tokens(&layers.code);
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let is_test_file = name == "tests.rs" || file.path.split('/').any(|part| part == "tests");
        let test_lines = test_lines(&tokens);
        Self { path: file.path.clone(), text: file.text.clone(), layers, tokens, is_test_file, test_lines }
    }

    pub fn is_test_line(&self, line: usize) -> bool {
        self.is_test_file || self.test_lines.iter().any(|range| range.contains(&line))
    }

    /// Lines that are not tests.
    pub fn length(&self) -> usize {
        (1..=self.text.lines().count()).filter(|line| !self.is_test_line(*line)).count()
    }

    /// Every path that the code names, imports included.
    pub fn paths(&self) -> Vec<CodePath> {
        let mut paths = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let begins = is_word(&self.tokens[at].text) && (at == 0 || self.tokens[at - 1].text != "::");
            let begins_at_root = self.tokens[at].text == "::"
                && (at == 0 || !is_word(&self.tokens[at - 1].text) && self.tokens[at - 1].text != ">");
            if begins || begins_at_root {
                at = read_path(&self.tokens, at + usize::from(begins_at_root), &mut Vec::new(), &mut paths);
            } else {
                at += 1;
            }
        }
        paths
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for at in 0..self.tokens.len() {
            let Some(name) = self.tokens.get(at + 1).filter(|next| is_word(&next.text)) else { continue };
            if self.tokens[at].text != "fn" {
                continue;
            }
            if let Some((open, close)) = body(&self.tokens, at) {
                let lines = self.tokens[at].line..=self.tokens[close].line;
                assert!(open < close, "a body opens before it closes");
                let length = lines.filter(|line| !self.is_data_line(*line)).count();
                functions.push(Function { name: name.text.clone(), line: self.tokens[at].line, length });
            }
        }
        functions
    }

    /// Whether a line holds a part of a literal and no code.
    fn is_data_line(&self, line: usize) -> bool {
        let of = |text: &str| text.lines().nth(line - 1).unwrap_or_default().trim().is_empty();
        of(&self.layers.code) && !of(&self.layers.literals)
    }
}

pub fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (index, text) in code.lines().enumerate() {
        let line = index + 1;
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let in_word = |character: char| character.is_alphanumeric() || character == '_';
            let length = if in_word(first) {
                rest.find(|character| !in_word(character)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push(Token { text: rest[..length].to_owned(), line });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Reads one path from `at`, with all branches of a group, and returns where it ends.
fn read_path(tokens: &[Token], at: usize, before: &mut Vec<String>, paths: &mut Vec<CodePath>) -> usize {
    let length_before = before.len();
    let mut at = at;
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        if token.text == "{" && before.len() > length_before {
            at = read_group(tokens, at, before, paths);
            before.truncate(length_before);
            return at;
        }
        if !is_word(&token.text) && token.text != "*" {
            break;
        }
        line = token.line;
        before.push(token.text.clone());
        at += 1;
        if tokens.get(at).is_some_and(|next| next.text == "::") {
            at += 1;
        } else {
            break;
        }
    }
    if before.len() > length_before {
        paths.push(CodePath { parts: before.clone(), line });
    }
    before.truncate(length_before);
    at
}

fn read_group(tokens: &[Token], at: usize, before: &mut Vec<String>, paths: &mut Vec<CodePath>) -> usize {
    let mut at = at + 1;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            text if is_word(text) || text == "*" => at = read_group_member(tokens, at, before, paths),
            _ => at += 1,
        }
    }
    at
}

/// One branch of a group: `b`, `b::c`, `b::{..}` or `b as c`.
fn read_group_member(
    tokens: &[Token],
    at: usize,
    before: &mut Vec<String>,
    paths: &mut Vec<CodePath>,
) -> usize {
    let mut end = read_path(tokens, at, before, paths);
    while tokens.get(end).is_some_and(|token| token.text != "," && token.text != "}") {
        end += 1;
    }
    assert!(end > at, "a branch of a group has at least one token");
    end
}

/// The braces of the body of the function whose `fn` is at `at`; nothing for a declaration without one.
fn body(tokens: &[Token], at: usize) -> Option<(usize, usize)> {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return None,
            "{" if depth == 0 => return Some((index, closing_brace(tokens, index)?)),
            _ => {}
        }
    }
    None
}

fn closing_brace(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

/// The lines of every `#[cfg(test)] mod name { ... }`.
fn test_lines(tokens: &[Token]) -> Vec<RangeInclusive<usize>> {
    let mut ranges = Vec::new();
    let marker = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    for at in 0..tokens.len() {
        let is_marked = marker
            .iter()
            .enumerate()
            .all(|(offset, wanted)| tokens.get(at + offset).is_some_and(|token| token.text == *wanted));
        let open = at + marker.len() + 1;
        if is_marked
            && tokens.get(open).is_some_and(|token| token.text == "{")
            && let Some(close) = closing_brace(tokens, open)
        {
            ranges.push(tokens[at].line..=tokens[close].line);
        }
    }
    ranges
}
