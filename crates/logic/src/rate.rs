//! Says whether one more request of a caller keeps within a rate: a token bucket for each caller, in fixed memory.
//!
//! A bucket is one time: when it will be full again. It holds `burst` tokens and gets `requests_per_second` of them each
//! second; a caller who is not in the table has a full one. The table never grows: a caller has eight places; where
//! all are taken, the one whose bucket is nearest to full is forgotten and begins anew with a full one, so that a flood of
//! strangers can never lock anybody out, and gains at most its own bursts.
//! Pure: `now_ns` and the hash of the caller come from outside. Not here: whose requests count together (see `key`).

use crate::limits::{RATE_PLACES_PER_KEY, RATE_SETS};
use std::net::IpAddr;
use wire::settings::RateLimit;

const NS_PER_S: u64 = 1_000_000_000;

/// Buckets of all callers of one route.
#[derive(Debug)]
pub struct RateTable {
    /// Time between two tokens.
    interval_ns: u64,
    /// Time in which an empty bucket becomes full.
    fill_ns: u64,
    /// Key and the time at which its bucket is full, so that an entry that lies in the past says nothing.
    places: Vec<[u64; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Within,
    /// The next token comes in so many seconds, rounded up: one, unless the clock stepped back.
    Beyond {
        retry_after_s: u8,
    },
}

impl RateTable {
    pub fn new(limit: &RateLimit) -> Self {
        let interval_ns = NS_PER_S / u64::from(limit.requests_per_second.max(1));
        let fill_ns = interval_ns.saturating_mul(u64::from(limit.burst.max(1)));
        Self { interval_ns, fill_ns, places: vec![[0; 2]; RATE_SETS * RATE_PLACES_PER_KEY] }
    }

    /// Takes a token of `key`, a good hash of the caller, if there is one.
    pub fn ask(&mut self, key: u64, now_ns: u64) -> Verdict {
        let set = (key >> 32) as usize % RATE_SETS * RATE_PLACES_PER_KEY;
        let set = &mut self.places[set..set + RATE_PLACES_PER_KEY];
        let known = set.iter().position(|place| place[0] == key);
        let place = known.unwrap_or_else(|| {
            let nearest_to_full = (0..set.len()).min_by_key(|at| set[*at][1]);
            nearest_to_full.expect("a set has places")
        });
        let full_at = if known.is_some() { set[place][1].max(now_ns) } else { now_ns };
        let next = full_at.saturating_add(self.interval_ns);
        let beyond_ns = next.saturating_sub(now_ns).saturating_sub(self.fill_ns);
        if beyond_ns > 0 {
            let retry_after_s = u8::try_from(beyond_ns.div_ceil(NS_PER_S)).unwrap_or(u8::MAX);
            return Verdict::Beyond { retry_after_s };
        }
        set[place] = [key, next];
        Verdict::Within
    }
}

/// What of a client's address counts as one caller: an IPv4 address, or the 64 bits of an IPv6 one that name a network,
/// because a single host may use all addresses within it.
pub fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
    }
}

#[cfg(test)]
mod tests;
