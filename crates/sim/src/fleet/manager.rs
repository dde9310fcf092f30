//! A manager of a fleet: its elector and its detector, carried out, and what the world notes of both.

use super::clock::Clock;
use super::world::{CELL, Event, Fleet, Place, Said};
use crate::asked::Asked;
use logic::cell::Absence;
use logic::heartbeat::admit::Receiver;
use logic::heartbeat::{self, Carriers, Detector, Doubted, Heard, Output as Seen, Reach, Settings};
use logic::machine::Machine;
use logic::term::{self, Elector, Output as Elected};
use logic::time::Time;
use wire::heartbeat::{Code, Datagram, Parsed};
use wire::id::{ManagerName, ManagerNumber, NodeNumber, TermNumber};

#[derive(Debug)]
pub(super) struct ManagerHost {
    pub clock: Clock,
    pub carriers: Carriers,
    /// None: it does not run.
    pub machines: Option<(Elector, Detector)>,
    /// Number of the start; 0: none. Events of an earlier one mean nothing.
    pub run: u64,
    pub is_stopped: bool,
    /// What waits while it is stopped, in order.
    pub held: Vec<Event>,
    /// Gets hardly any time of the processor.
    pub is_busy: bool,
    /// True time until which it may act as leader, K included.
    pub acts_until_us: u64,
    /// Whether it was told to lead, and in which term.
    pub leads: Option<TermNumber>,
}

/// Datagrams that wait in a stopped manager's socket; the kernel drops what comes then.
const SOCKET_DATAGRAMS_MAX: usize = 1_000;

/// A code that only the right key makes; nobody in here computes real ones.
pub(super) fn code(signed: &[u8], key: u64) -> Code {
    let mut sum = key;
    for byte in signed {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7);
    }
    let mut code = [0; 16];
    code[..8].copy_from_slice(&sum.to_be_bytes());
    code
}

impl Fleet {
    pub(super) fn start_manager(&mut self, manager: usize) {
        if self.managers[manager].run != 0 {
            return;
        }
        let run = self.fresh();
        let name = ManagerName(format!("manager-{}", manager + 1));
        let settings = Settings {
            me: ManagerNumber(manager as u16),
            managers: self.manager_numbers(),
            lease: self.profile,
            // Also one that has no other comes to lead only by election here.
            is_elected: true,
            run,
        };
        let host = &mut self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let mut detector = Detector::new(settings, now);
        let nodes = (0..self.nodes.len() as u32).map(NodeNumber).collect();
        detector.step(now, heartbeat::Input::Nodes(nodes));
        host.machines = Some((Elector::new(name, run, self.profile), detector));
        host.carriers = Carriers::default();
        (0..self.nodes.len() as u32).for_each(|node| host.carriers.came(NodeNumber(node)));
        host.run = run;
        host.is_stopped = false;
        host.held.clear();
        self.after(0, Event::WakeElector { manager, run });
        self.after(0, Event::WakeDetector { manager, run });
    }

    pub(super) fn kill_manager(&mut self, manager: usize) {
        let now_us = self.now_us;
        let host = &mut self.managers[manager];
        host.machines = None;
        host.run = 0;
        host.held.clear();
        host.is_stopped = false;
        host.leads = None;
        // What does not run does not act.
        host.acts_until_us = host.acts_until_us.min(now_us);
    }

    /// SIGSTOP.
    pub(super) fn stop_manager(&mut self, manager: usize) {
        self.managers[manager].is_stopped = true;
    }

    /// SIGCONT: everything that waited happens now, in order.
    pub(super) fn resume_manager(&mut self, manager: usize) {
        if !self.managers[manager].is_stopped {
            return;
        }
        self.managers[manager].is_stopped = false;
        for event in std::mem::take(&mut self.managers[manager].held) {
            self.handle(event);
        }
    }

    /// Keeps an event for later if the manager is stopped.
    pub(super) fn hold(&mut self, manager: usize, event: &Event) -> bool {
        let host = &mut self.managers[manager];
        let is_datagram = matches!(event, Event::Heartbeat { .. });
        if host.is_stopped && (!is_datagram || host.held.len() < SOCKET_DATAGRAMS_MAX) {
            host.held.push(event.clone());
        }
        host.is_stopped
    }

    pub(super) fn wake_elector(&mut self, manager: usize, run: u64) {
        let host = &self.managers[manager];
        let Some((elector, _)) = host.machines.as_ref().filter(|_| host.run == run) else { return };
        let now = host.clock.shows(self.now_us);
        if elector.wake_at().is_some_and(|due| due <= now) {
            self.step_elector(manager, run, term::Input::Tick);
        }
    }

