//! Notices that this node's certificate was not renewed when it should have been, for the agent's reports.
//!
//! Not here: the renewal itself (see `identity::renewal`), which tries on all the while.

use crate::identity::{self, Identity, Place};
use logic::enrol::is_overdue;
use std::path::Path;
use std::time::{Duration, Instant};

/// Shortest pause between two looks at the file, each a sixtieth of the certificate's life. A second: as often as reports.
const LOOK_MIN: Duration = Duration::from_secs(1);
/// Longest such pause. A minute: people are told soon, and reading a file costs nothing then.
const LOOK_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct OwnCertificate {
    place: Place,
    look_at: Instant,
    overdue_until_ms: Option<u64>,
}

impl OwnCertificate {
    pub fn of(state_dir: &Path) -> Self {
        Self { place: Place::of(state_dir), look_at: Instant::now(), overdue_until_ms: None }
    }

    /// Until when it counts, if another should have taken its place by now. A machine that is in no cell has none.
    pub fn overdue_until_ms(&mut self) -> Option<u64> {
        if Instant::now() >= self.look_at {
            let own = identity::load(&self.place).ok();
            let life_s = own.as_ref().map_or(0, |own| own.not_after_s - issued_s(own));
            let pause = Duration::from_secs(u64::try_from(life_s / 60).unwrap_or(0));
            self.look_at = Instant::now() + pause.clamp(LOOK_MIN, LOOK_MAX);
            let own = own.filter(|own| is_overdue(issued_s(own), own.not_after_s, crate::tls::now_s()));
            self.overdue_until_ms = own.and_then(|own| u64::try_from(own.not_after_s * 1_000).ok());
        }
        self.overdue_until_ms
    }
}

fn issued_s(own: &Identity) -> i64 {
    i64::try_from(own.bearer.issued_us / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
