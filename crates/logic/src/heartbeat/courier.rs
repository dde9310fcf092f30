//! A node's side of questions that it carries for the leader: what it sends where, and what it brings back.
//!
//! It can read neither question nor reply, and carries nothing else: a datagram of the right form that names a question to
//! an address that a machine can have, and one reply to it of the same length from there. So nobody can have it send
//! anything else to anybody, nor more than it was sent. Not here: the socket, and what the reply means (see `Detector`).

use crate::limits::{CARRY_INTERVAL_MS, ERRANDS_MAX, REPLY_AGE_MAX_MS};
use crate::time::Time;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use wire::heartbeat::{Datagram, Kind, Parsed};

/// Questions that are under way at most: as many as can be taken while a reply counts.
const UNDER_WAY_MAX: usize = ERRANDS_MAX * (REPLY_AGE_MAX_MS / CARRY_INTERVAL_MS + 1) as usize;

#[derive(Debug, Clone)]
struct Errand {
    to: SocketAddr,
    question: Datagram,
    size: usize,
    at: Time,
    /// Kept for as long as the others, so that quick replies make no room for more.
    is_done: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Courier {
    /// The oldest first.
    under_way: VecDeque<Errand>,
}

impl Courier {
    /// Whether the question is to be sent there. False: it is none, or there are too many.
    pub fn take(&mut self, now: Time, to: SocketAddr, bytes: &[u8]) -> bool {
        self.forget(now);
        let Ok(Parsed { datagram: question, .. }) = Parsed::parse(bytes) else { return false };
        let recent = self.under_way.iter().filter(|errand| now.since_ms(errand.at) < CARRY_INTERVAL_MS);
        let has_room = recent.count() < ERRANDS_MAX && self.under_way.len() < UNDER_WAY_MAX;
        let is_fit = question.kind == Kind::Question && is_machine(to) && has_room;
        if is_fit {
            let to = canonical(to);
            self.under_way.push_back(Errand { to, question, size: bytes.len(), at: now, is_done: false });
        }
        is_fit
    }

    /// Whether that is a reply to be brought back; then its question is no longer waited for.
    pub fn bring(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) -> bool {
        self.forget(now);
        let Ok(Parsed { datagram: reply, .. }) = Parsed::parse(bytes) else { return false };
        let is_reply = |errand: &Errand| {
            let asked = &errand.question;
            reply.kind == Kind::Reply
                && !errand.is_done
                && errand.to == canonical(from)
                && bytes.len() <= errand.size
                && (asked.cell, asked.node, asked.manager) == (reply.cell, reply.node, reply.manager)
                && (asked.run, asked.sequence) == (reply.run, reply.sequence)
        };
        match self.under_way.iter_mut().find(|errand| is_reply(errand)) {
            Some(errand) => {
                errand.is_done = true;
                true
            }
            None => false,
        }
    }

    fn forget(&mut self, now: Time) {
        while self.under_way.front().is_some_and(|errand| now.since_ms(errand.at) > REPLY_AGE_MAX_MS) {
            self.under_way.pop_front();
        }
    }
}

/// One machine, and not many at once or none.
fn is_machine(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_multicast() && !ip.is_unspecified() && !is_broadcast && address.port() != 0
}

/// The same for both spellings of an address of IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::heartbeat::{CODE_SIZE_BYTES, Grant, SIZE_BYTES};
    use wire::id::{CellNumber, ManagerNumber, NodeNumber, TermNumber};

    fn datagram(kind: Kind, node: u32, sequence: u64) -> [u8; SIZE_BYTES] {
        let datagram = Datagram {
            kind,
            cell: CellNumber(1),
            node: NodeNumber(node),
            manager: ManagerNumber(0),
            interval_ms: 150,
            incarnation: 1,
            sequence,
            term: TermNumber(0),
            epochs: 0,
            boot: 0,
            run: 5,
        };
        datagram.bytes(|_| [9; CODE_SIZE_BYTES])
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_reply_is_brought_back_once_and_only_to_its_question() {
        let mut courier = Courier::default();
        let there = at("10.0.0.7:4000");
        assert!(courier.take(Time(0), there, &datagram(Kind::Question, 3, 77)));
        let reply = datagram(Kind::Reply, 3, 77);
        assert!(!courier.bring(Time(5), at("10.0.0.8:4000"), &reply), "of somebody else");
        assert!(!courier.bring(Time(5), at("10.0.0.7:4001"), &reply), "of another port");
        assert!(!courier.bring(Time(5), there, &datagram(Kind::Reply, 4, 77)), "of another node");
        assert!(!courier.bring(Time(5), there, &datagram(Kind::Reply, 3, 76)), "to another question");
        assert!(!courier.bring(Time(5), there, &datagram(Kind::Answer { grant: Some(Grant::Only) }, 3, 77)));
        assert!(!courier.bring(Time(5), there, &[&reply[..], &[0; 4]].concat()), "longer than the question");
        assert!(courier.bring(Time(5), at("[::ffff:10.0.0.7]:4000"), &reply));
        assert!(!courier.bring(Time(6), there, &reply), "again");
        assert!(courier.take(Time(10), there, &datagram(Kind::Question, 3, 78)));
        let late = Time(10 + REPLY_AGE_MAX_MS + 1);
        assert!(!courier.bring(late, there, &datagram(Kind::Reply, 3, 78)), "too late");
    }

    #[test]
    fn nothing_but_questions_to_one_machine_is_carried() {
        let mut courier = Courier::default();
        let question = datagram(Kind::Question, 3, 77);
        for to in ["224.0.0.1:5", "255.255.255.255:5", "0.0.0.0:5", "[ff02::1]:5", "10.0.0.7:0"] {
            assert!(!courier.take(Time(0), at(to), &question), "{to}");
        }
        let there = at("10.0.0.7:4000");
        for kind in
            [Kind::Reply, Kind::Heartbeat { is_deaf: false }, Kind::Answer { grant: Some(Grant::Only) }]
        {
            assert!(!courier.take(Time(0), there, &datagram(kind, 3, 77)), "{kind:?}");
        }
        assert!(!courier.take(Time(0), there, b"GET / HTTP/1.0"));
        assert!(!courier.take(Time(0), there, &question[1..]));
    }

    #[test]
    fn what_is_carried_is_bounded() {
        let mut courier = Courier::default();
        let there = at("10.0.0.7:4000");
        let mut taken = 0;
        for ms in 0..2_000_u64 {
            taken += usize::from(courier.take(Time(ms), there, &datagram(Kind::Question, 3, ms)));
            assert!(courier.under_way.len() <= UNDER_WAY_MAX);
        }
        let intervals = 2_000 / CARRY_INTERVAL_MS as usize + 1;
        assert!(taken <= intervals * ERRANDS_MAX, "{taken}");
        // Who replies at once makes no room for more.
        let mut courier = Courier::default();
        let mut taken = 0;
        for number in 0..100 {
            if courier.take(Time(0), there, &datagram(Kind::Question, 3, number)) {
                taken += 1;
                assert!(courier.bring(Time(0), there, &datagram(Kind::Reply, 3, number)));
            }
        }
        assert_eq!(taken, ERRANDS_MAX);
    }
}
