//! The store's one primitive, as a model in memory: what every driver must do, written so that one can see it is right.
//!
//! `read` what is, `commit` all of a transaction or nothing, and hear of `changes` since a revision. Promises:
//! - Each commit that writes has a revision of its own, one above the last; an entry carries that of its last write.
//!   An engine may leave some out: to whoever uses a store, a revision is only later than another or not.
//! - Checks are judged before any write, against the state that the transaction finds.
//! - `changes` tells each key once, as it is now. Deleted keys are remembered up to `TOMBSTONES_MAX`; who asks for
//!   older news is told everything instead (`Changes::is_whole`).
//!
//! Not here: files, threads, waiting (see the `store` crate).

use crate::limits::{KEY_SIZE_MAX_BYTES, TOMBSTONES_MAX, TXN_PARTS_MAX, VALUE_SIZE_MAX_BYTES};
use std::collections::BTreeMap;

/// Grows with each commit; 0 is before all of them.
pub type Revision = u64;

/// What must hold of a key for a transaction to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    Absent {
        key: String,
    },
    Exists {
        key: String,
    },
    /// It exists, and its last write had this revision.
    Unchanged {
        key: String,
        revision: Revision,
    },
}

impl Check {
    pub fn key(&self) -> &str {
        match self {
            Check::Absent { key } | Check::Exists { key } | Check::Unchanged { key, .. } => key,
        }
    }

    /// Whether it holds for a key whose entry has this revision; None: there is no entry.
    pub fn holds(&self, found: Option<Revision>) -> bool {
        match self {
            Check::Absent { .. } => found.is_none(),
            Check::Exists { .. } => found.is_some(),
            Check::Unchanged { revision, .. } => found == Some(*revision),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put {
        key: String,
        value: Vec<u8>,
    },
    /// Deleting what is not there is no error and no change.
    Delete {
        key: String,
    },
}

impl Write {
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Write::Put { key: key.into(), value: value.into() }
    }

    pub fn key(&self) -> &str {
        match self {
            Write::Put { key, .. } | Write::Delete { key } => key,
        }
    }
}

/// All checks hold and all writes happen, in this order, or nothing happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    pub checks: Vec<Check>,
    pub writes: Vec<Write>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Keys(Vec<String>),
    Prefix(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Vec<u8>,
    pub revision: Revision,
}

/// What was read, in the order of keys, and the revision at which it was so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub revision: Revision,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    /// None: it is gone.
    pub value: Option<Vec<u8>>,
    pub revision: Revision,
}

/// News for a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The next question is `since` this.
    pub revision: Revision,
    /// These are all entries there are; what is not among them is gone.
    pub is_whole: bool,
    /// In the order of revisions, then keys.
    pub changes: Vec<Change>,
}

/// Why a transaction did not happen. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Someone else was first; read again and decide again.
    #[error("the check on key {key} does not hold")]
    CheckFailed { key: String },
    /// Trying again cannot help.
    #[error("key {key:?} is not 1 to {KEY_SIZE_MAX_BYTES} bytes of printable ASCII")]
    BadKey { key: String },
    /// Trying again cannot help.
    #[error("the value of key {key} has {size_bytes} bytes; at most {VALUE_SIZE_MAX_BYTES} are allowed")]
    ValueTooLong { key: String, size_bytes: usize },
    /// Trying again cannot help.
    #[error("a transaction of {parts} checks and writes is too large; at most {TXN_PARTS_MAX} are allowed")]
    TooManyParts { parts: usize },
}

