//! A cluster of real servers (nginx, Apache httpd, Python's http.server) behind the router, used by real clients (curl,
//! wrk, a WebSocket client), while members are killed, hang, and are drained.

mod support;

use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use support::cell::Cell;
use support::clients::{self, Load};
use support::servers::{self, Kind, LARGE_BYTES};
use support::websocket::{Opcode, WebSocket};
use support::{Scratch, family, free_address, http, is_alive, program, root, send, wait_for};
use wire::view::RunState;

const MEMBERS: [(Kind, u32); 3] = [(Kind::Nginx, 3), (Kind::Apache, 2), (Kind::Python, 1)];
/// How often each member is killed, hung and drained.
const ROUNDS: usize = 3;

/// The cluster `web`: members that the agent starts, probed by HTTP so that a process that hangs is noticed.
fn web_tables(scratch: &Scratch) -> String {
    let mut tables = String::from(
        "[clusters.web]\ndrain_ms = 1000\n\n\
         [clusters.web.probe]\nkind = \"http\"\npath = \"/\"\ninterval_ms = 200\ntimeout_ms = 400\nrise = 1\nfall = 2\n\n\
         [clusters.web.defaults.restart]\ndelay_ms = 50\n",
    );
    for (kind, weight) in MEMBERS {
        let address = free_address();
        let command = servers::command(kind, scratch, address);
        tables.push_str(&format!(
            "\n[clusters.web.members.{}]\ncommand = {command:?}\nport = {}\nweight = {weight}\n",
            kind.text(),
            address.port()
        ));
    }
    tables
}

/// Tests of this file load the machine and look at exact shares: one at a time, or they disturb each other.
static TURN: Mutex<()> = Mutex::new(());

fn take_turn() -> MutexGuard<'static, ()> {
    // A test that failed has left nothing behind that could harm the next one.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start_web(scratch: &Scratch) -> Cell {
    let cell = Cell::start(scratch, &web_tables(scratch));
    cell.wait_until_all_up("web");
    cell
}

/// Loads the router with wrk until told to stop; gives what all runs counted together.
fn load_until(stop: &AtomicBool, cell: &Cell) -> Load {
    let mut total = Load { requests: 0, refused: 0, broken: 0, said: String::new() };
    while !stop.load(Ordering::Relaxed) {
        let load = clients::wrk(cell.router, "/", 32, 2);
        total.requests += load.requests;
        total.refused += load.refused;
        total.broken += load.broken;
        if load.refused + load.broken > 0 {
            total.said.push_str(&load.said);
        }
    }
    total
}

/// Runs `story` under load and checks that no request failed.
fn under_load(cell: &Cell, story: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let load = thread::scope(|scope| {
        let load = scope.spawn(|| load_until(&stop, cell));
        // The load must end when the story fails, or the test would never do.
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(story));
        stop.store(true, Ordering::Relaxed);
        let load = load.join().expect("wrk runs");
        if let Err(panic) = told {
            std::panic::resume_unwind(panic);
        }
        load
    });
    assert!(load.requests > 1000, "{load:?}");
    assert_eq!((load.refused, load.broken), (0, 0), "no request fails: {}", load.said);
}

#[test]
fn curl_sees_three_servers_as_one_in_the_order_of_their_weights() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let cell = start_web(&scratch);
    // One curl with many addresses keeps its connection, so one thread of the router counts them all.
    let url = format!("http://{}/", cell.router);
    let said = clients::curl(&[url.as_str(); 12]);
    let mut counts = BTreeMap::new();
    for name in said.lines() {
        *counts.entry(name).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("nginx", 6), ("apache", 4), ("python", 2)]));
    for _ in MEMBERS {
        let large = format!("http://{}/large", cell.router);
        let size =
            clients::curl(&["--output", "/dev/null", "--write-out", "%{http_code} %{size_download}", &large]);
        assert_eq!(size, format!("200 {LARGE_BYTES}"));
        let head = clients::curl(&["--head", &large]);
        assert!(head.to_lowercase().contains(&format!("content-length: {LARGE_BYTES}")), "{head}");
        let missing = format!("http://{}/missing", cell.router);
        let status = clients::curl(&["--output", "/dev/null", "--write-out", "%{http_code}", &missing]);
        assert_eq!(status, "404", "a member's own refusal goes through");
    }
    cell.stop();
}

