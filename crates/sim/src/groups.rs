//! Failover groups on several nodes with one manager or several: planner, residents, heartbeats, leases and election, unchanged,
//! in a world that kills, stops, cuts and delays.
//!
//! True time is in microseconds; each host has a clock of its own that runs a little wrong. A guardian is as simple as the
//! real one: it ends what it holds when told, when its agent is gone, and at its deadline, whatever its agent does; that
//! takes it up to K. Messages of a link come in order; what was sent before a link broke may be read after it, by a node
//! that was stopped. Checked from outside, in true time: no group is held by two guardians at any instant.

mod chaos;
mod election;
mod fence;
mod manager;
mod monitors;
mod node;
mod story;

use crate::asked::Asked;
use crate::fleet::Clock;
use election::Word;
use logic::fence::Call;
use logic::group::{PlannerInput, ResidentInput};
use logic::lease::Profile;
use logic::model::{Check, Model, Txn};
use logic::seed::Chance;
use logic::term;
use manager::ManagerHost;
use node::NodeHost;
use std::collections::{BTreeMap, BTreeSet};
use wire::group::{Attribute, GroupClass, GroupSettings, ResourceKind, ResourceSettings};
use wire::heartbeat::Datagram;
use wire::id::{GroupName, NodeName, NodeNumber, TermNumber};

pub use chaos::{GroupsOutcome, run_groups_seed};
pub use story::{
    Lost, run_groups_both_lost, run_groups_claimed, run_groups_leader_lost, run_groups_leader_unheard,
};

#[derive(Debug, Clone)]
enum Event {
    WakeManager {
        run: u64,
    },
    /// A link of this number brings it to the manager.
    ToManager {
        run: u64,
        link: u64,
        node: usize,
        said: Said,
    },
    WakeElector {
        run: u64,
    },
    ToElector {
        run: u64,
        input: term::Input,
    },
    AskStore {
        manager: usize,
        run: u64,
        asked: Asked,
    },
    /// An elected manager takes its generation and reads the records.
    BeginTerm {
        run: u64,
        term: TermNumber,
        fence: Check,
    },
    /// Of another manager.
    Between {
        run: u64,
        word: Word,
    },
    /// A node has heard nothing of its manager for long.
    Silent {
        node: usize,
        link: u64,
    },
    ToStore {
        manager: usize,
        run: u64,
        attempt: u64,
        txn: Txn,
        key: String,
    },
    FromStore {
        run: u64,
        input: PlannerInput,
    },
    Heartbeat {
        datagram: Datagram,
    },
    Answer {
        node: usize,
        datagram: Datagram,
    },
    WakeNode {
        node: usize,
        start: u64,
    },
    StartNode {
        node: usize,
    },
    /// A node that has no link tries to make one.
    Dial {
        node: usize,
    },
    ToNode {
        node: usize,
        start: u64,
        link: u64,
        input: Box<ResidentInput>,
    },
    /// A script or process has come to its end, or the guardian itself.
    FromGuardian {
        node: usize,
        start: u64,
        input: Box<ResidentInput>,
    },
    WakeMonitors {
        node: usize,
        start: u64,
    },
    ToMonitors {
        node: usize,
        start: u64,
        input: Box<logic::monitor::set::Input>,
    },
    /// The guardian's deadline, if it is still this one.
    Deadline {
        node: usize,
        group: GroupName,
        held: u64,
    },
    /// An agent of a fence does what it was called for. It does so also if who called it is gone.
    Call {
        run: u64,
        job: u64,
        node: usize,
        call: Call,
    },
    /// Everything that a guardian held is gone.
    Gone {
        node: usize,
        group: GroupName,
        held: u64,
    },
}

/// What comes over a link to the manager.
#[derive(Debug, Clone)]
enum Said {
    Joined,
    Report(Box<wire::group::GroupsReport>),
    Left,
}

/// A guardian that lives.
#[derive(Debug, Clone)]
struct Held {
    number: u64,
    node: usize,
    run: u64,
    start: u64,
    span: Option<u64>,
    is_ending: bool,
    /// It does not end whatever it is told: its processes hang in the kernel, or it is dead itself. Only a power switch helps.
    is_stuck: bool,
}

