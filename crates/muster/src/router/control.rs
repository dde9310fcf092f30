//! The router's control thread: follows the manager, hands tables and listeners to the data threads, reports.
//!
//! Promise: an epoch is never applied backwards; what was known last is used and kept when the manager is gone.

mod handover;
mod having;
mod reports;

use super::access_log::AccessLogHandle;
use super::actions::{self, ActionTable};
use super::client_views::Publisher;
use super::gate::Gate;
use super::handover::{Held, Request, Taken};
use super::kept::{Keeper, Kept};
use super::plugin_cfg::FileSource;
use super::plugin_cfg_output::PluginCfgOutputs;
use super::report::{Pace, Summary};
use super::silence::Silences;
use super::table::Table;
use super::thread::{ORDERS_MAX, Order, ReportSlot, ThreadStart, start};
use super::vault::Vault;
use super::views::Views;
use super::{access_log, listen};
use crate::clock::Clock;
use crate::link::{Link, LinkEvent, ManagerAt};
use handover::{Handover, next_event};
use logic::route::RouteTable;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::Instant;
use wire::id::{ClusterName, NodeName, RouterName};
use wire::link::FromManager;
use wire::router::RouterSettings;
use wire::settings::AccessLog;
use wire::view::View;
use wire::view_change::ViewChange;

/// How soon an address that is taken, or a state that was not kept, is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// So many times the pause above lie between two looks at the files of TLS: two seconds, so that a new certificate is
/// soon in use. No event tells of all ways in which files change (renamed directories, links, network file systems).
const LOOK_EVERY: u32 = 4;
/// A table with more routes and clusters than this is written to disk at the next of those times, not at once: writing
/// takes long and what changes together comes in several tables.
const KEPT_AT_ONCE_MAX: usize = 1_000;
/// Tables before the one in force that are cleared away when there is time, not while another is handed out.
const TABLES_BEFORE: usize = 2;
/// Data threads at most, whatever is configured: more than cores only costs.
const THREADS_MAX: usize = 64;
/// How long threads that are no longer wanted answer the clients that they have: ten minutes, as after an upgrade.
const RETIRED_DRAIN_MAX: Duration = Duration::from_secs(600);

/// Data threads that the settings ask for.
pub fn thread_count(settings: &RouterSettings) -> usize {
    // Asking for cores reads files, so only where they count.
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = if settings.threads == 0 { cores() } else { settings.threads as usize };
    wanted.clamp(1, THREADS_MAX)
}

pub fn run(start: ControlStart, stopped: watch::Receiver<bool>) {
    let ControlStart { router, source, state, kept_path, requests, taken } = start;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "the router has no event loop"),
    };
    let keeper = match Keeper::start(kept_path) {
        Ok(keeper) => keeper,
        Err(error) => return tracing::error!(%error, "the router cannot start a thread"),
    };
    let mut control = Control {
        clock: Clock::start(),
        router,
        source: Some(source),
        keeper: Some(keeper),
        state,
        views: Views::default(),
        client_views: Publisher::default(),
        gates: BTreeMap::new(),
        table: None,
        tables_before: Vec::new(),
        threads: Vec::new(),
        retired: Vec::new(),
        listening: BTreeMap::new(),
        problems: Vec::new(),
        problems_before: Vec::new(),
        access_log: None,
        actions: Arc::default(),
        vault: Vault::default(),
        looked: 0,
        must_keep: false,
        needs_whole_views: false,
        known: having::Held::default(),
        reported: Arc::new(Notify::new()),
        silences: Arc::default(),
        summary: Summary::default(),
        pace: Pace::default(),
        report_after: Instant::now(),
        plugin_cfg: None,
        link: None,
        handover: Handover::default(),
    };
    LocalSet::new().block_on(&runtime, control.run(stopped, requests, taken));
    control.join();
}

/// What the control thread begins with.
#[derive(Debug)]
pub struct ControlStart {
    pub router: RouterName,
    pub source: Source,
    /// What is served until the source says another thing.
    pub state: Kept,
    pub kept_path: PathBuf,
    pub requests: mpsc::Receiver<Request>,
    pub taken: Option<Taken>,
}

