//! What the manager keeps in the store: generation, configuration history, wishes and sights of the cell, events.
//!
//! Keys: `generation`, `leader` (who has it, JSON), `config-current`, `config/<revision>` (the text), `config-info/<revision>` and `event/<number>`
//! (JSON), `cell/...` (see `logic::cell`), `group/NAME` (see `logic::group` and `group_records`). Promises: a generation is committed before anything is done in its name; a
//! configuration before it takes effect. Sights and events are written in the background, the newest of each key,
//! and an operator is answered once what was to be remembered before is safe. Every write goes through `FencedStore`.

use super::fenced::{FencedStore, is_overtaken};
use logic::model::{Check, Entry, Read, Refused, Revision, Txn, Write};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use store::StoreError;
use tokio::sync::{Notify, mpsc, oneshot};
use wire::enrol::NodeRecord;
use wire::error_code;
use wire::id::{NodeName, TermNumber};
use wire::status::{ConfigRevision, ErrorBody, Event, Severity};

use super::desk::{GENERATION_HEARD_MAX, Input};
use super::enrol;

/// Events kept. 1,000: some days of a calm cell, and what a person can read of a bad hour.
pub const EVENTS_MAX: usize = 1000;
/// Configurations kept. 100: a year of changes twice a week.
const HISTORY_MAX: usize = 100;
/// Pause after a write has failed: nothing tells when a disk has room again.
const RETRY_PAUSE_MS: u64 = 1_000;
/// How often a store in which nothing is written is looked at. Five seconds: nothing tells of all ways in which a file or
/// a server goes.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

const GENERATION_KEY: &str = "generation";
/// Who leads, for the managers that do not.
pub const LEADER_KEY: &str = "leader";
/// The revision in force.
pub const CURRENT_KEY: &str = "config-current";
/// Before what the cell has remembered.
pub const CELL_PREFIX: &str = "cell/";
const EVENT_PREFIX: &str = "event/";
const INFO_PREFIX: &str = "config-info/";

/// Under which the text of a revision lies.
pub fn config_key(revision: u64) -> String {
    format!("config/{revision:010}")
}

fn info_key(revision: u64) -> String {
    format!("{INFO_PREFIX}{revision:010}")
}

fn event_key(number: u64) -> String {
    format!("{EVENT_PREFIX}{number:020}")
}

/// Why nothing can be read from or written to the archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// See there.
    #[error("the manager's store cannot be used")]
    Store(#[source] StoreError),
    /// Nothing has changed; a retry cannot help.
    #[error(
        "the store has {value:?} under {key}, which makes no sense; someone has changed it, or a newer Muster wrote it"
    )]
    Meaningless { key: String, value: String },
    /// Nothing has changed; decide again with what is there now.
    #[error("another configuration was applied meanwhile")]
    Overtaken,
    /// Nothing has changed, and this manager must do nothing more.
    #[error("another manager leads")]
    NotLeader,
    /// Nothing has changed; a retry cannot help.
    #[error("the configuration in the store is not right: {problems}")]
    Config { problems: String },
    /// Nothing has changed; a retry cannot help.
    #[error("the configuration in the store places no manager on node {node}")]
    NotPlaced { node: NodeName },
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> Self {
        if is_overtaken(&error) { ArchiveError::NotLeader } else { ArchiveError::Store(error) }
    }
}

/// Who leads, as others find it in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRecord {
    pub node: NodeName,
    pub term: TermNumber,
    /// Where it listens for other machines, `IP:PORT`.
    pub address: String,
    pub since_ms: u64,
}

/// What earlier managers have left.
#[derive(Debug)]
pub struct Found {
    pub generation: u64,
    /// Revision and text of the last configuration.
    pub current: Option<(u64, String)>,
    pub history: Vec<ConfigRevision>,
    pub remembered: Vec<(String, String)>,
    /// Which machines are nodes.
    pub nodes: BTreeMap<NodeName, NodeRecord>,
    pub events: VecDeque<Event>,
    /// Of failover groups, with the revision of each key.
    pub groups: Vec<(String, String, Revision)>,
}

