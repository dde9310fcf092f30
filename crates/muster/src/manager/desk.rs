//! The manager's machine: the cell's decisions, who is connected, and who waits for an answer.
//!
//! Wraps `logic::cell::Cell`: turns links and requests into its inputs, and its outputs into messages. Promises:
//! - Of two connections of the same role only the newer one counts; what the older one still says is dropped.
//! - A connection that does not take its messages in time gets no further ones: it is cut, and told everything anew
//!   when it is back.
//!
//! Not here: sockets (`links`), the store (`archive`), carrying out (`shell`), what routers that come back are sent
//! (`resuming`).

mod again;
mod asking;
mod errands;
mod fences;
mod groups;
mod peer;
mod power;
mod resuming;
mod shown;
mod twins;

use super::handle::Request;
use super::heartbeats::{Keys, Sought};
pub use again::{Again, GENERATION_HEARD_MAX, Suspects};
pub use fences::FenceWish;
pub use groups::Groups;
use logic::cell::{self, Cell, Refusal};
use logic::fence;
use logic::group::PlannerInput;
use logic::heartbeat::Carriers;
use logic::machine::Machine;
use logic::time::Time;
pub use peer::{Outlet, Peer, Place};
pub use power::PowerWish;
use resuming::{Reader, Telling};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;
use twins::Twins;
use wire::fence::FenceSettings;
use wire::id::{ClusterName, ManagerNumber, MemberName, NodeName, NodeNumber, RouterName};
use wire::link::{CellSecrets, FromManager, Have, LINK_VERSION, ManagerPlace, Placed, Role, ToManager};
use wire::settings::CellSettings;
use wire::status::{Applied, ConfigRevision, ErrorBody, Severity};

/// Roles that are remembered as welcomed before those that are configured no longer are forgotten. 100,000: ten times the
/// largest cell, some 6 MB.
const WELCOMED_MAX: usize = 100_000;

#[derive(Debug)]
struct Linked {
    number: u64,
    outlet: Outlet,
    peer: Peer,
    since: Time,
    /// What it was told, if it is a router.
    reader: Reader,
    /// Its node, if it carries questions to others.
    carrier: Option<NodeNumber>,
    /// When it last reported.
    heard: Time,
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    pub revision: u64,
    pub text: String,
    pub settings: CellSettings,
}

#[derive(Debug)]
pub enum Input {
    /// From the shell itself: configuration at start, time.
    Cell(cell::Input),
    Join {
        role: Role,
        outlet: Outlet,
        peer: Peer,
        /// The number of the connection, or why it is refused.
        reply: oneshot::Sender<Result<u64, String>>,
    },
    Said {
        place: Place,
        number: u64,
        message: ToManager,
    },
    Left {
        place: Place,
        number: u64,
    },
    Ask(Request),
    /// The node's machine is no longer of the cell.
    Removed {
        node: NodeName,
    },
    /// Its lease was taken from the node, for as long as groups want it.
    Taken {
        node: NodeNumber,
    },
    /// Other nodes shall carry these questions.
    Search(Vec<Sought>),
    /// Another manager is not heard any more, or heard again.
    Fellow {
        manager: ManagerNumber,
        is_there: bool,
    },
    /// A decision about a group was written, or not.
    Group(PlannerInput),
    /// An agent of a fence has come to its end.
    Fence(fence::Input),
    /// A new configuration is committed.
    Applied {
        config: Box<Config>,
        entry: ConfigRevision,
        reply: oneshot::Sender<Result<Applied, ErrorBody>>,
    },
    /// The store may have a configuration after this revision that this manager does not know.
    Doubted {
        after: u64,
    },
    /// Something that the shell noticed.
    Note {
        severity: Severity,
        kind: &'static str,
        text: String,
    },
    Stop,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    These(Vec<Place>),
    One(Place),
}