    pub(super) fn step_elector(&mut self, manager: usize, run: u64, input: term::Input) {
        let host = &mut self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let Some((elector, _)) = host.machines.as_mut().filter(|_| host.run == run) else { return };
        if matches!(input, term::Input::Stopped { .. }) && host.leads.is_none() {
            host.acts_until_us = host.acts_until_us.min(self.now_us);
        }
        let outputs = elector.step(now, input);
        elector.check();
        if let Some(due) = elector.wake_at() {
            let at_us = host.clock.reaches(due);
            self.at(at_us, Event::WakeElector { manager, run });
        }
        for output in outputs {
            self.on_elected(manager, run, output);
        }
    }

    fn on_elected(&mut self, manager: usize, run: u64, output: Elected) {
        let name = format!("manager-{}", manager + 1);
        match output {
            Elected::Read { ask } => self.ask_store(manager, Asked::Read { ask }),
            Elected::Commit { attempt, txn } => self.ask_store(manager, Asked::Commit { attempt, txn }),
            Elected::Lead { term, until, .. } => self.on_lead(manager, run, term, until),
            Elected::Stop { term, why } => {
                self.tell(|| format!("{name} stops in term {term}: {why}"));
                let end_us = self.now_us + self.profile.stop_ms * 1_000;
                let host = &mut self.managers[manager];
                host.acts_until_us = host.acts_until_us.min(end_us);
                host.leads = None;
                self.step_detector(manager, run, heartbeat::Input::Follow);
                let stopped_us = self.some(0, self.profile.stop_ms * 1_000);
                let input = term::Input::Stopped { term };
                self.after(stopped_us, Event::ToElector { manager, run, input });
            }
            Elected::Tell(news) => match news {
                term::News::Follows { .. } => {}
                term::News::WentBack { known } => {
                    self.tell(|| format!("{name}: the store went back behind term {known}"));
                }
                term::News::Unreadable => self.tell(|| format!("{name}: the record cannot be read")),
            },
        }
    }

    fn on_lead(&mut self, manager: usize, run: u64, term: TermNumber, until: Time) {
        let now_us = self.now_us;
        for (index, other) in self.managers.iter().enumerate().filter(|(index, _)| *index != manager) {
            assert!(
                other.acts_until_us <= now_us,
                "manager-{} leads at {now_us} us while manager-{} may act until {} us",
                manager + 1,
                index + 1,
                other.acts_until_us
            );
        }
        let holder = *self.terms.entry(term).or_insert(run);
        assert!(holder == run || self.was_restored, "term {term} was given twice");
        assert!(term >= self.newest_term || self.was_restored, "term {term} follows {}", self.newest_term);
        self.newest_term = self.newest_term.max(term);
        let host = &mut self.managers[manager];
        let end_us = host.clock.reaches(until) + self.profile.stop_ms * 1_000;
        host.acts_until_us = host.acts_until_us.max(end_us);
        if host.leads == Some(term) {
            return;
        }
        host.leads = Some(term);
        self.elections += 1;
        self.led_at_us = now_us;
        self.tell(|| format!("manager-{} leads in term {term}", manager + 1));
        // It knows what cells write down, and no more: the rest it finds out anew.
        let written = |(node, reach)| (node, Absence::of(reach, self.mass.contains(&node)).reach());
        let published = std::mem::take(&mut self.published).into_iter().map(written);
        self.published = published.filter(|(_, reach)| *reach != Reach::Reachable).collect();
        let away = self.published.iter().map(|(node, reach)| {
            let (node, is_mass) = (NodeNumber(*node as u32), self.mass.contains(node));
            Doubted { node, reach: *reach, is_mass }
        });
        let away = away.collect();
        let is_taken = |node: &usize| self.nodes[*node].taken_at_us.is_some();
        let taken: Vec<usize> = (0..self.nodes.len()).filter(is_taken).collect();
        // One that is there all the while is no news to this leader.
        taken.iter().for_each(|node| self.after(500_000, Event::Settle { node: *node }));
        let taken = taken.into_iter().map(|node| NodeNumber(node as u32)).collect();
        self.step_detector(manager, run, heartbeat::Input::Lead { away, taken });
    }

