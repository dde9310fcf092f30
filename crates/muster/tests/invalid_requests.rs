//! Requests that others collected (gunicorn's test suite): invalid ones are refused or closed and none reaches a
//! member, valid ones pass. Where we differ on purpose, the reason stands in `DIFFERENCES`.
//!
//! `cargo xtask test --only fixtures` fetches the corpus. Its files hold line ends and other bytes as escapes, and their
//! own line breaks mean nothing.

mod support;

use std::fs;
use std::path::PathBuf;
use support::cell::Cell;
use support::http::{self, Connection};
use support::member::RecordingMember;
use support::{Scratch, root, wait_for};

const CORPUS: &str = "target/fixtures/gunicorn-27.0.1/tests/requests";
const INVALID_REQUESTS: usize = 81;
const VALID_REQUESTS: usize = 62;

/// gunicorn's own limit of a line; some of its invalid requests are only too long.
const GUNICORN_LINE_MAX_BYTES: usize = 4094;

/// Valid requests that we refuse, and why. Whoever is not in this list must pass.
const DIFFERENCES: &[(&str, &str)] = &[
    ("002", NO_HOST_NAME),
    ("003", NO_HOST_NAME),
    ("005", "a fragment is no part of a target (RFC 9112, 3.2): some servers cut it off and others do not"),
    ("024", TOO_LONG),
    ("025", CODINGS),
    ("025_line", CODINGS),
    ("026", TOO_LONG),
    ("028", "a space before the colon is how requests are smuggled; gunicorn only bears it when told to"),
    ("029", CODINGS),
    ("030", CODINGS),
    ("031", METHOD),
    ("031compat", METHOD),
    ("031compat2", METHOD),
    ("040", UNDERSCORES),
    ("040_compat", UNDERSCORES),
    ("099", "it announces 17,914 bytes of body and sends fewer, so there is nothing to answer"),
    ("compat_obs_fold", FOLDED),
    ("compat_obs_fold_huge", FOLDED),
    ("pp_01", PROXY_PROTOCOL),
    ("pp_02", PROXY_PROTOCOL),
    ("pp_04", PROXY_PROTOCOL),
    ("pp_05", PROXY_PROTOCOL),
    ("rfc9112_smuggle_gzip_chunked_01", CODINGS),
    ("rfc9112_smuggle_te_identity_chunked_01", CODINGS),
    (
        "rfc9112_target_absolute_userinfo_01",
        "a password in the target is deprecated (RFC 9110, 4.2.4) and ends in logs",
    ),
    ("rfc9112_target_authority_connect_01", CONNECT),
    ("rfc9112_target_authority_ipv6_01", CONNECT),
];

const NO_HOST_NAME: &str =
    "`=` is in no host name; the corpus has the same request among its invalid ones (011)";
const TOO_LONG: &str =
    "a line of the head is longer than 8,190 bytes, which gunicorn only bears when told to";
const CODINGS: &str = "chunked alone is the one coding that every member reads as we do";
const METHOD: &str =
    "a method that begins with `-` could be read as an option by what stands behind a member";
const UNDERSCORES: &str = "`Content_Length` and `Content-Length` are one name to CGI-like members";
const FOLDED: &str = "folded lines are obsolete (RFC 9112, 5.2); gunicorn only bears them when told to";
const PROXY_PROTOCOL: &str = "the PROXY protocol must be switched on for a listener, which it is not here";
const CONNECT: &str = "the router stands before known members; it is no proxy to anywhere";

struct Case {
    name: String,
    bytes: Vec<u8>,
    /// How many requests its description speaks of.
    requests: usize,
}

fn cases(kind: &str) -> Vec<Case> {
    let directory = root().join(CORPUS).join(kind);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| {
        panic!("{}: {error}: `cargo xtask test --only fixtures` fetches it", directory.display())
    });
    let paths = entries.map(|entry| entry.expect("the directory can be read").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "http")).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let description = fs::read_to_string(path.with_extension("py")).expect("each case has a description");
        let text = fs::read(&path).expect("a listed file can be read");
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Case { name, bytes: decode(&text), requests: description.matches("\"method\":").count() }
    };
    paths.into_iter().map(read).collect()
}

