//! A hard group whose node is lost: nobody has it before an agent has shown that the node is off.

use super::*;
use crate::manager::desk::{Config, Groups, Input, Outlet, Peer, Place, Suspects, To};
use logic::cell::{self, Cell};
use logic::fence::{Call, End};
use logic::group::{CommitEnd, Planner};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;
use wire::group::{GroupReport, GroupState, GroupsReport};
use wire::link::{CellSecrets, FromManager, Role, ToManager};

const CONFIG: &str = r#"
[cell]
state_dir = "/nonexistent"
[manager]
listen = "10.0.0.1:29001"
[nodes.boss]
address = "10.0.0.1"
[nodes.a]
address = "10.0.0.2"
[nodes.b]
address = "10.0.0.3"
[groups.data]
nodes = ["a", "b"]
class = "hard"
[groups.data.resources.server]
type = "process"
command = ["/bin/data"]
[fences.power]
agent = "/usr/sbin/fence_power"
nodes = ["a", "b", "boss"]
retries = 0
"#;

/// The desk, two agents that obey, a store that writes, and a power switch.
struct World {
    desk: Desk,
    links: Vec<(NodeName, u64, mpsc::Receiver<FromManager>)>,
    sequence: u64,
    lost: Option<NodeName>,
    /// What `status` shows of lost nodes.
    is_off: bool,
    /// Whether `off` does anything.
    has_power: bool,
    lines: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self::led_from("boss")
    }

    fn led_from(leader: &str) -> Self {
        let settings = crate::config::parse(CONFIG, "test").unwrap_or_else(|problems| panic!("{problems}"));
        let config = Config { revision: 1, text: CONFIG.to_owned(), settings: settings.clone() };
        let groups = Groups::new(Planner::new(Time(0), 5, 1_550, []));
        let secrets = CellSecrets::default();
        let suspects = Suspects::default();
        let desk = Desk::new((Cell::new(5, []), groups), config, leader.into(), secrets, None, suspects);
        let (links, lines) = (Vec::new(), Vec::new());
        let mut world = Self { desk, links, sequence: 0, lost: None, is_off: false, has_power: true, lines };
        world.run(Input::Cell(cell::Input::Configure(Box::new(settings))));
        for node in ["a", "b"] {
            let (queue, outbox) = mpsc::channel(64);
            let outlet = Outlet { queue, cut: Arc::default(), is_cut: Arc::default() };
            let (reply, _) = oneshot::channel();
            let number = world.links.len() as u64 + 1;
            world.links.push((node.into(), number, outbox));
            let role = Role::Agent { node: node.into() };
            world.run(Input::Join { role, outlet, peer: Peer::default(), reply });
        }
        world
    }

    fn run(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.desk.step(Time(10), input) {
                inputs.extend(self.carry_out(output));
            }
            self.desk.check();
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Commit { attempt, value, .. } => {
                self.lines.push(format!("write {}", value.unwrap_or_default()));
                let end = CommitEnd::Done;
                Some(Input::Group(PlannerInput::Committed { attempt, end }))
            }
            Output::Send {
                to: To::One(Place::Agent(node)),
                message: FromManager::Groups { number, groups, .. },
            } => {
                let names: Vec<&str> = groups.iter().map(|group| group.name.0.as_str()).collect();
                self.lines.push(format!("{node} shall run {names:?}"));
                let link = self.links.iter().find(|(name, _, _)| *name == node)?.1;
                if self.lost.as_ref() == Some(&node) {
                    return None;
                }
                self.sequence += 1;
                let online = |group: &wire::group::GroupAssignment| GroupReport {
                    name: group.name.clone(),
                    epoch: group.epoch,
                    state: GroupState::Online,
                    reason: "all of it was started".into(),
                    resources: Vec::new(),
                    recovery: Default::default(),
                    left: None,
                };
                let report = GroupsReport {
                    node: node.clone(),
                    incarnation: 1,
                    sequence: self.sequence,
                    generation: 5,
                    number,
                    has_lease: true,
                    ailments: Vec::new(),
                    groups: groups.iter().map(online).collect(),
                };
                let message = ToManager::Groups(report);
                Some(Input::Said { place: Place::Agent(node), number: link, message })
            }
            Output::CallFence { job, node, call, .. } => {
                let is_lost = self.lost.as_ref() == Some(&node);
                if is_lost {
                    self.lines.push(format!("call {} of {node}", call.word()));
                }
                self.is_off |= is_lost && call == Call::Off && self.has_power;
                let status = if is_lost && self.is_off && call == Call::Status { 2 } else { 0 };
                let end = End::Exited { status, words: String::new() };
                Some(Input::Fence(fence::Input::Ended { job, end }))
            }
            _ => None,
        }
    }

    fn lose(&mut self, node: &str) {
        let node = NodeName::from(node);
        let number = self.desk.cell.nodes().find(|place| place.node == node).expect("it is known").number;
        let link = self.links.iter().find(|(name, _, _)| *name == node).expect("it has an agent").1;
        self.run(Input::Left { place: Place::Agent(node.clone()), number: link });
        self.lost = Some(node);
        self.lines.clear();
        self.run(Input::Taken { node: number });
    }

    fn wish(&mut self, wish: FenceWish) -> Result<String, String> {
        let (reply, mut answer) = oneshot::channel();
        let outputs = self.desk.wish_of_fences(Time(10), "ann", wish, reply);
        for output in outputs {
            match output {
                Output::Answer { reply, result } => drop(reply.send(result)),
                output => drop(self.carry_out(output)),
            }
        }
        answer.try_recv().expect("it is answered at once").map_err(|error| error.code)
    }
}

