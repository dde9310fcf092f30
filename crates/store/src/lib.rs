//! One storage primitive on real engines: read, commit, watch. What it means is said by `logic::model`.
//!
//! A store is a thread that owns the engine, and any number of cheap handles. Promises:
//! - `commit` answers when the transaction is on disk; many that wait at the same time share one sync.
//! - A refused or failed transaction has changed nothing; the one exception says so (`StoreError::Unclear`).
//! - A watch never polls and cannot fall behind: it is told that there is news and asks for it when it is ready.
//!
//! Not here: what is stored (see the manager). Only this crate knows SQL or a driver's name.

mod sqlite;
mod worker;

use logic::model::{Changes, Read, Refused, Revision, Snapshot, Txn};
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot, watch};
use worker::Command;

/// Commands that may wait for the thread. 1,024: a sync takes a few milliseconds, and one batch takes them all;
/// senders wait beyond.
pub const COMMANDS_MAX: usize = 1024;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing has changed. Whether a retry can help is said there.
    #[error(transparent)]
    Refused(Refused),
    /// Nothing has changed; safe to retry once there is room.
    #[error("the disk or the size allowed to the store at {path} is full")]
    Full { path: PathBuf },
    /// Nothing has changed; safe to retry.
    #[error("another program holds the store at {path} for too long")]
    Busy { path: PathBuf },
    /// Nothing has changed; a retry cannot help.
    #[error("the store at {path} is damaged: {detail}")]
    Damaged { path: PathBuf, detail: String },
    /// Nothing has changed; a retry cannot help.
    #[error("{path} is not a store of Muster")]
    Foreign { path: PathBuf },
    /// Nothing has changed; a retry cannot help.
    #[error("the store at {path} has format {found}, and this Muster knows {known}")]
    Newer { path: PathBuf, found: i64, known: i64 },
    /// Nothing has changed; safe to retry.
    #[error("could not {act} the store at {path}")]
    Engine {
        path: PathBuf,
        act: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk failed during the last sync: it may or may not have happened. Read before a retry.
    #[error("the disk failed while the store at {path} was written")]
    Unclear {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store was closed; what was asked may or may not have happened.
    #[error("the store is closed")]
    Closed,
}

/// A handle; all clones speak to the same thread, which ends when the last is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    revision: watch::Receiver<Revision>,
}

/// The thread of an open store. Join it after the last handle is dropped to know that the file is closed.
#[derive(Debug)]
pub struct StoreThread(std::thread::JoinHandle<()>);

impl StoreThread {
    /// Waits until every handle is dropped and the file is closed.
    pub fn join(self) -> std::thread::Result<()> {
        self.0.join()
    }
}

impl Store {
    /// Opens or creates the store in a SQLite file that may grow to `size_max_bytes`. Blocks while a store that was
    /// not closed is recovered and checked.
    pub fn open(path: &Path, size_max_bytes: u64) -> Result<(Self, StoreThread), StoreError> {
        let engine = sqlite::Engine::open(path, size_max_bytes)?;
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (revision_in, revision) = watch::channel(engine.revision());
        let work = move || worker::run(engine, inbox, &revision_in);
        let spawned = std::thread::Builder::new().name("store".into()).spawn(work);
        let thread = spawned.map_err(|source| StoreError::Engine {
            path: path.to_owned(),
            act: "start a thread for",
            source: Box::new(source),
        })?;
        Ok((Self { commands, revision }, StoreThread(thread)))
    }

    pub async fn read(&self, read: Read) -> Result<Snapshot, StoreError> {
        self.ask(|reply| Command::Read { read, reply }).await?
    }

    /// Happens wholly or not at all; answers when it is on disk, with the revision then.
    pub async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.ask(|reply| Command::Commit { txn, reply }).await?
    }

    /// News of keys that start with `prefix`, from `since` on.
    pub fn watch(&self, prefix: impl Into<String>, since: Revision) -> Watch {
        Watch { store: self.clone(), prefix: prefix.into(), since }
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(make(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)
    }
}

/// Hears of changes, each key once as it is by then.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    prefix: String,
    since: Revision,
}

impl Watch {
    /// Waits for news. Safe to cancel: what was not returned is told the next time.
    pub async fn next(&mut self) -> Result<Changes, StoreError> {
        loop {
            let (prefix, since) = (self.prefix.clone(), self.since);
            let changes = self.store.ask(|reply| Command::Changes { prefix, since, reply }).await??;
            self.since = changes.revision;
            if changes.is_whole || !changes.changes.is_empty() {
                return Ok(changes);
            }
            let since = self.since;
            self.store.revision.wait_for(|now| *now > since).await.map_err(|_| StoreError::Closed)?;
        }
    }
}
