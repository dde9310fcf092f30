//! Groups of the class hard: their node has to be proven off before another one may have them.
//!
//! The wish to fence is committed in the group's record before anybody acts (`Mark::Asked`), and so is the proof
//! (`Mark::Off`). So who leads next goes on where the one before stopped, and looks whether the node is off before it switches
//! anything. Both are of one stay: they are taken back, by a commit, before the node is told anything again.
//! What a fence says of a node whose heartbeats go on proves nothing: the end of its lease has to bear it out, soon.
//! Not here: how a node is switched off (`crate::fence`).

use super::super::plan::{against, choose};
use super::super::record::{Mark, Record};
use super::decide::{Decision, stay};
use super::{Group, Output, Planner};
use crate::limits::{FENCE_DOUBT_MS, LEFT_PATIENCE_MS};
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

/// What a fence has proven of a group's owner.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    /// Of the stay that it is about.
    epoch: u64,
    at: Time,
    /// The owner's lease was over then, or soon after.
    is_borne_out: bool,
}

/// Why a node is not switched off, though it is not known to have ended a group.
enum Spared {
    ByNobody,
    /// And why, as the end of a sentence.
    ForNow(String),
}

impl Planner {
    /// Whether it takes more than a lease to be sure of a group's node, and more is needed now: its lease was taken, or it has
    /// said itself for a while that it cannot give the group back.
    fn needs_fence(&self, now: Time, group: &Group, owner: &NodeName) -> bool {
        let cannot = || group.left_since.is_some_and(|since| now.since_ms(since) >= LEFT_PATIENCE_MS);
        let is_lost = || self.is_lease_over(now, group, owner) || cannot();
        group.class() == GroupClass::Hard && group.record.is_leased && is_lost()
    }

    fn is_here(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(|node| node.is_connected && node.report.is_some())
    }

