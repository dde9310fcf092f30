//! What the leader makes of a node's wish to recover a group: grants it, or lets the group stay as it is and says why.
//!
//! Nothing is granted that would make things worse: a group leaves a node, and a node ends its service, only while another node
//! can run the group and no monitor speaks against it there. What was granted is carried out by the node, which then reports the
//! group as failed; from there on it is the leader's to place, also a next leader's.

use super::super::plan::{against, choose, choose_well};
use super::super::record::{Record, Wish};
use super::decide::{Decision, stay};
use super::{Group, Output, Planner};
use crate::limits::{GROUP_FAILOVER_WINDOW_MS, SETTLE_MS};
use crate::time::Time;
use wire::group::{
    Ailment, Attribute, GroupCondition, GroupReport, NodeWhy, RecoveryAct, RecoveryWish, StartCause,
};
use wire::id::{GroupName, NodeName};
use wire::monitor::FinalAction;
use wire::status::Severity;

/// What this leader knows of the recovery of a group.
#[derive(Debug, Clone, Default)]
pub(super) struct Recovering {
    /// Of this owner, in this epoch, the wish of this number.
    granted: Option<(NodeName, u64, u64)>,
    /// Restarts that people were told of, of this owner in this epoch.
    told_acts: Option<(NodeName, u64, u64)>,
    /// What people were told was not stopped in good order, by this owner in this epoch.
    told_stop: Option<(NodeName, u64, String)>,
    /// The wish that people were told is not granted.
    told_refusal: Option<(NodeName, u64)>,
    /// A final action has stopped it.
    stopped: Option<String>,
}

impl Recovering {
    /// Why nobody wants it to run.
    pub fn why_stopped(&self) -> String {
        let stopped = self.stopped.as_ref();
        stopped.map_or_else(
            || "nobody wants it to run".to_owned(),
            |why| format!("stopped by a final action: {why}"),
        )
    }

    /// A person has decided anew.
    pub fn forget_stop(&mut self) {
        self.stopped = None;
    }
}

/// The wish that was granted and that this report is the end of.
pub(super) fn carried_out(report: &GroupReport) -> Option<&RecoveryWish> {
    report.recovery.wish.as_ref().filter(|wish| wish.is_granted)
}

impl Planner {
    /// A monitor that speaks against the group on a node.
    pub(super) fn ailment(&self, group: &Group, node: &NodeName) -> Option<String> {
        let report = self.nodes.get(node)?.report.as_ref()?;
        let is_of_it =
            |ailment: &&Ailment| ailment.group.as_ref().is_none_or(|name| *name == group.settings.name);
        let ailment = report.ailments.iter().find(is_of_it)?;
        Some(format!("monitor {} is in error there: {}", ailment.monitor, ailment.why))
    }

    /// The number of the wish that its owner may carry out.
    pub(super) fn granted(&self, group: &Group) -> Option<u64> {
        let (owner, epoch, number) = group.recovering.granted.as_ref()?;
        let record = &group.record;
        (record.owner.as_ref() == Some(owner) && record.epoch == *epoch).then_some(*number)
    }

    /// What this node was granted is not what it wishes next.
    pub(super) fn forget_grants(&mut self, node: &NodeName) {
        for group in self.groups.values_mut() {
            group.recovering.granted.take_if(|(owner, _, _)| owner == node);
        }
    }

    /// Tells people of what a node could not stop in good order.
    pub(super) fn tell_stops(&mut self, name: &GroupName) {
        let Some(group) = self.groups.get(name) else { return };
        let Some(owner) = group.record.owner.clone() else { return };
        let Some(report) = self.nodes.get(&owner).and_then(|node| node.report_of(group)) else { return };
        let Some(why) = report.recovery.not_stopped.clone() else { return };
        let this = (owner, report.epoch, why);
        if group.recovering.told_stop.as_ref() == Some(&this) {
            return;
        }
        let text = format!("group {name} on node {}: {}", this.0, this.2);
        let Some(group) = self.groups.get_mut(name) else { return };
        group.recovering.told_stop = Some(this);
        self.outputs.push(Output::Event { severity: Severity::Warning, kind: "group-stop-failed", text });
    }

    /// Tells people of restarts that a node has made by itself.
    pub(super) fn tell_recovery(&mut self, name: &GroupName) {
        let Some(group) = self.groups.get(name) else { return };
        let Some(owner) = group.record.owner.clone() else { return };
        let Some(report) = self.nodes.get(&owner).and_then(|node| node.report_of(group)) else { return };
        let (epoch, acts) = (report.epoch, report.recovery.acts);
        let told = group.recovering.told_acts.as_ref();
        let told = told.filter(|(node, of, _)| (node, *of) == (&owner, epoch)).map(|(_, _, acts)| *acts);
        if told == Some(acts) || (acts == 0 && told.is_none()) {
            return;
        }
        let last = report.recovery.last.clone();
        let Some(group) = self.groups.get_mut(name) else { return };
        group.recovering.told_acts = Some((owner.clone(), epoch, acts));
        let text = format!("group {name} was restarted in its place on node {owner}: {last}");
        self.outputs.push(Output::Event { severity: Severity::Warning, kind: "group-restarted", text });
    }

    /// Its owner runs it, and wishes something.
    pub(super) fn decide_wish(
        &self,
        now: Time,
        group: &Group,
        owner: &NodeName,
        wish: &RecoveryWish,
    ) -> Decision {
        let why = &wish.why;
        if wish.is_granted || self.granted(group) == Some(wish.number) {
            return stay(GroupCondition::Online, format!("{why}; node {owner} {}", what_it_does(wish.act)));
        }
        match self.objection(now, group, owner, wish.act) {
            None => Decision::Grant {
                number: wish.number,
                event: format!(
                    "group {} on node {owner}: {why}; it {}",
                    group.settings.name,
                    what_it_does(wish.act)
                ),
            },
            Some(objection) => Decision::Refuse { number: wish.number, why: why.clone(), objection },
        }
    }

