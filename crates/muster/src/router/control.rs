//! The router's control thread: follows the manager, hands tables and listeners to the data threads, reports.
//!
//! Promise: an epoch is never applied backwards; what was known last is used and kept when the manager is gone.

use super::access_log::AccessLogHandle;
use super::actions::{self, ActionTable};
use super::kept::{Keeper, Kept};
use super::plugin_cfg::FileSource;
use super::plugin_cfg_output::PluginCfgOutputs;
use super::report::Summary;
use super::table::Table;
use super::thread::{ORDERS_MAX, Order, ReportSlot, ThreadStart, start};
use super::vault::Vault;
use super::{access_log, listen};
use crate::clock::Clock;
use crate::link::{Link, LinkEvent, follow};
use logic::route::RouteTable;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;
use wire::id::{ClusterName, NodeName, RouterName};
use wire::link::{FromManager, Role, ToManager};
use wire::router::RouterSettings;
use wire::settings::AccessLog;
use wire::view::View;

/// How soon an address that is taken, or a state that was not kept, is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// So many times the pause above lie between two looks at the files of TLS: two seconds, so that a new certificate is
/// soon in use. No event tells of all ways in which files change (renamed directories, links, network file systems).
const LOOK_EVERY: u32 = 4;
/// Data threads at most, whatever is configured: more than cores only costs.
const THREADS_MAX: usize = 64;

/// Data threads that the settings ask for.
pub fn thread_count(settings: &RouterSettings) -> usize {
    // Asking for cores reads files, so only where they count.
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = if settings.threads == 0 { cores() } else { settings.threads as usize };
    wanted.clamp(1, THREADS_MAX)
}

pub fn run(start: ControlStart, stopped: watch::Receiver<bool>) {
    let ControlStart { router, source, state, kept_path } = start;
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
        keeper,
        state,
        views: BTreeMap::new(),
        table: None,
        table_before: None,
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
        reported: Arc::new(Notify::new()),
        summary: Summary::default(),
        plugin_cfg: None,
    };
    LocalSet::new().block_on(&runtime, control.run(source, stopped));
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
}

/// Who tells the router what to serve.
#[derive(Debug)]
pub enum Source {
    Manager { node: NodeName, socket: PathBuf },
    File(Box<FileSource>),
}

struct Control {
    clock: Clock,
    router: RouterName,
    keeper: Keeper,
    state: Kept,
    views: BTreeMap<ClusterName, Arc<View>>,
    /// The table that was handed out last.
    table: Option<Arc<Table>>,
    /// The one before it: kept until data threads have let go of it, so that none of them has to clear it away.
    table_before: Option<Arc<Table>>,
    threads: Vec<DataThread>,
    /// Threads that were asked to end when their number changed.
    retired: Vec<DataThread>,
    /// Address asked for and address got.
    listening: BTreeMap<SocketAddr, SocketAddr>,
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
    reported: Arc<Notify>,
    summary: Summary,
    /// There from the first settings that ask for a file.
    plugin_cfg: Option<PluginCfgOutputs>,
}

fn is_wanted(settings: &RouterSettings, address: SocketAddr) -> bool {
    settings.listeners.iter().any(|listener| listener.address == address)
}

struct DataThread {
    orders: mpsc::Sender<Order>,
    slot: Arc<ReportSlot>,
    thread: std::thread::JoinHandle<()>,
}

