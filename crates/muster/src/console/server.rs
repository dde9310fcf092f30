//! Accepts connections, proves who calls, and hands proven calls to `api`.
//!
//! Order for each request: find the route, prove the caller, refuse what another site sent and what the role does not
//! allow, then act, and write down what changed or was to change. Whoever has not proven anything gets no answer but
//! the login page and is closed, so that the places for connections stay with those who may use them.

use super::answer::{self, Answer};
use super::auth::{Auth, Caller, Moment, Refusal, Way};
use super::forward::Forward;
use super::last_known::{self, LastKnown};
use super::noting::Noting;
use super::routes::{self, Call, Found, Need};
use super::stream::Hub;
use super::{api, behalf, login, nodes, page};
use crate::accounts::AccountsHandle;
use crate::accounts::password::Hasher;
use crate::identity::{Place, now_us};
use crate::manager::handle::{ManagerHandle, NodeCallers, SpeaksFor};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use logic::account::{Known, Principal};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use wire::account::Role;
use wire::error_code::{self, ErrorCode};
use wire::id::NodeName;

/// Connections at the same time; further ones wait to be accepted. 256: every operator with several windows.
pub const CONNECTIONS_MAX: usize = 256;
/// Streams of events at the same time, so that they never take all connections.
const STREAMS_MAX: usize = 128;
/// Longest request head. A browser's cookies and an URL to explain fit with room to spare.
const HEAD_SIZE_MAX_BYTES: usize = 32 << 10;
/// Headers of one request. 100: browsers send some twenty, proxies in front add a few.
const HEADERS_MAX: usize = 100;
/// From the first byte of a head to its last, and between two requests.
const HEAD_MAX_MS: u64 = 15_000;
/// A peer that takes nothing for this long is gone.
const UNREAD_MAX_MS: u64 = 20_000;
/// When the console stops, answers under way get this long.
const STOP_GRACE_MS: u64 = 500;
/// After a failed accept (no file descriptors left), so that others can close some.
const ACCEPT_PAUSE_MS: u64 = 100;

/// The cookie that names a browser's session.
pub const SESSION_COOKIE: &str = "muster_session";
/// The header by which a page shows that it is ours.
pub const KEY_HEADER: &str = "x-muster-key";

/// What all connections share; one thread, so nothing is locked.
#[derive(Debug)]
pub struct Shared {
    pub manager: ManagerHandle,
    pub accounts: AccountsHandle,
    pub auth: Rc<RefCell<Auth>>,
    pub hasher: Hasher,
    pub hub: Hub,
    pub streams: Arc<Semaphore>,
    /// The way to the manager that leads, while this one does not.
    pub forward: Forward,
    /// For while nobody leads.
    pub last_known: LastKnown,
    pub start: Instant,
}

impl Shared {
    /// Users and tokens as they are now.
    pub fn known(&self) -> Arc<Known> {
        self.accounts.known.borrow().clone()
    }

    /// Whose token this is.
    pub fn check_token(&self, from: IpAddr, offered: &str) -> Result<Principal, Refusal> {
        let known = self.known();
        let mut auth = self.auth.borrow_mut();
        // Nobody has guessed wrong as long as nobody knows what is right.
        if !self.accounts.is_read() && !auth.is_administrators(offered) {
            return Err(Refusal::NotKnownYet);
        }
        auth.check_token(self.moment(&known), from, offered)
    }

    pub fn moment<'a>(&self, known: &'a Known) -> Moment<'a> {
        moment(known, self.start)
    }
}

/// Now, by both clocks; `start` is that of the steady one.
pub fn moment(known: &Known, start: Instant) -> Moment<'_> {
    Moment { known, now_ms: start.elapsed().as_millis() as u64, unix_ms: now_us() / 1_000 }
}

/// From where somebody calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    /// The machine of the cell that its certificate has proven, on the cell's own connections.
    pub node: Option<NodeName>,
    pub speaks_for: SpeaksFor,
}

