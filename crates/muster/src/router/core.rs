//! Everything that one data thread has: table, buffers, clusters, counts. Shared by its sessions through `Rc`.

use super::access_log::AccessLogHandle;
use super::actions::{RouteState, Routes};
use super::client_views::ClientViews;
use super::compress;
use super::http2::crew::Crew;
use super::http2::request_stream::Companies;
use super::lot::Lot;
use super::member::Cluster;
use super::own_cookie::Keys;
use super::pick::Target;
use super::request::Request;
use super::silence::Silences;
use super::splice::Pipes;
use super::streams::SCRATCH_BYTES;
use super::table::Table;
use super::tls_stream::TlsBuffers;
use super::vault::TlsTable;
use super::waits::Waits;
use crate::clock::Clock;
use logic::route::RouteTable;
use logic::time::Time;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use wire::id::ClusterName;
use wire::router::{RouterSettings, Totals};
use wire::settings::RouteSettings;
use wire::view::View;

/// Request buffers kept for the next requests. 256: more requests than that are seldom under way on one thread.
const SPARE_BUFFERS_MAX: usize = 256;
/// A larger buffer than this is given back to the system instead of being kept.
const SPARE_BUFFER_MAX_BYTES: usize = 16 * 1024;

/// Lines about clients' mistakes per second and thread. Ten: enough to see what is wrong.
const TOLD_MAX: u32 = 10;

/// Files kept for listeners, logs, the store and the other roles of the process.
const FILES_RESERVED: u64 = 256;

/// A thread's share of the connections that there may be. A client costs a file; a quarter of all is left for
/// connections to members, which requests share. Where files are scarce clients get a quarter, so that each may have a
/// connection to a member and the other roles have theirs.
fn sessions_max(settings: &RouterSettings) -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let fit = (files - files / 4).saturating_sub(FILES_RESERVED).max(files / 4);
    let most = u64::from(settings.limits.connections_max).min(fit) as usize;
    most.div_ceil(super::control::thread_count(settings))
}

#[derive(Debug)]
pub struct Core {
    pub waits: Rc<Waits>,
    pub scratch: RefCell<Box<[u8]>>,
    /// Where heads of answers are written before they are sent.
    pub out: RefCell<Vec<u8>>,
    pub spare_buffers: RefCell<Vec<Vec<u8>>>,
    /// Places for requests that are over, so that none has to be made for the next.
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
    spare_requests: RefCell<Vec<Box<Request>>>,
    pub pipes: Pipes,
    pub lot: Lot,
    pub settings: RefCell<Arc<RouterSettings>>,
    pub routes: RefCell<Arc<RouteTable>>,
    /// What each route does besides, and what was counted of it.
    pub route_states: Routes,
    /// How many answers are being compressed.
    pub compressors: compress::InUse,
    /// Where each route leads; found out when it is first asked for, because a table of ten thousand takes long.
    route_targets: RefCell<Vec<OnceCell<Rc<Target>>>>,
    /// Whose routes are in force; None before the first.
    table: RefCell<Option<Arc<Table>>>,
    pub clusters: RefCell<BTreeMap<ClusterName, Rc<Cluster>>>,
    pub totals: Cell<Totals>,
    /// Requests under way on clients' HTTP/2 connections.
    pub streams: Rc<Cell<u32>>,
    /// Those connections.
    pub companies: Companies,
    /// Who carries their requests.
    pub crew: Crew,
    /// Answers close their connections from now on.
    pub is_stopping: Cell<bool>,
    /// Connections without a request, and tunnels, are closed too.
    pub is_ending: Cell<bool>,
    /// Connections that this thread may have, and as many requests on those that speak HTTP/2.
    pub sessions_max: Cell<usize>,
    pub report_now: Notify,
    /// The second in which clients' mistakes were logged last, and how many.
    told: Cell<(u64, u32)>,
    /// Where something was sent that nobody says to have.
    pub silences: Arc<Silences>,
    pub access_log: RefCell<Option<AccessLogHandle>>,
    pub tls: RefCell<Arc<TlsTable>>,
    pub tls_buffers: Rc<TlsBuffers>,
    /// Headers in which members believe to get clients' certificates; mostly none.
    pub certificate_headers: RefCell<Vec<String>>,
    seed: Cell<u64>,
    /// Sign the cookies by which routers keep conversations.
    pub cookie_keys: RefCell<Keys>,
}

