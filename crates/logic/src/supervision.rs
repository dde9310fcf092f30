//! Decides for one member when its process is started, stopped, killed, started again or given up.
//!
//! Pure: the caller carries out the orders and brings what came of them. Times are milliseconds of `Time`.
//! Promises: at most one process at a time; no start while one may still be there; never more than
//! `attempts_max` failed starts in a row; a process that was asked to stop is killed after its grace.
//! A process that ends unasked counts as a failed start however long it ran, and so does one that hangs for
//! `hung_after_ms` and is stopped for it; having been healthy for `reset_after_ms` wipes the count.
//! Not here: probes (see `probe`), ports, signals.

use crate::time::Time;
use std::net::SocketAddr;
use wire::agent::{ProbeState, ProcessState, RestartSettings};

#[cfg(test)]
mod tests;

/// Names one start of one process; never used twice by an agent, so that late news of an old process cannot be
/// taken for news of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StartNumber(pub u64);

/// What the member's assignment asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// A process of this instance; one of a lower instance is replaced. A number that falls is taken over without
    /// replacing anything: whoever counts has lost count, and that is no reason to stop a server.
    Run {
        instance: u64,
    },
    Rest,
}

/// The bounds that hold for the member now; they may change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub restart: RestartSettings,
    pub stop_grace_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Start(StartNumber),
    /// Ask it to stop by its stop signal.
    Stop(StartNumber),
    /// Kill it and everything that it started.
    Kill(StartNumber),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Resting,
    /// Ordered; nobody has said yet whether there is a process.
    Starting {
        start: StartNumber,
        /// When it counts as a failed start unless it has passed its probe.
        deadline: Time,
    },
    Running {
        start: StartNumber,
        pid: u32,
        address: SocketAddr,
        fitness: Fitness,
    },
    Stopping {
        start: StartNumber,
        pid: Option<u32>,
        cause: StopCause,
        kill: Kill,
    },
    BackingOff {
        until: Time,
    },
    GaveUp,
}

/// What the probe says of the running process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fitness {
    /// Has not passed yet; see the deadline of `Starting`.
    Untried {
        deadline: Time,
    },
    Healthy {
        since: Time,
    },
    /// Has passed before, fails now. Whoever routes goes around it; it is stopped once that lasts too long.
    Ailing {
        since: Time,
        /// Its newest answer was good: it is not stopped before the next one has shown whether it has recovered.
        is_answering: bool,
    },
}

impl Fitness {
    /// Healthy for so long that earlier failures no longer count.
    fn is_proven(self, now: Time, restart: &RestartSettings) -> bool {
        match self {
            Fitness::Healthy { since } => since + restart.reset_after_ms <= now,
            Fitness::Untried { .. } | Fitness::Ailing { .. } => false,
        }
    }

    fn ailing_ms(self, now: Time) -> u64 {
        match self {
            Fitness::Ailing { since, .. } => now.since_ms(since),
            Fitness::Untried { .. } | Fitness::Healthy { .. } => 0,
        }
    }

