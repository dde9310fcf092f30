//! What managers say to each other about nodes, in datagrams through the socket of heartbeats (see
//! `wire::heartbeat::between`): questions and opinions of the detector, releases, and that they are there.
//!
//! Only who has the cell's secret is believed, nothing counts twice (see `Fellows`), and nobody is answered but at the
//! address that the configuration gives. Only a leader's questions and releases count, and releases only of one that has no
//! newer one known: whoever was deposed must not give back what another has taken over.

use crate::heartbeat::code;
use logic::heartbeat::admit::is_equal;
use logic::heartbeat::{Fellows, Input, Opinion, Output, Presence, Question, Word};
use logic::limits::PRESENCE_INTERVAL_MS;
use logic::time::Time;
use ring::hmac;
use std::net::SocketAddr;
use tokio::net::UdpSocket;
use wire::heartbeat::ManagerAddress;
use wire::heartbeat::between::{ENTRIES_MAX, Entry, Head, ParsedBetween, Topic};
use wire::id::{ManagerNumber, NodeNumber, TermNumber};

/// What this manager is at the moment.
#[derive(Debug, Clone, Copy)]
pub struct Stand {
    pub leads: bool,
    /// The highest term that it knows of.
    pub term: TermNumber,
}

pub struct Council {
    fellows: Fellows,
    key: hmac::Key,
    addresses: Vec<ManagerAddress>,
    present_at: Time,
    /// To be told to the others.
    released: Vec<NodeNumber>,
}

impl Council {
    pub fn new(fellows: Fellows, key: hmac::Key, addresses: Vec<ManagerAddress>, now: Time) -> Self {
        Self { fellows, key, addresses, present_at: now, released: Vec::new() }
    }

    /// Where the others are, from now on.
    pub fn find_at(&mut self, addresses: Vec<ManagerAddress>) {
        self.addresses = addresses;
    }

    /// Takes a datagram, and says what the detector is to hear of it.
    pub fn take(&mut self, now: Time, bytes: &[u8], stand: Stand) -> Vec<Input> {
        let Ok(parsed) = ParsedBetween::parse(bytes) else { return Vec::new() };
        let head = parsed.head;
        if !self.fellows.concerns(&head) || !is_equal(&code(&self.key, parsed.signed), &parsed.code) {
            return Vec::new();
        }
        if self.fellows.hear(now, &head) != Word::Counts {
            return Vec::new();
        }
        let newest = self.fellows.highest().max(stand.term);
        meaning(&head, parsed.entries(), stand, newest)
    }

    /// The highest term of which another manager has told.
    pub fn heard_term(&self) -> TermNumber {
        self.fellows.highest()
    }

    /// A term begins: people are told anew which managers are down.
    pub fn tell_anew(&mut self) {
        self.fellows.tell_anew();
    }

    /// Who is down, false, or back, true, since this was asked last.
    pub fn news(&mut self, now: Time) -> Vec<(ManagerNumber, bool)> {
        self.fellows.news(now)
    }

    pub fn presence(&self, now: Time) -> Vec<(ManagerNumber, Presence)> {
        self.fellows.presence(now).collect()
    }

    /// Says that this manager is there, if that is due, and what is left to say.
    pub fn look(&mut self, socket: &UdpSocket, now: Time, stand: Stand) {
        let released = std::mem::take(&mut self.released);
        let entry = |node: &NodeNumber| Entry { node: *node, silent_ms: 0, promise: false, deaf: false };
        let entries: Vec<Entry> = released.iter().map(entry).collect();
        self.tell_others(socket, stand, Topic::Releases, None, &entries);
        if now < self.present_at {
            return;
        }
        self.present_at = now + PRESENCE_INTERVAL_MS;
        for head in self.fellows.presences(stand.leads, stand.term) {
            self.send(socket, &head, &[]);
        }
    }

