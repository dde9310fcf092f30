//! Moves as stories: a planner, nodes that obey it at once, a store that keeps everything, and what was written down.

use super::*;
use crate::machine::Machine;
use expect_test::{Expect, expect};
use wire::group::{
    Attribute, GroupAct, GroupAssignment, GroupClass, GroupSettings, ResourceKind, ResourceReport,
    ResourceSettings,
};
use wire::node::NodeAct;

const NODES: [&str; 2] = ["a", "b"];

/// What a node does with a group that it shall run.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Runs,
    Fails,
}

struct Play {
    now: Time,
    planner: Planner,
    moves: Moves,
    manners: BTreeMap<NodeName, Manner>,
    lost: Vec<NodeName>,
    sequence: u64,
}

fn settings() -> GroupSettings {
    let exec = |name: &str| ResourceSettings {
        name: name.into(),
        kind: ResourceKind { name: "process".into(), options: Default::default() },
        start_timeout_ms: 1_000,
        stop_timeout_ms: 1_000,
        environment: BTreeMap::new(),
        directory: None,
        user: None,
    };
    GroupSettings {
        name: "g".into(),
        nodes: NODES.map(NodeName::from).to_vec(),
        startup: Attribute::Automatic,
        failover: Attribute::Automatic,
        failback: Attribute::Manual,
        class: GroupClass::Soft,
        restarts_max: 0,
        failovers_max: 3,
        after: Vec::new(),
        apart: Vec::new(),
        resources: vec![exec("disk"), exec("app")],
    }
}

impl Play {
    fn new() -> Self {
        let manners = NODES.map(|node| (NodeName::from(node), Manner::Runs)).into();
        let planner = Planner::new(Time(0), 1, 0, []);
        let (moves, lost) = (Moves::default(), Vec::new());
        let mut play = Self { now: Time(0), planner, moves, manners, lost, sequence: 0 };
        play.hear(Input::Configure(vec![settings()]));
        for node in NODES {
            play.hear(Input::NodeConnected { node: node.into() });
        }
        play
    }

    fn hear(&mut self, input: Input) {
        let said = self.moves.hear(self.now, &input);
        let outputs = self.planner.step(self.now, input);
        self.moves.follow(self.now, said, &outputs, &self.planner);
        for output in outputs {
            match output {
                Output::Commit { attempt, .. } => {
                    self.now = self.now + 5;
                    self.hear(Input::Committed { attempt, end: CommitEnd::Done });
                }
                Output::Assign { node, number, groups } if !self.lost.contains(&node) => {
                    self.obey(&node, number, &groups);
                }
                Output::Assign { .. }
                | Output::Event { .. }
                | Output::Answer { .. }
                | Output::Fence { .. }
                | Output::Spare { .. }
                | Output::NodeWish { .. }
                | Output::Release { .. } => {}
            }
        }
    }

    /// One resource after the other, ten milliseconds each.
    fn obey(&mut self, node: &NodeName, number: u64, groups: &[GroupAssignment]) {
        let Some(group) = groups.first() else { return self.report(node, number, Vec::new()) };
        use ResourceState::{Failed, Offline, Online, Starting};
        let steps: &[(GroupState, [ResourceState; 2], &str)] = match self.manners[node] {
            Manner::Runs => &[
                (GroupState::Starting, [Starting, Offline], "told to start"),
                (GroupState::Starting, [Online, Starting], "told to start"),
                (GroupState::Online, [Online, Online], "all of it was started"),
            ],
            Manner::Fails => &[
                (GroupState::Starting, [Starting, Offline], "told to start"),
                (GroupState::Failed, [Failed, Offline], "disk was not started: it ended with status 3"),
            ],
        };
        for (state, resources, reason) in steps {
            self.now = self.now + 10;
            let resources = ["disk", "app"].iter().zip(resources);
            let report = GroupReport {
                name: "g".into(),
                epoch: group.epoch,
                state: *state,
                reason: (*reason).to_owned(),
                resources: resources
                    .map(|(name, state)| ResourceReport { name: (*name).into(), state: *state })
                    .collect(),
                recovery: Default::default(),
                left: None,
            };
            self.report(node, number, vec![report]);
        }
    }

    fn report(&mut self, node: &NodeName, number: u64, groups: Vec<GroupReport>) {
        self.sequence += 1;
        let (node, sequence) = (node.clone(), self.sequence);
        let report = GroupsReport {
            node,
            incarnation: 1,
            sequence,
            generation: 1,
            number,
            has_lease: true,
            groups,
            ailments: Vec::new(),
        };
        self.hear(Input::Report(report));
    }

