//! Stories of one detector and of one pulse, and which datagrams count. Many of both together: see `sim`.

use super::admit::{Receiver, Refusal};
use super::*;
use crate::lease::{CAREFUL, FAST, NORMAL, Profile};
use crate::limits::*;
use crate::machine::Machine;
use crate::time::Time;
use expect_test::{Expect, expect};
use std::fmt::Write as _;
use wire::heartbeat::{Code, Datagram, Grant, Kind, Parsed};
use wire::id::{CellNumber, ManagerNumber, NodeNumber, TermNumber};

mod nearby;

const CELL: CellNumber = CellNumber(1);

fn beat(node: u32, incarnation: u64, sequence: u64) -> Datagram {
    Datagram {
        kind: Kind::Heartbeat { is_deaf: false },
        cell: CELL,
        node: NodeNumber(node),
        manager: ManagerNumber(0),
        interval_ms: HEARTBEAT_INTERVAL_MS,
        incarnation,
        sequence,
        term: TermNumber(0),
        epochs: 0,
        boot: incarnation,
        run: 0,
    }
}

/// One detector that leads, nodes that speak until they are silenced, and other managers with a fixed opinion.
struct Stage {
    now: Time,
    detector: Detector,
    nodes: u32,
    silenced: Vec<u32>,
    deaf: Vec<u32>,
    incarnations: Vec<u64>,
    /// What each other manager says of every node: how long it has been silent.
    opinions: Vec<Option<u64>>,
    /// Nodes that hear none of the others.
    deaf_elsewhere: Vec<u32>,
    /// Nodes that reply to others, and to whom.
    nearby: Vec<(u32, u32)>,
    searched: usize,
    said: String,
    asked: usize,
}

impl Stage {
    fn new(managers: u16, nodes: u32) -> Self {
        let numbers: Vec<ManagerNumber> = (0..managers).map(ManagerNumber).collect();
        let is_elected = managers > 1;
        let settings =
            Settings { me: ManagerNumber(0), managers: numbers, lease: NORMAL, is_elected, run: 0 };
        let mut detector = Detector::new(settings, Time(0));
        detector.step(Time(0), Input::Nodes((0..nodes).map(NodeNumber).collect()));
        detector.step(Time(0), Input::Lead { away: Vec::new(), taken: Vec::new() });
        Self {
            now: Time(0),
            detector,
            nodes,
            silenced: Vec::new(),
            deaf: Vec::new(),
            incarnations: vec![1; nodes as usize],
            opinions: vec![None; usize::from(managers) - 1],
            deaf_elsewhere: Vec::new(),
            nearby: Vec::new(),
            searched: 0,
            said: String::new(),
            asked: 0,
        }
    }

    fn give(&mut self, input: Input) {
        let outputs = self.detector.step(self.now, input);
        self.detector.check();
        for output in outputs {
            if let Output::Ask { asked_at, nodes } = output {
                self.asked += nodes.len();
                self.answer(asked_at, &nodes);
                continue;
            }
            if let Output::Search { asked_at, searches } = output {
                self.searched += searches.len();
                self.carry(asked_at, &searches);
                continue;
            }
            writeln!(self.said, "{} {output:?}", self.now).expect("a String takes any text");
        }
    }

    fn answer(&mut self, asked_at: Time, nodes: &[NodeNumber]) {
        for (index, opinion) in self.opinions.clone().into_iter().enumerate() {
            let Some(silent_ms) = opinion else { continue };
            let opinion = |node: &NodeNumber| Opinion {
                node: *node,
                silent_ms,
                is_deaf: self.deaf_elsewhere.contains(&node.0),
            };
            let opinions = nodes.iter().map(opinion).collect();
            let by = ManagerNumber(index as u16 + 1);
            self.give(Input::Told { by, asked_at, opinions });
        }
    }

    fn carry(&mut self, asked_at: Time, searches: &[Search]) {
        for Search { node, .. } in searches {
            let Some((_, by)) = self.nearby.iter().find(|(nearby, _)| *nearby == node.0) else { continue };
            let by = NodeNumber(*by);
            let question = self.detector.question(CELL, *node, asked_at, TermNumber(0));
            let reply = question.map(|question| Datagram { kind: Kind::Reply, ..question });
            self.give(Input::Carried { by, reply: reply.expect("it was heard before") });
        }
    }

    /// Nodes speak every 150 ms, each a little later than the one before; the detector looks every 25 ms.
    fn run_until(&mut self, end: u64) {
        while self.now < Time(end) {
            self.now = self.now + 5;
            for node in 0..self.nodes {
                let is_turn = self.now.0 % 150 == u64::from(node % 30) * 5;
                if is_turn && !self.silenced.contains(&node) {
                    let incarnation = self.incarnations[node as usize];
                    let is_deaf = self.deaf.contains(&node);
                    let beat =
                        Datagram { kind: Kind::Heartbeat { is_deaf }, ..beat(node, incarnation, self.now.0) };
                    self.detector.hear(self.now, &beat, true);
                }
            }
            if self.detector.wake_at().is_some_and(|due| due <= self.now) {
                self.give(Input::Tick);
            }
        }
    }

    fn said(&mut self, expected: Expect) {
        expected.assert_eq(&std::mem::take(&mut self.said));
    }
}