impl Core {
    pub fn new(
        clock: Clock,
        settings: Arc<RouterSettings>,
        seed: u64,
        lot: Lot,
        silences: Arc<Silences>,
    ) -> Rc<Self> {
        let sessions_max = sessions_max(&settings);
        let cookie_keys = Keys::new(&settings.cookie_keys);
        Rc::new(Self {
            waits: Waits::new(clock),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            out: RefCell::new(Vec::with_capacity(32 * 1024)),
            spare_buffers: RefCell::default(),
            spare_requests: RefCell::default(),
            pipes: Pipes::default(),
            lot,
            settings: RefCell::new(settings),
            routes: RefCell::default(),
            route_states: Routes::default(),
            compressors: compress::InUse::default(),
            route_targets: RefCell::default(),
            table: RefCell::default(),
            clusters: RefCell::default(),
            totals: Cell::default(),
            streams: Rc::default(),
            companies: Companies::default(),
            crew: Crew::default(),
            is_stopping: Cell::new(false),
            is_ending: Cell::new(false),
            sessions_max: Cell::new(sessions_max),
            report_now: Notify::new(),
            told: Cell::default(),
            silences,
            access_log: RefCell::default(),
            tls: RefCell::default(),
            tls_buffers: TlsBuffers::new(),
            certificate_headers: RefCell::default(),
            seed: Cell::new(seed),
            cookie_keys: RefCell::new(cookie_keys),
        })
    }

    /// When the running task was woken.
    pub fn now(&self) -> Time {
        Time(self.waits.now_us() / 1000)
    }

