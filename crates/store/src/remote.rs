//! The thread of a store on servers: connects, serves while the connection lasts, connects again.
//!
//! Promises:
//! - A command waits for a connection at most `PATIENCE` and one attempt; then it is told that nothing was done.
//! - Whoever was in the middle of a write when the connection broke is told so, never that it failed.
//! - After each new connection watchers look again, so that nothing is missed that happened between.
//!
//! Not here: what is said to the servers (see `postgres`, `etcd`).

use crate::command::Command;
use crate::{COMMANDS_MAX, Cause, News, Store, StoreError, StoreThread};
use logic::model::Revision;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How long a command waits for a connection. Five seconds: one call that got no answer, and time for another server to
/// take over; whoever asks can decide anew after that.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Longest time of one attempt to connect, by name, TLS and password.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest time of one call. Two seconds: a hundred times what a sync takes; a server that needs more is as good as
/// gone, and another may do better.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest time to read everything below a prefix. Ten seconds: a configuration of 10,000 members with its history over
/// a slow line; a connection that is dead shows earlier by other means.
pub const LONG_CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// Without any other call this one shows whether the connection still carries. Half a second below what a lease lasts.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(1_500);
/// Threads that look names up. Two: a resolver that does not answer must not fill the process with threads.
const RESOLVERS_MAX: usize = 2;
/// First pause after a failed attempt; each is twice the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause. One second: a server that is back must not wait long for us.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why serving ended.
#[derive(Debug)]
pub enum Ended {
    /// Every handle was dropped.
    Closed,
    /// The connection is of no more use.
    Lost(Cause),
}

/// What differs between servers.
pub trait Driver: Send + 'static {
    type Session;
    /// The servers without their passwords.
    fn place(&self) -> String;
    /// One attempt. Tells `desk` the revision found.
    async fn connect(&mut self, desk: &mut Desk) -> Result<Self::Session, StoreError>;
    /// Serves until the connection or the last handle is gone. Leaves in `desk` what was not begun.
    async fn serve(&mut self, session: Self::Session, desk: &mut Desk) -> Ended;
    /// No connection for a while: answers what is in doubt since before `before`.
    fn give_up(&mut self, before: Instant);
}

/// The commands that wait, and the way to the watchers.
#[derive(Debug)]
pub struct Desk {
    inbox: mpsc::Receiver<Command>,
    /// Taken out but not done; bounded like the inbox, which fills only what it is short of.
    waiting: VecDeque<(Instant, Command)>,
    news: watch::Sender<News>,
}

impl Desk {
    /// The next command and when it came; none when every handle is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<(Instant, Command)> {
        if let Some(first) = self.waiting.pop_front() {
            return Some(first);
        }
        self.inbox.recv().await.map(|command| (Instant::now(), command))
    }

    /// The next command if one is there.
    pub fn try_next(&mut self) -> Option<(Instant, Command)> {
        let waiting = self.waiting.pop_front();
        waiting.or_else(|| self.inbox.try_recv().ok().map(|command| (Instant::now(), command)))
    }

    /// For what was not begun: it keeps its age.
    pub fn put_back(&mut self, since: Instant, command: Command) {
        self.waiting.push_back((since, command));
    }

    /// There are changes up to this revision.
    pub fn tell(&self, revision: Revision) {
        self.news.send_if_modified(|told| {
            let is_news = revision > told.revision;
            told.revision = told.revision.max(revision);
            is_news
        });
    }

    /// Found after a new connection; a lower one than before comes from another history.
    pub fn tell_found(&self, revision: Revision, is_other_history: bool) {
        self.news.send_if_modified(|told| {
            let is_reset = is_other_history || revision < told.revision;
            let is_news = is_reset || revision > told.revision;
            *told = News { resets: told.resets + u64::from(is_reset), revision };
            is_news
        });
    }

    /// Refuses what has waited too long. False: nobody is left who could ask.
    fn wait_on(&mut self, place: &str, error: &StoreError) -> bool {
        while self.waiting.len() < COMMANDS_MAX {
            match self.inbox.try_recv() {
                Ok(command) => self.waiting.push_back((Instant::now(), command)),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        let (late, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(since, _)| since.elapsed() >= PATIENCE);
        self.waiting = rest.into();
        for (_, command) in late {
            command.refuse(StoreError::Unavailable { place: place.to_owned(), source: story(error).into() });
        }
        true
    }
}

/// An error with its causes, for places where it must be told more than once.
pub fn story(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Starts the thread; answers after its first attempt to connect.
pub async fn open(mut driver: impl Driver) -> Result<(Store, StoreThread), StoreError> {
    let place = driver.place();
    let failed = |source: std::io::Error| StoreError::Engine {
        place: place.clone(),
        act: "start a thread for",
        source: Box::new(source),
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(RESOLVERS_MAX).build().map_err(failed)?;
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (news, heard) = watch::channel(News::default());
    let (opened, answer) = oneshot::channel();
    let mut desk = Desk { inbox, waiting: VecDeque::new(), news };
    let work = move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            match driver.connect(&mut desk).await {
                Ok(session) => {
                    if opened.send(Ok(())).is_ok() {
                        run(&mut driver, session, &mut desk).await;
                    }
                }
                // Whoever wanted to open it may be gone.
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        drop(local);
        // A name that is being looked up must not hold up whoever waits for our end.
        runtime.shutdown_background();
    };
    let thread = std::thread::Builder::new().name("store".into()).spawn(work).map_err(failed)?;
    answer.await.map_err(|_| StoreError::Closed)??;
    Ok((Store { commands, news: heard }, StoreThread(thread)))
}

async fn run<D: Driver>(driver: &mut D, mut session: D::Session, desk: &mut Desk) {
    loop {
        let cause = match driver.serve(session, desk).await {
            Ended::Closed => break,
            Ended::Lost(cause) => cause,
        };
        let lost = StoreError::Unavailable { place: driver.place(), source: cause };
        match connect_again(driver, desk, lost).await {
            Some(found) => session = found,
            None => break,
        }
    }
    // Far in the future for every doubt: nobody will look any more.
    driver.give_up(Instant::now() + PATIENCE);
}

/// Tries until it works. None: nobody is left who could ask.
async fn connect_again<D: Driver>(
    driver: &mut D,
    desk: &mut Desk,
    mut error: StoreError,
) -> Option<D::Session> {
    let (place, mut pause) = (driver.place(), PAUSE_MIN);
    loop {
        if let Some(before) = Instant::now().checked_sub(PATIENCE) {
            driver.give_up(before);
        }
        if !desk.wait_on(&place, &error) {
            return None;
        }
        match driver.connect(desk).await {
            Ok(session) => return Some(session),
            Err(again) => error = again,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