    /// Carries out what the detector wants told to other managers; gives back what is not for them.
    pub fn carry_out(&mut self, socket: &UdpSocket, stand: Stand, output: Output) -> Option<Output> {
        match output {
            Output::Ask { asked_at, questions } => {
                let entry = |question: &Question| Entry {
                    node: question.node,
                    silent_ms: 0,
                    promise: question.wants_promise,
                    deaf: false,
                };
                let entries: Vec<Entry> = questions.iter().map(entry).collect();
                self.tell_others(socket, stand, Topic::Questions, Some(asked_at), &entries);
            }
            Output::Tell { to, asked_at, opinions } => {
                let entry = |opinion: &Opinion| Entry {
                    node: opinion.node,
                    silent_ms: u32::try_from(opinion.silent_ms).unwrap_or(u32::MAX),
                    promise: opinion.is_over,
                    deaf: opinion.is_deaf,
                };
                let entries: Vec<Entry> = opinions.iter().map(entry).collect();
                match to {
                    Some(to) => self.tell_one(socket, to, stand, (Topic::Opinions, asked_at), &entries),
                    None => self.tell_others(socket, stand, Topic::Opinions, asked_at, &entries),
                }
            }
            // Many may be released at once; one datagram tells of all.
            Output::Release { node } => self.released.push(node),
            other => return Some(other),
        }
        None
    }

    fn tell_others(
        &mut self,
        socket: &UdpSocket,
        stand: Stand,
        topic: Topic,
        asked_at: Option<Time>,
        entries: &[Entry],
    ) {
        for other in self.fellows.others().collect::<Vec<_>>() {
            self.tell_one(socket, other, stand, (topic, asked_at), entries);
        }
    }

    fn tell_one(
        &mut self,
        socket: &UdpSocket,
        to: ManagerNumber,
        stand: Stand,
        (topic, asked_at): (Topic, Option<Time>),
        entries: &[Entry],
    ) {
        for part in entries.chunks(ENTRIES_MAX) {
            if let Some(head) = self.fellows.word_to(to, topic, stand.leads, stand.term, asked_at) {
                self.send(socket, &head, part);
            }
        }
    }

    /// What cannot be sent at once is lost: all of it is said again as long as it matters.
    fn send(&self, socket: &UdpSocket, head: &Head, entries: &[Entry]) {
        let Some(address) = self.address_of(head.to) else { return };
        let bytes = head.bytes(entries, |signed| code(&self.key, signed));
        if let Err(error) = socket.try_send_to(&bytes, address) {
            tracing::trace!(%address, %error, "a word to another manager is not sent");
        }
    }

    fn address_of(&self, manager: ManagerNumber) -> Option<SocketAddr> {
        self.addresses.iter().find(|it| it.number == manager).map(|it| it.address)
    }
}

/// What a datagram that counts means for the detector. `newest`: the highest term that anybody has told of.
fn meaning(
    head: &Head,
    entries: impl Iterator<Item = Entry>,
    stand: Stand,
    newest: TermNumber,
) -> Vec<Input> {
    let by = head.from;
    match (head.topic, head.asked_at) {
        (Topic::Questions, Some(asked_at)) if head.leads => {
            let question = |entry: Entry| Question { node: entry.node, wants_promise: entry.promise };
            let questions = entries.map(question).collect();
            vec![Input::Asked { by, asked_at: Time(asked_at), questions }]
        }
        (Topic::Opinions, asked_at) => {
            let opinion = |entry: Entry| Opinion {
                node: entry.node,
                silent_ms: u64::from(entry.silent_ms),
                is_deaf: entry.deaf,
                is_over: entry.promise,
            };
            let opinions = entries.map(opinion).collect();
            vec![Input::Told { by, asked_at: asked_at.map(Time), opinions }]
        }
        (Topic::Releases, _) if head.leads && !stand.leads && head.term >= newest => {
            entries.map(|entry| Input::Release { node: entry.node }).collect()
        }
        (Topic::Presence | Topic::Questions | Topic::Releases, _) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
