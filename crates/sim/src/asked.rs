//! What managers ask a simulated store, and what they hear where no answer comes.

use logic::model::Txn;
use logic::term::{Input, Outcome};

/// A client gives up waiting for an answer after so long.
pub(crate) const ANSWER_WAIT_US: u64 = 400_000;

/// On its way to the store.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Read { ask: u64 },
    Commit { attempt: u64, txn: Txn },
}

impl Asked {
    /// What the manager hears if no answer comes.
    pub fn no_answer(&self) -> Input {
        match self {
            Asked::Read { ask } => Input::Read { ask: *ask, snapshot: None },
            Asked::Commit { attempt, .. } => {
                Input::Committed { attempt: *attempt, outcome: Outcome::Unknown }
            }
        }
    }
}
