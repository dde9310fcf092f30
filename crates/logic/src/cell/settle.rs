//! After each input: judges members, publishes views, moves operations on, and says what changed.
//!
//! Repeats until nothing moves, so that an input has its whole effect in one step.

use super::cluster::Cluster;
use super::member::Member;
use super::node::Agent;
use super::record::{self, Record, Seen};
use super::{Cell, Output};
use crate::limits::{SETTLE_MS, SETTLE_PASSES_MAX};
use crate::rollout::{Cause, Choice, Goal, Phase, Progress, Rollout, Step, choose, next_step};
use crate::run_state::{AgentLink, Reason, Wish};
use crate::time::Time;
use wire::agent::{Run, Want};
use wire::id::{MemberName, NodeName};
use wire::status::Severity;
use wire::view::RunState;

impl Cell {
    pub(super) fn settle(&mut self, now: Time) {
        self.now = now;
        let mut clusters = std::mem::take(&mut self.clusters);
        for cluster in &mut clusters {
            if cluster.is_dirty || cluster.is_busy || !cluster.is_published {
                self.settle_cluster(now, cluster);
            }
        }
        let before = clusters.len();
        clusters.retain(|cluster| {
            let is_gone = cluster.is_leaving && cluster.members.is_empty();
            if is_gone {
                self.number_floor = self.number_floor.max(cluster.keeper.view().epoch.number);
            }
            !is_gone
        });
        self.is_cluster_list_new |= clusters.len() != before;
        self.clusters = clusters;
        self.tell_routers();
        self.assign();
    }

    fn settle_cluster(&mut self, now: Time, cluster: &mut Cluster) {
        cluster.is_dirty = false;
        let mut passes = 0;
        loop {
            self.judge_members(now, cluster);
            self.publish(now, cluster);
            let is_moved = self.remove_members(now, cluster)
                | self.advance_members(now, cluster)
                | self.advance_rollout(now, cluster);
            if !is_moved {
                break;
            }
            cluster.forget_places();
            passes += 1;
            assert!(passes < SETTLE_PASSES_MAX, "operations on {} go in circles", cluster.name);
        }
        self.remember(cluster);
        cluster.is_busy = cluster.may_move();
    }

    fn link(&self, node: &NodeName) -> AgentLink {
        match self.agents.get(node) {
            Some(agent) if agent.newest.is_none() => AgentLink::NotHeard,
            Some(agent) if agent.is_connected => AgentLink::Connected,
            Some(_) => AgentLink::Lost,
            None => AgentLink::NotHeard,
        }
    }

    /// Whether what is known of the members there is fresh, and they can be told something.
    pub(super) fn is_in_touch(&self, node: &NodeName) -> bool {
        let is_away = || self.agents.get(node).is_some_and(Agent::is_away);
        self.link(node) == AgentLink::Connected && !is_away()
    }

    /// Whether its heartbeats have stopped since this manager listens: nobody waits for its report.
    fn is_found_lost(&self, node: &NodeName) -> bool {
        self.agents.get(node).is_some_and(|agent| agent.is_away() && agent.reach_since.is_some())
    }

    fn judge_members(&mut self, now: Time, cluster: &mut Cluster) {
        for member in &mut cluster.members {
            let link = self.link(&member.settings.node);
            let away = self.is_taken_along(member);
            let is_drained = self.wish_of(&member.settings.node).is_drained();
            if !member.judge(now, link, away, is_drained) {
                continue;
            }
            let (severity, kind) = change(member.state, &member.reason);
            self.outputs.push(Output::Event {
                severity,
                kind,
                cluster: Some(cluster.name.clone()),
                member: Some(member.settings.name.clone()),
                text: format!(
                    "{}/{} is {}: {}",
                    cluster.name, member.settings.name, member.state, member.reason
                ),
            });
        }
    }

