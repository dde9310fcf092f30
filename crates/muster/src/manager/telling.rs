//! Tells other cells of this one: summaries of the clusters that each may hear of, over a stream that it opened.
//!
//! Promises: who has no token hears nothing; a listener that is too slow is left, and it alone; what a bridge may hear
//! changes at once with the configuration, because its streams end and begin anew. Only the leader tells.
//! Not here: what is told and when (see `logic::summary::Teller`).

use super::desk::Input;
use super::handle::Request;
use super::links::Reception;
use super::strangers::Stranger;
use crate::clock::Clock;
use crate::link::{read_bounded_frame, write_frame};
use logic::limits::{SUMMARY_INTERVAL_MIN_MS, SUMMARY_SILENCE_MAX_MS};
use logic::machine::Machine;
use logic::summary::{Teller, TellerInput, TellerOutput};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use wire::id::{CellNumber, ClusterName};
use wire::settings::{BridgeSettings, CellSettings};
use wire::summary::{BRIDGE_HELLO_MAX_BYTES, BridgeAnswer, BridgeHello, CellSummary};

/// Listeners that may wait to be told something. 16: other cells come back one by one.
pub const LISTENERS_WAITING_MAX: usize = 16;
/// Streams of one bridge. Two: one of the present leader over there, and one of the last; the oldest is ended.
const STREAMS_MAX: usize = 2;
/// Summaries that wait for one listener. Four: four seconds of news; who is further behind is told everything anew.
const QUEUE_MAX: usize = 4;
/// How long a hello, or room for a message, is waited for.
const WAIT_MAX: Duration = Duration::from_millis(SUMMARY_SILENCE_MAX_MS);

/// A stream to a cell that has proven who it is.
#[derive(Debug)]
pub struct Listener {
    bridge: BridgeSettings,
    queue: mpsc::Sender<CellSummary>,
}

