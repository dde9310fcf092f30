//! Runs a program of somebody else for a bounded time, and keeps the beginning of what it says.
//!
//! Promises: it and all that it started in its process group are killed when its time is up, or when nobody waits for it any
//! more; what it left running in the background otherwise is not waited for; output beyond the bound is read and dropped.

use crate::readable::Readable;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

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

/// A program that runs; killed with all that it started when it is no longer waited for.
struct Script {
    child: Child,
    group: Pid,
    has_ended: bool,
}

impl Drop for Script {
    fn drop(&mut self) {
        if !self.has_ended {
            // It is not reaped yet, so the number is still its own; that it has just ended does no harm.
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Safe to cancel: it is killed then.
pub async fn run(command: Command, streams: Streams, limit: Duration) -> Result<Ended, Unfinished> {
    end(start(command, streams, Stdio::null()).map_err(Unfinished::Start)?, limit).await
}

/// The same with something to read, which must fit into a pipe: 64 KiB.
pub async fn run_fed(command: Command, input: &[u8], limit: Duration) -> Result<Ended, Unfinished> {
    let fed = feed(input).map_err(Unfinished::Start)?;
    end(start(command, Streams::Both, fed.into()).map_err(Unfinished::Start)?, limit).await
}

/// A pipe with all of it in it.
fn feed(input: &[u8]) -> io::Result<io::PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(input)?;
    Ok(reader)
}

async fn end((mut script, said): (Script, Readable), limit: Duration) -> Result<Ended, Unfinished> {
    let ended = tokio::time::timeout(limit, wait(&mut script, &said)).await;
    let (status, output) = ended.map_err(|_| Unfinished::Late)?.map_err(Unfinished::Wait)?;
    Ok(Ended { status, output })
}

fn start(mut command: Command, streams: Streams, input: Stdio) -> io::Result<(Script, Readable)> {
    let (reader, writer) = io::pipe()?;
    match streams {
        Streams::Both => command.stderr(writer.try_clone()?),
        Streams::Output => command.stderr(Stdio::null()),
    };
    // A group of its own, so that what it starts ends with it.
    command.stdin(input).stdout(writer).process_group(0);
    let child = command.spawn()?;
    let group = Pid::from_child(&child);
    let script = Script { child, group, has_ended: false };
    Ok((script, Readable::new(reader.into())?))
}

/// Until the program itself has ended.
async fn wait(script: &mut Script, said: &Readable) -> io::Result<(ExitStatus, Vec<u8>)> {
    let exit = Readable::watch(pidfd_open(script.group, PidfdFlags::empty())?)?;
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
    let status = script.child.wait()?;
    script.has_ended = true;
    Ok((status, text))
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
