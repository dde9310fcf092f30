//! The only manager: its planner and its detector, carried out, and the store.

use super::{Event, Said, World, node_name};
use crate::fleet::Clock;
use logic::fence::{self, Fences};
use logic::group::{CommitEnd, Planner, PlannerInput, PlannerOutput};
use logic::heartbeat::{self, Detector, Heard, Output as Seen, Settings};
use logic::machine::Machine;
use logic::model::{Check, Read, Txn, Write};
use std::collections::BTreeMap;
use wire::group::GroupsReport;
use wire::heartbeat::Datagram;
use wire::id::{ManagerNumber, NodeNumber, TermNumber};

/// How long until an answer of the store that was lost is found out.
const FIND_OUT_US: u64 = 300_000;

#[derive(Debug)]
pub(super) struct ManagerHost {
    clock: Clock,
    /// None: it does not run.
    machines: Option<(Planner, Detector)>,
    pub(super) fences: Fences,
    pub run: u64,
    pub is_stopped: bool,
    pub held: Vec<Event>,
    /// The link of each node.
    links: BTreeMap<usize, u64>,
    /// By key, as it knows them.
    revisions: BTreeMap<String, u64>,
}

impl ManagerHost {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            machines: None,
            fences: Fences::new(),
            run: 0,
            is_stopped: false,
            held: Vec::new(),
            links: BTreeMap::new(),
            revisions: BTreeMap::new(),
        }
    }

    pub fn is_there(&self) -> bool {
        self.machines.is_some()
    }
}

impl World {
    pub(super) fn start_manager(&mut self) {
        if self.manager.is_there() {
            return;
        }
        let run = self.fresh();
        self.generation += 1;
        let now = self.manager.clock.shows(self.now_us);
        let settings =
            Settings { me: ManagerNumber(0), managers: vec![ManagerNumber(0)], lease: self.profile, run };
        let found = self.store.read(&Read::Prefix(String::new())).entries;
        let revisions = found.iter().map(|entry| (entry.key.clone(), entry.revision));
        self.manager.revisions = revisions.collect();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let records: Vec<_> = found.iter().map(|it| (it.key.clone(), text(&it.value))).collect();
        let planner = Planner::new(now, self.generation, self.profile.wait_ms, records);
        let mut detector = Detector::new(settings, now);
        let nodes = (0..self.nodes.len() as u32).map(NodeNumber).collect();
        detector.step(now, heartbeat::Input::Nodes(nodes));
        let is_taken = |node: &usize| planner.taken().any(|name| *name == node_name(*node));
        let taken = (0..self.nodes.len()).filter(is_taken).map(|node| NodeNumber(node as u32)).collect();
        detector.step(now, heartbeat::Input::Lead { away: Vec::new(), taken });
        self.manager.machines = Some((planner, detector));
        self.manager.run = run;
        self.manager.links.clear();
        self.tell(|| "manager starts".into());
        self.manager.fences = Fences::new();
        let fences = self.fences();
        self.step_fences(run, fence::Input::Configure(fences));
        let nodes = (0..self.nodes.len()).map(node_name).collect();
        self.step_planner(run, PlannerInput::Nodes(nodes));
        let groups = self.configured.clone();
        self.step_planner(run, PlannerInput::Configure(groups));
        self.after(0, Event::WakeManager { run });
    }

    pub(super) fn kill_manager(&mut self) {
        self.tell(|| "manager is killed".into());
        self.manager.machines = None;
        self.manager.run = 0;
        self.manager.is_stopped = false;
        self.manager.held.clear();
        for node in 0..self.nodes.len() {
            self.break_link(node);
        }
    }

    pub(super) fn resume_manager(&mut self) {
        if !std::mem::take(&mut self.manager.is_stopped) {
            return;
        }
        for event in std::mem::take(&mut self.manager.held) {
            self.handle(event);
        }
        self.configure(self.configured.clone());
    }

    pub(super) fn wake_manager(&mut self, run: u64) {
        if self.manager.run != run {
            return;
        }
        self.step_detector(heartbeat::Input::Tick);
        self.step_planner(run, PlannerInput::Tick);
        self.step_fences(run, fence::Input::Tick);
        let fences_due = self.manager.fences.wake_at();
        let Some((planner, detector)) = &self.manager.machines else { return };
        let due = detector.wake_at().into_iter().chain(planner.wake_at()).chain(fences_due).min();
        let due = due.expect("a detector looks at its nodes for ever");
        let at_us = self.manager.clock.reaches(due).max(self.now_us + 1);
        self.at(at_us, Event::WakeManager { run });
    }

