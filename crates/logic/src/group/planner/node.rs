//! A node as the planner of groups knows it.

use super::super::plan::Facts;
use super::super::record::Mark;
use super::{Group, Planner};
use crate::limits::GROUP_FAILOVER_WINDOW_MS;
use crate::time::Time;
use wire::group::{GroupAssignment, GroupClass, GroupReport, GroupState, GroupsReport};
use wire::id::NodeName;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub is_connected: bool,
    pub is_reachable: bool,
    /// It is taken over from only once somebody says that it is lost.
    pub is_mass: bool,
    /// It gets no lease until it is released.
    pub is_taken: bool,
    /// This leader has seen that; otherwise an earlier one.
    pub is_taken_here: bool,
    /// What it was told last on its present connection, and the number of that.
    pub sent: Option<(u64, Vec<GroupAssignment>)>,
    /// The newest of its present connection.
    pub report: Option<GroupsReport>,
    /// It has obeyed what it was told last, as that report shows.
    is_settled: bool,
    /// Since when it could run something without a break.
    pub steady_since: Option<Time>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            is_connected: false,
            is_reachable: true,
            is_mass: false,
            is_taken: false,
            is_taken_here: false,
            sent: None,
            report: None,
            is_settled: false,
            steady_since: None,
        }
    }
}

impl Node {
    pub fn connected(&mut self, now: Time) {
        self.is_connected = true;
        self.sent = None;
        self.report = None;
        self.is_settled = false;
        self.steady_since = Some(now);
    }

    pub fn lost(&mut self) {
        self.is_connected = false;
        self.sent = None;
        self.report = None;
        self.is_settled = false;
        self.steady_since = None;
    }

    pub fn take_report(&mut self, now: Time, generation: u64, report: GroupsReport) {
        if !self.is_connected {
            return;
        }
        let is_newer =
            |old: &GroupsReport| (old.incarnation, old.sequence) < (report.incarnation, report.sequence);
        if !self.report.as_ref().is_none_or(is_newer) {
            return;
        }
        let number = self.sent.as_ref().map(|(number, _)| *number);
        self.is_settled = report.generation == generation && Some(report.number) == number;
        let is_fit = report.has_lease && self.is_reachable && !self.is_taken;
        self.steady_since = self.steady_since.filter(|_| is_fit).or(is_fit.then_some(now));
        self.report = Some(report);
    }

    /// Its newest report shows what followed from all that it was told.
    pub fn is_settled(&self) -> bool {
        let number = self.sent.as_ref().map(|(number, _)| *number);
        self.is_settled && self.report.as_ref().map(|report| report.number) == number
    }

    pub fn report_of(&self, group: &Group) -> Option<&GroupReport> {
        let groups = &self.report.as_ref()?.groups;
        groups.iter().find(|report| report.name == group.settings.name)
    }

    pub fn is_told(&self, group: &Group) -> bool {
        let told = self.sent.iter().flat_map(|(_, groups)| groups);
        told.into_iter().any(|told| told.name == group.settings.name)
    }

    /// It has said that it runs this epoch of the group only as long as its lease allows, and that it had one then.
    pub fn obeys_lease(&self, group: &Group) -> bool {
        let Some(report) = self.report.as_ref().filter(|_| self.is_connected && self.is_settled()) else {
            return false;
        };
        let is_it = |told: &&GroupAssignment| told.name == group.settings.name;
        let told = self.sent.iter().flat_map(|(_, groups)| groups).find(is_it);
        let is_told = told.is_some_and(|told| told.is_leased && told.epoch == group.record.epoch);
        // Without a lease it ends what it holds, and that may take a while.
        let is_held = self.report_of(group).is_some_and(|report| is_held(report.state));
        is_told && (report.has_lease || !is_held)
    }

    /// It has obeyed everything, and holds nothing that it was not told to run.
    pub fn is_clean(&self) -> bool {
        let Some(report) = self.report.as_ref().filter(|_| self.is_connected && self.is_settled()) else {
            return false;
        };
        let told: Vec<_> = self.sent.iter().flat_map(|(_, groups)| groups).collect();
        report.groups.iter().all(|group| {
            let is_told = told.iter().any(|it| it.name == group.name && it.epoch == group.epoch);
            is_told || !is_held(group.state)
        })
    }
}

/// Whether something of the group may be there.
pub(super) fn is_held(state: GroupState) -> bool {
    match state {
        GroupState::Starting | GroupState::Online | GroupState::Stopping => true,
        GroupState::Waiting | GroupState::Stopped | GroupState::Failed | GroupState::Expired => false,
    }
}

