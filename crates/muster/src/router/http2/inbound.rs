//! What the frames of a client mean (RFC 9113): they change its connection, and begin requests.
//!
//! Promise: whatever a client sends, the answer is one that the standard names: the stream is given up, or the connection.

use super::connection::{
    ACK, Begun, Block, CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, FRAME_HEAD_BYTES, GOAWAY,
    HEADERS, LEAVE_PING, PADDED, PAYLOAD_MAX_BYTES, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
    StreamState, WINDOW_MAX, WINDOW_UPDATE, WITH_PRIORITY,
};
use super::request_stream::challenge;
use super::{KEPT_FRAME_BYTES, STREAMS_MAX};
use crate::router::core::Core;
use h2::Reason;
use logic::http2::PREFACE;
use logic::http2::head::{HeadText, Verdict, write_trailer};
use logic::time::Time;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// Why a connection comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It is closed, or broken.
    Gone,
    Wrong(Reason),
    /// The client has spent its credit.
    Flood,
}

/// A mistake of the client.
#[derive(Debug)]
enum Wrong {
    Connection(Reason),
    Stream(u32, Reason),
}

#[derive(Debug, Clone, Copy)]
struct Frame<'a> {
    kind: u8,
    flags: u8,
    id: u32,
    payload: &'a [u8],
}

impl Frame<'_> {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

const PROTOCOL: Wrong = Wrong::Connection(Reason::PROTOCOL_ERROR);
const FRAME_SIZE: Wrong = Wrong::Connection(Reason::FRAME_SIZE_ERROR);
const FLOW_CONTROL: Wrong = Wrong::Connection(Reason::FLOW_CONTROL_ERROR);

impl Connection {
    /// Reads once, and does what the frames say.
    pub fn poll_input(&mut self, core: &Core, context: &mut Context<'_>) -> Poll<Result<(), Over>> {
        if self.is_clogged() {
            return Poll::Pending;
        }
        let Some(socket) = &mut self.socket else { return Poll::Ready(Err(Over::Gone)) };
        let mut scratch = core.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        if ready!(Pin::new(socket).poll_read(context, &mut buffer)).is_err() || buffer.filled().is_empty() {
            return Poll::Ready(Err(Over::Gone));
        }
        Poll::Ready(self.take(core, buffer.filled()))
    }

    /// Does what the frames in these bytes say, and keeps what is not whole.
    pub fn take(&mut self, core: &Core, bytes: &[u8]) -> Result<(), Over> {
        if !self.conduct.received(Time(self.waits.now_us() / 1000), bytes) {
            return Err(Over::Flood);
        }
        self.take_frames(core, bytes).map_err(Over::Wrong)
    }