    /// What its owner could not give back, and tries to.
    pub(super) fn left<'a>(&'a self, group: &Group, owner: &NodeName) -> Option<&'a str> {
        let node = self.nodes.get(owner).filter(|node| node.is_connected)?;
        node.report_of(group)?.left.as_deref()
    }

    /// What is to be done about fencing, before anything else is thought of. None: nothing.
    pub(super) fn decide_fence(&self, now: Time, group: &Group, owner: &NodeName) -> Option<Decision> {
        let name = &group.settings.name;
        let mark = group.record.mark;
        let commit = |mark: Mark, text: String| {
            let record = Record { mark, ..group.record.clone() };
            Some(Decision::Commit { record, event: format!("group {name}: {text}"), is_recovery: false })
        };
        if mark == Mark::Off && self.is_here(owner) && !self.is_lease_over(now, group, owner) {
            return commit(Mark::No, format!("node {owner} is back"));
        }
        let proof = group.proven.filter(|proof| mark == Mark::Asked && proof.epoch == group.record.epoch);
        let is_proven = proof.is_some_and(|proof| proof.is_borne_out);
        if proof.is_some() && !is_proven {
            let reason = format!("node {owner} is said to be off, and its lease is not over yet");
            return Some(stay(GroupCondition::Waiting, reason));
        }
        if !self.needs_fence(now, group, owner) && !is_proven {
            return match mark {
                Mark::No => None,
                // It is off, or is being switched off, and its lease will be over in a moment.
                Mark::Asked | Mark::Off if group.record.is_leased && !self.is_here(owner) => {
                    let reason = format!("node {owner} is lost, and its lease is not over yet");
                    group.may_stay(owner).then(|| stay(GroupCondition::Waiting, reason))
                }
                Mark::Asked | Mark::Off => {
                    commit(Mark::No, format!("node {owner} is back, or need not be off"))
                }
            };
        }
        match mark {
            // As with a lease that is over; see `is_fenced`.
            Mark::Off => None,
            Mark::Asked if is_proven => commit(Mark::Off, format!("node {owner} is proven to be off")),
            Mark::Asked | Mark::No => match self.wants_fence(group, owner) {
                Err(Spared::ByNobody) => None,
                Err(Spared::ForNow(why)) => {
                    Some(stay(GroupCondition::Waiting, format!("{}{why}", self.why_off(group, owner))))
                }
                Ok(()) if mark == Mark::No => {
                    commit(Mark::Asked, format!("{}has to be fenced", self.why_off(group, owner)))
                }
                Ok(()) => Some(stay(GroupCondition::Waiting, self.fencing_reason(group, owner))),
            },
        }
    }

    /// What is wrong with the owner, as the beginning of a sentence.
    fn why_off(&self, group: &Group, owner: &NodeName) -> String {
        match self.left(group, owner) {
            Some(left) => format!("node {owner} cannot give it back ({left}), and "),
            None => format!("node {owner} is lost, and "),
        }
    }

    fn fencing_reason(&self, group: &Group, owner: &NodeName) -> String {
        let name = &group.settings.name;
        match self.fencing.get(owner).and_then(|fencing| fencing.trouble.as_deref()) {
            Some(why) => format!(
                "node {owner} has to be off before another may run it, and could not be fenced: {why}. Once it is off, \
                 say so with `muster group confirm-off {name} {owner}`"
            ),
            None => format!("{}is being fenced", self.why_off(group, owner)),
        }
    }

    /// Whether anybody would gain by its owner being off. The wish may have been written down long ago: it is looked at again
    /// each time, so that nobody's node is switched off under their hands for a group that is left alone by now.
    fn wants_fence(&self, group: &Group, owner: &NodeName) -> Result<(), Spared> {
        // Nobody waits for it, or a person has looked. One that was about to be moved is wanted elsewhere all the more.
        if !group.shall_run() || group.confirmed_off.as_ref() == Some(owner) {
            return Err(Spared::ByNobody);
        }
        if let Some(held) = self.held(group) {
            return Err(Spared::ForNow(format!("nothing follows: {held}")));
        }
        let whys = self.whys(group);
        if choose(&whys, Some(owner)).is_none() {
            let others = against(&whys, Some(owner));
            return Err(Spared::ForNow(format!("no other can run it: {others}")));
        }
        Ok(())
    }

    /// Tells which nodes have to be off, and which need not be any more.
    pub(super) fn fence(&mut self, now: Time) {
        let mut wanted: BTreeMap<NodeName, BTreeMap<GroupName, u64>> = BTreeMap::new();
        for (name, group) in &self.groups {
            let Some(owner) = &group.record.owner else { continue };
            let is_proven = group.proven.is_some_and(|proof| proof.epoch == group.record.epoch);
            let is_asked = group.record.mark == Mark::Asked && !is_proven;
            // One that is being switched off is gone before its lease is over.
            let began = self.fencing.get(owner).is_some_and(|fencing| fencing.groups.contains_key(name));
            let is_needed = self.needs_fence(now, group, owner) || (began && !self.is_here(owner));
            if is_asked && is_needed && self.wants_fence(group, owner).is_ok() {
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

    /// Whether what fences have said is borne out by now. What is not in time counts for nothing, and the node is fenced anew.
    pub(super) fn weigh_proof(&mut self, now: Time, name: &GroupName) {
        let Some(group) = self.groups.get(name) else { return };
        let Some(mut proof) = group.proven.filter(|proof| !proof.is_borne_out) else { return };
        let owner = group.record.owner.as_ref();
        proof.is_borne_out = owner.is_some_and(|owner| self.is_lease_over(now, group, owner));
        let still = proof.is_borne_out || now.since_ms(proof.at) < FENCE_DOUBT_MS;
        let group = self.groups.get_mut(name).expect("it was just there");
        group.proven = still.then_some(proof);
    }

    /// Since when the owner says that something of the group cannot be given back.
    pub(super) fn note_left(&mut self, now: Time, name: &GroupName) {
        let Some(group) = self.groups.get(name) else { return };
        let has_left = group.record.owner.as_ref().is_some_and(|owner| self.left(group, owner).is_some());
        let since = has_left.then(|| group.left_since.unwrap_or(now));
        self.groups.get_mut(name).expect("it was just there").left_since = since;
    }

    /// When what a fence has said is not waited for any more, and when a node is fenced for what it cannot give back.
    pub(super) fn fence_wakes(group: &Group) -> impl Iterator<Item = Time> {
        let proof = group.proven.filter(|proof| !proof.is_borne_out);
        let doubt = proof.map(|proof| proof.at + FENCE_DOUBT_MS);
        doubt.into_iter().chain(group.left_since.map(|since| since + LEFT_PATIENCE_MS))
    }

    pub(super) fn on_fenced(&mut self, now: Time, node: &NodeName, run: u64, result: Result<(), String>) {
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
                        group.proven = Some(Proof { epoch, at: now, is_borne_out: false });
                    }
                }
            }
        }
    }
}
