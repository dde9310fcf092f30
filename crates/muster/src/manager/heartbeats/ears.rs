//! The thread: reads, answers, looks, and tells.

use super::pending::Pending;
use super::{Glances, Known};
use crate::clock::BootClock;
use crate::heartbeat::{code, usable};
use crate::manager::desk::Input as DeskInput;
use logic::heartbeat::admit::Receiver;
use logic::heartbeat::{Detector, Heard, Input, Output, Reach, Settings, Verdict};
use logic::lease::LAN;
use logic::limits::{NODE_NUMBERS_MAX, SWEEP_LAG_MAX_MS};
use logic::machine::Machine;
use logic::time::Time;
use ring::hmac;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use wire::heartbeat::{Datagram, HeartbeatKey, Parsed, SIZE_MAX_BYTES};
use wire::id::{CellNumber, ManagerNumber, NodeNumber, TermNumber};

/// How long a look may be put off while the socket is never empty. Half of what makes a manager doubt itself: whoever
/// floods it shall neither hide a lost machine nor make those look lost that wait behind the flood.
const READ_ON_MS: u64 = SWEEP_LAG_MAX_MS / 2;
/// Pause between pictures of all nodes for people. A quarter of a second: nobody reads faster.
const GLANCE_PAUSE_MS: u64 = 250;
/// Pause between questions to the kernel whether it had to drop datagrams.
const DROPS_PAUSE_MS: u64 = 1_000;
/// Datagrams between two looks from which on it is asked at once. 500: an eighth of what the socket holds.
const DROPS_LIKELY_FROM: usize = 500;

/// A node whose heartbeats count, by its number.
struct Node {
    key: HeartbeatKey,
    code_key: hmac::Key,
    /// Its silence means something.
    is_watched: bool,
    /// It was heard since this manager started, and the manager was told.
    is_told: bool,
}

pub struct Ears {
    socket: UdpSocket,
    port: u16,
    receiver: Receiver,
    clock: BootClock,
    detector: Detector,
    nodes: Vec<Option<Node>>,
    pending: Pending,
    /// Nodes from which something could be taken over now. Nothing is: groups do not exist yet, so each gets its leases
    /// back when it does.
    fallen: BTreeSet<NodeNumber>,
    glances: watch::Sender<Glances>,
    glanced_at: Time,
    drops: u64,
    drops_asked_at: Time,
    /// Datagrams since the last look.
    read: usize,
}

impl Ears {
    pub fn new(
        socket: UdpSocket,
        cell: CellNumber,
        run: u64,
        clock: BootClock,
        glances: watch::Sender<Glances>,
    ) -> Self {
        let manager = ManagerNumber(0);
        let settings = Settings { me: manager, managers: vec![manager], lease: LAN, run };
        let now = clock.now();
        let mut detector = Detector::new(settings, now);
        detector.step(now, Input::Lead { away: Vec::new(), taken: Vec::new() });
        let port = socket.local_addr().map_or(0, |address| address.port());
        Self {
            socket,
            port,
            receiver: Receiver::Manager { cell, manager },
            clock,
            detector,
            nodes: Vec::new(),
            pending: Pending::default(),
            fallen: BTreeSet::new(),
            glances,
            glanced_at: now,
            drops: drops_of(port).unwrap_or(0),
            drops_asked_at: now,
            read: 0,
        }
    }

