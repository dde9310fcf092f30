//! Every error code has a page, and every page a code.
//!
//! Codes are the literals `M` and four digits of `crates/wire/src/error_code.rs`; pages are `docs/errors/<code>.md`.

use super::Finding;
use super::source::Source;
use crate::repository::TextFile;
use std::collections::{BTreeMap, BTreeSet};

const CODES: &str = "crates/wire/src/error_code.rs";
const PAGES: &str = "docs/errors/";

pub fn judge(sources: &[Source], files: &[TextFile]) -> Vec<Finding> {
    let mut known = BTreeMap::new();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path == CODES) {
        for (line, code) in codes(&source.text) {
            if let Some(first) = known.insert(code.clone(), line) {
                findings.push(Finding::new(CODES, line, format!("{code} is already given in line {first}")));
            }
        }
    }
    let pages: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix(PAGES)?.strip_suffix(".md"))
        .filter(|name| is_code(name))
        .collect();
    for (code, line) in &known {
        if !pages.contains(code.as_str()) {
            findings.push(Finding::new(CODES, *line, format!("{code} has no page {PAGES}{code}.md")));
        }
    }
    for page in pages.iter().filter(|page| !known.contains_key(**page)) {
        findings.push(Finding::new(&format!("{PAGES}{page}.md"), 0, "describes a code that does not exist"));
    }
    findings
}

/// Codes in quotes, with their lines.
fn codes(text: &str) -> Vec<(usize, String)> {
    let mut codes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let quoted = line.split('"').skip(1).step_by(2);
        codes.extend(quoted.filter(|word| is_code(word)).map(|word| (index + 1, word.to_owned())));
    }
    codes
}

fn is_code(word: &str) -> bool {
    word.len() == 5 && word.starts_with('M') && word[1..].bytes().all(|byte| byte.is_ascii_digit())
}
