//! What others see of a cell: its access log in both formats, and its metrics for those who may read them.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use support::cell::{Cell, shop_tables};
use support::{Scratch, http, wait_for};

/// Waits for a line that names this target; lines of other requests may come before and behind it.
fn line_of(path: &Path, target: &str) -> String {
    wait_for(&format!("the line of {target}"), || {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let mut found = whole.filter(|line| line.contains(target));
        found.next().map(str::to_owned).ok_or(text.clone())
    })
}

#[test]
fn the_access_log_is_switched_on_changed_and_switched_off_under_way() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &shop_tables(&[("s1", 2)]));
    cell.wait_until_all_up("shop");
    let (common, json) = (scratch.join("common.log"), scratch.join("json.log"));
    let table = |format: &str, path: &Path| {
        format!("access_log = {{ format = \"{format}\", path = \"{}\" }}\n", path.display())
    };
    let (first, second) = (table("common", &common), table("json", &json));
    assert_eq!(http::get(cell.router, "/not-logged").expect("an answer").status, 404);

    cell.apply(&[("threads = 2\n", &format!("threads = 2\n{first}"))]);
    wait_for("the log to be there", || common.metadata().map(drop).map_err(|error| error.to_string()));
    ask_until_logged(&cell, &common);
    let answer = http::get(cell.router, "/bytes/1234?a=b").expect("an answer");
    let line = line_of(&common, "/bytes/1234");
    check_common(&line, "GET /bytes/1234?a=b HTTP/1.1", 200, answer.body.len());

    cell.apply(&[(&first, &second)]);
    ask_until_logged(&cell, &json);
    let answer = http::get(cell.router, "/status/404?x=%22").expect("an answer");
    let line: Value = serde_json::from_str(&line_of(&json, "/status/404")).expect("JSON");
    let expected = [
        ("client", Value::from("127.0.0.1")),
        ("method", Value::from("GET")),
        ("target", Value::from("/status/404?x=%22")),
        ("status", Value::from(404)),
        ("cluster", Value::from("shop")),
        ("member", Value::from("s1")),
    ];
    for (key, value) in expected {
        assert_eq!(line[key], value, "{line}");
    }
    assert!(line["time_ms"].as_u64().is_some_and(|time| time > 1_700_000_000_000), "{line}");
    let number = |key: &str| line[key].as_u64().unwrap_or_else(|| panic!("no number for {key}: {line}"));
    let (answer_bytes, body_bytes) = (number("bytes_out"), number("body_bytes"));
    assert_eq!(body_bytes, answer.body.len() as u64, "{line}");
    assert!(number("bytes_in") > 0 && answer_bytes > body_bytes, "heads count too: {line}");
    let parts = ["connect_us", "send_us", "wait_us", "answer_us"].map(number);
    assert!(parts.iter().sum::<u64>() <= number("duration_us"), "{line}");

    cell.apply(&[(&second, "")]);
    let mut number = 0;
    let silent = wait_for("requests not to be logged", || {
        number += 1;
        let target = format!("/healthz?off={number}.");
        for _ in 0..BOTH_THREADS {
            http::get(cell.router, &target).map_err(|error| error.to_string())?;
        }
        let text = std::fs::read_to_string(&json).map_err(|error| error.to_string())?;
        if text.contains(&target) { Err("they are".into()) } else { Ok(target) }
    });
    // Neither were they late: by now another log has been begun and written.
    cell.apply(&[(
        "threads = 2\n",
        &format!("threads = 2\n{}", table("common", &scratch.join("third.log"))),
    )]);
    ask_until_logged(&cell, &scratch.join("third.log"));
    let text = std::fs::read_to_string(&json).expect("it was written");
    assert!(!text.contains(&silent), "{text}");
    let text = std::fs::read_to_string(&common).expect("it was written");
    assert!(!text.contains("/status/404"), "the first log was let go when the second began: {text}");
    cell.stop();
}

/// Connections of which each of two threads gets at least one: by chance none of them does not once in a million million times.
const BOTH_THREADS: usize = 40;