impl Control {
    async fn run(&mut self, source: Source, mut stopped: watch::Receiver<bool>) {
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut link = match source {
            Source::Manager { node, socket } => {
                follow(socket, Role::Router { node, router: self.router.clone() }, stopped.clone())
            }
            Source::File(source) => source.follow(stopped.clone()),
        };
        self.views = self.state.views.drain(..).map(|view| (view.cluster.clone(), view)).collect();
        self.use_settings().await;
        let reported = self.reported.clone();
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return tracing::error!(%error, "the router cannot listen for SIGHUP"),
        };
        loop {
            // Every branch may be cancelled: each takes a message only when it returns one, and nothing else waits.
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                event = link.events.recv() => match event {
                    Some(event) => self.take(event).await,
                    None => break,
                },
                () = reported.notified() => self.report(&link),
                _ = again.tick() => self.again().await,
                _ = hangup.recv() => self.reopen_access_log(),
            }
        }
        // A script that runs ends with the router.
        self.plugin_cfg = None;
        for thread in &self.threads {
            // A thread that is gone needs no order to stop.
            if thread.orders.send(Order::Stop).await.is_err() {
                tracing::error!("a router thread has ended early");
            }
        }
    }

    async fn take(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected { generation } => {
                tracing::info!(generation, "the router follows a manager");
                self.reported.notify_one();
            }
            LinkEvent::Lost { reason } => {
                tracing::warn!(reason, "the manager is lost; the router goes on with what it knows");
            }
            LinkEvent::Message(FromManager::Settings { settings, .. }) => {
                if self.state.settings.as_deref() != Some(&*settings) {
                    self.state.settings = Some(Arc::from(settings));
                    self.must_keep = true;
                    self.use_settings().await;
                }
            }
            LinkEvent::Message(FromManager::Views(views)) => {
                for view in views {
                    let known = self.views.get(&view.cluster).map(|known| known.epoch);
                    if known.is_none_or(|known| known < view.epoch) {
                        self.views.insert(view.cluster.clone(), Arc::new(view));
                    }
                }
                self.publish().await;
            }
            LinkEvent::Message(FromManager::Clusters { names, .. }) => {
                self.views.retain(|name, _| names.contains(name));
                self.publish().await;
            }
            LinkEvent::Message(
                FromManager::Welcome { .. }
                | FromManager::Refused { .. }
                | FromManager::Assignments { .. }
                | FromManager::KeepAlive,
            ) => {}
        }
    }

    /// Starts threads and listeners as the settings say, and hands out a table.
    async fn use_settings(&mut self) {
        let Some(settings) = self.state.settings.clone() else { return };
        self.problems_before = std::mem::take(&mut self.problems);
        self.actions = Arc::new(actions::build(&settings.routes, &self.actions));
        let old = if self.threads.len() == thread_count(&settings) {
            Vec::new()
        } else {
            std::mem::take(&mut self.threads)
        };
        if self.threads.is_empty()
            && let Err(error) = self.start_threads(&settings)
        {
            self.threads.extend(old);
            self.note(format!("threads could not be started: {error}"));
            return;
        }
        self.take_listeners_over(&old).await;
        self.retired.extend(old);
        self.open_access_log(&settings.access_log);
        self.publish().await;
        self.listen(&settings).await;
        if settings.plugin_cfg.is_some() || self.plugin_cfg.is_some() {
            let outputs = || PluginCfgOutputs::start(self.reported.clone());
            self.plugin_cfg.get_or_insert_with(outputs).want(settings.plugin_cfg.clone());
        }
    }

    /// New threads listen beside the old ones, which then finish what they have and end: no connection is refused.
    async fn take_listeners_over(&mut self, old: &[DataThread]) {
        if old.is_empty() {
            return;
        }
        self.publish().await;
        let held: Vec<(SocketAddr, SocketAddr)> =
            self.listening.iter().map(|(asked, got)| (*asked, *got)).collect();
        for (asked, got) in held {
            match listen::bind_beside(got, self.threads.len()) {
                Ok(listeners) => self.hand_out(asked, listeners).await,
                // Tried again as an address that nobody listens on.
                Err(error) => {
                    self.note(format!("cannot listen on {asked} with other threads: {error}"));
                    self.listening.remove(&asked);
                }
            }
        }
        for thread in old {
            if thread.orders.send(Order::Stop).await.is_err() {
                tracing::error!("a router thread has ended early");
            }
        }
        tracing::info!(threads = self.threads.len(), "the number of threads has changed");
    }

    /// One listener for each thread.
    async fn hand_out(&self, asked: SocketAddr, listeners: Vec<std::net::TcpListener>) {
        for (thread, listener) in self.threads.iter().zip(listeners) {
            if thread.orders.send(Order::Listen { asked, listener }).await.is_err() {
                tracing::error!("a router thread has ended early");
            }
        }
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
            })?;
            self.threads.push(DataThread { orders, slot, thread });
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

    async fn order(&self, make: impl Fn() -> Order) {
        for thread in &self.threads {
            if thread.orders.send(make()).await.is_err() {
                tracing::error!("a router thread has ended early");
            }
        }
    }

    /// Hands a new table to every data thread, then to the disk.
    async fn publish(&mut self) {
        self.must_keep = true;
        let Some(settings) = &self.state.settings else { return };
        self.vault.refresh(settings, &self.views, false);
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
            views: self.views.clone(),
        });
        self.table_before = self.table.replace(table.clone());
        self.order(|| Order::Table(table.clone())).await;
        self.keep();
    }

    fn keep(&mut self) {
        let views = self.views.values().cloned().collect();
        self.must_keep = !self.keeper.offer(Kept { settings: self.state.settings.clone(), views });
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
                    self.listening.insert(asked, got);
                    self.hand_out(asked, listeners).await;
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
        if self.listening.remove(&asked).is_some() {
            self.order(|| Order::Unlisten { asked }).await;
            tracing::info!(address = %asked, "no longer listening");
        }
    }

    /// Tries again what the world did not allow before.
    async fn again(&mut self) {
        if self.must_keep {
            self.keep();
        }
        let Some(settings) = self.state.settings.clone() else { return };
        self.looked += 1;
        if self.looked >= LOOK_EVERY {
            self.looked = 0;
            if self.vault.refresh(&settings, &self.views, true) {
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

    fn report(&mut self, link: &Link) {
        let latest =
            |thread: &DataThread| thread.slot.latest.lock().expect("nobody panics while holding it").clone();
        let threads: Vec<_> = self.threads.iter().chain(&self.retired).map(latest).collect();
        let listeners = self.state.settings.iter().flat_map(|settings| &settings.listeners);
        let listening =
            listeners.filter_map(|listener| self.listening.get(&listener.address)).copied().collect();
        let now = self.clock.now();
        let mut problems = self.problems.clone();
        problems.extend(self.vault.problems());
        problems.extend(self.plugin_cfg.as_ref().and_then(PluginCfgOutputs::problem));
        let report = self.summary.of(&self.router, &threads, listening, problems, now);
        // A manager that does not read gets the next report; nothing is lost, because reports are whole.
        if link.to_manager.try_send(ToManager::Router(report)).is_err() {
            tracing::debug!("a report was not taken");
        }
    }

    fn join(self) {
        for thread in self.threads.into_iter().chain(self.retired) {
            if thread.thread.join().is_err() {
                tracing::error!("a router thread panicked");
            }
        }
    }
}
