//! A client's stream as an HTTP/1.1 connection of one request: gives the request, takes the answer.
//!
//! What the h2 crate has refused already: names with upper case or spaces, headers of one connection, pseudo
//! headers out of place, bodies of another length than announced. What stands in the head that is written here is then
//! judged as strictly as any other (`logic::http::request`). A WebSocket (RFC 8441) becomes an upgrade.

use super::sink::{Sink, header_map, status};
use super::source::{Form, Source, write_header};
use super::{broken, send_parts};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderName, HeaderValue, SET_COOKIE, VIA};
use http::request::Parts;
use http::{Method, Request, Response};
use logic::http::HEADERS_MAX;
use logic::http::body::Framing;
use logic::http::response::ResponseHead;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// The requests of one connection.
#[derive(Debug)]
pub struct Company {
    /// Requests under way, on this connection and on all of the thread.
    pub count: Cell<u32>,
    pub of_thread: Rc<Cell<u32>>,
    /// The port that the connection came in on, whatever a PROXY header says.
    pub port: u16,
    /// Nobody listens there any more.
    pub is_unwanted: Cell<bool>,
    /// Of the connection's task, which wants to know when the last one is over, and when it is unwanted.
    pub waker: RefCell<Waker>,
}

/// The HTTP/2 connections of a thread's clients.
#[derive(Debug, Default)]
pub struct Companies(RefCell<Slab<Rc<Company>>>);

impl Companies {
    pub fn enter(&self, company: &Rc<Company>) -> usize {
        self.0.borrow_mut().insert(company.clone())
    }

    pub fn leave(&self, key: usize) {
        self.0.borrow_mut().remove(key);
    }

    /// Has those that came in on this port asked to go elsewhere.
    pub fn send_away(&self, port: u16) {
        self.send_away_where(|company| company.port == port);
    }

    pub fn send_all_away(&self) {
        self.send_away_where(|_| true);
    }

    fn send_away_where(&self, is_meant: impl Fn(&Company) -> bool) {
        for (_, company) in self.0.borrow().iter().filter(|(_, company)| is_meant(company)) {
            company.is_unwanted.set(true);
            company.waker.borrow().wake_by_ref();
        }
    }
}

/// One request among its company, until it is dropped.
#[derive(Debug)]
pub struct Seat(Rc<Company>);

impl Seat {
    pub fn take(company: &Rc<Company>) -> Self {
        company.count.set(company.count.get() + 1);
        company.of_thread.set(company.of_thread.get() + 1);
        Self(company.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Company { count, of_thread, waker, .. } = &*self.0;
        count.set(count.get() - 1);
        of_thread.set(of_thread.get() - 1);
        if count.get() == 0 {
            waker.borrow().wake_by_ref();
        }
    }
}

#[derive(Debug)]
pub struct RequestStream {
    source: Source,
    answer: Answer,
    is_head: bool,
    /// A WebSocket: 101 from the member becomes 200, and its bytes payload.
    is_connect: bool,
    _seat: Seat,
}

#[derive(Debug)]
enum Answer {
    /// Its final head is still to come. The beginning of a head that did not come in one piece is kept.
    Awaited {
        respond: SendResponse<Bytes>,
        partial: Vec<u8>,
    },
    Body(Sink),
    Over,
}

impl RequestStream {
    /// Appends the request's head to `out`; what follows is read.
    pub fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        seat: Seat,
        out: &mut Vec<u8>,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let is_connect = is_websocket(&parts);
        write_head(&parts, body.is_end_stream(), out);
        let form = match () {
            // Nothing of it is read before the member has switched.
            () if is_connect || body.is_end_stream() => Form::Over,
            () if parts.headers.contains_key(CONTENT_LENGTH) => Form::Plain,
            () => Form::Chunked,
        };
        Self {
            source: Source::new(body, Vec::new(), form),
            answer: Answer::Awaited { respond, partial: Vec::new() },
            is_head: parts.method == Method::HEAD,
            is_connect,
            _seat: seat,
        }
    }

