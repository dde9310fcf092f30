//! The inequality of each profile, and that it is what keeps two machines with drifting clocks from acting at once.

use super::*;
use crate::limits::ADDRESS_GONE_AFTER_MS;
use crate::seed::Chance;
use expect_test::expect;

#[test]
fn every_profile_is_safe_and_lasts() {
    for profile in &PROFILES {
        assert!(profile.safety().holds(), "{}", profile.safety());
        assert!(profile.is_lasting(), "{} loses its lease on a slow network", profile.name);
        assert_eq!(Profile::named(profile.name), Some(profile));
        let across = profile.across_leaders();
        assert!(across.safety().holds(), "{}", across.safety());
        // Granted just before its leader is lost: the next one begins L after that one's last renewal, and has as long as a lease
        // is to read the store and to be heard.
        assert!(across.hold_ms >= profile.wait_ms + profile.hold_ms, "{}", profile.name);
    }
    assert_eq!(Profile::named("reckless"), None);
}

#[test]
fn nobody_takes_over_before_the_system_has_taken_an_address_from_a_machine_on_which_everything_was_killed() {
    for profile in &PROFILES {
        let waited_ms = profile.safety().waited_ns() / MILLION;
        assert!(waited_ms >= ADDRESS_GONE_AFTER_MS, "{} waits {waited_ms} ms", profile.name);
    }
}

#[test]
fn an_inequality_is_shown_with_its_numbers() {
    let shown: Vec<String> = PROFILES.iter().map(|profile| profile.safety().to_string()).collect();
    expect![[r#"
        fast: L(1-ρ) = 1297.701 ms ≥ R(1+ρ) + K = 1000.800 ms, with L 1300 ms, R 800 ms, K 200 ms, ρ 1000 ppm
        normal: L(1-ρ) = 1547.451 ms ≥ R(1+ρ) + K = 1501.200 ms, with L 1550 ms, R 1200 ms, K 300 ms, ρ 1000 ppm
        careful: L(1-ρ) = 7091.901 ms ≥ R(1+ρ) + K = 7005.000 ms, with L 7100 ms, R 5000 ms, K 2000 ms, ρ 1000 ppm"#]]
    .assert_eq(&shown.join("\n"));
    let tight = Profile { name: "tight", wait_ms: 1_000, ..FAST };
    assert!(!tight.safety().holds());
    assert!(tight.safety().to_string().contains("998.001 ms < R(1+ρ) + K = 1000.800 ms"));
}

/// A clock that shows whole milliseconds, off by any amount and wrong by so many millionths.
struct Clock {
    offset_us: u64,
    drift_ppm: i64,
}

impl Clock {
    fn time(&self, true_us: u64) -> Time {
        let run = i128::from(true_us) * (1_000_000 + i128::from(self.drift_ppm)) / 1_000_000;
        Time((run as u64 + self.offset_us) / 1_000)
    }

    /// The first true microsecond at which it shows that time.
    fn reaches(&self, time: Time) -> u64 {
        let run = i128::from(time.0 * 1_000) - i128::from(self.offset_us);
        let guess = (run * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm))) as u64;
        (guess.saturating_sub(2)..).find(|at| self.time(*at) >= time).expect("clocks go on")
    }
}

/// True microseconds between the holder's end, K included, and the contender's begin; None: they overlap.
fn gap(profile: &Profile, holder: &Clock, contender: &Clock, sent_us: u64, delay_us: u64) -> Option<u64> {
    let holding = Holding::new(profile, holder.time(sent_us));
    let mut waiting = Waiting::new(profile, contender.time(sent_us / 2), 1);
    waiting.saw(contender.time(sent_us + delay_us), 2);
    let stopped_us = holder.reaches(holding.ends_at()) + profile.stop_ms * 1_000;
    let begins_us = contender.reaches(waiting.ends_at());
    begins_us.checked_sub(stopped_us)
}

#[test]
fn clocks_within_their_drift_never_let_two_act_at_once() {
    let mut chance = Chance::new(1);
    let mut least_us = u64::MAX;
    for profile in &PROFILES {
        for round in 0..20_000 {
            let mut drift = |extreme: i64| {
                if round % 2 == 0 { extreme } else { i64::from(chance.below(2_001)) - 1_000 }
            };
            let (slow, quick) = (drift(-1_000), drift(1_000));
            let mut clock =
                |drift_ppm| Clock { offset_us: u64::from(chance.below(1_000_000_000)), drift_ppm };
            let (holder, contender) = (clock(slow), clock(quick));
            let sent_us = 10_000_000 + u64::from(chance.below(10_000));
            let gap = gap(profile, &holder, &contender, sent_us, u64::from(chance.below(2)));
            least_us = least_us.min(gap.expect("nobody acts while another may"));
        }
    }
    // The profiles are not wasteful either: the least gap is below a tenth of a second.
    assert!(least_us < 100_000, "{least_us}");
}

#[test]
fn a_clock_beyond_the_drift_breaks_the_promise_so_the_test_above_means_something() {
    let holder = Clock { offset_us: 0, drift_ppm: -40_000 };
    let contender = Clock { offset_us: 0, drift_ppm: 40_000 };
    let tight = Profile { wait_ms: 1_050, ..FAST };
    assert_eq!(gap(&tight, &holder, &contender, 10_000_000, 0), None);
    let unsafe_profile = Profile { wait_ms: 1_001, ..FAST };
    let honest = [Clock { offset_us: 0, drift_ppm: -1_000 }, Clock { offset_us: 999, drift_ppm: 1_000 }];
    assert_eq!(gap(&unsafe_profile, &honest[0], &honest[1], 10_000_000, 0), None);
}

#[test]
fn a_holder_counts_from_what_it_sent_last_and_was_taken() {
    let mut holding = Holding::new(&FAST, Time(100));
    holding.renewed(Time(400));
    holding.renewed(Time(300));
    assert_eq!(holding.ends_at(), Time(1_200));
    assert!(holding.may_act(Time(1_199)));
    assert!(!holding.may_act(Time(1_200)));
}

#[test]
fn a_contender_starts_again_with_every_difference() {
    let mut waiting = Waiting::new(&FAST, Time(0), 7);
    waiting.saw(Time(500), 7);
    assert_eq!(waiting.ends_at(), Time(1_300));
    waiting.saw(Time(600), 6);
    assert_eq!(waiting.ends_at(), Time(1_900));
    assert!(!waiting.is_over(Time(1_899)));
    assert!(waiting.is_over(Time(1_900)));
    assert_eq!(waiting.mark(), &6);
}
