//! What goes into a detector and what comes out of it.
//!
//! Questions and opinions travel between managers as authenticated datagrams; their order does not matter.

use crate::lease::Profile;
use crate::time::Time;
use wire::heartbeat::Datagram;
use wire::id::{ManagerNumber, NodeNumber};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub me: ManagerNumber,
    /// All managers of the cell, this one too; one to `MANAGERS_MAX`.
    pub managers: Vec<ManagerNumber>,
    pub lease: Profile,
    /// Its store is shared: who leads is elected, and may act, and grant leases, only while it holds the term. A manager that
    /// has its store to itself always may.
    pub is_elected: bool,
    /// Drawn by chance when this manager starts: what repeats it was sent since.
    pub run: u64,
}

/// Whether a node can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Reachable,
    /// Between it and the leader something is broken, but another manager hears it and is heard by it. Use it; nobody but
    /// the leader grants anything, so what only one node may do is taken over as from one that cannot be reached.
    Elsewhere,
    /// No manager hears it and is heard by it, but another node has asked it and was answered. The same follows.
    Nearby,
    /// One direction is broken: it hears no manager, though some hear it. It is granted nothing meanwhile.
    Degraded,
    /// Route around it. Nothing may be taken over yet.
    Unreachable,
}

impl Reach {
    /// Whether its lease is expected to go on. Once it has run out it is taken over from, whatever was expected.
    pub fn may_hold_lease(self) -> bool {
        match self {
            Reach::Reachable | Reach::Degraded => true,
            Reach::Elsewhere | Reach::Nearby | Reach::Unreachable => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub node: NodeNumber,
    pub reach: Reach,
    /// How long it had been silent here.
    pub silence_ms: u64,
    /// Who hears it, where the leader does not: a manager, which has its node's number, or another node.
    pub heard_by: Option<NodeNumber>,
    /// It fell with too many others: it is taken over from only once somebody says that it is lost.
    pub is_mass: bool,
}

/// A node that is not simply there, as the leader before has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubted {
    pub node: NodeNumber,
    pub reach: Reach,
    pub is_mass: bool,
}

/// A node as people are shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// Since its last heartbeat; None if none has come since this manager started.
    pub silence_ms: Option<u64>,
    pub interval_ms: u16,
    /// Some grant of this manager may still be in force.
    pub is_granted: bool,
    /// It is granted nothing more.
    pub is_withheld: bool,
}

/// What a heartbeat was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Answer it. `is_granted`: with a grant of the lease.
    Fresh { is_granted: bool },
    /// Genuine, but it may be from before this manager started. Answer it without a grant: the next one repeats our run.
    Unproven,
    /// Sent again, overtaken, or of an earlier start: it says nothing, do not answer.
    Old,
    /// No node of this cell.
    Unknown,
}

/// What another manager knows of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opinion {
    pub node: NodeNumber,
    pub silent_ms: u64,
    /// It does not hear that manager.
    pub is_deaf: bool,
}

/// A node that others shall be sent to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    pub node: NodeNumber,
    /// Who has been answered last.
    pub preferred: Option<NodeNumber>,
}

/// A node's agent started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    pub node: NodeNumber,
    pub incarnation: u64,
    /// The machine too: nothing of what ran there before runs any more.
    pub is_reboot: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Tick,
    /// All nodes of the cell.
    Nodes(Vec<NodeNumber>),
    /// The node of this manager's own machine.
    Own(NodeNumber),
    /// This manager leads from now on. What is committed of nodes that cannot be reached, and those from which something is
    /// being taken over.
    Lead {
        away: Vec<Doubted>,
        taken: Vec<NodeNumber>,
    },
    Follow,
    Asked {
        by: ManagerNumber,
        /// The leader's own time: repeated in the answer.
        asked_at: Time,
        nodes: Vec<NodeNumber>,
    },
    Told {
        by: ManagerNumber,
        asked_at: Time,
        opinions: Vec<Opinion>,
    },
    /// Another node has brought this reply, which `admit` let through.
    Carried {
        by: NodeNumber,
        reply: Datagram,
    },
    /// The node may be granted leases again: it has stopped what was taken over.
    Release {
        node: NodeNumber,
    },
    /// A person says that a node which fell with many others is lost: it is one that fell alone from now on.
    Confirm {
        node: NodeNumber,
    },
    /// The manager's other work came so much too late.
    Lagged {
        lag_ms: u64,
    },
    /// The kernel had no room for datagrams: heartbeats are missing that may have been sent.
    Dropped,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// To all other managers: what they hear of these.
    Ask {
        asked_at: Time,
        nodes: Vec<NodeNumber>,
    },
    /// Other nodes shall ask these whether they are there (`Detector::question`).
    Search {
        asked_at: Time,
        searches: Vec<Search>,
    },
    Tell {
        to: ManagerNumber,
        asked_at: Time,
        opinions: Vec<Opinion>,
    },
    /// One epoch. Of one that had fallen before others fell with it, only the rest may be news.
    Verdicts(Vec<Verdict>),
    Restarted(Restart),
    /// Every grant has run out, and it gets none before it is released: what this leader commits may count on the node having
    /// stopped.
    TakeOver {
        node: NodeNumber,
    },
    Alarm(Alarm),
}

/// For a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// This manager was not running for so long. It listens anew and takes nothing over for one lease.
    Lagged { lag_ms: u64 },
    /// It hears none of so many nodes, and says nothing about them.
    HearsNobody { nodes: usize },
    /// So many of so many fell at once: nothing is taken over from them without a person's word.
    MassSilence { fallen: usize, nodes: usize },
}
