//! A manager: its detector, and while it leads its planner and its fences, carried out.
//!
//! The only manager leads from its start to its end; one of several while it holds the term (see `election`), and each term is
//! a whole run of planner and fences, as in the shell. A run's number says of whom an event is.

use super::{Event, Said, World, node_name};
use crate::fleet::Clock;
use logic::fence::{self, Fences};
use logic::group::{CommitEnd, Planner, PlannerInput, PlannerOutput};
use logic::heartbeat::{self, Detector, Doubted, Heard, Output as Seen, Reach, Settings};
use logic::machine::Machine;
use logic::model::{Check, Read, Txn, Write};
use logic::term::Elector;
use std::collections::BTreeMap;
use wire::group::GroupsReport;
use wire::heartbeat::Datagram;
use wire::id::{ManagerName, ManagerNumber, NodeNumber, TermNumber};

/// How long until an answer of the store that was lost is found out.
const FIND_OUT_US: u64 = 300_000;
/// An agent that knows several managers and hears nothing of its own for so long looks for another one.
const SILENCE_US: u64 = 3_000_000;
/// Datagrams that wait in a stopped manager's socket; the kernel drops what comes then.
const SOCKET_DATAGRAMS_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct ManagerHost {
    pub clock: Clock,
    /// None: it does not run.
    pub process: Option<Process>,
    pub is_stopped: bool,
    pub held: Vec<Event>,
}

#[derive(Debug)]
pub(super) struct Process {
    /// Number of the start.
    pub run: u64,
    /// None: it has its store to itself.
    pub elector: Option<Elector>,
    pub detector: Detector,
    pub led: Option<Led>,
    /// The term that it was last told to lead.
    pub begins: Option<TermNumber>,
    /// When it has last told the others of its term.
    pub told_us: u64,
}

/// A term.
#[derive(Debug)]
pub(super) struct Led {
    pub run: u64,
    /// None: of the only manager.
    pub term: Option<TermNumber>,
    generation: u64,
    /// Each write fails once another term has begun.
    fence: Option<Check>,
    planner: Planner,
    pub fences: Fences,
    /// The link of each node.
    pub links: BTreeMap<usize, u64>,
    /// By key, as it knows them.
    revisions: BTreeMap<String, u64>,
}

impl ManagerHost {
    pub fn new(clock: Clock) -> Self {
        Self { clock, process: None, is_stopped: false, held: Vec::new() }
    }

    pub fn led(&self) -> Option<&Led> {
        self.process.as_ref()?.led.as_ref()
    }

    /// Keeps an event for later, if there is room.
    pub fn hold(&mut self, event: Event) {
        let is_datagram = matches!(event, Event::Heartbeat { .. });
        if !is_datagram || self.held.len() < SOCKET_DATAGRAMS_MAX {
            self.held.push(event);
        }
    }
}

impl World {
    pub(super) fn start_manager(&mut self, manager: usize) {
        if self.managers[manager].process.is_some() {
            return;
        }
        let run = self.fresh();
        let host = &mut self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let is_elected = self.has_several;
        let numbers = (0..self.managers.len() as u16).map(ManagerNumber).collect();
        let me = ManagerNumber(manager as u16);
        let settings = Settings { me, managers: numbers, lease: self.profile, is_elected, run };
        let mut detector = Detector::new(settings, now);
        let nodes = (0..self.nodes.len() as u32).map(NodeNumber).collect();
        detector.step(now, heartbeat::Input::Nodes(nodes));
        let name = ManagerName(format!("manager-{}", manager + 1));
        let elector = is_elected.then(|| Elector::new(name, run, self.profile));
        self.managers[manager].process =
            Some(Process { run, elector, detector, led: None, begins: None, told_us: self.now_us });
        self.tell(|| format!("manager-{} starts", manager + 1));
        if is_elected {
            self.after(0, Event::WakeElector { run });
        } else {
            self.lead(manager, None, None);
        }
        self.after(0, Event::WakeManager { run });
    }

