//! Takes this manager's part in the election of the one that leads: carries out what `logic::term` decides.
//!
//! One task on the manager's own thread, so that a manager that hangs loses the lead. Each call of the store has a
//! deadline. Whoever acts as leader asks its `Lease` right before each act: a process may be paused anywhere.
//! Not here: what a leader does (see `term`), and what redirects to it (see `waiting`).

use super::heartbeats::Terms;
use crate::clock::BootClock;
use logic::lease::Profile;
use logic::machine::Machine;
use logic::model::{Check, Read, Refused, Txn};
use logic::term::{Elector, Input, News, Outcome, Output, PREFIX};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use wire::id::{ManagerName, NodeName, TermNumber};

/// Inputs that may wait. 64: a few calls, a watch and who asks; senders wait beyond.
const INPUTS_MAX: usize = 64;
/// Pause after a watch has failed.
const WATCH_AGAIN: Duration = Duration::from_millis(500);
/// How long a manager that ends waits for its word that nobody needs to wait for it. Longer than a slow sync; the others
/// only wait a little longer without it.
const RELEASE_WAIT: Duration = Duration::from_secs(1);

/// What this manager is at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// `leader` is who was last seen to lead, if anybody was.
    Follows { leader: Option<(TermNumber, NodeName)> },
    /// May act, as long as its lease holds.
    Leads { term: TermNumber, fence: Check },
}

struct Shared {
    elector: RefCell<Elector>,
    clock: BootClock,
    /// What managers tell each other of terms.
    terms: Terms,
    /// A release is under way: its end is told.
    is_leaving: Cell<bool>,
    left: Notify,
}

/// The right to act as leader in one term.
#[derive(Clone)]
pub struct Lease(Option<Term>);

#[derive(Clone)]
struct Term {
    shared: Rc<Shared>,
    number: TermNumber,
    fence: Check,
}

impl Lease {
    /// Of a manager that has its store to itself.
    pub fn always() -> Self {
        Self(None)
    }

    /// Whether this manager may act at this moment.
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|term| {
            let now = term.shared.clock.now();
            term.shared.elector.borrow().acting(now) == Some(term.number)
        })
    }

    pub fn fence(&self) -> Option<&Check> {
        self.0.as_ref().map(|term| &term.fence)
    }

    /// None: of a manager that has its store to itself.
    pub fn term(&self) -> Option<TermNumber> {
        self.0.as_ref().map(|term| term.number)
    }
}

/// A running part in the election. Ends when it is dropped; the others then wait as for one that was killed.
pub struct Election {
    shared: Rc<Shared>,
    inputs: mpsc::Sender<Input>,
    standing: watch::Receiver<Standing>,
    task: JoinHandle<()>,
}

impl Drop for Election {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Election {
    /// Must be called within a `LocalSet`. The error says that the system gave no random number.
    pub fn start(
        store: Store,
        node: &NodeName,
        profile: Profile,
        terms: Terms,
    ) -> Result<Self, getrandom::Error> {
        let mut run = [0; 8];
        getrandom::fill(&mut run)?;
        let manager = ManagerName(node.0.clone());
        let elector = RefCell::new(Elector::new(manager, u64::from_be_bytes(run), profile));
        let clock = BootClock::of_process();
        let shared =
            Rc::new(Shared { elector, clock, terms, is_leaving: Cell::new(false), left: Notify::new() });
        let (inputs, inbox) = mpsc::channel(INPUTS_MAX);
        let (standing_in, standing) = watch::channel(Standing::Follows { leader: None });
        let limit = Duration::from_millis(profile.hold_ms);
        let shell = Shell {
            shared: shared.clone(),
            store,
            inputs: inputs.clone(),
            standing: standing_in,
            limit,
            calls: JoinSet::new(),
        };
        let task = tokio::task::spawn_local(shell.run(inbox));
        Ok(Self { shared, inputs, standing, task })
    }

    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// The lease of a term that this manager was told to lead.
    pub fn lease(&self, number: TermNumber, fence: Check) -> Lease {
        Lease(Some(Term { shared: self.shared.clone(), number, fence }))
    }

    /// Waits until this manager does not lead in `term` any more. Safe to cancel.
    pub async fn over(&self, term: TermNumber) {
        let mut standing = self.standing.clone();
        let is_over = |standing: &Standing| match standing {
            Standing::Leads { term: present, .. } => *present != term,
            Standing::Follows { .. } => true,
        };
        // Its task ends only with this.
        drop(standing.wait_for(is_over).await);
    }

    /// Everything that was done as leader in this term has ended.
    pub async fn stopped(&self, term: TermNumber) {
        // Its task ends only with this.
        drop(self.inputs.send(Input::Stopped { term }).await);
    }

    /// Lets another manager lead, if one is there. Everything done in `term` must have ended before.
    pub async fn give_up(&self, term: TermNumber) {
        drop(self.inputs.send(Input::Resign).await);
        self.stopped(term).await;
    }

