//! The way of an answer from member to client: heads rewritten, bodies passed on as they come.
//!
//! Promise: nothing is read from the member while something is unsent. Interim answers (1xx) go to clients that
//! know them; bytes after the end of an answer are never passed on.

use super::actions::Special;
use super::compress::{Compressor, change_head, judge_head};
use super::core::Core;
use super::request::{Request, VIA};
use super::splice::{Pipe, SPLICE_MIN_BYTES, Spliced};
use super::streams::{Outbox, READ_ROOM_BYTES, Stream};
use super::waits::NEVER;
use logic::compress::Verdict;
use logic::http::HeaderSpace;
use logic::http::body::Framing;
use logic::http::refusal::Refusal;
use logic::http::request::HeadLimits;
use logic::http::response::{AnswerChanges, Asked, ResponseHead, parse};
use logic::log_pattern::Phases;
use logic::retry::Fault;
use std::task::{Context, Poll, ready};
use wire::client_view;

/// An answer up to this size is given whole or not at all, where another member could give it.
const SMALL_BODY_MAX_BYTES: usize = 16 * 1024;
/// A body up to this size is copied behind its new head; before a larger one the head is written where it was read, so
/// that both lie in one piece without a copy of the body.
const COPIED_BODY_MAX_BYTES: usize = 1024;
/// How long a small answer is kept back for its rest. A second: a member that is slower means its client to see what
/// there is.
const SMALL_WAIT_MAX_US: u64 = 1_000_000;
/// The value of the line that `ResponseHead::write` makes of `VIA`.
const VIA_VALUE: &str = "1.1 muster";

#[derive(Debug)]
pub struct Reply {
    pub unsent: Outbox,
    rare: Option<Box<Rare>>,
    pub state: State,
    /// A byte of it went to the client.
    pub has_started: bool,
    pub status: u16,
    pub bytes_sent: u64,
    /// How many of these were heads.
    head_bytes_sent: u32,
    /// From the beginning of the request to this attempt's connection.
    connect_us: u32,
    /// When the last of the request went to the member, on the thread's clock.
    pub sent_at_us: u64,
    /// From the request's sending to the first byte of the answer.
    pub first_byte_us: u64,
    /// The member's connection can carry another request.
    pub member_keeps_alive: bool,
    pub client_closes: bool,
    /// 100 (Continue) is for us, because we asked for it.
    pub keeps_continue: bool,
    pub has_continued: bool,
    unchunk: bool,
    /// Carries a large body past this process.
    pipe: Option<Pipe>,
}

/// What few answers need; apart, because every session would carry its size.
#[derive(Debug, Default)]
struct Rare {
    /// The beginning of an answer that did not come in one piece, behind as much room as a read leaves.
    partial: Vec<u8>,
    /// That is the head of a small answer, whose rest is waited for.
    is_kept_back: bool,
    compressor: Option<Compressor>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    AwaitHead,
    Body(Framing),
    Finished,
    /// The member switched protocols: both sides talk past HTTP now.
    Switched,
}

impl Reply {
    /// An answer that is waited for since `sent_at_us` of the thread's clock, to a request that began at `started_us`.
    pub fn new(sent_at_us: u64, started_us: u64) -> Self {
        Self {
            unsent: Outbox::default(),
            rare: None,
            state: State::AwaitHead,
            has_started: false,
            status: 0,
            bytes_sent: 0,
            head_bytes_sent: 0,
            connect_us: u32::try_from(sent_at_us.saturating_sub(started_us)).unwrap_or(u32::MAX),
            sent_at_us,
            first_byte_us: 0,
            member_keeps_alive: false,
            client_closes: false,
            keeps_continue: false,
            has_continued: false,
            unchunk: false,
            pipe: None,
        }
    }

    /// Whether the client has a part of the final answer, or of an interim one that is still to be sent whole.
    pub fn is_under_way(&self) -> bool {
        self.state != State::AwaitHead || !self.unsent.is_empty()
    }

    /// Whether bytes of the answer are at hand that the client does not take.
    pub fn waits_for_client(&self) -> bool {
        !self.unsent.is_empty() || self.pipe.as_ref().is_some_and(|pipe| !pipe.is_empty())
    }

    /// Whether an answer cut off now would look complete to the client.
    pub fn ends_by_close(&self) -> bool {
        self.state == State::Body(Framing::UntilClose) || self.unchunk
    }

    /// How many bytes are left of a body that goes through a pipe; None for one that is copied.
    pub fn splices(&mut self, core: &Core, member: &Stream, client: &Stream) -> Option<u64> {
        let State::Body(Framing::Length(left)) = self.state else { return None };
        let is_plain = || member.as_tcp().is_some() && client.as_tcp().is_some();
        if self.pipe.is_none() && left >= SPLICE_MIN_BYTES && self.rare.is_none() && is_plain() {
            self.pipe = core.pipes.take();
        }
        self.pipe.is_some().then_some(left)
    }

