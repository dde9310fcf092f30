//! The rules of recovery as rows, each with planner and residents together: messages arrive at once, what is started runs at
//! once, and monitors judge at once. `r_NN` is a row of the rules of ExpressCluster.

mod power;

use super::*;
use crate::group::{
    CommitEnd, Planner, PlannerInput, PlannerOutput, Resident, ResidentInput, ResidentOutput, Verb,
};
use crate::machine::Machine;
use std::collections::BTreeSet;
use wire::group::{
    Attribute, GroupAct, GroupCondition, GroupSettings, GroupStatus, ResourceKind, ResourceSettings,
};
use wire::id::NodeName;
use wire::monitor::RecoveryTarget;

const GENERATION: u64 = 3;

fn resource(name: &str, is_process: bool) -> ResourceSettings {
    ResourceSettings {
        name: name.into(),
        kind: ResourceKind {
            name: if is_process { "process" } else { "exec" }.into(),
            options: Default::default(),
        },
        start_timeout_ms: 1_000,
        stop_timeout_ms: 1_000,
        environment: BTreeMap::new(),
        directory: None,
        user: None,
    }
}

/// On `a`, then `b`; an exec, then a process, then an exec.
fn group(name: &str) -> GroupSettings {
    GroupSettings {
        name: name.into(),
        nodes: vec!["a".into(), "b".into()],
        startup: Attribute::Automatic,
        failover: Attribute::Automatic,
        failback: Attribute::Manual,
        class: Default::default(),
        restarts_max: 1,
        failovers_max: 5,
        after: Vec::new(),
        apart: Vec::new(),
        resources: vec![resource("disk", false), resource("server", true), resource("extra", false)],
    }
}

fn recovery(restarts_max: u32, failovers_max: u32, final_action: FinalAction) -> Recovery {
    Recovery {
        target: RecoveryTarget::Group { group: "mail".into() },
        is_while_active: true,
        delay_ms: 0,
        start_period_ms: 0,
        restarts_max,
        failovers_max,
        final_action,
        final_command: Vec::new(),
        before_restart: Vec::new(),
        before_failover: Vec::new(),
        before_final: Vec::new(),
    }
}

enum Step {
    Planner(PlannerInput),
    Node(NodeName, ResidentInput),
}

/// A cell of two nodes, and everything that is done and said in it.
struct Story {
    now: Time,
    generation: u64,
    planner: Planner,
    nodes: BTreeMap<NodeName, Resident>,
    monitors: BTreeMap<MonitorName, Recovery>,
    /// Where monitors are in error.
    sick: BTreeSet<(NodeName, MonitorName)>,
    activities: BTreeMap<NodeName, Activity>,
    /// What does not work, as it is written in `done`.
    broken: BTreeSet<String>,
    /// `a start disk` each.
    done: Vec<String>,
    /// Kinds and texts of events.
    said: Vec<(&'static str, String)>,
    runs: BTreeMap<(NodeName, GroupName), u64>,
    steps: VecDeque<Step>,
}

impl Story {
    fn new(groups: Vec<GroupSettings>, monitors: &[(&str, Recovery)]) -> Self {
        let monitors = monitors.iter().map(|(name, recovery)| ((*name).into(), recovery.clone()));
        let mut story = Self {
            now: Time(0),
            generation: GENERATION,
            planner: Planner::new(Time(0), GENERATION, 0, []),
            nodes: BTreeMap::new(),
            monitors: monitors.collect(),
            sick: BTreeSet::new(),
            activities: BTreeMap::new(),
            broken: BTreeSet::new(),
            done: Vec::new(),
            said: Vec::new(),
            runs: BTreeMap::new(),
            steps: VecDeque::new(),
        };
        story.plan(PlannerInput::Configure(groups));
        for name in ["a", "b"] {
            story.join(name);
        }
        story.later(10_000);
        story
    }

    /// The agent of a node starts, and has its lease.
    fn join(&mut self, name: &str) {
        let node = NodeName::from(name);
        let incarnation = self.now.0 + 1;
        self.nodes.insert(node.clone(), Resident::new(self.now, node.clone(), incarnation));
        self.tell(name, ResidentInput::Lease { until: Some(Time(u64::MAX / 2)) });
        self.plan(PlannerInput::NodeConnected { node });
        self.tell(name, ResidentInput::Connected);
        self.judge(&name.into());
    }