/// Who tells the router what to serve.
#[derive(Debug)]
pub enum Source {
    Manager { node: NodeName, manager: ManagerAt },
    File(Box<FileSource>),
}

struct Control {
    clock: Clock,
    router: RouterName,
    /// None once it is followed, or was left to a successor.
    source: Option<Source>,
    /// None once a successor keeps the state.
    keeper: Option<Keeper>,
    state: Kept,
    views: Views,
    client_views: Publisher,
    /// Bounds on requests under way, which all threads share.
    gates: BTreeMap<ClusterName, Arc<Gate>>,
    /// The table that was handed out last.
    table: Option<Arc<Table>>,
    /// Those before it that data threads have not let go of yet, so that none of them has to clear one away: no
    /// more than `ORDERS_MAX` and `TABLES_BEFORE`.
    tables_before: Vec<Arc<Table>>,
    threads: Vec<DataThread>,
    /// Threads that were asked to end when their number changed.
    retired: Vec<DataThread>,
    /// By the address asked for.
    listening: BTreeMap<SocketAddr, Held>,
    problems: Vec<String>,
    /// Those of the last attempt, which need no telling again.
    problems_before: Vec<String>,
    /// The log in use and the settings that it was opened with; None when it could not be.
    access_log: Option<(AccessLog, Option<AccessLogHandle>)>,
    actions: Arc<ActionTable>,
    vault: Vault,
    /// Ticks of `AGAIN` since the files of TLS were looked at.
    looked: u32,
    /// The state changed since it was last handed to the keeper.
    must_keep: bool,
    /// A change did not fit: until whole views come, reports say so.
    needs_whole_views: bool,
    /// What the next manager is told that there is.
    known: having::Held,
    reported: Arc<Notify>,
    silences: Arc<Silences>,
    summary: Summary,
    /// Reports of a large router wait until tables have been handed out.
    pace: Pace,
    report_after: Instant,
    /// There from the first settings that ask for a file.
    plugin_cfg: Option<PluginCfgOutputs>,
    /// None before this process leads, and after it has handed over.
    link: Option<Link>,
    handover: Handover,
}

/// What of the table changes with what was heard; each is more than those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    None,
    Views,
    Settings,
}

/// When a thread has something to tell, but not sooner. May be cancelled: the word stays until it is taken.
async fn next_report(reported: &Notify, not_before: Instant) {
    tokio::time::sleep_until(not_before).await;
    reported.notified().await;
}

fn is_wanted(settings: &RouterSettings, address: SocketAddr) -> bool {
    settings.listeners.iter().any(|listener| listener.address == address)
}

struct DataThread {
    orders: mpsc::Sender<Order>,
    slot: Arc<ReportSlot>,
    thread: std::thread::JoinHandle<()>,
    /// It accepts no more, and its last clients have until then.
    drains_until: Option<Instant>,
}

