//! One member of an agent: its assignment, its process and its health, kept in step with each other.
//!
//! Promise: health is only asked for while something is there that may answer, and never mixes two processes.
//! Not here: when to restart (see `supervision`), how answers count (see `probe`).

use super::{Numbers, Output, Severity};
use crate::limits::FOREIGN_TEXT_MAX_CHARS;
use crate::probe::{Health, ProbeAnswer, ProbeNumber, Subject};
use crate::supervision::{Goal, Order, Rules, StartNumber, Supervision};
use crate::time::Time;
use std::net::SocketAddr;
use wire::agent::{
    Assignment, Launch, MemberReport, ProbeKind, ProbeState, ProcessState, RestartSettings, Run, Want,
};

#[derive(Debug, Clone)]
pub struct Member {
    /// The newest; kept while the process is stopped after it was taken away.
    assignment: Assignment,
    /// The highest ever assigned: a manager whose store was put back counts from less, and learns this from the report.
    instance: u64,
    is_assigned: bool,
    supervision: Supervision,
    health: Health,
    log_trouble: Option<String>,
    /// Where the process listens, or did last: it will most likely be there again.
    last_address: Option<SocketAddr>,
    /// Of the last launch: an order to stop needs its signal after the assignment has turned external.
    stop_signal: String,
}

impl Member {
    /// Known, and nothing done about it yet: `assign` follows.
    pub fn new(now: Time, assignment: Assignment) -> Self {
        let health = match assignment.run {
            Run::External { .. } => Health::begin(now, &assignment.probe, Subject::LongThere),
            Run::Managed(_) => Health::idle(),
        };
        Self {
            supervision: Supervision::new(rules(&assignment)),
            instance: assignment.instance,
            assignment,
            is_assigned: true,
            health,
            log_trouble: None,
            last_address: None,
            stop_signal: String::new(),
        }
    }

    /// Takes the newest assignment, or None to stop for good.
    pub fn assign(
        &mut self,
        now: Time,
        assignment: Option<Assignment>,
        why_gone: &str,
        numbers: &mut Numbers,
    ) -> Vec<Output> {
        self.is_assigned = assignment.is_some();
        let before = self.assignment.clone();
        if let Some(assignment) = assignment {
            self.instance = self.instance.max(assignment.instance);
            self.assignment = assignment;
            self.adjust_health(now, &before);
        }
        let goal = match (self.is_assigned, &self.assignment.run, self.assignment.want) {
            (true, Run::Managed(_), Want::Running) => Goal::Run { instance: self.instance },
            (true, Run::Managed(_), Want::Stopped) | (true, Run::External { .. }, _) | (false, _, _) => {
                Goal::Rest
            }
        };
        let why = match (self.is_assigned, goal) {
            (false, _) => why_gone,
            (true, Goal::Run { .. }) => "to be started anew",
            (true, Goal::Rest) => "as asked",
        };
        // An external assignment has no rules of its own; the process that it ends keeps the last ones.
        let rules = match self.assignment.run {
            Run::Managed(_) => rules(&self.assignment),
            Run::External { .. } => rules(&before),
        };
        let fresh = StartNumber(numbers.next());
        let order = self.supervision.aim(now, goal, rules, why, fresh);
        self.follow(order)
    }

    /// A changed probe, or a change between managed and external, under way.
    fn adjust_health(&mut self, now: Time, before: &Assignment) {
        let settings = &self.assignment.probe;
        let is_external = matches!(self.assignment.run, Run::External { .. });
        if is_external && before.run != self.assignment.run {
            self.health = Health::begin(now, settings, Subject::LongThere);
            self.last_address = None;
        } else if !is_external && matches!(before.run, Run::External { .. }) {
            self.health = Health::idle();
        } else if before.probe != *settings && (is_external || self.supervision.running().is_some()) {
            self.health.adjust(now, settings);
            self.supervision.probe_changed(now);
            self.supervision.probed(now, self.health.state(), self.health.trouble());
        }
    }

    pub fn started(&mut self, now: Time, start: StartNumber, pid: u32, address: SocketAddr) -> Vec<Output> {
        if !self.supervision.started(start, pid, address) {
            return Vec::new();
        }
        self.log_trouble = None;
        self.last_address = Some(address);
        if self.supervision.running().is_some() {
            self.health = Health::begin(now, &self.assignment.probe, Subject::JustStarted);
            self.supervision.probed(now, self.health.state(), self.health.trouble());
        }
        vec![self.tell(Severity::Info, format!("started as process {pid} on {address}"))]
    }