    /// A term begins: all that is known of groups is what the store says.
    pub(super) fn lead(&mut self, manager: usize, term: Option<TermNumber>, fence: Option<Check>) {
        self.generation += 1;
        let (run, generation) = (self.fresh(), self.generation);
        let now = self.managers[manager].clock.shows(self.now_us);
        let found = self.store.read(&Read::Prefix(String::new())).entries;
        let revisions = found.iter().map(|entry| (entry.key.clone(), entry.revision)).collect();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let records: Vec<_> = found.iter().map(|it| (it.key.clone(), text(&it.value))).collect();
        let planner = Planner::new(now, generation, self.lease().wait_ms, records);
        let is_taken = |node: &usize| planner.taken().any(|name| *name == node_name(*node));
        let taken = (0..self.nodes.len()).filter(is_taken).map(|node| NodeNumber(node as u32)).collect();
        let (fences, links) = (Fences::new(), BTreeMap::new());
        let led = Led { run, term, generation, fence, planner, fences, links, revisions };
        let Some(process) = &mut self.managers[manager].process else { return };
        process.led = Some(led);
        self.outcome.terms += 1;
        self.tell(|| format!("manager-{} leads as generation {generation}", manager + 1));
        let mass =
            self.mass.iter().map(|node| Doubted { node: *node, reach: Reach::Unreachable, is_mass: true });
        let away = mass.collect();
        self.step_detector(manager, heartbeat::Input::Lead { away, taken });
        let fences = self.fences();
        self.step_fences(run, fence::Input::Configure(fences));
        let nodes = (0..self.nodes.len()).map(node_name).collect();
        self.step_planner(run, PlannerInput::Nodes(nodes));
        let groups = self.configured.clone();
        self.step_planner(run, PlannerInput::Configure(groups));
    }

    /// Everything of its term is forgotten, and its connections are cut.
    pub(super) fn end_term(&mut self, manager: usize) {
        let led = self.managers[manager].process.as_mut().and_then(|process| process.led.take());
        let Some(led) = led else { return };
        self.step_detector(manager, heartbeat::Input::Follow);
        (0..self.nodes.len()).for_each(|node| self.break_link_of(node, led.run));
    }

    pub(super) fn kill_manager(&mut self, manager: usize) {
        self.tell(|| format!("manager-{} is killed", manager + 1));
        self.end_term(manager);
        let host = &mut self.managers[manager];
        host.process = None;
        host.is_stopped = false;
        host.held.clear();
    }

    pub(super) fn stop_manager(&mut self, manager: usize) {
        let host = &mut self.managers[manager];
        if host.process.is_none() || host.is_stopped {
            return;
        }
        host.is_stopped = true;
        self.tell(|| format!("manager-{} is stopped", manager + 1));
        if let (true, Some(led)) = (self.has_several, self.managers[manager].led()) {
            for (node, link) in led.links.clone() {
                self.after(SILENCE_US, Event::Silent { node, link });
            }
        }
    }

    /// All that has waited happens now, in order: whoever was stopped knows nothing of the time that has passed.
    pub(super) fn resume_manager(&mut self, manager: usize) {
        if !std::mem::take(&mut self.managers[manager].is_stopped) {
            return;
        }
        self.tell(|| format!("manager-{} goes on", manager + 1));
        for event in std::mem::take(&mut self.managers[manager].held) {
            self.handle(event);
        }
        self.configure(self.configured.clone());
    }

    /// Which manager a process or term is of.
    pub(super) fn manager_of(&self, run: u64) -> Option<usize> {
        self.managers.iter().position(|host| {
            host.process
                .as_ref()
                .is_some_and(|it| it.run == run || it.led.as_ref().is_some_and(|led| led.run == run))
        })
    }

    /// Whether it may act as leader at this moment.
    pub(super) fn may_act(&self, manager: usize) -> bool {
        let host = &self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let Some(process) = &host.process else { return false };
        let Some(led) = &process.led else { return false };
        process.elector.as_ref().is_none_or(|elector| elector.acting(now) == led.term)
    }

