//! Which datagrams count: those of this cell, meant for this receiver, whose code proves the sender.
//!
//! The caller computes the code with the key of the node that the datagram names; without such a key it passes None.
//! Whoever is refused learns nothing and changes nothing. Not here: heartbeats that are old (see `Detector::hear` and
//! `Pulse`), which also refuse what is genuine and sent again.

use wire::heartbeat::{Code, Datagram, Kind, Parsed};
use wire::id::{CellNumber, ManagerNumber, NodeNumber};

/// Who looks at a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    Manager {
        cell: CellNumber,
        manager: ManagerNumber,
    },
    Node {
        cell: CellNumber,
        node: NodeNumber,
    },
    /// A manager that looks at what another node has brought back.
    Asker {
        cell: CellNumber,
        manager: ManagerNumber,
    },
}

/// Why a datagram counts for nothing; to be counted, and logged once in a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it belongs to another cell")]
    ForeignCell,
    #[error("it is meant for another receiver")]
    NotForUs,
    #[error("no key is known for its sender")]
    Unknown,
    #[error("its code does not fit")]
    Forged,
}

impl Receiver {
    /// The datagram, if it counts. Cheap tests first: a flood of foreign ones costs no code.
    pub fn admit(&self, parsed: &Parsed, code: impl FnOnce() -> Option<Code>) -> Result<Datagram, Refusal> {
        let datagram = &parsed.datagram;
        let (cell, is_ours) = match (self, datagram.kind) {
            (Receiver::Manager { cell, manager }, Kind::Heartbeat { .. })
            | (Receiver::Asker { cell, manager }, Kind::Reply) => (cell, *manager == datagram.manager),
            (Receiver::Node { cell, node }, Kind::Answer { .. } | Kind::Question) => {
                (cell, *node == datagram.node)
            }
            (Receiver::Manager { cell, .. }, Kind::Answer { .. } | Kind::Question | Kind::Reply)
            | (Receiver::Asker { cell, .. }, Kind::Heartbeat { .. } | Kind::Answer { .. } | Kind::Question)
            | (Receiver::Node { cell, .. }, Kind::Heartbeat { .. } | Kind::Reply) => (cell, false),
        };
        if *cell != datagram.cell {
            return Err(Refusal::ForeignCell);
        }
        if !is_ours {
            return Err(Refusal::NotForUs);
        }
        let code = code().ok_or(Refusal::Unknown)?;
        if is_equal(&code, &parsed.code) { Ok(*datagram) } else { Err(Refusal::Forged) }
    }
}

/// Looks at every byte whatever the first ones say: how long it takes must not tell a forger how close he is.
pub fn is_equal(one: &Code, other: &Code) -> bool {
    one.iter().zip(other).fold(0, |differences, (one, other)| differences | (one ^ other)) == 0
}