    fn ask(&mut self, act: GroupAct) {
        let (group, who) = ("g".into(), "anna".into());
        self.hear(Input::Operator { ask: 1, who, group, act, dry_run: false });
    }

    fn lose(&mut self, node: &str) {
        let node = NodeName::from(node);
        self.lost.push(node.clone());
        self.hear(Input::NodeLost { node: node.clone() });
        self.now = self.now + 600;
        self.moves.silent(self.now, &node, 700);
        self.hear(Input::Reach { node: node.clone(), is_reachable: false, is_mass: false });
        self.now = self.now + 550;
        self.hear(Input::Taken { node });
    }

    fn check(&self, expected: &Expect) {
        let mut text = String::new();
        for it in self.moves.of(&"g".into(), &|time| time.0) {
            let name = |node: &Option<NodeName>| node.as_ref().map_or("-".to_owned(), ToString::to_string);
            let took = it.ended_ms.map_or("-".to_owned(), |end| (end - it.began_ms).to_string());
            text += &format!(
                "{} {} -> {}, epoch {}, {} after {took}: {}\n",
                it.kind,
                name(&it.from),
                name(&it.to),
                it.epoch,
                it.outcome,
                it.reason
            );
            for stage in &it.stages {
                text += &format!("  {:>4} {}: {}\n", stage.at_ms - it.began_ms, stage.stage, stage.text);
            }
        }
        expected.assert_eq(&text);
    }
}