    pub(super) fn step_planner(&mut self, run: u64, input: PlannerInput) {
        let now = self.manager.clock.shows(self.now_us);
        let Some((planner, _)) = self.manager.machines.as_mut().filter(|_| self.manager.run == run) else {
            return;
        };
        let outputs = planner.step(now, input);
        planner.check();
        for output in outputs {
            self.on_planned(run, output);
        }
    }

    pub(super) fn step_fences(&mut self, run: u64, input: fence::Input) {
        if self.manager.run != run || !self.manager.is_there() {
            return;
        }
        let now = self.manager.clock.shows(self.now_us);
        let outputs = self.manager.fences.step(now, input);
        self.manager.fences.check();
        for output in outputs {
            self.on_fences(run, output);
        }
    }

    fn on_planned(&mut self, run: u64, output: PlannerOutput) {
        match output {
            PlannerOutput::Assign { node, number, groups } => {
                let Some(node) = (0..self.nodes.len()).find(|index| node_name(*index) == node) else {
                    return;
                };
                let Some(link) = self.manager.links.get(&node).copied() else { return };
                let generation = self.generation;
                let input = logic::group::ResidentInput::Assign { generation, number, groups };
                self.send_to_node(node, link, input);
            }
            PlannerOutput::Commit { attempt, key, value } => {
                let check = match self.manager.revisions.get(&key) {
                    Some(revision) => Check::Unchanged { key: key.clone(), revision: *revision },
                    None => Check::Absent { key: key.clone() },
                };
                let write = match value {
                    Some(value) => Write::put(key.clone(), value.as_str()),
                    None => Write::Delete { key: key.clone() },
                };
                let txn = Txn { checks: vec![check], writes: vec![write] };
                let pause_us = self.some(300, 5_000);
                self.after(pause_us, Event::ToStore { run, attempt, txn, key });
            }
            PlannerOutput::Release { node } => {
                let index = (0..self.nodes.len()).find(|index| node_name(*index) == node);
                self.tell(|| format!("{node} is released"));
                let node = NodeNumber(index.expect("only nodes of the world are taken") as u32);
                self.step_detector(heartbeat::Input::Release { node });
            }
            PlannerOutput::Fence { node, run: number } => {
                self.step_fences(run, fence::Input::Fence { node, run: number });
            }
            PlannerOutput::Spare { node } => self.step_fences(run, fence::Input::Spare { node }),
            PlannerOutput::Event { kind, text, .. } => {
                *self.outcome.events.entry(kind).or_default() += 1;
                self.tell(|| text);
            }
            PlannerOutput::Answer { .. } | PlannerOutput::NodeWish { .. } => {}
        }
    }

    /// A commit happens, or not; its answer comes, or is found out later. Of a manager that was killed it may happen all
    /// the same, until the next one has read the store.
    pub(super) fn on_store(&mut self, run: u64, attempt: u64, txn: &Txn, key: &str) {
        let is_current = self.manager.run == run;
        let is_done = is_current && !self.is_store_down && self.store.commit(txn).is_ok();
        let found = self.store.read(&Read::Keys(vec![key.to_owned()])).entries.into_iter().next();
        if let (true, None, Some(group)) = (is_done, &found, key.strip_prefix(logic::group::PREFIX)) {
            // A group that was removed and has ended is forgotten: one of that name begins anew.
            self.outcome.epochs.remove(&wire::id::GroupName::from(group));
        }
        let is_told = is_done && !self.chance.percent(5);
        let pause_us = if is_told { self.some(300, 5_000) } else { FIND_OUT_US };
        match &found {
            Some(entry) => drop(self.manager.revisions.insert(key.to_owned(), entry.revision)),
            None => drop(self.manager.revisions.remove(key)),
        }
        let end = if is_done {
            CommitEnd::Done
        } else {
            let found = found.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
            CommitEnd::NotDone { found }
        };
        self.after(pause_us, Event::FromStore { run, input: PlannerInput::Committed { attempt, end } });
    }

    pub(super) fn on_stored(&mut self, run: u64, input: PlannerInput) {
        self.step_planner(run, input);
    }