#[derive(Debug)]
struct World {
    now_us: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    chance: Chance,
    profile: Profile,
    managers: Vec<ManagerHost>,
    /// Who leads is elected.
    has_several: bool,
    nodes: Vec<NodeHost>,
    groups: Vec<GroupSettings>,
    /// As they are configured now: some less, some changed.
    configured: Vec<GroupSettings>,
    monitors: Vec<wire::monitor::MonitorAssignment>,
    /// Services that do not work.
    sick: BTreeSet<(usize, GroupName)>,
    /// Nodes that fell with many others, as their records say, and wait for a person.
    mass: BTreeSet<NodeNumber>,
    store: Model,
    /// A copy of the store that people have made.
    backup: Option<Model>,
    is_store_down: bool,
    generation: u64,
    /// The store is being put back until then.
    away_until_us: u64,
    /// Nodes that neither reach any manager nor are reached.
    cut: BTreeSet<usize>,
    /// A manager and a node that do not reach each other.
    cut_pairs: BTreeSet<(usize, usize)>,
    /// What the manager sends does not reach the node, which it hears.
    deaf: BTreeSet<(usize, usize)>,
    /// Managers that do not reach the store.
    cut_store: BTreeSet<usize>,
    /// One way each.
    cut_managers: BTreeSet<(usize, usize)>,
    loss_permille: u32,
    /// How often an agent of a fence fails.
    fence_fails_percent: u32,
    numbers: u64,
    held: BTreeMap<GroupName, Vec<Held>>,
    /// Guardians that ever were: by node, start of its agent, and run.
    begun: BTreeSet<(usize, u64, u64)>,
    /// Nothing fails by chance any more.
    is_calm: bool,
    outcome: GroupsOutcome,
    trace: Option<Vec<String>>,
}

fn node_name(node: usize) -> NodeName {
    NodeName(format!("node-{}", node + 1))
}

fn settings(name: &str, nodes: Vec<NodeName>, chance: &mut Chance) -> GroupSettings {
    let resource = |name: &str, kind| ResourceSettings {
        name: name.into(),
        kind,
        start_timeout_ms: 2_000,
        stop_timeout_ms: 2_000,
        environment: BTreeMap::new(),
        directory: None,
        user: None,
    };
    let kind = |name: &str| ResourceKind { name: name.into(), options: Default::default() };
    let failback = if chance.percent(50) { Attribute::Automatic } else { Attribute::Manual };
    GroupSettings {
        name: name.into(),
        nodes,
        startup: Attribute::Automatic,
        failover: Attribute::Automatic,
        failback,
        class: if chance.percent(30) { GroupClass::Hard } else { GroupClass::Soft },
        restarts_max: chance.below(3),
        failovers_max: 1_000,
        after: Vec::new(),
        apart: Vec::new(),
        resources: vec![resource("first", kind("exec")), resource("second", kind("process"))],
    }
}

impl World {
    fn new(
        (managers, nodes): (usize, usize),
        groups: usize,
        profile: Profile,
        seed: u64,
        is_traced: bool,
    ) -> Self {
        let mut chance = Chance::new(seed);
        let policy = |chance: &mut Chance| {
            let first = chance.below(nodes as u32) as usize;
            (0..nodes).map(|index| node_name((first + index) % nodes)).collect::<Vec<_>>()
        };
        let names = ["mail", "data", "site", "logs"];
        let groups = names.iter().take(groups);
        let groups: Vec<GroupSettings> = groups
            .map(|name| {
                let policy = policy(&mut chance);
                settings(name, policy, &mut chance)
            })
            .collect();
        let monitors = monitors::assignments(&groups, &mut chance);
        let hosts_of_managers = (0..managers).map(|_| ManagerHost::new(Clock::new(&mut chance))).collect();
        let hosts = (0..nodes).map(|_| NodeHost::new(Clock::new(&mut chance))).collect();
        let mut world = Self {
            now_us: 0,
            queue: BTreeMap::new(),
            queued: 0,
            chance,
            mass: BTreeSet::new(),
            profile,
            managers: hosts_of_managers,
            has_several: managers > 1,
            nodes: hosts,
            configured: groups.clone(),
            groups,
            monitors,
            sick: BTreeSet::new(),
            store: Model::default(),
            backup: None,
            is_store_down: false,
            generation: 0,
            away_until_us: 0,
            cut: BTreeSet::new(),
            cut_pairs: BTreeSet::new(),
            deaf: BTreeSet::new(),
            cut_store: BTreeSet::new(),
            cut_managers: BTreeSet::new(),
            loss_permille: 0,
            fence_fails_percent: 30,
            numbers: 0,
            held: BTreeMap::new(),
            begun: BTreeSet::new(),
            is_calm: false,
            outcome: GroupsOutcome::default(),
            trace: is_traced.then(Vec::new),
        };
        (0..managers).for_each(|manager| world.start_manager(manager));
        (0..nodes).for_each(|node| world.start_node(node));
        world
    }