    /// When it counts as hung, if nothing comes between.
    fn hung_at(self, restart: &RestartSettings) -> Option<Time> {
        match self {
            Fitness::Ailing { since, is_answering: false } if restart.hung_after_ms > 0 => {
                Some(since + restart.hung_after_ms)
            }
            Fitness::Ailing { .. } | Fitness::Untried { .. } | Fitness::Healthy { .. } => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum StopCause {
    /// By its goal; after it what the goal says then.
    Asked,
    /// It has never become healthy or has hung: it counts as a failed start, for this reason.
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    At(Time),
    Sent,
}

/// One member's process, past failures included.
#[derive(Debug, Clone)]
pub struct Supervision {
    goal: Goal,
    rules: Rules,
    state: State,
    /// Failed starts in a row.
    failures: u32,
    /// Starts so far.
    starts: u32,
    reason: String,
}

impl Supervision {
    pub fn new(rules: Rules) -> Self {
        Self {
            goal: Goal::Rest,
            rules,
            state: State::Resting,
            failures: 0,
            starts: 0,
            reason: "not started".into(),
        }
    }

    /// Sets what is wanted and the rules that hold. Saying the same twice changes nothing. `why` is used when a
    /// process must stop for it; `fresh` names a start that follows.
    pub fn aim(
        &mut self,
        now: Time,
        goal: Goal,
        rules: Rules,
        why: &str,
        fresh: StartNumber,
    ) -> Option<Order> {
        let before = std::mem::replace(&mut self.goal, goal);
        self.rules = rules;
        let is_same = match (before, goal) {
            (Goal::Run { instance: old }, Goal::Run { instance: new }) => new <= old,
            (Goal::Rest, Goal::Rest) => true,
            (Goal::Run { .. }, Goal::Rest) | (Goal::Rest, Goal::Run { .. }) => false,
        };
        if is_same {
            return None;
        }
        self.failures = 0;
        match (&mut self.state, goal) {
            (State::Resting | State::BackingOff { .. } | State::GaveUp, Goal::Run { .. }) => {
                Some(self.start(now, fresh))
            }
            (State::Resting | State::BackingOff { .. } | State::GaveUp, Goal::Rest) => {
                self.rest(format!("stopped: {why}"));
                None
            }
            (State::Starting { start, .. }, _) => {
                let start = *start;
                Some(self.stop(now, start, None, StopCause::Asked, format!("stopping: {why}")))
            }
            (State::Running { start, pid, .. }, _) => {
                let (start, pid) = (*start, *pid);
                Some(self.stop(now, start, Some(pid), StopCause::Asked, format!("stopping: {why}")))
            }
            (State::Stopping { cause, .. }, _) => {
                *cause = StopCause::Asked;
                self.reason = format!("stopping: {why}");
                None
            }
        }
    }

    /// News: the process is there. Says whether that was expected.
    pub fn started(&mut self, start: StartNumber, pid: u32, address: SocketAddr) -> bool {
        match &mut self.state {
            State::Starting { start: awaited, deadline } if *awaited == start => {
                let deadline = *deadline;
                self.state = State::Running { start, pid, address, fitness: Fitness::Untried { deadline } };
                self.reason = "started; has not answered its probe yet".into();
                true
            }
            State::Stopping { start: awaited, pid: known, .. } if *awaited == start => {
                *known = Some(pid);
                true
            }
            State::Resting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::BackingOff { .. }
            | State::GaveUp => false,
        }
    }

    /// News: the process is gone, or never came to be. `why` is what people read, e.g. `exited with status 1`.
    pub fn ended(&mut self, now: Time, start: StartNumber, why: &str, fresh: StartNumber) -> Option<Order> {
        match &self.state {
            State::Starting { start: awaited, .. } if *awaited == start => {
                self.fail(now, why);
                None
            }
            State::Running { start: awaited, fitness, .. } if *awaited == start => {
                if fitness.is_proven(now, &self.rules.restart) {
                    self.failures = 0;
                }
                self.fail(now, why);
                None
            }
            State::Stopping { start: awaited, cause, .. } if *awaited == start => match (cause, self.goal) {
                (StopCause::Asked | StopCause::Failed(_), Goal::Rest) => {
                    self.rest(format!("stopped: {why}"));
                    None
                }
                (StopCause::Asked, Goal::Run { .. }) => Some(self.start(now, fresh)),
                (StopCause::Failed(text), Goal::Run { .. }) => {
                    let why = format!("{text}, and {why}");
                    self.fail(now, &why);
                    None
                }
            },
            State::Resting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::BackingOff { .. }
            | State::GaveUp => None,
        }
    }

    /// What the probe says now of the running process, and what was wrong with its newest answer, if anything.
    pub fn probed(&mut self, now: Time, verdict: ProbeState, trouble: Option<&str>) {
        let State::Running { fitness, .. } = &mut self.state else { return };
        if fitness.is_proven(now, &self.rules.restart) {
            self.failures = 0;
        }
        let is_answering = trouble.is_none();
        *fitness = match (*fitness, verdict) {
            (Fitness::Untried { .. } | Fitness::Ailing { .. }, ProbeState::Passing) => {
                Fitness::Healthy { since: now }
            }
            (Fitness::Healthy { .. }, ProbeState::Failing) => Fitness::Ailing { since: now, is_answering },
            (Fitness::Ailing { since, .. }, ProbeState::Failing) => Fitness::Ailing { since, is_answering },
            (unchanged, ProbeState::Unknown | ProbeState::Passing | ProbeState::Failing) => unchanged,
        };
    }

    /// Another probe asks from now on: a process that failed the last one has its time anew.
    pub fn probe_changed(&mut self, now: Time) {
        if let State::Running { fitness: Fitness::Ailing { since, .. }, .. } = &mut self.state {
            *since = now;
        }
    }

    /// Time has passed. `trouble` is what the probe has to say of a process that does not pass it.
    pub fn tick(&mut self, now: Time, trouble: Option<&str>, fresh: StartNumber) -> Option<Order> {
        match &mut self.state {
            State::BackingOff { until } if *until <= now => Some(self.start(now, fresh)),
            State::Starting { start, deadline } if *deadline <= now => {
                let start = *start;
                Some(self.time_out(now, start, None, trouble))
            }
            State::Running { start, pid, fitness: Fitness::Untried { deadline }, .. } if *deadline <= now => {
                let (start, pid) = (*start, *pid);
                Some(self.time_out(now, start, Some(pid), trouble))
            }
            State::Running { fitness, .. } if fitness.is_proven(now, &self.rules.restart) => {
                self.failures = 0;
                None
            }
            State::Running { start, pid, fitness, .. }
                if fitness.hung_at(&self.rules.restart).is_some_and(|at| at <= now) =>
            {
                let (start, pid, fitness) = (*start, *pid, *fitness);
                Some(self.stop_hung(now, start, pid, fitness, trouble))
            }
            State::Stopping { start, kill, .. } if matches!(*kill, Kill::At(at) if at <= now) => {
                *kill = Kill::Sent;
                self.reason = format!("killed: did not stop within {} ms", self.rules.stop_grace_ms);
                Some(Order::Kill(*start))
            }
            State::Resting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::BackingOff { .. }
            | State::GaveUp => None,
        }
    }

    pub fn wake_at(&self) -> Option<Time> {
        match &self.state {
            State::BackingOff { until } => Some(*until),
            State::Starting { deadline, .. }
            | State::Running { fitness: Fitness::Untried { deadline }, .. } => Some(*deadline),
            State::Running { fitness: Fitness::Healthy { since }, .. } if self.failures > 0 => {
                Some(*since + self.rules.restart.reset_after_ms)
            }
            State::Running { fitness, .. } => fitness.hung_at(&self.rules.restart),
            State::Stopping { kill: Kill::At(at), .. } => Some(*at),
            State::Resting | State::Stopping { .. } | State::GaveUp => None,
        }
    }

    fn start(&mut self, now: Time, fresh: StartNumber) -> Order {
        let deadline = now + self.rules.restart.start_timeout_ms;
        self.state = State::Starting { start: fresh, deadline };
        self.starts = self.starts.saturating_add(1);
        self.reason = "starting".into();
        Order::Start(fresh)
    }

    fn stop(
        &mut self,
        now: Time,
        start: StartNumber,
        pid: Option<u32>,
        cause: StopCause,
        reason: String,
    ) -> Order {
        let kill = Kill::At(now + self.rules.stop_grace_ms);
        self.state = State::Stopping { start, pid, cause, kill };
        self.reason = reason;
        Order::Stop(start)
    }

    fn time_out(&mut self, now: Time, start: StartNumber, pid: Option<u32>, trouble: Option<&str>) -> Order {
        let limit_ms = self.rules.restart.start_timeout_ms;
        let text = with_trouble(format!("did not pass its probe within {limit_ms} ms of its start"), trouble);
        let reason = format!("stopping: {text}");
        self.stop(now, start, pid, StopCause::Failed(text), reason)
    }

    /// It gets its stop signal and grace like any other: a process that only waits for something may still end in
    /// order, and one that cannot hear loses no more than `stop_grace_ms` by it, while nobody routes to it.
    fn stop_hung(
        &mut self,
        now: Time,
        start: StartNumber,
        pid: u32,
        fitness: Fitness,
        trouble: Option<&str>,
    ) -> Order {
        let hung_s = fitness.ailing_ms(now) as f64 / 1000.0;
        let text = with_trouble(format!("did not answer its probe for {hung_s:.1} s"), trouble);
        let is_last = self.failures.saturating_add(1) >= self.rules.restart.attempts_max;
        let reason = format!("{text}; {}", if is_last { "stopping" } else { "restarting" });
        self.stop(now, start, Some(pid), StopCause::Failed(text), reason)
    }

    fn rest(&mut self, reason: String) {
        self.state = State::Resting;
        self.reason = reason;
    }

    /// Counts a failed start and decides whether there will be another.
    fn fail(&mut self, now: Time, why: &str) {
        let restart = self.rules.restart;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= restart.attempts_max {
            self.state = State::GaveUp;
            self.reason = match self.failures {
                1 => format!("{why}; gave up after the first failed start"),
                failures => format!("{why}; gave up after {failures} failed starts in a row"),
            };
            return;
        }
        let delay_ms = restart_delay_ms(&restart, self.failures);
        self.state = State::BackingOff { until: now + delay_ms };
        self.reason = format!(
            "{why}; starts again after {delay_ms} ms (failure {} of {})",
            self.failures, restart.attempts_max
        );
    }

    /// Whether news of this start still matter: all that came of earlier ones has been heard.
    pub fn is_current(&self, number: StartNumber) -> bool {
        match self.state {
            State::Starting { start, .. } | State::Running { start, .. } | State::Stopping { start, .. } => {
                start == number
            }
            State::Resting | State::BackingOff { .. } | State::GaveUp => false,
        }
    }

    /// Whether there is no process and none is about to be.
    pub fn is_at_rest(&self) -> bool {
        match self.state {
            State::Resting | State::BackingOff { .. } | State::GaveUp => true,
            State::Starting { .. } | State::Running { .. } | State::Stopping { .. } => false,
        }
    }

    /// The process that runs and is wanted, if there is one: its start and address.
    pub fn running(&self) -> Option<(StartNumber, SocketAddr)> {
        match self.state {
            State::Running { start, address, .. } => Some((start, address)),
            State::Resting
            | State::Starting { .. }
            | State::Stopping { .. }
            | State::BackingOff { .. }
            | State::GaveUp => None,
        }
    }

    pub fn process(&self) -> ProcessState {
        match self.state {
            State::Resting => ProcessState::Stopped,
            // Between two starts of one wish nobody sees a moment of rest.
            State::Starting { .. } if self.failures > 0 => ProcessState::BackingOff,
            State::Starting { .. } => ProcessState::Stopped,
            State::Running { pid, .. } => ProcessState::Running { pid },
            State::Stopping { pid: Some(pid), .. } => ProcessState::Stopping { pid },
            State::Stopping { pid: None, .. } => ProcessState::Stopped,
            State::BackingOff { .. } => ProcessState::BackingOff,
            State::GaveUp => ProcessState::GaveUp,
        }
    }

    /// Why it is so, as a sentence for people.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Starts so far, less the first.
    pub fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }

    /// Panics when a promise is broken.
    pub fn check(&self) {
        let goes_on = matches!(self.state, State::BackingOff { .. });
        assert!(!goes_on || self.failures > 0, "backing off without a failure");
        let wants_rest = self.goal == Goal::Rest;
        let is_alive = matches!(self.state, State::Starting { .. } | State::Running { .. });
        assert!(!(wants_rest && is_alive), "runs though nobody wants it");
        assert!(!(wants_rest && goes_on), "will start though nobody wants it");
        assert!(self.state != State::GaveUp || self.failures > 0, "gave up without a failure");
    }
}

/// `text`, and in brackets what the probe has to say.
fn with_trouble(text: String, trouble: Option<&str>) -> String {
    match trouble {
        Some(trouble) => format!("{text} ({trouble})"),
        None => text,
    }
}

/// Wait before the start that follows `failures` failures in a row: doubles each time, up to the maximum.
fn restart_delay_ms(restart: &RestartSettings, failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(63);
    restart.delay_ms.saturating_mul(1 << doublings).min(restart.delay_max_ms)
}
