//! One data thread: its event loop, its listeners, its sessions.

use super::core::Core;
use super::listen::ACCEPT_PAUSE;
use super::lot::{self, Lot};
use super::report::{ThreadReport, of_thread};
use super::session::serve;
use super::table::Table;
use super::takeover::take_over;
use crate::clock::Clock;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinSet, LocalSet};
use wire::router::RouterSettings;

/// Orders that may wait for a data thread. 64: the control thread waits beyond that.
pub const ORDERS_MAX: usize = 64;
/// Reports come at least this often.
const REPORT_INTERVAL: Duration = Duration::from_millis(1_000);
/// Requests under way when the router stops may take this long.
const FINISH_MAX: Duration = Duration::from_secs(30);

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
    /// Accept nothing more, finish what is under way, end.
    Stop,
}

/// Where a data thread leaves its newest report.
#[derive(Debug, Default)]
pub struct ReportSlot {
    pub latest: Mutex<ThreadReport>,
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
    let ThreadStart { clock, settings, seed, mut orders, slot, reported, .. } = start;
    let core = Core::new(clock, settings, seed, lot);
    let mut tasks = JoinSet::new();
    tasks.spawn_local(core.waits.clone().sweep_for_ever());
    tasks.spawn_local(lot::watch_for_ever(core.clone()));
    tasks.spawn_local(report_for_ever(core.clone(), slot.clone(), reported));
    let mut accepting = JoinSet::new();
    let mut listening: BTreeMap<SocketAddr, Rc<Notify>> = BTreeMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Table(table) => take_over(&core, &table).await,
            Order::Listen { asked, listener } => match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let is_unwanted = Rc::new(Notify::new());
                    listening.insert(asked, is_unwanted.clone());
                    accepting.spawn_local(accept_until(core.clone(), listener, is_unwanted));
                }
                Err(error) => tracing::error!(address = %asked, %error, "a listener could not be used"),
            },
            Order::Unlisten { asked } => {
                if let Some(is_unwanted) = listening.remove(&asked) {
                    is_unwanted.notify_one();
                }
                while accepting.try_join_next().is_some() {}
            }
            Order::Stop => break,
        }
    }
    listening.values().for_each(|is_unwanted| is_unwanted.notify_one());
    // Those that had connected already become sessions before sessions are counted.
    while accepting.join_next().await.is_some() {}
    core.is_stopping.set(true);
    core.lot.clear();
    core.waits.stop_idle();
    let finished = async {
        while core.waits.count() > 0 {
            core.waits.stop_idle();
            // A session ends by itself; looking twenty times a second costs nothing in a router that stops.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(FINISH_MAX, finished).await.is_err() {
        tracing::warn!(sessions = core.waits.count(), "the router stops with requests under way");
    }
    // Sessions that are left end with their LocalSet; tasks of this thread end here.
    tasks.shutdown().await;
    let last = of_thread(&core, false).await;
    *slot.latest.lock().expect("nobody panics while holding it") = last;
}

/// Accepts until the address is no longer wanted; whoever had connected by then is still served.
async fn accept_until(core: Rc<Core>, listener: tokio::net::TcpListener, is_unwanted: Rc<Notify>) {
    loop {
        // Both may be cancelled: a connection that was not taken stays in the queue.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = is_unwanted.notified() => break,
        };
        match accepted {
            Ok((stream, peer)) => take_connection(&core, stream, peer),
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
            Ok(stream) => take_connection(&core, stream, peer),
            Err(error) => tracing::warn!(%error, "an accepted connection could not be used"),
        }
    }
}

fn take_connection(core: &Rc<Core>, stream: tokio::net::TcpStream, peer: SocketAddr) {
    if core.connections() >= sessions_max(core) as usize {
        return refuse_connection(core, &stream);
    }
    // Owned by the thread's LocalSet and counted by its ticket: `run` waits for it.
    tokio::task::spawn_local(serve(core.clone(), stream, peer));
}

/// Connections that this thread may have, and as many requests on those that speak HTTP/2.
pub fn sessions_max(core: &Core) -> u32 {
    let settings = core.settings.borrow();
    let threads = super::control::thread_count(&settings) as u32;
    settings.limits.connections_max.min(core.connections_fit.get()).div_ceil(threads)
}

/// One answer without waiting: a router that is full has no room for another session.
fn refuse_connection(core: &Core, stream: &tokio::net::TcpStream) {
    core.count(|totals| totals.refused += 1);
    let refused = super::request::Refused::overloaded();
    if let Err(error) = stream.try_write(&super::answers::render(&refused, false)) {
        tracing::debug!(%error, "a connection too many could not be told so");
    }
}

async fn report_for_ever(core: Rc<Core>, slot: Arc<ReportSlot>, reported: Arc<Notify>) {
    let mut ticks = 0_u32;
    loop {
        // Both may be cancelled: a notification that is missed is followed by a report within a second.
        let is_tick = tokio::select! {
            () = core.report_now.notified() => false,
            () = tokio::time::sleep(REPORT_INTERVAL) => true,
        };
        ticks += u32::from(is_tick);
        core.waits.refresh();
        let pool_idle_ms = core.settings.borrow().timeouts.pool_idle_ms;
        core.clusters.borrow().values().for_each(|cluster| {
            let members = cluster.members.borrow();
            members.iter().for_each(|member| member.close_old_idle(core.now(), pool_idle_ms));
        });
        let report = of_thread(&core, is_tick && ticks.is_multiple_of(5)).await;
        *slot.latest.lock().expect("nobody panics while holding it") = report;
        reported.notify_one();
    }
}
