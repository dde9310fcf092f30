//! The manager's shell: carries out what the cell decides, keeps what must survive, dies and comes back.
//!
//! As the real one: what must be remembered is safe before anything behind it in the outputs happens, and a
//! generation is never used twice.

use crate::link::Peer;
use crate::plant::CLUSTER;
use crate::world::{Event, World};
use logic::cell::{Cell, Input, Output};
use logic::machine::Machine;
use logic::time::Time;
use logic::view::change;
use std::collections::BTreeMap;
use wire::id::{ClusterName, MemberName};
use wire::link::{FromManager, Role};
use wire::status::Act;
use wire::view::View;

#[derive(Debug)]
pub(crate) struct ManagerHost {
    cell: Option<Cell>,
    pub generation: u64,
    /// The store.
    remembered: BTreeMap<String, String>,
    armed: Option<Time>,
    /// It dies after so many further outputs: between two acts that belong together.
    pub dies_after: Option<u32>,
    asked: u64,
    /// What all routers have been sent by this manager.
    told: BTreeMap<ClusterName, View>,
}

impl ManagerHost {
    pub fn new() -> Self {
        Self {
            cell: None,
            generation: 0,
            remembered: BTreeMap::new(),
            armed: None,
            dies_after: None,
            asked: 0,
            told: BTreeMap::new(),
        }
    }

    pub fn is_there(&self) -> bool {
        self.cell.is_some()
    }

    pub fn admits(&self, role: &Role) -> bool {
        self.cell.as_ref().is_some_and(|cell| cell.admits(role).is_ok())
    }

    pub fn view(&self) -> Option<&View> {
        self.cell.as_ref()?.views().find(|view| view.cluster.0 == CLUSTER)
    }
}

impl World {
    pub(crate) fn start_manager(&mut self) {
        if self.manager.is_there() {
            return;
        }
        self.manager.generation += 1;
        self.manager.told.clear();
        let generation = self.manager.generation;
        self.tell(|| format!("the manager starts, generation {generation}"));
        self.manager.cell = Some(Cell::new(generation, self.manager.remembered.clone()));
        self.manager_hears(Input::Configure(Box::new(self.plant.settings())));
    }

    pub(crate) fn kill_manager(&mut self) {
        if self.manager.cell.take().is_some() {
            self.tell(|| "the manager is killed".into());
            self.manager.armed = None;
            self.manager.dies_after = None;
            self.close_all_at_manager();
        }
    }

    /// The plan has changed.
    pub(crate) fn apply(&mut self) {
        self.manager_hears(Input::Configure(Box::new(self.plant.settings())));
    }

    pub(crate) fn operate(&mut self, member: Option<&str>, act: Act) {
        self.manager.asked += 1;
        self.manager_hears(Input::Operator {
            ask: self.manager.asked,
            who: "operator".into(),
            cluster: CLUSTER.into(),
            member: member.map(MemberName::from),
            act,
        });
    }

    pub(crate) fn wake_manager(&mut self) {
        self.manager.armed = None;
        let Some(wake_at) = self.manager.cell.as_ref().and_then(Cell::wake_at) else { return };
        if wake_at <= self.now {
            self.manager_hears(Cell::tick());
            let wake_at = self.manager.cell.as_ref().and_then(Cell::wake_at);
            assert!(
                wake_at.is_none_or(|at| at > self.now),
                "the cell wants to be woken again at once: {wake_at:?}"
            );
        } else {
            self.arm_manager();
        }
    }

    fn arm_manager(&mut self) {
        let wake_at = self.manager.cell.as_ref().and_then(Cell::wake_at);
        if let Some(at) = wake_at
            && self.manager.armed.is_none_or(|armed| at < armed)
        {
            self.manager.armed = Some(at);
            self.at(at, Event::WakeManager);
        }
    }

    pub(crate) fn manager_hears(&mut self, input: Input) {
        let Some(cell) = &mut self.manager.cell else { return };
        let outputs = cell.step(self.now, input);
        cell.check();
        for output in outputs {
            if let Some(left) = &mut self.manager.dies_after {
                if *left == 0 {
                    self.kill_manager();
                    return;
                }
                *left -= 1;
            }
            self.carry_out(output);
        }
        self.arm_manager();
    }

    fn carry_out(&mut self, output: Output) {
        let generation = self.manager.generation;
        match output {
            Output::Publish { to, view } => {
                let audience = to.as_ref().map(|router| format!(" to {router}")).unwrap_or_default();
                self.tell(|| format!("manager publishes{audience} {}", view_text(&view)));
                self.checks.published(&view);
                // Who has just come is sent all of it, and from then on only what changes.
                let is_for_all = to.is_none();
                let before = self.manager.told.get(&view.cluster).filter(|_| is_for_all);
                let message = match before.and_then(|before| change(before, &view)) {
                    Some(change) => FromManager::Changes(vec![change]),
                    None => FromManager::Views(vec![view.clone()]),
                };
                for peer in self.routers_of(to) {
                    self.send_to_role(&peer, message.clone());
                }
                if is_for_all {
                    self.manager.told.insert(view.cluster.clone(), view);
                }
            }
            Output::Clusters { to, names } => {
                self.manager.told.retain(|cluster, _| names.contains(cluster));
                for peer in self.routers_of(to) {
                    self.send_to_role(&peer, FromManager::Clusters { generation, names: names.clone() });
                }
            }
            Output::RouterSettings { router, settings } => {
                self.send_to_role(
                    &Peer::Router(router),
                    FromManager::Settings { generation, settings: Box::new(settings) },
                );
            }
            Output::Assign { node, assignments } => {
                self.send_to_role(&Peer::Agent(node), FromManager::Assignments { generation, assignments });
            }
            Output::Monitor { node, monitors } => {
                self.send_to_role(&Peer::Agent(node), FromManager::Monitors { generation, monitors });
            }
            Output::Event { kind, text, .. } | Output::NodeEvent { kind, text, .. } => {
                self.tell(|| format!("manager: {kind}: {text}"))
            }
            Output::Lost { node } => self.tell(|| format!("manager: {node} is lost")),
            // No state directory is copied here; a late report of an agent that is gone has nobody to tell.
            Output::Overtaken { node, .. } => self.tell(|| format!("manager: {node} is overtaken")),
            Output::Remember { key, value: Some(value) } => {
                self.manager.remembered.insert(key, value);
            }
            Output::Remember { key, value: None } => {
                self.manager.remembered.remove(&key);
            }
            Output::Answer { result: Ok(text), .. } => self.tell(|| format!("manager answers: {text}")),
            Output::Answer { result: Err(refusal), .. } => {
                self.tell(|| format!("manager refuses: {} {}", refusal.code, refusal.message));
            }
        }
    }

    fn routers_of(&self, to: Option<wire::id::RouterName>) -> Vec<Peer> {
        match to {
            Some(router) => vec![Peer::Router(router)],
            None => self.routers.keys().cloned().map(Peer::Router).collect(),
        }
    }
}

/// E.g. `shop 1.3: shop-1 up, shop-2 starting`.
pub(crate) fn view_text(view: &View) -> String {
    let members: Vec<String> =
        view.members.iter().map(|member| format!("{} {}", member.name, member.state)).collect();
    format!("{} {}: {}", view.cluster, view.epoch, members.join(", "))
}
