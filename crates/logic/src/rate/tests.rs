//! Rates and bursts of callers, and the bounds of the table.

use super::*;
use crate::seed::Chance;

const S: u64 = NS_PER_S;

fn table(requests_per_second: u32, burst: u32) -> RateTable {
    RateTable::new(&RateLimit { header: None, requests_per_second, burst })
}

fn within(table: &mut RateTable, key: u64, now_ns: u64, asked: u32) -> u32 {
    (0..asked).map(|_| u32::from(table.ask(key, now_ns) == Verdict::Within)).sum()
}

#[test]
fn a_burst_passes_and_then_the_rate() {
    let mut table = table(10, 20);
    assert_eq!(within(&mut table, 7, 100 * S, 50), 20);
    assert_eq!(within(&mut table, 7, 101 * S, 50), 10);
    assert_eq!(within(&mut table, 7, 101 * S + S / 2, 50), 5);
    assert_eq!(within(&mut table, 7, 900 * S, 50), 20);
}

#[test]
fn over_a_long_time_a_caller_gets_the_rate_whatever_the_pattern() {
    let mut table = table(100, 5);
    let (mut chance, mut now_ns, mut passed) = (Chance::new(1), S, 0);
    for _ in 0..100_000 {
        now_ns += u64::from(chance.below(2_000_000));
        passed += within(&mut table, 3, now_ns, 1);
    }
    let seconds = (now_ns - S) as f64 / S as f64;
    let rate = f64::from(passed - 5) / seconds;
    assert!((99.0..=100.1).contains(&rate), "{rate} each second");
}

#[test]
fn whoever_is_refused_hears_when_to_come_again() {
    let mut table = RateTable::new(&RateLimit { header: None, requests_per_second: 1, burst: 1 });
    assert_eq!(table.ask(1, S), Verdict::Within);
    assert_eq!(table.ask(1, S), Verdict::Beyond { retry_after_s: 1 });
    assert_eq!(table.ask(1, S + 900_000_000), Verdict::Beyond { retry_after_s: 1 });
    assert_eq!(table.ask(1, 2 * S), Verdict::Within);
}

#[test]
fn callers_do_not_share_and_a_flood_of_strangers_locks_nobody_out() {
    let mut table = table(1, 2);
    let mut chance = Chance::new(9);
    for _ in 0..10 * RATE_SETS * RATE_PLACES_PER_KEY {
        assert_eq!(table.ask(chance.bits(), S), Verdict::Within);
    }
    assert_eq!(table.places.len(), RATE_SETS * RATE_PLACES_PER_KEY);
}

#[test]
fn a_clock_that_stands_or_steps_back_lends_nothing() {
    let mut table = table(1, 1);
    assert_eq!(table.ask(1, 10 * S), Verdict::Within);
    assert_eq!(table.ask(1, 9 * S), Verdict::Beyond { retry_after_s: 2 });
    assert_eq!(table.ask(2, 0), Verdict::Within);
}

#[test]
fn addresses_of_one_ipv6_network_are_one_caller() {
    let network = |text: &str| network(text.parse().expect("an address"));
    assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
    assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
    assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
}
