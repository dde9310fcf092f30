//! Who may still act, and who may begin to, when two machines share no clock and no store can be trusted to expire anything.
//!
//! A holder acts until *it sent* its last acknowledged renewal plus R. A contender waits L since *it last saw the
//! renewals go on*. It saw one after it was sent, so nobody acts twice as long as L(1-ρ) ≥ R(1+ρ) + K: only the rates of
//! clocks count, never what they show. Facts: failover 7.3. Users choose one of `PROFILES` by its name.
//!
//! Pure. Each side passes its own monotonic time, which must count while the machine sleeps (`CLOCK_BOOTTIME`).
//! Not here: renewals themselves (`term` for managers, `heartbeat` for nodes).

use crate::limits::{CLOCK_DRIFT_MAX_PPM, CLOCK_STEP_MS, RENEWALS_PER_HOLD_MIN};
use crate::time::Time;
use std::fmt;

/// Five durations that belong together, all milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    pub name: &'static str,
    /// r: a holder renews this often.
    pub renew_ms: u64,
    /// R: a holder acts so long after it sent the last renewal that was acknowledged.
    pub hold_ms: u64,
    /// K: within this time after the end of its lease a holder has stopped whatever it does.
    pub stop_ms: u64,
    /// L: a contender waits so long after it last saw the renewals go on.
    pub wait_ms: u64,
    /// Longest round trip to the other side with which renewals still come in time.
    pub round_trip_ms: u64,
}

/// For a local network and a store on fast disks: a new holder about 1.3 s after the last sign of the old one. A quarter of
/// a second less would do for holders that stop by themselves, but not for `ADDRESS_GONE_AFTER_MS`.
pub const FAST: Profile =
    Profile { name: "fast", renew_ms: 200, hold_ms: 800, stop_ms: 200, wait_ms: 1_300, round_trip_ms: 200 };
/// For machines of one place: bears a store that needs a quarter of a second, and still changes the holder within 2 s.
pub const NORMAL: Profile = Profile {
    name: "normal",
    renew_ms: 300,
    hold_ms: 1_200,
    stop_ms: 300,
    wait_ms: 1_550,
    round_trip_ms: 300,
};
/// For busy or virtual machines and slow disks: bears pauses of seconds, and takes over after seven.
pub const CAREFUL: Profile = Profile {
    name: "careful",
    renew_ms: 1_000,
    hold_ms: 5_000,
    stop_ms: 2_000,
    wait_ms: 7_100,
    round_trip_ms: 2_000,
};

/// All that users may choose.
pub const PROFILES: [Profile; 3] = [FAST, NORMAL, CAREFUL];

impl Profile {
    pub fn named(name: &str) -> Option<&'static Profile> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// Whether two can never act at once.
    pub fn safety(&self) -> Inequality {
        Inequality { of: *self }
    }

    /// What the leader of managers that are elected grants to nodes. It lasts while another one is elected, which begins L after
    /// the last renewal of the one before: so nothing ends on a node because a manager does. The test of these profiles shows
    /// that the inequality holds for them too.
    pub fn across_leaders(&self) -> Profile {
        Profile { hold_ms: self.hold_ms + self.wait_ms, wait_ms: 2 * self.wait_ms, ..*self }
    }

    /// So long after a holder's last sign of life its release can be taken as what came next: it renews in between, and
    /// news of that take a round trip. Too short for a store to be copied, stopped, put back and started.
    pub fn hand_over_ms(&self) -> u64 {
        self.renew_ms + self.round_trip_ms
    }

    /// Whether a holder with nothing but a slow network keeps its lease: three renewals and a round trip fit into R.
    pub fn is_lasting(&self) -> bool {
        self.hold_ms >= RENEWALS_PER_HOLD_MIN * self.renew_ms + self.round_trip_ms
    }
}

/// L(1-ρ) ≥ R(1+ρ) + K with the numbers of one profile, to be judged and to be shown. L counts without the last
/// `CLOCK_STEP_MS`: a contender's clock shows whole milliseconds, so it may believe to have waited one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inequality {
    of: Profile,
}

/// Parts of a million.
const MILLION: u64 = 1_000_000;

