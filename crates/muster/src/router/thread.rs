//! One data thread: its event loop, its listeners, its sessions.

use super::core::Core;
use super::doubt;
use super::listen::ACCEPT_PAUSE;
use super::lot::{self, Lot};
use super::report::{Pace, ThreadReport, of_thread};
use super::silence::Silences;
use super::table::Table;
use super::takeover::take_over;
use crate::clock::Clock;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use wire::router::RouterSettings;
use wire::settings::{Listener, Protocol};

/// Orders that may wait for a data thread. 64: the control thread waits beyond that.
pub const ORDERS_MAX: usize = 64;
/// Reports come at least this often.
const REPORT_INTERVAL: Duration = Duration::from_millis(1_000);
/// Requests under way when the router stops may take this long.
const FINISH_MAX: Duration = Duration::from_secs(30);

/// How often a router that stops looks for its last session: a session ends by itself, and looking twenty times a
/// second costs nothing in a router that stops.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub enum Order {
    Table(Arc<Table>),
    Listen {
        asked: SocketAddr,
        listener: TcpListener,
    },
    Unlisten {
        asked: SocketAddr,
    },
    /// Answered when all orders before it are carried out.
    Ready(oneshot::Sender<()>),
    /// Another process accepts from now on: let go of the addresses, answer every client that is there once more,
    /// end with the last of them.
    HandOver,
    /// Accept nothing more, finish what is under way, end.
    Stop,
}

/// Where a data thread leaves its newest report.
#[derive(Debug, Default)]
pub struct ReportSlot {
    pub latest: Mutex<Arc<ThreadReport>>,
}

#[derive(Debug)]
pub struct ThreadStart {
    pub number: usize,
    pub clock: Clock,
    pub settings: Arc<RouterSettings>,
    pub seed: u64,
    pub orders: mpsc::Receiver<Order>,
    pub slot: Arc<ReportSlot>,
    pub reported: Arc<Notify>,
    pub silences: Arc<Silences>,
}

/// Starts a data thread.
pub fn start(start: ThreadStart) -> io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watcher = lot::watcher()?;
    std::thread::Builder::new().name(format!("router-{}", start.number)).spawn(move || {
        LocalSet::new().block_on(&runtime, run(start, Lot::new(watcher)));
    })
}

