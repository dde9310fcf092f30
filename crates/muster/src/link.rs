//! The stream between a manager and a role: frames of JSON, and the role's side that reconnects for ever.
//!
//! Promise: a role hears `Connected` before any message of that connection, and `Lost` when it ends. One that keeps what
//! it is told says what it has right after each welcome.
//! A manager of a lower generation than one already seen is refused here. Not here: what messages mean.

use crate::identity::connect::connect_max;
use crate::identity::tls::client_config;
use crate::identity::{self, IdentityError};
use crate::polite;
use logic::resume;
use logic::seed::Chance;
use serde::{Serialize, de::DeserializeOwned};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{io, path::PathBuf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use wire::enrol::LINK_PROTOCOL;
use wire::link::{
    FRAME_MAX_BYTES, FromManager, Have, KEEP_ALIVE_MS, Known, LINK_VERSION, Role, SILENCE_MAX_MS, ToManager,
};

/// Messages that may wait either way. 256: bursts of views; the sender waits beyond.
const QUEUE_MAX: usize = 256;
const RECONNECT_MIN_MS: u64 = 20;
/// A manager that is back shall be found within half a second.
const RECONNECT_MAX_MS: u64 = 500;
/// A role that a manager refuses asks again so often: somebody may write it into the configuration.
const REFUSED_PAUSE_MAX_MS: u64 = 5_000;

/// Where there are several managers one that says nothing for so long is left for another. Three missed keep-alives: the
/// others can tell better than we whether it still leads.
const SILENCE_OF_SEVERAL: Duration = Duration::from_millis(3 * KEEP_ALIVE_MS);
/// How often in a row a manager's word is taken for who leads before there is a pause. Managers may be about to agree.
const REDIRECTS_MAX: u32 = 3;

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
    let mut frame = vec![0; 4];
    polite::to_json(message, &mut frame).map_err(io::Error::other)?;
    let body_bytes = frame.len() - 4;
    let length = u32::try_from(body_bytes).ok().filter(|length| *length <= FRAME_MAX_BYTES);
    let length =
        length.ok_or_else(|| io::Error::other(format!("frame of {body_bytes} bytes is too long")))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
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
    polite::from_json(&read_body(stream, length_max_bytes).await?).map_err(io::Error::other)
}

