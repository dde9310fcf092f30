//! The audit log: who changed or tried to change what, when, from where, and how it ended.
//!
//! Keys of the store: `audit/known/<time>-<number>-<chance>` and `audit/stranger/...` (JSON, see `wire::account`), so
//! that several managers write beside each other. Promises: entries of those who are known are safe before their call
//! is answered, unless the store fails for longer than `NOTE_MAX`; entries of strangers have a bound of their own, so
//! that guessing does not push out what people did. The oldest make room. Entries hold names and codes, never what was
//! typed. Each is also a line of the log, for those who keep logs elsewhere.

use logic::model::{Read, Txn, Write};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use wire::account::{AuditEntry, AuditResult};

const PREFIX: &str = "audit/";
const KNOWN_PREFIX: &str = "audit/known/";
const STRANGER_PREFIX: &str = "audit/stranger/";
/// Entries of people and programs that are known. 5,000: a year of a busy cell, some 2 MB.
pub const KNOWN_MAX: usize = 5_000;
/// Entries of strangers. 1,000: enough to see from where they come.
pub const STRANGERS_MAX: usize = 1_000;
/// Strangers' entries a minute; what comes beyond is counted in the next one.
const STRANGERS_PER_MINUTE_MAX: u32 = 30;
const MINUTE_MS: u64 = 60_000;
/// Notes and questions that may wait for the writer.
const QUEUE_MAX: usize = 256;
/// Entries in one transaction. 32: with the old ones that make room below the 128 operations that etcd takes.
const BATCH_MAX: usize = 32;
/// Old entries that make room for a new one. Two: where other managers have written many, they go little by little.
const MAKE_ROOM_MAX: usize = 2;
/// Longest wait of a call for its entry.
const NOTE_MAX: Duration = Duration::from_secs(5);
/// Pause after a write has failed: nothing tells when a disk has room again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Wish {
    Note { entry: AuditEntry, is_stranger: bool, done: Option<oneshot::Sender<()>> },
    Read { since_ms: u64, most: usize, reply: oneshot::Sender<Vec<AuditEntry>> },
}

/// How others write and read the log.
#[derive(Debug, Clone)]
pub struct Log(mpsc::Sender<Wish>);

impl Log {
    pub async fn note(&self, entry: AuditEntry) {
        let (done, written) = oneshot::channel();
        let noting = async {
            let wish = Wish::Note { entry, is_stranger: false, done: Some(done) };
            self.0.send(wish).await.is_ok() && written.await.is_ok()
        };
        if !matches!(tokio::time::timeout(NOTE_MAX, noting).await, Ok(true)) {
            tracing::error!("an entry of the audit log is not safe; the store does not take it");
        }
    }

    /// For a call whose caller went away before its end.
    pub fn note_later(&self, entry: AuditEntry) {
        if self.0.try_send(Wish::Note { entry, is_stranger: false, done: None }).is_err() {
            tracing::error!("an entry of the audit log is not safe; too many wait already");
        }
    }

    pub fn note_stranger(&self, entry: AuditEntry) {
        // A queue that is full says enough of strangers.
        drop(self.0.try_send(Wish::Note { entry, is_stranger: true, done: None }));
    }

    /// None: the writer has ended.
    pub async fn entries(&self, since_ms: u64, most: usize) -> Option<Vec<AuditEntry>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Wish::Read { since_ms, most, reply }).await.ok()?;
        answer.await.ok()
    }
}

/// The writer.
#[derive(Debug)]
pub struct Audit {
    store: Store,
    inbox: mpsc::Receiver<Wish>,
    /// What the store has, oldest first, as far as this manager knows.
    entries: Entries,
    rate: Rate,
    /// Makes keys of one millisecond differ.
    written: u64,
    /// Keeps apart managers that write in the same one.
    run: u64,
}

/// How fast strangers come.
#[derive(Debug, Default)]
struct Rate {
    minute: u64,
    count: u32,
    left_out: u64,
}

