//! The manager's machine: the cell's decisions, who is connected, and who waits for an answer.
//!
//! Wraps `logic::cell::Cell`: turns links and requests into its inputs, and its outputs into messages. Promises:
//! - Of two connections of the same role only the newer one counts; what the older one still says is dropped.
//! - A connection that does not take its messages in time gets no further ones: it is cut, and told everything anew
//!   when it is back.
//!
//! Not here: sockets (`links`), the store (`archive`), carrying out (`shell`).

mod peer;
mod twins;

use super::handle::Request;
use super::heartbeats::Keys;
use logic::cell::{self, Cell, Refusal};
use logic::machine::Machine;
use logic::time::Time;
use logic::view::change;
pub use peer::{Outlet, Peer, Place};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;
use twins::Twins;
use wire::id::{ClusterName, MemberName, NodeName, RouterName};
use wire::link::{CellSecrets, FromManager, LINK_VERSION, ManagerPlace, Placed, Role, ToManager};
use wire::settings::CellSettings;
use wire::status::{Applied, ConfigRevision, ErrorBody, NodeStatus, Severity};
use wire::view::View;

/// Members in the views of one message. 20,000 of 300 bytes each stay well below the longest frame.
const MEMBERS_PER_MESSAGE_MAX: usize = 20_000;

#[derive(Debug)]
struct Linked {
    number: u64,
    outlet: Outlet,
    peer: Peer,
    since: Time,
    /// When it last reported.
    heard: Time,
    /// It is a router that said so.
    takes_changes: bool,
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
    /// A new configuration is committed.
    Applied {
        config: Box<Config>,
        entry: ConfigRevision,
        reply: oneshot::Sender<Result<Applied, ErrorBody>>,
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
    Routers,
    /// Routers that take changes of views, or those that want whole ones.
    RoutersThat {
        take_changes: bool,
    },
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
    /// Something that people are shown has changed.
    Changed,
    /// Somebody obeyed another manager of this generation, which is ours or above it: the store has forgotten that one. All
    /// has to begin anew.
    Outnumbered {
        generation: u64,
    },
    Stop,
}

#[derive(Debug)]
pub struct Desk {
    pub cell: Cell,
    pub config: Config,
    links: BTreeMap<Place, Linked>,
    links_count: u64,
    /// Machines that were refused for being a node's second one, and when last.
    twins: Twins,
    /// Who has been told this generation by this manager, of those that the configuration names.
    welcomed: BTreeSet<Place>,
    asks_count: u64,
    /// Operators that wait; answered within the step in which they ask.
    waiting: BTreeMap<u64, oneshot::Sender<Result<String, ErrorBody>>>,
    /// The manager's own.
    node: NodeName,
    /// Keys of cookies are put into the settings of every router; all of it goes to nodes with a manager.
    secrets: CellSecrets,
    /// The view of each cluster that all routers have been sent last.
    told: BTreeMap<ClusterName, View>,
    /// For nodes' heartbeats; None where nobody hears any.
    keys: Option<Keys>,
}

impl Desk {
    pub fn new(cell: Cell, config: Config, node: NodeName, secrets: CellSecrets, keys: Option<Keys>) -> Self {
        let (links, waiting) = (BTreeMap::new(), BTreeMap::new());
        Self {
            cell,
            config,
            links,
            links_count: 0,
            twins: Twins::default(),
            welcomed: BTreeSet::new(),
            asks_count: 0,
            waiting,
            node,
            secrets,
            told: BTreeMap::new(),
            keys,
        }
    }