/// Reads everything and takes the next generation, above `heard` as well: the store may have been put back. `leader` is
/// told to the other managers in the same commit. No write of before comes after this: a configuration whose commit had
/// no answer is in force from now on, or never.
pub async fn begin(
    store: &FencedStore,
    heard: u64,
    leader: Option<&LeaderRecord>,
) -> Result<Found, ArchiveError> {
    let snapshot = store.read(Read::Prefix(String::new())).await?;
    let check = |key: &str| {
        let entry = snapshot.entries.iter().find(|entry| entry.key == key);
        let key = key.to_owned();
        match entry {
            Some(entry) => Check::Unchanged { key, revision: entry.revision },
            None => Check::Absent { key },
        }
    };
    let checks = vec![check(GENERATION_KEY), check(CURRENT_KEY)];
    let nodes = snapshot.entries.iter().filter_map(|entry| enrol::read_record(&entry.key, &entry.value));
    let nodes = nodes.collect();
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let is_group = |entry: &&Entry| logic::group::is_record(&entry.key);
    let groups = snapshot.entries.iter().filter(is_group);
    let groups: Vec<_> = groups.map(|it| (it.key.clone(), text(it.value.clone()), it.revision)).collect();
    // Before anything is written, so that a manager which understands it can lead instead.
    if let Some((key, value, _)) =
        groups.iter().find(|(key, value, _)| !logic::group::is_readable(key, value))
    {
        return Err(ArchiveError::Meaningless { key: key.clone(), value: value.clone() });
    }
    let entries = snapshot.entries.into_iter();
    let mut values: BTreeMap<String, String> = entries.map(|it| (it.key, text(it.value))).collect();
    let old_generation = match values.get(GENERATION_KEY) {
        Some(value) => parse(GENERATION_KEY, value)?,
        None => 0,
    };
    let generation: u64 = old_generation.max(heard.min(GENERATION_HEARD_MAX)) + 1;
    let record = leader.map(|leader| serde_json::to_string(leader).expect("it has only names and numbers"));
    let mut writes = vec![Write::put(GENERATION_KEY, generation.to_string())];
    writes.extend(record.map(|record| Write::put(LEADER_KEY, record)));
    // Written again as it is, so that a write of before finds it changed.
    writes.extend(values.get(CURRENT_KEY).map(|current| Write::put(CURRENT_KEY, current.as_str())));
    store.commit(Txn { checks, writes }).await?;
    let current = match values.get(CURRENT_KEY) {
        None => None,
        Some(value) => {
            let revision: u64 = parse(CURRENT_KEY, value)?;
            let key = config_key(revision);
            let text = values.remove(&key);
            Some((revision, text.ok_or_else(|| ArchiveError::Meaningless { key, value: String::new() })?))
        }
    };
    let json = |prefix: &'static str| values.iter().filter(move |(key, _)| key.starts_with(prefix));
    // An entry of history or an event that cannot be read is not worth a cell that does not start.
    let history = json(INFO_PREFIX).filter_map(|(_, value)| serde_json::from_str(value).ok()).collect();
    let events = json(EVENT_PREFIX).filter_map(|(_, value)| serde_json::from_str(value).ok()).collect();
    let cell = json(CELL_PREFIX).map(|(key, value)| (key[CELL_PREFIX.len()..].to_owned(), value.clone()));
    let remembered = cell.collect();
    Ok(Found { generation, current, history, remembered, nodes, events, groups })
}

fn parse(key: &str, value: &str) -> Result<u64, ArchiveError> {
    let meaningless = |_| ArchiveError::Meaningless { key: key.to_owned(), value: value.to_owned() };
    value.trim().parse().map_err(meaningless)
}

