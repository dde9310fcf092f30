//! How long a group rests before what failed at once is started again: what is in its way may be gone in a moment, and restarts
//! that follow each other within milliseconds would be used up before.

use crate::limits::{GROUP_HASTY_MS, GROUP_REST_MAX_MS, GROUP_REST_MIN_MS};
use crate::time::Time;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rest {
    /// When something of it was started last.
    started_at: Option<Time>,
    /// How often in a row it has failed right after that.
    hasty: u32,
    until: Time,
}

impl Rest {
    pub fn started(&mut self, now: Time) {
        self.started_at = Some(now);
    }

    /// The first time costs nothing: most failures are single ones.
    pub fn failed(&mut self, now: Time) {
        let is_hasty = self.started_at.is_some_and(|at| now.since_ms(at) < GROUP_HASTY_MS);
        self.hasty = if is_hasty { self.hasty.saturating_add(1) } else { 0 };
        let pause_ms = match self.hasty {
            0 | 1 => 0,
            times => GROUP_REST_MIN_MS.saturating_mul(1 << (times - 2).min(30)).min(GROUP_REST_MAX_MS),
        };
        self.until = now + pause_ms;
    }

    /// Nothing of it is started before; None: it may be.
    pub fn until(&self, now: Time) -> Option<Time> {
        (now < self.until).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_at_once_rests_longer_each_time_and_what_has_run_does_not() {
        let (mut rest, mut now) = (Rest::default(), Time(1_000_000));
        let mut fail_after = |run_ms: u64| {
            rest.started(now);
            now = now + run_ms;
            rest.failed(now);
            let pause_ms = rest.until(now).map_or(0, |until| until.since_ms(now));
            now = now + pause_ms;
            assert_eq!(rest.until(now), None);
            pause_ms
        };
        let pauses: Vec<u64> = (0..9).map(|_| fail_after(20)).collect();
        assert_eq!(pauses, [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!((0..100).map(|_| fail_after(20)).max(), Some(30_000));
        assert_eq!([fail_after(GROUP_HASTY_MS), fail_after(20), fail_after(20)], [0, 0, 500]);
    }
}
