//! Fences that work, hang, lie, fail and print nonsense; each call of an agent is one line of the story.

use super::*;
use expect_test::{Expect, expect};
use wire::fence::FenceAction;

fn fence(name: &str, action: FenceAction) -> FenceSettings {
    FenceSettings {
        name: name.into(),
        agent: format!("/usr/sbin/fence_{name}"),
        nodes: vec!["a".into(), "b".into()],
        parameters: BTreeMap::new(),
        secret_files: BTreeMap::new(),
        action,
        timeout_ms: 5_000,
        retries: 1,
        check_interval_ms: 60_000,
    }
}

/// What agents answer, one word a call: a status, `hang`, or `gone` for one that cannot be started. Checks are answered `0`.
fn check(fences: Vec<FenceSettings>, inputs: Vec<Input>, answers: &str, expected: Expect) {
    let mut machine = Fences::new();
    let (mut now, mut lines) = (Time(1_000), Vec::new());
    let mut checks: Vec<u64> = Vec::new();
    for output in machine.step(now, Input::Configure(fences)) {
        if let Output::Run { job, .. } = output {
            checks.push(job);
        }
    }
    while let Some(job) = checks.pop() {
        for output in
            machine.step(now, Input::Ended { job, end: End::Exited { status: 0, words: String::new() } })
        {
            if let Output::Run { job, .. } = output {
                checks.push(job);
            }
        }
    }
    let mut answers = answers.split_whitespace();
    let mut inputs: std::collections::VecDeque<Input> = inputs.into();
    while let Some(input) = inputs.pop_front() {
        for output in machine.step(now, input) {
            match output {
                Output::Run { job, fence, node, call } => {
                    let answer = answers.next();
                    lines.push(format!(
                        "{} {} of {node}: {}",
                        fence.name,
                        call.word(),
                        answer.unwrap_or("no answer yet")
                    ));
                    let end = match answer {
                        None => continue,
                        Some("hang") => End::TimedOut,
                        Some("gone") => End::Failed("could not be started".into()),
                        Some(status) => {
                            let status = status.parse().expect("a status");
                            End::Exited {
                                status,
                                words: if status == 1 {
                                    "Connection timed out".into()
                                } else {
                                    String::new()
                                },
                            }
                        }
                    };
                    inputs.push_front(Input::Ended { job, end });
                }
                Output::Kill { .. } => lines.push("kill".into()),
                Output::Fenced { node, run, result } => {
                    lines.push(format!("=> {node} run {run}: {result:?}"))
                }
                Output::Event { kind, text, .. } => lines.push(format!("   [{kind}] {text}")),
            }
        }
        machine.check();
        now = now + 100;
    }
    expected.assert_eq(&lines.join("\n"));
}

fn one() -> Vec<FenceSettings> {
    vec![fence("ipmi", FenceAction::Off)]
}

fn begin() -> Vec<Input> {
    vec![Input::Fence { node: "a".into(), run: 1 }]
}

