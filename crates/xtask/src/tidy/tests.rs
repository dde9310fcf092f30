//! Each rule with a case that it refuses and one that it lets pass, and the project itself.

use super::*;
use crate::repository::TextFile;

fn file(path: &str, text: &str) -> TextFile {
    TextFile { path: path.into(), text: text.into() }
}

fn source(path: &str, text: &str) -> Source {
    Source::new(&file(path, text))
}

/// What the rules for one Rust file say, as `line text`.
fn check(path: &str, text: &str) -> Vec<String> {
    let source = source(path, text);
    let mut findings = shape::judge(&source);
    findings.extend(edges::judge_modules(&source));
    findings.extend(edges::judge_sql(&source));
    findings.extend(purity::judge(&source));
    findings.iter().map(|finding| format!("{} {}", finding.line, finding.text)).collect()
}

fn check_one(path: &str, text: &str, wanted: &str) {
    let findings = check(path, text);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].contains(wanted), "{findings:?}");
}

fn check_fine(path: &str, text: &str) {
    assert_eq!(check(path, text), Vec::<String>::new());
}

fn check_documents(files: &[TextFile], sources: &[Source]) -> Vec<String> {
    let is_there = |path: &str| files.iter().any(|file| file.path == path || file.path.starts_with(path));
    documents::judge(files, sources, &is_there).iter().map(Finding::to_string).collect()
}

