//! Nomad's heartbeats: a server hands out a time to live that grows with the number of clients, so that no more than
//! fifty heartbeats a second arrive, and waits ten seconds more. A new leader gives everybody five minutes.

use super::drive::Subject;
use super::tally::{Case, Fault, Tally};
use super::world::{Model, World};

/// Its default, which an operator may raise.
const HEARTBEATS_PER_SECOND_MAX: u64 = 50;
const TTL_MIN_US: u64 = 10_000_000;
const GRACE_US: u64 = 10_000_000;
const NEW_LEADER_TTL_US: u64 = 300_000_000;

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The leader changes at that second, and the new one knows no timers.
    pub leader_changes_at_s: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// A client speaks.
    Beat,
    /// Its time is over at the server, if this is still its newest.
    Over {
        host: u32,
        number: u64,
    },
    NewLeader,
}

/// The server is no host of the world: it neither fails nor stalls in the cases that are compared.
#[derive(Debug)]
pub struct Nomad {
    tally: Tally,
    newest: Vec<u64>,
    is_removed: Vec<bool>,
    /// Of each removal: the time since the last heartbeat that came, and when it was.
    waits_us: Vec<(u64, u64)>,
    heard_us: Vec<u64>,
}

impl Nomad {
    /// What a client is given: once to twice the base.
    fn ttl_us(&self, world: &mut World<Event>) -> u64 {
        let base_us = TTL_MIN_US.max(self.newest.len() as u64 * 1_000_000 / HEARTBEATS_PER_SECOND_MAX);
        base_us + world.some_us(base_us)
    }

    fn expect(&mut self, world: &mut World<Event>, server: usize, host: usize, ttl_us: u64) {
        self.newest[host] += 1;
        let over = Event::Over { host: host as u32, number: self.newest[host] };
        world.wake(server, ttl_us + GRACE_US, over);
    }
}

/// The last host carries the server's timers: it is never faulty.
fn server(nodes: usize) -> usize {
    nodes - 1
}

impl Model for Nomad {
    type Event = Event;

    fn handle(&mut self, world: &mut World<Event>, host: usize, event: Event) {
        let server = server(self.newest.len());
        match event {
            Event::Beat => {
                let ttl_us = self.ttl_us(world);
                self.heard_us[host] = world.now_us;
                if std::mem::take(&mut self.is_removed[host]) {
                    self.tally.returned(0, host);
                }
                self.expect(world, server, host, ttl_us);
                world.wake(host, ttl_us, Event::Beat);
            }
            Event::Over { host, number } => {
                let host = host as usize;
                if self.newest[host] == number && !self.is_removed[host] {
                    self.is_removed[host] = true;
                    self.waits_us.push((world.now_us - self.heard_us[host], world.now_us));
                    self.tally.removed(world.now_us, 0, host);
                }
            }
            Event::NewLeader => {
                for host in 0..self.newest.len() {
                    self.newest[host] += 1;
                    let over = Event::Over { host: host as u32, number: self.newest[host] };
                    world.wake(server, NEW_LEADER_TTL_US, over);
                }
            }
        }
    }
}

impl Subject for Nomad {
    type Settings = Settings;

    fn new(case: Case, settings: Settings, world: &mut World<Event>) -> Self {
        let nomad = Self {
            tally: Tally::new(case, 1),
            newest: vec![0; case.nodes],
            is_removed: vec![false; case.nodes],
            waits_us: Vec::new(),
            heard_us: vec![0; case.nodes],
        };
        for host in 0..case.nodes {
            let first_us = nomad.ttl_us(world) / 2;
            world.wake(host, first_us, Event::Beat);
        }
        if let Some(at_s) = settings.leader_changes_at_s {
            world.wake(server(case.nodes), at_s * 1_000_000, Event::NewLeader);
        }
        nomad
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn size(&self, _: usize) -> usize {
        self.is_removed.iter().filter(|is_removed| !**is_removed).count()
    }

    fn observers(&self) -> usize {
        1
    }
}

/// Shortest and longest time in whole seconds from the last heartbeat of a client that died to its removal, of a hundred
/// that die at once; with a new leader, from then on.
pub fn waits_s(nodes: usize, has_new_leader: bool, seed: u64) -> (u64, u64) {
    // All have spoken by then.
    let at_s = 10 + 2 * nodes as u64 / HEARTBEATS_PER_SECOND_MAX;
    let leader_changes_at_s = has_new_leader.then_some(at_s + 1);
    let case = Case { nodes, faulty: 100, fault: Fault::Crash, at_s, until_s: at_s, seed };
    let mut world = World::new(nodes, seed);
    let mut nomad = Nomad::new(case, Settings { leader_changes_at_s }, &mut world);
    world.run_until_us(&mut nomad, at_s * 1_000_000);
    (0..case.faulty).for_each(|host| world.hosts[host].is_crashed = true);
    world.run_until_us(&mut nomad, 2 * at_s * 1_000_000 + NEW_LEADER_TTL_US);
    let waits_us = nomad.waits_us.iter().map(|(wait_us, at_us)| match leader_changes_at_s {
        Some(changed_s) => at_us - changed_s * 1_000_000,
        None => *wait_us,
    });
    let seconds = waits_us.map(|us| us / 1_000_000);
    (seconds.clone().min().unwrap_or(0), seconds.max().unwrap_or(0))
}
