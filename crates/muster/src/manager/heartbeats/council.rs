//! What managers say to each other about nodes, in datagrams through the socket of heartbeats (see
//! `wire::heartbeat::between`): questions and opinions of the detector, and that they are there.
//!
//! Only who has the cell's secret is believed, nothing counts twice (see `Fellows`), and nobody is answered but at the
//! address that the configuration gives. Only a leader's questions count.

use crate::heartbeat::code;
use logic::heartbeat::admit::is_equal;
use logic::heartbeat::{Fellows, Input, Opinion, Output, Presence, Word};
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
}

impl Council {
    pub fn new(fellows: Fellows, key: hmac::Key, addresses: Vec<ManagerAddress>, now: Time) -> Self {
        Self { fellows, key, addresses, present_at: now }
    }

    /// Where the others are, from now on.
    pub fn find_at(&mut self, addresses: Vec<ManagerAddress>) {
        self.addresses = addresses;
    }

    /// Takes a datagram, and says what the detector is to hear of it.
    pub fn take(&mut self, now: Time, bytes: &[u8]) -> Option<Input> {
        let parsed = ParsedBetween::parse(bytes).ok()?;
        let head = parsed.head;
        if !self.fellows.concerns(&head) || !is_equal(&code(&self.key, parsed.signed), &parsed.code) {
            return None;
        }
        if self.fellows.hear(now, &head) != Word::Counts {
            return None;
        }
        meaning(&head, parsed.entries())
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

    /// Says that this manager is there, if that is due.
    pub fn look(&mut self, socket: &UdpSocket, now: Time, stand: Stand) {
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
            Output::Ask { asked_at, nodes } => {
                let entry = |node: &NodeNumber| Entry { node: *node, silent_ms: 0, deaf: false };
                let entries: Vec<Entry> = nodes.iter().map(entry).collect();
                for other in self.fellows.others().collect::<Vec<_>>() {
                    self.tell_one(socket, other, stand, (Topic::Questions, asked_at), &entries);
                }
            }
            Output::Tell { to, asked_at, opinions } => {
                let entry = |opinion: &Opinion| Entry {
                    node: opinion.node,
                    silent_ms: u32::try_from(opinion.silent_ms).unwrap_or(u32::MAX),
                    deaf: opinion.is_deaf,
                };
                let entries: Vec<Entry> = opinions.iter().map(entry).collect();
                self.tell_one(socket, to, stand, (Topic::Opinions, asked_at), &entries);
            }
            other => return Some(other),
        }
        None
    }

    fn tell_one(
        &mut self,
        socket: &UdpSocket,
        to: ManagerNumber,
        stand: Stand,
        (topic, asked_at): (Topic, Time),
        entries: &[Entry],
    ) {
        for part in entries.chunks(ENTRIES_MAX) {
            if let Some(head) = self.fellows.word_to(to, topic, stand.leads, stand.term, Some(asked_at)) {
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

/// What a datagram that counts means for the detector.
fn meaning(head: &Head, entries: impl Iterator<Item = Entry>) -> Option<Input> {
    let (by, asked_at) = (head.from, Time(head.asked_at?));
    match head.topic {
        Topic::Questions if head.leads => {
            let nodes = entries.map(|entry| entry.node).collect();
            Some(Input::Asked { by, asked_at, nodes })
        }
        Topic::Opinions => {
            let opinion = |entry: Entry| Opinion {
                node: entry.node,
                silent_ms: u64::from(entry.silent_ms),
                is_deaf: entry.deaf,
            };
            Some(Input::Told { by, asked_at, opinions: entries.map(opinion).collect() })
        }
        Topic::Presence | Topic::Questions => None,
    }
}

#[cfg(test)]
mod tests;
