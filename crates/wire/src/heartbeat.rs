//! The datagrams between nodes and managers: a heartbeat and its answer, and a question that other nodes carry and its
//! reply. One fixed layout for all, big endian.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0-3 | `MuHb` |
//! | 4 | version, 1 |
//! | 5 | 1: heartbeat, 2: answer, 3: question, 4: reply |
//! | 6 | bit 0: the node hears no answers (heartbeat), the only manager grants the lease (answer); bit 1: the leader of several grants it (answer) |
//! | 7 | 0 |
//! | 8-15 | cell |
//! | 16-19 | node |
//! | 20-21 | manager that it goes to or comes from |
//! | 22-23 | milliseconds to the next heartbeat: as the node does, or as the manager wants |
//! | 24-31 | incarnation: a later start of the node's agent has a higher one |
//! | 32-39 | sequence: rises with each heartbeat of an incarnation; an answer repeats that of its heartbeat. Of a question: when it was asked, by the manager's clock; its reply repeats it |
//! | 40-47 | highest term that the sender knows |
//! | 48-55 | digest of the epochs that the sender has; 0 says nothing. What is new comes over links, so all of this version say 0 |
//! | 56-63 | boot: drawn anew when the machine starts |
//! | 64-71 | run of the manager: drawn when it starts; a heartbeat repeats that of the last answer, so that an old one is told from a new one by a manager that remembers nothing; a reply repeats that of its question |
//! | last 16 | code that proves the sender, over everything before it |
//!
//! A later Muster may put more between byte 72 and the code; who does not know it leaves it alone. Bits and bytes that
//! have no meaning yet are not looked at. Facts: cell 2.2.
//! Not here: who may send what (`logic::heartbeat::admit`), and the code itself: the shell computes it.

pub mod between;

use crate::id::{CellNumber, ManagerNumber, NodeNumber, TermNumber};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;

pub const VERSION: u8 = 1;
const MAGIC: [u8; 4] = *b"MuHb";
/// Bytes before the code in version 1.
const BODY_SIZE_BYTES: usize = 72;
/// Bytes of the code. 16: a forger hits it once in 2^128 datagrams, and longer would only cost.
pub const CODE_SIZE_BYTES: usize = 16;
/// What this Muster sends.
pub const SIZE_BYTES: usize = BODY_SIZE_BYTES + CODE_SIZE_BYTES;
/// Longest datagram that is looked at. 512: fits every network in one piece, with room for what later versions add.
pub const SIZE_MAX_BYTES: usize = 512;

pub type Code = [u8; CODE_SIZE_BYTES];

/// Who lets a node act by its lease since it sent the heartbeat that is answered. How long follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The only manager of the cell.
    Only,
    /// The one of several that leads.
    Leader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Heartbeat {
        /// The node has had no answer of this manager for a while: it can speak, not hear.
        is_deaf: bool,
    },
    Answer {
        /// None: nothing is granted.
        grant: Option<Grant>,
    },
    /// A manager that does not hear the node wants to know whether it is there; another node has brought it.
    Question,
    /// The node is there. It grants nothing and is granted nothing.
    Reply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    pub kind: Kind,
    pub cell: CellNumber,
    pub node: NodeNumber,
    pub manager: ManagerNumber,
    pub interval_ms: u16,
    pub incarnation: u64,
    pub sequence: u64,
    pub term: TermNumber,
    pub epochs: u64,
    pub boot: u64,
    pub run: u64,
}

/// What a node needs to send heartbeats. A manager says so over the node's link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatSettings {
    pub cell: CellNumber,
    pub node: NodeNumber,
    pub key: HeartbeatKey,
    pub managers: Vec<ManagerAddress>,
    /// Name of the profile of leases; one that the node does not know counts as the usual one.
    pub lease: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerAddress {
    pub number: ManagerNumber,
    pub address: SocketAddr,
}

/// The secret that proves datagrams of one node and its managers: 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeartbeatKey(pub String);

/// Without the key: it is a secret.
impl fmt::Debug for HeartbeatKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("HeartbeatKey")
    }
}

/// A datagram of which whoever carries it knows no more than how long it is: hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

