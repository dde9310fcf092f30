//! A process of this very program that looks after others, and outlives an agent that is killed: a keeper, a guardian.
//!
//! It is told what to do by lines on its input, and tells by lines on its output. Not here: what the lines are (see `keeper`
//! and `guardian`).

use super::keeper::message::LINE_MAX_BYTES;
use crate::readable::{Lines, Readable};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use tokio::net::unix::pipe;
use tokio::time::Instant;

/// Starts one, by the name of its command, even if this program's file has been replaced meanwhile: the process, its end,
/// and the ways to it and from it.
pub fn spawn(role: &str) -> io::Result<(Child, Readable, pipe::Sender, Lines)> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("muster").arg(role).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut companion = command.spawn()?;
    match watch(&mut companion) {
        Ok((pidfd, orders, news)) => Ok((companion, pidfd, orders, news)),
        Err(error) => {
            // Both pipes are closed, so it ends at once.
            let _ = companion.wait();
            Err(error)
        }
    }
}

fn watch(companion: &mut Child) -> io::Result<(Readable, pipe::Sender, Lines)> {
    let ends = companion.stdin.take().zip(companion.stdout.take());
    let (stdin, stdout) = ends.expect("both were asked for as pipes");
    let pid = Pid::from_raw(companion.id().cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = Readable::watch(pidfd_open(pid, PidfdFlags::NONBLOCK)?)?;
    let orders = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
    Ok((pidfd, orders, Lines::new(OwnedFd::from(stdout), LINE_MAX_BYTES)?))
}

/// Waits until then; for ever without one.
pub async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