/// Asks until both threads of the router use this log: they learn of it one after the other.
fn ask_until_logged(cell: &Cell, path: &Path) {
    let mut number = 0;
    wait_for("requests to be logged by both threads", || {
        number += 1;
        let target = format!("/healthz?probe={number}.");
        for _ in 0..BOTH_THREADS {
            http::get(cell.router, &target).map_err(|error| error.to_string())?;
        }
        // A line that comes later than this look only means another turn.
        let logged = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let count = logged.lines().filter(|line| line.contains(&target)).count();
        if count == BOTH_THREADS { Ok(()) } else { Err(format!("{count} of {BOTH_THREADS}")) }
    });
}

/// `127.0.0.1 - - [22/Nov/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 5`
fn check_common(line: &str, request: &str, status: u16, bytes: usize) {
    let (client, rest) = line.split_once(" - - [").expect("a client and no user");
    let (time, rest) = rest.split_once("] ").expect("a time in brackets");
    assert_eq!(client, "127.0.0.1", "{line}");
    let digits = time.bytes().filter(u8::is_ascii_digit).count();
    assert!(time.len() == 26 && digits == 16 && time.ends_with(" +0000"), "{time:?}");
    assert_eq!(rest, format!("\"{request}\" {status} {bytes}"), "{line}");
}

#[test]
fn metrics_are_for_those_with_the_token_and_count() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &shop_tables(&[("s1", 2), ("s2", 2)]));
    cell.wait_until_all_up("shop");
    for headers in [&[][..], &[("Authorization", "Bearer wrong")]] {
        let refused = http::request(cell.console, "GET", "/metrics", headers, b"").expect("an answer");
        assert_eq!(refused.status, 401, "{}", refused.text());
        assert!(!refused.text().contains("muster_"), "nothing is given away");
    }
    for _ in 0..10 {
        assert_eq!(http::get(cell.router, "/healthz").expect("an answer").status, 200);
    }
    http::request(cell.router, "GET", "/ /", &[], b"").expect("a refusal");
    let samples = wait_for("all requests to be counted", || {
        let answer = cell.ask("GET", "/metrics", b"")?;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
        let samples = parse(&answer.text());
        let of_members: f64 = sum(&samples, "muster_member_requests_total");
        if of_members >= 10.0 { Ok(samples) } else { Err(answer.text()) }
    });
    assert_eq!(sum(&samples, "muster_member_requests_total"), 10.0);
    assert_eq!(sum(&samples, "muster_router_connected"), 1.0);
    assert_eq!(sum(&samples, "muster_router_failed_requests_total"), 0.0);
    cell.stop();
}

/// The text format of Prometheus, strictly: every sample has a type, a valid name, labels in quotes and a number.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut types = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and its type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None, "{name} is declared once");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
        let name = series.split('{').next().expect("a split has a first part");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
        assert!(has_type(&types, name), "{name} has a type before its first sample");
        if let Some(labels) = series.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')) {
            let labels = labels.strip_suffix("\"}").unwrap_or_else(|| panic!("labels end: {line}"));
            assert!(labels.split("\",").all(|label| label.contains("=\"")), "{line}");
        }
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
        assert_eq!(samples.insert(series.to_owned(), value), None, "{series} is there once");
    }
    assert!(text.ends_with('\n') && !samples.is_empty());
    samples
}

/// Whether a sample's type was told: that of its own name, or of the histogram that it is a part of.
fn has_type(types: &BTreeMap<String, String>, name: &str) -> bool {
    let is_histogram = |name: &str| types.get(name).is_some_and(|kind| kind == "histogram");
    let mut parts = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
    parts.any(is_histogram) || (types.contains_key(name) && !is_histogram(name))
}

/// All samples of a metric together.
fn sum(samples: &BTreeMap<String, f64>, metric: &str) -> f64 {
    let of_metric = samples.iter().filter(|(series, _)| series.split('{').next() == Some(metric));
    let values: Vec<f64> = of_metric.map(|(_, value)| *value).collect();
    assert!(!values.is_empty(), "there is no {metric} in {samples:?}");
    values.iter().sum()
}
