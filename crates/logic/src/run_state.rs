//! Decides what we believe about a member: one function that judges all facts, and says why.
//!
//! Pure; no time is needed. Promises:
//! - Same facts, same answer; each answer carries its reason as data.
//! - What an operator or an operation wants outweighs what is observed: a member that is being taken out is never
//!   `Up`, however well it answers.
//! - A member on a node that cannot be reached is not `Up`: its machine sends no heartbeats, and nothing else. Nor is one
//!   on a machine that was removed from the cell, whatever it did when it was last heard.
//! - An agent that is not connected changes no state while its node is heard. Its members keep what was last known, marked as stale: the link
//!   to the manager says nothing about the path from routers to members, routers judge failures themselves, and an
//!   empty list of members would turn a broken manager into an outage.
//!
//! Not here: how facts are gathered (see `cell`), and how long an operation may take (see `rollout`).

use crate::rollout::Goal;
use std::fmt;
use wire::agent::{ProbeState, ProcessState};
use wire::view::RunState;

/// What the operator wants of a member until told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Run,
    /// Serve the conversations that exist, take no new ones.
    Drain,
    /// Have no process; for an external member: take no requests.
    Stop,
}

/// What an operation is doing to a member at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    None,
    /// Lets conversations end, then goes on.
    Draining(Goal),
    /// Takes no requests; those under way end, then it is stopped, replaced or removed.
    TakenOut(Goal),
}

/// What is known of the agent that looks after a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentLink {
    /// It has not reported since this manager started.
    NotHeard,
    Connected,
    /// It has reported, and its link is gone.
    Lost,
}

/// The last report about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed<'a> {
    pub process: ProcessState,
    pub probe: ProbeState,
    /// It speaks of the process that we want, not of one that is to be replaced.
    pub is_current: bool,
    /// This process has passed its probe at some time.
    pub has_passed: bool,
    /// The agent's own sentence.
    pub detail: &'a str,
}

/// Why nobody is sent to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// Neither heartbeats nor a link lead there and back.
    Silent,
    /// It is no longer of the cell.
    Removed,
}

/// Everything that `judge` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    pub wish: Wish,
    pub task: Task,
    pub is_external: bool,
    pub link: AgentLink,
    pub observed: Option<Observed<'a>>,
    /// What was last observed: of an external member ever, of others by an earlier manager. Counts until there is
    /// something newer.
    pub before: Option<RunState>,
    /// Its machine cannot be reached, as far as the cell can tell, or must not be.
    pub away: Option<Away>,
    /// What `is_lost` said last.
    pub was_lost: bool,
}

/// Why a member is in its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    NotHeard,
    /// Kept from an earlier manager until the agent is heard.
    Remembered,
    /// Kept while an agent that has just started probes it for the first time.
    NotProbedAgain,
    ToldToStart,
    ToldToProbe,
    AwaitsProbe(String),
    Answers(String),
    ProbeFails(String),
    BacksOff(String),
    GaveUp(String),
    /// With the agent's whole sentence, where the member was not asked to stop.
    ProcessStops(String),
    Stopped,
    OutOfRotation,
    Drained,
    DrainsBefore(Goal),
    TakenOut(Goal),
    /// Its agent has gone, and was not running it when it was last heard.
    NotRun,
    /// Its machine's heartbeats have stopped, and nothing else is heard of it.
    NodeAway,
    /// Its machine was removed from the cell, and no other has become its node yet.
    NodeRemoved,
    /// The reason given stood when the agent was last heard.
    Stale(Box<Reason>),
}

