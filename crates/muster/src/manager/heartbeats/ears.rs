//! The thread: reads, answers, looks, and tells whoever leads.

use super::council::{Council, Stand};
use super::pending::Pending;
use super::{Glances, Inlets, Known, Lead, Orders, Sought, Start, Terms, Word};
use crate::clock::BootClock;
use crate::heartbeat::{code, usable};
use logic::enrol::to_hex;
use logic::heartbeat::admit::Receiver;
use logic::heartbeat::{Detector, Doubted, Fellows, Heard, Input, Output, Reach, Search, Settings, Verdict};
use logic::lease::Profile;
use logic::limits::{NODE_NUMBERS_MAX, SWEEP_LAG_MAX_MS};
use logic::machine::Machine;
use logic::time::Time;
use ring::hmac;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use wire::heartbeat::between::BETWEEN_SIZE_MAX_BYTES;
use wire::heartbeat::{Datagram, Errand, HeartbeatKey, Parsed, Sealed};
use wire::id::{CellNumber, ManagerNumber, NodeNumber};

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
    /// From where its last heartbeat has come.
    from: Option<SocketAddr>,
}

pub struct Ears {
    socket: UdpSocket,
    port: u16,
    cell: CellNumber,
    orders: Orders,
    receiver: Receiver,
    clock: BootClock,
    terms: Terms,
    managers_key: hmac::Key,
    detector: Detector,
    council: Council,
    nodes: Vec<Option<Node>>,
    pending: Pending,
    /// What was said last of nodes that are not simply there.
    said: BTreeMap<NodeNumber, Doubted>,
    glances: watch::Sender<Glances>,
    glanced_at: Time,
    drops: u64,
    drops_asked_at: Time,
    /// Datagrams since the last look.
    read: usize,
}

