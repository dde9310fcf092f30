//! What the sample application answers. JSON when `Accept` names it, else small text.
//!
//! | address | answer |
//! | --- | --- |
//! | `/` | the member, and how many requests this session made (cookie `JSESSIONID`) |
//! | `/healthz`, `/health` | `ok` |
//! | `/slow?ms=N` | after N milliseconds (at most 600,000) |
//! | `/bytes/N` | N bytes, streamed |
//! | `/echo` | the request as it was received: text is streamed; as JSON a body up to 1 MiB |
//! | `/status/N` | status N (200 to 599) |
//! | `/crash` | an answer, and when it is sent the process ends with status 70. First the answer: a router may |
//! |          | repeat a GET that got none elsewhere, and one call would crash every member |

use super::sessions::Sessions;
use super::{CRASH_EXIT_STATUS, CRASH_WAIT};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_TYPE, COOKIE, HeaderValue, SET_COOKIE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

const COOKIE_NAME: &str = "JSESSIONID";
/// Longest wait of `/slow`. Ten minutes: longer than every time-out that one may want to try.
const SLOW_MAX_MS: u64 = 600_000;
/// Longest body that `/echo` keeps whole, for JSON. 1 MiB: memory stays bounded whoever asks.
const ECHO_JSON_MAX_BYTES: usize = 1 << 20;
/// Body bytes handed over at once. 16 KiB: a few of these per connection is all that a large body costs.
const PIECE_BYTES: usize = 16 << 10;
static PIECE: [u8; PIECE_BYTES] = pattern();

type AnswerBody = UnsyncBoxBody<Bytes, hyper::Error>;
type Answer = Response<AnswerBody>;

#[derive(Debug)]
pub struct Application {
    member: String,
    clone_id: String,
    sessions: RefCell<Sessions>,
}

impl Application {
    pub fn new(member: String, clone_id: String) -> Self {
        Self { member, clone_id, sessions: RefCell::default() }
    }

    /// `crashes` is set when the process must end after this answer.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        crashes: &Cell<bool>,
    ) -> Result<Answer, hyper::Error> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let mut answer = if path == "/echo" {
            echo(&head, body).await?
        } else if path == "/" {
            self.greet(&head)
        } else if path == "/healthz" || path == "/health" {
            say(&head, StatusCode::OK, "ok\n", json!({ "ok": true }))
        } else if path == "/slow" {
            self.slow(&head).await
        } else if path == "/crash" {
            crashes.set(true);
            self.crash(&head)
        } else if let Some(count) = path.strip_prefix("/bytes/") {
            bytes(&head, count)
        } else if let Some(status) = path.strip_prefix("/status/") {
            status_answer(&head, status)
        } else {
            refuse(&head, StatusCode::NOT_FOUND, &format!("nothing is at {path}"))
        };
        if let Ok(member) = HeaderValue::from_str(&self.member) {
            answer.headers_mut().insert("x-member", member);
        }
        Ok(answer)
    }

    fn greet(&self, head: &Parts) -> Answer {
        if ![Method::GET, Method::HEAD, Method::POST].contains(&head.method) {
            let mut answer = refuse(head, StatusCode::METHOD_NOT_ALLOWED, "use GET, HEAD or POST");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            return answer;
        }
        let mut random = [0; 23];
        if getrandom::fill(&mut random).is_err() {
            return refuse(head, StatusCode::INTERNAL_SERVER_ERROR, "no random numbers for a session id");
        }
        let visit = self.sessions.borrow_mut().visit(session_cookie(head), &self.clone_id, random);
        let text = format!(
            "This is {}.\nSession {}: {} request{} here.\n",
            self.member,
            visit.id,
            visit.count,
            if visit.count == 1 { "" } else { "s" }
        );
        let as_json = json!({
            "member": self.member,
            "clone_id": self.clone_id,
            "session": visit.id,
            "count": visit.count,
            "is_new": visit.new_cookie.is_some() && visit.count == 1,
        });
        let mut answer = say(head, StatusCode::OK, &text, as_json);
        let cookie = visit.new_cookie.map(|value| format!("{COOKIE_NAME}={value}; Path=/; HttpOnly"));
        // A clone id that no header may hold only costs affinity.
        if let Some(value) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
            answer.headers_mut().insert(SET_COOKIE, value);
        }
        answer
    }

    async fn slow(&self, head: &Parts) -> Answer {
        let query = head.uri.query().unwrap_or_default();
        let asked = query.split('&').find_map(|pair| pair.strip_prefix("ms="));
        let wait_ms = asked.and_then(|text| text.parse().ok()).filter(|wait_ms| *wait_ms <= SLOW_MAX_MS);
        let Some(wait_ms) = wait_ms else {
            let why = format!("say how long: /slow?ms=N with N from 0 to {SLOW_MAX_MS}");
            return refuse(head, StatusCode::BAD_REQUEST, &why);
        };
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let text = format!("{} answered after {wait_ms} ms\n", self.member);
        say(head, StatusCode::OK, &text, json!({ "member": self.member, "waited_ms": wait_ms }))
    }

    fn crash(&self, head: &Parts) -> Answer {
        // The connection's end ends the process; this is for a client that does not read.
        tokio::task::spawn_local(async {
            tokio::time::sleep(CRASH_WAIT).await;
            std::process::exit(CRASH_EXIT_STATUS);
        });
        let text = format!("{} crashes now\n", self.member);
        let mut answer = say(head, StatusCode::OK, &text, json!({ "member": self.member, "crashes": true }));
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}

