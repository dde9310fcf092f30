//! One group on one node: the steps of its life, and what each of them waits for.

use super::super::plan::environment;
use super::recover::{Care, Next};
use super::rest::Rest;
use super::{Action, Around, Output, RUN_OF_BEFORE, Verb};
use crate::limits::{GROUP_HANDED_OVER_MS, RECOVERY_SCRIPT_MS};
use crate::recovery::Ledger;
use crate::time::Time;
use wire::group::{
    GroupAssignment, GroupReport, GroupState, ResourceReport, ResourceSettings, ResourceState, StartCause,
};
use wire::id::GroupName;

/// How a group's stay ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Stopped,
    Failed,
    Expired,
    /// It does not: once the resources from this one on are stopped, they are started again.
    Again {
        from: usize,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing runs and nothing is held.
    Idle(GroupState),
    /// Resource `at` is being started; those before it run.
    Starting {
        run: u64,
        at: usize,
        step: u64,
        until: Time,
    },
    Online {
        run: u64,
    },
    /// All of it runs, and a script is under way before something is done to it.
    Before {
        run: u64,
        step: u64,
        until: Time,
        next: Next,
    },
    /// Resource `at` and those after it are started again in a moment; those before it run.
    Resting {
        run: u64,
        at: usize,
        until: Time,
    },
    /// About to stop resource `at - 1` and those before it.
    Leaving {
        run: u64,
        at: usize,
        then: Then,
    },
    /// Resource `at` is being stopped; those after it are.
    Stopping {
        run: u64,
        at: usize,
        step: u64,
        until: Time,
        then: Then,
    },
    /// The guardian was told to end, or has to by itself.
    Ending {
        run: u64,
        then: Then,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Local {
    /// What runs, or is to.
    pub assignment: GroupAssignment,
    /// What is to run once nothing of the present epoch is left.
    next: Option<GroupAssignment>,
    is_wanted: bool,
    /// This epoch and those below are not run (again).
    burnt: u64,
    pub reason: String,
    pub phase: Phase,
    pub ledger: Ledger,
    pub care: Care,
    pub rest: Rest,
    /// Until when it rests before it is begun again.
    rests_until: Option<Time>,
    /// What the guardian could not give back.
    pub left: Option<String>,
    /// Until when what is started was handed over by the node before in this moment.
    handed_until: Time,
}

impl Local {
    pub fn new(now: Time, assignment: GroupAssignment, ledger: Ledger) -> Self {
        Self {
            handed_until: handed_until(now, &assignment),
            assignment,
            next: None,
            is_wanted: true,
            burnt: 0,
            reason: "told to start".into(),
            phase: Phase::Idle(GroupState::Waiting),
            ledger,
            care: Care::default(),
            rest: Rest::default(),
            rests_until: None,
            left: None,
        }
    }

    /// What an agent before this one has left behind, and nobody wants here.
    pub fn found(name: GroupName, epoch: u64, resources: Vec<ResourceSettings>, why: String) -> Self {
        let assignment = GroupAssignment {
            name,
            epoch,
            is_leased: false,
            is_frozen: false,
            restarts_max: 0,
            granted: None,
            cause: StartCause::Start,
            priority: 0,
            previous: None,
            is_handed_over: false,
            resources,
        };
        Self {
            is_wanted: false,
            reason: "an agent before this one did not end it in good order".into(),
            phase: Phase::Ending { run: RUN_OF_BEFORE, then: Then::Failed },
            left: Some(why),
            ..Self::new(Time(0), assignment, Ledger::default())
        }
    }

    pub fn epoch(&self) -> u64 {
        self.assignment.epoch
    }

    pub fn run(&self) -> Option<u64> {
        match self.phase {
            Phase::Idle(_) => None,
            Phase::Starting { run, .. }
            | Phase::Online { run }
            | Phase::Before { run, .. }
            | Phase::Resting { run, .. }
            | Phase::Leaving { run, .. }
            | Phase::Stopping { run, .. }
            | Phase::Ending { run, .. } => Some(run),
        }
    }

    /// Whether something of it may be there.
    pub fn is_held(&self) -> bool {
        self.run().is_some()
    }

    pub fn is_done(&self) -> bool {
        !self.is_wanted && !self.is_held()
    }

    /// Nothing of it is there, or all that can be done soon was done.
    pub fn is_over(&self) -> bool {
        !self.is_held() || self.left.is_some()
    }

    pub fn assign(
        &mut self,
        assignment: Option<GroupAssignment>,
        around: &Around<'_>,
        outputs: &mut Vec<Output>,
    ) {
        self.next = None;
        self.is_wanted = assignment.is_some();
        let Some(assignment) = assignment else { return };
        if assignment.epoch == self.assignment.epoch {
            // What runs is stopped as it was started; whether it needs a lease may change meanwhile.
            self.need_lease(assignment.is_leased, around, outputs);
            self.assignment.is_frozen = assignment.is_frozen;
            self.assignment.restarts_max = assignment.restarts_max;
            self.assignment.granted = assignment.granted;
        } else {
            self.handed_until = handed_until(around.now, &assignment);
            self.next = Some(assignment);
        }
    }

    /// Whether it needs a lease may change while it runs. Its guardian has the new deadline before the leader hears that this
    /// was obeyed: from then on the leader counts on it, whatever becomes of this process.
    fn need_lease(&mut self, is_leased: bool, around: &Around<'_>, outputs: &mut Vec<Output>) {
        let is_ending = matches!(self.phase, Phase::Ending { .. });
        let is_news = std::mem::replace(&mut self.assignment.is_leased, is_leased) != is_leased;
        let Some(run) = self.run().filter(|_| is_news && !is_ending) else { return };
        if is_leased && !around.has_lease() {
            return self.expire(around, outputs);
        }
        let span = is_leased.then_some(around.span);
        outputs.push(Output::Guard { group: self.assignment.name.clone(), run, span });
    }

    /// Ends it at once if the node may not go on.
    pub fn expire(&mut self, around: &Around<'_>, outputs: &mut Vec<Output>) {
        let Some(run) = self.run().filter(|_| self.assignment.is_leased && !around.has_lease()) else {
            return;
        };
        if matches!(self.phase, Phase::Ending { .. }) {
            return;
        }
        self.reason = format!("the lease of node {} has ended", around.node);
        self.end(run, Then::Expired, outputs);
    }

    fn end(&mut self, run: u64, then: Then, outputs: &mut Vec<Output>) {
        self.phase = Phase::Ending { run, then };
        outputs.push(Output::End { group: self.assignment.name.clone(), run });
    }

    pub fn done(&mut self, run: u64, step: u64, result: Result<(), String>, outputs: &mut Vec<Output>) {
        match self.phase {
            Phase::Starting { run: own, at, step: waited, .. } if (own, waited) == (run, step) => {
                self.started(run, at, result, outputs);
            }
            Phase::Stopping { run: own, at, step: waited, then, .. } if (own, waited) == (run, step) => {
                self.stopped(run, at, then, result, outputs);
            }
            Phase::Before { run: own, step: waited, next, .. } if (own, waited) == (run, step) => {
                self.script_ended(run, next, result, outputs);
            }
            _ => {}
        }
    }

    fn started(&mut self, run: u64, at: usize, result: Result<(), String>, outputs: &mut Vec<Output>) {
        let name = &self.assignment.resources[at].name;
        match result {
            Ok(()) if at + 1 == self.assignment.resources.len() => {
                self.reason = self.care.how_it_came_online();
                self.phase = Phase::Online { run };
            }
            Ok(()) => self.phase = Phase::Starting { run, at: at + 1, step: 0, until: Time(0) },
            Err(why) => {
                self.reason = format!("{name} was not started: it {why}");
                self.tell(true, outputs);
                self.phase = Phase::Leaving { run, at: at + 1, then: Then::Failed };
            }
        }
    }

    fn stopped(
        &mut self,
        run: u64,
        at: usize,
        then: Then,
        result: Result<(), String>,
        outputs: &mut Vec<Output>,
    ) {
        let mut then = then;
        if let Err(why) = result {
            let name = &self.assignment.resources[at].name;
            if matches!(then, Then::Again { .. }) {
                // What may still run must not be started a second time beside itself.
                self.reason = format!("{name} could not be restarted in its place: to stop, it {why}");
                then = Then::Failed;
            }
            let text = format!("{name} was not stopped in good order and is killed: it {why}");
            let group = self.assignment.name.clone();
            outputs.push(Output::Tell { group, is_warning: true, text: text.clone() });
            self.care.not_stopped(text);
        }
        self.phase = Phase::Leaving { run, at, then };
    }

    pub(super) fn tell(&self, is_warning: bool, outputs: &mut Vec<Output>) {
        let (group, text) = (self.assignment.name.clone(), self.told_reason());
        outputs.push(Output::Tell { group, is_warning, text });
    }

    pub fn lost(&mut self, now: Time, run: u64, resource: usize, why: &str, outputs: &mut Vec<Output>) {
        let Some(lost) = self.assignment.resources.get(resource).filter(|_| self.run() == Some(run)) else {
            return;
        };
        let why = format!("{} is lost: it {why}", lost.name);
        match &mut self.phase {
            Phase::Online { .. } => self.restart_lost(now, run, resource, why, outputs),
            Phase::Starting { at, .. } => {
                let at = *at + 1;
                self.reason = why;
                self.tell(true, outputs);
                self.phase = Phase::Leaving { run, at, then: Then::Failed };
            }
            Phase::Resting { at, .. } => {
                let (at, from) = (*at, resource.min(*at));
                self.phase = Phase::Leaving { run, at, then: Then::Again { from } };
            }
            // It is restarted with the rest.
            Phase::Before { next: Next::Restart { from }, .. }
            | Phase::Stopping { then: Then::Again { from }, .. }
            | Phase::Leaving { then: Then::Again { from }, .. } => *from = (*from).min(resource),
            Phase::Idle(_)
            | Phase::Before { .. }
            | Phase::Stopping { .. }
            | Phase::Leaving { .. }
            | Phase::Ending { .. } => {}
        }
    }

    /// Not all of it could be given back: that is tried again until `ended`.
    pub fn left(&mut self, run: u64, why: String, outputs: &mut Vec<Output>) {
        if self.run() != Some(run) || self.left.as_ref() == Some(&why) {
            return;
        }
        if !matches!(self.phase, Phase::Ending { .. }) {
            self.reason = "it has lost its guardian".into();
            self.phase = Phase::Ending { run, then: Then::Failed };
        }
        self.left = Some(why);
        self.tell(true, outputs);
    }

    pub fn ended(&mut self, now: Time, run: u64, why: &str, outputs: &mut Vec<Output>) {
        if self.run() != Some(run) {
            return;
        }
        let then = match self.phase {
            Phase::Ending { then, .. } => then,
            Phase::Idle(_)
            | Phase::Starting { .. }
            | Phase::Online { .. }
            | Phase::Before { .. }
            | Phase::Resting { .. }
            | Phase::Leaving { .. }
            | Phase::Stopping { .. } => {
                self.reason = format!("its guardian {why}");
                self.tell(true, outputs);
                Then::Failed
            }
        };
        self.left = None;
        self.burnt = self.assignment.epoch;
        self.phase = Phase::Idle(match then {
            Then::Stopped => GroupState::Stopped,
            Then::Failed | Then::Again { .. } => {
                self.note_failed();
                self.rest.failed(now);
                GroupState::Failed
            }
            Then::Expired => GroupState::Expired,
        });
    }

    /// Everything that needs no more news.
    pub fn go_on(&mut self, around: &Around<'_>, used: &mut u64, outputs: &mut Vec<Output>) {
        self.give_up_late(around.now, outputs);
        let is_unwanted = self.is_unwanted(around);
        match self.phase {
            Phase::Idle(_) => self.begin(around, used, outputs),
            Phase::Online { run } if is_unwanted => {
                let then = self.end_unwanted(around);
                self.phase = Phase::Leaving { run, at: self.assignment.resources.len(), then };
                self.leave(around, used, outputs);
            }
            Phase::Online { run } => self.recover(run, around, used, outputs),
            Phase::Before { .. } | Phase::Ending { .. } | Phase::Stopping { .. } => {}
            // A start that is under way comes to its end first: what it does cannot be undone halfway.
            Phase::Starting { run, at, step: 0, .. } if is_unwanted => {
                let then = if around.is_ending { Then::Expired } else { Then::Stopped };
                self.phase = Phase::Leaving { run, at, then };
                self.leave(around, used, outputs);
            }
            Phase::Starting { run, at, step: 0, .. } => self.start(run, at, around, used, outputs),
            Phase::Starting { .. } => {}
            Phase::Resting { run, at, .. } if is_unwanted => {
                let then = self.end_unwanted(around);
                self.phase = Phase::Leaving { run, at, then };
                self.leave(around, used, outputs);
            }
            Phase::Resting { run, at, until } if until <= around.now => {
                self.start(run, at, around, used, outputs);
            }
            Phase::Resting { .. } => {}
            Phase::Leaving { .. } => self.leave(around, used, outputs),
        }
    }

    fn is_unwanted(&self, around: &Around<'_>) -> bool {
        !self.is_wanted || self.next.is_some() || around.is_ending
    }

    fn end_unwanted(&mut self, around: &Around<'_>) -> Then {
        self.reason = match around.is_ending {
            true => format!("the agent of node {} ends", around.node),
            false => "told to stop".into(),
        };
        if around.is_ending { Then::Expired } else { Then::Stopped }
    }

    /// What takes too long counts as failed.
    fn give_up_late(&mut self, now: Time, outputs: &mut Vec<Output>) {
        match self.phase {
            Phase::Starting { run, at, step, until } if step > 0 && until <= now => {
                let wait_ms = self.assignment.resources[at].start_timeout_ms;
                let why = format!("did not come to an end within {} s", wait_ms as f64 / 1_000.0);
                self.started(run, at, Err(why), outputs);
            }
            Phase::Stopping { run, at, until, then, .. } if until <= now => {
                let wait_ms = self.assignment.resources[at].stop_timeout_ms;
                let why = format!("did not come to an end within {} s", wait_ms as f64 / 1_000.0);
                self.stopped(run, at, then, Err(why), outputs);
            }
            Phase::Before { run, until, next, .. } if until <= now => {
                let why = format!("did not come to an end within {} s", RECOVERY_SCRIPT_MS / 1_000);
                self.script_ended(run, next, Err(why), outputs);
            }
            _ => {}
        }
    }

    /// Starts the first resource, if the group may run.
    fn begin(&mut self, around: &Around<'_>, used: &mut u64, outputs: &mut Vec<Output>) {
        if let Some(next) = self.next.take() {
            self.assignment = next;
            self.reason = "told to start".into();
            self.phase = Phase::Idle(GroupState::Waiting);
        }
        self.rests_until = None;
        let is_allowed = !self.assignment.is_leased || around.has_lease();
        let is_due = self.is_wanted && !around.is_ending && self.assignment.epoch > self.burnt;
        if !is_due {
            return;
        }
        if !is_allowed {
            self.reason = format!("node {} has no lease", around.node);
            return;
        }
        let is_again = self.assignment.cause == StartCause::Again;
        self.rests_until = self.rest.until(around.now).filter(|_| is_again);
        if self.rests_until.is_some() {
            self.reason = "it has failed at once several times, and is started again in a moment".into();
            return;
        }
        self.reason = "told to start".into();
        self.ledger.begun(around.now, self.assignment.cause);
        self.care = Care::default();
        *used += 1;
        let run = *used;
        let span = self.assignment.is_leased.then_some(around.span);
        outputs.push(Output::Guard { group: self.assignment.name.clone(), run, span });
        self.phase = Phase::Starting { run, at: 0, step: 0, until: around.now };
        self.start(run, 0, around, used, outputs);
    }

    fn start(&mut self, run: u64, at: usize, around: &Around<'_>, used: &mut u64, outputs: &mut Vec<Output>) {
        *used += 1;
        let step = *used;
        let until = around.now + self.assignment.resources[at].start_timeout_ms;
        self.rest.started(around.now);
        self.phase = Phase::Starting { run, at, step, until };
        self.care.started(at, step);
        outputs.push(self.action(run, step, at, Verb::Start, around));
    }

    /// Stops the next resource, the last first; or ends what is left.
    pub(super) fn leave(&mut self, around: &Around<'_>, used: &mut u64, outputs: &mut Vec<Output>) {
        let Phase::Leaving { run, at, mut then } = self.phase else { return };
        // What ends here and begins again may meet anybody.
        self.handed_until = Time(0);
        if let Then::Again { from } = then {
            if self.is_unwanted(around) {
                then = self.end_unwanted(around);
            } else if at <= from {
                match self.rest.until(around.now) {
                    Some(until) => self.phase = Phase::Resting { run, at, until },
                    None => self.start(run, at, around, used, outputs),
                }
                return;
            }
        }
        let Some(at) = at.checked_sub(1) else { return self.end(run, then, outputs) };
        *used += 1;
        let step = *used;
        let until = around.now + self.assignment.resources[at].stop_timeout_ms;
        self.phase = Phase::Stopping { run, at, step, until, then };
        outputs.push(self.action(run, step, at, Verb::Stop, around));
    }

    fn action(&self, run: u64, step: u64, index: usize, verb: Verb, around: &Around<'_>) -> Output {
        let resource = self.assignment.resources[index].clone();
        let environment = environment(&self.assignment, &resource.name, around.node);
        let is_handed_over = around.now < self.handed_until;
        let action = Box::new(Action { verb, index, resource, environment, is_handed_over });
        Output::Do { group: self.assignment.name.clone(), run, step, action }
    }

    pub fn wake_at(&self, lease: Option<Time>) -> Option<Time> {
        let step = match self.phase {
            Phase::Starting { until, .. } | Phase::Stopping { until, .. } | Phase::Before { until, .. } => {
                Some(until)
            }
            Phase::Online { .. } if self.care.is_stuck() => self.ledger.expires_at(),
            Phase::Resting { until, .. } => Some(until),
            Phase::Idle(_) => self.rests_until,
            Phase::Online { .. } | Phase::Leaving { .. } | Phase::Ending { .. } => None,
        };
        let is_ending = matches!(self.phase, Phase::Ending { .. });
        let lease = lease.filter(|_| self.assignment.is_leased && self.is_held() && !is_ending);
        step.into_iter().chain(lease).min()
    }

    pub fn report(&self, now: Time) -> GroupReport {
        GroupReport {
            name: self.assignment.name.clone(),
            epoch: self.assignment.epoch,
            state: match self.phase {
                Phase::Idle(state) => state,
                Phase::Starting { .. } | Phase::Resting { .. } => GroupState::Starting,
                Phase::Online { .. } | Phase::Before { .. } => GroupState::Online,
                Phase::Leaving { .. } | Phase::Stopping { .. } | Phase::Ending { .. } => GroupState::Stopping,
            },
            reason: self.told_reason(),
            resources: self.resources(),
            recovery: self.recovery_report(now),
            left: self.left.clone(),
        }
    }

    pub(super) fn resources(&self) -> Vec<ResourceReport> {
        let state = |index: usize| match self.phase {
            Phase::Idle(_) => ResourceState::Offline,
            Phase::Online { .. } | Phase::Before { .. } => ResourceState::Online,
            Phase::Starting { at, .. } | Phase::Stopping { at, .. } if index < at => ResourceState::Online,
            Phase::Starting { at, .. } if index == at => ResourceState::Starting,
            Phase::Stopping { at, .. } if index == at => ResourceState::Stopping,
            Phase::Starting { .. } | Phase::Stopping { .. } => ResourceState::Offline,
            Phase::Leaving { at, .. } | Phase::Resting { at, .. } if index < at => ResourceState::Online,
            Phase::Leaving { .. } | Phase::Resting { .. } => ResourceState::Offline,
            Phase::Ending { .. } => ResourceState::Stopping,
        };
        let resources = self.assignment.resources.iter().enumerate();
        resources
            .map(|(index, resource)| ResourceReport { name: resource.name.clone(), state: state(index) })
            .collect()
    }

    pub fn check(&self) {
        let count = self.assignment.resources.len();
        // What is found may not say what it was.
        let is_found = self.run() == Some(RUN_OF_BEFORE);
        assert!(count > 0 || is_found, "group {} has no resources", self.assignment.name);
        let is_ending = matches!(self.phase, Phase::Ending { .. });
        assert!(
            self.left.is_none() || is_ending,
            "group {} goes on beside what is left of it",
            self.assignment.name
        );
        match self.phase {
            Phase::Starting { at, .. } | Phase::Resting { at, .. } | Phase::Stopping { at, .. } => {
                assert!(at < count, "resource {at} of {count} is at work");
            }
            Phase::Leaving { .. } => panic!("a group waits for nothing"),
            Phase::Idle(_) | Phase::Online { .. } | Phase::Before { .. } | Phase::Ending { .. } => {}
        }
    }
}

/// That the node before has given it back is not known for longer: somebody else may take it meanwhile.
fn handed_until(now: Time, assignment: &GroupAssignment) -> Time {
    if assignment.is_handed_over { now + GROUP_HANDED_OVER_MS } else { Time(0) }
}

#[cfg(test)]
mod tests;
