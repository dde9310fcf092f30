//! Deadlines and other reasons to stop waiting, for all sessions of one data thread.
//!
//! Arming a deadline is a store into a cell: no timer is touched. One task per thread sleeps until the earliest
//! deadline that anybody has named since its last look, then looks at all. The clock is read once for each wake-up;
//! everything until the next one uses that reading. Times are microseconds of the thread's clock.
//! Promise: a wait ends within a millisecond of the runtime's timer after its deadline.

use crate::clock::Clock;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// Why a wait ended before what it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Deadline,
    /// The member that it waits for is lost.
    MemberLost,
    /// No connection to that member's machine comes about.
    Doubted,
    /// The router stops and the session has nothing to finish.
    Stopping,
}

#[derive(Debug)]
struct Wait {
    waker: Waker,
    deadline: Cell<u64>,
    /// Identity of the member whose answer it waits for; 0 for none.
    member: Cell<usize>,
    /// Since when.
    member_since: Cell<u64>,
    is_idle: Cell<bool>,
    signal: Cell<Option<Signal>>,
}

#[derive(Debug)]
pub struct Waits {
    clock: Clock,
    /// The newest reading of the clock.
    now_us: Cell<u64>,
    all: RefCell<Slab<Wait>>,
    /// No armed deadline is earlier.
    earliest: Cell<u64>,
    earlier_named: Notify,
}

/// A session's place among the waits; leaves it when dropped.
#[derive(Debug)]
pub struct Ticket {
    waits: Rc<Waits>,
    key: usize,
}

impl Waits {
    pub fn new(clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            clock,
            now_us: Cell::new(clock.now_us()),
            all: RefCell::new(Slab::new()),
            earliest: Cell::new(NEVER),
            earlier_named: Notify::new(),
        })
    }

    /// When the running task was woken.
    pub fn now_us(&self) -> u64 {
        self.now_us.get()
    }

    /// Reads the clock: for tasks that do not wait here.
    pub fn refresh(&self) -> u64 {
        self.now_us.set(self.clock.now_us());
        self.now_us.get()
    }

    /// A point of the thread's clock, to wait for.
    pub fn instant_us(&self, time_us: u64) -> tokio::time::Instant {
        self.clock.instant_us(time_us)
    }

    /// Sessions there are.
    pub fn count(&self) -> usize {
        self.all.borrow().len()
    }

    /// Ends the waits for this member's answer.
    pub fn member_lost(&self, member: usize) {
        self.signal_where(Signal::MemberLost, |wait| wait.member.get() == member);
    }

    /// Tells those who have waited for this member since then that its machine may be gone, unless they have been told more.
    pub fn member_doubted(&self, member: usize, since_us: u64) {
        self.signal_where(Signal::Doubted, |wait| {
            wait.member.get() == member && wait.member_since.get() <= since_us && wait.signal.get().is_none()
        });
    }

    /// The members whose answers somebody has waited for since that time, or longer.
    pub fn members_since(&self, since_us: u64) -> BTreeSet<usize> {
        let all = self.all.borrow();
        let waits = all.iter().map(|(_, wait)| wait);
        let long = waits.filter(|wait| wait.member.get() != 0 && wait.member_since.get() <= since_us);
        long.map(|wait| wait.member.get()).collect()
    }

    /// Ends the waits of sessions without a request.
    pub fn stop_idle(&self) {
        self.signal_where(Signal::Stopping, |wait| wait.is_idle.get());
    }

    fn signal_where(&self, signal: Signal, is_meant: impl Fn(&Wait) -> bool) {
        for (_, wait) in self.all.borrow().iter().filter(|(_, wait)| is_meant(wait)) {
            wait.signal.set(Some(signal));
            wait.waker.wake_by_ref();
        }
    }

    /// Wakes sessions whose deadline has passed, for ever.
    pub async fn sweep_for_ever(self: Rc<Self>) {
        loop {
            let earliest = self.earliest.get();
            let earlier_named = self.earlier_named.notified();
            if earliest == NEVER {
                earlier_named.await;
                continue;
            }
            let at = self.instant_us(earliest);
            // Both may be cancelled: neither holds anything.
            tokio::select! {
                () = tokio::time::sleep_until(at) => self.sweep(),
                () = earlier_named => {}
            }
        }
    }

    fn sweep(&self) {
        let now = self.refresh();
        let mut earliest = NEVER;
        for (_, wait) in self.all.borrow().iter() {
            let deadline = wait.deadline.get();
            if deadline <= now {
                wait.deadline.set(NEVER);
                wait.signal.set(Some(Signal::Deadline));
                wait.waker.wake_by_ref();
            } else {
                earliest = earliest.min(deadline);
            }
        }
        self.earliest.set(earliest);
    }
}

impl Ticket {
    pub fn new(waits: &Rc<Waits>) -> Self {
        waits.refresh();
        let wait = Wait {
            waker: Waker::noop().clone(),
            deadline: Cell::new(NEVER),
            member: Cell::new(0),
            member_since: Cell::new(0),
            is_idle: Cell::new(false),
            signal: Cell::new(None),
        };
        let key = waits.all.borrow_mut().insert(wait);
        Self { waits: waits.clone(), key }
    }

    /// Makes the running task the one that is woken. All waits must be polled by this task.
    pub async fn enter(&self) {
        poll_fn(|context| {
            self.waits.all.borrow_mut()[self.key].waker = context.waker().clone();
            Poll::Ready(())
        })
        .await;
    }

