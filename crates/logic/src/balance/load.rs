//! How busy and how quick a member is, as one router thread sees it.
//!
//! An estimate of the time to the first byte of an answer: it rises fast and falls slowly, an answer that is a failure
//! counts as a long one (a member that fails fast must not look quick), and without answers it fades to what is
//! typical of the cluster, so that nobody is avoided for ever because of what was once. Microseconds.

use crate::limits::{LATENCY_HALF_LIFE_MS, LATENCY_MAX_US};
use crate::real::halved;
use crate::time::Time;

#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    pub in_flight: u32,
    /// None until the first answer.
    latency_us: Option<f64>,
    measured_at: Time,
}

/// What an answer of the cluster's members usually takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Typical {
    latency_us: Option<f64>,
    /// Requests under way at all members.
    pub in_flight: u32,
}

impl Typical {
    /// 1 ms as long as nothing is known: any number serves, as all members then share it.
    pub fn latency_us(&self) -> f64 {
        self.latency_us.unwrap_or(1_000.0)
    }
}

impl Load {
    /// The estimate as it stands now.
    pub fn latency_us(&self, typical: &Typical, now: Time) -> f64 {
        let neutral = typical.latency_us();
        let Some(latency_us) = self.latency_us else { return neutral };
        let age_ms = now.since_ms(self.measured_at);
        // Most members have answered just now; what a tenth of a second fades is not worth its price.
        if age_ms < 100 {
            return latency_us;
        }
        neutral + (latency_us - neutral) * halved(age_ms as f64 / LATENCY_HALF_LIFE_MS as f64)
    }

    /// Takes in how long an answer took to begin, or how long a failure took.
    pub fn measured(&mut self, latency_us: u64, is_failure: bool, typical: &mut Typical, now: Time) {
        let known = self.latency_us(typical, now);
        let mut sample = latency_us as f64;
        if is_failure {
            // As bad as twice what it was, and clearly worse than what others do.
            sample = sample.max(known * 2.0).max(typical.latency_us() * 8.0);
        } else {
            let usual = typical.latency_us.unwrap_or(sample);
            typical.latency_us = Some(usual + (sample - usual) / 32.0);
        }
        let sample = sample.min(LATENCY_MAX_US as f64);
        let step = if sample > known { 2.0 } else { 8.0 };
        self.latency_us = match self.latency_us {
            None => Some(sample),
            Some(_) => Some(known + (sample - known) / step),
        };
        self.measured_at = now;
    }

    /// A process that has just come up is another one than that which was measured.
    pub fn forget_latency(&mut self) {
        self.latency_us = None;
    }
}
