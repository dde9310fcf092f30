//! A cluster of real servers (nginx, Apache httpd, Python's http.server) behind the router, used by real clients (curl,
//! wrk, a WebSocket client), while members are killed, hang, and are drained. One member runs outside of the cell.

mod support;

use rustix::process::Signal;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use support::cell::Cell;
use support::clients::{self, Load};
use support::servers::{self, Kind, LARGE_BYTES, Server};
use support::websocket::{Opcode, WebSocket};
use support::{Scratch, family, free_address, http, is_alive, program, root, send, wait_for};
use wire::agent::ProcessState;
use wire::view::RunState;

/// Members that the agent starts, by their weights.
const MANAGED: [(Kind, u32); 3] = [(Kind::Nginx, 3), (Kind::Apache, 2), (Kind::Python, 1)];
/// An nginx that is only an address to the cell.
const OUTSIDE: &str = "outside";
const OUTSIDE_WEIGHT: u32 = 2;
/// How often each member is killed, hung and drained.
const ROUNDS: usize = 3;
/// Connections of wrk.
const CONNECTIONS: u32 = 32;
/// How long a probe waits where members are to be seen to hang.
const SOON_MS: u64 = 400;
/// The same where shares are counted, and nobody may be left out because the machine is busy.
const LATE_MS: u64 = 20_000;
/// The policy by which shares are known beforehand.
const IN_TURN: &str = "round-robin";

/// The cell, and the server that is not of it.
struct Web {
    cell: Cell,
    outside: Option<Server>,
}

/// The cluster `web`: members are probed by HTTP so that a process that hangs is noticed.
fn start_web(scratch: &Scratch, policy: &str, probe_timeout_ms: u64) -> Web {
    let mut tables = format!(
        "[clusters.web]\npolicy = \"{policy}\"\ndrain_ms = 1000\n\n\
         [clusters.web.probe]\nkind = \"http\"\npath = \"/\"\ninterval_ms = 200\n\
         timeout_ms = {probe_timeout_ms}\nrise = 1\nfall = 2\n\n\
         [clusters.web.defaults.restart]\ndelay_ms = 50\n",
    );
    for (kind, weight) in MANAGED {
        let address = free_address();
        let command = servers::command(kind.text(), kind, scratch, address);
        tables.push_str(&format!(
            "\n[clusters.web.members.{}]\ncommand = {command:?}\nport = {}\nweight = {weight}\n",
            kind.text(),
            address.port()
        ));
    }
    let outside = servers::start(OUTSIDE, Kind::Nginx, scratch, free_address());
    tables.push_str(&format!(
        "\n[clusters.web.members.{OUTSIDE}]\naddress = \"{}\"\nweight = {OUTSIDE_WEIGHT}\n",
        outside.address
    ));
    let cell = Cell::start(scratch, &tables);
    cell.wait_until_all_up("web");
    Web { cell, outside: Some(outside) }
}

impl Web {
    /// All processes of a member's server.
    fn processes(&self, name: &str) -> Vec<u32> {
        match &self.outside {
            Some(outside) if name == OUTSIDE => family(outside.process.pid()),
            _ => self.cell.member_family("web", name),
        }
    }

    fn stop(self) {
        self.cell.stop();
    }
}

/// Names and weights of all members.
fn members() -> Vec<(&'static str, u32)> {
    let managed = MANAGED.iter().map(|(kind, weight)| (kind.text(), *weight));
    managed.chain([(OUTSIDE, OUTSIDE_WEIGHT)]).collect()
}

/// Tests of this file load the machine and look at shares: one at a time, or they disturb each other.
static TURN: Mutex<()> = Mutex::new(());

fn take_turn() -> MutexGuard<'static, ()> {
    // A test that failed has left nothing behind that could harm the next one.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads the router with wrk until told to stop; gives what all runs counted together.
fn load_until(stop: &AtomicBool, router: SocketAddr) -> Load {
    let mut total = Load { requests: 0, refused: 0, broken: 0, said: String::new() };
    while !stop.load(Ordering::Relaxed) {
        let load = clients::wrk(router, "/", CONNECTIONS, 2);
        total.requests += load.requests;
        total.refused += load.refused;
        total.broken += load.broken;
        if load.refused + load.broken > 0 {
            total.said.push_str(&load.said);
        }
    }
    total
}

