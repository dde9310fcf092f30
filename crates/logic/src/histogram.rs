//! Counts durations in buckets that grow with them, to tell percentiles in little and bounded memory.
//!
//! Four buckets for each power of two: a percentile is at most a fifth too high and never too low.
//! Durations are microseconds, up to an hour; longer ones count as that.

/// Four for each power of two up to 2^32 microseconds, and the exact ones below 4.
const BUCKETS: usize = 4 + 30 * 4;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// None while no duration was added: thousands of members without requests shall cost nothing.
    counts: Option<Box<[u32; BUCKETS]>>,
}

impl Histogram {
    pub fn add(&mut self, duration_us: u64) {
        let counts = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let count = &mut counts[bucket_of(duration_us)];
        *count = count.saturating_add(1);
    }

    /// Makes this the histogram of both.
    pub fn merge(&mut self, other: &Histogram) {
        let Some(theirs) = &other.counts else { return };
        match &mut self.counts {
            None => self.counts = Some(theirs.clone()),
            Some(mine) => {
                mine.iter_mut()
                    .zip(theirs.iter())
                    .for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
            }
        }
    }

    /// Halves every count: called at a steady pace, old durations fade.
    pub fn fade(&mut self) {
        self.counts.iter_mut().flat_map(|counts| counts.iter_mut()).for_each(|count| *count /= 2);
    }

    /// The upper end of the bucket below which `percent` of the durations lie; 0 where there are none.
    pub fn percentile_us(&self, percent: u32) -> u64 {
        let Some(counts) = &self.counts else { return 0 };
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let rank = (total * u64::from(percent)).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += u64::from(*count);
            if *count > 0 && seen >= rank {
                return upper_end_us(bucket);
            }
        }
        0
    }
}

fn bucket_of(duration_us: u64) -> usize {
    if duration_us < 4 {
        return duration_us as usize;
    }
    let power = 63 - duration_us.leading_zeros();
    let quarter = (duration_us >> (power - 2)) & 3;
    (4 + (power as usize - 2) * 4 + quarter as usize).min(BUCKETS - 1)
}

fn upper_end_us(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let (power, quarter) = ((bucket - 4) / 4 + 2, (bucket - 4) % 4);
    ((5 + quarter as u64) << (power - 2)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_within_its_bucket() {
        for duration in (0..5_000).chain([1 << 20, (1 << 31) + 12_345, (1 << 32) - 1]) {
            let end = upper_end_us(bucket_of(duration));
            assert!(end >= duration, "{duration} above its bucket's end {end}");
            assert!(end <= duration + duration / 4, "{end} is too far above {duration}");
        }
    }

    #[test]
    fn percentiles_are_those_of_a_sorted_list() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_us(99), 0);
        (1..=100).for_each(|duration| histogram.add(duration * 100));
        assert!((5_000..6_250).contains(&histogram.percentile_us(50)));
        assert!((9_900..12_400).contains(&histogram.percentile_us(99)));
        histogram.add(u64::MAX);
        assert_eq!(histogram.percentile_us(100), upper_end_us(BUCKETS - 1));
    }

    #[test]
    fn merged_durations_count_whichever_side_they_came_from() {
        let mut full = Histogram::default();
        [100, 200, 300].into_iter().for_each(|duration| full.add(duration));
        let mut empty = Histogram::default();
        empty.merge(&full);
        assert_eq!(empty, full);
        empty.merge(&Histogram::default());
        assert_eq!(empty, full);
        empty.merge(&full);
        empty.fade();
        assert_eq!(empty, full);
    }
}
