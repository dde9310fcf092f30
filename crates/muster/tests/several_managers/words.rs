//! What managers say to each other in datagrams, and what somebody says who is none: recorded, forged, damaged, of another
//! cell. That changes nothing. What a manager says counts: terms that the store knows nothing of.

use super::support::datagrams::capture;
use super::support::stores::Kind;
use super::support::{Scratch, wait_at_most, wait_for};
use super::{Cell, MANAGERS, STORE, index};
use ring::hmac;
use rustix::process::Signal;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use wire::heartbeat::between::{Entry, Head, ParsedBetween, Topic};
use wire::heartbeat::{CODE_SIZE_BYTES, Code};
use wire::id::{CellNumber, ManagerNumber, NodeNumber, TermNumber};
use wire::status::{CellStatus, ManagerState};

const HEARD_AT: u16 = 29_002;
/// How long what managers say is recorded. A node is silent for a while meanwhile, so that they ask each other.
const RECORDING: Duration = Duration::from_secs(5);
/// Datagrams between two pauses of a millisecond.
const AT_ONCE: usize = 10;
/// What a manager may take to be shown as down, or as there: two seconds, and a busy test machine.
const SHOWN_MAX: Duration = Duration::from_secs(20);

fn is_word(bytes: &[u8]) -> bool {
    ParsedBetween::parse(bytes).is_ok()
}

fn head(bytes: &[u8]) -> Head {
    ParsedBetween::parse(bytes).expect("what was recorded").head
}

fn address_of(host: &str) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 1 + index(host) as u8)
}