    /// Another manager leads, which knows what was written down.
    fn lead_anew(&mut self, groups: Vec<GroupSettings>, record: &str) {
        let records = [("group/mail".to_owned(), record.to_owned())];
        self.generation += 1;
        self.planner = Planner::new(self.now, self.generation, 0, records);
        self.plan(PlannerInput::Configure(groups));
        for node in self.nodes.keys().cloned().collect::<Vec<_>>() {
            self.plan(PlannerInput::NodeConnected { node: node.clone() });
            self.tell(&node.0, ResidentInput::Connected);
        }
    }

    fn plan(&mut self, input: PlannerInput) {
        self.steps.push_back(Step::Planner(input));
        self.run();
    }

    fn tell(&mut self, node: &str, input: ResidentInput) {
        self.steps.push_back(Step::Node(node.into(), input));
        self.run();
    }

    fn later(&mut self, pause_ms: u64) {
        self.now = self.now + pause_ms;
        self.plan(PlannerInput::Tick);
        for node in self.nodes.keys().cloned().collect::<Vec<_>>() {
            self.tell(&node.0, ResidentInput::Tick);
        }
    }

    fn run(&mut self) {
        let mut count = 0;
        while let Some(step) = self.steps.pop_front() {
            count += 1;
            assert!(count < 10_000, "it never ends: {:?}", self.done);
            match step {
                Step::Planner(input) => {
                    let outputs = self.planner.step(self.now, input);
                    self.planner.check();
                    outputs.into_iter().for_each(|output| self.planned(output));
                }
                Step::Node(node, input) => {
                    let Some(resident) = self.nodes.get_mut(&node) else { continue };
                    let outputs = resident.step(self.now, input);
                    resident.check();
                    outputs.into_iter().for_each(|output| self.carry_out(&node, output));
                }
            }
        }
    }

    fn planned(&mut self, output: PlannerOutput) {
        match output {
            PlannerOutput::Assign { node, number, groups } => {
                let input = ResidentInput::Assign { generation: self.generation, number, groups };
                self.steps.push_back(Step::Node(node, input));
            }
            PlannerOutput::Commit { attempt, .. } => {
                let input = PlannerInput::Committed { attempt, end: CommitEnd::Done };
                self.steps.push_back(Step::Planner(input));
            }
            PlannerOutput::Event { kind, text, .. } => self.said.push((kind, text)),
            PlannerOutput::Fence { .. } | PlannerOutput::Spare { .. } | PlannerOutput::NodeWish { .. } => {}
            PlannerOutput::Release { .. } | PlannerOutput::Answer { .. } => {}
        }
    }

    fn carry_out(&mut self, node: &NodeName, output: ResidentOutput) {
        let input = match output {
            ResidentOutput::Guard { group, run, .. } => {
                self.runs.insert((node.clone(), group), run);
                return;
            }
            ResidentOutput::Do { group, run, step, action } => {
                let verb = if action.verb == Verb::Start { "start" } else { "stop" };
                let line = format!("{node} {verb} {}", action.resource.name);
                let is_broken = self.broken.contains(&line);
                self.done.push(line);
                let result = if is_broken { Err("exited with status 1".to_owned()) } else { Ok(()) };
                ResidentInput::Done { group, run, step, result }
            }
            ResidentOutput::End { group, run } => ResidentInput::Ended { group, run, why: "ended".into() },
            ResidentOutput::Report(report) => {
                self.steps.push_back(Step::Planner(PlannerInput::Report(report)));
                return;
            }
            ResidentOutput::Activity(activity) => {
                self.activities.insert(node.clone(), activity);
                return self.judge(node);
            }
            ResidentOutput::EndService { command, .. } => {
                self.done.push(format!("{node} ends: {}", command.join(" ")));
                return;
            }
            ResidentOutput::Power { act, command, .. } => {
                self.done.push(format!("{node} is {}: {}", act.done(), command.join(" ")));
                return;
            }
            ResidentOutput::PowerRefused { act, why } => {
                self.done.push(format!("{node} is not {}: {why}", act.done()));
                return;
            }
            ResidentOutput::Finished => {
                self.nodes.remove(node);
                self.steps.push_back(Step::Planner(PlannerInput::NodeLost { node: node.clone() }));
                return;
            }
            ResidentOutput::Refused { .. } | ResidentOutput::Lease(_) | ResidentOutput::Tell { .. } => return,
        };
        self.steps.push_back(Step::Node(node.clone(), input));
    }

