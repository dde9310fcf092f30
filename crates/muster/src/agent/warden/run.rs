//! The warden's life: hear the agent, wait for deadlines and ends, kill and take away what `logic::warden` says.

use super::message::{Hold, Order};
use crate::agent::board::BoardReader;
use crate::agent::boot_timer::BootTimer;
use crate::agent::guardian::record;
use crate::agent::keeper::cgroup;
use crate::agent::keeper::message::LINE_MAX_BYTES;
use crate::cli::Exit;
use crate::readable::{Lines, Readable};
use crate::resource::Doing;
use logic::lease::Span;
use logic::machine::Machine;
use logic::time::Time;
use logic::warden::{RunId, Warden, WardenInput as Input, WardenOutput as Output, WardenTold as Told};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;
use std::task::Poll;
use tokio::signal::unix::SignalKind;
use tokio::task::JoinSet;

/// Orders that are heard at once. 1,000: more than a pipe holds; who talks without end is not heard out.
const ORDERS_MAX: usize = 1_000;

/// Looks after a node's groups until the agent is gone and nothing of them is left.
pub fn ward() -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let warded = runtime.and_then(|runtime| {
        let warded = runtime.block_on(live());
        // Disks that hang are not waited for.
        runtime.shutdown_background();
        warded
    });
    match warded {
        Ok(()) => Exit::Yes,
        Err(error) => {
            eprintln!("muster warden: could not be set up: {error}");
            Exit::OurFault
        }
    }
}

async fn live() -> io::Result<()> {
    // As a guardian: in a session of its own, and deaf to what is said to all processes of a service.
    let _ = rustix::process::setsid();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        drop(tokio::signal::unix::signal(kind)?);
    }
    // Not called as the others are: who ends those by name leaves it to end the rest. It is a name for people otherwise.
    let _ = rustix::thread::set_name(c"warden");
    let board = BoardReader::receive(io::stdin().as_fd())?;
    let orders = Lines::new(io::stdin().as_fd().try_clone_to_owned()?, LINE_MAX_BYTES)?;
    Ward::new(orders, board)?.run().await
}

/// A run that is held, and its guardian; None: it had ended before.
struct Held {
    hold: Hold,
    guardian: Option<Rc<Readable>>,
}

struct Ward {
    machine: Warden,
    board: BoardReader,
    timer: BootTimer,
    /// None: the agent is gone.
    orders: Option<Lines>,
    held: BTreeMap<RunId, Held>,
    /// Of guardians.
    ends: BTreeMap<RunId, Doing<'static, ()>>,
    clearing: JoinSet<RunId>,
}

enum Turn {
    Orders(Option<Vec<u8>>),
    GuardianEnded(RunId),
    Cleared(Option<RunId>),
    Due,
}

