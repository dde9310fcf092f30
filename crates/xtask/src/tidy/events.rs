//! Every kind of event has a section that says what to do, and is told by some code.
//!
//! Kinds are the literals of `crates/wire/src/event_kind.rs`; sections are the headings with a name in backquotes of
//! `docs/operate/alerts.md`. That no code tells another kind is asserted where events are told.

use super::Finding;
use super::source::Source;
use crate::repository::TextFile;
use std::collections::BTreeMap;

const KINDS: &str = "crates/wire/src/event_kind.rs";
const PAGE: &str = "docs/operate/alerts.md";

pub fn judge(sources: &[Source], files: &[TextFile]) -> Vec<Finding> {
    let mut kinds = BTreeMap::new();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path == KINDS) {
        for (line, kind) in literals(&source.text) {
            if kinds.insert(kind, line).is_some() {
                findings.push(Finding::new(KINDS, line, format!("`{kind}` stands twice in it")));
            }
        }
    }
    let mut sections = BTreeMap::new();
    for file in files.iter().filter(|file| file.path == PAGE) {
        for (line, kind) in headings(&file.text) {
            if sections.insert(kind, line).is_some() {
                findings.push(Finding::new(PAGE, line, format!("`{kind}` has a second section")));
            }
        }
    }
    for (kind, line) in &kinds {
        if !sections.contains_key(kind) {
            findings.push(Finding::new(KINDS, *line, format!("`{kind}` has no section in {PAGE}")));
        }
        let literal = format!("\"{kind}\"");
        let is_told = |source: &&Source| source.path != KINDS && source.text.contains(&literal);
        if !sources.iter().any(|source| is_told(&source)) {
            findings.push(Finding::new(KINDS, *line, format!("no code tells `{kind}`")));
        }
    }
    for (kind, line) in sections.iter().filter(|(kind, _)| !kinds.contains_key(*kind)) {
        findings.push(Finding::new(PAGE, *line, format!("`{kind}` is no kind of event")));
    }
    findings
}

/// Words in quotes that stand alone in their line, with its number.
fn literals(text: &str) -> Vec<(usize, &str)> {
    numbered(text, "\"", "\",")
}

/// Names in backquotes that are the whole of a heading, with its line.
fn headings(text: &str) -> Vec<(usize, &str)> {
    numbered(text, "### `", "`")
}

/// What stands between the two in each line that is nothing else.
fn numbered<'t>(text: &'t str, before: &str, after: &str) -> Vec<(usize, &'t str)> {
    let lines = text.lines().enumerate();
    let between = |line: &'t str| line.trim().strip_prefix(before)?.strip_suffix(after);
    lines.filter_map(|(index, line)| Some((index + 1, between(line)?))).collect()
}
