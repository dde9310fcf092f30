//! The keeper's life: start the member, wait for whatever comes, and leave nothing behind.

use super::account::{self, Account};
use super::log::Log;
use super::message::{Become, LINE_MAX_BYTES, News, Order, Start, UserNumbers};
use super::output::Output;
use super::{cgroup, descendants, signal};
use crate::cli::Exit;
use crate::readable::{Lines, Readable};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, pidfd_open, waitpid,
};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use tokio::signal::unix::SignalKind;

/// Read at once. 64 KiB: all that a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// Output taken before the exit is told, so that the last line is known: what the pipe can hold, a few times over.
const LAST_WORDS_MAX_BYTES: usize = 4 * READ_BYTES;
/// Longest reason of a failed start.
const WHY_MAX_BYTES: usize = 4096;

/// What ends a keeper before there is a member. Nothing runs; a retry may help.
#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error("stdin must be a pipe from an agent")]
    Stdin(#[source] io::Error),
    #[error("the first line must say what to start")]
    NoStart,
    #[error("could not set up the keeper")]
    Setup(#[source] io::Error),
}

/// Runs one member from its start to the end of all that it started.
pub fn keep() -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let kept = match runtime {
        Ok(runtime) => runtime.block_on(live()),
        Err(error) => Err(KeeperError::Setup(error)),
    };
    match kept {
        Ok(()) => Exit::Yes,
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            eprintln!("muster keeper: {error}{}", source.unwrap_or_default());
            Exit::WrongUse
        }
    }
}

async fn live() -> Result<(), KeeperError> {
    // A session of its own: what the terminal sends to the agent is the agent's business. Fails only where it is so
    // already.
    let _ = rustix::process::setsid();
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(|error| KeeperError::Setup(error.into()))?;
    // From now on these are caught and never looked at, see the file `keeper`.
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        drop(tokio::signal::unix::signal(kind).map_err(KeeperError::Setup)?);
    }
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(KeeperError::Stdin)?;
    let mut orders = Lines::new(stdin, LINE_MAX_BYTES).map_err(KeeperError::Stdin)?;
    let Some(Order::Start(start)) = next_order(&mut orders).await else { return Err(KeeperError::NoStart) };
    match Keeper::begin(*start) {
        Ok(keeper) => keeper.run(orders).await.map_err(KeeperError::Setup),
        Err(why) => {
            tell(&News::StartFailed { why });
            Ok(())
        }
    }
}

/// The next order; None when the agent is gone or talks nonsense, which is as bad. May be cancelled.
async fn next_order(orders: &mut Lines) -> Option<Order> {
    serde_json::from_slice(&orders.next().await?).ok()
}

/// Whether the member's own program has been reached.
#[derive(Debug)]
enum Progress {
    /// `member-exec` is at work; what it says so far.
    Starting(Readable, Vec<u8>),
    Started,
    Failed(String),
}

struct Keeper {
    start: Start,
    has_cgroup: bool,
    pid: Pid,
    /// Readable when the member is gone.
    pidfd: Readable,
    progress: Progress,
    /// The member's stdout and stderr; None after their end.
    pipe: Option<Readable>,
    output: Output,
    is_trouble_told: bool,
}

enum Turn {
    Exited,
    Order(Option<Order>),
    AgentGone,
    Progress,
    Output,
    Orphans,
}

impl Keeper {
    /// Starts `member-exec`. An error is a sentence for people; nothing runs then.
    fn begin(start: Start) -> Result<Self, String> {
        let account =
            start.user.as_deref().map(account::find).transpose().map_err(|error| error.to_string())?;
        let has_cgroup = start.cgroup.as_deref().is_some_and(cgroup::create);
        let output = Output::new(Log::new(start.log.clone(), start.log_size_max_bytes, start.log_files_max));
        let begun = spawn(&start, has_cgroup, account);
        if begun.is_err() && has_cgroup {
            start.cgroup.as_deref().map(cgroup::remove);
        }
        let (pid, pidfd, way_back, pipe) =
            begun.map_err(|error| format!("cannot start a process: {error}"))?;
        Ok(Self {
            start,
            has_cgroup,
            pid,
            pidfd,
            progress: Progress::Starting(way_back, Vec::new()),
            pipe: Some(pipe),
            output,
            is_trouble_told: false,
        })
    }