    /// Appends so much of the body as has come already.
    pub fn read_at_hand(&mut self, context: &mut Context<'_>, most: usize, out: &mut Vec<u8>) {
        if self.source.is_over() {
            return;
        }
        let start = out.len();
        out.resize(start + most, 0);
        let mut buffer = ReadBuf::new(&mut out[start..]);
        // An error shows again when the session reads.
        let _ = self.source.poll_read(context, &mut buffer);
        let count = buffer.filled().len();
        out.truncate(start + count);
    }

    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.source.poll_read(context, buffer)
    }

    /// Ready when the client has given the request up.
    pub fn poll_stir(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.answer {
            Answer::Awaited { respond, .. } => respond.poll_reset(context).map(|reset| match reset {
                Ok(_) => Err(ErrorKind::ConnectionReset.into()),
                Err(error) => Err(broken(error)),
            }),
            Answer::Body(sink) => sink.poll_reset(context).map(Err),
            Answer::Over => Poll::Pending,
        }
    }

    /// Takes as much of the answer as the client's windows allow. An error of kind WouldBlock: nothing.
    pub fn try_send(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        send_parts(first, second, |bytes| self.send_part(bytes))
    }

    fn send_part(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.answer {
            Answer::Awaited { .. } => self.send_head(bytes),
            Answer::Body(sink) => {
                let sent = sink.send(bytes)?;
                if sink.framing().is_done() {
                    self.answer = Answer::Over;
                }
                Ok(sent)
            }
            Answer::Over => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// Takes the final head of an answer as it was read from the member. False where it must be written as text:
    /// to a WebSocket, and behind a part of another head.
    pub fn send_parsed(
        &mut self,
        head: &ResponseHead<'_, '_>,
        via: HeaderValue,
        cookie: Option<&str>,
    ) -> io::Result<bool> {
        let Answer::Awaited { respond, partial } = &mut self.answer else { return Ok(false) };
        if self.is_connect || !partial.is_empty() {
            return Ok(false);
        }
        let mut answer = Response::new(());
        *answer.status_mut() = status(head.status)?;
        let headers = answer.headers_mut();
        headers.reserve(head.header_count() + 1);
        let shared = Bytes::copy_from_slice(head.bytes());
        for (name, value) in head.fields() {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| ErrorKind::InvalidData)?;
            let start = value.as_ptr() as usize - head.bytes().as_ptr() as usize;
            // An empty value lies wherever the parser likes.
            let value =
                if value.is_empty() { Bytes::new() } else { shared.slice(start..start + value.len()) };
            let value = HeaderValue::from_maybe_shared(value).map_err(|_| ErrorKind::InvalidData)?;
            headers.append(name, value);
        }
        headers.append(VIA, via);
        if let Some(cookie) = cookie {
            headers.append(SET_COOKIE, HeaderValue::from_str(cookie).map_err(|_| ErrorKind::InvalidData)?);
        }
        let is_over = head.framing.is_done();
        let stream = respond.send_response(answer, is_over).map_err(broken)?;
        self.answer = if is_over { Answer::Over } else { Answer::Body(Sink::new(stream, head.framing)) };
        Ok(true)
    }

    /// Takes a head, or the beginning of one.
    fn send_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Answer::Awaited { respond, partial } = &mut self.answer else {
            return Err(ErrorKind::InvalidData.into());
        };
        let joined;
        let (known, whole) = if partial.is_empty() {
            (0, bytes)
        } else {
            joined = [partial.as_slice(), bytes].concat();
            (partial.len(), joined.as_slice())
        };
        let mut space = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut space);
        let invalid = |error| io::Error::new(ErrorKind::InvalidData, error);
        let length = match parsed.parse(whole).map_err(invalid)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => {
                partial.extend_from_slice(bytes);
                return Ok(bytes.len());
            }
        };
        let used = length - known;
        let head = Bytes::copy_from_slice(&whole[..length]);
        let share = |part: &[u8]| {
            let start = part.as_ptr() as usize - whole.as_ptr() as usize;
            head.slice(start..start + part.len())
        };
        let code = parsed.code.unwrap_or_default();
        let framing = framing(code, parsed.headers, self.is_head);
        let is_connect = self.is_connect;
        // The answer to a challenge that we have made up ourselves.
        let is_wanted = |name: &str| !(is_connect && name.eq_ignore_ascii_case("sec-websocket-accept"));
        let headers = header_map(parsed.headers, is_wanted, share)?;
        let mut answer = Response::new(());
        *answer.headers_mut() = headers;
        if code == 101 && is_connect {
            let sink = Sink::new(respond.send_response(answer, false).map_err(broken)?, Framing::UntilClose);
            self.source.set_form(Form::Plain);
            self.answer = Answer::Body(sink);
            return Ok(used);
        }
        *answer.status_mut() = status(code)?;
        if code < 200 {
            respond.send_informational(answer).map_err(broken)?;
            partial.clear();
            return Ok(used);
        }
        let stream = respond.send_response(answer, framing.is_done()).map_err(broken)?;
        let is_over = framing.is_done();
        self.answer = if is_over { Answer::Over } else { Answer::Body(Sink::new(stream, framing)) };
        Ok(used)
    }

    /// Ready when the client takes more of the answer.
    pub fn poll_sendable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.answer {
            Answer::Body(sink) => sink.poll_room(context),
            Answer::Awaited { .. } | Answer::Over => Poll::Ready(Ok(())),
        }
    }

    /// Ends the answer, where its end is not known by itself.
    pub fn end(&mut self) -> io::Result<()> {
        if let Answer::Body(sink) = &mut self.answer
            && sink.framing() == Framing::UntilClose
        {
            sink.end()?;
            self.answer = Answer::Over;
        }
        Ok(())
    }

    /// Tells the client that its answer was cut off.
    pub fn reset(mut self) {
        if let Answer::Body(sink) = &mut self.answer {
            sink.reset(Reason::INTERNAL_ERROR);
        }
        self.answer = Answer::Over;
    }
}

