//! A timer of the clock that leases go by: it counts while the machine sleeps, and is the same for all processes of a machine.

use crate::readable::Readable;
use logic::time::Time;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::io;

/// When it fires: milliseconds since the machine was started.
#[derive(Debug)]
pub struct BootTimer {
    timer: Readable,
    at: Option<Time>,
}

impl BootTimer {
    /// It never fires. Must be called within a runtime.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = Readable::watch(timerfd_create(TimerfdClockId::Boottime, flags)?)?;
        Ok(Self { timer, at: None })
    }

    /// What the machine's clock shows.
    pub fn now() -> Time {
        let now = clock_gettime(ClockId::Boottime);
        let part = |number: i64| u64::try_from(number).unwrap_or(0);
        Time(part(now.tv_sec) * 1_000 + part(now.tv_nsec) / 1_000_000)
    }

    /// From now on it fires then, at once if that is over; None: never.
    pub fn set(&mut self, at: Option<Time>) -> io::Result<()> {
        if self.at == at {
            return Ok(());
        }
        // 0 would mean never.
        let at_ms = at.map_or(0, |at| at.0.max(1).cast_signed());
        let first = Timespec { tv_sec: at_ms / 1_000, tv_nsec: at_ms % 1_000 * 1_000_000 };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: never, it_value: first };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        self.at = at;
        Ok(())
    }

    /// Whether its time is over, which may be known before it fires.
    pub fn is_over(&self) -> bool {
        self.at.is_some_and(|at| at <= Self::now())
    }

    /// Waits until it fires. May be cancelled.
    pub async fn ready(&self) {
        self.timer.ready().await;
    }
}
