//! One client's HTTP/2 connection: its streams, windows and tables, and the frames that go out.
//!
//! The connection's task reads and sends; the sessions of its streams write into `out` and have the task woken once.
//! Promise: no more than `UNSENT_MAX_BYTES` of bodies wait here for the socket; a stream's body is held up to its window.
//! Not here: what frames that come in mean (see `inbound`), and HTTP/1.1 (see `request_stream`).

use super::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX};
use crate::router::streams::Stream;
use crate::router::waits::Waits;
use h2::Reason;
use logic::hpack::{Decoder, Encoder};
use logic::http2::{Conduct, PREFACE, head::Scratch};
use logic::time::Time;
use slab::Slab;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// The same bit for SETTINGS and PING.
pub const ACK: u8 = 0x1;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const WITH_PRIORITY: u8 = 0x20;

pub const FRAME_HEAD_BYTES: usize = 9;
/// The largest payload of a frame that everybody takes; we neither send nor take larger ones.
pub const PAYLOAD_MAX_BYTES: usize = 16 * 1024;
/// Windows may not become larger.
pub const WINDOW_MAX: i64 = (1 << 31) - 1;
/// A peer's windows before it has said anything.
const WINDOW_BYTES: i64 = 65_535;
/// Asked back before the last streams are named: what was on its way then has arrived.
pub const LEAVE_PING: [u8; 8] = *b"leaving!";
/// Bytes that are collected before bodies wait. 64 KiB: as much as the thread reads at once.
const UNSENT_MAX_BYTES: usize = 64 * 1024;
/// A larger buffer than this is given back once it is sent.
const KEPT_BYTES: usize = 4 * 1024;
/// Streams given up by us whose frames may still be on their way.
const GIVEN_UP_MAX: usize = 64;

#[derive(Debug)]
pub struct Connection {
    pub waits: Rc<Waits>,
    /// None when the connection is over.
    pub socket: Option<Stream>,
    pub conduct: Conduct,
    pub decoder: Decoder,
    encoder: Encoder,
    pub scratch: Scratch,
    /// The beginning of a frame whose rest is to come.
    pub partial: Vec<u8>,
    /// Bytes of the preface that are to come.
    pub preface_left: usize,
    pub has_settings: bool,
    pub block: Option<Block>,
    pub streams: Slab<StreamState>,
    /// Requests for which no session was begun yet.
    pub begun: VecDeque<Begun>,
    /// Streams that wait for room in `out` or in the connection's window, in turn.
    waiting: VecDeque<usize>,
    given_up: VecDeque<u32>,
    pub last_id: u32,
    /// Streams beyond this one are not looked at.
    pub last_wanted_id: u32,
    /// The client has said that it goes.
    pub has_goodbye: bool,
    pub send_window: i64,
    /// What each new stream may be sent.
    pub stream_send_window: i64,
    pub receive_window: i64,
    /// Body bytes that were passed on and not asked for again.
    released: usize,
    /// The size of a list of headers that was announced.
    pub list_size_max: usize,
    out: Vec<u8>,
    sent: usize,
    /// So much of `out` the conduct has seen.
    noted: usize,
    /// The task that sends, and whether it was woken for that.
    pub task: Waker,
    is_woken: bool,
    /// When the last bytes left: microseconds of the thread's clock.
    pub sent_us: u64,
}

/// A block of headers that goes on in CONTINUATION.
#[derive(Debug)]
pub struct Block {
    pub id: u32,
    pub has_ended: bool,
    pub bytes: Vec<u8>,
}

/// A request whose head has come.
#[derive(Debug)]
pub struct Begun {
    pub key: usize,
    /// As HTTP/1.1.
    pub head: Vec<u8>,
    pub shape: logic::http2::head::Shape,
    /// It ends with its head.
    pub has_ended: bool,
}

#[derive(Debug)]
pub struct StreamState {
    pub id: u32,
    /// Received and not yet read.
    pub body: Vec<u8>,
    pub has_ended: bool,
    /// Lines of HTTP/1.1.
    pub trailers: Vec<u8>,
    /// What is missing of the length that was announced.
    pub length_left: Option<u64>,
    pub receive_window: i64,
    /// Bytes that were passed on and not asked for again.
    pub released: usize,
    pub send_window: i64,
    is_answered: bool,
    /// By the client, or for its mistakes.
    pub is_given_up: bool,
    waker: Option<Waker>,
    /// It has a place in `waiting`.
    is_waiting: bool,
}

