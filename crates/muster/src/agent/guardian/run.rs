//! The guardian's life: hold the group until the deadline, the agent's word or its end, and leave nothing behind.

use super::message::{Hold, News, Order};
use crate::agent::keeper::log::Log;
use crate::agent::keeper::message::{LINE_MAX_BYTES, Start};
use crate::agent::keeper::output::Output;
use crate::agent::keeper::{account, cgroup, descendants, program, status_text};
use crate::cli::Exit;
use crate::readable::{Lines, Readable};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process_group, pidfd_open, wait,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use tokio::signal::unix::SignalKind;

/// Read at once. 64 KiB: all that a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// Reads of output in one turn, so that one that never stops talking delays nothing else.
const READS_MAX: usize = 4;
/// Longest reason of a failed start.
const WHY_MAX_BYTES: usize = 4096;

/// What ends a guardian before it holds anything. Nothing runs; a retry may help.
#[derive(Debug, thiserror::Error)]
enum GuardianError {
    #[error("stdin must be a pipe from an agent")]
    Stdin(#[source] io::Error),
    #[error("the first line must say what to hold")]
    NoHold,
    #[error("cannot lock the group")]
    Lock(#[source] io::Error),
    #[error("could not set up the guardian")]
    Setup(#[source] io::Error),
}

/// Holds one group from its start to the end of all that it started.
pub fn guard() -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let guarded = match runtime {
        Ok(runtime) => runtime.block_on(live()),
        Err(error) => Err(GuardianError::Setup(error)),
    };
    match guarded {
        Ok(()) => Exit::Yes,
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            eprintln!("muster guardian: {error}{}", source.unwrap_or_default());
            Exit::WrongUse
        }
    }
}

async fn live() -> Result<(), GuardianError> {
    // A session of its own: what the terminal sends to the agent is the agent's business. Fails only where it is so
    // already.
    let _ = rustix::process::setsid();
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(|error| GuardianError::Setup(error.into()))?;
    // From now on these are caught and never looked at: who stops a service by signalling all of its processes must not
    // take the stop scripts away.
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        drop(tokio::signal::unix::signal(kind).map_err(GuardianError::Setup)?);
    }
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(GuardianError::Stdin)?;
    let mut orders = Lines::new(stdin, LINE_MAX_BYTES).map_err(GuardianError::Stdin)?;
    let Some(Order::Hold(hold)) = next_order(&mut orders).await else { return Err(GuardianError::NoHold) };
    let lock = lock(&hold).map_err(GuardianError::Lock)?;
    let guardian = Guardian::new(hold, lock).map_err(GuardianError::Setup)?;
    guardian.run(orders).await.map_err(GuardianError::Setup)
}

/// Waits for a guardian before us, of an agent that was killed: it is about to end.
fn lock(hold: &Hold) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&hold.lock)?;
    file.lock()?;
    Ok(file)
}

/// The next order; None when the agent is gone or talks nonsense, which is as bad. May be cancelled.
async fn next_order(orders: &mut Lines) -> Option<Order> {
    serde_json::from_slice(&orders.next().await?).ok()
}

/// A process of ours that is told of.
struct Held {
    pid: Pid,
    /// The step that waits for it; None: nobody does.
    step: Option<u64>,
    /// None: a script.
    index: Option<usize>,
    /// `member-exec` says here why the program could not be started; closed once it was.
    way_back: Option<Readable>,
    is_ending: bool,
}

struct Guardian {
    hold: Hold,
    _lock: File,
    has_cgroup: bool,
    deadline: Readable,
    /// What all scripts and processes say, and the end that they get.
    output: Output,
    pipe: Readable,
    pipe_end: OwnedFd,
    held: Vec<Held>,
}

enum Turn {
    Deadline,
    Order(Option<Order>),
    AgentGone,
    Children,
    Begun(usize),
    Output,
}