/// A proven call: who, from where, and what came with it.
#[derive(Debug)]
pub struct Proven {
    pub caller: Caller,
    pub peer: Peer,
    pub request: Request<Incoming>,
    /// The body, once it was read.
    pub text: Option<String>,
    /// The leader has the call, and writes it down.
    pub is_handed: Rc<Cell<bool>>,
}

/// Whom the console asks, and who comes to it by the manager.
#[derive(Debug)]
pub struct Asked {
    pub manager: ManagerHandle,
    pub accounts: AccountsHandle,
    pub callers: Option<NodeCallers>,
    /// Where this machine keeps who it is in the cell.
    pub place: Place,
}

/// Serves until `stopping` turns true.
pub async fn serve(listener: TcpListener, token: String, asked: Asked, mut stopping: watch::Receiver<bool>) {
    let Asked { manager, accounts, callers, place } = asked;
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the console's socket is unusable"),
    };
    let shared = Rc::new(Shared {
        manager: manager.clone(),
        accounts,
        auth: Rc::new(RefCell::new(Auth::new(token))),
        hasher: Hasher::new(),
        hub: Hub::new(),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        forward: Forward::new(place),
        last_known: LastKnown::default(),
        start: Instant::now(),
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    let hub = shared.clone();
    tasks.spawn_local(async move { hub.hub.run(manager).await });
    let knowing = shared.clone();
    tasks.spawn_local(async move { last_known::keep(&knowing).await });
    if let Some(callers) = callers {
        tasks.spawn_local(nodes::serve(shared.clone(), callers, stopping.clone()));
    }
    loop {
        // Nothing is lost by cancelling: a place that is not taken stays free, and a task that ended is told once.
        let place = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(ended) = tasks.join_next() => { note_end(ended); continue }
            place = places.clone().acquire_owned() => place.expect("nobody closes this semaphore"),
        };
        // Accepting takes nothing when another branch wins; the place is given back by dropping it.
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(ended) = tasks.join_next() => { note_end(ended); continue }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(shared.clone(), stream, peer, stopping.clone());
                tasks.spawn_local(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the console could not accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
    let grace = Duration::from_millis(STOP_GRACE_MS);
    // The hub and streams have no end of their own; `shutdown` ends and joins what is left.
    let _ = tokio::time::timeout(grace, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
}

/// A panic has cost one connection, or the hub, whose streams then end.
fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of the console broke");
    }
}

async fn connection(
    shared: Rc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    mut stopping: watch::Receiver<bool>,
) {
    let socket = socket2::SockRef::from(&stream);
    let limits = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(Duration::from_millis(UNREAD_MAX_MS))));
    if let Err(error) = limits {
        tracing::debug!(%peer, %error, "a connection ended before it began");
        return;
    }
    let peer = Peer { address: peer, node: None, speaks_for: SpeaksFor::Itself };
    serve_http(shared, stream, peer, &mut stopping).await;
}