    /// All monitors of a node say how they find what is online now.
    fn judge(&mut self, node: &NodeName) {
        let activity = self.activities.get(node).cloned().unwrap_or_default();
        let verdict = |(monitor, recovery): (&MonitorName, &Recovery)| {
            let stay = activity.stay(recovery);
            let state = match stay {
                None if recovery.is_while_active => MonitorState::Idle,
                _ if self.sick.contains(&(node.clone(), monitor.clone())) => MonitorState::Error,
                _ => MonitorState::Normal,
            };
            Verdict {
                monitor: monitor.clone(),
                recovery: recovery.clone(),
                state,
                reason: "refused".into(),
                stay,
            }
        };
        let verdicts = self.monitors.iter().map(verdict).collect();
        self.steps.push_back(Step::Node(node.clone(), ResidentInput::Verdicts(verdicts)));
    }

    fn fall_sick(&mut self, node: &str, monitor: &str) {
        self.sick.insert((node.into(), monitor.into()));
        self.judge(&node.into());
        self.run();
    }

    fn heal(&mut self, node: &str, monitor: &str) {
        self.sick.remove(&(node.into(), monitor.into()));
        self.judge(&node.into());
        self.run();
    }

    /// The process of a group ends by itself.
    fn lose(&mut self, node: &str, group: &str) {
        let run = self.runs[&(node.into(), group.into())];
        let why = "was killed by signal KILL".into();
        self.tell(node, ResidentInput::Lost { group: group.into(), run, resource: 1, why });
    }

    fn status(&self, group: &str) -> GroupStatus {
        let all = self.planner.status(&|time| time.0);
        all.into_iter().find(|status| status.group.0 == group).expect("it is configured")
    }

    /// `online on a`
    fn place(&self, group: &str) -> String {
        let status = self.status(group);
        match status.node {
            Some(node) => format!("{} on {node}", status.state),
            None => status.state.to_string(),
        }
    }

    /// What was done since this was asked last, on this node or any.
    fn done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.done)
    }

    fn starts(&mut self, node: &str, resource: &str) -> usize {
        let line = format!("{node} start {resource}");
        self.done.iter().filter(|done| **done == line).count()
    }

    fn said(&self, kind: &str) -> Vec<&str> {
        self.said.iter().filter(|(known, _)| *known == kind).map(|(_, text)| text.as_str()).collect()
    }
}

fn story(restarts_max: u32, failovers_max: u32, final_action: FinalAction) -> Story {
    let mut story =
        Story::new(vec![group("mail")], &[("web", recovery(restarts_max, failovers_max, final_action))]);
    assert_eq!(story.place("mail"), "online on a");
    story.done();
    story
}

#[test]
fn r_01_no_restarts_fails_over_at_the_first_error_and_some_restart_that_often_first() {
    let mut at_once = story(0, 1, FinalAction::None);
    at_once.fall_sick("a", "web");
    assert_eq!(at_once.place("mail"), "online on b");
    assert_eq!(at_once.starts("a", "disk"), 0);

    let mut later = story(3, 1, FinalAction::None);
    later.fall_sick("a", "web");
    assert_eq!((later.starts("a", "disk"), later.starts("b", "disk")), (3, 1));
    assert_eq!(later.place("mail"), "online on b");
    assert_eq!(
        later.said("group-restarted").last().copied(),
        Some(
            "group mail was restarted in its place on node a: monitor web is in error: refused (restart 3 of 3 within an hour)"
        )
    );
}

#[test]
fn r_03_a_failover_leaves_other_groups_where_they_are_and_an_error_there_brings_the_group_back() {
    let monitors = [("web", recovery(0, 1, FinalAction::None))];
    let mut story = Story::new(vec![group("mail"), group("other")], &monitors);
    story.fall_sick("a", "web");
    assert_eq!((story.place("mail").as_str(), story.place("other").as_str()), ("online on b", "online on a"));
    story.heal("a", "web");
    story.fall_sick("b", "web");
    assert_eq!(story.place("mail"), "online on a", "an error there fails over again, and the group returns");
    // No further: it does not go to and fro between nodes that are both ill.
    story.fall_sick("a", "web");
    story.later(1_000);
    assert_eq!(story.place("mail"), "online on a");
    assert!(story.status("mail").reason.ends_with("it stays as it is"), "{}", story.status("mail").reason);
    assert_eq!(story.said("group-recovery").len(), 2, "{:?}", story.said);
}