#[test]
fn killed_members_come_back_and_no_request_fails() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let cell = start_web(&scratch);
    under_load(&cell, || {
        for round in 0..ROUNDS {
            for (kind, _) in MEMBERS {
                let before = cell.member("web", kind.text());
                let processes = cell.member_family("web", kind.text());
                // Now and then only the first process: what it leaves must not keep its port.
                let victims = if round % 2 == 0 { &processes[..] } else { &processes[..1] };
                for pid in victims {
                    send(*pid, Signal::KILL);
                }
                wait_for(&format!("{} to be started again", kind.text()), || {
                    let now = cell.member("web", kind.text());
                    let is_back = now.restarts > before.restarts && now.state == RunState::Up;
                    if is_back {
                        Ok(())
                    } else {
                        Err(format!("{} after {} restarts", now.state, now.restarts))
                    }
                });
                let left: Vec<u32> = processes.iter().copied().filter(|pid| is_alive(*pid)).collect();
                assert_eq!(left, Vec::<u32>::new(), "nothing of the old {} is left", kind.text());
            }
        }
    });
    cell.stop();
}

#[test]
fn a_member_that_hangs_is_left_out_until_it_answers_again() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let cell = start_web(&scratch);
    under_load(&cell, || {
        for _ in 0..ROUNDS {
            for (kind, _) in MEMBERS {
                let processes = family(cell.member_pid("web", kind.text()));
                for pid in &processes {
                    send(*pid, Signal::STOP);
                }
                cell.wait_for_state("web", kind.text(), RunState::Down);
                for pid in &processes {
                    send(*pid, Signal::CONT);
                }
                cell.wait_for_state("web", kind.text(), RunState::Up);
            }
        }
    });
    cell.stop();
}

#[test]
fn a_drained_member_gets_nothing_new_and_no_request_fails() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let cell = start_web(&scratch);
    under_load(&cell, || {
        for _ in 0..ROUNDS {
            for (kind, _) in MEMBERS {
                cell.act("web", Some(kind.text()), "drain");
                cell.wait_for_state("web", kind.text(), RunState::Draining);
                wait_for(&format!("{} to have nothing to do", kind.text()), || {
                    let member = cell.member("web", kind.text());
                    if member.in_flight == 0 {
                        Ok(())
                    } else {
                        Err(format!("{} in flight", member.in_flight))
                    }
                });
                let answers =
                    (0..12).map(|_| http::get(cell.router, "/").expect("the router answers").text());
                let drained = format!("{}\n", kind.text());
                assert_eq!(
                    answers.filter(|answer| *answer == drained).count(),
                    0,
                    "{} is drained",
                    kind.text()
                );
                cell.act("web", Some(kind.text()), "start");
                cell.wait_for_state("web", kind.text(), RunState::Up);
            }
        }
    });
    cell.stop();
}

#[test]
fn wrk_spreads_over_all_members_by_weight() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let cell = start_web(&scratch);
    let before: Vec<u64> = MEMBERS.iter().map(|(kind, _)| cell.member("web", kind.text()).requests).collect();
    let load = clients::wrk(cell.router, "/", 16, 2);
    assert_eq!((load.refused, load.broken), (0, 0), "{}", load.said);
    wait_for("the router to report all requests", || {
        let counts = MEMBERS.iter().zip(&before);
        let found: Vec<u64> =
            counts.map(|((kind, _), before)| cell.member("web", kind.text()).requests - before).collect();
        let total: u64 = found.iter().sum();
        if total < load.requests {
            return Err(format!("{total} of {}", load.requests));
        }
        for ((kind, weight), requests) in MEMBERS.iter().zip(&found) {
            let share = *requests as f64 / total as f64;
            let wanted = f64::from(*weight) / 6.0;
            assert!((share - wanted).abs() < 0.01, "{} got {share:.3} instead of {wanted:.3}", kind.text());
        }
        Ok(())
    });
    cell.stop();
}

#[test]
fn websockets_pass_stay_while_their_member_drains_and_end_with_it() {
    let _turn = take_turn();
    let scratch = Scratch::new();
    let script = root().join("crates/muster/tests/support/websocket_member.py");
    let command =
        [program("python3").display().to_string(), script.display().to_string(), "{port}".to_owned()];
    let tables = format!(
        "[clusters.chat.probe]\nkind = \"http\"\npath = \"/\"\ninterval_ms = 200\nrise = 1\n\n\
         [clusters.chat.members.one]\ncommand = {command:?}\n\n[clusters.chat.members.two]\ncommand = {command:?}\n"
    );
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("chat");
    // Two threads and two members: a handful of conversations reaches both.
    let mut sockets: Vec<WebSocket> = (0..4).map(|_| WebSocket::open(cell.router, "/room")).collect();
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
    cell.stop();
}
