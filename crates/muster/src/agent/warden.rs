//! The process that ends groups whose guardian does not, while the agent does not either: killed, or stopped, both of them.
//!
//! One for a node, started with its first group, where the machine has control groups: they are how it finds processes that it
//! has not started. What it does when is `logic::warden`; it is told of guardians by lines on its input, which
//! end with the agent, and sees the lease on the board. Its process is called `warden`, so that who ends all processes called `muster` leaves it, which then ends
//! what those have left.
//! Here: the agent's side. It tells what has changed, not each change, and starts another one where one has ended.

mod message;
mod run;

pub use run::ward;

use super::board::Board;
use super::companion::spawn;
use super::orphans::Children;
use crate::readable::{Lines, Readable};
use message::{Hold, Order};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long it may take to read what is told. A working one needs milliseconds, and its pipe holds minutes of it.
const READ_WAIT: Duration = Duration::from_secs(3);
/// Pause before another one is started.
const START_AGAIN: Duration = Duration::from_secs(1);
/// How long its end is waited for when nothing is held any more.
const END_WAIT: Duration = Duration::from_secs(1);

/// What it shall know.
#[derive(Debug, Default)]
struct Known {
    held: RefCell<BTreeMap<u64, Hold>>,
    runs: Cell<u64>,
    is_ending: Cell<bool>,
    changed: Notify,
}

#[derive(Debug)]
pub struct Warden {
    known: Rc<Known>,
    task: RefCell<Option<JoinHandle<()>>>,
}

/// One run of a group that it looks after.
#[derive(Debug)]
pub struct Held {
    known: Rc<Known>,
    run: u64,
}

impl Warden {
    /// Its process is started once there is something to hold.
    pub fn start(children: Rc<Children>, board: Rc<Board>) -> Self {
        let known = Rc::<Known>::default();
        let task = tokio::task::spawn_local(serve(known.clone(), children, board));
        Self { known, task: RefCell::new(Some(task)) }
    }

    /// From now on it looks after this guardian's group, which has no deadline yet.
    pub fn hold(&self, guardian: i32, cgroup: PathBuf, lock: PathBuf) -> Held {
        let run = self.known.runs.get() + 1;
        self.known.runs.set(run);
        self.known.held.borrow_mut().insert(run, Hold { run, guardian, cgroup, lock, span: None });
        self.known.changed.notify_one();
        Held { known: self.known.clone(), run }
    }

    /// It hears no more; what is held still ends as if the agent was gone.
    pub async fn end(&self) {
        self.known.is_ending.set(true);
        self.known.changed.notify_one();
        let task = self.task.take();
        if let Some(task) = task {
            // Fails only if it has panicked, which was told.
            let _ = task.await;
        }
    }
}

impl Held {
    /// Of the lease, with which it ends; None: it does not.
    pub fn span(&self, span: Option<u64>) {
        if let Some(hold) = self.known.held.borrow_mut().get_mut(&self.run) {
            hold.span = span;
        }
        self.known.changed.notify_one();
    }

    /// No process of it is left.
    pub fn forget(&self) {
        self.known.held.borrow_mut().remove(&self.run);
        self.known.changed.notify_one();
    }
}

/// The process, and what it was told.
struct Running {
    process: Child,
    pid: i32,
    pidfd: Readable,
    orders: UnixStream,
    warnings: Lines,
    has_warnings: bool,
    told: BTreeMap<u64, Hold>,
}

impl Running {
    fn start(children: &Children, board: &Board) -> io::Result<Self> {
        let (process, pidfd, orders, warnings) = spawn("warden", Some(board))?;
        let pid = process.id().cast_signed();
        children.add_keeper(pid);
        Ok(Self { process, pid, pidfd, orders, warnings, has_warnings: true, told: BTreeMap::new() })
    }

