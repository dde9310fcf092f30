//! Takes an operator's wish for a cluster or one of its members: grants it, or refuses with a code and a reason.

use super::cluster::Cluster;
use super::{Cell, Output, Refusal};
use crate::rollout::{Cause, Choice, Goal, Phase, Rollout, choose};
use crate::run_state::Wish;
use crate::time::Time;
use wire::agent::Want;
use wire::error_code::{ACT_MAKES_NO_SENSE, ErrorCode, NO_SUCH_CLUSTER, NO_SUCH_MEMBER};
use wire::id::{ClusterName, MemberName};
use wire::status::{Act, Severity};
use wire::view::RunState;

impl Cell {
    pub(super) fn operate(
        &mut self,
        now: Time,
        who: &str,
        cluster: &ClusterName,
        member: Option<&MemberName>,
        act: Act,
    ) -> Result<String, Refusal> {
        let Some(position) = self.clusters.iter().position(|known| known.name == *cluster) else {
            let names = list(self.clusters.iter().map(|known| &known.name.0));
            return Err(refuse(NO_SUCH_CLUSTER, format!("there is no cluster {cluster}; there is {names}")));
        };
        if self.clusters[position].is_leaving {
            return Err(refuse(ACT_MAKES_NO_SENSE, format!("cluster {cluster} is being removed")));
        }
        // Taken out so that the rest of the cell can be read meanwhile; nothing in between returns early.
        let mut taken = self.clusters.remove(position);
        let result = match member {
            Some(member) => self.operate_member(now, &mut taken, member, act),
            None => self.operate_cluster(now, &mut taken, act),
        };
        taken.is_dirty = true;
        taken.forget_places();
        self.clusters.insert(position, taken);
        if result.is_ok() {
            let on = member.map(|member| format!("{cluster}/{member}"));
            let on = on.unwrap_or_else(|| format!("cluster {cluster}"));
            self.outputs.push(Output::Event {
                severity: Severity::Info,
                kind: "operator",
                cluster: Some(cluster.clone()),
                member: member.cloned(),
                text: format!("{who} asked to {} {on}", verb(act)),
            });
        }
        result
    }

    fn operate_member(
        &mut self,
        now: Time,
        cluster: &mut Cluster,
        name: &MemberName,
        act: Act,
    ) -> Result<String, Refusal> {
        let Some(position) = cluster.members.iter().position(|member| member.settings.name == *name) else {
            let names = list(cluster.members.iter().map(|member| &member.settings.name.0));
            let message = format!("there is no member {name} in cluster {}; there is {names}", cluster.name);
            return Err(refuse(NO_SUCH_MEMBER, message));
        };
        if cluster.members[position].is_leaving {
            return Err(refuse(ACT_MAKES_NO_SENSE, format!("{}/{name} is being removed", cluster.name)));
        }
        match act {
            Act::Start => Ok(self.start(cluster, position)),
            Act::Stop => Ok(self.stop(now, cluster, position)),
            Act::Drain => drain(cluster, position),
            Act::Restart => self.restart(now, cluster, position),
        }
    }

    fn start(&mut self, cluster: &mut Cluster, position: usize) -> String {
        cluster.setback = None;
        let member = &mut cluster.members[position];
        let name = format!("{}/{}", cluster.name, member.settings.name);
        let has_failed = member.state == RunState::Failed;
        let is_external = member.is_external();
        if member.wish == Wish::Run && !has_failed {
            return format!("{name} is {} already", if member.is_up() { "running" } else { "being started" });
        }
        let old_wish = std::mem::replace(&mut member.wish, Wish::Run);
        if let Phase::Draining { goal: Goal::Stop, .. } | Phase::Out { goal: Goal::Stop, .. } = member.phase {
            member.phase = Phase::Steady;
            member.out_epoch = None;
        }
        // Once told to stop, the process is lost even if its last report still says that it runs.
        if has_failed || member.want == Want::Stopped {
            member.renew();
            self.unassigned.insert(member.settings.node.clone());
            return format!("{name} is being started");
        }
        match old_wish {
            Wish::Stop if is_external => format!("{name} takes requests again"),
            Wish::Stop => format!("{name} is no longer being stopped"),
            Wish::Drain | Wish::Run => format!("{name} takes new conversations again"),
        }
    }

    fn stop(&self, now: Time, cluster: &mut Cluster, position: usize) -> String {
        let member = &mut cluster.members[position];
        let name = format!("{}/{}", cluster.name, member.settings.name);
        if member.wish == Wish::Stop {
            return format!("{name} is stopped or being stopped already");
        }
        member.wish = Wish::Stop;
        let is_restarted = matches!(
            member.phase,
            Phase::Returning { .. }
                | Phase::Draining { goal: Goal::Restart, .. }
                | Phase::Out { goal: Goal::Restart, .. }
        );
        if is_restarted {
            // Whoever waits for the restart hears that it will not come about.
            cluster.setback = Some(format!("{name} is being stopped, so its restart is given up"));
        }
        match &mut member.phase {
            Phase::Draining { goal, .. } | Phase::Out { goal, .. } => *goal = Goal::Stop,
            Phase::Steady | Phase::Returning { .. } => self.begin(now, cluster, position, Goal::Stop),
        }
        format!("{name} is being stopped")
    }

