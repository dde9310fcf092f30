//! The guardian's life: hold the group until the deadline, the agent's word or its end, and leave nothing behind.

use super::message::{Hold, News, Order, Task, Verb};
use super::record::{self, Book, Page};
use super::tools::{Programs, Tools, tell};
use super::writer::Writer;
use crate::agent::board::BoardReader;
use crate::agent::boot_timer::BootTimer;
use crate::agent::keeper::log::Log;
use crate::agent::keeper::message::LINE_MAX_BYTES;
use crate::agent::keeper::{cgroup, descendants};
use crate::cli::Exit;
use crate::readable::{Lines, Readable};
use crate::resource::{self, Doing, Resource};
use rustix::process::{PidfdFlags, pidfd_open};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;
use std::task::Poll;
use tokio::signal::unix::SignalKind;

/// What ends a guardian before it holds anything. Nothing runs; a retry may help.
#[derive(Debug, thiserror::Error)]
enum GuardianError {
    #[error("stdin must be a socket of an agent")]
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
        Ok(runtime) => {
            let guarded = runtime.block_on(live());
            // Looks at disks that hang are not waited for.
            runtime.shutdown_background();
            guarded
        }
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
    let board = BoardReader::receive(io::stdin().as_fd()).map_err(GuardianError::Stdin)?;
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(GuardianError::Stdin)?;
    let mut orders = Lines::new(stdin, LINE_MAX_BYTES).map_err(GuardianError::Stdin)?;
    let Some(Order::Hold(hold)) = next_order(&mut orders).await else { return Err(GuardianError::NoHold) };
    // Waits for a guardian before us, of an agent that was killed: it is about to end.
    let lock = record::lock(&hold.lock).map_err(GuardianError::Lock)?;
    // What one has left that was killed beside its agent. Nothing is begun beside what stays; the agent goes on trying.
    if let Some(left) = record::undo(&lock) {
        tell(&News::Left { why: left.why });
        return Ok(());
    }
    let guardian = Guardian::new(hold, lock, board).map_err(GuardianError::Setup)?;
    guardian.run(orders).await.map_err(GuardianError::Setup)
}

/// The next order; None when the agent is gone or talks nonsense, which is as bad. May be cancelled.
async fn next_order(orders: &mut Lines) -> Option<Order> {
    serde_json::from_slice(&orders.next().await?).ok()
}

/// A resource that may have been begun, with its way to the guardian.
#[derive(Clone)]
struct Begun {
    resource: Rc<dyn Resource>,
    tools: Rc<Tools>,
    /// Something of it may be there: it was begun, and not stopped in good order.
    is_here: Rc<Cell<bool>>,
}

impl Begun {
    /// It is noted before it is begun, for whoever comes after a guardian that was killed.
    async fn start(&self, book: &RefCell<Book>, lock: &Path) -> Result<(), String> {
        self.resource.may_start(&self.tools).await?;
        let page = book.borrow_mut().add(self.tools.settings());
        let noted = write(page).await;
        noted.map_err(|error| format!("cannot be noted in {}: {error}", lock.display()))?;
        self.is_here.set(true);
        self.resource.start(&self.tools).await
    }

    async fn stop(&self, book: &RefCell<Book>) -> Result<(), String> {
        self.resource.stop(&self.tools).await?;
        self.is_here.set(false);
        // What is noted too much is looked for once more, which does nothing.
        let page = book.borrow_mut().remove(self.tools.settings());
        let _ = write(page).await;
        Ok(())
    }
}

struct Guardian {
    hold: Hold,
    book: Rc<RefCell<Book>>,
    has_cgroup: bool,
    board: BoardReader,
    /// Of the node's lease, with which the group ends; None: it does not end by itself.
    span: Option<u64>,
    /// The end of the lease when the board was looked at last. It may last longer by now.
    deadline: BootTimer,
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
    MakeReady,
    Acted(Acted),
    Lost(usize, String),
}