/// Runs `story` under load and checks that no request failed, and that every member had its part.
fn under_load(web: &mut Web, story: impl FnOnce(&mut Web)) {
    let before = counts(&web.cell);
    let stop = AtomicBool::new(false);
    let router = web.cell.router;
    let load = thread::scope(|scope| {
        let load = scope.spawn(|| load_until(&stop, router));
        // The load must end when the story fails, or the test would never do.
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| story(web)));
        stop.store(true, Ordering::Relaxed);
        let load = load.join().expect("wrk runs");
        if let Err(panic) = told {
            std::panic::resume_unwind(panic);
        }
        load
    });
    assert!(load.requests > 1000, "{load:?}");
    assert_eq!((load.refused, load.broken), (0, 0), "no request fails: {}", load.said);
    for (name, count) in counts(&web.cell) {
        assert!(count > before[name] + 20, "{name} had no part in {} requests", load.requests);
    }
}

/// Requests that each member has answered.
fn counts(cell: &Cell) -> BTreeMap<&'static str, u64> {
    members().into_iter().map(|(name, _)| (name, cell.member("web", name).requests)).collect()
}

#[test]
fn curl_sees_four_servers_as_one_in_the_order_of_their_weights() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let web = start_web(&scratch, IN_TURN, LATE_MS);
    // One curl with many addresses keeps its connection, so one thread of the router counts them all.
    let url = format!("http://{}/", web.cell.router);
    let said = clients::curl(&[url.as_str(); 16]);
    let mut counts = BTreeMap::new();
    for name in said.lines() {
        *counts.entry(name).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("nginx", 6), ("apache", 4), ("python", 2), ("outside", 4)]));
    for _ in members() {
        let large = format!("http://{}/large", web.cell.router);
        let size =
            clients::curl(&["--output", "/dev/null", "--write-out", "%{http_code} %{size_download}", &large]);
        assert_eq!(size, format!("200 {LARGE_BYTES}"));
        let head = clients::curl(&["--head", &large]);
        assert!(head.to_lowercase().contains(&format!("content-length: {LARGE_BYTES}")), "{head}");
        let missing = format!("http://{}/missing", web.cell.router);
        let status = clients::curl(&["--output", "/dev/null", "--write-out", "%{http_code}", &missing]);
        assert_eq!(status, "404", "a member's own refusal goes through");
    }
    web.stop();
}

#[test]
fn killed_members_come_back_and_no_request_fails() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let mut web = start_web(&scratch, IN_TURN, SOON_MS);
    under_load(&mut web, |web| {
        for round in 0..ROUNDS {
            for (kind, _) in MANAGED {
                // Now and then only the first process: what it leaves must not keep its port.
                kill_managed(&web.cell, kind.text(), round % 2 == 0);
            }
            // Nobody but us starts this one again.
            let outside = web.outside.take().expect("it runs");
            let address = outside.address;
            drop(outside);
            web.cell.wait_for_state("web", OUTSIDE, RunState::Down);
            web.outside = Some(servers::start(OUTSIDE, Kind::Nginx, &scratch, address));
            web.cell.wait_for_state("web", OUTSIDE, RunState::Up);
        }
    });
    web.stop();
}

/// Kills all processes of a member, or its first one, and waits until the agent has replaced them.
fn kill_managed(cell: &Cell, name: &str, all: bool) {
    let before = cell.member("web", name);
    let processes = cell.member_family("web", name);
    let victims = if all { &processes[..] } else { &processes[..1] };
    for pid in victims {
        send(*pid, Signal::KILL);
    }
    wait_for(&format!("{name} to be started again"), || {
        let now = cell.member("web", name);
        let is_back = now.restarts > before.restarts && now.state == RunState::Up;
        if is_back { Ok(()) } else { Err(format!("{} after {} restarts", now.state, now.restarts)) }
    });
    let left: Vec<u32> = processes.iter().copied().filter(|pid| is_alive(*pid)).collect();
    assert_eq!(left, Vec::<u32>::new(), "nothing of the old {name} is left");
}