    fn after(&mut self, pause_us: u64, event: Event) {
        self.at(self.now_us + pause_us, event);
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((at_us.max(self.now_us), self.queued), event);
    }

    fn fresh(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn some(&mut self, least: u64, most: u64) -> u64 {
        least + u64::from(self.chance.below((most - least + 1) as u32))
    }

    /// Nothing of the node reaches the manager.
    fn is_cut(&self, manager: usize, node: usize) -> bool {
        self.cut.contains(&node) || self.cut_pairs.contains(&(manager, node))
    }

    /// Nothing of the manager reaches the node.
    fn is_deaf(&self, manager: usize, node: usize) -> bool {
        self.is_cut(manager, node) || self.deaf.contains(&(manager, node))
    }

    /// A datagram is lost by chance.
    fn is_lost(&mut self) -> bool {
        self.loss_permille > 0 && self.chance.below(1_000) < self.loss_permille
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        let now_us = self.now_us;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{}.{:06}s {}", now_us / 1_000_000, now_us % 1_000_000, line()));
        }
    }

    fn run_until_us(&mut self, end_us: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end_us {
                break;
            }
            let ((at_us, _), event) = entry.remove_entry();
            self.now_us = at_us;
            self.handle(event);
        }
        self.now_us = end_us;
    }

    /// The manager at which something happens.
    fn at_manager(&self, event: &Event) -> Option<usize> {
        match event {
            Event::WakeManager { run }
            | Event::ToManager { run, .. }
            | Event::FromStore { run, .. }
            | Event::WakeElector { run }
            | Event::ToElector { run, .. }
            | Event::BeginTerm { run, .. }
            | Event::Between { run, .. } => self.manager_of(*run),
            Event::Heartbeat { datagram } => Some(usize::from(datagram.manager.0)),
            _ => None,
        }
    }

    fn handle(&mut self, event: Event) {
        if let Some(manager) = self.at_manager(&event)
            && self.managers[manager].is_stopped
        {
            return self.managers[manager].hold(event);
        }
        match event {
            Event::WakeManager { run } => self.wake_manager(run),
            Event::ToManager { run, link, node, said } => self.on_said(run, link, node, said),
            Event::FromStore { run, input } => self.step_planner(run, input),
            Event::Heartbeat { datagram } => self.on_heartbeat(&datagram),
            Event::WakeElector { run } => self.wake_elector(run),
            Event::ToElector { run, input } => self.step_elector(run, input),
            Event::AskStore { manager, run, asked } => self.on_asked(manager, run, asked),
            Event::BeginTerm { run, term, fence } => self.begin_term(run, term, fence),
            Event::Between { run, word } => self.on_word(run, word),
            Event::Silent { node, link } => self.on_silent(node, link),
            Event::ToStore { manager, run, attempt, txn, key } => {
                self.on_store(manager, run, attempt, &txn, &key);
            }
            Event::Answer { node, .. }
            | Event::ToNode { node, .. }
            | Event::FromGuardian { node, .. }
            | Event::WakeMonitors { node, .. }
            | Event::ToMonitors { node, .. }
                if self.nodes[node].is_stopped =>
            {
                self.nodes[node].held.push(event);
            }
            Event::Answer { node, datagram } => self.on_answer(node, datagram),
            Event::ToNode { node, start, link, input } => self.on_told(node, start, link, *input),
            Event::FromGuardian { node, start, input } => self.step_resident(node, start, *input),
            Event::WakeMonitors { node, start } => self.wake_monitors(node, start),
            Event::ToMonitors { node, start, input } => self.step_monitors(node, start, *input),
            Event::WakeNode { node, start } => self.wake_node(node, start),
            Event::StartNode { node } => {
                if self.nodes[node].machines.is_none() {
                    self.start_node(node);
                }
            }
            Event::Dial { node } => self.dial(node),
            Event::Call { run, job, node, call } => self.on_call(run, job, node, call),
            Event::Deadline { node, group, held } => self.on_deadline(node, &group, held),
            Event::Gone { node, group, held } => self.on_gone(node, &group, held),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(trace) = &self.trace
        {
            trace.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}