    pub(super) fn leader(&self) -> Option<usize> {
        (0..self.managers.len()).find(|manager| !self.managers[*manager].is_stopped && self.may_act(*manager))
    }

    pub(super) fn wake_manager(&mut self, run: u64) {
        let Some(manager) = self.manager_of(run) else { return };
        self.tell_term(manager);
        self.step_detector(manager, heartbeat::Input::Tick);
        if let Some(led) = self.managers[manager].led().map(|led| led.run) {
            self.step_planner(led, PlannerInput::Tick);
            self.step_fences(led, fence::Input::Tick);
        }
        let host = &self.managers[manager];
        let Some(process) = &host.process else { return };
        let led = process.led.iter().flat_map(|led| [led.planner.wake_at(), led.fences.wake_at()]).flatten();
        let due = process.detector.wake_at().into_iter().chain(led).min();
        let due = due.expect("a detector looks at its nodes for ever");
        let at_us = host.clock.reaches(due).max(self.now_us + 1);
        self.at(at_us, Event::WakeManager { run });
    }

    pub(super) fn step_planner(&mut self, run: u64, input: PlannerInput) {
        let Some(manager) = self.manager_of(run) else { return };
        let host = &mut self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let led = host.process.as_mut().and_then(|process| process.led.as_mut());
        let Some(led) = led.filter(|led| led.run == run) else { return };
        let outputs = led.planner.step(now, input);
        led.planner.check();
        for output in outputs {
            self.on_planned(manager, run, output);
        }
    }

    pub(super) fn step_fences(&mut self, run: u64, input: fence::Input) {
        let Some(manager) = self.manager_of(run) else { return };
        let host = &mut self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let Some(led) = host.process.as_mut().and_then(|process| process.led.as_mut()) else { return };
        let outputs = led.fences.step(now, input);
        led.fences.check();
        for output in outputs {
            self.on_fences(run, output);
        }
    }

    fn on_planned(&mut self, manager: usize, run: u64, output: PlannerOutput) {
        match output {
            PlannerOutput::Assign { node, number, groups } => {
                let Some(node) = (0..self.nodes.len()).find(|index| node_name(*index) == node) else {
                    return;
                };
                let Some(led) = self.managers[manager].led().filter(|_| self.may_act(manager)) else {
                    return;
                };
                let (generation, link) = (led.generation, led.links.get(&node).copied());
                let input = logic::group::ResidentInput::Assign { generation, number, groups };
                if let Some(link) = link {
                    self.send_to_node(node, link, input);
                }
            }
            PlannerOutput::Commit { attempt, key, value } => self.commit(manager, run, attempt, key, value),
            PlannerOutput::Release { node } => {
                let index = (0..self.nodes.len()).find(|index| node_name(*index) == node);
                self.tell(|| format!("{node} is released"));
                let node = NodeNumber(index.expect("only nodes of the world are taken") as u32);
                self.step_detector(manager, heartbeat::Input::Release { node });
            }
            PlannerOutput::Fence { node, run: number } if self.may_act(manager) => {
                self.step_fences(run, fence::Input::Fence { node, run: number });
            }
            PlannerOutput::Fence { .. } => {}
            PlannerOutput::Spare { node } => self.step_fences(run, fence::Input::Spare { node }),
            PlannerOutput::Event { kind, text, .. } => {
                *self.outcome.events.entry(kind).or_default() += 1;
                self.tell(|| text);
            }
            PlannerOutput::Answer { .. } | PlannerOutput::NodeWish { .. } => {}
        }
    }

