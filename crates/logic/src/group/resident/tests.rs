//! One node, and what it says of groups that could not be given back.

use super::*;
use wire::group::{GroupReport, GroupState, ResourceKind, StartCause};

const GENERATION: u64 = 1;

fn resource(name: &str) -> ResourceSettings {
    ResourceSettings {
        name: name.into(),
        kind: ResourceKind::script(&["true".to_owned()]),
        start_timeout_ms: 1_000,
        stop_timeout_ms: 1_000,
        environment: BTreeMap::new(),
        directory: None,
        user: None,
    }
}

/// A node that runs group `db`.
struct Story {
    resident: Resident,
    now: Time,
    number: u64,
    run: u64,
    said: Option<GroupsReport>,
    refused: Vec<&'static str>,
    is_finished: bool,
}

impl Story {
    fn new() -> Self {
        let resident = Resident::new(Time(0), "a".into(), 1);
        Self {
            resident,
            now: Time(0),
            number: 0,
            run: 0,
            said: None,
            refused: Vec::new(),
            is_finished: false,
        }
    }

    fn online() -> Self {
        let mut story = Self::new();
        story.tell(Input::Lease { until: Some(Time(u64::MAX / 2)) });
        story.assign(Some(5));
        story
    }

    /// Whatever is to be done is done at once and well; a guardian that is to end is left alone.
    fn tell(&mut self, input: Input) {
        self.now = self.now + 1;
        let outputs = self.resident.step(self.now, input);
        self.resident.check();
        let mut done = Vec::new();
        for output in outputs {
            match output {
                Output::Guard { run, .. } => self.run = run,
                Output::Do { group, run, step, .. } => {
                    done.push(Input::Done { group, run, step, result: Ok(()) });
                }
                Output::Report(report) => self.said = Some(report),
                Output::Finished => self.is_finished = true,
                Output::End { .. }
                | Output::Lease(_)
                | Output::Refused { .. }
                | Output::Tell { .. }
                | Output::Activity(_)
                | Output::EndService { .. }
                | Output::Power { .. } => {}
                Output::PowerRefused { why, .. } => self.refused.push(why),
            }
        }
        done.into_iter().for_each(|done| self.tell(done));
    }

    /// Epoch of `db`; None: it is not wanted.
    fn assign(&mut self, epoch: Option<u64>) {
        let group = |epoch| GroupAssignment {
            name: "db".into(),
            epoch,
            is_leased: true,
            is_frozen: false,
            restarts_max: 0,
            granted: None,
            cause: StartCause::Start,
            priority: 0,
            previous: None,
            is_handed_over: false,
            resources: vec![resource("disk")],
        };
        self.number += 1;
        let groups = epoch.map(group).into_iter().collect();
        self.tell(Input::Assign { generation: GENERATION, number: self.number, groups });
    }

    fn left(&mut self, why: &str) {
        self.tell(Input::Left { group: "db".into(), run: self.run, why: why.into() });
    }

    fn ended(&mut self) {
        self.tell(Input::Ended { group: "db".into(), run: self.run, why: "ended".into() });
    }

    fn report(&self) -> Option<GroupReport> {
        self.said.as_ref().and_then(|said| said.groups.first().cloned())
    }

    fn check(&self, state: GroupState, epoch: u64, left: Option<&str>) {
        let report = self.report().expect("it is reported");
        assert_eq!((report.state, report.epoch, report.left.as_deref()), (state, epoch, left), "{report:?}");
        assert!(left.is_none_or(|left| report.reason.contains(left)), "{report:?}");
    }
}

const BUSY: &str = "disk: it is still mounted";

#[test]
fn a_group_of_which_something_is_left_is_not_stopped_until_that_is_gone_too() {
    let mut story = Story::online();
    story.check(GroupState::Online, 5, None);
    story.assign(None);
    story.check(GroupState::Stopping, 5, None);
    story.left(BUSY);
    story.check(GroupState::Stopping, 5, Some(BUSY));
    // Nobody starts it beside that, on whatever word.
    story.assign(Some(6));
    story.check(GroupState::Stopping, 5, Some(BUSY));
    story.left("disk: it hangs");
    story.check(GroupState::Stopping, 5, Some("disk: it hangs"));
    story.ended();
    story.check(GroupState::Online, 6, None);
    story.assign(None);
    story.ended();
    assert_eq!(story.report(), None, "nothing of it is left");
}

#[test]
fn a_guardian_that_was_killed_and_left_something_ends_the_group_at_once() {
    let mut story = Story::online();
    story.left(BUSY);
    story.check(GroupState::Stopping, 5, Some(BUSY));
    story.ended();
    story.check(GroupState::Failed, 5, None);
}

#[test]
fn what_an_agent_of_before_has_left_is_told_though_nobody_asks_for_it() {
    let mut story = Story::new();
    let resources = vec![resource("disk")];
    story.tell(Input::Found { group: "db".into(), epoch: 4, resources, why: BUSY.into() });
    story.check(GroupState::Stopping, 4, Some(BUSY));
    story.tell(Input::Lease { until: Some(Time(u64::MAX / 2)) });
    story.assign(Some(6));
    story.check(GroupState::Stopping, 4, Some(BUSY));
    story.run = RUN_OF_BEFORE;
    story.ended();
    story.check(GroupState::Online, 6, None);
}

#[test]
fn a_node_that_ends_does_not_wait_for_what_cannot_be_given_back_and_does_not_call_it_stopped() {
    let mut story = Story::online();
    story.tell(Input::Shutdown);
    assert!(!story.is_finished);
    story.left(BUSY);
    assert!(story.is_finished);
    story.check(GroupState::Stopping, 5, Some(BUSY));
}

#[test]
fn a_machine_whose_agent_ends_already_is_not_rebooted_and_says_so() {
    let mut story = Story::online();
    story.tell(Input::Shutdown);
    let (act, command, who) = (PowerAct::Reboot, vec!["reboot".to_owned()], "ann".to_owned());
    story.tell(Input::Power { generation: GENERATION, act, command, who });
    assert_eq!(story.refused, ["its agent is ending"]);
    story.ended();
    assert!(story.is_finished);
}

/// News of a guardian before this one.
#[test]
fn only_the_guardian_that_holds_a_group_says_what_is_left_of_it() {
    let mut story = Story::online();
    story.tell(Input::Left { group: "db".into(), run: story.run + 7, why: BUSY.into() });
    story.tell(Input::Left { group: "other".into(), run: story.run, why: BUSY.into() });
    story.check(GroupState::Online, 5, None);
}
