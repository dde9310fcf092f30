//! A full mesh as WebSphere's core groups have it: everybody sends everybody a heartbeat each 30 s, and who was silent
//! for 180 s is out once all that remain have agreed on a new view. A connection that breaks is seen at once, but a
//! machine that is gone breaks none.

use super::drive::Subject;
use super::tally::{Case, Tally};
use super::world::{Model, World};
use std::collections::BTreeSet;

const INTERVAL_US: u64 = 30_000_000;
/// Its default: six heartbeats.
const SILENCE_MAX_US: u64 = 180_000_000;
const HEARTBEAT_BYTES: u64 = 100;
const LOOK_US: u64 = 1_000_000;
/// A word in the agreement on a view: who is in it, a bit for each.
const WORD_BYTES: u64 = 200;

#[derive(Debug, Clone)]
pub enum Event {
    Beat,
    Heard {
        from: u32,
    },
    /// Looks at who is silent.
    Look,
    /// Proposes to go on without these.
    Propose {
        without: u32,
        by: u32,
    },
}

#[derive(Debug)]
pub struct FullMesh {
    tally: Tally,
    nodes: usize,
    /// By observer, then by host.
    heard_us: Vec<u64>,
    /// Who agreed to go on without a host, by observer.
    agreed: Vec<Vec<BTreeSet<u32>>>,
    is_out: Vec<bool>,
    out: Vec<usize>,
}

impl FullMesh {
    fn place(&self, observer: usize, host: usize) -> usize {
        observer * self.nodes + host
    }

    fn is_silent(&self, now_us: u64, node: usize, host: usize) -> bool {
        host != node && now_us.saturating_sub(self.heard_us[self.place(node, host)]) >= SILENCE_MAX_US
    }

    /// Proposes to go on without who is silent, and does so once all agree that are neither silent nor out.
    fn look(&mut self, world: &mut World<Event>, node: usize) {
        world.wake(node, LOOK_US, Event::Look);
        let silent: Vec<usize> = (0..self.nodes)
            .filter(|host| self.is_silent(world.now_us, node, *host) && !self.is_out[self.place(node, *host)])
            .collect();
        let needed = self.nodes - self.out[node] - silent.len();
        for host in silent {
            let place = self.place(node, host);
            let is_new = self.agreed[node][host].insert(node as u32);
            if is_new {
                for to in (0..self.nodes).filter(|to| *to != node) {
                    world.send(
                        node,
                        to,
                        WORD_BYTES,
                        Event::Propose { without: host as u32, by: node as u32 },
                    );
                }
            }
            if self.agreed[node][host].len() >= needed {
                self.is_out[place] = true;
                self.out[node] += 1;
                self.tally.removed(world.now_us, node, host);
            }
        }
    }
}

impl Model for FullMesh {
    type Event = Event;

    fn handle(&mut self, world: &mut World<Event>, node: usize, event: Event) {
        match event {
            Event::Beat => {
                world.wake(node, INTERVAL_US, Event::Beat);
                for to in (0..self.nodes).filter(|to| *to != node) {
                    world.send(node, to, HEARTBEAT_BYTES, Event::Heard { from: node as u32 });
                }
            }
            Event::Heard { from } => {
                let place = self.place(node, from as usize);
                self.heard_us[place] = world.now_us;
                if std::mem::take(&mut self.is_out[place]) {
                    self.out[node] -= 1;
                    self.agreed[node][from as usize].clear();
                    self.tally.returned(node, from as usize);
                }
            }
            Event::Look => self.look(world, node),
            Event::Propose { without, by } => {
                self.agreed[node][without as usize].insert(by);
            }
        }
    }
}

impl Subject for FullMesh {
    type Settings = ();

    fn new(case: Case, (): (), world: &mut World<Event>) -> Self {
        let nodes = case.nodes;
        for host in 0..nodes {
            let first_us = world.some_us(INTERVAL_US);
            world.wake(host, first_us, Event::Beat);
            world.wake(host, first_us, Event::Look);
        }
        Self {
            tally: Tally::new(case, nodes),
            nodes,
            heard_us: vec![0; nodes * nodes],
            agreed: vec![vec![BTreeSet::new(); nodes]; nodes],
            is_out: vec![false; nodes * nodes],
            out: vec![0; nodes],
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn size(&self, observer: usize) -> usize {
        self.nodes - self.out[observer]
    }

    fn observers(&self) -> usize {
        self.nodes
    }
}
