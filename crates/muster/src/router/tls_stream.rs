//! TLS over a socket, for clients and members alike, without buffers of its own while it is idle.
//!
//! Records are read into and written from buffers that the thread's connections share; a connection keeps only what
//! is incomplete or unsent. Promise: an end without the peer's goodbye (close_notify) is an error, so that nobody can
//! cut a body short unnoticed. Not here: certificates and what is believed (see `tls`).

use super::streams::{SCRATCH_BYTES, reset_on_close, send_at_once};
use rustls::CommonState;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is read and decrypted at once. A handshake message of the greatest length (64 KiB), and room for a record more.
const INCOMING_BYTES: usize = 64 * 1024 + 32 * 1024;
/// What a record adds to its payload, generously: header, nonce, type, tag.
const RECORD_EXTRA_BYTES: usize = 64;
/// Payload of a record at most.
const RECORD_BYTES: usize = 16 * 1024;

/// Buffers that all TLS connections of a thread use in turn.
#[derive(Debug)]
pub struct TlsBuffers {
    incoming: RefCell<Box<[u8]>>,
    outgoing: RefCell<Vec<u8>>,
}

impl TlsBuffers {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            incoming: RefCell::new(vec![0; INCOMING_BYTES].into_boxed_slice()),
            outgoing: RefCell::default(),
        })
    }
}

pub enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// Without what is inside: it holds keys.
impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Connection::Server(_) => "Server",
            Connection::Client(_) => "Client",
        })
    }
}

#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    connection: Connection,
    buffers: Rc<TlsBuffers>,
    /// The beginning of a record.
    partial: Vec<u8>,
    /// Decrypted, and not yet taken by the reader.
    early: Vec<u8>,
    /// Encrypted, and not yet taken by the socket.
    unsent: Vec<u8>,
    /// The peer has said goodbye.
    has_ended: bool,
    /// Nothing may be sent any more, not even a goodbye.
    is_silent: bool,
}

impl TlsStream {
    /// A connection whose handshake is still to be made (see `poll_handshake`). `read_ahead` was read from the socket.
    pub fn new(
        socket: TcpStream,
        connection: Connection,
        buffers: Rc<TlsBuffers>,
        read_ahead: Vec<u8>,
    ) -> Self {
        send_at_once(&socket);
        Self {
            socket,
            connection,
            buffers,
            partial: read_ahead,
            early: Vec::new(),
            unsent: Vec::new(),
            has_ended: false,
            is_silent: false,
        }
    }

