//! Numbers that nobody has to foresee: to spread what many clients do. Not for secrets.

/// A generator of its own for each context (SplitMix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`; 0 for 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.bits()) * u128::from(end);
        (product >> 64) as u64
    }

    /// About so long: between half of it and half more, each as likely.
    pub fn about(&mut self, time_ms: u64) -> u64 {
        time_ms / 2 + self.below(time_ms + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spread_over_their_range() {
        let mut chance = Chance::new(1);
        let times: Vec<u64> = (0..1_000).map(|_| chance.about(100)).collect();
        assert!(times.iter().all(|time| (50..=150).contains(time)));
        let early = times.iter().filter(|time| **time < 100).count();
        assert!((400..600).contains(&early), "{early} of 1,000");
        assert_eq!(Chance::new(2).below(0), 0);
    }
}
