//! Rapid-C (USENIX ATC 2018): members watch each other on K rings and tell a service of three only of edges that fail;
//! the service waits while any member lies between L and H alerts, and then removes all that reached H at once.
//!
//! An edge is faulty when four of its last ten probes failed, as in the paper, or all ten, as in the released code.

use super::drive::Subject;
use super::tally::{Case, Tally};
use super::world::{Model, World};
use logic::seed::Chance;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// K, H and L.
    pub rings: usize,
    pub high: usize,
    pub low: usize,
    /// Of the last ten probes, so many must have failed.
    pub failures: usize,
}

impl Settings {
    pub const PAPER: Self = Self { rings: 10, high: 9, low: 3, failures: 4 };
    pub const CODE: Self = Self { rings: 10, high: 9, low: 4, failures: 10 };
}

const PROBE_US: u64 = 1_000_000;
const PROBES_KEPT: usize = 10;
const ALERTS_TOGETHER_US: u64 = 100_000;
/// The service agrees with its majority, and then tells all members.
const AGREE_US: u64 = 2_000;
/// An alert, or a view, that is not acknowledged is sent again.
const AGAIN_US: u64 = 1_000_000;
/// What the published mean of 0.71 KB/s leaves for each of ten probes and ten answers.
const PROBE_BYTES: u64 = 35;
const ALERT_BYTES: u64 = 80;
const VIEW_BYTES: u64 = 200;

#[derive(Debug, Clone)]
pub enum Event {
    Probe,
    Probed {
        by: u32,
        number: u64,
    },
    Answered {
        number: u64,
    },
    /// Tells the service what it has not acknowledged.
    Tell,
    Alerts {
        by: u32,
        about: Vec<u32>,
    },
    Taken {
        about: Vec<u32>,
    },
    /// The service looks at what it was told.
    Decide,
    Commit {
        out: Vec<u32>,
    },
    View {
        number: usize,
    },
    ViewTaken {
        by: u32,
        number: usize,
    },
    Remind,
}

#[derive(Debug, Clone, Default)]
struct Edge {
    whom: usize,
    awaited: Option<u64>,
    failed: VecDeque<bool>,
}

#[derive(Debug, Clone, Default)]
struct Member {
    edges: Vec<Edge>,
    alerts: BTreeSet<u32>,
    view: usize,
}

#[derive(Debug)]
pub struct RapidC {
    settings: Settings,
    members: Vec<Member>,
    /// At the service: who told of whom.
    alerts: BTreeMap<u32, BTreeSet<u32>>,
    /// What was removed with each view.
    views: Vec<Vec<u32>>,
    is_out: Vec<bool>,
    /// Who has not acknowledged the newest view.
    unaware: BTreeSet<u32>,
    is_deciding: bool,
    tally: Tally,
    numbers: u64,
}

impl RapidC {
    /// The service's own network is sound in all cases; it stands with the last host, which is never faulty.
    fn service(&self) -> usize {
        self.members.len() - 1
    }

    fn probe(&mut self, world: &mut World<Event>, node: usize) {
        world.wake(node, PROBE_US, Event::Probe);
        for place in 0..self.members[node].edges.len() {
            let edge = &mut self.members[node].edges[place];
            let whom = edge.whom;
            if self.is_out[whom] || whom == node {
                continue;
            }
            let was_failure = edge.awaited.is_some();
            if edge.failed.len() == PROBES_KEPT {
                edge.failed.pop_front();
            }
            edge.failed.push_back(was_failure);
            if edge.failed.iter().filter(|failed| **failed).count() >= self.settings.failures
                && self.members[node].alerts.insert(whom as u32)
            {
                world.wake(node, ALERTS_TOGETHER_US, Event::Tell);
            }
            self.numbers += 1;
            let number = self.numbers;
            self.members[node].edges[place].awaited = Some(number);
            world.send(node, whom, PROBE_BYTES, Event::Probed { by: node as u32, number });
        }
    }

    fn tell(&mut self, world: &mut World<Event>, node: usize) {
        let about: Vec<u32> = self.members[node].alerts.iter().copied().collect();
        if !about.is_empty() {
            let service = self.service();
            world.send(node, service, ALERT_BYTES, Event::Alerts { by: node as u32, about });
            world.wake(node, AGAIN_US, Event::Tell);
        }
    }

    fn take_alerts(&mut self, world: &mut World<Event>, by: u32, about: Vec<u32>) {
        for whom in &about {
            if !self.is_out[*whom as usize] && !self.is_out[by as usize] {
                self.alerts.entry(*whom).or_default().insert(by);
            }
        }
        let service = self.service();
        world.send(service, by as usize, ALERT_BYTES, Event::Taken { about });
        if !self.is_deciding {
            self.is_deciding = true;
            world.wake(service, ALERTS_TOGETHER_US, Event::Decide);
        }
    }

    /// Watchers that are themselves about to go count as having told of everybody they watch.
    fn count(&self, whom: u32) -> usize {
        let told = &self.alerts[&whom];
        let silent =
            |watcher: u32| self.alerts.get(&watcher).is_some_and(|told| told.len() >= self.settings.low);
        let watches = |member: &Member| member.edges.iter().any(|edge| edge.whom == whom as usize);
        let implied = self.alerts.keys().filter(|watcher| {
            !told.contains(watcher) && silent(**watcher) && watches(&self.members[**watcher as usize])
        });
        told.len() + implied.count()
    }