/// Commits a configuration that follows revision `after` (0: it is the first).
pub async fn commit_config(
    store: &FencedStore,
    after: u64,
    entry: &ConfigRevision,
    text: &str,
) -> Result<(), ArchiveError> {
    let read = store.read(Read::Keys(vec![CURRENT_KEY.into()])).await?;
    let key = CURRENT_KEY.to_owned();
    let check = match (read.entries.first(), after) {
        (None, 0) => Check::Absent { key },
        (Some(found), _) if found.value == after.to_string().into_bytes() => {
            Check::Unchanged { key, revision: found.revision }
        }
        (_, _) => return Err(ArchiveError::Overtaken),
    };
    let info = serde_json::to_string(entry).expect("a revision has only names and numbers");
    let mut writes = vec![
        Write::put(config_key(entry.revision), text),
        Write::put(info_key(entry.revision), info),
        Write::put(CURRENT_KEY, entry.revision.to_string()),
    ];
    if let Some(old) = entry.revision.checked_sub(HISTORY_MAX as u64) {
        writes.extend([Write::Delete { key: config_key(old) }, Write::Delete { key: info_key(old) }]);
    }
    match store.commit(Txn { checks: vec![check], writes }).await {
        Ok(_) => Ok(()),
        Err(error @ StoreError::Unknown { .. }) if is_there(store, entry).await => {
            tracing::info!(%error, revision = entry.revision, "the configuration is in the store all the same");
            Ok(())
        }
        Err(error) if is_overtaken(&error) => Err(ArchiveError::NotLeader),
        Err(StoreError::Refused(Refused::CheckFailed { .. })) => Err(ArchiveError::Overtaken),
        Err(error) => Err(ArchiveError::Store(error)),
    }
}

/// The text of a revision; none if the history does not reach back to it, or not yet.
pub async fn read_config(store: &FencedStore, revision: u64) -> Result<Option<String>, ArchiveError> {
    let read = store.read(Read::Keys(vec![config_key(revision)])).await.map_err(ArchiveError::Store)?;
    let found = read.entries.into_iter().next();
    Ok(found.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
}

/// Whether a revision whose write had no answer is the one in force. Only yes is sure: the write may still come.
async fn is_there(store: &FencedStore, entry: &ConfigRevision) -> bool {
    let keys = vec![CURRENT_KEY.to_owned(), info_key(entry.revision)];
    let Ok(found) = store.read(Read::Keys(keys)).await else { return false };
    let value = |key: &str| found.entries.iter().find(|it| it.key == key).map(|it| it.value.as_slice());
    let info = serde_json::to_vec(entry).expect("a revision has only names and numbers");
    value(CURRENT_KEY) == Some(entry.revision.to_string().as_bytes())
        && value(&info_key(entry.revision)) == Some(&info)
}

/// Adds a revision to what people are shown, which is bounded as in the store.
pub fn extend_history(history: &mut Vec<ConfigRevision>, entry: ConfigRevision) {
    history.push(entry);
    let surplus = history.len().saturating_sub(HISTORY_MAX);
    history.drain(..surplus);
}

type Reply = oneshot::Sender<Result<String, ErrorBody>>;

/// What waits to be written. Bounded: one value for each key of the cell, `EVENTS_MAX` events, and answers only for
/// those who wait for them.
#[derive(Debug, Default)]
struct Pending {
    values: BTreeMap<String, Option<String>>,
    events: VecDeque<Event>,
    answers: Vec<(Reply, String)>,
}

/// The place where the shell leaves what shall be written in the background.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    pending: Rc<RefCell<Pending>>,
    wake: Rc<Notify>,
    is_closing: Rc<Cell<bool>>,
}

impl Archive {
    pub fn remember(&self, key: &str, value: Option<String>) {
        self.pending.borrow_mut().values.insert(format!("{CELL_PREFIX}{key}"), value);
        self.wake.notify_one();
    }

    pub fn add_event(&self, event: Event) {
        let mut pending = self.pending.borrow_mut();
        pending.events.push_back(event);
        if pending.events.len() > EVENTS_MAX {
            pending.events.pop_front();
        }
        self.wake.notify_one();
    }

    /// Answers once everything remembered so far is safe.
    pub fn answer_when_safe(&self, reply: Reply, text: String) {
        self.pending.borrow_mut().answers.push((reply, text));
        self.wake.notify_one();
    }

