//! 256 random histories of failover groups with one manager, and 256 with two to five: agents and managers are killed and stopped,
//! cables cut, in one direction too, writes lost, scripts hang, people move groups about, change what they need while they run, and
//! put the store back to what it was; no group is ever held twice, and in the end each runs again.
//!
//! `MUSTER_SEED=n` runs that seed alone and shows its history if it fails; `MUSTER_SEEDS=n` runs so many instead of 256.

use logic::lease::{FAST, PROFILES};
use sim::{
    GroupsOutcome, Lost, run_groups_both_lost, run_groups_claimed, run_groups_leader_lost,
    run_groups_leader_unheard, run_groups_seed,
};

const STEPS: u32 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("MUSTER_SEED and MUSTER_SEEDS are numbers"))
}

/// Every other seed from `first` on, with one manager or with several.
fn histories(first: u64, has_several: bool) {
    let managers = |seed: u64| if has_several { 2 + seed as usize / 2 % 4 } else { 1 };
    let outcomes: Vec<GroupsOutcome> = match number("MUSTER_SEED") {
        Some(seed) if first == 0 => vec![run_groups_seed(managers(seed), seed, STEPS, true)],
        Some(_) => return,
        None => {
            let seeds = number("MUSTER_SEEDS").unwrap_or(256);
            (first..seeds)
                .step_by(2)
                .map(|seed| run_groups_seed(managers(seed), seed, STEPS, false))
                .collect()
        }
    };
    let sum = |count: fn(&GroupsOutcome) -> u64| outcomes.iter().map(count).sum::<u64>();
    let (starts, taken, refused) = (sum(|it| it.starts), sum(|it| it.taken), sum(|it| it.refused));
    let fenced = sum(|it| it.fenced);
    println!(
        "{} histories: {starts} starts, {taken} leases taken, {refused} refused, {fenced} nodes switched off",
        outcomes.len()
    );
    let events = |kind: &str| outcomes.iter().filter_map(|it| it.events.get(kind)).sum::<u64>();
    let (restarted, recovered) = (events("group-restarted"), events("group-recovery"));
    let (suppressed, ended) = (events("group-recovery-suppressed"), sum(|it| it.ended));
    println!("{restarted} restarts, {recovered} recoveries, {suppressed} suppressed, {ended} services ended");
    let (put_back, claimed) = (sum(|it| it.put_back), events("group-claimed"));
    let left_claimed = sum(|it| it.left_claimed);
    println!(
        "{put_back} stores put back, {left_claimed} managers lost then, {claimed} claims that the store did not know"
    );
    let is_large = outcomes.len() >= 100;
    let was_wrong = put_back > 0 && claimed > 0 && left_claimed > 0;
    assert!(!is_large || was_wrong, "no store that was put back was ever wrong");
    assert!(!is_large || [restarted, recovered, suppressed, ended].iter().all(|count| *count > 0));
    // Histories in which nothing happens would prove nothing.
    assert!(starts >= 3 * outcomes.len() as u64, "{starts} starts");
    assert!(taken > 0 || outcomes.len() < 10, "no lease was ever taken");
    let terms = sum(|it| it.terms);
    println!("{terms} terms");
    assert!(!has_several || terms > 3 * outcomes.len() as u64, "{terms} terms");
    assert!(fenced > 0 || outcomes.len() < 10, "no node was ever switched off");
}

#[test]
fn no_group_has_two_owners_in_random_histories_even() {
    histories(0, false);
}

#[test]
fn no_group_has_two_owners_in_random_histories_odd() {
    histories(1, false);
}

/// 64 times, with other delays, clocks and failures each time.
#[test]
fn a_group_that_a_silent_node_may_run_is_begun_nowhere_else_after_the_store_was_put_back() {
    let held = (0..64).filter(|seed| run_groups_claimed(*seed, false)).count();
    assert!(held >= 48, "only {held} times the node still ran it");
}

#[test]
fn no_group_has_two_owners_under_several_managers_even() {
    histories(0, true);
}

#[test]
fn no_group_has_two_owners_under_several_managers_odd() {
    histories(1, true);
}

#[test]
fn a_group_whose_node_does_not_hear_the_leader_runs_elsewhere_in_time() {
    for profile in PROFILES {
        for managers in [1, 2, 3] {
            let away_ms = (0..16).map(|seed| run_groups_leader_unheard(managers, profile, seed)).max();
            println!("{}, {managers} managers: at most {away_ms:?} ms", profile.name);
        }
    }
}

#[test]
fn what_runs_goes_on_while_another_manager_comes_to_lead() {
    for profile in PROFILES {
        for how in [Lost::Killed, Lost::Frozen, Lost::Cut, Lost::Resigned] {
            for managers in 2..=5 {
                (0..8).for_each(|seed| run_groups_leader_lost(managers, profile, how, seed));
            }
        }
    }
}

#[test]
fn a_group_whose_node_is_lost_with_the_leader_runs_elsewhere_in_time() {
    for profile in PROFILES {
        let mut away_ms = Vec::new();
        for how in [Lost::Killed, Lost::Frozen, Lost::Cut] {
            for managers in [2, 3, 5] {
                away_ms.extend((0..8).map(|seed| run_groups_both_lost(managers, profile, how, seed)));
            }
        }
        away_ms.sort_unstable();
        println!("{}: {} to {} ms", profile.name, away_ms[0], away_ms[away_ms.len() - 1]);
        assert!(profile != FAST || away_ms[away_ms.len() / 2] < 6_000, "{away_ms:?}");
    }
}