#[test]
fn r_04_no_failovers_and_a_final_action_take_the_node_out_and_all_its_groups_go_elsewhere() {
    for (action, command) in [
        (FinalAction::StopService, vec![]),
        (FinalAction::Shutdown, vec!["poweroff".to_owned()]),
        (FinalAction::Reboot, vec!["reboot".to_owned()]),
    ] {
        let recovery = Recovery { final_command: command.clone(), ..recovery(0, 0, action) };
        let mut story = Story::new(vec![group("mail"), group("other")], &[("web", recovery)]);
        story.done();
        story.fall_sick("a", "web");
        assert_eq!(story.place("mail"), "online on b", "{action}");
        // The agent was gone before it could say that nothing of this one is left: the end of its lease proves it.
        story.plan(PlannerInput::Reach { node: "a".into(), is_reachable: false, is_mass: false });
        story.plan(PlannerInput::Taken { node: "a".into() });
        assert_eq!(
            (story.place("mail").as_str(), story.place("other").as_str()),
            ("online on b", "online on b"),
            "{action}"
        );
        let done = story.done();
        let ended = done.iter().position(|line| *line == format!("a ends: {}", command.join(" ")));
        let stopped = done.iter().rposition(|line| line.starts_with("a stop"));
        assert!(ended > stopped, "{action}: the groups stop in good order first: {done:?}");
    }
}

#[test]
fn r_05_as_recommended_no_failover_and_the_service_stopped() {
    let mut story = story(2, 0, FinalAction::StopService);
    story.fall_sick("a", "web");
    assert_eq!((story.starts("a", "disk"), story.place("mail").as_str()), (2, "online on b"));
    assert!(story.done().contains(&"a ends: ".to_owned()));
}

#[test]
fn r_06_what_does_not_start_without_failovers_ends_with_its_group_stopped() {
    let settings = GroupSettings { restarts_max: 0, failovers_max: 0, ..group("mail") };
    let mut story = Story::new(vec![settings.clone()], &[]);
    story.broken.insert("a start extra".into());
    story.plan(PlannerInput::Operator {
        ask: 1,
        who: "ann".into(),
        group: "mail".into(),
        act: GroupAct::Stop,
        dry_run: false,
    });
    assert_eq!(story.place("mail"), "offline");
    story.done();
    let act = GroupAct::Start { node: Some("a".into()) };
    story.plan(PlannerInput::Operator {
        ask: 2,
        who: "ann".into(),
        group: "mail".into(),
        act,
        dry_run: false,
    });
    assert_eq!(story.status("mail").state, GroupCondition::Failed);
    let done = story.done();
    assert_eq!(done.iter().filter(|line| line.starts_with("b ")).count(), 0, "{done:?}");
    assert_eq!(
        done.last().map(String::as_str),
        Some("a stop disk"),
        "everything of it was stopped: {done:?}"
    );
}

#[test]
fn r_06_a_monitor_may_stop_the_group_in_the_end_until_a_person_starts_it() {
    let mut story = story(1, 0, FinalAction::StopGroup);
    story.fall_sick("a", "web");
    assert_eq!(story.place("mail"), "offline");
    let reason = story.status("mail").reason;
    assert_eq!(reason, "stopped by a final action: monitor web is in error: refused");
    story.later(60_000);
    assert_eq!(story.place("mail"), "offline");
    story.heal("a", "web");
    let act = GroupAct::Start { node: None };
    story.plan(PlannerInput::Operator {
        ask: 1,
        who: "ann".into(),
        group: "mail".into(),
        act,
        dry_run: false,
    });
    assert_eq!(story.place("mail"), "online on a");
    // A person's word begins a new count.
    story.done();
    story.fall_sick("a", "web");
    assert_eq!(story.starts("a", "disk"), 1);
}

