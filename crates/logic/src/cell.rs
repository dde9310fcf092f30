//! Decides for a whole cell: from configuration, reports and operators' wishes to views, assignments and events.
//!
//! Promises:
//! - One view per cluster, published only when routers have to know, each time with a higher epoch.
//! - After a start nothing is published about a cluster before its agents had time to report (`SETTLE_MS`) or were
//!   found to be lost: routers keep the view they have, so a manager's restart is not an outage.
//! - A report older than one already heard changes nothing.
//! - A planned stop, restart or removal first takes the member out of rotation (see `rollout`).
//! - Outputs are in the order in which they must be carried out: a view that takes a member out comes before the
//!   assignment that stops it, and an answer comes after what must be remembered for it.
//!
//! `Remember` holds what must survive this process: see `cell::record`. Everything else is learned again from reports.
//! Not here: sockets, the store, the configuration file. Durations are milliseconds.

mod absence;
mod changes;
mod cluster;
mod configure;
mod gateways;
mod member;
mod monitor;
mod node;
mod operate;
mod record;
mod remote;
mod router;
mod settle;
mod status;

pub use absence::Absence;
pub use changes::changes;
pub use node::NodePlace;
pub use remote::{CELL_COOKIE, Elsewhere};
pub use status::Summary;

use crate::heartbeat::{Restart, Verdict};
use crate::limits::SETTLE_MS;
use crate::machine::Machine;
use crate::time::Time;
use cluster::Cluster;
use monitor::Monitors;
use node::Agent;
use remote::Remote;
use router::Router;
use std::collections::{BTreeMap, BTreeSet};
use wire::agent::{Assignment, Report};
use wire::error_code::ErrorCode;
use wire::id::{ClusterName, MemberName, MonitorName, NodeName, NodeNumber, RouterName};
use wire::link::Role;
use wire::monitor::{Alert, MonitorAssignment, MonitorsReport};
use wire::node::NodeWish;
use wire::router::{RouterProgress, RouterReport, RouterSettings};
use wire::settings::{CellSettings, RouterPlace};
use wire::status::{Act, MonitorAct, Severity};
use wire::view::View;

/// What a cell is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The configuration in force, at start and after each change. It has been checked.
    Configure(Box<CellSettings>),
    AgentConnected {
        node: NodeName,
    },
    AgentReport(Report),
    AgentLost {
        node: NodeName,
    },
    /// The node's first heartbeat that this manager hears.
    Beats {
        node: NodeNumber,
    },
    /// What heartbeats tell, all that is new at once.
    Verdicts(Vec<Verdict>),
    /// A person says that a node which fell silent together with many others is lost. `ask` comes back in the answer.
    ConfirmLost {
        ask: u64,
        who: String,
        node: NodeName,
    },
    Restarted(Restart),
    /// What operators want of the node, at start and after each change. It is kept elsewhere.
    NodeWish {
        node: NodeName,
        wish: NodeWish,
    },
    /// The node's machine is no longer of the cell. Also to be told to a new manager, for it is not remembered.
    NodeRemoved {
        node: NodeName,
    },
    RouterConnected {
        router: RouterName,
    },
    /// Of the router's present connection; those of an earlier one are dropped by the caller.
    RouterReport(RouterReport),
    /// The same, between two reports.
    RouterProgress(RouterProgress),
    RouterLost {
        router: RouterName,
    },
    /// Without a member it is meant for the whole cluster. `ask` comes back in the answer.
    Operator {
        ask: u64,
        who: String,
        cluster: ClusterName,
        member: Option<MemberName>,
        act: Act,
    },
    AgentMonitors(MonitorsReport),
    /// A wish for a monitor; `ask` comes back in the answer.
    MonitorOperator {
        ask: u64,
        who: String,
        monitor: MonitorName,
        act: MonitorAct,
    },
    /// A monitoring command on this node said something.
    Alert {
        node: NodeName,
        alert: Alert,
    },
    /// Something is known of a cluster of another cell, under its name in this one.
    Elsewhere {
        cluster: ClusterName,
        known: Elsewhere,
    },
    Tick,
}

