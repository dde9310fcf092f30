//! The world of a fleet: true time, its events, the network, and what is noted about everything.

use super::clock::Clock;
use super::manager::ManagerHost;
use super::node::{Manner, NodeHost};
use super::store::Store;
use crate::asked::Asked;
use logic::heartbeat::{Carriers, Courier, Reach};
use logic::lease::Profile;
use logic::seed::Chance;
use logic::{heartbeat, term};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use wire::heartbeat::Datagram;
use wire::id::{CellNumber, ManagerNumber, NodeNumber, TermNumber};

pub(super) const CELL: CellNumber = CellNumber(0xce11);

/// One end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Manager(usize),
    Node(usize),
    Store,
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    WakeElector {
        manager: usize,
        run: u64,
    },
    WakeDetector {
        manager: usize,
        run: u64,
    },
    ToElector {
        manager: usize,
        run: u64,
        input: term::Input,
    },
    ToDetector {
        manager: usize,
        run: u64,
        input: heartbeat::Input,
    },
    ToStore {
        manager: usize,
        run: u64,
        asked: Asked,
    },
    Heartbeat {
        manager: usize,
        datagram: Datagram,
    },
    Answer {
        node: usize,
        datagram: Datagram,
    },
    /// A node is to bring a question to another one, has brought it, is told the reply, and brings that back.
    Carry {
        carrier: usize,
        to: usize,
        bytes: Vec<u8>,
    },
    Question {
        carrier: usize,
        node: usize,
        bytes: Vec<u8>,
    },
    Reply {
        carrier: usize,
        node: usize,
        bytes: Vec<u8>,
    },
    Carried {
        manager: usize,
        carrier: usize,
        bytes: Vec<u8>,
    },
    WakeNode {
        node: usize,
        start: u64,
    },
    StartNode {
        node: usize,
        is_reboot: bool,
    },
    /// A busy manager gets a little time of the processor, or loses it again.
    Turn {
        manager: usize,
        is_running: bool,
    },
    Settle {
        node: usize,
    },
}

/// A batch of verdicts: one epoch.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub at_us: u64,
    pub verdicts: Vec<(usize, Reach)>,
}

#[derive(Debug)]
pub(super) struct Fleet {
    pub now_us: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    pub chance: Chance,
    pub profile: Profile,
    pub managers: Vec<ManagerHost>,
    pub nodes: Vec<NodeHost>,
    pub store: Store,
    /// One way each.
    pub cuts: BTreeSet<(Place, Place)>,
    /// Of a thousand datagrams and messages.
    pub loss_permille: u32,
    /// Of a thousand datagrams that a node sends, and that are sent to it.
    pub node_losses: BTreeMap<usize, (u32, u32)>,
    /// Whether somebody damages datagrams, keeps them and sends them again, and requests to the store lie about.
    pub has_mischief: bool,
    /// What somebody has overheard who listens; None: nobody does.
    pub overheard: Option<Vec<Datagram>>,
    /// Replies that nodes have given: their number, and the run and the time of the question.
    pub replies: BTreeSet<(NodeNumber, u64, u64)>,
    numbers: u64,
    pub terms: BTreeMap<TermNumber, u64>,
    pub newest_term: TermNumber,
    pub was_restored: bool,
    /// What the leaders have committed: nodes that are not simply reachable.
    pub published: BTreeMap<usize, Reach>,
    /// Those of them that fell with many others and wait for a person.
    pub mass: BTreeSet<usize>,
    /// When and what the leaders said of whom, for those who measure.
    pub said: Vec<Said>,
    pub elections: u64,
    /// When the last of them was over.
    pub led_at_us: u64,
    pub batches: u64,
    pub take_overs: u64,
    pub restarts: u64,
    pub alarms: u64,
    pub heartbeats: u64,
    pub refused: u64,
    pub events: u64,
    trace: Option<String>,
}

