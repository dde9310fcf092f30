//! Decides for all members of one node what is started, stopped, probed and reported.
//!
//! The machine between the manager, who says what shall run, and the shell, who runs it. It never chooses: it
//! obeys the newest assignments and refuses older generations.
//! Promises: a change of anything reported goes out in the same step; a report goes out each
//! `REPORT_INTERVAL_MS` in any case; members that are no longer assigned are stopped and then forgotten.
//! The shell's part: each `Start` is answered by `Started` or `StartFailed`, each `Started` by exactly one
//! `Exited`, and each `Probe` by `Probed` within its time-out.
//! Not here: processes, ports, sockets, disk, connection to the manager.

mod member;

use crate::limits::{MANAGER_WAIT_MS, REPORT_INTERVAL_MS, SHUTDOWN_KILL_WAIT_MS};
use crate::machine::Machine;
use crate::probe::{ProbeAnswer, ProbeNumber};
use crate::supervision::StartNumber;
use crate::time::Time;
use member::Member;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use wire::agent::{Assignment, Launch, ProbeKind, Report};
use wire::id::{MemberId, NodeName};

#[cfg(test)]
mod tests;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The manager of this generation wants exactly these members looked after.
    Assign {
        generation: u64,
        assignments: Vec<Assignment>,
    },
    /// A manager listens (again) and knows nothing of this node.
    Connected,
    /// Another agent has spoken in this node's name: reports go on under at least this number, which is above its.
    Above {
        incarnation: u64,
    },
    Started {
        id: MemberId,
        start: StartNumber,
        pid: u32,
        address: SocketAddr,
    },
    /// There is no process and will be none from this start.
    StartFailed {
        id: MemberId,
        start: StartNumber,
        why: String,
    },
    /// The process is gone. `status` completes "it ...", e.g. `exited with status 1`.
    Exited {
        id: MemberId,
        start: StartNumber,
        status: String,
        last_line: Option<String>,
    },
    Probed {
        id: MemberId,
        probe: ProbeNumber,
        answer: ProbeAnswer,
    },
    /// Output of the process cannot be kept (Some: why), or can again.
    LogTrouble {
        id: MemberId,
        start: StartNumber,
        trouble: Option<String>,
    },
    /// Stop everything, then `Finished`.
    Shutdown,
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Start {
        id: MemberId,
        start: StartNumber,
        clone_id: String,
        launch: Launch,
    },
    /// Send the stop signal. May come before the start was answered.
    Stop {
        id: MemberId,
        start: StartNumber,
        signal: String,
    },
    /// Kill it and everything that it started.
    Kill {
        id: MemberId,
        start: StartNumber,
    },
    Probe {
        id: MemberId,
        probe: ProbeNumber,
        address: SocketAddr,
        kind: ProbeKind,
        timeout_ms: u64,
    },
    /// All that is known, for the manager; lost without harm while there is none.
    Report(Report),
    /// Keep these for the next start of the agent; they are in force.
    Remember {
        generation: u64,
        assignments: Vec<Assignment>,
    },
    /// An assignment was refused because it is older than one already obeyed.
    Refused {
        generation: u64,
        newest: u64,
    },
    /// Something that people want to read in the log.
    Tell {
        id: MemberId,
        severity: Severity,
        text: String,
    },
    /// After `Shutdown`: nothing runs any more, or what does cannot be killed.
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Info,
    /// A person may have to act.
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Just started: the manager may still speak first.
    Listening {
        until: Time,
        remembered: Vec<Assignment>,
    },
    Serving,
    ShuttingDown {
        deadline: Time,
    },
    Finished,
}

/// All members of one node.
#[derive(Debug, Clone)]
pub struct Agent {
    node: NodeName,
    incarnation: u64,
    sequence: u64,
    /// Newest generation obeyed.
    generation: u64,
    phase: Phase,
    members: BTreeMap<MemberId, Member>,
    report_at: Time,
    numbers: Numbers,
}

/// Where start and probe numbers come from: one row for the whole agent, so none comes twice.
#[derive(Debug, Clone, Default)]
struct Numbers {
    used: u64,
}

impl Numbers {
    fn next(&mut self) -> u64 {
        self.used += 1;
        self.used
    }
}

impl Agent {
    /// `incarnation` must be higher than that of the agent's last start. `remembered` is what the last start was
    /// told by `Remember`; it is obeyed if no manager speaks within `MANAGER_WAIT_MS`.
    pub fn new(
        now: Time,
        node: NodeName,
        incarnation: u64,
        remembered: Option<(u64, Vec<Assignment>)>,
    ) -> Self {
        let (generation, remembered) = remembered.unwrap_or_default();
        let phase = if remembered.is_empty() {
            Phase::Serving
        } else {
            Phase::Listening { until: now + MANAGER_WAIT_MS, remembered }
        };
        Self {
            node,
            incarnation,
            sequence: 0,
            generation,
            phase,
            members: BTreeMap::new(),
            report_at: now,
            numbers: Numbers::default(),
        }
    }

    fn on_assign(
        &mut self,
        now: Time,
        generation: u64,
        assignments: Vec<Assignment>,
        outputs: &mut Vec<Output>,
    ) -> bool {
        match self.phase {
            Phase::ShuttingDown { .. } | Phase::Finished => return false,
            Phase::Listening { .. } | Phase::Serving => {}
        }
        if generation < self.generation {
            outputs.push(Output::Refused { generation, newest: self.generation });
            return false;
        }
        self.generation = generation;
        self.phase = Phase::Serving;
        outputs.push(Output::Remember { generation, assignments: assignments.clone() });
        self.obey(now, assignments, outputs)
    }