impl Ward {
    fn new(orders: Lines, board: BoardReader) -> io::Result<Self> {
        Ok(Self {
            board,
            machine: Warden::default(),
            timer: BootTimer::new()?,
            orders: Some(orders),
            held: BTreeMap::new(),
            ends: BTreeMap::new(),
            clearing: JoinSet::new(),
        })
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            self.timer.set(self.machine.wake_at())?;
            // All only wait, or lose nothing. Orders come first: after a pause of this process the newest deadlines count.
            let turn = tokio::select! {
                biased;
                line = next(&mut self.orders) => Turn::Orders(line),
                run = first_ended(&mut self.ends) => Turn::GuardianEnded(run),
                Some(run) = self.clearing.join_next() => Turn::Cleared(run.ok()),
                () = self.timer.ready() => Turn::Due,
            };
            let inputs = match turn {
                Turn::Orders(line) => self.hear(line),
                Turn::GuardianEnded(run) => vec![Input::GuardianEnded { run }],
                Turn::Cleared(Some(run)) => {
                    self.held.remove(&run);
                    vec![Input::Cleared { run }]
                }
                Turn::Cleared(None) => Vec::new(),
                Turn::Due => vec![Input::Tick],
            };
            // First how long the lease lasts by now: what was known of it means nothing.
            let deadlines = Input::Told(self.deadlines());
            for input in std::iter::once(deadlines).chain(inputs) {
                for output in self.machine.step(BootTimer::now(), input) {
                    match output {
                        Output::Finished => return Ok(()),
                        output => self.carry_out(output),
                    }
                }
            }
        }
    }

    /// This line and all that are there already.
    fn hear(&mut self, first: Option<Vec<u8>>) -> Vec<Input> {
        let mut lines = Vec::from_iter(first);
        let mut is_gone = lines.is_empty();
        while let Some(orders) = self.orders.as_mut().filter(|_| !is_gone && lines.len() < ORDERS_MAX) {
            match orders.next_now() {
                Ok(line) => lines.push(line),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => is_gone = true,
            }
        }
        let mut told = Vec::new();
        for line in lines {
            match serde_json::from_slice(&line) {
                Ok(Order::Hold(hold)) => told.push(self.hold(hold)),
                Ok(Order::Spans(runs)) => {
                    for (run, span) in runs {
                        if let Some(held) = self.held.get_mut(&RunId(run)) {
                            held.hold.span = span;
                        }
                    }
                }
                Ok(Order::Forget(run)) => {
                    self.held.remove(&RunId(run));
                    self.ends.remove(&RunId(run));
                    told.push(Told::Forgotten { run: RunId(run) });
                }
                // An agent that talks nonsense is as good as gone.
                Err(_) => is_gone = true,
            }
        }
        let mut inputs = vec![Input::Told(told)];
        if is_gone {
            self.orders = None;
            inputs.push(Input::AgentGone);
        }
        inputs
    }

    fn deadlines(&self) -> Vec<Told> {
        let (lease, held) = (self.board.read(), self.held.iter());
        held.map(|(run, held)| Told::Until { run: *run, until: until(lease, held.hold.span) }).collect()
    }

    fn hold(&mut self, hold: Hold) -> Told {
        let (run, until) = (RunId(hold.run), until(self.board.read(), hold.span));
        // One that has ended meanwhile is gone for sure.
        let guardian = Pid::from_raw(hold.guardian).map(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK));
        let guardian = guardian.and_then(Result::ok).and_then(|guardian| Readable::watch(guardian).ok());
        let guardian = guardian.map(Rc::new);
        let end = guardian.clone();
        self.ends.insert(
            run,
            Box::pin(async move {
                if let Some(guardian) = end {
                    guardian.ready().await;
                }
            }),
        );
        self.held.insert(run, Held { hold, guardian });
        Told::Held { run, until }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::KillProcesses { run } => {
                if let Some(held) = self.held.get(&run) {
                    cgroup::kill(&held.hold.cgroup);
                }
            }
            Output::KillGuardian { run } => {
                if let Some(guardian) = self.held.get(&run).and_then(|held| held.guardian.as_ref()) {
                    warn("a guardian hangs without its agent, and is killed");
                    // Fails only if it is gone.
                    let _ = pidfd_send_signal(guardian, Signal::KILL);
                }
            }
            Output::Clear { run } => {
                let Some(held) = self.held.get(&run) else { return };
                let hold = held.hold.clone();
                self.clearing.spawn_blocking(move || {
                    clear(&hold.lock);
                    cgroup::remove(&hold.cgroup);
                    // The last one clears up for the agent.
                    hold.cgroup.parent().map(cgroup::remove);
                    run
                });
            }
            Output::Finished => {}
        }
    }
}

/// When what is held by a span ends. Another one has ended already.
fn until(lease: Span, held_by: Option<u64>) -> Option<Time> {
    held_by.map(|span| lease.lasts(span).unwrap_or_default())
}

/// Takes away what is no process. Where somebody holds the group already, that is theirs: an agent after ours.
fn clear(lock: &Path) {
    match record::try_lock(lock) {
        Ok(Some(file)) => {
            if let Some(left) = record::undo(&file) {
                // The next agent tries again, and says so.
                warn(&left.why);
            }
        }
        Ok(None) => {}
        Err(error) => warn(&format!("what a group has left cannot be seen: {error}")),
    }
}

/// For the agent's log; nobody reads it once the agent is gone.
fn warn(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// May be cancelled.
async fn next(orders: &mut Option<Lines>) -> Option<Vec<u8>> {
    match orders {
        Some(orders) => orders.next().await,
        None => pending().await,
    }
}

/// Waits for the end of any guardian, which is told once. May be cancelled.
async fn first_ended(ends: &mut BTreeMap<RunId, Doing<'static, ()>>) -> RunId {
    let run = poll_fn(|context| {
        let ended =
            ends.iter_mut().find_map(|(run, end)| end.as_mut().poll(context).is_ready().then_some(*run));
        ended.map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    ends.remove(&run);
    run
}