#[test]
fn the_project_keeps_its_own_rules() {
    let findings = findings(&repository::root()).expect("the project can be read");
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn lexer_tells_code_from_comments_and_literals() {
    let text = "let a = \"// no \\\" {\"; // {\nlet b = '{'; /* { /* { */ } */ let c: &'a str = r#\"\"{\"#; b'\\''; '\\u{7b}'";
    let layers = lexer::layers(text);
    assert!(!layers.code.contains(['{', '}']), "{}", layers.code);
    assert_eq!(layers.code.lines().count(), 2);
    assert_eq!(layers.code.len(), text.len());
    assert!(layers.code.contains("let c: &'a str ="), "{}", layers.code);
    assert_eq!(layers.comments.trim_start().lines().next(), Some("// {"));
    assert!(layers.literals.contains("// no \\\" {"));
}

#[test]
fn lexer_copes_with_letters_beyond_ascii() {
    let layers = lexer::layers("let ä = 'ß'; // ü");
    assert_eq!(layers.code.trim_end(), "let ä =     ;");
    assert_eq!(layers.comments.trim_start(), "// ü");
}

#[test]
fn grouped_imports_are_the_same_paths_as_single_ones() {
    let source = source(
        "a.rs",
        "use std::{fmt, collections::{BTreeMap as Map, *}, time::Duration};\nlet x = ::a::b();",
    );
    let paths: Vec<String> = source.paths().iter().map(|path| path.parts.join("::")).collect();
    for wanted in
        ["std::fmt", "std::collections::BTreeMap", "std::collections::*", "std::time::Duration", "a::b"]
    {
        assert!(paths.iter().any(|path| path == wanted), "{wanted} is missing in {paths:?}");
    }
}

#[test]
fn a_file_says_what_it_is() {
    check_one("crates/wire/src/a.rs", "use std::fmt;\n", "starts with `//!`");
    check_one(
        "crates/wire/src/a.rs",
        concat!("//! Place", "holder until later.\n"),
        "not a part of the product",
    );
    check_fine("crates/wire/src/a.rs", "//! Names.\n");
}

#[test]
fn a_long_file_holds_two_ideas_and_its_tests_do_not_count() {
    let long = format!("//! Long.\n{}", "use a;\n".repeat(600));
    check_one("crates/wire/src/a.rs", &long, "601 lines without tests");
    check_fine("crates/wire/src/a/tests.rs", &long);
    let with_tests = format!(
        "//! Long.\n{}#[cfg(test)]\nmod tests {{\n{}}}\n",
        "use a;\n".repeat(599),
        "use b;\n".repeat(99)
    );
    check_fine("crates/wire/src/a.rs", &with_tests);
}

#[test]
fn a_long_function_is_found_in_spite_of_braces_in_text() {
    let function =
        |lines: usize| format!("//! F.\nfn f(x: [u8; 2]) {{\n{}}}\n", "g(\"}\", '}'); // }\n".repeat(lines));
    check_fine("crates/wire/src/a.rs", &function(68));
    check_one("crates/wire/src/a.rs", &function(69), "function `f` has 71 lines");
    let data = format!("//! F.\nfn f() {{\n    g(\"\n{}\");\n}}\n", "text\n".repeat(200));
    check_fine("crates/wire/src/a.rs", &data);
    check_fine(
        "crates/wire/src/a.rs",
        &format!("//! F.\nfn declared();\nstruct A {{\n{}}}\n", "a: u8,\n".repeat(80)),
    );
}

#[test]
fn unfinished_work_is_refused() {
    check_one("crates/wire/src/a.rs", concat!("//! A.\n// TO", "DO: more\n"), "finish it");
    check_one("crates/wire/src/a.rs", "//! A.\nfn f() { todo!() }\n", "not for finished code");
    check_fine("crates/wire/src/a.rs", "//! A.\nconst A: &str = \"todo!\";\n");
    let note = shape::judge_text(&file("a.md", concat!("# A\n\nFIX", "ME\n")));
    assert_eq!(note.len(), 1, "{note:?}");
}

#[test]
fn tests_are_not_ignored_and_lints_not_silenced_without_reason() {
    check_one("crates/wire/src/a.rs", "//! A.\n#[ignore]\nfn f() {}\n", "ignored test");
    check_one("crates/wire/src/a.rs", "//! A.\n#[ignore = \"slow\"]\nfn f() {}\n", "ignored test");
    check_one("crates/wire/src/a.rs", "//! A.\n#[allow(dead_code)]\nfn f() {}\n", "needs a reason");
    check_one("crates/wire/src/a.rs", "//! A.\n#![expect(dead_code)]\n", "needs a reason");
    check_fine("crates/wire/src/a.rs", "//! A.\n#[allow(dead_code)] // only in debug builds\nfn f() {}\n");
    check_fine("crates/wire/src/a.rs", "//! A.\n#[expect(dead_code, reason = \"why\")]\nfn f() {}\n");
}

#[test]
fn every_bound_has_a_reason() {
    check_one("crates/logic/src/limits.rs", "//! L.\npub const A: u32 = 3;\n", "bound `A`");
    check_fine(
        "crates/logic/src/limits.rs",
        "//! L.\n/// Three: why.\n#[cfg(unix)]\npub const A: u32 = 3;\n",
    );
    check_one("crates/muster/src/a.rs", "//! A.\nconst ROWS_MAX: u32 = 3;\n", "bound `ROWS_MAX`");
    check_fine("crates/muster/src/a.rs", "//! A.\nconst ROWS: u32 = 3;\n");
}

#[test]
fn queues_without_a_bound_are_refused() {
    let import = concat!("//! A.\nuse tokio::sync::mpsc::{Sender, unbounded", "_channel};\n");
    check_one("crates/muster/src/a.rs", import, "no bound");
    check_one("crates/muster/src/a.rs", "//! A.\nfn f() { std::sync::mpsc::channel(); }\n", "no bound");
    check_fine("crates/muster/src/a.rs", "//! A.\nfn f() { tokio::sync::mpsc::channel(8); }\n");
}

#[test]
fn unsafe_is_refused() {
    check_one("crates/muster/src/a.rs", "//! A.\nfn f() { unsafe { g() } }\n", "not for this project");
    check_fine("crates/muster/src/a.rs", "//! A: nothing unsafe.\nconst A: &str = \"unsafe\";\n");
}

#[test]
fn text_is_clean() {
    for (text, wanted) in
        [("# A \n", "blank"), ("# A\n\tb\n", "tab"), ("# A", "line break"), ("# A\n\n", "empty")]
    {
        let findings = shape::judge_text(&file("a.md", text));
        assert!(findings.len() == 1 && findings[0].text.contains(wanted), "{text:?}: {findings:?}");
    }
    assert_eq!(shape::judge_text(&file("a.md", "# A\n")), vec![]);
    let quoted = "//! A.\nconst A: &str = \"a \nb\";\n";
    assert_eq!(shape::judge_text(&file("a.rs", quoted)), vec![]);
    assert_eq!(shape::judge_text(&file("a.rs", "//! A. \n")).len(), 1);
}

#[test]
fn router_and_agent_know_only_what_they_may() {
    let router = "crates/muster/src/router/relay.rs";
    check_one(router, "//! R.\nuse crate::manager::handle;\n", "must not know `manager`");
    check_one(router, "//! R.\nuse crate::{clock, agent::Agent};\n", "must not know `agent`");
    check_one(router, "//! R.\nuse super::super::agent::Agent;\n", "must not know `agent`");
    check_one(router, "//! R.\nfn f() { crate::services::call(); }\n", "must not know `services`");
    check_fine(router, "//! R.\nuse super::agent;\nuse crate::clock::Clock;\n");
    let agent = "crates/muster/src/agent/mod.rs";
    check_one(agent, "//! A.\nuse crate::manager;\n", "must not know `manager`");
    check_one(agent, "//! A.\nuse super::manager::Handle;\n", "must not know `manager`");
    check_one(agent, "//! A.\nuse store::Store;\n", "must not know `store`");
    check_fine("crates/muster/src/manager/mod.rs", "//! M.\nuse store::Store;\nuse crate::router;\n");
}

#[test]
fn sql_and_drivers_stay_in_store() {
    let insert = format!("//! A.\nconst A: &str = \"{} INTO t\";\n", "INSERT");
    let select = "SELECT";
    let query = format!("//! A.\nconst A: &str = \"{select} a FROM t\";\n");
    check_one("crates/muster/src/a.rs", &insert, "SQL");
    check_one("crates/muster/src/a.rs", &query, "SQL");
    check_one("crates/muster/src/a.rs", "//! A.\nuse rusqlite::Connection;\n", "driver");
    check_fine("crates/store/src/a.rs", &insert);
    check_fine("crates/store/src/a.rs", "//! A.\nuse rusqlite::Connection;\n");
    check_fine("crates/muster/src/a.rs", "//! A.\nconst A: &str = \"Select a member FROM the list\";\n");
}

#[test]
fn logic_only_decides() {
    let path = "crates/logic/src/a.rs";
    check_one(path, "//! A.\nuse std::{fmt, fs};\n", "brings I/O");
    check_one(path, "//! A.\nuse std::time::{Duration, Instant};\n", "brings a clock");
    check_one(path, "//! A.\nuse std::net::TcpStream;\n", "brings I/O");
    check_one(path, "//! A.\nfn f() { std::env::var(\"A\"); }\n", "the environment");
    check_one(path, "//! A.\nfn f() { println!(\"a\"); }\n", "not for `logic`");
    check_one(path, "//! A.\nstatic COUNT: AtomicU64 = AtomicU64::new(0);\n", "a global");
    check_one(path, "//! A.\nfn f() { tracing::info!(\"a\"); }\n", "a log");
    check_fine(path, "//! A.\nuse std::{net::SocketAddr, time::Duration};\nfn f(a: &'static str) {}\n");
    check_fine(path, "//! A.\nfn f(a: &'static Table) {}\n");
    check_fine("crates/logic/src/a/tests.rs", "//! A.\nuse std::fs;\n");
    check_fine("crates/muster/src/a.rs", "//! A.\nuse std::fs;\n");
}

#[test]
fn crates_depend_only_along_the_edges() {
    let manifest = |name: &str, dependencies: &str| {
        let text = format!("[dependencies]\n{dependencies}\n[lints]\nworkspace = true\n");
        let findings = edges::judge_manifest(&file(&format!("crates/{name}/Cargo.toml"), &text));
        findings.into_iter().map(|finding| finding.text).collect::<Vec<_>>()
    };
    let one = |name: &str, dependencies: &str, wanted: &str| {
        let findings = manifest(name, dependencies);
        assert!(findings.len() == 1 && findings[0].contains(wanted), "{findings:?}");
    };
    one("logic", "store.workspace = true", "must not depend on `store`");
    one("sim", "muster = { path = \"../muster\" }", "must not depend on `muster`");
    one("wire", "tokio = \"1\"", "serde only");
    one("logic", "tokio = \"1\"", "does things");
    one("logic", "a = \"1\"\nb = \"1\"\nc = \"1\"\nd = \"1\"\ne = \"1\"", "at most 4");
    one("muster", "rusqlite = \"1\"", "only `store`");
    one("muster", "client.workspace = true", "must not depend on `client`");
    one("client", "logic.workspace = true", "must not depend on `logic`");
    assert_eq!(manifest("muster", "\n[dev-dependencies]\nclient.workspace = true"), Vec::<String>::new());
    one("new", "", "no place in the house");
    assert_eq!(manifest("muster", "store.workspace = true\ntokio = \"1\""), Vec::<String>::new());
    let loose = edges::judge_manifest(&file("crates/wire/Cargo.toml", "[package]\nname = \"wire\"\n"));
    assert!(loose.len() == 1 && loose[0].text.contains("lints"), "{loose:?}");
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let codes = |text: &str| vec![source("crates/wire/src/error_code.rs", text)];
    let page = |name: &str| file(&format!("docs/errors/{name}.md"), "# A\n");
    let check = |text: &str, files: &[TextFile]| -> Vec<String> {
        errors::judge(&codes(text), files).iter().map(Finding::to_string).collect()
    };
    let one = "const A: ErrorCode = ErrorCode(\"M1001\");\n";
    assert_eq!(check(one, &[page("M1001"), page("README")]), Vec::<String>::new());
    assert!(check(one, &[])[0].contains("has no page"));
    assert!(check("", &[page("M1001")])[0].contains("does not exist"));
    assert!(check(&one.repeat(2), &[page("M1001")])[0].contains("already given"));
}

#[test]
fn every_kind_of_event_has_a_section_and_every_section_a_kind() {
    let check = |kinds: &str, code: &str, page: &str| -> Vec<String> {
        let sources =
            [source("crates/wire/src/event_kind.rs", kinds), source("crates/logic/src/cell.rs", code)];
        let files = [file("docs/operate/alerts.md", page)];
        events::judge(&sources, &files).iter().map(Finding::to_string).collect()
    };
    let (kinds, code, page) = ("    \"node-lost\",\n", "tell(\"node-lost\")", "# A\n\n### `node-lost`\n");
    assert_eq!(check(kinds, code, page), Vec::<String>::new());
    assert!(check(kinds, code, "# A\n")[0].contains("has no section"));
    assert!(check("", code, page)[0].contains("is no kind of event"));
    assert!(check(kinds, "", page)[0].contains("no code tells"));
    assert!(check(&kinds.repeat(2), code, page)[0].contains("stands twice"));
    assert!(check(kinds, code, &page.repeat(2))[0].contains("second section"));
}

#[test]
fn documents_have_one_title_and_links_that_lead_somewhere() {
    let fine =
        file("docs/a.md", "# A\n\n[b](b.md#two-words) [c](../README.md) [d](#a) [e](https://example.com)\n");
    let other = file("docs/b.md", "# B\n\n## Two words\n```\n# no title\n```\n");
    let readme = file("README.md", "# R\n");
    assert_eq!(check_documents(&[fine, other.clone(), readme], &[]), Vec::<String>::new());
    for (text, wanted) in [
        ("no title\n", "has no"),
        ("# A\n\n# B\n", "second"),
        ("# A\n\n[x](missing.md)\n", "leads nowhere"),
        ("# A\n\n[x](b.md#three)\n", "leads nowhere"),
        ("# A\n\n[x](../../out.md)\n", "leads nowhere"),
    ] {
        let findings = check_documents(&[file("docs/a.md", text), other.clone()], &[]);
        assert!(findings.len() == 1 && findings[0].contains(wanted), "{text:?}: {findings:?}");
    }
}

#[test]
fn names_in_the_architecture_exist() {
    let code = source(
        "crates/logic/src/machine.rs",
        "pub trait Machine {\n    fn step();\n}\npub enum Kind { Fast }\n",
    );
    let manifest = file("crates/logic/Cargo.toml", "");
    let check = |names: &str| {
        let map = file("ARCHITECTURE.md", &format!("# A\n\n{names}\n"));
        check_documents(&[map, manifest.clone()], std::slice::from_ref(&code))
    };
    assert_eq!(
        check(
            "`machine::Machine`, `logic::machine`, `Kind::Fast`, `crates/logic/`, `/metrics`, `cargo test`"
        ),
        Vec::<String>::new()
    );
    for wrong in
        ["`machine::Engine`", "`logic::engine`", "`Kind::Slow`", "`crates/engine/`", "`logic/engine.rs`"]
    {
        let findings = check(wrong);
        assert!(findings.len() == 1 && findings[0].contains("does not exist"), "{wrong}: {findings:?}");
    }
}

#[test]
fn licences_are_read_as_expressions() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned).into();
    for fine in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(dependencies::is_licensed(fine, &allowed), "{fine}");
    }
    for wrong in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND OpenSSL", "MIT MIT"] {
        assert!(!dependencies::is_licensed(wrong, &allowed), "{wrong}");
    }
}

