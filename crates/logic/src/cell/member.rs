//! A member as the cell knows it: its settings, what is wanted of it, what was reported, and what is being done to it.

use super::record::{self, Record, Seen};
use crate::rollout::{Candidate, Goal, Phase};
use crate::run_state::{AgentLink, Away, Facts, Observed, Reason, Task, Wish, is_lost, judge, observe};
use crate::time::Time;
use std::net::SocketAddr;
use wire::agent::{Assignment, MemberReport, ProbeState, ProcessState, Run, Want};
use wire::id::{ClusterName, Epoch, MemberId};
use wire::settings::MemberSettings;
use wire::view::{MemberView, RunState};

/// Highest instance that is believed of an agent: what is above comes from a fault.
const INSTANCE_HEARD_MAX: u64 = 1 << 62;

#[derive(Debug, Clone)]
pub(super) struct Member {
    /// As its agent was told.
    pub settings: MemberSettings,
    /// Settings that need a new process and wait for their turn.
    pub next: Option<MemberSettings>,
    /// Fingerprint of the settings that its process was started with.
    pub launched: u64,
    pub wish: Wish,
    /// What its agent was told; follows a wish to stop only once the member is out of rotation.
    pub want: Want,
    pub instance: u64,
    pub phase: Phase,
    /// No longer in the configuration; stays until nothing is under way to it.
    pub is_leaving: bool,
    pub report: Option<MemberReport>,
    /// The process that has passed its probe.
    pub passed_pid: Option<u32>,
    pub address: Option<SocketAddr>,
    /// What an earlier manager observed.
    pub before: Option<RunState>,
    /// As observed, whatever is wanted.
    pub observed: RunState,
    pub state: RunState,
    pub reason: Reason,
    /// Its machine has taken it along.
    pub away: Option<Away>,
    /// Nobody will answer what routers have under way to it; until it is up again.
    pub is_lost: bool,
    pub since: Time,
    /// The epoch from which on it is out of rotation.
    pub out_epoch: Option<Epoch>,
    /// What was remembered last.
    pub recorded: Option<Record>,
    pub recorded_seen: Option<Seen>,
}

impl Member {
    pub fn new(settings: MemberSettings, instance: u64, now: Time) -> Self {
        let address = match &settings.run {
            Run::External { address } => Some(*address),
            Run::Managed(_) => None,
        };
        Self {
            launched: record::fingerprint(&settings),
            settings,
            next: None,
            wish: Wish::Run,
            want: Want::Running,
            instance,
            phase: Phase::Steady,
            is_leaving: false,
            report: None,
            passed_pid: None,
            address,
            before: None,
            observed: RunState::Unknown,
            state: RunState::Unknown,
            reason: Reason::NotHeard,
            away: None,
            is_lost: false,
            since: now,
            out_epoch: None,
            recorded: None,
            recorded_seen: None,
        }
    }

    pub fn is_external(&self) -> bool {
        matches!(self.settings.run, Run::External { .. })
    }

    /// Whether its process runs with other settings than it should.
    pub fn needs_restart(&self) -> bool {
        let wanted = self.next.as_ref().unwrap_or(&self.settings);
        !self.is_leaving && record::fingerprint(wanted) != self.launched
    }

    pub fn serves(&self) -> bool {
        matches!(self.state, RunState::Up | RunState::Draining)
    }

    pub fn is_up(&self) -> bool {
        self.state == RunState::Up
    }

