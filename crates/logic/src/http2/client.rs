//! One client's HTTP/2 connection as a machine: bytes come in, requests and bytes that go out come of it.
//!
//! Pure: `now` is passed in, and whoever drives it reads, sends and wakes. Promise: whatever the client sends, no more than
//! `STREAMS_MAX` streams exist, a stream's body is held up to its window, no more than `UNSENT_MAX_BYTES` of bodies wait
//! to be sent, and each byte of a window that was used up is asked for again, or its stream is over.
//! Not here: what frames that come in mean (see `inbound`), and the text of a request (see `head`).

mod inbound;
mod streams;

use super::Conduct;
use super::frame::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEAD_BYTES, HEADERS, PAYLOAD_MAX_BYTES, PING,
    PREFACE, RST_STREAM, Reason, SETTINGS, WINDOW_BYTES, WINDOW_MAX, WINDOW_UPDATE, setting,
};
use super::head::{Scratch, Shape};
use crate::hpack::{Decoder, Encoder};
use crate::time::Time;
use std::collections::VecDeque;
use streams::{StreamState, Streams};

/// Requests under way on one connection of a client. 128: browsers use at most 100, and each costs what a connection
/// with HTTP/1.1 costs.
pub const STREAMS_MAX: u32 = 128;
/// Body bytes that a peer may send before they are passed on, for one stream. 64 KiB: one read of the thread.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same for all streams of a connection: one stream that stands still must not stop the others.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Asked back before the last streams are named: what was on its way then has arrived.
const LEAVE_PING: [u8; 8] = *b"leaving!";
/// Bytes that are collected before bodies wait. 64 KiB: as much as the thread reads at once.
pub const UNSENT_MAX_BYTES: usize = 64 * 1024;
/// A larger buffer than this is given back once it is sent, or has become a frame.
const KEPT_BYTES: usize = 4 * 1024;
/// Streams given up by us whose frames may still be on their way.
const GIVEN_UP_MAX: usize = 64;

#[derive(Debug)]
pub struct Machine {
    conduct: Conduct,
    decoder: Decoder,
    encoder: Encoder,
    scratch: Scratch,
    /// What goes with a WebSocket: chance comes from outside.
    challenge: fn() -> String,
    /// The beginning of a frame whose rest is to come.
    partial: Vec<u8>,
    /// Bytes of the preface that are to come.
    preface_left: usize,
    has_settings: bool,
    block: Option<Block>,
    streams: Streams,
    /// Requests for which no session was begun yet.
    begun: VecDeque<Begun>,
    /// Streams whose sessions shall look again, each once.
    woken: Vec<usize>,
    /// Streams that wait for room in `out` or in the connection's window, in turn.
    waiting: VecDeque<usize>,
    given_up: VecDeque<u32>,
    last_id: u32,
    /// Streams beyond this one are not looked at.
    last_wanted_id: u32,
    /// The client has said that it goes.
    has_goodbye: bool,
    send_window: i64,
    /// What each new stream may be sent.
    stream_send_window: i64,
    receive_window: i64,
    /// Body bytes that were passed on and not asked for again.
    released: usize,
    /// The size of a list of headers that was announced.
    list_size_max: usize,
    out: Vec<u8>,
    sent: usize,
    /// So much of `out` the conduct has seen.
    noted: usize,
}

/// A block of headers that goes on in CONTINUATION.
#[derive(Debug)]
struct Block {
    id: u32,
    has_ended: bool,
    bytes: Vec<u8>,
}

/// A request whose head has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// Of its stream.
    pub key: usize,
    /// As HTTP/1.1.
    pub head: Vec<u8>,
    pub shape: Shape,
    /// It ends with its head.
    pub has_ended: bool,
}

/// Why a connection comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    Wrong(Reason),
    /// The client has spent its credit.
    Flood,
}

/// What there is to take of a request's body.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    Bytes(Vec<u8>),
    End,
    GivenUp,
    /// More is to come, and wakes the stream.
    Nothing,
}

/// Nothing can be sent on this stream any more. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream was given up")]
pub struct GivenUp;

impl Machine {
    /// Says what the client must know first. `list_size_max` bytes of headers are announced as the most.
    pub fn new(now: Time, list_size_max: usize, challenge: fn() -> String) -> Self {
        let mut machine = Self {
            conduct: Conduct::new(now),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            scratch: Scratch::default(),
            challenge,
            partial: Vec::new(),
            preface_left: PREFACE.len(),
            has_settings: false,
            block: None,
            streams: Streams::default(),
            begun: VecDeque::new(),
            woken: Vec::new(),
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
        };
        machine.write_settings();
        machine
    }

