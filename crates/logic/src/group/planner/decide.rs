//! What happens to a group next: stay as it is, with a reason, or a record that is to be committed.

use super::super::plan::{against, choose, judge};
use super::super::record::{Mark, Record};
use super::recover::carried_out;
use super::{Failure, Group, Output, Planner};
use crate::limits::{GROUP_FAILBACK_AFTER_MS, GROUP_FAILOVER_WINDOW_MS, SETTLE_MS};
use crate::time::Time;
use wire::group::{Attribute, GroupClass, GroupCondition, GroupReport, GroupState, NodeWhy, StartCause};
use wire::id::{GroupName, NodeName};
use wire::status::Severity;

/// What a look at a group comes to.
pub(super) enum Decision {
    Stay {
        condition: GroupCondition,
        reason: String,
    },
    Commit {
        record: Record,
        event: String,
        is_recovery: bool,
    },
    /// The owner may do what it wishes.
    Grant {
        number: u64,
        event: String,
    },
    /// It may not.
    Refuse {
        number: u64,
        why: String,
        objection: String,
    },
    /// Nothing of it is left, and nobody wants it.
    Forget,
}

pub(super) fn stay(condition: GroupCondition, reason: impl Into<String>) -> Decision {
    Decision::Stay { condition, reason: reason.into() }
}

impl Planner {
    /// What speaks for and against each node of its policy, in that order.
    pub(super) fn whys(&self, group: &Group) -> Vec<NodeWhy> {
        group.settings.nodes.iter().map(|node| judge(node, &self.facts(group, node))).collect()
    }

    pub(super) fn settle_group(&mut self, now: Time, name: &GroupName) {
        let Some(group) = self.groups.get(name) else { return };
        if group.pending.is_some() || now < group.retry_at {
            return;
        }
        let decision = self.unless_withheld(now, group, self.decide(now, group));
        match decision {
            Decision::Stay { condition, reason } => self.say(now, name, condition, reason),
            Decision::Commit { record, event, is_recovery } => {
                self.note_stop(name);
                if is_recovery && let Some(group) = self.groups.get_mut(name) {
                    group.failovers.retain(|at| now.since_ms(*at) < GROUP_FAILOVER_WINDOW_MS);
                    group.failovers.push_back(now);
                }
                self.commit(name, Some(record), Some(event), None);
            }
            Decision::Grant { number, event } => self.grant_wish(name, number, event),
            Decision::Refuse { number, why, objection } => {
                self.refuse_wish(now, name, number, &why, &objection);
                self.say(now, name, GroupCondition::Online, format!("{why}; {objection}, so that it stays"));
            }
            Decision::Forget => self.forget(name),
        }
    }

    fn decide(&self, now: Time, group: &Group) -> Decision {
        let owner = group.record.owner.clone();
        let Some(owner) = owner else { return self.decide_without_owner(now, group) };
        if let Some(record) = self.come_back(group).or_else(|| self.news(group, &owner)) {
            let event = format!("group {}: {}", group.settings.name, what_changed(&group.record, &record));
            return Decision::Commit { record, event, is_recovery: false };
        }
        if let Some(decision) = self.decide_fence(now, group, &owner) {
            return decision;
        }
        let stay_there = group.may_stay(&owner);
        if !stay_there {
            return self.decide_leaving(now, group, &owner);
        }
        if self.is_fenced(now, group, &owner) {
            return self.decide_fenced(group, &owner);
        }
        self.decide_staying(now, group, &owner)
    }

    /// Without nodes that were taken and have come back clean.
    fn come_back(&self, group: &Group) -> Option<Record> {
        let is_back = |name: &&NodeName| self.nodes.get(name).is_some_and(super::Node::is_clean);
        let back: Vec<NodeName> = group.record.taken.iter().filter(is_back).cloned().collect();
        if back.is_empty() {
            return None;
        }
        let mut record = group.record.clone();
        record.taken.retain(|node| !back.contains(node));
        Some(record)
    }

    /// Whether the owner needs its lease has changed. It is noted before nobody needs one, and after the owner has obeyed that
    /// it does: until then the end of its lease proves nothing.
    fn lease_news(&self, group: &Group, owner: &NodeName) -> Option<Record> {
        let is_leased = group.settings.is_leased();
        if group.is_leaving || is_leased == group.record.is_leased {
            return None;
        }
        let knows = self.nodes.get(owner).is_some_and(|node| node.obeys_lease(group));
        (!is_leased || knows).then(|| Record { is_leased, ..group.record.clone() })
    }

