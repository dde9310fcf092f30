//! What follows when something of a group fails on a node: restart it there, leave the node, and in the end the final action.
//!
//! A `Ledger` remembers what was done for one group on one node, and says what is next. Each cause has counts of its own: what
//! ends by itself, and each monitor. Promises:
//! - Restarts come before failovers, and those before the final action; each only as often as its rules allow.
//! - What was done counts for `RECOVERY_WINDOW_MS` and is forgotten then, or by a person's word; that all was well for a moment
//!   in between changes nothing, or what flaps would be restarted for ever.
//!
//! Pure. Who carries it out: `group::Resident` on the node; who allows more than restarts: `group::Planner`.

use crate::limits::RECOVERY_WINDOW_MS;
use crate::time::Time;
use std::collections::{BTreeMap, VecDeque};
use wire::group::{RecoveryAct, StartCause};
use wire::id::{GroupName, MonitorName, ResourceName};
use wire::monitor::{FinalAction, MonitorState, Recovery};

/// Who says that something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Something of the group has ended by itself, or was not started.
    Own,
    Monitor(MonitorName),
}

/// How often what may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub restarts_max: u32,
    pub failovers_max: u32,
    pub final_action: FinalAction,
}

impl From<&Recovery> for Rules {
    fn from(recovery: &Recovery) -> Self {
        Self {
            restarts_max: recovery.restarts_max,
            failovers_max: recovery.failovers_max,
            final_action: recovery.final_action,
        }
    }
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Restart it in its place. `count` of `Rules::restarts_max`, this one included.
    Restart { count: u32 },
    /// What only the leader may allow.
    Ask(RecoveryAct),
    /// Everything that was to be done has been.
    Stay,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counts {
    restarts: VecDeque<Time>,
    failovers: VecDeque<Time>,
}

impl Counts {
    fn expire(&mut self, now: Time) {
        for times in [&mut self.restarts, &mut self.failovers] {
            times.retain(|at| is_recent(now, *at));
        }
    }
}

fn is_recent(now: Time, at: Time) -> bool {
    now.since_ms(at) < RECOVERY_WINDOW_MS
}

fn recent(now: Time, times: &VecDeque<Time>) -> u32 {
    times.iter().filter(|at| is_recent(now, **at)).count() as u32
}

/// What was done for one group on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    counts: BTreeMap<Cause, Counts>,
    /// The group failed as a whole, and its next start here is a restart.
    has_failed: bool,
}

impl Ledger {
    pub fn next(&self, now: Time, cause: &Cause, rules: &Rules) -> Step {
        let (restarts, failovers) = self
            .counts
            .get(cause)
            .map_or((0, 0), |counts| (recent(now, &counts.restarts), recent(now, &counts.failovers)));
        match rules.final_action {
            _ if restarts < rules.restarts_max => Step::Restart { count: restarts + 1 },
            _ if failovers < rules.failovers_max => Step::Ask(RecoveryAct::FailOver),
            FinalAction::None => Step::Stay,
            action @ (FinalAction::StopGroup
            | FinalAction::StopService
            | FinalAction::Shutdown
            | FinalAction::Reboot) => Step::Ask(RecoveryAct::Final(action)),
        }
    }

    /// A restart begins. Callers do it only when it is the next step, which bounds what is kept.
    pub fn restarted(&mut self, now: Time, cause: Cause) {
        self.expire(now);
        self.counts.entry(cause).or_default().restarts.push_back(now);
    }

    /// The group begins to leave the node.
    pub fn left(&mut self, now: Time, cause: Cause) {
        self.expire(now);
        let counts = self.counts.entry(cause).or_default();
        counts.failovers.push_back(now);
        // Should it come back: a failed node is tried like any other.
        counts.restarts.clear();
    }

    /// The group has failed as a whole.
    pub fn failed(&mut self) {
        self.has_failed = true;
    }

    /// The group begins on this node. What was done before is forgotten where a person has sent it, or the cell has just begun.
    pub fn begun(&mut self, now: Time, cause: StartCause) {
        match (cause, std::mem::take(&mut self.has_failed)) {
            (StartCause::Start, _) => self.counts.clear(),
            (StartCause::Again, true) => self.restarted(now, Cause::Own),
            (StartCause::Again, false) | (StartCause::Failover, _) => {}
        }
    }

    /// What a monitor's errors led to counts no longer.
    pub fn forget(&mut self, monitor: &MonitorName) {
        self.counts.remove(&Cause::Monitor(monitor.clone()));
    }

    /// Restarts of what ended by itself.
    pub fn restarts(&self, now: Time) -> u32 {
        self.counts.get(&Cause::Own).map_or(0, |counts| recent(now, &counts.restarts))
    }

    pub fn expire(&mut self, now: Time) {
        self.counts.values_mut().for_each(|counts| counts.expire(now));
        self.counts.retain(|_, counts| *counts != Counts::default());
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// When a step that is used up becomes possible again; in the past for what is not expired yet.
    pub fn expires_at(&self) -> Option<Time> {
        let all = self.counts.values().flat_map(|counts| counts.restarts.iter().chain(&counts.failovers));
        all.map(|at| *at + RECOVERY_WINDOW_MS).min()
    }
}

/// What a monitor of this node says to its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub monitor: MonitorName,
    pub recovery: Recovery,
    pub state: MonitorState,
    pub reason: String,
    /// The stay of its target that it has judged (see `Activity`); None: the target was not online here.
    pub stay: Option<u64>,
}

/// What of a node's groups is online, with a number for each time that it came online: a verdict on an earlier stay says nothing
/// about the present one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    pub groups: BTreeMap<GroupName, Stays>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stays {
    /// Of all of it.
    pub group: Option<u64>,
    pub resources: BTreeMap<ResourceName, u64>,
}

impl Activity {
    /// The present stay of what a monitor watches; None: it is not online here.
    pub fn stay(&self, recovery: &Recovery) -> Option<u64> {
        use wire::monitor::RecoveryTarget::{AllGroups, Group, Resource};
        match &recovery.target {
            Group { group } => self.groups.get(group)?.group,
            Resource { group, resource } => self.groups.get(group)?.resources.get(resource).copied(),
            AllGroups => self.groups.values().filter_map(|stays| stays.group).max(),
        }
    }
}

#[cfg(test)]
mod tests;