impl StreamState {
    pub fn new(id: u32, has_ended: bool, length: Option<u64>, send_window: i64) -> Self {
        Self {
            id,
            body: Vec::new(),
            has_ended,
            trailers: Vec::new(),
            length_left: length,
            receive_window: i64::from(STREAM_WINDOW_BYTES),
            released: 0,
            send_window,
            is_answered: false,
            is_given_up: false,
            waker: None,
            is_waiting: false,
        }
    }

    pub fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn register(&mut self, context: &Context<'_>) {
        match &self.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => self.waker = Some(context.waker().clone()),
        }
    }
}

impl Connection {
    /// Says what the client must know first.
    pub fn new(waits: &Rc<Waits>, socket: Stream, list_size_max: usize) -> Self {
        let now_us = waits.now_us();
        let mut connection = Self {
            waits: waits.clone(),
            socket: Some(socket),
            conduct: Conduct::new(Time(now_us / 1000)),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            scratch: Scratch::default(),
            partial: Vec::new(),
            preface_left: PREFACE.len(),
            has_settings: false,
            block: None,
            streams: Slab::new(),
            begun: VecDeque::new(),
            waiting: VecDeque::new(),
            given_up: VecDeque::new(),
            last_id: 0,
            last_wanted_id: u32::MAX,
            has_goodbye: false,
            send_window: WINDOW_BYTES,
            stream_send_window: WINDOW_BYTES,
            receive_window: i64::from(CONNECTION_WINDOW_BYTES),
            released: 0,
            list_size_max,
            out: Vec::new(),
            sent: 0,
            noted: 0,
            task: Waker::noop().clone(),
            is_woken: false,
            sent_us: now_us,
        };
        connection.write_settings();
        connection
    }

