//! What is wrong with a configuration, told so that it can be put right without looking anything up.
//!
//! A problem names file, line, key, value and what is allowed. Lists of problems are bounded. Lines and columns count
//! from 1, columns in characters. Not here: finding problems.

use serde::{Serialize, Serializer};
use std::fmt;
use wire::error_code::ErrorCode;

/// Problems told at once. 50: more than anybody repairs before checking again; the rest is counted.
pub const PROBLEMS_MAX: usize = 50;

/// Characters of a value that a message shows. 60: recognisable, and still one line.
const VALUE_SHOWN_MAX: usize = 60;

/// The way to a key: names of tables, `[0]` for places in lists, the key itself last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPath(pub Vec<String>);

impl KeyPath {
    pub fn of(parts: &[&str]) -> Self {
        Self(parts.iter().map(|part| (*part).to_owned()).collect())
    }

    pub fn with(&self, part: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(part.to_owned());
        Self(parts)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, part) in self.0.iter().enumerate() {
            let is_plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            if part.starts_with('[') {
                out.write_str(part)?;
                continue;
            }
            if position > 0 {
                out.write_str(".")?;
            }
            if is_plain && !part.is_empty() { out.write_str(part)? } else { write!(out, "{part:?}")? }
        }
        Ok(())
    }
}

impl Serialize for KeyPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thing that is wrong. Nothing has been changed; a retry gives the same until the cause is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub code: ErrorCode,
    pub file: String,
    /// None where the file as a whole, or nothing that is written in it, is meant.
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub key: KeyPath,
    /// As written in the file, shortened; None where nothing is written.
    pub value: Option<String>,
    pub message: String,
    pub allowed: Option<String>,
    pub suggestion: Option<String>,
}

impl Problem {
    /// A problem of the file as a whole.
    pub fn of_file(code: ErrorCode, file: &str, message: String) -> Self {
        Self {
            code,
            file: file.to_owned(),
            line: None,
            column: None,
            key: KeyPath::default(),
            value: None,
            message,
            allowed: None,
            suggestion: None,
        }
    }

    pub fn allowing(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    pub fn suggesting(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(out, ":{line}:{column}")?;
        }
        write!(out, ": {}: {}", self.code, self.message)?;
        if !self.key.0.is_empty() {
            write!(out, "\n  key:     {}", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(out, "\n  value:   {value}")?;
        }
        if let Some(allowed) = &self.allowed {
            write!(out, "\n  allowed: {allowed}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(out, "\n  did you mean {suggestion}?")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with one file, in the order of finding, at most `PROBLEMS_MAX`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, thiserror::Error)]
pub struct Problems {
    pub list: Vec<Problem>,
    /// Found beyond the bound and only counted.
    pub left_out: usize,
}

impl Problems {
    /// What is wrong with a shared table is found once for each that shares it, and told once.
    pub fn push(&mut self, problem: Problem) {
        if self.list.contains(&problem) {
            return;
        }
        if self.list.len() < PROBLEMS_MAX { self.list.push(problem) } else { self.left_out += 1 }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// In the order of the file, so that a person can go through it once.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|problem| (problem.line, problem.column));
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { list: vec![problem], left_out: 0 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.list.iter().enumerate() {
            if position > 0 {
                out.write_str("\n")?;
            }
            problem.fmt(out)?;
        }
        if self.left_out > 0 {
            write!(out, "\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

/// A piece of the file as one short line.
pub fn shorten(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(VALUE_SHOWN_MAX)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if text.chars().nth(VALUE_SHOWN_MAX).is_some() {
        shown.push_str(" ...");
    }
    shown
}