    /// The same for a manager that ends: waits a moment until the others know.
    pub async fn leave(&self, term: TermNumber) {
        self.shared.is_leaving.set(true);
        self.give_up(term).await;
        if tokio::time::timeout(RELEASE_WAIT, self.shared.left.notified()).await.is_err() {
            tracing::info!("the other managers could not be told in time that this one ends");
        }
    }
}

/// Carries out what the elector decides.
struct Shell {
    shared: Rc<Shared>,
    store: Store,
    inputs: mpsc::Sender<Input>,
    standing: watch::Sender<Standing>,
    /// Of one call.
    limit: Duration,
    calls: JoinSet<()>,
}

impl Shell {
    async fn run(mut self, mut inbox: mpsc::Receiver<Input>) {
        let mut watching = JoinSet::new();
        watching.spawn_local(follow_changes(self.store.clone(), self.inputs.clone()));
        watching.spawn_local(follow_terms(self.shared.terms.heard(), self.inputs.clone()));
        loop {
            let wake_at = self.shared.elector.borrow().wake_at();
            let input = match wake_at {
                // `recv` loses nothing when the timer wins: it takes an input only when it returns one.
                Some(at) => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(self.shared.clock.instant(at)) => Input::Tick,
                    input = inbox.recv() => input.expect("this task holds a sender"),
                },
                None => inbox.recv().await.expect("this task holds a sender"),
            };
            let now = self.shared.clock.now();
            let outputs = self.shared.elector.borrow_mut().step(now, input);
            self.tell_terms();
            outputs.into_iter().for_each(|output| self.carry_out(output));
            while self.calls.try_join_next().is_some() {}
        }
    }

    /// Before anything is carried out: who is to stop grants nothing more when others are told so.
    fn tell_terms(&self) {
        let elector = self.shared.elector.borrow();
        self.shared.terms.know(elector.highest());
        self.shared.terms.hold(elector.holding());
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Read { ask } => {
                let (store, inputs, limit) = (self.store.clone(), self.inputs.clone(), self.limit);
                self.calls.spawn_local(async move {
                    let read = tokio::time::timeout(limit, store.read(Read::Prefix(PREFIX.into()))).await;
                    let snapshot = read.ok().and_then(Result::ok);
                    drop(inputs.send(Input::Read { ask, snapshot }).await);
                });
            }
            Output::Commit { attempt, txn } => self.commit(attempt, txn),
            Output::Lead { term, fence, .. } => {
                self.standing.send_if_modified(|standing| {
                    let leads = Standing::Leads { term, fence };
                    let is_new = *standing != leads;
                    if is_new {
                        tracing::info!(%term, "this manager leads");
                        *standing = leads;
                    }
                    is_new
                });
            }
            Output::Stop { term, why } => {
                tracing::warn!(%term, %why, "this manager leads no longer");
                self.standing.send_replace(Standing::Follows { leader: None });
            }
            Output::Tell(News::Follows { term, manager }) => {
                tracing::info!(%term, leader = %manager, "another manager leads");
                let leader = Some((term, NodeName(manager.0)));
                self.standing.send_if_modified(|standing| match standing {
                    // It is told that it must stop by itself.
                    Standing::Leads { .. } => false,
                    Standing::Follows { leader: known } => {
                        *known = leader;
                        true
                    }
                });
            }
            Output::Tell(News::WentBack { known }) => tracing::warn!(
                %known,
                "the store is older than what this manager knew: it was put back, or somebody changed it"
            ),
            Output::Tell(News::Unreadable) => tracing::error!(
                "what the store says of who leads cannot be read, so nobody takes over: somebody has changed {PREFIX}record"
            ),
        }
    }

    fn commit(&mut self, attempt: u64, txn: Txn) {
        let (store, inputs, limit) = (self.store.clone(), self.inputs.clone(), self.limit);
        let follows = matches!(*self.standing.borrow(), Standing::Follows { .. });
        // After the resignation nothing but the release is committed.
        let leaving = (self.shared.is_leaving.get() && follows).then(|| self.shared.clone());
        self.calls.spawn_local(async move {
            let outcome = match tokio::time::timeout(limit, store.commit(txn)).await {
                Ok(Ok(revision)) => Outcome::Done { revision },
                Ok(Err(StoreError::Refused(Refused::CheckFailed { .. }))) => Outcome::Refused,
                Ok(Err(StoreError::Unknown { .. } | StoreError::Closed)) | Err(_) => Outcome::Unknown,
                // All others promise that nothing has changed.
                Ok(Err(_)) => Outcome::NotDone,
            };
            drop(inputs.send(Input::Committed { attempt, outcome }).await);
            if let Some(shared) = leaving {
                shared.left.notify_one();
            }
        });
    }
}

async fn follow_changes(store: Store, inputs: mpsc::Sender<Input>) {
    let mut watch = store.watch(PREFIX, 0);
    loop {
        match watch.next().await {
            Ok(changes) => drop(inputs.send(Input::Changed(changes)).await),
            // Nothing depends on news; the elector also looks by itself.
            Err(error) => {
                tracing::debug!(%error, "changes of who leads are not told at this moment");
                tokio::time::sleep(WATCH_AGAIN).await;
            }
        }
    }
}

/// Other managers may know of terms that the store has forgotten.
async fn follow_terms(mut heard: watch::Receiver<TermNumber>, inputs: mpsc::Sender<Input>) {
    heard.mark_changed();
    // Its sender is where the inputs' receiver is.
    while heard.changed().await.is_ok() {
        let term = *heard.borrow_and_update();
        drop(inputs.send(Input::Heard { term }).await);
    }
}