    fn write_settings(&mut self) {
        let list_size_max = u32::try_from(self.list_size_max).unwrap_or(u32::MAX);
        let mut payload = Vec::new();
        for (name, value) in [
            (setting::MOST_STREAMS, STREAMS_MAX),
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
            (setting::LARGEST_HEADER_LIST, list_size_max),
            (setting::ENABLE_CONNECT_PROTOCOL, 1),
        ] {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.write(SETTINGS, 0, 0, &payload);
        let more = CONNECTION_WINDOW_BYTES - WINDOW_BYTES as u32;
        self.write(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
    }

    /// Appends a frame.
    fn write(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        frame::write_head(payload.len(), kind, flags, id, &mut self.out);
        self.out.extend_from_slice(payload);
    }

    /// Appends a block of headers.
    fn write_block(&mut self, id: u32, is_end: bool, fields: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let flags = if is_end { END_STREAM } else { 0 };
        let start = self.out.len();
        frame::write_head(0, HEADERS, flags | END_HEADERS, id, &mut self.out);
        fields(&mut self.encoder, &mut self.out);
        let length = self.out.len() - start - HEAD_BYTES;
        if length <= PAYLOAD_MAX_BYTES {
            self.out[start..start + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
            return;
        }
        let block = self.out.split_off(start + HEAD_BYTES);
        self.out.truncate(start);
        let mut parts = block.chunks(PAYLOAD_MAX_BYTES).peekable();
        let mut kind = (HEADERS, flags);
        while let Some(part) = parts.next() {
            let last = if parts.peek().is_none() { END_HEADERS } else { 0 };
            self.write(kind.0, kind.1 | last, id, part);
            kind = (CONTINUATION, 0);
        }
    }

    /// An answer of ours to a request that no session sees.
    fn answer(&mut self, id: u32, status: u16, has_ended: bool) {
        self.write_block(id, true, |encoder, out| encoder.status(status, out));
        if !has_ended {
            self.write_reset(id, Reason::NoError);
        }
    }

    /// Gives a stream up.
    fn write_reset(&mut self, id: u32, reason: Reason) {
        self.write(RST_STREAM, 0, id, &(reason as u32).to_be_bytes());
        if self.given_up.len() == GIVEN_UP_MAX {
            self.given_up.pop_front();
        }
        self.given_up.push_back(id);
    }

    fn write_goodbye(&mut self, last_id: u32, reason: Reason) {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&last_id.to_be_bytes());
        payload[4..].copy_from_slice(&(reason as u32).to_be_bytes());
        self.write(GOAWAY, 0, 0, &payload);
    }

    /// Whether frames of a stream that is over are no mistake.
    fn was_given_up(&self, id: u32) -> bool {
        self.given_up.contains(&id)
    }

    /// Asks the client to go when its requests are over.
    pub fn ask_to_leave(&mut self) {
        self.write_goodbye(WINDOW_MAX as u32, Reason::NoError);
        self.write(PING, 0, 0, &LEAVE_PING);
    }

    /// Says why nothing more of the client is looked at.
    pub fn end(&mut self, reason: Reason) {
        self.write_goodbye(self.last_id, reason);
    }

    /// Nothing more comes or goes: whoever has a stream hears of it.
    pub fn close(&mut self) {
        for stream in self.streams.iter_mut() {
            stream.is_given_up = true;
            stream.wake(&mut self.woken);
        }
    }

    /// Body bytes were passed on, or thrown away: so much more may come.
    fn release_of_connection(&mut self, count: usize) {
        self.released += count;
        if self.released >= CONNECTION_WINDOW_BYTES as usize / 4 {
            let more = std::mem::take(&mut self.released);
            self.receive_window += more as i64;
            self.write(WINDOW_UPDATE, 0, 0, &(more as u32).to_be_bytes());
        }
    }

    /// The next request that has begun.
    pub fn take_begun(&mut self) -> Option<Begun> {
        self.begun.pop_front()
    }

    /// The next stream that shall be looked at again. It may have been left meanwhile.
    pub fn take_woken(&mut self) -> Option<usize> {
        let key = self.woken.pop()?;
        if let Some(stream) = self.streams.if_there(key) {
            stream.was_woken();
        }
        Some(key)
    }

    /// Whether the client has begun as it must.
    pub fn has_settings(&self) -> bool {
        self.has_settings
    }

    /// Body bytes that were received and neither passed on nor thrown away.
    pub fn held_bytes(&self) -> i64 {
        i64::from(CONNECTION_WINDOW_BYTES) - self.receive_window - self.released as i64
    }

    /// Whether the client takes so little that nothing more shall be read from it.
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

    /// What is to be sent.
    pub fn unsent(&mut self) -> &[u8] {
        self.conduct.sent(&self.out[self.noted..]);
        self.noted = self.out.len();
        &self.out[self.sent..]
    }

    /// So much of it has left.
    pub fn was_sent(&mut self, count: usize) {
        self.sent += count;
    }

    /// All of it has left: what waited for room may look again.
    pub fn all_was_sent(&mut self) {
        (self.sent, self.noted) = (0, 0);
        self.out.clear();
        if self.out.capacity() > KEPT_BYTES && self.streams.is_empty() {
            self.out = Vec::new();
        }
        self.wake_waiting();
    }

    fn wake_waiting(&mut self) {
        if self.send_window <= 0 {
            return;
        }
        while let Some(key) = self.waiting.pop_front() {
            if let Some(stream) = self.streams.if_there(key) {
                stream.is_waiting = false;
                stream.wake(&mut self.woken);
            }
        }
    }
}

/// For the session of one stream, which names it by its key until it has left it.
impl Machine {
    /// The stream, as long as something may be sent on it.
    fn sendable(&mut self, key: usize) -> Result<&mut StreamState, GivenUp> {
        let stream = self.streams.get_mut(key);
        if stream.is_given_up { Err(GivenUp) } else { Ok(stream) }
    }

    /// By the client, or for its mistakes, or by ourselves.
    pub fn is_given_up(&self, key: usize) -> bool {
        self.streams.get(key).is_given_up
    }

    /// Sends a block of headers, which may end the answer.
    pub fn send_block(
        &mut self,
        key: usize,
        is_end: bool,
        fields: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Result<(), GivenUp> {
        let stream = self.sendable(key)?;
        stream.is_answered |= is_end;
        let id = stream.id;
        self.write_block(id, is_end, fields);
        Ok(())
    }

    /// How many of so many bytes `send_data` takes now.
    pub fn room(&self, key: usize, wanted: usize) -> usize {
        let window = self.streams.get(key).send_window.min(self.send_window).max(0);
        let space = UNSENT_MAX_BYTES.saturating_sub(self.out.len() - self.sent);
        wanted.min(usize::try_from(window).unwrap_or(usize::MAX)).min(space)
    }

    /// Whether there is room; otherwise the stream is woken when there may be.
    pub fn ask_for_room(&mut self, key: usize) -> Result<bool, GivenUp> {
        if self.room(key, 1) > 0 {
            return Ok(true);
        }
        let stream = self.sendable(key)?;
        // Its own window would wake it by itself.
        if stream.send_window > 0 && !std::mem::replace(&mut stream.is_waiting, true) {
            self.waiting.push_back(key);
        }
        Ok(false)
    }

    /// Sends a part of the body for which there is room.
    pub fn send_data(&mut self, key: usize, bytes: &[u8], is_end: bool) -> Result<(), GivenUp> {
        let stream = self.sendable(key)?;
        let id = stream.id;
        stream.send_window -= bytes.len() as i64;
        stream.is_answered |= is_end;
        self.send_window -= bytes.len() as i64;
        let mut rest = bytes;
        while rest.len() > PAYLOAD_MAX_BYTES {
            let (part, after) = rest.split_at(PAYLOAD_MAX_BYTES);
            self.write(DATA, 0, id, part);
            rest = after;
        }
        self.write(DATA, if is_end { END_STREAM } else { 0 }, id, rest);
        Ok(())
    }

    /// Takes what has come of the body.
    pub fn take_part(&mut self, key: usize) -> Part {
        let stream = self.streams.get_mut(key);
        match () {
            () if !stream.body.is_empty() => {
                stream.taken += stream.body.len();
                Part::Bytes(std::mem::take(&mut stream.body))
            }
            () if stream.is_given_up => Part::GivenUp,
            () if stream.has_ended => Part::End,
            () => Part::Nothing,
        }
    }

    /// What follows the body, as lines.
    pub fn take_trailers(&mut self, key: usize) -> Vec<u8> {
        std::mem::take(&mut self.streams.get_mut(key).trailers)
    }

    /// So many of the bytes that were taken are passed on.
    pub fn release(&mut self, key: usize, count: usize) {
        self.release_of_connection(count);
        let stream = self.streams.get_mut(key);
        stream.taken = stream.taken.checked_sub(count).expect("no more is passed on than was taken");
        stream.released += count;
        if stream.released >= STREAM_WINDOW_BYTES as usize / 2 && !stream.has_ended && !stream.is_given_up {
            let more = std::mem::take(&mut stream.released);
            stream.receive_window += more as i64;
            let id = stream.id;
            self.write(WINDOW_UPDATE, 0, id, &(more as u32).to_be_bytes());
        }
    }

    /// Gives the stream up.
    pub fn reset(&mut self, key: usize, reason: Reason) {
        let stream = self.streams.get_mut(key);
        if !std::mem::replace(&mut stream.is_given_up, true) {
            let id = stream.id;
            self.write_reset(id, reason);
        }
    }

    /// Leaves the stream for good: unless both sides are through, the client is told. The key is not valid any more.
    pub fn leave(&mut self, key: usize) {
        let stream = self.streams.remove(key);
        // What was taken and not passed on must be asked for again as well, or the window shrinks for ever.
        let unread = stream.body.len() + stream.taken;
        if unread > 0 {
            self.release_of_connection(unread);
        }
        let is_over = stream.is_given_up || (stream.is_answered && stream.has_ended);
        if !is_over {
            let reason = if stream.is_answered { Reason::NoError } else { Reason::Cancel };
            self.write_reset(stream.id, reason);
        }
    }
}

#[cfg(test)]
mod tests;
