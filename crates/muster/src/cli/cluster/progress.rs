//! Decides how far an act on a cluster or member has come, from what was before and what is now.
//!
//! Pure. A member was restarted when it serves from another process than before.

use wire::agent::ProcessState;
use wire::id::MemberName;
use wire::status::{Act, ClusterStatus, MemberStatus};
use wire::view::RunState;

/// How far it has come, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    Going(String),
    Done(String),
    Failed(String),
}

/// What shall be reached, and from where.
#[derive(Debug)]
pub struct Goal {
    act: Act,
    about: String,
    targets: Vec<Before>,
}

/// A member as it was before the act.
#[derive(Debug)]
struct Before {
    name: MemberName,
    since_ms: u64,
    process_id: Option<u32>,
}

/// How one member stands to the goal.
enum Standing {
    Reached,
    OnTheWay,
    Missed,
}

impl Goal {
    /// For an act on `cluster`, or on one `member` of it, as it was before the act.
    pub fn new(act: Act, cluster: &ClusterStatus, member: Option<&str>) -> Self {
        let concerns = |status: &&MemberStatus| match member {
            Some(name) => status.member.0 == name,
            // A rolling restart passes over what it cannot restart.
            None if act == Act::Restart => {
                !matches!(status.process, Some(ProcessState::External | ProcessState::Stopped))
            }
            None => true,
        };
        let targets = cluster.members.iter().filter(concerns);
        let about =
            member.map_or(cluster.cluster.to_string(), |member| format!("{}/{member}", cluster.cluster));
        let before = |status: &MemberStatus| Before {
            name: status.member.clone(),
            since_ms: status.since_ms,
            process_id: process_id(status),
        };
        Self { act, about, targets: targets.map(before).collect() }
    }

    pub fn look(&self, cluster: &ClusterStatus) -> Progress {
        let mut reached = 0;
        let mut waits_for = None;
        for before in &self.targets {
            let name = &before.name;
            let Some(member) = cluster.members.iter().find(|member| member.member == *name) else {
                return Progress::Failed(format!("{}/{name} has been removed meanwhile", cluster.cluster));
            };
            match self.standing(member, before) {
                Standing::Reached => reached += 1,
                Standing::OnTheWay => waits_for = waits_for.or(Some(member)),
                Standing::Missed => {
                    let text = format!("{}/{name} is {}: {}", cluster.cluster, member.state, member.reason);
                    return Progress::Failed(text);
                }
            }
        }
        let Some(waits_for) = waits_for else { return Progress::Done(self.done(reached)) };
        if let (Act::Restart, Some(setback)) = (self.act, &cluster.setback) {
            return Progress::Failed(setback.clone());
        }
        let step = match &cluster.operation {
            Some(operation) => operation.clone(),
            None => format!("{} is {}: {}", waits_for.member, waits_for.state, waits_for.reason),
        };
        Progress::Going(format!("{reached} of {}: {step}", self.targets.len()))
    }

    /// Why a restart does not go on under a manager that has begun since: those whose turn had not come serve as
    /// before, and nobody remembers that they were to be restarted.
    pub fn was_forgotten(&self, cluster: &ClusterStatus) -> Option<String> {
        if self.act != Act::Restart || cluster.operation.is_some() {
            return None;
        }
        let mut left = 0;
        for before in &self.targets {
            let member = cluster.members.iter().find(|member| member.member == before.name)?;
            match self.standing(member, before) {
                Standing::Reached => {}
                Standing::OnTheWay if member.state == RunState::Up => left += 1,
                Standing::OnTheWay | Standing::Missed => return None,
            }
        }
        let all = self.targets.len();
        (left > 0).then(|| {
            let done = all - left;
            format!(
                "the manager was replaced meanwhile and restarts no more: {done} of {all} done; ask again"
            )
        })
    }

    fn standing(&self, member: &MemberStatus, before: &Before) -> Standing {
        let is_changed = member.since_ms != before.since_ms;
        let is_new_process = process_id(member).is_some_and(|id| before.process_id != Some(id));
        match (self.act, member.state) {
            (Act::Start, RunState::Up) => Standing::Reached,
            // One that was drained before is so again.
            (Act::Restart, RunState::Up | RunState::Draining) if is_new_process => Standing::Reached,
            (Act::Start | Act::Restart, RunState::Failed) if is_changed => Standing::Missed,
            (Act::Start | Act::Restart, _) => Standing::OnTheWay,
            (Act::Stop, RunState::Down | RunState::Failed) if process_id(member).is_none() => {
                Standing::Reached
            }
            (Act::Stop, _) => Standing::OnTheWay,
            // One that does not serve has nothing to drain.
            (Act::Drain, RunState::Draining | RunState::Down | RunState::Failed | RunState::Unknown) => {
                Standing::Reached
            }
            (Act::Drain, RunState::Up | RunState::Starting) => Standing::OnTheWay,
        }
    }

    fn done(&self, reached: usize) -> String {
        let (one, many) = match self.act {
            Act::Start => ("is up", "members are up"),
            Act::Stop => ("is stopped", "members are stopped"),
            Act::Drain => ("takes no new conversations", "members take no new conversations"),
            Act::Restart => ("has been restarted", "members have been restarted"),
        };
        match (self.about.contains('/'), reached) {
            (true, _) => format!("{} {one}", self.about),
            (false, 1) => format!("{}: the one member {one}", self.about),
            (false, _) => format!("{}: {reached} {many}", self.about),
        }
    }
}

fn process_id(member: &MemberStatus) -> Option<u32> {
    match member.process {
        Some(ProcessState::Running { pid } | ProcessState::Stopping { pid }) => Some(pid),
        Some(
            ProcessState::External | ProcessState::Stopped | ProcessState::BackingOff | ProcessState::GaveUp,
        )
        | None => None,
    }
}

#[cfg(test)]
mod tests;
