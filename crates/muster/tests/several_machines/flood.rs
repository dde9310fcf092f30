//! Datagrams that nobody who belongs to the cell has sent: forged, damaged, of another cell, sent again. They change
//! nothing, and hide nothing.

use super::support::datagrams::capture;
use super::support::{Scratch, wait_for};
use super::{ALL, Cell, HOSTS};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wire::heartbeat::{Datagram, Grant, Kind, Parsed, SIZE_BYTES};
use wire::status::NodeReach;

/// Where the manager of the guide hears heartbeats.
const HEARD_AT: ([u8; 4], u16) = ([10, 0, 0, 1], 29_002);
/// Datagrams between two pauses of a millisecond. Ten: at most 10,000 a second, 500 times what the nodes send, and not all
/// that the test machine can do.
const AT_ONCE: u64 = 10;

fn datagram(bytes: &[u8]) -> Datagram {
    Parsed::parse(bytes).expect("what was captured").datagram
}

/// Whose they are.
fn nodes(heard: &[Vec<u8>]) -> BTreeSet<u32> {
    heard.iter().map(|bytes| datagram(bytes).node.0).collect()
}

/// What an attacker can make of what he has heard.
fn bad_ones(heard: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut bad: Vec<Vec<u8>> = vec![vec![0; SIZE_BYTES], b"MuHb".to_vec(), vec![0x4d; 2_000], Vec::new()];
    for genuine in heard {
        let of = datagram(genuine);
        // Sent again.
        bad.push(genuine.clone());
        // The last code, and what it does not prove.
        let code = |_: &[u8]| genuine[genuine.len() - 16..].try_into().expect("a code has 16 bytes");
        let newer = Datagram { sequence: of.sequence + 1_000, ..of };
        let reborn = Datagram { incarnation: of.incarnation + 1_000_000, boot: !of.boot, ..of };
        let deaf = Datagram { kind: Kind::Heartbeat { is_deaf: true }, sequence: of.sequence + 1_000, ..of };
        let foreign =
            Datagram { cell: wire::id::CellNumber(!of.cell.0), sequence: of.sequence + 1_000, ..of };
        let other =
            Datagram { node: wire::id::NodeNumber(of.node.0 + 1), sequence: of.sequence + 1_000, ..of };
        let answer = Datagram { kind: Kind::Answer { grant: Some(Grant::Only) }, ..of };
        for made in [newer, reborn, deaf, foreign, other, answer] {
            bad.push(made.bytes(code).to_vec());
        }
        let mut damaged = genuine.clone();
        damaged[40] ^= 1;
        bad.push(damaged);
        // From a later Muster, as far as anybody can tell.
        let mut longer = genuine.clone();
        longer.splice(72..72, [7; 40]);
        bad.push(longer);
    }
    bad
}

/// Heartbeats of at least two machines, as somebody hears them who listens at the manager's.
fn hear(cell: &Cell) -> Vec<Vec<u8>> {
    let is_heartbeat = |bytes: &[u8]| {
        let kind = Parsed::parse(bytes).map(|parsed| parsed.datagram.kind);
        matches!(kind, Ok(Kind::Heartbeat { .. }))
    };
    let mut heard = Vec::new();
    wait_for("two machines to be heard", || {
        let capturing = capture(&cell.hosts, "web-1", Duration::from_secs(2), is_heartbeat);
        heard.extend(capturing.join().expect("it only listens"));
        if nodes(&heard).len() >= 2 { Ok(()) } else { Err(format!("{} datagrams", heard.len())) }
    });
    heard
}

#[test]
fn datagrams_that_nobody_of_the_cell_has_sent_change_nothing_and_hide_nothing() {
    let scratch = Scratch::new();
    let cell = Cell::follow_guide(&scratch, "curl");
    for host in HOSTS {
        cell.wait_until_connected(host);
        cell.wait_until_reached(host, &ALL);
        cell.wait_for_reach(host, "reachable");
    }
    let heard = hear(&cell);
    let bad = bad_ones(&heard);
    let (must_stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (is_over, count) = (must_stop.clone(), sent.clone());
    let before = cell.verdicts();
    let flood = cell.hosts.spawn("web-2", move || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let to = SocketAddr::from(HEARD_AT);
        let mut next = bad.iter().cycle();
        while !is_over.load(Ordering::Relaxed) {
            for bytes in next.by_ref().take(AT_ONCE as usize) {
                // The network may be full for a moment.
                count.fetch_add(u64::from(socket.send_to(bytes, to).is_ok()), Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    // On a machine that stands still for a second a node may be missed, flood or not; such a while tells nothing.
    wait_for("four seconds in which nobody is news", || {
        let before = cell.verdicts();
        std::thread::sleep(Duration::from_secs(4));
        for host in HOSTS {
            match cell.node(host)? {
                node if node.reach == NodeReach::Reachable && !node.left_out => {}
                node => return Err(format!("{node:?}")),
            }
        }
        let news = cell.verdicts().split_off(before.len());
        if news.is_empty() { Ok(()) } else { Err(news.join("\n")) }
    });
    let believed = ["node-rebooted", "node-degraded", "node-removed"];
    let believed = |line: &String| believed.iter().any(|kind| line.contains(&format!("kind=\"{kind}\"")));
    let news = cell.verdicts().split_off(before.len());
    assert!(!news.iter().any(believed), "the flood is believed: {news:?}");

    // Nor does it hide a machine that is gone, or look like its coming back.
    cell.hosts.cut("web-3");
    let cut = Instant::now();
    wait_for("the manager to miss web-3", || match cell.node("web-3")? {
        node if node.left_out => Ok(()),
        node => Err(format!("{node:?}")),
    });
    println!("in the flood web-3 was missed {:?} after it was cut off", cut.elapsed());
    std::thread::sleep(Duration::from_secs(2));
    assert!(cell.node("web-3").expect("a node").left_out, "its old heartbeats count");
    cell.hosts.heal("web-3");
    cell.wait_for_reach("web-3", "reachable");
    wait_for("so many datagrams that they are a flood", || match sent.load(Ordering::Relaxed) {
        10_000.. => Ok(()),
        few => Err(few.to_string()),
    });
    must_stop.store(true, Ordering::Relaxed);
    flood.join().expect("it only sends");
}

impl Cell {
    /// What the manager has said of nodes.
    fn verdicts(&self) -> Vec<String> {
        let log = self.running.first().expect("the manager runs").log();
        let is_verdict = |line: &&str| line.contains("kind=\"node-") || line.contains("kind=\"mass-");
        log.lines().filter(is_verdict).map(str::to_owned).collect()
    }
}
