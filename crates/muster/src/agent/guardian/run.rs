//! The guardian's life: hold the group until the deadline, the agent's word or its end, and leave nothing behind.

use super::message::{Hold, News, Order, Task, Verb};
use super::record::{self, Record};
use super::tools::{Programs, Tools, tell};
use crate::agent::keeper::log::Log;
use crate::agent::keeper::message::LINE_MAX_BYTES;
use crate::agent::keeper::{cgroup, descendants};
use crate::cli::Exit;
use crate::readable::{Lines, Readable};
use crate::resource::{self, Doing, Resource};
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::Poll;
use tokio::signal::unix::SignalKind;

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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
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
    // Waits for a guardian before us, of an agent that was killed: it is about to end.
    let lock = record::lock(&hold.lock).map_err(GuardianError::Lock)?;
    // What one has left that was killed beside its agent.
    record::undo(&lock).into_iter().for_each(|text| tell(&News::Warning { text }));
    let guardian = Guardian::new(hold, lock).map_err(GuardianError::Setup)?;
    guardian.run(orders).await.map_err(GuardianError::Setup)
}

/// The next order; None when the agent is gone or talks nonsense, which is as bad. May be cancelled.
async fn next_order(orders: &mut Lines) -> Option<Order> {
    serde_json::from_slice(&orders.next().await?).ok()
}

/// A resource that was begun, with its way to the guardian.
struct Begun {
    resource: Rc<dyn Resource>,
    tools: Rc<Tools>,
    /// By its own means, and in good order: nothing of it is left.
    is_stopped: bool,
}

struct Guardian {
    hold: Hold,
    lock: File,
    record: Record,
    has_cgroup: bool,
    deadline: Readable,
    has_deadline: Rc<Cell<bool>>,
    programs: Rc<Programs>,
    begun: BTreeMap<usize, Begun>,
    /// The action that is under way: its number, its resource, and whether it starts it.
    action: Option<Doing<'static, Acted>>,
    watches: BTreeMap<usize, Doing<'static, String>>,
}

struct Acted {
    step: u64,
    index: usize,
    verb: Verb,
    result: Result<(), String>,
}

enum Turn {
    Deadline,
    Order(Option<Order>),
    AgentGone,
    Children,
    Output,
    Acted(Acted),
    Lost(usize, String),
}

