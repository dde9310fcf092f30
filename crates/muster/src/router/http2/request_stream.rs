//! A client's stream as an HTTP/1.1 connection of one request: gives the request, takes the answer.
//!
//! The head that is given was written by `logic::http2::head`, which refuses what HTTP/2 forbids, and is then judged as
//! strictly as any other (`logic::http::request`). A WebSocket (RFC 8441) becomes an upgrade.

use super::connection::ClientStream;
use super::send_parts;
use super::sink::{Outlet, Sink, is_connection_specific};
use super::source::{Form, Payload, Source};
use bytes::Bytes;
use httparse::Header;
use logic::http::HEADERS_MAX;
use logic::http::body::Framing;
use logic::http::response::ResponseHead;
use logic::http2::frame::Reason;
use logic::http2::head::Shape;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
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
pub struct Companies {
    all: RefCell<Slab<Rc<Company>>>,
    /// Ports on which nobody listens any more: a client may have connected before and begin with HTTP/2 only now.
    left: RefCell<BTreeSet<u16>>,
}

impl Companies {
    pub fn enter(&self, company: &Rc<Company>) -> usize {
        company.is_unwanted.set(self.left.borrow().contains(&company.port));
        self.all.borrow_mut().insert(company.clone())
    }

    pub fn leave(&self, key: usize) {
        self.all.borrow_mut().remove(key);
    }

    /// Somebody listens on this port.
    pub fn welcome(&self, port: u16) {
        self.left.borrow_mut().remove(&port);
    }

    /// Has those that came in on this port asked to go elsewhere.
    pub fn send_away(&self, port: u16) {
        self.left.borrow_mut().insert(port);
        self.send_away_where(|company| company.port == port);
    }

    pub fn send_all_away(&self) {
        self.send_away_where(|_| true);
    }

    fn send_away_where(&self, is_meant: impl Fn(&Company) -> bool) {
        for (_, company) in self.all.borrow().iter().filter(|(_, company)| is_meant(company)) {
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
    stream: ClientStream,
    source: Source<ClientStream>,
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
        partial: Vec<u8>,
    },
    Body(Sink<ClientStream>),
    Over,
}

impl RequestStream {
    /// For a request whose head was read already; what follows is read.
    pub fn new(stream: ClientStream, shape: Shape, has_ended: bool, seat: Seat) -> Self {
        let form = match () {
            // Nothing of it is read before the member has switched.
            () if shape.is_websocket || has_ended => Form::Over,
            () if shape.length.is_some() => Form::Plain,
            () => Form::Chunked,
        };
        Self {
            source: Source::new(stream.clone(), Vec::new(), form),
            stream,
            answer: Answer::Awaited { partial: Vec::new() },
            is_head: shape.is_head,
            is_connect: shape.is_websocket,
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
        match &self.answer {
            Answer::Awaited { .. } | Answer::Body(_) => self.stream.poll_reset(context).map(Err),
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
        via: &str,
        cookie: Option<&str>,
    ) -> io::Result<bool> {
        let Answer::Awaited { partial } = &mut self.answer else { return Ok(false) };
        if self.is_connect || !partial.is_empty() {
            return Ok(false);
        }
        let is_over = head.framing.is_done();
        self.stream.send_block(is_over, |encoder, out| {
            encoder.status(head.status, out);
            for (name, value) in head.fields().filter(|(name, _)| !is_connection_specific(name)) {
                encoder.field(name.as_bytes(), value, out);
            }
            encoder.field(b"via", via.as_bytes(), out);
            for cookie in cookie.into_iter().flat_map(str::lines) {
                encoder.field(b"set-cookie", cookie.as_bytes(), out);
            }
        })?;
        self.begin_body(head.framing);
        Ok(true)
    }

    /// Its final head has gone out.
    fn begin_body(&mut self, framing: Framing) {
        self.answer = match framing.is_done() {
            true => Answer::Over,
            false => Answer::Body(Sink::new(self.stream.clone(), framing)),
        };
    }

    /// Takes a head, or the beginning of one.
    fn send_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Answer::Awaited { partial } = &mut self.answer else {
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
        partial.clear();
        let code = parsed.code.unwrap_or_default();
        let has_switched = code == 101 && self.is_connect;
        let framing = match has_switched {
            true => Framing::UntilClose,
            false => framing(code, parsed.headers, self.is_head),
        };
        let is_interim = code < 200 && !has_switched;
        self.stream.send_block(framing.is_done() && !is_interim, |encoder, out| {
            encoder.status(if has_switched { 200 } else { code }, out);
            // The answer to a challenge that we have made up ourselves.
            let is_ours = |name: &str| self.is_connect && name.eq_ignore_ascii_case("sec-websocket-accept");
            let kept = |name: &str| !is_connection_specific(name) && !is_ours(name);
            for header in parsed.headers.iter().filter(|header| kept(header.name)) {
                encoder.field(header.name.as_bytes(), header.value, out);
            }
        })?;
        if has_switched {
            self.source.set_form(Form::Plain);
        }
        if !is_interim {
            self.begin_body(framing);
        }
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
        if let Answer::Body(_) = &self.answer {
            self.stream.reset(Reason::InternalError);
        }
        self.answer = Answer::Over;
    }
}

/// As with a connection that is closed: an answer that ends with it is over, any other is cut off.
impl Drop for RequestStream {
    fn drop(&mut self) {
        if let Answer::Body(sink) = &mut self.answer {
            if sink.framing() != Framing::UntilClose {
                self.stream.reset(Reason::InternalError);
            } else if let Err(error) = sink.end() {
                tracing::debug!(%error, "the end of an answer was not taken");
            }
        }
        self.stream.leave();
    }
}

impl Payload for ClientStream {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        ClientStream::poll_data(self, context).map_ok(Bytes::from)
    }

    fn poll_trailers(&mut self, _: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<()>> {
        // They came with the end.
        out.append(&mut self.take_trailers());
        Poll::Ready(Ok(()))
    }

    fn release(&mut self, count: usize) -> io::Result<()> {
        ClientStream::release(self, count);
        Ok(())
    }
}

impl Outlet for ClientStream {
    fn room(&mut self, wanted: usize) -> usize {
        ClientStream::room(self, wanted)
    }

    fn send_data(&mut self, bytes: &[u8], is_end: bool) -> io::Result<()> {
        ClientStream::send_data(self, bytes, is_end)
    }

    fn send_trailers(&mut self, trailers: &[Header<'_>]) -> io::Result<()> {
        self.send_block(true, |encoder, out| {
            encoder.begin(out);
            for header in trailers.iter().filter(|header| !is_connection_specific(header.name)) {
                encoder.field(header.name.as_bytes(), header.value, out);
            }
        })
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ClientStream::poll_room(self, context)
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

/// 16 bytes in base64. It proves nothing here, but members want one.
pub fn challenge() -> String {
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