/// A flood of datagrams from a machine that is no manager's. It ends with this.
struct Flood {
    must_stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(cell: &Cell, datagrams: Vec<(Ipv4Addr, Vec<u8>)>) -> Self {
        let (must_stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_over, count) = (must_stop.clone(), sent.clone());
        let thread = cell.hosts.spawn(STORE, move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            let mut next = datagrams.iter().cycle();
            while !is_over.load(Ordering::Relaxed) {
                for (to, bytes) in next.by_ref().take(AT_ONCE) {
                    // The network may be full for a moment.
                    let is_sent = socket.send_to(bytes, (*to, HEARD_AT)).is_ok();
                    count.fetch_add(u64::from(is_sent), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { must_stop, sent, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.must_stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "it only sends");
        }
    }
}

/// What an attacker can make of what he has recorded.
fn bad_ones(recorded: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut bad: Vec<Vec<u8>> = vec![b"MuMg".to_vec(), vec![0x4d; 1_400]];
    for genuine in recorded {
        let (of, nodes) = (head(genuine), [NodeNumber(0), NodeNumber(1), NodeNumber(2)]);
        // Sent again.
        bad.push(genuine.clone());
        // The last code, and what it does not prove.
        let code = |_: &[u8]| -> Code {
            *genuine.last_chunk::<CODE_SIZE_BYTES>().expect("a datagram is longer than its code")
        };
        let newer = Head { sequence: of.sequence + 1_000, ..of };
        let silent = nodes.map(|node| Entry { node, silent_ms: 60_000, promise: true, deaf: true });
        for made in [
            newer,
            Head { run: !of.run, ..newer },
            Head { cell: CellNumber(!of.cell.0), ..newer },
            Head { from: ManagerNumber(of.from.0 + 7), ..newer },
            Head { term: TermNumber(of.term.0 + 1_000), ..newer },
            Head { topic: Topic::Opinions, ..newer },
            Head { topic: Topic::Questions, leads: true, asked_at: Some(0), ..newer },
            Head { topic: Topic::Releases, leads: true, term: TermNumber(1 << 40), ..newer },
        ] {
            bad.push(made.bytes(&silent, code));
        }
        let mut damaged = genuine.clone();
        damaged[55] ^= 1;
        bad.push(damaged);
    }
    bad
}

impl Cell {
    /// What whoever leads says of a manager.
    fn shown(&self, host: &str) -> Result<ManagerState, String> {
        let (_, status) = self.leader_of(&MANAGERS)?;
        let found = status.managers.iter().find(|manager| manager.node.0 == host);
        found.map(|manager| manager.state).ok_or_else(|| format!("{:?}", status.managers))
    }

    fn wait_until_shown(&self, host: &str, state: ManagerState) {
        wait_at_most(
            SHOWN_MAX,
            &format!("{host} to be shown as {state:?}"),
            &mut || match self.shown(host)? {
                shown if shown == state => Ok(()),
                other => Err(format!("it is {other:?}")),
            },
        );
    }

    fn wait_for_event(&self, kind: &str) {
        wait_for(&format!("an event {kind}"), || match self.said(kind) {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        });
    }

    /// How often that was said, wherever somebody led.
    fn said(&self, kind: &str) -> usize {
        let logs = self.running.iter().flatten().map(super::Running::log);
        logs.map(|log| log.lines().filter(|line| line.contains(&format!("kind=\"{kind}\""))).count()).sum()
    }

    fn said_of_nodes(&self) -> usize {
        [
            "node-reachable",
            "node-degraded",
            "node-unreachable",
            "node-rebooted",
            "mass-silence",
            "manager-alone",
        ]
        .into_iter()
        .map(|kind| self.said(kind))
        .sum()
    }

    /// Datagrams between managers, by the host to which they came; with questions, opinions and releases.
    fn record(&self) -> Vec<(&'static str, Vec<Vec<u8>>)> {
        let hearing = MANAGERS.map(|host| (host, capture(&self.hosts, host, RECORDING, is_word)));
        self.signal("web-3", Signal::STOP);
        self.wait_for_event("node-unreachable");
        self.signal("web-3", Signal::CONT);
        self.wait_for_event("node-reachable");
        hearing
            .into_iter()
            .map(|(host, thread)| {
                let to = |bytes: &Vec<u8>| usize::from(head(bytes).to.0) == index(host);
                let mut heard = thread.join().expect("it only listens");
                heard.retain(to);
                (host, heard)
            })
            .collect()
    }

    fn numbers(&self) -> CellStatus {
        wait_for("a leader", || self.leader_of(&MANAGERS)).1
    }
}

#[test]
fn what_no_manager_has_said_changes_nothing() {
    let scratch = Scratch::new();
    let mut cell = Cell::follow_guide(&scratch, Kind::Etcd);
    cell.wait_until_whole(&MANAGERS);
    cell.wait_until_followed("web-1", &["web-2", "web-3"]);
    cell.wait_until_shown("web-1", ManagerState::Leads);
    cell.wait_until_shown("web-2", ManagerState::Follows);
    cell.wait_until_shown("web-3", ManagerState::Follows);
    let recorded = cell.record();
    let topics = |host: &str, topic| {
        let (_, heard) = recorded.iter().find(|(it, _)| *it == host).expect("all were listened at");
        heard.iter().filter(|bytes| head(bytes).topic == topic).count()
    };
    assert!(topics("web-2", Topic::Questions) > 0, "the leader asks who has never led");
    assert!(topics("web-1", Topic::Opinions) > 0, "and is told");
    cell.wait_until_whole(&MANAGERS);

    let bad = recorded.iter().flat_map(|(host, heard)| {
        let address = address_of(host);
        bad_ones(heard).into_iter().map(move |bytes| (address, bytes))
    });
    let before = (cell.said_of_nodes(), cell.numbers());
    let flood = Flood::start(&cell, bad.collect());
    std::thread::sleep(Duration::from_secs(4));
    let after = (cell.said_of_nodes(), cell.numbers());
    assert_eq!(after.0, before.0, "the flood is news to somebody");
    assert_eq!(after.1.leader, before.1.leader, "somebody believes in its terms");
    for host in ["web-2", "web-3"] {
        assert_eq!(cell.shown(host), Ok(ManagerState::Follows));
    }

    // Nor does it look like a manager that is gone, or shut out one that comes back.
    cell.signal("web-3", Signal::KILL);
    cell.wait_until_shown("web-3", ManagerState::Down);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(cell.shown("web-3"), Ok(ManagerState::Down), "its recorded words count");
    cell.start("web-3");
    cell.wait_until_shown("web-3", ManagerState::Follows);
    assert!(flood.sent.load(Ordering::Relaxed) > 5_000, "{:?} datagrams are no flood", flood.sent);
}

#[test]
fn a_leader_that_hears_of_a_higher_term_from_a_manager_leads_in_one_above_it() {
    let scratch = Scratch::new();
    let cell = Cell::follow_guide(&scratch, Kind::Etcd);
    cell.wait_until_whole(&MANAGERS);
    cell.wait_until_shown("web-3", ManagerState::Follows);
    // From now on the test speaks for it.
    cell.signal("web-3", Signal::KILL);
    cell.wait_until_shown("web-3", ManagerState::Down);
    let first = cell.numbers();
    let hearing =
        capture(&cell.hosts, "web-3", Duration::from_secs(1), is_word).join().expect("it only listens");
    let to_web_3 =
        hearing.iter().map(|bytes| head(bytes)).find(|head| head.leads).expect("the leader is there");
    let secret = std::fs::read_to_string(cell.hosts.home("web-1").join("state/cell/heartbeat-secret"));
    let key = key_of_managers(secret.expect("the first manager has it").trim());
    let claim = TermNumber(first.leader.as_ref().expect("somebody leads").term.0 + 1_000);
    let word = Head {
        topic: Topic::Presence,
        leads: false,
        from: to_web_3.to,
        to: to_web_3.from,
        run: 77,
        to_run: to_web_3.run,
        sequence: 1,
        term: claim,
        asked_at: None,
        ..to_web_3
    };
    let forged = word.bytes(&[], |_| [7; CODE_SIZE_BYTES]);
    let genuine = word
        .bytes(&[], |signed| *hmac::sign(&key, signed).as_ref().first_chunk().expect("a tag has 32 bytes"));
    let send = |bytes: Vec<u8>| {
        let sending = cell.hosts.spawn(STORE, move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.send_to(&bytes, (address_of("web-1"), HEARD_AT)).expect("it can be sent");
        });
        sending.join().expect("it only sends");
    };
    send(forged);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(cell.numbers().leader, first.leader, "a forger deposes leaders");
    send(genuine);
    let next = wait_for("a term above what was heard", || {
        let (_, status) = cell.leader_of(&MANAGERS[..2])?;
        match status.leader.clone() {
            Some(leader) if leader.term > claim => Ok(status),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(next.generation > first.generation, "it is another term");
    cell.wait_until_whole(&MANAGERS[..2]);
}

/// As managers make it of their secret.
fn key_of_managers(secret: &str) -> hmac::Key {
    let digit = |at: usize| u8::from_str_radix(&secret[at..at + 2], 16).expect("hexadecimal digits");
    let bytes: Vec<u8> = (0..secret.len()).step_by(2).map(digit).collect();
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, b"muster managers key 1").as_ref())
}
