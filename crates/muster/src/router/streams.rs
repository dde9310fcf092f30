//! Bytes in and out of connections without a buffer of their own while nothing is stuck.
//!
//! Reads go into the thread's scratch buffer and are used at once; only what a full socket refuses is copied.
//! Everything behind a `Stream` speaks HTTP/1.1, or bytes that nobody here understands. Not here: TLS itself (see
//! `tls_stream`).

use super::http2::member_stream::MemberStream;
use super::http2::request_stream::RequestStream;
use super::tls_stream::TlsStream;
use rustix::net::{RecvFlags, SendFlags};
use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Size of a thread's scratch buffer: one read takes at most this. 64 KiB: measured best for bodies of 1 MB.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// A connection to a client or a member. What is rare is in a box: ten thousand idle clients carry its size.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    /// A request of a client's HTTP/2 connection.
    Http2Client(Box<RequestStream>),
    /// A request on a member's HTTP/2 connection.
    Http2Member(Box<MemberStream>),
}

/// Small writes go out at once: whole messages are written in one piece, so waiting would only delay them.
pub fn send_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
}

/// Makes closing tell the other side that something was cut off.
pub fn reset_on_close(stream: &TcpStream) {
    if let Err(error) = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)) {
        tracing::debug!(%error, "SO_LINGER not set");
    }
}

impl Stream {
    pub fn tcp(stream: TcpStream) -> Self {
        send_at_once(&stream);
        Self::Tcp(stream)
    }