    /// The connections that a message is for.
    pub fn outlets(&self, to: &To) -> impl Iterator<Item = &Outlet> {
        let is_meant = move |place: &Place, linked: &Linked| match to {
            To::Routers => matches!(place, Place::Router(_)),
            To::RoutersThat { take_changes } => {
                matches!(place, Place::Router(_)) && linked.takes_changes == *take_changes
            }
            To::One(one) => place == one,
        };
        self.links
            .iter()
            .filter(move |(place, linked)| is_meant(place, linked))
            .map(|(_, linked)| &linked.outlet)
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
            // It comes back at once, to a manager that it obeys.
            drop(reply);
            return vec![Output::Outnumbered { generation: peer.generation }];
        }
        if let Some(refused) = self.refuse_twin(now, &place, &peer, role) {
            let (why, event) = refused;
            return event.into_iter().chain([Output::Admit { result: Err(why), reply }]).collect();
        }
        self.welcomed.insert(place.clone());
        self.links_count += 1;
        let number = self.links_count;
        let (is_elsewhere, joined_us) = (peer.bearer.is_some(), peer.joined_us);
        let linked = Linked { number, outlet, peer, since: now, heard: now, takes_changes: false };
        if let Some(old) = self.links.insert(place.clone(), linked) {
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
        outputs.extend(self.step_cell(
            now,
            match place {
                Place::Agent(node) => cell::Input::AgentConnected { node },
                Place::Router(router) => cell::Input::RouterConnected { router },
            },
        ));
        outputs
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
    fn removed(&self, node: &NodeName) -> Vec<Output> {
        let is_of_it =
            |linked: &Linked| linked.peer.bearer.as_ref().is_some_and(|bearer| bearer.node == *node);
        let links = self.links.iter().filter(|(_, linked)| is_of_it(linked));
        let mut outputs: Vec<Output> = links.map(|(place, _)| Output::Cut(place.clone())).collect();
        let text = format!("node {node} was removed; its machine is no longer of the cell");
        let (severity, kind) = (Severity::Warning, "node-removed");
        outputs.push(Output::Event { severity, kind, cluster: None, member: None, text });
        outputs
    }

    /// Adds what is known from their connections to what the cell knows of nodes.
    pub fn describe(&self, nodes: &mut [NodeStatus], unix_ms: &dyn Fn(Time) -> u64) {
        for status in nodes {
            if self.node == status.node {
                status.roles.push("manager".into());
                status.version = env!("CARGO_PKG_VERSION").to_owned();
            }
            if let Some(linked) = self.links.get(&Place::Agent(status.node.clone())) {
                status.roles.push("agent".into());
                status.since_ms = Some(unix_ms(linked.since));
                status.address = linked.peer.from.map(|from| from.ip().to_canonical());
                status.version.clone_from(&linked.peer.muster);
            }
            let here = self.config.settings.routers.iter().filter(|router| router.node == status.node);
            let linked = here.filter(|router| self.links.contains_key(&Place::Router(router.name.clone())));
            status.roles.extend(linked.map(|router| format!("router {}", router.name)));
        }
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
            (Place::Router(router), ToManager::Router(report)) if report.router == *router => {
                let wants_whole = self.note_changes(place, report.takes_changes);
                let mut outputs = self.step_cell(now, cell::Input::RouterReport(report));
                if wants_whole {
                    let views: Vec<View> = self.cell.views().cloned().collect();
                    for view in views {
                        let to = Some(router.clone());
                        self.translate(cell::Output::Publish { to, view }, &mut outputs);
                    }
                }
                outputs
            }
            // It speaks for somebody else, or out of turn.
            (_, ToManager::Agent(_) | ToManager::Router(_) | ToManager::Hello { .. }) => {
                vec![Output::Cut(place.clone())]
            }
            (_, ToManager::KeepAlive) => Vec::new(),
        }
    }

    /// Whether a router that took changes does no longer, because one did not fit.
    fn note_changes(&mut self, place: &Place, takes_changes: bool) -> bool {
        let Some(linked) = self.links.get_mut(place) else { return false };
        std::mem::replace(&mut linked.takes_changes, takes_changes) && !takes_changes
    }

    fn left(&mut self, now: Time, place: Place, number: u64) -> Vec<Output> {
        if self.links.get(&place).is_none_or(|linked| linked.number != number) {
            return Vec::new();
        }
        self.links.remove(&place);
        let input = match place {
            Place::Agent(node) => cell::Input::AgentLost { node },
            Place::Router(router) => cell::Input::RouterLost { router },
        };
        self.step_cell(now, input)
    }

    fn ask(&mut self, now: Time, request: Request) -> Vec<Output> {
        match request {
            Request::Act { who, cluster, member, act, reply } => {
                self.asks_count += 1;
                let ask = self.asks_count;
                self.waiting.insert(ask, reply);
                self.step_cell(now, cell::Input::Operator { ask, who, cluster, member, act })
            }
            request @ (Request::Status { .. }
            | Request::Events { .. }
            | Request::Apply { .. }
            | Request::Rollback { .. }
            | Request::Config { .. }
            | Request::OldConfig { .. }
            | Request::History { .. }
            | Request::Explain { .. }
            | Request::PluginCfg { .. }
            | Request::Facts { .. }
            | Request::NodeToken { .. }
            | Request::NodeRemove { .. }) => vec![Output::Ask(request)],
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
        self.config = config;
        // A router that is no longer configured is told so when it comes back.
        let routers = self.config.settings.routers.iter().map(|router| Place::Router(router.name.clone()));
        let routers: Vec<Place> = routers.collect();
        let is_stranger = |place: &Place| match place {
            Place::Agent(_) => false,
            Place::Router(_) => !routers.contains(place),
        };
        let strangers = self.links.keys().filter(|place| is_stranger(place));
        outputs.extend(strangers.map(|place| Output::Cut(place.clone())));
        self.welcomed.retain(|place| match place {
            Place::Agent(node) => self.config.settings.nodes.contains(node),
            Place::Router(_) => !is_stranger(place),
        });
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
            self.translate(output, &mut outputs);
        }
        outputs
    }