    pub(super) fn on_heartbeat(&mut self, manager: usize, datagram: Datagram) {
        let key = Self::key_of(datagram.node);
        // The bytes are those that would be sent; one in a while is damaged, forged or of another cell.
        let mut bytes = datagram.bytes(|signed| code(signed, key));
        if self.has_mischief && self.chance.below(500) == 0 {
            let at = self.chance.below(bytes.len() as u32) as usize;
            bytes[at] ^= 1 << self.chance.below(8);
        }
        if let Some((beat, _)) = self.hear_bytes(manager, &bytes, key) {
            assert_eq!(beat, datagram, "a datagram that was changed on its way counts");
        }
    }

    pub(super) fn key_of(node: NodeNumber) -> u64 {
        7 + u64::from(node.0)
    }

    /// What a manager makes of a datagram; None if it is not genuine. `key`: of the node that it is of.
    pub(super) fn hear_bytes(&mut self, manager: usize, bytes: &[u8], key: u64) -> Option<(Datagram, Heard)> {
        let host = &mut self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let (run, (elector, detector)) = (host.run, host.machines.as_mut()?);
        let parsed = Parsed::parse(bytes).ok()?;
        let receiver = Receiver::Manager { cell: CELL, manager: ManagerNumber(manager as u16) };
        let beat = receiver.admit(&parsed, || Some(code(parsed.signed, key))).ok()?;
        self.heartbeats += 1;
        // It grants once it has read the committed plans, and only in the term that it was told to lead.
        let may_grant = host.leads.is_some() && elector.acting(now) == host.leads;
        let heard = detector.hear(now, &beat, may_grant);
        let is_granted = heard == Heard::Fresh { is_granted: true };
        match heard {
            Heard::Fresh { .. } | Heard::Unproven => {
                let answer = detector.answer(&beat, is_granted, elector.highest(), 0);
                let heard_term =
                    beat.term > elector.highest() || host.leads.is_some_and(|term| beat.term > term);
                if heard_term {
                    self.step_elector(manager, run, term::Input::Heard { term: beat.term });
                }
                let node = beat.node.0 as usize;
                if !self.is_lost(Place::Manager(manager), Place::Node(node)) {
                    let delay_us = self.some(100, 3_000);
                    self.after(delay_us, Event::Answer { node, datagram: answer });
                }
            }
            Heard::Old => self.refused += 1,
            Heard::Unknown => {}
        }
        Some((beat, heard))
    }

    pub(super) fn wake_detector(&mut self, manager: usize, run: u64) {
        if self.managers[manager].run != run {
            return;
        }
        self.step_detector(manager, run, heartbeat::Input::Tick);
        let host = &self.managers[manager];
        let due = host.machines.as_ref().and_then(|(_, detector)| detector.wake_at());
        if let Some(due) = due.filter(|_| host.run == run) {
            let at_us = host.clock.reaches(due).max(self.now_us + 1);
            self.at(at_us, Event::WakeDetector { manager, run });
        }
    }

    pub(super) fn step_detector(&mut self, manager: usize, run: u64, input: heartbeat::Input) {
        let host = &mut self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let Some((_, detector)) = host.machines.as_mut().filter(|_| host.run == run) else { return };
        let outputs = detector.step(now, input);
        detector.check();
        for output in outputs {
            self.on_seen(manager, now, output);
        }
    }

    fn on_seen(&mut self, manager: usize, now: Time, output: Seen) {
        let by = ManagerNumber(manager as u16);
        match output {
            Seen::Ask { asked_at, nodes } => {
                self.send_to_others(manager, &heartbeat::Input::Asked { by, asked_at, nodes });
            }
            Seen::Search { asked_at, searches } => self.search(manager, now, asked_at, &searches),
            Seen::Tell { to, asked_at, opinions } => {
                let input = heartbeat::Input::Told { by, asked_at, opinions };
                self.send_to_manager(manager, usize::from(to.0), input);
            }
            Seen::Restarted(restart) => {
                if self.managers[manager].leads.is_some() {
                    let what = if restart.is_reboot { "was rebooted" } else { "has a new agent" };
                    self.restarts += 1;
                    self.tell(|| format!("manager-{}: node-{} {what}", manager + 1, restart.node.0 + 1));
                }
            }
            Seen::Alarm(alarm) => {
                self.alarms += 1;
                self.tell(|| format!("manager-{}: {alarm:?}", manager + 1));
            }
            Seen::Verdicts(verdicts) => self.on_verdicts(manager, now, &verdicts),
            Seen::TakeOver { node } => self.on_take_over(manager, now, node),
        }
    }

    /// Only who may act at this moment is obeyed.
    fn may_act(&self, manager: usize, now: Time) -> bool {
        let machines = self.managers[manager].machines.as_ref();
        machines.is_some_and(|(elector, _)| elector.acting(now).is_some())
    }

