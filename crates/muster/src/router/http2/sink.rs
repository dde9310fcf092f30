//! The body of an HTTP/1.1 message as the payload of one HTTP/2 message.
//!
//! Promise: no more than `STREAM_UNSENT_MAX_BYTES` wait for the peer's window. The bytes were framed by ourselves.

use super::broken;
use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use httparse::Header;
use logic::http::HEADERS_MAX;
use logic::http::body::{Chunk, Framing};
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

/// The first part of a body goes to the connection without asking for room up to this size: answers are mostly
/// small, and windows mostly open. Where they are not, this much waits here.
const FIRST_MAX_BYTES: usize = 16 * 1024;

/// Where the payload goes: a member's stream or a client's.
pub trait Outlet {
    /// How many of so many bytes may be sent now; asks for more room if that is not all.
    fn room(&mut self, wanted: usize) -> usize;
    /// Sends payload for which there is room.
    fn send_data(&mut self, bytes: &[u8], is_end: bool) -> io::Result<()>;
    /// Ends the payload with trailers.
    fn send_trailers(&mut self, trailers: &[Header<'_>]) -> io::Result<()>;
    /// Ready when there is room that was asked for.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A request's stream at a member.
#[derive(Debug)]
pub struct MemberOutlet {
    stream: SendStream<Bytes>,
    has_begun: bool,
}

impl MemberOutlet {
    pub fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream, has_begun: false }
    }
}

impl Outlet for MemberOutlet {
    fn room(&mut self, wanted: usize) -> usize {
        if !std::mem::replace(&mut self.has_begun, true) {
            return wanted.min(FIRST_MAX_BYTES);
        }
        if self.stream.capacity() < wanted {
            self.stream.reserve_capacity(wanted);
        }
        self.stream.capacity().min(wanted)
    }

    fn send_data(&mut self, bytes: &[u8], is_end: bool) -> io::Result<()> {
        self.stream.send_data(Bytes::copy_from_slice(bytes), is_end).map_err(broken)
    }

    fn send_trailers(&mut self, trailers: &[Header<'_>]) -> io::Result<()> {
        let trailers = header_map(trailers, Bytes::copy_from_slice)?;
        self.stream.send_trailers(trailers).map_err(broken)
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug)]
pub struct Sink<T> {
    stream: T,
    framing: Framing,
    trailers: Vec<u8>,
}

impl<T: Outlet> Sink<T> {
    pub fn new(stream: T, framing: Framing) -> Self {
        Self { stream, framing, trailers: Vec::new() }
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Sends as much as there is room for. An error of kind WouldBlock: there is none.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let run = match self.framing {
                Framing::Done => return Err(ErrorKind::InvalidData.into()),
                Framing::UntilClose => rest.len(),
                Framing::Length(left) | Framing::Chunked(Chunk::Data { left }) => {
                    rest.len().min(usize::try_from(left).unwrap_or(usize::MAX))
                }
                Framing::Chunked(_) => {
                    self.step_frame(rest[0])?;
                    used += 1;
                    continue;
                }
            };
            let room = self.stream.room(run);
            if room == 0 {
                return if used > 0 { Ok(used) } else { Err(ErrorKind::WouldBlock.into()) };
            }
            self.framing.step(&rest[..room]).map_err(|why| io::Error::other(why.to_string()))?;
            self.stream.send_data(&rest[..room], self.framing.is_done())?;
            used += room;
        }
        Ok(used)
    }

    /// Takes a byte of what surrounds the chunks.
    fn step_frame(&mut self, byte: u8) -> io::Result<()> {
        let is_in_trailers = self.framing.is_in_trailers();
        self.framing.step(&[byte]).map_err(|why| io::Error::other(why.to_string()))?;
        if is_in_trailers {
            self.trailers.push(byte);
        }
        if self.framing.is_done() {
            return self.end_chunked();
        }
        Ok(())
    }

    fn end_chunked(&mut self) -> io::Result<()> {
        let section = std::mem::take(&mut self.trailers);
        // It begins with the last byte of the size line before it, and ends with an empty line.
        let lines = section.strip_prefix(b"\n").unwrap_or(&section);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let parsed = httparse::parse_headers(lines, &mut headers);
        match parsed {
            Ok(httparse::Status::Complete((_, headers))) if !headers.is_empty() => {
                self.stream.send_trailers(headers)
            }
            Ok(_) => self.end(),
            Err(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
        }
    }

    /// Ends the payload.
    pub fn end(&mut self) -> io::Result<()> {
        self.framing = Framing::Done;
        self.stream.send_data(&[], true)
    }

    pub fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_room(context)
    }
}

/// Headers as HTTP/2 has them: those that concern one connection stay out. `share` gives the bytes of a value.
pub fn header_map(headers: &[Header<'_>], share: impl Fn(&[u8]) -> Bytes) -> io::Result<HeaderMap> {
    let invalid = |_| io::Error::from(ErrorKind::InvalidData);
    let mut map = HeaderMap::with_capacity(headers.len() + 1);
    for header in headers.iter().filter(|header| !is_connection_specific(header.name)) {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| ErrorKind::InvalidData)?;
        map.append(name, HeaderValue::from_maybe_shared(share(header.value)).map_err(invalid)?);
    }
    Ok(map)
}

pub fn is_connection_specific(name: &str) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 => is("te"),
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        _ => false,
    }
}