/// Serves one connection to its end.
pub async fn serve_http(
    shared: Rc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: Peer,
    stopping: &mut watch::Receiver<bool>,
) {
    let address = peer.address;
    let service = service_fn(move |request| {
        let (shared, peer) = (shared.clone(), peer.clone());
        async move { Ok::<_, Infallible>(respond(&shared, peer, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_MAX_MS))
        .max_buf_size(HEAD_SIZE_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    // Not cancelled by the stop: told to finish the answer under way, then awaited to its end.
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stopping.wait_for(|stop| *stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "a connection to the console broke");
    }
}

async fn respond(shared: &Shared, peer: Peer, request: Request<Incoming>) -> Answer {
    let found = routes::find(request.method(), request.uri().path());
    match found {
        Found::Call(Call::Asset(asset), _) => {
            return closing(answer::text(StatusCode::OK, asset.content_type, asset.text));
        }
        Found::Call(Call::LoginPage, _) => return closing(page::login()),
        Found::Call(Call::Login, _) => return closing(login::login(shared, peer, request).await),
        Found::Call(Call::OwnPassword, _) => {
            return closing(login::own_password(shared, peer, request).await);
        }
        _ => {}
    }
    let caller = match prove(shared, &peer, request.headers()) {
        Ok(caller) => caller,
        Err(Refusal::NoCredential) if matches!(found, Found::Call(Call::Page, _)) => {
            return closing(answer::see_other("/login"));
        }
        Err(refusal) => {
            let answer = turn_away(refusal);
            if refusal == Refusal::NotLeading {
                // Who sent it looks for the leader, and nothing has come of it here.
                return closing(answer);
            }
            if let Found::Call(call, _) = &found
                && let Some(noting) = Noting::begin(shared, call, &peer, None)
            {
                noting.end(&answer).await;
            }
            return closing(answer);
        }
    };
    let (call, need) = match found {
        Found::Call(call, need) => (call, need),
        Found::OtherMethods(allowed) => {
            return wrong_method(request.method(), request.uri().path(), &allowed);
        }
        Found::Nothing => {
            let text = format!("There is nothing at {}.", request.uri().path());
            return answer::refuse(StatusCode::NOT_FOUND, error_code::NO_SUCH_CALL, text, false);
        }
    };
    let is_for_another = caller.way == Way::Manager;
    let refusal = refuse(shared, &caller, need, &request);
    let mut noting = Noting::begin(shared, &call, &peer, Some(&caller));
    if let (Some(noting), Call::ActGroup { .. } | Call::ActNode { .. } | Call::Power { .. }) =
        (&mut noting, &call)
        && is_dry_run(&request)
    {
        noting.is_dry_run();
    }
    let answer = match refusal {
        Some(refusal) => refusal,
        None => {
            let is_handed = noting.as_ref().map(|noting| noting.is_handed.clone()).unwrap_or_default();
            let proven = Proven { caller, peer, request, text: None, is_handed };
            api::answer(shared, call, proven).await
        }
    };
    if let Some(noting) = noting {
        noting.end(&answer).await;
    }
    // Each call for another has a connection of its own, at whose beginning it is looked at who is a manager.
    if is_for_another { closing(answer) } else { answer }
}

/// Whether a call that could change something is only to tell what would follow.
fn is_dry_run(request: &Request<Incoming>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == "dry_run=true")
}

/// Why somebody who is known may not do this, if so.
fn refuse(shared: &Shared, caller: &Caller, need: Need, request: &Request<Incoming>) -> Option<Answer> {
    if let (Way::Session { .. }, &Method::POST) = (caller.way, request.method())
        && let Err(refusal) = prove_page(shared, request.headers())
    {
        return Some(turn_away(refusal));
    }
    match need {
        Need::Role(least) if caller.role < least => Some(role_not_enough(caller, least)),
        Need::Role(_) | Need::Nothing => None,
    }
}

fn role_not_enough(caller: &Caller, least: Role) -> Answer {
    let Caller { principal, role, way } = caller;
    let hint = match way {
        Way::Certificate => {
            "; a machine's certificate alone only looks: show a token (--token-file or MUSTER_TOKEN)"
        }
        Way::Token | Way::Session { .. } | Way::Manager => "",
    };
    let text = format!("This needs the role {least}, and {principal} has the role {role}{hint}.");
    answer::refuse(StatusCode::FORBIDDEN, error_code::ROLE_NOT_ENOUGH, text, false)
}

/// An answer to somebody unproven, after which the connection ends.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn wrong_method(method: &Method, path: &str, allowed: &str) -> Answer {
    let text = format!("{method} is not possible at {path}; allowed: {allowed}.");
    let mut answer = answer::refuse(StatusCode::METHOD_NOT_ALLOWED, error_code::NO_SUCH_CALL, text, false);
    let allowed = HeaderValue::from_str(allowed).expect("names of methods are plain letters");
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}

fn prove(shared: &Shared, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let known = shared.known();
    let moment = shared.moment(&known);
    if let Some(said) = behalf::prove(peer.speaks_for, headers) {
        return said;
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        let token = if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" };
        let principal = shared.check_token(peer.address.ip(), token)?;
        let role = known.role_of(&principal, moment.unix_ms).ok_or(Refusal::ExpiredToken)?;
        return Ok(Caller { principal, role, way: Way::Token });
    }
    if let Some(node) = &peer.node {
        let principal = Principal::Node(node.clone());
        let role = known.role_of(&principal, moment.unix_ms).ok_or(Refusal::NoCredential)?;
        return Ok(Caller { principal, role, way: Way::Certificate });
    }
    let cookie = session_cookie(headers).ok_or(Refusal::NoCredential)?;
    shared.auth.borrow().find_session(moment, cookie)
}

/// The value of our cookie, if there is exactly one.
pub fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(SESSION_COOKIE)?.strip_prefix('='));
    let value = values.next()?;
    if values.next().is_some() { None } else { Some(value) }
}

