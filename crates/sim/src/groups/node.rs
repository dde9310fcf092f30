//! A node: its resident and its pulse, carried out, its link, and the guardians of its groups.

use super::{Event, Held, Said, World, node_name};
use crate::fleet::Clock;
use logic::group::{Resident, ResidentInput, ResidentOutput, Verb};
use logic::heartbeat::{Pulse, PulseInput, PulseOutput, PulseSettings};
use logic::lease::Span;
use logic::machine::Machine;
use logic::monitor::set::Monitors;
use wire::heartbeat::Datagram;
use wire::id::{CellNumber, GroupName, ManagerNumber, NodeNumber};

/// Pause before a node that has no link tries again.
const DIAL_PAUSE_US: u64 = 100_000;

#[derive(Debug)]
pub(super) struct NodeHost {
    pub clock: Clock,
    /// None: its agent does not run.
    pub machines: Option<(Resident, Pulse)>,
    pub monitors: Option<Monitors>,
    pub monitors_wake_us: Option<u64>,
    /// Number of the agent's start.
    pub start: u64,
    incarnation: u64,
    /// The term's run and the number of the link, as the network knows them.
    pub link: Option<(u64, u64)>,
    /// The newest link that the agent itself knows of.
    known_link: u64,
    /// When the last message of the link arrives: none overtakes another.
    arrives_us: u64,
    /// The wake that is on its way; others mean nothing.
    wakes_us: Option<u64>,
    /// Of its lease, as its agent has told its guardians.
    pub span: Span,
    pub is_stopped: bool,
    /// A fence has switched it off.
    pub is_off: bool,
    pub held: Vec<Event>,
}

impl NodeHost {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            machines: None,
            monitors: None,
            monitors_wake_us: None,
            start: 0,
            incarnation: 0,
            link: None,
            known_link: 0,
            arrives_us: 0,
            wakes_us: None,
            span: Span::default(),
            is_stopped: false,
            is_off: false,
            held: Vec::new(),
        }
    }
}

impl World {
    pub(super) fn start_node(&mut self, node: usize) {
        // An agent waits until what one before it held is gone.
        if self.held.values().flatten().any(|held| held.node == node) {
            return self.after(10_000, Event::StartNode { node });
        }
        self.nodes[node].is_off = false;
        let start = self.fresh();
        let now = self.nodes[node].clock.shows(self.now_us);
        let settings = PulseSettings {
            cell: CellNumber(1),
            node: NodeNumber(node as u32),
            managers: (0..self.managers.len() as u16).map(ManagerNumber).collect(),
            lease: self.profile,
            incarnation: self.nodes[node].incarnation + 1,
            boot: 1,
        };
        let host = &mut self.nodes[node];
        host.incarnation += 1;
        host.start = start;
        host.wakes_us = None;
        host.span = Span::default();
        let resident = Resident::new(now, node_name(node), host.incarnation);
        host.machines = Some((resident, Pulse::new(settings, now)));
        let incarnation = host.incarnation;
        self.start_monitors(node, start, incarnation);
        self.tell(|| format!("{} starts", node_name(node)));
        self.plan_wake(node, start);
        self.after(0, Event::Dial { node });
    }

    /// kill -9 of the agent: its guardians notice, and end what they hold.
    pub(super) fn kill_node(&mut self, node: usize) {
        self.tell(|| format!("the agent of {} is killed", node_name(node)));
        let host = &mut self.nodes[node];
        host.machines = None;
        host.monitors = None;
        host.start = 0;
        host.is_stopped = false;
        host.held.clear();
        self.break_link(node);
        self.end_guardians(node, None);
    }

    /// The manager notices at once, or after a while; the node reads what came before.
    pub(super) fn break_link(&mut self, node: usize) {
        let Some((run, link)) = self.nodes[node].link.take() else { return };
        let pause_us = self.some(1_000, 2_000_000);
        self.after(pause_us, Event::ToManager { run, link, node, said: Said::Left });
        self.after(DIAL_PAUSE_US, Event::Dial { node });
    }

    pub(super) fn break_link_of(&mut self, node: usize, run: u64) {
        if self.nodes[node].link.is_some_and(|(of, _)| of == run) {
            self.break_link(node);
        }
    }