async fn read_body(stream: &mut (impl AsyncRead + Unpin), length_max_bytes: u32) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    if length > length_max_bytes {
        return Err(io::Error::other(format!("frame of {length} bytes is too long")));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// Reads the next message that this version knows, and skips others. Not safe to cancel, as `read_frame`.
pub async fn read_known<T: DeserializeOwned + Known>(
    stream: &mut (impl AsyncRead + Unpin),
    silence: Duration,
) -> io::Result<T> {
    loop {
        let read = read_body(stream, FRAME_MAX_BYTES);
        let body = tokio::time::timeout(silence, read).await;
        let body = body.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let error = match polite::from_json(&body) {
            Ok(message) => return Ok(message),
            Err(error) => error,
        };
        match name_of(&body) {
            Some(name) if !T::NAMES.contains(&name.as_str()) => {
                tracing::debug!(name, "a message of a newer version is skipped");
            }
            Some(_) | None => return Err(io::Error::other(error)),
        }
    }
}

/// The name of a message: it stands alone, or before what it holds.
fn name_of(body: &[u8]) -> Option<String> {
    if let Ok(name) = serde_json::from_slice::<String>(body) {
        return Some(name);
    }
    let fields: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_slice(body).ok()?;
    let mut names = fields.into_keys();
    names.next().filter(|_| names.next().is_none())
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

/// Which manager is tried next.
#[derive(Debug, Default)]
struct Search {
    /// Counts through the managers that are known.
    attempt: usize,
    /// Who leads, as another manager said.
    leader: Option<String>,
    redirects: u32,
}

/// How long one manager is waited for.
#[derive(Debug, Clone, Copy)]
struct Waits {
    connect: Duration,
    silence: Duration,
}

/// Connects to one of the managers.
async fn connect(manager: &ManagerAt, search: &mut Search) -> Result<(Box<dyn Stream>, Waits), String> {
    let only =
        Waits { connect: identity::connect::CONNECT_MAX, silence: Duration::from_millis(SILENCE_MAX_MS) };
    match manager {
        ManagerAt::Socket(path) => {
            let stream = UnixStream::connect(path).await;
            let stream = stream.map_err(|error| error.to_string())?;
            Ok((Box::new(stream), only))
        }
        ManagerAt::Cell(place) => {
            let chain = |error: &IdentityError| crate::logging::chain(error);
            let own = identity::load(place).map_err(|error| chain(&error))?;
            let managers = place.membership().map(|membership| membership.managers).unwrap_or_default();
            let waits = match managers.len() {
                0 | 1 => only,
                several => Waits { connect: connect_max(several), silence: SILENCE_OF_SEVERAL },
            };
            let address = match search.leader.take() {
                Some(leader) => leader,
                None => {
                    let address = managers.get(search.attempt % managers.len().max(1)).cloned();
                    search.attempt = search.attempt.wrapping_add(1);
                    address.ok_or("this machine knows no manager; let it join again")?
                }
            };
            let config = client_config(&own, LINK_PROTOCOL).map_err(|error| chain(&error))?;
            let stream = identity::connect::connect_within(&address, config, waits.connect).await;
            let stream = stream.map_err(|error| chain(&error))?;
            Ok((Box::new(stream), waits))
        }
    }
}

/// What a role has, asked for at each welcome.
pub type Having = Rc<dyn Fn() -> Have>;

/// A print of a message: the same text makes the same one. None: it cannot be written.
pub fn print_of(message: &impl Serialize) -> Option<u64> {
    let text = serde_json::to_vec(message).ok()?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Some(hasher.finish())
}

/// A start of chance that differs from that of other processes; the same where the system has none.
fn chance() -> Chance {
    let mut seed = [0; 8];
    if let Err(error) = getrandom::fill(&mut seed) {
        tracing::warn!(%error, "the pauses between attempts to reach a manager are not random");
    }
    Chance::new(u64::from_ne_bytes(seed))
}

/// Keeps a connection to the manager that leads until `stop` turns true or the returned `Link` is dropped. `obeyed` is
/// the highest generation that the role has obeyed before; `having` is there for a role that keeps what it is told. Must be called within a `LocalSet`; the task ends with either.
pub fn follow(
    manager: ManagerAt,
    role: Role,
    obeyed: u64,
    having: Option<Having>,
    mut stop: watch::Receiver<bool>,
) -> Link {
    let (to_manager, mut outbox) = mpsc::channel(QUEUE_MAX);
    let (events_in, events) = mpsc::channel(QUEUE_MAX);
    let heard = Heard::default();
    let hearing = heard.clone();
    tokio::task::spawn_local(async move {
        let mut highest_generation = obeyed;
        let mut search = Search::default();
        let mut pause_ms = RECONNECT_MIN_MS;
        let mut chance = chance();
        let speaker = Speaker { role, having };
        let mut told: Vec<String> = Vec::new();
        loop {
            // Cancelling a connection half way only closes it, which is what stopping means.
            let ended = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                ended = connection(&manager, &mut search, &speaker, &mut highest_generation, &mut outbox, (&events_in, &hearing)) => ended,
            };
            let pause_max_ms = match &ended {
                // It is there and says no: that does not change within a second.
                Ended::Refused(_) => REFUSED_PAUSE_MAX_MS,
                Ended::BeforeWelcome(_) | Ended::AfterWelcome(_) | Ended::Elsewhere(_) => RECONNECT_MAX_MS,
            };
            match ended {
                Ended::Elsewhere(leader) if leader.is_some() && search.redirects < REDIRECTS_MAX => {
                    search.leader = leader;
                    search.redirects += 1;
                    continue;
                }
                Ended::Elsewhere(_) => tell(&manager, &mut told, "no manager leads".to_owned()),
                Ended::BeforeWelcome(reason) | Ended::Refused(reason) => tell(&manager, &mut told, reason),
                Ended::AfterWelcome(reason) => {
                    pause_ms = RECONNECT_MIN_MS;
                    told.clear();
                    if events_in.send(LinkEvent::Lost { reason }).await.is_err() {
                        return;
                    }
                }
            }
            search.redirects = 0;
            if events_in.is_closed() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(resume::pause_ms(pause_ms, &mut chance))).await;
            pause_ms = (pause_ms * 2).min(pause_max_ms);
        }
    });
    Link { to_manager, events, heard }
}

