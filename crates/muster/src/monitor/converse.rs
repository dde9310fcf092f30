//! Holds a conversation with a server: looks its name up, connects, takes up TLS, and carries the bytes.
//!
//! Promise: it ends at its deadline, whatever the server does; what went wrong says at which step.

use crate::tls::TlsError;
use logic::monitor::conversation::{Conversation, Next, Trouble as Wrong};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use wire::monitor::Target;

/// Bytes that are read at once.
pub const READ_MAX_BYTES: usize = 16 << 10;
/// Addresses of one name that are tried. Eight: what a name has in practice; the deadline is for all of them.
pub const ADDRESSES_MAX: usize = 8;

/// How a server is spoken to in TLS.
#[derive(Debug, Clone)]
pub struct Encryption {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
    /// From the first byte; false: when the conversation asks for it.
    pub is_from_start: bool,
}

/// At which step nothing came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Lookup,
    Connect,
    Exchange,
}

/// Why a probe has failed. Words for people after the name of the target.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("its name has no address: {source}")]
    Lookup { source: io::Error },
    #[error("no connection can be begun: {source}")]
    Socket { source: io::Error },
    #[error("cannot connect to {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("TLS cannot be set up: {source}")]
    Files { source: TlsError },
    #[error("its name cannot be that of a certificate")]
    Name,
    #[error("it did not agree on TLS: {source}")]
    Handshake { source: io::Error },
    #[error("the connection broke: {source}")]
    Send { source: io::Error },
    #[error("the connection broke: {source}")]
    Receive { source: io::Error },
    #[error("{0}")]
    Wrong(Wrong),
    #[error("no answer in time")]
    Silent(Step),
}

/// A connection, with or without TLS.
trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

pub async fn converse(
    target: &Target,
    encryption: Option<&Encryption>,
    mut conversation: Conversation,
    deadline: Instant,
) -> Result<(), Trouble> {
    let stream = connect(target, deadline).await?;
    // Small messages to and fro: each shall go at once. A socket that cannot be told is only slower.
    let _ = stream.set_nodelay(true);
    let mut stream: Box<dyn Both> = Box::new(stream);
    if let Some(encryption) = encryption.filter(|encryption| encryption.is_from_start) {
        stream = Box::pin(encrypt(stream, encryption, deadline)).await?;
    }
    let mut next = conversation.begin();
    // Nothing is read from who shall only be there.
    let mut buffer = Vec::new();
    loop {
        match next {
            Next::Say(bytes) => {
                buffer.resize(READ_MAX_BYTES, 0);
                send(&mut stream, &bytes, deadline).await?;
                let read = in_time(Step::Exchange, deadline, stream.read(&mut buffer)).await?;
                match read.map_err(|source| Trouble::Receive { source })? {
                    0 => return conversation.closed().map_err(Trouble::Wrong),
                    length => next = conversation.heard(&buffer[..length]),
                }
            }
            Next::Encrypt => {
                let encryption = encryption.expect("a conversation asks for TLS only where it is configured");
                stream = Box::pin(encrypt(stream, encryption, deadline)).await?;
                next = conversation.encrypted();
            }
            Next::Done { verdict, goodbye } => {
                // Whether it hears that plays no part any more.
                let _ = send(&mut stream, goodbye, deadline).await;
                return verdict.map_err(Trouble::Wrong);
            }
        }
    }
}

async fn in_time<T>(step: Step, deadline: Instant, wait: impl Future<Output = T>) -> Result<T, Trouble> {
    timeout_at(deadline, wait).await.map_err(|_| Trouble::Silent(step))
}

/// The addresses of a name.
pub async fn look_up(target: &Target, deadline: Instant) -> Result<Vec<SocketAddr>, Trouble> {
    let looking = lookup_host((target.host.as_str(), target.port));
    let found = in_time(Step::Lookup, deadline, looking).await?;
    let found: Vec<SocketAddr> =
        found.map_err(|source| Trouble::Lookup { source })?.take(ADDRESSES_MAX).collect();
    if found.is_empty() {
        return Err(Trouble::Lookup { source: io::ErrorKind::NotFound.into() });
    }
    Ok(found)
}

/// The first of its addresses that takes a connection.
async fn connect(target: &Target, deadline: Instant) -> Result<TcpStream, Trouble> {
    let mut last = None;
    for address in look_up(target, deadline).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = match socket {
            Ok(socket) => socket,
            Err(source) => {
                last = Some(Trouble::Socket { source });
                continue;
            }
        };
        match in_time(Step::Connect, deadline, socket.connect(address)).await? {
            Ok(stream) => return Ok(stream),
            Err(source) => last = Some(Trouble::Connect { address, source }),
        }
    }
    Err(last.expect("a name that was found has an address"))
}

async fn encrypt(
    stream: Box<dyn Both>,
    encryption: &Encryption,
    deadline: Instant,
) -> Result<Box<dyn Both>, Trouble> {
    let connector = tokio_rustls::TlsConnector::from(encryption.config.clone());
    let shaking = connector.connect(encryption.name.clone(), stream);
    let shaken = in_time(Step::Exchange, deadline, shaking).await?;
    Ok(Box::new(shaken.map_err(|source| Trouble::Handshake { source })?))
}

async fn send(stream: &mut Box<dyn Both>, bytes: &[u8], deadline: Instant) -> Result<(), Trouble> {
    if bytes.is_empty() {
        return Ok(());
    }
    let sending = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    let sent = in_time(Step::Exchange, deadline, sending).await?;
    sent.map_err(|source| Trouble::Send { source })
}
