//! What a person gets wrong: one clear error for each, with file, line, value and what is allowed, and nothing started.

mod support;

use std::net::TcpListener;
use support::cell::{Cell, config, muster, shop_tables};
use support::{Scratch, free_address, http, wait_for};
use wire::view::RunState;

/// What is wrong with a file, as `muster check` and `muster run` must say it.
struct Wrong<'a> {
    /// The part of a right file that is replaced, and by what.
    change: (&'a str, &'a str),
    code: &'a str,
    /// What the error must contain.
    parts: &'a [&'a str],
}

/// Both refuse the file with the same single problem, and nothing is left behind.
fn check_refused(scratch: &Scratch, text: &str, wrong: &Wrong<'_>) {
    let (old, new) = wrong.change;
    let at = text.find(old).unwrap_or_else(|| panic!("{old:?} is not in\n{text}"));
    // The last line of the new part is the wrong one.
    let line = (text[..at].to_owned() + new).lines().count();
    let file = scratch.write("wrong.toml", &text.replacen(old, new, 1)).display().to_string();
    for (arguments, code) in [(["check"], 1), (["run"], 2)] {
        let said = muster(&[&arguments[..], &["--config", &file]].concat());
        assert_eq!((said.code, said.data.as_str()), (Some(code), ""), "{arguments:?}: {said:?}");
        let first = said.talk.lines().next().unwrap_or_default();
        assert!(
            first.starts_with(&format!("{file}:{line}:")),
            "{arguments:?} names line {line}: {}",
            said.talk
        );
        assert!(first.contains(wrong.code), "{arguments:?} has the code {}: {}", wrong.code, said.talk);
        for part in wrong.parts {
            assert!(said.talk.contains(part), "{arguments:?} names {part}: {}", said.talk);
        }
        assert_eq!(said.talk.matches("  allowed: ").count(), 1, "one error, not several: {}", said.talk);
    }
    assert!(!scratch.join("state").exists(), "nothing was started");
}

#[test]
fn addresses_in_use_are_named() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port is there");
    let address = taken.local_addr().expect("it listens").to_string();
    let (console, router) = (free_address(), free_address());
    let text = config(&scratch, console, router, &shop_tables(&[("s1", 2)]));
    let parts = [address.as_str(), "another process uses it", "a free address"];
    for free in [console.to_string(), router.to_string()] {
        let change = (free.as_str(), address.as_str());
        check_refused(&scratch, &text, &Wrong { change, code: "M1010", parts: &parts });
    }
}

#[test]
fn logs_and_state_directories_that_cannot_be_used_are_named() {
    let scratch = Scratch::new();
    let text = config(&scratch, free_address(), free_address(), &shop_tables(&[("s1", 2)]));
    let no_access_log = Wrong {
        change: (
            "threads = 2",
            "threads = 2\naccess_log = { format = \"json\", path = \"/dev/null/access.log\" }",
        ),
        code: "M1012",
        parts: &["/dev/null"],
    };
    check_refused(&scratch, &text, &no_access_log);
    let no_state =
        Wrong { change: ("state_dir = \"", "state_dir = \"/dev/null"), code: "M1014", parts: &["/dev/null"] };
    check_refused(&scratch, &text, &no_state);
}

