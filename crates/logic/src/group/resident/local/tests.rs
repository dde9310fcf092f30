//! One node and one group, with a guardian that does what it is told at once: what it is told, and when.

use crate::group::resident::{Input, Output, Resident, Verb};
use crate::limits::GROUP_HANDED_OVER_MS;
use crate::machine::Machine;
use crate::recovery::Verdict;
use crate::time::Time;
use std::collections::BTreeMap;
use wire::group::{GroupAssignment, GroupState, ResourceKind, ResourceSettings, StartCause};
use wire::monitor::{FinalAction, MonitorState, Recovery, RecoveryTarget};

fn assignment(is_leased: bool, is_frozen: bool) -> GroupAssignment {
    let resource = ResourceSettings {
        name: "one".into(),
        kind: ResourceKind { name: "process".into(), options: Default::default() },
        start_timeout_ms: 1_000,
        stop_timeout_ms: 1_000,
        environment: BTreeMap::new(),
        directory: None,
        user: None,
    };
    GroupAssignment {
        name: "db".into(),
        epoch: 5,
        is_leased,
        is_frozen,
        restarts_max: 0,
        granted: None,
        cause: StartCause::Start,
        priority: 0,
        previous: None,
        is_handed_over: false,
        resources: vec![resource],
    }
}

struct Stage {
    now: Time,
    resident: Resident,
    number: u64,
}

impl Stage {
    fn new() -> Self {
        let now = Time(1_000_000);
        Self { now, resident: Resident::new(now, "a".into(), 1), number: 0 }
    }

    /// What it says is written as `guard never`, `guard 1` for the first span, `lease 1 500` from now on, `end`, `report online`.
    fn give(&mut self, input: Input) -> Vec<String> {
        self.now = self.now + 1;
        let mut lines = Vec::new();
        for output in self.resident.step(self.now, input) {
            match output {
                Output::Guard { span: None, .. } => lines.push("guard never".to_owned()),
                Output::Guard { span: Some(span), .. } => lines.push(format!("guard {span}")),
                Output::Lease(span) => {
                    lines.push(format!("lease {} {}", span.number, span.until.since_ms(self.now)));
                }
                Output::Do { group, run, step, .. } => {
                    let done = Input::Done { group, run, step, result: Ok(()) };
                    lines.extend(self.give(done));
                }
                Output::End { .. } => lines.push("end".into()),
                Output::Report(report) => {
                    let states: Vec<GroupState> = report.groups.iter().map(|group| group.state).collect();
                    lines.push(format!("report {states:?}"));
                }
                Output::Activity(_) | Output::Tell { .. } | Output::Refused { .. } => {}
                Output::EndService { .. }
                | Output::Power { .. }
                | Output::PowerRefused { .. }
                | Output::Finished => {}
            }
        }
        self.resident.check();
        lines
    }

    fn assign(&mut self, assignment: GroupAssignment) -> Vec<String> {
        self.number += 1;
        let number = self.number;
        self.give(Input::Assign { generation: 1, number, groups: vec![assignment] })
    }

    fn lease(&mut self, length_ms: u64) -> Vec<String> {
        let until = Some(self.now + 1 + length_ms);
        self.give(Input::Lease { until })
    }
}

#[test]
fn its_guardian_has_the_deadline_before_the_leader_hears_that_a_lease_is_needed() {
    let mut stage = Stage::new();
    stage.lease(1_000);
    assert_eq!(stage.assign(assignment(false, false))[0], "guard never");
    assert_eq!(stage.assign(assignment(true, false)), ["guard 1", "report [Online]"]);
    // Nothing is said twice.
    assert_eq!(stage.assign(assignment(true, false)), ["report [Online]"]);
    assert_eq!(stage.lease(1_200), ["lease 1 1200"]);
    // It may go on without one, whatever becomes of this program.
    assert_eq!(stage.assign(assignment(false, false)), ["guard never", "report [Online]"]);
}

#[test]
fn what_is_held_by_a_lease_that_has_ended_is_not_held_by_the_next() {
    let mut stage = Stage::new();
    assert_eq!(stage.lease(1_000)[0], "lease 1 1000");
    assert_eq!(stage.assign(assignment(true, false))[0], "guard 1");
    // A shorter one changes nothing that was promised to its guardian.
    assert!(stage.lease(500).is_empty());
    assert_eq!(stage.lease(1_200), ["lease 1 1200"]);
    // All of the machine was stopped, and the guardian has not noticed yet.
    stage.now = stage.now + 1_300;
    assert_eq!(stage.lease(1_000)[0], "lease 2 1000");
}

#[test]
fn what_needs_a_lease_from_now_on_ends_at_once_where_there_is_none() {
    let mut stage = Stage::new();
    stage.assign(assignment(false, false));
    assert_eq!(stage.assign(assignment(true, false)), ["end", "report [Stopping]"]);
}