impl Guardian {
    fn new(hold: Hold, lock: File) -> io::Result<Self> {
        let (pipe, pipe_end) = pipe_with(PipeFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let has_cgroup = hold.cgroup.as_deref().is_some_and(cgroup::create);
        let output = Output::new(Log::new(hold.log.clone(), hold.log_size_max_bytes, hold.log_files_max));
        Ok(Self {
            hold,
            _lock: lock,
            has_cgroup,
            deadline: Readable::watch(timer)?,
            output,
            pipe: Readable::new(pipe)?,
            pipe_end,
            held: Vec::new(),
        })
    }

    async fn run(mut self, mut orders: Lines) -> io::Result<()> {
        // Watched beside stdin: a process that inherited the agent's end of it must not keep us waiting.
        let agent = rustix::process::getppid().map(|agent| pidfd_open(agent, PidfdFlags::NONBLOCK));
        let agent = agent.and_then(Result::ok).map(Readable::watch).transpose()?;
        let mut children = tokio::signal::unix::signal(SignalKind::child())?;
        loop {
            // All branches only wait for readiness, except `next_order` and `recv`, which lose nothing.
            let turn = tokio::select! {
                biased;
                () = self.deadline.ready() => Turn::Deadline,
                order = next_order(&mut orders) => Turn::Order(order),
                () = ready(agent.as_ref()) => Turn::AgentGone,
                _ = children.recv() => Turn::Children,
                place = begun(&self.held) => Turn::Begun(place),
                () = self.pipe.ready() => Turn::Output,
            };
            match turn {
                Turn::Deadline | Turn::AgentGone | Turn::Order(None | Some(Order::End)) => break,
                // A second one is nonsense: nobody is in charge any more.
                Turn::Order(Some(Order::Hold(_))) => break,
                Turn::Order(Some(order)) => self.obey(order)?,
                Turn::Children => self.reap(),
                Turn::Begun(place) => self.hear_begun(place),
                Turn::Output => self.take_output(),
            }
        }
        self.end();
        Ok(())
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Until { since_boot_ms } => self.set_deadline(since_boot_ms)?,
            Order::Run { step, start } => {
                self.kill_unfinished();
                self.begin(step, None, &start);
            }
            Order::Begin { step, index, start } => {
                self.kill_unfinished();
                self.begin(step, Some(index), &start);
            }
            Order::Terminate { step, index } => self.terminate(step, index),
            Order::Hold(_) | Order::End => unreachable!("both end the guardian before"),
        }
        Ok(())
    }

    fn set_deadline(&self, since_boot_ms: Option<u64>) -> io::Result<()> {
        // A time that is over fires at once, and 0 would mean never.
        let at_ms = since_boot_ms.map_or(0, |at_ms| at_ms.max(1)) as i64;
        let at = Timespec { tv_sec: at_ms / 1_000, tv_nsec: at_ms % 1_000 * 1_000_000 };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: never, it_value: at };
        timerfd_settime(&self.deadline, TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }

    /// A script that has not ended, and for which nobody waits any more.
    fn kill_unfinished(&mut self) {
        for held in self.held.iter_mut().filter(|held| held.index.is_none()) {
            held.step = None;
            let _ = kill_process_group(held.pid, Signal::KILL);
        }
    }

    fn begin(&mut self, step: u64, index: Option<usize>, start: &Start) {
        match self.spawn(start) {
            Ok((pid, way_back)) => {
                let way_back = Some(way_back);
                self.held.push(Held { pid, step: Some(step), index, way_back, is_ending: false });
            }
            Err(why) => tell(&News::Done { step, error: Some(why) }),
        }
    }

    /// An error completes "it ...".
    fn spawn(&self, start: &Start) -> Result<(Pid, Readable), String> {
        let account = start.user.as_deref().map(account::find).transpose();
        let account = account.map_err(|error| format!("cannot be run: {error}"))?;
        let mut command =
            program(&Start { cgroup: self.hold.cgroup.clone(), ..start.clone() }, self.has_cgroup, account);
        let spawned = || -> io::Result<(Pid, Readable)> {
            let (way_back, way_back_end) = pipe_with(PipeFlags::CLOEXEC)?;
            let way_back = Readable::new(way_back)?;
            command.stdin(way_back_end);
            command.stdout(self.pipe_end.try_clone()?).stderr(self.pipe_end.try_clone()?).process_group(0);
            let child = command.spawn()?;
            let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
            Ok((pid, way_back))
        }();
        spawned.map_err(|error| format!("cannot be run: {error}"))
    }