#[test]
fn a_hard_group_goes_elsewhere_once_its_node_is_off() {
    let mut world = World::new();
    world.lose("a");
    expect_test::expect![[r#"
        write epoch=1 owner=a cause=start previous=- wish=- to=- frozen=no leased=yes class=hard taken=- mark=asked
        call status of a
        call off of a
        call status of a
        write epoch=1 owner=a cause=start previous=- wish=- to=- frozen=no leased=yes class=hard taken=- mark=off
        write epoch=2 owner=b cause=failover previous=a wish=- to=- frozen=no leased=yes class=hard taken=a mark=-
        b shall run ["data"]"#]]
    .assert_eq(&world.lines.join("\n"));
}

#[test]
fn a_hard_group_waits_while_its_node_cannot_be_switched_off() {
    let mut world = World::new();
    world.has_power = false;
    world.lose("a");
    expect_test::expect![[r#"
        write epoch=1 owner=a cause=start previous=- wish=- to=- frozen=no leased=yes class=hard taken=- mark=asked
        call status of a
        call off of a
        call status of a"#]]
    .assert_eq(&world.lines.join("\n"));
    let status = world.desk.groups.planner.status(&|time| time.0);
    assert_eq!(status[0].node, Some("a".into()));
    assert!(status[0].reason.contains("says that it is on still"), "{}", status[0].reason);
}

#[test]
fn who_leads_is_not_switched_off_by_itself() {
    let mut world = World::led_from("a");
    world.lose("a");
    expect_test::expect![[r#"
        write epoch=1 owner=a cause=start previous=- wish=- to=- frozen=no leased=yes class=hard taken=- mark=asked"#]]
    .assert_eq(&world.lines.join("\n"));
    let status = world.desk.groups.planner.status(&|time| time.0);
    assert!(status[0].reason.contains("the leading manager runs there"), "{}", status[0].reason);
}

#[test]
fn a_person_is_refused_what_no_fence_can_do() {
    let mut world = World::new();
    assert_eq!(world.wish(FenceWish::Test("board".into())), Err("M2028".into()));
    assert_eq!(world.wish(FenceWish::Off("boss".into())), Err("M2029".into()));
    assert_eq!(world.wish(FenceWish::Off("c".into())), Err("M2029".into()));
    assert!(world.wish(FenceWish::Test("power".into())).is_ok());
    assert!(world.wish(FenceWish::Off("b".into())).is_ok());
}
