//! What comes before a connection's first request: a PROXY header, a TLS handshake, or both, in one time limit.
//!
//! Plain HTTP passes by here without a wait. Promise: nothing that is sent before the limit is over or before it is
//! understood costs more than its few kilobytes; `head_ms` is the limit for all of it.

use super::answers;
use super::core::Core;
use super::forward::Forward;
use super::origin::{Beyond, Origin, OriginTls};
use super::request::Refused;
use super::session::{Client, Session, converse};
use super::streams::Stream;
use super::tls_stream::{Connection, TlsStream};
use super::waits::Ticket;
use crate::tls::{self, ServerTls};
use logic::{client_hello, proxy_protocol};
use rustls::server::UnbufferedServerConnection;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use wire::settings::{Listener, Protocol};

/// One read of what is looked at before the connection is understood.
const LOOK_BYTES: usize = 4096;

/// Serves an accepted connection until it ends, as its listener says.
pub fn take(core: &Rc<Core>, listener: &Listener, stream: TcpStream, peer: SocketAddr) {
    // Owned by the thread's LocalSet and counted by their tickets: `thread::run` waits for them.
    if let Protocol::Http { http2 } = listener.protocol
        && listener.tls.is_none()
        && !listener.takes_proxy_header
    {
        let stream = Stream::tcp(stream);
        let origin = Origin::new(core, &stream, peer, None);
        let mut client = Client::new(core.clone(), stream, origin, Vec::new());
        client.may_speak_http2 = http2;
        let session = Session { ticket: Ticket::new(&core.waits), client };
        tokio::task::spawn_local(converse(session));
        return;
    }
    let arrival =
        Arrival { core: core.clone(), ticket: Ticket::new(&core.waits), listener: listener.clone(), peer };
    tokio::task::spawn_local(arrival.begin(stream));
}

/// A connection of which nothing is known yet.
struct Arrival {
    core: Rc<Core>,
    ticket: Ticket,
    listener: Listener,
    peer: SocketAddr,
}

/// A connection whose preliminaries are over.
struct Ready {
    stream: Stream,
    beyond: Beyond,
    /// Read beyond the preliminaries.
    ahead: Vec<u8>,
    server_name: Option<String>,
}

/// Why there is nothing to serve. Nobody is to blame but the client.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    ProxyHeader(#[from] proxy_protocol::Refusal),
    #[error(transparent)]
    Hello(#[from] client_hello::Refusal),
    #[error("its TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("it speaks HTTP without TLS")]
    NotTls(TcpStream, Beyond),
    #[error("no cluster is for the server name {0:?}")]
    UnknownName(String),
    #[error("the listener's certificates cannot be read")]
    NoCertificate,
    /// It left, was too slow, or the router stops.
    #[error("it left before it said what it wants")]
    Gone,
}

impl Arrival {
    async fn begin(self, stream: TcpStream) {
        self.ticket.enter().await;
        self.ticket.set_idle(true);
        let head_ms = self.core.settings.borrow().timeouts.head_ms;
        let deadline = self.ticket.in_ms(head_ms);
        let ready = match Box::pin(self.prepare(stream, deadline)).await {
            Ok(ready) => ready,
            Err(Trouble::NotTls(stream, beyond)) => return self.answer_plainly(stream, beyond).await,
            Err(trouble) => return self.tell(&trouble),
        };
        match &self.listener.protocol {
            Protocol::Http { http2 } => {
                // Who agreed on a protocol in TLS speaks that one.
                let may_speak_http2 = match &ready.stream {
                    Stream::Tls(stream) => stream.agreed().alpn_protocol() == Some(b"h2"),
                    Stream::Tcp(_) | Stream::Http2Client(_) | Stream::Http2Member(_) => *http2,
                };
                let origin = Origin::new(&self.core, &ready.stream, self.peer, Some(ready.beyond));
                let mut client = Client::new(self.core, ready.stream, origin, ready.ahead);
                client.may_speak_http2 = may_speak_http2;
                converse(Session { ticket: self.ticket, client }).await;
            }
            Protocol::Tcp { cluster } => {
                let line = format!("TCP {}", self.listener.address);
                self.forward(ready, cluster, line).await;
            }
            Protocol::Tls { clusters } => {
                let name = ready.server_name.as_deref();
                let Some(place) =
                    logic::server_name::find(clusters.iter().map(|(name, _)| name.as_str()), name)
                else {
                    return self.tell(&Trouble::UnknownName(name.unwrap_or_default().to_owned()));
                };
                let line = format!("TLS {}", name.unwrap_or("-"));
                self.forward(ready, &clusters[place].1, line).await;
            }
        }
    }