#[derive(Debug)]
pub enum Output {
    Admit {
        result: Result<u64, String>,
        reply: oneshot::Sender<Result<u64, String>>,
    },
    Send {
        to: To,
        message: FromManager,
    },
    Cut(Place),
    Event {
        severity: Severity,
        kind: &'static str,
        cluster: Option<ClusterName>,
        member: Option<MemberName>,
        text: String,
    },
    NodeEvent {
        severity: Severity,
        kind: &'static str,
        node: NodeName,
        id: Option<u16>,
        text: String,
    },
    Remember {
        key: String,
        value: Option<String>,
    },
    /// Once what was to be remembered before it is safe.
    Answer {
        reply: oneshot::Sender<Result<String, ErrorBody>>,
        result: Result<String, ErrorBody>,
    },
    /// A question, or a change that has to be committed first.
    Ask(Request),
    Applied {
        entry: ConfigRevision,
        reply: oneshot::Sender<Result<Applied, ErrorBody>>,
    },
    /// A decision about a group is to be written.
    Commit {
        attempt: u64,
        key: String,
        value: Option<String>,
    },
    /// An agent of a fence is to be called.
    CallFence {
        job: u64,
        fence: Box<FenceSettings>,
        node: NodeName,
        call: fence::Call,
    },
    KillFence {
        job: u64,
    },
    /// The node may be granted leases again.
    Release {
        node: NodeNumber,
    },
    /// The node, which fell with many others, counts as one that fell alone.
    Lost {
        node: NodeNumber,
    },
    /// A node has brought this back from another one.
    Carried {
        by: NodeNumber,
        reply: Vec<u8>,
    },
    /// Something that people are shown has changed.
    Changed,
    /// What is known cannot be relied upon any more.
    Again(Again),
    Stop,
}

#[derive(Debug)]
pub struct Desk {
    pub cell: Cell,
    pub groups: Groups,
    pub config: Config,
    links: BTreeMap<Place, Linked>,
    links_count: u64,
    /// Machines that were refused for being a node's second one, and when last.
    twins: Twins,
    /// Who has been told this generation by this manager; also those that the configuration names no longer, because it
    /// may name them again.
    welcomed: BTreeSet<Place>,
    suspects: Suspects,
    asks_count: u64,
    /// Operators that wait; answered within the step in which they ask.
    waiting: BTreeMap<u64, oneshot::Sender<Result<String, ErrorBody>>>,
    /// The manager's own.
    node: NodeName,
    /// Keys of cookies are put into the settings of every router; all of it goes to nodes with a manager.
    secrets: CellSecrets,
    telling: Telling,
    carriers: Carriers,
    /// For nodes' heartbeats; None where nobody hears any.
    keys: Option<Keys>,
}

impl Desk {
    pub fn new(
        (cell, groups): (Cell, Groups),
        config: Config,
        node: NodeName,
        secrets: CellSecrets,
        keys: Option<Keys>,
        suspects: Suspects,
    ) -> Self {
        let (links, waiting) = (BTreeMap::new(), BTreeMap::new());
        Self {
            cell,
            groups,
            config,
            links,
            links_count: 0,
            twins: Twins::default(),
            welcomed: BTreeSet::new(),
            suspects,
            asks_count: 0,
            waiting,
            node,
            secrets,
            telling: Telling::default(),
            carriers: Carriers::default(),
            keys,
        }
    }

    /// The connections that a message is for.
    pub fn outlets(&self, to: &To) -> impl Iterator<Item = &Outlet> {
        let places = match to {
            To::These(places) => places.as_slice(),
            To::One(place) => std::slice::from_ref(place),
        };
        places.iter().filter_map(|place| Some(&self.links.get(place)?.outlet))
    }

