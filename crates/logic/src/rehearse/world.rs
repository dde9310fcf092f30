//! A small world for rehearsals: planners, residents, pulses, detectors and electors unchanged, in one queue of events.
//!
//! Nothing here happens by chance: all clocks agree, a message takes `MESSAGE_MS`, a store `STORE_MS`, a script or process
//! nothing worth counting. It can be copied at any moment, so that every loss begins from the same healthy cell.
//! Not here: what is lost and what to think of the end (`judge`). That two owners are impossible is not shown here but in
//! simulation, with clocks that run wrong; here it would be noticed.

use super::manager::{ManagerHost, Said};
use super::node::NodeHost;
use crate::fence::Call;
use crate::group::{PlannerInput, ResidentInput};
use crate::heartbeat;
use crate::lease::Profile;
use crate::limits::SETTLE_MS;
use crate::model::Model;
use crate::term;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use wire::fence::FenceSettings;
use wire::group::GroupSettings;
use wire::heartbeat::Datagram;
use wire::id::{GroupName, NodeName};
use wire::settings::CellSettings;

/// Between two machines of one place, the time that a process needs to look included.
pub(super) const MESSAGE_MS: u64 = 1;
/// A write to a disk, or to a server nearby.
pub(super) const STORE_MS: u64 = 5;
/// Longest that anything is waited for before nothing more is expected, beyond leases.
const PATIENCE_MS: u64 = SETTLE_MS + 1_000;

#[derive(Debug, Clone)]
pub(super) enum Event {
    WakeNode {
        node: usize,
    },
    WakeManager {
        manager: usize,
    },
    /// A heartbeat to a manager.
    Beat {
        manager: usize,
        datagram: Datagram,
    },
    Answer {
        node: usize,
        datagram: Datagram,
    },
    /// A node that has no link to who leads tries to make one.
    Dial {
        node: usize,
    },
    ToManager {
        manager: usize,
        link: u64,
        node: usize,
        said: Said,
    },
    ToNode {
        node: usize,
        link: u64,
        input: Box<ResidentInput>,
    },
    /// A guardian has done something. `serves`: with it the whole group runs.
    Guarded {
        node: usize,
        serves: bool,
        input: Box<ResidentInput>,
    },
    Stored {
        manager: usize,
        term: u64,
        input: PlannerInput,
    },
    Elected {
        manager: usize,
        input: term::Input,
    },
    /// An agent of a fence has come to its end.
    Called {
        manager: usize,
        term: u64,
        job: u64,
        node: usize,
        call: Call,
    },
    /// From one manager to another.
    Between {
        manager: usize,
        input: heartbeat::Input,
    },
}

/// Where a group is, in truth.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Nodes on which something of it may run. Two would break the promise.
    pub held: BTreeSet<usize>,
    /// Where all of it runs.
    pub serves: Option<usize>,
    /// Since when nobody serves.
    pub away_since: u64,
    /// How long nobody has served since the last reset.
    pub away_ms: u64,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    pub profile: Profile,
    pub names: Vec<NodeName>,
    pub groups: Vec<GroupSettings>,
    pub fences: Vec<FenceSettings>,
    /// Whether nodes send heartbeats at all.
    pub has_heartbeats: bool,
    pub nodes: Vec<NodeHost>,
    pub managers: Vec<ManagerHost>,
    pub store: Model,
    /// Machines that have no power.
    pub off: BTreeSet<usize>,
    /// Pairs of machines between which nothing gets through, the smaller first.
    pub cut: BTreeSet<(usize, usize)>,
    /// The group fails on this node, however often it is started there.
    pub broken: Option<(GroupName, usize)>,
    pub places: BTreeMap<GroupName, Place>,
    /// When anything last changed that a person would see.
    pub changed_at: u64,
    /// Groups that had two owners, with the nodes.
    pub doubles: BTreeSet<(GroupName, usize, usize)>,
    /// The planner's words on each group since the last reset, the newest last.
    pub told: Vec<String>,
    pub alarms: Vec<heartbeat::Alarm>,
    numbers: u64,
}

impl World {
    /// All machines get power at this moment.
    pub fn boot(cell: &CellSettings) -> Self {
        let profile = *Profile::named(&cell.manager.profile).unwrap_or(&crate::lease::NORMAL);
        let names: Vec<NodeName> = cell.nodes.clone();
        let place = |name: &NodeName| names.iter().position(|known| known == name);
        let hosts: Vec<usize> = cell.managers().iter().filter_map(place).collect();
        let groups: Vec<GroupSettings> = cell.groups.clone();
        let places = groups.iter().map(|group| (group.name.clone(), Place::default())).collect();
        let mut world = Self {
            now: 1_000,
            queue: BTreeMap::new(),
            queued: 0,
            profile,
            names,
            groups,
            fences: cell.fences.clone(),
            has_heartbeats: cell.manager.listen.is_some(),
            nodes: Vec::new(),
            managers: Vec::new(),
            store: Model::default(),
            off: BTreeSet::new(),
            cut: BTreeSet::new(),
            broken: None,
            places,
            changed_at: 1_000,
            doubles: BTreeSet::new(),
            told: Vec::new(),
            alarms: Vec::new(),
            numbers: 0,
        };
        world.reset();
        world.start_managers(&hosts);
        world.start_nodes(&hosts);
        world
    }

