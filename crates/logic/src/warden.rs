//! Who ends a group's processes when neither its guardian nor the agent does: both were killed, or hang.
//!
//! A guardian ends its group at the deadline by itself, and the agent does its work where it is gone. One process a node looks
//! after both: it knows each deadline, and a little later kills what is still there, whatever the other two do
//! (`spec/failover.md` 7.5). It never begins anything and takes no decision of its own: what it does after a deadline the
//! guardian has done already, if it could. Without the agent it is the last one there, and goes once nothing is left.

#[cfg(test)]
mod tests;

use crate::machine::Machine;
use crate::time::Time;
use std::collections::BTreeMap;

/// How long a guardian has for the processes of its group, from its deadline or the end of the agent. 100: it takes 20, and with
/// the 20 that another takes the group has ended within K (`spec/failover.md` 7.4), which is 200 in the shortest profile.
pub const GRACE_MS: u64 = 100;
/// Pause before processes are killed once more, as long as a guardian is there that could start others.
pub const AGAIN_MS: u64 = 200;
/// How long a guardian without an agent may take to give back what is no process. Longer than any resource may.
pub const CLEAR_MS: u64 = 15_000;

/// One run of a group on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// A word of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WardenTold {
    /// A guardian holds a group, for ever if there is no `until`.
    Held { run: RunId, until: Option<Time> },
    /// It may hold on until then.
    Until { run: RunId, until: Option<Time> },
    /// The agent has seen that no process of it is left.
    Forgotten { run: RunId },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WardenInput {
    /// All that it has said so far and was not heard: an old deadline means nothing before a new one that is there already.
    Told(Vec<WardenTold>),
    GuardianEnded {
        run: RunId,
    },
    /// What was begun was taken away, or somebody else does that.
    Cleared {
        run: RunId,
    },
    AgentGone,
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WardenOutput {
    /// All that run in the group's control group.
    KillProcesses {
        run: RunId,
    },
    KillGuardian {
        run: RunId,
    },
    /// Take away what is no process; answered by `Cleared`.
    Clear {
        run: RunId,
    },
    /// Nothing is left, and nobody is there to tell more.
    Finished,
}

use WardenInput as Input;
use WardenOutput as Output;
use WardenTold as Told;

#[derive(Debug)]
struct Held {
    until: Option<Time>,
    has_guardian: bool,
    /// When its processes were killed last, since its deadline was set.
    killed_at: Option<Time>,
    is_guardian_killed: bool,
    /// It is being taken away.
    is_clearing: bool,
}

#[derive(Debug, Default)]
pub struct Warden {
    held: BTreeMap<RunId, Held>,
    agent_gone_at: Option<Time>,
    is_finished: bool,
}

impl Held {
    /// When nothing of it may be there any more.
    fn over_at(&self, agent_gone_at: Option<Time>) -> Option<Time> {
        // Nobody but us is left to end it.
        let alone = agent_gone_at.map(|at| if self.has_guardian { at + GRACE_MS } else { at });
        let deadline = self.until.map(|until| until + GRACE_MS);
        deadline.into_iter().chain(alone).min()
    }

    /// When its processes are to be killed next.
    fn kill_at(&self, agent_gone_at: Option<Time>) -> Option<Time> {
        let over_at = self.over_at(agent_gone_at)?;
        match self.killed_at {
            None => Some(over_at),
            // Killed before it was alone.
            Some(at) if at < over_at => Some(over_at),
            Some(at) if self.has_guardian => Some(at + AGAIN_MS),
            Some(_) => None,
        }
    }

    fn kill_guardian_at(&self, agent_gone_at: Option<Time>) -> Option<Time> {
        let is_due = self.has_guardian && !self.is_guardian_killed;
        agent_gone_at.filter(|_| is_due).map(|at| at + CLEAR_MS)
    }

    fn is_gone(&self) -> bool {
        !self.has_guardian && self.killed_at.is_some()
    }
}

impl Warden {
    fn hear(&mut self, told: Told) {
        match told {
            Told::Held { run, until } => {
                let (has_guardian, killed_at) = (true, None);
                let held =
                    Held { until, has_guardian, killed_at, is_guardian_killed: false, is_clearing: false };
                self.held.insert(run, held);
            }
            Told::Until { run, until } => {
                if let Some(held) = self.held.get_mut(&run).filter(|held| held.until != until) {
                    (held.until, held.killed_at) = (until, None);
                }
            }
            Told::Forgotten { run } => drop(self.held.remove(&run)),
        }
    }

    fn take(&mut self, now: Time, input: Input) {
        match input {
            Input::Told(all) => all.into_iter().for_each(|told| self.hear(told)),
            Input::Cleared { run } => drop(self.held.remove(&run)),
            Input::GuardianEnded { run } => {
                if let Some(held) = self.held.get_mut(&run) {
                    // What it started until then was not killed with it.
                    (held.has_guardian, held.killed_at) = (false, None);
                }
            }
            Input::AgentGone => self.agent_gone_at = self.agent_gone_at.or(Some(now)),
            Input::Tick => {}
        }
    }

    fn due(&mut self, now: Time) -> Vec<Output> {
        let gone_at = self.agent_gone_at;
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let mut outputs = Vec::new();
        for (run, held) in self.held.iter_mut().filter(|(_, held)| !held.is_clearing) {
            let run = *run;
            if is_due(held.kill_at(gone_at)) {
                held.killed_at = Some(now);
                outputs.push(Output::KillProcesses { run });
            }
            if is_due(held.kill_guardian_at(gone_at)) {
                held.is_guardian_killed = true;
                outputs.push(Output::KillGuardian { run });
            }
            if gone_at.is_some() && held.is_gone() {
                held.is_clearing = true;
                outputs.push(Output::Clear { run });
            }
        }
        if gone_at.is_some() && self.held.is_empty() && !self.is_finished {
            self.is_finished = true;
            outputs.push(Output::Finished);
        }
        outputs
    }
}

impl Machine for Warden {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        self.take(now, input);
        self.due(now)
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        let waiting = self.held.values().filter(|held| !held.is_clearing);
        let gone_at = self.agent_gone_at;
        waiting.flat_map(|held| [held.kill_at(gone_at), held.kill_guardian_at(gone_at)]).flatten().min()
    }

    fn check(&self) {
        assert!(!self.is_finished || self.held.is_empty(), "it has gone while something was held");
        for (run, held) in &self.held {
            assert!(!held.is_clearing || held.is_gone(), "{run:?} is taken away while it runs");
        }
    }
}
