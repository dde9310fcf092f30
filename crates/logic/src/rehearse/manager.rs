//! A manager of a rehearsal: its detector and, where there are several, its elector; while it leads also its planner.

use super::world::{Event, MESSAGE_MS, STORE_MS, World};
use crate::fence::{self, Call, End, Fences};
use crate::group::{CommitEnd, PREFIX, Planner, PlannerInput, PlannerOutput, ResidentInput};
use crate::heartbeat::{self, Detector, Heard, Output as Seen, Settings};
use crate::machine::Machine;
use crate::model::{Check, Read, Txn, Write};
use crate::term::{self, Elector, Outcome, Output as Elected};
use std::collections::BTreeMap;
use wire::group::{GroupAct, GroupStatus, GroupsReport};
use wire::heartbeat::Datagram;
use wire::id::{GroupName, ManagerName, ManagerNumber, NodeName, NodeNumber, TermNumber};
use wire::link::SILENCE_MAX_MS;

/// What comes over a link to the manager.
#[derive(Debug, Clone)]
pub(super) enum Said {
    Joined,
    Report(Box<GroupsReport>),
    /// Nothing has come for so long that the link counts as broken.
    Left,
}

#[derive(Debug, Clone)]
struct Led {
    term: u64,
    planner: Planner,
    fences: Fences,
    /// By key, as this leader knows them.
    revisions: BTreeMap<String, u64>,
    links: BTreeMap<usize, u64>,
}

#[derive(Debug, Clone)]
pub(super) struct ManagerHost {
    /// Its machine.
    pub node: usize,
    is_dead: bool,
    /// None where nobody hears heartbeats.
    detector: Option<Detector>,
    /// None where it is the only one.
    elector: Option<Elector>,
    led: Option<Led>,
}

impl World {
    pub(super) fn start_managers(&mut self, hosts: &[usize]) {
        let numbers: Vec<ManagerNumber> = hosts.iter().map(|host| ManagerNumber(*host as u16)).collect();
        let now = self.time();
        for (index, host) in hosts.iter().enumerate() {
            let (run, me) = (index as u64 + 1, numbers[index]);
            let is_elected = hosts.len() > 1;
            let settings = Settings { me, managers: numbers.clone(), lease: self.profile, is_elected, run };
            let name = ManagerName(self.names[*host].0.clone());
            let elector = (hosts.len() > 1).then(|| Elector::new(name, run, self.profile));
            let detector = self.has_heartbeats.then(|| {
                let mut detector = Detector::new(settings, now);
                let nodes = (0..self.names.len() as u32).map(NodeNumber).collect();
                detector.step(now, heartbeat::Input::Nodes(nodes));
                detector.step(now, heartbeat::Input::Own(NodeNumber(*host as u32)));
                detector
            });
            self.managers.push(ManagerHost { node: *host, is_dead: false, detector, elector, led: None });
            self.after(0, Event::WakeManager { manager: index });
        }
        if hosts.len() == 1 {
            self.lead(0, 1);
        }
    }

    pub fn is_there(&self, manager: usize) -> bool {
        let host = &self.managers[manager];
        !host.is_dead && !self.off.contains(&host.node)
    }

    /// The manager that leads and runs, if any.
    pub fn leader(&self) -> Option<usize> {
        (0..self.managers.len())
            .find(|manager| self.is_there(*manager) && self.managers[*manager].led.is_some())
    }

    pub(super) fn manager_numbered(&self, number: ManagerNumber) -> Option<usize> {
        self.managers.iter().position(|host| host.node == usize::from(number.0))
    }

    /// kill -9, and it is not started again.
    pub fn kill_manager(&mut self, manager: usize) {
        self.managers[manager].is_dead = true;
        let linked: Vec<usize> = (0..self.nodes.len()).collect();
        for node in linked {
            if self.nodes[node].link.is_some_and(|(to, _)| to == manager) {
                self.nodes[node].link = None;
                self.after(MESSAGE_MS, Event::Dial { node });
            }
        }
    }

    /// The leader notices that nothing comes over the links of these nodes any more.
    pub fn links_fall_silent(&mut self, nodes: &[usize]) {
        for node in nodes {
            if let Some((manager, link)) = self.nodes[*node].link {
                self.after(SILENCE_MAX_MS, Event::ToManager { manager, link, node: *node, said: Said::Left });
            }
        }
    }

    /// Whether agents are linked with a manager of this machine.
    pub fn linked_with_host(&self, host: usize) -> bool {
        self.leader().is_some_and(|leader| self.managers[leader].node == host)
    }