    async fn forward(&self, ready: Ready, cluster: &wire::id::ClusterName, line: String) {
        let Ready { stream, beyond, ahead, .. } = ready;
        let origin = Origin::new(&self.core, &stream, self.peer, Some(beyond));
        let forward = Forward { core: &self.core, ticket: &self.ticket, line, origin };
        Box::pin(forward.run(cluster, stream, ahead)).await;
    }

    async fn prepare(&self, mut stream: TcpStream, deadline: u64) -> Result<Ready, Trouble> {
        let mut ahead = Vec::new();
        let mut beyond = Beyond::default();
        if self.listener.takes_proxy_header {
            let read = |bytes: &[u8]| proxy_protocol::parse(bytes).map_err(Trouble::from);
            let header = self.read_until(&mut stream, &mut ahead, deadline, read).await?;
            ahead.drain(..header.length);
            beyond.addresses = header.addresses;
        }
        if let Some(listener) = &self.listener.tls {
            let known = self.core.tls.borrow().listeners.get(&self.listener.address).cloned();
            let known = known.ok_or(Trouble::NoCertificate)?;
            let shaken = self.shake_hands(stream, ahead, deadline, &known).await;
            let (stream, server_name) = match shaken {
                Err(Trouble::NotTls(stream, _)) => return Err(Trouble::NotTls(stream, beyond)),
                shaken => shaken?,
            };
            beyond.tls = Some(Arc::new(OriginTls {
                server_name: server_name.clone(),
                certificates: known.certificates.clone(),
                version: version(&stream),
                client_certificate: certificate_header(&stream, &listener.client_header),
                cipher_suite: cipher_suite(&stream),
                certificate: certificate(&stream).unwrap_or_default(),
            }));
            let stream = Stream::Tls(Box::new(stream));
            return Ok(Ready { stream, beyond, ahead: Vec::new(), server_name });
        }
        let mut server_name = None;
        if matches!(self.listener.protocol, Protocol::Tls { .. }) {
            let read = |bytes: &[u8]| client_hello::parse(bytes).map_err(Trouble::from);
            server_name = self.read_until(&mut stream, &mut ahead, deadline, read).await?.server_name;
        }
        Ok(Ready { stream: Stream::tcp(stream), beyond, ahead, server_name })
    }

    /// Reads into `ahead` until `read` has an answer for all that came.
    async fn read_until<T>(
        &self,
        stream: &mut TcpStream,
        ahead: &mut Vec<u8>,
        deadline: u64,
        read: impl Fn(&[u8]) -> Result<Option<T>, Trouble>,
    ) -> Result<T, Trouble> {
        loop {
            if !ahead.is_empty()
                && let Some(found) = read(ahead)?
            {
                return Ok(found);
            }
            let more = self.ticket.until(deadline, |context| poll_more(stream, ahead, context)).await;
            match more {
                Ok(Ok(count)) if count > 0 => {}
                Ok(Ok(_) | Err(_)) | Err(_) => return Err(Trouble::Gone),
            }
        }
    }