/// Whether a change that a browser asks for comes from our own page: the same origin, and the page's key.
fn prove_page(shared: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    if !is_same_origin(headers) {
        return Err(Refusal::CrossSite);
    }
    let cookie = session_cookie(headers).ok_or(Refusal::NoCredential)?;
    let key = headers.get(KEY_HEADER).and_then(|key| key.to_str().ok()).ok_or(Refusal::CrossSite)?;
    let now_ms = shared.start.elapsed().as_millis() as u64;
    shared.auth.borrow().check_key(now_ms, cookie, key)
}

/// Browsers say where a request comes from, in one header or the other; what says neither is not a browser's page.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
    {
        return false;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    match (host, origin) {
        (Some(host), Some(origin)) => {
            let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
        }
        (_, None) => headers.contains_key("sec-fetch-site"),
        (None, Some(_)) => false,
    }
}

/// The answer to somebody who may not.
pub fn turn_away(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::NoCredential => unauthorized("This needs a login or `Authorization: Bearer TOKEN`."),
        Refusal::WrongToken => unauthorized("This token is not the right one."),
        Refusal::NotKnownYet => {
            let text =
                "The manager has not reached its store yet, and knows neither users nor tokens before.";
            answer::refuse(StatusCode::SERVICE_UNAVAILABLE, error_code::STORE_NOT_REACHED, text, true)
        }
        Refusal::NotForOthers => {
            let text = "Only a manager of this cell may say for whom it calls, and this machine is none.";
            answer::refuse(StatusCode::FORBIDDEN, error_code::NODE_REFUSED, text, false)
        }
        Refusal::NotLeading => {
            let text = "This manager does not lead, and nothing was done.";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let mut answer = answer::refuse(status, error_code::MANAGER_UNAVAILABLE, text, true);
            answer.headers_mut().insert(behalf::ELSEWHERE_HEADER, HeaderValue::from_static("1"));
            answer
        }
        Refusal::WrongPassword => unauthorized("There is no such user with this password."),
        Refusal::ExpiredToken => {
            let text = "This token has expired. An administrator makes another one: `muster token create`.";
            let status = StatusCode::UNAUTHORIZED;
            challenging(answer::refuse(status, error_code::TOKEN_EXPIRED, text, false))
        }
        Refusal::Locked { wait_ms } => {
            let text = "Too many wrong tokens or passwords came from this address.";
            locked(error_code::TOO_MANY_WRONG_TOKENS, text, wait_ms)
        }
        Refusal::UserLocked { wait_ms } => {
            locked(error_code::USER_LOCKED, "Too many wrong passwords were tried for this user.", wait_ms)
        }
        Refusal::CrossSite => {
            let text = "A change needs the key of a page of this console. Log in again and repeat it there.";
            answer::refuse(StatusCode::FORBIDDEN, error_code::CHANGE_FROM_ELSEWHERE, text, false)
        }
    }
}

fn locked(code: ErrorCode, text: &str, wait_ms: u64) -> Answer {
    let seconds = wait_ms.div_ceil(1_000);
    let text = format!("{text} Try again in {seconds} s.");
    let mut answer = answer::refuse(StatusCode::TOO_MANY_REQUESTS, code, text, true);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

fn unauthorized(text: &str) -> Answer {
    challenging(answer::refuse(StatusCode::UNAUTHORIZED, error_code::NOT_LOGGED_IN, text, false))
}

fn challenging(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}
