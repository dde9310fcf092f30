//! What the router decides about HTTP/2 connections: whether a client's frames are honest work or a flood.
//!
//! Pure: the bytes of both directions pass by, `now` is passed in. Promise: a client that asks and takes answers never
//! runs out of credit, whatever the frames it needs for that; one that only makes work does, within
//! `limits::HTTP2_CREDIT_MAX` of it, and then gets no more than `limits::HTTP2_CREDIT_PER_SECOND`.
//! Not here: HTTP/2 itself (`client`; frames are only told apart), and what happens to the connection.

pub mod client;
pub mod frame;
pub mod head;

pub use frame::PREFACE;

use crate::limits::{HTTP2_CREDIT_MAX, HTTP2_CREDIT_PER_SECOND};
use crate::time::Time;

const FRAME_HEAD_BYTES: usize = 9;
/// What it costs to have a stream given up.
const RESET_COST: i64 = 10;

/// Whether bytes that are no HTTP/1.1 are the beginning of HTTP/2. Its method alone is said by nobody else.
pub fn begins(first: &[u8]) -> bool {
    let common = first.len().min(PREFACE.len());
    common > b"PRI".len() && first[..common] == PREFACE[..common]
}

/// Finds the heads of frames in bytes that come in any pieces.
#[derive(Debug, Clone, Default)]
struct Scan {
    head: [u8; FRAME_HEAD_BYTES],
    filled: usize,
    /// Bytes until the next head.
    skip: usize,
}

/// What a frame's head says.
#[derive(Debug, Clone, Copy)]
struct Frame {
    length: u32,
    kind: u8,
    flags: u8,
}

impl Scan {
    fn each(&mut self, mut bytes: &[u8], mut take: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (FRAME_HEAD_BYTES - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == FRAME_HEAD_BYTES {
                let [high, middle, low, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, high, middle, low]);
                (self.filled, self.skip) = (0, length as usize);
                take(Frame { length, kind, flags });
            }
        }
    }
}

/// A client's credit on one connection.
#[derive(Debug, Clone)]
pub struct Conduct {
    received: Scan,
    sent: Scan,
    credit: i64,
    since: Time,
}

impl Conduct {
    /// Of a connection whose first bytes, the preface included, are still to come.
    pub fn new(now: Time) -> Self {
        Self {
            received: Scan { skip: PREFACE.len(), ..Scan::default() },
            sent: Scan::default(),
            credit: HTTP2_CREDIT_MAX,
            since: now,
        }
    }

    /// Takes note of bytes that the client sent. False: it has spent its credit, and the connection shall end.
    pub fn received(&mut self, now: Time, bytes: &[u8]) -> bool {
        let mut cost = 0;
        self.received.each(bytes, |frame| cost += cost_of(frame));
        if cost > 0 {
            let grown = now.since_ms(self.since).min(60_000) as i64 * HTTP2_CREDIT_PER_SECOND / 1000;
            if grown > 0 {
                self.since = now;
            }
            self.credit = (self.credit + grown).min(HTTP2_CREDIT_MAX) - cost;
        }
        self.credit >= 0
    }

    /// Takes note of a stream that it made us give up: as much work as one that it gives up itself.
    pub fn was_wrong(&mut self) {
        self.credit -= RESET_COST;
    }

    /// Takes note of bytes that the client was sent: answers earn the frames that clients need to take them.
    pub fn sent(&mut self, bytes: &[u8]) {
        let mut earned = 0;
        self.sent.each(bytes, |frame| earned += earnings_of(frame));
        self.credit = (self.credit + earned).min(HTTP2_CREDIT_MAX);
    }
}

/// By the work that a frame makes beyond reading it, in units of the cheapest.
fn cost_of(frame: Frame) -> i64 {
    const END_STREAM: u8 = 0x1;
    const PADDED: u8 = 0x8;
    match frame.kind {
        // DATA: costs nothing where it brings something, or an end. Padding brings nothing.
        0 if frame.flags & PADDED != 0 => 2,
        0 if frame.length == 0 && frame.flags & END_STREAM == 0 => 10,
        0 => 0,
        // HEADERS: a request is work, but its answer earns more.
        1 => 1,
        // RST_STREAM: throws a request away that a member may have begun with.
        3 => RESET_COST,
        // SETTINGS, GOAWAY: once in a connection's life, or a few times.
        4 | 7 => 20,
        // PING: wants an answer.
        6 => 5,
        // CONTINUATION: the bounds on heads leave no need for more than a few.
        9 => 10,
        // PRIORITY, WINDOW_UPDATE and what we do not know: read and noted.
        _ => 1,
    }
}

fn earnings_of(frame: Frame) -> i64 {
    match frame.kind {
        // DATA: two WINDOW_UPDATE and a PING for each is what eager clients send, more for long ones that they take in
        // pieces.
        0 => 8 + i64::from(frame.length) / 1024,
        // HEADERS: as much as giving the stream up afterwards costs.
        1 => 12,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
