//! Leaves members out for a while that fail one request after the other, and brings them back gently.
//!
//! Promises: never more than `eject_percent_max` of a cluster's members at once (one at least may be, in a cluster of
//! several); a time out that grows with each one that follows soon after the last, up to `EJECTIONS_COUNTED_MAX` times
//! the first; success in between makes the count of failures begin anew.
//! Not here: members that this router cannot reach (`Mark`), and what the cell's probes find (see `run_state`).

use super::{Balancer, Member, Part, Scope, Standing, Tried};
use crate::limits::EJECTIONS_COUNTED_MAX;
use crate::time::Time;

#[derive(Debug, Clone, Default)]
pub struct Ejection {
    failures_in_row: u32,
    /// How often it was left out of late.
    times: u32,
    until: Option<Time>,
}

/// What an attempt says about its member's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// How many failures in a row it had.
    pub failures: u32,
    pub for_ms: u64,
}

impl Ejection {
    pub fn is_out(&self, now: Time) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub fn has_been_out(&self) -> bool {
        self.until.is_some()
    }

    pub fn until(&self) -> Option<Time> {
        self.until
    }
}

impl Balancer {
    /// An attempt at the member succeeded, and its answer began after so many microseconds.
    pub fn measured(&mut self, index: u16, latency_us: u64, now: Time) {
        let Some(member) = self.members.get_mut(index as usize) else { return };
        member.load.measured(latency_us, false, &mut self.typical, now);
        member.ejection.failures_in_row = 0;
    }

    /// An attempt at the member failed, or its answer is one of failure. Says when that is one too many and the
    /// member is left out from now on. `counts` is false for a failure that only makes it look slow.
    pub fn measured_failure(&mut self, index: u16, latency_us: u64, counts: bool, now: Time) -> Option<Left> {
        let member = self.members.get_mut(index as usize)?;
        member.load.measured(latency_us, true, &mut self.typical, now);
        if self.health.eject_after == 0 || !counts || member.ejection.is_out(now) {
            return None;
        }
        member.ejection.failures_in_row += 1;
        if member.ejection.failures_in_row < self.health.eject_after || !self.may_eject(now) {
            return None;
        }
        let eject_ms = self.health.eject_ms;
        let ejection = &mut self.members[index as usize].ejection;
        // Good conduct for as long as the longest time out wipes the slate clean.
        let longest_ms = eject_ms.saturating_mul(u64::from(EJECTIONS_COUNTED_MAX));
        if ejection.until.is_none_or(|until| now > until + longest_ms) {
            ejection.times = 0;
        }
        ejection.times = (ejection.times + 1).min(EJECTIONS_COUNTED_MAX);
        let for_ms = eject_ms.saturating_mul(u64::from(ejection.times));
        let failures = std::mem::take(&mut ejection.failures_in_row);
        ejection.until = Some(now + for_ms);
        self.has_left_out = true;
        if self.health.slow_start_ms > 0 {
            self.members[index as usize].rises_since = Some(now + for_ms);
            self.rises_until = self.rises_until.max(now + for_ms + self.health.slow_start_ms);
        }
        Some(Left { failures, for_ms })
    }

    /// Whether one more may be left out.
    fn may_eject(&self, now: Time) -> bool {
        let count = self.members.iter().filter(|member| member.is_up()).count();
        let out = self.members.iter().filter(|member| member.is_up() && member.ejection.is_out(now)).count();
        let most = (count * self.health.eject_percent_max as usize / 100).max(1);
        count > 1 && self.health.eject_percent_max > 0 && out < most
    }

    /// How long the member is still left out for its failures; 0 if it is not.
    pub fn ejected_for_ms(&self, index: u16, now: Time) -> u64 {
        let until = self.members.get(index as usize).and_then(|member| member.ejection.until());
        until.map_or(0, |until| until.since_ms(now))
    }

    /// So few of the members can be used that leaving out would make things worse.
    pub(crate) fn is_panic(&self, now: Time) -> bool {
        if !self.has_left_out || self.health.panic_percent == 0 {
            return false;
        }
        let primaries = || self.members.iter().filter(|member| member.weight > 0 && !member.is_backup);
        let usable = primaries().filter(|member| member.is_up() && !member.is_left_out(now)).count();
        usable * 100 < primaries().count() * self.health.panic_percent as usize
    }

    /// Those that may get a request now.
    pub(super) fn scope<'a>(&mut self, part: Part, tried: &'a Tried, now: Time) -> Scope<'a> {
        Scope { tried, now, part, is_panic: self.is_panic(now), share_min: 0 }
    }

    /// What share of its weight the member gets now, in thousandths: less while it comes back.
    pub(super) fn share(&self, member: &Member, now: Time) -> u32 {
        let Some(since) = member.rises_since else { return 1000 };
        let slow_start_ms = self.health.slow_start_ms.max(1);
        let risen_ms = now.since_ms(since);
        if risen_ms >= slow_start_ms {
            return 1000;
        }
        // A tenth at once: with nothing it would not warm up.
        100 + (risen_ms * 900 / slow_start_ms) as u32
    }

    /// How much of a part can be used. Weights are those of the configuration, so that clusters can be compared.
    pub fn standing(&mut self, part: Part, tried: &Tried, now: Time) -> Standing {
        let scope = self.scope(part, tried, now);
        let mut standing = Standing::default();
        for (index, (member, names)) in self.members.iter().zip(&self.names).enumerate() {
            if member.is_backup || !member.is_in(part) {
                continue;
            }
            let weight = u64::from(names.weight);
            standing.whole += weight;
            if member.takes_new(&scope) && !tried.contains(index as u16) {
                standing.usable += weight;
            }
        }
        standing
    }
}
