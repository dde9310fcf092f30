//! Elections as stories: managers, one store in memory, and what each of them says. Chance and drifting clocks: see `sim`.

use super::*;
use crate::lease::{self, Profile};
use crate::model::{Model, Read};
use expect_test::{Expect, expect};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Of the managers in these stories: who waits no longer than it must.
const TIGHT: Profile = Profile { wait_ms: 1_050, ..lease::FAST };

/// How the store treats a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Open,
    /// Nothing arrives, and the manager hears that its question ended unknown.
    Cut,
    /// Commits happen, their answers do not arrive.
    Mute,
    /// Commits arrive when the path opens again.
    Held,
    /// Nothing arrives, and nobody says so.
    Silent,
}

struct Stage {
    now: Time,
    store: Model,
    managers: BTreeMap<&'static str, Elector>,
    paths: BTreeMap<&'static str, Path>,
    held_back: Vec<Txn>,
    /// Managers that do not run for now.
    stopped: Vec<&'static str>,
    said: String,
    renewals: u32,
}

impl Stage {
    fn new(names: &[&'static str]) -> Self {
        let elector = |name: &&'static str| {
            let run = name.bytes().map(u64::from).sum();
            (*name, Elector::new((*name).into(), run, TIGHT))
        };
        Self {
            now: Time(0),
            store: Model::default(),
            managers: names.iter().map(elector).collect(),
            paths: names.iter().map(|name| (*name, Path::Open)).collect(),
            held_back: Vec::new(),
            stopped: Vec::new(),
            said: String::new(),
            renewals: 0,
        }
    }

    fn give(&mut self, name: &'static str, input: Input) {
        let elector = self.managers.get_mut(name).expect("the story names managers that exist");
        let outputs = elector.step(self.now, input);
        elector.check();
        for output in outputs {
            self.carry_out(name, output);
        }
        let acting = self.managers.values().filter(|elector| elector.acting(self.now).is_some()).count();
        assert!(acting <= 1, "{acting} managers act at {}", self.now);
    }

    fn say(&mut self, name: &str, text: &str) {
        writeln!(self.said, "{} {name}: {text}", self.now).expect("a String takes any text");
    }

    fn carry_out(&mut self, name: &'static str, output: Output) {
        match output {
            Output::Read { ask } => {
                let snapshot = match self.paths[name] {
                    Path::Open => Some(self.store.read(&Read::Prefix(PREFIX.into()))),
                    Path::Cut | Path::Mute | Path::Held => None,
                    Path::Silent => return,
                };
                self.give(name, Input::Read { ask, snapshot });
            }
            Output::Commit { attempt, txn } => self.on_commit(name, attempt, txn),
            Output::Lead { term, until, .. } => {
                let is_first = self.managers[name]
                    .held
                    .as_ref()
                    .is_some_and(|held| held.term == term && held.counter == 0);
                self.renewals += u32::from(!is_first);
                if is_first {
                    self.say(name, &format!("leads in term {term} until {until}"));
                }
            }
            Output::Stop { term, why } => self.say(name, &format!("stops in term {term}: {why}")),
            Output::Tell(news) => self.say(name, &format!("{news:?}")),
        }
    }

    fn on_commit(&mut self, name: &'static str, attempt: u64, txn: Txn) {
        let before = self.revision();
        let mut outcome = Outcome::Unknown;
        match self.paths[name] {
            Path::Open => {
                let result = self.store.commit(&txn);
                outcome = result.map_or(Outcome::Refused, |revision| Outcome::Done { revision });
            }
            Path::Mute => {
                self.store.commit(&txn).expect("nobody else writes in this story");
            }
            Path::Held => self.held_back.push(txn),
            Path::Cut => {}
            Path::Silent => return,
        }
        self.give(name, Input::Committed { attempt, outcome });
        self.tell_watchers(before);
    }

    fn revision(&self) -> Revision {
        self.store.changes(PREFIX, 0).revision
    }

    fn tell_watchers(&mut self, since: Revision) {
        let changes = self.store.changes(PREFIX, since);
        let names: Vec<&'static str> = self.managers.keys().copied().collect();
        for name in names {
            let hears = self.paths[name] == Path::Open && !self.stopped.contains(&name);
            if hears && !changes.changes.is_empty() {
                self.give(name, Input::Changed(changes.clone()));
            }
        }
    }

    fn open(&mut self, name: &'static str) {
        self.paths.insert(name, Path::Open);
        for txn in std::mem::take(&mut self.held_back) {
            let before = self.revision();
            // Late as it is, it may be refused: that is what the story is about.
            let _ = self.store.commit(&txn);
            self.tell_watchers(before);
        }
    }