    /// Sent whoever leads by now: a process may be stopped between asking and acting, and the store is what refuses.
    fn commit(&mut self, manager: usize, run: u64, attempt: u64, key: String, value: Option<String>) {
        let Some(led) = self.managers[manager].led() else { return };
        let check = match led.revisions.get(&key) {
            Some(revision) => Check::Unchanged { key: key.clone(), revision: *revision },
            None => Check::Absent { key: key.clone() },
        };
        let checks = led.fence.iter().cloned().chain([check]).collect();
        let write = match value {
            Some(value) => Write::put(key.clone(), value.as_str()),
            None => Write::Delete { key: key.clone() },
        };
        let txn = Txn { checks, writes: vec![write] };
        // Now and then it lies about for long.
        let longest_us = if self.has_mischief() && self.chance.percent(2) { 3_000_000 } else { 5_000 };
        let pause_us = self.some(300, longest_us);
        self.after(pause_us, Event::ToStore { manager, run, attempt, txn, key });
    }

    /// A commit happens, or not; its answer comes, or is found out later. That of a manager which was killed, or leads no longer,
    /// may come into force until the next one has begun; where there is one only, until it has read the store.
    pub(super) fn on_store(&mut self, manager: usize, run: u64, attempt: u64, txn: &Txn, key: &str) {
        let is_current = self.has_several || self.manager_of(run).is_some();
        let is_reached = !self.is_away_from(manager);
        let is_done = is_current && is_reached && self.store.commit(txn).is_ok();
        let found = self.store.read(&Read::Keys(vec![key.to_owned()])).entries.into_iter().next();
        let is_told = is_done && !self.chance.percent(5);
        let pause_us = if is_told { self.some(300, 5_000) } else { FIND_OUT_US };
        let end = if is_done {
            CommitEnd::Done
        } else {
            let found = found.as_ref().map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
            CommitEnd::NotDone { found }
        };
        let Some(manager) = self.manager_of(run) else { return };
        let led = self.managers[manager].process.as_mut().and_then(|process| process.led.as_mut());
        let Some(led) = led.filter(|led| led.run == run) else { return };
        match &found {
            Some(entry) => drop(led.revisions.insert(key.to_owned(), entry.revision)),
            None => drop(led.revisions.remove(key)),
        }
        self.after(pause_us, Event::FromStore { run, input: PlannerInput::Committed { attempt, end } });
    }

    pub(super) fn on_said(&mut self, run: u64, link: u64, node: usize, said: Said) {
        let Some(manager) = self.manager_of(run) else { return };
        let led = self.managers[manager].process.as_mut().and_then(|process| process.led.as_mut());
        let Some(led) = led.filter(|led| led.run == run) else { return };
        let is_present = led.links.get(&node) == Some(&link);
        match said {
            Said::Joined => {
                led.links.insert(node, link);
                self.step_planner(run, PlannerInput::NodeConnected { node: node_name(node) });
                self.step_fences(run, fence::Input::Here { node: node_name(node), is_here: true });
            }
            Said::Report(report) if is_present => {
                let report: GroupsReport = *report;
                self.step_planner(run, PlannerInput::Report(report));
            }
            Said::Left if is_present => {
                led.links.remove(&node);
                self.step_planner(run, PlannerInput::NodeLost { node: node_name(node) });
                self.step_fences(run, fence::Input::Here { node: node_name(node), is_here: false });
            }
            Said::Report(_) | Said::Left => {}
        }
    }

    pub(super) fn on_heartbeat(&mut self, beat: &Datagram) {
        let manager = usize::from(beat.manager.0);
        let host = &mut self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let Some(process) = &mut host.process else { return };
        let highest = process.elector.as_ref().map_or(TermNumber(0), Elector::highest);
        // The lease alone is asked, as by the thread that hears: the other one may not have heard yet that it is over.
        let may_grant = process.led.as_ref().is_some_and(|led| {
            process.elector.as_ref().is_none_or(|elector| {
                elector.holding().is_some_and(|(term, until)| Some(term) == led.term && now < until)
            })
        });
        let is_granted = match process.detector.hear(now, beat, may_grant) {
            Heard::Fresh { is_granted } => is_granted,
            Heard::Unproven => false,
            Heard::Old | Heard::Unknown => return,
        };
        let answer = process.detector.answer(beat, is_granted, highest, 0);
        let node = beat.node.0 as usize;
        if !self.is_deaf(manager, node) && !self.is_lost() {
            // Whoever grants may be stopped before the answer leaves.
            let longest_us = if self.has_mischief() && self.chance.percent(2) { 2_000_000 } else { 3_000 };
            let pause_us = self.some(100, longest_us);
            self.after(pause_us, Event::Answer { node, datagram: answer });
        }
    }

