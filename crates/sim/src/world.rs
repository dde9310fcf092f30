//! The world of one simulated cell: its time, its queue of events, and whatever exists in it.
//!
//! Events at the same time happen in the order in which they were put into the queue.

use crate::checks::Checks;
use crate::exchange::{Attempt, Client, Request, Tally};
use crate::link::{Link, Peer};
use crate::manager::ManagerHost;
use crate::node::{Conduct, Node, Process, ProcessNumber};
use crate::plant::Plant;
use crate::router::RouterHost;
use logic::retry::Fault;
use logic::seed::Chance;
use logic::supervision::StartNumber;
use logic::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use wire::id::{MemberId, NodeName, RouterName};
use wire::link::{FromManager, ToManager};

/// Something that will happen.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A machine wanted to be called now; it may have changed its mind.
    WakeManager,
    WakeAgent {
        node: NodeName,
    },
    /// A role tries to reach the manager.
    Connect {
        peer: Peer,
    },
    ToManager {
        peer: Peer,
        connection: u64,
        message: ToManager,
    },
    FromManager {
        peer: Peer,
        connection: u64,
        message: FromManager,
    },
    /// One end of a connection hears that it is over.
    RoleNotices {
        peer: Peer,
        connection: u64,
    },
    ManagerNotices {
        peer: Peer,
        connection: u64,
    },
    /// News for the agent of that incarnation.
    AgentNews {
        node: NodeName,
        incarnation: u64,
        news: logic::agent::Input,
    },
    AgentStarts {
        node: NodeName,
    },
    Spawn {
        node: NodeName,
        incarnation: u64,
        id: MemberId,
        start: StartNumber,
        clone_id: String,
    },
    Exit {
        process: ProcessNumber,
        cause: String,
    },
    RouterReports {
        router: RouterName,
    },
    ClientSends {
        client: usize,
    },
    /// A request, or a connection for it, arrives at a member.
    Arrive {
        attempt: u64,
    },
    Reply {
        attempt: u64,
    },
    /// The router hears how an attempt ended.
    Ends {
        attempt: u64,
        result: Result<(), Fault>,
    },
    /// A connection that lay idle was closed by its member.
    IdleCloses {
        router: RouterName,
        process: ProcessNumber,
    },
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub(crate) now: Time,
    queue: BTreeMap<(Time, u64), Event>,
    queued: u64,
    pub(crate) chance: Chance,
    pub(crate) plant: Plant,
    pub(crate) manager: ManagerHost,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    pub(crate) routers: BTreeMap<RouterName, RouterHost>,
    pub(crate) links: BTreeMap<Peer, Link>,
    pub(crate) processes: BTreeMap<ProcessNumber, Process>,
    pub(crate) processes_so_far: u32,
    pub(crate) conducts: BTreeMap<MemberId, Conduct>,
    /// Paths on which requests vanish.
    pub(crate) splits: BTreeSet<(RouterName, NodeName)>,
    pub(crate) clients: Vec<Client>,
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) attempts: BTreeMap<u64, Attempt>,
    pub(crate) numbers: u64,
    pub(crate) tally: Tally,
    pub(crate) checks: Checks,
    pub(crate) events_handled: u64,
    trace: Option<String>,
}

impl World {
    pub fn new(plant: Plant, seed: u64, is_traced: bool) -> Self {
        let mut world = Self {
            now: Time(0),
            queue: BTreeMap::new(),
            queued: 0,
            chance: Chance::new(seed),
            manager: ManagerHost::new(),
            nodes: BTreeMap::new(),
            routers: BTreeMap::new(),
            links: BTreeMap::new(),
            processes: BTreeMap::new(),
            processes_so_far: 0,
            conducts: BTreeMap::new(),
            splits: BTreeSet::new(),
            clients: Vec::new(),
            requests: BTreeMap::new(),
            attempts: BTreeMap::new(),
            numbers: 0,
            tally: Tally::default(),
            checks: Checks::default(),
            events_handled: 0,
            trace: is_traced.then(String::new),
            plant,
        };
        world.start_everything();
        world
    }