    /// Brings every member in line with `assignments`; says whether anything that is reported changed.
    fn obey(&mut self, now: Time, assignments: Vec<Assignment>, outputs: &mut Vec<Output>) -> bool {
        let mut wanted: BTreeMap<MemberId, Assignment> =
            assignments.into_iter().map(|assignment| (assignment.id.clone(), assignment)).collect();
        let mut changed = false;
        let known: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in known {
            let assignment = wanted.remove(&id);
            changed |= self.change(now, &id, outputs, |member, numbers| {
                member.assign(now, assignment, "no longer assigned", numbers)
            });
        }
        for (id, assignment) in wanted {
            let member = Member::new(now, assignment.clone());
            self.members.insert(id.clone(), member);
            self.change(now, &id, outputs, |member, numbers| {
                member.assign(now, Some(assignment), "as asked", numbers)
            });
            changed = true;
        }
        changed
    }

    /// Lets one member take something in and collects what follows from it; says whether its report changed.
    fn change(
        &mut self,
        now: Time,
        id: &MemberId,
        outputs: &mut Vec<Output>,
        act: impl FnOnce(&mut Member, &mut Numbers) -> Vec<Output>,
    ) -> bool {
        // News of a member that has been forgotten meanwhile.
        let Some(member) = self.members.get_mut(id) else { return false };
        let before = member.report();
        outputs.extend(act(member, &mut self.numbers));
        outputs.extend(member.ask(now, &mut self.numbers));
        let changed = before != member.report();
        if member.is_done() {
            self.members.remove(id);
            return true;
        }
        changed
    }

    fn on_tick(&mut self, now: Time, outputs: &mut Vec<Output>) -> bool {
        let mut changed = false;
        if let Phase::Listening { until, remembered } = &mut self.phase
            && *until <= now
        {
            let remembered = std::mem::take(remembered);
            self.phase = Phase::Serving;
            changed |= self.obey(now, remembered, outputs);
        }
        let due: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| member.wake_at().is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            changed |= self.change(now, &id, outputs, |member, numbers| member.tick(now, numbers));
        }
        changed
    }

    fn on_shutdown(&mut self, now: Time, outputs: &mut Vec<Output>) -> bool {
        match self.phase {
            Phase::ShuttingDown { .. } | Phase::Finished => return false,
            Phase::Listening { .. } | Phase::Serving => {}
        }
        let grace_ms = self.members.values().map(Member::stop_grace_ms).max().unwrap_or(0);
        self.phase = Phase::ShuttingDown { deadline: now + grace_ms + SHUTDOWN_KILL_WAIT_MS };
        let mut changed = false;
        let known: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in known {
            changed |= self.change(now, &id, outputs, |member, numbers| {
                member.assign(now, None, "the agent ends", numbers)
            });
        }
        changed
    }

    /// After every input: report what changed, and end when all is done.
    fn settle(&mut self, now: Time, changed: bool, outputs: &mut Vec<Output>) {
        if changed || self.report_at <= now {
            self.sequence += 1;
            self.report_at = now + REPORT_INTERVAL_MS;
            outputs.push(Output::Report(Report {
                node: self.node.clone(),
                incarnation: self.incarnation,
                sequence: self.sequence,
                members: self.members.values().map(Member::report).collect(),
                // The shell knows of links and clocks.
                manager_heard_ms: None,
                clock_ms: None,
                certificate_until_ms: None,
            }));
        }
        if let Phase::ShuttingDown { deadline } = self.phase
            && (self.members.is_empty() || deadline <= now)
        {
            self.phase = Phase::Finished;
            outputs.push(Output::Finished);
        }
    }
}

impl Machine for Agent {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        let out = &mut outputs;
        let changed = match input {
            Input::Assign { generation, assignments } => self.on_assign(now, generation, assignments, out),
            Input::Connected => true,
            Input::Above { incarnation } => {
                self.incarnation = self.incarnation.max(incarnation);
                true
            }
            Input::Started { id, start, pid, address } => {
                self.change(now, &id, out, |member, _| member.started(now, start, pid, address))
            }
            Input::StartFailed { id, start, why } => {
                self.change(now, &id, out, |member, numbers| member.ended(now, start, why, numbers))
            }
            Input::Exited { id, start, status, last_line } => {
                let why = member::exit_text(status, last_line);
                self.change(now, &id, out, |member, numbers| member.ended(now, start, why, numbers))
            }
            Input::Probed { id, probe, answer } => {
                self.change(now, &id, out, |member, _| member.probed(now, probe, answer))
            }
            Input::LogTrouble { id, start, trouble } => {
                self.change(now, &id, out, |member, _| member.log_trouble(start, trouble))
            }
            Input::Shutdown => self.on_shutdown(now, out),
            Input::Tick => self.on_tick(now, out),
        };
        self.settle(now, changed, out);
        outputs
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        let phase_at = match self.phase {
            Phase::Listening { until, .. } => Some(until),
            Phase::ShuttingDown { deadline } => Some(deadline),
            Phase::Serving => None,
            Phase::Finished => return None,
        };
        let member_at = self.members.values().filter_map(Member::wake_at).min();
        [Some(self.report_at), phase_at, member_at].into_iter().flatten().min()
    }

    fn check(&self) {
        for member in self.members.values() {
            member.check();
            assert!(!member.is_done(), "a member that is gone and not wanted is still kept");
        }
    }
}
