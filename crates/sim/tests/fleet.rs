//! A fleet of nodes and managers: stories with their complete histories (each file in `fleet/` is a script, a line of
//! dashes, and what happens), 256 random histories, and a day of heartbeats over a network that loses one of a hundred.
//!
//! `UPDATE_EXPECT=1` writes the histories anew. `MUSTER_SEED=n` runs that seed alone and shows its history if it fails;
//! `MUSTER_SEEDS=n` runs so many instead of 256. `MUSTER_DAY_NODES=n` simulates a whole day of so many nodes.

use expect_test::expect_file;
use sim::{Day, FleetOutcome, run_fleet_scenario, run_fleet_seed};

const STEPS: u32 = 250;

fn check(name: &str) {
    let path = format!("{}/tests/fleet/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the scenario is part of the project");
    let script = text.split("\n----\n").next().expect("split gives at least one part").trim_end();
    let history = run_fleet_scenario(script).expect("the script is understood");
    expect_file![path].assert_eq(&format!("{script}\n----\n{history}"));
}

#[test]
fn leader_killed_during_commit() {
    check("leader-killed");
}

#[test]
fn leader_in_the_minority() {
    check("minority");
}

#[test]
fn manager_stopped_and_resumed() {
    check("stopped");
}

#[test]
fn one_way_loss() {
    check("one-way");
}

#[test]
fn heard_by_other_nodes_only() {
    check("nearby");
}

#[test]
fn rack_gone() {
    check("rack");
}

#[test]
fn rack_gone_but_for_one_that_is_heard_by_other_nodes() {
    check("rack-half-heard");
}

#[test]
fn busy_manager() {
    check("busy");
}

#[test]
fn fast_reboot() {
    check("reboot");
}

#[test]
fn clock_stepped() {
    check("clock");
}

#[test]
fn store_away_and_restored() {
    check("store");
}

#[test]
fn store_full() {
    check("full");
}

#[test]
fn leader_stopped_during_commit() {
    check("stopped-in-commit");
}

#[test]
fn node_taken_over_and_released() {
    check("take-over");
}

#[test]
fn forged_heartbeats() {
    check("forged");
}

#[test]
fn each_manager_killed_in_its_turn() {
    check("killed-in-turn");
}

#[test]
fn resigned() {
    check("resigned");
}

#[test]
fn store_put_back_to_a_release() {
    check("released");
}

#[test]
fn every_scenario_is_run() {
    let files = std::fs::read_dir(format!("{}/tests/fleet", env!("CARGO_MANIFEST_DIR")));
    let source = include_str!("fleet.rs");
    let page = include_str!("../../../docs/reference/robustness.md");
    for file in files.expect("the scenarios are part of the project") {
        let name = file.expect("the directory can be read").file_name();
        let name = name.into_string().expect("names are plain");
        let name = name.trim_end_matches(".txt");
        assert!(source.contains(&format!("check(\"{name}\")")), "{name} is not run");
        assert!(
            page.contains(&format!("`fleet/{name}`")),
            "docs/reference/robustness.md does not tell of {name}"
        );
    }
}

#[test]
fn a_script_that_is_not_understood_names_its_line() {
    let wrong = run_fleet_scenario("managers 1\nat 1 dance node-1");
    assert_eq!(wrong, Err("not understood: at 1 dance node-1".into()));
    assert_eq!(run_fleet_scenario("at 1 kill node-9"), Err("not understood: at 1 kill node-9".into()));
    assert_eq!(run_fleet_scenario("managers one"), Err("not understood: managers one".into()));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("MUSTER_SEED, MUSTER_SEEDS and MUSTER_DAY_NODES are numbers"))
}

/// Every fourth seed from `first` on.
fn faults(first: u64) {
    let outcomes: Vec<FleetOutcome> = match number("MUSTER_SEED") {
        Some(seed) if first == 0 => vec![run_fleet_seed(seed, STEPS, true)],
        Some(_) => Vec::new(),
        None => {
            let seeds = number("MUSTER_SEEDS").unwrap_or(256);
            (first..seeds).step_by(4).map(|seed| run_fleet_seed(seed, STEPS, false)).collect()
        }
    };
    if outcomes.len() < 16 {
        return;
    }
    // Each of the things that promises are about did happen.
    let sum = |of: fn(&FleetOutcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let count = outcomes.len() as u64;
    assert!(sum(|outcome| outcome.elections) > 2 * count, "leaders changed");
    assert!(sum(|outcome| outcome.batches) > 5 * count, "verdicts were said");
    assert!(sum(|outcome| outcome.take_overs) > count / 4, "nodes were taken over from");
    assert!(sum(|outcome| outcome.restarts) > count, "nodes started again");
    assert!(sum(|outcome| outcome.alarms) > count / 4, "managers distrusted themselves");
    assert!(sum(|outcome| outcome.refused) > count, "datagrams were sent again by others");
    let longest_us = outcomes.iter().map(|outcome| outcome.whole_after_us).max();
    println!(
        "{count} histories of {} events, whole after at most {longest_us:?} us",
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

#[test]
fn a_seed_gives_the_same_history_each_time() {
    let run = || format!("{:?}", run_fleet_seed(7, 60, false));
    assert_eq!(run(), run());
}

#[test]
fn a_day_at_one_percent_loss_suspects_nobody() {
    let (nodes, seconds) = match number("MUSTER_DAY_NODES") {
        Some(nodes) => (nodes as u32, 86_400),
        // A day of four nodes and two minutes of 3,000: as many heartbeats as seconds of the test allow.
        None => (4, 86_400),
    };
    for (nodes, seconds) in [(nodes, seconds), (3_000, 120)] {
        let day = Day { nodes, managers: 3, seconds, loss: 100, seed: 1 };
        let outcome = day.run();
        println!(
            "{nodes} nodes, {seconds} s: {} heartbeats, {} lost, {} questions",
            outcome.heartbeats, outcome.lost, outcome.questions
        );
        assert!(outcome.questions > 0, "losses in a row did happen");
        assert_eq!(outcome.false_verdicts, 0, "nodes that were well were suspected");
    }
}

#[test]
fn ten_thousand_nodes_cost_little() {
    let outcome = Day { nodes: 10_000, managers: 1, seconds: 30, loss: 0, seed: 1 }.run();
    let per_second = outcome.heartbeats as f64 / outcome.hearing.as_secs_f64();
    let look_us = outcome.looking.as_secs_f64() * 1e6 / outcome.looks as f64;
    println!("{per_second:.0} heartbeats a second, {look_us:.1} us for a look at 10,000 nodes");
    // What the cell needs, with the drawing of each heartbeat included; this machine may be busy with other tests.
    assert!(per_second > 100_000.0, "only {per_second:.0} heartbeats a second");
    assert!(look_us < 1_000.0, "{look_us:.0} us for a look at 10,000 nodes");
}
