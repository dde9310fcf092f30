//! One guardian, seen from the agent: it is started, told what to do and listened to.
//!
//! Promise: `Ended` is told once, after the guardian and all that it held are gone; one that hangs when it should have
//! ended is killed, and what it leaves behind too.

use super::Surroundings;
use crate::agent::companion::{at, spawn};
use crate::agent::guardian::message::{self, Hold, News, Order, Task};
use crate::agent::guardian::record;
use crate::agent::keeper::{cgroup, signal};
use crate::readable::{Lines, Readable};
use logic::group::{Action, ResidentInput as Input, Verb};
use logic::time::Time;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::id::GroupName;

/// How long a guardian may take to read an order, and to clear up. A working one needs milliseconds; 3 s tell a busy
/// machine from a guardian that hangs.
const GUARDIAN_WAIT: Duration = Duration::from_secs(3);
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
    Until(Option<Time>),
    Do { step: u64, action: Box<Action> },
    End,
}

/// Starts a guardian, and obeys until it has ended.
pub async fn look_after(
    around: Rc<Surroundings>,
    group: GroupName,
    run: u64,
    mut commands: mpsc::Receiver<Command>,
) {
    let why = match Guard::begin(&around, &group, run).await {
        Ok(guard) => guard.run(&mut commands).await,
        Err(error) => format!("could not be started: {error}"),
    };
    // Nobody listens only when the agent has ended.
    let _ = around.inputs.send(Input::Ended { group, run, why }).await;
}

struct Guard<'a> {
    around: &'a Surroundings,
    group: &'a GroupName,
    run: u64,
    guardian: Child,
    pid: i32,
    pidfd: Readable,
    orders: pipe::Sender,
    news: Lines,
    kill_at: Option<Instant>,
    ask_at: Instant,
    /// Questions since its last news. None before the first: a new guardian waits for what was there before it.
    open_questions: Option<u32>,
    cgroup: Option<std::path::PathBuf>,
}

enum Turn {
    News(Option<Vec<u8>>),
    Gone,
    Late,
    Ask,
    Command(Option<Command>),
}

impl<'a> Guard<'a> {
    async fn begin(around: &'a Surroundings, group: &'a GroupName, run: u64) -> io::Result<Self> {
        let (guardian, pidfd, orders, news) = spawn("guardian")?;
        let pid = guardian.id().cast_signed();
        around.children.add_keeper(pid);
        let cgroup = around.cgroup.as_ref().map(|base| base.join(format!("group.{group}")));
        let hold = Hold {
            lock: around.directory.join(format!("{group}.lock")),
            cgroup: cgroup.clone(),
            log: around.log_directory.join(format!("group.{group}.log")),
            log_size_max_bytes: LOG_SIZE_MAX_BYTES,
            log_files_max: LOG_FILES_MAX,
        };
        let (kill_at, ask_at) = (None, Instant::now() + ASK_EVERY);
        let mut guard = Self {
            around,
            group,
            run,
            guardian,
            pid,
            pidfd,
            orders,
            news,
            kill_at,
            ask_at,
            open_questions: None,
            cgroup,
        };
        guard.send(&Order::Hold(hold)).await;
        Ok(guard)
    }

    /// Until the guardian has ended; says how.
    async fn run(mut self, commands: &mut mpsc::Receiver<Command>) -> String {
        let (mut has_orders, mut has_news) = (true, true);
        loop {
            // Only waiting here; `next` and `recv` lose nothing when another branch wins.
            let turn = tokio::select! {
                biased;
                line = self.news.next(), if has_news => Turn::News(line),
                () = self.pidfd.ready() => Turn::Gone,
                () = at(self.kill_at) => Turn::Late,
                () = at(Some(self.ask_at)) => Turn::Ask,
                command = commands.recv(), if has_orders => Turn::Command(command),
            };
            match turn {
                Turn::News(Some(line)) => self.on_news(&line).await,
                Turn::News(None) => has_news = false,
                Turn::Gone => break,
                Turn::Late => self.kill(),
                Turn::Ask => self.ask().await,
                Turn::Command(Some(Command::Until(until))) => {
                    let since_boot_ms = until.map(|until| self.around.clock.since_boot_ms(until));
                    self.send(&Order::Until { since_boot_ms }).await;
                }
                Turn::Command(Some(Command::Do { step, action })) => {
                    let Action { verb, index, resource, environment } = *action;
                    let verb = match verb {
                        Verb::Start => message::Verb::Start,
                        Verb::Stop => message::Verb::Stop,
                    };
                    let task = Task { step, verb, index, resource, environment };
                    self.send(&Order::Do(Box::new(task))).await;
                }
                Turn::Command(None | Some(Command::End)) => {
                    has_orders = false;
                    self.kill_at = Some(Instant::now() + GUARDIAN_WAIT);
                    self.send(&Order::End).await;
                }
            }
        }
        self.end().await
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
        self.ask_at = Instant::now() + ASK_EVERY;
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

    fn kill(&mut self) {
        self.kill_at = None;
        tracing::warn!(group = %self.group, guardian = self.pid, "its guardian hangs and is killed");
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
            Ok(News::Lost { index, why }) => Input::Lost { group, run, resource: index, why },
            Ok(News::Here) => return,
            Ok(News::Warning { text }) => return tracing::warn!(%group, "{text}"),
            // Only a guardian of another edition could say such a thing; its end will tell the rest.
            Err(error) => return tracing::error!(%group, %error, "its guardian is not understood"),
        };
        let _ = self.around.inputs.send(input).await;
    }

    /// The guardian is gone: hear its last news, and do its work if it could not.
    async fn end(mut self) -> String {
        while let Ok(line) = self.news.next_now() {
            self.on_news(&line).await;
        }
        let status = self.guardian.wait();
        self.around.children.remove_keeper(self.pid);
        let how = status.as_ref().ok().and_then(ExitStatusExt::signal).map(signal::name_of);
        let Some(name) = how else { return "ended".to_owned() };
        if let Some(group) = &self.cgroup {
            cgroup::kill(group);
        }
        self.around.children.clear().await;
        if let Some(group) = &self.cgroup {
            cgroup::remove(group);
        }
        self.undo().await;
        format!("was killed by signal {name}")
    }

    /// Takes away what is no process.
    async fn undo(&self) {
        let path = self.around.directory.join(format!("{}.lock", self.group));
        // Off the event loop: a file system may take as long as its disk does.
        let undone = tokio::task::spawn_blocking(move || record::lock(&path).map(|file| record::undo(&file)));
        let group = self.group;
        match undone.await {
            Ok(Ok(troubles)) => troubles.iter().for_each(|text| tracing::warn!(%group, "{text}")),
            Ok(Err(error)) => tracing::warn!(%group, %error, "cannot see what the group has left"),
            Err(error) => tracing::error!(%group, %error, "taking away what the group has left has panicked"),
        }
    }
}
