//! Users, tokens and the audit log of a cell: read from its store, changed there, and told to those who prove callers.
//!
//! Keys of the store: `account/user/<name>` and `account/token/<name>` (JSON, see `wire::account`), `audit/...` (see
//! `audit`). Promises: a change is committed before it is answered or has any effect, and only if nobody else changed
//! the same record meanwhile; changes by other managers are heard of. It needs nobody to lead: each manager of a cell
//! runs it on the store that they share. No password or token in clear comes here.
//!
//! Not here: what the rules are (see `logic::account`), and who is who on a connection (see `console::auth`).

pub mod audit;
pub mod password;
#[cfg(test)]
pub mod testing;

use crate::identity::now_us;
use audit::{Audit, Log, Wishes};
use logic::account::{Change, Known, Written};
use logic::model::{Changes, Check, Read, Refused, Revision, Txn, Write};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use wire::account::AuditEntry;
use wire::error_code::{self, ErrorCode};
use wire::status::ErrorBody;

const PREFIX: &str = "account/";
const USER_PREFIX: &str = "account/user/";
const TOKEN_PREFIX: &str = "account/token/";
/// Changes that may wait. 16: people make them.
const CHANGES_MAX: usize = 16;
/// Pause after the store could not be asked for news: nothing tells when it can.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

type Reply = oneshot::Sender<Result<String, ErrorBody>>;

/// How others ask for changes, look at what is known and write the audit log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccountsHandle {
    changes: mpsc::Sender<(Change, Reply)>,
    /// Another one after each change.
    pub known: watch::Receiver<Arc<Known>>,
    /// Whether the store was read, so that who is not known is nobody.
    is_read: Arc<AtomicBool>,
    log: Log,
}

impl AccountsHandle {
    /// Whether all users and tokens are known: not before the store was reached for the first time.
    pub fn is_read(&self) -> bool {
        self.is_read.load(Ordering::Acquire)
    }

