//! The planner of groups at the desk: who waits for its answers, and how its outputs become messages.

use super::{Desk, Output, Place, To, error_body};
use logic::cell::{self, Cell};
use logic::fence::{self, Fences};
use logic::group::{Moves, Planner, PlannerInput, PlannerOutput};
use logic::heartbeat::Reach;
use logic::limits::GROUPS_NAMED_MAX;
use logic::machine::Machine;
use logic::time::Time;
use std::collections::BTreeMap;
use tokio::sync::oneshot;
use wire::group::{GroupAct, GroupStatus};
use wire::group_move::GroupMove;
use wire::id::{GroupName, NodeName, NodeNumber};
use wire::link::FromManager;
use wire::node::NodeAct;
use wire::settings::CellSettings;
use wire::status::ErrorBody;

type Reply = oneshot::Sender<Result<String, ErrorBody>>;

#[derive(Debug)]
struct Waiting {
    reply: Reply,
    /// What is said with a granted wish that the planner does not know.
    besides: String,
}

#[derive(Debug)]
pub struct Groups {
    pub planner: Planner,
    /// What groups went through in this term.
    pub moves: Moves,
    pub fences: Fences,
    asks_count: u64,
    /// Operators that wait for a decision to be written. Bounded by the planner, which refuses those that are too many.
    waiting: BTreeMap<u64, Waiting>,
}

impl Groups {
    pub fn new(planner: Planner) -> Self {
        Self {
            planner,
            moves: Moves::default(),
            fences: Fences::new(),
            asks_count: 0,
            waiting: BTreeMap::new(),
        }
    }

    pub fn status(&self, unix_ms: &dyn Fn(Time) -> u64) -> Vec<GroupStatus> {
        let mut groups = self.planner.status(unix_ms);
        for group in &mut groups {
            group.last_move = self.moves.newest(&group.group, unix_ms);
        }
        groups
    }

    /// What a group went through, the newest first; refused if there is no such group, and was none.
    pub fn moves_of(
        &self,
        group: &GroupName,
        unix_ms: &dyn Fn(Time) -> u64,
    ) -> Result<Vec<GroupMove>, ErrorBody> {
        let moves = self.moves.of(group, unix_ms);
        if moves.is_empty() {
            self.planner.must_have(group).map_err(error_body)?;
        }
        Ok(moves)
    }

    pub(super) fn ask(
        &mut self,
        who: String,
        group: GroupName,
        act: GroupAct,
        dry_run: bool,
        reply: Reply,
    ) -> PlannerInput {
        self.asks_count += 1;
        self.waiting.insert(self.asks_count, Waiting { reply, besides: String::new() });
        PlannerInput::Operator { ask: self.asks_count, who, group, act, dry_run }
    }

    /// Notes since when nodes are silent, for the timelines of groups that leave them.
    pub(super) fn note_silence(&mut self, now: Time, cell: &Cell, input: &cell::Input) {
        let cell::Input::Verdicts(verdicts) = input else { return };
        for verdict in verdicts.iter().filter(|verdict| verdict.reach == Reach::Unreachable) {
            if let Some(place) = cell.nodes().find(|place| place.number == verdict.node) {
                self.moves.silent(now, &place.node, verdict.silence_ms);
            }
        }
    }

    pub fn wake_at(&self) -> Option<Time> {
        self.planner.wake_at().into_iter().chain(self.fences.wake_at()).min()
    }

    /// What fences are to hear of something that the cell hears.
    pub(super) fn fences_of(input: &cell::Input) -> Option<fence::Input> {
        match input {
            cell::Input::Configure(settings) => Some(fence::Input::Configure(settings.fences.clone())),
            cell::Input::Tick => Some(fence::Input::Tick),
            cell::Input::AgentConnected { node } => {
                Some(fence::Input::Here { node: node.clone(), is_here: true })
            }
            cell::Input::AgentLost { node } => {
                Some(fence::Input::Here { node: node.clone(), is_here: false })
            }
            _ => None,
        }
    }

