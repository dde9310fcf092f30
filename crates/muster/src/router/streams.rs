//! Bytes in and out of sockets without a buffer of their own while nothing is stuck.
//!
//! Reads go into the thread's scratch buffer and are used at once; only what a full socket refuses is copied.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Size of a thread's scratch buffer: one read takes at most this. 64 KiB: measured best for bodies of 1 MB.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// A connection whose two directions can be used apart.
#[derive(Debug)]
pub struct Duplex {
    pub reader: OwnedReadHalf,
    pub writer: OwnedWriteHalf,
}

impl Duplex {
    /// Small writes go out at once: whole messages are written in one piece, so waiting would only delay them.
    pub fn new(stream: TcpStream) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        let (reader, writer) = stream.into_split();
        Self { reader, writer }
    }

    /// Whether neither bytes nor an end have come, as far as the event loop knows.
    pub fn is_quiet(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut byte = [0];
        self.reader.as_ref().poll_peek(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Closes so that the other side notices that something was cut off.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.reader.as_ref());
        if let Err(error) = socket.set_linger(Some(std::time::Duration::ZERO)) {
            tracing::debug!(%error, "SO_LINGER not set");
        }
    }
}

/// Reads once into `scratch` and hands the bytes to `take`; none of them means the end.
///
/// By `poll_read` and not `try_read`: a short read then tells the runtime that the socket is empty, which saves a
/// system call for each request.
pub fn poll_read<T>(
    scratch: &RefCell<Box<[u8]>>,
    reader: &mut OwnedReadHalf,
    context: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    let mut scratch = scratch.borrow_mut();
    let mut buffer = ReadBuf::new(&mut scratch);
    ready!(Pin::new(reader).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(take(buffer.filled())))
}

/// What a socket has not taken yet. Bounded by one read and one head, because nothing is read while it is not empty.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sends `first` and `second` in one piece as far as the socket takes them, and keeps the rest.
    pub fn send(&mut self, writer: &OwnedWriteHalf, first: &[u8], second: &[u8]) -> io::Result<()> {
        assert!(self.is_empty(), "nothing is sent while something is unsent");
        let total = first.len() + second.len();
        if total == 0 {
            return Ok(());
        }
        let result = match (first, second) {
            (first, []) => writer.try_write(first),
            ([], second) => writer.try_write(second),
            (first, second) => writer.try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
        };
        let sent = match result {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if sent < total {
            self.bytes.extend_from_slice(&first[sent.min(first.len())..]);
            self.bytes.extend_from_slice(&second[sent.saturating_sub(first.len())..]);
        }
        Ok(())
    }

    /// Sends what is left; ready when nothing is.
    pub fn poll_flush(&mut self, writer: &OwnedWriteHalf, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            match writer.try_write(&self.bytes[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(writer.as_ref().poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        // Given back at once: a stuck client must not keep memory for the rest of its connection.
        *self = Self::default();
        Poll::Ready(Ok(()))
    }
}
