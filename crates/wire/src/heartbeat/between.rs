//! The datagrams between managers: who is there, and what one asks and tells the other of nodes. Big endian.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0-3 | `MuMg` |
//! | 4 | version, 1 |
//! | 5 | 1: presence, 2: questions, 3: opinions; 4: a release, which no manager sends any more |
//! | 6 | bit 0: the sender leads |
//! | 7 | 0 |
//! | 8-15 | cell |
//! | 16-17 | manager that it comes from |
//! | 18-19 | manager that it goes to |
//! | 20-23 | 0 |
//! | 24-31 | run of the sender: drawn when it starts |
//! | 32-39 | run of the receiver, as the sender last heard it; 0: not yet |
//! | 40-47 | sequence: rises with each datagram of a run |
//! | 48-55 | highest term that the sender knows |
//! | 56-63 | when the questions were asked, by the clock of who asked; an opinion repeats it, all ones: unasked |
//! | then 9 each | node (4), milliseconds of its silence (4), bit 0: once a promise, now 0, bit 1: it does not hear the sender |
//! | last 16 | code that proves the sender, over everything before it |
//!
//! A later Muster may give a meaning to bits and bytes that have none yet; nobody looks at them until then.
//! Not here: which datagrams count (`logic::heartbeat::Fellows`), and the code itself: the shell computes it.

use super::{CODE_SIZE_BYTES, Code, Malformed, VERSION, field};
use crate::id::{CellNumber, ManagerNumber, NodeNumber, TermNumber};

const MAGIC: [u8; 4] = *b"MuMg";
const HEAD_SIZE_BYTES: usize = 64;
const ENTRY_SIZE_BYTES: usize = 9;
/// Nodes of one datagram. 128: it fits every network in one piece.
pub const ENTRIES_MAX: usize = 128;
/// Longest datagram between managers.
pub const BETWEEN_SIZE_MAX_BYTES: usize = HEAD_SIZE_BYTES + ENTRIES_MAX * ENTRY_SIZE_BYTES + CODE_SIZE_BYTES;
const UNASKED: u64 = u64::MAX;

/// What a datagram between managers brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Presence,
    Questions,
    Opinions,
}

/// What it says before it comes to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub topic: Topic,
    pub leads: bool,
    pub cell: CellNumber,
    pub from: ManagerNumber,
    pub to: ManagerNumber,
    pub run: u64,
    /// The receiver's.
    pub to_run: u64,
    pub sequence: u64,
    pub term: TermNumber,
    pub asked_at: Option<u64>,
}

/// What is asked or said of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub node: NodeNumber,
    pub silent_ms: u32,
    /// The node does not hear the sender.
    pub deaf: bool,
}

/// What arrived, before anybody knows whether it is genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedBetween<'a> {
    pub head: Head,
    /// What the code is computed over.
    pub signed: &'a [u8],
    pub code: Code,
}

impl Head {
    /// What is sent: at most `ENTRIES_MAX` entries, the rest is left out.
    pub fn bytes(&self, entries: &[Entry], code: impl FnOnce(&[u8]) -> Code) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BETWEEN_SIZE_MAX_BYTES);
        bytes.extend(MAGIC);
        let topic = match self.topic {
            Topic::Presence => 1,
            Topic::Questions => 2,
            Topic::Opinions => 3,
        };
        bytes.extend([VERSION, topic, u8::from(self.leads), 0]);
        bytes.extend(self.cell.0.to_be_bytes());
        bytes.extend(self.from.0.to_be_bytes());
        bytes.extend(self.to.0.to_be_bytes());
        bytes.extend([0; 4]);
        let asked_at = self.asked_at.unwrap_or(UNASKED);
        for number in [self.run, self.to_run, self.sequence, self.term.0, asked_at] {
            bytes.extend(number.to_be_bytes());
        }
        for entry in entries.iter().take(ENTRIES_MAX) {
            bytes.extend(entry.node.0.to_be_bytes());
            bytes.extend(entry.silent_ms.to_be_bytes());
            bytes.push(u8::from(entry.deaf) << 1);
        }
        let code = code(&bytes);
        bytes.extend(code);
        bytes
    }
}