fn bytes(head: &Parts, count: &str) -> Answer {
    let Ok(left) = count.parse() else {
        return refuse(head, StatusCode::BAD_REQUEST, "say how many: /bytes/N");
    };
    let mut answer = Response::new(Pieces { left }.map_err(|never| match never {}).boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    answer
}

fn status_answer(head: &Parts, text: &str) -> Answer {
    let status = text.parse().ok().filter(|number| (200..=599).contains(number));
    match status.and_then(|number| StatusCode::from_u16(number).ok()) {
        Some(status) => {
            let number = status.as_u16();
            say(head, status, &format!("status {number}\n"), json!({ "status": number }))
        }
        None => refuse(head, StatusCode::BAD_REQUEST, "say which: /status/N with N from 200 to 599"),
    }
}

async fn echo(head: &Parts, body: Incoming) -> Result<Answer, hyper::Error> {
    let target = head.uri.path_and_query().map_or("/echo", |target| target.as_str());
    if !wants_json(head) {
        let mut text = format!("{} {target} {:?}\n", head.method, head.version).into_bytes();
        for (name, value) in &head.headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
        text.push(b'\n');
        let body = Echo { head: Some(text.into()), body };
        let mut answer = Response::new(body.boxed_unsync());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        return Ok(answer);
    }
    let Ok(body) = Limited::new(body, ECHO_JSON_MAX_BYTES).collect().await else {
        let why = format!("as JSON at most {ECHO_JSON_MAX_BYTES} bytes are echoed; text has no bound");
        let mut answer = refuse(head, StatusCode::PAYLOAD_TOO_LARGE, &why);
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return Ok(answer);
    };
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let as_json = json!({
        "method": head.method.as_str(),
        "target": target,
        "headers": headers,
        "body": String::from_utf8_lossy(&body.to_bytes()),
    });
    Ok(say(head, StatusCode::OK, "", as_json))
}

fn wants_json(head: &Parts) -> bool {
    let accepted = head.headers.get_all(ACCEPT);
    accepted.iter().any(|value| value.to_str().is_ok_and(|text| text.contains("application/json")))
}

/// The value of the first cookie of our name.
fn session_cookie(head: &Parts) -> Option<&str> {
    let lines = head.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().split_once('=').filter(|(name, _)| *name == COOKIE_NAME))
        .map(|(_, value)| value)
}

fn say(head: &Parts, status: StatusCode, text: &str, as_json: Value) -> Answer {
    let (content_type, body) = match wants_json(head) {
        true => ("application/json", format!("{as_json}\n")),
        false => ("text/plain; charset=utf-8", text.to_owned()),
    };
    let is_empty = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let body = if is_empty { Bytes::new() } else { body.into() };
    let mut answer =
        Response::new(Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    if !is_empty {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    answer
}

fn refuse(head: &Parts, status: StatusCode, why: &str) -> Answer {
    say(head, status, &format!("{why}\n"), json!({ "error": why }))
}

/// As many bytes of the pattern as are left.
struct Pieces {
    left: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let count = self.left.min(PIECE_BYTES as u64);
        self.left -= count;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE[..count as usize])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The head of a request, then its body as it comes.
struct Echo {
    head: Option<Bytes>,
    body: Incoming,
}

impl Body for Echo {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.head.take() {
            Some(head) => Poll::Ready(Some(Ok(Frame::data(head)))),
            None => Pin::new(&mut self.body).poll_frame(context),
        }
    }
}

/// Lines of 64 characters, so that a piece that is lost or doubled shows.
const fn pattern() -> [u8; PIECE_BYTES] {
    let mut bytes = [b'\n'; PIECE_BYTES];
    let mut index = 0;
    while index < PIECE_BYTES {
        if index % 64 != 63 {
            bytes[index] = b'0' + ((index / 64 + index % 64) % 75) as u8;
        }
        index += 1;
    }
    bytes
}
