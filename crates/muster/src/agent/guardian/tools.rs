//! What a guardian gives to the types of resources: programs that it runs for them, and words to the agent.
//!
//! Promises: all programs are in the group's control group and below the guardian; a script is killed, with its process
//! group, when nobody waits for it any more. Not here: what becomes of a group (see `run`).

use super::message::News;
use super::ready::Ready;
use super::writer::Writer;
use crate::agent::companion::at;
use crate::agent::keeper::account::Account;
use crate::agent::keeper::message::Start;
use crate::agent::keeper::output::LastLine;
use crate::agent::keeper::{account, program, status_text, what_to_become};
use crate::readable::Readable;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::group::ResourceSettings;

/// Read at once. 64 KiB: all that a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// Reads of output in one turn, so that one that never stops talking delays nothing else.
const READS_MAX: usize = 4;
/// Longest reason of a failed start.
const WHY_MAX_BYTES: usize = 4096;
/// Longest answer that a program may give to be read. 256 KiB: the longest description of an agent has a tenth of that.
const ANSWER_MAX_BYTES: usize = 256 << 10;
/// Lines of output in which a reason is looked for. 64: what agents say between a reason and their end.
const LINES_MAX: usize = 64;
/// Longest of these lines.
const LINE_LENGTH_MAX: usize = 1024;

/// How long after a program was started the next one is made ready. A tenth of a second: what was just started is to have the
/// processor.
const READY_AFTER: Duration = Duration::from_millis(100);

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// None: by a signal.
    pub code: Option<i32>,
    /// Completes "it ...".
    pub how: String,
}

impl Ended {
    /// Fine only with status 0.
    pub fn good(self) -> Result<(), String> {
        if self.code == Some(0) { Ok(()) } else { Err(self.how) }
    }
}

/// A program that goes on.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    end: watch::Receiver<Option<Ended>>,
}

impl Process {
    /// Waits until it has ended; says how.
    pub async fn ended(&self) -> String {
        ended(&self.end).await.how
    }

    /// TERM for its process group.
    pub fn terminate(&self) {
        if self.end.borrow().is_none() {
            let _ = kill_process_group(self.pid, Signal::TERM);
            // A suspended process would sleep through it.
            let _ = kill_process_group(self.pid, Signal::CONT);
        }
    }
}

/// What becomes of the processes that a program leaves behind when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Stays,
    /// It may be started again at once, and they would stand in its way.
    IsKilled,
}

/// A program that has not ended.
#[derive(Debug)]
struct Told {
    end: watch::Sender<Option<Ended>>,
    rest: Rest,
}

/// Kills a script that nobody waits for any more.
struct Script(Process);

impl Drop for Script {
    fn drop(&mut self) {
        // Reaped, its number could mean somebody else.
        if self.0.end.borrow().is_none() {
            let _ = kill_process_group(self.0.pid, Signal::KILL);
        }
    }
}

async fn ended(end: &watch::Receiver<Option<Ended>>) -> Ended {
    let mut end = end.clone();
    match end.wait_for(Option::is_some).await {
        Ok(ended) => ended.clone().expect("it was waited for"),
        // The guardian itself is ending, and kills what is left.
        Err(_) => std::future::pending().await,
    }
}

/// All programs of a group, and what they say.
pub struct Programs {
    cgroup: Option<PathBuf>,
    /// None: the group has ended.
    log: RefCell<Option<Writer>>,
    last_line: RefCell<LastLine>,
    lines: RefCell<Lines>,
    pipe: Readable,
    /// What programs write to.
    pipe_end: OwnedFd,
    running: RefCell<HashMap<Pid, Told>>,
    /// For the next program.
    ready: RefCell<Option<Ready>>,
    ready_at: Cell<Option<Instant>>,
}