    /// Moves a part of the body through the pipe.
    pub fn poll_splice(
        &mut self,
        left: u64,
        core: &Core,
        member: &Stream,
        client: &Stream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        let pipe = self.pipe.as_mut().expect("`splices` has said so");
        let sockets = member.as_tcp().zip(client.as_tcp());
        let (from, to) = sockets.expect("`splices` has looked");
        let spliced = ready!(pipe.poll(from, to, left, context));
        let sent = match spliced {
            Ok(Ok(Spliced::Sent(sent))) => sent,
            Ok(Ok(Spliced::SenderEnded) | Err(_)) => return Poll::Ready(Err(Fault::MemberClosed)),
            Err(_) => return Poll::Ready(Err(Fault::ClientGone)),
        };
        self.bytes_sent += sent as u64;
        let framing = Framing::length(left - sent as u64);
        self.state = if framing.is_done() { State::Finished } else { State::Body(framing) };
        if framing.is_done()
            && let Some(pipe) = self.pipe.take()
        {
            core.pipes.give(pipe);
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on what the member sent, which lies in `read` behind `READ_ROOM_BYTES`; no bytes mean that it closed.
    pub fn take(
        &mut self,
        core: &Core,
        request: &Request,
        client: &mut Stream,
        read: &mut [u8],
    ) -> Result<(), Fault> {
        let bytes = &read[READ_ROOM_BYTES..];
        if !bytes.is_empty() {
            request.member.heard_at.set(core.now());
        }
        match self.state {
            State::Finished | State::Switched => Ok(()),
            State::Body(Framing::UntilClose) if bytes.is_empty() => {
                self.state = State::Finished;
                self.end_compressed(client)
            }
            State::AwaitHead | State::Body(_) if bytes.is_empty() => Err(Fault::MemberClosed),
            State::Body(framing) => self.take_body(core, framing, client, bytes),
            State::AwaitHead => {
                if self.first_byte_us == 0 {
                    self.first_byte_us = core.waits.now_us().saturating_sub(self.sent_at_us).max(1);
                }
                let Some(rare) = self.rare.take() else {
                    return self.take_heads(core, request, client, read);
                };
                let mut joined = rare.partial;
                joined.extend_from_slice(bytes);
                self.take_heads(core, request, client, &mut joined)
            }
        }
    }

    /// When what is kept back of a small answer shall be sent, on the thread's clock.
    pub fn release_at_us(&self) -> u64 {
        match &self.rare {
            Some(rare) if rare.is_kept_back => self.fresh_until_us() + 1,
            _ => NEVER,
        }
    }

    /// Sends what is kept back.
    pub fn release(&mut self, core: &Core, request: &Request, client: &mut Stream) -> Result<(), Fault> {
        let Some(rare) = self.rare.take() else { return Ok(()) };
        let mut partial = rare.partial;
        self.take_heads(core, request, client, &mut partial)
    }

    /// Interim heads, the final head and the body that came with it go out in one write.
    fn take_heads(
        &mut self,
        core: &Core,
        request: &Request,
        client: &mut Stream,
        read: &mut [u8],
    ) -> Result<(), Fault> {
        let mut start = READ_ROOM_BYTES;
        let asked = request.asked;
        let settings = core.settings.borrow();
        let limits = HeadLimits {
            size_max_bytes: settings.limits.head_size_max_bytes as usize,
            header_count_max: logic::http::HEADERS_MAX,
        };
        let mut out = core.out.borrow_mut();
        out.clear();
        loop {
            let mut space = HeaderSpace::new();
            let bytes = &read[start..];
            let Some(mut head) = parse(bytes, &mut space, limits, asked).map_err(answer_fault)? else {
                self.keep_partial(bytes);
                self.head_bytes_sent += out.len() as u32;
                return self.send(client, &out, &[]);
            };
            let rest = &bytes[head.length..];
            if head.is_interim() {
                self.has_continued |= head.status == 100;
                let is_ours = self.keeps_continue && head.status == 100;
                // HTTP/1.0 knows no interim answers.
                if asked.is_version_11 && !is_ours {
                    head.write(VIA, &mut out);
                }
                start += head.length;
                continue;
            }
            // A small answer waits for its rest: until any of it is sent, another member can still give the whole.
            let may_wait = request.is_idempotent && out.is_empty() && self.is_fresh(core);
            if may_wait && is_small_part(head.framing, rest.len()) {
                self.keep_partial(bytes);
                self.rare.get_or_insert_default().is_kept_back = true;
                return Ok(());
            }
            self.write_final(core, request, client, &mut head, &mut out)?;
            self.head_bytes_sent += out.len() as u32;
            self.note(&head);
            if head.status == 101 {
                self.state = State::Switched;
                return self.send(client, &out, rest);
            }
            let (framing, body_start) = (head.framing, start + head.length);
            return self.send_first_body(framing, client, &mut out, read, body_start);
        }
    }

    /// What the final head says about the rest.
    fn note(&mut self, head: &ResponseHead<'_, '_>) {
        self.status = head.status;
        self.client_closes = head.client_closes;
        self.member_keeps_alive = head.member_keeps_alive;
        self.unchunk = head.unchunk;
    }

    /// Writes the final head to `out`, or sends it at once to a client that needs no text of it.
    fn write_final(
        &mut self,
        core: &Core,
        request: &Request,
        client: &mut Stream,
        head: &mut ResponseHead<'_, '_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let special = request.route.special.as_ref();
        let cookie = request.room.as_ref().and_then(|held| held.set_cookie.as_deref());
        // As late as can be, so that the client hears of what happened while its request was under way.
        let news = request.claim.as_deref().and_then(|claim| core.view_news(claim));
        if special.is_none()
            && out.is_empty()
            && head.status != 101
            && news.is_none()
            && self.send_parsed(client, head, cookie)?
        {
            return Ok(());
        }
        match special {
            None => head.write(VIA, out),
            Some(special) => self.write_special(core, request.asked, special, head, out),
        }
        for cookie in cookie.into_iter().flat_map(str::lines) {
            add_line(out, "Set-Cookie", cookie);
        }
        if let Some(news) = news {
            add_line(out, client_view::HEADER, &news);
        }
        Ok(())
    }

    fn keep_partial(&mut self, bytes: &[u8]) {
        let partial = &mut self.rare.get_or_insert_default().partial;
        partial.clear();
        partial.resize(READ_ROOM_BYTES, 0);
        partial.extend_from_slice(bytes);
    }

    /// Sends a final head to a client that needs no text of it; whether it was one.
    fn send_parsed(
        &mut self,
        client: &mut Stream,
        head: &ResponseHead<'_, '_>,
        cookie: Option<&str>,
    ) -> Result<bool, Fault> {
        let Some(stream) = client.as_http2_client() else { return Ok(false) };
        let sent = stream.send_parsed(head, VIA_VALUE, cookie);
        let is_sent = sent.map_err(|_| Fault::ClientGone)?;
        if is_sent {
            // As long as it would have been, more or less: what goes over the wire is compressed.
            self.has_started = true;
            self.bytes_sent += head.length as u64;
            self.head_bytes_sent += head.length as u32;
        }
        Ok(is_sent)
    }

    /// Whether the answer's first byte came a moment ago.
    fn is_fresh(&self, core: &Core) -> bool {
        core.waits.now_us() <= self.fresh_until_us()
    }

    fn fresh_until_us(&self) -> u64 {
        self.sent_at_us + self.first_byte_us + SMALL_WAIT_MAX_US
    }

    /// Sends `out`, the new head, with the part of the body that begins at `body_start` of what was read.
    fn send_first_body(
        &mut self,
        mut framing: Framing,
        client: &mut Stream,
        out: &mut Vec<u8>,
        read: &mut [u8],
        body_start: usize,
    ) -> Result<(), Fault> {
        let rest = &read[body_start..];
        if self.is_compressed() {
            let used = self.compress(&mut framing, rest, out)?;
            self.settle(framing, used, rest.len());
            return self.send(client, out, &[]);
        }
        if self.unchunk {
            let used = decode(&mut framing, rest, out)?;
            self.settle(framing, used, rest.len());
            return self.send(client, out, &[]);
        }
        let used = framing.consume(rest).map_err(answer_fault)?.used;
        self.settle(framing, used, rest.len());
        if used <= COPIED_BODY_MAX_BYTES {
            out.extend_from_slice(&rest[..used]);
            return self.send(client, out, &[]);
        }
        match body_start.checked_sub(out.len()) {
            Some(head_start) => {
                read[head_start..body_start].copy_from_slice(out);
                self.send(client, &read[head_start..body_start + used], &[])
            }
            None => self.send(client, out, &rest[..used]),
        }
    }

    fn take_body(
        &mut self,
        core: &Core,
        mut framing: Framing,
        client: &mut Stream,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        if self.unchunk || self.is_compressed() {
            let mut out = core.out.borrow_mut();
            out.clear();
            let used = if self.unchunk {
                decode(&mut framing, bytes, &mut out)?
            } else {
                self.compress(&mut framing, bytes, &mut out)?
            };
            self.settle(framing, used, bytes.len());
            return self.send(client, &out, &[]);
        }
        let used = framing.consume(bytes).map_err(answer_fault)?.used;
        self.settle(framing, used, bytes.len());
        self.send(client, &bytes[..used], &[])
    }

    /// How long its parts took, of a request that began at `started_us` and took `duration_us`.
    pub fn phases(&self, started_us: u64, duration_us: u64) -> Phases {
        let connect_us = u64::from(self.connect_us);
        let send_us = self.sent_at_us.saturating_sub(started_us + connect_us);
        let wait_us = self.first_byte_us;
        let answer_us = duration_us.saturating_sub(connect_us + send_us + wait_us);
        Phases { connect_us, send_us, wait_us, answer_us }
    }

    /// Without heads; with the framing of a chunked body.
    pub fn body_bytes_sent(&self) -> u64 {
        self.bytes_sent - u64::from(self.head_bytes_sent)
    }

    /// The final head with what the route changes; from here on the body is compressed where that is right.
    fn write_special(
        &mut self,
        core: &Core,
        asked: Asked,
        special: &Special,
        head: &mut ResponseHead<'_, '_>,
        out: &mut Vec<u8>,
    ) {
        let mut lines = special.answer_lines.clone();
        let mut dropped = head.named(|name| special.actions.drops_from_answers(name));
        let mut rechunks = false;
        if let Some(takes_gzip) = special.compresses {
            let mut verdict = judge_head(head, takes_gzip);
            if verdict == Verdict::Compress && !asked.is_head {
                match Compressor::begin(core) {
                    Some(compressor) => self.rare.get_or_insert_default().compressor = Some(compressor),
                    None => verdict = Verdict::Vary,
                }
            }
            dropped |= change_head(head, verdict, &mut lines);
            rechunks = verdict == Verdict::Compress;
        }
        if rechunks {
            // The member's body may end with its connection; ours says itself where it ends.
            head.client_closes = !asked.keep_alive;
        }
        head.write_changed(VIA, &AnswerChanges { dropped, lines: &lines, rechunks }, out);
    }

    fn is_compressed(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.compressor.is_some())
    }

    /// Appends the payload of `bytes` in compressed form, and the end where it is.
    fn compress(&mut self, framing: &mut Framing, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Fault> {
        let compressor = self.rare.as_mut().and_then(|rare| rare.compressor.as_mut());
        let compressor = compressor.expect("`is_compressed` has said so");
        let (mut at, mut payload_bytes) = (0, 0);
        while at < bytes.len() && !framing.is_done() {
            let step = framing.step(&bytes[at..]).map_err(answer_fault)?;
            at += step.used;
            compressor.add(&bytes[at - step.data..at]);
            payload_bytes += step.data;
        }
        if framing.is_done() {
            compressor.finish(out);
        } else if payload_bytes > 0 {
            compressor.flush(out);
        }
        Ok(at)
    }

    /// The end of a compressed body that ended with the member's connection.
    fn end_compressed(&mut self, client: &mut Stream) -> Result<(), Fault> {
        let Some(compressor) = self.rare.as_mut().and_then(|rare| rare.compressor.as_mut()) else {
            return Ok(());
        };
        let mut out = Vec::new();
        compressor.finish(&mut out);
        self.send(client, &out, &[])
    }

    fn settle(&mut self, framing: Framing, used: usize, came: usize) {
        self.state = if framing.is_done() { State::Finished } else { State::Body(framing) };
        // Bytes that nobody asked for: who knows what the next answer on this connection would be.
        self.member_keeps_alive &= used == came;
    }

    fn send(&mut self, client: &mut Stream, first: &[u8], second: &[u8]) -> Result<(), Fault> {
        self.has_started |= !first.is_empty();
        self.bytes_sent += (first.len() + second.len()) as u64;
        self.unsent.send(client, first, second).map_err(|_| Fault::ClientGone)
    }
}

/// Whether more is to come of a small body.
fn is_small_part(framing: Framing, come: usize) -> bool {
    matches!(framing, Framing::Length(length) if length <= SMALL_BODY_MAX_BYTES as u64 && length > come as u64)
}

/// Adds a line to a head that was written to its end.
fn add_line(head: &mut Vec<u8>, name: &str, value: &str) {
    let end = head.len() - 2;
    assert!(head.ends_with(b"\r\n\r\n"), "a head ends in an empty line");
    head.truncate(end);
    for part in [name, ": ", value, "\r\n\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
}

/// Appends the payload of a chunked body; how many bytes that took.
fn decode(framing: &mut Framing, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Fault> {
    let mut at = 0;
    while at < bytes.len() && !framing.is_done() {
        let step = framing.step(&bytes[at..]).map_err(answer_fault)?;
        at += step.used;
        out.extend_from_slice(&bytes[at - step.data..at]);
    }
    Ok(at)
}

fn answer_fault(why: Refusal) -> Fault {
    Fault::AnswerRefused { why }
}
