//! Tells code, comments and literals of a Rust file apart, so that rules look only where they mean to.
//!
//! Promise: each of the three texts has the length and the line breaks of the original; what does not belong to it is
//! blank. Copes with nested comments, raw strings, byte strings, characters and lifetimes.
//! Not here: grammar. Macros are read as the tokens that they are.

use std::collections::BTreeSet;

/// One file in three layers of the same shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    pub code: String,
    pub comments: String,
    pub literals: String,
    /// Lines, counted from 1, whose end lies within a literal.
    pub lines_open_at_end: BTreeSet<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// Splits `text` into its layers.
pub fn layers(text: &str) -> Layers {
    let bytes = text.as_bytes();
    let mut kinds = vec![Kind::Code; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let (end, kind) = piece(bytes, at);
        assert!(end > at, "the lexer must move on at byte {at}");
        kinds[at..end.min(bytes.len())].fill(kind);
        at = end;
    }
    let only = |wanted: Kind| -> String {
        let keep = |(index, character): (usize, char)| match character {
            '\n' => "\n".to_owned(),
            _ if kinds[index] == wanted => character.to_string(),
            _ => " ".repeat(character.len_utf8()),
        };
        text.char_indices().map(keep).collect()
    };
    let line_ends = bytes.iter().zip(&kinds).filter(|(byte, _)| **byte == b'\n').map(|(_, kind)| *kind);
    let open = line_ends.enumerate().filter(|(_, kind)| *kind == Kind::Literal).map(|(index, _)| index + 1);
    Layers {
        code: only(Kind::Code),
        comments: only(Kind::Comment),
        literals: only(Kind::Literal),
        lines_open_at_end: open.collect(),
    }
}

/// Where the piece that starts at `at` ends, and what it is.
fn piece(bytes: &[u8], at: usize) -> (usize, Kind) {
    let rest = &bytes[at..];
    match rest[0] {
        b'/' if rest.starts_with(b"//") => (at + line_length(rest), Kind::Comment),
        b'/' if rest.starts_with(b"/*") => (at + block_comment_length(rest), Kind::Comment),
        b'"' => (at + string_length(rest), Kind::Literal),
        b'\'' => match character_length(rest) {
            Some(length) => (at + length, Kind::Literal),
            None => (at + 1, Kind::Code),
        },
        first if first.is_ascii_alphabetic() || first == b'_' || !first.is_ascii() => word(bytes, at),
        first if first.is_ascii_digit() => (at + word_length(rest), Kind::Code),
        _ => (at + 1, Kind::Code),
    }
}

/// A word, or the literal that a prefix such as `r#` or `b` opens.
fn word(bytes: &[u8], at: usize) -> (usize, Kind) {
    let rest = &bytes[at..];
    let length = word_length(rest);
    let after = &rest[length..];
    let is_raw = matches!(&rest[..length], b"r" | b"br" | b"cr");
    let is_prefix = is_raw || matches!(&rest[..length], b"b" | b"c");
    if is_raw {
        let hashes = after.iter().take_while(|byte| **byte == b'#').count();
        if after.get(hashes) == Some(&b'"') {
            return (at + length + raw_string_length(after, hashes), Kind::Literal);
        }
    }
    if is_prefix && after.first() == Some(&b'"') {
        return (at + length + string_length(after), Kind::Literal);
    }
    if &rest[..length] == b"b"
        && after.first() == Some(&b'\'')
        && let Some(character) = character_length(after)
    {
        return (at + length + character, Kind::Literal);
    }
    (at + length, Kind::Code)
}

fn word_length(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_' || !byte.is_ascii()).count()
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string_length(after_prefix: &[u8], hashes: usize) -> usize {
    let mut end = vec![b'"'];
    end.extend(std::iter::repeat_n(b'#', hashes));
    let body = hashes + 1;
    let found = after_prefix[body..].windows(end.len()).position(|window| window == end);
    found.map_or(after_prefix.len(), |at| body + at + end.len())
}

/// The length of the character literal at the start of `rest`, or nothing when it is a lifetime.
fn character_length(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        // The escaped character itself may be a quote: look for the end behind it.
        let end = rest.iter().skip(3).position(|byte| *byte == b'\'')?;
        return Some(3 + end + 1);
    }
    let text = std::str::from_utf8(&rest[..rest.len().min(6)]);
    let valid = match text {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).expect("valid up to there"),
    };
    let inner = valid.chars().nth(1)?.len_utf8();
    (rest.get(1 + inner) == Some(&b'\'')).then_some(inner + 2)
}