    fn lead(&mut self, manager: usize, term: u64) {
        let now = self.time();
        let found = self.store.read(&Read::Prefix(PREFIX.into())).entries;
        let revisions = found.iter().map(|entry| (entry.key.clone(), entry.revision)).collect();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let records: Vec<_> = found.iter().map(|it| (it.key.clone(), text(&it.value))).collect();
        let planner = Planner::new(now, term, self.lease().wait_ms, records);
        let is_taken = |node: &usize| planner.taken().any(|name| *name == self.names[*node]);
        let taken = (0..self.names.len()).filter(is_taken).map(|node| NodeNumber(node as u32)).collect();
        self.managers[manager].led =
            Some(Led { term, planner, fences: Fences::new(), revisions, links: BTreeMap::new() });
        self.changed_at = self.now;
        self.step_detector(manager, heartbeat::Input::Lead { away: Vec::new(), taken });
        let (groups, fences) = (self.groups.clone(), self.fences.clone());
        self.step_fences(manager, term, fence::Input::Configure(fences));
        let nodes = self.names.clone();
        self.step_planner(manager, term, PlannerInput::Nodes(nodes));
        self.step_planner(manager, term, PlannerInput::Configure(groups));
    }

    pub(super) fn wake_manager(&mut self, manager: usize) {
        if !self.is_there(manager) {
            return;
        }
        let now = self.time();
        self.step_detector(manager, heartbeat::Input::Tick);
        if self.managers[manager].elector.as_ref().and_then(Elector::wake_at).is_some_and(|due| due <= now) {
            self.step_elector(manager, term::Input::Tick);
        }
        let led = self.managers[manager].led.as_ref();
        if let Some(term) =
            led.filter(|led| led.planner.wake_at().is_some_and(|due| due <= now)).map(|led| led.term)
        {
            self.step_planner(manager, term, PlannerInput::Tick);
        }
        let host = &self.managers[manager];
        let detector = host.detector.as_ref().and_then(Detector::wake_at);
        let elector = host.elector.as_ref().and_then(Elector::wake_at);
        let planner = host.led.as_ref().and_then(|led| led.planner.wake_at());
        // Without a detector it looks as often as one would, which is often enough.
        let usual = now + crate::limits::SWEEP_INTERVAL_MS;
        let due = [detector, elector, planner].into_iter().flatten().min().unwrap_or(usual).min(usual);
        self.at(due.0.max(self.now + 1), Event::WakeManager { manager });
    }

    pub(super) fn step_elector(&mut self, manager: usize, input: term::Input) {
        if !self.is_there(manager) {
            return;
        }
        let now = self.time();
        let Some(elector) = &mut self.managers[manager].elector else { return };
        for output in elector.step(now, input) {
            self.on_elected(manager, output);
        }
    }

    fn on_elected(&mut self, manager: usize, output: Elected) {
        match output {
            Elected::Read { ask } => {
                let snapshot = Some(self.store.read(&Read::Prefix(term::PREFIX.into())));
                self.after(STORE_MS, Event::Elected { manager, input: term::Input::Read { ask, snapshot } });
            }
            Elected::Commit { attempt, txn } => {
                let outcome = match self.store.commit(&txn) {
                    Ok(revision) => Outcome::Done { revision },
                    Err(_) => Outcome::Refused,
                };
                self.after(
                    STORE_MS,
                    Event::Elected { manager, input: term::Input::Committed { attempt, outcome } },
                );
            }
            Elected::Lead { term, .. } => {
                if self.managers[manager].led.as_ref().is_none_or(|led| led.term != term.0) {
                    self.lead(manager, term.0);
                    // Whoever is linked with a machine that is gone finds that out by its silence.
                    let is_silent = self.managers.iter().any(|host| self.off.contains(&host.node))
                        || !self.cut.is_empty();
                    self.dial_anew(is_silent);
                }
            }
            Elected::Stop { term, .. } => {
                self.managers[manager].led = None;
                self.step_detector(manager, heartbeat::Input::Follow);
                self.after(MESSAGE_MS, Event::Elected { manager, input: term::Input::Stopped { term } });
            }
            Elected::Tell(_) => {}
        }
    }

    pub(super) fn step_planner(&mut self, manager: usize, term: u64, input: PlannerInput) {
        if !self.is_there(manager) {
            return;
        }
        let now = self.time();
        let Some(led) = self.managers[manager].led.as_mut().filter(|led| led.term == term) else { return };
        for output in led.planner.step(now, input) {
            self.on_planned(manager, term, output);
        }
    }