    /// When the running task was woken.
    pub fn now_us(&self) -> u64 {
        self.waits.now_us()
    }

    /// The point that lies so many milliseconds ahead.
    pub fn in_ms(&self, milliseconds: u64) -> u64 {
        self.now_us().saturating_add(milliseconds.saturating_mul(1000))
    }

    /// Names the member whose answer is waited for; 0 for none.
    pub fn set_member(&self, member: usize) {
        let all = self.waits.all.borrow();
        all[self.key].member.set(member);
        all[self.key].member_since.set(self.now_us());
        // What was said of the one before is over.
        if matches!(all[self.key].signal.get(), Some(Signal::MemberLost | Signal::Doubted)) {
            all[self.key].signal.set(None);
        }
    }

    /// Says whether the session has no request, so that it may be ended when the router stops.
    pub fn set_idle(&self, is_idle: bool) {
        self.waits.all.borrow()[self.key].is_idle.set(is_idle);
    }

    /// Waits for `poll` to be ready, at most until `deadline`.
    pub async fn until<T>(
        &self,
        deadline: u64,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Signal> {
        let mut is_armed = false;
        poll_fn(move |context| {
            if is_armed {
                self.waits.refresh();
            }
            if let Poll::Ready(value) = poll(context) {
                if is_armed {
                    self.disarm();
                }
                return Poll::Ready(Ok(value));
            }
            if !is_armed {
                is_armed = true;
                self.arm(deadline);
            }
            match self.waits.all.borrow()[self.key].signal.take() {
                Some(signal) => Poll::Ready(Err(signal)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Puts the deadline of the running wait elsewhere, from within what it polls. A signal that has come stays.
    pub fn postpone(&self, deadline: u64) {
        let all = self.waits.all.borrow();
        if all[self.key].signal.get().is_none() {
            self.set_deadline(&all[self.key], deadline);
        }
    }

    fn arm(&self, deadline: u64) {
        let all = self.waits.all.borrow();
        let wait = &all[self.key];
        // Left over from a wait that ended just before its deadline.
        if wait.signal.get() == Some(Signal::Deadline) {
            wait.signal.set(None);
        }
        self.set_deadline(wait, deadline);
    }

    fn set_deadline(&self, wait: &Wait, deadline: u64) {
        wait.deadline.set(deadline);
        if deadline < self.waits.earliest.get() {
            self.waits.earliest.set(deadline);
            self.waits.earlier_named.notify_one();
        }
    }

    fn disarm(&self) {
        let all = self.waits.all.borrow();
        all[self.key].deadline.set(NEVER);
        all[self.key].signal.set(None);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waits.all.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Runs a story on one thread with the sweeper beside it.
    fn check(story: impl AsyncFnOnce(Rc<Waits>)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let waits = Waits::new(Clock::start());
            let sweeper = tokio::task::spawn_local(waits.clone().sweep_for_ever());
            story(waits).await;
            sweeper.abort();
        });
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_at_an_older_one() {
        check(async |waits| {
            let ticket = Ticket::new(&waits);
            ticket.enter().await;
            let soon = ticket.in_ms(5);
            assert_eq!(ticket.until(soon, |_| Poll::<()>::Pending).await, Err(Signal::Deadline));
            assert!(waits.refresh() >= soon);
            assert_eq!(ticket.until(ticket.in_ms(60_000), |_| Poll::Ready(7)).await, Ok(7));
            let later = ticket.in_ms(20);
            assert_eq!(ticket.until(later, |_| Poll::<()>::Pending).await, Err(Signal::Deadline));
            assert!(waits.refresh() >= later);
        });
    }

    #[test]
    fn a_lost_member_ends_only_the_waits_for_it() {
        check(async |waits| {
            let other = waits.clone();
            let waiter = tokio::task::spawn_local(async move {
                let ticket = Ticket::new(&other);
                ticket.enter().await;
                ticket.set_member(4);
                assert_eq!(other.members_since(ticket.now_us()), BTreeSet::from([4]));
                assert!(other.members_since(ticket.now_us() - 1).is_empty());
                ticket.until(NEVER, |_| Poll::<()>::Pending).await
            });
            while waits.count() == 0 {
                tokio::task::yield_now().await;
            }
            waits.member_lost(5);
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(!waiter.is_finished());
            waits.member_lost(4);
            assert_eq!(waiter.await.expect("no panic"), Err(Signal::MemberLost));
            assert_eq!(waits.count(), 0);
        });
    }

    #[test]
    fn a_doubt_is_told_to_who_waited_before_it_and_takes_no_certainty_away() {
        check(async |waits| {
            let ticket = Ticket::new(&waits);
            ticket.enter().await;
            let told = || waits.all.borrow()[ticket.key].signal.get();
            ticket.set_member(4);
            waits.member_doubted(4, ticket.now_us() - 1);
            assert_eq!(told(), None, "it came later");
            waits.member_doubted(5, ticket.now_us());
            assert_eq!(told(), None, "it waits for another one");
            waits.member_doubted(4, ticket.now_us());
            assert_eq!(told(), Some(Signal::Doubted));
            waits.member_lost(4);
            waits.member_doubted(4, ticket.now_us());
            assert_eq!(told(), Some(Signal::MemberLost));
            ticket.set_member(5);
            assert_eq!(told(), None, "that was said of another one");
        });
    }
}