/// What a cell wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// To one router, or to all that are connected.
    Publish {
        to: Option<RouterName>,
        view: View,
    },
    /// The clusters that exist; routers forget all others.
    Clusters {
        to: Option<RouterName>,
        names: Vec<ClusterName>,
    },
    RouterSettings {
        router: RouterName,
        settings: RouterSettings,
    },
    /// Everything that the node's agent shall look after.
    Assign {
        node: NodeName,
        assignments: Vec<Assignment>,
    },
    Event {
        severity: Severity,
        /// Stable name, e.g. `member-up`.
        kind: &'static str,
        cluster: Option<ClusterName>,
        member: Option<MemberName>,
        text: String,
    },
    /// The same of one node; `id` is that of a monitoring command's message.
    NodeEvent {
        severity: Severity,
        kind: &'static str,
        node: NodeName,
        id: Option<u16>,
        text: String,
    },
    /// Everything that the node's agent shall monitor.
    Monitor {
        node: NodeName,
        monitors: Vec<MonitorAssignment>,
    },
    /// The agent that is connected counts from below what was heard in its node's name: let it go above that.
    Overtaken {
        node: NodeName,
        incarnation: u64,
    },
    /// The node counts as one that fell alone.
    Lost {
        node: NodeName,
    },
    /// Keep `value` under `key` for the next manager; None: forget it.
    Remember {
        key: String,
        value: Option<String>,
    },
    /// May be given to the operator once every `Remember` before it is safe.
    Answer {
        ask: u64,
        result: Result<String, Refusal>,
    },
}

/// Why an operator's wish was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
    /// Whether the same wish may be granted later without anything else being done.
    pub retry: bool,
}

/// The decisions of one manager.
#[derive(Debug)]
pub struct Cell {
    generation: u64,
    /// For people.
    name: String,
    clusters: Vec<Cluster>,
    /// Clusters of other cells, in the order of the configuration.
    remotes: Vec<Remote>,
    agents: BTreeMap<NodeName, Agent>,
    /// Who has which number, of the nodes of the configuration.
    numbered: BTreeMap<NodeNumber, NodeName>,
    routers: BTreeMap<RouterName, Router>,
    monitors: Monitors,
    /// What is wanted of nodes, where it is anything.
    wishes: BTreeMap<NodeName, NodeWish>,
    /// What an earlier manager remembered and no member has claimed yet.
    remembered: BTreeMap<String, String>,
    /// New members start above this instance, so that one which is removed and comes back is new to its agent.
    instance_floor: u64,
    /// No node has had this number or a higher one.
    node_floor: u32,
    /// Views of new clusters start above this number, for the same reason.
    number_floor: u64,
    /// When the first configuration came.
    started: Option<Time>,
    /// Nodes whose assignments may have changed.
    unassigned: BTreeSet<NodeName>,
    /// Routers whose settings have changed.
    unset: BTreeSet<RouterName>,
    /// Clusters came or went.
    is_cluster_list_new: bool,
    /// Of the latest step.
    now: Time,
    outputs: Vec<Output>,
}

