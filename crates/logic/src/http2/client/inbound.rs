//! What the frames of a client mean (RFC 9113): they change its connection, and begin requests.
//!
//! Promise: whatever a client sends, the answer is one that the standard names: the stream is given up, or the connection.

use super::streams::StreamState;
use super::{Begun, Block, KEPT_BYTES, LEAVE_PING, Machine, Offence, STREAMS_MAX};
use crate::http2::frame::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEAD_BYTES, HEADERS, PADDED,
    PAYLOAD_MAX_BYTES, PING, PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM, Reason, SETTINGS, WINDOW_MAX,
    WINDOW_UPDATE, WITH_PRIORITY, setting,
};
use crate::http2::head::{HeadText, Verdict, write_trailer};
use crate::time::Time;

/// A mistake of the client.
#[derive(Debug)]
enum Wrong {
    Connection(Reason),
    Stream(u32, Reason),
}

const PROTOCOL: Wrong = Wrong::Connection(Reason::ProtocolError);
const FRAME_SIZE: Wrong = Wrong::Connection(Reason::FrameSizeError);
const FLOW_CONTROL: Wrong = Wrong::Connection(Reason::FlowControlError);

impl Machine {
    /// Does what the frames in these bytes say, and keeps what is not whole. Heads are written into buffers from `spare`.
    pub fn receive(&mut self, now: Time, bytes: &[u8], spare: &mut Vec<Vec<u8>>) -> Result<(), Offence> {
        if !self.conduct.received(now, bytes) {
            return Err(Offence::Flood);
        }
        self.take_frames(bytes, spare).map_err(Offence::Wrong)
    }

