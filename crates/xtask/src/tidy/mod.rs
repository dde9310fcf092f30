//! Holds the project's rules: crate and module edges, sizes, headers, bounds with reasons, documents that agree with code.
//!
//! Every rule takes what it judges as values and returns findings; only this file reads the disk. There is no list of
//! exempt files: a rule that is wrong is changed for all. Runs as `cargo xtask tidy` and as a test of this crate.

mod dependencies;
mod documents;
mod edges;
mod errors;
mod events;
mod lexer;
mod purity;
mod shape;
mod source;
#[cfg(test)]
mod tests;

use crate::failure::{Doing, Failure, Outcome};
use crate::repository;
use source::Source;
use std::fmt;
use std::path::Path;

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub path: String,
    /// 0: the file as a whole.
    pub line: usize,
    pub text: String,
}

impl Finding {
    pub fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.text),
            line => write!(out, "{}:{line}: {}", self.path, self.text),
        }
    }
}

/// Judges the project at `root`; fails with all findings at once.
pub fn run(root: &Path) -> Outcome<()> {
    let findings = findings(root)?;
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    Err(Failure(format!("{}\n{} findings", lines.join("\n"), lines.len())))
}

fn findings(root: &Path) -> Outcome<Vec<Finding>> {
    let files = repository::text_files(root)?;
    let mut findings = Vec::new();
    let sources: Vec<Source> =
        files.iter().filter(|file| file.path.ends_with(".rs")).map(Source::new).collect();
    for source in &sources {
        findings.extend(shape::judge(source));
        findings.extend(edges::judge_modules(source));
        findings.extend(edges::judge_sql(source));
        findings.extend(purity::judge(source));
    }
    for file in &files {
        findings.extend(shape::judge_text(file));
        if file.path.starts_with("crates/") && file.path.ends_with("/Cargo.toml") {
            findings.extend(edges::judge_manifest(file));
        }
    }
    let is_there = |path: &str| root.join(path).exists();
    findings.extend(errors::judge(&sources, &files));
    findings.extend(events::judge(&sources, &files));
    findings.extend(documents::judge(&files, &sources, &is_there));
    let metadata = dependencies::metadata(root)?;
    let deny = std::fs::read_to_string(root.join("deny.toml")).doing("read deny.toml")?;
    findings.extend(dependencies::judge(&metadata, &deny)?);
    findings.sort();
    findings.dedup();
    Ok(findings)
}