    pub(super) fn step_detector(&mut self, manager: usize, input: heartbeat::Input) {
        let host = &mut self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let Some(process) = &mut host.process else { return };
        let outputs = process.detector.step(now, input);
        process.detector.check();
        let led = process.led.as_ref().map(|led| led.run);
        let by = ManagerNumber(manager as u16);
        for output in outputs {
            match (output, led) {
                (Seen::Verdicts(verdicts), Some(run)) => {
                    for verdict in verdicts {
                        match verdict.is_mass {
                            true => self.mass.insert(verdict.node),
                            false => self.mass.remove(&verdict.node),
                        };
                        let node = node_name(verdict.node.0 as usize);
                        let is_reachable = verdict.reach.may_hold_lease();
                        self.step_planner(
                            run,
                            PlannerInput::Reach { node, is_reachable, is_mass: verdict.is_mass },
                        );
                    }
                }
                (Seen::TakeOver { node }, Some(run)) => {
                    assert!(
                        !self.mass.contains(&node),
                        "{node} fell with many others, and no person was asked"
                    );
                    self.outcome.taken += 1;
                    let node = node_name(node.0 as usize);
                    self.tell(|| format!("the lease of {node} is over"));
                    self.step_planner(run, PlannerInput::Taken { node });
                }
                (Seen::Ask { asked_at, nodes }, _) => {
                    self.tell_others(manager, None, &heartbeat::Input::Asked { by, asked_at, nodes });
                }
                (Seen::Tell { to, asked_at, opinions }, _) => {
                    let to = Some(usize::from(to.0));
                    self.tell_others(manager, to, &heartbeat::Input::Told { by, asked_at, opinions });
                }
                (Seen::Verdicts(_) | Seen::TakeOver { .. }, None) => {}
                (Seen::Search { .. } | Seen::Restarted(_) | Seen::Alarm(_), _) => {}
            }
        }
    }

    /// A person says that what fell at once is really gone.
    pub(super) fn confirm(&mut self) {
        let Some(manager) = self.leader() else { return };
        for node in std::mem::take(&mut self.mass) {
            self.step_detector(manager, heartbeat::Input::Confirm { node });
            let node = node_name(node.0 as usize);
            self.say_to_leader(PlannerInput::Reach { node, is_reachable: false, is_mass: false });
        }
    }

    /// What the leader is to hear of people; nobody hears it where nobody leads.
    fn say_to_leader(&mut self, input: PlannerInput) {
        let run = self.leader().and_then(|manager| Some(self.managers[manager].led()?.run));
        if let Some(run) = run {
            self.step_planner(run, input);
        }
    }

    /// People apply another configuration.
    pub(super) fn configure(&mut self, groups: Vec<wire::group::GroupSettings>) {
        self.configured.clone_from(&groups);
        self.say_to_leader(PlannerInput::Configure(groups));
    }

    /// What people and `muster group why` see, for a failed history.
    pub(super) fn status(&self) -> Vec<wire::group::GroupStatus> {
        let led = self.leader().and_then(|manager| self.managers[manager].led());
        led.map(|led| led.planner.status(&|time| time.0)).unwrap_or_default()
    }

    pub(super) fn ask(&mut self, group: &str, act: wire::group::GroupAct) {
        let (ask, group, who) = (self.fresh(), group.into(), "someone".to_owned());
        self.say_to_leader(PlannerInput::Operator { ask, who, group, act, dry_run: false });
    }

    pub(super) fn ask_of_node(&mut self, node: usize, act: wire::node::NodeAct) {
        let (ask, node, who) = (self.fresh(), node_name(node), "someone".to_owned());
        self.say_to_leader(PlannerInput::NodeOperator { ask, who, node, act, dry_run: false });
    }
}