    async fn run(mut self, mut orders: Lines) -> io::Result<()> {
        // Watched beside stdin: a process that inherited the agent's end of it must not keep us waiting.
        let mut agent = rustix::process::getppid()
            .and_then(|agent| pidfd_open(agent, PidfdFlags::NONBLOCK).ok())
            .map(Readable::watch)
            .transpose()?;
        let mut orphans = tokio::signal::unix::signal(SignalKind::child())?;
        let mut has_agent = true;
        loop {
            self.tell_trouble();
            // All branches only wait for readiness, except `next_order` and `recv`, which lose nothing.
            let turn = tokio::select! {
                biased;
                () = self.pidfd.ready() => Turn::Exited,
                order = next_order(&mut orders), if has_agent => Turn::Order(order),
                () = ready(agent.as_ref()), if has_agent => Turn::AgentGone,
                () = way_back_ready(&self.progress) => Turn::Progress,
                () = ready(self.pipe.as_ref()) => Turn::Output,
                _ = orphans.recv() => Turn::Orphans,
            };
            match turn {
                Turn::Exited => break,
                Turn::Order(Some(Order::Stop { signal })) => self.stop(&signal),
                Turn::Order(Some(Order::Kill)) => self.kill(),
                // A second start is nonsense; so is what does not parse. Then nobody is in charge any more.
                Turn::Order(Some(Order::Start(_)) | None) | Turn::AgentGone => {
                    has_agent = false;
                    agent = None;
                    self.kill();
                }
                Turn::Progress => self.hear_progress(),
                Turn::Output => self.take_output(READ_BYTES),
                Turn::Orphans => reap_orphans(self.pid),
            }
        }
        self.end();
        Ok(())
    }

    fn stop(&self, name: &str) {
        let signal = signal::by_name(name).unwrap_or(Signal::TERM);
        // To the group: a shell that waits for its child would not pass it on. The member is not reaped yet, so
        // neither its number nor its group's can mean anybody else.
        if kill_process_group(self.pid, signal).is_err() {
            let _ = kill_process(self.pid, signal);
        }
        // A suspended process would sleep through its grace.
        let _ = kill_process_group(self.pid, Signal::CONT);
    }

    fn kill(&self) {
        if self.has_cgroup {
            self.start.cgroup.as_deref().map(cgroup::kill);
        }
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = kill_process(self.pid, Signal::KILL);
        descendants::kill_below(|_| true);
    }