impl Guardian {
    fn new(hold: Hold, lock: File, board: BoardReader) -> io::Result<Self> {
        let has_cgroup = hold.cgroup.as_deref().is_some_and(cgroup::create);
        let (log, size_max_bytes, files_max) =
            (hold.log.clone(), hold.log_size_max_bytes, hold.log_files_max);
        let log = Writer::start(move || Log::new(log, size_max_bytes, files_max))?;
        let programs = Programs::new(hold.cgroup.clone().filter(|_| has_cgroup), log)?;
        Ok(Self {
            book: Rc::new(RefCell::new(Book::new(lock, hold.epoch))),
            hold,
            has_cgroup,
            board,
            span: None,
            deadline: BootTimer::new()?,
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
                () = self.programs.miss_one() => Turn::MakeReady,
            };
            // Asked from the clock and not from the timer, whose news may come after those of others: nothing is begun late.
            if self.is_over()? {
                break;
            }
            match turn {
                Turn::AgentGone | Turn::Order(None | Some(Order::End)) => break,
                // It lasts longer by now.
                Turn::Deadline => {}
                // A second one is nonsense: nobody is in charge any more.
                Turn::Order(Some(Order::Hold(_))) => break,
                Turn::Order(Some(Order::Leased { span })) => self.hold_by(span)?,
                Turn::Order(Some(Order::Renewed)) => self.renew()?,
                Turn::Order(Some(Order::Do(task))) => self.act(*task),
                Turn::Order(Some(Order::Answer)) => tell(&News::Here),
                Turn::Children => self.programs.reap(),
                Turn::Output => self.programs.take_output(),
                Turn::MakeReady => self.programs.make_ready(),
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

    fn hold_by(&mut self, span: Option<u64>) -> io::Result<()> {
        self.span = span;
        self.has_deadline.set(span.is_some());
        self.renew()
    }

    fn renew(&mut self) -> io::Result<()> {
        self.look()?;
        // What is over is not renewed: the next turn ends it.
        if !self.deadline.is_over() {
            self.begun.values().for_each(|begun| begun.resource.renew(&begun.tools));
        }
        Ok(())
    }

    /// Looks how long the lease lasts by now. Another span than that which the group is held by has no time at all.
    fn look(&mut self) -> io::Result<()> {
        let until = self.span.map(|span| self.board.read().lasts(span).unwrap_or_default());
        self.deadline.set(until)
    }

    fn is_over(&mut self) -> io::Result<bool> {
        if self.deadline.is_over() {
            self.look()?;
        }
        Ok(self.deadline.is_over())
    }

    /// Begins an action; what the last one has not ended is dropped first, with what it runs.
    fn act(&mut self, task: Task) {
        self.action = None;
        let Task { step, index, verb, resource: settings, environment, is_handed_over } = task;
        self.watches.remove(&index);
        if verb == Verb::Start {
            let resource = match resource::make(&settings) {
                Ok(resource) => resource,
                Err(why) => return tell(&News::Done { step, error: Some(why) }),
            };
            let programs = self.programs.clone();
            let tools =
                Tools::new(programs, settings, environment, is_handed_over, self.has_deadline.clone());
            // What a start before has left is still to be taken away, if this one does not begin.
            let before = self.begun.remove(&index).is_some_and(|begun| begun.is_here.get());
            let is_here = Rc::new(Cell::new(before));
            self.begun.insert(index, Begun { resource, tools: Rc::new(tools), is_here });
        }
        let Some(begun) = self.begun.get(&index).cloned() else {
            // Nothing of it was begun, so nothing is to be stopped.
            return tell(&News::Done { step, error: None });
        };
        let (book, lock) = (self.book.clone(), self.hold.lock.clone());
        self.action = Some(Box::pin(async move {
            let result = match verb {
                Verb::Start => begun.start(&book, &lock).await,
                Verb::Stop if begun.is_here.get() => begun.stop(&book).await,
                // What is there is not ours.
                Verb::Stop => Ok(()),
            };
            Acted { step, index, verb, result }
        }));
    }

    fn conclude(&mut self, acted: Acted) {
        let Acted { step, index, verb, result } = acted;
        match (verb, &result, self.begun.get(&index)) {
            (Verb::Start, Ok(()), Some(begun)) => {
                let (resource, tools) = (begun.resource.clone(), begun.tools.clone());
                self.watches.insert(index, Box::pin(async move { resource.watch(&tools).await }));
            }
            (Verb::Start | Verb::Stop, _, _) => {}
        }
        tell(&News::Done { step, error: result.err() });
    }

    /// The kill path: takes everything away, and goes when it is gone, or says what is not.
    fn end(mut self) {
        // First what other machines see of it, which takes microseconds. Nothing is told before all processes are killed: the
        // agent may not read.
        let mut troubles: BTreeMap<usize, String> = BTreeMap::new();
        for (index, begun) in self.begun.iter().filter(|(_, begun)| begun.is_here.get()) {
            troubles.extend(begun.resource.cut().err().map(|why| (*index, why)));
        }
        self.action = None;
        self.watches.clear();
        if self.has_cgroup {
            self.hold.cgroup.as_deref().map(cgroup::kill);
        }
        descendants::kill_and_reap_all();
        self.programs.take_output();
        for (index, begun) in self.begun.iter().rev().filter(|(_, begun)| begun.is_here.get()) {
            tell(&News::Clearing);
            match (begun.resource.release(), troubles.contains_key(index)) {
                (Ok(()), false) => begun.is_here.set(false),
                (Ok(()), true) => {}
                (Err(why), _) => drop(troubles.insert(*index, why)),
            }
        }
        let left = self.begun.iter().filter_map(|(index, begun)| {
            Some(format!("{}: it {}", begun.tools.name(), troubles.get(index)?))
        });
        let left: Vec<String> = left.collect();
        for begun in self.begun.values().filter(|begun| !begun.is_here.get()) {
            // A record that names what is not there any more does no harm: taking that away again does nothing.
            let _ = self.book.borrow_mut().remove(begun.tools.settings()).write();
        }
        if self.has_cgroup
            && let Some(group) = &self.hold.cgroup
        {
            cgroup::remove(group);
            // Fails while there are other groups. If the agent is gone, the last one clears up for it.
            group.parent().map(cgroup::remove);
        }
        if !left.is_empty() {
            tell(&News::Left { why: left.join("; ") });
        }
        self.programs.finish_log();
    }
}

/// Off the event loop: a disk may take long, or hang.
async fn write(page: Page) -> io::Result<()> {
    tokio::task::spawn_blocking(move || page.write())
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
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
