//! Documents that agree with themselves and with the code: one title, links that lead somewhere, names that exist.

use super::Finding;
use super::source::{Source, is_word};
use crate::repository::TextFile;

const MAP: &str = "ARCHITECTURE.md";
/// Words before a name that define it.
const DEFINING: [&str; 11] =
    ["fn", "struct", "enum", "trait", "const", "static", "type", "mod", "macro_rules", "union", "name_type"];

/// Judges all Markdown files. `is_there` says whether a path relative to the root exists.
pub fn judge(files: &[TextFile], sources: &[Source], is_there: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        findings.extend(titles(file));
        findings.extend(links(file, files, is_there));
        if file.path == MAP {
            findings.extend(names(file, sources, is_there));
        }
    }
    findings
}

/// The lines of a document that are not inside a fence, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            lines.push((index + 1, line));
        }
    }
    lines
}

fn titles(file: &TextFile) -> Option<Finding> {
    let titles: Vec<usize> =
        prose(&file.text).iter().filter(|(_, line)| line.starts_with("# ")).map(|(line, _)| *line).collect();
    match titles.as_slice() {
        [_] => None,
        [] => Some(Finding::new(&file.path, 0, "has no `# title`")),
        [_, second, ..] => Some(Finding::new(&file.path, *second, "has a second `# title`")),
    }
}

fn links(file: &TextFile, files: &[TextFile], is_there: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in prose(&file.text) {
        for target in link_targets(line) {
            let is_foreign = target.contains("://") || target.starts_with("mailto:");
            if is_foreign || leads_somewhere(file, target, files, is_there) {
                continue;
            }
            findings.push(Finding::new(&file.path, number, format!("link `{target}` leads nowhere")));
        }
    }
    findings
}

/// What stands in the round brackets of `[text](target)`, outside of code.
fn link_targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    for plain in line.split('`').step_by(2) {
        let mut rest = plain;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let end = rest.find(')').unwrap_or(rest.len());
            targets.push(rest[..end].split_whitespace().next().unwrap_or_default());
            rest = &rest[end..];
        }
    }
    targets
}

fn leads_somewhere(
    file: &TextFile,
    target: &str,
    files: &[TextFile],
    is_there: &dyn Fn(&str) -> bool,
) -> bool {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let resolved = if path.is_empty() { Some(file.path.clone()) } else { resolve(&file.path, path) };
    let Some(resolved) = resolved else { return false };
    if !is_there(&resolved) {
        return false;
    }
    match files.iter().find(|file| file.path == resolved && resolved.ends_with(".md")) {
        Some(document) if !anchor.is_empty() => anchors(&document.text).iter().any(|found| found == anchor),
        _ => true,
    }
}

/// `target` as seen from the directory of `from`; nothing when it leads out of the project.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The anchors that a document's headings make.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).into_iter().filter(|(_, line)| line.starts_with('#'));
    headings
        .map(|(_, line)| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept =
                heading.chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
            kept.map(|character| if character == ' ' { '-' } else { character }).collect()
        })
        .collect()
}

/// Names in backticks that look like a path or like `module::Thing` must exist.
fn names(file: &TextFile, sources: &[Source], is_there: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in prose(&file.text) {
        for name in line.split('`').skip(1).step_by(2) {
            let exists = if name.contains("::") {
                is_defined(name, sources)
            } else if looks_like_path(name) {
                ["", "crates/", "crates/muster/", "crates/muster/src/"]
                    .iter()
                    .any(|base| is_there(&format!("{base}{}", name.trim_end_matches('/'))))
            } else {
                true
            };
            if !exists {
                findings.push(Finding::new(&file.path, number, format!("`{name}` does not exist")));
            }
        }
    }
    findings
}

fn looks_like_path(name: &str) -> bool {
    let has_path_signs =
        name.contains('/') || name.ends_with(".rs") || name.ends_with(".md") || name.ends_with(".toml");
    let is_plain = name.chars().all(|character| character.is_alphanumeric() || "/._-".contains(character));
    has_path_signs && is_plain && !name.starts_with('/') && name != "muster.toml"
}

/// Whether some file defines the last part of `name` and belongs to the part before it.
fn is_defined(name: &str, sources: &[Source]) -> bool {
    let parts: Vec<&str> = name.trim_end_matches("()").split("::").collect();
    let [.., owner, thing] = parts.as_slice() else { return false };
    let is_type = owner.starts_with(|first: char| first.is_uppercase());
    sources.iter().any(|source| {
        if is_type {
            // A variant, method or field: the type and the word stand in the same file.
            return defines(source, owner) && source.tokens.iter().any(|token| token.text == *thing);
        }
        let path = source.path.trim_end_matches(".rs");
        let is_module = path.split('/').any(|part| part == *owner);
        let is_file = is_module && path.ends_with(&format!("/{thing}"));
        is_file || is_module && defines(source, thing)
    })
}

fn defines(source: &Source, name: &str) -> bool {
    let is_definition = |pair: &[super::source::Token]| {
        is_word(&pair[0].text) && DEFINING.contains(&pair[0].text.as_str()) && pair[1].text == name
    };
    source.tokens.windows(2).any(is_definition) || is_made_by_macro(source, name)
}

/// `name_type!( Name )` and its like: a name alone between the brackets of a macro call.
fn is_made_by_macro(source: &Source, name: &str) -> bool {
    source.tokens.windows(5).any(|five| {
        five[0].text == "name_type" && five[1].text == "!" && five[2].text == "(" && five[3].text == name
    })
}
