//! Nodes that are drained or in maintenance, with agents that obey at once or hold what they have.

use super::*;
use crate::group::planner::Input;
use crate::machine::Machine;
use std::collections::BTreeMap;
use wire::group::{Attribute, GroupAct, GroupReport, GroupSettings, GroupState, GroupStatus, GroupsReport};
use wire::id::GroupName;

/// A leader, a store that always answers, and agents that run what they are told.
struct World {
    now: Time,
    planner: Planner,
    store: BTreeMap<String, String>,
    answers: Vec<Result<String, Refusal>>,
    told: BTreeMap<NodeName, (u64, Vec<(GroupName, u64)>)>,
    sequence: u64,
    /// Agents that do not report what they do.
    silent: BTreeSet<NodeName>,
    /// The wishes that the cell was told.
    wishes: BTreeMap<NodeName, NodeWish>,
    nodes: Vec<NodeName>,
    groups: Vec<GroupSettings>,
}

fn group(name: &str, nodes: &[&str]) -> GroupSettings {
    GroupSettings {
        name: name.into(),
        nodes: nodes.iter().map(|node| NodeName::from(*node)).collect(),
        startup: Attribute::Automatic,
        failover: Attribute::Automatic,
        failback: Attribute::Manual,
        class: Default::default(),
        restarts_max: 0,
        failovers_max: 3,
        after: Vec::new(),
        apart: Vec::new(),
        resources: Vec::new(),
    }
}

impl World {
    fn new(groups: Vec<GroupSettings>) -> Self {
        let nodes: Vec<NodeName> = ["a", "b", "c"].map(NodeName::from).to_vec();
        let mut world = Self {
            now: Time(1_000_000),
            planner: Planner::new(Time(1_000_000), 1, 1_000, []),
            store: BTreeMap::new(),
            answers: Vec::new(),
            told: BTreeMap::new(),
            sequence: 0,
            silent: BTreeSet::new(),
            wishes: BTreeMap::new(),
            nodes,
            groups,
        };
        world.lead();
        world
    }

    fn lead(&mut self) {
        self.step(Input::Nodes(self.nodes.clone()));
        self.step(Input::Configure(self.groups.clone()));
        for node in self.nodes.clone() {
            self.step(Input::NodeConnected { node });
        }
        self.now = self.now + 60_000;
        self.step(Input::Tick);
    }

    /// Another leader, that knows nothing but the store.
    fn lead_anew(&mut self, generation: u64) {
        let records: Vec<_> = self.store.clone().into_iter().collect();
        self.planner = Planner::new(self.now, generation, 1_000, records);
        self.told.clear();
        self.wishes.clear();
        self.lead();
    }

