//! What a client has found out itself about places that it calls: who fails is left out at once, for a while.
//!
//! Pure: times are milliseconds of the caller's clock. Promise: every pause ends, and a success ends it at once.
//! Not here: what the cell says (see `choice`).

use crate::chance::Chance;
use crate::limits::{PAUSE_FIRST_MS, PAUSE_MAX_MS, SILENCES_MAX};

/// Of one place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    failures: u32,
    silences: u32,
    left_out_until_ms: u64,
}

/// How a call ended badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// It could not be connected to, or broke off.
    Broken,
    /// It was silent for too long.
    Silent,
}

impl Evidence {
    pub fn is_left_out(&self, now_ms: u64) -> bool {
        now_ms < self.left_out_until_ms
    }

    /// Whether it is left out from now on.
    pub fn failed(&mut self, now_ms: u64, how: Failing, chance: &mut Chance) -> bool {
        match how {
            Failing::Broken => {}
            Failing::Silent => {
                self.silences += 1;
                if self.silences < SILENCES_MAX {
                    return false;
                }
            }
        }
        // Several calls that fail together are one piece of evidence.
        if self.is_left_out(now_ms) {
            return false;
        }
        let pause_ms = (PAUSE_FIRST_MS << self.failures.min(16)).min(PAUSE_MAX_MS);
        self.failures = self.failures.saturating_add(1);
        self.silences = 0;
        // A quarter more at most, so that clients do not come back together.
        self.left_out_until_ms = now_ms + pause_ms + chance.below(pause_ms / 4 + 1);
        true
    }

    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Until when it is left out; of several, who comes back first is asked first.
    pub fn left_out_until_ms(&self) -> u64 {
        self.left_out_until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_out_for_a_pause_that_grows_and_ends() {
        let mut chance = Chance::new(3);
        let mut evidence = Evidence::default();
        let (mut now_ms, mut pauses) = (0, Vec::new());
        for _ in 0..10 {
            assert!(evidence.failed(now_ms, Failing::Broken, &mut chance));
            assert!(!evidence.failed(now_ms, Failing::Broken, &mut chance), "the same pause");
            assert!(evidence.is_left_out(now_ms));
            pauses.push(evidence.left_out_until_ms() - now_ms);
            now_ms = evidence.left_out_until_ms();
            assert!(!evidence.is_left_out(now_ms));
        }
        assert!((PAUSE_FIRST_MS..=PAUSE_FIRST_MS * 5 / 4).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX_MS * 5 / 4), "{pauses:?}");
        assert!(pauses[4] > 8 * pauses[0], "{pauses:?}");
        evidence.succeeded();
        assert_eq!(evidence, Evidence::default());
    }

    #[test]
    fn silence_counts_when_it_comes_three_times_in_a_row() {
        let mut chance = Chance::new(3);
        let mut evidence = Evidence::default();
        for _ in 0..5 {
            assert!(!evidence.failed(0, Failing::Silent, &mut chance));
            assert!(!evidence.failed(0, Failing::Silent, &mut chance));
            evidence.succeeded();
        }
        evidence.failed(0, Failing::Silent, &mut chance);
        evidence.failed(0, Failing::Silent, &mut chance);
        assert!(evidence.failed(0, Failing::Silent, &mut chance));
    }
}