#[test]
fn r_07_what_does_not_start_again_fails_its_group_and_what_does_not_stop_is_not_started_beside_itself() {
    let mut start = story(3, 0, FinalAction::None);
    start.broken.insert("a start server".into());
    start.fall_sick("a", "web");
    assert_eq!(start.place("mail"), "online on b");

    let mut stop = story(3, 0, FinalAction::None);
    stop.broken.insert("a stop server".into());
    stop.fall_sick("a", "web");
    let done = stop.done();
    let first: Vec<&str> = done.iter().take(3).map(String::as_str).collect();
    assert_eq!(
        first,
        ["a stop extra", "a stop server", "a stop disk"],
        "the rest is stopped, and then killed: {done:?}"
    );
}

#[test]
fn r_09_a_resource_is_restarted_with_those_that_come_after_it_and_no_others() {
    let target = RecoveryTarget::Resource { group: "mail".into(), resource: "server".into() };
    let recovery = Recovery { target, ..recovery(1, 0, FinalAction::None) };
    let mut story = Story::new(vec![group("mail")], &[("web", recovery)]);
    story.done();
    story.fall_sick("a", "web");
    assert_eq!(story.done(), ["a stop extra", "a stop server", "a start server", "a start extra"]);
    assert_eq!(story.place("mail"), "online on a");
}

#[test]
fn r_10_a_process_that_ends_is_restarted_in_its_place_then_the_group_goes_elsewhere_with_one_count() {
    let mut story = Story::new(vec![group("mail")], &[]);
    story.done();
    story.lose("a", "mail");
    assert_eq!(story.done(), ["a stop extra", "a stop server", "a start server", "a start extra"]);
    assert_eq!(story.place("mail"), "online on a");
    assert!(story.status("mail").reason.starts_with("all of it runs; restarted here once: server is lost"));
    story.lose("a", "mail");
    assert_eq!(story.place("mail"), "online on b");
    let status = story.status("mail");
    assert!(!status.why[0].is_able && status.why[0].why.contains("failed there 2 times"), "{:?}", status.why);
}

#[test]
fn r_11_the_policy_is_an_order_and_startup_may_be_manual() {
    let backwards = GroupSettings { nodes: vec!["b".into(), "a".into()], ..group("mail") };
    let manual = GroupSettings { startup: Attribute::Manual, ..group("other") };
    let story = Story::new(vec![backwards, manual], &[]);
    assert_eq!((story.place("mail").as_str(), story.place("other").as_str()), ("online on b", "offline"));
}

#[test]
fn nothing_leaves_a_node_while_no_other_is_healthy_and_it_goes_once_one_is() {
    let always = Recovery { is_while_active: false, ..recovery(1, 1, FinalAction::StopService) };
    let mut story = Story::new(vec![group("mail")], &[("web", always)]);
    story.fall_sick("b", "web");
    story.done();
    story.fall_sick("a", "web");
    assert_eq!(story.starts("a", "disk"), 1, "restarts need nobody else");
    assert_eq!(story.place("mail"), "online on a");
    let expected = "group mail stays on node a, though monitor web is in error: refused: no other node could run it better: \
        b: it can run there, but monitor web is in error there: refused";
    assert_eq!(story.said("group-recovery-suppressed"), [expected]);
    assert!(story.status("mail").reason.contains("no other node could run it better"));
    story.later(1_000);
    assert_eq!(story.said("group-recovery-suppressed").len(), 1, "it is said once");
    story.heal("b", "web");
    assert_eq!(story.place("mail"), "online on b");
}

#[test]
fn a_monitor_that_flaps_is_not_restarted_for_ever_and_what_was_done_expires() {
    let mut story = story(2, 0, FinalAction::None);
    for _ in 0..10 {
        story.fall_sick("a", "web");
        story.heal("a", "web");
        story.later(1_000);
    }
    assert_eq!(story.starts("a", "disk"), 2, "all being well for a moment changes nothing");
    story.later(RECOVERY_WINDOW_MS);
    story.fall_sick("a", "web");
    assert_eq!(story.starts("a", "disk"), 4);
}

#[test]
fn what_stays_as_it_is_is_tried_again_when_the_hour_is_over() {
    let mut story = story(1, 0, FinalAction::None);
    story.fall_sick("a", "web");
    assert_eq!(story.starts("a", "disk"), 1);
    let wake = story.nodes[&"a".into()].wake_at();
    assert!(wake.is_some());
    story.later(RECOVERY_WINDOW_MS);
    assert_eq!(story.starts("a", "disk"), 2);
}