    fn take_frames(&mut self, bytes: &[u8], spare: &mut Vec<Vec<u8>>) -> Result<(), Reason> {
        let (preface, mut bytes) = bytes.split_at(self.preface_left.min(bytes.len()));
        if !PREFACE[PREFACE.len() - self.preface_left..].starts_with(preface) {
            return Err(Reason::ProtocolError);
        }
        self.preface_left -= preface.len();
        if !self.partial.is_empty() {
            let mut partial = std::mem::take(&mut self.partial);
            let mut missing = frame::missing(&partial)?;
            // First what its length stands in, then the rest of it.
            while missing > 0 && !bytes.is_empty() {
                let (part, rest) = bytes.split_at(missing.min(bytes.len()));
                partial.extend_from_slice(part);
                bytes = rest;
                missing = frame::missing(&partial)?;
            }
            if missing > 0 {
                self.partial = partial;
                return Ok(());
            }
            self.take_frame(&partial, spare)?;
            if partial.capacity() <= KEPT_BYTES {
                partial.clear();
                self.partial = partial;
            }
        }
        while bytes.len() >= HEAD_BYTES {
            let length = HEAD_BYTES + frame::payload_length(bytes)?;
            let Some((frame, rest)) = bytes.split_at_checked(length) else { break };
            self.take_frame(frame, spare)?;
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn take_frame(&mut self, bytes: &[u8], spare: &mut Vec<Vec<u8>>) -> Result<(), Reason> {
        match self.obey(Frame::of(bytes), spare) {
            Ok(()) => Ok(()),
            Err(Wrong::Connection(reason)) => Err(reason),
            Err(Wrong::Stream(id, reason)) => {
                self.conduct.was_wrong();
                if let Some(stream) = self.streams.find(id) {
                    if std::mem::replace(&mut stream.is_given_up, true) {
                        return Ok(());
                    }
                    stream.wake(&mut self.woken);
                }
                self.write_reset(id, reason);
                Ok(())
            }
        }
    }

    fn obey(&mut self, frame: Frame<'_>, spare: &mut Vec<Vec<u8>>) -> Result<(), Wrong> {
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
            HEADERS => self.take_headers(frame, spare),
            CONTINUATION => self.take_continuation(frame, spare),
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
        let Some(stream) = self.streams.find(frame.id).filter(|stream| !stream.is_given_up) else {
            self.release_of_connection(count);
            let is_expected = self.was_given_up(frame.id) || frame.id > self.last_wanted_id;
            let error = Wrong::Stream(frame.id, Reason::StreamClosed);
            return if is_expected || self.streams.find(frame.id).is_some() { Ok(()) } else { Err(error) };
        };
        let error = |reason| Err(Wrong::Stream(frame.id, reason));
        stream.receive_window -= count as i64;
        let fault = match () {
            () if stream.has_ended => Some(Reason::StreamClosed),
            () if stream.receive_window < 0 => Some(Reason::FlowControlError),
            () => None,
        };
        let length_left = stream.length_left.map(|left| left.checked_sub(data.len() as u64));
        let is_too_long = length_left == Some(None);
        let is_too_short = frame.has(END_STREAM) && length_left.flatten().is_some_and(|left| left > 0);
        if let Some(reason) = fault.or((is_too_long || is_too_short).then_some(Reason::ProtocolError)) {
            self.release_of_connection(count);
            return error(reason);
        }
        stream.length_left = length_left.flatten();
        stream.body.extend_from_slice(data);
        stream.has_ended |= frame.has(END_STREAM);
        // What nobody reads is asked for again with what is read next.
        let padding = count - data.len();
        stream.released += padding;
        stream.wake(&mut self.woken);
        self.release_of_connection(padding);
        Ok(())
    }

    fn take_headers(&mut self, frame: Frame<'_>, spare: &mut Vec<Vec<u8>>) -> Result<(), Wrong> {
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
        self.take_block(frame.id, has_ended, fragment, spare)?;
        if depends_on_itself { Err(Wrong::Stream(frame.id, Reason::ProtocolError)) } else { Ok(()) }
    }

    fn take_continuation(&mut self, frame: Frame<'_>, spare: &mut Vec<Vec<u8>>) -> Result<(), Wrong> {
        let mut block = self.block.take().filter(|block| block.id == frame.id).ok_or(PROTOCOL)?;
        if block.bytes.len() + frame.payload.len() > PAYLOAD_MAX_BYTES + self.list_size_max {
            return Err(Wrong::Connection(Reason::EnhanceYourCalm));
        }
        block.bytes.extend_from_slice(frame.payload);
        if frame.has(END_HEADERS) {
            return self.take_block(block.id, block.has_ended, &block.bytes, spare);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole block of headers. It is unpacked in any case, because those that follow depend on it.
    fn take_block(
        &mut self,
        id: u32,
        has_ended: bool,
        block: &[u8],
        spare: &mut Vec<Vec<u8>>,
    ) -> Result<(), Wrong> {
        if id <= self.last_id {
            return self.read_trailers(id, has_ended, block);
        }
        self.last_id = id;
        let mut head = spare.pop().unwrap_or_default();
        let mut text = HeadText::new(&mut head, &mut self.scratch, self.list_size_max);
        let unpacked = self.decoder.decode(block, |field| text.take(field));
        let verdict = text.end(has_ended, self.challenge);
        if unpacked.is_err() {
            return Err(Wrong::Connection(Reason::CompressionError));
        }
        let shape = match verdict {
            Verdict::Request(shape) => shape,
            Verdict::Abuse => return Err(Wrong::Connection(Reason::EnhanceYourCalm)),
            Verdict::Malformed | Verdict::TooLarge => {
                if verdict == Verdict::Malformed {
                    return Err(Wrong::Stream(id, Reason::ProtocolError));
                }
                self.answer(id, 431, has_ended);
                return Ok(());
            }
        };
        if id > self.last_wanted_id || self.streams.len() >= STREAMS_MAX as usize {
            // Nobody has seen it, and it may be asked again.
            self.write_reset(id, Reason::RefusedStream);
            return Ok(());
        }
        let stream = StreamState::new(id, has_ended, shape.length, self.stream_send_window);
        let key = self.streams.insert(stream);
        self.begun.push_back(Begun { key, head, shape, has_ended });
        Ok(())
    }

    fn read_trailers(&mut self, id: u32, has_ended: bool, block: &[u8]) -> Result<(), Wrong> {
        let mut lines = Vec::new();
        let (mut is_proper, mut size) = (true, 0);
        let size_max = self.list_size_max;
        let unpacked = self.decoder.decode(block, |field| {
            size += field.name.len() + field.value.len();
            is_proper = is_proper && size <= size_max && write_trailer(field, &mut lines);
        });
        if unpacked.is_err() {
            return Err(Wrong::Connection(Reason::CompressionError));
        }
        let was_given_up = self.was_given_up(id);
        let Some(stream) = self.streams.find(id) else {
            return if was_given_up { Ok(()) } else { Err(Wrong::Stream(id, Reason::StreamClosed)) };
        };
        if stream.is_given_up {
            return Ok(());
        }
        if stream.has_ended {
            return Err(Wrong::Stream(id, Reason::StreamClosed));
        }
        if !is_proper || !has_ended || stream.length_left.is_some_and(|left| left > 0) {
            return Err(Wrong::Stream(id, Reason::ProtocolError));
        }
        stream.trailers = lines;
        stream.has_ended = true;
        stream.wake(&mut self.woken);
        Ok(())
    }

    fn take_reset(&mut self, frame: Frame<'_>) -> Result<(), Wrong> {
        if frame.payload.len() != 4 {
            return Err(FRAME_SIZE);
        }
        if frame.id > self.last_id {
            return Err(PROTOCOL);
        }
        if let Some(stream) = self.streams.find(frame.id) {
            stream.is_given_up = true;
            stream.wake(&mut self.woken);
        }
        Ok(())
    }

    fn take_settings(&mut self, frame: Frame<'_>) -> Result<(), Wrong> {
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
                setting::HEADER_TABLE_SIZE => self.encoder.set_table_bytes(value as usize),
                setting::ENABLE_PUSH if value > 1 => return Err(PROTOCOL),
                setting::INITIAL_WINDOW_SIZE => self.set_stream_windows(i64::from(value))?,
                setting::LARGEST_FRAME if !(1 << 14..1 << 24).contains(&value) => return Err(PROTOCOL),
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
        for stream in self.streams.iter_mut() {
            stream.send_window += more;
            if stream.send_window > WINDOW_MAX {
                return Err(FLOW_CONTROL);
            }
            stream.wake(&mut self.woken);
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
            self.write_goodbye(self.last_id, Reason::NoError);
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
        let Some(stream) = self.streams.find(frame.id) else { return Ok(()) };
        if more == 0 {
            return Err(Wrong::Stream(frame.id, Reason::ProtocolError));
        }
        stream.send_window += more;
        if stream.send_window > WINDOW_MAX {
            return Err(Wrong::Stream(frame.id, Reason::FlowControlError));
        }
        stream.wake(&mut self.woken);
        Ok(())
    }
}

fn without_padding(frame: Frame<'_>) -> Result<&[u8], Wrong> {
    if !frame.has(PADDED) {
        return Ok(frame.payload);
    }
    let (padding, rest) = frame.payload.split_first().ok_or(FRAME_SIZE)?;
    let length = rest.len().checked_sub(usize::from(*padding)).ok_or(PROTOCOL)?;
    Ok(&rest[..length])
}