    /// Makes a change; the sentence says what has changed.
    pub async fn change(&self, change: Change) -> Result<String, ErrorBody> {
        if !self.is_read() {
            return Err(not_read());
        }
        let (reply, answer) = oneshot::channel();
        self.changes.send((change, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Writes an entry of somebody who is known; returns when it is safe, or cannot be made so in time.
    pub async fn note(&self, entry: AuditEntry) {
        self.log.note(entry).await;
    }

    /// The same without waiting.
    pub fn note_later(&self, entry: AuditEntry) {
        self.log.note_later(entry);
    }

    /// The same for somebody who is not; such entries may be left out when they come too fast.
    pub fn note_stranger(&self, entry: AuditEntry) {
        self.log.note_stranger(entry);
    }

    /// The newest entries since a moment, oldest first.
    pub async fn entries(&self, since_ms: u64, most: usize) -> Result<Vec<AuditEntry>, ErrorBody> {
        if !self.is_read() {
            return Err(not_read());
        }
        self.log.entries(since_ms, most).await.ok_or_else(gone)
    }
}

fn not_read() -> ErrorBody {
    let message = "the manager has not reached its store yet; nothing was done".to_owned();
    ErrorBody { code: error_code::STORE_NOT_REACHED.to_string(), message, retry: true }
}

fn gone() -> ErrorBody {
    let message = "the manager has stopped; it is unknown whether this was done".to_owned();
    ErrorBody { code: error_code::MANAGER_UNAVAILABLE.to_string(), message, retry: true }
}

/// The accounts of one manager.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    known: Arc<Known>,
    revisions: BTreeMap<String, Revision>,
    /// Up to here all is known.
    seen: Revision,
    inbox: mpsc::Receiver<(Change, Reply)>,
    told: watch::Sender<Arc<Known>>,
    audit: Audit,
}

/// Accounts that are not read yet: their store may be on servers that are not there.
#[derive(Debug)]
pub struct Waiting {
    inbox: mpsc::Receiver<(Change, Reply)>,
    told: watch::Sender<Arc<Known>>,
    is_read: Arc<AtomicBool>,
    wishes: Wishes,
}

/// Makes the handle, by which nobody but the administrator is known until the store was read.
pub fn prepare() -> (AccountsHandle, Waiting) {
    let (log, wishes) = audit::prepare();
    let (changes, inbox) = mpsc::channel(CHANGES_MAX);
    let (told, known) = watch::channel(Arc::default());
    let is_read = Arc::<AtomicBool>::default();
    (
        AccountsHandle { changes, known, is_read: is_read.clone(), log },
        Waiting { inbox, told, is_read, wishes },
    )
}

impl Waiting {
    /// Reads what is there.
    pub async fn open(self, store: Store) -> Result<Accounts, StoreError> {
        let found = read(&store).await?;
        Ok(self.begin(store, found))
    }

    /// Reads, as often as it takes, and runs.
    pub async fn run(self, store: Store) {
        let mut has_failed = false;
        let found = loop {
            match read(&store).await {
                Ok(found) => break found,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    if !has_failed {
                        tracing::error!(%error, "users and tokens cannot be read; trying again");
                    }
                    has_failed = true;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        };
        self.begin(store, found).run().await;
    }

    fn begin(self, store: Store, found: Found) -> Accounts {
        let Self { inbox, told, is_read, wishes } = self;
        let Found { known, revisions, seen, entries } = found;
        told.send_replace(known.clone());
        // After what is known, so that whoever sees this sees that.
        is_read.store(true, Ordering::Release);
        let audit = Audit::begin(store.clone(), wishes, entries);
        Accounts { store, known, revisions, seen, inbox, told, audit }
    }
}

/// What the store had when it was read.
struct Found {
    known: Arc<Known>,
    revisions: BTreeMap<String, Revision>,
    seen: Revision,
    entries: audit::Entries,
}

async fn read(store: &Store) -> Result<Found, StoreError> {
    let found = store.read(Read::Prefix(PREFIX.into())).await?;
    let (mut known, mut revisions) = (Known::default(), BTreeMap::new());
    for entry in found.entries {
        take(&mut known, &entry.key, Some(&entry.value));
        revisions.insert(entry.key, entry.revision);
    }
    let entries = audit::read(store).await?;
    Ok(Found { known: Arc::new(known), revisions, seen: found.revision, entries })
}

#[cfg(test)]
pub async fn open(store: Store) -> Result<(AccountsHandle, Accounts), StoreError> {
    let (handle, waiting) = prepare();
    Ok((handle, waiting.open(store).await?))
}

impl Accounts {
    /// Runs until all handles are gone, or the store is closed.
    pub async fn run(self) {
        let Self { store, known, revisions, seen, inbox, told, audit } = self;
        let keeper = Keeper { store, known, revisions, told };
        // Both end by themselves; one that is cancelled leaves only what could not be written any more.
        tokio::join!(keeper.keep(seen, inbox), audit.keep());
    }
}

struct Keeper {
    store: Store,
    known: Arc<Known>,
    revisions: BTreeMap<String, Revision>,
    told: watch::Sender<Arc<Known>>,
}

impl Keeper {
    async fn keep(mut self, seen: Revision, mut inbox: mpsc::Receiver<(Change, Reply)>) {
        let mut watch = self.store.watch(PREFIX, seen);
        let mut is_failing = false;
        loop {
            // Both may be cancelled: a change stays in its queue, and news is told the next time.
            tokio::select! {
                wanted = inbox.recv() => match wanted {
                    // Whoever asked may have gone.
                    Some((change, reply)) => drop(reply.send(self.change(change).await)),
                    None => return,
                },
                news = watch.next(), if !is_failing => match news {
                    Ok(news) => self.hear(news),
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(%error, "changes of users by other managers are not heard of; trying again");
                        is_failing = true;
                    }
                },
                () = tokio::time::sleep(RETRY_PAUSE), if is_failing => is_failing = false,
            }
        }
    }

    fn hear(&mut self, news: Changes) {
        let before = self.known.clone();
        if news.is_whole {
            self.known = Arc::default();
            self.revisions.clear();
        }
        for change in news.changes {
            self.put(change.key, change.value, change.revision);
        }
        if self.known != before {
            self.told.send_replace(self.known.clone());
        }
    }

    fn put(&mut self, key: String, value: Option<Vec<u8>>, revision: Revision) {
        if self.revisions.get(&key).is_some_and(|known| *known > revision) {
            // News that was overtaken by a change of our own.
            return;
        }
        take(Arc::make_mut(&mut self.known), &key, value.as_deref());
        match value {
            Some(_) => drop(self.revisions.insert(key, revision)),
            None => drop(self.revisions.remove(&key)),
        }
    }

    async fn change(&mut self, change: Change) -> Result<String, ErrorBody> {
        let (written, text) = self.known.change(change, now_us()).map_err(error_body)?;
        let (mut checks, mut writes) = (Vec::new(), Vec::new());
        for record in &written {
            let (key, value) = of(record);
            checks.push(match self.revisions.get(&key) {
                Some(revision) => Check::Unchanged { key: key.clone(), revision: *revision },
                None => Check::Absent { key: key.clone() },
            });
            writes.push(match value {
                Some(value) => Write::put(key, value),
                None => Write::Delete { key },
            });
        }
        match self.store.commit(Txn { checks, writes: writes.clone() }).await {
            Ok(revision) => {
                for write in writes {
                    match write {
                        Write::Put { key, value } => self.put(key, Some(value), revision),
                        Write::Delete { key } => self.put(key, None, revision),
                    }
                }
                self.told.send_replace(self.known.clone());
                Ok(text)
            }
            Err(error) => Err(refusal(&error)),
        }
    }
}

fn refusal(error: &StoreError) -> ErrorBody {
    let (code, text, retry) = match error {
        StoreError::Refused(Refused::CheckFailed { .. }) => (
            error_code::ACT_MAKES_NO_SENSE,
            "somebody else has changed the same user or token meanwhile; nothing was changed".to_owned(),
            true,
        ),
        StoreError::Unknown { .. } | StoreError::Closed => {
            (error_code::STORE_WRITE_UNCERTAIN, error.to_string(), false)
        }
        _ => (error_code::STORE_WRITE_FAILED, format!("nothing was changed: {error}"), true),
    };
    ErrorBody { code: code.to_string(), message: text, retry }
}

fn error_body((code, message): (ErrorCode, String)) -> ErrorBody {
    ErrorBody { code: code.to_string(), message, retry: false }
}

/// Key and value of a record.
fn of(written: &Written) -> (String, Option<String>) {
    let json = "a record has only names, numbers and text";
    match written {
        Written::User(name, record) => {
            let value = record.as_ref().map(|record| serde_json::to_string(record).expect(json));
            (format!("{USER_PREFIX}{name}"), value)
        }
        Written::Token(name, record) => {
            let value = record.as_ref().map(|record| serde_json::to_string(record).expect(json));
            (format!("{TOKEN_PREFIX}{name}"), value)
        }
    }
}

/// Takes over what stands under a key. A record that does not parse opens nothing.
fn take(known: &mut Known, key: &str, value: Option<&[u8]>) {
    if let Some(name) = key.strip_prefix(USER_PREFIX) {
        match value.and_then(|value| parse(key, value)) {
            Some(record) => drop(known.users.insert(name.into(), record)),
            None => drop(known.users.remove(&name.into())),
        }
    } else if let Some(name) = key.strip_prefix(TOKEN_PREFIX) {
        match value.and_then(|value| parse(key, value)) {
            Some(record) => drop(known.tokens.insert(name.into(), record)),
            None => drop(known.tokens.remove(&name.into())),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(key: &str, value: &[u8]) -> Option<T> {
    // The error is not told: it may quote what it does not understand.
    let parsed = serde_json::from_slice(value).ok();
    if parsed.is_none() {
        tracing::error!(key, "a user or token in the store is damaged and opens nothing");
    }
    parsed
}

#[cfg(test)]
mod tests;