    /// What was agreed on in the handshake.
    pub fn agreed(&self) -> &CommonState {
        match &self.connection {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
        }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Ready when the handshake is made and all of it is sent.
    pub fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The first step needs no bytes of a client connection, and uses those that were read before of a server's.
        self.use_ahead()?;
        loop {
            ready!(self.poll_flush(context))?;
            if !self.agreed().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_step(context, None))?;
        }
    }

    fn use_ahead(&mut self) -> io::Result<()> {
        let mut ahead = std::mem::take(&mut self.partial);
        self.process(&mut ahead, None)
    }

    /// Reads from the socket once and uses what came.
    fn poll_step(
        &mut self,
        context: &mut Context<'_>,
        out: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<()>> {
        let buffers = self.buffers.clone();
        let mut incoming = buffers.incoming.borrow_mut();
        let kept = self.partial.len();
        let most = INCOMING_BYTES.min(kept + SCRATCH_BYTES);
        if kept >= most {
            return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, "a message is too long")));
        }
        let mut buffer = ReadBuf::new(&mut incoming[kept..most]);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer))?;
        let came = buffer.filled().len();
        if came == 0 {
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
        incoming[..kept].copy_from_slice(&self.partial);
        self.partial = Vec::new();
        Poll::Ready(self.process(&mut incoming[..kept + came], out))
    }

    /// Uses all whole records of `bytes` and keeps the rest of them.
    fn process(&mut self, bytes: &mut [u8], mut out: Option<&mut ReadBuf<'_>>) -> io::Result<()> {
        let mut at = 0;
        loop {
            let step = match &mut self.connection {
                Connection::Server(connection) => {
                    let status = connection.process_tls_records(&mut bytes[at..]);
                    take(status, &mut out, &mut self.early, &mut self.unsent)
                }
                Connection::Client(connection) => {
                    let status = connection.process_tls_records(&mut bytes[at..]);
                    take(status, &mut out, &mut self.early, &mut self.unsent)
                }
            };
            match step {
                Ok((used, Next::Again)) => at += used,
                Ok((used, Next::Ended)) => {
                    at += used;
                    self.has_ended = true;
                }
                Ok((used, Next::Wait)) => {
                    at += used;
                    break;
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
        // After its end nothing of the peer counts any more.
        if !self.has_ended {
            self.partial.extend_from_slice(&bytes[at..]);
        }
        self.try_flush()
    }

    /// The peer is told why, as far as that is possible at once.
    fn fail(&mut self, error: rustls::Error) -> io::Error {
        // Only while there is an alert: beyond it the library would look at bytes that are gone.
        while self.agreed().wants_write() {
            let (mut none, early, unsent) = (None, &mut self.early, &mut self.unsent);
            let step = match &mut self.connection {
                Connection::Server(connection) => {
                    take(connection.process_tls_records(&mut []), &mut none, early, unsent)
                }
                Connection::Client(connection) => {
                    take(connection.process_tls_records(&mut []), &mut none, early, unsent)
                }
            };
            if !matches!(step, Ok((_, Next::Again))) {
                break;
            }
        }
        if let Err(error) = self.try_flush() {
            tracing::debug!(%error, "an alert could not be sent");
        }
        self.is_silent = true;
        io::Error::new(ErrorKind::InvalidData, error)
    }

    /// Puts payload into `buffer`; nothing means the end.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early[..count]);
            self.early.drain(..count);
            if self.early.is_empty() {
                self.early = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        while !self.has_ended && buffer.filled().len() == before {
            ready!(self.poll_step(context, Some(&mut *buffer)))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts and sends all of both; what the socket does not take is held.
    pub fn try_send(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        if self.is_silent {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let buffers = self.buffers.clone();
        let mut outgoing = buffers.outgoing.borrow_mut();
        let mut length = 0;
        for part in [first, second] {
            if !part.is_empty() {
                length = self.encrypt(part, &mut outgoing, length)?;
            }
        }
        let mut encrypted = &outgoing[..length];
        if self.unsent.is_empty() {
            match self.socket.try_write(encrypted) {
                Ok(sent) => encrypted = &encrypted[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.extend_from_slice(encrypted);
        Ok(first.len() + second.len())
    }

    /// Appends `payload` as records to what stands in `outgoing` up to `length`; returns the new length.
    fn encrypt(&mut self, payload: &[u8], outgoing: &mut Vec<u8>, mut length: usize) -> io::Result<usize> {
        let records = payload.len().div_ceil(RECORD_BYTES);
        let most = length + payload.len() + records * RECORD_EXTRA_BYTES;
        if outgoing.len() < most {
            outgoing.resize(most, 0);
        }
        loop {
            let room = &mut outgoing[length..];
            // The library must always see the bytes that it has not used yet.
            let (used, put) = match &mut self.connection {
                Connection::Server(connection) => {
                    put(connection.process_tls_records(&mut self.partial), payload, room)
                }
                Connection::Client(connection) => {
                    put(connection.process_tls_records(&mut self.partial), payload, room)
                }
            };
            self.partial.drain(..used);
            match put.map_err(|error| self.fail(error))? {
                Put::Written(count) => return Ok(length + count),
                Put::Again => {}
                // What a change of keys wants to say stands before the payload that uses them.
                Put::Message(message) => {
                    outgoing.splice(length..length, message.iter().copied());
                    length += message.len();
                }
                Put::Wants(room) => outgoing.resize(length + room, 0),
                Put::Impossible => return Err(ErrorKind::BrokenPipe.into()),
            }
        }
    }

    /// Reads from the socket without a look at what it is, to be thrown away.
    pub fn poll_discard(&mut self, scratch: &mut [u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    pub fn holds_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn try_flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.try_write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.unsent = Vec::new();
        Ok(())
    }

    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.try_flush()?;
            if self.unsent.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.socket.poll_write_ready(context))?;
        }
    }

    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(context))?;
        let count = bytes.len().min(SCRATCH_BYTES);
        Poll::Ready(self.try_send(&bytes[..count], &[]))
    }

    /// Says goodbye and ends our direction.
    pub fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.say_goodbye();
        ready!(self.poll_flush(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn say_goodbye(&mut self) {
        if std::mem::replace(&mut self.is_silent, true) || self.agreed().is_handshaking() {
            return;
        }
        let mut alert = [0; RECORD_EXTRA_BYTES];
        let length = match &mut self.connection {
            Connection::Server(connection) => {
                goodbye(connection.process_tls_records(&mut self.partial), &mut alert)
            }
            Connection::Client(connection) => {
                goodbye(connection.process_tls_records(&mut self.partial), &mut alert)
            }
        };
        self.unsent.extend_from_slice(&alert[..length]);
    }

    /// Closes without a goodbye, so that the peer notices that something was cut off.
    pub fn reset(mut self) {
        self.is_silent = true;
        reset_on_close(&self.socket);
    }
}

/// Whoever just lets go of a connection has nothing more to say: the peer may know that nothing was cut off.
impl Drop for TlsStream {
    fn drop(&mut self) {
        // Behind bytes that were not sent a goodbye would be a lie, and one that must wait is not worth it.
        if self.unsent.is_empty() {
            self.say_goodbye();
            let _ = self.try_flush();
        }
    }
}

/// What `process` does next.
enum Next {
    Again,
    Wait,
    Ended,
}

/// Carries one state out; returns how many bytes were used.
fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Option<&mut ReadBuf<'_>>,
    early: &mut Vec<u8>,
    unsent: &mut Vec<u8>,
) -> Result<(usize, Next), rustls::Error> {
    let UnbufferedStatus { mut discard, state } = status;
    let next = match state? {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                let room = out.as_ref().map_or(0, |out| out.remaining());
                // What overtakes the end of a handshake, or does not fit, waits for the reader.
                let fits = if early.is_empty() { room.min(record.payload.len()) } else { 0 };
                if let Some(out) = out {
                    out.put_slice(&record.payload[..fits]);
                }
                early.extend_from_slice(&record.payload[fits..]);
            }
            Next::Again
        }
        ConnectionState::EncodeTlsData(mut message) => {
            append(unsent, |room| message.encode(room));
            Next::Again
        }
        ConnectionState::TransmitTlsData(sent) => {
            sent.done();
            Next::Again
        }
        ConnectionState::PeerClosed => Next::Ended,
        ConnectionState::BlockedHandshake
        | ConnectionState::WriteTraffic(_)
        | ConnectionState::Closed
        | ConnectionState::ReadEarlyData(_) => Next::Wait,
        // The library may learn more states; it must wait for bytes in all that we do not know.
        _ => Next::Wait,
    };
    Ok((discard, next))
}

/// Appends a message whose length is not known before.
fn append(to: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = to.len();
    let mut room = 4096;
    loop {
        to.resize(start + room, 0);
        match encode(&mut to[start..]) {
            Ok(length) => return to.truncate(start + length),
            Err(EncodeError::InsufficientSize(error)) => room = error.required_size,
            Err(EncodeError::AlreadyEncoded) => return to.truncate(start),
        }
    }
}

/// What became of payload that was to be encrypted.
enum Put {
    Written(usize),
    Again,
    /// Goes out before the payload.
    Message(Vec<u8>),
    /// So much room is needed.
    Wants(usize),
    Impossible,
}

/// Encrypts `payload` if the state allows it; returns how many bytes of what came were used as well.
fn put<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    payload: &[u8],
    room: &mut [u8],
) -> (usize, Result<Put, rustls::Error>) {
    let put = status.state.map(|state| match state {
        ConnectionState::WriteTraffic(mut traffic) => match traffic.encrypt(payload, room) {
            Ok(count) => Put::Written(count),
            Err(EncryptError::InsufficientSize(error)) => Put::Wants(error.required_size),
            Err(EncryptError::EncryptExhausted) => Put::Impossible,
        },
        ConnectionState::EncodeTlsData(mut message) => {
            let mut bytes = Vec::new();
            append(&mut bytes, |room| message.encode(room));
            Put::Message(bytes)
        }
        ConnectionState::TransmitTlsData(sent) => {
            sent.done();
            Put::Again
        }
        ConnectionState::PeerClosed => Put::Again,
        _ => Put::Impossible,
    });
    (status.discard, put)
}

fn goodbye<Data>(status: UnbufferedStatus<'_, '_, Data>, alert: &mut [u8]) -> usize {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.queue_close_notify(alert).unwrap_or(0),
        _ => 0,
    }
}