impl Control {
    async fn run(
        &mut self,
        mut stopped: watch::Receiver<bool>,
        mut requests: mpsc::Receiver<Request>,
        taken: Option<Taken>,
    ) {
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Before it listens: whoever sees it listen may send a SIGHUP, which would otherwise end it.
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return tracing::error!(%error, "the router cannot listen for SIGHUP"),
        };
        self.views = Views::new(self.state.views.drain(..));
        match taken {
            Some(taken) => self.use_taken(taken).await,
            None => {
                self.lead(&stopped);
                self.use_settings().await;
            }
        }
        let reported = self.reported.clone();
        let mut has_requests = true;
        let stop_seen = stopped.clone();
        loop {
            // Every branch may be cancelled: each takes a message only when it returns one, and nothing else waits.
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                event = next_event(&mut self.link) => match event {
                    Some(event) => self.take_all(event).await,
                    None => break,
                },
                request = requests.recv(), if has_requests => match request {
                    Some(request) => self.answer(request, &stop_seen).await,
                    None => has_requests = false,
                },
                () = next_report(&reported, self.report_after) => self.report(),
                _ = again.tick() => if self.again().await { break },
                _ = hangup.recv() => self.reopen_access_log(),
            }
        }
        if self.must_keep {
            self.keep();
        }
        // A script that runs ends with the router.
        self.plugin_cfg = None;
        self.order(|| Order::Stop).await;
    }

    /// Takes an event over, and all that have come behind it: a table is made once for all of them.
    async fn take_all(&mut self, event: LinkEvent) {
        let mut news = self.take(event);
        while let Some(event) = self.link.as_mut().and_then(|link| link.events.try_recv().ok()) {
            news = news.max(self.take(event));
        }
        self.note_held();
        match news {
            News::None => {}
            News::Views => self.publish().await,
            News::Settings => self.use_settings().await,
        }
    }

    fn take(&mut self, event: LinkEvent) -> News {
        let is_news = match event {
            LinkEvent::Connected { generation } => {
                tracing::info!(generation, "the router follows a manager");
                self.pace.begin_anew();
                self.reported.notify_one();
                false
            }
            LinkEvent::Lost { reason } => {
                tracing::warn!(reason, "the manager is lost; the router goes on with what it knows");
                false
            }
            LinkEvent::Message(FromManager::Settings { settings, .. }) => {
                if self.state.settings.as_deref() == Some(&*settings) {
                    return News::None;
                }
                self.state.settings = Some(Arc::from(settings));
                self.must_keep = true;
                return News::Settings;
            }
            LinkEvent::Message(FromManager::Views(views)) => {
                if std::mem::take(&mut self.needs_whole_views) {
                    self.pace.begin_anew();
                    self.reported.notify_one();
                }
                self.views.take(views)
            }
            LinkEvent::Message(FromManager::Changes(changes)) => self.take_changes(&changes),
            LinkEvent::Message(FromManager::Clusters { names, .. }) => self.views.keep_only(&names),
            LinkEvent::Message(
                FromManager::Welcome { .. }
                | FromManager::Refused { .. }
                | FromManager::NotLeader { .. }
                | FromManager::Assignments { .. }
                | FromManager::Groups { .. }
                | FromManager::Monitors { .. }
                | FromManager::Placed(_)
                | FromManager::Carry { .. }
                | FromManager::Power { .. }
                | FromManager::KeepAlive,
            ) => false,
        };
        if is_news { News::Views } else { News::None }
    }

    /// Whether any view is newer now. One that does not fit is our fault or the manager's: then whole views are asked for.
    fn take_changes(&mut self, changes: &[ViewChange]) -> bool {
        let mut is_news = false;
        for change in changes {
            match self.views.take_change(change) {
                Ok(is_newer) => is_news |= is_newer,
                Err(why) => {
                    tracing::warn!(cluster = %change.cluster, epoch = %change.to, ?why, "a change does not fit");
                    self.needs_whole_views = true;
                    self.pace.begin_anew();
                    self.reported.notify_one();
                }
            }
        }
        is_news
    }

    /// Starts threads and listeners as the settings say, and hands out a table.
    async fn use_settings(&mut self) {
        let Some(settings) = self.state.settings.clone() else { return };
        self.pace.begin_anew();
        self.problems_before = std::mem::take(&mut self.problems);
        self.actions = Arc::new(actions::build(&settings.routes, &self.actions));
        let mut old = if self.threads.len() == thread_count(&settings) {
            Vec::new()
        } else {
            std::mem::take(&mut self.threads)
        };
        let are_new = self.threads.is_empty();
        if are_new && let Err(error) = self.start_threads(&settings) {
            self.threads.extend(old);
            self.note(format!("threads could not be started: {error}"));
            return;
        }
        self.open_access_log(&settings.access_log);
        // Threads know the table before they accept.
        self.publish().await;
        if are_new {
            self.take_listeners_over(&mut old).await;
            self.retired.extend(old);
        }
        self.listen(&settings).await;
        if settings.plugin_cfg.is_some() || self.plugin_cfg.is_some() {
            let outputs = || PluginCfgOutputs::start(self.reported.clone());
            self.plugin_cfg.get_or_insert_with(outputs).want(settings.plugin_cfg.clone());
        }
    }

    /// New threads accept beside the old ones, which then finish what they have and end: no connection is refused.
    async fn take_listeners_over(&mut self, old: &mut [DataThread]) {
        self.hand_out_all().await;
        if old.is_empty() {
            return;
        }
        for thread in old.iter_mut() {
            thread.let_go(RETIRED_DRAIN_MAX).await;
        }
        tracing::info!(threads = self.threads.len(), "the number of threads has changed");
    }

    fn start_threads(&mut self, settings: &Arc<RouterSettings>) -> std::io::Result<()> {
        let mut seed = [0; 8];
        if let Err(error) = getrandom::fill(&mut seed) {
            tracing::warn!(%error, "no random start of the rotation");
        }
        let mut chance = logic::seed::Chance::new(u64::from_ne_bytes(seed));
        for number in 0..thread_count(settings) {
            let (orders, inbox) = mpsc::channel(ORDERS_MAX);
            let slot = Arc::new(ReportSlot::default());
            let thread = start(ThreadStart {
                number,
                clock: self.clock,
                settings: settings.clone(),
                seed: chance.bits(),
                orders: inbox,
                slot: slot.clone(),
                reported: self.reported.clone(),
                silences: self.silences.clone(),
            })?;
            self.threads.push(DataThread { orders, slot, thread, drains_until: None });
        }
        Ok(())
    }

    /// Opens the access log anew where its settings are others than those in use.
    fn open_access_log(&mut self, settings: &AccessLog) {
        if self.access_log.as_ref().is_some_and(|(used, _)| used == settings) {
            return;
        }
        match access_log::open(settings) {
            Ok(handle) => self.access_log = Some((settings.clone(), handle)),
            Err(error) => {
                self.note(format!("the access log {} could not be opened: {error}", settings.path));
                self.access_log = None;
            }
        }
    }

    fn reopen_access_log(&self) {
        if let Some((_, Some(log))) = &self.access_log {
            log.reopen();
            tracing::info!("the access log is opened anew");
        }
    }

    /// Tells of a problem once, and reports it for as long as it lasts.
    fn note(&mut self, problem: String) {
        if !self.problems_before.contains(&problem) {
            tracing::warn!("{problem}; trying again");
        }
        self.problems.push(problem);
    }

    /// Tells every thread, those that have clients left only too.
    async fn order(&self, make: impl Fn() -> Order) {
        for thread in self.threads.iter().chain(&self.retired) {
            if thread.orders.send(make()).await.is_err() && thread.drains_until.is_none() {
                tracing::error!("a router thread has ended early");
            }
        }
    }

    /// Hands a new table to every data thread, then to the disk.
    async fn publish(&mut self) {
        self.must_keep = true;
        let Some(settings) = &self.state.settings else { return };
        self.vault.refresh(settings, self.views.special(), false);
        let gate_of = |(name, view): (&ClusterName, &Arc<View>)| {
            Some((name.clone(), Gate::of(view, self.gates.get(name))?))
        };
        self.gates = self.views.special().iter().filter_map(gate_of).collect();
        // Most tables bring news of a view only.
        let before = self.table.as_ref().filter(|before| Arc::ptr_eq(&before.settings, settings));
        let routes = match before {
            Some(before) => before.routes.clone(),
            None => Arc::new(RouteTable::new(&settings.routes)),
        };
        let table = Arc::new(Table {
            settings: settings.clone(),
            routes,
            actions: self.actions.clone(),
            access_log: self.access_log.as_ref().and_then(|(_, handle)| handle.clone()),
            tls: Arc::new(self.vault.table()),
            views: self.views.all().clone(),
            client_views: self.client_views.publish(settings, self.views.all()),
            gates: self.gates.clone(),
        });
        self.tables_before.extend(self.table.replace(table.clone()));
        if self.tables_before.len() > TABLES_BEFORE {
            self.clear_tables();
        }
        self.report_after = Instant::now() + self.pace.pause();
        let is_large = table.routes_and_views() > KEPT_AT_ONCE_MAX;
        self.order(|| Order::Table(table.clone())).await;
        if !is_large {
            self.keep();
        }
    }

    /// Clears away tables that nobody else has any more.
    fn clear_tables(&mut self) {
        let before = std::mem::take(&mut self.tables_before);
        let (unused, used) = before.into_iter().partition(|before| Arc::strong_count(before) == 1);
        self.tables_before = used;
        let unused: Vec<Arc<Table>> = unused;
        unused.into_iter().filter_map(Arc::into_inner).for_each(Table::clear_away);
    }

    fn keep(&mut self) {
        let views = self.views.all().values().cloned().collect();
        let kept = Kept { settings: self.state.settings.clone(), views };
        self.tell_predecessor(&kept);
        self.must_keep = self.keeper.as_ref().is_some_and(|keeper| !keeper.offer(kept));
    }

    /// Listens where the settings say. An address that is no longer wanted is given up only when all others are
    /// held, so that a mistake does not take the router off the air; sooner only if it is in the way itself.
    async fn listen(&mut self, settings: &RouterSettings) {
        let unwanted: Vec<SocketAddr> =
            self.listening.keys().filter(|asked| !is_wanted(settings, **asked)).copied().collect();
        for listener in &settings.listeners {
            let asked = listener.address;
            if self.listening.contains_key(&asked) || !self.vault.is_ready(listener) {
                continue;
            }
            let in_the_way =
                unwanted.iter().find(|old| asked.port() != 0 && old.port() == asked.port()).copied();
            if let Some(old) = in_the_way {
                self.unlisten(old).await;
            }
            match listen::bind(asked, self.threads.len()) {
                Ok((got, listeners)) => {
                    self.hold(Held { asked, got, listeners }).await;
                    tracing::info!(address = %got, "listening");
                }
                Err(error) => self.note(format!("cannot listen on {asked}: {error}")),
            }
        }
        if settings.listeners.iter().all(|listener| self.listening.contains_key(&listener.address)) {
            for asked in unwanted {
                self.unlisten(asked).await;
            }
        }
        self.reported.notify_one();
    }

    async fn unlisten(&mut self, asked: SocketAddr) {
        // Our own copies first: the thread's are then the last, and it serves whoever still waits at them.
        if self.listening.remove(&asked).is_some() {
            self.order(|| Order::Unlisten { asked }).await;
            tracing::info!(address = %asked, "no longer listening");
        }
    }

    /// Tries again what the world did not allow before. Whether there is nothing left to do.
    async fn again(&mut self) -> bool {
        self.clear_tables();
        self.end_late_drains().await;
        if let Some(is_over) = self.is_drained() {
            return is_over;
        }
        if self.must_keep {
            self.keep();
        }
        self.try_again().await;
        false
    }

    async fn try_again(&mut self) {
        let Some(settings) = self.state.settings.clone() else { return };
        self.looked += 1;
        if self.looked >= LOOK_EVERY {
            self.looked = 0;
            if self.vault.refresh(&settings, self.views.special(), true) {
                self.publish().await;
            }
        }
        if self.threads.is_empty() {
            return self.use_settings().await;
        }
        let is_silent = self.access_log.is_none();
        let is_deaf =
            settings.listeners.iter().any(|listener| !self.listening.contains_key(&listener.address));
        if !is_silent && !is_deaf {
            return;
        }
        self.problems_before = std::mem::take(&mut self.problems);
        self.open_access_log(&settings.access_log);
        if is_silent && self.access_log.is_some() {
            self.publish().await;
        }
        self.listen(&settings).await;
    }

    fn join(self) {
        for thread in self.threads.into_iter().chain(self.retired) {
            if thread.thread.join().is_err() {
                tracing::error!("a router thread panicked");
            }
        }
    }
}
