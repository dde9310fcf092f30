//! Decides which clients get a whole view now and when the others come again.
//!
//! A thousand clients that lose their router come to the next one at once. What they fetch is bounded in bytes for each
//! second; who is refused is told a time of its own, one after the other, so that they do not come back together.
//! Times are microseconds of the router's clock unless they say otherwise.

use crate::limits::{
    SNAPSHOT_BURST_US, SNAPSHOT_BYTES_PER_SECOND, SNAPSHOT_LEAST_BYTES, SNAPSHOT_WAIT_MAX_MS,
};

/// How much has been given and promised.
#[derive(Debug, Clone, Default)]
pub struct Snapshots {
    /// When what has been given is paid for at the rate.
    paid_us: u64,
    /// Until when those that were refused are told to come.
    promised_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Now,
    /// Come again then.
    Later {
        after_ms: u64,
    },
}

impl Snapshots {
    /// Whether a view of so many bytes may be given.
    pub fn ask(&mut self, now_us: u64, bytes: u64) -> Admission {
        let cost_us = bytes.max(SNAPSHOT_LEAST_BYTES).saturating_mul(1_000_000) / SNAPSHOT_BYTES_PER_SECOND;
        let paid_us = self.paid_us.max(now_us);
        // One that is larger than the burst goes when nothing else does.
        if paid_us == now_us || paid_us + cost_us <= now_us + SNAPSHOT_BURST_US {
            self.paid_us = paid_us + cost_us;
            return Admission::Now;
        }
        let latest_us = now_us + SNAPSHOT_WAIT_MAX_MS * 1_000;
        self.promised_us = (self.promised_us.max(paid_us) + cost_us).min(latest_us);
        Admission::Later { after_ms: (self.promised_us - now_us).div_ceil(1_000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_given_and_the_rest_spread() {
        let mut snapshots = Snapshots::default();
        let answers: Vec<Admission> = (0..1_000).map(|_| snapshots.ask(1_000_000, 400)).collect();
        let given = answers.iter().filter(|answer| **answer == Admission::Now).count();
        assert_eq!(given, 256, "a quarter of a second's worth");
        let waits: Vec<u64> = answers
            .iter()
            .filter_map(|answer| match answer {
                Admission::Now => None,
                Admission::Later { after_ms } => Some(*after_ms),
            })
            .collect();
        assert!(waits.is_sorted() && waits[0] >= 250, "{waits:?}");
        let last = waits.last().expect("some wait");
        assert!((900..=1_100).contains(last), "all are done at the rate: {last} ms");
        let together = waits.chunk_by(|left, right| left == right).map(<[u64]>::len).max();
        assert!(together <= Some(2), "they do not come back together: {together:?}");
    }

    #[test]
    fn those_who_come_when_they_were_told_to_are_served() {
        let mut snapshots = Snapshots::default();
        let mut due: Vec<u64> = vec![0; 5_000];
        let mut tries = 0;
        while let Some(at_us) = due.pop() {
            tries += 1;
            if let Admission::Later { after_ms } = snapshots.ask(at_us, 1_000) {
                due.push(at_us + after_ms * 1_000);
                due.sort_by_key(|at_us| std::cmp::Reverse(*at_us));
            }
        }
        assert!(tries <= 2 * 5_000 + 500, "{tries} tries of 5,000 clients");
    }

    #[test]
    fn a_view_larger_than_the_burst_is_given_when_it_is_quiet_and_waits_are_bounded() {
        let mut snapshots = Snapshots::default();
        let large = SNAPSHOT_BYTES_PER_SECOND * 60;
        assert_eq!(snapshots.ask(5, large), Admission::Now);
        for _ in 0..10 {
            assert_eq!(snapshots.ask(5, large), Admission::Later { after_ms: SNAPSHOT_WAIT_MAX_MS });
        }
        assert_eq!(snapshots.ask(61_000_000, 1), Admission::Now);
        assert_eq!(snapshots.ask(u64::MAX / 2, u64::MAX), Admission::Now, "no overflow");
    }
}