/// Whether a transaction keeps to the bounds; every driver asks this first.
pub fn within_bounds(txn: &Txn) -> Result<(), Refused> {
    let parts = txn.checks.len() + txn.writes.len();
    if parts > TXN_PARTS_MAX {
        return Err(Refused::TooManyParts { parts });
    }
    for key in txn.checks.iter().map(Check::key).chain(txn.writes.iter().map(Write::key)) {
        let is_plain = key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if key.is_empty() || key.len() > KEY_SIZE_MAX_BYTES || !is_plain {
            return Err(Refused::BadKey { key: key.to_owned() });
        }
    }
    for write in &txn.writes {
        if let Write::Put { key, value } = write
            && value.len() > VALUE_SIZE_MAX_BYTES
        {
            return Err(Refused::ValueTooLong { key: key.clone(), size_bytes: value.len() });
        }
    }
    Ok(())
}

/// The last write of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    /// None: deleted.
    value: Option<Vec<u8>>,
    revision: Revision,
}

/// A store in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    slots: BTreeMap<String, Slot>,
    revision: Revision,
    /// Deletions up to this revision may have been forgotten.
    forgotten: Revision,
}

impl Model {
    pub fn read(&self, read: &Read) -> Snapshot {
        let is_asked = |key: &String| match read {
            Read::Keys(keys) => keys.contains(key),
            Read::Prefix(prefix) => key.starts_with(prefix.as_str()),
        };
        let asked = self.slots.iter().filter(|(key, _)| is_asked(key));
        let entries = asked.filter_map(|(key, slot)| {
            let value = slot.value.clone()?;
            Some(Entry { key: key.clone(), value, revision: slot.revision })
        });
        Snapshot { revision: self.revision, entries: entries.collect() }
    }

    /// The revision after the transaction; that of before if it wrote nothing.
    pub fn commit(&mut self, txn: &Txn) -> Result<Revision, Refused> {
        within_bounds(txn)?;
        for check in &txn.checks {
            let slot = self.slots.get(check.key()).filter(|slot| slot.value.is_some());
            if !check.holds(slot.map(|slot| slot.revision)) {
                return Err(Refused::CheckFailed { key: check.key().to_owned() });
            }
        }
        let revision = self.revision + 1;
        for write in &txn.writes {
            match write {
                Write::Put { key, value } => {
                    self.slots.insert(key.clone(), Slot { value: Some(value.clone()), revision });
                    self.revision = revision;
                }
                Write::Delete { key } => {
                    let exists = self.slots.get(key).is_some_and(|slot| slot.value.is_some());
                    if exists {
                        self.slots.insert(key.clone(), Slot { value: None, revision });
                        self.revision = revision;
                    }
                }
            }
        }
        self.forget();
        Ok(self.revision)
    }

    /// Drops the oldest deletions beyond the bound, whole revisions at a time.
    fn forget(&mut self) {
        let deleted = |slots: &BTreeMap<String, Slot>| {
            slots.values().filter(|slot| slot.value.is_none()).map(|slot| slot.revision).collect::<Vec<_>>()
        };
        let mut revisions = deleted(&self.slots);
        if revisions.len() <= TOMBSTONES_MAX {
            return;
        }
        revisions.sort_unstable();
        let newest_dropped = revisions[revisions.len() - TOMBSTONES_MAX - 1];
        self.forgotten = newest_dropped;
        self.slots.retain(|_, slot| slot.value.is_some() || slot.revision > newest_dropped);
    }

    /// What is different from what someone knows who has heard of everything up to `since`.
    pub fn changes(&self, prefix: &str, since: Revision) -> Changes {
        // A `since` beyond our own revision comes from another store's history.
        let is_whole = since < self.forgotten || since > self.revision;
        let news = self.slots.iter().filter(|(key, slot)| {
            key.starts_with(prefix) && if is_whole { slot.value.is_some() } else { slot.revision > since }
        });
        let mut changes: Vec<_> = news
            .map(|(key, slot)| Change {
                key: key.clone(),
                value: slot.value.clone(),
                revision: slot.revision,
            })
            .collect();
        changes.sort_by(|one, other| (one.revision, &one.key).cmp(&(other.revision, &other.key)));
        Changes { revision: self.revision, is_whole, changes }
    }
}

#[cfg(test)]
mod tests;
