//! Random histories of a simulated cell: 256 seeds with faults and 256 of planned work, 2,000 steps each.
//!
//! `MUSTER_SEED=n` runs that seed alone, in both kinds, and shows its history if it fails; `MUSTER_SEEDS=n` runs so many
//! instead of 256. Not here: single stories (see `scenarios`).

use sim::{Kind, Outcome, run_seed};

const STEPS: u32 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("MUSTER_SEED and MUSTER_SEEDS are numbers"))
}

/// Runs every fourth seed from `first` on, so that four tests share the work of as many threads.
fn run(kind: Kind, first: u64, seeds: u64) -> Vec<Outcome> {
    match number("MUSTER_SEED") {
        Some(seed) if first == 0 => vec![run_seed(kind, seed, STEPS, true)],
        Some(_) => Vec::new(),
        None => {
            let seeds = number("MUSTER_SEEDS").unwrap_or(seeds);
            (first..seeds).step_by(4).map(|seed| run_seed(kind, seed, STEPS, false)).collect()
        }
    }
}

/// Faults keep every promise, and each of the things that promises are about did happen.
fn faults(first: u64) {
    let outcomes = run(Kind::Faults, first, 256);
    if outcomes.len() < 16 {
        return;
    }
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let count = outcomes.len() as u64;
    assert!(sum(|outcome| outcome.tally.answered) > count * 1_000, "clients were served");
    assert!(sum(|outcome| outcome.tally.retried) > count * 10, "requests were tried again");
    assert!(sum(|outcome| outcome.tally.moved) > count, "sessions changed their member");
    assert!(sum(|outcome| outcome.cycles) > count * 10, "turns were followed");
    assert!(sum(|outcome| outcome.kept) > count * 100, "sessions were kept");
    let left_hung = sum(|outcome| outcome.left_hung);
    assert!(left_hung > count / 4, "agents replaced processes that hung");
    let longest = outcomes.iter().map(|outcome| outcome.whole_after_ms).max();
    println!(
        "{count} histories of {} events, {left_hung} left hung, whole after at most {longest:?} ms",
        sum(|outcome| outcome.events) / count
    );
}

#[test]
fn faults_break_no_promise_first_quarter() {
    faults(0);
}

#[test]
fn faults_break_no_promise_second_quarter() {
    faults(1);
}

#[test]
fn faults_break_no_promise_third_quarter() {
    faults(2);
}

#[test]
fn faults_break_no_promise_fourth_quarter() {
    faults(3);
}

/// Stops, restarts, drains and new configurations fail no request.
fn planned(first: u64) {
    let outcomes = run(Kind::Planned, first, 256);
    let answered: u64 = outcomes.iter().map(|outcome| outcome.tally.answered).sum();
    assert!(outcomes.is_empty() || answered > 1_000, "clients were served");
}

#[test]
fn planned_work_fails_no_request_first_quarter() {
    planned(0);
}

#[test]
fn planned_work_fails_no_request_second_quarter() {
    planned(1);
}

#[test]
fn planned_work_fails_no_request_third_quarter() {
    planned(2);
}

#[test]
fn planned_work_fails_no_request_fourth_quarter() {
    planned(3);
}

/// In these a conversation finds a new home within a turn, and counts in its new member's share.
#[test]
fn seeds_that_have_failed_once() {
    for seed in [1_004, 6_787] {
        run_seed(Kind::Faults, seed, STEPS, false);
    }
}

#[test]
fn a_seed_gives_the_same_history_each_time() {
    let run = || format!("{:?}", run_seed(Kind::Faults, 7, 300, false));
    assert_eq!(run(), run());
}