    /// The handshake; also gives the name of the server that the client asked for.
    async fn shake_hands(
        &self,
        mut stream: TcpStream,
        mut ahead: Vec<u8>,
        deadline: u64,
        known: &Arc<ServerTls>,
    ) -> Result<(TlsStream, Option<String>), Trouble> {
        // What is doubtful to us, but TLS, is for the library to judge.
        let read = |bytes: &[u8]| match client_hello::parse(bytes) {
            Ok(hello) => Ok(hello.map(|hello| Ok(hello.server_name))),
            Err(client_hello::Refusal::NotTls) => Ok(Some(Err(()))),
            Err(client_hello::Refusal::Malformed | client_hello::Refusal::TooLong) => Ok(Some(Ok(None))),
        };
        let found = self.read_until(&mut stream, &mut ahead, deadline, read).await?;
        let Ok(server_name) = found else { return Err(Trouble::NotTls(stream, Beyond::default())) };
        let connection = UnbufferedServerConnection::new(known.config.clone())
            .map_err(|error| Trouble::Handshake(io::Error::other(error)))?;
        let buffers = self.core.tls_buffers.clone();
        let mut stream = TlsStream::new(stream, Connection::Server(connection), buffers, ahead);
        match self.ticket.until(deadline, |context| stream.poll_handshake(context)).await {
            Ok(Ok(())) => Ok((stream, server_name)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                // It may have sent its request already, and would lose the alert to a reset.
                let (ticket, scratch) = (&self.ticket, &self.core.scratch);
                let deadline = ticket.in_ms(answers::LINGER_MS);
                if let Ok(Ok(())) = ticket.until(deadline, |context| stream.poll_end(context)).await {
                    let read =
                        |context: &mut Context<'_>| stream.poll_discard(&mut scratch.borrow_mut(), context);
                    answers::throw_away(ticket, deadline, read).await;
                }
                Err(Trouble::Handshake(error))
            }
            Ok(Err(_)) | Err(_) => Err(Trouble::Gone),
        }
    }

    /// A person who typed `http` instead of `https` shall not look at an empty page.
    async fn answer_plainly(self, stream: TcpStream, beyond: Beyond) {
        if !matches!(self.listener.protocol, Protocol::Http { .. }) {
            return self.tell(&Trouble::NotTls(stream, beyond));
        }
        let stream = Stream::tcp(stream);
        let origin = Origin::new(&self.core, &stream, self.peer, Some(beyond));
        let client = Client::new(self.core, stream, origin, Vec::new());
        let mut session = Session { ticket: self.ticket, client };
        session.refuse(Refused::not_tls()).await;
        answers::linger(session).await;
    }

    fn tell(&self, trouble: &Trouble) {
        if !matches!(trouble, Trouble::Gone) && self.core.may_tell() {
            tracing::info!(client = %self.peer, listener = %self.listener.address, reason = %trouble, "a connection is refused");
        }
    }
}

fn poll_more(
    stream: &mut TcpStream,
    ahead: &mut Vec<u8>,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut space = [0; LOOK_BYTES];
    let mut buffer = ReadBuf::new(&mut space);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    ahead.extend_from_slice(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}

fn version(stream: &TlsStream) -> &'static str {
    match stream.agreed().protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        // The library speaks no other.
        Some(_) | None => "",
    }
}

/// The registered name, which others than this library use as well.
fn cipher_suite(stream: &TlsStream) -> &'static str {
    let suite = stream.agreed().negotiated_cipher_suite().map(|suite| suite.suite());
    // The library has names of its own for the suites of version 1.3.
    match suite.and_then(|suite| suite.as_str()).unwrap_or_default() {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        name => name,
    }
}

/// The client's certificate in Base64.
fn certificate(stream: &TlsStream) -> Option<String> {
    Some(tls::base64(stream.agreed().peer_certificates()?.first()?))
}

/// RFC 9440: the certificate as a sequence of bytes of a structured field.
fn certificate_header(stream: &TlsStream, name: &str) -> Option<(String, String)> {
    (!name.is_empty()).then_some(())?;
    Some((name.to_owned(), format!(":{}:", certificate(stream)?)))
}
