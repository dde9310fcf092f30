//! Muster in the cases in which `tests/models.rs` tries the others: ten of a thousand fail in one way or another, hosts
//! or managers get no time of their processor, the leader goes with those that it should miss.

use sim::models::{Case, Fault};
use sim::{FleetFound, Leader, Push, run_fleet_case};

const PUSH: Push = Push { routers: 1_000, loss: 0 };

fn case(fault: Fault, until_s: u64) -> Case {
    Case { nodes: 1_000, faulty: 10, fault, at_s: 10, until_s, seed: 1 }
}

fn nobody_else(found: &FleetFound) {
    assert_eq!(found.found.false_removals, 0, "{found:?}");
    assert!(found.found.is_concluded, "{found:?}");
}

#[test]
fn ten_of_a_thousand_that_crash_are_one_epoch_within_a_second() {
    for seed in 1..6 {
        let found = run_fleet_case(Case { seed, ..case(Fault::Crash, 14) }, Leader::Well, PUSH);
        nobody_else(&found);
        assert_eq!((found.epochs, found.elections), (1, 0), "{found:?}");
        assert!(found.informed_p99_ms < 1_000, "{found:?}");
    }
}

#[test]
fn the_leader_dies_with_them() {
    let found = run_fleet_case(case(Fault::Crash, 16), Leader::Killed, PUSH);
    nobody_else(&found);
    assert_eq!((found.epochs, found.elections), (1, 1), "{found:?}");
    assert!(found.informed_p99_ms < 2_500, "{found:?}");
}

/// Each turn they are said to be degraded, and no longer, in a few batches.
#[test]
fn hosts_that_are_deaf_on_and_off_are_told_from_all_others() {
    let found = run_fleet_case(case(Fault::DeafOnAndOff, 65), Leader::Well, PUSH);
    nobody_else(&found);
    assert!(found.found.everywhere_ms.is_some_and(|all_ms| all_ms < 1_200), "{found:?}");
    assert!(found.epochs <= 18, "{found:?}");
}

/// They come and go at first, and must be heard for longer each time.
#[test]
fn hosts_that_lose_most_of_what_they_send_are_told_from_all_others() {
    let found = run_fleet_case(case(Fault::EgressLoss(800), 110), Leader::Well, PUSH);
    nobody_else(&found);
    assert!(found.epochs <= 90, "{found:?}");
}

#[test]
fn hosts_without_a_processor_deceive_nobody_about_others() {
    for faulty in [1, 4, 16] {
        let fault = Fault::Stalls { blocked_ms: 2_000, runs_ms: 3 };
        let stalled = Case { nodes: 100, faulty, ..case(fault, 110) };
        let found = run_fleet_case(stalled, Leader::Well, PUSH);
        assert_eq!(found.found.false_removals, 0, "{found:?}");
    }
}

#[test]
fn managers_without_a_processor_say_nothing_about_anybody() {
    for stall_ms in [500, 1_000, 2_000, 5_000, 10_000] {
        for seed in 1..4 {
            let well = Case { nodes: 200, faulty: 0, seed, ..case(Fault::None, 30) };
            let found = run_fleet_case(well, Leader::AllStall(stall_ms), PUSH);
            assert_eq!(found.epochs, 0, "{stall_ms} ms: {found:?}");
        }
    }
}

#[test]
fn a_case_ends_the_same_each_time() {
    let run = || run_fleet_case(Case { nodes: 100, ..case(Fault::Crash, 13) }, Leader::Well, PUSH);
    assert_eq!(run(), run());
}

/// A change of one member, and of ten that fall together, for each router and member.
#[test]
fn a_change_costs_each_router_less_than_150_bytes() {
    let (one, ten, rack) =
        (sim::push_bytes(500, 1, 1), sim::push_bytes(500, 1, 10), sim::push_bytes(500, 20, 2_500));
    assert!(one.frame < 150, "{one:?}");
    assert!(ten.frame / 10 < 40, "{ten:?}");
    assert!(rack.frame / 2_500 < 30, "{rack:?}");
    assert!(one.whole > 50_000, "{one:?}");
}
