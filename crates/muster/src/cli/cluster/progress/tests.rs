//! Acts on made-up clusters, and how far they have come.

use super::*;
use crate::console::testing::{sample_member, sample_status};

fn cluster(members: Vec<MemberStatus>) -> ClusterStatus {
    let mut cluster = sample_status().clusters.remove(0);
    cluster.members = members;
    cluster
}

fn member(name: &str, state: RunState, pid: Option<u32>) -> MemberStatus {
    let mut member = sample_member(name, state, "for a reason");
    member.process = Some(pid.map_or(ProcessState::Stopped, |pid| ProcessState::Running { pid }));
    member
}

fn going(text: &str) -> Progress {
    Progress::Going(text.into())
}

fn done(text: &str) -> Progress {
    Progress::Done(text.into())
}

#[test]
fn a_rolling_restart_is_done_when_each_member_serves_from_a_new_process() {
    let up = |name, pid| member(name, RunState::Up, Some(pid));
    let goal = Goal::new(Act::Restart, &cluster(vec![up("a", 1), up("b", 2)]), None);
    let mut now = cluster(vec![up("a", 1), up("b", 2)]);
    now.operation = Some("restarting a (1 of 2)".into());
    assert_eq!(goal.look(&now), going("0 of 2: restarting a (1 of 2)"));
    now.members = vec![member("a", RunState::Draining, Some(1)), up("b", 2)];
    assert_eq!(goal.look(&now), going("0 of 2: restarting a (1 of 2)"));
    now.members = vec![up("a", 3), up("b", 2)];
    assert_eq!(goal.look(&now), going("1 of 2: restarting a (1 of 2)"));
    now.members = vec![up("a", 3), member("b", RunState::Starting, Some(4))];
    now.operation = None;
    assert_eq!(goal.look(&now), going("1 of 2: b is starting: for a reason"));
    now.members = vec![up("a", 3), up("b", 4)];
    assert_eq!(goal.look(&now), done("shop: 2 members have been restarted"));
}

#[test]
fn a_restart_that_a_new_manager_does_not_know_of_is_over_once_nothing_moves() {
    let up = |name, pid| member(name, RunState::Up, Some(pid));
    let goal = Goal::new(Act::Restart, &cluster(vec![up("a", 1), up("b", 2)]), None);
    let left = goal.was_forgotten(&cluster(vec![up("a", 3), up("b", 2)])).expect("b is as before");
    assert!(left.ends_with("1 of 2 done; ask again"), "{left}");
    let mut now = cluster(vec![member("a", RunState::Starting, Some(3)), up("b", 2)]);
    assert_eq!(goal.was_forgotten(&now), None, "one still moves");
    now.members = vec![up("a", 3), up("b", 2)];
    now.operation = Some("restarting b (2 of 2)".into());
    assert_eq!(goal.was_forgotten(&now), None, "it goes on");
    assert_eq!(goal.was_forgotten(&cluster(vec![up("a", 3), up("b", 4)])), None, "it is done");
}

#[test]
fn a_restart_passes_over_what_muster_does_not_run() {
    let mut elsewhere = member("b", RunState::Up, None);
    elsewhere.process = Some(ProcessState::External);
    let stopped = member("c", RunState::Down, None);
    let goal = Goal::new(
        Act::Restart,
        &cluster(vec![member("a", RunState::Up, Some(1)), elsewhere.clone(), stopped.clone()]),
        None,
    );
    let now = cluster(vec![member("a", RunState::Up, Some(2)), elsewhere, stopped]);
    assert_eq!(goal.look(&now), done("shop: the one member has been restarted"));
}

#[test]
fn a_restart_that_ends_early_says_why() {
    let goal = Goal::new(Act::Restart, &cluster(vec![member("a", RunState::Up, Some(1))]), None);
    let mut now = cluster(vec![member("a", RunState::Down, None)]);
    now.setback = Some("a did not come back".into());
    assert_eq!(goal.look(&now), Progress::Failed("a did not come back".into()));
    now.setback = None;
    now.members = vec![member("a", RunState::Failed, None)];
    now.members[0].since_ms += 1;
    assert_eq!(goal.look(&now), Progress::Failed("shop/a is failed: for a reason".into()));
    now.members.clear();
    assert_eq!(goal.look(&now), Progress::Failed("shop/a has been removed meanwhile".into()));
}

#[test]
fn a_start_waits_for_the_state_that_it_shall_change() {
    let failed = member("a", RunState::Failed, None);
    let goal = Goal::new(Act::Start, &cluster(vec![failed.clone()]), Some("a"));
    // The old failure is not a new one.
    assert_eq!(goal.look(&cluster(vec![failed])), going("0 of 1: a is failed: for a reason"));
    let up = cluster(vec![member("a", RunState::Up, Some(2))]);
    assert_eq!(goal.look(&up), done("shop/a is up"));
}

#[test]
fn a_stop_is_done_when_the_process_is_gone() {
    let goal = Goal::new(Act::Stop, &cluster(vec![member("a", RunState::Up, Some(1))]), Some("a"));
    let taken_out = cluster(vec![member("a", RunState::Down, Some(1))]);
    assert_eq!(goal.look(&taken_out), going("0 of 1: a is down: for a reason"));
    assert_eq!(goal.look(&cluster(vec![member("a", RunState::Down, None)])), done("shop/a is stopped"));
}

#[test]
fn a_drain_is_done_when_nobody_takes_new_conversations() {
    let before = cluster(vec![member("a", RunState::Up, Some(1)), member("b", RunState::Down, None)]);
    let goal = Goal::new(Act::Drain, &before, None);
    assert_eq!(goal.look(&before), going("1 of 2: a is up: for a reason"));
    let now = cluster(vec![member("a", RunState::Draining, Some(1)), member("b", RunState::Down, None)]);
    assert_eq!(goal.look(&now), done("shop: 2 members take no new conversations"));
}
