//! Builds a cluster's view and gives it epochs.
//!
//! Promises: a view that says nothing new gets no new epoch; a number is never given twice nor lower than before, even
//! if a cluster is removed and comes back (`start_after`). A changed reason alone makes no epoch: routers do not act on
//! it, and it may change with every probe.
//! Not here: what the run states are (see `run_state`) and who is told (see `cell`).

use wire::id::{ClusterName, Epoch};
use wire::view::{Affinity, MemberView, Policy, View};

/// The latest view of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewKeeper {
    view: View,
}

impl ViewKeeper {
    /// A view with no members that nobody has seen; the first one published has the number `start_after` + 1.
    pub fn new(cluster: ClusterName, generation: u64, start_after: u64) -> Self {
        let epoch = Epoch { generation, number: start_after };
        Self {
            view: View { cluster, epoch, policy: Policy::RoundRobin, affinity: None, members: Vec::new() },
        }
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    /// Takes the present truth; the new view if routers have to know.
    pub fn offer(
        &mut self,
        policy: Policy,
        affinity: &Option<Affinity>,
        members: Vec<MemberView>,
        is_first: bool,
    ) -> Option<&View> {
        let is_same = self.view.policy == policy
            && self.view.affinity == *affinity
            && self.view.members.len() == members.len()
            && self.view.members.iter().zip(&members).all(|(old, new)| routes_alike(old, new));
        if is_same && !is_first {
            return None;
        }
        self.view.epoch.number += 1;
        self.view.policy = policy;
        self.view.affinity.clone_from(affinity);
        self.view.members = members;
        Some(&self.view)
    }
}

/// Whether routers treat both alike.
fn routes_alike(old: &MemberView, new: &MemberView) -> bool {
    let MemberView { name, clone_id, address, state, weight, is_lost, reason: _ } = old;
    *name == new.name
        && *clone_id == new.clone_id
        && *address == new.address
        && *state == new.state
        && *weight == new.weight
        && *is_lost == new.is_lost
}

#[cfg(test)]
mod tests;