impl Fleet {
    pub fn new(managers: usize, nodes: usize, profile: Profile, seed: u64, is_traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let manager = |chance: &mut Chance| ManagerHost {
            clock: Clock::new(chance),
            carriers: Carriers::default(),
            machines: None,
            run: 0,
            is_stopped: false,
            held: Vec::new(),
            is_busy: false,
            acts_until_us: 0,
            leads: None,
        };
        let node = |chance: &mut Chance| NodeHost {
            clock: Clock::new(chance),
            pulse: None,
            start: 0,
            boot: 0,
            incarnation: 0,
            wall_ms: 0,
            is_stopped: false,
            held: Vec::new(),
            courier: Courier::default(),
            manner: Manner::default(),
            taken_at_us: None,
        };
        let mut fleet = Self {
            now_us: 0,
            queue: BTreeMap::new(),
            queued: 0,
            managers: (0..managers).map(|_| manager(&mut chance)).collect(),
            nodes: (0..nodes).map(|_| node(&mut chance)).collect(),
            chance,
            profile,
            store: Store::default(),
            cuts: BTreeSet::new(),
            loss_permille: 0,
            node_losses: BTreeMap::new(),
            has_mischief: true,
            overheard: None,
            replies: BTreeSet::new(),
            numbers: 0,
            terms: BTreeMap::new(),
            newest_term: TermNumber(0),
            was_restored: false,
            published: BTreeMap::new(),
            mass: BTreeSet::new(),
            said: Vec::new(),
            elections: 0,
            led_at_us: 0,
            batches: 0,
            take_overs: 0,
            restarts: 0,
            alarms: 0,
            heartbeats: 0,
            refused: 0,
            events: 0,
            trace: is_traced.then(String::new),
        };
        (0..managers).for_each(|manager| fleet.start_manager(manager));
        (0..nodes).for_each(|node| fleet.start_node(node, true));
        fleet
    }

    pub fn manager_numbers(&self) -> Vec<ManagerNumber> {
        (0..self.managers.len() as u16).map(ManagerNumber).collect()
    }

    pub fn after(&mut self, pause_us: u64, event: Event) {
        self.at(self.now_us + pause_us, event);
    }

    pub fn at(&mut self, at_us: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((at_us.max(self.now_us), self.queued), event);
    }

    pub fn fresh(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// From `least` to `most` by chance.
    pub fn some(&mut self, least: u64, most: u64) -> u64 {
        least + u64::from(self.chance.below((most - least + 1) as u32))
    }

    /// Whether something sent now from one place does not reach the other.
    pub fn is_lost(&mut self, from: Place, to: Place) -> bool {
        if self.cuts.contains(&(from, to)) {
            return true;
        }
        // Streams repeat what is lost; only datagrams are gone.
        let share = match (from, to) {
            (Place::Node(node), _) => {
                self.loss_permille + self.node_losses.get(&node).map_or(0, |loss| loss.0)
            }
            (_, Place::Node(node)) => {
                self.loss_permille + self.node_losses.get(&node).map_or(0, |loss| loss.1)
            }
            (Place::Manager(_) | Place::Store, _) => 0,
        };
        share > 0 && self.chance.below(1_000) < share
    }

    pub fn run_until_us(&mut self, end_us: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end_us {
                break;
            }
            let ((at_us, _), event) = entry.remove_entry();
            self.now_us = at_us;
            self.events += 1;
            self.handle(event);
        }
        self.now_us = end_us;
    }

    pub fn handle(&mut self, event: Event) {
        let manager = match &event {
            Event::WakeElector { manager, .. }
            | Event::WakeDetector { manager, .. }
            | Event::ToElector { manager, .. }
            | Event::ToDetector { manager, .. }
            | Event::Carried { manager, .. }
            | Event::Heartbeat { manager, .. } => Some(*manager),
            Event::ToStore { .. }
            | Event::Carry { .. }
            | Event::Question { .. }
            | Event::Reply { .. }
            | Event::Answer { .. }
            | Event::WakeNode { .. }
            | Event::StartNode { .. }
            | Event::Turn { .. }
            | Event::Settle { .. } => None,
        };
        if manager.is_some_and(|manager| self.hold(manager, &event)) {
            return;
        }
        match event {
            Event::WakeElector { manager, run } => self.wake_elector(manager, run),
            Event::WakeDetector { manager, run } => self.wake_detector(manager, run),
            Event::ToElector { manager, run, input } => self.step_elector(manager, run, input),
            Event::ToDetector { manager, run, input } => self.step_detector(manager, run, input),
            Event::ToStore { manager, run, asked } => self.on_store(manager, run, asked),
            Event::Heartbeat { manager, datagram } => self.on_heartbeat(manager, datagram),
            Event::Answer { node, datagram } => self.on_answer(node, datagram),
            Event::Carry { carrier, to, bytes } => self.on_carry(carrier, to, bytes),
            Event::Question { carrier, node, bytes } => self.on_question(carrier, node, &bytes),
            Event::Reply { carrier, node, bytes } => self.on_reply(carrier, node, bytes),
            Event::Carried { manager, carrier, bytes } => self.on_carried(manager, carrier, &bytes),
            Event::WakeNode { node, start } => self.wake_node(node, start),
            Event::StartNode { node, is_reboot } => {
                if self.nodes[node].pulse.is_none() {
                    self.start_node(node, is_reboot);
                }
            }
            Event::Turn { manager, is_running } => self.turn(manager, is_running),
            Event::Settle { node } => self.settle(node),
        }
    }

