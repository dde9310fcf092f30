//! The commands as scripts use them: exit codes, JSON, and what they do to a cell that runs.

mod support;

use serde_json::Value;
use std::net::SocketAddr;
use support::cell::{Cell, muster, shop_tables};
use support::{Scratch, free_address, http, wait_for};
use wire::agent::ProcessState;
use wire::status::{CellStatus, Explanation, NodeStatus};
use wire::view::RunState;

fn start(scratch: &Scratch) -> Cell {
    let tables =
        shop_tables(&[("s1", 2), ("s2", 2)]).replace("[clusters.shop]\n", "[clusters.shop]\naffinity = {}\n");
    let cell = Cell::start(scratch, &tables);
    cell.wait_until_all_up("shop");
    cell
}

fn members_asked(router: SocketAddr, requests: usize) -> Vec<String> {
    let ask = |_| http::get(router, "/healthz").expect("the router answers");
    let mut names: Vec<String> =
        (0..requests).map(ask).map(|answer| answer.header("x-member").unwrap_or("none").to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn check_says_yes_or_no_and_what_the_cell_would_be() {
    let scratch = Scratch::new();
    let text = support::cell::config(&scratch, free_address(), free_address(), &shop_tables(&[("s1", 2)]));
    let good = scratch.write("good.toml", &text).display().to_string();
    let said = muster(&["check", "--config", &good]);
    assert_eq!((said.code, said.talk.as_str()), (Some(0), ""), "{said:?}");
    for part in ["is right", "s1", "shop"] {
        assert!(said.data.contains(part), "{said:?}");
    }
    let json = muster(&["check", "--json", "--config", &good]);
    let found: Value = serde_json::from_str(&json.data).expect("JSON");
    assert_eq!((&found["ok"], &found["cell"]["name"]), (&Value::Bool(true), &Value::from("cell")));

    let bad = scratch.write("bad.toml", &text.replace("weight = 2", "weight = -1")).display().to_string();
    let said = muster(&["check", "--config", &bad]);
    assert_eq!((said.code, said.data.as_str()), (Some(1), ""), "{said:?}");
    let json = muster(&["check", "--json", "--config", &bad]);
    let found: Value = serde_json::from_str(&json.data).expect("JSON");
    assert_eq!((json.code, &found["ok"]), (Some(1), &Value::Bool(false)));
    assert_eq!(found["problems"].as_array().map(Vec::len), Some(1), "{found:#}");

    // A store's password that is not there is found, without asking the store.
    let store = format!(
        "[store]\nkind = \"postgres\"\nservers = [\"127.0.0.1:9\"]\nuser = \"muster\"\npassword_file = \"{}\"\n",
        scratch.join("password").display()
    );
    let shared = scratch.write("shared.toml", &format!("{text}{store}")).display().to_string();
    let said = muster(&["check", "--config", &shared]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.talk.contains("M5004") && said.talk.contains("password"), "{said:?}");
    scratch.write("password", "secret\n");
    let said = muster(&["check", "--config", &shared]);
    assert_eq!(said.code, Some(0), "{said:?}");

    let missing = scratch.join("missing.toml").display().to_string();
    assert_eq!(muster(&["check", "--config", &missing]).code, Some(1));
    assert_eq!(muster(&["check", "--no-such-option"]).code, Some(2));
    assert_eq!(muster(&["no-such-command"]).code, Some(2));
}

#[test]
fn status_explain_and_node_answer_people_and_programs() {
    let scratch = Scratch::new();
    let cell = start(&scratch);
    let shown = cell.must(&["status"]);
    assert!(shown.contains("s1") && shown.contains("2 of 2 up"), "{shown}");
    let status: CellStatus = serde_json::from_str(&cell.must(&["status", "--json"])).expect("a status");
    assert_eq!(status.clusters[0].members.len(), 2);
    assert_eq!(status.routers[0].listening, [cell.router]);
    cell.must(&["status", "--wait-up", "shop"]);
    assert_ne!(cell.muster(&["status", "--wait-up", "shpo"]).code, Some(0), "there is no such cluster");

    let nodes: Vec<NodeStatus> = serde_json::from_str(&cell.must(&["node", "--json"])).expect("nodes");
    assert!(nodes.len() == 1 && nodes[0].connected && nodes[0].node.0 == "local", "{nodes:?}");

    let explain = |arguments: &[&str]| -> Explanation {
        let said = cell.must(&[&["explain", "--json"], arguments].concat());
        serde_json::from_str(&said).expect("an explanation")
    };
    let rotation = explain(&["http://x/cart"]);
    assert_eq!((rotation.member, rotation.candidates.len()), (None, 2), "the rotation decides");
    let session = explain(&["/cart", "--cookie", "JSESSIONID=0000abc:s2"]);
    assert_eq!(session.member.map(|member| member.0).as_deref(), Some("s2"));
    assert!(session.why.len() > 2, "it says why: {:?}", session.why);
    // What it says is what happens.
    let headers = [("Cookie", "JSESSIONID=0000abc:s2")];
    for _ in 0..4 {
        let answer = http::request(cell.router, "GET", "/healthz", &headers, b"").expect("an answer");
        assert_eq!(answer.header("x-member"), Some("s2"));
    }
    cell.stop();
}

#[test]
fn explain_says_no_where_a_request_would_be_refused() {
    let scratch = Scratch::new();
    let route = "threads = 2\n\n[[routers.front.routes]]\nhost = \"shop.example\"\ncluster = \"shop\"\n";
    let cell = Cell::start(&scratch, &shop_tables(&[("s1", 2)]));
    cell.wait_until_all_up("shop");
    cell.apply(&[("threads = 2\n", route)]);
    assert_eq!(cell.muster(&["explain", "http://shop.example/"]).code, Some(0));
    let said = cell.muster(&["explain", "http://other.example/"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    wait_for("the router to refuse it too", || {
        let answer = http::get(cell.router, "/").map_err(|error| error.to_string())?;
        if answer.status == 404 { Ok(()) } else { Err(format!("status {}", answer.status)) }
    });
    cell.stop();
}

#[test]
fn a_member_is_drained_stopped_started_and_restarted() {
    let scratch = Scratch::new();
    let cell = start(&scratch);
    let (first, second) = (cell.member_pid("shop", "s1"), cell.member_pid("shop", "s2"));

    cell.must(&["cluster", "drain", "shop", "s2"]);
    cell.wait_for_state("shop", "s2", RunState::Draining);
    assert_eq!(members_asked(cell.router, 8), ["s1"], "a drained member takes no new conversations");
    let headers = [("Cookie", "JSESSIONID=0000abc:s2")];
    let answer = http::request(cell.router, "GET", "/healthz", &headers, b"").expect("an answer");
    assert_eq!(answer.header("x-member"), Some("s2"), "and keeps those that it has");
    cell.must(&["cluster", "start", "shop/s2"]);
    cell.wait_until_all_up("shop");
    assert_eq!(cell.member_pid("shop", "s2"), second, "it was drained only");

    let said = cell.muster(&["cluster", "stop", "shop", "s2"]);
    assert_eq!(said.code, Some(2), "without a terminal it wants --yes: {said:?}");
    assert_eq!(cell.member("shop", "s2").state, RunState::Up);
    cell.must(&["cluster", "stop", "shop", "s2", "--yes"]);
    let stopped = cell.member("shop", "s2");
    assert_eq!(
        (stopped.state, stopped.process),
        (RunState::Down, Some(ProcessState::Stopped)),
        "{}",
        stopped.reason
    );
    assert!(!support::is_alive(second), "its process has ended");
    assert_eq!(members_asked(cell.router, 8), ["s1"]);
    assert_eq!(cell.muster(&["status", "--wait-up", "shop", "--timeout", "1"]).code, Some(1));
    cell.must(&["cluster", "start", "shop", "s2"]);
    cell.wait_until_all_up("shop");
    wait_for("both to answer", || match members_asked(cell.router, 8) {
        both if both == ["s1", "s2"] => Ok(()),
        other => Err(format!("{other:?}")),
    });

    let second = cell.member_pid("shop", "s2");
    cell.must(&["cluster", "restart", "shop", "--yes"]);
    cell.wait_until_all_up("shop");
    let now = (cell.member_pid("shop", "s1"), cell.member_pid("shop", "s2"));
    assert!(now.0 != first && now.1 != second, "both are new: {now:?}");

    cell.must(&["cluster", "stop", "shop", "--yes"]);
    let refused = http::get(cell.router, "/healthz").expect("the router answers for itself");
    assert_eq!(refused.status, 503, "{refused:?}");
    cell.must(&["cluster", "start", "shop"]);
    cell.wait_until_all_up("shop");
    cell.stop();
}

#[test]
fn acts_on_what_is_not_there_and_cells_that_are_not_there() {
    let scratch = Scratch::new();
    let cell = start(&scratch);
    for (what, code) in [("shpo", 1), ("shop/s9", 1), ("shop/s1/x", 2), ("no name", 2)] {
        let said = cell.muster(&["cluster", "restart", what, "--yes"]);
        assert_eq!((said.code, said.talk.is_empty()), (Some(code), false), "{what}: {said:?}");
    }
    let json = cell.muster(&["cluster", "restart", "shpo", "--yes", "--json"]);
    let body: Value = serde_json::from_str(&json.data).expect("a refusal as JSON");
    assert!(body["code"].as_str().is_some_and(|code| code.starts_with('M')), "{body}");
    let api = format!("http://{}", cell.console);
    let token = scratch.write("wrong-token", "wrong").display().to_string();
    let said = muster(&["status", "--api", &api, "--token-file", &token]);
    assert_eq!(said.code, Some(2), "a wrong token is refused: {said:?}");
    let right = cell.state_dir.join("admin-token").display().to_string();
    assert_eq!(muster(&["status", "--api", &api, "--token-file", &right]).code, Some(0));
    // The router's own port: something answers there, but it is not the cell's API.
    let other = format!("http://{}", cell.router);
    for more in [&[][..], &["--wait-up", "shop"]] {
        let said = muster(&[&["status", "--api", &other, "--token-file", &right], more].concat());
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(said.talk.contains("is that the console's address?"), "{said:?}");
    }

    let config = cell.config.display().to_string();
    cell.stop();
    for arguments in
        [&["status"][..], &["node"], &["explain", "/"], &["cluster", "start", "shop"], &["apply", &config]]
    {
        let said = muster(&[arguments, &["--config", &config]].concat());
        assert_eq!((said.code, said.data.as_str()), (Some(3), ""), "{arguments:?}: {said:?}");
        assert!(said.talk.contains("was not reached"), "{said:?}");
    }
}

#[test]
fn who_waits_for_a_cluster_may_begin_before_the_cell_does() {
    let scratch = Scratch::new();
    let text = support::cell::config(&scratch, free_address(), free_address(), &shop_tables(&[("s1", 2)]));
    let config = scratch.write("early.toml", &text);
    let wait = |seconds: &str| {
        let config = config.display().to_string();
        muster(&["status", "--wait-up", "shop", "--timeout", seconds, "--config", &config])
    };
    let said = wait("1");
    assert_eq!(said.code, Some(3), "nobody has started it: {said:?}");
    assert!(said.talk.contains("was not reached"), "{said:?}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait("60"));
        let _cell = support::cell::run(&config, &[], &scratch.join("muster.log"));
        let said = waiting.join().expect("it does not panic");
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.data.contains("1 of 1 up"), "{said:?}");
    });
}