impl Ears {
    /// Ends when `orders` has no sender any more.
    pub async fn hear_for_ever(
        socket: UdpSocket,
        start: Start,
        (mut orders, mut words, mut carried): Inlets,
        glances: watch::Sender<Glances>,
    ) {
        // What comes before this manager has a number waits in the socket.
        let Ok(first) = orders.wait_for(|orders| orders.me.is_some()).await.map(|first| first.clone()) else {
            return;
        };
        let mut ears = match Self::new(socket, start, first, glances) {
            Ok(ears) => ears,
            Err(error) => return tracing::error!(%error, "no heartbeats are heard: no random numbers"),
        };
        orders.mark_changed();
        loop {
            let due = ears.detector.wake_at().expect("a detector looks at its nodes for ever");
            // All may be cancelled: they only wait.
            tokio::select! {
                biased;
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let new = orders.borrow_and_update().clone();
                    ears.obey(new);
                }
                Some((by, word)) = words.recv() => ears.obey_word(by, word),
                Some((by, reply)) = carried.recv() => ears.take_carried(by, &reply),
                _ = ears.socket.readable() => {}
                () = tokio::time::sleep_until(ears.clock.instant(due)) => {}
            }
            ears.read_all(due);
            let now = ears.clock.now();
            if now >= due {
                ears.look(now);
            }
            if let Some(lead) = &ears.orders.lead {
                ears.pending.hand_over(&lead.inbox);
            }
        }
    }

    fn new(
        socket: UdpSocket,
        start: Start,
        first: Orders,
        glances: watch::Sender<Glances>,
    ) -> Result<Self, getrandom::Error> {
        let Start { cell, managers_key, clock, terms } = start;
        let now = clock.now();
        let port = socket.local_addr().map_or(0, |address| address.port());
        let me = first.me.expect("nobody hears before it has a number");
        let (detector, council) = machines(cell, &managers_key, &first, now)?;
        Ok(Self {
            socket,
            port,
            cell,
            receiver: Receiver::Manager { cell, manager: me },
            clock,
            terms,
            managers_key,
            detector,
            council,
            orders: Orders { lead: None, known: Vec::new(), ..first },
            nodes: Vec::new(),
            pending: Pending::default(),
            said: BTreeMap::new(),
            glances,
            glanced_at: now,
            drops: drops_of(port).unwrap_or(0),
            drops_asked_at: now,
            read: 0,
        })
    }

    fn obey(&mut self, mut new: Orders) {
        if new.me.is_none() {
            // It is no manager any more, and is about to end.
            new.me = self.orders.me;
            new.managers = self.orders.managers.clone();
        }
        let old = std::mem::replace(&mut self.orders, new);
        let numbers = |orders: &Orders| orders.managers.iter().map(|it| it.number).collect::<Vec<_>>();
        let is_same = old.me == self.orders.me
            && old.profile == self.orders.profile
            && old.is_elected == self.orders.is_elected
            && numbers(&old) == numbers(&self.orders);
        if !is_same {
            self.begin_anew(old.profile);
        }
        self.council.find_at(self.orders.managers.clone());
        let known = self.orders.known.clone();
        self.know(&known);
        let generation = |lead: &Option<Lead>| lead.as_ref().map(|lead| lead.generation);
        match self.orders.lead.clone() {
            Some(lead) if generation(&old.lead) != Some(lead.generation) => {
                self.said = lead.away.iter().map(|doubted| (doubted.node, *doubted)).collect();
                self.lead();
            }
            Some(_) if !is_same => self.lead(),
            Some(_) => {}
            None => {
                self.pending = Pending::default();
                self.step(Input::Follow);
            }
        }
    }

    /// Among other managers, or with other numbers: what was heard until now means nothing. What was granted lasts, as long as
    /// the profile of before says.
    fn begin_anew(&mut self, earlier: Profile) {
        let now = self.clock.now();
        match machines(self.cell, &self.managers_key, &self.orders, now) {
            Ok((detector, council)) => (self.detector, self.council) = (detector, council),
            Err(error) => return tracing::error!(%error, "managers stay as they were: no random numbers"),
        }
        self.detector.follow_on(earlier, now);
        self.receiver = Receiver::Manager {
            cell: self.cell,
            manager: self.orders.me.expect("a manager that had a number has one"),
        };
        let watched = self.watched();
        self.step(Input::Nodes(watched));
    }

    /// A term begins for the detector, with all that is to be told in it.
    fn lead(&mut self) {
        self.step(Input::Follow);
        self.pending = Pending::default();
        self.council.tell_anew();
        self.nodes.iter_mut().flatten().for_each(|node| node.is_told = false);
        let away = self.said.values().copied().collect();
        let taken = self.orders.lead.as_ref().map(|lead| lead.taken.clone()).unwrap_or_default();
        self.step(Input::Lead { away, taken });
    }

    fn watched(&self) -> Vec<NodeNumber> {
        let numbers = (0..).map(NodeNumber);
        let watched =
            numbers.zip(&self.nodes).filter(|(_, node)| node.as_ref().is_some_and(|it| it.is_watched));
        watched.map(|(number, _)| number).collect()
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
            let before = before.filter(|_| is_same).map(|node| {
                // Another manager may have heard it.
                let is_watched = node.is_watched || known.place.beats;
                Node { is_watched, ..node }
            });
            let node = before.or_else(|| {
                let code_key = usable(&known.key)?;
                let key = known.key.clone();
                Some(Node { key, code_key, is_watched: known.place.beats, is_told: false, from: None })
            });
            if self.nodes.len() <= index {
                self.nodes.resize_with(index + 1, || None);
            }
            self.nodes[index] = node;
        }
        let left = old.iter().enumerate().filter(|(_, node)| node.is_some());
        gone.extend(left.map(|(index, _)| NodeNumber(index as u32)));
        self.watch(&gone);
        // What was last said of them does not hold for who comes next.
        let there = |node: &NodeNumber| Verdict {
            node: *node,
            reach: Reach::Reachable,
            silence_ms: 0,
            heard_by: None,
            is_mass: false,
        };
        if self.orders.lead.is_some() {
            self.pending.verdicts(gone.iter().map(there));
        }
        self.said.retain(|node, _| !gone.contains(node));
    }

    /// Tells the detector which nodes there are; `gone` are forgotten first.
    fn watch(&mut self, gone: &BTreeSet<NodeNumber>) {
        let watched = self.watched();
        if watched.iter().any(|node| gone.contains(node)) {
            let kept = watched.iter().filter(|node| !gone.contains(node)).copied();
            self.step(Input::Nodes(kept.collect()));
        }
        self.step(Input::Nodes(watched));
    }

    /// Reads what lies in the socket; on and on until nothing does, or the look that is due cannot wait any longer.
    fn read_all(&mut self, due: Time) {
        let mut buffer = [0; BETWEEN_SIZE_MAX_BYTES + 1];
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
        let Ok(parsed) = Parsed::parse(bytes) else { return self.take_word(at, bytes) };
        let index = parsed.datagram.node.0 as usize;
        let key = self.nodes.get(index).and_then(Option::as_ref).map(|node| &node.code_key);
        let Ok(beat) = self.receiver.admit(&parsed, || key.map(|key| code(key, parsed.signed))) else {
            return;
        };
        let may_grant = self.may_grant(at);
        let heard = self.detector.hear(at, &beat, may_grant);
        let is_granted = match heard {
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
        // What may have been sent again by anybody changes nothing.
        if matches!(heard, Heard::Fresh { .. }) {
            node.from = Some(from);
        }
        if !node.is_told && self.orders.lead.is_some() {
            node.is_told = true;
            self.pending.beats(beat.node);
        }
        self.answer(&beat, is_granted, from);
    }

    /// Whether leases may be granted for what has arrived at that moment. The clock is looked at after the heartbeat was sent, and
    /// before the lease of whoever grants is over: more is not needed, however late the answer leaves.
    fn may_grant(&self, at: Time) -> bool {
        match &self.orders.lead {
            Some(Lead { term: Some(term), .. }) => self.terms.holds(*term, at),
            Some(Lead { term: None, .. }) => true,
            None => !self.orders.is_elected,
        }
    }

    /// What a leader of before has said does not count any more.
    fn obey_word(&mut self, by: u64, word: Word) {
        if self.orders.lead.as_ref().is_none_or(|lead| lead.generation != by) {
            return;
        }
        match word {
            Word::Release(node) => self.step(Input::Release { node }),
            Word::Lost(node) => {
                self.said.entry(node).and_modify(|doubted| doubted.is_mass = false);
                self.step(Input::Confirm { node });
            }
        }
    }

    /// What another manager says, if it is one.
    fn take_word(&mut self, at: Time, bytes: &[u8]) {
        if let Some(input) = self.council.take(at, bytes) {
            self.step(input);
        }
        self.terms.hear(self.council.heard_term());
    }

    fn stand(&self) -> Stand {
        Stand { leads: self.orders.lead.is_some(), term: self.terms.known() }
    }

    /// An answer that cannot be sent at once is one that is lost; the next heartbeat asks again.
    fn answer(&self, beat: &Datagram, is_granted: bool, to: SocketAddr) {
        let Some(Some(node)) = self.nodes.get(beat.node.0 as usize) else { return };
        let answer = self.detector.answer(beat, is_granted, self.terms.known(), 0);
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
        let stand = self.stand();
        self.council.look(&self.socket, now, stand);
        if now.since_ms(self.glanced_at) >= GLANCE_PAUSE_MS {
            self.glanced_at = now;
            let numbers = (0..self.nodes.len() as u32).map(NodeNumber);
            let nodes: BTreeMap<_, _> =
                numbers.filter_map(|node| Some((node, self.detector.glance(now, node)?))).collect();
            let (nodes, managers) = (Arc::new(nodes), self.council.presence(now));
            if self.orders.lead.is_some() {
                self.pending.fellows(self.council.news(now));
            }
            self.glances.send_replace(Glances { nodes, managers });
        }
    }

    fn step(&mut self, input: Input) {
        let now = self.clock.now();
        let leads = self.orders.lead.is_some();
        for output in self.detector.step(now, input) {
            let stand = self.stand();
            let Some(output) = self.council.carry_out(&self.socket, stand, output) else { continue };
            match output {
                Output::Ask { .. } | Output::Tell { .. } => {
                    unreachable!("the council carries these out")
                }
                Output::Search { asked_at, searches } => self.search(asked_at, &searches),
                Output::Verdicts(verdicts) => self.say(verdicts),
                Output::Restarted(restart) if leads => self.pending.restarted(restart),
                // Its leader hears it too.
                Output::Restarted(_) => {}
                // The planner of groups releases it, also where it takes nothing from it.
                Output::TakeOver { node } => self.pending.taken(node),
                Output::Alarm(alarm) if leads => self.pending.alarm(alarm),
                Output::Alarm(alarm) => tracing::warn!(?alarm, "of this manager, which follows"),
            }
        }
    }

    /// Makes the questions that other nodes shall carry to where heartbeats came from.
    fn search(&mut self, asked_at: Time, searches: &[Search]) {
        let sought = searches.iter().filter_map(|search| {
            let node = self.nodes.get(search.node.0 as usize)?.as_ref()?;
            let to = node.from?;
            let question = self.detector.question(self.cell, search.node, asked_at, self.terms.known())?;
            let bytes = question.bytes(|signed| code(&node.code_key, signed));
            Some(Sought { search: *search, errand: Errand { to, question: Sealed(to_hex(&bytes)) } })
        });
        self.pending.sought(sought.collect());
    }

    /// What another node has brought, which may be anything.
    fn take_carried(&mut self, by: NodeNumber, reply: &[u8]) {
        let Ok(parsed) = Parsed::parse(reply) else { return };
        let Some(me) = self.orders.me else { return };
        let key = self.nodes.get(parsed.datagram.node.0 as usize).and_then(Option::as_ref);
        let receiver = Receiver::Asker { cell: self.cell, manager: me };
        let code = || key.map(|node| code(&node.code_key, parsed.signed));
        if let Ok(reply) = receiver.admit(&parsed, code) {
            self.step(Input::Carried { by, reply });
        }
    }

    fn say(&mut self, verdicts: Vec<Verdict>) {
        for &Verdict { node, reach, is_mass, .. } in &verdicts {
            if reach == Reach::Reachable {
                self.said.remove(&node);
            } else {
                self.said.insert(node, Doubted { node, reach, is_mass });
            }
        }
        self.pending.verdicts(verdicts);
    }
}

/// Those that have heard nobody yet, of a run of their own.
fn machines(
    cell: CellNumber,
    managers_key: &hmac::Key,
    orders: &Orders,
    now: Time,
) -> Result<(Detector, Council), getrandom::Error> {
    let mut run = [0; 8];
    getrandom::fill(&mut run)?;
    let run = u64::from_be_bytes(run);
    let me = orders.me.expect("nobody hears before it has a number");
    let managers: Vec<ManagerNumber> = orders.managers.iter().map(|manager| manager.number).collect();
    let fellows = Fellows::new(cell, me, &managers, run, now);
    let council = Council::new(fellows, managers_key.clone(), orders.managers.clone(), now);
    let settings = Settings { me, managers, lease: orders.profile, is_elected: orders.is_elected, run };
    let mut detector = Detector::new(settings, now);
    detector.step(now, Input::Own(NodeNumber(u32::from(me.0))));
    Ok((detector, council))
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
