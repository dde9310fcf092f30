//! Who may know whom: the crates' edges, the walls between the modules of the binary, and SQL only in `store`.
//!
//! The crates' edges come from their manifests, the modules' walls from the paths that their code names.

use super::Finding;
use super::source::{CodePath, Source};
use crate::repository::TextFile;
use toml_edit::{Document, TableLike};

/// Crates of ours that a crate may depend on, tests included.
const CRATE_EDGES: [(&str, &[&str]); 9] = [
    ("wire", &[]),
    ("client", &["wire"]),
    ("logic", &["wire"]),
    ("store", &["logic"]),
    ("sim", &["logic", "wire"]),
    ("lab", &["wire"]),
    ("muster", &["store", "logic", "wire"]),
    ("xtask", &["lab", "sim", "wire"]),
    ("fuzz", &["logic", "wire"]),
];

/// Crates of ours that only the tests of a crate may use: the binary is tried with the clients that it serves, on
/// the machines of the lab.
const TEST_EDGES: [(&str, &str); 2] = [("muster", "client"), ("muster", "lab")];

/// Crates of others that `logic` may use. Four: each is one more thing that could do I/O behind its back.
const LOGIC_FOREIGN_MAX: usize = 4;
/// Crates that do I/O, keep time, start threads, roll dice or log; none of them is for `logic`.
const DOING_CRATES: [&str; 14] = [
    "tokio",
    "mio",
    "rustix",
    "libc",
    "socket2",
    "hyper",
    "rusqlite",
    "tracing",
    "log",
    "rand",
    "getrandom",
    "chrono",
    "time",
    "async-std",
];
/// What `wire` may use: it is what everybody else links.
const WIRE_FOREIGN: [&str; 1] = ["serde"];

/// Modules of the binary that a module must not name.
const MODULE_WALLS: [(&str, &[&str]); 2] =
    [("router", &["agent", "manager", "services"]), ("agent", &["manager", "services"])];
/// Crates of ours that a module of the binary must not name.
const MODULE_CRATE_WALLS: [(&str, &[&str]); 2] = [("router", &["store"]), ("agent", &["store"])];

/// Names of database drivers.
const DRIVERS: [&str; 4] = ["rusqlite", "tokio_postgres", "redis", "etcd_client"];
/// Words that follow each other in SQL, in capitals.
const SQL: [[&str; 2]; 6] = [
    ["INSERT", "INTO"],
    ["DELETE", "FROM"],
    ["CREATE", "TABLE"],
    ["DROP", "TABLE"],
    ["ORDER", "BY"],
    ["BEGIN", "IMMEDIATE"],
];

/// Judges a crate's manifest.
pub fn judge_manifest(file: &TextFile) -> Vec<Finding> {
    let finding = |text: String| Finding::new(&file.path, 0, text);
    let Ok(manifest) = Document::parse(file.text.as_str()) else {
        return vec![finding("is not TOML".into())];
    };
    let parts: Vec<&str> = file.path.split('/').collect();
    let name = parts.get(1).copied().unwrap_or_default();
    let Some((_, allowed)) = CRATE_EDGES.iter().find(|(owner, _)| *owner == name) else {
        return vec![finding(format!("crate `{name}` has no place in the house: give it edges in tidy"))];
    };
    // A crate within another drives it from outside the workspace, whose lints it cannot take over.
    let is_driver = parts.len() > 3 && manifest.contains_key("workspace");
    let allowed = if is_driver { &[name][..] } else { allowed };
    let table = |section: &str| -> Vec<String> {
        let table = manifest.get(section).and_then(|item| item.as_table_like());
        table.map(keys).unwrap_or_default()
    };
    let is_ours = |dependency: &String| CRATE_EDGES.iter().any(|(owner, _)| owner == dependency);
    let mut findings = Vec::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for dependency in table(section).iter().filter(|dependency| is_ours(dependency)) {
            let is_for_tests =
                section == "dev-dependencies" && TEST_EDGES.contains(&(name, dependency.as_str()));
            if !allowed.contains(&dependency.as_str()) && !is_for_tests {
                findings.push(finding(format!("`{name}` must not depend on `{dependency}`")));
            }
        }
    }
    let foreign: Vec<String> =
        table("dependencies").into_iter().filter(|dependency| !is_ours(dependency)).collect();
    findings.extend(foreign_crates(name, &foreign).into_iter().map(finding));
    let lints = manifest.get("lints").and_then(|item| item.as_table_like());
    if lints.and_then(|lints| lints.get("workspace")?.as_bool()) != Some(true) && !is_driver {
        findings.push(finding("needs `[lints] workspace = true`: the lints hold for all crates".into()));
    }
    findings
}

