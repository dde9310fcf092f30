//! A new connection to a member, ready for its first byte: TCP, who the client is where the member wants to know, TLS.

use super::core::Core;
use super::manner::ask_first;
use super::member::{Member, Way};
use super::origin::Origin;
use super::streams::Stream;
use super::tls_stream::{Connection, TlsStream};
use super::waits::{Signal, Ticket};
use crate::role::is_our_want;
use crate::tls;
use logic::retry::Fault;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustls::client::UnbufferedClientConnection;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wire::view::MemberTls;

fn fault_of(error: &io::Error) -> Fault {
    match error.kind() {
        _ if is_our_want(error) => Fault::Overloaded,
        ErrorKind::TimedOut => Fault::ConnectTimeout,
        _ => Fault::ConnectFailed,
    }
}

/// What is asked for.
pub struct Opening<'a> {
    pub core: &'a Core,
    pub ticket: &'a Ticket,
    /// For whom it is.
    pub client: (&'a Stream, &'a Origin),
    /// On the thread's clock.
    pub deadline: u64,
    /// TLS shall agree on HTTP/2.
    pub http2: bool,
}

/// Opens a new connection for requests.
pub async fn connect(opening: &Opening<'_>, member: &Member) -> Result<Stream, Fault> {
    let mut connection = open(opening, member).await?;
    let Opening { core, ticket, deadline, .. } = *opening;
    if member.manner.get().asks_first && !ask_first(ticket, &core.scratch, &mut connection, deadline).await? {
        return open(opening, member).await;
    }
    Ok(connection)
}

/// Opens a new connection.
pub async fn open(opening: &Opening<'_>, member: &Member) -> Result<Stream, Fault> {
    let Way { address, sends_proxy_header, tls } = member.way(opening.client.1.is_secure());
    let Some(address) = address else { return Err(Fault::ConnectFailed) };
    let step = Step { opening, member, address };
    let mut stream = step.until(pin!(TcpStream::connect(address))).await?;
    if let Some(limit_ms) = member.manner.get().unacknowledged_ms {
        // Without it all is only later.
        let _ = set_tcp_user_timeout(&stream, limit_ms);
    }
    if sends_proxy_header {
        let (client, origin) = opening.client;
        let (from, to) = origin.addresses(client).ok_or(Fault::ClientGone)?;
        let mut header = Vec::with_capacity(64);
        logic::proxy_protocol::write(from, to, &mut header);
        step.until(pin!(stream.write_all(&header))).await?;
    }
    match tls {
        None => Ok(Stream::tcp(stream)),
        Some(tls) => step.shake_hands(stream, &tls).await,
    }
}

struct Step<'a> {
    opening: &'a Opening<'a>,
    member: &'a Member,
    address: SocketAddr,
}

impl Step<'_> {
    async fn until<T>(&self, mut step: Pin<&mut impl Future<Output = io::Result<T>>>) -> Result<T, Fault> {
        self.wait(|context| step.as_mut().poll(context)).await
    }

    /// Waits for a step. The member's being doubted ends it if another one can be reached.
    async fn wait<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Result<T, Fault> {
        let Opening { ticket, deadline, .. } = self.opening;
        loop {
            let done = ticket.until(*deadline, &mut poll).await;
            if !matches!(done, Err(Signal::Doubted)) || self.member.doubt.borrow().has_other() {
                return self.judge(done);
            }
        }
    }

    fn judge<T>(&self, done: Result<io::Result<T>, Signal>) -> Result<T, Fault> {
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::debug!(member = %self.member.name, address = %self.address, %error, "connecting failed");
                Err(fault_of(&error))
            }
            Err(Signal::Deadline | Signal::Doubted) => Err(Fault::ConnectTimeout),
            Err(Signal::MemberLost | Signal::Stopping) => Err(Fault::ConnectFailed),
        }
    }

    async fn shake_hands(&self, stream: TcpStream, tls: &MemberTls) -> Result<Stream, Fault> {
        let Opening { core, http2, .. } = *self.opening;
        let config = core.tls.borrow().of_member(tls, http2);
        let name = tls::server_name(tls, self.address.ip());
        let (Some(config), Some(name)) = (config, name) else {
            self.tell("its TLS files cannot be read");
            return Err(Fault::ConnectFailed);
        };
        let connection = UnbufferedClientConnection::new(config, name).map_err(|error| {
            self.tell(&error.to_string());
            Fault::ConnectFailed
        })?;
        let buffers = core.tls_buffers.clone();
        let mut stream = TlsStream::new(stream, Connection::Client(connection), buffers, Vec::new());
        let shake = |context: &mut Context<'_>| {
            let shaken = stream.poll_handshake(context);
            if let Poll::Ready(Err(error)) = &shaken {
                self.tell(&error.to_string());
            }
            shaken
        };
        self.wait(shake).await?;
        if http2 && stream.agreed().alpn_protocol() != Some(b"h2") {
            self.tell("it does not agree on HTTP/2");
            return Err(Fault::ConnectFailed);
        }
        Ok(Stream::Tls(Box::new(stream)))
    }

    fn tell(&self, reason: &str) {
        if self.opening.core.may_tell() {
            tracing::warn!(member = %self.member.name, address = %self.address, reason, "TLS to a member failed");
        }
    }
}