    fn start_everything(&mut self) {
        let settings = self.plant.settings();
        for member in self.plant.members.clone().iter().filter(|member| member.is_external) {
            self.start_external(&member.name);
        }
        self.start_manager();
        for node in settings.nodes {
            self.nodes.insert(node.clone(), Node::default());
            self.start_agent(&node);
        }
        for place in settings.routers {
            let seed = self.chance.bits();
            self.routers.insert(place.name.clone(), RouterHost::new(place.name.clone(), place.node, seed));
            self.add_link(Peer::Router(place.name.clone()));
            self.after(1_000, Event::RouterReports { router: place.name });
        }
    }

    /// Puts an event into the queue, `pause_ms` from now.
    pub(crate) fn after(&mut self, pause_ms: u64, event: Event) {
        self.at(self.now + pause_ms, event);
    }

    pub(crate) fn at(&mut self, time: Time, event: Event) {
        self.queued += 1;
        self.queue.insert((time.max(self.now), self.queued), event);
    }

    /// A number that nothing else has.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// From `least` to `most` milliseconds, by chance.
    pub(crate) fn some_ms(&mut self, least: u64, most: u64) -> u64 {
        least + u64::from(self.chance.below((most - least + 1) as u32))
    }

    /// Lets time pass until `end`, and all that happens by then happen.
    pub fn run_until(&mut self, end: Time) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((time, _), event) = entry.remove_entry();
            self.now = time;
            self.events_handled += 1;
            self.handle(event);
        }
        self.now = end;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::WakeManager => self.wake_manager(),
            Event::WakeAgent { node } => self.wake_agent(&node),
            Event::Connect { peer } => self.on_connect(peer),
            Event::ToManager { peer, connection, message } => self.on_to_manager(&peer, connection, message),
            Event::FromManager { peer, connection, message } => {
                self.on_from_manager(&peer, connection, message)
            }
            Event::RoleNotices { peer, connection } => self.on_role_notices(&peer, connection),
            Event::ManagerNotices { peer, connection } => self.on_manager_notices(&peer, connection),
            Event::AgentNews { node, incarnation, news } => self.on_agent_news(&node, incarnation, news),
            Event::AgentStarts { node } => self.start_agent(&node),
            Event::Spawn { node, incarnation, id, start, clone_id } => {
                self.on_spawn(&node, incarnation, id, start, clone_id);
            }
            Event::Exit { process, cause } => self.exit(process, &cause),
            Event::RouterReports { router } => {
                self.after(1_000, Event::RouterReports { router: router.clone() });
                self.report_of(&router);
            }
            Event::ClientSends { client } => self.on_client_sends(client),
            Event::Arrive { attempt } => self.on_arrive(attempt),
            Event::Reply { attempt } => self.on_reply(attempt),
            Event::Ends { attempt, result } => self.on_ends(attempt, result),
            Event::IdleCloses { router, process } => self.on_idle_closes(&router, process),
        }
    }

    /// Writes a line of the history, for scenarios and failed seeds.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            writeln!(trace, "{} {}", self.now, line()).expect("a String takes any text");
        }
    }

    /// The history so far.
    pub fn trace(&self) -> &str {
        self.trace.as_deref().unwrap_or_default()
    }

    /// Nothing is left to wait for: every member of the plan is up, everyone agrees, and no process is too many.
    /// The sentence says what is missing.
    pub fn is_whole(&self) -> Result<(), String> {
        let view = self.manager.view().ok_or("the manager has published nothing")?;
        for member in &self.plant.members {
            let known = view.members.iter().find(|known| known.name.0 == member.name);
            let known = known.ok_or_else(|| format!("{} is not in the view", member.name))?;
            if known.state != wire::view::RunState::Up {
                return Err(format!("{} is {}: {}", known.name, known.state, known.reason));
            }
        }
        if view.members.len() != self.plant.members.len() {
            return Err("the view has members that are not in the configuration".into());
        }
        for router in self.routers.values() {
            if router.epoch() != Some(view.epoch) {
                return Err(format!("{} uses {:?}, not {}", router.name, router.epoch(), view.epoch));
            }
        }
        // What runs elsewhere may go on when the cell no longer wants it.
        let own = self.processes.values().filter(|process| !process.is_external()).count();
        let wanted = self.plant.members.iter().filter(|member| !member.is_external).count();
        if own != wanted {
            return Err(format!("{own} processes run, {wanted} are wanted"));
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() && self.trace.is_some() {
            eprintln!("{}", self.trace());
        }
    }
}
