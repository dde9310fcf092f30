//! The stream between a manager and a role: frames of JSON, and the role's side that reconnects for ever.
//!
//! Promise: a role hears `Connected` before any message of that connection, and `Lost` when it ends.
//! A manager of a lower generation than one already seen is refused here. Not here: what messages mean.

use crate::identity::tls::client_config;
use crate::identity::{self, IdentityError};
use serde::{Serialize, de::DeserializeOwned};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{io, path::PathBuf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use wire::enrol::LINK_PROTOCOL;
use wire::link::{
    FRAME_MAX_BYTES, FromManager, KEEP_ALIVE_MS, LINK_VERSION, Role, SILENCE_MAX_MS, ToManager,
};

/// Messages that may wait either way. 256: bursts of views; the sender waits beyond.
const QUEUE_MAX: usize = 256;
const RECONNECT_MIN_MS: u64 = 20;
/// A manager that is back shall be found within half a second.
const RECONNECT_MAX_MS: u64 = 500;
/// A role that a manager refuses asks again so often: somebody may write it into the configuration.
const REFUSED_PAUSE_MAX_MS: u64 = 5_000;

/// Different reasons for which no connection came about that are told before one comes about. Eight: there are at most
/// five managers.
const TOLD_MAX: usize = 8;

/// What a role hears from its link.
#[derive(Debug)]
pub enum LinkEvent {
    Connected { generation: u64 },
    Message(FromManager),
    Lost { reason: String },
}

/// A role's end of the link. Dropping it ends the connection.
#[derive(Debug)]
pub struct Link {
    pub to_manager: mpsc::Sender<ToManager>,
    pub events: mpsc::Receiver<LinkEvent>,
    pub heard: Heard,
}

/// When anything came of the manager last, over the present connection or one before.
#[derive(Debug, Clone, Default)]
pub struct Heard(Rc<Cell<Option<Instant>>>);

impl Heard {
    fn now(&self) {
        self.0.set(Some(Instant::now()));
    }

    /// Milliseconds since then.
    pub fn ago_ms(&self) -> Option<u64> {
        self.0.get().map(|at| at.elapsed().as_millis() as u64)
    }
}

/// Writes one frame.
pub async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= FRAME_MAX_BYTES);
    let length =
        length.ok_or_else(|| io::Error::other(format!("frame of {} bytes is too long", body.len())))?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    stream.write_all(&frame).await?;
    // TLS may keep back what it has taken.
    stream.flush().await
}

/// Reads one frame; fails on end, silence, excess length and what does not parse. Not safe to cancel: a reader
/// that needs to do something else meanwhile reads in a task of its own.
pub async fn read_frame<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    read_frame_within(stream, Duration::from_millis(SILENCE_MAX_MS)).await
}

