//! Where client connections wait that have been idle for a moment: ten thousand of them shall cost little.
//!
//! A session is a task with a place in the runtime's event loop, some 1.5 kB. A parked connection is a descriptor, who
//! is at its other end, and until when it may be idle; an epoll of the lot's own watches all of them. When bytes come
//! it becomes a session again. Busy connections never come here, and neither do the first few idle ones.
//! Times are microseconds of the thread's clock. Not here: which connection may be parked (see `session`).

use super::core::Core;
use super::origin::{self, Origin};
use super::session::serve_again;
use super::waits::NEVER;
use crate::readable::Readable;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::Ipv4Addr;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::sync::Notify;

/// A connection that was idle for so long may be parked. Half a second: requests of one page come closer together, and
/// one that comes later does not notice the few microseconds that its return takes.
const PARK_AFTER_US: u64 = 500_000;
/// Deadlines of idle connections are rounded up to this, so that those of thousands fall together. An eighth of a second:
/// nobody counts on less.
const GRAIN_US: u64 = 131_072;
/// The same once there are `SESSIONS_MANY`, so that a crowd that comes within a second is never all sessions at once:
/// memory that the allocator has spread them over would stay with the process. Clients that ask more often than twenty
/// times a second are sessions throughout.
const PARK_SOON_AFTER_US: u64 = 50_000;
/// To what those are rounded.
const GRAIN_SOON_US: u64 = 16_384;
/// So many sessions stay as they are: parking them would save less than half a megabyte.
const SESSIONS_FREE: usize = 256;
/// More than so many take a megabyte and grow by the thousand.
const SESSIONS_MANY: usize = 512;
/// Connections that become sessions in one turn of the event loop.
const RETURNS_MAX: usize = 64;

#[derive(Debug)]
pub struct Lot {
    epoll: OwnedFd,
    parked: RefCell<Slab<Parked>>,
    /// No parked connection's time ends earlier.
    earliest_us: Cell<u64>,
    earlier_named: Notify,
}

#[derive(Debug)]
struct Parked {
    stream: TcpStream,
    /// In units of `GRAIN_US`.
    idle_until: u32,
    origin: origin::Parked,
}

impl Parked {
    fn idle_until_us(&self) -> u64 {
        u64::from(self.idle_until) * GRAIN_US
    }
}

/// When a session that is idle since `now_us`, one of so many, should ask to be parked.
pub fn park_at_us(now_us: u64, sessions: usize) -> u64 {
    let (after_us, grain_us) = match sessions > SESSIONS_MANY {
        true => (PARK_SOON_AFTER_US, GRAIN_SOON_US),
        false => (PARK_AFTER_US, GRAIN_US),
    };
    round_up(now_us.saturating_add(after_us), grain_us)
}

fn round_up(time_us: u64, grain_us: u64) -> u64 {
    time_us.checked_next_multiple_of(grain_us).unwrap_or(NEVER)
}

/// What a lot needs from the system.
pub fn watcher() -> io::Result<OwnedFd> {
    Ok(epoll::create(epoll::CreateFlags::CLOEXEC)?)
}

impl Lot {
    /// A place for the connections that `epoll` (see `watcher`) will watch.
    pub fn new(epoll: OwnedFd) -> Self {
        Self {
            epoll,
            parked: RefCell::default(),
            earliest_us: Cell::new(NEVER),
            earlier_named: Notify::new(),
        }
    }

    pub fn count(&self) -> usize {
        self.parked.borrow().len()
    }

    /// Whether parking is worth while with so many sessions.
    pub fn is_wanted(&self, sessions: usize) -> bool {
        sessions > SESSIONS_FREE
    }

    /// Keeps a connection until bytes come or its time is over. If the system cannot watch it, it is closed, which any
    /// idle connection must expect.
    pub fn park(&self, stream: TcpStream, origin: Rc<Origin>, idle_until_us: u64) {
        // The last unit is seventeen years after the router's start.
        let idle_until = u32::try_from(idle_until_us.div_ceil(GRAIN_US)).unwrap_or(u32::MAX);
        let mut parked = self.parked.borrow_mut();
        let place = parked.vacant_entry();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(place.key() as u64);
        if let Err(error) = epoll::add(&self.epoll, &stream, data, flags) {
            tracing::debug!(%error, "an idle connection could not be parked and is closed");
            return;
        }
        let parked = place.insert(Parked { stream, idle_until, origin: Origin::park(origin) });
        let idle_until_us = parked.idle_until_us();
        if idle_until_us < self.earliest_us.get() {
            self.earliest_us.set(idle_until_us);
            self.earlier_named.notify_one();
        }
    }

    /// Closes all of them.
    pub fn clear(&self) {
        self.parked.borrow_mut().clear();
    }

    fn close_old(&self, now_us: u64) {
        let mut earliest_us = NEVER;
        self.parked.borrow_mut().retain(|_, parked| {
            let stays = parked.idle_until_us() > now_us;
            if stays {
                earliest_us = earliest_us.min(parked.idle_until_us());
            }
            stays
        });
        self.earliest_us.set(earliest_us);
    }

    /// Takes connections with something to read out.
    fn take_stirred(&self, stirred: &mut Vec<Parked>) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(RETURNS_MAX);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if let Err(error) = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&at_once)) {
            return tracing::debug!(%error, "parked connections are looked at again");
        }
        let mut parked = self.parked.borrow_mut();
        for event in &events {
            let key = usize::try_from(event.data.u64()).expect("a key of the slab was put in");
            // None: closed because its time was over, in the same turn.
            let Some(found) = parked.try_remove(key) else { continue };
            match epoll::delete(&self.epoll, &found.stream) {
                Ok(()) => stirred.push(found),
                Err(error) => tracing::debug!(%error, "a parked connection is lost"),
            }
        }
    }
}

/// Makes sessions of parked connections when bytes come, and closes those whose time is over, for ever.
pub async fn watch_for_ever(core: Rc<Core>) {
    let watched = core.lot.epoll.try_clone().and_then(Readable::watch);
    let watched = match watched {
        Ok(watched) => watched,
        Err(error) => return tracing::error!(%error, "idle connections cannot be watched"),
    };
    let mut stirred = Vec::with_capacity(RETURNS_MAX);
    loop {
        let earliest_us = core.lot.earliest_us.get();
        let earliest = core.waits.instant_us(if earliest_us == NEVER { 0 } else { earliest_us });
        // All may be cancelled: readiness and time stay until they are looked at.
        tokio::select! {
            () = watched.ready() => {
                core.lot.take_stirred(&mut stirred);
                wake_up(&core, &mut stirred);
            }
            () = tokio::time::sleep_until(earliest), if earliest_us != NEVER => {
                core.lot.close_old(core.waits.refresh());
            }
            () = core.lot.earlier_named.notified() => {}
        }
    }
}

fn wake_up(core: &Rc<Core>, stirred: &mut Vec<Parked>) {
    for Parked { stream, origin, .. } in stirred.drain(..) {
        match tokio::net::TcpStream::from_std(stream) {
            // Owned by the thread's LocalSet and counted by its ticket, as when it was accepted.
            Ok(stream) => {
                // Only a connection that is broken already has none.
                let server = || stream.local_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |local| local.ip());
                let origin = origin.wake(server);
                drop(tokio::task::spawn_local(serve_again(core.clone(), stream, origin)));
            }
            Err(error) => tracing::warn!(%error, "a parked connection could not be used"),
        }
    }
}

#[cfg(test)]
mod tests;
