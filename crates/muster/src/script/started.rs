//! Programs that were started, from their birth to the moment at which the kernel has let go of them.
//!
//! Promises: a program that is dropped is killed, and nobody waits for it: SIGKILL does not end what hangs in the kernel, e.g. on a
//! disk. Such programs are kept and counted; where there are too many of them, none is started any more. Whoever clears up among
//! the children of this process can tell them from others.

use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

/// Programs that are being started or were killed and have not ended, beyond which none at all is started any more. 256: half of the threads
/// that may wait for disks; who has as many has a disk that does not come back.
pub const HANGING_MAX: usize = 256;
/// How often, and at what distance, it is looked whether a program is being started right now. Starting takes a millisecond; only
/// a program on a disk that hangs takes longer.
const LOOKS_MAX: u32 = 50;
const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// How often it is looked whether one has ended that no event loop waits for.
const END_LOOK: Duration = Duration::from_millis(2);

/// All of this process.
static PROGRAMS: Mutex<Programs> =
    Mutex::new(Programs { starting: 0, running: BTreeSet::new(), killed: Vec::new() });
/// Read while one is started.
static STARTING: RwLock<()> = RwLock::new(());

#[derive(Debug)]
struct Programs {
    starting: usize,
    running: BTreeSet<i32>,
    /// Not known to have ended.
    killed: Vec<Child>,
}

impl Programs {
    fn begin(&mut self, hanging_max: usize) -> io::Result<()> {
        self.bury();
        if self.starting + self.killed.len() >= hanging_max {
            let text = format!("{hanging_max} programs hang in the kernel");
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        self.starting += 1;
        Ok(())
    }

    /// Forgets those that the kernel has let go of.
    fn bury(&mut self) {
        // An error means that somebody else has seen its end.
        self.killed.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

fn programs() -> MutexGuard<'static, Programs> {
    // Nothing is half-done when a thread dies within.
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `act` with a test for children of this process that are programs of ours, at a moment at which none is being started.
pub fn while_none_starts(act: impl FnOnce(&dyn Fn(i32) -> bool)) {
    let starting = (0..LOOKS_MAX).find_map(|_| match STARTING.try_write() {
        Ok(starting) => Some(starting),
        Err(TryLockError::Poisoned(starting)) => Some(starting.into_inner()),
        Err(TryLockError::WouldBlock) => {
            std::thread::sleep(LOOK_PAUSE);
            None
        }
    });
    let pids: BTreeSet<i32> = {
        let mut programs = programs();
        programs.bury();
        let killed: Vec<i32> = programs.killed.iter().map(pid_of).collect();
        programs.running.iter().copied().chain(killed).collect()
    };
    act(&|pid| pids.contains(&pid));
    drop(starting);
}

fn pid_of(child: &Child) -> i32 {
    child.id().cast_signed()
}

/// A program that runs.
#[derive(Debug)]
pub struct Started {
    /// None: it has ended, and its number may be somebody else's.
    child: Option<Child>,
    pid: i32,
}

impl Started {
    /// In a process group of its own, which `command` must say. None is started where as many as `hanging_max` hang.
    pub fn new(command: &mut Command, hanging_max: usize) -> io::Result<Self> {
        programs().begin(hanging_max)?;
        let starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn();
        let mut programs = programs();
        programs.starting -= 1;
        let child = child?;
        let pid = pid_of(&child);
        programs.running.insert(pid);
        drop(starting);
        Ok(Self { child: Some(child), pid })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// With all that it started in its process group. May be repeated.
    pub fn kill(&mut self) {
        let Some(child) = &mut self.child else { return };
        // It is not reaped before it is forgotten here, so the number is still its own; that it has just ended does no harm.
        if let Some(group) = Pid::from_raw(self.pid) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        // It may have left its group.
        let _ = child.kill();
    }

    /// How it has ended. It must have.
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        let child = self.child.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let status = child.try_wait()?.ok_or(io::ErrorKind::WouldBlock)?;
        self.child = None;
        programs().running.remove(&self.pid);
        Ok(status)
    }
}

/// Runs it to its end, without an event loop. None: it took until `late`, and was killed.
pub fn run_until(command: &mut Command, late: Instant) -> io::Result<Option<ExitStatus>> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut started = Started::new(command, HANGING_MAX)?;
    loop {
        match started.status() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            ended => return ended.map(Some),
        }
        if Instant::now() >= late {
            return Ok(None);
        }
        std::thread::sleep(END_LOOK);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
        if let Some(child) = self.child.take() {
            let mut programs = programs();
            programs.running.remove(&self.pid);
            programs.killed.push(child);
            programs.bury();
        }
    }
}

#[cfg(test)]
mod tests;