/// Each reason once. That the manager of this machine is not there yet is usual; one far away should be.
fn tell(manager: &ManagerAt, told: &mut Vec<String>, reason: String) {
    if told.contains(&reason) || told.len() >= TOLD_MAX {
        return;
    }
    match manager {
        ManagerAt::Socket(path) => {
            tracing::debug!(socket = %path.display(), reason, "manager not reached");
        }
        ManagerAt::Cell(_) => tracing::warn!(reason, "no manager takes this node's connection; trying again"),
    }
    told.push(reason);
}

enum Ended {
    BeforeWelcome(String),
    Refused(String),
    AfterWelcome(String),
    /// Another manager leads, at this address if it is known.
    Elsewhere(Option<String>),
}

/// Whose connection it is.
struct Speaker {
    role: Role,
    having: Option<Having>,
}

async fn connection(
    manager: &ManagerAt,
    search: &mut Search,
    speaker: &Speaker,
    highest_generation: &mut u64,
    outbox: &mut mpsc::Receiver<ToManager>,
    (events, heard): (&mpsc::Sender<LinkEvent>, &Heard),
) -> Ended {
    let (mut stream, waits) = match connect(manager, search).await {
        Ok(connected) => connected,
        Err(reason) => return Ended::BeforeWelcome(reason),
    };
    let muster = env!("CARGO_PKG_VERSION").to_owned();
    let hello = ToManager::Hello {
        version: LINK_VERSION,
        role: speaker.role.clone(),
        muster,
        generation: *highest_generation,
        resumes: speaker.having.is_some(),
        carries: matches!(speaker.role, Role::Agent { .. }),
        powers: matches!(speaker.role, Role::Agent { .. }),
    };
    if let Err(error) = write_frame(&mut stream, &hello).await {
        return Ended::BeforeWelcome(error.to_string());
    }
    match read_known(&mut stream, waits.silence).await {
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
        Ok(FromManager::NotLeader { leader }) => return Ended::Elsewhere(leader),
        Ok(_) => return Ended::BeforeWelcome("no welcome".into()),
        // Only now a manager on another machine has looked at our certificate.
        Err(error) => return Ended::BeforeWelcome(identity::connect::explain(&error)),
    }
    if let Some(having) = &speaker.having {
        let have = ToManager::Have(having());
        // Nobody notices meanwhile that nothing comes.
        match tokio::time::timeout(waits.silence, write_frame(&mut stream, &have)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ended::AfterWelcome(error.to_string()),
            Err(_) => return Ended::AfterWelcome("the manager takes nothing".into()),
        }
    }
    let (mut reader, mut writer) = tokio::io::split(stream);
    // Both branches hold their own half; whichever ends first ends the connection, so a lost half frame is harmless.
    let reason = tokio::select! {
        error = receive(&mut reader, events, (heard, waits.silence)) => error,
        error = send(&mut writer, outbox) => error,
    };
    Ended::AfterWelcome(reason)
}

async fn receive(
    reader: &mut (impl AsyncRead + Unpin),
    events: &mpsc::Sender<LinkEvent>,
    (heard, silence): (&Heard, Duration),
) -> String {
    loop {
        let read = read_known(reader, silence).await;
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

#[cfg(test)]
mod tests;
