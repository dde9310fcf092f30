//! Starts the program that shall take our place: with our own arguments, environment, directory and output.

use crate::readable::Readable;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The argument that makes a process take over what another one serves.
pub const TAKE_OVER: &str = "--take-over";

/// How this process was started.
#[derive(Debug, Clone)]
pub struct Origin {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Origin {
    /// To be called early: a package that is installed later replaces the program's file under our feet.
    pub fn remember() -> io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, arguments: std::env::args_os().skip(1).collect() })
    }

    /// Starts `program`, or what now lies where we were started from.
    pub fn start(&self, program: Option<&Path>) -> io::Result<Successor> {
        let mut command = Command::new(program.unwrap_or(&self.program));
        command.args(self.arguments.iter().filter(|argument| *argument != TAKE_OVER)).arg(TAKE_OVER);
        // Output goes where ours goes.
        let child = command.stdin(Stdio::null()).spawn()?;
        Successor::watch(child)
    }
}

/// The process that shall take our place. Dropping it leaves it alone.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    ended: Readable,
}

impl Successor {
    fn watch(mut child: Child) -> io::Result<Self> {
        match pidfd(&child) {
            Ok(ended) => Ok(Self { child, ended }),
            Err(error) => {
                // One that cannot be watched must not serve.
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, and says how it ended. Safe to cancel.
    pub async fn ended(&mut self) -> String {
        self.ended.ready().await;
        // Does not block: it has ended.
        self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    pub fn kill(&mut self) {
        // Fails only when it has ended already. It is not reaped before, so its number is its own.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn pidfd(child: &Child) -> io::Result<Readable> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    Readable::watch(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}
