//! One guardian, seen from the agent: it is started, told what to do and listened to.
//!
//! Promise: `Ended` is told once, after the guardian and all that it held are gone; one that hangs when it should have
//! ended is killed, and what it leaves behind too. What cannot be taken away is told as `Left`, and tried again.

use super::Surroundings;
use crate::agent::board::Board;
use crate::agent::companion::{at, spawn};
use crate::agent::guardian::message::{self, Hold, News, Order, Task};
use crate::agent::guardian::record::{self, Left};
use crate::agent::keeper::{cgroup, signal};
use crate::agent::warden::{Held, Warden};
use crate::readable::{Lines, Readable};
use crate::resource;
use logic::group::{Action, RUN_OF_BEFORE, ResidentInput as Input, Verb};
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::id::GroupName;

/// How long a guardian may take to read an order. A working one needs milliseconds; 3 s tell a busy machine from a guardian that
/// hangs.
const GUARDIAN_WAIT: Duration = Duration::from_secs(3);
/// How long a guardian may take for one thing that it clears up, and to be gone: longer than any resource may (see
/// `resource::CLEAR_MAX`), so that who gives back in good order is not disturbed.
const CLEAR_WAIT: Duration = resource::CLEAR_MAX.saturating_add(Duration::from_secs(5));
/// How long a guardian that shall end may take before its processes are killed for it. It does so at once; where it cannot, nobody
/// may wait until it is known to hang.
const HELP_AFTER: Duration = Duration::from_millis(100);
/// Pause before what could not be taken away is tried again: whoever keeps it is to be found and ended by a person.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// How often a guardian is asked whether it hangs.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Questions in a row that it may leave open. 4: longer than a busy machine needs, and found out within five seconds. They are
/// counted, so that an agent that was paused itself finds no guardian guilty.
const OPEN_QUESTIONS_MAX: u32 = 4;
/// Bytes of one log file of a group.
const LOG_SIZE_MAX_BYTES: u64 = 10 << 20;
/// Older log files of a group.
const LOG_FILES_MAX: u32 = 3;

#[derive(Debug)]
pub enum Command {
    Do { step: u64, action: Box<Action> },
    End,
}

/// How long a guardian may hold on.
pub struct Spans {
    /// The span of the node's lease that it holds by; only the newest counts. It is told before any command.
    pub newest: watch::Receiver<Option<u64>>,
    pub renewals: watch::Receiver<()>,
}

/// What all guardians of a node share.
pub struct Companions {
    pub warden: Rc<Warden>,
    pub board: Rc<Board>,
}

/// Starts a guardian, and obeys until it has ended.
pub async fn look_after(
    around: Rc<Surroundings>,
    companions: Companions,
    group: GroupName,
    epoch: u64,
    run: u64,
    spans: Spans,
    mut commands: mpsc::Receiver<Command>,
) {
    let why = match Guard::begin(&around, &companions, &group, epoch, run).await {
        Ok(guard) => guard.run(spans, &mut commands).await,
        Err(error) => format!("could not be started: {error}"),
    };
    // Nobody listens only when the agent has ended.
    let _ = around.inputs.send(Input::Ended { group, run, why }).await;
}

/// Goes on to take away what an agent before this one has left.
pub async fn clear_up(around: Rc<Surroundings>, group: GroupName, mut commands: mpsc::Receiver<Command>) {
    give_back(&around, &group, RUN_OF_BEFORE, &mut commands).await;
    let why = "is gone".to_owned();
    let _ = around.inputs.send(Input::Ended { group, run: RUN_OF_BEFORE, why }).await;
}

struct Guard<'a> {
    around: &'a Surroundings,
    group: &'a GroupName,
    run: u64,
    guardian: Child,
    pid: i32,
    pidfd: Readable,
    orders: UnixStream,
    news: Lines,
    help_at: Option<Instant>,
    kill_at: Option<Instant>,
    /// None: it clears up, and is waited for otherwise.
    ask_at: Option<Instant>,
    /// Questions since its last news. None before the first: a new guardian waits for what was there before it.
    open_questions: Option<u32>,
    cgroup: Option<std::path::PathBuf>,
    /// None: there is no control group that it could look after.
    warded: Option<Held>,
    /// Something of it is to be renewed as often as the lease.
    is_renewed: bool,
    is_killed: bool,
    /// It has said that something is left.
    has_left: bool,
}

enum Turn {
    News(Option<Vec<u8>>),
    Gone,
    Help,
    Late,
    Ask,
    Span(Option<u64>),
    Renewed,
    Command(Option<Command>),
}