#[test]
fn linked_crates_obey_deny_toml() {
    let check = |skip: &str, packages: &[(&str, &str, &str, &str)]| -> Vec<String> {
        let deny = format!(
            "[licenses]\nallow = [\"MIT\"]\n[bans]\nmultiple-versions = \"deny\"\n\
             deny = [{{ crate = \"bad\", reason = \"why\" }}]\nskip = [{skip}]\n"
        );
        let package = |(name, version, license, source): &(&str, &str, &str, &str)| {
            serde_json::json!({ "id": format!("{name} {version}"), "name": name, "version": version,
                "license": license, "source": source })
        };
        let packages: Vec<_> = packages.iter().map(package).collect();
        let whole = serde_json::json!({ "packages": packages, "resolve": { "nodes": [] } });
        let metadata = serde_json::from_value(whole).expect("the shape of cargo's metadata");
        let findings = dependencies::judge(&metadata, &deny).expect("rules are well formed");
        findings.into_iter().map(|finding| finding.text).collect()
    };
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    assert_eq!(check("", &[("a", "1", "MIT", registry)]), Vec::<String>::new());
    assert!(check("", &[("a", "1", "GPL-3.0", registry)])[0].contains("not allowed"));
    assert!(check("", &[("bad", "1", "MIT", registry)])[0].contains("banned: why"));
    assert!(check("", &[("a", "1", "MIT", "git+https://example.com/a")])[0].contains("somewhere else"));
    let twice = [("a", "1", "MIT", registry), ("a", "2", "MIT", registry)];
    assert!(check("", &twice)[0].contains("more than once"));
    let skip = "{ crate = \"a@1\", reason = \"why\" }";
    assert_eq!(check(skip, &twice), Vec::<String>::new());
    assert!(check(skip, &twice[1..])[0].contains("without need"));
}

