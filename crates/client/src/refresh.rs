//! When a client asks a router for its view: rarely while it is idle, soon when it has reason to, never as one of a herd.
//!
//! Pure: times are milliseconds of the caller's clock. One task of a context asks, one time after the other, so that a
//! process with a thousand calls under way asks once.

use crate::chance::Chance;
use crate::limits::{
    DIRECT_POLL_MS, EVIDENCE_POLL_MS, FETCH_SPREAD_MS, FETCH_WAIT_MAX_MS, IDLE_POLL_MS, PAUSE_FIRST_MS,
    PAUSE_MAX_MS, POLL_PAUSE_MIN_MS,
};

/// Why a client asks sooner than it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It calls members itself, whose answers tell nothing.
    CallsMembers,
    /// It has met a member that does not answer.
    Evidence,
    /// An answer said that the whole view is to be fetched.
    Hint,
}

/// How asking ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It knows the newest view.
    Current,
    /// It shall come again then.
    Later { after_ms: u64 },
    /// No router answered.
    Failed,
}

#[derive(Debug, Clone)]
pub struct Refresh {
    next_ms: u64,
    last_ms: u64,
    failures: u32,
    /// A router said when to come; no reason makes that sooner.
    is_put_off: bool,
}

impl Refresh {
    /// After a first view was fetched.
    pub fn new(now_ms: u64, chance: &mut Chance) -> Self {
        let next_ms = now_ms + chance.about(IDLE_POLL_MS);
        Self { next_ms, last_ms: now_ms, failures: 0, is_put_off: false }
    }

    pub fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// Whether it is asked for sooner than before.
    pub fn want(&mut self, now_ms: u64, reason: Reason, chance: &mut Chance) -> bool {
        let is_failing = self.failures > 0;
        let wanted_ms = match reason {
            _ if self.is_put_off || is_failing => return false,
            // While calls go on, the pause is counted from the last poll, not from each call.
            Reason::CallsMembers if self.next_ms <= self.last_ms + DIRECT_POLL_MS * 3 / 2 => return false,
            Reason::CallsMembers => (self.last_ms + chance.about(DIRECT_POLL_MS)).max(now_ms),
            Reason::Evidence => now_ms + chance.about(EVIDENCE_POLL_MS),
            Reason::Hint => now_ms + chance.below(FETCH_SPREAD_MS),
        };
        let wanted_ms = wanted_ms.max(self.last_ms + POLL_PAUSE_MIN_MS);
        if wanted_ms >= self.next_ms {
            return false;
        }
        self.next_ms = wanted_ms;
        true
    }

    pub fn done(&mut self, now_ms: u64, asked: Asked, chance: &mut Chance) {
        self.last_ms = now_ms;
        self.is_put_off = false;
        let pause_ms = match asked {
            Asked::Current => chance.about(IDLE_POLL_MS),
            Asked::Later { after_ms } => {
                self.is_put_off = true;
                let after_ms = after_ms.clamp(POLL_PAUSE_MIN_MS, FETCH_WAIT_MAX_MS);
                // Never sooner than it was told.
                after_ms + chance.below(after_ms / 4 + 1)
            }
            Asked::Failed => chance.about((PAUSE_FIRST_MS << self.failures.min(16)).min(PAUSE_MAX_MS)),
        };
        self.failures = if asked == Asked::Failed { self.failures.saturating_add(1) } else { 0 };
        self.next_ms = now_ms + pause_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refresh(chance: &mut Chance) -> Refresh {
        let mut refresh = Refresh::new(0, chance);
        refresh.done(0, Asked::Current, chance);
        refresh
    }

    #[test]
    fn idle_clients_ask_now_and_then_and_not_together() {
        let mut chance = Chance::new(5);
        let times: Vec<u64> = (0..1_000).map(|_| refresh(&mut chance).next_ms()).collect();
        let (least, most) = (times.iter().min(), times.iter().max());
        assert!(least >= Some(&15_000) && most <= Some(&45_000), "{least:?} {most:?}");
        assert!(times.iter().filter(|time| (20_000..21_000).contains(*time)).count() < 70);
    }

    #[test]
    fn a_reason_makes_it_soon_and_many_reasons_make_it_once() {
        let mut chance = Chance::new(5);
        let mut refresh = refresh(&mut chance);
        assert!(refresh.want(1_000, Reason::Evidence, &mut chance));
        let soon_ms = refresh.next_ms();
        assert!((1_000..=1_075).contains(&soon_ms), "{soon_ms}");
        for now_ms in 1_000..1_020 {
            refresh.want(now_ms, Reason::Evidence, &mut chance);
            assert!(refresh.next_ms() <= soon_ms, "it is not put off by more of the same");
        }
        refresh.done(1_100, Asked::Current, &mut chance);
        refresh.want(1_101, Reason::Hint, &mut chance);
        assert!(refresh.next_ms() >= 1_300, "not twice at once");
    }

    #[test]
    fn a_client_that_calls_members_asks_every_few_seconds_while_it_does() {
        let mut chance = Chance::new(5);
        let mut refresh = refresh(&mut chance);
        let mut polls = 0;
        for now_ms in 0..60_000 {
            refresh.want(now_ms, Reason::CallsMembers, &mut chance);
            if refresh.next_ms() <= now_ms {
                polls += 1;
                refresh.done(now_ms, Asked::Current, &mut chance);
            }
        }
        assert!((24..=40).contains(&polls), "{polls} in a minute");
    }

    #[test]
    fn who_is_told_to_come_later_does_and_a_router_that_is_away_is_not_hammered() {
        let mut chance = Chance::new(5);
        let mut refresh = refresh(&mut chance);
        refresh.done(0, Asked::Later { after_ms: 800 }, &mut chance);
        assert!(!refresh.want(10, Reason::Evidence, &mut chance) && refresh.next_ms() >= 800);
        assert!(refresh.next_ms() <= 1_000);
        refresh.done(0, Asked::Later { after_ms: u64::MAX }, &mut chance);
        assert!(refresh.next_ms() <= FETCH_WAIT_MAX_MS * 5 / 4);
        let mut now_ms = 0;
        for _ in 0..20 {
            refresh.done(now_ms, Asked::Failed, &mut chance);
            assert!(!refresh.want(now_ms, Reason::Hint, &mut chance));
            assert!(refresh.next_ms() <= now_ms + PAUSE_MAX_MS * 3 / 2);
            now_ms = refresh.next_ms();
        }
        assert!(now_ms > 100_000, "the pauses grow: {now_ms}");
    }
}