    pub fn ended(
        &mut self,
        now: Time,
        start: StartNumber,
        why: String,
        numbers: &mut Numbers,
    ) -> Vec<Output> {
        if !self.supervision.is_current(start) {
            return Vec::new();
        }
        let fresh = StartNumber(numbers.next());
        let order = self.supervision.ended(now, start, &why, fresh);
        self.forget_health();
        let (severity, text) = match (order, self.supervision.process()) {
            (Some(_), _) => (Severity::Info, format!("{why}; starting anew")),
            (None, ProcessState::Stopped) => (Severity::Info, self.supervision.reason().to_owned()),
            (None, _) => (Severity::Warning, self.supervision.reason().to_owned()),
        };
        let mut outputs = vec![self.tell(severity, text)];
        outputs.extend(self.follow(order));
        outputs
    }

    pub fn probed(&mut self, now: Time, number: ProbeNumber, answer: ProbeAnswer) -> Vec<Output> {
        let before = self.health.state();
        let answer = match answer {
            ProbeAnswer::Good => ProbeAnswer::Good,
            ProbeAnswer::Bad { why } => ProbeAnswer::Bad { why: cut(why) },
            ProbeAnswer::Unasked { why } => ProbeAnswer::Unasked { why: cut(why) },
        };
        self.health.answer(now, &self.assignment.probe, number, answer);
        self.supervision.probed(now, self.health.state(), self.health.trouble());
        match (before, self.health.state()) {
            (ProbeState::Unknown | ProbeState::Failing, ProbeState::Passing) => {
                vec![self.tell(Severity::Info, "answers its probe".into())]
            }
            (ProbeState::Unknown | ProbeState::Passing, ProbeState::Failing) => {
                vec![self.tell(Severity::Warning, self.report().reason)]
            }
            (_, ProbeState::Unknown | ProbeState::Passing | ProbeState::Failing) => Vec::new(),
        }
    }

    pub fn log_trouble(&mut self, start: StartNumber, trouble: Option<String>) -> Vec<Output> {
        if self.supervision.running().is_none_or(|(running, _)| running != start) {
            return Vec::new();
        }
        let (severity, text) = match &trouble {
            Some(why) => (Severity::Warning, format!("its output is dropped: {why}")),
            None => (Severity::Info, "its output is kept again".into()),
        };
        self.log_trouble = trouble;
        vec![self.tell(severity, text)]
    }

    pub fn tick(&mut self, now: Time, numbers: &mut Numbers) -> Vec<Output> {
        let fresh = StartNumber(numbers.next());
        let order = self.supervision.tick(now, self.health.trouble(), fresh);
        self.follow(order)
    }

    /// The probe that is due, if any.
    pub fn ask(&mut self, now: Time, numbers: &mut Numbers) -> Option<Output> {
        let address = self.address()?;
        let probe = ProbeNumber(numbers.next());
        if !self.health.ask(now, probe) {
            return None;
        }
        Some(Output::Probe {
            id: self.assignment.id.clone(),
            probe,
            address,
            kind: self.assignment.probe.kind.clone(),
            timeout_ms: self.assignment.probe.timeout_ms,
        })
    }

    /// Turns an order into what the shell must do.
    fn follow(&mut self, order: Option<Order>) -> Vec<Output> {
        let id = self.assignment.id.clone();
        let Some(order) = order else { return Vec::new() };
        match order {
            Order::Start(start) => {
                let Run::Managed(launch) = &self.assignment.run else {
                    unreachable!("only a managed member has the goal to run")
                };
                self.stop_signal.clone_from(&launch.stop_signal);
                let clone_id = self.assignment.clone_id.clone();
                vec![Output::Start { id, start, clone_id, launch: launch.clone() }]
            }
            Order::Stop(start) => {
                if let Run::Managed(Launch { stop_signal, .. }) = &self.assignment.run {
                    self.stop_signal.clone_from(stop_signal);
                }
                self.forget_health();
                vec![
                    self.tell(Severity::Info, self.supervision.reason().to_owned()),
                    Output::Stop { id, start, signal: self.stop_signal.clone() },
                ]
            }
            Order::Kill(start) => {
                vec![
                    self.tell(Severity::Warning, self.supervision.reason().to_owned()),
                    Output::Kill { id, start },
                ]
            }
        }
    }

