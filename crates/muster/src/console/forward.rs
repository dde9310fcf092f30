//! Hands calls on to the manager that leads, where this one does not, and its answers back.
//!
//! Promises: only who is proven, and may make the call, is handed on; a call is sent again only while it cannot have
//! been carried out, or changes nothing; a call that was handed on to this manager is never handed on further. The
//! leader writes changes into the audit log, unless it may not have heard of them.

use super::answer::{self, Answer, AnswerBody};
use super::api::read_text;
use super::auth::Way;
use super::behalf::{CALLER_HEADER, ELSEWHERE_HEADER, ROLE_HEADER, caller_text};
use super::relay::Relay;
use super::routes::Call;
use super::server::{Proven, Shared};
use super::stream::EventStream;
use crate::config;
use crate::identity::{self, Place};
use crate::manager::handle::{LeaderRecord, Leadership};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::error_code;

/// Calls under way at the leader. 8: each takes milliseconds, and further ones wait.
const CALLS_MAX: usize = 8;
/// Streams that come from there. 16: with the calls fewer than a manager may have connections there, which are also
/// those of commands on its machine; and four managers leave the leader half of its own streams.
const STREAMS_MAX: usize = 16;
/// How long a call looks for a leader that takes it. Longer than the present one's lease after its loss.
const FIND_MAX: Duration = Duration::from_secs(3);
/// Pause after the leader did not take a call: it may be about to lead, or no longer.
const AGAIN: Duration = Duration::from_millis(100);
/// Longest wait for an answer. The leader itself says after 30 seconds that there is none, and commands wait for 40.
const ANSWER_MAX: Duration = Duration::from_secs(32);
/// How long an answer may take after another manager leads: the present one has lost its term, or is gone.
const OVERTAKEN_MAX: Duration = Duration::from_secs(2);
/// Longest answer. A status of a large cell has some megabytes.
const ANSWER_SIZE_MAX_BYTES: usize = 64 << 20;

/// What it takes to reach the leader.
#[derive(Debug)]
pub struct Forward {
    place: Place,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Forward {
    pub fn new(place: Place) -> Self {
        let (calls, streams) = (Semaphore::new(CALLS_MAX), Semaphore::new(STREAMS_MAX));
        Self { place, calls: Arc::new(calls), streams: Arc::new(streams) }
    }
}

/// What became of one attempt.
enum Attempt {
    Answered(Answer),
    /// Certainly nothing.
    NotDone(String),
    /// It was sent, and what came of it is not known.
    NotHeard(String),
}

/// Whether only the leader can answer. All else is in the store, which every manager knows.
fn is_for_leader(call: &Call) -> bool {
    match call {
        Call::Page
        | Call::Status
        | Call::Events
        | Call::Stream
        | Call::ActCluster { .. }
        | Call::ActGroup { .. }
        | Call::GroupMoves { .. }
        | Call::ActMember { .. }
        | Call::ActMonitor { .. }
        | Call::FenceTest { .. }
        | Call::NodeOff { .. }
        | Call::ActNode { .. }
        | Call::Power { .. }
        | Call::ConfirmLost { .. }
        | Call::NodeToken { .. }
        | Call::NodeRemove { .. }
        | Call::Config
        | Call::Apply
        | Call::History
        | Call::OldConfig { .. }
        | Call::Rollback { .. }
        | Call::Explain
        | Call::PluginCfg
        | Call::Metrics => true,
        Call::LoginPage
        | Call::Login
        | Call::Logout
        | Call::Asset(_)
        | Call::OpenApi
        | Call::Me
        | Call::OwnPassword
        | Call::Users
        | Call::UserAdd { .. }
        | Call::UserRole { .. }
        | Call::UserPassword { .. }
        | Call::UserRemove { .. }
        | Call::Tokens
        | Call::TokenCreate { .. }
        | Call::TokenRevoke { .. }
        | Call::Audit => false,
    }
}

/// The leader's answer; or the call back, which is this manager's to answer.
pub async fn hand_on(shared: &Shared, call: &Call, mut proven: Proven) -> Result<Answer, Proven> {
    let mut leadership = shared.manager.leadership.clone();
    // Where nobody leads for a moment, somebody is about to.
    let is_here = matches!(&*leadership.borrow_and_update(), Leadership::Here);
    if is_here || !is_for_leader(call) || proven.caller.way == Way::Manager {
        return Err(proven);
    }
    if matches!(call, Call::Apply) {
        match read_text(proven.request.body_mut(), config::SIZE_MAX_BYTES).await {
            Ok(text) => proven.text = Some(text),
            Err(refusal) => return Ok(*refusal),
        }
    }
    let deadline = Instant::now() + FIND_MAX;
    let mut why = String::new();
    loop {
        let leader = match &*leadership.borrow_and_update() {
            Leadership::Here => return Err(proven),
            Leadership::There(record) => Some(record.clone()),
            Leadership::Nobody => None,
        };
        if let Some(record) = &leader {
            match attempt(shared, call, &proven, record, (&mut leadership.clone(), deadline)).await {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::NotDone(reason) => why = format!(" ({}: {reason})", record.node),
                Attempt::NotHeard(reason) if proven.request.method() == Method::POST => {
                    let node = &record.node;
                    let text = format!(
                        "The leader, the manager of node {node}, did not answer ({reason}); it may have done \
                         what was asked, or may still do it. Look before you repeat it."
                    );
                    return Ok(unavailable(text));
                }
                Attempt::NotHeard(reason) => why = format!(" ({}: {reason})", record.node),
            }
        }
        let until = if leader.is_some() { deadline.min(Instant::now() + AGAIN) } else { deadline };
        // Both only wait.
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() {
                return Ok(unavailable(shared.manager.why_silent()));
            },
            () = tokio::time::sleep_until(until) => {}
        }
        if Instant::now() >= deadline {
            let text = format!(
                "No leader took the call{why}, and nothing was done. Routers and members go on meanwhile."
            );
            return Ok(unavailable(text));
        }
    }
}

