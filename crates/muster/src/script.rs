//! Runs a program of somebody else for a bounded time, and keeps the beginning of what it says.
//!
//! Promises: it and all that it started in its process group are killed when its time is up, or when nobody waits for it any
//! more; what it left running in the background otherwise is not waited for; output beyond the bound is read and dropped. A
//! killed program that hangs in the kernel is waited for by nobody: no thread of the caller stops with it.

mod started;

use crate::readable::Readable;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use started::{HANGING_MAX, Started};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

pub use started::{run_until, while_none_starts};

/// Output that is kept. 4 KiB: a page of text; what follows is read and dropped.
pub const OUTPUT_MAX_BYTES: usize = 4 << 10;

/// What is kept of what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// Standard output and standard error, as they come.
    Both,
    /// Standard output; the other goes nowhere.
    Output,
}

#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: Vec<u8>,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// Nothing ran.
    #[error("it could not be started: {0}")]
    Start(io::Error),
    /// It was killed.
    #[error("it could not be waited for: {0}")]
    Wait(io::Error),
    /// It was killed.
    #[error("it did not end in time and was killed")]
    Late,
}

/// How long a killed program is waited for, so that it is gone when its caller hears of it. Killing takes milliseconds; one that
/// hangs in the kernel is left to itself.
const KILLED_WAIT: Duration = Duration::from_millis(100);

/// Safe to cancel: it is killed then.
pub async fn run(command: Command, streams: Streams, limit: Duration) -> Result<Ended, Unfinished> {
    finish(command, streams, Stdio::null(), limit, HANGING_MAX).await
}

/// The same for what is run again and again. Where many such programs hang in the kernel, others can be started still: those that
/// fence a node because of the disk on which they hang.
pub async fn run_often(command: Command, streams: Streams, limit: Duration) -> Result<Ended, Unfinished> {
    finish(command, streams, Stdio::null(), limit, HANGING_MAX / 2).await
}

/// The same with something to read, which must fit into a pipe: 64 KiB.
pub async fn run_fed(command: Command, input: &[u8], limit: Duration) -> Result<Ended, Unfinished> {
    let fed = feed(input).map_err(Unfinished::Start)?;
    finish(command, Streams::Both, fed.into(), limit, HANGING_MAX).await
}

/// A pipe with all of it in it.
fn feed(input: &[u8]) -> io::Result<io::PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(input)?;
    Ok(reader)
}

async fn finish(
    command: Command,
    streams: Streams,
    input: Stdio,
    limit: Duration,
    hanging_max: usize,
) -> Result<Ended, Unfinished> {
    let late = Instant::now() + limit;
    // Off the event loop: what is started may lie on a disk that hangs. One that starts after all is killed at once.
    let started = tokio::task::spawn_blocking(move || start(command, streams, input, hanging_max));
    let started = timeout_at(late, started).await.map_err(|_| Unfinished::Late)?;
    let (mut started, said) =
        started.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(Unfinished::Start)?;
    let said = Readable::new(said.into()).map_err(Unfinished::Wait)?;
    let exit = exit_of(&started).map_err(Unfinished::Wait)?;
    let Ok(ended) = timeout_at(late, wait(&mut started, &exit, &said)).await else {
        started.kill();
        // It is out of time either way; this only lets it be gone before anybody hears of it.
        let _ = timeout(KILLED_WAIT, exit.ready()).await;
        return Err(Unfinished::Late);
    };
    let (status, output) = ended.map_err(Unfinished::Wait)?;
    Ok(Ended { status, output })
}

fn start(
    mut command: Command,
    streams: Streams,
    input: Stdio,
    hanging_max: usize,
) -> io::Result<(Started, io::PipeReader)> {
    let (reader, writer) = io::pipe()?;
    match streams {
        Streams::Both => command.stderr(writer.try_clone()?),
        Streams::Output => command.stderr(Stdio::null()),
    };
    // A group of its own, so that what it starts ends with it.
    command.stdin(input).stdout(writer).process_group(0);
    Ok((Started::new(&mut command, hanging_max)?, reader))
}

fn exit_of(started: &Started) -> io::Result<Readable> {
    let pid = Pid::from_raw(started.pid()).ok_or(io::ErrorKind::InvalidData)?;
    Readable::watch(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Until the program itself has ended.
async fn wait(started: &mut Started, exit: &Readable, said: &Readable) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut text = Vec::new();
    let mut is_open = true;
    while {
        // Cancelled waits have taken nothing.
        tokio::select! {
            biased;
            () = said.ready(), if is_open => true,
            () = exit.ready() => false,
        }
    } {
        is_open = take_text(said, &mut text);
    }
    // Its last words may have come with its end.
    take_text(said, &mut text);
    Ok((started.status()?, text))
}

/// Takes what is there now; false at the end.
fn take_text(said: &Readable, text: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 1024];
    // Bounded, so that one who never stops talking is still timed: the caller comes back for more.
    for _ in 0..64 {
        match said.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => keep_text(text, &buffer[..length]),
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

fn keep_text(text: &mut Vec<u8>, piece: &[u8]) {
    let room = OUTPUT_MAX_BYTES - text.len();
    text.extend_from_slice(&piece[..piece.len().min(room)]);
}
