//! A host's monotonic clock: whole milliseconds since anywhere, at a rate that is a little wrong.

use logic::limits::CLOCK_DRIFT_MAX_PPM;
use logic::seed::Chance;
use logic::time::Time;

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    offset_us: u64,
    drift_ppm: i64,
}

const MILLION: i128 = 1_000_000;

impl Clock {
    pub fn new(chance: &mut Chance) -> Self {
        let drift_max = CLOCK_DRIFT_MAX_PPM as u32;
        // Half of all clocks are as wrong as they may be: that is where rules break.
        let drift = match chance.below(4) {
            0 => 0,
            1 => 2 * drift_max,
            _ => chance.below(2 * drift_max + 1),
        };
        Self {
            offset_us: u64::from(chance.below(1_000_000_000)),
            drift_ppm: i64::from(drift) - i64::from(drift_max),
        }
    }

    /// What it shows at that true microsecond.
    pub fn shows(&self, now_us: u64) -> Time {
        let run = i128::from(now_us) * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        Time((run as u64 + self.offset_us) / 1_000)
    }

    /// The first true microsecond at which it shows that time, or a few later.
    pub fn reaches(&self, time: Time) -> u64 {
        let run = (i128::from(time.0) * 1_000 - i128::from(self.offset_us)).max(0);
        let mut at = (run * MILLION / (MILLION + i128::from(self.drift_ppm))) as u64;
        while self.shows(at) < time {
            at += 1;
        }
        at
    }
}