    /// The program of a process runs, or could not be started: then its end tells the rest.
    fn hear_begun(&mut self, place: usize) {
        let held = &mut self.held[place];
        let Some(way_back) = &held.way_back else { return };
        let mut buffer = [0; 1];
        if matches!(way_back.read(&mut buffer), Ok(0)) {
            held.way_back = None;
            if let Some(step) = held.step.take_if(|_| held.index.is_some()) {
                tell(&News::Done { step, error: None });
            }
            return;
        }
        // It has a reason to tell, whose first byte is read: the whole of it is there now.
        let mut why = buffer.to_vec();
        let mut rest = [0; WHY_MAX_BYTES];
        if let Ok(count) = way_back.read(&mut rest) {
            why.extend_from_slice(&rest[..count]);
        }
        held.way_back = None;
        if let Some(step) = held.step.take() {
            let why = String::from_utf8_lossy(&why).into_owned();
            tell(&News::Done { step, error: Some(format!("could not be run: {why}")) });
        }
        held.is_ending = true;
    }

    fn terminate(&mut self, step: u64, index: usize) {
        let Some(held) = self.held.iter_mut().find(|held| held.index == Some(index)) else {
            return tell(&News::Done { step, error: None });
        };
        held.step = Some(step);
        held.is_ending = true;
        let _ = kill_process_group(held.pid, Signal::TERM);
        // A suspended process would sleep through it.
        let _ = kill_process_group(held.pid, Signal::CONT);
    }

    /// Hears of all that has ended.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(place) = self.held.iter().position(|held| held.pid == pid) else { continue };
            // Its last words come before the news of its end.
            self.take_output();
            while self.held[place].way_back.is_some() && self.held[place].step.is_some() {
                self.hear_begun(place);
            }
            let held = self.held.remove(place);
            if held.index.is_some() {
                // It may be started again at once: what it has left behind must not stand in its way. Its number is that of its
                // process group, and has just become free: nobody else has it yet.
                let _ = kill_process_group(held.pid, Signal::KILL);
            }
            match (held.step, held.index) {
                (Some(step), None) => tell(&News::Done { step, error: self.failure(status) }),
                // It was asked to end; how does not matter.
                (Some(step), Some(_)) if held.is_ending => tell(&News::Done { step, error: None }),
                (Some(step), Some(_)) => {
                    tell(&News::Done { step, error: Some(self.with_last_line(status)) });
                }
                (None, Some(index)) if !held.is_ending => {
                    tell(&News::Lost { index, why: self.with_last_line(status) });
                }
                (None, _) => {}
            }
        }
    }

    /// None where the script was content.
    fn failure(&self, status: WaitStatus) -> Option<String> {
        (status.exit_status() != Some(0)).then(|| self.with_last_line(status))
    }

    fn with_last_line(&self, status: WaitStatus) -> String {
        let status = status_text(status);
        match self.output.last_line() {
            Some(line) => format!("{status}; it said last: {line}"),
            None => status,
        }
    }

    /// Takes what is there; what never ends is taken in several turns.
    fn take_output(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        for _ in 0..READS_MAX {
            match self.pipe.read(&mut buffer) {
                Ok(count) if count > 0 => self.output.take(&buffer[..count]),
                // We hold an end of it ourselves, so it never ends.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Kills everything, and goes when it is gone.
    fn end(mut self) {
        if self.has_cgroup {
            self.hold.cgroup.as_deref().map(cgroup::kill);
        }
        descendants::kill_and_reap_all();
        self.take_output();
        if self.has_cgroup
            && let Some(group) = &self.hold.cgroup
        {
            cgroup::remove(group);
            // Fails while there are other groups. If the agent is gone, the last one clears up for it.
            group.parent().map(cgroup::remove);
        }
    }
}

/// Ends when some `member-exec` has something to say, or has become its program.
async fn begun(held: &[Held]) -> usize {
    let waiting = held.iter().enumerate().find(|(_, held)| held.way_back.is_some());
    match waiting {
        Some((place, Held { way_back: Some(way_back), .. })) => {
            way_back.ready().await;
            place
        }
        Some(_) | None => std::future::pending().await,
    }
}

async fn ready(file: Option<&Readable>) {
    match file {
        Some(file) => file.ready().await,
        None => std::future::pending().await,
    }
}

/// An agent that is gone hears nothing, and that is noticed elsewhere.
fn tell(news: &News) {
    let mut line = serde_json::to_vec(news).expect("plain texts and numbers always become JSON");
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
}