/// As with a connection that is closed: an answer that ends with it is over, any other is cut off.
impl Drop for RequestStream {
    fn drop(&mut self) {
        if let Answer::Body(sink) = &mut self.answer {
            if sink.framing() != Framing::UntilClose {
                sink.reset(Reason::INTERNAL_ERROR);
            } else if let Err(error) = sink.end() {
                tracing::debug!(%error, "the end of an answer was not taken");
            }
        }
    }
}

/// How the body of the answer that we have written ends.
fn framing(code: u16, headers: &[httparse::Header<'_>], is_head: bool) -> Framing {
    let value = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    if is_head || code < 200 || code == 204 || code == 304 {
        return Framing::Done;
    }
    if value("transfer-encoding").is_some() {
        return Framing::CHUNKED;
    }
    let length =
        value("content-length").and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    length.map_or(Framing::UntilClose, Framing::length)
}

fn is_websocket(parts: &Parts) -> bool {
    parts.method == Method::CONNECT
        && parts
            .extensions
            .get::<h2::ext::Protocol>()
            .is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Writes the head of the request as HTTP/1.1.
fn write_head(parts: &Parts, has_ended: bool, out: &mut Vec<u8>) {
    let is_websocket = is_websocket(parts);
    out.extend_from_slice(if is_websocket { b"GET" } else { parts.method.as_str().as_bytes() });
    out.push(b' ');
    let authority = parts.uri.authority().map_or("", |authority| authority.as_str());
    let target = parts.uri.path_and_query().map_or(authority, |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !authority.is_empty() {
        write_header("Host", authority.as_bytes(), out);
    }
    let mut has_cookies = false;
    for (name, value) in &parts.headers {
        let is_cookie = name == COOKIE;
        // Another Host than the authority stays beside it, and the request is refused for having two.
        let is_said = name == HOST && value.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        let is_ours = is_websocket && name == "sec-websocket-key";
        if !is_cookie && !is_said && !is_ours {
            write_header(name.as_str(), value.as_bytes(), out);
        }
        has_cookies |= is_cookie;
    }
    if has_cookies {
        let crumbs: Vec<&[u8]> = parts.headers.get_all(COOKIE).iter().map(|crumb| crumb.as_bytes()).collect();
        write_header("cookie", &crumbs.join(&b"; "[..]), out);
    }
    if is_websocket {
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ");
        out.extend_from_slice(challenge().as_bytes());
        out.extend_from_slice(b"\r\n");
    } else if !has_ended && !parts.headers.contains_key(CONTENT_LENGTH) {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// 16 bytes in base64. It proves nothing here, but members want one.
fn challenge() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::debug!(%error, "a challenge without chance");
    }
    let bits = u128::from_be_bytes(bytes);
    // 128 bits are 21 digits of six bits, two bits in a last one, and padding.
    let mut text: String =
        (0..21).map(|at| char::from(DIGITS[(bits >> (122 - 6 * at)) as usize & 63])).collect();
    text.push(char::from(DIGITS[(bits as usize & 3) << 4]));
    text + "=="
}
