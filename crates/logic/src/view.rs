//! Builds a cluster's view and gives it epochs.
//!
//! Promises: a view that says nothing new gets no new epoch; a number is never given twice nor lower than before, even
//! if a cluster is removed and comes back (`start_after`). A changed reason alone makes no epoch: routers do not act on
//! it, and it may change with every probe.
//! Not here: what the run states are (see `run_state`) and who is told (see `cell`).

mod change;

pub use change::change;

use wire::id::{ClusterName, Epoch};
use wire::view::{Affinity, HashKey, Health, MemberView, Policy, View};

/// What a view says of its cluster besides members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules<'a> {
    pub policy: Policy,
    pub affinity: &'a Option<Affinity>,
    pub hash_key: &'a HashKey,
    pub health: &'a Health,
}

impl<'a> Rules<'a> {
    pub fn of(view: &'a View) -> Self {
        Self { policy: view.policy, affinity: &view.affinity, hash_key: &view.hash_key, health: &view.health }
    }
}

/// The latest view of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewKeeper {
    view: View,
}

impl ViewKeeper {
    /// A view with no members that nobody has seen; the first one published has the number `start_after` + 1.
    pub fn new(cluster: ClusterName, generation: u64, start_after: u64) -> Self {
        let epoch = Epoch { generation, number: start_after };
        Self { view: View { cluster, epoch, ..View::default() } }
    }

    /// The same for a cluster of another cell.
    pub fn of_cell(cluster: ClusterName, cell: String, generation: u64, start_after: u64) -> Self {
        let mut keeper = Self::new(cluster, generation, start_after);
        keeper.view.cell = cell;
        keeper
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    /// Takes the present truth; the new view if routers have to know.
    pub fn offer(&mut self, rules: Rules<'_>, members: Vec<MemberView>, is_first: bool) -> Option<&View> {
        let is_same = rules == Rules::of(&self.view)
            && self.view.members.len() == members.len()
            && self.view.members.iter().zip(&members).all(|(old, new)| routes_alike(old, new));
        if is_same && !is_first {
            return None;
        }
        self.view.epoch.number += 1;
        self.view.policy = rules.policy;
        self.view.affinity.clone_from(rules.affinity);
        self.view.hash_key.clone_from(rules.hash_key);
        self.view.health.clone_from(rules.health);
        self.view.members = members;
        Some(&self.view)
    }
}

/// Whether routers treat both alike.
fn routes_alike(old: &MemberView, new: &MemberView) -> bool {
    let MemberView {
        name,
        clone_id,
        address,
        state,
        weight,
        is_lost,
        only_fails_probe,
        reason: _,
        zone,
        is_backup,
        requests_max,
        transport,
        secure,
    } = old;
    *name == new.name
        && *clone_id == new.clone_id
        && *address == new.address
        && *state == new.state
        && *weight == new.weight
        && *is_lost == new.is_lost
        && *only_fails_probe == new.only_fails_probe
        && *zone == new.zone
        && *is_backup == new.is_backup
        && *requests_max == new.requests_max
        && *transport == new.transport
        && *secure == new.secure
}

#[cfg(test)]
mod tests;
