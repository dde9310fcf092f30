//! What nodes say they hold, against what is written down: nobody is told to run what somebody else may be running.
//!
//! A store may be put back to what it was, or be written to by a decision that nobody waits for any more. Then it names an owner
//! while another node runs the group, and knows nothing of that. Promises: who begins to lead tells nobody to begin with a group
//! before the other nodes of its policy have said what they run, or `SETTLE_MS` have passed; and a node that holds a group which
//! is not its own keeps it from all others until it has given it back, or a person says that the node is off. What was noted
//! is committed before anything is decided upon it, so that it holds for whoever leads next as well.
//! Not here: the proof that an owner has stopped (`node`).

use super::super::record::{Claim, Record};
use super::decide::{Decision, stay};
use super::node::{Node, is_held};
use super::{Group, Output, Planner};
use crate::limits::{GROUP_EPOCHS_AHEAD_MAX, SETTLE_MS};
use crate::time::Time;
use std::cmp::Ordering;
use wire::group::{Attribute, GroupClass, GroupCondition, GroupSettings};
use wire::id::{GroupName, NodeName};
use wire::status::Severity;

impl Planner {
    /// Notes which groups a node holds that are not its own.
    pub(super) fn note_claims(&mut self, name: &NodeName) {
        let Some(report) = self.nodes.get(name).and_then(|node| node.report.as_ref()) else { return };
        for told in &report.groups {
            let Some(group) = self.groups.get_mut(&told.name) else { continue };
            let record = &group.record;
            let is_own = record.owner.as_ref() == Some(name);
            let is_strange = match told.epoch.cmp(&record.epoch) {
                // It was taken from it with proof, or it is about to end what it has.
                Ordering::Less => is_held(told.state) && !is_own && !record.taken.contains(name),
                Ordering::Equal => is_held(told.state) && !is_own,
                // Before it has forgotten that one it begins with none below it.
                Ordering::Greater => true,
            };
            if !is_strange {
                continue;
            }
            let claim = Claim { epoch: told.epoch, ends_with_lease: false };
            if group.claims.insert(name.clone(), claim).is_none() && is_held(told.state) {
                let text = format!(
                    "group {}: node {name} runs it as epoch {}, which the store does not know; was the store put back? Nobody is told \
                     to run it before that node has stopped it",
                    told.name, told.epoch
                );
                let (severity, kind) = (Severity::Error, "group-claimed");
                self.outputs.push(Output::Event { severity, kind, text });
            }
        }
    }

    /// Somebody else has written the record. Who was told to run the group may do so still.
    pub(super) fn note_foreign(group: &mut Group, found: &Record) {
        let old = &group.record;
        let Some(owner) = old.owner.clone().filter(|owner| found.owner.as_ref() != Some(owner)) else {
            return;
        };
        let ends_with_lease = old.is_leased && group.class() == GroupClass::Soft;
        group.claims.insert(owner, Claim { epoch: old.epoch, ends_with_lease });
    }

    /// What the record says of claims, once what is known now is committed.
    fn with_claims(group: &Group) -> Record {
        let old = &group.record;
        // What a node says may be nonsense, and no epoch can follow upon the last of all numbers.
        let is_fit = |epoch: &u64| *epoch <= old.epoch.saturating_add(GROUP_EPOCHS_AHEAD_MAX);
        let newest = group.claims.values().map(|claim| claim.epoch).filter(is_fit).max();
        Record { claims: group.claims.clone(), above: old.above.max(newest.unwrap_or(0)), ..old.clone() }
    }

    /// Has what changed of claims committed, before anything else is decided of the group.
    pub(super) fn commit_claims(&mut self, now: Time, name: &GroupName) {
        let Some(group) = self.groups.get(name) else { return };
        if group.claims == group.record.claims || group.pending.is_some() || now < group.retry_at {
            return;
        }
        let record = Self::with_claims(group);
        self.commit(name, Some(record), None, None);
    }

    /// Forgets claims of nodes that have given back what was not theirs.
    pub(super) fn settle_claims(&mut self, now: Time, name: &GroupName) {
        let Some(group) = self.groups.get(name).filter(|group| !group.claims.is_empty()) else { return };
        let is_open = |(node, claim): &(&NodeName, &Claim)| !self.has_given_back(now, group, node, claim);
        let open: Vec<NodeName> = group.claims.iter().filter(is_open).map(|(node, _)| node.clone()).collect();
        if let Some(group) = self.groups.get_mut(name) {
            group.claims.retain(|node, _| open.contains(node));
        }
    }

    fn has_given_back(&self, now: Time, group: &Group, name: &NodeName, claim: &Claim) -> bool {
        let Some(node) = self.nodes.get(name) else { return false };
        // By now it may be its own.
        let is_own = group.record.owner.as_ref() == Some(name) && group.record.epoch == claim.epoch;
        let is_gone = || !node.report_of(group).is_some_and(|report| is_held(report.state));
        let has_obeyed = node.is_connected && node.is_settled() && !node.is_told(group) && is_gone();
        is_own || has_obeyed || (claim.ends_with_lease && self.is_lease_over(now, group, name))
    }

