//! What policies and protection promise over many requests: shares, ramps, bounds, and that nobody is forgotten.

use super::*;

/// Members `a`, `b` and so on, all up, of weight 1.
fn equal(policy: Policy, count: usize, number: u64) -> View {
    let lines: Vec<_> = NAMES.iter().take(count).map(|name| (*name, RunState::Up, 1)).collect();
    view(number, policy, &lines)
}

fn choose(balancer: &mut Balancer, key: u64, now: Time) -> u16 {
    let tried = Tried::default();
    match balancer.choose(std::iter::empty(), &Ask { key, ..Ask::new(&tried, now) }) {
        Choice::Member { index, .. } => index,
        other => panic!("somebody is up, not {other:?}"),
    }
}

/// A second of requests, one each millisecond; what each member answers is up to `answer`.
fn second(
    balancer: &mut Balancer,
    start: Time,
    count: usize,
    answer: impl Fn(&mut Balancer, u16, Time),
) -> Vec<u32> {
    let mut given = vec![0; count];
    for step in 0..1_000 {
        let now = start + step;
        let index = choose(balancer, step, now);
        given[usize::from(index)] += 1;
        answer(balancer, index, now);
    }
    given
}

#[test]
fn a_member_that_comes_back_gets_more_with_time_and_never_more_than_its_share() {
    for policy in [Policy::RoundRobin, Policy::Random, Policy::LeastOutstanding, Policy::Auto, Policy::Hash] {
        let mut before = equal(policy, 3, 1);
        before.members[1].state = RunState::Down;
        let mut balancer = Balancer::new(&before, 7, "");
        let mut after = equal(policy, 3, 2);
        after.health.slow_start_ms = 10_000;
        assert!(balancer.apply(&after, Time(1_000_000)));
        let mut shares = Vec::new();
        for number in 0..14 {
            let start = Time(1_000_000 + number * 1_000);
            let given = second(&mut balancer, start, 3, |balancer, index, now| {
                balancer.measured(index, 1_000, now);
            });
            shares.push(given[1]);
        }
        let told = format!("{policy:?}: {shares:?}");
        // The third of a thousand that is its own, less what it has not risen to.
        assert!((20..120).contains(&shares[0]), "a tenth at first, {told}");
        assert!((130..300).contains(&shares[4]), "about half in the middle, {told}");
        assert!(shares.iter().all(|share| *share < 400), "{told}");
        assert!(shares[11..].iter().all(|share| (270..400).contains(share)), "all in the end, {told}");
    }
}

#[test]
fn a_member_that_was_slow_is_noticed_when_it_is_quick_again() {
    let view = equal(Policy::Auto, 4, 1);
    let mut balancer = Balancer::new(&view, 3, "");
    let answers = |slow_us: u64| {
        move |balancer: &mut Balancer, index: u16, now: Time| {
            balancer.measured(index, if index == 0 { slow_us } else { 1_000 }, now);
        }
    };
    for number in 0..10 {
        second(&mut balancer, Time(number * 1_000), 4, answers(100_000));
    }
    let slow = second(&mut balancer, Time(10_000), 4, answers(100_000));
    assert!((1..60).contains(&slow[0]), "little, but not nothing: {slow:?}");
    for number in 11..40 {
        second(&mut balancer, Time(number * 1_000), 4, answers(1_000));
    }
    let quick = second(&mut balancer, Time(40_000), 4, answers(1_000));
    assert!(quick[0] > 180, "a quarter or so of them again: {quick:?}");
}

#[test]
fn failing_fast_does_not_attract_requests() {
    let view = equal(Policy::Auto, 3, 1);
    let mut balancer = Balancer::new(&view, 5, "");
    let answer = |balancer: &mut Balancer, index: u16, now: Time| {
        if index == 0 {
            let left = balancer.measured_failure(index, 100, false, now);
            assert_eq!(left, None, "such failures do not count against it");
        } else {
            balancer.measured(index, 20_000, now);
        }
    };
    for number in 0..5 {
        second(&mut balancer, Time(number * 1_000), 3, answer);
    }
    let given = second(&mut balancer, Time(5_000), 3, answer);
    assert!((1..80).contains(&given[0]), "{given:?}");
}

#[test]
fn auto_honours_weights_on_average() {
    let mut view = equal(Policy::Auto, 3, 1);
    for (member, weight) in view.members.iter_mut().zip([1, 2, 5]) {
        member.weight = weight;
    }
    let mut balancer = Balancer::new(&view, 9, "");
    let mut given = [0; 3];
    for number in 0..8 {
        let some = second(&mut balancer, Time(number * 1_000), 3, |balancer, index, now| {
            balancer.measured(index, 1_000 + now.0 % 7 * 20, now);
        });
        given.iter_mut().zip(some).for_each(|(sum, some)| *sum += some);
    }
    for (given, weight) in given.iter().zip([1, 2, 5]) {
        assert!((850 * weight..1_150 * weight).contains(given), "{given} of 8000 for weight {weight}");
    }
}

