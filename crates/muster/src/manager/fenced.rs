//! The store as a leader may use it: each write happens only while this manager's term is the newest.
//!
//! Promises: nothing is sent to the store once the lease is over; a write that comes late all the same fails by the check
//! that goes with it, and changes nothing. With one manager on a file of its own there is nothing to check.

use super::election::Lease;
use logic::model::{Check, Read, Refused, Revision, Snapshot, Txn, Write};
use std::rc::Rc;
use store::{Store, StoreError};
use tokio::sync::Notify;
use wire::settings::StoreSettings;

/// Checks and writes of one transaction on etcd, whose servers take 128 where nobody has told them otherwise.
const ETCD_PARTS_MAX: usize = 100;
/// Bytes of one transaction on etcd, whose servers take 1.5 MiB with all that is around it.
const ETCD_BYTES_MAX: usize = 1 << 20;
/// The same elsewhere. 10,000: a transaction that is over within a second.
const PARTS_MAX: usize = 10_000;
/// The same elsewhere. 16 MiB: four of the longest values, and still over within a second.
const BYTES_MAX: usize = 16 << 20;

/// What one transaction may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub parts_max: usize,
    pub bytes_max: usize,
}

impl Bounds {
    pub fn of(settings: &StoreSettings) -> Self {
        match settings {
            StoreSettings::Sqlite | StoreSettings::Postgres { .. } => {
                Self { parts_max: PARTS_MAX, bytes_max: BYTES_MAX }
            }
            StoreSettings::Etcd { .. } => Self { parts_max: ETCD_PARTS_MAX, bytes_max: ETCD_BYTES_MAX },
        }
    }

    /// How many of these writes, from the first on, fit one transaction; at least one.
    pub fn fitting(&self, writes: &[Write]) -> usize {
        let mut bytes = 0;
        let size = |write: &Write| match write {
            Write::Put { key, value } => key.len() + value.len(),
            Write::Delete { key } => key.len(),
        };
        let fits = |write: &&Write| {
            bytes += size(write);
            bytes <= self.bytes_max
        };
        writes.iter().take(self.parts_max).take_while(fits).count().max(1).min(writes.len())
    }
}

/// A handle; cheap to clone.
#[derive(Clone)]
pub struct FencedStore {
    store: Store,
    lease: Lease,
    pub bounds: Bounds,
    /// Told when a write showed that another term has begun.
    overtaken: Rc<Notify>,
}

/// Whether a write failed because another manager leads now. Nothing has changed.
pub fn is_overtaken(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused(Refused::CheckFailed { key }) if key.starts_with(logic::term::PREFIX))
}

impl FencedStore {
    pub fn new(store: Store, lease: Lease, bounds: Bounds) -> Self {
        Self { store, lease, bounds, overtaken: Rc::default() }
    }

    pub async fn read(&self, read: Read) -> Result<Snapshot, StoreError> {
        self.store.read(read).await
    }

    /// Happens wholly or not at all, and only in this manager's term.
    pub async fn commit(&self, mut txn: Txn) -> Result<Revision, StoreError> {
        let fence = self.lease.fence().cloned();
        if let Some(key) = fence.as_ref().filter(|_| !self.lease.holds()).map(Check::key) {
            return Err(StoreError::Refused(Refused::CheckFailed { key: key.to_owned() }));
        }
        txn.checks.extend(fence);
        let result = self.store.commit(txn).await;
        if result.as_ref().is_err_and(is_overtaken) {
            self.overtaken.notify_one();
        }
        result
    }

    /// Returns once a write has shown that another term has begun. Safe to cancel.
    pub async fn overtaken(&self) {
        self.overtaken.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_to_the_bounds_and_what_is_too_large_goes_alone() {
        let put = |bytes: usize| Write::put("k", vec![b'x'; bytes]);
        let bounds = Bounds { parts_max: 3, bytes_max: 10 };
        assert_eq!(bounds.fitting(&[]), 0);
        assert_eq!(bounds.fitting(&[put(1), put(1), put(1), put(1)]), 3);
        assert_eq!(bounds.fitting(&[put(4), put(4), put(1)]), 2);
        assert_eq!(bounds.fitting(&[put(99), put(1)]), 1);
    }
}