    /// Why nobody is told to begin with the group, whoever its owner is; None: nothing speaks against it.
    pub(super) fn withheld(&self, now: Time, group: &Group) -> Option<String> {
        let unheard =
            || self.unheard(now, group).map(|node| format!("node {node} has not said yet what runs there"));
        self.claimed(group).or_else(unheard)
    }

    /// Which other node may run it, and what a person can do.
    pub(super) fn claimed(&self, group: &Group) -> Option<String> {
        let (node, claim) = group.claims.iter().next()?;
        let is_connected = self.nodes.get(node).is_some_and(|node| node.is_connected);
        let name = &group.settings.name;
        let what = match is_connected {
            true => "and has to stop it first".to_owned(),
            false => format!("once that node is off, say so with `muster group confirm-off {name} {node}`"),
        };
        let epoch = claim.epoch;
        Some(format!("node {node} runs it as epoch {epoch}, which the store does not say: {what}"))
    }

    /// A node that may run the group, for all that is known a moment after the start.
    fn unheard<'a>(&self, now: Time, group: &'a Group) -> Option<&'a NodeName> {
        let owner = group.record.owner.as_ref();
        // The owner has it just as it is written. That it had it proves nothing: it may have gone elsewhere since, and the store
        // have forgotten that.
        let has_it = |node: &Node| {
            let report = node.report_of(group);
            report.is_some_and(|report| report.epoch == group.record.epoch && is_held(report.state))
        };
        let is_sure = owner.and_then(|owner| self.nodes.get(owner)).is_some_and(has_it);
        // What runs by a lease ends with it, also on a node that nobody hears of: a store that was put back knows nothing of it.
        let settled_at = self.started_at + SETTLE_MS;
        let over_at = if group.record.is_leased { settled_at.max(self.trust_at) } else { settled_at };
        if is_sure || now >= over_at {
            return None;
        }
        let others = group.settings.nodes.iter().filter(|node| Some(*node) != owner);
        // That its lease was taken by another leader is as old as the store.
        let has_ended = |node: &Node| group.record.is_leased && node.is_taken_here;
        let is_silent = |node: &Node| node.report.is_none() && !has_ended(node);
        others.into_iter().find(|name| self.nodes.get(*name).is_none_or(is_silent))
    }

    /// Whether the group's owner is told to run it, as far as this goes: one that has begun goes on, and nobody begins with an
    /// epoch below one that was run.
    pub(super) fn may_begin(&self, group: &Group, owner: &NodeName) -> bool {
        if !group.record.is_outrun() && self.withheld(self.now, group).is_none() {
            return true;
        }
        let epoch = group.record.epoch;
        self.nodes.get(owner).is_some_and(|node| match node.report_of(group) {
            Some(report) => report.epoch == epoch && is_held(report.state),
            None => {
                let told = node.sent.iter().flat_map(|(_, groups)| groups);
                told.into_iter().any(|told| told.name == group.settings.name && told.epoch == epoch)
            }
        })
    }

    /// Whether nothing is said to a node yet: what it has of its groups, it is to keep, and what it has not, not to begin.
    pub(super) fn is_unasked(&self, name: &NodeName) -> bool {
        let is_silent = self.nodes.get(name).is_some_and(|node| node.report.is_none() && node.sent.is_none());
        let is_withheld = |group: &Group| {
            group.record.owner.as_ref() == Some(name) && self.withheld(self.now, group).is_some()
        };
        is_silent && self.groups.values().any(is_withheld)
    }

    /// No other node gets it either, and who waits for it to begin is told why it does not.
    pub(super) fn unless_withheld(&self, now: Time, group: &Group, decision: Decision) -> Decision {
        let is_begin = match &decision {
            Decision::Commit { record, .. } => record.epoch > group.record.epoch,
            Decision::Stay { condition: GroupCondition::Starting, .. } => {
                group.record.owner.as_ref().is_some_and(|owner| !self.may_begin(group, owner))
            }
            Decision::Stay { .. } | Decision::Grant { .. } | Decision::Refuse { .. } | Decision::Forget => {
                false
            }
        };
        match self.withheld(now, group).filter(|_| is_begin) {
            // A moment after the start nobody is told of what will be over in a moment.
            Some(why) if group.claims.is_empty() => stay(group.condition, why),
            Some(why) => stay(GroupCondition::Waiting, why),
            None => decision,
        }
    }
}

/// What is left of a group that is not in the configuration any more: enough to stop it.
pub(super) fn removed(name: &GroupName, record: &Record) -> GroupSettings {
    GroupSettings {
        name: name.clone(),
        nodes: record.owner.iter().cloned().collect(),
        startup: Attribute::Manual,
        failover: Attribute::Manual,
        failback: Attribute::Manual,
        // Where nobody has noted it, it may have been either.
        class: record.class.unwrap_or(GroupClass::Hard),
        restarts_max: 0,
        failovers_max: 0,
        after: Vec::new(),
        apart: Vec::new(),
        resources: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