    fn write_settings(&mut self) {
        const MOST_STREAMS: u16 = 3;
        const INITIAL_WINDOW_SIZE: u16 = 4;
        const LARGEST_HEADER_LIST: u16 = 6;
        const ENABLE_CONNECT_PROTOCOL: u16 = 8;
        let list_size_max = u32::try_from(self.list_size_max).unwrap_or(u32::MAX);
        let mut payload = Vec::new();
        for (name, value) in [
            (MOST_STREAMS, STREAMS_MAX),
            (INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
            (LARGEST_HEADER_LIST, list_size_max),
            (ENABLE_CONNECT_PROTOCOL, 1),
        ] {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.write(SETTINGS, 0, 0, &payload);
        let more = CONNECTION_WINDOW_BYTES - WINDOW_BYTES as u32;
        self.write(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
    }

    /// Appends a frame.
    pub fn write(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        write_frame_head(payload.len(), kind, flags, id, &mut self.out);
        self.out.extend_from_slice(payload);
        self.wake_task();
    }

    /// Appends a block of headers.
    fn write_block(&mut self, id: u32, is_end: bool, fields: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let flags = if is_end { END_STREAM } else { 0 };
        let start = self.out.len();
        write_frame_head(0, HEADERS, flags | END_HEADERS, id, &mut self.out);
        fields(&mut self.encoder, &mut self.out);
        let length = self.out.len() - start - FRAME_HEAD_BYTES;
        if length <= PAYLOAD_MAX_BYTES {
            self.out[start..start + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
            return self.wake_task();
        }
        let block = self.out.split_off(start + FRAME_HEAD_BYTES);
        self.out.truncate(start);
        let mut parts = block.chunks(PAYLOAD_MAX_BYTES).peekable();
        let mut kind = (HEADERS, flags);
        while let Some(part) = parts.next() {
            let last = if parts.peek().is_none() { END_HEADERS } else { 0 };
            self.write(kind.0, kind.1 | last, id, part);
            kind = (CONTINUATION, 0);
        }
    }

    /// Has the task send what was written.
    fn wake_task(&mut self) {
        if !std::mem::replace(&mut self.is_woken, true) {
            self.task.wake_by_ref();
        }
    }

    pub fn find(&mut self, id: u32) -> Option<(usize, &mut StreamState)> {
        self.streams.iter_mut().find(|(_, stream)| stream.id == id)
    }

    /// An answer of ours to a request that no session sees.
    pub fn answer(&mut self, id: u32, status: u16, has_ended: bool) {
        self.write_block(id, true, |encoder, out| encoder.status(status, out));
        if !has_ended {
            self.write_reset(id, Reason::NO_ERROR);
        }
    }

    /// Gives a stream up.
    pub fn write_reset(&mut self, id: u32, reason: Reason) {
        self.write(RST_STREAM, 0, id, &u32::from(reason).to_be_bytes());
        if self.given_up.len() == GIVEN_UP_MAX {
            self.given_up.pop_front();
        }
        self.given_up.push_back(id);
    }

    /// Whether frames of a stream that is over are no mistake.
    pub fn was_given_up(&self, id: u32) -> bool {
        self.given_up.contains(&id)
    }

    pub fn write_goodbye(&mut self, last_id: u32, reason: Reason) {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&last_id.to_be_bytes());
        payload[4..].copy_from_slice(&u32::from(reason).to_be_bytes());
        self.write(GOAWAY, 0, 0, &payload);
    }

    /// The client has said how large a table it keeps.
    pub fn set_table_bytes(&mut self, bytes: usize) {
        self.encoder.set_table_bytes(bytes);
    }

    /// Asks the client to go when its requests are over.
    pub fn ask_to_leave(&mut self) {
        self.write_goodbye(WINDOW_MAX as u32, Reason::NO_ERROR);
        self.write(PING, 0, 0, &LEAVE_PING);
    }

    /// Body bytes were passed on, or thrown away: so much more may come.
    pub fn release(&mut self, count: usize) {
        self.released += count;
        if self.released >= CONNECTION_WINDOW_BYTES as usize / 4 {
            let more = std::mem::take(&mut self.released);
            self.receive_window += more as i64;
            self.write(WINDOW_UPDATE, 0, 0, &(more as u32).to_be_bytes());
        }
    }

    /// Whether the client takes so little that nothing more is read from it.
    pub fn is_clogged(&self) -> bool {
        self.out.len() - self.sent > 2 * UNSENT_MAX_BYTES
    }

    pub fn has_unsent(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Whether there is nothing to come on a connection that one of both wants to end.
    pub fn is_done(&self) -> bool {
        let is_ending = self.has_goodbye || self.last_wanted_id != u32::MAX;
        is_ending && self.streams.is_empty() && !self.has_unsent()
    }

    /// Has streams that wait for room look again.
    pub fn wake_waiting(&mut self) {
        if self.send_window <= 0 {
            return;
        }
        while let Some(key) = self.waiting.pop_front() {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.is_waiting = false;
                stream.wake();
            }
        }
    }

    /// Sends what was written; ready when all of it has left.
    pub fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_woken = false;
        let Some(socket) = &mut self.socket else { return Poll::Ready(Err(ErrorKind::BrokenPipe.into())) };
        self.conduct.sent(&self.out[self.noted..]);
        self.noted = self.out.len();
        while self.sent < self.out.len() {
            let count = ready!(Pin::new(&mut *socket).poll_write(context, &self.out[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.sent += count;
            self.sent_us = self.waits.now_us();
        }
        (self.sent, self.noted) = (0, 0);
        self.out.clear();
        if self.out.capacity() > KEPT_BYTES && self.streams.is_empty() {
            self.out = Vec::new();
        }
        let flushed = Pin::new(socket).poll_flush(context);
        self.wake_waiting();
        flushed
    }

    /// Ends our direction, and throws away what comes; ready with how many bytes that were, none at the end.
    pub fn poll_discard(&mut self, scratch: &mut [u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(socket) = &mut self.socket else { return Poll::Ready(Ok(0)) };
        // Done already where it was called before.
        let _ = Pin::new(&mut *socket).poll_shutdown(context);
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Lets go of the socket; whoever has a stream hears of it.
    pub fn close(&mut self, context: &mut Context<'_>) {
        if let Some(mut socket) = self.socket.take() {
            let _ = Pin::new(&mut socket).poll_shutdown(context);
        }
        for (_, stream) in &mut self.streams {
            stream.is_given_up = true;
            stream.wake();
        }
    }

    /// How many of so many bytes of a body may go out now.
    fn room(&self, key: usize, wanted: usize) -> usize {
        let window = self.streams[key].send_window.min(self.send_window).max(0);
        let space = UNSENT_MAX_BYTES.saturating_sub(self.out.len() - self.sent);
        wanted.min(usize::try_from(window).unwrap_or(usize::MAX)).min(space)
    }
}

/// One stream of a connection, for its session.
#[derive(Debug, Clone)]
pub struct ClientStream {
    connection: Rc<RefCell<Connection>>,
    key: usize,
}

impl ClientStream {
    pub fn new(connection: &Rc<RefCell<Connection>>, key: usize) -> Self {
        Self { connection: connection.clone(), key }
    }

    /// Sends a block of headers, which may end the answer.
    pub fn send_block(
        &self,
        is_end: bool,
        fields: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> io::Result<()> {
        let connection = &mut *self.connection.borrow_mut();
        let id = connection.sendable(self.key)?.id;
        connection.streams[self.key].is_answered |= is_end;
        connection.write_block(id, is_end, fields);
        Ok(())
    }

    /// How many of so many bytes `send_data` takes now.
    pub fn room(&self, wanted: usize) -> usize {
        self.connection.borrow().room(self.key, wanted)
    }

    /// Sends a part of the body for which there is room.
    pub fn send_data(&self, bytes: &[u8], is_end: bool) -> io::Result<()> {
        let connection = &mut *self.connection.borrow_mut();
        let stream = connection.sendable(self.key)?;
        let id = stream.id;
        stream.send_window -= bytes.len() as i64;
        stream.is_answered |= is_end;
        connection.send_window -= bytes.len() as i64;
        let mut rest = bytes;
        while rest.len() > PAYLOAD_MAX_BYTES {
            let (part, after) = rest.split_at(PAYLOAD_MAX_BYTES);
            connection.write(DATA, 0, id, part);
            rest = after;
        }
        connection.write(DATA, if is_end { END_STREAM } else { 0 }, id, rest);
        Ok(())
    }

    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = &mut *self.connection.borrow_mut();
        if connection.room(self.key, 1) > 0 {
            return Poll::Ready(Ok(()));
        }
        let stream = connection.sendable(self.key)?;
        stream.register(context);
        // Its own window would wake it by itself.
        if stream.send_window > 0 && !std::mem::replace(&mut stream.is_waiting, true) {
            connection.waiting.push_back(self.key);
        }
        Poll::Pending
    }

    /// Ready when the client has given the stream up, or the connection is over.
    pub fn poll_reset(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        let stream = &mut self.connection.borrow_mut().streams[self.key];
        if stream.is_given_up {
            return Poll::Ready(ErrorKind::ConnectionReset.into());
        }
        stream.register(context);
        Poll::Pending
    }

    /// Received payload; None at its end.
    pub fn poll_data(&self, context: &mut Context<'_>) -> Poll<Option<io::Result<Vec<u8>>>> {
        let stream = &mut self.connection.borrow_mut().streams[self.key];
        if !stream.body.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut stream.body))));
        }
        if stream.is_given_up {
            return Poll::Ready(Some(Err(ErrorKind::ConnectionReset.into())));
        }
        if stream.has_ended {
            return Poll::Ready(None);
        }
        stream.register(context);
        Poll::Pending
    }

    /// What follows the payload, as lines.
    pub fn take_trailers(&self) -> Vec<u8> {
        std::mem::take(&mut self.connection.borrow_mut().streams[self.key].trailers)
    }

    /// Payload was passed on.
    pub fn release(&self, count: usize) {
        let connection = &mut *self.connection.borrow_mut();
        connection.release(count);
        let stream = &mut connection.streams[self.key];
        stream.released += count;
        if stream.released >= STREAM_WINDOW_BYTES as usize / 2 && !stream.has_ended && !stream.is_given_up {
            let more = std::mem::take(&mut stream.released);
            stream.receive_window += more as i64;
            let id = stream.id;
            connection.write(WINDOW_UPDATE, 0, id, &(more as u32).to_be_bytes());
        }
    }

    /// Gives the stream up.
    pub fn reset(&self, reason: Reason) {
        let connection = &mut *self.connection.borrow_mut();
        let stream = &mut connection.streams[self.key];
        if !std::mem::replace(&mut stream.is_given_up, true) {
            let id = stream.id;
            connection.write_reset(id, reason);
        }
    }

    /// Leaves the stream for good: unless both sides are through, the client is told.
    pub fn leave(&self) {
        let connection = &mut *self.connection.borrow_mut();
        let stream = connection.streams.remove(self.key);
        if !stream.body.is_empty() {
            connection.release(stream.body.len());
        }
        let is_over = stream.is_given_up || (stream.is_answered && stream.has_ended);
        if !is_over {
            let reason = if stream.is_answered { Reason::NO_ERROR } else { Reason::CANCEL };
            connection.write_reset(stream.id, reason);
        }
    }
}

impl Connection {
    /// The stream, as long as something may be sent on it.
    fn sendable(&mut self, key: usize) -> io::Result<&mut StreamState> {
        let stream = &mut self.streams[key];
        if stream.is_given_up { Err(ErrorKind::ConnectionReset.into()) } else { Ok(stream) }
    }
}

fn write_frame_head(length: usize, kind: u8, flags: u8, id: u32, out: &mut Vec<u8>) {
    let [_, high, middle, low] = (length as u32).to_be_bytes();
    let [a, b, c, d] = id.to_be_bytes();
    out.extend_from_slice(&[high, middle, low, kind, flags, a, b, c, d]);
}
