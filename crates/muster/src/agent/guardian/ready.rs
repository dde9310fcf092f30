//! A process that waits within the group's control group until it is told which program to become.
//!
//! Joining a control group takes the kernel ten milliseconds or more, and this program's own start takes some too. Nobody waits for
//! either where it was done before: what has ended is back as soon as its own program is. Promises: it does nothing but wait, is
//! killed with the rest of the group, and ends by itself when its guardian does. Where it is gone, a program is started as
//! without it.

use crate::agent::keeper::message::Become;
use crate::readable::Readable;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::process::Pid;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Longest order. 64 KiB: a third of what a socket holds, so that it is told in one piece, or not at all.
const ORDER_MAX_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub struct Ready {
    pub pid: Pid,
    way: OwnedFd,
}

impl Ready {
    /// Starts it; it is there at once, and ready some ten milliseconds later. `output`: where its program will write to.
    pub fn prepare(cgroup: Option<&Path>, output: OwnedFd) -> io::Result<Self> {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let (way, its_way) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("muster").args(["member-exec", "--ready", "--keeper", &own.to_string()]);
        if let Some(cgroup) = cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        command.stdin(its_way).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { pid, way })
    }

    /// Becomes this program: the process, and what says why it could not (see `member_exec`). After an error it ends by itself,
    /// and nothing of the program has been run.
    pub fn run(self, order: &Become) -> io::Result<(Pid, Readable)> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        if line.len() > ORDER_MAX_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let way = Readable::new(self.way)?;
        // Of a line without its end it obeys nothing.
        match send(&way, &line, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)? {
            sent if sent == line.len() => Ok((self.pid, way)),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}