    fn restart(&mut self, now: Time, cluster: &mut Cluster, position: usize) -> Result<String, Refusal> {
        let member = &cluster.members[position];
        let name = format!("{}/{}", cluster.name, member.settings.name);
        if member.is_external() {
            return Err(refuse(
                ACT_MAKES_NO_SENSE,
                format!("{name} runs elsewhere; Muster cannot restart it"),
            ));
        }
        if member.wish == Wish::Stop {
            return Err(refuse(ACT_MAKES_NO_SENSE, format!("{name} is stopped; start it instead")));
        }
        if !self.is_in_touch(&member.settings.node) {
            let message = format!("the agent of node {} is not connected", member.settings.node);
            return Err(Refusal { code: ACT_MAKES_NO_SENSE, message, retry: true });
        }
        if member.phase != Phase::Steady {
            let message = format!("{name} is being restarted already");
            return Err(Refusal { code: ACT_MAKES_NO_SENSE, message, retry: true });
        }
        if let Some(rollout) = &mut cluster.rollout {
            rollout.left.retain(|left| *left != cluster.members[position].settings.name);
        }
        cluster.setback = None;
        self.begin(now, cluster, position, Goal::Restart);
        Ok(format!("{name} is being restarted"))
    }

    fn operate_cluster(&mut self, now: Time, cluster: &mut Cluster, act: Act) -> Result<String, Refusal> {
        let positions: Vec<usize> =
            (0..cluster.members.len()).filter(|position| !cluster.members[*position].is_leaving).collect();
        let count = positions.len();
        if count == 0 {
            return Err(refuse(ACT_MAKES_NO_SENSE, format!("cluster {} has no members", cluster.name)));
        }
        match act {
            Act::Start => {
                for position in positions {
                    self.start(cluster, position);
                }
                Ok(format!("cluster {}: started, {}", cluster.name, members(count)))
            }
            Act::Stop => {
                let is_restarted = cluster.rollout.take().is_some();
                for position in positions {
                    self.stop(now, cluster, position);
                }
                if is_restarted {
                    let text =
                        format!("cluster {} is being stopped, so its restart is given up", cluster.name);
                    cluster.setback = Some(text);
                }
                Ok(format!("cluster {}: all {count} members are being stopped", cluster.name))
            }
            Act::Drain => {
                let drained = positions.into_iter().filter(|at| drain(cluster, *at).is_ok()).count();
                if drained == 0 {
                    return Err(refuse(
                        ACT_MAKES_NO_SENSE,
                        format!("all members of cluster {} are stopped", cluster.name),
                    ));
                }
                Ok(format!("cluster {}: {drained} members take no new conversations", cluster.name))
            }
            Act::Restart => self.restart_cluster(cluster),
        }
    }

    /// Only begins it; `settle` takes one member after the other.
    fn restart_cluster(&mut self, cluster: &mut Cluster) -> Result<String, Refusal> {
        if let Some(rollout) = &cluster.rollout {
            return Err(Refusal {
                code: ACT_MAKES_NO_SENSE,
                message: format!("{}: {rollout}", cluster.name),
                retry: true,
            });
        }
        let staying = || cluster.members.iter().filter(|member| !member.is_leaving);
        let ours = staying().filter(|member| !member.is_external() && member.wish != Wish::Stop);
        let left: Vec<_> = ours.map(|member| member.settings.name.clone()).collect();
        if left.is_empty() {
            let message = format!("cluster {} has no running member that Muster could restart", cluster.name);
            return Err(refuse(ACT_MAKES_NO_SENSE, message));
        }
        let candidates: Vec<_> =
            staying().map(|member| member.candidate(left.contains(&member.settings.name))).collect();
        if let Choice::Stop(reason) = choose(Cause::Operator, &candidates) {
            let message =
                format!("{reason}; restart the member itself to accept that requests fail meanwhile");
            return Err(refuse(ACT_MAKES_NO_SENSE, message));
        }
        let total = left.len();
        cluster.setback = None;
        cluster.rollout =
            Some(Rollout { cause: Cause::Operator, left, current: None, done: 0, waits_for: None });
        Ok(format!("cluster {}: restarting {}, one after the other", cluster.name, members(total)))
    }
}

fn members(count: usize) -> String {
    if count == 1 { "1 member".into() } else { format!("{count} members") }
}

fn drain(cluster: &mut Cluster, position: usize) -> Result<String, Refusal> {
    let member = &mut cluster.members[position];
    let name = format!("{}/{}", cluster.name, member.settings.name);
    match member.wish {
        Wish::Stop => Err(refuse(ACT_MAKES_NO_SENSE, format!("{name} is stopped and has nothing to drain"))),
        Wish::Drain => Ok(format!("{name} is draining already")),
        Wish::Run => {
            member.wish = Wish::Drain;
            Ok(format!("{name} keeps its conversations and takes no new ones"))
        }
    }
}

pub(super) fn refuse(code: ErrorCode, message: String) -> Refusal {
    Refusal { code, message, retry: false }
}

/// `a, b and c`, or `none`.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    match names.split_last() {
        None => "none".into(),
        Some((last, [])) => (*last).into(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

fn verb(act: Act) -> &'static str {
    match act {
        Act::Start => "start",
        Act::Stop => "stop",
        Act::Drain => "drain",
        Act::Restart => "restart",
    }
}