impl<'a> Guard<'a> {
    async fn begin(
        around: &'a Surroundings,
        companions: &Companions,
        group: &'a GroupName,
        epoch: u64,
        run: u64,
    ) -> io::Result<Self> {
        let (guardian, pidfd, orders, news) = spawn("guardian", Some(&companions.board))?;
        let pid = guardian.id().cast_signed();
        around.children.add_keeper(pid);
        let cgroup = around.cgroup.as_ref().map(|base| base.join(format!("group.{group}")));
        let hold = Hold {
            lock: around.directory.join(format!("{group}.lock")),
            epoch,
            cgroup: cgroup.clone(),
            log: around.log_directory.join(format!("group.{group}.log")),
            log_size_max_bytes: LOG_SIZE_MAX_BYTES,
            log_files_max: LOG_FILES_MAX,
        };
        let warded = cgroup.clone().map(|cgroup| companions.warden.hold(pid, cgroup, hold.lock.clone()));
        let (help_at, kill_at, is_renewed, is_killed, has_left) = (None, None, false, false, false);
        let mut guard = Self {
            around,
            group,
            run,
            guardian,
            pid,
            pidfd,
            orders,
            news,
            help_at,
            kill_at,
            ask_at: Some(Instant::now() + ASK_EVERY),
            open_questions: None,
            cgroup,
            warded,
            is_renewed,
            is_killed,
            has_left,
        };
        guard.send(&Order::Hold(hold)).await;
        Ok(guard)
    }

    /// Until the guardian has ended; says how.
    async fn run(mut self, mut spans: Spans, commands: &mut mpsc::Receiver<Command>) -> String {
        let (mut has_orders, mut has_news) = (true, true);
        spans.newest.mark_changed();
        loop {
            // Only waiting here; `next`, `changed` and `recv` lose nothing when another branch wins.
            let turn = tokio::select! {
                biased;
                line = self.news.next(), if has_news => Turn::News(line),
                () = self.pidfd.ready() => Turn::Gone,
                () = at(self.help_at) => Turn::Help,
                () = at(self.kill_at) => Turn::Late,
                () = at(self.ask_at) => Turn::Ask,
                Ok(()) = spans.newest.changed(), if has_orders => Turn::Span(*spans.newest.borrow_and_update()),
                Ok(()) = spans.renewals.changed(), if has_orders && self.is_renewed => Turn::Renewed,
                command = commands.recv(), if has_orders => Turn::Command(command),
            };
            match turn {
                Turn::News(Some(line)) => self.on_news(&line).await,
                Turn::News(None) => has_news = false,
                Turn::Gone => break,
                Turn::Help => {
                    self.help_at = None;
                    self.kill_processes();
                }
                Turn::Late => self.on_late().await,
                Turn::Ask => self.ask().await,
                Turn::Span(span) => {
                    // First who shall not be late with news: it ends what it does not know to go on.
                    if let Some(warded) = &self.warded {
                        warded.span(span);
                    }
                    self.send(&Order::Leased { span }).await;
                }
                Turn::Renewed => self.send(&Order::Renewed).await,
                Turn::Command(Some(Command::Do { step, action })) => {
                    let Action { verb, index, resource, environment, is_handed_over } = *action;
                    self.is_renewed |= resource::is_renewed(&resource);
                    let verb = match verb {
                        Verb::Start => message::Verb::Start,
                        Verb::Stop => message::Verb::Stop,
                    };
                    let task = Task { step, verb, index, resource, environment, is_handed_over };
                    self.send(&Order::Do(Box::new(task))).await;
                }
                Turn::Command(None | Some(Command::End)) => {
                    has_orders = false;
                    self.ask_at = None;
                    self.help_at = Some(Instant::now() + HELP_AFTER);
                    self.kill_at = Some(Instant::now() + CLEAR_WAIT);
                    self.send(&Order::End).await;
                }
            }
        }
        self.end(commands).await
    }

    /// One that hangs renews no address and sees no end of a process, and nobody would know.
    async fn ask(&mut self) {
        if self.open_questions == Some(OPEN_QUESTIONS_MAX) {
            self.open_questions = None;
            self.kill();
        } else {
            self.open_questions = self.open_questions.map(|open| open + 1);
            self.send(&Order::Answer).await;
        }
        self.ask_at = Some(Instant::now() + ASK_EVERY);
    }

    /// A guardian that does not read is of no use any more.
    async fn send(&mut self, order: &Order) {
        let mut line = serde_json::to_vec(order).expect("plain texts and numbers always become JSON");
        line.push(b'\n');
        // A pipe whose reader is gone is the pidfd's news.
        if tokio::time::timeout(GUARDIAN_WAIT, self.orders.write_all(&line)).await.is_err() {
            self.kill();
        }
    }

    /// All that are in its control group. Where there is none, only the guardian knows them.
    fn kill_processes(&self) {
        if let Some(group) = &self.cgroup {
            cgroup::kill(group);
        }
    }

    async fn on_late(&mut self) {
        if !self.is_killed {
            return self.kill();
        }
        // The kernel does not let go of it: nothing can be done before it does.
        self.kill_at = None;
        let why = "its guardian was killed, and hangs in the kernel".to_owned();
        let (group, run) = (self.group.clone(), self.run);
        let _ = self.around.inputs.send(Input::Left { group, run, why }).await;
    }

    fn kill(&mut self) {
        self.kill_at = Some(Instant::now() + GUARDIAN_WAIT);
        self.is_killed = true;
        tracing::warn!(group = %self.group, guardian = self.pid, "its guardian hangs and is killed");
        // What it should have ended does not go on meanwhile.
        self.kill_processes();
        // It is our child and not reaped, so the number can mean nobody else.
        let _ = self.guardian.kill();
    }

