//! Holds that `logic` only decides: no I/O, clock, chance, thread, global or log in its code.
//!
//! Addresses (`std::net::SocketAddr` and the like) are data and allowed. Tests of `logic` may read files and print.

use super::Finding;
use super::source::{CodePath, Source};

/// Paths that `logic` must not name, and what they would bring in.
const FORBIDDEN: [(&[&str], &str); 13] = [
    (&["std", "fs"], "I/O"),
    (&["std", "io"], "I/O"),
    (&["std", "os"], "I/O"),
    (&["std", "env"], "the environment"),
    (&["std", "process"], "processes"),
    (&["std", "thread"], "threads"),
    (&["std", "sync"], "threads"),
    (&["std", "time", "Instant"], "a clock"),
    (&["std", "time", "SystemTime"], "a clock"),
    (&["std", "time", "*"], "a clock"),
    (&["std", "hash", "RandomState"], "chance"),
    (&["rand"], "chance"),
    (&["tracing"], "a log"),
];

/// Parts of `std::net` that are data.
const NET_DATA: [&str; 7] =
    ["SocketAddr", "SocketAddrV4", "SocketAddrV6", "IpAddr", "Ipv4Addr", "Ipv6Addr", "AddrParseError"];

const PRINTING: [&str; 5] = ["println", "print", "eprintln", "eprint", "thread_local"];

/// Judges one file; files of other crates have nothing to fear.
pub fn judge(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("crates/logic/src/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut find = |line: usize, text: String| {
        if !source.is_test_line(line) {
            findings.push(Finding::new(&source.path, line, text));
        }
    };
    for path in source.paths() {
        if let Some(what) = brings(&path) {
            find(path.line, format!("`{}` brings {what} into `logic`", path.parts.join("::")));
        }
    }
    for pair in source.tokens.windows(2) {
        let (first, second) = (pair[0].text.as_str(), pair[1].text.as_str());
        if second == "!" && PRINTING.contains(&first) {
            find(pair[0].line, format!("`{first}!` is not for `logic`"));
        }
    }
    for (at, pair) in source.tokens.windows(2).enumerate() {
        let (first, second) = (pair[0].text.as_str(), pair[1].text.as_str());
        // `&'static Type` is a lifetime and no global.
        let is_lifetime = at > 0 && source.tokens[at - 1].text == "'";
        let is_item = second == "mut" || second.starts_with(|first: char| first.is_uppercase());
        if first == "static" && is_item && !is_lifetime {
            find(pair[0].line, "a global is not for `logic`: use a constant or pass state".into());
        }
    }
    findings
}

fn brings(path: &CodePath) -> Option<&'static str> {
    if path.starts_with(&["std", "net"]) {
        let is_data = path.parts.get(2).is_some_and(|part| NET_DATA.contains(&part.as_str()));
        return (!is_data).then_some("I/O");
    }
    // A bare word such as `rand` may be a variable; a path below it cannot.
    let is_named = |prefix: &[&str]| path.starts_with(prefix) && path.parts.len() > 1;
    FORBIDDEN.iter().find(|(prefix, _)| is_named(prefix)).map(|(_, what)| *what)
}
