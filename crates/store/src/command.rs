//! What a handle asks of the one who owns the engine.

use crate::StoreError;
use logic::model::{Changes, Read, Revision, Snapshot, Txn};
use tokio::sync::oneshot;

/// Where an answer goes. Whoever asked may be gone by then; that is no concern of ours.
pub type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
pub enum Command {
    Read { read: Read, reply: Reply<Snapshot> },
    Commit { txn: Txn, reply: Reply<Revision> },
    Changes { prefix: String, since: Revision, reply: Reply<Changes> },
}

impl Command {
    pub fn answer_read(self, snapshot: Snapshot) {
        let Command::Read { reply, .. } = self else {
            unreachable!("only a read is answered with a snapshot")
        };
        drop(reply.send(Ok(snapshot)));
    }

    pub fn answer_changes(self, changes: Changes) {
        let Command::Changes { reply, .. } = self else { unreachable!("only a watch is told of changes") };
        drop(reply.send(Ok(changes)));
    }

    /// Answers that nothing was done.
    pub fn refuse(self, error: StoreError) {
        match self {
            Command::Read { reply, .. } => drop(reply.send(Err(error))),
            Command::Commit { reply, .. } => drop(reply.send(Err(error))),
            Command::Changes { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// Whether an entry could have this key. Engines must not be asked for others: some fail on bytes that are no text.
pub fn is_plain(key: &str) -> bool {
    key.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// The first key after all that start with `prefix`: keys are printable ASCII, and 0x7f is greater than all of it.
pub fn after(prefix: &str) -> String {
    format!("{prefix}\u{7f}")
}