impl Reason {
    /// The probe alone says so, now or when the agent was last heard.
    pub fn is_probe(&self) -> bool {
        match self {
            Reason::ProbeFails(_) => true,
            Reason::Stale(reason) => reason.is_probe(),
            Reason::NotHeard
            | Reason::Remembered
            | Reason::NotProbedAgain
            | Reason::ToldToStart
            | Reason::ToldToProbe
            | Reason::AwaitsProbe(_)
            | Reason::Answers(_)
            | Reason::BacksOff(_)
            | Reason::GaveUp(_)
            | Reason::ProcessStops(_)
            | Reason::Stopped
            | Reason::OutOfRotation
            | Reason::Drained
            | Reason::DrainsBefore(_)
            | Reason::TakenOut(_)
            | Reason::NodeAway
            | Reason::NodeRemoved
            | Reason::NotRun => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotHeard => out.write_str("its agent has not reported yet"),
            Reason::Remembered => out.write_str("as before; its agent has not been heard since"),
            Reason::NotProbedAgain => out.write_str("as before; its agent has not probed it again yet"),
            Reason::ToldToStart => out.write_str("its agent has been told to start it"),
            Reason::ToldToProbe => out.write_str("its agent has been told to probe it"),
            Reason::AwaitsProbe(detail) => with_detail(out, "has not passed its probe yet", detail),
            Reason::Answers(detail) => with_detail(out, "passes its probe", detail),
            Reason::ProbeFails(detail) => with_detail(out, "fails its probe", detail),
            Reason::BacksOff(detail) => with_detail(out, "exited and will be started again", detail),
            Reason::GaveUp(detail) => {
                with_detail(out, "failed too often and waits for a person to start it", detail)
            }
            Reason::ProcessStops(detail) => with_detail(out, "its process is stopping", detail),
            Reason::Stopped => out.write_str("stopped by an operator"),
            Reason::OutOfRotation => out.write_str("taken out of rotation by an operator"),
            Reason::Drained => {
                out.write_str("drained by an operator; keeps its conversations, takes no new ones")
            }
            Reason::DrainsBefore(goal) => {
                write!(out, "conversations may end before it is {}", goal.participle())
            }
            Reason::TakenOut(goal) => write!(out, "is being {}", goal.participle()),
            Reason::NotRun => {
                out.write_str("did not run when its agent was last heard, which is not connected")
            }
            Reason::NodeAway => out.write_str("its node cannot be reached: its heartbeats have stopped"),
            Reason::NodeRemoved => out.write_str("its node's machine was removed from the cell"),
            Reason::Stale(reason) => write!(out, "{reason} (last known: its agent is not connected)"),
        }
    }
}

fn with_detail(out: &mut fmt::Formatter<'_>, what: &str, detail: &str) -> fmt::Result {
    // An agent's sentence says it all, and more than we can.
    out.write_str(if detail.is_empty() { what } else { detail })
}

/// The run state that routers shall see, and why.
pub fn judge(facts: &Facts) -> (RunState, Reason) {
    let (state, reason) = match (facts.away, observe(facts)) {
        (None, seen) => seen,
        (Some(Away::Removed), _) => (RunState::Down, Reason::NodeRemoved),
        (Some(Away::Silent), seen @ (RunState::Down | RunState::Failed, _)) => seen,
        (Some(Away::Silent), _) => (RunState::Down, Reason::NodeAway),
    };
    match (facts.task, facts.wish) {
        (Task::TakenOut(goal), _) => (RunState::Down, Reason::TakenOut(goal)),
        // Before the wish: a member that shall stop serves its conversations until they had their time.
        (Task::Draining(goal), _) if state == RunState::Up => {
            (RunState::Draining, Reason::DrainsBefore(goal))
        }
        (Task::Draining(_), _) => (state, reason),
        (Task::None, Wish::Stop) => (RunState::Down, stopped(facts)),
        (Task::None, Wish::Drain) if state == RunState::Up => (RunState::Draining, Reason::Drained),
        (Task::None, Wish::Drain | Wish::Run) => (state, reason),
    }
}

fn stopped(facts: &Facts) -> Reason {
    match facts.observed.map(|observed| observed.process) {
        _ if facts.is_external => Reason::OutOfRotation,
        Some(ProcessState::Running { .. } | ProcessState::Stopping { .. }) => {
            Reason::ProcessStops(String::new())
        }
        Some(
            ProcessState::External | ProcessState::Stopped | ProcessState::BackingOff | ProcessState::GaveUp,
        )
        | None => Reason::Stopped,
    }
}