#[test]
fn a_node_is_off_only_once_status_says_so() {
    check(
        one(),
        begin(),
        "0 0 2",
        expect![[r#"
           [fencing] node a is being fenced
        ipmi status of a: 0
        ipmi off of a: 0
        ipmi status of a: 2
           [fenced] node a is off, as fence ipmi shows
        => a run 1: Ok(())"#]],
    );
}

#[test]
fn a_node_that_is_off_already_is_not_switched_off_again() {
    check(
        one(),
        begin(),
        "2",
        expect![[r#"
           [fencing] node a is being fenced
        ipmi status of a: 2
           [fenced] node a is off, as fence ipmi shows
        => a run 1: Ok(())"#]],
    );
}

#[test]
fn an_agent_that_lies_about_its_success_proves_nothing() {
    check(
        one(),
        begin(),
        "0 0 0 0 0",
        expect![[r#"
           [fencing] node a is being fenced
        ipmi status of a: 0
        ipmi off of a: 0
        ipmi status of a: 0
        ipmi off of a: 0
        ipmi status of a: 0
           [fence-failed] node a could not be fenced: fence ipmi says that it is on still
        => a run 1: Err("fence ipmi says that it is on still")"#]],
    );
}

#[test]
fn an_agent_that_hangs_prints_nonsense_or_is_missing_gives_way_to_the_next() {
    let both = vec![fence("ipmi", FenceAction::Off), fence("pdu", FenceAction::Off)];
    check(
        both.clone(),
        begin(),
        "hang hang hang hang hang 0 0 2",
        expect![[r#"
           [fencing] node a is being fenced
        ipmi status of a: hang
        ipmi off of a: hang
        ipmi status of a: hang
        ipmi off of a: hang
        ipmi status of a: hang
        pdu status of a: 0
        pdu off of a: 0
        pdu status of a: 2
           [fenced] node a is off, as fence pdu shows
        => a run 1: Ok(())"#]],
    );
    check(
        both,
        begin(),
        "gone gone gone gone gone 97 0 2",
        expect![[r#"
           [fencing] node a is being fenced
        ipmi status of a: gone
        ipmi off of a: gone
        ipmi status of a: gone
        ipmi off of a: gone
        ipmi status of a: gone
        pdu status of a: 97
        pdu off of a: 0
        pdu status of a: 2
           [fenced] node a is off, as fence pdu shows
        => a run 1: Ok(())"#]],
    );
}

#[test]
fn one_that_says_it_failed_and_did_it_counts() {
    check(
        one(),
        begin(),
        "1 1 2",
        expect![[r#"
           [fencing] node a is being fenced
        ipmi status of a: 1
        ipmi off of a: 1
        ipmi status of a: 2
           [fenced] node a is off, as fence ipmi shows
        => a run 1: Ok(())"#]],
    );
}

#[test]
fn reboot_switches_on_again_after_the_proof() {
    check(
        vec![fence("ipmi", FenceAction::Reboot)],
        begin(),
        "0 0 2 0",
        expect![[r#"
           [fencing] node a is being fenced
        ipmi status of a: 0
        ipmi off of a: 0
        ipmi status of a: 2
           [fenced] node a is off, as fence ipmi shows
        => a run 1: Ok(())
        ipmi on of a: 0"#]],
    );
}

#[test]
fn what_a_person_wanted_off_stays_off() {
    let off = || Input::Off { node: "a".into() };
    check(
        vec![fence("ipmi", FenceAction::Reboot)],
        vec![off()],
        "0 0 2",
        expect![[r#"
           [fencing] node a is being fenced
        ipmi status of a: 0
        ipmi off of a: 0
        ipmi status of a: 2
           [fenced] node a is off, as fence ipmi shows"#]],
    );
}

#[test]
fn what_is_not_wanted_any_more_is_killed() {
    let mut inputs = begin();
    inputs.push(Input::Spare { node: "a".into() });
    check(
        one(),
        inputs,
        "",
        expect![[r#"
           [fencing] node a is being fenced
        ipmi status of a: no answer yet
        kill
           [fence-spared] node a need not be fenced any more"#]],
    );
}

#[test]
fn a_person_wants_a_node_off_or_a_fence_asked() {
    check(
        one(),
        vec![Input::Off { node: "b".into() }],
        "0 0 2",
        expect![[r#"
           [fencing] node b is being fenced
        ipmi status of b: 0
        ipmi off of b: 0
        ipmi status of b: 2
           [fenced] node b is off, as fence ipmi shows"#]],
    );
    check(one(), vec![Input::Off { node: "c".into() }], "", expect![""]);
    // It is not tried again by itself.
    check(
        one(),
        [Input::Off { node: "b".into() }].into_iter().chain(std::iter::repeat_n(Input::Tick, 120)).collect(),
        "0 0 0 0 0",
        expect![[r#"
           [fencing] node b is being fenced
        ipmi status of b: 0
        ipmi off of b: 0
        ipmi status of b: 0
        ipmi off of b: 0
        ipmi status of b: 0
           [fence-failed] node b could not be fenced: fence ipmi says that it is on still"#]],
    );
    check(
        one(),
        vec![Input::Test { fence: "ipmi".into() }],
        "0 1",
        expect![[r#"
        ipmi status of a: 0
        ipmi status of b: 1
           [fence-failing] fence ipmi could not switch node b off: its agent ended with status 1: Connection timed out"#]],
    );
    check(one(), vec![Input::Test { fence: "pdu".into() }], "", expect![""]);
}

fn here(node: &str, is_here: bool) -> Input {
    Input::Here { node: node.into(), is_here }
}

#[test]
fn an_agent_that_says_off_of_a_node_that_is_there_proves_nothing() {
    let test = || Input::Test { fence: "ipmi".into() };
    // The pause is longer than a broken link takes to be noticed.
    let pause = || std::iter::repeat_n(Input::Tick, 160);
    let lost = |fences: Vec<FenceSettings>, answers: &str, expected: Expect| {
        let inputs = [here("a", true), test()].into_iter().chain(pause()).chain([here("a", false)]);
        check(fences, inputs.chain(begin()).collect(), answers, expected);
    };
    lost(
        one(),
        "2 0 2",
        expect![[r#"
            ipmi status of a: 2
            ipmi status of b: 0
               [fence-failing] fence ipmi could not switch node a off: its agent says that it is off, and it is there
               [fencing] node a is being fenced
            ipmi status of a: 2
               [fence-failed] node a could not be fenced: fence ipmi says that it is off, and said so while it was there
            => a run 1: Err("fence ipmi says that it is off, and said so while it was there")"#]],
    );
    // Another fence may prove it.
    lost(
        vec![fence("ipmi", FenceAction::Off), fence("pdu", FenceAction::Off)],
        "2 0 2 0 0 2",
        expect![[r#"
            ipmi status of a: 2
            ipmi status of b: 0
               [fence-failing] fence ipmi could not switch node a off: its agent says that it is off, and it is there
               [fencing] node a is being fenced
            ipmi status of a: 2
            pdu status of a: 0
            pdu off of a: 0
            pdu status of a: 2
               [fenced] node a is off, as fence pdu shows
            => a run 1: Ok(())"#]],
    );
    // What it says now is better than what it said before.
    lost(
        one(),
        "2 0 0 0 2",
        expect![[r#"
            ipmi status of a: 2
            ipmi status of b: 0
               [fence-failing] fence ipmi could not switch node a off: its agent says that it is off, and it is there
               [fencing] node a is being fenced
            ipmi status of a: 0
            ipmi off of a: 0
            ipmi status of a: 2
               [fenced] node a is off, as fence ipmi shows
            => a run 1: Ok(())"#]],
    );
    // That it cannot tell once, and says that it has done what it should, is no better.
    lost(
        one(),
        "2 0 1 0 2",
        expect![[r#"
            ipmi status of a: 2
            ipmi status of b: 0
               [fence-failing] fence ipmi could not switch node a off: its agent says that it is off, and it is there
               [fencing] node a is being fenced
            ipmi status of a: 1
            ipmi off of a: 0
            ipmi status of a: 2
               [fence-failed] node a could not be fenced: fence ipmi says that it is off, and said so while it was there
            => a run 1: Err("fence ipmi says that it is off, and said so while it was there")"#]],
    );
}

#[test]
fn of_a_node_that_is_there_for_long_after_it_was_said_to_be_off_nothing_is_believed() {
    // It is wanted off although it is there: it cannot give back what it has. The first time its link may be about to break.
    let inputs = [here("a", true), Input::Fence { node: "a".into(), run: 1 }];
    let later = std::iter::repeat_n(Input::Tick, 160);
    check(
        one(),
        inputs.into_iter().chain(later).chain([Input::Fence { node: "a".into(), run: 2 }]).collect(),
        "2 2",
        expect![[r#"
               [fencing] node a is being fenced
            ipmi status of a: 2
               [fenced] node a is off, as fence ipmi shows
            => a run 1: Ok(())
               [fencing] node a is being fenced
            ipmi status of a: 2
               [fence-failed] node a could not be fenced: fence ipmi says that it is off, and said so while it was there
            => a run 2: Err("fence ipmi says that it is off, and said so while it was there")"#]],
    );
}

#[test]
fn a_lie_does_not_become_younger_by_being_repeated() {
    let test = || Input::Test { fence: "ipmi".into() };
    let pause = || std::iter::repeat_n(Input::Tick, 160);
    // The second answer comes just before the node is lost.
    let inputs = [here("a", true), test()].into_iter().chain(pause()).chain([test(), here("a", false)]);
    check(
        one(),
        inputs.chain(begin()).collect(),
        "2 0 2 0 2",
        expect![[r#"
        ipmi status of a: 2
        ipmi status of b: 0
           [fence-failing] fence ipmi could not switch node a off: its agent says that it is off, and it is there
        ipmi status of a: 2
        ipmi status of b: 0
           [fencing] node a is being fenced
        ipmi status of a: 2
           [fence-failed] node a could not be fenced: fence ipmi says that it is off, and said so while it was there
        => a run 1: Err("fence ipmi says that it is off, and said so while it was there")"#]],
    );
}

#[test]
fn a_node_that_was_switched_off_a_moment_before_its_link_broke_is_off() {
    let inputs = [here("a", true), Input::Test { fence: "ipmi".into() }, here("a", false)];
    check(
        one(),
        inputs.into_iter().chain(begin()).collect(),
        "2 0 2",
        expect![[r#"
            ipmi status of a: 2
            ipmi status of b: 0
               [fence-failing] fence ipmi could not switch node a off: its agent says that it is off, and it is there
               [fencing] node a is being fenced
            ipmi status of a: 2
               [fenced] node a is off, as fence ipmi shows
            => a run 1: Ok(())"#]],
    );
}

#[test]
fn what_failed_is_tried_again_after_a_pause_and_asked_for_from_time_to_time() {
    let mut machine = Fences::new();
    let ended = |job, status| Input::Ended { job, end: End::Exited { status, words: String::new() } };
    let run = |outputs: &[Output]| {
        outputs.iter().find_map(|output| match output {
            Output::Run { job, call, .. } => Some((*job, *call)),
            _ => None,
        })
    };
    let only = FenceSettings { nodes: vec!["a".into()], retries: 0, ..fence("ipmi", FenceAction::Off) };
    let (job, _) = run(&machine.step(Time(0), Input::Configure(vec![only]))).expect("it is asked at once");
    machine.step(Time(0), ended(job, 0));
    assert_eq!(machine.wake_at(), Some(Time(60_000)));
    let mut outputs = machine.step(Time(60_000), Input::Tick);
    let (job, _) = run(&outputs).expect("it is asked again");
    outputs = machine.step(Time(60_100), ended(job, 1));
    assert!(matches!(outputs[..], [Output::Event { kind: "fence-failing", .. }]), "{outputs:?}");
    assert_eq!(machine.status(&|time| time.0)[0].state, FenceState::Failing);
    let mut now = Time(61_000);
    let mut outputs = machine.step(now, Input::Fence { node: "a".into(), run: 1 });
    while let Some((job, _)) = run(&outputs) {
        outputs = machine.step(now, ended(job, 1));
    }
    assert_eq!(machine.status(&|time| time.0)[0].state, FenceState::Fencing);
    now = now + FENCE_AGAIN_MS;
    assert_eq!(machine.wake_at(), Some(now));
    let again = run(&machine.step(now, Input::Tick));
    assert_eq!(again.map(|(_, call)| call), Some(Call::Status));
}

#[test]
fn a_fence_that_is_added_later_is_used_for_who_waits() {
    let inputs = vec![
        Input::Fence { node: "c".into(), run: 3 },
        Input::Configure(vec![FenceSettings { nodes: vec!["c".into()], ..fence("pdu", FenceAction::Off) }]),
    ];
    check(
        one(),
        inputs,
        "2",
        expect![[r#"
        => c run 3: Err("no fence covers node c")
           [fencing] node c is being fenced
        pdu status of c: 2
           [fenced] node c is off, as fence pdu shows
        => c run 3: Ok(())
        pdu status of c: no answer yet"#]],
    );
}
