//! What a node does for a group of which something is wrong: restarts it in its place, and asks the leader for more.
//!
//! `recovery::Ledger` says what is next. Restarts need nobody's word: they are over before a leader has heard of them, and
//! happen also while there is none. Leaving the node and final actions are wishes; the leader grants them by their number, or
//! does not, and says why. A wish lasts as long as the error.

use super::local::{Local, Phase, Then};
use super::{Action, Around, Output, Verb};
use crate::group::plan::environment;
use crate::limits::RECOVERY_SCRIPT_MS;
use crate::recovery::{Cause, Rules, Stays, Step, Verdict};
use crate::time::Time;
use wire::group::{
    RecoveryAct, RecoveryReport, RecoveryWish, ResourceKind, ResourceReport, ResourceSettings, ResourceState,
};
use wire::monitor::{FinalAction, Recovery, RecoveryTarget};

/// What is done when the script before it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Restart { from: usize },
    Leave,
    EndService,
}

/// All that runs on the node is to end, and this program be run then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndService {
    pub command: Vec<String>,
    pub why: String,
}

/// How a group is looked after since it began here.
#[derive(Debug, Clone, Default)]
pub(super) struct Care {
    /// The step with which each resource was started last.
    stays: Vec<u64>,
    acts: u64,
    last: String,
    wish: Option<Wish>,
    /// Something is wrong, and there is nothing to be done about it.
    stuck: Option<String>,
    ends: Option<EndService>,
    /// What was not stopped in good order, as a sentence.
    not_stopped: Option<String>,
}

#[derive(Debug, Clone)]
struct Wish {
    told: RecoveryWish,
    recovery: Recovery,
}

impl Care {
    pub fn started(&mut self, at: usize, step: u64) {
        self.stays.truncate(at);
        self.stays.push(step);
    }

    pub fn how_it_came_online(&self) -> String {
        match self.acts {
            0 => "all of it was started".to_owned(),
            1 => format!("all of it runs; restarted here once: {}", self.last),
            times => format!("all of it runs; restarted here {times} times, the last time: {}", self.last),
        }
    }

    pub fn not_stopped(&mut self, text: String) {
        self.not_stopped = Some(text);
    }

    pub fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    pub fn take_end(&mut self) -> Option<EndService> {
        self.ends.take()
    }
}

impl Local {
    /// Since when what of it is online.
    pub fn stays(&self) -> Stays {
        let is_online = |report: &ResourceReport| report.state == ResourceState::Online;
        let online = self.resources().into_iter().zip(&self.care.stays);
        let resources =
            online.filter(|(report, _)| is_online(report)).map(|(report, stay)| (report.name, *stay));
        let is_whole = matches!(self.phase, Phase::Online { .. } | Phase::Before { .. });
        Stays {
            group: self.care.stays.iter().max().copied().filter(|_| is_whole),
            resources: resources.collect(),
        }
    }

    pub fn told_reason(&self) -> String {
        let is_online = matches!(self.phase, Phase::Online { .. } | Phase::Before { .. });
        let why = match (&self.care.wish, &self.care.stuck) {
            (Some(wish), _) => Some(&wish.told.why),
            (None, stuck) => stuck.as_ref(),
        };
        match &self.left {
            Some(left) => format!("{}; not all of it could be given back: {left}", self.reason),
            None => why.filter(|_| is_online).unwrap_or(&self.reason).clone(),
        }
    }

    pub fn recovery_report(&self, now: Time) -> RecoveryReport {
        let is_online = matches!(self.phase, Phase::Online { .. } | Phase::Before { .. });
        let wish = self.care.wish.as_ref().map(|wish| &wish.told);
        RecoveryReport {
            restarts: self.ledger.restarts(now),
            acts: self.care.acts,
            last: self.care.last.clone(),
            wish: wish.filter(|wish| is_online || wish.is_granted).cloned(),
            not_stopped: self.care.not_stopped.clone(),
        }
    }

    /// It has failed: its next start here is a restart, unless it was the leader's to decide.
    pub fn note_failed(&mut self) {
        if !self.care.wish.as_ref().is_some_and(|wish| wish.told.is_granted) {
            self.ledger.failed();
        }
    }