#[test]
fn members_that_cannot_run_are_named_and_do_not_keep_the_others_from_it() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port is there");
    let address = taken.local_addr().expect("it listens").to_string();
    let mut tables = shop_tables(&[("s1", 2)]);
    let number = taken.local_addr().expect("it listens").port().to_string();
    let port = format!("port = {number}");
    // Neither root nor anybody else can make a directory within a device.
    let faults = [
        ("program", "command = [\"no-such-server\", \"{port}\"]", "M1011", "no-such-server"),
        ("directory", "directory = \"/no/such/directory\"", "M1012", "/no/such/directory"),
        ("port", port.as_str(), "M1010", address.as_str()),
        ("log", "log = { path = \"/dev/null/s1.log\" }", "M1012", "/dev/null"),
    ];
    for (name, line, _, _) in faults {
        tables += &format!(
            "\n[clusters.shop.members.{name}]\n{line}\nrestart = {{ delay_ms = 10, attempts_max = 2 }}\n"
        );
    }
    let cell = Cell::start(&scratch, &tables);
    let said = muster(&["check", "--config", &cell.config.display().to_string(), "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let log = std::fs::read_to_string(scratch.join("muster.log")).expect("it was started");
    for (name, line, code, part) in faults {
        let place = tables_line(&cell, line);
        let is_it = |line: &&str| line.contains(&place) && line.contains(code) && line.contains(part);
        assert_eq!(log.lines().filter(is_it).count(), 1, "{name} at {place}: {log}");
    }
    let reasons =
        [("program", "no-such-server"), ("directory", "/no/such/directory"), ("port", number.as_str())];
    for (name, part) in reasons {
        let member = cell.wait_for_state("shop", name, RunState::Failed);
        assert!(member.reason.contains(part), "{}", member.reason);
    }
    // What only its log lacks runs.
    cell.wait_for_state("shop", "log", RunState::Up);
    cell.wait_for_state("shop", "s1", RunState::Up);
    cell.stop();
}

/// Where a line of the configuration stands, as problems say it.
fn tables_line(cell: &Cell, line: &str) -> String {
    let text = std::fs::read_to_string(&cell.config).expect("the test wrote it");
    let number = text.lines().position(|one| one == line).expect("it is there") + 1;
    format!("{}:{number}:", cell.config.display())
}

#[test]
fn a_member_that_never_becomes_healthy_fails_and_its_status_says_why() {
    let scratch = Scratch::new();
    let lazy = "\n[clusters.shop.members.lazy]\ncommand = [\"sleep\", \"1000\"]\n\
                probe = { kind = \"tcp\", interval_ms = 50, timeout_ms = 900 }\n\
                restart = { delay_ms = 10, attempts_max = 2, start_timeout_ms = 900 }\n\
                \n[clusters.shop.members.crashing]\ncommand = [\"sh\", \"-c\", \"echo out of coffee >&2; exit 7\"]\n\
                restart = { delay_ms = 10, attempts_max = 3 }\n";
    let cell = Cell::start(&scratch, &(shop_tables(&[("s1", 2)]) + lazy));
    let lazy = cell.wait_for_state("shop", "lazy", RunState::Failed);
    assert!(
        lazy.reason.contains("did not pass its probe within 900 ms of its start (cannot connect to"),
        "{}",
        lazy.reason
    );
    let crashing = cell.wait_for_state("shop", "crashing", RunState::Failed);
    for part in ["7", "out of coffee"] {
        assert!(crashing.reason.contains(part), "{}", crashing.reason);
    }
    cell.wait_for_state("shop", "s1", RunState::Up);
    let shown = cell.must(&["status"]);
    assert!(shown.contains("out of coffee") && shown.contains("1 of 3 up"), "{shown}");
    let told = cell.events().into_iter().filter(|event| event.kind == "member-failed").count();
    assert_eq!(told, 2, "a person is told of both");
    let said = cell.muster(&["status", "--wait-up", "shop", "--timeout", "1"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for _ in 0..6 {
        let answer = http::get(cell.router, "/healthz").expect("the router answers");
        assert_eq!(answer.header("x-member"), Some("s1"), "only the healthy one is asked");
    }
    cell.stop();
}

#[test]
fn an_address_that_is_taken_while_the_cell_runs_is_told_of_and_used_once_it_is_free() {
    let scratch = Scratch::new();
    let mut cell = Cell::start(&scratch, &shop_tables(&[("s1", 2)]));
    cell.wait_until_all_up("shop");
    let address = free_address();
    let taken = TcpListener::bind(address).expect("it is free");
    cell.apply(&[(
        &format!("listen = [\"{}\"]", cell.router),
        &format!("listen = [\"{}\", \"{address}\"]", cell.router),
    )]);
    wait_for("somebody to be told", || {
        let events = cell.events();
        let told = events.iter().any(|event| event.text.contains(&address.to_string()));
        if told { Ok(()) } else { Err(format!("{events:?}")) }
    });
    assert_eq!(http::get(cell.router, "/healthz").expect("the other address answers").status, 200);
    drop(taken);
    wait_for("the router to listen there", || {
        http::get(address, "/healthz").map_err(|error| error.to_string())
    });
    cell.router = address;
    cell.stop();
}
