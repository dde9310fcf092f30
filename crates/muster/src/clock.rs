//! The one place that reads clocks for machines: `Time` is milliseconds since this process started.

use logic::time::Time;
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// The clock of leases: counts also while the machine sleeps, which the other one does not. All of a process show the same, so
/// that times of one mean something to another.
#[derive(Debug, Clone, Copy)]
pub struct BootClock {
    start: Duration,
}

impl BootClock {
    pub fn of_process() -> Self {
        static START: OnceLock<Duration> = OnceLock::new();
        Self { start: *START.get_or_init(since_boot) }
    }

    pub fn now(&self) -> Time {
        Time(since_boot().saturating_sub(self.start).as_millis() as u64)
    }

    /// What the machine's own clock shows then: milliseconds since it was started, for another process.
    pub fn since_boot_ms(&self, time: Time) -> u64 {
        // Rounded down: what ends then must not end later.
        self.start.as_millis() as u64 + time.0
    }

    /// The instant of `time`, to wait for; later if the machine sleeps meanwhile, so ask for the time again then.
    pub fn instant(&self, time: Time) -> tokio::time::Instant {
        tokio::time::Instant::now() + Duration::from_millis(time.0.saturating_sub(self.now().0))
    }
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lease that ends at a time of one is judged by another, which somebody else made long after.
    #[test]
    fn all_boot_clocks_of_a_process_show_the_same() {
        let early = BootClock::of_process();
        std::thread::sleep(Duration::from_millis(20));
        let late = BootClock::of_process();
        let (first, second, third) = (early.now(), late.now(), early.now());
        assert!(first <= second && second <= third, "{first:?} {second:?} {third:?}");
        assert_eq!(early.since_boot_ms(first), late.since_boot_ms(first));
    }
}