    /// What a change of the configuration makes of the record. A class that asks for less counts for the next owner only.
    fn news(&self, group: &Group, owner: &NodeName) -> Option<Record> {
        let is_harder =
            group.settings.class == GroupClass::Hard && group.record.class != Some(GroupClass::Hard);
        if is_harder && !group.is_leaving {
            return Some(Record { class: Some(GroupClass::Hard), ..group.record.clone() });
        }
        self.lease_news(group, owner)
    }

    fn decide_without_owner(&self, now: Time, group: &Group) -> Decision {
        if group.is_leaving {
            return match self.claimed(group) {
                Some(why) => stay(GroupCondition::Waiting, why),
                None => Decision::Forget,
            };
        }
        if let Some(record) = self.come_back(group) {
            let event = format!("group {}: {}", group.settings.name, what_changed(&group.record, &record));
            return Decision::Commit { record, event, is_recovery: false };
        }
        if !group.shall_run() {
            return stay(GroupCondition::Offline, group.recovering.why_stopped());
        }
        if group.record.is_frozen {
            return stay(GroupCondition::Waiting, "it is frozen");
        }
        if let Some(missing) = group.settings.after.iter().find(|name| !self.is_online(name)) {
            return stay(GroupCondition::Waiting, format!("group {missing} has to run before it"));
        }
        let whys = self.whys(group);
        let wanted = group.record.to.as_ref();
        let is_able = |node: &&NodeName| whys.iter().any(|why| why.node == **node && why.is_able);
        // At the start of a cell not all agents come at once.
        let best = choose(&whys, None);
        let mut earlier = group.settings.nodes.iter().take_while(|known| Some(*known) != best);
        let is_expected = |name: &&NodeName| self.nodes.get(name).is_none_or(|node| node.report.is_none());
        if now < self.started_at + SETTLE_MS
            && wanted.is_none()
            && let Some(expected) = earlier.find(is_expected)
        {
            return stay(GroupCondition::Offline, format!("node {expected} comes first, and may still come"));
        }
        let Some(node) = wanted.filter(is_able).or(best) else {
            return stay(GroupCondition::Waiting, format!("no node can run it: {}", against(&whys, None)));
        };
        self.give(group, node, StartCause::Start, "it is started")
    }

    /// The node gets it, as the next epoch.
    pub(super) fn give(&self, group: &Group, node: &NodeName, cause: StartCause, why: &str) -> Decision {
        let old = &group.record;
        let mut record = Record {
            epoch: old.next_epoch(),
            owner: Some(node.clone()),
            cause,
            to: None,
            is_leased: group.settings.is_leased(),
            class: Some(group.settings.class),
            mark: Mark::No,
            above: 0,
            ..old.clone()
        };
        let from = match &old.owner {
            Some(owner) if owner != node => {
                record.previous = Some(owner.clone());
                if self.nodes.get(owner).is_some_and(|node| node.is_taken) {
                    record.taken.insert(owner.clone());
                }
                format!(" goes from {owner} to {node}")
            }
            Some(_) => format!(" starts again on {node}"),
            None => format!(" starts on {node}"),
        };
        let event = format!("group {}{from}, as epoch {}: {why}", group.settings.name, record.epoch);
        Decision::Commit { record, event, is_recovery: false }
    }

    fn decide_leaving(&self, now: Time, group: &Group, owner: &NodeName) -> Decision {
        if !self.is_stopped(now, group, owner) {
            let is_connected = self.nodes.get(owner).is_some_and(|node| node.is_connected);
            return match is_connected {
                true => {
                    let reason = format!("it is being stopped on node {owner}");
                    stay(GroupCondition::Stopping, self.with_left(group, owner, reason))
                }
                false => stay(GroupCondition::Waiting, self.unproven(group, owner)),
            };
        }
        if group.shall_run() && !group.record.is_frozen {
            let whys = self.whys(group);
            let is_able = |node: &&NodeName| whys.iter().any(|why| why.node == **node && why.is_able);
            let is_off = group.confirmed_off.as_ref() == Some(owner);
            let not = Some(owner).filter(|_| is_off);
            let wanted = group.record.to.as_ref().filter(is_able);
            // It leaves a drained node, and goes back there only before it goes nowhere.
            let elsewhere = || choose(&whys, Some(owner)).filter(|_| self.wish_of(owner).is_drained());
            if let Some(node) = wanted.or_else(elsewhere).or_else(|| choose(&whys, not)) {
                let cause = if is_off { StartCause::Failover } else { StartCause::Start };
                let why = if is_off { "a person says that the node is off" } else { "it is moved" };
                return self.give(group, node, cause, why);
            }
        }
        let mut record = group.record.clone();
        record.previous = record.owner.take();
        record.mark = Mark::No;
        if self.nodes.get(owner).is_some_and(|node| node.is_taken) {
            record.taken.insert(owner.clone());
        }
        let event = format!("group {} has stopped on node {owner}", group.settings.name);
        Decision::Commit { record, event, is_recovery: false }
    }