#[test]
fn a_start_is_told_with_each_of_its_resources() {
    let play = Play::new();
    play.check(&expect![[r#"
        start - -> a, epoch 1, online after 35: group g starts on a, as epoch 1: it is started
             0 decided: node a is to run it, as epoch 1
             5 committed: the decision is in the store
             5 told: node a is told to run it, as epoch 1
            15 resource starting: disk is being started
            25 resource online: disk runs
            25 resource starting: app is being started
            35 resource online: app runs
            35 online: all of it was started
    "#]]);
}

#[test]
fn a_lost_node_is_suspected_confirmed_and_proven_gone_before_the_group_starts_elsewhere() {
    let mut play = Play::new();
    play.moves = Moves { seen: play.moves.seen, ..Moves::default() };
    play.lose("a");
    play.check(&expect![[r#"
        failover a -> b, epoch 2, online after 1220: group g goes from a to b, as epoch 2: node a is lost
             0 last heard: its last heartbeat came
            35 suspected: its agent is not connected any more
           635 confirmed: its heartbeats do not come
          1185 lease ended: its lease has run out and is withheld
          1185 decided: node b is to run it, as epoch 2
          1190 committed: the decision is in the store
          1190 told: node b is told to run it, as epoch 2
          1200 resource starting: disk is being started
          1210 resource online: disk runs
          1210 resource starting: app is being started
          1220 resource online: app runs
          1220 online: all of it was started
    "#]]);
}

#[test]
fn a_move_by_a_person_names_them_and_waits_for_the_stop() {
    let mut play = Play::new();
    play.moves = Moves { seen: play.moves.seen, ..Moves::default() };
    play.ask(GroupAct::Move { node: None });
    play.check(&expect![[r#"
        move a -> b, epoch 2, online after 40: anna asked for `move` of group g
             0 asked for: anna asked for `move` of group g
             0 decided: it goes to node b, once node a has stopped it
             5 committed: the decision is in the store
             5 stopped: nothing of it is left there
             5 decided: node b is to run it, as epoch 2
            10 committed: the decision is in the store
            10 told: node b is told to run it, as epoch 2
            20 resource starting: disk is being started
            30 resource online: disk runs
            30 resource starting: app is being started
            40 resource online: app runs
            40 online: all of it was started
    "#]]);
}

#[test]
fn what_fails_on_one_node_begins_the_failover_to_the_next() {
    let mut play = Play::new();
    play.moves = Moves { seen: play.moves.seen, ..Moves::default() };
    play.manners.insert("b".into(), Manner::Fails);
    play.ask(GroupAct::Move { node: Some("b".into()) });
    play.check(&expect![[r#"
        failover b -> a, epoch 3, online after 35: group g goes from b to a, as epoch 3: disk was not started: it ended with status 3
             0 failed: disk was not started: it ended with status 3
             0 decided: node a is to run it, as epoch 3
             5 committed: the decision is in the store
             5 told: node a is told to run it, as epoch 3
            15 resource starting: disk is being started
            25 resource online: disk runs
            25 resource starting: app is being started
            35 resource online: app runs
            35 online: all of it was started
        move a -> b, epoch 2, failed after 30: anna asked for `move` of group g
             0 asked for: anna asked for `move` of group g
             0 decided: it goes to node b, once node a has stopped it
             5 committed: the decision is in the store
             5 stopped: nothing of it is left there
             5 decided: node b is to run it, as epoch 2
            10 committed: the decision is in the store
            10 told: node b is told to run it, as epoch 2
            20 resource starting: disk is being started
            30 resource failed: disk failed
            30 failed: disk was not started: it ended with status 3
    "#]]);
}

#[test]
fn a_stop_ends_when_nobody_has_the_group() {
    let mut play = Play::new();
    play.moves = Moves { seen: play.moves.seen, ..Moves::default() };
    play.ask(GroupAct::Stop);
    play.check(&expect![[r#"
        stop a -> -, epoch 1, offline after 10: anna asked for `stop` of group g
             0 asked for: anna asked for `stop` of group g
             0 decided: it is to stop
             5 committed: the decision is in the store
             5 stopped: nothing of it is left there
             5 decided: it is stopped, and no node has it
            10 committed: the decision is in the store
    "#]]);
}

#[test]
fn moves_and_stages_are_bounded_and_an_end_is_always_kept() {
    let mut play = Play::new();
    for _ in 0..GROUP_MOVES_MAX + 10 {
        play.ask(GroupAct::Move { node: None });
    }
    let all = play.moves.of(&"g".into(), &|time| time.0);
    assert_eq!(all.len(), GROUP_MOVES_MAX);
    assert!(all.windows(2).all(|pair| pair[0].number > pair[1].number), "the newest comes first");

    let mut story = Story::new(1, "g".into(), MoveKind::Start, None, Time(0));
    for _ in 0..1_000 {
        let mut noted = Noted::of(Stage::ResourceOnline, Time(1), &"a".into(), "runs");
        noted.resource = Some("app".into());
        story.note(noted);
    }
    story.note(Noted::of(Stage::Online, Time(2), &"a".into(), "all of it was started"));
    let told = story.tell(&|time| time.0);
    assert!(told.stages.len() <= crate::limits::GROUP_STAGES_MAX);
    assert_eq!(told.stages.last().map(|stage| stage.stage), Some(Stage::Online));
    assert_eq!(told.left_out + told.stages.len() as u64, 1_001);
}

#[test]
fn a_doubt_that_has_passed_is_not_told_of() {
    let mut play = Play::new();
    play.moves = Moves { seen: play.moves.seen, ..Moves::default() };
    let node = NodeName::from("a");
    play.hear(Input::Reach { node: node.clone(), is_reachable: false, is_mass: false });
    play.hear(Input::Reach { node, is_reachable: true, is_mass: false });
    play.ask(GroupAct::Move { node: None });
    let newest = play.moves.of(&"g".into(), &|time| time.0).remove(0);
    assert_eq!(newest.stages[0].stage, Stage::Asked, "{newest:?}");
}

#[test]
fn a_group_that_leaves_a_drained_node_is_moved_and_does_not_fail_back() {
    let mut play = Play::new();
    play.hear(Input::Nodes(NODES.map(NodeName::from).to_vec()));
    let kind = |play: &Play| play.moves.newest(&"g".into(), &|time| time.0).map(|newest| newest.kind);
    let drain =
        |act| Input::NodeOperator { ask: 1, who: "ann".into(), node: "a".into(), act, dry_run: false };
    play.hear(drain(NodeAct::Drain));
    assert_eq!(kind(&play), Some(MoveKind::Move));
    play.hear(drain(NodeAct::Undrain));
    let group = GroupSettings { failback: Attribute::Automatic, ..settings() };
    play.hear(Input::Configure(vec![group]));
    play.now = play.now + 60_000;
    play.hear(Input::Tick);
    assert_eq!(kind(&play), Some(MoveKind::Failback));
}

#[test]
fn nothing_is_kept_of_groups_that_there_are_not() {
    let mut play = Play::new();
    let report = |name: &str, state| GroupReport {
        name: name.into(),
        epoch: 1,
        state,
        reason: "so".into(),
        resources: Vec::new(),
        recovery: Default::default(),
        left: None,
    };
    for number in 0..100 {
        let name = format!("nonsense-{number}");
        play.report(&"a".into(), 1, vec![report(&name, GroupState::Stopping)]);
        play.report(&"a".into(), 1, vec![report(&name, GroupState::Stopped)]);
    }
    assert!(play.moves.before.is_empty(), "{:?}", play.moves.before);
}