impl Programs {
    /// `cgroup`: where they are put, if it is there.
    pub fn new(cgroup: Option<PathBuf>, log: Writer) -> io::Result<Self> {
        let (pipe, pipe_end) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self {
            cgroup,
            log: RefCell::new(Some(log)),
            last_line: RefCell::default(),
            lines: RefCell::default(),
            pipe: Readable::new(pipe)?,
            pipe_end,
            running: RefCell::default(),
            ready: RefCell::default(),
            ready_at: Cell::default(),
        })
    }

    /// Waits until some program has said something that can be taken. May be cancelled.
    pub async fn have_said_something(&self) {
        self.pipe.ready().await;
        let room = self.log.borrow().as_ref().map(Writer::room);
        if let Some(room) = room {
            room.await;
        }
    }

    /// Waits until a process for the next program should be made ready. May be cancelled.
    pub async fn miss_one(&self) {
        at(self.ready_at.get()).await;
    }

    /// Makes one ready, which is only a help.
    pub fn make_ready(&self) {
        self.ready_at.set(None);
        if self.ready.borrow().is_some() {
            return;
        }
        let output = self.pipe_end.try_clone();
        let ready = output.and_then(|output| Ready::prepare(self.cgroup.as_deref(), output));
        self.ready.replace(ready.ok());
    }

    /// Takes what is there, as far as there is room; what never ends is taken in several turns.
    pub fn take_output(&self) {
        let log = self.log.borrow();
        let Some(log) = log.as_ref() else { return };
        let mut buffer = vec![0; READ_BYTES];
        for _ in 0..READS_MAX {
            if !log.has_room() {
                return;
            }
            match self.pipe.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    let piece = &buffer[..count];
                    log.take(piece.to_vec());
                    self.last_line.borrow_mut().take(piece);
                    self.lines.borrow_mut().take(piece);
                }
                // We hold an end of it ourselves, so it never ends.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Everything has ended: the last words go to the disk.
    pub fn finish_log(&self) {
        if let Some(log) = self.log.take() {
            log.finish();
        }
    }

    /// Hears of all that has ended.
    pub fn reap(&self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            self.ready.borrow_mut().take_if(|ready| ready.pid == pid);
            let Some(told) = self.running.borrow_mut().remove(&pid) else { continue };
            // Its last words come before the news of its end.
            self.take_output();
            if told.rest == Rest::IsKilled {
                // Its number is that of its process group, and has just become free: nobody else has it yet.
                let _ = kill_process_group(pid, Signal::KILL);
            }
            told.end.send_replace(Some(self.judge(status)));
        }
    }

    fn judge(&self, status: WaitStatus) -> Ended {
        let text = status_text(status);
        let how = match self.last_line.borrow().shown() {
            Some(line) => format!("{text}; it said last: {line}"),
            None => text,
        };
        Ended { code: status.exit_status(), how }
    }

    /// An error completes "it ...". `output`: where its standard output goes, if not with that of all.
    fn spawn(
        &self,
        start: &Start,
        output: Option<OwnedFd>,
        rest: Rest,
    ) -> Result<(Process, Readable), String> {
        let account = start.user.as_deref().map(account::find).transpose();
        let account = account.map_err(|error| format!("cannot be run: {error}"))?;
        let spawned = self.run_ready(start, account.as_ref(), output.is_none());
        let spawned = match spawned {
            Some(spawned) => Ok(spawned),
            None => self.run_new(start, account, output),
        };
        self.ready_at.set(Some(Instant::now() + READY_AFTER));
        let spawned = spawned.map(|(pid, way_back)| {
            let (told, end) = watch::channel(None);
            self.running.borrow_mut().insert(pid, Told { end: told, rest });
            (Process { pid, end }, way_back)
        });
        spawned.map_err(|error| format!("cannot be run: {error}"))
    }

    /// In the process that waits for that, if there is one that lives.
    fn run_ready(
        &self,
        start: &Start,
        account: Option<&Account>,
        is_of_all: bool,
    ) -> Option<(Pid, Readable)> {
        let ready = self.ready.borrow_mut().take_if(|_| is_of_all)?;
        ready.run(&what_to_become(start, account)).ok()
    }

    fn run_new(
        &self,
        start: &Start,
        account: Option<Account>,
        output: Option<OwnedFd>,
    ) -> io::Result<(Pid, Readable)> {
        let start = Start { cgroup: self.cgroup.clone(), ..start.clone() };
        let mut command = program(&start, self.cgroup.is_some(), account);
        let (way_back, way_back_end) = pipe_with(PipeFlags::CLOEXEC)?;
        let way_back = Readable::new(way_back)?;
        command.stdin(way_back_end).stderr(self.pipe_end.try_clone()?).process_group(0);
        command.stdout(output.map_or_else(|| self.pipe_end.try_clone(), Ok)?);
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
        Ok((pid, way_back))
    }
}

/// Waits until the program runs, or `member-exec` has said why it does not.
async fn begun(way_back: &Readable) -> Result<(), String> {
    let mut why = Vec::new();
    loop {
        way_back.ready().await;
        let mut buffer = [0; WHY_MAX_BYTES];
        match way_back.read(&mut buffer) {
            Ok(count) if count > 0 && why.len() < WHY_MAX_BYTES => why.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) if why.is_empty() => return Ok(()),
            Ok(_) | Err(_) => return Err(format!("could not be run: {}", String::from_utf8_lossy(&why))),
        }
    }
}

/// The guardian, as one resource sees it.
pub struct Tools {
    programs: Rc<Programs>,
    resource: ResourceSettings,
    /// What it may know, beside what is configured.
    environment: BTreeMap<String, String>,
    is_handed_over: bool,
    has_deadline: Rc<Cell<bool>>,
}