impl<'a> ParsedBetween<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if !(HEAD_SIZE_BYTES + CODE_SIZE_BYTES..=BETWEEN_SIZE_MAX_BYTES).contains(&bytes.len()) {
            return Err(Malformed::Size);
        }
        let (signed, code) = bytes.split_at(bytes.len() - CODE_SIZE_BYTES);
        if signed[..4] != MAGIC {
            return Err(Malformed::NotOurs);
        }
        if signed[4] != VERSION {
            return Err(Malformed::Version(signed[4]));
        }
        let topic = match signed[5] {
            1 => Topic::Presence,
            2 => Topic::Questions,
            3 => Topic::Opinions,
            other => return Err(Malformed::Kind(other)),
        };
        let number = |at| u64::from_be_bytes(field(signed, at));
        let head = Head {
            topic,
            leads: signed[6] & 1 != 0,
            cell: CellNumber(number(8)),
            from: ManagerNumber(u16::from_be_bytes(field(signed, 16))),
            to: ManagerNumber(u16::from_be_bytes(field(signed, 18))),
            run: number(24),
            to_run: number(32),
            sequence: number(40),
            term: TermNumber(number(48)),
            asked_at: Some(number(56)).filter(|at| *at != UNASKED),
        };
        Ok(Self { head, signed, code: field(code, 0) })
    }

    /// What it says of nodes. To be believed once the code was found right.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.signed[HEAD_SIZE_BYTES..].chunks_exact(ENTRY_SIZE_BYTES).map(|bytes| Entry {
            node: NodeNumber(u32::from_be_bytes(field(bytes, 0))),
            silent_ms: u32::from_be_bytes(field(bytes, 4)),
            deaf: bytes[8] & 2 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        topic: Topic::Opinions,
        leads: true,
        cell: CellNumber(7),
        from: ManagerNumber(1),
        to: ManagerNumber(2),
        run: 11,
        to_run: 12,
        sequence: 13,
        term: TermNumber(14),
        asked_at: Some(15),
    };

    fn code(signed: &[u8]) -> Code {
        [signed.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)); CODE_SIZE_BYTES]
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        let entries = [
            Entry { node: NodeNumber(3), silent_ms: 640, deaf: true },
            Entry { node: NodeNumber(70_000), silent_ms: u32::MAX, deaf: false },
        ];
        for (topic, asked_at) in
            [(Topic::Presence, None), (Topic::Questions, Some(0)), (Topic::Opinions, Some(u64::MAX - 1))]
        {
            let head = Head { topic, asked_at, ..HEAD };
            let bytes = head.bytes(&entries, code);
            let parsed = ParsedBetween::parse(&bytes).expect("it is whole");
            assert_eq!((parsed.head, parsed.code), (head, code(parsed.signed)));
            assert_eq!(parsed.entries().collect::<Vec<_>>(), entries);
        }
    }

    #[test]
    fn datagrams_are_bounded_and_damaged_ones_are_refused() {
        let entry = Entry { node: NodeNumber(1), silent_ms: 1, deaf: true };
        let bytes = HEAD.bytes(&[entry; ENTRIES_MAX + 5], code);
        assert_eq!(bytes.len(), BETWEEN_SIZE_MAX_BYTES);
        assert_eq!(ParsedBetween::parse(&bytes).expect("it is whole").entries().count(), ENTRIES_MAX);
        let parse = |bytes: &[u8]| ParsedBetween::parse(bytes).map(|parsed| parsed.head);
        for length in 0..HEAD_SIZE_BYTES + CODE_SIZE_BYTES {
            assert_eq!(parse(&bytes[..length]), Err(Malformed::Size));
        }
        assert_eq!(parse(&[&bytes[..], &[0]].concat()), Err(Malformed::Size));
        let with = |at: usize, byte| {
            let mut changed = bytes.clone();
            changed[at] = byte;
            parse(&changed)
        };
        assert_eq!(with(2, b'H'), Err(Malformed::NotOurs));
        assert_eq!(with(4, 2), Err(Malformed::Version(2)));
        assert_eq!(with(5, 5), Err(Malformed::Kind(5)));
        assert_eq!(with(7, 9), Ok(HEAD), "what has no meaning yet is not looked at");
    }
}
