//! Bounds on the requests under way at a member, over all threads of a router, and the queue of those who wait.
//!
//! Only members with `requests_max` have a bound: others cost nothing here. Taking and giving back room is one atomic
//! step; the lock of a queue is taken only while somebody waits in it, and never across a wait.
//! Promise: whoever waits longest is called first, among those that may take the room that has become free.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use wire::id::{Epoch, MemberName};
use wire::view::View;

/// The bounds of one cluster's members.
#[derive(Debug, Default)]
pub struct Gate {
    /// Of the view that says so.
    epoch: Epoch,
    rooms: BTreeMap<MemberName, Arc<Rooms>>,
    pub queue: Arc<Queue>,
}

/// The room at one member.
#[derive(Debug, Default)]
pub struct Rooms {
    most: AtomicU32,
    taken: AtomicU32,
}

/// Room for one request; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    rooms: Arc<Rooms>,
    queue: Arc<Queue>,
    member: MemberName,
}

impl Gate {
    /// The gate of a view; None where no member has a bound. What is taken stays taken.
    pub fn of(view: &View, old: Option<&Arc<Gate>>) -> Option<Arc<Gate>> {
        let bounded: Vec<_> = view.members.iter().filter(|member| member.requests_max > 0).collect();
        if bounded.is_empty() {
            return None;
        }
        if let Some(old) = old.filter(|old| old.epoch == view.epoch) {
            return Some(old.clone());
        }
        let mut gate = Gate { epoch: view.epoch, rooms: BTreeMap::new(), queue: Arc::default() };
        if let Some(old) = old {
            gate.queue = old.queue.clone();
        }
        for member in bounded {
            let known = old.and_then(|old| old.rooms.get(&member.name)).cloned();
            let rooms = known.unwrap_or_default();
            rooms.most.store(member.requests_max, Ordering::Relaxed);
            gate.rooms.insert(member.name.clone(), rooms);
        }
        Some(Arc::new(gate))
    }

    pub fn rooms(&self, member: &MemberName) -> Option<Arc<Rooms>> {
        self.rooms.get(member).cloned()
    }

    /// Waits behind all others; `wanted` is the only member that will do, if any.
    pub fn enter(&self, wanted: Option<MemberName>) -> Place {
        let place = self.queue.enter(wanted);
        // What became free before the place was taken was called out to others, or to nobody.
        for (member, _) in self.rooms.iter().filter(|(_, rooms)| !rooms.is_full()) {
            self.queue.call(member);
        }
        place
    }
}

impl Rooms {
    pub fn is_full(&self) -> bool {
        self.taken.load(Ordering::SeqCst) >= self.most.load(Ordering::Relaxed)
    }

    /// Takes room for one request if there is any.
    pub fn take(self: &Arc<Self>, queue: &Arc<Queue>, member: &MemberName) -> Option<Slot> {
        let most = self.most.load(Ordering::Relaxed);
        let one_more = |taken: u32| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Slot { rooms: self.clone(), queue: queue.clone(), member: member.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.rooms.taken.fetch_sub(1, Ordering::SeqCst);
        self.queue.call(&self.member);
    }
}

/// Requests of one cluster that wait for room, of all threads.
#[derive(Debug, Default)]
pub struct Queue {
    count: AtomicU32,
    entries: Mutex<VecDeque<Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    /// The only member that will do.
    wanted: Option<MemberName>,
    is_called: AtomicBool,
    waker: Mutex<Waker>,
}

/// A place in the queue; left when dropped.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    entry: Arc<Entry>,
}

impl Queue {
    pub fn has_waiting(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    fn enter(self: &Arc<Self>, wanted: Option<MemberName>) -> Place {
        let entry = Arc::new(Entry {
            wanted,
            is_called: AtomicBool::new(false),
            waker: Mutex::new(Waker::noop().clone()),
        });
        let mut entries = self.entries.lock().expect("nobody panics while holding it");
        entries.push_back(entry.clone());
        self.count.store(entries.len() as u32, Ordering::SeqCst);
        drop(entries);
        Place { queue: self.clone(), entry }
    }

    /// Room has become free at `member`: calls who waits longest for it and has not been called.
    fn call(&self, member: &MemberName) {
        if !self.has_waiting() {
            return;
        }
        let entries = self.entries.lock().expect("nobody panics while holding it");
        let waits = |entry: &&Arc<Entry>| {
            let may_take = entry.wanted.as_ref().is_none_or(|wanted| wanted == member);
            may_take && !entry.is_called.load(Ordering::SeqCst)
        };
        if let Some(entry) = entries.iter().find(waits) {
            entry.wake();
        }
    }

    /// Much may have changed: everybody looks again.
    pub fn call_all(&self) {
        if self.has_waiting() {
            let entries = self.entries.lock().expect("nobody panics while holding it");
            entries.iter().for_each(|entry| entry.wake());
        }
    }
}

impl Entry {
    fn wake(&self) {
        self.is_called.store(true, Ordering::SeqCst);
        self.waker.lock().expect("nobody panics while holding it").wake_by_ref();
    }
}

impl Place {
    /// Ready once it is called; to be polled again after it has looked in vain.
    pub fn poll_called(&self, context: &mut Context<'_>) -> Poll<()> {
        *self.entry.waker.lock().expect("nobody panics while holding it") = context.waker().clone();
        if self.entry.is_called.swap(false, Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.queue.entries.lock().expect("nobody panics while holding it");
        entries.retain(|entry| !Arc::ptr_eq(entry, &self.entry));
        self.queue.count.store(entries.len() as u32, Ordering::SeqCst);
        // Called, and gone without looking: the next one looks instead.
        if self.entry.is_called.load(Ordering::SeqCst) {
            let next = entries.iter().find(|entry| !entry.is_called.load(Ordering::SeqCst));
            next.inspect(|entry| entry.wake());
        }
    }
}

#[cfg(test)]
mod tests;