    /// It looks for another manager if the one that it is linked with has stopped.
    pub(super) fn on_silent(&mut self, node: usize, link: u64) {
        let Some((run, _)) = self.nodes[node].link.filter(|(_, own)| *own == link) else { return };
        if self.manager_of(run).is_none_or(|manager| self.managers[manager].is_stopped) {
            self.break_link(node);
        }
    }

    pub(super) fn dial(&mut self, node: usize) {
        let host = &self.nodes[node];
        if host.link.is_some() || host.machines.is_none() {
            return;
        }
        let leader = self.leader().filter(|leader| !host.is_stopped && !self.is_deaf(*leader, node));
        let Some(run) = leader.and_then(|leader| Some(self.managers[leader].led()?.run)) else {
            return self.after(DIAL_PAUSE_US, Event::Dial { node });
        };
        let (link, start) = (self.fresh(), self.nodes[node].start);
        self.nodes[node].link = Some((run, link));
        self.nodes[node].arrives_us = self.now_us;
        self.handle(Event::ToManager { run, link, node, said: Said::Joined });
        let input = Box::new(ResidentInput::Connected);
        let arrives_us = self.now_us + self.some(100, 2_000);
        self.nodes[node].arrives_us = self.nodes[node].arrives_us.max(arrives_us);
        self.at(arrives_us, Event::ToNode { node, start, link, input });
    }

    pub(super) fn send_to_node(&mut self, node: usize, link: u64, input: ResidentInput) {
        if self.nodes[node].link.is_none_or(|(_, own)| own != link) {
            return;
        }
        if self.is_link_cut(node) {
            return self.break_link(node);
        }
        let start = self.nodes[node].start;
        // What was sent may be long on its way, also if who has sent it leads no longer.
        let longest_us = if self.has_mischief() && self.chance.percent(2) { 2_000_000 } else { 3_000 };
        let arrives_us = (self.now_us + self.some(100, longest_us)).max(self.nodes[node].arrives_us + 1);
        self.nodes[node].arrives_us = arrives_us;
        self.at(arrives_us, Event::ToNode { node, start, link, input: Box::new(input) });
    }

    /// A node reads what an older link brought before it reads from a newer one, and nothing of it afterwards.
    pub(super) fn on_told(&mut self, node: usize, start: u64, link: u64, input: ResidentInput) {
        if link < self.nodes[node].known_link {
            return;
        }
        self.nodes[node].known_link = link;
        self.step_resident(node, start, input);
    }

    fn is_link_cut(&self, node: usize) -> bool {
        let manager = self.nodes[node].link.and_then(|(run, _)| self.manager_of(run));
        self.cut.contains(&node) || manager.is_none_or(|manager| self.is_deaf(manager, node))
    }

    fn send_report(&mut self, node: usize, report: wire::group::GroupsReport) {
        let Some((run, link)) = self.nodes[node].link else { return };
        if self.is_link_cut(node) {
            return self.break_link(node);
        }
        if self.nodes[node].known_link != link {
            return;
        }
        let arrives_us = (self.now_us + self.some(100, 3_000)).max(self.nodes[node].arrives_us + 1);
        self.nodes[node].arrives_us = arrives_us;
        self.at(arrives_us, Event::ToManager { run, link, node, said: Said::Report(Box::new(report)) });
    }

    pub(super) fn stop_node(&mut self, node: usize) {
        self.tell(|| format!("the agent of {} is stopped", node_name(node)));
        self.nodes[node].is_stopped = true;
    }

    pub(super) fn resume_node(&mut self, node: usize) {
        if !std::mem::take(&mut self.nodes[node].is_stopped) {
            return;
        }
        self.tell(|| format!("the agent of {} goes on", node_name(node)));
        for event in std::mem::take(&mut self.nodes[node].held) {
            self.handle(event);
        }
        let start = self.nodes[node].start;
        self.nodes[node].wakes_us = None;
        self.plan_wake(node, start);
        self.after(0, Event::Dial { node });
    }