    /// Why nobody else may have it.
    fn unproven(&self, group: &Group, owner: &NodeName) -> String {
        let is_known = self.known.is_empty() || self.known.contains(owner);
        if self.nodes.get(owner).is_some_and(|node| node.is_mass && !node.is_taken) {
            return format!(
                "node {owner} fell silent together with many others, which is likelier the network: it may still run it. If it is \
                 lost, say so with `muster node confirm-lost {owner}`"
            );
        }
        if group.record.is_leased && group.class() == GroupClass::Soft && is_known {
            return format!("node {owner} may still run it until its lease has run out");
        }
        let why = match group.record.is_leased {
            false => "no lease ends that",
            true if group.class() == GroupClass::Hard => "that its lease ends is not enough",
            true => "nobody can tell when its lease ends: it is not in the configuration any more",
        };
        format!(
            "node {owner} may still run it, and {why}: once that node is off, say so with `muster group confirm-off {} {owner}`",
            group.settings.name
        )
    }

    /// Why it does not come to an end, if its node says so.
    fn with_left(&self, group: &Group, owner: &NodeName, reason: String) -> String {
        let Some(left) = self.left(group, owner) else { return reason };
        let name = &group.settings.name;
        format!(
            "{reason}; it cannot be given back there: {left}. Once that node is off, say so with `muster group confirm-off {name} \
             {owner}`"
        )
    }

    fn decide_fenced(&self, group: &Group, owner: &NodeName) -> Decision {
        if let Some(why) = self.held(group) {
            return stay(
                GroupCondition::Waiting,
                format!("node {owner} is lost, and nothing follows: {why}"),
            );
        }
        let whys = self.whys(group);
        match choose(&whys, Some(owner)) {
            Some(node) => self.give(group, node, StartCause::Failover, &format!("node {owner} is lost")),
            None => {
                let others = against(&whys, Some(owner));
                stay(
                    GroupCondition::Waiting,
                    format!("node {owner} is lost, and no other can run it: {others}"),
                )
            }
        }
    }

    fn decide_staying(&self, now: Time, group: &Group, owner: &NodeName) -> Decision {
        let node = self.nodes.get(owner);
        let report = node.and_then(|node| node.report_of(group));
        if group.record.is_outrun() && self.is_stopped(now, group, owner) {
            let why = "another node has run it since the store was saved";
            return self.give(group, owner, group.record.cause, why);
        }
        let Some(report) = report.filter(|report| report.epoch == group.record.epoch) else {
            let is_connected = node.is_some_and(|node| node.is_connected);
            return match is_connected {
                true => stay(GroupCondition::Starting, format!("node {owner} was told to start it")),
                false if node.is_none_or(|node| node.is_reachable) => {
                    stay(group.condition, format!("the agent of node {owner} is not connected"))
                }
                false => stay(GroupCondition::Waiting, self.unproven(group, owner)),
            };
        };
        let is_stopped = self.is_stopped(now, group, owner);
        match report.state {
            GroupState::Failed if is_stopped => self.decide_failed(now, group, owner, report),
            // It was to leave, and before it had left it was to stay.
            GroupState::Expired | GroupState::Stopped if is_stopped => {
                self.decide_expired(group, owner, report)
            }
            GroupState::Online => self.decide_online(now, group, owner, report),
            GroupState::Starting => stay(GroupCondition::Starting, report.reason.clone()),
            GroupState::Waiting => stay(GroupCondition::Waiting, report.reason.clone()),
            GroupState::Stopping | GroupState::Stopped | GroupState::Failed | GroupState::Expired => {
                stay(GroupCondition::Stopping, self.with_left(group, owner, report.reason.clone()))
            }
        }
    }

