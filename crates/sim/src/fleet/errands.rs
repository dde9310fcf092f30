//! Questions that nodes of a fleet carry to one that is not heard, byte by byte: honestly, not at all, or with lies.

use super::manager::code;
use super::node::Manner;
use super::world::{CELL, Event, Fleet, Place};
use logic::heartbeat::admit::Receiver;
use logic::heartbeat::{self, PulseInput, PulseOutput, Search};
use logic::machine::Machine;
use logic::time::Time;
use std::net::{Ipv4Addr, SocketAddr};
use wire::heartbeat::{Datagram, Kind, Parsed};
use wire::id::{ManagerNumber, NodeNumber};

/// From where a node sends its heartbeats.
fn address(node: usize) -> SocketAddr {
    (Ipv4Addr::from(0x0a00_0001 + node as u32), 4_000).into()
}

impl Fleet {
    pub(super) fn search(&mut self, manager: usize, now: Time, asked_at: Time, searches: &[Search]) {
        let host = &mut self.managers[manager];
        let Some((elector, detector)) = &host.machines else { return };
        let term = elector.highest();
        let mut errands = Vec::new();
        for (carrier, nodes) in host.carriers.send(now, None, searches) {
            for node in nodes {
                let question = detector.question(CELL, node, asked_at, term);
                errands.extend(question.map(|question| (carrier.0 as usize, question)));
            }
        }
        for (carrier, question) in errands {
            let bytes = sealed(&question);
            let to = question.node.0 as usize;
            if !self.cuts.contains(&(Place::Manager(manager), Place::Node(carrier))) {
                let delay_us = self.some(200, 5_000);
                self.after(delay_us, Event::Carry { carrier, to, bytes });
            }
        }
    }

    /// Whether the node runs; what comes for one that stands still is too late when it goes on.
    fn runs(&self, node: usize) -> bool {
        self.nodes[node].pulse.is_some() && !self.nodes[node].is_stopped
    }

    pub(super) fn on_carry(&mut self, carrier: usize, to: usize, bytes: Vec<u8>) {
        if !self.runs(carrier) {
            return;
        }
        match self.nodes[carrier].manner {
            Manner::Honest => {}
            Manner::Idle => return,
            Manner::Lying => return self.lie(carrier, &bytes),
        }
        let host = &mut self.nodes[carrier];
        let now = host.clock.shows(self.now_us);
        if host.courier.take(now, address(to), &bytes) && !self.is_lost(Place::Node(carrier), Place::Node(to))
        {
            let delay_us = self.some(100, 3_000);
            let bytes = self.damaged(bytes);
            self.after(delay_us, Event::Question { carrier, node: to, bytes });
        }
    }

    /// One in a while is damaged.
    fn damaged(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.has_mischief && self.chance.below(20) == 0 {
            let at = self.chance.below(bytes.len() as u32) as usize;
            bytes[at] ^= 1 << self.chance.below(8);
        }
        bytes
    }

    /// What somebody would send who wants the node to look as if it were there: its question as a reply, with a code of
    /// its own, and replies that were given once.
    fn lie(&mut self, carrier: usize, question: &[u8]) {
        let Ok(Parsed { datagram: question, .. }) = Parsed::parse(question) else { return };
        let forged = Datagram { kind: Kind::Reply, ..question };
        let own_key = Self::key_of(NodeNumber(carrier as u32));
        let mut lies = vec![sealed(&question), forged.bytes(|signed| code(signed, own_key)).to_vec()];
        let given = self.replies.iter().filter(|(node, _, _)| *node == question.node);
        // Of before: those of the last half second would be no lies.
        let old_ms = question.sequence.saturating_sub(1_000);
        let old = given.filter(|(_, run, at)| *run != question.run || *at < old_ms).take(3);
        lies.extend(old.map(|(_, run, at)| sealed(&Datagram { run: *run, sequence: *at, ..forged })));
        let manager = usize::from(question.manager.0);
        for bytes in lies {
            let delay_us = self.some(200, 5_000);
            self.after(delay_us, Event::Carried { manager, carrier, bytes });
        }
    }

    pub(super) fn on_question(&mut self, carrier: usize, node: usize, bytes: &[u8]) {
        if !self.runs(node) {
            return;
        }
        let Ok(parsed) = Parsed::parse(bytes) else { return };
        let number = NodeNumber(node as u32);
        let receiver = Receiver::Node { cell: CELL, node: number };
        let key = Self::key_of(number);
        let Ok(question) = receiver.admit(&parsed, || Some(code(parsed.signed, key))) else { return };
        let host = &mut self.nodes[node];
        let now = host.clock.shows(self.now_us);
        let Some(pulse) = &mut host.pulse else { return };
        let before = pulse.lease_ends_at();
        let outputs = pulse.step(now, PulseInput::Answer(question));
        assert_eq!(pulse.lease_ends_at(), before, "a question has granted something");
        for output in outputs {
            let PulseOutput::Reply(reply) = output else { panic!("a question leads to {output:?}") };
            self.replies.insert((number, reply.run, reply.sequence));
            if !self.is_lost(Place::Node(node), Place::Node(carrier)) {
                let delay_us = self.some(100, 3_000);
                let bytes = self.damaged(sealed(&reply));
                self.after(delay_us, Event::Reply { carrier, node, bytes });
            }
        }
    }

    pub(super) fn on_reply(&mut self, carrier: usize, node: usize, bytes: Vec<u8>) {
        if !self.runs(carrier) {
            return;
        }
        let host = &mut self.nodes[carrier];
        let now = host.clock.shows(self.now_us);
        let Ok(parsed) = Parsed::parse(&bytes) else { return };
        let manager = usize::from(parsed.datagram.manager.0);
        let is_cut = self.cuts.contains(&(Place::Node(carrier), Place::Manager(manager)));
        if host.courier.bring(now, address(node), &bytes) && !is_cut {
            let delay_us = self.some(200, 5_000);
            self.after(delay_us, Event::Carried { manager, carrier, bytes });
        }
    }

    pub(super) fn on_carried(&mut self, manager: usize, carrier: usize, bytes: &[u8]) {
        let Ok(parsed) = Parsed::parse(bytes) else { return };
        let receiver = Receiver::Asker { cell: CELL, manager: ManagerNumber(manager as u16) };
        let key = Self::key_of(parsed.datagram.node);
        let Ok(reply) = receiver.admit(&parsed, || Some(code(parsed.signed, key))) else { return };
        let given = (reply.node, reply.run, reply.sequence);
        assert!(self.replies.contains(&given), "a reply counts that nobody gave: {reply:?}");
        let (run, by) = (self.managers[manager].run, NodeNumber(carrier as u32));
        self.step_detector(manager, run, heartbeat::Input::Carried { by, reply });
    }
}

/// As it is sent, with the code that the node's key makes.
fn sealed(datagram: &Datagram) -> Vec<u8> {
    let key = Fleet::key_of(datagram.node);
    datagram.bytes(|signed| code(signed, key)).to_vec()
}