    /// Answers of a process that ends say nothing about the next one.
    fn forget_health(&mut self) {
        if matches!(self.assignment.run, Run::Managed(_)) {
            self.health = Health::idle();
        }
    }

    fn tell(&self, severity: Severity, text: String) -> Output {
        Output::Tell { id: self.assignment.id.clone(), severity, text }
    }

    /// What may answer a probe now.
    fn address(&self) -> Option<SocketAddr> {
        match &self.assignment.run {
            Run::External { address } => Some(*address),
            Run::Managed(_) => self.supervision.running().map(|(_, address)| address),
        }
    }

    pub fn wake_at(&self) -> Option<Time> {
        [self.supervision.wake_at(), self.health.wake_at()].into_iter().flatten().min()
    }

    /// Whether nothing is left to do for it.
    pub fn is_done(&self) -> bool {
        !self.is_assigned && self.supervision.is_at_rest()
    }

    pub fn stop_grace_ms(&self) -> u64 {
        rules(&self.assignment).stop_grace_ms
    }

    pub fn report(&self) -> MemberReport {
        let process = match (&self.assignment.run, self.supervision.is_at_rest()) {
            (Run::External { .. }, true) => ProcessState::External,
            (Run::External { .. } | Run::Managed(_), _) => self.supervision.process(),
        };
        let mut reason = match process {
            ProcessState::External | ProcessState::Running { .. } => self.health_text(),
            ProcessState::Stopped
            | ProcessState::Stopping { .. }
            | ProcessState::BackingOff
            | ProcessState::GaveUp => self.supervision.reason().to_owned(),
        };
        if let (ProcessState::Running { .. }, Some(why)) = (process, &self.log_trouble) {
            reason.push_str(&format!("; its output is dropped: {why}"));
        }
        MemberReport {
            id: self.assignment.id.clone(),
            instance: self.instance,
            process,
            probe: self.health.state(),
            address: self.address().or(self.last_address),
            restarts: self.supervision.restarts(),
            reason,
        }
    }

    fn health_text(&self) -> String {
        let asks = match self.assignment.probe.kind {
            ProbeKind::Process => return "runs; being there is its probe".into(),
            ProbeKind::Tcp | ProbeKind::Http { .. } => self.health.trouble(),
        };
        match (self.health.state(), asks) {
            (ProbeState::Passing, None) => "answers its probe".into(),
            (ProbeState::Passing, Some(why)) => format!("answered its probe, but not the last time: {why}"),
            (ProbeState::Unknown, None) => "has not answered its probe yet".into(),
            (ProbeState::Unknown, Some(why)) => format!("has not answered its probe yet: {why}"),
            (ProbeState::Failing, Some(why)) => format!("does not answer its probe: {why}"),
            (ProbeState::Failing, None) => "has begun to answer its probe again".into(),
        }
    }

    pub fn check(&self) {
        self.supervision.check();
        if matches!(self.assignment.run, Run::Managed(_)) && self.supervision.running().is_none() {
            assert!(self.health.state() == ProbeState::Unknown, "health of a process that does not run");
            assert!(self.health.wake_at().is_none(), "a probe is due for a process that does not run");
        }
    }
}

/// How an end reads: its status and, if there is one, the last thing it said.
pub fn exit_text(status: String, last_line: Option<String>) -> String {
    match last_line {
        Some(line) => format!("{status}; its last output: {}", cut(line)),
        None => status,
    }
}

/// Foreign text of bounded length.
fn cut(text: String) -> String {
    match text.char_indices().nth(FOREIGN_TEXT_MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn rules(assignment: &Assignment) -> Rules {
    match &assignment.run {
        Run::Managed(launch) => Rules { restart: launch.restart, stop_grace_ms: launch.stop_grace_ms },
        // Never used: nothing of an external member is started or stopped.
        Run::External { .. } => Rules {
            restart: RestartSettings {
                delay_ms: 0,
                delay_max_ms: 0,
                attempts_max: 0,
                reset_after_ms: 0,
                start_timeout_ms: 0,
                hung_after_ms: 0,
            },
            stop_grace_ms: 0,
        },
    }
}
