//! One storage primitive on real engines: read, commit, watch. What it means is said by `logic::model`.
//!
//! A store is a thread that owns the engine, and any number of cheap handles. Promises:
//! - `commit` answers when the transaction is on disk; many that wait at the same time share one sync.
//! - A refused or failed transaction has changed nothing; the one exception says so (`StoreError::Unknown`).
//! - A watch never polls and cannot fall behind: it is told that there is news and asks for it when it is ready.
//!
//! Not here: what is stored (see the manager). Only this crate knows SQL or a driver's name.

mod command;
mod error;
pub mod etcd;
mod group;
pub mod postgres;
mod remote;
mod sqlite;
mod worker;

use command::Command;
pub use error::{Cause, StoreError};
use logic::model::{Changes, Read, Revision, Snapshot, Txn};
use std::path::Path;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that may wait for the thread. 1,024: a sync takes a few milliseconds, and one batch takes them all;
/// senders wait beyond.
pub const COMMANDS_MAX: usize = 1024;

/// A handle; all clones speak to the same thread, which ends when the last is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    news: watch::Receiver<News>,
}

/// What watchers wait for.
#[derive(Debug, Clone, Copy, Default)]
struct News {
    /// Counts how often the history became another one, as when a server was restored from a backup.
    resets: u64,
    /// Of the last change that was heard of.
    revision: Revision,
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
        let (news_in, news) = watch::channel(News { resets: 0, revision: engine.revision() });
        let work = move || worker::run(engine, inbox, &news_in);
        let spawned = std::thread::Builder::new().name("store".into()).spawn(work);
        let thread = spawned.map_err(|source| StoreError::Engine {
            place: path.display().to_string(),
            act: "start a thread for",
            source: Box::new(source),
        })?;
        Ok((Self { commands, news }, StoreThread(thread)))
    }

    /// Opens or creates the store in a PostgreSQL database. Tries once; later losses of the connection are made good.
    pub async fn postgres(settings: postgres::Settings) -> Result<(Self, StoreThread), StoreError> {
        remote::open(postgres::Driver::new(settings)?).await
    }

    /// Opens the store below a prefix of keys in etcd. Tries each endpoint once; later losses are made good.
    pub async fn etcd(settings: etcd::Settings) -> Result<(Self, StoreThread), StoreError> {
        remote::open(etcd::Driver::new(settings)?).await
    }

    pub async fn read(&self, read: Read) -> Result<Snapshot, StoreError> {
        self.ask(|reply| Command::Read { read, reply }).await?
    }

    /// Happens wholly or not at all; answers when it is on disk, with the revision then.
    pub async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.ask(|reply| Command::Commit { txn, reply }).await?
    }

    /// News of keys that start with `prefix`, from `since` on. Where the engine has forgotten what happened since then,
    /// everything is told instead (`Changes::is_whole`).
    pub fn watch(&self, prefix: impl Into<String>, since: Revision) -> Watch {
        let resets = self.news.borrow().resets;
        Watch { store: self.clone(), prefix: prefix.into(), since, resets }
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
    resets: u64,
}

impl Watch {
    /// Waits for news. Safe to cancel: what was not returned is told the next time.
    pub async fn next(&mut self) -> Result<Changes, StoreError> {
        loop {
            let resets = self.store.news.borrow().resets;
            if std::mem::replace(&mut self.resets, resets) != resets {
                // Beyond every revision: whoever asks for news since then is told everything.
                self.since = Revision::MAX;
            }
            let (prefix, since) = (self.prefix.clone(), self.since);
            let changes = self.store.ask(|reply| Command::Changes { prefix, since, reply }).await??;
            self.since = changes.revision;
            if changes.is_whole || !changes.changes.is_empty() {
                return Ok(changes);
            }
            let is_news = |now: &News| now.resets != resets || now.revision > changes.revision;
            self.store.news.wait_for(is_news).await.map_err(|_| StoreError::Closed)?;
        }
    }
}
