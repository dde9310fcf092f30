//! Decides the steps by which members are stopped, restarted and removed without failing a request.
//!
//! One member: let conversations end -> take it out of rotation -> wait until every router uses that view and has no
//! request under way to it -> stop or replace its process -> wait until it serves again. Several members: one after the
//! other, never the last one that is up. Promises: every wait has an end (`until`); a rollout stops at the first
//! member that does not come back, so that a bad command line takes out one member and not a cluster.
//! Not here: whose turn it is to be told (see `cell`).

use crate::time::Time;
use std::fmt;
use wire::id::MemberName;
use wire::view::RunState;

/// What a member is taken out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    Stop,
    Restart,
    Remove,
}

impl Goal {
    /// `stopped`, `restarted`, `removed`.
    pub fn participle(self) -> &'static str {
        match self {
            Goal::Stop => "stopped",
            Goal::Restart => "restarted",
            Goal::Remove => "removed",
        }
    }
}

/// What is being done to one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Steady,
    /// Takes no new conversations.
    Draining {
        until: Time,
        goal: Goal,
    },
    /// Takes nothing; what is under way may end.
    Out {
        until: Time,
        goal: Goal,
    },
    /// A new process was asked for.
    Returning {
        until: Time,
    },
}

impl Phase {
    /// When it ends even if nothing happens.
    pub fn until(self) -> Option<Time> {
        match self {
            Phase::Steady => None,
            Phase::Draining { until, .. } | Phase::Out { until, .. } | Phase::Returning { until } => {
                Some(until)
            }
        }
    }
}

/// What is known of a member at the moment of a decision about its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub now: Time,
    /// A router has seen conversations with it, or has not told.
    pub has_conversations: bool,
    /// Every router uses the view in which it is out, and none has a request under way to it.
    pub is_quiet: bool,
    pub state: RunState,
    /// Whether the last report speaks of the process that was asked for.
    pub is_current: bool,
}

/// The next step for one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Stay,
    TakeOut(Goal),
    /// It is out; do what it was taken out for. `in_time` is false if requests were still under way.
    Reach {
        goal: Goal,
        in_time: bool,
    },
    Returned,
    /// It did not come back.
    Missing(Setback),
}

/// Why a restarted member does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    GaveUp,
    TooLate,
}

impl fmt::Display for Setback {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Setback::GaveUp => "its new process failed too often",
            Setback::TooLate => "its new process did not pass its probe in time",
        })
    }
}

/// What happens next to a member in `phase`.
pub fn next_step(phase: Phase, progress: &Progress) -> Step {
    match phase {
        Phase::Steady => Step::Stay,
        Phase::Draining { until, goal } => {
            // A member that no longer serves has no conversations to wait for.
            let serves = matches!(progress.state, RunState::Up | RunState::Draining);
            let go_on = progress.now >= until || !progress.has_conversations || !serves;
            if go_on { Step::TakeOut(goal) } else { Step::Stay }
        }
        Phase::Out { until, goal } => match (progress.is_quiet, progress.now >= until) {
            (true, _) => Step::Reach { goal, in_time: true },
            (false, true) => Step::Reach { goal, in_time: false },
            (false, false) => Step::Stay,
        },
        Phase::Returning { until } => match (progress.state, progress.is_current) {
            (RunState::Up | RunState::Draining, true) => Step::Returned,
            (RunState::Failed, true) => Step::Missing(Setback::GaveUp),
            (_, _) if progress.now >= until => Step::Missing(Setback::TooLate),
            (_, _) => Step::Stay,
        },
    }
}

/// Who wants several members restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Operator,
    /// Their command, environment or place has changed.
    Configuration,
}

/// Restarts of several members of a cluster, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    pub cause: Cause,
    pub left: Vec<MemberName>,
    pub current: Option<MemberName>,
    pub done: usize,
    /// Why it does not go on for now, if it does not.
    pub waits_for: Option<String>,
}

impl Rollout {
    pub fn total(&self) -> usize {
        self.done + self.left.len() + usize::from(self.current.is_some())
    }
}

/// E.g. `restarting shop-2 (2 of 3)`.
impl fmt::Display for Rollout {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.current, &self.waits_for) {
            (Some(member), _) => {
                write!(out, "restarting {member} ({} of {})", self.done + 1, self.total())
            }
            (None, Some(reason)) => {
                write!(out, "restarting, {} of {} done, waiting: {reason}", self.done, self.total())
            }
            (None, None) => write!(out, "restarting, {} of {} done", self.done, self.total()),
        }
    }
}

/// A member as `choose` sees it. Members that are being removed are not shown to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub name: MemberName,
    pub is_up: bool,
    /// The operator wants it to run.
    pub is_wanted: bool,
    /// It still has to be restarted.
    pub is_left: bool,
    /// Something else is being done to it.
    pub is_busy: bool,
}

/// Which member a rollout takes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    Take(MemberName),
    Wait(String),
    /// It cannot go on, and waiting would not help.
    Stop(String),
    Finished,
}

/// The next member: first those that are not up anyway, then the others in order, never the last one that is up.
///
/// One exception: if nothing else is wanted to run in the cluster, a changed configuration still takes effect; there
/// is no way to do that without the member.
pub fn choose(cause: Cause, candidates: &[Candidate]) -> Choice {
    let mut left = candidates.iter().filter(|candidate| candidate.is_left).peekable();
    if left.peek().is_none() {
        return Choice::Finished;
    }
    let free: Vec<_> = left.filter(|candidate| !candidate.is_busy).collect();
    let Some(first) = free.iter().find(|candidate| !candidate.is_up).or(free.first()) else {
        return Choice::Wait("the members that are left are busy with something else".into());
    };
    let others = || candidates.iter().filter(|other| other.name != first.name);
    if !first.is_up || others().any(|other| other.is_up) {
        return Choice::Take(first.name.clone());
    }
    let reason = format!("{} is the only member that is up", first.name);
    match cause {
        Cause::Operator => Choice::Stop(reason),
        Cause::Configuration if others().any(|other| other.is_wanted) => Choice::Wait(reason),
        Cause::Configuration => Choice::Take(first.name.clone()),
    }
}

#[cfg(test)]
mod tests;
