//! Writes decisions about failover groups, each only over the record that this leader knows.
//!
//! Promise: a write is told to be done when it is in the store, and not to be done when it is not and cannot come any more:
//! one whose end is unknown is looked for until the store answers, and can only succeed while its key is as it was.

use super::desk::Input;
use super::fenced::FencedStore;
use logic::group::{CommitEnd, PlannerInput};
use logic::limits::GROUP_RETRY_MS;
use logic::model::{Check, Read, Revision, Txn, Write};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use store::StoreError;
use tokio::sync::mpsc;

/// The revision of each record that there is.
#[derive(Debug, Clone, Default)]
pub struct GroupRecords {
    revisions: Rc<RefCell<BTreeMap<String, Revision>>>,
}

impl GroupRecords {
    pub fn new(found: &[(String, String, Revision)]) -> Self {
        let revisions = found.iter().map(|(key, _, revision)| (key.clone(), *revision)).collect();
        Self { revisions: Rc::new(RefCell::new(revisions)) }
    }

    fn note(&self, key: &str, revision: Option<Revision>) {
        let mut revisions = self.revisions.borrow_mut();
        match revision {
            Some(revision) => drop(revisions.insert(key.to_owned(), revision)),
            None => drop(revisions.remove(key)),
        }
    }

    /// Writes one record, None: deletes it; and tells `inbox` how that ended.
    pub async fn commit(
        self,
        store: FencedStore,
        inbox: mpsc::Sender<Input>,
        attempt: u64,
        key: String,
        value: Option<String>,
    ) {
        let known = self.revisions.borrow().get(&key).copied();
        let check = match known {
            Some(revision) => Check::Unchanged { key: key.clone(), revision },
            None => Check::Absent { key: key.clone() },
        };
        let write = match &value {
            Some(value) => Write::put(key.clone(), value.as_str()),
            None => Write::Delete { key: key.clone() },
        };
        let end = match store.commit(Txn { checks: vec![check], writes: vec![write] }).await {
            Ok(revision) => {
                self.note(&key, value.is_some().then_some(revision));
                CommitEnd::Done
            }
            Err(error) => {
                tracing::warn!(key, %error, "a decision about a group was not written at once");
                self.find_out(&store, &key, value.as_deref(), known, &error).await
            }
        };
        // Only fails when the manager ends.
        drop(inbox.send(Input::Group(PlannerInput::Committed { attempt, end })).await);
    }

    /// Looks until the store shows what came of a write, and sees to it that nothing comes of it later.
    async fn find_out(
        &self,
        store: &FencedStore,
        key: &str,
        value: Option<&str>,
        known: Option<Revision>,
        error: &StoreError,
    ) -> CommitEnd {
        loop {
            tokio::time::sleep(Duration::from_millis(GROUP_RETRY_MS)).await;
            let Ok(read) = store.read(Read::Keys(vec![key.to_owned()])).await else { continue };
            let entry = read.entries.into_iter().next();
            let revision = entry.as_ref().map(|entry| entry.revision);
            self.note(key, revision);
            let found = entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
            if revision != known && found.as_deref() == value && !is_certain(error) {
                return CommitEnd::Done;
            }
            let may_come = revision == known && !is_certain(error);
            if may_come && !self.bar(store, key, known, found.as_deref()).await {
                continue;
            }
            return CommitEnd::NotDone { found };
        }
    }

    /// Writes a record once more as it is, so that a write which was made over it and may still be on its way fails by its
    /// check; whether that is done. Where there is no record nobody was told to run anything, and the late one is found by the
    /// next.
    async fn bar(
        &self,
        store: &FencedStore,
        key: &str,
        known: Option<Revision>,
        found: Option<&str>,
    ) -> bool {
        let (Some(revision), Some(found)) = (known, found) else { return true };
        let checks = vec![Check::Unchanged { key: key.to_owned(), revision }];
        let writes = vec![Write::put(key.to_owned(), found)];
        match store.commit(Txn { checks, writes }).await {
            Ok(revision) => {
                self.note(key, Some(revision));
                true
            }
            Err(_) => false,
        }
    }
}

/// Whether the write has not happened for certain, and will not.
fn is_certain(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unknown { .. } | StoreError::Closed)
}

#[cfg(test)]
mod tests;