    fn on_planned(&mut self, manager: usize, term: u64, output: PlannerOutput) {
        match output {
            PlannerOutput::Assign { node, number, groups } => {
                let Some(node) = self.node_named(&node) else { return };
                let Some(link) =
                    self.managers[manager].led.as_ref().and_then(|led| led.links.get(&node).copied())
                else {
                    return;
                };
                if self.is_through(node, self.managers[manager].node) {
                    let input = Box::new(ResidentInput::Assign { generation: term, number, groups });
                    self.after(MESSAGE_MS, Event::ToNode { node, link, input });
                }
            }
            PlannerOutput::Commit { attempt, key, value } => self.write(manager, term, attempt, &key, value),
            PlannerOutput::Release { node } => {
                if let Some(node) = self.node_named(&node) {
                    let node = NodeNumber(node as u32);
                    self.step_detector(manager, heartbeat::Input::Release { node });
                }
            }
            PlannerOutput::Fence { node, run } => {
                self.step_fences(manager, term, fence::Input::Fence { node, run })
            }
            PlannerOutput::Spare { node } => self.step_fences(manager, term, fence::Input::Spare { node }),
            PlannerOutput::Event { text, .. } => self.told.push(text),
            PlannerOutput::Answer { .. } | PlannerOutput::NodeWish { .. } => {}
        }
    }

    fn step_fences(&mut self, manager: usize, term: u64, input: fence::Input) {
        if !self.is_there(manager) {
            return;
        }
        let now = self.time();
        let Some(led) = self.managers[manager].led.as_mut().filter(|led| led.term == term) else { return };
        for output in led.fences.step(now, input) {
            match output {
                fence::Output::Run { job, node, call, .. } => {
                    if let Some(node) = self.node_named(&node) {
                        self.after(MESSAGE_MS, Event::Called { manager, term, job, node, call });
                    }
                }
                fence::Output::Fenced { node, run, result } => {
                    self.changed_at = self.now;
                    self.step_planner(manager, term, PlannerInput::Fenced { node, run, result });
                }
                fence::Output::Kill { .. } | fence::Output::Event { .. } => {}
            }
        }
    }

    /// Every fence works here.
    pub(super) fn on_called(&mut self, manager: usize, term: u64, job: u64, node: usize, call: Call) {
        let is_off = self.off.contains(&node);
        let status = match call {
            Call::Status if is_off => 2,
            Call::Off if !is_off => {
                self.switch_off(node);
                0
            }
            Call::Status | Call::Off | Call::On => 0,
        };
        let end = End::Exited { status, words: String::new() };
        self.step_fences(manager, term, fence::Input::Ended { job, end });
    }

    fn write(&mut self, manager: usize, term: u64, attempt: u64, key: &str, value: Option<String>) {
        let Some(led) = self.managers[manager].led.as_ref() else { return };
        let check = match led.revisions.get(key) {
            Some(revision) => Check::Unchanged { key: key.to_owned(), revision: *revision },
            None => Check::Absent { key: key.to_owned() },
        };
        let is_kept = value.is_some();
        let write = match value {
            Some(value) => Write::put(key, value.as_str()),
            None => Write::Delete { key: key.to_owned() },
        };
        let done = self.store.commit(&Txn { checks: vec![check], writes: vec![write] });
        let found = self.store.read(&Read::Keys(vec![key.to_owned()])).entries.into_iter().next();
        let Some(led) = self.managers[manager].led.as_mut() else { return };
        match &found {
            Some(entry) => drop(led.revisions.insert(key.to_owned(), entry.revision)),
            None => drop(led.revisions.remove(key)),
        }
        let end = match done {
            Ok(_) => CommitEnd::Done,
            Err(_) => {
                let found = found.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
                CommitEnd::NotDone { found: found.filter(|_| is_kept) }
            }
        };
        self.changed_at = self.now;
        self.after(
            STORE_MS,
            Event::Stored { manager, term, input: PlannerInput::Committed { attempt, end } },
        );
    }