    /// How long a client may be idle, and how long a head may take, in milliseconds.
    pub fn head_timeouts(&self) -> (u64, u64) {
        let timeouts = &self.settings.borrow().timeouts;
        (timeouts.idle_ms, timeouts.head_ms)
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

    /// Bits that nobody can foresee who does not know the seed; not for secrets.
    pub fn chance(&self) -> u64 {
        let mut chance = logic::seed::Chance::new(self.seed.get());
        let bits = chance.bits();
        // The next seed is another draw: what was given out does not tell what follows.
        self.seed.set(chance.bits());
        bits
    }

    /// The route at that place of the settings.
    pub fn route(&self, index: usize) -> Rc<RouteState> {
        self.route_states.get(index, &self.settings.borrow().routes)
    }

    /// An empty buffer, used before if possible.
    pub fn take_buffer(&self) -> Vec<u8> {
        self.spare_buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// An id that no other session of this router has.
    pub fn session_id(&self) -> [u64; 2] {
        [(); 2].map(|()| {
            self.seed.set(logic::seed::Chance::new(self.seed.get()).bits());
            self.seed.get()
        })
    }

    /// Puts a request where it stays: a session carries only the way there.
    pub fn keep_request(&self, request: Request) -> Box<Request> {
        match self.spare_requests.borrow_mut().pop() {
            Some(mut place) => {
                *place = request;
                place
            }
            None => Box::new(request),
        }
    }

    /// Takes back the place and the buffer of a request that is over.
    pub fn give_request(&self, mut request: Box<Request>) {
        request.room = None;
        request.route.end();
        self.give_buffer(std::mem::take(&mut request.buffer));
        let mut spare = self.spare_requests.borrow_mut();
        if spare.len() < SPARE_BUFFERS_MAX {
            spare.push(request);
        }
    }

    pub fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare_buffers.borrow_mut();
        if spare.len() < SPARE_BUFFERS_MAX && (1..=SPARE_BUFFER_MAX_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Whether the views of this table have been taken over with the one in force, as where only settings change.
    pub fn has_views_of(&self, table: &Table) -> bool {
        self.table.borrow().as_ref().is_some_and(|before| {
            Arc::ptr_eq(&before.views, &table.views) && before.settings.retry == table.settings.retry
        })
    }

    /// What clients may know; None before the first table.
    pub fn client_views(&self) -> Option<Arc<ClientViews>> {
        self.table.borrow().as_ref().map(|table| table.client_views.clone())
    }

    /// Takes one cluster's view over, if it is newer than the one in force.
    pub fn take_view(&self, name: &ClusterName, view: &Arc<View>, table: &Table) {
        let mut clusters = self.clusters.borrow_mut();
        match clusters.get(name) {
            Some(cluster) => {
                cluster.budget.borrow_mut().set(&table.settings.retry);
                for lost in cluster.apply(view, self.now()) {
                    self.waits.member_lost(lost.identity());
                }
            }
            None => {
                // Each thread and cluster starts its rotation elsewhere.
                self.seed.set(logic::seed::Chance::new(self.seed.get()).bits());
                let (retry, zone) = (&table.settings.retry, &table.settings.zone);
                clusters.insert(name.clone(), Cluster::new(view, self.seed.get(), retry, zone));
            }
        }
        clusters[name].set_gate(table.gates.get(name));
    }

    /// Lets a cluster go that is in no table any more.
    pub fn forget(&self, name: &ClusterName) {
        if let Some(cluster) = self.clusters.borrow_mut().remove(name) {
            cluster.leave();
        }
    }

    /// Lets the table's settings and routes apply from now on; its views have been taken over.
    pub fn apply(&self, table: &Arc<Table>) {
        self.sessions_max.set(sessions_max(&table.settings));
        // They would keep members alive that have left.
        self.spare_requests.take();
        let old = self.settings.replace(table.settings.clone());
        if old.cookie_keys != table.settings.cookie_keys {
            *self.cookie_keys.borrow_mut() = Keys::new(&table.settings.cookie_keys);
        }
        let zone = table.settings.zone.as_str();
        *self.routes.borrow_mut() = table.routes.clone();
        self.route_states.apply(&table.settings.routes, &table.actions);
        *self.access_log.borrow_mut() = table.access_log.clone();
        *self.tls.borrow_mut() = table.tls.clone();
        let headers = table
            .settings
            .listeners
            .iter()
            .filter_map(|listener| Some(&listener.tls.as_ref()?.client_header));
        *self.certificate_headers.borrow_mut() = headers.filter(|name| !name.is_empty()).cloned().collect();
        if old.zone != table.settings.zone {
            self.clusters.borrow().values().for_each(|cluster| cluster.set_zone(zone));
        }
        *self.table.borrow_mut() = Some(table.clone());
        let before = self.route_targets.take();
        let of_route = |(place, route): (usize, &RouteSettings)| {
            let same =
                before.get(place).and_then(OnceCell::get).filter(|_| old.routes.get(place) == Some(route));
            same.map_or_else(OnceCell::new, |same| OnceCell::from(self.target_after(same, route, table)))
        };
        *self.route_targets.borrow_mut() = table.settings.routes.iter().enumerate().map(of_route).collect();
    }

    /// Where the route leads after a change of the table.
    fn target_after(&self, before: &Rc<Target>, route: &RouteSettings, table: &Table) -> Rc<Target> {
        if before.leads_to(route.clusters().map(|name| self.cluster(name, table))) {
            return before.clone();
        }
        let clusters = route.clusters().map(|name| self.cluster(name, table)).collect();
        Rc::new(Target::new(route, clusters, Some(before)))
    }

    /// A cluster of the table: one that has left it is still there for a moment.
    fn cluster(&self, name: &ClusterName, table: &Table) -> Option<Rc<Cluster>> {
        table.views.get(name).and_then(|_| self.clusters.borrow().get(name).cloned())
    }

    /// Where the route at that place of the settings leads.
    pub fn target(&self, index: usize) -> Option<Rc<Target>> {
        let (targets, table) = (self.route_targets.borrow(), self.table.borrow());
        let (target, table) = (targets.get(index)?, table.as_ref()?);
        let make = || {
            let route = &table.settings.routes[index];
            let clusters = route.clusters().map(|name| self.cluster(name, table)).collect();
            Rc::new(Target::new(route, clusters, None))
        };
        Some(target.get_or_init(make).clone())
    }
}