#[test]
fn who_did_not_run_believes_nobody_to_be_deaf() {
    let mut stage = Stage::new(3, 30);
    stage.opinions = vec![Some(5), Some(5)];
    stage.run_until(2_000);
    // The manager stands still for a second and answers nobody; then one node misses three, so that it is looked at.
    stage.now = Time(3_000);
    stage.deaf = (0..30).collect();
    stage.silenced = vec![3];
    stage.run_until(3_550);
    stage.silenced.clear();
    stage.run_until(3_740);
    stage.deaf.clear();
    stage.run_until(6_000);
    stage.said(expect![[r#"
        3.005s Alarm(Lagged { lag_ms: 980 })
    "#]]);
    stage.deaf = vec![3];
    stage.silenced = vec![3];
    stage.run_until(6_520);
    stage.silenced.clear();
    stage.run_until(8_500);
    stage.said(expect![[r#"
        7.655s Verdicts([Verdict { node: NodeNumber(3), reach: Elsewhere, silence_ms: 140, heard_by: Some(NodeNumber(1)), is_mass: false }])
    "#]]);
}

#[test]
fn a_node_whose_last_word_was_that_it_hears_nobody_is_missed_too() {
    let mut stage = Stage::new(3, 30);
    stage.opinions = vec![Some(5_000), Some(5_000)];
    stage.run_until(2_000);
    // After a pause of the manager all nodes say so once; one of them then dies.
    stage.now = Time(3_000);
    stage.deaf = (0..30).collect();
    stage.run_until(3_150);
    stage.deaf.clear();
    stage.silenced = vec![3];
    stage.run_until(6_000);
    stage.said(expect![[r#"
        3.005s Alarm(Lagged { lag_ms: 980 })
        3.830s Verdicts([Verdict { node: NodeNumber(3), reach: Unreachable, silence_ms: 815, heard_by: None, is_mass: false }])
        5.080s TakeOver { node: NodeNumber(3) }
    "#]]);
}

#[test]
fn a_node_that_others_hear_now_and_then_must_be_heard_for_longer_each_time() {
    let mut stage = Stage::new(3, 30);
    stage.run_until(1_000);
    stage.silenced = vec![7];
    for turn in 0..6 {
        // Nobody hears it for two seconds, then one other does for four.
        stage.opinions = vec![Some(5_000), Some(5_000)];
        stage.run_until(3_000 + turn * 6_000);
        stage.opinions = vec![Some(5_000), Some(5)];
        stage.run_until(7_000 + turn * 6_000);
    }
    stage.said(expect![[r#"
        1.750s Verdicts([Verdict { node: NodeNumber(7), reach: Unreachable, silence_ms: 815, heard_by: None, is_mass: false }])
        4.050s TakeOver { node: NodeNumber(7) }
        4.375s Verdicts([Verdict { node: NodeNumber(7), reach: Degraded, silence_ms: 3440, heard_by: None, is_mass: false }])
        5.650s Verdicts([Verdict { node: NodeNumber(7), reach: Elsewhere, silence_ms: 4715, heard_by: Some(NodeNumber(2)), is_mass: false }])
        7.100s Verdicts([Verdict { node: NodeNumber(7), reach: Unreachable, silence_ms: 6165, heard_by: None, is_mass: false }])
        11.550s Verdicts([Verdict { node: NodeNumber(7), reach: Degraded, silence_ms: 10615, heard_by: None, is_mass: false }])
        12.825s Verdicts([Verdict { node: NodeNumber(7), reach: Elsewhere, silence_ms: 11890, heard_by: Some(NodeNumber(2)), is_mass: false }])
        13.075s Verdicts([Verdict { node: NodeNumber(7), reach: Unreachable, silence_ms: 12140, heard_by: None, is_mass: false }])
    "#]]);
}

#[test]
fn nodes_that_speak_are_not_talked_about() {
    let mut stage = Stage::new(1, 30);
    stage.run_until(20_000);
    stage.said(expect![[""]]);
    assert_eq!(stage.asked, 0);
}

#[test]
fn a_silent_node_is_unreachable_when_a_majority_misses_it() {
    let mut stage = Stage::new(3, 10);
    stage.run_until(3_000);
    stage.silenced.push(4);
    stage.opinions = vec![Some(700), None];
    stage.run_until(6_000);
    stage.said(expect![[r#"
        3.675s Verdicts([Verdict { node: NodeNumber(4), reach: Unreachable, silence_ms: 805, heard_by: None, is_mass: false }])
        5.975s TakeOver { node: NodeNumber(4) }
    "#]]);
}

#[test]
fn alone_it_takes_one_heartbeat_more() {
    let mut stage = Stage::new(1, 10);
    stage.run_until(3_000);
    stage.silenced.push(4);
    stage.run_until(6_000);
    stage.said(expect![[r#"
        3.825s Verdicts([Verdict { node: NodeNumber(4), reach: Unreachable, silence_ms: 955, heard_by: None, is_mass: false }])
        4.425s TakeOver { node: NodeNumber(4) }
    "#]]);
}

#[test]
fn a_node_that_another_manager_hears_stays_in_use_and_gets_no_lease() {
    let mut stage = Stage::new(3, 10);
    stage.run_until(3_000);
    stage.silenced.push(4);
    stage.opinions = vec![Some(20), Some(3_000)];
    stage.run_until(9_000);
    stage.silenced.clear();
    stage.run_until(12_000);
    stage.said(expect![[r#"
        4.650s Verdicts([Verdict { node: NodeNumber(4), reach: Elsewhere, silence_ms: 1780, heard_by: Some(NodeNumber(1)), is_mass: false }])
        5.975s TakeOver { node: NodeNumber(4) }
        9.325s Verdicts([Verdict { node: NodeNumber(4), reach: Reachable, silence_ms: 5, heard_by: None, is_mass: false }])
    "#]]);
}

#[test]
fn a_node_is_taken_over_from_once_the_leaders_grants_have_run_out_and_granted_nothing_until_released() {
    let mut stage = Stage::new(3, 10);
    stage.run_until(8_000);
    stage.silenced.push(4);
    // Whatever others hear: nobody but the leader grants anything.
    stage.opinions = vec![Some(900), None];
    stage.run_until(12_000);
    let again = beat(4, 1, 9_000_000);
    assert_eq!(stage.detector.hear(stage.now, &again, true), Heard::Fresh { is_granted: false });
    stage.give(Input::Release { node: NodeNumber(4) });
    let again = beat(4, 1, 9_000_001);
    assert_eq!(stage.detector.hear(stage.now, &again, true), Heard::Fresh { is_granted: true });
    let answer = stage.detector.answer(&again, true, TermNumber(0), 0);
    assert_eq!(answer.kind, Kind::Answer { grant: Some(Grant::Leader) });
    stage.said(expect![[r#"
        8.775s Verdicts([Verdict { node: NodeNumber(4), reach: Unreachable, silence_ms: 805, heard_by: None, is_mass: false }])
        11.075s TakeOver { node: NodeNumber(4) }
    "#]]);
}

#[test]
fn who_does_not_hear_the_leader_is_granted_nothing_and_is_taken_over_from() {
    for managers in [1, 3] {
        let mut stage = Stage::new(managers, 10);
        stage.run_until(8_000);
        let deaf = Datagram { kind: Kind::Heartbeat { is_deaf: true }, ..beat(4, 1, 9_000_000) };
        assert_eq!(stage.detector.hear(stage.now, &deaf, true), Heard::Fresh { is_granted: false });
        let hears = beat(4, 1, 9_000_001);
        assert_eq!(stage.detector.hear(stage.now, &hears, true), Heard::Fresh { is_granted: true });
        let mut stage = Stage::new(managers, 10);
        stage.run_until(3_000);
        stage.deaf.push(4);
        stage.run_until(12_000);
        assert_eq!(stage.said.matches("TakeOver { node: NodeNumber(4) }").count(), 1, "{}", stage.said);
    }
}

#[test]
fn what_was_granted_by_a_longer_profile_is_waited_for() {
    let mut stage = Stage::new(3, 10);
    stage.detector.follow_on(CAREFUL, Time(0));
    stage.give(Input::Lead { away: Vec::new(), taken: Vec::new() });
    stage.silenced.push(4);
    stage.run_until(CAREFUL.across_leaders().wait_ms - 30);
    assert!(!stage.said.contains("TakeOver"), "{}", stage.said);
    stage.run_until(CAREFUL.across_leaders().wait_ms + 30);
    assert!(stage.said.contains("TakeOver { node: NodeNumber(4) }"), "{}", stage.said);
}

#[test]
fn who_begins_to_lead_waits_for_what_those_before_have_granted() {
    let mut stage = Stage::new(3, 10);
    stage.run_until(8_000);
    stage.give(Input::Follow);
    stage.silenced.push(4);
    stage.run_until(20_000);
    // It is long silent here; who led until now may have heard it a moment ago. Another one was taken over from by that one.
    stage.give(Input::Lead { away: Vec::new(), taken: vec![NodeNumber(5)] });
    let taken = beat(5, 1, 9_000_000);
    assert_eq!(stage.detector.hear(stage.now, &taken, true), Heard::Fresh { is_granted: false });
    stage.run_until(20_000 + NORMAL.across_leaders().wait_ms - 30);
    assert!(!stage.said.contains("TakeOver"), "{}", stage.said);
    stage.run_until(20_000 + NORMAL.across_leaders().wait_ms + 30);
    assert!(stage.said.contains("TakeOver { node: NodeNumber(4) }"), "{}", stage.said);
    // The next term knows only what is written down.
    stage.give(Input::Follow);
    stage.give(Input::Lead { away: Vec::new(), taken: Vec::new() });
    let again = beat(5, 1, 9_000_001);
    assert_eq!(stage.detector.hear(stage.now, &again, true), Heard::Fresh { is_granted: true });
    let again = beat(5, 1, 9_000_002);
    assert_eq!(stage.detector.hear(stage.now, &again, false), Heard::Fresh { is_granted: false });
}

#[test]
fn what_falls_together_is_said_at_once_and_not_taken_over_from() {
    let mut stage = Stage::new(1, 40);
    stage.run_until(3_000);
    stage.silenced.extend(10..20);
    stage.run_until(10_000);
    let lines: Vec<&str> = stage.said.lines().collect();
    assert_eq!(lines.len(), 2, "one alarm and one batch: {}", stage.said);
    assert!(lines[0].contains("MassSilence { fallen: 10, nodes: 40 }"), "{}", lines[0]);
    assert_eq!(lines[1].matches("Unreachable").count(), 10);
    stage.said.clear();
    (10..20).for_each(|node| stage.give(Input::Confirm { node: NodeNumber(node) }));
    stage.run_until(10_500);
    assert_eq!(stage.said.matches("TakeOver").count(), 10, "{}", stage.said);
}

/// What was said is in the record of each node: whoever leads next, or this manager once it was started again, goes by that.
#[test]
fn what_fell_together_waits_for_a_person_whoever_leads_next() {
    let mut stage = Stage::new(1, 40);
    stage.run_until(3_000);
    stage.silenced.extend(10..20);
    stage.run_until(5_000);
    let away = |is_mass| {
        let doubted = |node| Doubted { node: NodeNumber(node), reach: Reach::Unreachable, is_mass };
        (10..20).map(doubted).collect::<Vec<_>>()
    };
    stage.said.clear();
    stage.give(Input::Follow);
    stage.give(Input::Lead { away: away(true), taken: Vec::new() });
    stage.run_until(60_000);
    assert_eq!(stage.said, "", "nothing is taken over");
    stage.give(Input::Confirm { node: NodeNumber(12) });
    stage.run_until(60_500);
    assert_eq!(stage.said.matches("TakeOver").count(), 1, "{}", stage.said);
    assert!(stage.said.contains("TakeOver { node: NodeNumber(12) }"), "{}", stage.said);
    stage.give(Input::Follow);
    stage.give(Input::Lead { away: away(false), taken: Vec::new() });
    stage.run_until(70_000);
    assert_eq!(
        stage.said.matches("TakeOver").count(),
        11,
        "those that fell alone are taken over: {}",
        stage.said
    );
}

/// Who has looked knows of a common cause, if there is one: the last of the rack does not take the word back.
#[test]
fn a_persons_word_holds_when_one_more_falls_right_afterwards() {
    let mut stage = Stage::new(1, 40);
    stage.run_until(3_000);
    stage.silenced.extend(10..19);
    stage.run_until(4_000);
    assert!(stage.said.contains("MassSilence { fallen: 9, nodes: 40 }"), "{}", stage.said);
    stage.said.clear();
    (10..19).for_each(|node| stage.give(Input::Confirm { node: NodeNumber(node) }));
    stage.silenced.push(19);
    stage.run_until(20_000);
    assert!(!stage.said.contains("is_mass: true"), "{}", stage.said);
    assert_eq!(stage.said.matches("TakeOver").count(), 10, "{}", stage.said);
}

/// Two were lost alone, as far as anybody knew; then the rest of their rack followed.
#[test]
fn who_fell_a_moment_before_many_others_fell_with_them() {
    let mut stage = Stage::new(1, 40);
    stage.run_until(3_000);
    stage.silenced.extend(10..12);
    stage.run_until(5_000);
    assert_eq!(stage.said.matches("is_mass: false").count(), 2, "{}", stage.said);
    stage.said.clear();
    stage.silenced.extend(12..20);
    stage.run_until(20_000);
    assert!(stage.said.contains("MassSilence { fallen: 10, nodes: 40 }"), "{}", stage.said);
    assert_eq!(stage.said.matches("is_mass: true").count(), 10, "{}", stage.said);
    assert_eq!(stage.said.matches("TakeOver").count(), 0, "{}", stage.said);
}

#[test]
fn one_of_two_nodes_may_fall_without_being_too_many() {
    let mut stage = Stage::new(1, 2);
    stage.run_until(3_000);
    stage.silenced.push(1);
    stage.run_until(6_000);
    assert_eq!(stage.said.matches("TakeOver").count(), 1, "{}", stage.said);
}

#[test]
fn who_hears_nobody_says_nothing_about_anybody() {
    let mut stage = Stage::new(1, 10);
    stage.run_until(3_000);
    stage.silenced.extend(0..10);
    stage.run_until(60_000);
    stage.silenced.clear();
    stage.run_until(65_000);
    stage.said(expect![[r#"
        3.800s Alarm(HearsNobody { nodes: 10 })
    "#]]);
}

/// Over the loop within its machine a manager hears its own node whatever happens to its network.
#[test]
fn who_hears_nobody_but_its_own_machine_says_nothing_either() {
    let mut stage = Stage::new(1, 3);
    stage.give(Input::Own(NodeNumber(0)));
    stage.run_until(3_000);
    stage.silenced.extend(1..3);
    stage.run_until(10_000);
    stage.silenced.clear();
    stage.run_until(12_000);
    stage.said(expect![[r#"
        3.675s Alarm(HearsNobody { nodes: 2 })
    "#]]);
    // One of two others is news of that one.
    stage.silenced.push(2);
    stage.run_until(14_000);
    stage.said(expect![[r#"
        12.825s Verdicts([Verdict { node: NodeNumber(2), reach: Unreachable, silence_ms: 965, heard_by: None, is_mass: false }])
        13.425s TakeOver { node: NodeNumber(2) }
    "#]]);
}

#[test]
fn what_the_kernel_dropped_is_held_against_nobody() {
    let mut stage = Stage::new(1, 4);
    stage.run_until(3_000);
    stage.silenced.push(1);
    while stage.now < Time(6_000) {
        stage.give(Input::Dropped);
        let now = stage.now.0;
        stage.run_until(now + 500);
    }
    stage.said(expect![[""]]);
    stage.run_until(9_000);
    stage.said(expect![[r#"
        6.450s Verdicts([Verdict { node: NodeNumber(1), reach: Unreachable, silence_ms: 950, heard_by: None, is_mass: false }])
        7.050s TakeOver { node: NodeNumber(1) }
    "#]]);
}

#[test]
fn glances_show_what_people_want_to_know() {
    let mut stage = Stage::new(1, 2);
    stage.silenced.push(1);
    stage.run_until(1_000);
    let glance = |stage: &Stage, node| stage.detector.glance(stage.now, NodeNumber(node));
    expect![[r#"
        Some(
            Glance {
                silence_ms: Some(
                    100,
                ),
                interval_ms: 150,
                is_granted: true,
                is_withheld: false,
            },
        )"#]]
    .assert_eq(&format!("{:#?}", glance(&stage, 0)));
    expect![[r#"
        Some(
            Glance {
                silence_ms: None,
                interval_ms: 150,
                is_granted: false,
                is_withheld: false,
            },
        )"#]]
    .assert_eq(&format!("{:#?}", glance(&stage, 1)));
    assert_eq!(glance(&stage, 2), None);
    stage.silenced.push(0);
    stage.give(Input::Lead { away: Vec::new(), taken: vec![NodeNumber(0)] });
    stage.run_until(4_000);
    expect![[r#"
        Some(
            Glance {
                silence_ms: Some(
                    3100,
                ),
                interval_ms: 150,
                is_granted: false,
                is_withheld: true,
            },
        )"#]]
    .assert_eq(&format!("{:#?}", glance(&stage, 0)));
}

#[test]
fn a_manager_that_was_not_running_listens_anew() {
    let mut stage = Stage::new(1, 10);
    stage.run_until(3_000);
    stage.silenced.push(4);
    stage.run_until(3_300);
    stage.now = Time(9_300);
    stage.give(Input::Tick);
    stage.run_until(10_000);
    // Node 4 gets the whole time again, and one lease passes before anything is taken over.
    stage.run_until(13_000);
    stage.said(expect![[r#"
        9.300s Alarm(Lagged { lag_ms: 5975 })
        10.250s Verdicts([Verdict { node: NodeNumber(4), reach: Unreachable, silence_ms: 950, heard_by: None, is_mass: false }])
        10.850s TakeOver { node: NodeNumber(4) }
    "#]]);
}

#[test]
fn lag_of_other_work_is_as_bad_as_own_lag() {
    let mut stage = Stage::new(1, 10);
    stage.run_until(3_000);
    stage.silenced.push(4);
    for step in 1..=20 {
        stage.give(Input::Lagged { lag_ms: 400 });
        stage.run_until(3_000 + step * 200);
    }
    stage.said(expect![[r#"
        3.000s Alarm(Lagged { lag_ms: 400 })
    "#]]);
}

#[test]
fn restarts_are_noticed_however_fast_and_reboots_told_apart() {
    let mut stage = Stage::new(1, 4);
    stage.run_until(3_000);
    stage.incarnations[1] = 2;
    stage.run_until(3_500);
    let agent_only = Datagram { boot: 2, ..beat(1, 3, 1) };
    stage.incarnations[1] = 3;
    assert_eq!(stage.detector.hear(stage.now, &agent_only, true), Heard::Fresh { is_granted: true });
    stage.give(Input::Tick);
    stage.now = stage.now + 25;
    stage.give(Input::Tick);
    stage.said(expect![[r#"
        3.025s Restarted(Restart { node: NodeNumber(1), incarnation: 2, is_reboot: true })
        3.525s Restarted(Restart { node: NodeNumber(1), incarnation: 3, is_reboot: false })
    "#]]);
}

#[test]
fn old_heartbeats_count_for_nothing() {
    let mut stage = Stage::new(1, 4);
    let fresh = Heard::Fresh { is_granted: true };
    let mut hear =
        |incarnation, sequence| stage.detector.hear(Time(10), &beat(0, incarnation, sequence), true);
    assert_eq!(hear(5, 7), fresh);
    assert_eq!(hear(5, 7), Heard::Old, "it was sent again");
    assert_eq!(hear(5, 6), Heard::Old, "it was overtaken");
    assert_eq!(hear(4, 900), Heard::Old, "it comes from an earlier start");
    assert_eq!(hear(5, 8), fresh);
    assert_eq!(hear(6, 1), fresh);
    assert_eq!(stage.detector.hear(Time(10), &beat(4, 1, 1), true), Heard::Unknown);
    assert_eq!(stage.detector.hear(Time(10), &beat(u32::MAX, 1, 1), true), Heard::Unknown);
}

#[test]
fn what_was_sent_to_an_earlier_run_of_this_manager_proves_nothing() {
    let settings = Settings {
        me: ManagerNumber(0),
        managers: vec![ManagerNumber(0)],
        lease: NORMAL,
        is_elected: false,
        run: 7,
    };
    let mut detector = Detector::new(settings, Time(0));
    detector.step(Time(0), Input::Nodes(vec![NodeNumber(3)]));
    let mut pulse = pulse(1);
    let beat_of = |outputs: Vec<PulseOutput>| match outputs[..] {
        [PulseOutput::Send(datagram)] => datagram,
        _ => panic!("{outputs:?}"),
    };
    let first = beat_of(pulse.step(Time(1_000), PulseInput::Tick));
    let old = Datagram { run: 6, sequence: 900, ..first };
    assert_eq!(detector.hear(Time(1_000), &old, true), Heard::Unproven);
    assert_eq!(detector.hear(Time(1_000), &first, true), Heard::Unproven);
    let answer = detector.answer(&first, false, TermNumber(0), 0);
    pulse.step(Time(1_001), PulseInput::Answer(answer));
    assert_eq!(pulse.lease_ends_at(), None);
    let second = beat_of(pulse.step(Time(1_150), PulseInput::Tick));
    assert_eq!(detector.hear(Time(1_150), &second, true), Heard::Fresh { is_granted: true });
}

#[test]
fn a_node_that_another_manager_hears_and_that_hears_no_manager_is_degraded() {
    let mut stage = Stage::new(3, 10);
    stage.opinions = vec![Some(20), Some(20)];
    stage.run_until(3_000);
    stage.deaf.push(4);
    stage.deaf_elsewhere.push(4);
    stage.run_until(6_000);
    // The others are heard by it again, and it speaks with this manager no more.
    stage.deaf_elsewhere.clear();
    stage.deaf.clear();
    stage.silenced.push(4);
    stage.run_until(9_000);
    // Nor with them.
    stage.opinions = vec![Some(5_000), Some(5_000)];
    stage.run_until(12_000);
    stage.said(expect![[r#"
        3.275s Verdicts([Verdict { node: NodeNumber(4), reach: Degraded, silence_ms: 105, heard_by: None, is_mass: false }])
        5.975s TakeOver { node: NodeNumber(4) }
        7.300s Verdicts([Verdict { node: NodeNumber(4), reach: Elsewhere, silence_ms: 1430, heard_by: Some(NodeNumber(1)), is_mass: false }])
        9.050s Verdicts([Verdict { node: NodeNumber(4), reach: Unreachable, silence_ms: 3180, heard_by: None, is_mass: false }])
    "#]]);
}

#[test]
fn who_is_not_heard_by_a_node_asks_whom_it_hears() {
    let mut stage = Stage::new(3, 10);
    stage.opinions = vec![Some(20), None];
    stage.run_until(3_000);
    stage.deaf.push(4);
    stage.run_until(6_000);
    stage.deaf.clear();
    stage.run_until(9_000);
    stage.said(expect![[r#"
        4.300s Verdicts([Verdict { node: NodeNumber(4), reach: Elsewhere, silence_ms: 80, heard_by: Some(NodeNumber(1)), is_mass: false }])
        5.975s TakeOver { node: NodeNumber(4) }
        6.025s Verdicts([Verdict { node: NodeNumber(4), reach: Reachable, silence_ms: 5, heard_by: None, is_mass: false }])
    "#]]);
}

#[test]
fn a_deaf_node_is_degraded() {
    let mut stage = Stage::new(1, 4);
    stage.run_until(3_000);
    stage.deaf.push(2);
    stage.run_until(4_000);
    stage.deaf.clear();
    stage.run_until(5_000);
    stage.said(expect![[r#"
        3.025s Verdicts([Verdict { node: NodeNumber(2), reach: Degraded, silence_ms: 15, heard_by: None, is_mass: false }])
        4.075s Verdicts([Verdict { node: NodeNumber(2), reach: Reachable, silence_ms: 15, heard_by: None, is_mass: false }])
    "#]]);
}

#[test]
fn who_comes_and_goes_must_stay_longer_each_time() {
    let mut stage = Stage::new(1, 4);
    let mut pauses = Vec::new();
    for round in 0..7u64 {
        let begin = 3_000 + round * 20_000;
        stage.silenced.clear();
        stage.run_until(begin);
        stage.silenced.push(2);
        stage.run_until(begin + 1_400);
        stage.silenced.clear();
        stage.said.clear();
        stage.run_until(begin + 15_000);
        let back = stage.said.lines().find(|line| line.contains("Reachable")).expect("it came back");
        let at: f64 = back.split('s').next().and_then(|text| text.parse().ok()).expect("a time comes first");
        pauses.push((at * 1_000.0) as u64 - begin - 1_400);
    }
    assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
    assert!(pauses[0] < 600 && pauses[6] >= 9_600, "{pauses:?}");
}

#[test]
fn many_nodes_and_load_make_heartbeats_rarer_within_what_leases_bear() {
    let at = |nodes: u32, lease: Profile| {
        let settings = Settings {
            me: ManagerNumber(0),
            managers: vec![ManagerNumber(0)],
            lease,
            is_elected: false,
            run: 0,
        };
        let mut detector = Detector::new(settings, Time(0));
        detector.step(Time(0), Input::Nodes((0..nodes).map(NodeNumber).collect()));
        detector
    };
    assert_eq!(at(10_000, NORMAL).interval_ms(), 150);
    assert_eq!(at(16_000, NORMAL).interval_ms(), 160);
    let mut detector = at(100, NORMAL);
    for _ in 0..5 {
        detector.step(Time(10), Input::Dropped);
    }
    assert_eq!(detector.interval_ms(), 300, "a quarter of what the lease bears");
    for look in 1..=1_600u64 {
        detector.step(Time(look * 25), Input::Tick);
    }
    assert_eq!(detector.interval_ms(), 150, "the load is over");
}

#[test]
fn a_node_that_speaks_rarely_is_missed_later() {
    let mut stage = Stage::new(1, 4);
    let rarely = Datagram { interval_ms: 600, ..beat(3, 1, 9_000_000) };
    stage.silenced.push(3);
    stage.run_until(100);
    stage.detector.hear(Time(100), &rarely, true);
    stage.run_until(3_000);
    assert_eq!(stage.said, "");
    stage.run_until(4_000);
    assert!(stage.said.contains("Unreachable"), "{}", stage.said);
}

#[test]
fn nodes_that_leave_are_forgotten_and_new_ones_have_their_time() {
    let mut stage = Stage::new(1, 4);
    stage.run_until(3_000);
    stage.silenced.extend([2, 3]);
    stage.run_until(3_500);
    stage.give(Input::Nodes([0, 1, 9].map(NodeNumber).to_vec()));
    stage.run_until(4_400);
    assert_eq!(stage.said, "");
    stage.run_until(4_600);
    assert!(stage.said.contains("NodeNumber(9)") && !stage.said.contains("NodeNumber(2)"), "{}", stage.said);
}

#[test]
fn a_follower_answers_and_says_nothing_else() {
    let mut stage = Stage::new(3, 4);
    stage.run_until(3_000);
    stage.give(Input::Follow);
    stage.silenced.push(2);
    stage.run_until(6_000);
    let (by, nodes) = (ManagerNumber(1), [1, 2, 7].map(NodeNumber).to_vec());
    stage.give(Input::Asked { by, asked_at: Time(77), nodes });
    stage.said(expect![[r#"
        6.000s Tell { to: ManagerNumber(1), asked_at: Time(77), opinions: [Opinion { node: NodeNumber(1), silent_ms: 145, is_deaf: false }, Opinion { node: NodeNumber(2), silent_ms: 3140, is_deaf: false }] }
    "#]]);
}

fn pulse_settings(managers: u16) -> PulseSettings {
    PulseSettings {
        cell: CELL,
        node: NodeNumber(3),
        managers: (0..managers).map(ManagerNumber).collect(),
        lease: NORMAL,
        incarnation: 5,
        boot: 9,
    }
}

fn pulse(managers: u16) -> Pulse {
    Pulse::new(pulse_settings(managers), Time(1_000))
}

fn answer(manager: u16, sequence: u64) -> Datagram {
    Datagram {
        kind: Kind::Answer { grant: Some(Grant::Leader) },
        manager: ManagerNumber(manager),
        boot: 9,
        ..beat(3, 5, sequence)
    }
}

#[test]
fn a_node_acts_by_the_leaders_grant_from_when_it_sent() {
    let mut pulse = pulse(3);
    let of = |datagram, grant| Datagram { kind: Kind::Answer { grant }, ..datagram };
    assert_eq!(pulse.step(Time(1_000), PulseInput::Tick).len(), 3);
    pulse.step(Time(1_150), PulseInput::Tick);
    for manager in [0, 1] {
        pulse.step(Time(1_200), PulseInput::Answer(of(answer(manager, 1), None)));
        pulse.step(Time(1_200), PulseInput::Answer(of(answer(manager, 2), Some(Grant::Only))));
    }
    assert_eq!(pulse.lease_ends_at(), None, "managers of before all grant, whoever leads");
    pulse.step(Time(1_900), PulseInput::Answer(answer(2, 1)));
    let end = 1_000 + NORMAL.across_leaders().hold_ms;
    assert_eq!(pulse.lease_ends_at(), Some(Time(end)));
    // Sent again by somebody, for a heartbeat that was never sent, or of an earlier start: nothing changes.
    for wrong in [answer(2, 1), answer(2, 99), Datagram { incarnation: 4, ..answer(2, 2) }, answer(7, 2)] {
        pulse.step(Time(2_000), PulseInput::Answer(wrong));
        assert_eq!(pulse.lease_ends_at(), Some(Time(end)));
    }
    assert!(pulse.may_act(Time(end - 1)));
    assert!(!pulse.may_act(Time(end)));
    pulse.check();
}

#[test]
fn what_was_granted_outlasts_the_manager_that_granted_it_and_no_shorter_profile() {
    let mut pulse = pulse(3);
    let others = pulse_settings(2);
    let shorter = PulseSettings { lease: FAST, ..others.clone() };
    let elsewhere = PulseSettings { node: NodeNumber(8), ..others.clone() };
    pulse.step(Time(1_000), PulseInput::Tick);
    pulse.step(Time(1_010), PulseInput::Answer(answer(2, 1)));
    pulse.reconfigure(others);
    assert_eq!(pulse.lease_ends_at(), Some(Time(1_000 + NORMAL.across_leaders().hold_ms)));
    pulse.reconfigure(shorter);
    assert_eq!(pulse.lease_ends_at(), Some(Time(1_000 + FAST.across_leaders().hold_ms)));
    pulse.check();
    pulse.reconfigure(elsewhere);
    assert_eq!(pulse.lease_ends_at(), None, "another node has no part in it");
}

#[test]
fn the_only_manager_grants_for_as_long_as_its_profile_says() {
    let mut pulse = pulse(1);
    pulse.step(Time(1_000), PulseInput::Tick);
    let only = Datagram { kind: Kind::Answer { grant: Some(Grant::Only) }, ..answer(0, 1) };
    pulse.step(Time(1_100), PulseInput::Answer(only));
    assert_eq!(pulse.lease_ends_at(), Some(Time(1_000 + NORMAL.hold_ms)));
}

#[test]
fn a_node_says_to_whom_it_is_deaf_and_slows_down_for_whoever_asks() {
    let mut pulse = pulse(2);
    let mut sequence = 0;
    for now in (1_000..3_000).step_by(150) {
        let sent = pulse.step(Time(now), PulseInput::Tick);
        sequence += 1;
        let is_deaf = |output: &PulseOutput| match output {
            PulseOutput::Send(datagram) => datagram.kind == Kind::Heartbeat { is_deaf: true },
            PulseOutput::Reply(_) => panic!("nobody has asked"),
            PulseOutput::Behind { .. } => false,
        };
        assert!(!is_deaf(&sent[0]));
        assert_eq!(is_deaf(&sent[1]), now >= 1_800, "at {now}");
        pulse.step(Time(now + 1), PulseInput::Answer(answer(0, sequence)));
    }
    let slow = Datagram { interval_ms: 300, ..answer(1, sequence) };
    pulse.step(Time(3_000), PulseInput::Answer(slow));
    assert_eq!(pulse.interval_ms(), 300);
}

/// What is remembered of who stays stays, and no heartbeat looks like one of before.
#[test]
fn a_node_that_hears_of_other_managers_goes_on_counting() {
    let mut pulse = pulse(1);
    pulse.step(Time(1_000), PulseInput::Tick);
    pulse.step(Time(1_001), PulseInput::Answer(answer(0, 1)));
    assert!(pulse.may_act(Time(1_100)));
    let mut settings = pulse_settings(2);
    pulse.reconfigure(settings.clone());
    assert!(pulse.may_act(Time(1_100)), "what it granted stands");
    let sent = pulse.step(Time(1_150), PulseInput::Tick);
    let of = |output: &PulseOutput| match output {
        PulseOutput::Send(datagram) => (datagram.manager.0, datagram.sequence),
        PulseOutput::Behind { .. } | PulseOutput::Reply(_) => panic!("nobody said so"),
    };
    assert_eq!(sent.iter().map(of).collect::<Vec<_>>(), [(0, 2), (1, 2)]);
    pulse.step(Time(1_151), PulseInput::Answer(answer(1, 2)));
    assert!(pulse.may_act(Time(1_160)));
    // Another place in the cell has been granted nothing.
    settings.node = NodeNumber(9);
    pulse.reconfigure(settings);
    assert!(!pulse.may_act(Time(1_160)));
    assert_eq!(
        pulse.step(Time(1_300), PulseInput::Tick).iter().map(of).collect::<Vec<_>>(),
        [(0, 3), (1, 3)]
    );
    pulse.check();
}

#[test]
fn a_node_that_is_behind_hears_so_once() {
    let mut pulse = pulse(1);
    let mut behind = |now: u64, epochs| {
        pulse.step(Time(now), PulseInput::Tick);
        let answer = Datagram { epochs, ..answer(0, 1 + (now - 1_000) / 150) };
        pulse.step(Time(now), PulseInput::Answer(answer)).len()
    };
    assert_eq!(behind(1_000, 0), 0);
    assert_eq!(behind(1_150, 7), 1);
    assert_eq!(behind(1_300, 7), 0);
    assert_eq!(behind(1_450, 8), 1);
}

/// A code that only who knows the key can make, as far as these tests go.
fn code(signed: &[u8], key: u8) -> Code {
    let mut code = [key; 16];
    for (index, byte) in signed.iter().enumerate() {
        code[index % 16] = code[index % 16].rotate_left(3) ^ byte;
    }
    code
}

#[test]
fn only_genuine_datagrams_of_this_cell_for_this_receiver_count() {
    let manager = Receiver::Manager { cell: CELL, manager: ManagerNumber(0) };
    let node = Receiver::Node { cell: CELL, node: NodeNumber(3) };
    let admit = |receiver: &Receiver, datagram: &Datagram, key: Option<u8>| {
        let bytes = datagram.bytes(|signed| code(signed, 7));
        let parsed = Parsed::parse(&bytes).expect("it is one of ours");
        receiver.admit(&parsed, || key.map(|key| code(parsed.signed, key)))
    };
    let good = beat(3, 1, 1);
    assert_eq!(admit(&manager, &good, Some(7)), Ok(good));
    assert_eq!(admit(&manager, &good, Some(8)), Err(Refusal::Forged));
    assert_eq!(admit(&manager, &good, None), Err(Refusal::Unknown));
    let foreign = Datagram { cell: CellNumber(2), ..good };
    assert_eq!(admit(&manager, &foreign, Some(7)), Err(Refusal::ForeignCell));
    let for_another = Datagram { manager: ManagerNumber(1), ..good };
    assert_eq!(admit(&manager, &for_another, Some(7)), Err(Refusal::NotForUs));
    assert_eq!(admit(&manager, &answer(0, 1), Some(7)), Err(Refusal::NotForUs));
    assert_eq!(admit(&node, &answer(0, 1), Some(7)), Ok(answer(0, 1)));
    assert_eq!(admit(&node, &good, Some(7)), Err(Refusal::NotForUs));
    let of_another = Datagram { node: NodeNumber(4), ..answer(0, 1) };
    assert_eq!(admit(&node, &of_another, Some(7)), Err(Refusal::NotForUs));
}