impl Rate {
    /// How many were left out before this one; None: this one is as well.
    fn admit(&mut self, at_ms: u64) -> Option<u64> {
        let minute = at_ms / MINUTE_MS;
        if minute != self.minute {
            (self.minute, self.count) = (minute, 0);
        }
        self.count = self.count.saturating_add(1);
        if self.count > STRANGERS_PER_MINUTE_MAX {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

/// What waits for a writer that has not begun.
#[derive(Debug)]
pub struct Wishes(mpsc::Receiver<Wish>);

/// By their keys.
pub type Entries = BTreeMap<String, AuditEntry>;

/// What is noted before the writer begins waits for it.
pub fn prepare() -> (Log, Wishes) {
    let (wishes, inbox) = mpsc::channel(QUEUE_MAX);
    (Log(wishes), Wishes(inbox))
}

/// Reads what is there.
pub async fn read(store: &Store) -> Result<Entries, StoreError> {
    let found = store.read(Read::Prefix(PREFIX.into())).await?;
    // An entry that cannot be read is not worth a cell that does not start.
    let entries = found.entries.into_iter();
    let parsed = entries.filter_map(|entry| Some((entry.key, serde_json::from_slice(&entry.value).ok()?)));
    Ok(parsed.collect())
}

impl Audit {
    pub fn begin(store: Store, wishes: Wishes, entries: Entries) -> Self {
        Self {
            store,
            inbox: wishes.0,
            entries,
            rate: Rate::default(),
            written: 0,
            run: RandomState::new().hash_one(0),
        }
    }

    /// Writes until all handles are gone.
    pub async fn keep(mut self) {
        let mut wishes = Vec::new();
        while self.inbox.recv_many(&mut wishes, BATCH_MAX).await > 0 {
            let (mut writes, mut done) = (Vec::new(), Vec::new());
            let mut questions = Vec::new();
            for wish in wishes.drain(..) {
                match wish {
                    Wish::Note { entry, is_stranger, done: waiting } => {
                        self.add(entry, is_stranger, &mut writes);
                        done.extend(waiting);
                    }
                    Wish::Read { since_ms, most, reply } => questions.push((since_ms, most, reply)),
                }
            }
            let is_safe = writes.is_empty() || self.commit(Txn { checks: Vec::new(), writes }).await;
            for waiting in done.into_iter().filter(|_| is_safe) {
                // Whoever waited may have gone.
                let _ = waiting.send(());
            }
            for (since_ms, most, reply) in questions {
                drop(reply.send(self.since(since_ms, most).await));
            }
        }
    }

    /// Tries until it is written, or cannot be any more: who waits gives up by itself, and the queue behind is bounded.
    async fn commit(&self, txn: Txn) -> bool {
        let mut has_failed = false;
        loop {
            match self.store.commit(txn.clone()).await {
                Ok(_) => return true,
                Err(StoreError::Closed) => return false,
                // The same again would be refused again.
                Err(error @ (StoreError::Refused(_) | StoreError::TooLarge { .. })) => {
                    tracing::error!(%error, "entries of the audit log are lost");
                    return false;
                }
                Err(error) => {
                    if !has_failed {
                        tracing::error!(%error, "the audit log cannot be written; trying again");
                    }
                    has_failed = true;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    fn add(&mut self, mut entry: AuditEntry, is_stranger: bool, writes: &mut Vec<Write>) {
        if is_stranger {
            let Some(left_out) = self.rate.admit(entry.at_ms) else { return };
            entry.left_out = left_out;
        }
        tell(&entry);
        let (prefix, most) =
            if is_stranger { (STRANGER_PREFIX, STRANGERS_MAX) } else { (KNOWN_PREFIX, KNOWN_MAX) };
        self.written += 1;
        let Self { written, run, .. } = self;
        let key = format!("{prefix}{:015}-{:06}-{run:016x}", entry.at_ms, *written % 1_000_000);
        let json = serde_json::to_string(&entry).expect("an entry has only names, numbers and text");
        writes.push(Write::put(key.clone(), json));
        self.entries.insert(key, entry);
        let of_kind = self.entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        let surplus = of_kind.clone().count().saturating_sub(most).min(MAKE_ROOM_MAX);
        let old: Vec<String> = of_kind.take(surplus).map(|(key, _)| key.clone()).collect();
        for key in old {
            self.entries.remove(&key);
            writes.push(Write::Delete { key });
        }
    }

    /// Reads what other managers have written as well.
    async fn since(&mut self, since_ms: u64, most: usize) -> Vec<AuditEntry> {
        match read(&self.store).await {
            Ok(entries) => self.entries = entries,
            Err(error) => tracing::warn!(%error, "the audit log is shown as this manager knows it"),
        }
        let mut found: Vec<AuditEntry> =
            self.entries.values().filter(|entry| entry.at_ms >= since_ms).cloned().collect();
        found.sort_by_key(|entry| entry.at_ms);
        found.drain(..found.len().saturating_sub(most));
        found
    }
}

fn tell(entry: &AuditEntry) {
    let AuditEntry { at_ms: _, who, way, from, act, on, result, code, left_out } = entry;
    let code = code.as_deref();
    match result {
        AuditResult::Done => tracing::info!(who, way, %from, act, on, %result, "audit"),
        AuditResult::Refused | AuditResult::Failed => {
            tracing::warn!(who, way, %from, act, on, %result, code, left_out, "audit");
        }
    }
}

#[cfg(test)]
mod tests;
