//! A connection to a member: an idle one if there is one, else a new one.

use super::core::Core;
use super::manner::ask_first;
use super::member::Member;
use super::streams::Stream;
use super::waits::{Signal, Ticket};
use logic::retry::Fault;
use rustix::io::Errno;
use std::future::Future;
use std::io::{self, ErrorKind};
use tokio::net::TcpStream;

/// Our own want of files or memory says nothing about the member.
fn fault_of(error: &io::Error) -> Fault {
    let is_ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    match error.kind() {
        _ if is_ours => Fault::Overloaded,
        ErrorKind::TimedOut => Fault::ConnectTimeout,
        _ => Fault::ConnectFailed,
    }
}

/// Opens a new connection; `deadline` is on the thread's clock.
pub async fn connect(ticket: &Ticket, core: &Core, member: &Member, deadline: u64) -> Result<Stream, Fault> {
    let mut connection = open(ticket, member, deadline).await?;
    if member.manner.get().asks_first && !ask_first(ticket, &core.scratch, &mut connection, deadline).await? {
        return open(ticket, member, deadline).await;
    }
    Ok(connection)
}

async fn open(ticket: &Ticket, member: &Member, deadline: u64) -> Result<Stream, Fault> {
    let Some(address) = member.address() else { return Err(Fault::ConnectFailed) };
    let mut connecting = std::pin::pin!(TcpStream::connect(address));
    match ticket.until(deadline, |context| connecting.as_mut().poll(context)).await {
        Ok(Ok(stream)) => Ok(Stream::tcp(stream)),
        Ok(Err(error)) => {
            tracing::debug!(member = %member.name, %address, %error, "connecting failed");
            Err(fault_of(&error))
        }
        Err(Signal::Deadline) => Err(Fault::ConnectTimeout),
        Err(Signal::MemberLost | Signal::Stopping) => Err(Fault::ConnectFailed),
    }
}