    fn take_frames(&mut self, core: &Core, bytes: &[u8]) -> Result<(), Reason> {
        let (preface, mut bytes) = bytes.split_at(self.preface_left.min(bytes.len()));
        if !PREFACE[PREFACE.len() - self.preface_left..].starts_with(preface) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        self.preface_left -= preface.len();
        if !self.partial.is_empty() {
            let mut partial = std::mem::take(&mut self.partial);
            let mut missing = missing(&partial)?;
            // First what its length stands in, then the rest of it.
            while missing > 0 && !bytes.is_empty() {
                let (part, rest) = bytes.split_at(missing.min(bytes.len()));
                partial.extend_from_slice(part);
                bytes = rest;
                missing = self::missing(&partial)?;
            }
            if missing > 0 {
                self.partial = partial;
                return Ok(());
            }
            self.take_frame(core, &partial)?;
            if partial.capacity() <= KEPT_FRAME_BYTES {
                partial.clear();
                self.partial = partial;
            }
        }
        while bytes.len() >= FRAME_HEAD_BYTES {
            let length = FRAME_HEAD_BYTES + payload_length(bytes)?;
            let Some((frame, rest)) = bytes.split_at_checked(length) else { break };
            self.take_frame(core, frame)?;
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn take_frame(&mut self, core: &Core, bytes: &[u8]) -> Result<(), Reason> {
        let (head, payload) = bytes.split_at(FRAME_HEAD_BYTES);
        let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let frame = Frame { kind: head[3], flags: head[4], id, payload };
        match self.obey(core, frame) {
            Ok(()) => Ok(()),
            Err(Wrong::Connection(reason)) => Err(reason),
            Err(Wrong::Stream(id, reason)) => {
                self.conduct.was_wrong();
                if let Some((_, stream)) = self.find(id) {
                    if std::mem::replace(&mut stream.is_given_up, true) {
                        return Ok(());
                    }
                    stream.wake();
                }
                self.write_reset(id, reason);
                Ok(())
            }
        }
    }

    fn obey(&mut self, core: &Core, frame: Frame<'_>) -> Result<(), Wrong> {
        let is_first = !std::mem::replace(&mut self.has_settings, true);
        if is_first && (frame.kind != SETTINGS || frame.has(ACK)) {
            return Err(PROTOCOL);
        }
        if self.block.is_some() && frame.kind != CONTINUATION {
            return Err(PROTOCOL);
        }
        // Streams of ours there are none.
        let is_of_stream = frame.id % 2 == 1;
        match frame.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | CONTINUATION if !is_of_stream => Err(PROTOCOL),
            SETTINGS | PING | GOAWAY if frame.id != 0 => Err(PROTOCOL),
            DATA => self.take_data(frame),
            HEADERS => self.take_headers(core, frame),
            CONTINUATION => self.take_continuation(core, frame),
            // Nobody is preferred.
            PRIORITY if frame.payload.len() == 5 => Ok(()),
            PRIORITY => Err(FRAME_SIZE),
            RST_STREAM => self.take_reset(frame),
            SETTINGS => self.take_settings(frame),
            PUSH_PROMISE => Err(PROTOCOL),
            PING => self.take_ping(frame),
            GOAWAY if frame.payload.len() < 8 => Err(FRAME_SIZE),
            GOAWAY => {
                self.has_goodbye = true;
                Ok(())
            }
            WINDOW_UPDATE => self.take_window_update(frame),
            // To be ignored (RFC 9113, 5.5).
            _ => Ok(()),
        }
    }

    fn take_data(&mut self, frame: Frame<'_>) -> Result<(), Wrong> {
        let count = frame.payload.len();
        let data = without_padding(frame)?;
        if frame.id > self.last_id {
            return Err(PROTOCOL);
        }
        self.receive_window -= count as i64;
        if self.receive_window < 0 {
            return Err(FLOW_CONTROL);
        }
        let Some((_, stream)) = self.find(frame.id).filter(|(_, stream)| !stream.is_given_up) else {
            self.release(count);
            let is_expected = self.was_given_up(frame.id) || frame.id > self.last_wanted_id;
            let error = Wrong::Stream(frame.id, Reason::STREAM_CLOSED);
            return if is_expected || self.find(frame.id).is_some() { Ok(()) } else { Err(error) };
        };
        let error = |reason| Err(Wrong::Stream(frame.id, reason));
        stream.receive_window -= count as i64;
        let fault = match () {
            () if stream.has_ended => Some(Reason::STREAM_CLOSED),
            () if stream.receive_window < 0 => Some(Reason::FLOW_CONTROL_ERROR),
            () => None,
        };
        let length_left = stream.length_left.map(|left| left.checked_sub(data.len() as u64));
        let is_too_long = length_left == Some(None);
        let is_too_short = frame.has(END_STREAM) && length_left.flatten().is_some_and(|left| left > 0);
        if let Some(reason) = fault.or((is_too_long || is_too_short).then_some(Reason::PROTOCOL_ERROR)) {
            self.release(count);
            return error(reason);
        }
        stream.length_left = length_left.flatten();
        stream.body.extend_from_slice(data);
        stream.has_ended |= frame.has(END_STREAM);
        // What nobody reads is asked for again with what is read next.
        let padding = count - data.len();
        stream.released += padding;
        stream.wake();
        self.release(padding);
        Ok(())
    }

    fn take_headers(&mut self, core: &Core, frame: Frame<'_>) -> Result<(), Wrong> {
        let mut fragment = without_padding(frame)?;
        let mut depends_on_itself = false;
        if frame.has(WITH_PRIORITY) {
            let (priority, rest) = fragment.split_at_checked(5).ok_or(FRAME_SIZE)?;
            let on = u32::from_be_bytes([priority[0] & 0x7f, priority[1], priority[2], priority[3]]);
            depends_on_itself = on == frame.id;
            fragment = rest;
        }
        let has_ended = frame.has(END_STREAM);
        if !frame.has(END_HEADERS) {
            self.block = Some(Block { id: frame.id, has_ended, bytes: fragment.to_vec() });
            return Ok(());
        }
        self.take_block(core, frame.id, has_ended, fragment)?;
        if depends_on_itself { Err(Wrong::Stream(frame.id, Reason::PROTOCOL_ERROR)) } else { Ok(()) }
    }

    fn take_continuation(&mut self, core: &Core, frame: Frame<'_>) -> Result<(), Wrong> {
        let mut block = self.block.take().filter(|block| block.id == frame.id).ok_or(PROTOCOL)?;
        if block.bytes.len() + frame.payload.len() > PAYLOAD_MAX_BYTES + self.list_size_max {
            return Err(Wrong::Connection(Reason::ENHANCE_YOUR_CALM));
        }
        block.bytes.extend_from_slice(frame.payload);
        if frame.has(END_HEADERS) {
            return self.take_block(core, block.id, block.has_ended, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole block of headers. It is unpacked in any case, because those that follow depend on it.
    fn take_block(&mut self, core: &Core, id: u32, has_ended: bool, block: &[u8]) -> Result<(), Wrong> {
        if id <= self.last_id {
            return self.take_trailers(id, has_ended, block);
        }
        self.last_id = id;
        let mut head = core.take_buffer();
        let mut text = HeadText::new(&mut head, &mut self.scratch, self.list_size_max);
        let unpacked = self.decoder.decode(block, |field| text.take(field));
        let verdict = text.end(has_ended, challenge);
        if unpacked.is_err() {
            return Err(Wrong::Connection(Reason::COMPRESSION_ERROR));
        }
        let shape = match verdict {
            Verdict::Request(shape) => shape,
            Verdict::Abuse => return Err(Wrong::Connection(Reason::ENHANCE_YOUR_CALM)),
            Verdict::Malformed | Verdict::TooLarge => {
                core.give_buffer(head);
                if verdict == Verdict::Malformed {
                    return Err(Wrong::Stream(id, Reason::PROTOCOL_ERROR));
                }
                self.answer(id, 431, has_ended);
                return Ok(());
            }
        };
        if id > self.last_wanted_id || self.streams.len() >= STREAMS_MAX as usize {
            core.give_buffer(head);
            // Nobody has seen it, and it may be asked again.
            self.write_reset(id, Reason::REFUSED_STREAM);
            return Ok(());
        }
        let stream = StreamState::new(id, has_ended, shape.length, self.stream_send_window);
        let key = self.streams.insert(stream);
        self.begun.push_back(Begun { key, head, shape, has_ended });
        Ok(())
    }

    fn take_trailers(&mut self, id: u32, has_ended: bool, block: &[u8]) -> Result<(), Wrong> {
        let mut lines = Vec::new();
        let (mut is_proper, mut size) = (true, 0);
        let size_max = self.list_size_max;
        let unpacked = self.decoder.decode(block, |field| {
            size += field.name.len() + field.value.len();
            is_proper = is_proper && size <= size_max && write_trailer(field, &mut lines);
        });
        if unpacked.is_err() {
            return Err(Wrong::Connection(Reason::COMPRESSION_ERROR));
        }
        let was_given_up = self.was_given_up(id);
        let Some((_, stream)) = self.find(id) else {
            return if was_given_up { Ok(()) } else { Err(Wrong::Stream(id, Reason::STREAM_CLOSED)) };
        };
        if stream.is_given_up {
            return Ok(());
        }
        if stream.has_ended {
            return Err(Wrong::Stream(id, Reason::STREAM_CLOSED));
        }
        if !is_proper || !has_ended || stream.length_left.is_some_and(|left| left > 0) {
            return Err(Wrong::Stream(id, Reason::PROTOCOL_ERROR));
        }
        stream.trailers = lines;
        stream.has_ended = true;
        stream.wake();
        Ok(())
    }

    fn take_reset(&mut self, frame: Frame<'_>) -> Result<(), Wrong> {
        if frame.payload.len() != 4 {
            return Err(FRAME_SIZE);
        }
        if frame.id > self.last_id {
            return Err(PROTOCOL);
        }
        if let Some((_, stream)) = self.find(frame.id) {
            stream.is_given_up = true;
            stream.wake();
        }
        Ok(())
    }

    fn take_settings(&mut self, frame: Frame<'_>) -> Result<(), Wrong> {
        const HEADER_TABLE_SIZE: u16 = 1;
        const ENABLE_PUSH: u16 = 2;
        const INITIAL_WINDOW_SIZE: u16 = 4;
        const LARGEST_FRAME: u16 = 5;
        if frame.has(ACK) {
            return if frame.payload.is_empty() { Ok(()) } else { Err(FRAME_SIZE) };
        }
        let (settings, rest) = frame.payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(FRAME_SIZE);
        }
        for [high, low, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*high, *low]) {
                HEADER_TABLE_SIZE => self.set_table_bytes(value as usize),
                ENABLE_PUSH if value > 1 => return Err(PROTOCOL),
                INITIAL_WINDOW_SIZE => self.set_stream_windows(i64::from(value))?,
                LARGEST_FRAME if !(1 << 14..1 << 24).contains(&value) => return Err(PROTOCOL),
                _ => {}
            }
        }
        self.write(SETTINGS, ACK, 0, &[]);
        Ok(())
    }

    fn set_stream_windows(&mut self, window: i64) -> Result<(), Wrong> {
        if window > WINDOW_MAX {
            return Err(FLOW_CONTROL);
        }
        let more = window - std::mem::replace(&mut self.stream_send_window, window);
        for (_, stream) in &mut self.streams {
            stream.send_window += more;
            if stream.send_window > WINDOW_MAX {
                return Err(FLOW_CONTROL);
            }
            stream.wake();
        }
        Ok(())
    }

    fn take_ping(&mut self, frame: Frame<'_>) -> Result<(), Wrong> {
        if frame.payload.len() != 8 {
            return Err(FRAME_SIZE);
        }
        if !frame.has(ACK) {
            self.write(PING, ACK, 0, frame.payload);
        } else if frame.payload == LEAVE_PING && self.last_wanted_id == u32::MAX {
            // Whatever was on its way when the client was asked to leave has come.
            self.last_wanted_id = self.last_id;
            self.write_goodbye(self.last_id, Reason::NO_ERROR);
        }
        Ok(())
    }

    fn take_window_update(&mut self, frame: Frame<'_>) -> Result<(), Wrong> {
        let Ok(more) = <[u8; 4]>::try_from(frame.payload) else { return Err(FRAME_SIZE) };
        let more = i64::from(u32::from_be_bytes(more) & 0x7fff_ffff);
        if frame.id == 0 {
            self.send_window += more;
            if more == 0 {
                return Err(PROTOCOL);
            }
            if self.send_window > WINDOW_MAX {
                return Err(FLOW_CONTROL);
            }
            self.wake_waiting();
            return Ok(());
        }
        if frame.id > self.last_id {
            return Err(PROTOCOL);
        }
        let Some((_, stream)) = self.find(frame.id) else { return Ok(()) };
        if more == 0 {
            return Err(Wrong::Stream(frame.id, Reason::PROTOCOL_ERROR));
        }
        stream.send_window += more;
        if stream.send_window > WINDOW_MAX {
            return Err(Wrong::Stream(frame.id, Reason::FLOW_CONTROL_ERROR));
        }
        stream.wake();
        Ok(())
    }
}

/// The length of the payload of a frame that begins here.
fn payload_length(bytes: &[u8]) -> Result<usize, Reason> {
    let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
    if length > PAYLOAD_MAX_BYTES { Err(Reason::FRAME_SIZE_ERROR) } else { Ok(length) }
}

/// How many bytes are missing of a frame, as far as its beginning tells.
fn missing(partial: &[u8]) -> Result<usize, Reason> {
    if partial.len() < FRAME_HEAD_BYTES {
        return Ok(FRAME_HEAD_BYTES - partial.len());
    }
    Ok(FRAME_HEAD_BYTES + payload_length(partial)? - partial.len())
}

fn without_padding(frame: Frame<'_>) -> Result<&[u8], Wrong> {
    if !frame.has(PADDED) {
        return Ok(frame.payload);
    }
    let (padding, rest) = frame.payload.split_first().ok_or(FRAME_SIZE)?;
    let length = rest.len().checked_sub(usize::from(*padding)).ok_or(PROTOCOL)?;
    Ok(&rest[..length])
}