fn unavailable(text: String) -> Answer {
    answer::refuse(StatusCode::SERVICE_UNAVAILABLE, error_code::MANAGER_UNAVAILABLE, text, true)
}

/// The request as the leader gets it: nothing of the caller's own headers but what a stream has seen.
fn request_of(proven: &Proven) -> Request<Full<Bytes>> {
    let body = proven.text.clone().unwrap_or_default();
    let mut request = Request::new(Full::new(Bytes::from(body)));
    // The server leaves the body of an answer to HEAD away.
    let method = if proven.request.method() == Method::POST { Method::POST } else { Method::GET };
    *request.method_mut() = method;
    let target = proven.request.uri().path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse().expect("it was a target when it came");
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_static(identity::api::HOST));
    let caller = HeaderValue::try_from(caller_text(&proven.caller.principal));
    headers.insert(CALLER_HEADER, caller.expect("names are plain ASCII"));
    headers.insert(ROLE_HEADER, HeaderValue::from_static(proven.caller.role.name()));
    if let Some(seen) = proven.request.headers().get("last-event-id") {
        headers.insert("last-event-id", seen.clone());
    }
    request
}

async fn attempt(
    shared: &Shared,
    call: &Call,
    proven: &Proven,
    leader: &LeaderRecord,
    (leadership, deadline): (&mut watch::Receiver<Leadership>, Instant),
) -> Attempt {
    let is_stream = matches!(call, Call::Stream);
    let permit = match take_place(&shared.forward, is_stream).await {
        Ok(permit) => permit,
        Err(refusal) => return Attempt::Answered(*refusal),
    };
    let mut driver = JoinSet::new();
    // What is cancelled has sent nothing.
    let connected = tokio::select! {
        connected = connect(&shared.forward.place, leader, &mut driver) => connected,
        () = overtaken(leadership, leader) => Err("it leads no longer".to_owned()),
        () = tokio::time::sleep_until(deadline) => Err("no connection came about in time".to_owned()),
    };
    let mut sender = match connected {
        Ok(sender) => sender,
        Err(why) => return Attempt::NotDone(why),
    };
    // From here on the leader writes it down.
    proven.is_handed.set(true);
    let exchange = async {
        let response = sender.send_request(request_of(proven)).await.map_err(|error| error.to_string())?;
        understand(response, is_stream).await
    };
    let heard = tokio::select! {
        heard = tokio::time::timeout(ANSWER_MAX, exchange) => {
            heard.unwrap_or_else(|_| Err("no answer came in time".to_owned()))
        }
        () = long_overtaken(leadership, leader) => Err("it leads no longer".to_owned()),
    };
    match heard {
        Ok(Exchange::Stream(body)) => {
            let relay = Relay {
                body,
                _driver: driver,
                leader: leader.clone(),
                leadership: shared.manager.leadership.clone(),
                auth: shared.auth.clone(),
                known: shared.accounts.known.clone(),
                caller: proven.caller.clone(),
                start: shared.start,
                _permit: permit,
            };
            let body = AnswerBody::Stream(EventStream::relay(relay));
            Attempt::Answered(answer::of(StatusCode::OK, "text/event-stream", body))
        }
        Ok(Exchange::Answer(answer)) => Attempt::Answered(answer),
        Ok(Exchange::Elsewhere) => {
            proven.is_handed.set(false);
            Attempt::NotDone("it does not lead".to_owned())
        }
        Err(why) => {
            proven.is_handed.set(false);
            Attempt::NotHeard(why)
        }
    }
}