    fn publish(&mut self, now: Time, cluster: &mut Cluster) {
        let is_settled = self.started.is_some_and(|at| now >= at + SETTLE_MS);
        let mut nodes = cluster.members.iter().map(|member| &member.settings.node);
        let is_known = |node| self.is_in_touch(node) || self.is_found_lost(node);
        let may_publish = cluster.is_published || is_settled || nodes.all(is_known);
        if !may_publish {
            return;
        }
        // With nobody left, those that may only seem to be away are better than none.
        let is_empty = !cluster.members.iter().any(Member::serves);
        let members = cluster.members.iter().map(|member| member.view(is_empty)).collect();
        let view = cluster.offer(members);
        if let Some(view) = view {
            self.outputs.push(Output::Publish { to: None, view: view.clone() });
        }
        cluster.is_published = true;
        let epoch = cluster.keeper.view().epoch;
        for member in &mut cluster.members {
            if let Phase::Out { .. } = member.phase {
                member.out_epoch.get_or_insert(epoch);
            }
        }
    }

    /// Begins to take out members that are no longer configured, once the cluster can do without them.
    fn remove_members(&mut self, now: Time, cluster: &mut Cluster) -> bool {
        let mut staying = cluster.members.iter().filter(|member| !member.is_leaving).peekable();
        let nobody_stays = !staying.clone().any(|member| member.wish != Wish::Stop);
        let is_replaced = staying.any(|member| member.is_up() && self.is_in_touch(&member.settings.node));
        let may_serve_go = cluster.is_leaving || nobody_stays || is_replaced;
        let mut is_moved = false;
        for position in 0..cluster.members.len() {
            let member = &mut cluster.members[position];
            if !member.is_leaving {
                continue;
            }
            match member.phase {
                Phase::Draining { goal: Goal::Remove, .. } | Phase::Out { goal: Goal::Remove, .. } => {}
                Phase::Out { until, .. } => {
                    member.phase = Phase::Out { until, goal: Goal::Remove };
                    is_moved = true;
                }
                Phase::Steady | Phase::Returning { .. } | Phase::Draining { .. } => {
                    if member.serves() && !may_serve_go {
                        continue;
                    }
                    self.begin(now, cluster, position, Goal::Remove);
                    is_moved = true;
                }
            }
        }
        is_moved
    }

    /// Begins to take a member out: first its conversations may end, if there are any and time is given for them.
    pub(super) fn begin(&self, now: Time, cluster: &mut Cluster, position: usize, goal: Goal) {
        let member = &mut cluster.members[position];
        let lets_end = cluster.affinity.is_some() && cluster.drain_ms > 0 && !cluster.is_leaving;
        // An operator who has drained it before has already waited for its conversations.
        if lets_end && member.is_up() && self.has_conversations(now, &cluster.name, &member.settings.name) {
            member.phase = Phase::Draining { until: now + cluster.drain_ms, goal };
        } else {
            member.take_out(now, goal);
        }
    }

    fn advance_members(&mut self, now: Time, cluster: &mut Cluster) -> bool {
        let mut is_moved = false;
        let mut position = 0;
        while position < cluster.members.len() {
            let member = &cluster.members[position];
            if member.phase == Phase::Steady {
                // Nothing is being done to it. What routers report of all members takes long to look through.
                position += 1;
                continue;
            }
            let name = &member.settings.name;
            let is_quiet = match (member.phase, member.out_epoch) {
                (Phase::Out { .. }, Some(epoch)) => self.is_quiet(now, &cluster.name, name, epoch),
                (_, _) => false,
            };
            let progress = Progress {
                now,
                has_conversations: self.has_conversations(now, &cluster.name, name),
                is_quiet,
                state: member.state,
                is_current: member.is_current(),
            };
            let step = next_step(member.phase, &progress);
            is_moved |= step != Step::Stay;
            if !self.take_step(now, cluster, position, step) {
                position += 1;
            }
        }
        is_moved
    }

    /// Carries out a step; whether the member is gone.
    fn take_step(&mut self, now: Time, cluster: &mut Cluster, position: usize, step: Step) -> bool {
        let name = cluster.members[position].settings.name.clone();
        let member = &mut cluster.members[position];
        match step {
            Step::Stay => {}
            Step::TakeOut(goal) => member.take_out(now, goal),
            Step::Reach { goal, in_time } => {
                if !in_time {
                    let grace_ms = member.grace_ms();
                    let text = format!(
                        "{}/{name} is {} although requests may be under way: they had {grace_ms} ms",
                        cluster.name,
                        goal.participle()
                    );
                    self.member_event(Severity::Warning, "requests-cut", cluster, position, text);
                }
                return self.reach(now, cluster, position, goal);
            }
            Step::Returned => {
                member.phase = Phase::Steady;
                if let Some(rollout) = &mut cluster.rollout
                    && rollout.current.as_ref() == Some(&name)
                {
                    rollout.current = None;
                    rollout.done += 1;
                }
            }
            Step::Missing(setback) => {
                member.phase = Phase::Steady;
                let mut text = format!("{}/{name} did not come back: {setback}", cluster.name);
                if cluster.rollout.as_ref().is_some_and(|rollout| rollout.current.as_ref() == Some(&name)) {
                    text += "; no further member is restarted";
                    cluster.rollout = None;
                    cluster.setback = Some(text.clone());
                }
                self.member_event(Severity::Error, "restart-failed", cluster, position, text);
            }
        }
        false
    }

