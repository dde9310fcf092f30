//! The real guardian with real processes, told what to do by hand: what comes too late, and what it cannot give back.

#[allow(dead_code, reason = "tests share it, and each needs a part")]
mod processes;

use processes::Scratch;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

/// All that it says until it has ended, when all of this stands in its pipe before it looks. The agent is gone once `word` was said.
fn told_until(orders: &[Value], word: &str) -> Vec<Value> {
    let mut guardian = Command::new(env!("CARGO_BIN_EXE_muster"))
        .arg("guardian")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the guardian starts");
    let all: String = orders.iter().map(|order| format!("{order}\n")).collect();
    let mut stdin = guardian.stdin.take();
    let written = stdin.as_mut().map(|stdin| stdin.write_all(all.as_bytes()));
    written.expect("it is a pipe").expect("a pipe holds it");
    let news = BufReader::new(guardian.stdout.take().expect("it is a pipe"));
    let mut said = Vec::new();
    for line in news.lines() {
        let line: Value = serde_json::from_str(&line.expect("it can be heard")).expect("it speaks JSON");
        if line[word].is_object() {
            stdin = None;
        }
        said.push(line);
    }
    drop(stdin);
    assert!(guardian.wait().expect("it ends").success(), "{said:?}");
    said
}

fn hold(scratch: &Scratch) -> Value {
    json!({ "hold": {
        "lock": scratch.path("lock"), "epoch": 3, "cgroup": null, "log": scratch.path("log"),
        "log_size_max_bytes": 1_000_000, "log_files_max": 1,
    }})
}

fn start(resource: &Value) -> Value {
    json!({ "do": { "step": 1, "verb": "start", "index": 0, "resource": resource, "environment": {} } })
}

fn resource(name: &str, kind: &Value) -> Value {
    json!({ "name": name, "kind": kind, "start_timeout_ms": 1000, "stop_timeout_ms": 1000 })
}

#[test]
fn nothing_is_begun_after_the_deadline_whatever_waits_in_the_pipe() {
    let scratch = Scratch::new("guardian-late");
    let touched = scratch.path("touched");
    let exec = resource("app", &json!({ "exec": { "start": ["touch", touched], "stop": ["true"] } }));
    // The machine has run for longer than a millisecond.
    let said =
        told_until(&[hold(&scratch), json!({ "until": { "since_boot_ms": 1 } }), start(&exec)], "done");
    assert!(!touched.exists(), "{said:?}");
}

/// An agent whose stop fails for as long as a file is there.
#[test]
fn what_cannot_be_given_back_is_the_last_word_and_stays_noted() {
    let scratch = Scratch::new("guardian-left");
    let (root, keeps) = (scratch.path("ocf"), scratch.path("keeps"));
    let directory = root.join("resource.d/test");
    std::fs::create_dir_all(&directory).expect("the test's directory can be written");
    let agent = directory.join("sticky");
    let text = format!(
        "#!/bin/sh\ncase $1 in\nmeta-data) echo '<resource-agent name=\"sticky\"><actions><action name=\"start\" timeout=\"5\"/>\
         <action name=\"stop\" timeout=\"5\"/><action name=\"monitor\" timeout=\"5\" interval=\"100\"/></actions></resource-agent>';;\n\
         monitor) exit 7;;\nstop) [ ! -e {keeps} ];;\nesac\n",
        keeps = keeps.display()
    );
    std::fs::write(&agent, text).expect("it can be written");
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    std::fs::write(&keeps, "").expect("it can be written");
    let options = json!({ "agent": "test:sticky", "check_level": 0, "check_interval_ms": 0 });
    let mut ocf = resource("disk", &json!({ "ocf": options }));
    ocf["environment"] = json!({ "OCF_ROOT": root });
    let said = told_until(&[hold(&scratch), start(&ocf)], "done");
    assert_eq!(said[0], json!({ "done": { "step": 1, "error": null } }), "{said:?}");
    let last = said.last().expect("it says something");
    let why = last["left"]["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("disk: it may not be stopped"), "{said:?}");
    let noted = std::fs::read_to_string(scratch.path("lock")).expect("it is there");
    assert!(noted.contains("test:sticky") && noted.contains("\"epoch\":3"), "{noted}");

    // The next one begins nothing beside it.
    let touched = scratch.path("touched");
    let exec = resource("app", &json!({ "exec": { "start": ["touch", touched], "stop": ["true"] } }));
    let said = told_until(&[hold(&scratch), start(&exec)], "done");
    assert!(said.last().is_some_and(|last| last["left"].is_object()), "{said:?}");
    assert!(!touched.exists(), "{said:?}");

    // Once it lets go, nothing is left.
    std::fs::remove_file(&keeps).expect("it is there");
    let said = told_until(&[hold(&scratch), start(&exec)], "done");
    assert!(said.iter().all(|news| !news["left"].is_object()), "{said:?}");
    assert!(touched.exists(), "{said:?}");
    assert_eq!(std::fs::read(scratch.path("lock")).expect("it is there"), b"");
}
