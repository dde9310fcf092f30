//! What an elector is told, and what it says.

use crate::model::{Changes, Check, Revision, Snapshot, Txn};
use crate::time::Time;
use wire::id::{ManagerName, TermNumber};

/// How a commit ended, as far as the shell knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done {
        revision: Revision,
    },
    /// A check did not hold; nothing has changed.
    Refused,
    /// It never happened, and will not.
    NotDone,
    /// The connection broke, or the time was over: it may have happened, or may happen yet.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Tick,
    /// The answer to `Output::Read`; None: there was none in time.
    Read {
        ask: u64,
        snapshot: Option<Snapshot>,
    },
    /// News of `PREFIX`. They spare reads and speed things up; nothing depends on them.
    Changed(Changes),
    Committed {
        attempt: u64,
        outcome: Outcome,
    },
    /// A node, or another manager, knows of this term. The store may have forgotten it.
    Heard {
        term: TermNumber,
    },
    /// Somebody wants another manager to lead. It leads again after twice the wait, if nobody else did.
    Resign,
    /// Everything that was done as leader in this term has ended, provably.
    Stopped {
        term: TermNumber,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Read all of `PREFIX`.
    Read {
        ask: u64,
    },
    Commit {
        attempt: u64,
        txn: Txn,
    },
    /// May act in this term until then; repeated with each renewal.
    Lead {
        term: TermNumber,
        fence: Check,
        until: Time,
    },
    /// Must have stopped acting in this term K from now at the latest.
    Stop {
        term: TermNumber,
        why: StopReason,
    },
    Tell(News),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    #[error("no renewal was taken in time")]
    LeaseOver,
    #[error("another manager has a newer term")]
    Superseded,
    #[error("the store shows an older state than this manager knows")]
    WentBack,
    #[error("term {heard} is known elsewhere")]
    Outnumbered { heard: TermNumber },
    #[error("it was asked to resign")]
    Resigned,
}

/// For logs and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Follows {
        term: TermNumber,
        manager: ManagerName,
    },
    /// The store is older than what this manager knew: it was put back from a copy, or someone changed it.
    WentBack {
        known: TermNumber,
    },
    /// The record cannot be read, so nothing is taken over: a person must look.
    Unreadable,
}