    fn join(
        &mut self,
        now: Time,
        role: &Role,
        (outlet, peer): (Outlet, Peer),
        reply: oneshot::Sender<Result<u64, String>>,
    ) -> Vec<Output> {
        if let Err(why) = self.cell.admits(role) {
            return vec![Output::Admit { result: Err(why), reply }];
        }
        let place = Place::from(role);
        let own = self.cell.generation();
        if peer.generation > own || (peer.generation == own && !self.welcomed.contains(&place)) {
            let generation = peer.generation;
            if let Some(why) = self.suspects.doubt(now, &place, generation) {
                return vec![Output::Admit { result: Err(why), reply }];
            }
            // It comes back at once, to a manager that it obeys.
            drop(reply);
            return vec![Output::Again(Again::Outnumbered { place, generation })];
        }
        if self.welcomed.len() >= WELCOMED_MAX {
            let (nodes, routers) = (&self.config.settings.nodes, self.routers());
            self.welcomed.retain(|place| match place {
                Place::Agent(node) => nodes.contains(node),
                Place::Router(router) => routers.contains(router),
            });
        }
        if let Some(refused) = self.refuse_twin(now, &place, &peer, role) {
            let (why, event) = refused;
            return event.into_iter().chain([Output::Admit { result: Err(why), reply }]).collect();
        }
        self.welcomed.insert(place.clone());
        self.links_count += 1;
        let number = self.links_count;
        let (is_elsewhere, joined_us) = (peer.bearer.is_some(), peer.joined_us);
        let reader = Reader::new(peer.resumes);
        let carrier = self.carrier(&place, &peer);
        let linked = Linked { number, outlet, peer, since: now, heard: now, reader, carrier };
        if let Some(old) = self.links.insert(place.clone(), linked) {
            self.telling.left(old.number);
            old.outlet.end();
        }
        let welcome = FromManager::Welcome { version: LINK_VERSION, generation: self.cell.generation() };
        let mut outputs = vec![
            Output::Admit { result: Ok(number), reply },
            Output::Send { to: To::One(place.clone()), message: welcome },
        ];
        if let (Place::Agent(node), true) = (&place, is_elsewhere || self.keys.is_some()) {
            outputs.push(self.placed(node, joined_us, None));
        }
        outputs.extend(match place {
            Place::Agent(node) => self.agent_connected(now, node),
            Place::Router(router) => self.step_cell(now, cell::Input::RouterConnected { router }),
        });
        outputs
    }

    /// Those of the configuration.
    fn routers(&self) -> BTreeSet<RouterName> {
        self.config.settings.routers.iter().map(|router| router.name.clone()).collect()
    }

    /// Tells an agent what its machine shall run, how to send heartbeats, and where the managers are.
    fn placed(&self, node: &NodeName, joined_us: u64, incarnation_above: Option<u64>) -> Output {
        let settings = &self.config.settings;
        let here = settings.routers.iter().filter(|router| router.node == *node);
        let routers = here.map(|router| router.name.clone()).collect();
        let numbers = self.cell.nodes().map(|place| (place.node, place.number)).collect();
        let place = self.cell.nodes().find(|place| place.node == *node);
        let heartbeats = self.keys.as_ref().zip(place);
        let heartbeats =
            heartbeats.and_then(|(keys, place)| keys.settings_of(settings, &numbers, &place, joined_us));
        let has_manager = settings.has_several_managers() && settings.managers().contains(node);
        let manager = has_manager.then(|| {
            Box::new(ManagerPlace { config: self.config.text.clone(), secrets: self.secrets.clone() })
        });
        let managers = settings.manager_addresses();
        let placed = Placed { routers, managers, manager, heartbeats, incarnation_above };
        Output::Send { to: To::One(Place::Agent(node.clone())), message: FromManager::Placed(placed) }
    }

    /// Cuts all connections of a node.
    fn removed(&mut self, now: Time, node: NodeName) -> Vec<Output> {
        let is_of_it =
            |linked: &Linked| linked.peer.bearer.as_ref().is_some_and(|bearer| bearer.node == node);
        let links = self.links.iter().filter(|(_, linked)| is_of_it(linked));
        let mut outputs: Vec<Output> = links.map(|(place, _)| Output::Cut(place.clone())).collect();
        let text = format!("node {node} was removed; its machine is no longer of the cell");
        let (severity, kind) = (Severity::Warning, "node-removed");
        outputs.push(Output::Event { severity, kind, cluster: None, member: None, text });
        outputs.extend(self.step_cell(now, cell::Input::NodeRemoved { node }));
        outputs
    }