/// A place among what is under way at the leader, or why there is none.
async fn take_place(forward: &Forward, is_stream: bool) -> Result<OwnedSemaphorePermit, Box<Answer>> {
    if is_stream {
        return forward.streams.clone().try_acquire_owned().map_err(|_| {
            let text = "Too many streams of events go through this manager. Close a window of the console, or \
                        open it at the leader.";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Box::new(answer::refuse(status, error_code::TOO_MANY_STREAMS, text, true))
        });
    }
    let taken = tokio::time::timeout(FIND_MAX, forward.calls.clone().acquire_owned()).await;
    taken.ok().and_then(Result::ok).ok_or_else(|| {
        let text = "Too many calls to the leader go through this manager, and nothing was done.";
        Box::new(unavailable(text.into()))
    })
}

/// The leader's status as text, by this machine's own right to look.
pub async fn fetch_status(forward: &Forward, leader: &LeaderRecord) -> Result<Bytes, String> {
    let mut driver = JoinSet::new();
    let fetching = async {
        let mut sender = connect(&forward.place, leader, &mut driver).await?;
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = "/api/v1/status".parse().expect("it is a path");
        request.headers_mut().insert(header::HOST, HeaderValue::from_static(identity::api::HOST));
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}", response.status()));
        }
        let whole = Limited::new(response.into_body(), ANSWER_SIZE_MAX_BYTES).collect().await;
        whole.map(|body| body.to_bytes()).map_err(|error| error.to_string())
    };
    tokio::time::timeout(FIND_MAX, fetching).await.unwrap_or_else(|_| Err("it did not answer in time".into()))
}

/// A connection to the leader, which ends with `driver`.
async fn connect(
    place: &Place,
    leader: &LeaderRecord,
    driver: &mut JoinSet<()>,
) -> Result<SendRequest<Full<Bytes>>, String> {
    let own = identity::load(place).map_err(|error| error.to_string())?;
    let stream = identity::api::connect_to(&own, &leader.address).await.map_err(|error| error.to_string())?;
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| error.to_string())?;
    // Whoever reads the answer hears of any error.
    driver.spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

/// What the leader, or who was it, has answered.
enum Exchange {
    Answer(Answer),
    Stream(Incoming),
    Elsewhere,
}

async fn understand(response: Response<Incoming>, is_stream: bool) -> Result<Exchange, String> {
    let (head, body) = response.into_parts();
    if head.headers.contains_key(ELSEWHERE_HEADER) {
        return Ok(Exchange::Elsewhere);
    }
    if is_stream && head.status == StatusCode::OK {
        return Ok(Exchange::Stream(body));
    }
    let whole = Limited::new(body, ANSWER_SIZE_MAX_BYTES).collect().await;
    let bytes = whole.map_err(|error| error.to_string())?.to_bytes();
    let mut answer = answer::text(head.status, "application/json", bytes);
    if let Some(content_type) = head.headers.get(header::CONTENT_TYPE) {
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
    }
    Ok(Exchange::Answer(answer))
}

/// Waits until it is not this one that leads.
pub async fn overtaken(leadership: &mut watch::Receiver<Leadership>, leader: &LeaderRecord) {
    let is_other = |now: &Leadership| !matches!(now, Leadership::There(record) if record == leader);
    // An error means that the manager of this machine ends, which is as good as not knowing.
    drop(leadership.wait_for(is_other).await);
}

/// The same, and that the answer of who led has had time to come.
async fn long_overtaken(leadership: &mut watch::Receiver<Leadership>, leader: &LeaderRecord) {
    overtaken(leadership, leader).await;
    tokio::time::sleep(OVERTAKEN_MAX).await;
}
