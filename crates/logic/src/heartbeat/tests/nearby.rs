//! What it means that other nodes are answered by one that no manager hears.

use super::*;

fn reply_to(stage: &Stage, node: u32, asked_at: Time) -> Datagram {
    let question = stage.detector.question(CELL, NodeNumber(node), asked_at, TermNumber(0));
    Datagram { kind: Kind::Reply, ..question.expect("it was heard before") }
}

#[test]
fn a_node_that_only_other_nodes_hear_is_used_and_loses_its_lease() {
    let mut stage = Stage::new(1, 10);
    stage.run_until(3_000);
    stage.silenced.push(4);
    stage.nearby.push((4, 7));
    stage.run_until(8_000);
    stage.said(expect![[r#"
        4.650s Verdicts([Verdict { node: NodeNumber(4), reach: Nearby, silence_ms: 1780, heard_by: Some(NodeNumber(7)), is_mass: false }])
        4.650s TakeOver { node: NodeNumber(4) }
    "#]]);
    // Nobody is answered any more: it is lost for all.
    stage.nearby.clear();
    stage.run_until(10_000);
    stage.said(expect![[r#"
        8.400s Verdicts([Verdict { node: NodeNumber(4), reach: Unreachable, silence_ms: 5530, heard_by: None, is_mass: false }])
    "#]]);
    stage.silenced.clear();
    stage.run_until(12_000);
    stage.said(expect![[r#"
        10.375s Verdicts([Verdict { node: NodeNumber(4), reach: Reachable, silence_ms: 5, heard_by: None, is_mass: false }])
    "#]]);
    assert_eq!(stage.asked, 0, "one manager has no other to ask");
}

#[test]
fn asking_in_vain_delays_nothing() {
    let mut found = Vec::new();
    for nearby in [false, true] {
        let mut stage = Stage::new(1, 10);
        stage.run_until(3_000);
        stage.silenced.push(4);
        if nearby {
            // It replies while its heartbeats are late, and then dies.
            stage.nearby.push((4, 7));
            stage.run_until(3_360);
            stage.nearby.clear();
        }
        stage.run_until(3_850);
        found.push(std::mem::take(&mut stage.said));
    }
    assert_eq!(found[0], found[1]);
    assert!(found[0].contains("Unreachable"), "{}", found[0]);
}

#[test]
fn other_managers_that_hear_it_are_enough() {
    let mut stage = Stage::new(3, 10);
    stage.run_until(3_000);
    stage.silenced.push(4);
    stage.opinions = vec![Some(5), Some(5)];
    stage.run_until(4_500);
    assert_eq!(stage.searched, 1, "asked with the managers, before any has answered");
    stage.nearby.push((4, 2));
    stage.run_until(6_000);
    stage.said(expect![[r#"
        4.650s Verdicts([Verdict { node: NodeNumber(4), reach: Elsewhere, silence_ms: 1780, heard_by: Some(NodeNumber(1)), is_mass: false }])
        5.975s TakeOver { node: NodeNumber(4) }
    "#]]);
    // They lose it too: it is used as long as a node is answered, and then taken over from.
    stage.opinions = vec![Some(2_000), Some(2_000)];
    stage.run_until(12_000);
    stage.said(expect![[r#"
        7.325s Verdicts([Verdict { node: NodeNumber(4), reach: Nearby, silence_ms: 4455, heard_by: Some(NodeNumber(2)), is_mass: false }])
    "#]]);
}

#[test]
fn a_reply_counts_only_for_its_question_and_in_time() {
    let mut stage = Stage::new(1, 10);
    stage.run_until(3_000);
    stage.silenced.push(4);
    let old = reply_to(&stage, 4, Time(3_000));
    while stage.now < Time(3_850) {
        let now = stage.now;
        stage.run_until(now.0 + 25);
        let good = reply_to(&stage, 4, stage.now);
        let wrong = [
            old,
            // Of an earlier start of this manager, of another start of the node, or asked when nobody could have asked.
            Datagram { run: 1, ..good },
            Datagram { incarnation: 2, ..good },
            Datagram { sequence: stage.now.0 + 1, ..good },
            Datagram { kind: Kind::Answer { grant: Some(Grant::Only) }, ..good },
            Datagram { kind: Kind::Heartbeat { is_deaf: false }, ..good },
            Datagram { node: NodeNumber(9_999), ..good },
        ];
        for reply in wrong {
            stage.give(Input::Carried { by: NodeNumber(7), reply });
        }
        // Nobody vouches for itself.
        stage.give(Input::Carried { by: NodeNumber(4), reply: good });
    }
    stage.said(expect![[r#"
        3.825s Verdicts([Verdict { node: NodeNumber(4), reach: Unreachable, silence_ms: 955, heard_by: None, is_mass: false }])
    "#]]);
}

#[test]
fn many_at_once_are_not_all_asked_after() {
    let nodes = 2_000;
    let mut stage = Stage::new(1, nodes);
    stage.run_until(3_000);
    stage.silenced = (0..1_000).collect();
    stage.run_until(3_000 + 150 * ASK_AFTER_BEATS + 150 + HEARTBEAT_SLACK_MS);
    let rounds = 150 / CARRY_INTERVAL_MS as usize + 1;
    assert!((CARRIED_NODES_MAX..=rounds * CARRIED_NODES_MAX).contains(&stage.searched), "{}", stage.searched);
}

#[test]
fn many_that_are_long_gone_keep_nobody_from_being_asked_after() {
    let mut stage = Stage::new(1, 2_000);
    stage.run_until(3_000);
    stage.silenced = (0..1_000).collect();
    stage.run_until(8_000);
    let before = stage.searched;
    stage.run_until(10_000);
    let rounds = 2_000 / CARRY_INTERVAL_MS as usize + 1;
    let searched = stage.searched - before;
    assert!((CARRIED_AWAY_MAX..=rounds * CARRIED_AWAY_MAX).contains(&searched), "{searched}");
    // The last by its number is found all the same.
    stage.said.clear();
    stage.silenced.push(1_999);
    stage.nearby.push((1_999, 1_500));
    stage.run_until(12_500);
    assert!(stage.said.contains("node: NodeNumber(1999), reach: Nearby"), "{}", stage.said);
    // One of those that are gone is asked in its turn, and found.
    stage.nearby.push((500, 1_500));
    stage.run_until(30_000);
    assert!(stage.said.contains("node: NodeNumber(500), reach: Nearby"), "{}", stage.said);
}

#[test]
fn a_node_replies_to_its_managers_a_bounded_number_of_times() {
    let mut pulse = pulse(1);
    pulse.step(Time(1_000), PulseInput::Tick);
    let question = Datagram { kind: Kind::Question, incarnation: 1, boot: 1, ..answer(0, 77) };
    let replies = |pulse: &mut Pulse, question| {
        let outputs = pulse.step(Time(1_010), PulseInput::Answer(question));
        outputs.into_iter().map(|output| match output {
            PulseOutput::Reply(reply) => reply,
            other => panic!("{other:?}"),
        })
    };
    let reply = replies(&mut pulse, question).next().expect("it replies");
    assert_eq!(reply, Datagram { kind: Kind::Reply, incarnation: 5, boot: 9, ..question });
    assert_eq!(replies(&mut pulse, Datagram { manager: ManagerNumber(4), ..question }).count(), 0);
    assert_eq!(replies(&mut pulse, Datagram { node: NodeNumber(4), ..question }).count(), 0);
    assert_eq!(pulse.lease_ends_at(), None, "a question grants nothing");
    let more = (0..100).map(|_| replies(&mut pulse, question).count()).sum::<usize>();
    assert_eq!(more as u32, REPLIES_PER_BEAT_MAX - 1);
    pulse.step(Time(1_150), PulseInput::Tick);
    assert_eq!(replies(&mut pulse, question).count(), 1);
}

#[test]
fn questions_and_replies_go_nowhere_else() {
    let cell = CELL;
    let manager = Receiver::Manager { cell, manager: ManagerNumber(0) };
    let asker = Receiver::Asker { cell, manager: ManagerNumber(0) };
    let node = Receiver::Node { cell, node: NodeNumber(3) };
    let admits = |receiver: &Receiver, kind| {
        let bytes = Datagram { kind, ..beat(3, 1, 1) }.bytes(|signed| code(signed, 7));
        let parsed = Parsed::parse(&bytes).expect("it is one of ours");
        receiver.admit(&parsed, || Some(code(parsed.signed, 7))).is_ok()
    };
    let kinds = [
        Kind::Heartbeat { is_deaf: false },
        Kind::Answer { grant: Some(Grant::Only) },
        Kind::Question,
        Kind::Reply,
    ];
    let admitted = |receiver: &Receiver| kinds.map(|kind| admits(receiver, kind));
    assert_eq!(admitted(&manager), [true, false, false, false]);
    assert_eq!(admitted(&node), [false, true, true, false]);
    assert_eq!(admitted(&asker), [false, false, false, true]);
}
