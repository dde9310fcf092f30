//! The one place that reads clocks for machines: `Time` is milliseconds since this process started.

use logic::time::Time;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_unix_ms: u64,
}

impl Clock {
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_unix_ms: unix.as_millis() as u64 }
    }

    pub fn now(&self) -> Time {
        Time(self.start.elapsed().as_millis() as u64)
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// The instant of a number of microseconds since the start, to wait for.
    pub fn instant_us(&self, time_us: u64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + std::time::Duration::from_micros(time_us))
    }

    /// For people only: what the wall clock would say at `time`, had nobody set it since the start.
    pub fn unix_ms(&self, time: Time) -> u64 {
        self.start_unix_ms + time.0
    }

    /// The instant of `time`, to wait for.
    pub fn instant(&self, time: Time) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + std::time::Duration::from_millis(time.0))
    }
}