/// Undoes the escapes of the corpus, in the order in which its own reader does.
fn decode(text: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\n').collect();
    let mut bytes = text;
    for (escape, meaning) in [(r"\r\n", "\r\n"), (r"\0", "\0"), (r"\n", "\n"), (r"\t", "\t")] {
        bytes = replace(&bytes, escape.as_bytes(), meaning.as_bytes());
    }
    decode_hexadecimal(&bytes)
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(from) {
            out.extend_from_slice(to);
            at += from.len();
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

fn decode_hexadecimal(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes[at..].strip_prefix(br"\x").and_then(|rest| rest.get(..2));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

fn start(scratch: &Scratch, member: &RecordingMember, limits: &str) -> Cell {
    let tables = format!("{limits}[clusters.corpus.members.recorder]\naddress = \"{}\"\n", member.address);
    let cell = Cell::start(scratch, &tables);
    cell.wait_until_all_up("corpus");
    member.take();
    cell
}

/// Sends bytes, says that there is no more, and gives all that comes back.
fn exchange(cell: &Cell, name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut connection = Connection::open(cell.router);
    // The router may refuse before it has read everything; then the rest finds no reader.
    let _ = connection.send(bytes);
    connection.finish();
    connection
        .read_to_end()
        .unwrap_or_else(|error| panic!("{name}: the router neither answers nor closes: {error}"))
}

fn status_of(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

#[test]
fn every_invalid_request_is_refused_and_none_reaches_a_member() {
    let scratch = Scratch::new();
    let member = RecordingMember::start();
    let limits = format!("[routers.front.limits]\nhead_size_max_bytes = {GUNICORN_LINE_MAX_BYTES}\n\n");
    let cell = start(&scratch, &member, &limits);
    let cases = cases("invalid");
    assert_eq!(cases.len(), INVALID_REQUESTS);
    let mut wrong = Vec::new();
    let mut refused = 0;
    for case in &cases {
        let answer = exchange(&cell, &case.name, &case.bytes);
        let reached = member.take();
        let is_refused =
            answer.is_empty() || status_of(&answer).is_some_and(|status| (400..600).contains(&status));
        refused += u64::from(!answer.is_empty());
        if !is_refused || !reached.is_empty() {
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let reached: Vec<_> =
                reached.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
            wrong.push(format!("{}: answer {answer:?}, reached the member {reached:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    wait_for("the router to report what it refused", || {
        let found: u64 = cell.status().routers.iter().map(|router| router.totals.refused).sum();
        if found >= refused { Ok(()) } else { Err(format!("{found} of {refused}")) }
    });
    assert_eq!(http::get(cell.router, "/").expect("the router still serves").text(), "ok\n");
    cell.stop();
}

/// The request with a Host line, which HTTP/1.1 demands and most of the corpus lacks; none if it has one or needs none.
fn with_host(bytes: &[u8]) -> Option<Vec<u8>> {
    let lower = bytes.to_ascii_lowercase();
    let has_host = lower.windows(6).any(|window| window == b"\nhost:");
    let line_end = b" HTTP/1.1\r\n";
    let is_version_11 = bytes.windows(line_end.len()).any(|window| window == line_end);
    (is_version_11 && !has_host).then(|| replace(bytes, line_end, b" HTTP/1.1\r\nHost: corpus\r\n"))
}

/// What is wrong with how the router treats a valid request.
fn judge_valid(cell: &Cell, member: &RecordingMember, case: &Case, bytes: &[u8]) -> Option<String> {
    let answer = exchange(cell, &case.name, bytes);
    let reached = member.take();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let passed = text.matches("\r\n\r\nok\n").count();
    let difference = DIFFERENCES.iter().find(|(name, _)| *name == case.name);
    match difference {
        None if passed == case.requests => None,
        None => Some(format!(
            "{}: {passed} of {} passed: {text:?}, member got {}",
            case.name,
            case.requests,
            reached.len()
        )),
        Some(_) if passed == 0 => None,
        Some((_, reason)) => Some(format!("{}: passes, although: {reason}", case.name)),
    }
}

#[test]
fn every_valid_request_passes_but_for_the_listed_differences() {
    let scratch = Scratch::new();
    let member = RecordingMember::start();
    let cell = start(&scratch, &member, "");
    let cases = cases("valid");
    assert_eq!(cases.len(), VALID_REQUESTS);
    let mut wrong = Vec::new();
    for case in &cases {
        let Some(with_host) = with_host(&case.bytes) else {
            wrong.extend(judge_valid(&cell, &member, case, &case.bytes));
            continue;
        };
        wrong.extend(judge_valid(&cell, &member, case, &with_host));
    }
    for (name, _) in DIFFERENCES {
        assert!(cases.iter().any(|case| case.name == *name), "{name} is listed but not there");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    cell.stop();
}

#[test]
fn a_version_11_request_without_host_is_refused() {
    let scratch = Scratch::new();
    let member = RecordingMember::start();
    let cell = start(&scratch, &member, "");
    let answer = exchange(&cell, "no host", b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(status_of(&answer), Some(400), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(member.take(), Vec::<Vec<u8>>::new());
    cell.stop();
}
