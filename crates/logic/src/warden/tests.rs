//! What is killed when, and by whom nothing else was done.

use super::*;
use Input::{AgentGone, Cleared, GuardianEnded, Tick};
use Output::{Clear, Finished, KillGuardian, KillProcesses};
use Told::{Forgotten, Held as Holds, Until};

const RUN: RunId = RunId(1);
const OTHER: RunId = RunId(2);

/// Tells what was due until `end`, and when.
fn until(warden: &mut Warden, end: u64) -> Vec<(u64, Output)> {
    let mut told = Vec::new();
    while let Some(at) = warden.wake_at().filter(|at| at.0 <= end) {
        let outputs = warden.step(at, Tick);
        warden.check();
        assert!(!outputs.is_empty(), "woken at {at} for nothing");
        told.extend(outputs.into_iter().map(|output| (at.0, output)));
    }
    told
}

fn step(warden: &mut Warden, now: u64, input: Input) -> Vec<Output> {
    let outputs = warden.step(Time(now), input);
    warden.check();
    outputs
}

fn tell(warden: &mut Warden, now: u64, told: Told) -> Vec<Output> {
    step(warden, now, Input::Told(vec![told]))
}

fn held(deadline: Option<u64>) -> Warden {
    let mut warden = Warden::default();
    assert_eq!(tell(&mut warden, 0, Holds { run: RUN, until: deadline.map(Time) }), []);
    warden
}

#[test]
fn what_is_renewed_or_was_seen_to_be_gone_is_left_alone() {
    let mut warden = held(Some(1_000));
    for now in (100..5_000).step_by(150) {
        assert_eq!(tell(&mut warden, now, Until { run: RUN, until: Some(Time(now + 1_000)) }), []);
        assert_eq!(until(&mut warden, now + 150), []);
    }
    assert_eq!(step(&mut warden, 5_050, GuardianEnded { run: RUN }), []);
    assert_eq!(tell(&mut warden, 5_060, Forgotten { run: RUN }), []);
    assert_eq!(warden.wake_at(), None);
}

#[test]
fn one_that_was_paused_hears_all_that_was_said_meanwhile_before_it_acts() {
    let mut warden = held(Some(1_000));
    let renewed = (1..40).map(|n| Until { run: RUN, until: Some(Time(1_000 + 150 * n)) }).collect();
    assert_eq!(step(&mut warden, 6_500, Input::Told(renewed)), []);
}

#[test]
fn both_hang_and_processes_are_killed_again_and_again_while_there_is_a_guardian_that_may_start_others() {
    let mut warden = held(Some(1_000));
    let kill = KillProcesses { run: RUN };
    let told = until(&mut warden, 1_600);
    assert_eq!(told, [(1_100, kill.clone()), (1_300, kill.clone()), (1_500, kill.clone())]);
    // It goes on, and sees that it is over.
    assert_eq!(step(&mut warden, 1_650, GuardianEnded { run: RUN }), [kill]);
    assert_eq!(until(&mut warden, 99_999), []);
}

#[test]
fn one_that_was_killed_beside_an_agent_that_hangs_holds_until_its_deadline() {
    let mut warden = held(Some(1_000));
    assert_eq!(step(&mut warden, 200, GuardianEnded { run: RUN }), []);
    assert_eq!(until(&mut warden, 99_999), [(1_100, KillProcesses { run: RUN })]);
}

#[test]
fn without_a_deadline_nothing_ends_as_long_as_there_is_an_agent() {
    let mut warden = held(None);
    assert_eq!(step(&mut warden, 200, GuardianEnded { run: RUN }), []);
    assert_eq!(until(&mut warden, 99_999), []);
    let both = [KillProcesses { run: RUN }, Clear { run: RUN }];
    assert_eq!(step(&mut warden, 100_000, AgentGone), both);
    assert_eq!(step(&mut warden, 100_100, Cleared { run: RUN }), [Finished]);
}

#[test]
fn guardians_have_a_moment_after_the_agent_is_gone_and_what_they_leave_is_taken_away() {
    let mut warden = held(Some(60_000));
    assert_eq!(tell(&mut warden, 1, Holds { run: OTHER, until: None }), []);
    assert_eq!(step(&mut warden, 1_000, AgentGone), []);
    let (kill, clear) = (KillProcesses { run: OTHER }, Clear { run: OTHER });
    assert_eq!(step(&mut warden, 1_030, GuardianEnded { run: OTHER }), [kill, clear]);
    let told = until(&mut warden, 1_000 + CLEAR_MS);
    assert_eq!(told.first(), Some(&(1_000 + GRACE_MS, KillProcesses { run: RUN })), "{told:?}");
    assert_eq!(told.last(), Some(&(1_000 + CLEAR_MS, KillGuardian { run: RUN })), "{told:?}");
    assert_eq!(step(&mut warden, 17_000, Cleared { run: OTHER }), [KillProcesses { run: RUN }]);
    let both = [KillProcesses { run: RUN }, Clear { run: RUN }];
    assert_eq!(step(&mut warden, 17_010, GuardianEnded { run: RUN }), both);
    assert_eq!(step(&mut warden, 17_020, Cleared { run: RUN }), [Finished]);
}

#[test]
fn an_agent_that_leaves_nothing_behind_is_all_there_was() {
    let mut warden = Warden::default();
    assert_eq!(step(&mut warden, 5, AgentGone), [Finished]);
    assert_eq!(step(&mut warden, 6, Tick), []);
}
