//! A node of a fleet: its pulse, its boots, and how long it may act in true time.

use super::clock::Clock;
use super::world::{CELL, Event, Fleet, Place};
use logic::heartbeat::{Courier, Pulse, PulseInput, PulseOutput, PulseSettings};
use logic::machine::Machine;
use wire::heartbeat::Datagram;
use wire::id::NodeNumber;

/// What a node does with questions that it shall carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Manner {
    #[default]
    Honest,
    /// It brings none.
    Idle,
    /// It makes up replies, and brings old ones again.
    Lying,
}

#[derive(Debug)]
pub(super) struct NodeHost {
    pub clock: Clock,
    /// None: it is off.
    pub pulse: Option<Pulse>,
    /// Number of the start; events of an earlier one mean nothing.
    pub start: u64,
    pub boot: u64,
    /// On its disk.
    pub incarnation: u64,
    /// How wrong its wall clock is.
    pub wall_ms: i64,
    pub is_stopped: bool,
    pub held: Vec<Datagram>,
    pub courier: Courier,
    pub manner: Manner,
    /// Since when something is taken over from it.
    pub taken_at_us: Option<u64>,
}

impl Fleet {
    pub(super) fn start_node(&mut self, node: usize, is_reboot: bool) {
        let start = self.fresh();
        let boot = if is_reboot { self.chance.bits() } else { self.nodes[node].boot };
        let settings_of = |incarnation| PulseSettings {
            cell: CELL,
            node: NodeNumber(node as u32),
            managers: self.manager_numbers(),
            lease: self.profile,
            incarnation,
            boot,
        };
        let wall_ms = (self.now_us / 1_000) as i64 + 1_700_000_000_000 + self.nodes[node].wall_ms;
        let incarnation = (self.nodes[node].incarnation + 1).max(wall_ms as u64);
        let now = self.nodes[node].clock.shows(self.now_us);
        let pulse = Pulse::new(settings_of(incarnation), now);
        let host = &mut self.nodes[node];
        (host.start, host.boot, host.incarnation) = (start, boot, incarnation);
        host.is_stopped = false;
        host.held.clear();
        host.courier = Courier::default();
        host.pulse = Some(pulse);
        // Nodes do not all speak at once.
        let pause_us = self.some(0, 150_000);
        self.after(pause_us, Event::WakeNode { node, start });
    }

    pub(super) fn kill_node(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        host.pulse = None;
        host.start = 0;
        host.is_stopped = false;
        host.held.clear();
    }

    pub(super) fn wake_node(&mut self, node: usize, start: u64) {
        if self.nodes[node].start != start || self.nodes[node].is_stopped {
            return;
        }
        self.step_node(node, PulseInput::Tick);
        let host = &self.nodes[node];
        let due =
            host.pulse.as_ref().and_then(Machine::wake_at).expect("a pulse goes on while its node runs");
        let at_us = host.clock.reaches(due);
        self.at(at_us, Event::WakeNode { node, start });
    }

    pub(super) fn on_answer(&mut self, node: usize, answer: Datagram) {
        let host = &mut self.nodes[node];
        if host.is_stopped {
            host.held.push(answer);
            return;
        }
        self.step_node(node, PulseInput::Answer(answer));
    }

    fn step_node(&mut self, node: usize, input: PulseInput) {
        let host = &mut self.nodes[node];
        let now = host.clock.shows(self.now_us);
        let Some(pulse) = &mut host.pulse else { return };
        let outputs = pulse.step(now, input);
        pulse.check();
        let acts_until =
            pulse.lease_ends_at().map(|end| host.clock.reaches(end) + self.profile.stop_ms * 1_000);
        if let (Some(taken_at_us), Some(acts_until_us)) = (host.taken_at_us, acts_until) {
            assert!(
                acts_until_us <= taken_at_us,
                "node-{} may act until {acts_until_us} us and was taken over from at {taken_at_us} us",
                node + 1
            );
        }
        for output in outputs {
            match output {
                PulseOutput::Send(datagram) => self.send_heartbeat(node, datagram),
                PulseOutput::Reply(_) => unreachable!("questions are not given here"),
                PulseOutput::Behind { .. } => {
                    let term = self.newest_term;
                    self.nodes[node].pulse.iter_mut().for_each(|pulse| {
                        pulse.step(now, PulseInput::Knows { term, epochs: 0 });
                    });
                }
            }
        }
    }

    fn send_heartbeat(&mut self, node: usize, datagram: Datagram) {
        let manager = usize::from(datagram.manager.0);
        self.overhear(datagram);
        if self.is_lost(Place::Node(node), Place::Manager(manager)) {
            return;
        }
        let delay_us = self.some(100, 3_000);
        self.after(delay_us, Event::Heartbeat { manager, datagram });
        // Someone on the way keeps it and sends it again, to all managers.
        if self.has_mischief && self.chance.below(1_000) == 0 {
            for manager in 0..self.managers.len() {
                let delay_us = self.some(3_000, 20_000_000);
                self.after(delay_us, Event::Heartbeat { manager, datagram });
            }
        }
    }

    /// Until when, in true microseconds, it may do what only one may do; 0: it may not.
    pub(super) fn node_acts_until_us(&self, node: usize) -> u64 {
        let host = &self.nodes[node];
        let end = host.pulse.as_ref().and_then(Pulse::lease_ends_at);
        end.map_or(0, |end| host.clock.reaches(end) + self.profile.stop_ms * 1_000)
    }
}
