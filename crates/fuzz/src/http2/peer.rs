//! The other end of a connection: frames from an input, over a wire in memory.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Between the parts of an input.
const SEPARATOR: u8 = 0xff;
/// Between the lines of a part.
const LINE_END: u8 = 0xfe;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Gives the bytes of the peer and forgets what is written to it.
#[derive(Debug)]
pub struct Wire {
    bytes: Vec<u8>,
    at: usize,
    /// The peer closes behind its bytes; otherwise it stays and is silent.
    closes: bool,
    /// The peer listens first, and speaks once this is set.
    speaks: Rc<Cell<bool>>,
}

impl Wire {
    pub fn new(bytes: Vec<u8>, closes: bool, speaks: &Rc<Cell<bool>>) -> Self {
        Self { bytes, at: 0, closes, speaks: speaks.clone() }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.speaks.get() {
            return Poll::Pending;
        }
        let count = buffer.remaining().min(self.bytes.len() - self.at);
        if count == 0 && !self.closes {
            return Poll::Pending;
        }
        buffer.put_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The stream that a member answers on: the first of its client.
const STREAM: u32 = 1;

/// What the peer says.
#[derive(Debug, Default)]
pub struct Speech {
    pub bytes: Vec<u8>,
    /// The payload of the stream; None where frames were written by hand, or out of place.
    pub payload: Option<Vec<u8>>,
}

/// Frames from an input in parts, each a letter and what belongs to it: `h` headers, `d` payload, `t` trailers, each in
/// upper case where the stream ends with it; any other byte is the kind of a frame, flags and payload follow. All belong to
/// the first stream.
pub fn speak(input: &[u8]) -> Speech {
    let mut speech = Speech { bytes: Vec::new(), payload: Some(Vec::new()) };
    frame(4, 0, 0, &[], &mut speech.bytes);
    let mut is_over = false;
    for part in input.split(|byte| *byte == SEPARATOR) {
        let Some((letter, rest)) = part.split_first() else { continue };
        let end = if letter.is_ascii_uppercase() { END_STREAM } else { 0 };
        if is_over {
            speech.payload = None;
        }
        is_over = end != 0;
        match letter.to_ascii_lowercase() {
            b'h' | b't' => frame(1, END_HEADERS | end, STREAM, &fields(rest), &mut speech.bytes),
            b'd' => {
                if let Some(payload) = &mut speech.payload {
                    payload.extend_from_slice(rest);
                }
                frame(0, end, STREAM, rest, &mut speech.bytes);
            }
            _ => {
                speech.payload = None;
                let (flags, payload) = rest.split_first().map_or((0, rest), |(flags, rest)| (*flags, rest));
                // Settings, pings and farewells concern the connection.
                let stream = if matches!(letter, 4 | 6 | 7) { 0 } else { STREAM };
                frame(*letter, flags, stream, payload, &mut speech.bytes);
            }
        }
    }
    speech
}

/// Lines `name: value` as a block of headers, none of them compressed. The first colon behind the first byte counts, so
/// that names like `:path` can be said.
fn fields(text: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for line in text.split(|byte| *byte == LINE_END).filter(|line| !line.is_empty()) {
        let colon = line.iter().skip(1).position(|byte| *byte == b':').map_or(line.len(), |at| at + 1);
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        block.push(0);
        for text in [name, value.strip_prefix(b" ").unwrap_or(value)] {
            length(text.len(), &mut block);
            block.extend_from_slice(text);
        }
    }
    block
}

/// A number with a prefix of seven bits (RFC 7541, 5.1).
fn length(length: usize, out: &mut Vec<u8>) {
    if length < 127 {
        return out.push(length as u8);
    }
    out.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let [_, high, middle, low] = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[high, middle, low, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