    fn said(&mut self, now: Time, place: &Place, number: u64, message: ToManager) -> Vec<Output> {
        match self.links.get_mut(place) {
            Some(linked) if linked.number == number => linked.heard = now,
            Some(_) | None => return Vec::new(),
        }
        match (place, message) {
            (Place::Agent(node), ToManager::Agent(report)) if report.node == *node => {
                self.step_cell(now, cell::Input::AgentReport(report))
            }
            (Place::Agent(node), ToManager::Groups(report)) if report.node == *node => {
                self.step_groups(now, PlannerInput::Report(report))
            }
            (Place::Router(_), ToManager::Have(have)) => self.resume(now, place, have),
            (Place::Router(router), ToManager::Router(report)) if report.router == *router => {
                // One that does not say what it has, as it announced, has nothing.
                let mut outputs = self.resume(now, place, Have::default());
                let wants_whole = self.note_changes(place, report.takes_changes);
                outputs.extend(self.step_cell(now, cell::Input::RouterReport(report)));
                if wants_whole {
                    self.owe_all(now, place, &mut outputs);
                }
                outputs
            }
            (Place::Router(router), ToManager::Progress(progress)) if progress.router == *router => {
                self.step_cell(now, cell::Input::RouterProgress(progress))
            }
            (Place::Agent(node), ToManager::Monitors(report)) if report.node == *node => {
                self.step_cell(now, cell::Input::AgentMonitors(report))
            }
            (Place::Agent(_), ToManager::Carried { replies }) => self.carried(place, replies),
            (Place::Agent(node), ToManager::Alert(alert)) => {
                self.step_cell(now, cell::Input::Alert { node: node.clone(), alert })
            }
            (Place::Agent(node), ToManager::PowerFailed { act, why }) => {
                vec![Self::power_failed(node, act, &why)]
            }
            // It speaks for somebody else, or out of turn.
            (
                _,
                ToManager::Agent(_)
                | ToManager::Groups(_)
                | ToManager::Router(_)
                | ToManager::Progress(_)
                | ToManager::Have(_)
                | ToManager::Monitors(_)
                | ToManager::Alert(_)
                | ToManager::Carried { .. }
                | ToManager::PowerFailed { .. }
                | ToManager::Hello { .. },
            ) => vec![Output::Cut(place.clone())],
            (_, ToManager::KeepAlive) => Vec::new(),
        }
    }

    fn left(&mut self, now: Time, place: Place, number: u64) -> Vec<Output> {
        if self.links.get(&place).is_none_or(|linked| linked.number != number) {
            return Vec::new();
        }
        let gone = self.links.remove(&place);
        gone.and_then(|gone| gone.carrier).into_iter().for_each(|node| self.carriers.left(node));
        self.telling.left(number);
        match place {
            Place::Agent(node) => self.agent_lost(now, node),
            Place::Router(router) => self.step_cell(now, cell::Input::RouterLost { router }),
        }
    }

    fn applied(
        &mut self,
        now: Time,
        config: Config,
        entry: ConfigRevision,
        reply: oneshot::Sender<Result<Applied, ErrorBody>>,
    ) -> Vec<Output> {
        let text = format!("{} applied revision {} of the configuration", entry.who, config.revision);
        let mut outputs = vec![Output::Event {
            severity: Severity::Info,
            kind: "configured",
            cluster: None,
            member: None,
            text,
        }];
        outputs.extend(self.step_cell(now, cell::Input::Configure(Box::new(config.settings.clone()))));
        let fences = config.settings.fences.clone();
        outputs.extend(self.step_fences(now, fence::Input::Configure(fences)));
        for input in Groups::configuration(&config.settings) {
            outputs.extend(self.step_groups(now, input));
        }
        self.config = config;
        // A router that is no longer configured is told so when it comes back.
        let routers = self.routers();
        let strangers = self.links.keys().filter(|place| match place {
            Place::Agent(_) => false,
            Place::Router(router) => !routers.contains(router),
        });
        outputs.extend(strangers.map(|place| Output::Cut(place.clone())));
        let told = |linked: &Linked| linked.peer.bearer.is_some() || self.keys.is_some();
        outputs.extend(self.links.iter().filter(|(_, linked)| told(linked)).filter_map(|(place, linked)| {
            match place {
                Place::Agent(node) => Some(self.placed(node, linked.peer.joined_us, None)),
                Place::Router(_) => None,
            }
        }));
        outputs.push(Output::Applied { entry, reply });
        outputs
    }

    fn step_cell(&mut self, now: Time, input: cell::Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        for output in self.cell.step(now, input) {
            self.translate(now, output, &mut outputs);
        }
        outputs
    }