    /// The socket, where its bytes are what is carried, so that they can be moved without a look at them.
    pub fn as_tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(stream) => Some(stream),
            Stream::Tls(_) | Stream::Http2Client(_) | Stream::Http2Member(_) => None,
        }
    }

    /// Its own address and the other side's, where it is a connection of its own.
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let stream = match self {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.socket(),
            Stream::Http2Client(_) | Stream::Http2Member(_) => return None,
        };
        Some((stream.local_addr().ok()?, stream.peer_addr().ok()?))
    }

    /// The request of an HTTP/2 client, which takes a head without having it written first.
    pub fn as_http2_client(&mut self) -> Option<&mut RequestStream> {
        match self {
            Stream::Http2Client(stream) => Some(stream),
            Stream::Tcp(_) | Stream::Tls(_) | Stream::Http2Member(_) => None,
        }
    }

    /// The socket below, whatever is spoken on it.
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(stream) => Some(stream),
            Stream::Tls(stream) => Some(stream.socket()),
            Stream::Http2Client(_) | Stream::Http2Member(_) => None,
        }
    }

    /// Whether neither bytes nor an end have come, as far as the event loop knows.
    pub fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut byte = [0];
        match self {
            Stream::Tcp(stream) => stream.poll_peek(&mut context, &mut ReadBuf::new(&mut byte)).is_pending(),
            // Looks inside: session tickets may come at any time and mean nothing.
            Stream::Tls(stream) => stream.poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending(),
            // One request each: they are never kept.
            Stream::Http2Client(_) | Stream::Http2Member(_) => false,
        }
    }

    /// Ready when something came that can be read, an end included; takes nothing. An error: the connection is broken.
    pub fn poll_stir(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut byte = [0];
        let socket = match self {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.socket(),
            Stream::Http2Client(stream) => return stream.poll_stir(context),
            // Only clients are waited for in this way.
            Stream::Http2Member(_) => return Poll::Pending,
        };
        socket.poll_peek(context, &mut ReadBuf::new(&mut byte)).map_ok(|_| ())
    }

    /// Sends as much of both in one piece as is taken at once. TLS takes everything and may hold a part of it.
    fn try_send(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => match (first, second) {
                (bytes, []) | ([], bytes) => stream.try_io(Interest::WRITABLE, || {
                    Ok(rustix::net::send(&*stream, bytes, SendFlags::NOSIGNAL)?)
                }),
                (first, second) => stream.try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
            },
            Stream::Tls(stream) => stream.try_send(first, second),
            Stream::Http2Client(stream) => stream.try_send(first, second),
            Stream::Http2Member(stream) => stream.try_send(first, second),
        }
    }

    /// Whether it took bytes that it has not sent.
    fn holds_unsent(&self) -> bool {
        match self {
            Stream::Tcp(_) | Stream::Http2Client(_) | Stream::Http2Member(_) => false,
            Stream::Tls(stream) => stream.holds_unsent(),
        }
    }

    fn poll_sendable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_write_ready(context),
            Stream::Tls(stream) => stream.poll_flush(context),
            Stream::Http2Client(stream) => stream.poll_sendable(context),
            Stream::Http2Member(stream) => stream.poll_sendable(context),
        }
    }

    /// Closes so that the other side notices that something was cut off.
    pub fn reset(self) {
        match self {
            Stream::Tcp(stream) => reset_on_close(&stream),
            Stream::Tls(stream) => stream.reset(),
            Stream::Http2Client(stream) => stream.reset(),
            // Given up where it is not over, as whenever it is dropped.
            Stream::Http2Member(_) => {}
        }
    }

    /// Whether it carries one request and nothing after it.
    pub fn is_single(&self) -> bool {
        match self {
            Stream::Tcp(_) | Stream::Tls(_) => false,
            Stream::Http2Client(_) | Stream::Http2Member(_) => true,
        }
    }

    /// Whether the member has said that it did not look at the request.
    pub fn was_refused(&self) -> bool {
        match self {
            Stream::Tcp(_) | Stream::Tls(_) | Stream::Http2Client(_) => false,
            Stream::Http2Member(stream) => stream.was_refused(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => poll_receive(stream, context, buffer),
            Stream::Tls(stream) => stream.poll_read(context, buffer),
            Stream::Http2Client(stream) => stream.poll_read(context, buffer),
            Stream::Http2Member(stream) => stream.poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => stream.poll_write(context, bytes),
            Stream::Http2Client(_) | Stream::Http2Member(_) => {
                ready!(self.as_mut().get_mut().poll_sendable(context))?;
                Poll::Ready(self.get_mut().try_send(bytes, &[]))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => stream.poll_flush(context),
            // Their connections send by themselves.
            Stream::Http2Client(_) | Stream::Http2Member(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ends our direction; the other one goes on.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => stream.poll_end(context),
            Stream::Http2Client(stream) => Poll::Ready(stream.end()),
            Stream::Http2Member(_) => Poll::Ready(Ok(())),
        }
    }
}

/// Reads once. As tokio does, but by a system call of rustix's: the C library's is a point at which a thread may be
/// cancelled, and what that takes is a twentieth of the time that a request spends outside the kernel.
fn poll_receive(
    stream: &TcpStream,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    loop {
        ready!(stream.poll_read_ready(context))?;
        let room = buffer.initialize_unfilled();
        let most = room.len();
        let received =
            stream.try_io(Interest::READABLE, || Ok(rustix::net::recv(stream, room, RecvFlags::empty())?));
        match received {
            Ok((count, _)) => {
                if (1..most).contains(&count) {
                    // A short read tells that the socket is empty: the next one waits for an event, without a system call.
                    let _ = stream.try_io(Interest::READABLE, || Err::<(), _>(ErrorKind::WouldBlock.into()));
                }
                buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Most that is read where an answer's head is awaited. 32 KiB: usual answers come in one piece, and of a large one most
/// is left to be spliced. Measured at 1 MB: an eighth less processor time than with the whole buffer.
pub const HEAD_READ_BYTES: usize = 32 * 1024;

/// Reads once into `scratch` and hands the bytes to `take`; none of them means the end.
pub fn poll_read<T>(
    scratch: &RefCell<Box<[u8]>>,
    stream: &mut Stream,
    context: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    read_behind(scratch, 0, SCRATCH_BYTES, stream, context, |bytes| take(bytes))
}

/// Room before what an answer's read gives: for a head that grows. 512: what routers add, and a cookie.
pub const READ_ROOM_BYTES: usize = 512;

/// Reads once, at most `most` bytes; `take` gets them behind `READ_ROOM_BYTES` in which it may write.
pub fn poll_read_answer<T>(
    scratch: &RefCell<Box<[u8]>>,
    most: usize,
    stream: &mut Stream,
    context: &mut Context<'_>,
    take: impl FnOnce(&mut [u8]) -> T,
) -> Poll<io::Result<T>> {
    read_behind(scratch, READ_ROOM_BYTES, most, stream, context, take)
}

fn read_behind<T>(
    scratch: &RefCell<Box<[u8]>>,
    room: usize,
    most: usize,
    stream: &mut Stream,
    context: &mut Context<'_>,
    take: impl FnOnce(&mut [u8]) -> T,
) -> Poll<io::Result<T>> {
    let mut scratch = scratch.borrow_mut();
    let mut buffer = ReadBuf::new(&mut scratch[..most]);
    buffer.set_filled(room);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(take(buffer.filled_mut())))
}

/// What a stream has not sent yet. Bounded by one read and one head, because nothing is read while it is not empty.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// The stream took everything, and holds a part of it.
    is_held: bool,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.is_held
    }

    /// Sends `first` and `second` in one piece as far as the stream takes them, and keeps the rest.
    pub fn send(&mut self, stream: &mut Stream, first: &[u8], second: &[u8]) -> io::Result<()> {
        assert!(self.is_empty(), "nothing is sent while something is unsent");
        let total = first.len() + second.len();
        if total == 0 {
            return Ok(());
        }
        let sent = match stream.try_send(first, second) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if sent < total {
            self.bytes.extend_from_slice(&first[sent.min(first.len())..]);
            self.bytes.extend_from_slice(&second[sent.saturating_sub(first.len())..]);
        }
        self.is_held = stream.holds_unsent();
        Ok(())
    }

    /// Sends what is left; ready when nothing is.
    pub fn poll_flush(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            match stream.try_send(&self.bytes[self.sent..], &[]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(stream.poll_sendable(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if stream.holds_unsent() {
            ready!(Pin::new(stream).poll_flush(context))?;
        }
        // Given back at once: a stuck client must not keep memory for the rest of its connection.
        *self = Self::default();
        Poll::Ready(Ok(()))
    }
}