    pub fn is_current(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.instance >= self.instance)
    }

    /// Takes what its agent says now; None if the agent does not speak of it. Whether anything is new.
    pub fn take_report(&mut self, report: Option<MemberReport>) -> bool {
        if self.report == report {
            return false;
        }
        self.report = report;
        let Some(report) = &self.report else { return true };
        // An earlier manager may have raised it and died before that was remembered, or the store was put back; never fall
        // behind the agent.
        self.instance = self.instance.max(report.instance.min(INSTANCE_HEARD_MAX));
        match report.process {
            ProcessState::Running { pid } if report.probe == ProbeState::Passing => {
                self.passed_pid = Some(pid)
            }
            ProcessState::Running { pid } if self.passed_pid == Some(pid) => {}
            ProcessState::Running { .. }
            | ProcessState::External
            | ProcessState::Stopped
            | ProcessState::Stopping { .. }
            | ProcessState::BackingOff
            | ProcessState::GaveUp => self.passed_pid = None,
        }
        if let Run::Managed(_) = self.settings.run
            && report.address.is_some()
        {
            self.address = report.address;
        }
        true
    }

    /// Judges it anew; whether its run state has changed. `is_drained`: its node is.
    pub fn judge(&mut self, now: Time, link: AgentLink, away: Option<Away>, is_drained: bool) -> bool {
        let facts = Facts {
            wish: match self.wish {
                Wish::Run if is_drained => Wish::Drain,
                wish @ (Wish::Run | Wish::Drain | Wish::Stop) => wish,
            },
            task: match self.phase {
                Phase::Steady | Phase::Returning { .. } => Task::None,
                Phase::Draining { goal, .. } => Task::Draining(goal),
                Phase::Out { goal, .. } => Task::TakenOut(goal),
            },
            is_external: self.is_external(),
            link,
            observed: self.report.as_ref().map(|report| Observed {
                process: report.process,
                probe: report.probe,
                is_current: self.is_current(),
                has_passed: self.passed_pid.is_some(),
                detail: &report.reason,
            }),
            before: self.before,
            away,
            was_lost: self.is_lost,
        };
        self.observed = observe(&facts).0;
        self.away = away;
        self.is_lost = is_lost(&facts);
        if self.is_external() && matches!(self.observed, RunState::Up | RunState::Down) {
            self.before = Some(self.observed);
        }
        let (state, reason) = judge(&facts);
        let is_changed = state != self.state;
        if is_changed {
            self.since = now;
        }
        (self.state, self.reason) = (state, reason);
        is_changed
    }

    /// A new process is wanted, with the newest settings.
    pub fn renew(&mut self) {
        self.take_next();
        self.instance += 1;
        self.want = Want::Running;
    }

    /// The newest settings are in force from now on.
    pub fn take_next(&mut self) {
        if let Some(next) = self.next.take() {
            if next.node != self.settings.node {
                self.report = None;
                self.passed_pid = None;
                self.is_lost = false;
            }
            // What was seen was seen of something else.
            self.before = None;
            self.address = match next.run {
                Run::External { address } => Some(address),
                Run::Managed(_) if self.is_external() => None,
                Run::Managed(_) => self.address,
            };
            self.settings = next;
        }
        self.launched = record::fingerprint(&self.settings);
    }

    /// How long requests under way may take once it is out of rotation.
    pub fn grace_ms(&self) -> u64 {
        match &self.settings.run {
            Run::Managed(launch) => launch.stop_grace_ms,
            Run::External { .. } => crate::limits::EXTERNAL_GRACE_MS,
        }
    }

    /// How long a new process may take to serve: the old one stops, the new one starts.
    pub fn return_ms(&self) -> u64 {
        let probe = &self.settings.probe;
        let proving_ms = (probe.interval_ms + probe.timeout_ms) * u64::from(probe.rise + 1);
        match &self.settings.run {
            Run::Managed(launch) => {
                launch.stop_grace_ms + launch.restart.start_timeout_ms + probe.interval_ms
            }
            Run::External { .. } => proving_ms,
        }
    }

    pub fn candidate(&self, is_left: bool) -> Candidate {
        Candidate {
            name: self.settings.name.clone(),
            is_up: self.is_up(),
            is_wanted: self.wish != Wish::Stop,
            is_left,
            is_busy: self.phase != Phase::Steady,
        }
    }

    /// Takes it out of rotation for `goal`, from now on.
    pub fn take_out(&mut self, now: Time, goal: Goal) {
        self.phase = Phase::Out { until: now + self.grace_ms(), goal };
        self.out_epoch = None;
    }

    /// As routers see it. `is_empty`: nobody in its cluster serves.
    pub fn view(&self, is_empty: bool) -> MemberView {
        // One that is only away is used in panic where nobody else is left: the cell may be wrong about its machine.
        let is_last_hope = is_empty && self.reason == Reason::NodeAway && self.observed == RunState::Up;
        MemberView {
            secure: None,
            name: self.settings.name.clone(),
            clone_id: self.settings.clone_id.clone(),
            address: self.address,
            state: self.state,
            weight: self.settings.weight,
            is_lost: self.is_lost,
            only_fails_probe: self.wish == Wish::Run
                && self.state == RunState::Down
                && (is_last_hope || (self.away.is_none() && self.reason.is_probe())),
            reason: self.reason.to_string(),
            zone: self.settings.zone.clone(),
            is_backup: self.settings.is_backup,
            requests_max: self.settings.requests_max,
            transport: self.settings.transport.clone(),
        }
    }

    pub fn assignment(&self, cluster: &ClusterName) -> Assignment {
        Assignment {
            id: MemberId { cluster: cluster.clone(), member: self.settings.name.clone() },
            clone_id: self.settings.clone_id.clone(),
            run: self.settings.run.clone(),
            probe: self.settings.probe.clone(),
            want: self.want,
            instance: self.instance,
        }
    }
}