/// The state as far as it can be seen, whatever anyone wants.
pub fn observe(facts: &Facts) -> (RunState, Reason) {
    let told = if facts.is_external { Reason::ToldToProbe } else { Reason::ToldToStart };
    let (state, reason) = match (facts.observed, facts.link) {
        (None, AgentLink::Connected) => {
            // One that runs elsewhere does not stop because its agent starts anew.
            return match facts.before.filter(|_| facts.is_external) {
                Some(before) => (before, Reason::NotProbedAgain),
                None => (RunState::Starting, told),
            };
        }
        (None, AgentLink::Lost) if !facts.is_external => return (RunState::Down, Reason::NotRun),
        (None, AgentLink::NotHeard | AgentLink::Lost) => {
            return match facts.before {
                Some(before) => (before, Reason::Remembered),
                None => (RunState::Unknown, Reason::NotHeard),
            };
        }
        (Some(observed), _) if !observed.is_current => (RunState::Starting, told),
        (Some(observed), _) => observe_process(&observed, facts.before),
    };
    match facts.link {
        AgentLink::Connected => (state, reason),
        AgentLink::NotHeard | AgentLink::Lost => (state, Reason::Stale(Box::new(reason))),
    }
}

/// Whether requests that wait for its answer wait in vain: its process is gone or has stopped answering. Not while it
/// is started or stopped in good order, and not because its agent alone is silent. Once lost it stays so until it is up
/// again, through the end of that process and the start of the next: a router that hears only part of it, because it
/// was away, shall not miss that what it waits for is lost.
pub fn is_lost(facts: &Facts) -> bool {
    let is_up_again = observe(facts).0 == RunState::Up;
    facts.away.is_some() || is_lost_now(facts) || (facts.was_lost && !is_up_again)
}

fn is_lost_now(facts: &Facts) -> bool {
    let Some(observed) = facts.observed.filter(|observed| observed.is_current) else { return false };
    match (observed.process, observed.probe) {
        (ProcessState::BackingOff | ProcessState::GaveUp, _) => true,
        (ProcessState::External, ProbeState::Failing) => true,
        (ProcessState::Running { .. }, ProbeState::Failing) => observed.has_passed,
        (
            ProcessState::External | ProcessState::Running { .. },
            ProbeState::Passing | ProbeState::Unknown,
        )
        | (ProcessState::Stopped | ProcessState::Stopping { .. }, _) => false,
    }
}

fn observe_process(observed: &Observed, before: Option<RunState>) -> (RunState, Reason) {
    let detail = observed.detail.to_owned();
    match (observed.process, observed.probe) {
        (ProcessState::External | ProcessState::Running { .. }, ProbeState::Passing) => {
            (RunState::Up, Reason::Answers(detail))
        }
        (ProcessState::External, ProbeState::Unknown) => match before {
            Some(before) => (before, Reason::NotProbedAgain),
            None => (RunState::Starting, Reason::AwaitsProbe(detail)),
        },
        (ProcessState::Running { .. }, ProbeState::Unknown) => {
            (RunState::Starting, Reason::AwaitsProbe(detail))
        }
        // A process that has never answered is still starting; the agent bounds how long that may take.
        (ProcessState::Running { .. }, ProbeState::Failing) if !observed.has_passed => {
            (RunState::Starting, Reason::AwaitsProbe(detail))
        }
        (ProcessState::External | ProcessState::Running { .. }, ProbeState::Failing) => {
            (RunState::Down, Reason::ProbeFails(detail))
        }
        (ProcessState::Stopped, _) => (RunState::Starting, Reason::ToldToStart),
        (ProcessState::Stopping { .. }, _) => (RunState::Down, Reason::ProcessStops(detail)),
        (ProcessState::BackingOff, _) => (RunState::Down, Reason::BacksOff(detail)),
        (ProcessState::GaveUp, _) => (RunState::Failed, Reason::GaveUp(detail)),
    }
}

#[cfg(test)]
mod tests;