    /// One millisecond at a time; managers in the order of their names.
    fn run_until(&mut self, end: u64) {
        while self.now < Time(end) {
            self.now = self.now + 1;
            let names: Vec<&'static str> = self.managers.keys().copied().collect();
            for name in names {
                let is_due = self.managers[name].wake_at().is_some_and(|due| due <= self.now);
                if is_due && !self.stopped.contains(&name) {
                    self.give(name, Input::Tick);
                }
            }
        }
    }

    fn said(&mut self, expected: Expect) {
        expected.assert_eq(&std::mem::take(&mut self.said));
    }

    fn leader(&self) -> Option<&'static str> {
        let acts = |name: &&&'static str| self.managers[**name].acting(self.now).is_some();
        self.managers.keys().find(acts).copied()
    }
}

#[test]
fn the_first_leader_listens_for_one_lease_and_then_goes_on() {
    let mut stage = Stage::new(&["m1", "m2", "m3"]);
    stage.run_until(10_000);
    stage.said(expect![[r#"
        1.051s m1: leads in term 1 until 1.851s
        1.051s m2: Follows { term: TermNumber(1), manager: ManagerName("m1") }
        1.051s m3: Follows { term: TermNumber(1), manager: ManagerName("m1") }
    "#]]);
    assert_eq!(stage.leader(), Some("m1"));
    assert!(stage.renewals > 40, "{} renewals in nine seconds", stage.renewals);
}

#[test]
fn a_killed_leader_is_followed_by_another_with_a_higher_term() {
    let mut stage = Stage::new(&["m1", "m2", "m3"]);
    stage.run_until(3_000);
    stage.managers.remove("m1");
    stage.run_until(6_000);
    stage.said(expect![[r#"
        1.051s m1: leads in term 1 until 1.851s
        1.051s m2: Follows { term: TermNumber(1), manager: ManagerName("m1") }
        1.051s m3: Follows { term: TermNumber(1), manager: ManagerName("m1") }
        3.901s m2: leads in term 2 until 4.701s
        3.901s m3: Follows { term: TermNumber(2), manager: ManagerName("m2") }
    "#]]);
}

#[test]
fn a_leader_without_the_store_stops_before_another_begins() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    stage.paths.insert("m1", Path::Cut);
    stage.run_until(6_000);
    stage.open("m1");
    stage.run_until(9_000);
    stage.said(expect![[r#"
        1.051s m1: leads in term 1 until 1.851s
        1.051s m2: Follows { term: TermNumber(1), manager: ManagerName("m1") }
        3.651s m1: stops in term 1: no renewal was taken in time
        3.901s m2: leads in term 2 until 4.701s
        6.001s m1: Follows { term: TermNumber(2), manager: ManagerName("m2") }
    "#]]);
}

#[test]
fn a_leader_that_was_paused_hears_first_that_its_time_is_over() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    stage.stopped.push("m1");
    stage.run_until(6_000);
    stage.stopped.clear();
    assert_eq!(stage.managers["m1"].acting(stage.now), None);
    stage.run_until(7_000);
    stage.said(expect![[r#"
        1.051s m1: leads in term 1 until 1.851s
        1.051s m2: Follows { term: TermNumber(1), manager: ManagerName("m1") }
        3.901s m2: leads in term 2 until 4.701s
        6.001s m1: stops in term 1: no renewal was taken in time
        6.101s m1: Follows { term: TermNumber(2), manager: ManagerName("m2") }
    "#]]);
}

#[test]
fn without_the_store_nobody_acts_until_it_is_back() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    stage.paths.values_mut().for_each(|path| *path = Path::Silent);
    stage.run_until(63_000);
    assert_eq!(stage.leader(), None);
    stage.open("m1");
    stage.open("m2");
    stage.run_until(65_000);
    stage.said(expect![[r#"
        1.051s m1: leads in term 1 until 1.851s
        1.051s m2: Follows { term: TermNumber(1), manager: ManagerName("m1") }
        3.651s m1: stops in term 1: no renewal was taken in time
        63.101s m1: leads in term 2 until 63.901s
        63.101s m2: Follows { term: TermNumber(2), manager: ManagerName("m1") }
    "#]]);
}

#[test]
fn a_renewal_whose_answer_was_lost_counts_when_the_store_shows_it() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    stage.paths.insert("m1", Path::Mute);
    stage.run_until(3_250);
    stage.open("m1");
    stage.run_until(8_000);
    assert_eq!(stage.managers["m1"].acting(stage.now), Some(TermNumber(1)));
}

#[test]
fn a_commit_that_arrives_late_takes_nothing_from_a_newer_term() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    stage.paths.insert("m1", Path::Held);
    stage.run_until(6_000);
    assert!(!stage.held_back.is_empty());
    stage.open("m1");
    stage.run_until(8_000);
    assert_eq!(stage.managers["m2"].acting(stage.now), Some(TermNumber(2)));
}

#[test]
fn a_resigned_leader_is_followed_once_it_has_stopped_for_certain() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    stage.give("m1", Input::Resign);
    stage.give("m1", Input::Stopped { term: TermNumber(0) });
    stage.run_until(3_050);
    assert_eq!(stage.leader(), None, "proof of an older term is none");
    stage.give("m1", Input::Stopped { term: TermNumber(1) });
    stage.run_until(3_060);
    stage.said(expect![[r#"
        1.051s m1: leads in term 1 until 1.851s
        1.051s m2: Follows { term: TermNumber(1), manager: ManagerName("m1") }
        3.000s m1: stops in term 1: it was asked to resign
        3.050s m2: leads in term 2 until 3.850s
        3.050s m1: Follows { term: TermNumber(2), manager: ManagerName("m2") }
    "#]]);
    assert_eq!(stage.leader(), Some("m2"));
}

#[test]
fn a_store_put_back_to_a_release_gives_nobody_the_lead_while_another_may_act() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    stage.stopped.push("m2");
    stage.give("m1", Input::Resign);
    stage.give("m1", Input::Stopped { term: TermNumber(1) });
    let copy = stage.store.clone();
    stage.stopped.clear();
    let news = Input::Changed(stage.store.changes(PREFIX, 0));
    stage.give("m2", news);
    assert_eq!(stage.leader(), Some("m2"), "a release that is seen needs no wait");
    stage.run_until(4_000);
    stage.store = copy;
    stage.paths.insert("m2", Path::Silent);
    // It has seen nothing of what the store has forgotten, and whoever leads cannot say so.
    stage.paths.insert("m3", Path::Open);
    stage.managers.insert("m3", Elector::new("m3".into(), 3, TIGHT));
    stage.run_until(7_000);
    stage.said(expect![[r#"
        1.051s m1: leads in term 1 until 1.851s
        1.051s m2: Follows { term: TermNumber(1), manager: ManagerName("m1") }
        3.000s m1: stops in term 1: it was asked to resign
        3.000s m2: leads in term 2 until 3.800s
        3.000s m1: Follows { term: TermNumber(2), manager: ManagerName("m2") }
        4.001s m3: Follows { term: TermNumber(1), manager: ManagerName("m1") }
        4.800s m2: stops in term 2: no renewal was taken in time
        5.051s m3: leads in term 2 until 5.851s
    "#]]);
}

#[test]
fn a_release_that_was_not_seen_to_happen_is_waited_for_like_any_other_leader() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    stage.paths.insert("m2", Path::Cut);
    stage.give("m1", Input::Resign);
    stage.give("m1", Input::Stopped { term: TermNumber(1) });
    stage.run_until(4_500);
    stage.open("m2");
    stage.run_until(4_900);
    assert_eq!(stage.leader(), None);
    stage.managers.remove("m1");
    stage.run_until(7_000);
    assert_eq!(stage.managers["m2"].acting(stage.now), Some(TermNumber(2)));
}

#[test]
fn a_release_that_waited_while_its_reader_was_paused_is_none() {
    let mut stage = Stage::new(&["m1", "m2", "m3"]);
    stage.run_until(3_000);
    stage.stopped.push("m2");
    stage.run_until(5_000);
    let renewal = stage.store.changes(PREFIX, 0);
    stage.stopped.push("m3");
    stage.give("m1", Input::Resign);
    stage.give("m1", Input::Stopped { term: TermNumber(1) });
    let release = stage.store.changes(PREFIX, 0);
    let copy = stage.store.clone();
    stage.stopped = vec!["m2"];
    stage.give("m3", Input::Changed(release.clone()));
    assert_eq!(stage.leader(), Some("m3"), "a release that is seen needs no wait");
    stage.run_until(20_000);
    assert_eq!(stage.leader(), Some("m3"));
    stage.store = copy;
    stage.stopped.clear();
    // The store shows the very release that m2 hears of, and m3 acts until it looks.
    stage.give("m2", Input::Changed(renewal));
    stage.give("m2", Input::Changed(release));
    assert_eq!(stage.leader(), Some("m3"));
    stage.run_until(25_000);
    assert!(stage.leader().is_some());
}

#[test]
fn a_release_of_a_term_below_what_nodes_know_is_none() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    stage.give("m2", Input::Heard { term: TermNumber(5) });
    stage.give("m1", Input::Resign);
    stage.give("m1", Input::Stopped { term: TermNumber(1) });
    stage.run_until(3_900);
    assert_eq!(stage.leader(), None);
    stage.run_until(5_000);
    assert_eq!(stage.managers["m2"].acting(stage.now), Some(TermNumber(6)));
}

#[test]
fn one_that_resigned_alone_leads_again() {
    let mut stage = Stage::new(&["m1"]);
    stage.run_until(3_000);
    stage.give("m1", Input::Resign);
    stage.give("m1", Input::Stopped { term: TermNumber(1) });
    stage.run_until(8_000);
    assert_eq!(stage.managers["m1"].acting(stage.now), Some(TermNumber(2)));
}

#[test]
fn a_store_that_went_back_makes_nobody_reuse_a_term() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    let copy = stage.store.clone();
    stage.stopped.push("m1");
    stage.run_until(5_000);
    stage.stopped.clear();
    stage.store = copy;
    // Neither the store nor m1 knows of term 2. The nodes do, and say so.
    stage.give("m1", Input::Heard { term: TermNumber(2) });
    stage.run_until(9_000);
    stage.said(expect![[r#"
        1.051s m1: leads in term 1 until 1.851s
        1.051s m2: Follows { term: TermNumber(1), manager: ManagerName("m1") }
        3.901s m2: leads in term 2 until 4.701s
        5.000s m1: stops in term 1: no renewal was taken in time
        5.101s m2: stops in term 2: the store shows an older state than this manager knows
        6.050s m1: leads in term 3 until 6.850s
        6.050s m2: Follows { term: TermNumber(3), manager: ManagerName("m1") }
    "#]]);
    let highest = stage.managers.values().filter_map(|elector| elector.acting(stage.now)).max();
    assert_eq!(highest, Some(TermNumber(3)));
}

#[test]
fn a_term_that_nodes_know_is_not_given_again() {
    let mut stage = Stage::new(&["m1"]);
    stage.give("m1", Input::Heard { term: TermNumber(41) });
    stage.run_until(3_000);
    assert_eq!(stage.managers["m1"].acting(stage.now), Some(TermNumber(42)));
    stage.give("m1", Input::Heard { term: TermNumber(50) });
    assert_eq!(stage.managers["m1"].acting(stage.now), None);
    stage.give("m1", Input::Heard { term: TermNumber(u64::MAX) });
    stage.run_until(6_000);
    assert_eq!(stage.managers["m1"].acting(stage.now), Some(TermNumber(51)));
}

#[test]
fn a_record_that_nobody_understands_is_never_taken_over() {
    let mut stage = Stage::new(&["m1", "m2"]);
    let put = Write::put(RECORD_KEY, "{}");
    stage.store.commit(&Txn { checks: Vec::new(), writes: vec![put] }).expect("the store is empty");
    stage.run_until(60_000);
    stage.said(expect![[r#"
        0.001s m1: Unreadable
        0.001s m2: Unreadable
    "#]]);
}

#[test]
fn a_fence_fails_once_another_term_has_begun() {
    let mut stage = Stage::new(&["m1", "m2"]);
    stage.run_until(3_000);
    let held = stage.managers["m1"].held.clone().expect("m1 leads");
    let checks = vec![Check::Unchanged { key: FENCE_KEY.into(), revision: held.fence }];
    let write = Txn { checks, writes: vec![Write::put("plan", "1")] };
    stage.store.commit(&write).expect("renewals do not touch the fence");
    stage.stopped.push("m1");
    stage.run_until(6_000);
    assert!(stage.store.commit(&write).is_err(), "an old leader wrote into a new term");
}

#[test]
fn records_are_read_as_they_were_written() {
    for state in [State::Held, State::Released] {
        let holder = Candidate { manager: "m-1".into(), run: u64::MAX };
        let record = Record { term: TermNumber(7), holder, counter: 45, state };
        assert_eq!(Record::parse(&record.to_string()), Some(record.clone()));
        assert_eq!(
            Record::parse(&format!("{record} rank=3")),
            Some(record),
            "a newer manager has more to say"
        );
    }
    for damaged in ["", "term=1", "term=x manager=m run=1 counter=1 state=held"] {
        assert_eq!(Found::parse(Some(damaged.as_bytes())), Found::Unreadable, "{damaged}");
    }
    assert_eq!(Found::parse(Some(&[0xff])), Found::Unreadable);
}