    fn step(&mut self, input: Input) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.now = self.now + 1;
            for output in self.planner.step(self.now, input) {
                inputs.extend(self.obey(output));
            }
            self.planner.check();
        }
    }

    fn obey(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Commit { attempt, key, value } => {
                match value {
                    Some(value) => drop(self.store.insert(key, value)),
                    None => drop(self.store.remove(&key)),
                }
                Some(Input::Committed { attempt, end: CommitEnd::Done })
            }
            Output::Assign { node, number, groups } => {
                let groups = groups.into_iter().map(|group| (group.name, group.epoch)).collect();
                self.told.insert(node.clone(), (number, groups));
                (!self.silent.contains(&node)).then(|| Input::Report(self.report(&node, GroupState::Online)))
            }
            Output::Answer { result, .. } => {
                self.answers.push(result);
                None
            }
            Output::NodeWish { node, wish } => {
                self.wishes.insert(node, wish);
                None
            }
            Output::Fence { .. } | Output::Spare { .. } => None,
            Output::Release { .. } | Output::Event { .. } => None,
        }
    }

    fn report(&mut self, node: &NodeName, state: GroupState) -> GroupsReport {
        self.sequence += 1;
        let (number, groups) = self.told.get(node).cloned().unwrap_or_default();
        let report = |(name, epoch)| GroupReport {
            name,
            epoch,
            state,
            reason: "as the test says".into(),
            resources: Vec::new(),
            recovery: Default::default(),
            left: None,
        };
        let groups = groups.into_iter().map(report).collect();
        let (node, generation) = (node.clone(), self.planner.generation);
        GroupsReport {
            node,
            incarnation: 1,
            sequence: self.sequence,
            generation,
            number,
            has_lease: true,
            ailments: Vec::new(),
            groups,
        }
    }

    /// The agent says what it has been silent about.
    fn speak(&mut self, node: &str) {
        let node = NodeName::from(node);
        self.silent.remove(&node);
        let report = self.report(&node, GroupState::Online);
        self.step(Input::Report(report));
    }

    fn fail(&mut self, node: &str) {
        let report = self.report(&node.into(), GroupState::Failed);
        self.step(Input::Report(report));
    }

    fn ask(&mut self, node: &str, act: NodeAct, dry_run: bool) -> Result<String, Refusal> {
        let who = "someone".to_owned();
        self.step(Input::NodeOperator { ask: 1, who, node: node.into(), act, dry_run });
        self.answers.pop().expect("it is answered")
    }

    fn status(&self, name: &str) -> GroupStatus {
        let all = self.planner.status(&|time| time.0);
        all.into_iter().find(|group| group.group.0 == name).expect("a group of the test")
    }

    /// Where the groups are: `mail=a site=b`.
    fn places(&self) -> String {
        let all = self.planner.status(&|time| time.0);
        let place = |group: &GroupStatus| {
            let node = group.node.as_ref().map_or("-", |node| node.0.as_str());
            format!("{}={node}", group.group)
        };
        all.iter().map(place).collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn a_drained_node_is_emptied_and_gets_nothing_back() {
    let mut world = World::new(vec![group("mail", &["a", "b"]), group("site", &["a", "c", "b"])]);
    assert_eq!(world.places(), "mail=a site=a");
    let text = world.ask("a", NodeAct::Drain, true).expect("a dry run");
    assert!(text.contains("mail goes to b; site goes to c"), "{text}");
    assert_eq!(world.places(), "mail=a site=a", "a dry run changes nothing");
    world.ask("a", NodeAct::Drain, false).expect("it is granted");
    assert_eq!(world.places(), "mail=b site=c");
    assert!(world.wishes[&NodeName::from("a")].is_drained());
    let why = &world.status("mail").why[0];
    assert!(!why.is_able && why.why.contains("drained"), "{}", why.why);
    // Undrained it may be used, and nothing comes back by itself.
    world.ask("a", NodeAct::Undrain, false).expect("it is granted");
    assert_eq!(world.places(), "mail=b site=c");
    assert!(world.status("mail").why[0].is_able);
    assert!(
        !world.store.contains_key("group-node/a"),
        "nothing is kept of a node of which nothing is wanted"
    );
}

#[test]
fn groups_leave_a_drained_node_one_after_the_other() {
    let groups = vec![group("mail", &["a", "b"]), group("site", &["a", "c"]), group("wiki", &["a", "c"])];
    let mut world = World::new(groups.clone());
    world.silent.insert("b".into());
    world.ask("a", NodeAct::Drain, false).expect("it is granted");
    assert_eq!(world.places(), "mail=b site=a wiki=a", "the first does not run yet");
    assert!(world.status("site").reason.contains("mail goes first"), "{}", world.status("site").reason);
    world.speak("b");
    assert_eq!(world.places(), "mail=b site=c wiki=c");

    let mut world = World::new(groups);
    world.silent.insert("b".into());
    world.ask("a", NodeAct::DrainAtOnce, false).expect("it is granted");
    assert_eq!(world.places(), "mail=b site=c wiki=c", "nobody waits for the first");
}

#[test]
fn what_nobody_else_can_run_stays_on_a_drained_node() {
    let mut world = World::new(vec![group("alone", &["a"]), group("mail", &["a", "b"])]);
    world.step(Input::Operator {
        ask: 2,
        who: "someone".into(),
        group: "mail".into(),
        act: GroupAct::Freeze,
        dry_run: false,
    });
    world.answers.clear();
    let text = world.ask("a", NodeAct::Drain, false).expect("it is granted");
    assert!(text.contains("alone stays: no other node can run it"), "{text}");
    assert!(text.contains("mail stays: it is frozen"), "{text}");
    assert_eq!(world.places(), "alone=a mail=a");
    assert_eq!(world.status("alone").state, GroupCondition::Online);
}

#[test]
fn a_new_leader_knows_which_nodes_are_drained_and_in_maintenance() {
    let mut world = World::new(vec![group("mail", &["a", "b"])]);
    world.ask("b", NodeAct::MaintenanceOn, false).expect("it is granted");
    world.ask("a", NodeAct::Drain, false).expect("it is granted");
    assert_eq!(world.places(), "mail=a", "node b is in maintenance");
    world.lead_anew(2);
    assert_eq!(world.wishes[&NodeName::from("a")].drain, Drain::OneByOne);
    assert!(world.wishes[&NodeName::from("b")].is_in_maintenance);
    world.ask("b", NodeAct::MaintenanceOff, false).expect("it is granted");
    assert_eq!(world.places(), "mail=b");
}

#[test]
fn nothing_moves_because_of_a_node_in_maintenance() {
    let mut world = World::new(vec![group("mail", &["a", "b"])]);
    world.ask("a", NodeAct::MaintenanceOn, false).expect("it is granted");
    world.fail("a");
    assert_eq!(world.places(), "mail=a");
    let status = world.status("mail");
    assert_eq!(status.state, GroupCondition::Failed);
    assert!(status.reason.contains("node a is in maintenance"), "{}", status.reason);
    // Once it is over, what failed is dealt with.
    world.ask("a", NodeAct::MaintenanceOff, false).expect("it is granted");
    assert_eq!(world.places(), "mail=b");
}

#[test]
fn a_node_in_maintenance_that_is_lost_is_waited_for() {
    let mut world = World::new(vec![group("mail", &["a", "b"])]);
    world.ask("a", NodeAct::MaintenanceOn, false).expect("it is granted");
    world.step(Input::NodeLost { node: "a".into() });
    world.step(Input::Taken { node: "a".into() });
    assert_eq!(world.places(), "mail=a");
    assert!(world.status("mail").reason.contains("in maintenance"), "{}", world.status("mail").reason);
    world.ask("a", NodeAct::MaintenanceOff, false).expect("it is granted");
    assert_eq!(world.places(), "mail=b");
}

#[test]
fn a_group_goes_back_to_a_drained_node_before_it_goes_nowhere() {
    let mut world = World::new(vec![group("mail", &["a", "b"])]);
    world.silent.insert("a".into());
    world.ask("a", NodeAct::Drain, false).expect("it is granted");
    // Node b is gone while the group stops.
    world.step(Input::NodeLost { node: "b".into() });
    world.speak("a");
    assert_eq!(world.places(), "mail=a");
    assert_eq!(world.status("mail").state, GroupCondition::Online);
}

#[test]
fn wishes_that_make_no_sense_are_refused() {
    let mut world = World::new(vec![group("mail", &["a", "b"])]);
    let refusal = world.ask("z", NodeAct::Drain, false).expect_err("there is no such node");
    assert_eq!(refusal.message, "there is no node z; there is a, b, c");
    assert!(world.ask("a", NodeAct::Undrain, false).is_err());
    assert!(world.ask("a", NodeAct::MaintenanceOff, false).is_err());
    // What is so already is no mistake: a script may repeat itself.
    world.ask("a", NodeAct::Drain, false).expect("it is granted");
    let text = world.ask("a", NodeAct::Drain, false).expect("it is granted again");
    assert!(text.contains("already"), "{text}");
}

#[test]
fn what_was_wanted_of_a_removed_node_is_forgotten() {
    let mut world = World::new(vec![group("mail", &["a", "b"])]);
    world.ask("c", NodeAct::Drain, false).expect("it is granted");
    assert!(world.store.contains_key("group-node/c"));
    world.step(Input::Nodes(["a", "b"].map(NodeName::from).to_vec()));
    assert!(!world.store.contains_key("group-node/c"));
}