    fn on_verdicts(&mut self, manager: usize, now: Time, verdicts: &[heartbeat::Verdict]) {
        if !self.may_act(manager, now) {
            self.tell(|| format!("manager-{} may not say: {verdicts:?}", manager + 1));
            return;
        }
        self.batches += 1;
        let told = verdicts.iter().map(|verdict| (verdict.node.0 as usize, verdict.reach)).collect();
        self.said.push(Said { at_us: self.now_us, verdicts: told });
        let mut said = [const { Vec::new() }; 5];
        for verdict in verdicts {
            let node = verdict.node.0 as usize;
            match verdict.is_mass {
                true => self.mass.insert(node),
                false => self.mass.remove(&node),
            };
            let place = match verdict.reach {
                Reach::Reachable => {
                    self.published.remove(&node);
                    // Nobody moves anything back at once: whoever took over releases the node a little later.
                    self.after(500_000, Event::Settle { node });
                    0
                }
                Reach::Degraded => {
                    self.published.insert(node, Reach::Degraded);
                    1
                }
                Reach::Unreachable => {
                    self.published.insert(node, Reach::Unreachable);
                    2
                }
                Reach::Elsewhere => {
                    self.published.insert(node, Reach::Elsewhere);
                    3
                }
                Reach::Nearby => {
                    self.published.insert(node, Reach::Nearby);
                    4
                }
            };
            said[place].push(format!("node-{}", node + 1));
        }
        let words = ["reachable", "degraded", "unreachable", "heard elsewhere", "heard by other nodes"];
        let parts = said.iter().zip(words).filter(|(nodes, _)| !nodes.is_empty());
        let parts: Vec<String> = parts.map(|(nodes, word)| format!("{} {word}", shorten(nodes))).collect();
        let is_mass = verdicts.iter().any(|verdict| verdict.is_mass);
        let mass = if is_mass { ", too many at once" } else { "" };
        self.tell(|| format!("manager-{} says: {}{mass}", manager + 1, parts.join("; ")));
    }

    fn on_take_over(&mut self, manager: usize, now: Time, node: NodeNumber) {
        if !self.may_act(manager, now) {
            return;
        }
        let node = node.0 as usize;
        assert!(!self.mass.contains(&node), "node-{} fell with many others, and nobody was asked", node + 1);
        let acts_until_us = self.node_acts_until_us(node);
        assert!(
            acts_until_us <= self.now_us,
            "node-{} is taken over from at {} us and may act until {acts_until_us} us",
            node + 1,
            self.now_us
        );
        self.take_overs += 1;
        self.nodes[node].taken_at_us = Some(self.now_us);
        self.tell(|| format!("manager-{} takes over from node-{}", manager + 1, node + 1));
    }

    /// What was taken over runs elsewhere for good, and the node, being there again, knows it.
    pub(super) fn settle(&mut self, node: usize) {
        let leader = self.managers.iter().position(|host| {
            let now = host.clock.shows(self.now_us);
            !host.is_stopped
                && host.machines.as_ref().is_some_and(|(elector, _)| elector.acting(now).is_some())
        });
        let is_there = !self.published.contains_key(&node) && self.nodes[node].pulse.is_some();
        let (Some(leader), true) = (leader, is_there) else {
            // Whoever took over goes on wanting to know, also if the node goes and comes before anybody says so.
            if self.nodes[node].taken_at_us.is_some() {
                self.after(500_000, Event::Settle { node });
            }
            return;
        };
        if self.nodes[node].taken_at_us.take().is_some() {
            self.tell(|| format!("manager-{} releases node-{}", leader + 1, node + 1));
            let run = self.managers[leader].run;
            let node = NodeNumber(node as u32);
            self.step_detector(leader, run, heartbeat::Input::Release { node });
        }
    }

    fn send_to_others(&mut self, from: usize, input: &heartbeat::Input) {
        for to in (0..self.managers.len()).filter(|to| *to != from) {
            self.send_to_manager(from, to, input.clone());
        }
    }

    fn send_to_manager(&mut self, from: usize, to: usize, input: heartbeat::Input) {
        if !self.is_lost(Place::Manager(from), Place::Manager(to)) {
            let delay_us = self.some(200, 3_000);
            let run = self.managers[to].run;
            self.after(delay_us, Event::ToDetector { manager: to, run, input });
        }
    }
}

/// `node-1 to node-4` for a row without gaps.
fn shorten(nodes: &[String]) -> String {
    match nodes {
        [first, .., last] if nodes.len() > 3 => format!("{first} to {last} ({})", nodes.len()),
        _ => nodes.join(", "),
    }
}