    fn translate(&mut self, output: cell::Output, outputs: &mut Vec<Output>) {
        let generation = self.cell.generation();
        let router = |to: Option<RouterName>| to.map_or(To::Routers, |name| To::One(Place::Router(name)));
        let output = match output {
            cell::Output::Publish { to: None, view } => return self.publish(view, outputs),
            cell::Output::Publish { to: Some(name), view } => {
                let to = router(Some(name));
                // Views that go the same way travel together.
                if let Some(Output::Send { to: last, message: FromManager::Views(views) }) =
                    outputs.last_mut()
                    && *last == to
                    && has_room(views, &view)
                {
                    views.push(view);
                    return;
                }
                Output::Send { to, message: FromManager::Views(vec![view]) }
            }
            cell::Output::Clusters { to, names } => {
                self.told.retain(|cluster, _| names.contains(cluster));
                Output::Send { to: router(to), message: FromManager::Clusters { generation, names } }
            }
            cell::Output::RouterSettings { router, mut settings } => {
                settings.cookie_keys.clone_from(&self.secrets.cookie_keys);
                Output::Send {
                    to: To::One(Place::Router(router)),
                    message: FromManager::Settings { generation, settings: Box::new(settings) },
                }
            }
            cell::Output::Assign { node, assignments } => Output::Send {
                to: To::One(Place::Agent(node)),
                message: FromManager::Assignments { generation, assignments },
            },
            cell::Output::Event { severity, kind, cluster, member, text } => {
                Output::Event { severity, kind, cluster, member, text }
            }
            cell::Output::Overtaken { node, incarnation } => {
                let linked = self.links.get(&Place::Agent(node.clone()));
                let joined_us = linked.map_or(0, |linked| linked.peer.joined_us);
                self.placed(&node, joined_us, Some(incarnation))
            }
            cell::Output::Remember { key, value } => Output::Remember { key, value },
            cell::Output::Answer { ask, result } => {
                let reply = self.waiting.remove(&ask).expect("the cell answers each question once");
                Output::Answer { reply, result: result.map_err(error_body) }
            }
        };
        outputs.push(output);
    }

    /// A newer view for all routers: what changed for those that take that, all of it for the others.
    fn publish(&mut self, view: View, outputs: &mut Vec<Output>) {
        let (takers, others) =
            (To::RoutersThat { take_changes: true }, To::RoutersThat { take_changes: false });
        let change = self.told.get(&view.cluster).and_then(|told| change(told, &view));
        self.told.insert(view.cluster.clone(), view.clone());
        match change {
            None => {
                outputs.push(Output::Send { to: takers, message: FromManager::Views(vec![view.clone()]) })
            }
            Some(change) => {
                if let Some(FromManager::Changes(changes)) = last_to(outputs, &takers) {
                    changes.push(change);
                } else {
                    outputs.push(Output::Send { to: takers, message: FromManager::Changes(vec![change]) });
                }
            }
        }
        if let Some(FromManager::Views(views)) = last_to(outputs, &others)
            && has_room(views, &view)
        {
            views.push(view);
        } else {
            outputs.push(Output::Send { to: others, message: FromManager::Views(vec![view]) });
        }
    }
}

/// Whether another view fits the same message.
fn has_room(views: &[View], view: &View) -> bool {
    let members = |view: &View| view.members.len() + 1;
    views.iter().map(members).sum::<usize>() + view.members.len() < MEMBERS_PER_MESSAGE_MAX
}

/// The last message to these routers, unless something else than such messages came after it: views of one step
/// travel together, and never overtake what must be remembered first.
fn last_to<'a>(outputs: &'a mut [Output], to: &To) -> Option<&'a mut FromManager> {
    for output in outputs.iter_mut().rev() {
        let Output::Send { to: last, message } = output else { return None };
        if last == to {
            return Some(message);
        }
        if !matches!(last, To::RoutersThat { .. }) {
            return None;
        }
    }
    None
}

fn error_body(refusal: Refusal) -> ErrorBody {
    ErrorBody { code: refusal.code.to_string(), message: refusal.message, retry: refusal.retry }
}

impl Machine for Desk {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut outputs = match input {
            Input::Cell(input) => self.step_cell(now, input),
            Input::Join { role, outlet, peer, reply } => self.join(now, &role, (outlet, peer), reply),
            Input::Said { place, number, message } => {
                let mut outputs = self.said(now, &place, number, message);
                // Reports carry numbers that people are shown, even where nothing follows from them.
                outputs.push(Output::Changed);
                return outputs;
            }
            Input::Left { place, number } => self.left(now, place, number),
            Input::Ask(request) => self.ask(now, request),
            Input::Removed { node } => self.removed(&node),
            Input::Applied { config, entry, reply } => self.applied(now, *config, entry, reply),
            Input::Note { severity, kind, text } => {
                vec![Output::Event { severity, kind, cluster: None, member: None, text }]
            }
            Input::Stop => return vec![Output::Stop],
        };
        if !matches!(outputs.as_slice(), [] | [Output::Ask(_)]) {
            outputs.push(Output::Changed);
        }
        outputs
    }

    fn tick() -> Input {
        Input::Cell(cell::Input::Tick)
    }

    fn wake_at(&self) -> Option<Time> {
        self.cell.wake_at()
    }

    fn check(&self) {
        self.cell.check();
        assert!(self.waiting.is_empty(), "an operator was not answered");
    }
}

#[cfg(test)]
mod tests;