    /// Tells what has changed. Not to be cancelled: of a line of which it has read a part it understands nothing.
    async fn tell(&mut self, held: BTreeMap<u64, Hold>) -> io::Result<()> {
        let lines = differences(&self.told, &held);
        self.told = held;
        if lines.is_empty() {
            return Ok(());
        }
        match tokio::time::timeout(READ_WAIT, self.orders.write_all(&lines)).await {
            Ok(written) => written,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Until it has ended, for a bounded time if it is to end by itself. Its successor holds what it held.
    async fn end(mut self, children: &Children, wait: Option<Duration>) {
        drop(self.orders);
        let is_gone = match wait {
            Some(wait) => tokio::time::timeout(wait, self.pidfd.ready()).await.is_ok(),
            None => self.process.kill().is_ok(),
        };
        if is_gone {
            // Killed or gone: the kernel needs no time worth speaking of.
            let _ = self.process.wait();
            children.remove_keeper(self.pid);
        }
    }
}

/// The orders that lead from what was told to what is held.
fn differences(told: &BTreeMap<u64, Hold>, held: &BTreeMap<u64, Hold>) -> Vec<u8> {
    let forget = told.keys().filter(|run| !held.contains_key(run)).map(|run| Order::Forget(*run));
    let hold = held.values().filter(|hold| !told.contains_key(&hold.run)).cloned().map(Order::Hold);
    let is_moved = |hold: &&Hold| told.get(&hold.run).is_some_and(|before| before.span != hold.span);
    let spans: Vec<_> = held.values().filter(is_moved).map(|hold| (hold.run, hold.span)).collect();
    let spans = (!spans.is_empty()).then_some(Order::Spans(spans));
    let mut lines = Vec::new();
    for order in forget.chain(hold).chain(spans) {
        lines.extend(serde_json::to_vec(&order).expect("plain texts and numbers always become JSON"));
        lines.push(b'\n');
    }
    lines
}

enum Turn {
    Changed,
    Ended,
    Warning(Option<Vec<u8>>),
}

/// Tells the process all that is to be known; starts it, and another one where it has ended.
async fn serve(known: Rc<Known>, children: Rc<Children>, board: Rc<Board>) {
    let mut running: Option<Running> = None;
    loop {
        // All only wait, or lose nothing.
        let turn = match &mut running {
            None => {
                known.changed.notified().await;
                Turn::Changed
            }
            Some(running) => tokio::select! {
                biased;
                () = running.pidfd.ready() => Turn::Ended,
                line = running.warnings.next(), if running.has_warnings => Turn::Warning(line),
                () = known.changed.notified() => Turn::Changed,
            },
        };
        let held = known.held.borrow().clone();
        if let Turn::Warning(line) = &turn
            && let Some(running) = &mut running
        {
            running.has_warnings = line.is_some();
            if let Some(line) = line {
                tracing::warn!("{}", String::from_utf8_lossy(line).trim_end());
            }
        }
        if known.is_ending.get() {
            if let Some(running) = running {
                running.end(&children, Some(END_WAIT)).await;
            }
            return;
        }
        if let Some(mut process) = running.take() {
            let is_there = !matches!(turn, Turn::Ended) && process.tell(held.clone()).await.is_ok();
            if is_there {
                running = Some(process);
                continue;
            }
            tracing::warn!(
                pid = process.pid,
                "the warden of this node's groups has ended or hangs; another one is started"
            );
            process.end(&children, None).await;
            tokio::time::sleep(START_AGAIN).await;
        }
        if !held.is_empty() {
            running = start(&known, &children, &board).await;
        }
    }
}

/// None: it could not be started, and is tried again.
async fn start(known: &Known, children: &Children, board: &Board) -> Option<Running> {
    let held = known.held.borrow().clone();
    let mut process = match Running::start(children, board) {
        Ok(process) => process,
        Err(error) => {
            tracing::warn!(%error, "groups have no warden for now: its process cannot be started");
            tokio::time::sleep(START_AGAIN).await;
            known.changed.notify_one();
            return None;
        }
    };
    // One that does not read is noticed in the next turn.
    let _ = process.tell(held).await;
    Some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(run: u64, span: Option<u64>) -> (u64, Hold) {
        (run, Hold { run, guardian: 7, cgroup: "/c".into(), lock: "/l".into(), span })
    }

    fn told(before: &[(u64, Hold)], after: &[(u64, Hold)]) -> Vec<Order> {
        let lines = differences(&before.iter().cloned().collect(), &after.iter().cloned().collect());
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("it is an order")).collect()
    }

    #[test]
    fn only_what_has_changed_is_told_and_spans_in_one_line() {
        let before = [hold(1, Some(5)), hold(2, Some(5)), hold(3, None), hold(4, Some(5))];
        let after = [hold(2, Some(9)), hold(3, None), hold(4, Some(9)), hold(6, Some(9))];
        let spans = vec![(2, Some(9)), (4, Some(9))];
        let orders = [Order::Forget(1), Order::Hold(hold(6, Some(9)).1), Order::Spans(spans)];
        assert_eq!(told(&before, &after), orders);
        assert_eq!(told(&after, &after), []);
    }
}