impl Planner {
    /// Whether it is proven that nothing of the group runs on the node, and that nothing of it can begin to without a new
    /// word of this leader.
    pub(super) fn is_stopped(&self, now: Time, group: &Group, name: &NodeName) -> bool {
        if group.confirmed_off.as_ref() == Some(name) {
            return true;
        }
        let Some(node) = self.nodes.get(name) else { return false };
        if self.is_fenced(now, group, name) {
            return true;
        }
        if !node.is_connected || !node.is_settled() {
            return false;
        }
        let is_told = node.is_told(group);
        match node.report_of(group) {
            None => !is_told,
            Some(report) => match report.state {
                GroupState::Waiting => !is_told,
                // It runs no epoch twice.
                GroupState::Stopped | GroupState::Failed | GroupState::Expired => {
                    !is_told || report.epoch >= group.record.epoch
                }
                GroupState::Starting | GroupState::Online | GroupState::Stopping => false,
            },
        }
    }

    /// Whether the owner has given it back in good order, and nobody else can have anything of it: then who gets it next meets
    /// nobody. Less than `is_stopped` allows: what a lease or a person has proven is asked for once more, in the network.
    pub(super) fn has_let_go(&self, group: &Group) -> bool {
        let Some(name) = &group.record.owner else { return false };
        let Some(node) = self.nodes.get(name) else { return false };
        let is_gone = match node.report_of(group).map(|report| report.state) {
            None | Some(GroupState::Stopped) => true,
            Some(
                GroupState::Waiting
                | GroupState::Starting
                | GroupState::Online
                | GroupState::Stopping
                | GroupState::Failed
                | GroupState::Expired,
            ) => false,
        };
        let is_alone = group.claims.is_empty() && group.record.taken.is_empty() && !node.is_taken;
        let has_obeyed = node.is_connected && node.is_settled() && !node.is_told(group);
        is_alone && has_obeyed && is_gone && group.confirmed_off.is_none()
    }

    /// Who begins later than at once has to ask.
    pub(super) fn forget_handed_over(&mut self, node: &NodeName) {
        let of_node = |group: &&mut Group| group.record.owner.as_ref() == Some(node);
        self.groups.values_mut().filter(of_node).for_each(|group| group.handed_over = None);
    }

    /// Whether the node has ended the group for certain, though it does not say so: its lease was taken from it, and where
    /// that is not enough it is off as well.
    pub(super) fn is_fenced(&self, now: Time, group: &Group, name: &NodeName) -> bool {
        let is_proven = match group.class() {
            GroupClass::Soft => true,
            GroupClass::Hard => group.record.owner.as_ref() == Some(name) && group.record.mark == Mark::Off,
        };
        is_proven && self.is_lease_over(now, group, name)
    }

    /// Whether the node's lease was taken from it, which ends what it needs one for.
    pub(super) fn is_lease_over(&self, now: Time, group: &Group, name: &NodeName) -> bool {
        let is_sure = |node: &super::Node| node.is_taken && (node.is_taken_here || now >= self.trust_at);
        group.record.is_leased && self.nodes.get(name).is_some_and(is_sure)
    }

    pub(super) fn facts(&self, group: &Group, name: &NodeName) -> Facts {
        let is_owner = group.record.owner.as_ref() == Some(name);
        let failed = group.failures.get(name);
        let failed = failed.filter(|failure| {
            let is_recent = self.now.since_ms(failure.at) < GROUP_FAILOVER_WINDOW_MS;
            is_recent && failure.count > group.settings.restarts_max
        });
        let failed = failed.map(|failure| (failure.count, failure.why.clone()));
        let apart_from = self.apart_from(group, name);
        let ailment = self.ailment(group, name);
        let wish = self.wish_of(name);
        let (is_drained, is_in_maintenance) = (wish.is_drained(), wish.is_in_maintenance);
        let Some(node) = self.nodes.get(name) else {
            let base = Facts { is_owner, is_drained, is_in_maintenance, ..Facts::default() };
            return Facts { is_reachable: true, failed, apart_from, ailment, ..base };
        };
        let has_lease = node.report.as_ref().is_some_and(|report| report.has_lease);
        Facts {
            is_owner,
            is_connected: node.is_connected,
            has_reported: node.report.is_some(),
            is_reachable: node.is_reachable,
            is_taken: node.is_taken,
            lacks_lease: group.settings.is_leased() && !has_lease,
            failed,
            is_drained,
            is_in_maintenance,
            apart_from,
            ailment,
        }
    }

    fn apart_from(&self, group: &Group, node: &NodeName) -> Option<String> {
        let is_apart = |other: &&Group| {
            let (one, two) = (&group.settings, &other.settings);
            one.name != two.name && (one.apart.contains(&two.name) || two.apart.contains(&one.name))
        };
        let mut others = self.groups.values().filter(is_apart);
        let is_there = |other: &&Group| {
            let next = other.pending.as_ref().and_then(|pending| pending.record.as_ref());
            [Some(&other.record), next]
                .into_iter()
                .flatten()
                .any(|record| record.owner.as_ref() == Some(node))
        };
        others.find(is_there).map(|other| other.settings.name.0.clone())
    }
}
