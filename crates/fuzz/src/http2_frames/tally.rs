//! Counts a connection's windows by the frames that go by, and holds what is sent for the standard.

use logic::http2::frame::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEAD_BYTES, HEADERS, PING,
    PREFACE, RST_STREAM, SETTINGS, WINDOW_BYTES, WINDOW_UPDATE, setting,
};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Stream {
    /// What the client has added to its window, and what was sent.
    added: i64,
    sent: i64,
    is_closed: bool,
}

#[derive(Debug)]
pub struct Tally {
    /// What the client said and is no whole frame yet.
    heard: Vec<u8>,
    preface_left: usize,
    /// Bytes of what is to be sent that were looked at.
    seen: usize,
    streams: BTreeMap<u32, Stream>,
    /// A block of headers goes on.
    block_of: Option<u32>,
    initial_window: i64,
    connection: Stream,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            heard: Vec::new(),
            preface_left: PREFACE.len(),
            seen: 0,
            streams: BTreeMap::new(),
            block_of: None,
            initial_window: WINDOW_BYTES,
            connection: Stream::default(),
        }
    }
}

impl Tally {
    /// Bytes of the client that were taken without complaint, or up to one.
    pub fn hear(&mut self, bytes: &[u8]) {
        let (preface, bytes) = bytes.split_at(self.preface_left.min(bytes.len()));
        self.preface_left -= preface.len();
        self.heard.extend_from_slice(bytes);
        while let Some(length) = frame_length(&self.heard) {
            let frame: Vec<u8> = self.heard.drain(..length).collect();
            self.hear_frame(Frame::of(&frame));
        }
    }

    fn hear_frame(&mut self, frame: Frame<'_>) {
        if let (WINDOW_UPDATE, Ok(more)) = (frame.kind, <[u8; 4]>::try_from(frame.payload)) {
            let more = i64::from(u32::from_be_bytes(more) & 0x7fff_ffff);
            match frame.id {
                0 => self.connection.added += more,
                id => self.streams.entry(id).or_default().added += more,
            }
        }
        if frame.kind == SETTINGS && !frame.has(ACK) {
            for [high, low, value @ ..] in frame.payload.as_chunks::<6>().0 {
                if u16::from_be_bytes([*high, *low]) == setting::INITIAL_WINDOW_SIZE {
                    self.initial_window = u32::from_be_bytes(*value).into();
                }
            }
        }
    }

    /// What is to be sent.
    pub fn see(&mut self, unsent: &[u8]) {
        while let Some(length) = frame_length(&unsent[self.seen..]) {
            self.see_frame(Frame::of(&unsent[self.seen..self.seen + length]));
            self.seen += length;
        }
        assert_eq!(self.seen, unsent.len(), "what is sent is no whole frame");
    }

    /// So much has left.
    pub fn was_sent(&mut self, count: usize) {
        self.seen -= count;
    }

    fn see_frame(&mut self, frame: Frame<'_>) {
        let goes_on = frame.kind == CONTINUATION;
        assert_eq!(self.block_of, goes_on.then_some(frame.id), "a block of headers is broken off");
        let has_ended = frame.has(END_STREAM);
        match frame.kind {
            DATA => self.see_data(frame),
            HEADERS | CONTINUATION => {
                self.block_of = (!frame.has(END_HEADERS)).then_some(frame.id);
                let stream = self.streams.entry(frame.id).or_default();
                assert!(!stream.is_closed || goes_on, "headers on {} after its end", frame.id);
                stream.is_closed |= !goes_on && has_ended;
            }
            RST_STREAM => {
                assert_eq!(frame.payload.len(), 4);
                self.streams.entry(frame.id).or_default().is_closed = true;
            }
            SETTINGS => assert!(frame.id == 0 && frame.payload.len().is_multiple_of(6)),
            PING => assert!(frame.id == 0 && frame.payload.len() == 8),
            GOAWAY => assert!(frame.id == 0 && frame.payload.len() >= 8),
            WINDOW_UPDATE => assert!(frame.payload.len() == 4 && frame.payload != [0; 4]),
            kind => panic!("a frame of kind {kind} is sent"),
        }
    }

    fn see_data(&mut self, frame: Frame<'_>) {
        let length = frame.payload.len() as i64;
        let stream = self.streams.entry(frame.id).or_default();
        assert!(!stream.is_closed, "data on {} after its end", frame.id);
        stream.is_closed |= frame.has(END_STREAM);
        stream.sent += length;
        self.connection.sent += length;
        if length > 0 {
            let most = self.initial_window + stream.added;
            assert!(stream.sent <= most, "{} of {most} bytes on {}", stream.sent, frame.id);
            let most = WINDOW_BYTES + self.connection.added;
            assert!(self.connection.sent <= most, "{} of {most} bytes in all", self.connection.sent);
        }
    }
}

fn frame_length(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < HEAD_BYTES {
        return None;
    }
    let length = HEAD_BYTES + frame::payload_length(bytes).ok()?;
    (bytes.len() >= length).then_some(length)
}