    /// The writer ends after one last write.
    pub fn close(&self) {
        self.is_closing.set(true);
        self.wake.notify_one();
    }

    /// Writes until it is closed. Tells `inbox` when the store fails, and when it works again.
    pub async fn keep(self, store: FencedStore, inbox: mpsc::Sender<Input>) {
        let mut is_failing = false;
        loop {
            // A word that is missed by this stays until the next look.
            let is_woken = tokio::time::timeout(LOOK_INTERVAL, self.wake.notified()).await.is_ok();
            let is_last = self.is_closing.get();
            let result = match is_woken || is_failing {
                true => self.write(&store).await,
                false => store.read(Read::Keys(Vec::new())).await.map(drop),
            };
            if is_last {
                return;
            }
            let (severity, kind, text) = match &result {
                Ok(()) if is_failing => {
                    (Severity::Info, "store-works", "the store can be written again".into())
                }
                Err(error) if !is_failing => {
                    let text = format!("what happens is not being kept: {error}");
                    (Severity::Error, "store-failed", text)
                }
                Ok(()) => continue,
                Err(_) => {
                    self.pause().await;
                    continue;
                }
            };
            is_failing = result.is_err();
            // A full inbox has worse to tell; the next change of the store is told again.
            drop(inbox.try_send(Input::Note { severity, kind, text }));
            if is_failing {
                self.pause().await;
            }
        }
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
        self.wake.notify_one();
    }

    async fn write(&self, store: &FencedStore) -> Result<(), StoreError> {
        let batch = std::mem::take(&mut *self.pending.borrow_mut());
        let values = batch.values.iter().map(|(key, value)| match value {
            Some(value) => Write::put(key.clone(), value.as_str()),
            None => Write::Delete { key: key.clone() },
        });
        let events = batch.events.iter().flat_map(|event| {
            let json = serde_json::to_string(event).expect("an event has only names, numbers and text");
            let old = event.number.checked_sub(EVENTS_MAX as u64);
            let delete = old.map(|old| Write::Delete { key: event_key(old) });
            std::iter::once(Write::put(event_key(event.number), json)).chain(delete)
        });
        let writes: Vec<Write> = values.chain(events).collect();
        let result = write_in_parts(store, &writes).await;
        for (reply, text) in batch.answers {
            let answer = match &result {
                Ok(()) => Ok(text),
                Err(error) => Err(not_kept(&text, error)),
            };
            // Whoever asked may have gone.
            drop(reply.send(answer));
        }
        if result.is_err() {
            // Parts that were written are written again, which changes nothing: each key has its newest value.
            let mut pending = self.pending.borrow_mut();
            for (key, value) in batch.values {
                pending.values.entry(key).or_insert(value);
            }
            for event in batch.events.into_iter().rev() {
                if pending.events.len() < EVENTS_MAX {
                    pending.events.push_front(event);
                }
            }
        }
        result
    }
}

/// Servers take only so much in one transaction. Each key stands for itself, so parts may be seen one after the other.
async fn write_in_parts(store: &FencedStore, writes: &[Write]) -> Result<(), StoreError> {
    let mut rest = writes;
    while !rest.is_empty() {
        let (part, later) = rest.split_at(store.bounds.fitting(rest));
        store.commit(Txn { checks: Vec::new(), writes: part.to_vec() }).await?;
        rest = later;
    }
    Ok(())
}

/// The answer to an operator whose wish is carried out and was not kept.
fn not_kept(text: &str, error: &StoreError) -> ErrorBody {
    let (code, how) = match error {
        StoreError::Unknown { .. } => (error_code::STORE_WRITE_UNCERTAIN, "may"),
        _ => (error_code::STORE_WRITE_FAILED, "would"),
    };
    let message = format!("{text}, but a restart of the manager {how} forget it: {error}");
    ErrorBody { code: code.to_string(), message, retry: true }
}

#[cfg(test)]
mod tests;
