//! The console of a manager that does not lead, with a leader that cannot be reached.

use super::{Console, PATIENCE};
use crate::console::testing::{Directory, FakeManager, sample_event, sample_status};
use crate::console::{ConsoleOptions, TOKEN_FILE, start};
use crate::manager::handle::{LeaderRecord, Leadership};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The console, and the hand on who leads: at first a manager that is not there.
fn follower() -> (Console, watch::Sender<Leadership>) {
    let directory = Directory::new();
    let (manager, mut handle) = FakeManager::start(sample_status(), vec![sample_event(1, "first")]);
    let leader = LeaderRecord {
        node: "web-1".into(),
        term: Default::default(),
        address: "127.0.0.1:1".into(),
        since_ms: 1,
    };
    let (leadership, seen) = watch::channel(Leadership::There(leader));
    handle.leadership = seen;
    let accounts = crate::accounts::testing::start();
    let listen = ([127, 0, 0, 1], 0).into();
    let state_dir = directory.0.clone();
    let options = ConsoleOptions { listen, state_dir, manager: handle, accounts, callers: None };
    let (role, address) = start(options).expect("a free port and a directory of its own");
    let token = std::fs::read_to_string(directory.0.join(TOKEN_FILE)).expect("`start` wrote it");
    let token = token.trim().to_owned();
    (Console { address, token, manager, directory, role: Some(role) }, leadership)
}

#[test]
fn a_call_that_no_leader_takes_is_answered_in_time_and_written_down_once() {
    let (console, _leadership) = follower();
    let begun = Instant::now();
    let reply = console.post("/api/v1/clusters/shop/stop", "");
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert_eq!((reply.status, reply.code().as_str()), (503, "M2025"));
    assert!(reply.body.contains(r#""retry":true"#) && reply.body.contains("nothing was done"), "{reply:?}");
    assert_eq!(console.asked(), Vec::<String>::new(), "who does not lead does nothing by itself");
    assert_eq!(console.audit(), ["admin API cluster-stop shop failed M2025"]);
    assert_eq!(console.get("/api/v1/me").status, 200, "what is in the store needs no leader");
}

#[test]
fn a_change_meets_the_leader_that_this_manager_has_become() {
    let deadline = Instant::now() + PATIENCE;
    let (console, _leadership, reply) = loop {
        let (console, leadership) = follower();
        let idle = leadership.receiver_count();
        let elected = std::thread::spawn(move || {
            // The call hears who leads as long as it looks for somebody who takes it.
            while leadership.receiver_count() == idle {
                assert!(Instant::now() < deadline, "the call does not look for the leader");
                std::thread::sleep(Duration::from_millis(1));
            }
            leadership.send_replace(Leadership::Nobody);
            std::thread::sleep(Duration::from_millis(300));
            leadership.send_replace(Leadership::Here);
            leadership
        });
        let reply = console.post("/api/v1/config", "[cell]");
        let leadership = elected.join().expect("it only waits");
        // It looks for three seconds, which is not enough on a machine that stands still.
        if reply.status != 503 || Instant::now() > deadline {
            break (console, leadership, reply);
        }
        assert_eq!(reply.code(), "M2025", "{reply:?}");
    };
    assert_eq!(reply.status, 200, "{reply:?}");
    let asked = console.asked();
    assert!(asked.len() == 1 && asked[0].starts_with("Apply 6 bytes dry_run=false"), "{asked:?}");
    assert_eq!(console.audit(), ["admin API config-apply done"]);
}

#[test]
fn nobody_from_outside_says_for_whom_they_call() {
    for headers in
        ["Muster-Caller: administrator\r\nMuster-Caller-Role: admin\r\n", "muster-caller-role: admin\r\n"]
    {
        let (follower, leading) = (follower(), Console::start());
        for console in [&follower.0, &leading] {
            let viewer = format!("{headers}Authorization: Bearer {}\r\n", console.token_of("look", "viewer"));
            for said in [headers, &viewer] {
                let reply = console.call("POST /api/v1/clusters/shop/stop", said, "");
                assert_eq!((reply.status, reply.code().as_str()), (403, "M2046"), "{said}");
            }
            assert_eq!(console.asked(), Vec::<String>::new());
        }
    }
}