    pub(super) fn ask_of_node(
        &mut self,
        who: String,
        node: NodeName,
        (act, dry_run): (NodeAct, bool),
        members: Vec<String>,
        reply: Reply,
    ) -> PlannerInput {
        self.asks_count += 1;
        let besides = besides(act, &members);
        self.waiting.insert(self.asks_count, Waiting { reply, besides });
        PlannerInput::NodeOperator { ask: self.asks_count, who, node, act, dry_run }
    }

    /// What the planner is to hear of a configuration.
    pub(super) fn configuration(settings: &CellSettings) -> [PlannerInput; 2] {
        [PlannerInput::Nodes(settings.nodes.clone()), PlannerInput::Configure(settings.groups.clone())]
    }

    /// What the planner is to hear of something that the cell hears.
    pub(super) fn inputs_of(&self, cell: &Cell, input: &cell::Input) -> Vec<PlannerInput> {
        match input {
            cell::Input::Configure(settings) => Self::configuration(settings).to_vec(),
            cell::Input::Verdicts(verdicts) => {
                let reach = verdicts.iter().filter_map(|verdict| {
                    let place = cell.nodes().find(|place| place.number == verdict.node)?;
                    let (is_reachable, is_mass) = (verdict.reach.may_hold_lease(), verdict.is_mass);
                    Some(PlannerInput::Reach { node: place.node, is_reachable, is_mass })
                });
                reach.collect()
            }
            cell::Input::Tick => vec![PlannerInput::Tick],
            cell::Input::AgentConnected { .. }
            | cell::Input::AgentReport(_)
            | cell::Input::AgentLost { .. }
            | cell::Input::Beats { .. }
            | cell::Input::ConfirmLost { .. }
            | cell::Input::Restarted(_)
            | cell::Input::NodeWish { .. }
            | cell::Input::NodeRemoved { .. }
            | cell::Input::AgentMonitors(_)
            | cell::Input::Alert { .. }
            | cell::Input::MonitorOperator { .. }
            | cell::Input::RouterConnected { .. }
            | cell::Input::RouterReport(_)
            | cell::Input::RouterProgress(_)
            | cell::Input::RouterLost { .. }
            | cell::Input::Operator { .. }
            | cell::Input::Elsewhere { .. } => Vec::new(),
        }
    }
}

impl Desk {
    pub(super) fn step_groups(&mut self, now: Time, input: PlannerInput) -> Vec<Output> {
        let said = self.groups.moves.hear(now, &input);
        let planned = self.groups.planner.step(now, input);
        self.groups.moves.follow(now, said, &planned, &self.groups.planner);
        let mut outputs = Vec::new();
        for output in planned {
            match output {
                // Whoever switches itself off proves nothing to anybody, and takes the leases of all others with it.
                PlannerOutput::Fence { node, run } if node == self.node => {
                    let why = "the leading manager runs there; it can be fenced once another one leads";
                    let result = Err(why.to_owned());
                    outputs.extend(self.step_groups(now, PlannerInput::Fenced { node, run, result }));
                }
                PlannerOutput::Fence { node, run } => {
                    outputs.extend(self.step_fences(now, fence::Input::Fence { node, run }));
                }
                PlannerOutput::Spare { node } => {
                    outputs.extend(self.step_fences(now, fence::Input::Spare { node }));
                }
                PlannerOutput::NodeWish { node, wish } => {
                    outputs.extend(self.step_cell(now, cell::Input::NodeWish { node, wish }));
                }
                output => outputs.extend(self.translate_group(output)),
            }
        }
        outputs
    }

    pub(super) fn agent_connected(&mut self, now: Time, node: NodeName) -> Vec<Output> {
        let mut outputs = self.step_cell(now, cell::Input::AgentConnected { node: node.clone() });
        outputs.extend(self.step_groups(now, PlannerInput::NodeConnected { node }));
        outputs
    }

