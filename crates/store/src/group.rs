//! Several transactions as one: judged one after the other in memory, so that an engine has only to write the end.
//!
//! Pure. Promise: results and end are those of `logic::model` for the same transactions in the same order.

use logic::model::{Refused, Revision, Txn, Write, within_bounds};
use std::collections::{BTreeMap, HashMap};

/// What is to be written, and what each caller is told if it was.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Group<'a> {
    pub results: Vec<Result<Revision, Refused>>,
    /// The last write of each key; no value: it is gone.
    pub writes: BTreeMap<&'a str, (Option<&'a [u8]>, Revision)>,
    /// After all of them.
    pub revision: Revision,
}

impl<'a> Group<'a> {
    /// `found` has the revisions of those keys of the transactions that exist at `revision`.
    pub fn judge(txns: &[&'a Txn], mut found: HashMap<String, Revision>, revision: Revision) -> Self {
        let mut group = Self { revision, ..Self::default() };
        for txn in txns {
            let result = group.judge_one(txn, &mut found);
            group.results.push(result);
        }
        group
    }

    fn judge_one(
        &mut self,
        txn: &'a Txn,
        found: &mut HashMap<String, Revision>,
    ) -> Result<Revision, Refused> {
        within_bounds(txn)?;
        for check in &txn.checks {
            if !check.holds(found.get(check.key()).copied()) {
                return Err(Refused::CheckFailed { key: check.key().to_owned() });
            }
        }
        let revision = self.revision + 1;
        for write in &txn.writes {
            match write {
                Write::Put { key, value } => {
                    found.insert(key.clone(), revision);
                    self.writes.insert(key, (Some(value), revision));
                }
                // Deleting what is not there is no change.
                Write::Delete { key } if found.remove(key).is_none() => continue,
                Write::Delete { key } => {
                    self.writes.insert(key, (None, revision));
                }
            }
            self.revision = revision;
        }
        Ok(self.revision)
    }

    pub fn has_deleted(&self) -> bool {
        self.writes.values().any(|(value, _)| value.is_none())
    }
}

/// All keys that the transactions name, each once.
pub fn keys<'a>(txns: &[&'a Txn]) -> Vec<&'a str> {
    let named = txns.iter().flat_map(|txn| {
        let checked = txn.checks.iter().map(|check| check.key());
        checked.chain(txn.writes.iter().map(Write::key))
    });
    let mut keys: Vec<&str> = named.collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests;
