//! What managers say to each other in datagrams, and what somebody says who is none: recorded, forged, damaged, of another
//! cell. That changes nothing. What a manager says counts: terms that the store knows nothing of.

use super::support::datagrams::capture;
use super::support::stores::Kind;
use super::support::{Scratch, wait_at_most, wait_for};
use super::{Cell, MANAGERS, STORE, index, others};
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
const SHOWN_MAX: Duration = Duration::from_secs(30);
/// Terms that were never given are so much higher.
const FORGED_TERMS: u64 = 1_000;
/// How long a busy test machine may make managers say things.
const CALM_MAX: Duration = Duration::from_secs(60);

fn is_word(bytes: &[u8]) -> bool {
    ParsedBetween::parse(bytes).is_ok()
}

fn head(bytes: &[u8]) -> Head {
    ParsedBetween::parse(bytes).expect("what was recorded").head
}

fn of(host: &str) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 1 + index(host) as u8)
}

/// Nodes are numbered in the order of the guide's configuration.
fn address_of(manager: ManagerNumber) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 1 + manager.0 as u8)
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
fn bad_ones(genuine: &[u8]) -> Vec<Vec<u8>> {
    // Sent again, and nothing at all.
    let mut bad: Vec<Vec<u8>> = vec![genuine.to_vec(), b"MuMg".to_vec(), vec![0x4d; 1_400]];
    let (of, nodes) = (head(genuine), [NodeNumber(0), NodeNumber(1), NodeNumber(2)]);
    // The last code, and what it does not prove.
    let code = |_: &[u8]| -> Code {
        *genuine.last_chunk::<CODE_SIZE_BYTES>().expect("a datagram is longer than its code")
    };
    let newer = Head { sequence: of.sequence + 1_000, ..of };
    let silent = nodes.map(|node| Entry { node, silent_ms: 60_000, deaf: true });
    for made in [
        newer,
        Head { run: !of.run, ..newer },
        Head { cell: CellNumber(!of.cell.0), ..newer },
        Head { from: ManagerNumber(of.from.0 + 7), ..newer },
        Head { term: TermNumber(of.term.0 + FORGED_TERMS), ..newer },
        Head { topic: Topic::Opinions, ..newer },
        Head { topic: Topic::Questions, leads: true, asked_at: Some(0), ..newer },
        Head { topic: Topic::Questions, leads: true, term: TermNumber(1 << 40), ..newer },
    ] {
        bad.push(made.bytes(&silent, code));
    }
    let mut damaged = genuine.to_vec();
    damaged[55] ^= 1;
    bad.push(damaged);
    bad
}

impl Cell {
    /// Who leads, and what it says of the managers.
    fn asked(&self) -> (&'static str, CellStatus) {
        wait_for("a leader", || self.leader_of(&MANAGERS))
    }

    /// What whoever leads says of a manager.
    fn shown(&self, host: &str) -> ManagerState {
        let (_, status) = self.asked();
        let found = status.managers.iter().find(|manager| manager.node.0 == host);
        found.unwrap_or_else(|| panic!("{host} is not among {:?}", status.managers)).state
    }

    fn wait_until_shown(&self, host: &str, state: ManagerState) {
        wait_at_most(
            SHOWN_MAX,
            &format!("{host} to be shown as {state:?}"),
            &mut || match self.shown(host) {
                shown if shown == state => Ok(()),
                other => Err(format!("it is {other:?}")),
            },
        );
    }

    /// One leads and the others follow it, as it says. Gives one that follows.
    fn wait_until_all_are_shown(&self) -> &'static str {
        wait_at_most(SHOWN_MAX, "all managers to be shown", &mut || {
            let (leader, status) = self.asked();
            let is_right = |manager: &wire::status::ManagerStatus| match manager.node.0 == leader {
                true => manager.state == ManagerState::Leads,
                false => manager.state == ManagerState::Follows,
            };
            match status.managers.len() == 3 && status.managers.iter().all(is_right) {
                true => Ok(*others(leader).last().expect("two follow")),
                false => Err(format!("{:?}", status.managers)),
            }
        })
    }

    /// How often that was said, wherever somebody led.
    fn said(&self, kind: &str) -> usize {
        let logs = self.running.iter().flatten().map(super::Running::log);
        logs.map(|log| log.lines().filter(|line| line.contains(&format!("kind=\"{kind}\""))).count()).sum()
    }

    fn wait_until_said(&self, kind: &str, before: usize) {
        wait_for(&format!("an event {kind}"), || match self.said(kind) {
            count if count > before => Ok(()),
            _ => Err("none".to_owned()),
        });
    }

    /// What was said so far of nodes and leaders.
    fn said_of_all(&self) -> usize {
        [
            "node-reachable",
            "node-degraded",
            "node-unreachable",
            "node-rebooted",
            "mass-silence",
            "manager-leads",
        ]
        .into_iter()
        .map(|kind| self.said(kind))
        .sum()
    }

    /// Datagrams between managers with the host to which they came; with questions and opinions, for a node is silent
    /// meanwhile: that of a manager that follows.
    fn record(&self, follower: &str) -> Vec<(Ipv4Addr, Vec<u8>)> {
        let hearing = MANAGERS.map(|host| (host, capture(&self.hosts, host, RECORDING, is_word)));
        let (away, back) = (self.said("node-unreachable"), self.said("node-reachable"));
        self.signal(follower, Signal::STOP);
        self.wait_until_said("node-unreachable", away);
        self.signal(follower, Signal::CONT);
        self.wait_until_said("node-reachable", back);
        let heard = hearing.into_iter().flat_map(|(host, thread)| {
            let heard = thread.join().expect("it only listens");
            let came = heard.into_iter().filter(move |bytes| address_of(head(bytes).to) == of(host));
            came.map(move |bytes| (of(host), bytes))
        });
        heard.collect()
    }
}

