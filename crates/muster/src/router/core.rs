//! Everything that one data thread has: table, buffers, clusters, counts. Shared by its sessions through `Rc`.

use super::access_log::AccessLogHandle;
use super::lot::Lot;
use super::member::Cluster;
use super::pick::Target;
use super::splice::Pipes;
use super::streams::SCRATCH_BYTES;
use super::table::Table;
use super::waits::Waits;
use crate::clock::Clock;
use logic::route::RouteTable;
use logic::time::Time;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use wire::id::ClusterName;
use wire::router::{RouterSettings, Totals};

/// Request buffers kept for the next requests. 256: more requests than that are seldom under way on one thread.
const SPARE_BUFFERS_MAX: usize = 256;
/// A larger buffer than this is given back to the system instead of being kept.
const SPARE_BUFFER_MAX_BYTES: usize = 16 * 1024;

/// Lines about clients' mistakes per second and thread. Ten: enough to see what is wrong.
const TOLD_MAX: u32 = 10;

/// Files kept for listeners, logs, the store and the other roles of the process.
const FILES_RESERVED: u64 = 256;

/// A client costs a file; a quarter of all is left for connections to members, which requests share.
fn connections_that_fit() -> u32 {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let fit = (files - files / 4).saturating_sub(FILES_RESERVED).max(files / 2);
    u32::try_from(fit).unwrap_or(u32::MAX)
}

#[derive(Debug)]
pub struct Core {
    pub waits: Rc<Waits>,
    pub scratch: RefCell<Box<[u8]>>,
    /// Where heads of answers are written before they are sent.
    pub out: RefCell<Vec<u8>>,
    spare_buffers: RefCell<Vec<Vec<u8>>>,
    pub pipes: Pipes,
    pub lot: Lot,
    pub settings: RefCell<Arc<RouterSettings>>,
    pub routes: RefCell<Arc<RouteTable>>,
    /// Where each route leads.
    pub route_targets: RefCell<Vec<Rc<Target>>>,
    pub clusters: RefCell<BTreeMap<ClusterName, Rc<Cluster>>>,
    pub totals: Cell<Totals>,
    /// Requests under way on clients' HTTP/2 connections.
    pub streams: Rc<Cell<u32>>,
    pub is_stopping: Cell<bool>,
    /// Connections for which this process may open files.
    pub connections_fit: Cell<u32>,
    pub report_now: Notify,
    /// The second in which clients' mistakes were logged last, and how many.
    told: Cell<(u64, u32)>,
    pub access_log: RefCell<Option<AccessLogHandle>>,
    seed: Cell<u64>,
}

impl Core {
    pub fn new(clock: Clock, settings: Arc<RouterSettings>, seed: u64, lot: Lot) -> Rc<Self> {
        Rc::new(Self {
            waits: Waits::new(clock),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            out: RefCell::new(Vec::with_capacity(32 * 1024)),
            spare_buffers: RefCell::default(),
            pipes: Pipes::default(),
            lot,
            settings: RefCell::new(settings),
            routes: RefCell::default(),
            route_targets: RefCell::default(),
            clusters: RefCell::default(),
            totals: Cell::default(),
            streams: Rc::default(),
            is_stopping: Cell::new(false),
            connections_fit: Cell::new(connections_that_fit()),
            report_now: Notify::new(),
            told: Cell::default(),
            access_log: RefCell::default(),
            seed: Cell::new(seed),
        })
    }

    /// When the running task was woken.
    pub fn now(&self) -> Time {
        Time(self.waits.now_us() / 1000)
    }

    /// Client connections there are, parked ones included; streams of HTTP/2 are none of their own.
    pub fn connections(&self) -> usize {
        self.waits.count() - self.streams.get() as usize + self.lot.count()
    }

    pub fn count(&self, change: impl FnOnce(&mut Totals)) {
        let mut totals = self.totals.get();
        change(&mut totals);
        self.totals.set(totals);
    }

    /// Whether a line about a client's mistake may be logged: a few each second, so that nobody can flood the log.
    pub fn may_tell(&self) -> bool {
        let second = self.waits.now_us() / 1_000_000;
        let (told_in, told) = self.told.get();
        let told = if told_in == second { told + 1 } else { 1 };
        self.told.set((second, told));
        told <= TOLD_MAX
    }

    /// An empty buffer, used before if possible.
    pub fn take_buffer(&self) -> Vec<u8> {
        self.spare_buffers.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare_buffers.borrow_mut();
        if spare.len() < SPARE_BUFFERS_MAX && (1..=SPARE_BUFFER_MAX_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Takes a table over. Requests under way keep the member that they have, unless it is lost.
    pub fn apply(&self, table: &Table) {
        let old = self.settings.replace(table.settings.clone());
        let zone = table.settings.zone.as_str();
        *self.routes.borrow_mut() = table.routes.clone();
        *self.access_log.borrow_mut() = table.access_log.clone();
        let mut clusters = self.clusters.borrow_mut();
        clusters.retain(|name, cluster| {
            let stays = table.views.contains_key(name);
            if !stays {
                cluster.leave();
            }
            stays
        });
        for (name, view) in &table.views {
            match clusters.get(name) {
                Some(cluster) => {
                    cluster.budget.borrow_mut().set(&table.settings.retry);
                    cluster.set_zone(zone);
                    for lost in cluster.apply(view, self.now()) {
                        self.waits.member_lost(lost.identity());
                    }
                }
                None => {
                    // Each thread and cluster starts its rotation elsewhere.
                    self.seed.set(logic::seed::Chance::new(self.seed.get()).bits());
                    let retry = &table.settings.retry;
                    clusters.insert(name.clone(), Cluster::new(view, self.seed.get(), retry, zone));
                }
            }
            clusters[name].set_gate(table.gates.get(name));
        }
        let before = self.route_targets.take();
        let of_route = |(place, route): (usize, &wire::settings::RouteSettings)| {
            let mut target =
                Target::new(route, route.clusters().map(|name| clusters.get(name).cloned()).collect());
            if old.routes.get(place) == Some(route)
                && let Some(before) = before.get(place)
            {
                target.go_on_from(before);
            }
            Rc::new(target)
        };
        *self.route_targets.borrow_mut() = table.settings.routes.iter().enumerate().map(of_route).collect();
        self.report_now.notify_one();
    }
}