impl Cell {
    /// A cell of this generation, which must be higher than that of any manager before, with what those remembered.
    pub fn new(generation: u64, remembered: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut remembered: BTreeMap<_, _> = remembered.into_iter().collect();
        let instance_floor = record::take_instance_floor(&mut remembered);
        let node_floor = node::take_floor(&mut remembered);
        Self {
            generation,
            name: String::new(),
            clusters: Vec::new(),
            remotes: Vec::new(),
            agents: BTreeMap::new(),
            numbered: BTreeMap::new(),
            routers: BTreeMap::new(),
            monitors: Monitors::default(),
            wishes: BTreeMap::new(),
            remembered,
            instance_floor,
            node_floor,
            number_floor: 0,
            started: None,
            unassigned: BTreeSet::new(),
            unset: BTreeSet::new(),
            is_cluster_list_new: false,
            now: Time(0),
            outputs: Vec::new(),
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The view of each cluster that has been published.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        let own = self.clusters.iter().filter(|cluster| cluster.is_published);
        own.map(|cluster| cluster.keeper.view()).chain(self.remotes.iter().filter_map(Remote::view))
    }

    /// The routers of the configuration, listening where they said that they do.
    pub fn routers(&self) -> Vec<RouterPlace> {
        let place = |router: &Router| {
            let mut place = router.place.clone();
            let listening = router.report.iter().flat_map(|report| &report.listening);
            // In the same order, once all are held.
            let is_whole = listening.clone().count() == place.listeners.len();
            for (listener, address) in place.listeners.iter_mut().zip(listening).filter(|_| is_whole) {
                listener.address = *address;
            }
            place
        };
        self.routers.values().map(place).collect()
    }

    /// The members of a node that stay in the configuration, as `cluster/member`.
    pub fn members_on(&self, node: &NodeName) -> Vec<String> {
        let clusters = self.clusters.iter().flat_map(|cluster| {
            let here = cluster.members.iter();
            let here = here.filter(|member| member.settings.node == *node && !member.is_leaving);
            here.map(|member| format!("{}/{}", cluster.name, member.settings.name))
        });
        clusters.collect()
    }

    /// Whether a role may join; the sentence says why not.
    pub fn admits(&self, role: &Role) -> Result<(), String> {
        match role {
            Role::Agent { node } => match self.agents.get(node) {
                Some(agent) if agent.is_configured => Ok(()),
                Some(_) | None => Err(format!("node {node} is not in the configuration")),
            },
            Role::Router { node, router } => match self.routers.get(router) {
                Some(known) if known.place.node == *node => Ok(()),
                Some(known) => {
                    Err(format!("router {router} is configured on node {}, not on {node}", known.place.node))
                }
                None => Err(format!("router {router} is not in the configuration")),
            },
        }
    }

    /// Everything that depends on a node is looked at again.
    fn mark_node(&mut self, node: &NodeName) {
        for cluster in &mut self.clusters {
            cluster.is_dirty |= cluster.is_on(node);
        }
        self.unassigned.insert(node.clone());
    }

    fn on_node_wish(&mut self, node: NodeName, wish: NodeWish) {
        self.mark_node(&node);
        self.tell_monitors_anew(&node);
        match wish == NodeWish::default() {
            true => self.wishes.remove(&node),
            false => self.wishes.insert(node, wish),
        };
    }

    fn wish_of(&self, node: &NodeName) -> NodeWish {
        self.wishes.get(node).copied().unwrap_or_default()
    }

    fn event(&mut self, severity: Severity, kind: &'static str, text: String) {
        self.outputs.push(Output::Event { severity, kind, cluster: None, member: None, text });
    }
}

impl Machine for Cell {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut answer = None;
        match input {
            Input::Configure(settings) => self.configure(now, *settings),
            Input::AgentConnected { node } => self.on_agent_connected(now, node),
            Input::AgentReport(report) => self.on_agent_report(now, report),
            Input::AgentLost { node } => self.on_agent_lost(now, node),
            Input::Beats { node } => self.on_beats(node),
            Input::Verdicts(verdicts) => self.on_verdicts(now, &verdicts),
            Input::ConfirmLost { ask, who, node } => {
                let result = self.confirm_lost(&who, &node);
                answer = Some(Output::Answer { ask, result });
            }
            Input::Restarted(restart) => self.on_restarted(&restart),
            Input::NodeWish { node, wish } => self.on_node_wish(node, wish),
            Input::NodeRemoved { node } => self.on_node_removed(&node),
            Input::RouterConnected { router } => self.on_router_connected(now, router),
            Input::RouterReport(report) => self.on_router_report(now, report),
            Input::RouterProgress(progress) => self.on_router_progress(now, progress),
            Input::RouterLost { router } => self.on_router_lost(now, router),
            Input::Operator { ask, who, cluster, member, act } => {
                let result = self.operate(now, &who, &cluster, member.as_ref(), act);
                answer = Some(Output::Answer { ask, result });
            }
            Input::AgentMonitors(report) => self.on_monitors_report(now, report),
            Input::MonitorOperator { ask, who, monitor, act } => {
                let result = self.operate_monitor(now, &who, &monitor, act);
                answer = Some(Output::Answer { ask, result });
            }
            Input::Alert { node, alert } => self.on_alert(node, alert),
            Input::Elsewhere { cluster, known } => self.on_elsewhere(now, &cluster, known),
            Input::Tick => {}
        }
        self.give_up_degraded(now);
        self.settle(now);
        self.settle_monitors(now);
        self.outputs.extend(answer);
        std::mem::take(&mut self.outputs)
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        let settled = self
            .started
            .map(|at| at + SETTLE_MS)
            .filter(|_| self.clusters.iter().any(|cluster| !cluster.is_published));
        let given_up = self.agents.values().filter_map(Agent::given_up_at);
        let mut wake_at = settled.into_iter().chain(given_up).chain(self.monitors.wake_at()).min();
        for cluster in self.clusters.iter().filter(|cluster| cluster.is_busy) {
            let phases = cluster.members.iter().filter_map(|member| member.phase.until());
            wake_at = wake_at.into_iter().chain(phases).chain(self.routers_awaited_until()).min();
        }
        wake_at
    }

    fn check(&self) {
        for cluster in &self.clusters {
            cluster.check(self.generation);
        }
        assert!(self.outputs.is_empty(), "outputs are left over");
    }
}

#[cfg(test)]
mod tests;