    /// What speaks against it; None: nothing.
    fn objection(&self, now: Time, group: &Group, owner: &NodeName, act: RecoveryAct) -> Option<String> {
        if let Some(held) = self.held(group) {
            return Some(held);
        }
        match act {
            RecoveryAct::Final(FinalAction::None | FinalAction::StopGroup) => return None,
            RecoveryAct::FailOver
            | RecoveryAct::Final(FinalAction::StopService | FinalAction::Shutdown | FinalAction::Reboot) => {}
        }
        if group.settings.failover == Attribute::Manual {
            return Some("it goes to another node by a person's word only".into());
        }
        let most = group.settings.failovers_max;
        let recent = group.failovers.iter().filter(|at| now.since_ms(**at) < GROUP_FAILOVER_WINDOW_MS);
        if act == RecoveryAct::FailOver && recent.count() >= most as usize {
            return Some(format!("it has gone to another node {most} times within an hour"));
        }
        let whys = self.unblamed(group);
        match choose_well(&whys, Some(owner)) {
            Some(_) => None,
            None => Some(format!("no other node could run it better: {}", against(&whys, Some(owner)))),
        }
    }

    /// As each node is now: that something of the group failed there before is no reason to leave it where it fails for certain.
    fn unblamed(&self, group: &Group) -> Vec<NodeWhy> {
        let mut group = group.clone();
        group.failures.clear();
        self.whys(&group)
    }

    pub(super) fn grant_wish(&mut self, name: &GroupName, number: u64, event: String) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let Some(owner) = group.record.owner.clone() else { return };
        group.recovering.granted = Some((owner, group.record.epoch, number));
        group.recovering.told_refusal = None;
        self.outputs.push(Output::Event { severity: Severity::Warning, kind: "group-recovery", text: event });
    }

    /// It stays as it is, which people are told once for each wish. A leader that has just begun does not know yet who is able.
    pub(super) fn refuse_wish(
        &mut self,
        now: Time,
        name: &GroupName,
        number: u64,
        why: &str,
        objection: &str,
    ) {
        if now < self.started_at + SETTLE_MS {
            return;
        }
        let Some(group) = self.groups.get_mut(name) else { return };
        let Some(owner) = group.record.owner.clone() else { return };
        let this = (owner.clone(), number);
        if group.recovering.told_refusal.as_ref() == Some(&this) {
            return;
        }
        group.recovering.told_refusal = Some(this);
        let text = format!("group {name} stays on node {owner}, though {why}: {objection}");
        let kind = "group-recovery-suppressed";
        self.outputs.push(Output::Event { severity: Severity::Error, kind, text });
    }

    /// Nothing of it is left on its owner, which has carried out a wish.
    pub(super) fn decide_recovered(&self, group: &Group, owner: &NodeName, wish: &RecoveryWish) -> Decision {
        let why = &wish.why;
        if let Some(held) = self.held(group) {
            return stay(GroupCondition::Failed, format!("{why}; {held}"));
        }
        if wish.act == RecoveryAct::Final(FinalAction::StopGroup) {
            let owner = Some(owner.clone());
            let record = Record {
                wish: Some(Wish::Stop),
                to: None,
                owner: None,
                previous: owner,
                ..group.record.clone()
            };
            let event = format!("group {} was stopped by a final action: {why}", group.settings.name);
            return Decision::Commit { record, event, is_recovery: false };
        }
        let whys = self.unblamed(group);
        if let Some(node) = choose(&whys, Some(owner)) {
            return match self.give(group, node, StartCause::Failover, why) {
                Decision::Commit { record, event, .. } => {
                    Decision::Commit { record, event, is_recovery: true }
                }
                other => other,
            };
        }
        // It ran there, and those that could have it better are gone meanwhile.
        if whys.iter().any(|it| it.node == *owner && it.is_able) {
            return self.give(
                group,
                owner,
                StartCause::Again,
                &format!("{why}; no other node can run it now"),
            );
        }
        let others = against(&whys, None);
        stay(GroupCondition::Failed, format!("{why}; no node can run it: {others}"))
    }

    /// People shall find out later why it was stopped.
    pub(super) fn note_stop(&mut self, name: &GroupName) {
        let Some(group) = self.groups.get(name) else { return };
        let Some(owner) = &group.record.owner else { return };
        let report = self.nodes.get(owner).and_then(|node| node.report_of(group));
        let wish = report.and_then(carried_out);
        let stopped = wish.filter(|wish| wish.act == RecoveryAct::Final(FinalAction::StopGroup));
        let why = stopped.map(|wish| wish.why.clone());
        if let (Some(why), Some(group)) = (why, self.groups.get_mut(name)) {
            group.recovering.stopped = Some(why);
        }
    }
}

fn what_it_does(act: RecoveryAct) -> &'static str {
    match act {
        RecoveryAct::FailOver => "leaves that node",
        RecoveryAct::Final(FinalAction::None | FinalAction::StopGroup) => "is stopped",
        RecoveryAct::Final(FinalAction::StopService) => "leaves that node, whose service is stopped",
        RecoveryAct::Final(FinalAction::Shutdown) => "leaves that node, which is shut down",
        RecoveryAct::Final(FinalAction::Reboot) => "leaves that node, which is rebooted",
    }
}