#[test]
fn banned_crate_is_borne_beneath_its_wrapper_alone() {
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    let package = |name: &str| serde_json::json!({ "id": name, "name": name, "version": "1", "license": "MIT", "source": registry });
    let findings = |users: &[&str]| {
        let nodes = users.iter().map(|user| serde_json::json!({ "id": user, "dependencies": ["bad"] }));
        let nodes: Vec<_> = nodes.collect();
        let whole = serde_json::json!({ "packages": [package("bad"), package("driver"), package("other")],
            "resolve": { "nodes": nodes } });
        let metadata = serde_json::from_value(whole).expect("the shape of cargo's metadata");
        let deny = "[licenses]\nallow = [\"MIT\"]\n[bans]\nmultiple-versions = \"deny\"\n\
            deny = [{ crate = \"bad\", wrappers = [\"driver\"], reason = \"why\" }]\n";
        dependencies::judge(&metadata, deny).expect("rules are well formed").len()
    };
    assert_eq!(findings(&["driver"]), 0);
    assert_eq!(findings(&["driver", "other"]), 1);
}

#[test]
fn an_entry_of_deny_toml_needs_a_reason() {
    let metadata = serde_json::json!({ "packages": [], "resolve": { "nodes": [] } });
    let metadata = serde_json::from_value(metadata).expect("the shape of cargo's metadata");
    let bans = "[licenses]\nallow = []\n[bans]\nmultiple-versions = \"deny\"\nskip = [{ crate = \"a@1\" }]\n";
    let failure = dependencies::judge(&metadata, bans).expect_err("no reason is given");
    assert!(failure.to_string().contains("a@1 in skip gives no reason"), "{failure}");
}
