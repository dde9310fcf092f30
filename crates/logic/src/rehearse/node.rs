//! A node of a rehearsal: its resident and its pulse, carried out, and its link to who leads.

use super::manager::Said;
use super::world::{Event, MESSAGE_MS, World};
use crate::group::{Resident, ResidentInput, ResidentOutput, Verb};
use crate::heartbeat::{Pulse, PulseInput, PulseOutput, PulseSettings};
use crate::machine::Machine;
use wire::group::{GroupsReport, ResourceKind};
use wire::heartbeat::Datagram;
use wire::id::{CellNumber, GroupName, ManagerNumber, NodeNumber};
use wire::link::KEEP_ALIVE_MS;

/// Longest pause before an agent that has no link tries again.
const DIAL_PAUSE_MS: u64 = 500;
/// An agent that knows several managers looks for another one after so long without a word.
const LINK_SILENCE_MS: u64 = 3 * KEEP_ALIVE_MS;

#[derive(Debug, Clone)]
pub(super) struct NodeHost {
    resident: Resident,
    /// None where nobody hears heartbeats.
    pulse: Option<Pulse>,
    /// The manager that it is linked with, and the number of the link.
    pub link: Option<(usize, u64)>,
    /// The wake that is on its way; others mean nothing.
    wakes: Option<u64>,
}

impl World {
    pub(super) fn start_nodes(&mut self, hosts: &[usize]) {
        let managers: Vec<ManagerNumber> = hosts.iter().map(|host| ManagerNumber(*host as u16)).collect();
        for node in 0..self.names.len() {
            let settings = PulseSettings {
                cell: CellNumber(1),
                node: NodeNumber(node as u32),
                managers: managers.clone(),
                lease: self.profile,
                incarnation: 1,
                boot: 1,
            };
            let now = self.time();
            let pulse = self.has_heartbeats.then(|| Pulse::new(settings, now));
            let resident = Resident::new(now, self.names[node].clone(), 1);
            self.nodes.push(NodeHost { resident, pulse, link: None, wakes: None });
            self.plan_wake(node);
            self.after(0, Event::Dial { node });
        }
    }

    /// When the node sends its next heartbeats.
    pub fn beats_at(&self, node: usize) -> Option<u64> {
        let pulse = self.nodes[node].pulse.as_ref()?;
        pulse.wake_at().map(|at| at.0)
    }

    pub fn beat_interval_ms(&self, node: usize) -> u64 {
        self.nodes[node].pulse.as_ref().map_or(0, |pulse| u64::from(pulse.interval_ms()))
    }

    pub(super) fn wake_node(&mut self, node: usize) {
        if self.off.contains(&node) || self.nodes[node].wakes != Some(self.now) {
            return;
        }
        let now = self.time();
        let host = &mut self.nodes[node];
        host.wakes = None;
        let outputs = host.pulse.as_mut().map(|pulse| pulse.step(now, PulseInput::Tick)).unwrap_or_default();
        for output in outputs {
            self.send_beat(node, output);
        }
        if self.nodes[node].resident.wake_at().is_some_and(|due| due <= now) {
            self.step_resident(node, ResidentInput::Tick);
        }
        self.plan_wake(node);
    }

    fn plan_wake(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        let pulse = host.pulse.as_ref().and_then(Pulse::wake_at);
        let Some(due) = host.resident.wake_at().into_iter().chain(pulse).min() else { return };
        let at = due.0.max(self.now + 1);
        if host.wakes.is_none_or(|planned| at < planned) {
            host.wakes = Some(at);
            self.at(at, Event::WakeNode { node });
        }
    }

    fn send_beat(&mut self, node: usize, output: PulseOutput) {
        let PulseOutput::Send(datagram) = output else { return };
        let Some(manager) = self.manager_numbered(datagram.manager) else { return };
        if self.is_through(node, self.managers[manager].node) {
            self.after(MESSAGE_MS, Event::Beat { manager, datagram });
        }
    }

    pub(super) fn on_answer(&mut self, node: usize, datagram: Datagram) {
        if self.off.contains(&node) {
            return;
        }
        let now = self.time();
        let Some(pulse) = &mut self.nodes[node].pulse else { return };
        let before = pulse.lease_ends_at();
        for output in pulse.step(now, PulseInput::Answer(datagram)) {
            self.send_beat(node, output);
        }
        let until = self.nodes[node].pulse.as_ref().and_then(Pulse::lease_ends_at);
        if until != before {
            self.step_resident(node, ResidentInput::Lease { until });
        }
        self.plan_wake(node);
    }