    /// Reads what `member-exec` has to say; its silent end means that the member's program runs.
    fn hear_progress(&mut self) {
        let Progress::Starting(way_back, said) = &mut self.progress else { return };
        let mut buffer = [0; 1024];
        match way_back.read(&mut buffer) {
            Ok(count) if count > 0 => {
                let room = WHY_MAX_BYTES - said.len();
                said.extend_from_slice(&buffer[..count.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) if said.is_empty() => {
                self.progress = Progress::Started;
                tell(&News::Started { pid: self.pid.as_raw_nonzero().get().unsigned_abs() });
            }
            Ok(_) | Err(_) => self.progress = Progress::Failed(String::from_utf8_lossy(said).into_owned()),
        }
    }

    /// Takes what is there, up to about `most_bytes`.
    fn take_output(&mut self, most_bytes: usize) {
        let mut buffer = vec![0; READ_BYTES];
        let mut taken = 0;
        while taken < most_bytes {
            let Some(pipe) = &self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    taken += count;
                    self.output.take(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    /// Only once the member is known to run: before that nobody keeps books of it.
    fn tell_trouble(&mut self) {
        if !matches!(self.progress, Progress::Started) {
            return;
        }
        let why = self.output.log.trouble();
        if why.is_some() != self.is_trouble_told {
            self.is_trouble_told = why.is_some();
            tell(&News::LogTrouble { why: why.map(str::to_owned) });
        }
    }

    /// The member is gone: tell it, then clear up behind it.
    fn end(mut self) {
        // Its end of the way back is closed now, so this comes to an answer.
        while let Progress::Starting(..) = self.progress {
            self.hear_progress();
        }
        self.take_output(LAST_WORDS_MAX_BYTES);
        let status = match waitpid(Some(self.pid), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => status_text(status),
            Ok(None) | Err(_) => "ended, nobody knows how".into(),
        };
        let failure = match &self.progress {
            Progress::Failed(why) => Some(why.clone()),
            Progress::Starting(..) | Progress::Started => None,
        };
        if failure.is_none() {
            tell(&News::Exited {
                status,
                last_line: self.output.last_line(),
                dropped_bytes: self.output.log.dropped_bytes(),
            });
        }
        if self.has_cgroup {
            self.start.cgroup.as_deref().map(cgroup::kill);
        }
        descendants::kill_and_reap_all();
        self.take_output(LAST_WORDS_MAX_BYTES);
        if self.has_cgroup
            && let Some(group) = &self.start.cgroup
        {
            cgroup::remove(group);
            // Fails while there are other members. If the agent is gone, the last keeper clears up for it.
            group.parent().map(cgroup::remove);
        }
        if let Some(why) = failure {
            tell(&News::StartFailed { why });
        }
    }
}

/// `member-exec`, which becomes the program; stdin has to be its way back to this process.
pub fn program(start: &Start, has_cgroup: bool, account: Option<Account>) -> Command {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let mut command = Command::new("/proc/self/exe");
    command.arg0("muster").args(["member-exec", "--keeper", &own.to_string()]);
    if start.is_bare {
        command.env_clear();
    }
    if let (Some(group), true) = (&start.cgroup, has_cgroup) {
        command.arg("--cgroup").arg(group);
    }
    if let Some(account) = account {
        command.args(["--uid", &account.uid.to_string(), "--gid", &account.gid.to_string()]);
        for gid in &account.groups {
            command.args(["--group", &gid.to_string()]);
        }
        command.envs(of_account(&account));
    }
    if let Some(directory) = &start.directory {
        command.arg("--directory").arg(directory);
    }
    command.arg("--").args(&start.command).envs(&start.environment);
    command
}

/// The same, told to a process that waits.
pub fn what_to_become(start: &Start, account: Option<&Account>) -> Become {
    let own =
        account.into_iter().flat_map(of_account).map(|(name, value)| (name.to_owned(), value.to_owned()));
    let configured = start.environment.clone();
    Become {
        command: start.command.clone(),
        environment: own.chain(configured).collect(),
        is_bare: start.is_bare,
        directory: start.directory.clone(),
        user: account.map(|account| {
            let Account { uid, gid, groups, .. } = account.clone();
            UserNumbers { uid, gid, groups }
        }),
    }
}

fn of_account(account: &Account) -> [(&str, &str); 3] {
    [("HOME", &account.home), ("USER", &account.name), ("LOGNAME", &account.name)]
}

type Spawned = (Pid, Readable, Readable, Readable);

fn spawn(start: &Start, has_cgroup: bool, account: Option<Account>) -> io::Result<Spawned> {
    // What arrives before it closes is the reason of a failure.
    let (way_back, way_back_end) = pipe_with(PipeFlags::CLOEXEC)?;
    let (output, output_end) = pipe_with(PipeFlags::CLOEXEC)?;
    // Before there is a process: what fails now leaves nothing behind.
    let way_back = Readable::new(way_back)?;
    let output = Readable::new(output)?;
    let mut command = program(start, has_cgroup, account);
    command.stdin(way_back_end).stdout(output_end.try_clone()?).stderr(output_end).process_group(0);
    let child = command.spawn()?;
    // Our copies of the member's ends would keep the pipes open for ever.
    drop(command);
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    Ok((pid, Readable::watch(pidfd)?, way_back, output))
}

/// Reaps those that came to us because their parents are gone; the member itself is left for `end`.
fn reap_orphans(member: Pid) {
    for child in descendants::children() {
        if let Some(pid) = Pid::from_raw(child).filter(|pid| *pid != member) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

pub fn status_text(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(number), _) => format!("exited with status {number}"),
        (None, Some(number)) => format!("was killed by signal {}", signal::name_of(number)),
        (None, None) => "ended".into(),
    }
}

/// An agent that is gone hears nothing, and that is noticed elsewhere.
fn tell(news: &News) {
    let mut line = serde_json::to_vec(news).expect("plain texts and numbers always become JSON");
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
}

async fn ready(file: Option<&Readable>) {
    match file {
        Some(file) => file.ready().await,
        None => std::future::pending().await,
    }
}

async fn way_back_ready(progress: &Progress) {
    match progress {
        Progress::Starting(way_back, _) => way_back.ready().await,
        Progress::Started | Progress::Failed(_) => std::future::pending().await,
    }
}
