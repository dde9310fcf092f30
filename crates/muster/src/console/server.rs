//! Accepts connections, proves who calls, and hands proven calls to `api`.
//!
//! Order for each request: find the route, prove the caller, refuse what another site sent, then act. Whoever has not
//! proven anything gets no answer but the login page and is closed, so that the places for connections stay with those
//! who may use them.

use super::answer::{self, Answer};
use super::auth::{Auth, Caller, Refusal};
use super::routes::{self, Call, Found};
use super::stream::Hub;
use super::{api, page};
use crate::manager::handle::ManagerHandle;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use wire::error_code;

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
    pub auth: Rc<RefCell<Auth>>,
    pub hub: Hub,
    pub streams: Arc<Semaphore>,
    pub start: Instant,
}

impl Shared {
    pub fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

/// A proven call: who, from where, and what came with it.
#[derive(Debug)]
pub struct Proven {
    pub caller: Caller,
    pub peer: SocketAddr,
    pub request: Request<Incoming>,
}

/// Serves until `stopping` turns true.
pub async fn serve(
    listener: TcpListener,
    token: String,
    manager: ManagerHandle,
    mut stopping: watch::Receiver<bool>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the console's socket is unusable"),
    };
    let shared = Rc::new(Shared {
        manager: manager.clone(),
        auth: Rc::new(RefCell::new(Auth::new(token))),
        hub: Hub::new(),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        start: Instant::now(),
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    let hub = shared.clone();
    tasks.spawn_local(async move { hub.hub.run(manager).await });
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
    let service = service_fn(move |request| {
        let shared = shared.clone();
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
        tracing::debug!(%peer, %error, "a connection to the console broke");
    }
}

async fn respond(shared: &Shared, peer: SocketAddr, request: Request<Incoming>) -> Answer {
    let found = routes::find(request.method(), request.uri().path());
    match found {
        Found::Call(Call::Asset(asset)) => {
            return closing(answer::text(StatusCode::OK, asset.content_type, asset.text));
        }
        Found::Call(Call::LoginPage) => return closing(page::login()),
        Found::Call(Call::Login) => return closing(api::login(shared, peer, request).await),
        _ => {}
    }
    let caller = match prove(shared, peer, request.headers()) {
        Ok(caller) => caller,
        Err(Refusal::NoCredential) if found == Found::Call(Call::Page) => {
            return closing(answer::see_other("/login"));
        }
        Err(refusal) => return closing(turn_away(refusal)),
    };
    let call = match found {
        Found::Call(call) => call,
        Found::OtherMethods(allowed) => {
            return wrong_method(request.method(), request.uri().path(), &allowed);
        }
        Found::Nothing => {
            let text = format!("There is nothing at {}.", request.uri().path());
            return answer::refuse(StatusCode::NOT_FOUND, error_code::NO_SUCH_CALL, text, false);
        }
    };
    if let (Caller::Session { .. }, &Method::POST) = (caller, request.method())
        && let Err(refusal) = prove_page(shared, request.headers())
    {
        tracing::warn!(%peer, path = request.uri().path(), "a browser sent a change that is not from our page");
        return turn_away(refusal);
    }
    api::carry_out(shared, call, Proven { caller, peer, request }).await
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

fn prove(shared: &Shared, peer: SocketAddr, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let now_ms = shared.now_ms();
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        let token = if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" };
        return shared.auth.borrow_mut().check_token(now_ms, peer.ip(), token).map(|()| Caller::Token);
    }
    let cookie = session_cookie(headers).ok_or(Refusal::NoCredential)?;
    shared.auth.borrow().find_session(now_ms, cookie)
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
    shared.auth.borrow().check_key(shared.now_ms(), cookie, key)
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
        Refusal::Locked { wait_ms } => {
            let seconds = wait_ms.div_ceil(1_000);
            let text = format!("Too many wrong tokens came from this address. Try again in {seconds} s.");
            let status = StatusCode::TOO_MANY_REQUESTS;
            let mut answer = answer::refuse(status, error_code::TOO_MANY_WRONG_TOKENS, text, true);
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            answer
        }
        Refusal::CrossSite => {
            let text = "A change needs the key of a page of this console. Log in again and repeat it there.";
            answer::refuse(StatusCode::FORBIDDEN, error_code::CHANGE_FROM_ELSEWHERE, text, false)
        }
    }
}

fn unauthorized(text: &str) -> Answer {
    let mut answer = answer::refuse(StatusCode::UNAUTHORIZED, error_code::NOT_LOGGED_IN, text, false);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}
