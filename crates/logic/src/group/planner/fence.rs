//! Groups of the class hard: their node has to be proven off before another one may have them.
//!
//! The wish to fence is committed in the group's record before anybody acts (`Mark::Asked`), and so is the proof
//! (`Mark::Off`). So who leads next goes on where the one before stopped, and looks whether the node is off before it switches
//! anything. Both are of one stay: they are taken back, by a commit, before the node is told anything again.
//! Not here: how a node is switched off (`crate::fence`).

use super::super::plan::{against, choose};
use super::super::record::{Mark, Record};
use super::decide::{Decision, stay};
use super::{Group, Output, Planner};
use crate::time::Time;
use std::collections::BTreeMap;
use wire::group::{GroupClass, GroupCondition};
use wire::id::{GroupName, NodeName};

/// A node that is being fenced.
#[derive(Debug, Clone)]
pub(super) struct Fencing {
    pub run: u64,
    /// The groups for which it began, each with its epoch: for no other does its end prove anything.
    pub groups: BTreeMap<GroupName, u64>,
    /// Why it did not work yet.
    pub trouble: Option<String>,
}

impl Planner {
    /// Whether the lease of the group's node was taken and it takes more than that.
    fn needs_fence(&self, now: Time, group: &Group, owner: &NodeName) -> bool {
        group.settings.class == GroupClass::Hard && self.is_lease_over(now, group, owner)
    }

    /// What is to be done about fencing, before anything else is thought of. None: nothing.
    pub(super) fn decide_fence(&self, now: Time, group: &Group, owner: &NodeName) -> Option<Decision> {
        let name = &group.settings.name;
        let mark = group.record.mark;
        let commit = |mark: Mark, text: String| {
            let record = Record { mark, ..group.record.clone() };
            Some(Decision::Commit { record, event: format!("group {name}: {text}"), is_recovery: false })
        };
        if !self.needs_fence(now, group, owner) {
            return match mark {
                Mark::No => None,
                Mark::Asked | Mark::Off => {
                    commit(Mark::No, format!("node {owner} is back, or need not be off"))
                }
            };
        }
        match mark {
            // As with a lease that is over; see `is_fenced`.
            Mark::Off => None,
            Mark::Asked if group.proven == Some(group.record.epoch) => {
                commit(Mark::Off, format!("node {owner} is proven to be off"))
            }
            _ if group.record.is_frozen || !group.may_stay(owner) => None,
            Mark::Asked => {
                let trouble = self.fencing.get(owner).and_then(|fencing| fencing.trouble.as_deref());
                let reason = match trouble {
                    Some(why) => format!(
                        "node {owner} has to be off before another may run it, and could not be fenced: {why}. Once it is off, \
                         say so with `muster group confirm-off {name} {owner}`"
                    ),
                    None => format!("node {owner} is lost and is being fenced"),
                };
                Some(stay(GroupCondition::Waiting, reason))
            }
            Mark::No => {
                let whys = self.whys(group);
                match choose(&whys, Some(owner)) {
                    Some(_) => commit(Mark::Asked, format!("node {owner} is lost, and has to be fenced")),
                    // Nobody would gain by it.
                    None => {
                        let others = against(&whys, Some(owner));
                        let reason = format!("node {owner} is lost, and no other can run it: {others}");
                        Some(stay(GroupCondition::Waiting, reason))
                    }
                }
            }
        }
    }

    /// Tells which nodes have to be off, and which need not be any more.
    pub(super) fn fence(&mut self, now: Time) {
        let mut wanted: BTreeMap<NodeName, BTreeMap<GroupName, u64>> = BTreeMap::new();
        for (name, group) in &self.groups {
            let Some(owner) = &group.record.owner else { continue };
            let is_asked = group.record.mark == Mark::Asked && group.proven != Some(group.record.epoch);
            let is_wanted = is_asked && group.confirmed_off.as_ref() != Some(owner);
            if is_wanted && self.needs_fence(now, group, owner) {
                wanted.entry(owner.clone()).or_default().insert(name.clone(), group.record.epoch);
            }
        }
        let unwanted: Vec<NodeName> =
            self.fencing.keys().filter(|node| !wanted.contains_key(*node)).cloned().collect();
        for node in unwanted {
            self.fencing.remove(&node);
            self.outputs.push(Output::Spare { node });
        }
        for (node, groups) in wanted {
            let is_known = |fencing: &Fencing| groups.keys().all(|name| fencing.groups.contains_key(name));
            if self.fencing.get(&node).is_some_and(is_known) {
                continue;
            }
            self.runs += 1;
            let trouble = self.fencing.remove(&node).and_then(|fencing| fencing.trouble);
            self.fencing.insert(node.clone(), Fencing { run: self.runs, groups, trouble });
            self.outputs.push(Output::Fence { node, run: self.runs });
        }
    }

    pub(super) fn on_fenced(&mut self, node: &NodeName, run: u64, result: Result<(), String>) {
        let Some(fencing) = self.fencing.get_mut(node).filter(|fencing| fencing.run == run) else { return };
        match result {
            Err(why) => fencing.trouble = Some(why),
            Ok(()) => {
                let groups = std::mem::take(&mut fencing.groups);
                self.fencing.remove(node);
                for (name, epoch) in groups {
                    let group = self.groups.get_mut(&name).filter(|group| {
                        (group.record.owner.as_ref(), group.record.epoch) == (Some(node), epoch)
                    });
                    if let Some(group) = group {
                        group.proven = Some(epoch);
                    }
                }
            }
        }
    }
}