    pub(super) fn agent_lost(&mut self, now: Time, node: NodeName) -> Vec<Output> {
        let mut outputs = self.step_cell(now, cell::Input::AgentLost { node: node.clone() });
        outputs.extend(self.step_groups(now, PlannerInput::NodeLost { node }));
        outputs
    }

    pub(super) fn taken(&mut self, now: Time, node: NodeNumber) -> Vec<Output> {
        let place = self.cell.nodes().find(|place| place.number == node);
        match place {
            Some(place) => self.step_groups(now, PlannerInput::Taken { node: place.node }),
            // It was removed: nothing of it is wanted, and nothing is granted to it.
            None => Vec::new(),
        }
    }

    /// What a manager before has said of nodes that fell together.
    pub(super) fn tell_mass(&mut self, now: Time) -> Vec<Output> {
        let mass: Vec<NodeNumber> = self.cell.away().filter(|it| it.is_mass).map(|it| it.node).collect();
        let places = mass.iter().filter_map(|node| self.cell.nodes().find(|place| place.number == *node));
        let told: Vec<PlannerInput> = places
            .map(|place| PlannerInput::Reach { node: place.node, is_reachable: false, is_mass: true })
            .collect();
        told.into_iter().flat_map(|input| self.step_groups(now, input)).collect()
    }

    /// Groups go on without the node once its leases have run out.
    pub(super) fn lost(&mut self, now: Time, node: &NodeName, outputs: &mut Vec<Output>) {
        let place = self.cell.nodes().find(|place| place.node == *node);
        outputs.extend(place.map(|place| Output::Lost { node: place.number }));
        let told = PlannerInput::Reach { node: node.clone(), is_reachable: false, is_mass: false };
        outputs.extend(self.step_groups(now, told));
    }

    fn translate_group(&mut self, output: PlannerOutput) -> Option<Output> {
        let generation = self.cell.generation();
        Some(match output {
            PlannerOutput::Assign { node, number, groups } => Output::Send {
                to: To::One(Place::Agent(node)),
                message: FromManager::Groups { generation, number, groups },
            },
            PlannerOutput::Commit { attempt, key, value } => Output::Commit { attempt, key, value },
            PlannerOutput::Release { node } => {
                // One that was removed is granted nothing in any case.
                let place = self.cell.nodes().find(|place| place.node == node)?;
                Output::Release { node: place.number }
            }
            PlannerOutput::Event { severity, kind, text } => {
                Output::Event { severity, kind, cluster: None, member: None, text }
            }
            PlannerOutput::Fence { .. } | PlannerOutput::Spare { .. } => unreachable!("fences hear of it"),
            PlannerOutput::Answer { ask, result } => {
                let waiting =
                    self.groups.waiting.remove(&ask).expect("the planner answers each question once");
                let Waiting { reply, besides } = waiting;
                Output::Answer { reply, result: result.map(|text| text + &besides).map_err(error_body) }
            }
            // The cell's part of it is done where these are sorted.
            PlannerOutput::NodeWish { .. } => return None,
        })
    }
}

/// What a wish for a node means for its members.
fn besides(act: NodeAct, members: &[String]) -> String {
    let some = members.iter().take(GROUPS_NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match members.len().saturating_sub(GROUPS_NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match act {
        NodeAct::Drain | NodeAct::DrainAtOnce if !members.is_empty() => {
            format!("; members that take no new conversations: {some}{more}")
        }
        NodeAct::Undrain if !members.is_empty() => {
            format!("; members that take new conversations again: {some}{more}")
        }
        NodeAct::Drain
        | NodeAct::DrainAtOnce
        | NodeAct::Undrain
        | NodeAct::MaintenanceOn
        | NodeAct::MaintenanceOff => String::new(),
    }
}