/// The same with another bound of silence.
pub async fn read_frame_within<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    silence: Duration,
) -> io::Result<T> {
    let read = read_bounded_frame(stream, FRAME_MAX_BYTES);
    tokio::time::timeout(silence, read).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The same with another bound of length and none of time, which the caller has to set.
pub async fn read_bounded_frame<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    length_max_bytes: u32,
) -> io::Result<T> {
    let length = stream.read_u32().await?;
    if length > length_max_bytes {
        return Err(io::Error::other(format!("frame of {length} bytes is too long")));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    serde_json::from_slice(&body).map_err(io::Error::other)
}

/// Where a role finds the manager.
#[derive(Debug, Clone)]
pub enum ManagerAt {
    /// On this machine.
    Socket(PathBuf),
    /// Where this machine's membership of a cell says; read anew for each connection, for it may change.
    Cell(identity::Place),
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Connects to one of the managers; `attempt` says which is tried.
async fn connect(manager: &ManagerAt, attempt: usize) -> Result<Box<dyn Stream>, String> {
    match manager {
        ManagerAt::Socket(path) => {
            let stream = UnixStream::connect(path).await;
            stream.map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(|error| error.to_string())
        }
        ManagerAt::Cell(place) => {
            let chain = |error: &IdentityError| crate::logging::chain(error);
            let own = identity::load(place).map_err(|error| chain(&error))?;
            let managers = place.membership().map(|membership| membership.managers).unwrap_or_default();
            let address = managers.get(attempt % managers.len().max(1));
            let address = address.ok_or("this machine knows no manager; let it join again")?;
            let config = client_config(&own, LINK_PROTOCOL).map_err(|error| chain(&error))?;
            let stream = identity::connect::connect(address, config).await;
            stream.map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(|error| chain(&error))
        }
    }
}

/// Keeps a connection to the manager until `stop` turns true or the returned `Link` is dropped.
/// Must be called within a `LocalSet`; the task ends with either.
pub fn follow(manager: ManagerAt, role: Role, mut stop: watch::Receiver<bool>) -> Link {
    let (to_manager, mut outbox) = mpsc::channel(QUEUE_MAX);
    let (events_in, events) = mpsc::channel(QUEUE_MAX);
    let heard = Heard::default();
    let hearing = heard.clone();
    tokio::task::spawn_local(async move {
        let mut highest_generation = 0;
        let mut pause_ms = RECONNECT_MIN_MS;
        let mut told: Vec<String> = Vec::new();
        for attempt in 0.. {
            // Cancelling a connection half way only closes it, which is what stopping means.
            let ended = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                ended = connection(&manager, attempt, &role, &mut highest_generation, &mut outbox, (&events_in, &hearing)) => ended,
            };
            let was_connected = matches!(ended, Ended::AfterWelcome(_));
            let pause_max_ms = match &ended {
                // It is there and says no: that does not change within a second.
                Ended::Refused(_) => REFUSED_PAUSE_MAX_MS,
                Ended::BeforeWelcome(_) | Ended::AfterWelcome(_) => RECONNECT_MAX_MS,
            };
            let (Ended::AfterWelcome(reason) | Ended::BeforeWelcome(reason) | Ended::Refused(reason)) = ended;
            if was_connected {
                pause_ms = RECONNECT_MIN_MS;
                told.clear();
                if events_in.send(LinkEvent::Lost { reason }).await.is_err() {
                    return;
                }
            } else if !told.contains(&reason) && told.len() < TOLD_MAX {
                tell(&manager, &reason);
                told.push(reason);
            }
            if events_in.is_closed() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(pause_max_ms);
        }
    });
    Link { to_manager, events, heard }
}

/// Each reason once. That the manager of this machine is not there yet is usual; one far away should be.
fn tell(manager: &ManagerAt, reason: &str) {
    match manager {
        ManagerAt::Socket(path) => {
            tracing::debug!(socket = %path.display(), reason, "manager not reached");
        }
        ManagerAt::Cell(_) => tracing::warn!(reason, "no manager takes this node's connection; trying again"),
    }
}

enum Ended {
    BeforeWelcome(String),
    Refused(String),
    AfterWelcome(String),
}

async fn connection(
    manager: &ManagerAt,
    attempt: usize,
    role: &Role,
    highest_generation: &mut u64,
    outbox: &mut mpsc::Receiver<ToManager>,
    (events, heard): (&mpsc::Sender<LinkEvent>, &Heard),
) -> Ended {
    let mut stream = match connect(manager, attempt).await {
        Ok(stream) => stream,
        Err(reason) => return Ended::BeforeWelcome(reason),
    };
    let muster = env!("CARGO_PKG_VERSION").to_owned();
    let hello = ToManager::Hello { version: LINK_VERSION, role: role.clone(), muster };
    if let Err(error) = write_frame(&mut stream, &hello).await {
        return Ended::BeforeWelcome(error.to_string());
    }
    match read_frame(&mut stream).await {
        Ok(FromManager::Welcome { generation, .. }) if generation >= *highest_generation => {
            *highest_generation = generation;
            heard.now();
            if events.send(LinkEvent::Connected { generation }).await.is_err() {
                return Ended::AfterWelcome("nobody listens".into());
            }
        }
        Ok(FromManager::Welcome { generation, .. }) => {
            return Ended::BeforeWelcome(format!(
                "generation {generation} is older than {highest_generation}"
            ));
        }
        Ok(FromManager::Refused { reason }) => return Ended::Refused(reason),
        Ok(_) => return Ended::BeforeWelcome("no welcome".into()),
        // Only now a manager on another machine has looked at our certificate.
        Err(error) => return Ended::BeforeWelcome(identity::connect::explain(&error)),
    }
    let (mut reader, mut writer) = tokio::io::split(stream);
    // Both branches hold their own half; whichever ends first ends the connection, so a lost half frame is harmless.
    let reason = tokio::select! {
        error = receive(&mut reader, events, heard) => error,
        error = send(&mut writer, outbox) => error,
    };
    Ended::AfterWelcome(reason)
}

async fn receive(
    reader: &mut (impl AsyncRead + Unpin),
    events: &mpsc::Sender<LinkEvent>,
    heard: &Heard,
) -> String {
    loop {
        let read = read_frame(reader).await;
        heard.now();
        match read {
            Ok(FromManager::KeepAlive) => {}
            Ok(message) => {
                if events.send(LinkEvent::Message(message)).await.is_err() {
                    return "nobody listens".into();
                }
            }
            Err(error) => return identity::connect::explain(&error),
        }
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), outbox: &mut mpsc::Receiver<ToManager>) -> String {
    loop {
        let keep_alive = Duration::from_millis(KEEP_ALIVE_MS);
        let message = match tokio::time::timeout(keep_alive, outbox.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => return "the role ended".into(),
            Err(_) => ToManager::KeepAlive,
        };
        if let Err(error) = write_frame(writer, &message).await {
            return error.to_string();
        }
    }
}