#[test]
fn a_frozen_group_with_a_monitor_in_error_wakes_nobody_for_what_is_long_over() {
    let mut stage = Stage::new();
    stage.assign(assignment(false, false));
    let error = |stage: &Stage| {
        let recovery = Recovery {
            target: RecoveryTarget::Group { group: "db".into() },
            is_while_active: false,
            delay_ms: 0,
            start_period_ms: 0,
            restarts_max: 1,
            failovers_max: 0,
            final_action: FinalAction::None,
            final_command: Vec::new(),
            before_restart: Vec::new(),
            before_failover: Vec::new(),
            before_final: Vec::new(),
        };
        let stay = stage.resident.activity_now().stay(&recovery);
        let (state, reason) = (MonitorState::Error, "it is down".to_owned());
        vec![Verdict { monitor: "web".into(), state, reason, recovery, stay }]
    };
    // It is restarted once, which does not help.
    let verdicts = error(&stage);
    stage.give(Input::Verdicts(verdicts));
    stage.assign(assignment(false, true));
    let verdicts = error(&stage);
    stage.give(Input::Verdicts(verdicts));
    assert!(stage.resident.wake_at().is_some_and(|at| at > stage.now));
    stage.now = stage.now + 3_700_000;
    stage.give(Input::Tick);
    assert!(stage.resident.wake_at().is_some_and(|at| at > stage.now), "{:?}", stage.resident.wake_at());
}

#[test]
fn what_fails_at_once_again_and_again_rests_before_it_is_started_again() {
    let mut stage = Stage::new();
    let wanted = GroupAssignment { restarts_max: 5, ..assignment(false, false) };
    stage.assign(wanted.clone());
    let mut rests = Vec::new();
    for _ in 0..4 {
        let run = stage.resident.groups[&"db".into()].run().expect("it runs");
        let (group, why) = ("db".into(), "it has ended".into());
        let lines = stage.give(Input::Lost { group, run, resource: 0, why });
        let failed_at = stage.now;
        if !lines.iter().any(|line| line == "report [Online]") {
            assert!(lines.iter().any(|line| line == "report [Starting]"), "{lines:?}");
            // Reports come meanwhile.
            let is_online = |lines: Vec<String>| lines.contains(&"report [Online]".to_owned());
            loop {
                let due = stage.resident.wake_at().expect("it waits for a time");
                stage.now = Time(due.0 - 1);
                if is_online(stage.give(Input::Tick)) {
                    break;
                }
            }
        }
        rests.push(stage.now.since_ms(failed_at) / 100);
    }
    assert_eq!(rests, [0, 5, 10, 20]);
    // A person's stop does not wait.
    let run = stage.resident.groups[&"db".into()].run().expect("it runs");
    stage.give(Input::Lost { group: "db".into(), run, resource: 0, why: "it has ended".into() });
    stage.number += 1;
    let number = stage.number;
    let lines = stage.give(Input::Assign { generation: 1, number, groups: Vec::new() });
    assert!(lines.contains(&"end".to_owned()), "{lines:?}");
}

#[test]
fn a_group_that_failed_at_once_rests_too_before_it_begins_again_as_a_whole() {
    let mut stage = Stage::new();
    let again = |epoch: u64| GroupAssignment { epoch, cause: StartCause::Again, ..assignment(false, false) };
    stage.assign(assignment(false, false));
    for epoch in 6..8 {
        let run = stage.resident.groups[&"db".into()].run().expect("it runs");
        stage.give(Input::Ended { group: "db".into(), run, why: "ended".into() });
        let lines = stage.assign(again(epoch));
        let is_begun = lines.contains(&"guard never".to_owned());
        assert_eq!(is_begun, epoch == 6, "{epoch}: {lines:?}");
    }
    let due = stage.resident.wake_at().expect("it waits for a time");
    stage.now = Time(due.0 - 1);
    assert!(stage.give(Input::Tick).contains(&"guard never".to_owned()));
    // A person's start does not wait.
    let run = stage.resident.groups[&"db".into()].run().expect("it runs");
    stage.give(Input::Ended { group: "db".into(), run, why: "ended".into() });
    let lines = stage.assign(GroupAssignment { epoch: 8, ..assignment(false, false) });
    assert!(lines.contains(&"guard never".to_owned()), "{lines:?}");
}

#[test]
fn what_was_handed_over_counts_for_what_begins_at_once_and_only_once() {
    let started = |stage: &mut Stage, input: Input| {
        stage.now = stage.now + 1;
        let outputs = stage.resident.step(stage.now, input);
        let started = outputs.into_iter().find_map(|output| match output {
            Output::Do { run, step, action, .. } => Some((run, step, action.verb, action.is_handed_over)),
            _ => None,
        });
        started.expect("something is done")
    };
    let handed_over = || GroupAssignment { is_handed_over: true, restarts_max: 5, ..assignment(true, false) };
    let assign = || Input::Assign { generation: 1, number: 1, groups: vec![handed_over()] };
    let mut stage = Stage::new();
    stage.lease(60_000);
    let (run, step, verb, is_handed_over) = started(&mut stage, assign());
    assert_eq!((verb, is_handed_over), (Verb::Start, true));
    let done = |step| Input::Done { group: "db".into(), run, step, result: Ok(()) };
    stage.give(done(step));
    // It is lost at once, and whoever may have it now is asked.
    let lost = Input::Lost { group: "db".into(), run, resource: 0, why: "was taken away".into() };
    let (_, step, verb, _) = started(&mut stage, lost);
    assert_eq!(verb, Verb::Stop);
    let (_, _, verb, is_handed_over) = started(&mut stage, done(step));
    assert_eq!((verb, is_handed_over), (Verb::Start, false));

    // The lease comes too late for that.
    let mut stage = Stage::new();
    stage.give(assign());
    stage.now = stage.now + GROUP_HANDED_OVER_MS;
    let until = Some(stage.now + 60_000);
    let (_, _, verb, is_handed_over) = started(&mut stage, Input::Lease { until });
    assert_eq!((verb, is_handed_over), (Verb::Start, false));
}