impl Inequality {
    /// The contender's side at least, in nanoseconds of true time.
    pub fn waited_ns(&self) -> u64 {
        (self.of.wait_ms - CLOCK_STEP_MS) * (MILLION - CLOCK_DRIFT_MAX_PPM)
    }

    /// The holder's side at most, in nanoseconds of true time.
    pub fn acted_ns(&self) -> u64 {
        self.of.hold_ms * (MILLION + CLOCK_DRIFT_MAX_PPM) + self.of.stop_ms * MILLION
    }

    pub fn holds(&self) -> bool {
        self.waited_ns() >= self.acted_ns()
    }
}

/// `lan: L(1-ρ) = 1547.451 ms ≥ R(1+ρ) + K = 1501.200 ms, with L 1550 ms, R 1200 ms, K 300 ms, ρ 1000 ppm`.
impl fmt::Display for Inequality {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |ns: u64| format!("{}.{:03} ms", ns / MILLION, ns % MILLION / 1_000);
        let sign = if self.holds() { '≥' } else { '<' };
        write!(
            out,
            "{}: L(1-ρ) = {} {sign} R(1+ρ) + K = {}, with L {} ms, R {} ms, K {} ms, ρ {CLOCK_DRIFT_MAX_PPM} ppm",
            self.of.name,
            milliseconds(self.waited_ns()),
            milliseconds(self.acted_ns()),
            self.of.wait_ms,
            self.of.hold_ms,
            self.of.stop_ms
        )
    }
}

/// A stretch of time in which a node has its lease without a gap, for those who look at it now and then instead of hearing of each
/// renewal. What is held by one span is not held by the next: in between somebody else may have begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Higher than that of the span before.
    pub number: u64,
    pub until: Time,
}

impl Span {
    /// The lease lasts until then; one that had ended already begins another span. It never gets shorter.
    pub fn renew(&mut self, now: Time, until: Time) {
        if self.until <= now {
            self.number += 1;
        }
        self.until = self.until.max(until);
    }

    /// Until when what is held by this span is held; None: no longer, whenever this is asked.
    pub fn lasts(&self, number: u64) -> Option<Time> {
        (self.number == number).then_some(self.until)
    }
}

/// The holder's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// When the newest renewal that is known to have been taken was sent, by the holder's clock.
    sent_at: Time,
    hold_ms: u64,
}

impl Holding {
    /// `sent_at` is read before the renewal leaves: later would be too long.
    pub fn new(profile: &Profile, sent_at: Time) -> Self {
        Self { sent_at, hold_ms: profile.hold_ms }
    }

    /// A renewal sent then has been taken. Acknowledgements may come in any order.
    pub fn renewed(&mut self, sent_at: Time) {
        self.sent_at = self.sent_at.max(sent_at);
    }

    /// The first moment at which nothing may be done any more.
    pub fn ends_at(&self) -> Time {
        self.sent_at + self.hold_ms
    }

    pub fn may_act(&self, now: Time) -> bool {
        now < self.ends_at()
    }
}

/// The contender's side: watches a mark of which it only matters that it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting<Mark> {
    /// What was seen last.
    mark: Mark,
    changed_at: Time,
    wait_ms: u64,
}

impl<Mark: PartialEq> Waiting<Mark> {
    /// The wait begins with the first look, whatever it shows: a holder may have renewed just before.
    pub fn new(profile: &Profile, now: Time, mark: Mark) -> Self {
        Self { mark, changed_at: now, wait_ms: profile.wait_ms }
    }

    /// Looked again. `now` is read after the look: earlier would be too short. Any difference is a sign of life, also
    /// one that goes backwards.
    pub fn saw(&mut self, now: Time, mark: Mark) {
        if self.mark != mark {
            self.mark = mark;
            self.changed_at = self.changed_at.max(now);
        }
    }

    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// When the mark was seen to change last.
    pub fn changed_at(&self) -> Time {
        self.changed_at
    }

    /// From then on the holder has stopped, unless the mark changes again.
    pub fn ends_at(&self) -> Time {
        self.changed_at + self.wait_ms
    }

    pub fn is_over(&self, now: Time) -> bool {
        now >= self.ends_at()
    }
}

#[cfg(test)]
mod tests;
