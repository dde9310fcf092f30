//! Bounds the share of retries, so that a failing cluster is not also flooded.
//!
//! Counts requests and retries of the last ten seconds in a ring of one-second buckets; integers only.

use crate::limits::RETRY_WINDOW_S;
use crate::time::Time;
use wire::router::RetrySettings;

#[derive(Debug, Clone)]
pub struct RetryBudget {
    percent: u64,
    floor_per_second: u64,
    buckets: [Bucket; RETRY_WINDOW_S],
    /// The running second; its bucket is at that number modulo the ring's length.
    second: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    pub fn new(settings: &RetrySettings) -> Self {
        Self {
            percent: settings.budget_percent.into(),
            floor_per_second: settings.budget_floor_per_second.into(),
            buckets: [Bucket::default(); RETRY_WINDOW_S],
            second: 0,
        }
    }

    /// Takes new settings; what was counted stays.
    pub fn set(&mut self, settings: &RetrySettings) {
        self.percent = settings.budget_percent.into();
        self.floor_per_second = settings.budget_floor_per_second.into();
    }

    /// A request has come; its retries are not requests.
    pub fn request(&mut self, now: Time) {
        self.turn(now).requests += 1;
    }

    /// Takes one retry out of the budget, or says that there is none left: retries may be `percent` of the requests
    /// of the last ten seconds, and `floor_per_second` for each of those seconds are always allowed. All at once if
    /// need be: what a member held when it hung is lost in one moment, however short the router has been running.
    pub fn take(&mut self, now: Time) -> bool {
        self.turn(now);
        let (requests, retries) = self.buckets.iter().fold((0, 0), |(requests, retries), bucket| {
            (requests + bucket.requests, retries + bucket.retries)
        });
        let floor = self.floor_per_second * RETRY_WINDOW_S as u64;
        let is_allowed = retries < floor || (retries + 1) * 100 <= requests * self.percent;
        if is_allowed {
            self.turn(now).retries += 1;
        }
        is_allowed
    }

    /// The bucket of `now`; empties those whose second has passed.
    fn turn(&mut self, now: Time) -> &mut Bucket {
        let second = now.0 / 1000;
        let begun = second.saturating_sub(self.second).min(RETRY_WINDOW_S as u64);
        for back in 0..begun {
            self.buckets[(second - back) as usize % RETRY_WINDOW_S] = Bucket::default();
        }
        self.second = self.second.max(second);
        &mut self.buckets[self.second as usize % RETRY_WINDOW_S]
    }
}