    pub(super) fn wake_node(&mut self, node: usize, start: u64) {
        let host = &mut self.nodes[node];
        if host.start != start || host.is_stopped || host.wakes_us != Some(self.now_us) {
            return;
        }
        host.wakes_us = None;
        let now = host.clock.shows(self.now_us);
        let Some((_, pulse)) = &mut host.machines else { return };
        let outputs = pulse.step(now, PulseInput::Tick);
        self.send_heartbeats(node, outputs);
        self.step_resident(node, start, ResidentInput::Tick);
        self.plan_wake(node, start);
    }

    /// Wakes the node when one of its machines wants it.
    fn plan_wake(&mut self, node: usize, start: u64) {
        let now_us = self.now_us;
        let host = &mut self.nodes[node];
        let Some((resident, pulse)) = host.machines.as_ref().filter(|_| host.start == start) else { return };
        let due = resident.wake_at().into_iter().chain(pulse.wake_at()).min();
        let due = due.expect("a pulse goes on while its node runs");
        let at_us = host.clock.reaches(due).max(now_us + 1);
        if host.wakes_us.is_none_or(|planned_us| at_us < planned_us) {
            host.wakes_us = Some(at_us);
            self.at(at_us, Event::WakeNode { node, start });
        }
    }

    fn send_heartbeats(&mut self, node: usize, outputs: Vec<PulseOutput>) {
        for output in outputs {
            if let PulseOutput::Send(datagram) = output
                && !self.is_cut(usize::from(datagram.manager.0), node)
                && !self.is_lost()
            {
                let pause_us = self.some(100, 3_000);
                self.after(pause_us, Event::Heartbeat { datagram });
            }
        }
    }

    pub(super) fn on_answer(&mut self, node: usize, datagram: Datagram) {
        let host = &mut self.nodes[node];
        let now = host.clock.shows(self.now_us);
        let Some((_, pulse)) = &mut host.machines else { return };
        let before = pulse.lease_ends_at();
        pulse.step(now, PulseInput::Answer(datagram));
        let until = pulse.lease_ends_at();
        let start = host.start;
        if until != before {
            self.step_resident(node, start, ResidentInput::Lease { until });
        }
    }

    pub(super) fn step_resident(&mut self, node: usize, start: u64, input: ResidentInput) {
        let host = &mut self.nodes[node];
        let now = host.clock.shows(self.now_us);
        let Some((resident, _)) = host.machines.as_mut().filter(|_| host.start == start) else { return };
        let outputs = resident.step(now, input);
        resident.check();
        for output in outputs {
            self.on_resident(node, start, output);
        }
        self.plan_wake(node, start);
    }

    fn on_resident(&mut self, node: usize, start: u64, output: ResidentOutput) {
        match output {
            ResidentOutput::Guard { group, run, span } => self.guard(node, start, &group, run, span),
            ResidentOutput::Lease(span) => self.nodes[node].span = span,
            ResidentOutput::Do { group, run, step, action } => {
                let is_process = action.resource.kind.name == "process";
                let is_bad = !self.is_calm && self.chance.percent(3);
                let (pause_us, result) = match (action.verb, is_bad) {
                    // It hangs.
                    (_, true) if self.chance.percent(30) => return,
                    (Verb::Start, true) => (self.some(500, 50_000), Err("exited with status 1".to_owned())),
                    (Verb::Start, false) if is_process => (self.some(200, 2_000), Ok(())),
                    (_, _) => (self.some(500, 200_000), Ok(())),
                };
                let input = ResidentInput::Done { group: group.clone(), run, step, result };
                self.after(pause_us, Event::FromGuardian { node, start, input: Box::new(input) });
                if is_process && action.verb == Verb::Start && !self.is_calm && self.chance.percent(5) {
                    let why = "was killed by signal KILL".to_owned();
                    let input = ResidentInput::Lost { group, run, resource: action.index, why };
                    let pause_us = self.some(2_000, 8_000_000);
                    self.after(pause_us, Event::FromGuardian { node, start, input: Box::new(input) });
                }
            }
            ResidentOutput::End { group, run: _ } => self.end_guardians(node, Some(&group)),
            ResidentOutput::Report(report) => self.send_report(node, report),
            ResidentOutput::Refused { .. } => self.outcome.refused += 1,
            ResidentOutput::Activity(activity) => self.on_activity(node, start, activity),
            ResidentOutput::EndService { .. } => self.outcome.ended += 1,
            ResidentOutput::Power { .. } | ResidentOutput::PowerRefused { .. } => {
                unreachable!("nobody asks for it here")
            }
            ResidentOutput::Finished => self.on_service_ended(node),
            ResidentOutput::Tell { .. } => {}
        }
    }