/// A question that a node shall bring to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// From where heartbeats of the other have come.
    pub to: SocketAddr,
    pub question: Sealed,
}

/// What arrived, before anybody knows whether it is genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub datagram: Datagram,
    /// What the code is computed over.
    pub signed: &'a [u8],
    pub code: Code,
}

/// Why bytes are no datagram of this version. Anybody can send anything: count it, and do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter or longer than any datagram.
    Size,
    NotOurs,
    Version(u8),
    Kind(u8),
}

impl Datagram {
    /// The bytes that the code is computed over; the code follows them.
    pub fn body(&self) -> [u8; BODY_SIZE_BYTES] {
        let (kind, flags) = match self.kind {
            Kind::Heartbeat { is_deaf } => (1, u8::from(is_deaf)),
            Kind::Answer { grant: None } => (2, 0),
            Kind::Answer { grant: Some(Grant::Only) } => (2, 1),
            // A node of before must not take it for one of a majority that it needs.
            Kind::Answer { grant: Some(Grant::Leader) } => (2, 2),
            Kind::Question => (3, 0),
            Kind::Reply => (4, 0),
        };
        let mut bytes = [0; BODY_SIZE_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&[VERSION, kind, flags, 0]);
        bytes[8..16].copy_from_slice(&self.cell.0.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.node.0.to_be_bytes());
        bytes[20..22].copy_from_slice(&self.manager.0.to_be_bytes());
        bytes[22..24].copy_from_slice(&self.interval_ms.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.term.0.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.epochs.to_be_bytes());
        bytes[56..64].copy_from_slice(&self.boot.to_be_bytes());
        bytes[64..72].copy_from_slice(&self.run.to_be_bytes());
        bytes
    }

    /// What is sent.
    pub fn bytes(&self, code: impl FnOnce(&[u8]) -> Code) -> [u8; SIZE_BYTES] {
        let body = self.body();
        let mut bytes = [0; SIZE_BYTES];
        bytes[..BODY_SIZE_BYTES].copy_from_slice(&body);
        bytes[BODY_SIZE_BYTES..].copy_from_slice(&code(&body));
        bytes
    }
}

impl<'a> Parsed<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if !(SIZE_BYTES..=SIZE_MAX_BYTES).contains(&bytes.len()) {
            return Err(Malformed::Size);
        }
        let (signed, code) = bytes.split_at(bytes.len() - CODE_SIZE_BYTES);
        if signed[..4] != MAGIC {
            return Err(Malformed::NotOurs);
        }
        if signed[4] != VERSION {
            return Err(Malformed::Version(signed[4]));
        }
        let kind = match signed[5] {
            1 => Kind::Heartbeat { is_deaf: signed[6] & 1 != 0 },
            2 => Kind::Answer {
                grant: match signed[6] & 3 {
                    0 => None,
                    1 => Some(Grant::Only),
                    _ => Some(Grant::Leader),
                },
            },
            3 => Kind::Question,
            4 => Kind::Reply,
            other => return Err(Malformed::Kind(other)),
        };
        let datagram = Datagram {
            kind,
            cell: CellNumber(u64::from_be_bytes(field(signed, 8))),
            node: NodeNumber(u32::from_be_bytes(field(signed, 16))),
            manager: ManagerNumber(u16::from_be_bytes(field(signed, 20))),
            interval_ms: u16::from_be_bytes(field(signed, 22)),
            incarnation: u64::from_be_bytes(field(signed, 24)),
            sequence: u64::from_be_bytes(field(signed, 32)),
            term: TermNumber(u64::from_be_bytes(field(signed, 40))),
            epochs: u64::from_be_bytes(field(signed, 48)),
            boot: u64::from_be_bytes(field(signed, 56)),
            run: u64::from_be_bytes(field(signed, 64)),
        };
        Ok(Self { datagram, signed, code: field(code, 0) })
    }
}

/// The bytes of one field.
fn field<const SIZE: usize>(bytes: &[u8], at: usize) -> [u8; SIZE] {
    bytes[at..at + SIZE].try_into().expect("the size was checked before any field is read")
}

#[cfg(test)]
mod tests;