    /// Counts from now.
    pub fn reset(&mut self) {
        let now = self.now;
        for place in self.places.values_mut() {
            (place.away_ms, place.away_since) = (0, now);
        }
        self.told.clear();
        self.alarms.clear();
        self.changed_at = now;
    }

    pub fn time(&self) -> Time {
        Time(self.now)
    }

    pub fn after(&mut self, pause_ms: u64, event: Event) {
        self.at(self.now + pause_ms, event);
    }

    pub fn at(&mut self, at: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), event);
    }

    pub fn fresh(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether what one machine sends reaches the other.
    pub fn is_through(&self, one: usize, other: usize) -> bool {
        let pair = (one.min(other), one.max(other));
        !self.off.contains(&one) && !self.off.contains(&other) && !self.cut.contains(&pair)
    }

    pub fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.handle(event);
        }
        self.now = end;
    }

    /// What nodes are granted.
    pub fn lease(&self) -> Profile {
        if self.managers.len() > 1 { self.profile.across_leaders() } else { self.profile }
    }

    /// Goes on until all that `is_whole` asks for is so for the time of a lease, or nothing more is to be expected.
    pub fn run_until_calm(&mut self, is_whole: impl Fn(&World) -> bool) {
        let lease = self.lease();
        let lease_ms = lease.hold_ms + lease.stop_ms;
        let patience_ms = PATIENCE_MS + lease.wait_ms + lease.hold_ms;
        let begun = self.now;
        loop {
            self.run_until(self.now + 100);
            let quiet_ms = self.now - self.changed_at.max(begun);
            let is_over = quiet_ms >= lease_ms && is_whole(self);
            if is_over || quiet_ms >= patience_ms {
                return;
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::WakeNode { node } => self.wake_node(node),
            Event::WakeManager { manager } => self.wake_manager(manager),
            Event::Beat { manager, datagram } => self.on_beat(manager, &datagram),
            Event::Answer { node, datagram } => self.on_answer(node, datagram),
            Event::Dial { node } => self.dial(node),
            Event::ToManager { manager, link, node, said } => self.on_said(manager, link, node, said),
            Event::ToNode { node, link, input } => self.on_told(node, link, *input),
            Event::Guarded { node, serves, input } => self.on_guarded(node, serves, *input),
            Event::Stored { manager, term, input } => self.step_planner(manager, term, input),
            Event::Elected { manager, input } => self.step_elector(manager, input),
            Event::Called { manager, term, job, node, call } => {
                self.on_called(manager, term, job, node, call)
            }
            Event::Between { manager, input } => self.step_detector(manager, input),
        }
    }

    /// Somebody serves a group from now on, or nobody.
    pub fn serve(&mut self, group: &GroupName, by: Option<usize>) {
        let now = self.now;
        let place = self.places.entry(group.clone()).or_default();
        if place.serves == by {
            return;
        }
        match (place.serves, by) {
            (None, Some(_)) => place.away_ms += now - place.away_since,
            (Some(_), None) => place.away_since = now,
            (_, _) => {}
        }
        place.serves = by;
        self.changed_at = now;
    }

    /// Loses its power, with everything on it.
    pub fn switch_off(&mut self, node: usize) {
        self.off.insert(node);
        let held: Vec<GroupName> = self
            .places
            .iter()
            .filter(|(_, place)| place.held.contains(&node))
            .map(|(name, _)| name.clone())
            .collect();
        for group in held {
            self.let_go(&group, node);
        }
    }

    pub fn cut(&mut self, one: usize, other: usize) {
        self.cut.insert((one.min(other), one.max(other)));
    }

    pub fn hold(&mut self, group: &GroupName, node: usize) {
        let place = self.places.entry(group.clone()).or_default();
        if let Some(other) = place.held.iter().find(|other| **other != node) {
            self.doubles.insert((group.clone(), *other, node));
        }
        place.held.insert(node);
        self.changed_at = self.now;
    }

    /// Nothing of the group is left on the node.
    pub fn let_go(&mut self, group: &GroupName, node: usize) {
        if let Some(place) = self.places.get_mut(group) {
            place.held.remove(&node);
            if place.serves == Some(node) {
                self.serve(group, None);
            }
        }
        self.changed_at = self.now;
    }
}
