//! The payload of one HTTP/2 message as the body of an HTTP/1.1 message.
//!
//! Promise: the peer's windows open only as bytes are read here, so that it sends no faster than they are passed on.

use super::broken;
use bytes::{Buf, Bytes};
use h2::RecvStream;
use http::HeaderMap;
use std::io::{self, Write};
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// A chunk's size line and the end of the chunk before take at most this.
const CHUNK_FRAME_BYTES: usize = 24;

/// Where the payload comes from: a member's stream or a client's.
pub trait Payload {
    /// The next part; None at the end.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;
    /// Appends what follows the payload as lines.
    fn poll_trailers(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<()>>;
    /// So many bytes were passed on.
    fn release(&mut self, count: usize) -> io::Result<()>;
}

impl Payload for RecvStream {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        RecvStream::poll_data(self, context).map_err(broken)
    }

    fn poll_trailers(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<io::Result<()>> {
        let trailers = std::task::ready!(RecvStream::poll_trailers(self, context)).map_err(broken)?;
        write_headers(&trailers.unwrap_or_default(), out);
        Poll::Ready(Ok(()))
    }

    fn release(&mut self, count: usize) -> io::Result<()> {
        self.flow_control().release_capacity(count).map_err(broken)
    }
}

#[derive(Debug)]
pub struct Source<S> {
    stream: S,
    /// Received and not yet read.
    rest: Bytes,
    /// Written for the reader and not yet read: a head, or the end of a chunked body.
    ready: Vec<u8>,
    ready_from: usize,
    form: Form,
}

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is: its length was announced, or nobody frames it.
    Plain,
    Chunked,
    /// Nothing more comes.
    Over,
}

impl<S: Payload> Source<S> {
    /// `head` is read first. Its memory goes with the source.
    pub fn new(stream: S, head: Vec<u8>, form: Form) -> Self {
        Self { stream, rest: Bytes::new(), ready: head, ready_from: 0, form }
    }

    pub fn is_over(&self) -> bool {
        self.form == Form::Over
    }

    /// From now on the payload is read as it comes.
    pub fn set_form(&mut self, form: Form) {
        self.form = form;
    }

    /// Puts what is at hand into `buffer`, at least a byte; nothing means the end.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        while buffer.remaining() > CHUNK_FRAME_BYTES || buffer.filled().len() == before {
            if self.ready_from < self.ready.len() {
                let count = buffer.remaining().min(self.ready.len() - self.ready_from);
                buffer.put_slice(&self.ready[self.ready_from..self.ready_from + count]);
                self.ready_from += count;
                if self.ready_from == self.ready.len() {
                    (self.ready, self.ready_from) = (Vec::new(), 0);
                }
            } else if self.form == Form::Over {
                break;
            } else if !self.rest.is_empty() {
                self.put(buffer)?;
            } else {
                match self.poll_more(context) {
                    Poll::Ready(Ok(())) => {}
                    // What was put shall be used; the error, or what is missing, shows next time.
                    Poll::Ready(Err(_)) | Poll::Pending if buffer.filled().len() > before => break,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Copies payload. There is room for a byte, and for a chunk's frame where that is needed.
    fn put(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let frame_bytes = if self.form == Form::Chunked { CHUNK_FRAME_BYTES } else { 0 };
        let room = buffer.remaining().saturating_sub(frame_bytes).max(1);
        let count = room.min(self.rest.len());
        if self.form == Form::Chunked && buffer.remaining() <= frame_bytes {
            // A reader with hardly any room gets the chunk in pieces.
            write!(self.ready, "{count:x}\r\n")?;
            self.ready.extend_from_slice(&self.rest[..count]);
            self.ready.extend_from_slice(b"\r\n");
        } else if self.form == Form::Chunked {
            let mut size = [0; CHUNK_FRAME_BYTES];
            let mut line = &mut size[..];
            write!(line, "{count:x}\r\n")?;
            let left = line.len();
            buffer.put_slice(&size[..CHUNK_FRAME_BYTES - left]);
            buffer.put_slice(&self.rest[..count]);
            buffer.put_slice(b"\r\n");
        } else {
            buffer.put_slice(&self.rest[..count]);
        }
        self.rest.advance(count);
        self.stream.release(count)
    }

    /// Gets payload, or finds the end.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match std::task::ready!(self.stream.poll_data(context)) {
            Some(Ok(data)) => self.rest = data,
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {
                let mut lines = Vec::new();
                std::task::ready!(self.stream.poll_trailers(context, &mut lines))?;
                if self.form == Form::Chunked {
                    self.ready.extend_from_slice(b"0\r\n");
                    self.ready.extend_from_slice(&lines);
                    self.ready.extend_from_slice(b"\r\n");
                }
                self.form = Form::Over;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Appends headers as lines.
pub fn write_headers(headers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        write_header(name.as_str(), value.as_bytes(), out);
    }
}

pub fn write_header(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