    pub(super) fn on_said(&mut self, manager: usize, link: u64, node: usize, said: Said) {
        let name = self.names[node].clone();
        let Some(led) = self.managers[manager].led.as_mut() else { return };
        let term = led.term;
        let is_current = led.links.get(&node) == Some(&link);
        match said {
            Said::Joined => {
                led.links.insert(node, link);
                self.changed_at = self.now;
                self.step_planner(manager, term, PlannerInput::NodeConnected { node: name });
            }
            Said::Report(report) if is_current => {
                self.step_planner(manager, term, PlannerInput::Report(*report))
            }
            Said::Left if is_current => {
                led.links.remove(&node);
                self.step_planner(manager, term, PlannerInput::NodeLost { node: name });
            }
            Said::Report(_) | Said::Left => {}
        }
    }

    pub(super) fn on_beat(&mut self, manager: usize, beat: &Datagram) {
        if !self.is_there(manager) {
            return;
        }
        let now = self.time();
        let host = &mut self.managers[manager];
        let highest = host.elector.as_ref().map_or(TermNumber(0), Elector::highest);
        let Some(detector) = &mut host.detector else { return };
        let may_grant =
            host.led.is_some() && host.elector.as_ref().is_none_or(|elector| elector.acting(now).is_some());
        let is_granted = match detector.hear(now, beat, may_grant) {
            Heard::Fresh { is_granted } => is_granted,
            Heard::Unproven => false,
            Heard::Old | Heard::Unknown => return,
        };
        let datagram = detector.answer(beat, is_granted, highest, 0);
        let (node, own) = (beat.node.0 as usize, host.node);
        if self.is_through(node, own) {
            self.after(MESSAGE_MS, Event::Answer { node, datagram });
        }
    }

    pub(super) fn step_detector(&mut self, manager: usize, input: heartbeat::Input) {
        if !self.is_there(manager) {
            return;
        }
        let now = self.time();
        let Some(detector) = &mut self.managers[manager].detector else { return };
        for output in detector.step(now, input) {
            self.on_seen(manager, output);
        }
    }

    fn on_seen(&mut self, manager: usize, output: Seen) {
        let by = ManagerNumber(self.managers[manager].node as u16);
        let term = self.managers[manager].led.as_ref().map(|led| led.term);
        match output {
            Seen::Ask { asked_at, nodes } => {
                self.tell_others(manager, None, &heartbeat::Input::Asked { by, asked_at, nodes });
            }
            Seen::Tell { to, asked_at, opinions } => {
                self.tell_others(manager, Some(to), &heartbeat::Input::Told { by, asked_at, opinions });
            }
            Seen::Verdicts(verdicts) => {
                let Some(term) = term else { return };
                self.changed_at = self.now;
                for verdict in verdicts {
                    let node = self.names[verdict.node.0 as usize].clone();
                    let is_reachable = verdict.reach.may_hold_lease();
                    self.step_planner(
                        manager,
                        term,
                        PlannerInput::Reach { node, is_reachable, is_mass: verdict.is_mass },
                    );
                }
            }
            Seen::TakeOver { node } => {
                let Some(term) = term else { return };
                self.changed_at = self.now;
                let node = self.names[node.0 as usize].clone();
                self.step_planner(manager, term, PlannerInput::Taken { node });
            }
            // What is lost here is lost to all nodes, and what they hear renews no lease.
            Seen::Search { .. } | Seen::Restarted(_) => {}
            Seen::Alarm(alarm) => self.alarms.push(alarm),
        }
    }

    /// To all other managers, or to this one.
    fn tell_others(&mut self, from: usize, to: Option<ManagerNumber>, input: &heartbeat::Input) {
        for manager in 0..self.managers.len() {
            let (here, there) = (self.managers[from].node, self.managers[manager].node);
            let is_meant = to.is_none_or(|to| usize::from(to.0) == there);
            if manager != from && is_meant && self.is_through(here, there) {
                self.after(MESSAGE_MS, Event::Between { manager, input: input.clone() });
            }
        }
    }

    fn node_named(&self, name: &NodeName) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// What people and `muster group why` would see; None: nobody leads.
    pub fn status(&self) -> Option<Vec<GroupStatus>> {
        let led = self.managers[self.leader()?].led.as_ref()?;
        Some(led.planner.status(&|time| time.0))
    }

    /// A person asks for something.
    pub fn ask(&mut self, group: &GroupName, act: GroupAct) {
        let Some(manager) = self.leader() else { return };
        let Some(term) = self.managers[manager].led.as_ref().map(|led| led.term) else { return };
        let ask = self.fresh();
        let (who, group) = ("a person".to_owned(), group.clone());
        self.step_planner(manager, term, PlannerInput::Operator { ask, who, group, act, dry_run: false });
    }
}