#[test]
fn what_no_manager_has_said_changes_nothing() {
    let scratch = Scratch::new();
    let mut cell = Cell::follow_guide(&scratch, Kind::Etcd);
    cell.wait_until_whole(&MANAGERS);
    let follower = cell.wait_until_all_are_shown();
    let recorded = cell.record(follower);
    let topics = |topic| recorded.iter().filter(|(_, bytes)| head(bytes).topic == topic).count();
    assert!(topics(Topic::Questions) > 0, "the leader asks who has never led");
    assert!(topics(Topic::Opinions) > 0, "and is told");
    cell.wait_until_whole(&MANAGERS);
    let follower = cell.wait_until_all_are_shown();

    let term = |status: &CellStatus| status.leader.as_ref().expect("there are several managers").term;
    let first = term(&cell.asked().1);
    let bad = recorded.iter().flat_map(|(to, heard)| bad_ones(heard).into_iter().map(|bytes| (*to, bytes)));
    let flood = Flood::start(&cell, bad.collect());
    // A busy test machine may have something to say for a while, but the flood comes again and again.
    wait_at_most(CALM_MAX, "a while in which the flood is news to nobody", &mut || {
        let before = cell.said_of_all();
        std::thread::sleep(Duration::from_secs(3));
        match cell.said_of_all() {
            after if after == before => Ok(()),
            after => Err(format!("{} events", after - before)),
        }
    });
    assert!(term(&cell.asked().1).0 < first.0 + FORGED_TERMS, "somebody believes in its terms");
    cell.wait_until_all_are_shown();

    // Nor does it look like a manager that is gone, or shut out one that comes back.
    cell.signal(follower, Signal::KILL);
    cell.wait_until_shown(follower, ManagerState::Down);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(cell.shown(follower), ManagerState::Down, "its recorded words count");
    cell.start(follower);
    cell.wait_until_shown(follower, ManagerState::Follows);
    wait_for("a flood", || match flood.sent.load(Ordering::Relaxed) {
        5_000.. => Ok(()),
        few => Err(format!("{few} datagrams")),
    });
}

#[test]
fn a_leader_that_hears_of_a_higher_term_from_a_manager_leads_in_one_above_it() {
    let scratch = Scratch::new();
    let cell = Cell::follow_guide(&scratch, Kind::Etcd);
    cell.wait_until_whole(&MANAGERS);
    // From now on the test speaks for it.
    let gone = cell.wait_until_all_are_shown();
    cell.signal(gone, Signal::KILL);
    cell.wait_until_shown(gone, ManagerState::Down);
    let (_, first) = cell.asked();
    let heard = capture(&cell.hosts, gone, Duration::from_secs(2), is_word).join().expect("it only listens");
    let heard = heard.iter().map(|bytes| head(bytes)).find(|head| address_of(head.to) == of(gone));
    let heard = heard.expect("the others go on speaking to it");
    let secret = std::fs::read_to_string(cell.hosts.home("web-1").join("state/cell/heartbeat-secret"));
    let key = key_of_managers(secret.expect("the first manager has it").trim());
    let claim = TermNumber(first.leader.as_ref().expect("somebody leads").term.0 + FORGED_TERMS);
    let word = Head {
        topic: Topic::Presence,
        leads: false,
        from: heard.to,
        to: heard.from,
        run: 77,
        to_run: heard.run,
        sequence: 1,
        term: claim,
        asked_at: None,
        ..heard
    };
    let forged = word.bytes(&[], |_| [7; CODE_SIZE_BYTES]);
    let genuine = word
        .bytes(&[], |signed| *hmac::sign(&key, signed).as_ref().first_chunk().expect("a tag has 32 bytes"));
    let to = (address_of(heard.from), HEARD_AT);
    let send = |bytes: Vec<u8>| {
        let sending = cell.hosts.spawn(STORE, move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.send_to(&bytes, to).expect("it can be sent");
        });
        sending.join().expect("it only sends");
    };
    let rest = others(gone);
    let term = || wait_for("a leader", || cell.leader_of(&rest)).1.leader.expect("somebody leads").term;
    send(forged);
    std::thread::sleep(Duration::from_secs(2));
    assert!(term() < claim, "a forger deposes leaders");
    send(genuine);
    wait_for("a term above what was heard", || match term() {
        above if above > claim => Ok(()),
        other => Err(format!("{other}")),
    });
    let whole = cell.wait_until_whole(&rest);
    assert!(whole.generation > first.generation, "it is another term");
}

/// As managers make it of their secret.
fn key_of_managers(secret: &str) -> hmac::Key {
    let digit = |at: usize| u8::from_str_radix(&secret[at..at + 2], 16).expect("hexadecimal digits");
    let bytes: Vec<u8> = (0..secret.len()).step_by(2).map(digit).collect();
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, b"muster managers key 1").as_ref())
}