    fn decide_failed(&self, now: Time, group: &Group, owner: &NodeName, report: &GroupReport) -> Decision {
        let why = &report.reason;
        if let Some(wish) = carried_out(report) {
            return self.decide_recovered(group, owner, wish);
        }
        if let Some(held) = self.held(group) {
            return stay(GroupCondition::Failed, format!("{why}; {held}"));
        }
        let whys = self.whys(group);
        if whys.iter().any(|it| it.node == *owner && it.is_able) {
            return self.give(group, owner, StartCause::Again, why);
        }
        if group.settings.failover == Attribute::Manual {
            let text = format!("{why}; it goes to another node by a person's word only");
            return stay(GroupCondition::Failed, text);
        }
        let recent = group.failovers.iter().filter(|at| now.since_ms(**at) < GROUP_FAILOVER_WINDOW_MS);
        if recent.count() >= group.settings.failovers_max as usize {
            let most = group.settings.failovers_max;
            let text = format!("{why}; it has gone to another node {most} times within an hour, and stays");
            return stay(GroupCondition::Failed, text);
        }
        match choose(&whys, Some(owner)) {
            Some(node) => match self.give(group, node, StartCause::Failover, why) {
                Decision::Commit { record, event, .. } => {
                    Decision::Commit { record, event, is_recovery: true }
                }
                other => other,
            },
            None => {
                let others = against(&whys, Some(owner));
                stay(GroupCondition::Failed, format!("{why}; no other node can run it: {others}"))
            }
        }
    }

    fn decide_expired(&self, group: &Group, owner: &NodeName, report: &GroupReport) -> Decision {
        if group.record.is_frozen {
            return stay(GroupCondition::Waiting, format!("{}; it is frozen", report.reason));
        }
        let whys = self.whys(group);
        if whys.iter().any(|why| why.node == *owner && why.is_able) {
            return self.give(group, owner, StartCause::Again, &report.reason);
        }
        if let Some(held) = self.held(group) {
            return stay(GroupCondition::Waiting, format!("{}; {held}", report.reason));
        }
        if group.settings.failover == Attribute::Manual {
            let text = format!("{}; it goes to another node by a person's word only", report.reason);
            return stay(GroupCondition::Waiting, text);
        }
        match choose(&whys, Some(owner)) {
            Some(node) => self.give(group, node, StartCause::Failover, &report.reason),
            None => {
                let nodes = against(&whys, None);
                stay(GroupCondition::Waiting, format!("{}; no node can run it: {nodes}", report.reason))
            }
        }
    }

    fn decide_online(&self, now: Time, group: &Group, owner: &NodeName, report: &GroupReport) -> Decision {
        match self.leaves_for(group, owner) {
            Some(Ok(node)) => {
                let record = Record { to: Some(node.clone()), ..group.record.clone() };
                let event = format!(
                    "group {} leaves node {owner}, which is drained, for {node}",
                    group.settings.name
                );
                return Decision::Commit { record, event, is_recovery: false };
            }
            Some(Err(why)) => return stay(GroupCondition::Online, why),
            None => {}
        }
        if group.settings.failback == Attribute::Automatic && self.held(group).is_none() {
            let whys = self.whys(group);
            let better = choose(&whys, None).filter(|node| self.is_before(group, node, owner));
            if let Some(node) = better.filter(|node| self.is_steady(now, node)) {
                let record = Record { to: Some(node.clone()), ..group.record.clone() };
                let event = format!("group {} goes back to node {node}", group.settings.name);
                return Decision::Commit { record, event, is_recovery: false };
            }
        }
        match &report.recovery.wish {
            Some(wish) => self.decide_wish(now, group, owner, wish),
            None => stay(GroupCondition::Online, report.reason.clone()),
        }
    }

    pub(super) fn is_before(&self, group: &Group, one: &NodeName, other: &NodeName) -> bool {
        let place = |node: &NodeName| group.settings.nodes.iter().position(|known| known == node);
        place(one) < place(other)
    }

    /// Whether the group is sent to a node that comes before its owner in its policy.
    pub(in crate::group) fn goes_back(&self, name: &GroupName, old: &Record, next: &Record) -> bool {
        let Some(group) = self.groups.get(name) else { return false };
        let ends = old.owner.as_ref().zip(next.to.as_ref());
        ends.is_some_and(|(owner, to)| self.is_before(group, to, owner))
    }

    fn is_steady(&self, now: Time, node: &NodeName) -> bool {
        let since = self.nodes.get(node).and_then(|node| node.steady_since);
        since.is_some_and(|since| now.since_ms(since) >= GROUP_FAILBACK_AFTER_MS)
    }

    fn is_online(&self, name: &GroupName) -> bool {
        self.groups.get(name).is_some_and(|group| group.condition == GroupCondition::Online)
    }

