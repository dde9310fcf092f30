//! A process of this very program that looks after others, and outlives an agent that is killed: a keeper, a guardian.
//!
//! It is told what to do by lines on its input, a socket, and tells by lines on its output. Some can see the node's lease (`board`). Not here: what the lines are (see `keeper`
//! and `guardian`).

use super::board::Board;
use super::keeper::message::LINE_MAX_BYTES;
use crate::readable::{Lines, Readable};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use tokio::net::UnixStream;
use tokio::time::Instant;

/// Starts one, by the name of its command, even if this program's file has been replaced meanwhile: the process, its end,
/// and the ways to it and from it. With a board it is to receive that first.
pub fn spawn(role: &str, board: Option<&Board>) -> io::Result<(Child, Readable, UnixStream, Lines)> {
    let (orders, its_orders) = Socket::pair()?;
    if let Some(board) = board {
        board.share(orders.as_fd())?;
    }
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("muster").arg(role).stdin(OwnedFd::from(its_orders)).stdout(Stdio::piped());
    let mut companion = command.spawn()?;
    // It has the other end by itself then.
    drop(command);
    match watch(&mut companion, orders) {
        Ok((pidfd, orders, news)) => Ok((companion, pidfd, orders, news)),
        Err(error) => {
            // Both ways are closed, so it ends at once.
            let _ = companion.wait();
            Err(error)
        }
    }
}

fn watch(companion: &mut Child, orders: Socket) -> io::Result<(Readable, UnixStream, Lines)> {
    let stdout = companion.stdout.take().expect("it was asked for as a pipe");
    let pid = Pid::from_raw(companion.id().cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = Readable::watch(pidfd_open(pid, PidfdFlags::NONBLOCK)?)?;
    orders.set_nonblocking(true)?;
    let orders = UnixStream::from_std(orders)?;
    Ok((pidfd, orders, Lines::new(OwnedFd::from(stdout), LINE_MAX_BYTES)?))
}

/// Waits until then; for ever without one.
pub async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