    /// Ends when `known` has no sender any more.
    pub async fn hear_for_ever(
        mut self,
        mut known: watch::Receiver<Vec<Known>>,
        inbox: mpsc::Sender<DeskInput>,
    ) {
        loop {
            let due = self.detector.wake_at().expect("a detector looks at its nodes for ever");
            // All may be cancelled: they only wait.
            tokio::select! {
                biased;
                changed = known.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let nodes = known.borrow_and_update().clone();
                    self.know(&nodes);
                }
                _ = self.socket.readable() => {}
                () = tokio::time::sleep_until(self.clock.instant(due)) => {}
            }
            self.read_all(due);
            let now = self.clock.now();
            if now >= due {
                self.look(now);
            }
            self.pending.hand_over(&inbox);
        }
    }

    /// Takes what the configuration and those who joined say. Whoever is no longer there, or is another machine now,
    /// leaves nothing behind.
    fn know(&mut self, known: &[Known]) {
        let mut old = std::mem::take(&mut self.nodes);
        let mut gone = BTreeSet::new();
        for known in known.iter().filter(|known| (known.place.number.0 as usize) < NODE_NUMBERS_MAX) {
            let index = known.place.number.0 as usize;
            let before = old.get_mut(index).and_then(Option::take);
            let is_same = before.as_ref().is_some_and(|node| node.key == known.key);
            if before.is_some() && !is_same {
                gone.insert(known.place.number);
            }
            let node = before.filter(|_| is_same).or_else(|| {
                let code_key = usable(&known.key)?;
                let key = known.key.clone();
                Some(Node { key, code_key, is_watched: known.place.beats, is_told: false })
            });
            if self.nodes.len() <= index {
                self.nodes.resize_with(index + 1, || None);
            }
            self.nodes[index] = node;
            if known.is_own {
                self.step(Input::Own(known.place.number));
            }
        }
        let left = old.iter().enumerate().filter(|(_, node)| node.is_some());
        gone.extend(left.map(|(index, _)| NodeNumber(index as u32)));
        self.watch(&gone);
        // What was last said of them does not hold for who comes next.
        let there = |node: &NodeNumber| Verdict { node: *node, reach: Reach::Reachable, silence_ms: 0 };
        self.pending.verdicts(gone.iter().map(there), false);
        self.fallen.retain(|node| !gone.contains(node));
    }

    /// Tells the detector which nodes there are; `gone` are forgotten first.
    fn watch(&mut self, gone: &BTreeSet<NodeNumber>) {
        let numbers = (0..).map(NodeNumber);
        let watched =
            numbers.zip(&self.nodes).filter(|(_, node)| node.as_ref().is_some_and(|it| it.is_watched));
        let watched: Vec<NodeNumber> = watched.map(|(number, _)| number).collect();
        if watched.iter().any(|node| gone.contains(node)) {
            let kept = watched.iter().filter(|node| !gone.contains(node)).copied();
            self.step(Input::Nodes(kept.collect()));
        }
        self.step(Input::Nodes(watched));
    }

    /// Reads what lies in the socket; on and on until nothing does, or the look that is due cannot wait any longer.
    fn read_all(&mut self, due: Time) {
        let mut buffer = [0; SIZE_MAX_BYTES + 1];
        loop {
            match self.socket.try_recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let at = self.clock.now();
                    self.read += 1;
                    self.take(at, &buffer[..length], from);
                    if at >= due + READ_ON_MS {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An answer found nobody, which says nothing about who sends.
                Err(error) => {
                    tracing::trace!(%error, "reading heartbeats");
                    return;
                }
            }
        }
    }

    fn take(&mut self, at: Time, bytes: &[u8], from: SocketAddr) {
        let Ok(parsed) = Parsed::parse(bytes) else { return };
        let index = parsed.datagram.node.0 as usize;
        let key = self.nodes.get(index).and_then(Option::as_ref).map(|node| &node.code_key);
        let Ok(beat) = self.receiver.admit(&parsed, || key.map(|key| code(key, parsed.signed))) else {
            return;
        };
        let is_granted = match self.detector.hear(at, &beat) {
            Heard::Fresh { is_granted } => is_granted,
            Heard::Unproven => false,
            Heard::Old => return,
            // The first that is ever heard of it: from now on its silence means something.
            Heard::Unknown => {
                self.nodes[index].as_mut().expect("its key was found").is_watched = true;
                self.watch(&BTreeSet::new());
                false
            }
        };
        let node = self.nodes[index].as_mut().expect("its key was found");
        if !node.is_told {
            node.is_told = true;
            self.pending.beats(beat.node);
        }
        self.answer(&beat, is_granted, from);
    }

    /// An answer that cannot be sent at once is one that is lost; the next heartbeat asks again.
    fn answer(&self, beat: &Datagram, is_granted: bool, to: SocketAddr) {
        let Some(Some(node)) = self.nodes.get(beat.node.0 as usize) else { return };
        let answer = self.detector.answer(beat, is_granted, TermNumber(0), 0);
        let bytes = answer.bytes(|signed| code(&node.code_key, signed));
        if let Err(error) = self.socket.try_send_to(&bytes, to) {
            tracing::trace!(%error, "a heartbeat is not answered");
        }
    }

    fn look(&mut self, now: Time) {
        let is_likely = self.read >= DROPS_LIKELY_FROM;
        self.read = 0;
        if is_likely || now.since_ms(self.drops_asked_at) >= DROPS_PAUSE_MS {
            self.drops_asked_at = now;
            let drops = drops_of(self.port).unwrap_or(self.drops);
            if drops > std::mem::replace(&mut self.drops, drops) {
                self.step(Input::Dropped);
            }
        }
        self.step(Input::Tick);
        if now.since_ms(self.glanced_at) >= GLANCE_PAUSE_MS {
            self.glanced_at = now;
            let numbers = (0..self.nodes.len() as u32).map(NodeNumber);
            let glances: BTreeMap<_, _> =
                numbers.filter_map(|node| Some((node, self.detector.glance(now, node)?))).collect();
            self.glances.send_replace(Arc::new(glances));
        }
    }

    fn step(&mut self, input: Input) {
        let now = self.clock.now();
        for output in self.detector.step(now, input) {
            match output {
                // There is nobody else.
                Output::Ask { .. } | Output::Tell { .. } | Output::Release { .. } => {}
                Output::Verdicts { verdicts, is_mass } => {
                    let back: Vec<NodeNumber> = verdicts
                        .iter()
                        .filter(|verdict| {
                            verdict.reach == Reach::Reachable && self.fallen.remove(&verdict.node)
                        })
                        .map(|verdict| verdict.node)
                        .collect();
                    self.pending.verdicts(verdicts, is_mass);
                    back.into_iter().for_each(|node| self.step(Input::Release { node }));
                }
                Output::Restarted(restart) => self.pending.restarted(restart),
                Output::TakeOver { node, .. } => drop(self.fallen.insert(node)),
                Output::Alarm(alarm) => self.pending.alarm(alarm),
            }
        }
    }
}

/// Datagrams for a UDP port of this machine that the kernel had no room for, since its sockets exist.
fn drops_of(port: u16) -> Option<u64> {
    let of = |path| Some(drops_in(&std::fs::read_to_string(path).ok()?, port));
    Some(of("/proc/self/net/udp")? + of("/proc/self/net/udp6").unwrap_or(0))
}

/// The last column of each line whose second, the socket's own address, ends with the port.
fn drops_in(table: &str, port: u16) -> u64 {
    let end = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| line.split_ascii_whitespace());
    let drops = lines.filter_map(|mut columns| {
        columns.nth(1).filter(|own| own.ends_with(&end))?;
        columns.last()?.parse::<u64>().ok()
    });
    drops.sum()
}

#[cfg(test)]
mod tests;