    fn act(&mut self, text: String, outputs: &mut Vec<Output>) {
        self.care.acts += 1;
        self.care.last.clone_from(&text);
        self.reason = text;
        self.tell(true, outputs);
    }

    /// A process of it has ended: it and what comes after it are started again, or the group has failed.
    pub fn restart_lost(
        &mut self,
        now: Time,
        run: u64,
        resource: usize,
        why: String,
        outputs: &mut Vec<Output>,
    ) {
        let rules = Rules {
            restarts_max: self.assignment.restarts_max,
            failovers_max: 0,
            final_action: FinalAction::None,
        };
        let at = self.assignment.resources.len();
        match self.ledger.next(now, &Cause::Own, &rules) {
            Step::Restart { count } if !self.assignment.is_frozen => {
                self.ledger.restarted(now, Cause::Own);
                self.rest.failed(now);
                let text = format!("{why} (restart {count} of {} within an hour)", rules.restarts_max);
                self.act(text, outputs);
                self.phase = Phase::Leaving { run, at, then: Then::Again { from: resource } };
            }
            Step::Restart { .. } | Step::Ask(_) | Step::Stay => {
                self.reason = why;
                self.tell(true, outputs);
                self.phase = Phase::Leaving { run, at, then: Then::Failed };
            }
        }
    }

    /// Does what is next about the errors of monitors, while all of it runs.
    pub fn recover(&mut self, run: u64, around: &Around<'_>, used: &mut u64, outputs: &mut Vec<Output>) {
        if let Some(wish) = &self.care.wish {
            if wish.told.is_granted {
                return;
            }
            if self.assignment.granted == Some(wish.told.number) && !self.assignment.is_frozen {
                return self.carry_out(run, around, used, outputs);
            }
        }
        // Also where nothing is done about it: what is left in there says when it is looked at again.
        self.ledger.expire(around.now);
        let faults = around.faults.iter().filter(|fault| fault.recovery.target.has(&self.assignment.name));
        let mut stuck = None;
        for fault in faults {
            let why = format!("monitor {} is in error: {}", fault.monitor, fault.reason);
            if self.assignment.is_frozen {
                stuck = Some(format!("{why}; it is frozen"));
                break;
            }
            let cause = Cause::Monitor(fault.monitor.clone());
            match self.ledger.next(around.now, &cause, &Rules::from(&fault.recovery)) {
                Step::Restart { count } => {
                    self.ledger.restarted(around.now, cause);
                    return self.restart(run, fault, count, around, used, outputs);
                }
                Step::Ask(act) => return self.wish(fault, act, why, used, outputs),
                Step::Stay => {
                    let text = format!("{why}; what was to be done about it was done, and it stays as it is");
                    stuck = stuck.or(Some(text));
                }
            }
        }
        self.care.wish = None;
        if stuck.is_some() && !self.care.is_stuck() {
            let group = self.assignment.name.clone();
            outputs.extend(stuck.clone().map(|text| Output::Tell { group, is_warning: true, text }));
        }
        self.care.stuck = stuck;
    }

    fn restart(
        &mut self,
        run: u64,
        fault: &Verdict,
        count: u32,
        around: &Around<'_>,
        used: &mut u64,
        outputs: &mut Vec<Output>,
    ) {
        let recovery = &fault.recovery;
        let most = recovery.restarts_max;
        let why = format!("monitor {} is in error: {}", fault.monitor, fault.reason);
        self.act(format!("{why} (restart {count} of {most} within an hour)"), outputs);
        (self.care.wish, self.care.stuck) = (None, None);
        let from = match &recovery.target {
            RecoveryTarget::Resource { resource, .. } => {
                let place = self.assignment.resources.iter().position(|known| known.name == *resource);
                // The node has not heard of its newest resources yet, or any more.
                place.unwrap_or(0)
            }
            RecoveryTarget::Group { .. } | RecoveryTarget::AllGroups => 0,
        };
        self.after_script(
            run,
            "before-restart",
            &recovery.before_restart,
            Next::Restart { from },
            around,
            used,
            outputs,
        );
    }

