//! Lines of the access log, and the patterns that are refused.

use super::*;

const HEAD: &[u8] = b"GET /new HTTP/1.1\r\nHost: shop:80\r\nUser-Agent: \"x\\\r\nReferer: http://a/\xe4\r\n\
traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX-Id:7\r\n\r\n";

fn line() -> Line<'static> {
    Line {
        unix_ms: 1_795_305_661_042,
        router: "front",
        client: "10.0.0.9",
        request: "GET /\"x\\?q=1",
        protocol: "HTTP/1.1",
        head: HEAD,
        status: 200,
        bytes_in: 1,
        bytes_out: 2,
        body_bytes: 3,
        duration_us: 40,
        phases: Some(Phases { connect_us: 1, send_us: 2, wait_us: 30, answer_us: 7 }),
        route: "*/",
        cluster: "shop",
        member: "shop-1",
        retries: 1,
        ..Line::default()
    }
}

fn written(pattern: &str, line: &Line<'_>) -> String {
    let mut out = String::new();
    Pattern::parse(pattern).expect("a pattern").write(line, &mut out);
    out
}

#[test]
fn common_and_combined_are_what_readers_of_logs_expect() {
    assert_eq!(
        written(COMMON, &line()),
        r#"10.0.0.9 - - [22/Nov/2026:00:01:01 +0000] "GET /\x22x\x5c?q=1 HTTP/1.1" 200 3"#
    );
    assert!(written(COMBINED, &line()).ends_with(r#" 200 3 "http://a/\xe4" "\x22x\x5c""#));
    let unread = Line { client: "1.2.3.4", status: 400, ..Line::default() };
    assert_eq!(written(COMBINED, &unread), r#"1.2.3.4 - - [01/Jan/1970:00:00:00 +0000] "-" 400 0 "-" "-""#);
}

#[test]
fn a_pattern_has_what_it_names() {
    let pattern = "{time}|{method}|{path}|{query}|{host}|{header:x-id}|{header:none}|{member}|{tls}|{trace_id}|{wait_us}";
    assert_eq!(
        written(pattern, &line()),
        r"2026-11-22T00:01:01.042Z|GET|/\x22x\x5c|q=1|shop:80|7|-|shop-1|-|4bf92f3577b34da6a3ce929d0e0e4736|30"
    );
    for wrong in ["", "text", "{nobody}", "{", "{client", "}", "{client}\n", "{header:}", "{header:a b}"] {
        assert!(check(wrong).is_err(), "{wrong:?} was taken");
    }
}

#[test]
fn json_is_json_whatever_the_request_holds() {
    let mut out = String::new();
    let nasty = Line { request: "GET /\"\\\u{2028}\u{7f}\n", client: "x\"y", ..line() };
    nasty.json(&mut out);
    assert!(!out.contains('\n') && !out.contains('\u{2028}'), "{out}");
    assert!(
        out.starts_with(
            r#"{"time":"2026-11-22T00:01:01.042Z","time_ms":1795305661042,"router":"front","client":"x\"y""#
        ),
        "{out}"
    );
    assert!(out.contains(r#""target":"/\"\\\u2028\u007f\u000a","protocol""#), "{out}");
    assert!(out.contains(r#""tls":null"#) && out.contains(r#""retries":1"#), "{out}");
}

#[test]
fn garbage_is_no_trace_id() {
    let head = b"GET / HTTP/1.1\r\ntraceparent: 00-\"}-evil-01\r\n\r\n";
    assert_eq!(written("{trace_id}", &Line { head, ..line() }), "-");
}

#[test]
fn dates_are_those_of_the_calendar() {
    assert_eq!(common_time(0), "01/Jan/1970:00:00:00 +0000");
    assert_eq!(common_time(951_782_399), "28/Feb/2000:23:59:59 +0000");
    assert_eq!(common_time(951_782_400), "29/Feb/2000:00:00:00 +0000");
    assert_eq!(common_time(1_795_305_600 + 61), "22/Nov/2026:00:01:01 +0000");
    assert_eq!(common_time(4_107_542_400), "01/Mar/2100:00:00:00 +0000");
}

/// The page for users lists every field, and no other.
#[test]
fn every_field_is_documented() {
    let page = include_str!("../../../../docs/reference/access-log.md");
    let listed: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `{")?.split_once("}`"))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("header:"))
        .collect();
    let known: Vec<&str> = FIELDS.iter().map(|(name, _, _)| *name).collect();
    assert_eq!(listed, known);
}
