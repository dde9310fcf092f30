//! How far the count of sessions is from the truth.

use super::*;
use crate::seed::Chance;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn keys(seed: u64, count: u64) -> impl Iterator<Item = u64> {
    let mut chance = Chance::new(seed);
    (0..count).map(move |_| chance.bits())
}

/// Keys that share no register, so that few of them are counted exactly.
fn apart(numbers: std::ops::Range<u64>) -> impl Iterator<Item = u64> {
    numbers.map(|number| number << (64 - REGISTER_BITS))
}

#[test]
fn the_estimate_is_within_three_standard_errors() {
    for count in [0, 1, 5, 20, 64, 300, 1_000, 5_000, 100_000] {
        let mut sketch = Sketch::default();
        keys(count + 7, count).for_each(|key| sketch.add(key));
        let error = (sketch.estimate() as f64 - count as f64).abs();
        assert!(error <= 0.14 * count as f64, "{} for {count}", sketch.estimate());
    }
}

#[test]
fn a_session_seen_again_counts_once() {
    let mut count = SessionCount::default();
    for second in 0..250 {
        apart(0..10).for_each(|key| count.add(key, Time(second * 1000)));
    }
    assert_eq!(count.estimate(Time(250_000)), 10);
}

#[test]
fn threads_that_saw_the_same_session_count_it_once() {
    let (mut left, mut right) = (SessionCount::default(), SessionCount::default());
    apart(0..10).for_each(|key| left.add(key, Time(90_000)));
    apart(0..15).for_each(|key| right.add(key, Time(110_000)));
    left.merge(&right, Time(110_000));
    assert_eq!(left.estimate(Time(110_000)), 15);
}

#[test]
fn an_idle_thread_does_not_bring_old_sessions_back() {
    let (mut left, mut right) = (SessionCount::default(), SessionCount::default());
    apart(0..10).for_each(|key| right.add(key, Time(0)));
    left.add(3, Time(4 * SESSION_WINDOW_MS));
    left.merge(&right, Time(4 * SESSION_WINDOW_MS));
    assert_eq!(left.estimate(Time(4 * SESSION_WINDOW_MS)), 1);
}

proptest! {
    /// While a register holds one key at most the estimate is that of a set.
    #[test]
    fn few_sessions_are_counted_as_a_set_of_windows_would(
        steps in prop::collection::vec((0u64..150_000, 0u64..12), 1..40),
    ) {
        let all: Vec<u64> = apart(0..12).collect();
        let mut count = SessionCount::default();
        let (mut now, mut seen) = (0, Vec::new());
        for (pause, key) in steps {
            now += pause;
            count.add(all[key as usize], Time(now));
            seen.push((now / SESSION_WINDOW_MS, key));
            let oldest = (now / SESSION_WINDOW_MS).saturating_sub(3);
            let distinct: BTreeSet<u64> =
                seen.iter().filter(|(window, _)| *window >= oldest).map(|(_, key)| *key).collect();
            prop_assert_eq!(count.estimate(Time(now)), distinct.len() as u64);
        }
    }
}