#[test]
fn failovers_are_limited_for_all_reasons_together() {
    let settings = GroupSettings { failovers_max: 1, ..group("mail") };
    let mut story = Story::new(vec![settings], &[("web", recovery(0, 9, FinalAction::None))]);
    story.fall_sick("a", "web");
    story.heal("a", "web");
    story.fall_sick("b", "web");
    assert_eq!(story.place("mail"), "online on b");
    assert!(
        story.said("group-recovery-suppressed")[0]
            .ends_with("it has gone to another node 1 times within an hour")
    );
}

#[test]
fn a_frozen_group_is_left_alone() {
    let mut story = story(1, 1, FinalAction::StopGroup);
    let act = GroupAct::Freeze;
    story.plan(PlannerInput::Operator {
        ask: 1,
        who: "ann".into(),
        group: "mail".into(),
        act,
        dry_run: false,
    });
    story.fall_sick("a", "web");
    assert_eq!((story.starts("a", "disk"), story.place("mail").as_str()), (0, "online on a"));
    assert_eq!(story.status("mail").reason, "monitor web is in error: refused; it is frozen");
    let act = GroupAct::Thaw;
    story.plan(PlannerInput::Operator {
        ask: 2,
        who: "ann".into(),
        group: "mail".into(),
        act,
        dry_run: false,
    });
    assert_eq!((story.starts("a", "disk"), story.place("mail").as_str()), (1, "online on b"));
}

#[test]
fn all_groups_of_a_node_go_when_what_is_monitored_is_of_the_node() {
    let recovery = Recovery {
        target: RecoveryTarget::AllGroups,
        is_while_active: false,
        ..recovery(0, 1, FinalAction::None)
    };
    let mut story = Story::new(vec![group("mail"), group("other")], &[("link", recovery)]);
    story.fall_sick("a", "link");
    assert_eq!((story.place("mail").as_str(), story.place("other").as_str()), ("online on b", "online on b"));
}

#[test]
fn scripts_are_run_before_each_act_and_how_they_end_does_not_matter() {
    let script = |name: &str| vec![name.to_owned()];
    let recovery = Recovery {
        before_restart: script("save"),
        before_failover: script("tell"),
        before_final: script("cry"),
        ..recovery(1, 1, FinalAction::StopGroup)
    };
    let mut story = Story::new(vec![group("mail")], &[("web", recovery)]);
    story.broken.insert("a start before-restart".into());
    story.done();
    story.sick.insert(("b".into(), "web".into()));
    story.fall_sick("a", "web");
    let done = story.done();
    let scripts: Vec<&str> = done.iter().filter(|it| it.contains("before")).map(String::as_str).collect();
    assert_eq!(
        scripts,
        [
            "a start before-restart",
            "a start before-failover",
            "b start before-restart",
            "b start before-failover",
            "a start before-restart",
            "a start before-final",
        ]
    );
    assert_eq!(done[0], "a start before-restart", "before anything is stopped");
    assert_eq!(story.place("mail"), "offline");
}

#[test]
fn the_next_leader_goes_on_with_what_a_node_wishes() {
    let always = Recovery { is_while_active: false, ..recovery(0, 1, FinalAction::None) };
    let mut story = Story::new(vec![group("mail")], &[("web", always)]);
    story.fall_sick("b", "web");
    story.fall_sick("a", "web");
    assert_eq!(story.place("mail"), "online on a");
    let record = "epoch=1 owner=a cause=start previous=- wish=- to=- frozen=no leased=yes taken=-";
    story.lead_anew(vec![group("mail")], record);
    assert_eq!(story.place("mail"), "online on a");
    story.later(10_000);
    assert_eq!(story.said("group-recovery-suppressed").len(), 2, "the new leader says why, too");
    story.heal("b", "web");
    assert_eq!(story.place("mail"), "online on b");
}

#[test]
fn other_rules_begin_a_new_count() {
    let mut story = story(1, 0, FinalAction::None);
    story.fall_sick("a", "web");
    assert_eq!(story.starts("a", "disk"), 1);
    story.monitors.insert("web".into(), recovery(2, 0, FinalAction::None));
    story.judge(&"a".into());
    story.run();
    assert_eq!(story.starts("a", "disk"), 3);
}