async fn run(start: ThreadStart, lot: Lot) {
    let ThreadStart { clock, settings, seed, mut orders, slot, reported, silences, .. } = start;
    let core = Core::new(clock, settings, seed, lot, silences);
    let mut tasks = JoinSet::new();
    tasks.spawn_local(core.waits.clone().sweep_for_ever());
    tasks.spawn_local(lot::watch_for_ever(core.clone()));
    tasks.spawn_local(doubt::watch_for_ever(core.clone()));
    tasks.spawn_local(report_for_ever(core.clone(), slot.clone(), reported));
    let mut accepting = JoinSet::new();
    let mut listening: Listening = BTreeMap::new();
    loop {
        // Both may be cancelled: an order is taken only when it is returned, and the other only looks.
        let order = tokio::select! {
            order = orders.recv() => order,
            () = last_session(&core), if core.is_stopping.get() => None,
        };
        match order {
            Some(Order::Table(table)) => take_over(&core, &table).await,
            Some(Order::Listen { asked, listener }) => match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let is_unwanted = Rc::new(Notify::new());
                    let port = listener.local_addr().map_or(asked.port(), |got| got.port());
                    listening.entry(asked).or_default().push((is_unwanted.clone(), port));
                    core.companies.welcome(port);
                    accepting.spawn_local(accept_until(core.clone(), asked, listener, is_unwanted));
                }
                Err(error) => tracing::error!(address = %asked, %error, "a listener could not be used"),
            },
            Some(Order::Unlisten { asked }) => {
                for (is_unwanted, port) in listening.remove(&asked).into_iter().flatten() {
                    is_unwanted.notify_one();
                    core.companies.send_away(port);
                }
                while accepting.try_join_next().is_some() {}
            }
            // Whoever asked may have given up.
            Some(Order::Ready(reply)) => drop(reply.send(())),
            Some(Order::HandOver) => {
                stop_accepting(&mut listening, &mut accepting).await;
                core.is_stopping.set(true);
                // They can be told at once, whereas others learn it from their next answer.
                core.companies.send_all_away();
            }
            Some(Order::Stop) | None => break,
        }
    }
    stop_accepting(&mut listening, &mut accepting).await;
    core.is_ending.set(true);
    core.is_stopping.set(true);
    core.lot.clear();
    core.waits.stop_idle();
    let finished = async {
        while core.waits.count() > 0 {
            core.waits.stop_idle();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(FINISH_MAX, finished).await.is_err() {
        tracing::warn!(sessions = core.waits.count(), "the router stops with requests under way");
    }
    // Sessions that are left end with their LocalSet; tasks of this thread end here.
    tasks.shutdown().await;
    let last = of_thread(&core, false).await;
    *slot.latest.lock().expect("nobody panics while holding it") = Arc::new(last);
}

/// For each address that was asked for, how its sockets are told to end, and the port that they got.
type Listening = BTreeMap<SocketAddr, Vec<(Rc<Notify>, u16)>>;

/// Those that had connected already become sessions before sessions are counted.
async fn stop_accepting(listening: &mut Listening, accepting: &mut JoinSet<()>) {
    std::mem::take(listening).values().flatten().for_each(|(is_unwanted, _)| is_unwanted.notify_one());
    while accepting.join_next().await.is_some() {}
}

/// Until there is no session any more.
async fn last_session(core: &Core) {
    while core.waits.count() > 0 || core.lot.count() > 0 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Accepts until the address is no longer wanted; whoever had connected by then is still served.
async fn accept_until(
    core: Rc<Core>,
    asked: SocketAddr,
    listener: tokio::net::TcpListener,
    is_unwanted: Rc<Notify>,
) {
    let mut place = Place { asked, settings: Listener::plain(asked) };
    loop {
        // Both may be cancelled: a connection that was not taken stays in the queue.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = is_unwanted.notified() => break,
        };
        match accepted {
            Ok((stream, peer)) => place.take_connection(&core, stream, peer),
            Err(error) => {
                if core.may_tell() {
                    tracing::warn!(%error, "accepting a connection failed");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Asks the system itself: the event loop may not have heard of the newest ones yet.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
        match stream {
            Ok(stream) => place.take_connection(&core, stream, peer),
            Err(error) => tracing::warn!(%error, "an accepted connection could not be used"),
        }
    }
}

/// An address on which connections come.
struct Place {
    asked: SocketAddr,
    /// As the table said last: an address that is being given up may be gone from it.
    settings: Listener,
}

impl Place {
    fn take_connection(&mut self, core: &Rc<Core>, stream: tokio::net::TcpStream, peer: SocketAddr) {
        let settings = core.settings.borrow();
        if let Some(listener) = settings.listeners.iter().find(|listener| listener.address == self.asked)
            && *listener != self.settings
        {
            self.settings = listener.clone();
        }
        drop(settings);
        if core.connections() >= core.sessions_max.get() {
            return refuse_connection(core, &self.settings, &stream);
        }
        super::accept::take(core, &self.settings, stream, peer);
    }
}

/// One answer without waiting: a router that is full has no room for another session.
fn refuse_connection(core: &Core, listener: &Listener, stream: &tokio::net::TcpStream) {
    core.count(|totals| totals.refused += 1);
    if listener.tls.is_some() || !matches!(listener.protocol, Protocol::Http { .. }) {
        return;
    }
    let refused = super::request::Refused::overloaded();
    if let Err(error) = stream.try_write(&super::answers::render(&refused, false, None)) {
        tracing::debug!(%error, "a connection too many could not be told so");
    }
}

async fn report_for_ever(core: Rc<Core>, slot: Arc<ReportSlot>, reported: Arc<Notify>) {
    let mut ticks = 0_u32;
    let mut pace = Pace::default();
    loop {
        // Both may be cancelled: a notification that is missed is followed by a report within a second.
        let is_tick = tokio::select! {
            () = core.report_now.notified() => false,
            () = tokio::time::sleep(REPORT_INTERVAL) => true,
        };
        if !is_tick && !pace.pause().is_zero() {
            tokio::time::sleep(pace.pause()).await;
        }
        let began = Instant::now();
        ticks += u32::from(is_tick);
        core.waits.refresh();
        let report = of_thread(&core, is_tick && ticks.is_multiple_of(5)).await;
        *slot.latest.lock().expect("nobody panics while holding it") = Arc::new(report);
        reported.notify_one();
        pace.made(began);
    }
}