    /// When a guardian ends by itself that holds by this span of its node's lease, for all that its node has told so far.
    fn deadline_us(&self, node: usize, span: Option<u64>) -> Option<u64> {
        let NodeHost { clock, span: told, .. } = &self.nodes[node];
        span.map(|number| told.lasts(number).map_or(self.now_us, |until| clock.reaches(until)))
    }

    /// A guardian begins, or hears by which span it holds.
    fn guard(&mut self, node: usize, start: u64, group: &GroupName, run: u64, span: Option<u64>) {
        let deadline_us = self.deadline_us(node, span);
        let all = self.held.entry(group.clone()).or_default();
        if let Some(held) = all.iter_mut().find(|held| held.node == node && held.run == run) {
            held.span = span;
            let number = held.number;
            if let Some(at_us) = deadline_us {
                self.at(at_us, Event::Deadline { node, group: group.clone(), held: number });
            }
            return;
        }
        // It has ended meanwhile, and its agent has not heard of that.
        if !self.begun.insert((node, start, run)) {
            return;
        }
        let epochs = self.nodes[node].machines.as_ref();
        let epoch = epochs.and_then(|(resident, _)| resident.running().find(|(name, _)| *name == group));
        let epoch = epoch.map_or(0, |(_, epoch)| epoch);
        let others = self.held.get(group).cloned().unwrap_or_default();
        assert!(
            others.is_empty(),
            "group {group} begins on {} as epoch {epoch} at {} us while it is held: {others:?}",
            node_name(node),
            self.now_us
        );
        assert!(
            self.outcome.epochs.get(group).is_none_or(|last| last.0 < epoch || *last == (epoch, node)),
            "group {group} goes back to epoch {epoch}"
        );
        self.outcome.epochs.insert(group.clone(), (epoch, node));
        let number = self.fresh();
        let held = Held { number, node, run, start, span, is_ending: false, is_stuck: false };
        self.held.entry(group.clone()).or_default().push(held);
        self.outcome.starts += 1;
        self.tell(|| format!("group {group} begins on {} as epoch {epoch}", node_name(node)));
        if let Some(at_us) = deadline_us {
            self.at(at_us, Event::Deadline { node, group: group.clone(), held: number });
        }
    }

    pub(super) fn on_deadline(&mut self, node: usize, group: &GroupName, number: u64) {
        let held = self.held.get(group).and_then(|all| all.iter().find(|held| held.number == number));
        let Some(held) = held.filter(|held| !held.is_ending) else { return };
        // It looks how long the lease lasts by now.
        match self.deadline_us(node, held.span) {
            None => {}
            Some(at_us) if at_us <= self.now_us => self.end_guardians(node, Some(group)),
            Some(at_us) => self.at(at_us, Event::Deadline { node, group: group.clone(), held: number }),
        }
    }

    /// The guardians of a node, or that of one group, kill what they hold.
    fn end_guardians(&mut self, node: usize, group: Option<&GroupName>) {
        let mut ending = Vec::new();
        for (name, all) in &mut self.held {
            let is_meant = group.is_none_or(|group| group == name);
            for held in all
                .iter_mut()
                .filter(|held| held.node == node && is_meant && !held.is_ending && !held.is_stuck)
            {
                held.is_ending = true;
                ending.push((name.clone(), held.number));
            }
        }
        for (group, held) in ending {
            let pause_us = self.some(500, self.profile.stop_ms * 1_000 - 1_000);
            self.after(pause_us, Event::Gone { node, group, held });
        }
    }

    pub(super) fn on_gone(&mut self, node: usize, group: &GroupName, number: u64) {
        let Some(all) = self.held.get_mut(group) else { return };
        let Some(place) = all.iter().position(|held| held.number == number) else { return };
        let held = all.remove(place);
        self.tell(|| format!("nothing is left of group {group} on {}", node_name(node)));
        let input = ResidentInput::Ended { group: group.clone(), run: held.run, why: "ended".into() };
        self.after(500, Event::FromGuardian { node, start: held.start, input: Box::new(input) });
    }
}