/// Serves one connection to its end.
pub async fn connection(
    mut stream: TlsStream<TcpStream>,
    from: SocketAddr,
    reception: Reception,
    stranger: Stranger,
) {
    let reading = read_bounded_frame::<BridgeHello>(&mut stream, BRIDGE_HELLO_MAX_BYTES);
    let hello = match stranger.hear(reading).await {
        Some(Ok(hello)) => hello,
        Some(Err(error)) => {
            return tracing::debug!(%from, %error, "a hello of another cell was not understood");
        }
        None => return tracing::debug!(%from, "a hello of another cell did not come in time"),
    };
    let (admitted, lease) = match &reception {
        Reception::Leads { office: Some(office), lease, .. } => (
            office.admit_bridge(&hello).map(|admitted| (admitted, office.told.listeners.clone())),
            Some(lease),
        ),
        Reception::Leads { office: None, .. } => {
            return answer(&mut stream, BridgeAnswer::NotLeader { leader: None }).await;
        }
        Reception::Follows(elsewhere) => {
            let leader = elsewhere.leader.borrow().clone();
            return answer(&mut stream, BridgeAnswer::NotLeader { leader }).await;
        }
    };
    let ((name, bridge), listeners) = match admitted {
        Ok(admitted) => admitted,
        Err((code, message)) => {
            tracing::info!(%from, %code, message, "another cell is refused");
            return answer(&mut stream, BridgeAnswer::Refused { code: code.to_string(), message }).await;
        }
    };
    drop(stranger);
    let welcome = BridgeAnswer::Welcome { name };
    if !matches!(tokio::time::timeout(WAIT_MAX, write_frame(&mut stream, &welcome)).await, Ok(Ok(()))) {
        return;
    }
    let (queue, mut outbox) = mpsc::channel(QUEUE_MAX);
    let called = bridge.name.clone();
    if listeners.send(Listener { bridge, queue }).await.is_err() {
        return;
    }
    tracing::info!(%from, bridge = called, "another cell hears of this one");
    let (mut reader, mut writer) = tokio::io::split(stream);
    let telling = async {
        while let Some(summary) = outbox.recv().await {
            if lease.is_some_and(|lease| !lease.holds()) {
                return;
            }
            match tokio::time::timeout(WAIT_MAX, write_frame(&mut writer, &summary)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    };
    // It has nothing more to say: whatever comes is its end.
    tokio::select! {
        () = telling => {}
        _ = reader.read_u8() => {}
    }
    tracing::info!(%from, bridge = called, "another cell hears no longer");
}

async fn answer(stream: &mut TlsStream<TcpStream>, answer: BridgeAnswer) {
    let answering = async {
        write_frame(stream, &answer).await?;
        stream.shutdown().await
    };
    // Whoever does not wait for it asks again.
    drop(tokio::time::timeout(WAIT_MAX, answering).await);
}

/// Those who listen, by numbers that are given once.
struct Audience {
    teller: Teller,
    listeners: Vec<(CellNumber, Listener)>,
    /// Those that hear nothing yet, because something of theirs is not known: what is not told counts as gone.
    waiting: Vec<Listener>,
    last: u64,
    known: BTreeSet<ClusterName>,
    clock: Clock,
}

/// Tells until it is dropped. `cell` is the number under which others know this one.
pub async fn tell(
    cell: CellNumber,
    mut settings: watch::Receiver<Arc<CellSettings>>,
    mut changed: watch::Receiver<u64>,
    mut listeners: mpsc::Receiver<Listener>,
    clock: Clock,
    desk: mpsc::Sender<Input>,
) {
    let teller = Teller::new(cell, clock.now());
    let mut audience = Audience {
        teller,
        listeners: Vec::new(),
        waiting: Vec::new(),
        last: 0,
        known: BTreeSet::new(),
        clock,
    };
    let mut look_at = Instant::now();
    let mut is_changed = true;
    loop {
        let names = names(&settings.borrow_and_update());
        audience.keep_only(&settings.borrow());
        if audience.listeners.is_empty() && audience.waiting.is_empty() {
            // Nobody has to be told anything, and nothing has to be found out.
            tokio::select! {
                Some(listener) = listeners.recv() => {
                    is_changed = true;
                    audience.waiting.push(listener);
                    audience.look(&desk, names).await;
                }
                Ok(()) = settings.changed() => {}
                else => return,
            }
            continue;
        }
        let wake_at = audience.teller.wake_at().map_or_else(Instant::now, |at| clock.instant(at));
        tokio::select! {
            Some(listener) = listeners.recv() => {
                audience.waiting.push(listener);
                audience.look(&desk, names).await;
            }
            Ok(()) = settings.changed() => is_changed = true,
            Ok(()) = changed.changed(), if !is_changed => is_changed = true,
            // Views may change a hundred times a second, and more often than this nothing is told.
            () = tokio::time::sleep_until(look_at), if is_changed => {
                is_changed = false;
                look_at = Instant::now() + Duration::from_millis(SUMMARY_INTERVAL_MIN_MS);
                audience.look(&desk, names).await;
            }
            () = tokio::time::sleep_until(wake_at) => audience.step(TellerInput::Tick),
            else => return,
        }
    }
}

/// All clusters of which somebody may hear.
fn names(settings: &CellSettings) -> BTreeSet<ClusterName> {
    settings.bridges.iter().flat_map(|bridge| bridge.clusters.iter().cloned()).collect()
}

impl Audience {
    /// Ends the streams of bridges that are no longer what they were.
    fn keep_only(&mut self, settings: &CellSettings) {
        let stays =
            |listener: &Listener| settings.bridges.contains(&listener.bridge) && !listener.queue.is_closed();
        self.listeners.retain(|(_, listener)| stays(listener));
        self.waiting.retain(stays);
    }

    fn admit_waiting(&mut self) {
        let is_known =
            |listener: &Listener| listener.bridge.clusters.iter().all(|cluster| self.known.contains(cluster));
        let (ready, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(is_known);
        self.waiting = waiting;
        let surplus = self.waiting.len().saturating_sub(LISTENERS_WAITING_MAX);
        self.waiting.drain(..surplus);
        let ready: Vec<Listener> = ready;
        ready.into_iter().for_each(|listener| self.join(listener));
    }

    fn join(&mut self, listener: Listener) {
        let is_same = |(_, other): &(CellNumber, Listener)| other.bridge.name == listener.bridge.name;
        if self.listeners.iter().filter(|other| is_same(other)).count() >= STREAMS_MAX
            && let Some(oldest) = self.listeners.iter().position(is_same)
        {
            self.listeners.remove(oldest);
        }
        self.last += 1;
        let number = CellNumber(self.last);
        self.listeners.push((number, listener));
        self.step(TellerInput::Joined { cell: number });
    }

    /// Finds out how the clusters are.
    async fn look(&mut self, desk: &mpsc::Sender<Input>, names: BTreeSet<ClusterName>) {
        let gone: Vec<ClusterName> = self.known.difference(&names).cloned().collect();
        for cluster in gone {
            self.known.remove(&cluster);
            self.step(TellerInput::Gone { cluster });
        }
        let (reply, answer) = oneshot::channel();
        let asked = Request::Facts { clusters: names.into_iter().collect(), reply };
        // Only fails when the manager ends, and this task with it.
        drop(desk.send(Input::Ask(asked)).await);
        for (cluster, facts) in answer.await.unwrap_or_default() {
            self.known.insert(cluster.clone());
            self.step(TellerInput::Cluster { cluster, facts });
        }
        self.admit_waiting();
    }

    fn step(&mut self, input: TellerInput) {
        for output in self.teller.step(self.clock.now(), input) {
            match output {
                TellerOutput::TellAll(summary) => {
                    self.listeners.retain(|(_, listener)| listener.hears(summary.clone()));
                }
                TellerOutput::Tell { to, summary } => {
                    self.listeners
                        .retain(|(number, listener)| *number != to || listener.hears(summary.clone()));
                }
                TellerOutput::TooMany { cluster } => {
                    tracing::warn!(%cluster, "other cells are told of too many clusters; of this one they hear nothing");
                }
            }
        }
    }
}

impl Listener {
    /// Tells what this one may hear of it; false if it is too slow.
    fn hears(&self, mut summary: CellSummary) -> bool {
        summary.clusters.retain(|told| self.bridge.clusters.contains(&told.cluster));
        summary.gone.retain(|gone| self.bridge.clusters.contains(gone));
        self.queue.try_send(summary).is_ok()
    }
}