    fn translate(&mut self, now: Time, output: cell::Output, outputs: &mut Vec<Output>) {
        let generation = self.cell.generation();
        let output = match output {
            cell::Output::Publish { to: None, view } => return self.publish(view, outputs),
            cell::Output::Publish { to: Some(name), view } => return self.tell_view(name, view, outputs),
            cell::Output::Clusters { to, names } => return self.tell_names(to, names, outputs),
            cell::Output::RouterSettings { router, mut settings } => {
                settings.cookie_keys.clone_from(&self.secrets.cookie_keys);
                return self.tell_settings(router, settings, outputs);
            }
            cell::Output::Assign { node, assignments } => Output::Send {
                to: To::One(Place::Agent(node)),
                message: FromManager::Assignments { generation, assignments },
            },
            cell::Output::Monitor { node, monitors } => Output::Send {
                to: To::One(Place::Agent(node)),
                message: FromManager::Monitors { generation, monitors },
            },
            cell::Output::NodeEvent { severity, kind, node, id, text } => {
                Output::NodeEvent { severity, kind, node, id, text }
            }
            cell::Output::Event { severity, kind, cluster, member, text } => {
                Output::Event { severity, kind, cluster, member, text }
            }
            cell::Output::Overtaken { node, incarnation } => {
                let linked = self.links.get(&Place::Agent(node.clone()));
                let joined_us = linked.map_or(0, |linked| linked.peer.joined_us);
                self.placed(&node, joined_us, Some(incarnation))
            }
            cell::Output::Lost { node } => return self.lost(now, &node, outputs),
            cell::Output::Remember { key, value } => Output::Remember { key, value },
            cell::Output::Answer { ask, result } => {
                let reply = self.waiting.remove(&ask).expect("the cell answers each question once");
                Output::Answer { reply, result: result.map_err(error_body) }
            }
        };
        outputs.push(output);
    }
}

fn error_body(refusal: Refusal) -> ErrorBody {
    ErrorBody { code: refusal.code.to_string(), message: refusal.message, retry: refusal.retry }
}

impl Machine for Desk {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut outputs = self.serve_line(now);
        outputs.extend(match input {
            Input::Cell(input) => {
                let is_configuration = matches!(input, cell::Input::Configure(_));
                let groups = self.groups.inputs_of(&self.cell, &input);
                self.groups.note_silence(now, &self.cell, &input);
                let fences = Groups::fences_of(&input);
                let mut outputs = self.step_cell(now, input);
                fences.into_iter().for_each(|input| outputs.extend(self.step_fences(now, input)));
                groups.into_iter().for_each(|input| outputs.extend(self.step_groups(now, input)));
                if is_configuration {
                    outputs.extend(self.tell_mass(now));
                }
                outputs
            }
            Input::Taken { node } => self.taken(now, node),
            Input::Fellow { manager, is_there } => self.fellow(manager, is_there),
            Input::Search(sought) => self.search(now, &sought),
            Input::Group(input) => self.step_groups(now, input),
            Input::Fence(input) => self.step_fences(now, input),
            Input::Join { role, outlet, peer, reply } => self.join(now, &role, (outlet, peer), reply),
            Input::Said { place, number, message } => {
                let mut outputs = self.said(now, &place, number, message);
                // Reports carry numbers that people are shown, even where nothing follows from them.
                outputs.push(Output::Changed);
                outputs
            }
            Input::Left { place, number } => self.left(now, place, number),
            Input::Ask(request) => self.ask(now, request),
            Input::Removed { node } => self.removed(now, node),
            Input::Applied { config, entry, reply } => self.applied(now, *config, entry, reply),
            // A later one has come into force: two were wanted at the same time.
            Input::Doubted { after } if after != self.config.revision => Vec::new(),
            Input::Doubted { .. } => vec![Output::Again(Again::Doubted)],
            Input::Note { severity, kind, text } => {
                vec![Output::Event { severity, kind, cluster: None, member: None, text }]
            }
            Input::Stop => return vec![Output::Stop],
        });
        if !matches!(outputs.as_slice(), [] | [Output::Ask(_)] | [.., Output::Changed]) {
            outputs.push(Output::Changed);
        }
        outputs
    }

    fn tick() -> Input {
        Input::Cell(cell::Input::Tick)
    }

    fn wake_at(&self) -> Option<Time> {
        let line = self.line_wake_at();
        self.cell.wake_at().into_iter().chain(self.groups.wake_at()).chain(line).min()
    }

    fn check(&self) {
        self.cell.check();
        self.groups.planner.check();
        self.groups.fences.check();
        assert!(self.waiting.is_empty(), "an operator was not answered");
        self.check_readers();
    }
}

#[cfg(test)]
mod tests;