fn keys(table: &dyn TableLike) -> Vec<String> {
    table.iter().map(|(key, _)| key.to_owned()).collect()
}

fn foreign_crates(name: &str, foreign: &[String]) -> Vec<String> {
    let mut texts = Vec::new();
    if name == "wire" {
        let wrong = foreign.iter().filter(|dependency| !WIRE_FOREIGN.contains(&dependency.as_str()));
        texts.extend(wrong.map(|dependency| format!("`wire` depends on serde only, not on `{dependency}`")));
    }
    if name == "logic" {
        let wrong = foreign.iter().filter(|dependency| DOING_CRATES.contains(&dependency.as_str()));
        texts.extend(wrong.map(|dependency| format!("`logic` decides only: `{dependency}` does things")));
        if foreign.len() > LOGIC_FOREIGN_MAX {
            texts.push(format!("`logic` uses {} other crates, at most {LOGIC_FOREIGN_MAX}", foreign.len()));
        }
    }
    if name != "store" {
        let is_driver = |dependency: &&String| DRIVERS.contains(&dependency.replace('-', "_").as_str());
        let wrong = foreign.iter().filter(is_driver);
        texts.extend(wrong.map(|dependency| format!("`{dependency}` is a driver: only `store` may use it")));
    }
    texts
}

/// Judges the walls between the modules of the binary.
pub fn judge_modules(source: &Source) -> Vec<Finding> {
    let Some(inside) = source.path.strip_prefix("crates/muster/src/") else { return Vec::new() };
    let module = inside.split(['/', '.']).next().unwrap_or_default();
    let depth = module_depth(inside);
    let of = |walls: &[(&str, &'static [&'static str])]| -> &'static [&'static str] {
        walls.iter().find(|(owner, _)| *owner == module).map_or(&[], |(_, forbidden)| forbidden)
    };
    let (modules, crates) = (of(&MODULE_WALLS), of(&MODULE_CRATE_WALLS));
    let mut findings = Vec::new();
    for path in source.paths() {
        let named = from_crate_root(&path, depth);
        let wrong_module = named.filter(|named| modules.contains(named));
        let wrong_crate = path
            .parts
            .first()
            .map(String::as_str)
            .filter(|first| path.parts.len() > 1 && crates.contains(first));
        for wrong in wrong_module.into_iter().chain(wrong_crate) {
            let text = format!("`{module}` must not know `{wrong}`");
            findings.push(Finding::new(&source.path, path.line, text));
        }
    }
    findings
}

/// How many `super` lead from a file of the binary to the crate's root.
fn module_depth(inside: &str) -> usize {
    let parts = inside.trim_end_matches(".rs").split('/');
    parts.filter(|part| !["mod", "main", "lib"].contains(part)).count()
}

/// The top module that `path` names, be it by `crate::` or by as many `super::` as lead to the root.
fn from_crate_root(path: &CodePath, depth: usize) -> Option<&str> {
    let supers = path.parts.iter().take_while(|part| *part == "super").count();
    let skipped = if path.parts[0] == "crate" {
        1
    } else if supers >= depth && supers > 0 {
        supers
    } else {
        return None;
    };
    path.parts.get(skipped).map(String::as_str)
}

/// Judges that SQL and the names of drivers stay in `store`.
pub fn judge_sql(source: &Source) -> Vec<Finding> {
    if source.path.starts_with("crates/store/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for path in source.paths() {
        if path.parts.len() > 1 && DRIVERS.contains(&path.parts[0].as_str()) {
            let text = format!("`{}` is a driver: only `store` may name it", path.parts[0]);
            findings.push(Finding::new(&source.path, path.line, text));
        }
    }
    for (index, line) in source.layers.literals.lines().enumerate() {
        let words: Vec<&str> = line.split(|character: char| !character.is_ascii_alphabetic()).collect();
        let is_sql = words.windows(2).any(|pair| SQL.iter().any(|sql| sql == pair));
        let is_query = words.contains(&SELECT) && words.contains(&FROM);
        if is_sql || is_query {
            findings.push(Finding::new(&source.path, index + 1, "SQL: only `store` may speak it"));
        }
    }
    findings
}

const SELECT: &str = "SELECT";
const FROM: &str = "FROM";