#[test]
fn a_member_that_hangs_is_left_out_until_it_answers_again() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let mut web = start_web(&scratch, IN_TURN, SOON_MS);
    under_load(&mut web, |web| {
        for _ in 0..ROUNDS {
            for (name, _) in members() {
                let processes = web.processes(name);
                for pid in &processes {
                    send(*pid, Signal::STOP);
                }
                web.cell.wait_for_state("web", name, RunState::Down);
                for pid in &processes {
                    send(*pid, Signal::CONT);
                }
                let back = web.cell.wait_for_state("web", name, RunState::Up);
                assert_eq!(back.restarts, 0, "{name} needed no restart");
            }
        }
    });
    web.stop();
}

#[test]
fn a_drained_member_gets_nothing_new_and_no_request_fails() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let mut web = start_web(&scratch, IN_TURN, SOON_MS);
    under_load(&mut web, |web| {
        for _ in 0..ROUNDS {
            for (name, _) in members() {
                drain_and_start(&web.cell, name);
            }
        }
    });
    web.stop();
}

fn drain_and_start(cell: &Cell, name: &str) {
    cell.act("web", Some(name), "drain");
    cell.wait_for_state("web", name, RunState::Draining);
    wait_for(&format!("{name} to have nothing to do"), || {
        let member = cell.member("web", name);
        if member.in_flight == 0 { Ok(()) } else { Err(format!("{} in flight", member.in_flight)) }
    });
    let answers = (0..16).map(|_| http::get(cell.router, "/").expect("the router answers").text());
    let drained = format!("{name}\n");
    assert_eq!(answers.filter(|answer| *answer == drained).count(), 0, "{name} is drained");
    cell.act("web", Some(name), "start");
    cell.wait_for_state("web", name, RunState::Up);
}

#[test]
fn wrk_spreads_over_all_members_by_weight() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let web = start_web(&scratch, IN_TURN, LATE_MS);
    let before = counts(&web.cell);
    let load = clients::wrk(web.cell.router, "/", CONNECTIONS, 2);
    assert_eq!((load.refused, load.broken), (0, 0), "{}", load.said);
    let weights: u32 = members().iter().map(|(_, weight)| weight).sum();
    wait_for("the router to report all requests", || {
        let after = counts(&web.cell);
        let total: u64 = after.iter().map(|(name, count)| count - before[name]).sum();
        if total < load.requests {
            return Err(format!("{total} of {}", load.requests));
        }
        for (name, weight) in members() {
            let found = (after[name] - before[name]) as f64;
            let wanted = total as f64 * f64::from(weight) / f64::from(weights);
            // What wrk leaves unanswered at its end may all have waited for one member.
            let most = f64::from(CONNECTIONS) + total as f64 / 100.0;
            assert!((found - wanted).abs() <= most, "{name} got {found} of {total} instead of {wanted:.0}");
        }
        Ok(())
    });
    web.stop();
}

#[test]
fn wrk_reaches_all_members_when_the_quickest_get_the_most() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let mut web = start_web(&scratch, "auto", LATE_MS);
    under_load(&mut web, |web| {
        // One request in a hundred is given in turn: so many bring each member the part that is looked for.
        let before: u64 = counts(&web.cell).values().sum();
        wait_for("20,000 requests", || {
            let found = counts(&web.cell).values().sum::<u64>() - before;
            if found >= 20_000 { Ok(()) } else { Err(format!("{found}")) }
        });
    });
    web.stop();
}

/// The cluster `chat` of two members that speak WebSocket and name themselves.
fn chat_tables() -> String {
    let script = root().join("crates/muster/tests/support/websocket_member.py");
    let words = ["{port}", "{member}"].map(str::to_owned);
    let command = [[program("python3").display().to_string(), script.display().to_string()], words].concat();
    format!(
        "[clusters.chat]\npolicy = \"{IN_TURN}\"\ndrain_ms = 20000\n\n\
         [clusters.chat.probe]\nkind = \"http\"\npath = \"/\"\ninterval_ms = 200\nrise = 1\n\n\
         [clusters.chat.defaults]\ncommand = {command:?}\n\n\
         [clusters.chat.members.one]\nweight = 2\n\n[clusters.chat.members.two]\n"
    )
}