    fn decide(&mut self, world: &mut World<Event>) {
        self.is_deciding = false;
        let counts: Vec<(u32, usize)> = self.alerts.keys().map(|whom| (*whom, self.count(*whom))).collect();
        let high = self.settings.high;
        let is_pending = counts.iter().any(|(_, count)| (self.settings.low..high).contains(count));
        let out: Vec<u32> =
            counts.iter().filter(|(_, count)| *count >= high).map(|(whom, _)| *whom).collect();
        if !out.is_empty() && !is_pending {
            self.alerts.retain(|whom, _| !out.contains(whom));
            let service = self.service();
            world.wake(service, AGREE_US, Event::Commit { out });
        }
    }

    fn commit(&mut self, world: &mut World<Event>, out: Vec<u32>) {
        out.iter().for_each(|whom| self.is_out[*whom as usize] = true);
        self.views.push(out);
        self.unaware =
            (0..self.members.len() as u32).filter(|member| !self.is_out[*member as usize]).collect();
        self.remind(world);
    }

    fn remind(&mut self, world: &mut World<Event>) {
        let service = self.service();
        let number = self.views.len();
        for member in &self.unaware {
            world.send(service, *member as usize, VIEW_BYTES, Event::View { number });
        }
        if !self.unaware.is_empty() {
            world.wake(service, AGAIN_US, Event::Remind);
        }
    }

    fn take_view(&mut self, world: &mut World<Event>, node: usize, number: usize) {
        let from = self.members[node].view;
        for view in from..number.max(from) {
            for whom in self.views[view].clone() {
                self.members[node].alerts.remove(&whom);
                self.tally.removed(world.now_us, node, whom as usize);
            }
        }
        self.members[node].view = from.max(number);
        let service = self.service();
        world.send(node, service, PROBE_BYTES, Event::ViewTaken { by: node as u32, number });
    }
}

impl Model for RapidC {
    type Event = Event;

    fn handle(&mut self, world: &mut World<Event>, node: usize, event: Event) {
        match event {
            Event::Probe => self.probe(world, node),
            Event::Probed { by, number } => {
                world.send(node, by as usize, PROBE_BYTES, Event::Answered { number });
            }
            Event::Answered { number } => {
                let edges = &mut self.members[node].edges;
                if let Some(edge) = edges.iter_mut().find(|edge| edge.awaited == Some(number)) {
                    edge.awaited = None;
                }
            }
            Event::Tell => self.tell(world, node),
            Event::Alerts { by, about } => self.take_alerts(world, by, about),
            Event::Taken { about } => {
                self.members[node].alerts.retain(|whom| !about.contains(whom));
            }
            Event::Decide => self.decide(world),
            Event::Commit { out } => self.commit(world, out),
            Event::View { number } => self.take_view(world, node, number),
            Event::ViewTaken { by, number } => {
                if number == self.views.len() {
                    self.unaware.remove(&by);
                }
            }
            Event::Remind => self.remind(world),
        }
    }
}

impl Subject for RapidC {
    type Settings = Settings;

    fn new(case: Case, settings: Settings, world: &mut World<Event>) -> Self {
        let mut members = vec![Member::default(); case.nodes];
        for _ in 0..settings.rings {
            let ring = shuffled(case.nodes, &mut world.chance);
            for place in 0..case.nodes {
                let whom = ring[(place + 1) % case.nodes];
                members[ring[place]].edges.push(Edge { whom, ..Edge::default() });
            }
        }
        for host in 0..case.nodes {
            let first_us = world.some_us(PROBE_US);
            world.wake(host, first_us, Event::Probe);
        }
        Self {
            settings,
            members,
            alerts: BTreeMap::new(),
            views: Vec::new(),
            is_out: vec![false; case.nodes],
            unaware: BTreeSet::new(),
            is_deciding: false,
            tally: Tally::new(case, case.nodes),
            numbers: 0,
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn size(&self, observer: usize) -> usize {
        let out: usize = self.views[..self.members[observer].view].iter().map(Vec::len).sum();
        self.members.len() - out
    }

    fn observers(&self) -> usize {
        self.members.len()
    }
}

fn shuffled(count: usize, chance: &mut Chance) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for place in (1..count).rev() {
        order.swap(place, chance.below(place as u32 + 1) as usize);
    }
    order
}

/// Of a hundred receivers that hear the alerts about `failures` hosts in an order of their own, how many would propose
/// to remove only some of them: Rapid's own measure of H and L, without an agreement.
pub fn conflicts_percent(settings: Settings, failures: usize, receivers: u32, seed: u64) -> f64 {
    let (mut chance, mut conflicts) = (Chance::new(seed), 0);
    for _ in 0..receivers {
        let alerts: Vec<usize> = shuffled(failures * settings.rings, &mut chance);
        let mut counts = vec![0; failures];
        for alert in alerts {
            counts[alert % failures] += 1;
            let reached = counts.iter().filter(|count| **count >= settings.high).count();
            let is_pending = counts.iter().any(|count| (settings.low..settings.high).contains(count));
            if reached > 0 && !is_pending {
                conflicts += u32::from(reached < failures);
                break;
            }
        }
    }
    f64::from(conflicts) * 100.0 / f64::from(receivers)
}