    /// Does what a member was taken out for; whether the member is gone.
    fn reach(&mut self, now: Time, cluster: &mut Cluster, position: usize, goal: Goal) -> bool {
        let member = &mut cluster.members[position];
        self.unassigned.insert(member.settings.node.clone());
        member.out_epoch = None;
        match goal {
            Goal::Stop => {
                member.phase = Phase::Steady;
                // An external member is only out of rotation and goes on being probed.
                if let Run::Managed(_) = member.settings.run {
                    member.want = Want::Stopped;
                }
                member.take_next();
                self.unassigned.insert(member.settings.node.clone());
            }
            Goal::Restart => {
                member.renew();
                self.unassigned.insert(member.settings.node.clone());
                member.phase = Phase::Returning { until: now + member.return_ms() };
            }
            Goal::Remove => {
                let member = cluster.members.remove(position);
                let name = &member.settings.name;
                for key in [record::member_key(&cluster.name, name), record::seen_key(&cluster.name, name)] {
                    self.outputs.push(Output::Remember { key, value: None });
                }
                self.raise_instance_floor(member.instance);
                return true;
            }
        }
        false
    }

    fn advance_rollout(&mut self, now: Time, cluster: &mut Cluster) -> bool {
        if cluster.rollout.is_none() && cluster.setback.is_none() && !cluster.is_leaving {
            cluster.rollout = Self::configuration_rollout(cluster);
        }
        let Some(mut rollout) = cluster.rollout.take() else { return false };
        prune(&mut rollout, cluster);
        if rollout.current.is_some() {
            cluster.rollout = Some(rollout);
            return false;
        }
        let staying = cluster.members.iter().filter(|member| !member.is_leaving);
        let candidates: Vec<_> = staying
            .map(|member| {
                let mut candidate = member.candidate(rollout.left.contains(&member.settings.name));
                // Without its agent it could be taken out, but not be brought back; and that it is up is hearsay.
                if !self.is_in_touch(&member.settings.node) {
                    candidate.is_busy = true;
                    candidate.is_up = false;
                }
                candidate
            })
            .collect();
        match choose(rollout.cause, &candidates) {
            Choice::Take(name) => {
                rollout.left.retain(|left| *left != name);
                rollout.current = Some(name.clone());
                rollout.waits_for = None;
                cluster.rollout = Some(rollout);
                let position = cluster.members.iter().position(|member| member.settings.name == name);
                self.begin(now, cluster, position.expect("candidates are members"), Goal::Restart);
                true
            }
            Choice::Wait(reason) => {
                rollout.waits_for = Some(reason);
                cluster.rollout = Some(rollout);
                false
            }
            Choice::Stop(reason) => {
                let text = format!(
                    "the restart of cluster {} stopped after {} of {} members: {reason}",
                    cluster.name,
                    rollout.done,
                    rollout.total()
                );
                cluster.setback = Some(text.clone());
                self.cluster_event(Severity::Error, "restart-failed", cluster, text);
                true
            }
            Choice::Finished => {
                if rollout.done > 0 {
                    let text = format!("cluster {}: {} members were restarted", cluster.name, rollout.done);
                    self.cluster_event(Severity::Info, "restart-finished", cluster, text);
                }
                true
            }
        }
    }

    /// The members whose processes run with other settings than they should, if any.
    fn configuration_rollout(cluster: &Cluster) -> Option<Rollout> {
        let outdated =
            cluster.members.iter().filter(|member| member.needs_restart() && member.wish != Wish::Stop);
        let left: Vec<_> = outdated.map(|member| member.settings.name.clone()).collect();
        let cause = Cause::Configuration;
        (!left.is_empty()).then_some(Rollout { cause, left, current: None, done: 0, waits_for: None })
    }