fn start_chat(scratch: &Scratch) -> (Cell, Vec<WebSocket>) {
    let cell = Cell::start(scratch, &chat_tables());
    cell.wait_until_all_up("chat");
    // Two threads and two members: a handful of conversations reaches both.
    let sockets: Vec<WebSocket> = (0..6).map(|_| WebSocket::open(cell.router, "/room")).collect();
    for member in ["one", "two"] {
        assert!(sockets.iter().any(|socket| socket.member == member), "a conversation reaches {member}");
    }
    (cell, sockets)
}

#[test]
fn websockets_pass_stay_while_their_member_drains_and_end_with_it() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let (cell, mut sockets) = start_chat(&scratch);
    for socket in &mut sockets {
        socket.echo(Opcode::Text, "hello, Grüße".as_bytes());
        socket.echo(Opcode::Binary, &vec![7; 300_000]);
        socket.send(Opcode::Ping, b"still there?");
        assert_eq!(socket.receive().expect("a pong comes"), (Opcode::Pong, b"still there?".to_vec()));
    }
    for member in ["one", "two"] {
        cell.act("chat", Some(member), "drain");
        cell.wait_for_state("chat", member, RunState::Draining);
    }
    for socket in &mut sockets {
        socket.echo(Opcode::Text, b"while draining");
    }
    for member in ["one", "two"] {
        for pid in cell.member_family("chat", member) {
            send(pid, Signal::KILL);
        }
    }
    for socket in &mut sockets {
        socket.receive().expect_err("a tunnel ends with its member");
    }
    // The clients have not closed their sides; the router does not wait for them.
    cell.stop();
}

#[test]
fn a_websocket_lives_on_whatever_happens_elsewhere() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let (cell, sockets) = start_chat(&scratch);
    let (mut staying, leaving): (Vec<_>, Vec<_>) =
        sockets.into_iter().partition(|socket| socket.member == "two");
    let mut go_on = |when: &str| {
        for socket in &mut staying {
            socket.echo(Opcode::Text, when.as_bytes());
        }
    };
    let restarts = cell.member("chat", "one").restarts;
    for pid in cell.member_family("chat", "one") {
        send(pid, Signal::KILL);
    }
    for mut socket in leaving {
        socket.receive().expect_err("a tunnel ends with its member");
    }
    wait_for("one to be started again", || {
        let now = cell.member("chat", "one");
        if now.restarts > restarts && now.state == RunState::Up { Ok(()) } else { Err(now.reason) }
    });
    go_on("after a kill");
    let processes = cell.member_family("chat", "one");
    processes.iter().for_each(|pid| send(*pid, Signal::STOP));
    cell.wait_for_state("chat", "one", RunState::Down);
    processes.iter().for_each(|pid| send(*pid, Signal::CONT));
    cell.wait_for_state("chat", "one", RunState::Up);
    go_on("after a hang");
    cell.apply(&[
        ("weight = 2", "weight = 5"),
        ("[clusters.chat.members.two]", "[clusters.chat.members.three]\n\n[clusters.chat.members.two]"),
    ]);
    cell.wait_until_all_up("chat");
    go_on("after a new configuration");
    cell.must(&["cluster", "restart", "chat/one", "--yes"]);
    go_on("after a restart");
    cell.must(&["cluster", "drain", "chat/two", "--no-wait"]);
    cell.wait_for_state("chat", "two", RunState::Draining);
    go_on("while its own member drains");
    // A conversation counts as work: whoever stops its member waits for it, up to `drain_ms`.
    cell.must(&["cluster", "stop", "chat/two", "--yes", "--no-wait"]);
    wait_for("the stop to be waiting for conversations", || {
        let two = cell.member("chat", "two");
        if two.in_flight as usize == staying.len() { Ok(()) } else { Err(format!("{two:?}")) }
    });
    for socket in &mut staying {
        socket.echo(Opcode::Text, b"while it is being stopped");
    }
    drop(staying);
    wait_for("two to have stopped", || {
        let two = cell.member("chat", "two");
        if two.process == Some(ProcessState::Stopped) { Ok(()) } else { Err(format!("{two:?}")) }
    });
    cell.stop();
}