    /// Notes a failure that its node reports, once for each epoch.
    pub(super) fn count_failure(&mut self, now: Time, name: &GroupName) {
        let Some(group) = self.groups.get(name) else { return };
        let Some(owner) = group.record.owner.clone() else { return };
        let report = self.nodes.get(&owner).and_then(|node| node.report_of(group));
        let epoch = group.record.epoch;
        let is_failure = |report: &&GroupReport| report.state == GroupState::Failed && report.epoch == epoch;
        let Some(report) = report.filter(is_failure) else { return };
        let (why, restarts) = (report.reason.clone(), report.recovery.restarts);
        let is_wished = carried_out(report).is_some();
        let Some(group) = self.groups.get_mut(name) else { return };
        let failure = group.failures.entry(owner.clone()).or_insert_with(|| Failure {
            count: 0,
            why: String::new(),
            epoch: 0,
            at: now,
        });
        if failure.epoch == epoch {
            return;
        }
        if now.since_ms(failure.at) >= GROUP_FAILOVER_WINDOW_MS {
            failure.count = 0;
        }
        // Restarts in its place were tries too, and what left a node is not tried there again by itself for a while.
        let least = if is_wished { group.settings.restarts_max } else { restarts };
        failure.count = failure.count.max(least).saturating_add(1);
        failure.at = now;
        failure.epoch = epoch;
        failure.why.clone_from(&why);
        let text = format!("group {name} failed on node {owner}: {why}");
        if is_wished {
            return;
        }
        self.outputs.push(Output::Event { severity: Severity::Error, kind: "group-failed", text });
    }

    fn say(&mut self, now: Time, name: &GroupName, condition: GroupCondition, reason: String) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if group.condition != condition {
            group.since = now;
        }
        group.condition = condition;
        group.reason = reason;
        let this = (condition, group.record.owner.clone());
        if group.said.as_ref() == Some(&this) {
            return;
        }
        let node = group.record.owner.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
        let said = match condition {
            GroupCondition::Online => Some((Severity::Info, "group-online", format!("runs{node}"))),
            GroupCondition::Offline if group.said.is_some() => {
                Some((Severity::Info, "group-offline", "is stopped".to_owned()))
            }
            GroupCondition::Failed => {
                Some((Severity::Error, "group-down", format!("does not run: {}", group.reason)))
            }
            GroupCondition::Waiting => {
                // Without an owner nothing was lost.
                let is_lost = group.record.owner.is_some();
                let severity = if is_lost { Severity::Warning } else { Severity::Info };
                Some((severity, "group-waits", format!("waits: {}", group.reason)))
            }
            GroupCondition::Offline | GroupCondition::Starting | GroupCondition::Stopping => None,
        };
        group.said = Some(this);
        if let Some((severity, kind, text)) = said {
            self.outputs.push(Output::Event { severity, kind, text: format!("group {name} {text}") });
        }
    }

    /// When it must be looked at again even if nothing happens.
    pub(super) fn group_wakes(&self, group: &Group) -> Vec<Time> {
        // Then all that waits for agents which may still come is decided, and told.
        let mut wakes = vec![self.started_at + SETTLE_MS];
        if group.pending.is_none() && group.retry_at > self.started_at {
            wakes.push(group.retry_at);
        }
        let may_run_elsewhere = group.record.is_leased || !group.record.taken.is_empty();
        if may_run_elsewhere || group.record.owner.as_ref().is_some_and(|it| self.is_taken(it)) {
            wakes.push(self.trust_at);
        }
        if group.settings.failback == Attribute::Automatic && group.condition == GroupCondition::Online {
            let steady = group.settings.nodes.iter().filter_map(|node| self.nodes.get(node)?.steady_since);
            wakes.extend(steady.map(|since| since + GROUP_FAILBACK_AFTER_MS));
        }
        wakes.extend(Self::fence_wakes(group));
        wakes.retain(|at| *at > self.now);
        wakes
    }

    fn is_taken(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(|node| node.is_taken)
    }
}

/// For the log: what is committed without anything being moved.
fn what_changed(old: &Record, new: &Record) -> String {
    if old.class != new.class {
        return "its node has to be off before another may take it over from now on".into();
    }
    if old.is_leased != new.is_leased {
        return match new.is_leased {
            true => "its node needs a lease to run it from now on".into(),
            false => "its node needs no lease to run it any more".into(),
        };
    }
    let back: Vec<&str> = old.taken.difference(&new.taken).map(|node| node.0.as_str()).collect();
    format!("{} came back without it", back.join(", "))
}