impl Guardian {
    fn new(hold: Hold, lock: File) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let has_cgroup = hold.cgroup.as_deref().is_some_and(cgroup::create);
        let log = Log::new(hold.log.clone(), hold.log_size_max_bytes, hold.log_files_max);
        let programs = Programs::new(hold.cgroup.clone().filter(|_| has_cgroup), log)?;
        Ok(Self {
            hold,
            lock,
            record: Record::default(),
            has_cgroup,
            deadline: Readable::watch(timer)?,
            has_deadline: Rc::default(),
            programs: Rc::new(programs),
            begun: BTreeMap::new(),
            action: None,
            watches: BTreeMap::new(),
        })
    }

    async fn run(mut self, mut orders: Lines) -> io::Result<()> {
        // Watched beside stdin: a process that inherited the agent's end of it must not keep us waiting.
        let agent = rustix::process::getppid().map(|agent| pidfd_open(agent, PidfdFlags::NONBLOCK));
        let agent = agent.and_then(Result::ok).map(Readable::watch).transpose()?;
        let mut children = tokio::signal::unix::signal(SignalKind::child())?;
        loop {
            // All branches only wait for readiness, or lose nothing: `next_order`, `recv`, and what is kept in `self`.
            let turn = tokio::select! {
                biased;
                () = self.deadline.ready() => Turn::Deadline,
                order = next_order(&mut orders) => Turn::Order(order),
                () = ready(agent.as_ref()) => Turn::AgentGone,
                _ = children.recv() => Turn::Children,
                () = self.programs.have_said_something() => Turn::Output,
                (index, why) = first_lost(&mut self.watches) => Turn::Lost(index, why),
                acted = finished(&mut self.action) => Turn::Acted(acted),
            };
            match turn {
                Turn::Deadline | Turn::AgentGone | Turn::Order(None | Some(Order::End)) => break,
                // A second one is nonsense: nobody is in charge any more.
                Turn::Order(Some(Order::Hold(_))) => break,
                Turn::Order(Some(Order::Until { since_boot_ms })) => self.set_deadline(since_boot_ms)?,
                Turn::Order(Some(Order::Do(task))) => self.act(*task),
                Turn::Order(Some(Order::Answer)) => tell(&News::Here),
                Turn::Children => self.programs.reap(),
                Turn::Output => self.programs.take_output(),
                Turn::Lost(index, why) => {
                    self.watches.remove(&index);
                    tell(&News::Lost { index, why });
                }
                Turn::Acted(acted) => self.conclude(acted),
            }
        }
        self.end();
        Ok(())
    }

    fn set_deadline(&self, since_boot_ms: Option<u64>) -> io::Result<()> {
        // A time that is over fires at once, and 0 would mean never.
        let at_ms = since_boot_ms.map_or(0, |at_ms| at_ms.max(1)) as i64;
        let at = Timespec { tv_sec: at_ms / 1_000, tv_nsec: at_ms % 1_000 * 1_000_000 };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: never, it_value: at };
        timerfd_settime(&self.deadline, TimerfdTimerFlags::ABSTIME, &spec)?;
        self.has_deadline.set(since_boot_ms.is_some());
        self.begun.values().for_each(|begun| begun.resource.renew(&begun.tools));
        Ok(())
    }

    /// Begins an action; what the last one has not ended is dropped first, with what it runs.
    fn act(&mut self, task: Task) {
        self.action = None;
        let Task { step, index, verb, resource: settings, environment } = task;
        self.watches.remove(&index);
        if verb == Verb::Start || !self.begun.contains_key(&index) {
            let noted = self.record.add(&self.lock, &settings);
            let noted =
                noted.map_err(|error| format!("cannot be noted in {}: {error}", self.hold.lock.display()));
            let resource = match noted.and_then(|()| resource::make(&settings)) {
                Ok(resource) => resource,
                Err(why) => return tell(&News::Done { step, error: Some(why) }),
            };
            let tools = Tools::new(self.programs.clone(), settings, environment, self.has_deadline.clone());
            self.begun.insert(index, Begun { resource, tools: Rc::new(tools), is_stopped: false });
        }
        let Some(Begun { resource, tools, .. }) = self.begun.get(&index) else { return };
        let (resource, tools) = (resource.clone(), tools.clone());
        self.action = Some(Box::pin(async move {
            let result = match verb {
                Verb::Start => resource.start(&tools).await,
                Verb::Stop => resource.stop(&tools).await,
            };
            Acted { step, index, verb, result }
        }));
    }

    fn conclude(&mut self, acted: Acted) {
        let Acted { step, index, verb, result } = acted;
        match (verb, &result, self.begun.get_mut(&index)) {
            (Verb::Start, Ok(()), Some(begun)) => {
                let (resource, tools) = (begun.resource.clone(), begun.tools.clone());
                self.watches.insert(index, Box::pin(async move { resource.watch(&tools).await }));
            }
            (Verb::Stop, Ok(()), Some(begun)) => begun.is_stopped = true,
            (Verb::Start | Verb::Stop, _, _) => {}
        }
        tell(&News::Done { step, error: result.err() });
    }

    /// The kill path: takes everything away, and goes when it is gone.
    fn end(mut self) {
        // First what other machines see of it, which takes microseconds.
        for begun in self.begun.values().filter(|begun| !begun.is_stopped) {
            report(begun, begun.resource.cut());
        }
        self.action = None;
        self.watches.clear();
        if self.has_cgroup {
            self.hold.cgroup.as_deref().map(cgroup::kill);
        }
        descendants::kill_and_reap_all();
        self.programs.take_output();
        for begun in self.begun.values().rev().filter(|begun| !begun.is_stopped) {
            report(begun, begun.resource.release());
        }
        // A record that stays names what is not there any more, and taking that away again does nothing.
        let _ = record::clear(&self.lock);
        if self.has_cgroup
            && let Some(group) = &self.hold.cgroup
        {
            cgroup::remove(group);
            // Fails while there are other groups. If the agent is gone, the last one clears up for it.
            group.parent().map(cgroup::remove);
        }
    }
}

fn report(begun: &Begun, taken: Result<(), String>) {
    if let Err(why) = taken {
        begun.tools.warn(format!("it {why}"));
    }
}

/// Ends when some resource is not there any more.
async fn first_lost(watches: &mut BTreeMap<usize, Doing<'static, String>>) -> (usize, String) {
    poll_fn(|context| {
        for (index, watch) in watches.iter_mut() {
            if let Poll::Ready(why) = watch.as_mut().poll(context) {
                return Poll::Ready((*index, why));
            }
        }
        Poll::Pending
    })
    .await
}

/// Ends with the action that is under way.
async fn finished(action: &mut Option<Doing<'static, Acted>>) -> Acted {
    let Some(under_way) = action else { return std::future::pending().await };
    let acted = under_way.await;
    *action = None;
    acted
}

async fn ready(file: Option<&Readable>) {
    match file {
        Some(file) => file.ready().await,
        None => std::future::pending().await,
    }
}