#[test]
fn a_key_keeps_its_member_and_only_those_of_one_that_leaves_move() {
    let view = equal(Policy::Hash, 5, 1);
    let mut balancer = Balancer::new(&view, 1, "");
    let homes: Vec<u16> = (0..2_000).map(|key| choose(&mut balancer, key * 7_919, Time(0))).collect();
    let mut other = Balancer::new(&view, 99, "");
    let again: Vec<u16> = (0..2_000).map(|key| choose(&mut other, key * 7_919, Time(5))).collect();
    assert_eq!(homes, again, "whatever the router and the time");
    for index in 0..5 {
        let own = homes.iter().filter(|home| **home == index).count();
        assert!((300..500).contains(&own), "{own} of 2000 keys are of one of five");
    }
    let mut without = equal(Policy::Hash, 5, 2);
    without.members[2].state = RunState::Down;
    balancer.apply(&without, Time(10));
    for (number, home) in homes.iter().enumerate() {
        let now = choose(&mut balancer, number as u64 * 7_919, Time(10));
        assert!(now != 2 && (*home == 2 || now == *home), "key {number} moved from {home} to {now}");
    }
}

#[test]
fn one_key_that_everybody_wants_does_not_overload_its_member() {
    let view = equal(Policy::Hash, 4, 1);
    let mut balancer = Balancer::new(&view, 1, "");
    let mut under_way = [0_u32; 4];
    for request in 1..=400_u32 {
        let index = choose(&mut balancer, 42, Time(0));
        under_way[usize::from(index)] += 1;
        balancer.set_in_flight(index, under_way[usize::from(index)]);
        let most = (f64::from(request) / 4.0 * 1.25).ceil() as u32;
        assert!(under_way.iter().all(|count| *count <= most), "{under_way:?} of {request}");
    }
    assert!(under_way.iter().all(|count| *count > 20), "what is over goes to others: {under_way:?}");
}

#[test]
fn ejection_lasts_longer_each_time_and_good_conduct_is_rewarded() {
    let mut view = equal(Policy::RoundRobin, 3, 1);
    (view.health.eject_after, view.health.eject_ms) = (2, 1_000);
    let mut balancer = Balancer::new(&view, 1, "");
    let mut fail_at = |at: u64| {
        assert_eq!(balancer.measured_failure(0, 10, true, Time(at)), None);
        balancer.measured_failure(0, 10, true, Time(at)).map(|left| left.for_ms)
    };
    assert_eq!(fail_at(0), Some(1_000));
    assert_eq!(fail_at(1_000), Some(2_000));
    assert_eq!(fail_at(3_000), Some(3_000));
    // Ten times the first time out after the end of the last.
    assert_eq!(fail_at(6_000 + 10_001), Some(1_000));
    balancer.measured_failure(1, 10, true, Time(50_000));
    balancer.measured(1, 10, Time(50_000));
    assert_eq!(balancer.measured_failure(1, 10, true, Time(50_000)), None, "not in a row");
}

#[test]
fn panic_uses_those_that_only_their_probe_speaks_against() {
    let mut view = equal(Policy::RoundRobin, 4, 1);
    view.health.panic_percent = 50;
    for member in &mut view.members[..3] {
        (member.state, member.only_fails_probe) = (RunState::Down, true);
    }
    view.members[2].only_fails_probe = false;
    let mut one_up = balancer(&view);
    let all = turns(&mut one_up, &view, 9);
    assert_eq!(["a", "b", "c", "d"].map(|name| all.matches(name).count()), [3, 3, 0, 3], "{all}");
    assert_eq!(ask(&mut one_up, &view, &["cb"]), "b", "with its sessions");
    view.health.panic_percent = 25;
    assert_eq!(turns(&mut balancer(&view), &view, 3), "ddd", "one of four can be used, and that is enough");
    view.members[0].state = RunState::Failed;
    view.health.panic_percent = 100;
    assert!(!turns(&mut balancer(&view), &view, 6).contains('a'), "it has given up, whatever its probe says");
}

proptest! {
    #[test]
    fn never_more_than_the_configured_part_is_left_out_for_failing(
        count in 1usize..6,
        percent in 0u32..=100,
        eject_after in 1u32..4,
        failures in prop::collection::vec((0u16..6, 0u64..400, any::<bool>()), 1..200),
    ) {
        let mut view = equal(Policy::RoundRobin, count, 1);
        view.health.eject_percent_max = percent;
        (view.health.eject_after, view.health.eject_ms) = (eject_after, 700);
        let mut balancer = Balancer::new(&view, 1, "");
        let most = if count < 2 || percent == 0 { 0 } else { (count * percent as usize / 100).max(1) };
        let mut now = Time(0);
        let mut in_row = vec![0; count];
        for (index, pause, is_failure) in failures {
            now = now + pause;
            let index = index % count as u16;
            let was_out = balancer.ejected_for_ms(index, now) > 0;
            if !is_failure {
                balancer.measured(index, 10, now);
                in_row[usize::from(index)] = 0;
                continue;
            }
            let left = balancer.measured_failure(index, 10, true, now);
            if !was_out {
                in_row[usize::from(index)] += 1;
            }
            if let Some(left) = left {
                prop_assert!(!was_out && left.failures >= eject_after);
                prop_assert_eq!(left.failures, in_row[usize::from(index)]);
                in_row[usize::from(index)] = 0;
            }
            let out = (0..count as u16).filter(|index| balancer.ejected_for_ms(*index, now) > 0).count();
            prop_assert!(out <= most, "{} of {} are out, {} may be", out, count, most);
        }
    }
}