    async fn on_news(&mut self, line: &[u8]) {
        // Whatever it says, it is there.
        self.open_questions = Some(0);
        let (group, run) = (self.group.clone(), self.run);
        let input = match serde_json::from_slice(line) {
            Ok(News::Done { step, error }) => {
                Input::Done { group, run, step, result: error.map_or(Ok(()), Err) }
            }
            Ok(News::Clearing) => {
                self.ask_at = None;
                self.kill_at = Some(Instant::now() + CLEAR_WAIT);
                return;
            }
            Ok(News::Left { why }) => {
                self.has_left = true;
                Input::Left { group, run, why }
            }
            Ok(News::Lost { index, why }) => Input::Lost { group, run, resource: index, why },
            Ok(News::Here) => return,
            Ok(News::Warning { text }) => return tracing::warn!(%group, "{text}"),
            // Only a guardian of another edition could say such a thing; its end will tell the rest.
            Err(error) => return tracing::error!(%group, %error, "its guardian is not understood"),
        };
        let _ = self.around.inputs.send(input).await;
    }

    /// The guardian is gone: hear its last news, and do its work if it could not.
    async fn end(mut self, commands: &mut mpsc::Receiver<Command>) -> String {
        while let Ok(line) = self.news.next_now() {
            self.on_news(&line).await;
        }
        let trouble = match self.guardian.wait() {
            Ok(status) if status.success() => None,
            Ok(status) => Some(match status.signal() {
                Some(signal) => format!("was killed by signal {}", signal::name_of(signal)),
                None => format!("has failed: {status}"),
            }),
            Err(error) => Some(format!("has ended, and cannot be asked how: {error}")),
        };
        self.around.children.remove_keeper(self.pid);
        if trouble.is_some() {
            self.clear(commands).await;
        }
        if let Some(warded) = &self.warded {
            warded.forget();
        }
        if trouble.is_some() || self.has_left {
            give_back(self.around, self.group, self.run, commands).await;
        }
        trouble.unwrap_or_else(|| "ended".to_owned())
    }

    /// Ends the processes of a guardian that could not; or until nobody gives orders any more.
    async fn clear(&self, commands: &mut mpsc::Receiver<Command>) {
        self.kill_processes();
        while !self.around.children.clear().await {
            let why = "some of its processes hang in the kernel".to_owned();
            let (group, run) = (self.group.clone(), self.run);
            // Nobody listens only when the agent has ended.
            let _ = self.around.inputs.send(Input::Left { group, run, why }).await;
            // Waits only.
            tokio::select! {
                () = tokio::time::sleep(TRY_AGAIN) => {}
                () = until_closed(commands) => return,
            }
        }
        if let Some(group) = &self.cgroup {
            cgroup::remove(group);
        }
    }
}

/// Takes away what is no process and what no guardian holds, again and again until it is gone; or until nobody gives orders any
/// more. Tells each time what is left.
pub async fn give_back(
    around: &Surroundings,
    group: &GroupName,
    run: u64,
    commands: &mut mpsc::Receiver<Command>,
) {
    let path = around.directory.join(format!("{group}.lock"));
    loop {
        let path = path.clone();
        let why = match undo(move || record::lock(&path)).await {
            Undone::Nothing => return,
            Undone::Left(left) => left.why,
            Undone::Hangs(task) => {
                let why = "it hangs in the kernel".to_owned();
                // Nobody listens only when the agent has ended.
                let _ = around.inputs.send(Input::Left { group: group.clone(), run, why }).await;
                tokio::select! {
                    // What it has found is looked for again: it may be gone.
                    _ = task => {}
                    () = until_closed(commands) => return,
                }
                continue;
            }
        };
        let _ = around.inputs.send(Input::Left { group: group.clone(), run, why }).await;
        // Waits only.
        tokio::select! {
            () = tokio::time::sleep(TRY_AGAIN) => {}
            () = until_closed(commands) => return,
        }
    }
}

/// What became of it to take away what was left.
pub enum Undone {
    Nothing,
    Left(Left),
    /// It goes on.
    Hangs(JoinHandle<Option<Left>>),
}

/// Takes away what stands in a record. Off the event loop: a file system may take as long as its disk does, or for ever.
pub async fn undo(open: impl FnOnce() -> io::Result<File> + Send + 'static) -> Undone {
    let mut task = tokio::task::spawn_blocking(move || match open() {
        Ok(file) => record::undo(&file),
        Err(error) => Some(Left::unknown(format!("what it was cannot be seen: {error}"))),
    });
    match tokio::time::timeout(CLEAR_WAIT, &mut task).await {
        Ok(Ok(None)) => Undone::Nothing,
        Ok(Ok(Some(left))) => Undone::Left(left),
        Ok(Err(error)) => Undone::Left(Left::unknown(format!("taking it away has failed: {error}"))),
        Err(_) => Undone::Hangs(task),
    }
}

/// Orders mean nothing any more; their end does. May be cancelled.
async fn until_closed(commands: &mut mpsc::Receiver<Command>) {
    while commands.recv().await.is_some() {}
}