    /// A busy machine: the manager runs for some milliseconds, then waits for up to most of a second.
    fn turn(&mut self, manager: usize, is_running: bool) {
        if !self.managers[manager].is_busy {
            self.resume_manager(manager);
            return;
        }
        let pause_us = if is_running {
            self.resume_manager(manager);
            self.some(5_000, 50_000)
        } else {
            self.stop_manager(manager);
            self.some(100_000, 900_000)
        };
        self.after(pause_us, Event::Turn { manager, is_running: !is_running });
    }

    pub fn stop_node(&mut self, node: usize) {
        self.nodes[node].is_stopped = true;
    }

    pub fn resume_node(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        if !std::mem::take(&mut host.is_stopped) {
            return;
        }
        let held = std::mem::take(&mut host.held);
        if host.pulse.is_some() {
            // Whatever was to wake it before it stopped no longer does.
            let start = self.fresh();
            self.nodes[node].start = start;
            self.after(0, Event::WakeNode { node, start });
        }
        for answer in held {
            self.on_answer(node, answer);
        }
    }

    pub fn cut(&mut self, from: Place, to: Place) {
        self.cuts.insert((from, to));
    }

    /// All paths from and to a place.
    pub fn isolate(&mut self, place: Place) {
        for other in self.places() {
            self.cut(place, other);
            self.cut(other, place);
        }
    }

    pub fn join(&mut self, place: Place) {
        self.cuts.retain(|(from, to)| *from != place && *to != place);
    }

    pub fn places(&self) -> Vec<Place> {
        let managers = (0..self.managers.len()).map(Place::Manager);
        let nodes = (0..self.nodes.len()).map(Place::Node);
        managers.chain(nodes).chain([Place::Store]).collect()
    }

    /// Nothing is left to wait for: one leads, everybody knows who is there, and who is there holds its lease.
    pub fn is_whole(&self) -> Result<(), String> {
        let acting = |host: &&ManagerHost| {
            let now = host.clock.shows(self.now_us);
            host.machines.as_ref().is_some_and(|(elector, _)| elector.acting(now).is_some())
        };
        if self.managers.iter().filter(acting).count() != 1 {
            return Err("nobody leads".into());
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let published = self.published.get(&index).copied().unwrap_or(Reach::Reachable);
            let wanted = if node.pulse.is_some() { Reach::Reachable } else { Reach::Unreachable };
            if published != wanted {
                return Err(format!("node-{} is {published:?}, not {wanted:?}", index + 1));
            }
            if node.pulse.is_some() && self.node_acts_until_us(index) <= self.now_us {
                return Err(format!("node-{} has no lease", index + 1));
            }
            if node.pulse.is_some() && node.taken_at_us.is_some() {
                return Err(format!("node-{} was not released", index + 1));
            }
        }
        Ok(())
    }

    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let milliseconds = self.now_us / 1_000;
            writeln!(trace, "{}.{:03}s {}", milliseconds / 1_000, milliseconds % 1_000, line())
                .expect("a String takes any text");
        }
    }

    pub fn trace(&self) -> &str {
        self.trace.as_deref().unwrap_or_default()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() && self.trace.is_some() {
            eprintln!("{}", self.trace());
        }
    }
}
