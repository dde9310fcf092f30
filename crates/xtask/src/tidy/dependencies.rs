//! Holds `deny.toml` for the crates that we link: licences, forbidden crates, no crate in two versions, known sources.
//!
//! These are the checks of cargo-deny that need no advisory database, done here because building cargo-deny takes longer
//! than the rest of the tests; the file is in its format, so that `cargo deny check` works too where it is installed.
//! Only the crates of our target count; `cargo metadata` says which those are.

use super::Finding;
use crate::failure::{Doing, Failure, Outcome};
use crate::process;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use toml_edit::{Document, Table};

const FILE: &str = "deny.toml";
/// Where crates come from; everything else is refused.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
pub struct Package {
    id: String,
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    pub source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// What `deny.toml` says.
#[derive(Debug, Default)]
struct Rules {
    licences: BTreeSet<String>,
    banned: BTreeMap<String, String>,
    /// Banned, but borne beneath these crates, as cargo-deny has it.
    wrappers: BTreeMap<String, BTreeSet<String>>,
    /// `name@version` with the reason why a second version is borne.
    skipped: BTreeMap<String, String>,
}

/// Asks cargo for every crate that is linked on our target.
pub fn metadata(root: &Path) -> Outcome<Metadata> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &target];
    let output = process::cargo().args(arguments).current_dir(root).output().doing("run cargo metadata")?;
    if !output.status.success() {
        return Err(Failure(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    let mut metadata: Metadata = serde_json::from_slice(&output.stdout).doing("read cargo's metadata")?;
    let linked: BTreeSet<String> = metadata.resolve.nodes.iter().map(|node| node.id.clone()).collect();
    metadata.packages.retain(|package| linked.contains(&package.id));
    Ok(metadata)
}

pub fn judge(metadata: &Metadata, deny: &str) -> Outcome<Vec<Finding>> {
    let rules = rules(deny)?;
    let finding = |text: String| Finding::new(FILE, 0, text);
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(&package.name).or_default().insert(&package.version);
        let licence = package.license.as_deref().unwrap_or_default();
        if !is_licensed(licence, &rules.licences) {
            findings
                .push(finding(format!("`{}` has licence `{licence}`, which is not allowed", package.name)));
        }
        if let Some(reason) = rules.banned.get(&package.name)
            && !is_wrapped(metadata, package, &rules)
        {
            findings.push(finding(format!("`{}` is banned: {reason}", package.name)));
        }
        if package.source.as_deref().is_some_and(|source| source != REGISTRY) {
            findings.push(finding(format!("`{}` comes from somewhere else than crates.io", package.name)));
        }
    }
    let mut needless: BTreeSet<&String> = rules.skipped.keys().collect();
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let names: Vec<String> = versions.iter().map(|version| format!("{name}@{version}")).collect();
        let borne = names.iter().filter(|name| rules.skipped.contains_key(*name));
        let borne: Vec<&String> = borne.collect();
        if borne.len() + 1 < names.len() {
            findings.push(finding(format!("linked more than once: {}", names.join(", "))));
        }
        for name in borne {
            needless.remove(name);
        }
    }
    findings.extend(needless.iter().map(|name| finding(format!("`{name}` is skipped without need"))));
    Ok(findings)
}

/// Whether only those link a banned crate who may.
fn is_wrapped(metadata: &Metadata, package: &Package, rules: &Rules) -> bool {
    let Some(wrappers) = rules.wrappers.get(&package.name) else { return false };
    let users = metadata.resolve.nodes.iter().filter(|node| node.dependencies.contains(&package.id));
    let name_of = |id: &String| metadata.packages.iter().find(|package| package.id == *id).map(|it| &it.name);
    users.map(|node| name_of(&node.id)).all(|name| name.is_some_and(|name| wrappers.contains(name)))
}

fn rules(deny: &str) -> Outcome<Rules> {
    let document = Document::parse(deny).doing("read deny.toml")?;
    let table = |name: &str| {
        document.get(name).and_then(|item| item.as_table()).ok_or(Failure(format!("{FILE} has no [{name}]")))
    };
    let licences = strings(table("licenses")?, "allow");
    let bans = table("bans")?;
    if bans.get("multiple-versions").and_then(|item| item.as_str()) != Some("deny") {
        return Err(Failure(format!("{FILE}: multiple-versions must be \"deny\"")));
    }
    let (banned, skipped) = (reasoned(bans, "deny")?, reasoned(bans, "skip")?);
    Ok(Rules { licences, banned, wrappers: wrappers(bans), skipped })
}

fn wrappers(bans: &Table) -> BTreeMap<String, BTreeSet<String>> {
    let entries = bans.get("deny").and_then(|item| item.as_array()).into_iter().flatten();
    let wrapped = entries.filter_map(|value| {
        let entry = value.as_inline_table()?;
        let names = entry.get("wrappers")?.as_array()?.iter().filter_map(|name| name.as_str());
        Some((entry.get("crate")?.as_str()?.to_owned(), names.map(str::to_owned).collect()))
    });
    wrapped.collect()
}

fn strings(table: &Table, key: &str) -> BTreeSet<String> {
    let array = table.get(key).and_then(|item| item.as_array());
    array.into_iter().flatten().filter_map(|value| value.as_str()).map(str::to_owned).collect()
}

/// Entries `{ crate = "..", reason = ".." }` of a list; one without a reason is refused.
fn reasoned(table: &Table, key: &str) -> Outcome<BTreeMap<String, String>> {
    let mut entries = BTreeMap::new();
    for value in table.get(key).and_then(|item| item.as_array()).into_iter().flatten() {
        let text = |field: &str| value.as_inline_table().and_then(|entry| entry.get(field)?.as_str());
        let name = text("crate").ok_or(Failure(format!("{FILE}: an entry of {key} names no crate")))?;
        let reason = text("reason").filter(|reason| !reason.is_empty());
        let reason = reason.ok_or(Failure(format!("{FILE}: {name} in {key} gives no reason")))?;
        entries.insert(name.to_owned(), reason.to_owned());
    }
    Ok(entries)
}

/// Whether an SPDX expression can be met with the allowed licences: OR needs one side, AND both.
pub fn is_licensed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let is_met = either(&words, &mut at, allowed);
    is_met && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut is_met = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        is_met |= both(words, at, allowed);
    }
    is_met
}

fn both(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut is_met = single(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        is_met &= single(words, at, allowed);
    }
    is_met
}

fn single(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let is_met = either(words, at, allowed);
        *at += 1;
        return is_met;
    }
    if words.get(*at) == Some(&"WITH") {
        let name = format!("{word} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
        // An exception only gives more rights, so the licence alone is enough.
        return allowed.contains(&name) || allowed.contains(*word);
    }
    allowed.contains(*word)
}