    pub(super) fn dial(&mut self, node: usize) {
        if self.off.contains(&node) {
            return;
        }
        let known = self.nodes[node].link;
        let leader = self.leader().filter(|leader| self.is_through(node, self.managers[*leader].node));
        match (leader, known) {
            (Some(leader), Some((linked, _))) if leader == linked => {}
            (Some(leader), _) => {
                let link = self.fresh();
                self.nodes[node].link = Some((leader, link));
                self.after(MESSAGE_MS, Event::ToManager { manager: leader, link, node, said: Said::Joined });
                let input = Box::new(ResidentInput::Connected);
                self.after(2 * MESSAGE_MS, Event::ToNode { node, link, input });
            }
            (None, _) => self.after(DIAL_PAUSE_MS, Event::Dial { node }),
        }
    }

    /// Agents notice that a manager has begun to lead, or that theirs is gone. `is_silent`: its machine does not say so.
    pub(super) fn dial_anew(&mut self, is_silent: bool) {
        let pause_ms = DIAL_PAUSE_MS + if is_silent { LINK_SILENCE_MS } else { 0 };
        for node in 0..self.nodes.len() {
            self.after(pause_ms, Event::Dial { node });
        }
    }

    pub(super) fn on_told(&mut self, node: usize, link: u64, input: ResidentInput) {
        if self.nodes[node].link.is_some_and(|(_, own)| own == link) {
            self.step_resident(node, input);
        }
    }

    fn send_report(&mut self, node: usize, report: GroupsReport) {
        let Some((manager, link)) = self.nodes[node].link else { return };
        if self.is_through(node, self.managers[manager].node) {
            let said = Said::Report(Box::new(report));
            self.after(MESSAGE_MS, Event::ToManager { manager, link, node, said });
        }
    }

    pub(super) fn on_guarded(&mut self, node: usize, serves: bool, input: ResidentInput) {
        if self.off.contains(&node) {
            return;
        }
        match &input {
            ResidentInput::Done { group, result: Ok(()), .. } if serves => {
                let group = group.clone();
                self.serve(&group, Some(node));
            }
            ResidentInput::Ended { group, .. } => {
                let group = group.clone();
                self.let_go(&group, node);
            }
            _ => {}
        }
        self.step_resident(node, input);
    }

    pub(super) fn step_resident(&mut self, node: usize, input: ResidentInput) {
        if self.off.contains(&node) {
            return;
        }
        let now = self.time();
        let outputs = self.nodes[node].resident.step(now, input);
        for output in outputs {
            self.on_resident(node, output);
        }
        self.plan_wake(node);
    }

    fn on_resident(&mut self, node: usize, output: ResidentOutput) {
        match output {
            ResidentOutput::Guard { group, .. } => {
                let is_held = self.places.get(&group).is_some_and(|place| place.held.contains(&node));
                if !is_held {
                    self.hold(&group, node);
                }
            }
            ResidentOutput::Do { group, run, step, action } => {
                let is_broken = self.broken.as_ref().is_some_and(|(name, at)| (name, *at) == (&group, node));
                let (serves, result) = match action.verb {
                    Verb::Start if is_broken => (false, Err("fails in this rehearsal".to_owned())),
                    Verb::Start => (self.is_last(&group, action.index), Ok(())),
                    Verb::Stop => {
                        self.serve(&group, None);
                        (false, Ok(()))
                    }
                };
                let input = Box::new(ResidentInput::Done { group, run, step, result });
                self.after(MESSAGE_MS, Event::Guarded { node, serves, input });
            }
            ResidentOutput::End { group, run } => {
                if self.places.get(&group).is_some_and(|place| place.serves == Some(node)) {
                    self.serve(&group, None);
                }
                let input = Box::new(ResidentInput::Ended { group, run, why: "ended".into() });
                self.after(MESSAGE_MS, Event::Guarded { node, serves: false, input });
            }
            ResidentOutput::Report(report) => self.send_report(node, report),
            // Nothing is watched here, so that nothing is recovered.
            ResidentOutput::Lease(_)
            | ResidentOutput::Activity(_)
            | ResidentOutput::EndService { .. }
            | ResidentOutput::Power { .. }
            | ResidentOutput::PowerRefused { .. } => {}
            ResidentOutput::Refused { .. } | ResidentOutput::Tell { .. } | ResidentOutput::Finished => {}
        }
    }

    fn is_last(&self, group: &GroupName, index: usize) -> bool {
        let settings = self.groups.iter().find(|settings| settings.name == *group);
        settings.is_some_and(|settings| index + 1 == settings.resources.len())
    }

    /// Something of the group fails on the node where it runs, and again whenever it is started there.
    pub(super) fn break_group(&mut self, group: &GroupName, node: usize) {
        self.broken = Some((group.clone(), node));
        let settings = self.groups.iter().find(|settings| settings.name == *group);
        let Some(settings) = settings else { return };
        let is_process = |kind: &ResourceKind| kind.name == "process";
        let resource = settings.resources.iter().position(|resource| is_process(&resource.kind)).unwrap_or(0);
        let Some(run) = self.nodes[node].resident.run_of(group) else { return };
        let why = "ended in this rehearsal".to_owned();
        self.serve(group, None);
        let input = ResidentInput::Lost { group: group.clone(), run, resource, why };
        self.step_resident(node, input);
    }
}