    pub(super) fn on_said(&mut self, run: u64, link: u64, node: usize, said: Said) {
        if self.manager.run != run {
            return;
        }
        match said {
            Said::Joined => {
                self.manager.links.insert(node, link);
                self.step_planner(run, PlannerInput::NodeConnected { node: node_name(node) });
                self.step_fences(run, fence::Input::Here { node: node_name(node), is_here: true });
            }
            Said::Report(report) if self.manager.links.get(&node) == Some(&link) => {
                let report: GroupsReport = *report;
                self.step_planner(run, PlannerInput::Report(report));
            }
            Said::Left if self.manager.links.get(&node) == Some(&link) => {
                self.manager.links.remove(&node);
                self.step_planner(run, PlannerInput::NodeLost { node: node_name(node) });
                self.step_fences(run, fence::Input::Here { node: node_name(node), is_here: false });
            }
            Said::Report(_) | Said::Left => {}
        }
    }

    pub(super) fn on_heartbeat(&mut self, beat: &Datagram) {
        let now = self.manager.clock.shows(self.now_us);
        let Some((_, detector)) = &mut self.manager.machines else { return };
        let is_granted = match detector.hear(now, beat) {
            Heard::Fresh { is_granted } => is_granted,
            Heard::Unproven => false,
            Heard::Old | Heard::Unknown => return,
        };
        let answer = detector.answer(beat, is_granted, TermNumber(0), 0);
        let node = beat.node.0 as usize;
        if !self.is_lost(node) {
            let pause_us = self.some(100, 3_000);
            self.after(pause_us, Event::Answer { node, datagram: answer });
        }
    }

    fn step_detector(&mut self, input: heartbeat::Input) {
        let now = self.manager.clock.shows(self.now_us);
        let run = self.manager.run;
        let Some((_, detector)) = &mut self.manager.machines else { return };
        let outputs = detector.step(now, input);
        detector.check();
        for output in outputs {
            match output {
                Seen::Verdicts { verdicts, .. } => {
                    for verdict in verdicts {
                        let node = node_name(verdict.node.0 as usize);
                        let is_reachable = verdict.reach.may_hold_lease();
                        self.step_planner(run, PlannerInput::Reach { node, is_reachable });
                    }
                }
                Seen::TakeOver { node, .. } => {
                    self.outcome.taken += 1;
                    let node = node_name(node.0 as usize);
                    self.tell(|| format!("the lease of {node} is over"));
                    self.step_planner(run, PlannerInput::Taken { node });
                }
                Seen::Ask { .. }
                | Seen::Search { .. }
                | Seen::Tell { .. }
                | Seen::Release { .. }
                | Seen::Restarted(_)
                | Seen::Alarm(_) => {}
            }
        }
    }

    /// A person says that what fell at once is really gone.
    pub(super) fn confirm(&mut self) {
        self.step_detector(heartbeat::Input::Confirm);
    }

    /// People apply another configuration.
    pub(super) fn configure(&mut self, groups: Vec<wire::group::GroupSettings>) {
        self.configured.clone_from(&groups);
        if !self.manager.is_stopped {
            self.step_planner(self.manager.run, PlannerInput::Configure(groups));
        }
    }

    /// What people and `muster group why` see, for a failed history.
    pub(super) fn status(&self) -> Vec<wire::group::GroupStatus> {
        let planner = self.manager.machines.as_ref().map(|(planner, _)| planner);
        planner.map(|planner| planner.status(&|time| time.0)).unwrap_or_default()
    }

    pub(super) fn ask(&mut self, group: &str, act: wire::group::GroupAct) {
        let run = self.manager.run;
        if self.manager.is_stopped {
            return;
        }
        let ask = self.fresh();
        let group = group.into();
        let who = "someone".to_owned();
        self.step_planner(run, PlannerInput::Operator { ask, who, group, act, dry_run: false });
    }

    pub(super) fn ask_of_node(&mut self, node: usize, act: wire::node::NodeAct) {
        let run = self.manager.run;
        if self.manager.is_stopped {
            return;
        }
        let ask = self.fresh();
        let (node, who) = (node_name(node), "someone".to_owned());
        self.step_planner(run, PlannerInput::NodeOperator { ask, who, node, act, dry_run: false });
    }
}