    fn wish(
        &mut self,
        fault: &Verdict,
        act: RecoveryAct,
        why: String,
        used: &mut u64,
        outputs: &mut Vec<Output>,
    ) {
        self.care.stuck = None;
        let same =
            self.care.wish.as_mut().filter(|it| it.told.monitor == fault.monitor && it.told.act == act);
        if let Some(wish) = same {
            wish.told.why = why;
            wish.recovery.clone_from(&fault.recovery);
            return;
        }
        let (group, text) = (self.assignment.name.clone(), why.clone());
        outputs.push(Output::Tell { group, is_warning: true, text });
        *used += 1;
        let monitor = fault.monitor.clone();
        let told = RecoveryWish { number: *used, monitor, act, why, is_granted: false };
        self.care.wish = Some(Wish { told, recovery: fault.recovery.clone() });
    }

    /// The leader has granted what was wished for.
    fn carry_out(&mut self, run: u64, around: &Around<'_>, used: &mut u64, outputs: &mut Vec<Output>) {
        let Some(wish) = &mut self.care.wish else { return };
        wish.told.is_granted = true;
        let Wish { told, recovery } = wish.clone();
        self.reason = told.why;
        let (name, script, next) = match told.act {
            RecoveryAct::FailOver => {
                self.ledger.left(around.now, Cause::Monitor(told.monitor));
                ("before-failover", recovery.before_failover, Next::Leave)
            }
            RecoveryAct::Final(FinalAction::None | FinalAction::StopGroup) => {
                ("before-final", recovery.before_final, Next::Leave)
            }
            RecoveryAct::Final(FinalAction::StopService | FinalAction::Shutdown | FinalAction::Reboot) => {
                ("before-final", recovery.before_final, Next::EndService)
            }
        };
        self.after_script(run, name, &script, next, around, used, outputs);
    }

    #[expect(clippy::too_many_arguments, reason = "the step of a machine with all that it may touch")]
    fn after_script(
        &mut self,
        run: u64,
        name: &str,
        script: &[String],
        next: Next,
        around: &Around<'_>,
        used: &mut u64,
        outputs: &mut Vec<Output>,
    ) {
        if script.is_empty() {
            self.go_on_with(run, next);
            return self.leave(around, used, outputs);
        }
        *used += 1;
        let step = *used;
        let resource = ResourceSettings {
            name: name.into(),
            kind: ResourceKind::script(script),
            start_timeout_ms: RECOVERY_SCRIPT_MS,
            stop_timeout_ms: RECOVERY_SCRIPT_MS,
            environment: Default::default(),
            directory: None,
            user: None,
        };
        let mut environment = environment(&self.assignment, &resource.name, around.node);
        environment.insert("MUSTER_WHY".into(), self.reason.clone());
        let index = self.assignment.resources.len();
        let is_handed_over = false;
        let action = Box::new(Action { verb: Verb::Start, index, resource, environment, is_handed_over });
        self.phase = Phase::Before { run, step, until: around.now + RECOVERY_SCRIPT_MS, next };
        outputs.push(Output::Do { group: self.assignment.name.clone(), run, step, action });
    }

    pub fn script_ended(
        &mut self,
        run: u64,
        next: Next,
        result: Result<(), String>,
        outputs: &mut Vec<Output>,
    ) {
        if let Err(why) = result {
            let text = format!("the script before what is done now was not content: it {why}");
            let group = self.assignment.name.clone();
            outputs.push(Output::Tell { group, is_warning: true, text });
        }
        self.go_on_with(run, next);
    }

    fn go_on_with(&mut self, run: u64, next: Next) {
        let at = self.assignment.resources.len();
        self.phase = match next {
            Next::Restart { from } => Phase::Leaving { run, at, then: Then::Again { from } },
            Next::Leave => Phase::Leaving { run, at, then: Then::Failed },
            Next::EndService => {
                let wish = self.care.wish.as_ref();
                self.care.ends = wish.map(|wish| EndService {
                    command: wish.recovery.final_command.clone(),
                    why: wish.told.why.clone(),
                });
                Phase::Online { run }
            }
        };
    }
}