impl Tools {
    pub fn new(
        programs: Rc<Programs>,
        resource: ResourceSettings,
        environment: BTreeMap<String, String>,
        is_handed_over: bool,
        has_deadline: Rc<Cell<bool>>,
    ) -> Self {
        Self { programs, resource, environment, is_handed_over, has_deadline }
    }

    pub fn settings(&self) -> &ResourceSettings {
        &self.resource
    }

    pub fn name(&self) -> &str {
        &self.resource.name.0
    }

    /// Whether the node before has given it back in this moment, and no other had it.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over
    }

    /// Whether the group ends by itself when nobody moves its deadline.
    pub fn has_deadline(&self) -> bool {
        self.has_deadline.get()
    }

    /// A program of the resource, as the configuration says.
    pub fn start(&self, command: &[String]) -> Start {
        let configured = self.resource.environment.clone();
        Start {
            command: command.to_vec(),
            // What is configured wins.
            environment: self.environment.clone().into_iter().chain(configured).collect(),
            is_bare: false,
            directory: self.resource.directory.clone().map(Into::into),
            user: self.resource.user.clone(),
            cgroup: None,
            log: PathBuf::new(),
            log_size_max_bytes: 0,
            log_files_max: 0,
        }
    }

    /// Runs a script to its end.
    pub async fn run(&self, start: &Start) -> Result<Ended, String> {
        let (process, way_back) = self.programs.spawn(start, None, Rest::Stays)?;
        let script = Script(process);
        begun(&way_back).await?;
        Ok(ended(&script.0.end).await)
    }

    /// The same, and what it wrote to its standard output.
    pub async fn read(&self, start: &Start) -> Result<(Ended, Vec<u8>), String> {
        let pipe = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from);
        let piped = pipe.and_then(|(output, end)| Ok((Readable::new(output)?, end)));
        let (output, end) = piped.map_err(|error| format!("cannot be run: {error}"))?;
        let (process, way_back) = self.programs.spawn(start, Some(end), Rest::Stays)?;
        let script = Script(process);
        begun(&way_back).await?;
        let mut answer = Vec::new();
        loop {
            output.ready().await;
            let mut buffer = [0; 4096];
            match output.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) if answer.len() > ANSWER_MAX_BYTES => return Err("said too much".into()),
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("cannot be heard: {error}")),
            }
        }
        Ok((ended(&script.0.end).await, answer))
    }

    /// Starts a program that goes on; it is there once it runs.
    pub async fn begin(&self, start: &Start, rest: Rest) -> Result<Process, String> {
        let (process, way_back) = self.programs.spawn(start, None, rest)?;
        begun(&way_back).await?;
        Ok(process)
    }

    /// The rest of the last line that some program of the group has said, and that begins so.
    pub fn last_line_after(&self, prefix: &str) -> Option<String> {
        self.programs.take_output();
        self.programs.lines.borrow().last_after(prefix)
    }

    /// Something that people want to read in the log.
    pub fn warn(&self, text: String) {
        tell(&News::Warning { text: format!("{}: {text}", self.name()) });
    }
}

/// The last lines of all programs.
#[derive(Debug, Default)]
struct Lines {
    ended: VecDeque<Vec<u8>>,
    open: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_LENGTH_MAX - self.open.len();
            self.open.extend_from_slice(&line[..line.len().min(room)]);
            if line.ends_with(b"\n") {
                if self.ended.len() == LINES_MAX {
                    self.ended.pop_front();
                }
                self.ended.push_back(std::mem::take(&mut self.open));
            }
        }
    }

    fn last_after(&self, prefix: &str) -> Option<String> {
        let rest = self.ended.iter().rev().find_map(|line| line.strip_prefix(prefix.as_bytes()))?;
        Some(String::from_utf8_lossy(rest).trim().to_owned())
    }
}

/// An agent that is gone hears nothing, and that is noticed elsewhere.
pub fn tell(news: &News) {
    let mut line = serde_json::to_vec(news).expect("plain texts and numbers always become JSON");
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_with_a_prefix_is_found_among_the_newest() {
        let mut lines = Lines::default();
        lines.take(b"why:one: first\nwhy:two: other\nwhy:one: sec");
        assert_eq!(lines.last_after("why:one:").as_deref(), Some("first"));
        lines.take(b"ond\n");
        assert_eq!(lines.last_after("why:one:").as_deref(), Some("second"));
        (0..LINES_MAX).for_each(|_| lines.take(b"x\n"));
        assert_eq!(lines.last_after("why:one:"), None);
    }
}