    fn remember(&mut self, cluster: &mut Cluster) {
        for member in &mut cluster.members {
            let record = Record::of(member);
            if member.recorded != Some(record) {
                member.recorded = Some(record);
                let key = record::member_key(&cluster.name, &member.settings.name);
                self.outputs.push(Output::Remember { key, value: Some(record.to_string()) });
            }
            let seen = Seen { state: member.observed, address: member.address };
            if member.recorded_seen != Some(seen) && seen.state != RunState::Unknown {
                member.recorded_seen = Some(seen);
                let key = record::seen_key(&cluster.name, &member.settings.name);
                self.outputs.push(Output::Remember { key, value: Some(seen.to_string()) });
            }
        }
    }

    /// Routes after views, so that no route leads to a cluster that is not there yet.
    fn tell_routers(&mut self) {
        for name in std::mem::take(&mut self.unset) {
            let is_connected = self.routers.get(&name).is_some_and(|router| router.is_connected);
            if let Some(settings) = self.settings_of(&name).filter(|_| is_connected) {
                self.outputs.push(Output::RouterSettings { router: name, settings });
            }
        }
        if std::mem::take(&mut self.is_cluster_list_new) {
            let names = self.cluster_names();
            self.outputs.push(Output::Clusters { to: None, names });
        }
    }

    fn assign(&mut self) {
        for node in std::mem::take(&mut self.unassigned) {
            let Some(agent) = self.agents.get_mut(&node).filter(|agent| agent.is_connected) else { continue };
            let mut assignments = Vec::new();
            for cluster in &mut self.clusters {
                let name = cluster.name.clone();
                let here = cluster.members_of(&node).into_iter();
                assignments.extend(here.map(|member| member.assignment(&name)));
            }
            if agent.assigned.as_ref() != Some(&assignments) {
                agent.assigned = Some(assignments.clone());
                self.outputs.push(Output::Assign { node, assignments });
            }
        }
    }

    fn member_event(
        &mut self,
        severity: Severity,
        kind: &'static str,
        cluster: &Cluster,
        position: usize,
        text: String,
    ) {
        let member = Some(cluster.members[position].settings.name.clone());
        let cluster = Some(cluster.name.clone());
        self.outputs.push(Output::Event { severity, kind, cluster, member, text });
    }

    fn cluster_event(&mut self, severity: Severity, kind: &'static str, cluster: &Cluster, text: String) {
        let cluster = Some(cluster.name.clone());
        self.outputs.push(Output::Event { severity, kind, cluster, member: None, text });
    }
}

/// Drops members that the rollout no longer concerns: gone, stopped, overtaken by an operator or up to date.
fn prune(rollout: &mut Rollout, cluster: &Cluster) {
    let find = |name: &MemberName| {
        cluster.members.iter().find(|member| member.settings.name == *name && !member.is_leaving)
    };
    rollout.left.retain(|name| {
        find(name).is_some_and(|member| {
            member.wish != Wish::Stop && (rollout.cause == Cause::Operator || member.needs_restart())
        })
    });
    let is_on = rollout.current.as_ref().and_then(find).is_some_and(|member| {
        matches!(
            member.phase,
            Phase::Draining { goal: Goal::Restart, .. }
                | Phase::Out { goal: Goal::Restart, .. }
                | Phase::Returning { .. }
        )
    });
    if !is_on {
        rollout.current = None;
    }
}

/// How the event of a new run state is called, and how bad it is.
fn change(state: RunState, reason: &Reason) -> (Severity, &'static str) {
    let is_planned = matches!(reason, Reason::TakenOut(_) | Reason::Stopped | Reason::OutOfRotation)
        || matches!(reason, Reason::ProcessStops(_));
    match state {
        RunState::Unknown => (Severity::Warning, "member-unknown"),
        RunState::Starting => (Severity::Info, "member-starting"),
        RunState::Up => (Severity::Info, "member-up"),
        RunState::Draining => (Severity::Info, "member-draining"),
        RunState::Down if is_planned => (Severity::Info, "member-down"),
        RunState::Down => (Severity::Warning, "member-down"),
        RunState::Failed => (Severity::Error, "member-failed"),
    }
}
