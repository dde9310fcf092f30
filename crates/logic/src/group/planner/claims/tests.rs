//! A leader, a store and agents that say what the test wants: proofs that are none, and wishes that are out of date.
//! Histories: see `sim`.

use super::*;
use crate::group::planner::{CommitEnd, Input};
use crate::limits::{FENCE_DOUBT_MS, GROUP_RETRY_MS, LEFT_PATIENCE_MS};
use crate::machine::Machine;
use std::collections::BTreeMap;
use wire::error_code::{ACT_MAKES_NO_SENSE, ErrorCode};
use wire::group::{
    Attribute, GroupAct, GroupAssignment, GroupReport, GroupSettings, GroupState, GroupStatus, GroupsReport,
    RecoveryAct, RecoveryWish,
};
use wire::node::NodeAct;

const GENERATION: u64 = 5;

/// What an agent says of the group.
struct Told {
    epoch: u64,
    state: GroupState,
    left: Option<&'static str>,
    wish: Option<RecoveryWish>,
    restarts: u32,
    not_stopped: Option<&'static str>,
}

fn told(epoch: u64, state: GroupState) -> Told {
    Told { epoch, state, left: None, wish: None, restarts: 0, not_stopped: None }
}

struct Stage {
    now: Time,
    planner: Planner,
    settings: GroupSettings,
    /// What the store has; None: nothing.
    store: Option<String>,
    /// The store does not answer by itself.
    is_slow: bool,
    waiting: Vec<u64>,
    sent: BTreeMap<NodeName, (u64, Vec<GroupAssignment>)>,
    sequence: u64,
    /// `fence a`, `spare a`.
    fencing: Vec<String>,
    runs: BTreeMap<NodeName, u64>,
    answers: Vec<Result<String, ErrorCode>>,
    events: Vec<(&'static str, String)>,
}

fn settings(class: GroupClass, failover: Attribute) -> GroupSettings {
    GroupSettings {
        name: "db".into(),
        nodes: vec!["a".into(), "b".into()],
        startup: Attribute::Automatic,
        failover,
        failback: Attribute::Manual,
        class,
        restarts_max: 0,
        failovers_max: 3,
        after: Vec::new(),
        apart: Vec::new(),
        resources: Vec::new(),
    }
}

fn on(owner: &str, epoch: u64, is_leased: bool) -> String {
    let leased = if is_leased { "yes" } else { "no" };
    format!(
        "epoch={epoch} owner={owner} cause=start previous=- wish=- to=- frozen=no leased={leased} taken=- mark=-"
    )
}

impl Stage {
    /// A leader that has just begun.
    fn lead(settings: GroupSettings, store: Option<String>) -> Self {
        let now = Time(1_000_000);
        let records = store.clone().map(|text| ("group/db".to_owned(), text));
        let mut stage = Self {
            now,
            planner: Planner::new(now, GENERATION, 0, records),
            settings: settings.clone(),
            store,
            is_slow: false,
            waiting: Vec::new(),
            sent: BTreeMap::new(),
            sequence: 0,
            fencing: Vec::new(),
            runs: BTreeMap::new(),
            answers: Vec::new(),
            events: Vec::new(),
        };
        stage.give(Input::Nodes(["a", "b", "c"].map(NodeName::from).to_vec()));
        stage.configure(settings);
        stage
    }

    /// `db` on `a` then `b`, which are there and say that `a` runs it as epoch 5.
    fn running(class: GroupClass, failover: Attribute) -> Self {
        let is_leased = failover == Attribute::Automatic;
        let mut stage = Self::lead(settings(class, failover), Some(on("a", 5, is_leased)));
        stage.join("a", Some(told(5, GroupState::Online)));
        stage.join("b", None);
        stage.say("a", Some(told(5, GroupState::Online)));
        stage
    }

    fn configure(&mut self, settings: GroupSettings) {
        self.settings = settings.clone();
        self.give(Input::Configure(vec![settings]));
    }

    fn give(&mut self, input: Input) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.now = self.now + 1;
            let outputs = self.planner.step(self.now, input);
            self.planner.check();
            for output in outputs {
                inputs.extend(self.take(output));
            }
        }
    }

    fn take(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Commit { attempt, .. } if self.is_slow => {
                self.waiting.push(attempt);
                None
            }
            Output::Commit { attempt, key, value } => {
                if key == "group/db" {
                    self.store = value;
                }
                Some(Input::Committed { attempt, end: CommitEnd::Done })
            }
            Output::Assign { node, number, groups } => {
                self.sent.insert(node, (number, groups));
                None
            }
            Output::Fence { node, run } => {
                self.fencing.push(format!("fence {node}"));
                self.runs.insert(node, run);
                None
            }
            Output::Spare { node } => {
                self.fencing.push(format!("spare {node}"));
                None
            }
            Output::Answer { result, .. } => {
                self.answers.push(result.map_err(|refusal| refusal.code));
                None
            }
            Output::Event { kind, text, .. } => {
                self.events.push((kind, text));
                None
            }
            Output::Release { .. } | Output::NodeWish { .. } => None,
        }
    }

    /// Its agent connects, and says at once what it runs.
    fn join(&mut self, node: &str, group: Option<Told>) {
        self.sent.remove(&NodeName::from(node));
        self.give(Input::NodeConnected { node: node.into() });
        self.say(node, group);
        if self.sent.contains_key(&NodeName::from(node)) {
            return;
        }
        // What it was told since it obeys, too.
        self.later(1);
    }

    /// It has obeyed all that it was told, and says what it runs.
    fn say(&mut self, node: &str, group: Option<Told>) {
        self.say_with(node, group, true);
    }

    fn say_with(&mut self, node: &str, group: Option<Told>, has_lease: bool) {
        self.sequence += 1;
        let number = self.sent.get(&NodeName::from(node)).map_or(0, |(number, _)| *number);
        let group = group.map(|told| {
            let mut recovery = wire::group::RecoveryReport::default();
            (recovery.wish, recovery.restarts) = (told.wish, told.restarts);
            recovery.not_stopped = told.not_stopped.map(str::to_owned);
            GroupReport {
                name: "db".into(),
                epoch: told.epoch,
                state: told.state,
                reason: "so".into(),
                resources: Vec::new(),
                recovery,
                left: told.left.map(str::to_owned),
            }
        });
        self.give(Input::Report(GroupsReport {
            node: node.into(),
            incarnation: 1,
            sequence: self.sequence,
            generation: GENERATION,
            number,
            has_lease,
            groups: group.into_iter().collect(),
            ailments: Vec::new(),
        }));
    }

    /// Its machine is gone, or looks so: its lease is over.
    fn lose(&mut self, node: &str) {
        self.give(Input::Reach { node: node.into(), is_reachable: false, is_mass: false });
        self.take_lease(node);
        self.give(Input::NodeLost { node: node.into() });
    }

    fn take_lease(&mut self, node: &str) {
        self.give(Input::Taken { node: node.into() });
    }

    fn off(&mut self, node: &str) {
        let node = NodeName::from(node);
        let run = self.runs[&node];
        self.give(Input::Fenced { node, run, result: Ok(()) });
    }

    fn ask(&mut self, act: GroupAct) -> Result<String, ErrorCode> {
        self.ask_and_wait(act);
        self.answers.pop().expect("it is answered")
    }

    fn ask_and_wait(&mut self, act: GroupAct) {
        let (ask, who, group) = (1, "someone".into(), "db".into());
        self.give(Input::Operator { ask, who, group, act, dry_run: false });
    }

    fn ask_of(&mut self, node: &str, act: NodeAct) {
        let (ask, who, node) = (1, "someone".into(), node.into());
        self.give(Input::NodeOperator { ask, who, node, act, dry_run: false });
        self.answers.pop().expect("it is answered").expect("it is granted");
    }

    fn confirm_off(&mut self, node: &str) -> Result<String, ErrorCode> {
        self.ask(GroupAct::ConfirmOff { node: node.into() })
    }

    /// The store has taken what waits.
    fn written(&mut self) {
        for attempt in std::mem::take(&mut self.waiting) {
            self.give(Input::Committed { attempt, end: CommitEnd::Done });
        }
    }

    fn later(&mut self, pause_ms: u64) {
        self.now = self.now + pause_ms;
        self.give(Input::Tick);
    }

    fn status(&self) -> GroupStatus {
        let mut all = self.planner.status(&|time| time.0);
        all.pop().expect("there is one group")
    }

    fn owner(&self) -> String {
        let status = self.status();
        status.node.map_or("-".into(), |node| format!("{node} {}", status.epoch))
    }

    /// What a node was told last: the epoch of the group, and whether it needs a lease.
    fn told(&self, node: &str) -> Option<(u64, bool)> {
        let (_, groups) = self.sent.get(&NodeName::from(node))?;
        groups.first().map(|group| (group.epoch, group.is_leased))
    }

    fn events(&self, kind: &str) -> usize {
        self.events.iter().filter(|event| event.0 == kind).count()
    }

    fn record(&self) -> &str {
        self.store.as_deref().unwrap_or_default()
    }
}

#[test]
fn that_a_lease_is_over_proves_nothing_before_the_owner_has_obeyed_that_it_needs_one() {
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Manual);
    // Its link is dead, which nobody has noticed yet; now a person wants it to fail over by itself.
    stage.configure(settings(GroupClass::Soft, Attribute::Automatic));
    assert_eq!(stage.told("a"), Some((5, true)), "it is told");
    assert!(stage.record().contains("leased=no"), "it has not obeyed: {}", stage.record());
    stage.lose("a");
    assert_eq!(stage.owner(), "a 5", "it may run it without a lease, for as long as it is cut off");
    assert!(stage.status().reason.contains("confirm-off db a"), "{}", stage.status().reason);

    let mut stage = Stage::running(GroupClass::Soft, Attribute::Manual);
    stage.configure(settings(GroupClass::Soft, Attribute::Automatic));
    // It has no lease, and is about to end what it holds.
    stage.say_with("a", Some(told(5, GroupState::Stopping)), false);
    assert!(stage.record().contains("leased=no"), "{}", stage.record());
    stage.say("a", Some(told(5, GroupState::Online)));
    assert!(stage.record().contains("leased=yes"), "{}", stage.record());
    stage.lose("a");
    assert_eq!(stage.owner(), "b 6");
}

#[test]
fn a_hard_group_that_was_removed_stays_hard_and_a_person_can_say_that_its_node_is_off() {
    let mut stage = Stage::running(GroupClass::Hard, Attribute::Automatic);
    assert!(stage.record().contains("class=hard"), "{}", stage.record());
    stage.lose("a");
    stage.give(Input::Configure(Vec::new()));
    stage.later(60_000);
    assert_eq!(stage.status().node, Some("a".into()));
    // Whoever leads next knows nothing but the record.
    let records = [("group/db".to_owned(), stage.record().to_owned())];
    stage.planner = Planner::new(stage.now, GENERATION, 0, records);
    stage.give(Input::Nodes(["a", "b"].map(NodeName::from).to_vec()));
    stage.give(Input::Configure(Vec::new()));
    stage.take_lease("a");
    stage.later(60_000);
    assert_eq!(stage.status().node, Some("a".into()), "that its lease is over is not enough");
    assert!(stage.status().reason.contains("confirm-off db a"), "{}", stage.status().reason);
    assert_eq!(stage.ask(GroupAct::Stop), Err(ACT_MAKES_NO_SENSE));
    stage.confirm_off("a").expect("the only way out");
    stage.later(1);
    assert_eq!(stage.record(), gone(5), "nothing is kept but its epoch");
    // Whoever leads next says nothing of it, and gives one of that name a higher epoch.
    let mut stage = next_leader(&stage);
    stage.give(Input::Configure(Vec::new()));
    assert!(stage.planner.status(&|time| time.0).is_empty());
    stage.join("a", None);
    stage.join("b", None);
    stage.configure(settings(GroupClass::Soft, Attribute::Automatic));
    assert_eq!(stage.owner(), "a 6");
}

/// What is written of a group that is gone.
fn gone(epoch: u64) -> String {
    format!("epoch={epoch} owner=- cause=start previous=- wish=- to=- frozen=no leased=no taken=- mark=-")
}

#[test]
fn a_class_that_asks_for_less_counts_for_the_next_owner() {
    let mut stage = Stage::running(GroupClass::Hard, Attribute::Automatic);
    stage.lose("a");
    stage.configure(settings(GroupClass::Soft, Attribute::Automatic));
    assert_eq!(stage.owner(), "a 5", "it was started as a hard one");
    stage.off("a");
    assert_eq!(stage.owner(), "b 6");
    assert!(stage.record().contains("class=soft"), "{}", stage.record());
    // One that asks for more counts at once.
    stage.configure(settings(GroupClass::Hard, Attribute::Automatic));
    assert!(stage.record().contains("class=hard"), "{}", stage.record());
}

#[test]
fn a_node_in_maintenance_is_not_switched_off() {
    let mut stage = Stage::running(GroupClass::Hard, Attribute::Automatic);
    stage.ask_of("a", NodeAct::MaintenanceOn);
    stage.lose("a");
    assert_eq!(stage.fencing, [""; 0]);
    let reason = stage.status().reason;
    assert!(reason.contains("nothing follows: node a is in maintenance"), "{reason}");
    stage.ask_of("a", NodeAct::MaintenanceOff);
    assert_eq!(stage.fencing, ["fence a"]);
}

#[test]
fn a_node_is_spared_once_nobody_would_gain_by_its_being_off() {
    let begun = || {
        let mut stage = Stage::running(GroupClass::Hard, Attribute::Automatic);
        stage.lose("a");
        assert_eq!(stage.fencing, ["fence a"]);
        stage
    };
    let mut stage = begun();
    stage.ask(GroupAct::Freeze).expect("it is granted");
    assert_eq!(stage.fencing, ["fence a", "spare a"], "frozen");
    stage.ask(GroupAct::Thaw).expect("it is granted");
    assert_eq!(stage.fencing.last().map(String::as_str), Some("fence a"));

    let mut stage = begun();
    stage.ask(GroupAct::Stop).expect("it is granted");
    assert_eq!(stage.fencing, ["fence a", "spare a"], "stopped");

    let mut stage = begun();
    stage.ask_of("a", NodeAct::MaintenanceOn);
    assert_eq!(stage.fencing, ["fence a", "spare a"], "in maintenance");

    let mut stage = begun();
    stage.give(Input::NodeLost { node: "b".into() });
    assert_eq!(stage.fencing, ["fence a", "spare a"], "nobody could have it");
}

#[test]
fn what_a_node_cannot_give_back_stays_its_own() {
    let stuck = || Told { left: Some("/srv/db is still mounted"), ..told(5, GroupState::Stopping) };
    let mut stage = Stage::running(GroupClass::Hard, Attribute::Automatic);
    stage.ask(GroupAct::Move { node: Some("b".into()) }).expect("it is granted");
    stage.say("a", Some(stuck()));
    stage.later(LEFT_PATIENCE_MS - 1_000);
    stage.say("a", Some(Told { left: Some("another thing is in the way"), ..stuck() }));
    assert_eq!((stage.owner().as_str(), stage.fencing.len()), ("a 5", 0), "it tries again");
    stage.later(1_000);
    assert_eq!((stage.owner().as_str(), &stage.fencing[..]), ("a 5", &["fence a".to_owned()][..]));
    // It is off: its link is gone before its lease is over.
    stage.give(Input::NodeLost { node: "a".into() });
    assert_eq!(stage.fencing, ["fence a"]);
    stage.off("a");
    assert_eq!(stage.owner(), "a 5");
    stage.later(FENCE_DOUBT_MS / 2);
    stage.lose("a");
    assert_eq!(stage.owner(), "b 6");

    // Nobody waits for it: it is said, and that is all.
    let mut stage = Stage::running(GroupClass::Hard, Attribute::Automatic);
    stage.ask(GroupAct::Stop).expect("it is granted");
    stage.say("a", Some(stuck()));
    stage.later(2 * LEFT_PATIENCE_MS);
    assert_eq!((stage.owner().as_str(), stage.fencing.len()), ("a 5", 0));
    let reason = stage.status().reason;
    assert!(reason.contains("/srv/db is still mounted"), "{reason}");
    stage.say("a", None);
    assert_eq!(stage.owner(), "-", "it has given it back after all");

    // One that needs no such proof waits for a person.
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.ask(GroupAct::Move { node: Some("b".into()) }).expect("it is granted");
    stage.say("a", Some(stuck()));
    stage.later(2 * LEFT_PATIENCE_MS);
    assert_eq!((stage.owner().as_str(), stage.fencing.len()), ("a 5", 0));
    let reason = stage.status().reason;
    assert!(reason.contains("still mounted") && reason.contains("confirm-off db a"), "{reason}");
}

#[test]
fn a_fence_that_says_off_of_a_node_whose_heartbeats_go_on_proves_nothing_about_later() {
    let stuck = || Told { left: Some("/srv/db is still mounted"), ..told(5, GroupState::Stopping) };
    let mut stage = Stage::running(GroupClass::Hard, Attribute::Automatic);
    stage.ask(GroupAct::Move { node: Some("b".into()) }).expect("it is granted");
    stage.say("a", Some(stuck()));
    stage.later(LEFT_PATIENCE_MS);
    stage.off("a");
    stage.later(FENCE_DOUBT_MS);
    assert!(stage.record().contains("mark=asked"), "{}", stage.record());
    assert_eq!(stage.fencing, ["fence a", "fence a"], "it is fenced anew");
    // An hour later its network is gone.
    stage.later(3_600_000);
    stage.lose("a");
    assert_eq!(stage.owner(), "a 5", "it has what it could not give back");
    stage.off("a");
    assert_eq!(stage.owner(), "b 6");
}

#[test]
fn a_node_that_is_back_is_not_off_though_it_says_that_it_has_what_it_had() {
    let off = on("a", 5, true).replace("mark=-", "mark=off");
    let mut stage = Stage::lead(settings(GroupClass::Hard, Attribute::Automatic), Some(off));
    stage.join("a", Some(Told { left: Some("/srv/db is still mounted"), ..told(5, GroupState::Stopping) }));
    assert!(!stage.record().contains("mark=off"), "{}", stage.record());
    stage.lose("a");
    assert_eq!(stage.owner(), "a 5");
}

#[test]
fn a_node_that_gives_back_what_was_stuck_is_spared_and_loses_the_group_in_order() {
    let mut stage = Stage::running(GroupClass::Hard, Attribute::Automatic);
    stage.ask(GroupAct::Move { node: Some("b".into()) }).expect("it is granted");
    stage.say("a", Some(Told { left: Some("it hangs"), ..told(5, GroupState::Stopping) }));
    stage.later(LEFT_PATIENCE_MS);
    stage.say("a", Some(told(5, GroupState::Stopped)));
    assert_eq!(stage.fencing, ["fence a", "spare a"]);
    assert_eq!(stage.owner(), "b 6");
    assert!(stage.record().contains("mark=-"), "{}", stage.record());
}

#[test]
fn a_store_that_was_put_back_gives_nothing_away_that_another_node_runs() {
    for failover in [Attribute::Manual, Attribute::Automatic] {
        let is_leased = failover == Attribute::Automatic;
        let store = Some(on("a", 5, is_leased));
        let mut stage = Stage::lead(settings(GroupClass::Soft, failover), store);
        // The owner of before comes first, and does not run it.
        stage.join("a", None);
        assert_eq!(stage.told("a"), None);
        let reason = stage.status().reason;
        assert!(reason.contains("node b has not said yet what runs there"), "{reason}");
        stage.join("b", Some(told(6, GroupState::Online)));
        stage.later(60_000);
        assert_eq!(stage.told("a"), None);
        let reason = stage.status().reason;
        assert!(reason.contains("node b runs it as epoch 6, which the store does not say"), "{reason}");
        assert_eq!(stage.events("group-claimed"), 1);
        // It was told to run nothing. Its link breaks while it stops.
        stage.say("b", Some(told(6, GroupState::Stopping)));
        stage.give(Input::NodeLost { node: "b".into() });
        stage.later(60_000);
        assert_eq!(stage.told("a"), None, "nobody knows how far it came");
        stage.join("b", Some(told(6, GroupState::Stopping)));
        assert_eq!(stage.told("a"), None);
        stage.say("b", None);
        stage.say("a", None);
        assert_eq!(stage.told("a"), Some((7, is_leased)), "above what the other ran as");
    }
}

#[test]
fn who_claims_a_group_may_be_said_to_be_off() {
    let store = Some(on("a", 5, false));
    let mut stage = Stage::lead(settings(GroupClass::Soft, Attribute::Manual), store);
    stage.join("b", Some(told(6, GroupState::Online)));
    stage.join("a", None);
    stage.confirm_off("b").expect_err("it is there");
    stage.give(Input::NodeLost { node: "b".into() });
    assert!(stage.status().reason.contains("confirm-off db b"), "{}", stage.status().reason);
    stage.confirm_off("b").expect("it is off");
    stage.later(SETTLE_MS);
    stage.say("a", None);
    assert_eq!(stage.told("a"), Some((7, false)));
}

#[test]
fn who_leads_next_leaves_what_runs_alone_and_waits_only_a_moment_for_others() {
    let settings = || settings(GroupClass::Soft, Attribute::Automatic);
    // The owner holds it just as it is written: there is nothing to wait for.
    let mut stage = Stage::lead(settings(), Some(on("a", 5, true)));
    stage.give(Input::NodeConnected { node: "a".into() });
    assert!(!stage.sent.contains_key(&NodeName::from("a")), "it is not told to end what it may have");
    stage.say("a", Some(told(5, GroupState::Online)));
    assert_eq!(stage.told("a"), Some((5, true)));
    // It does not hold it, and the other node may be off for good.
    let mut stage = Stage::lead(settings(), Some(on("a", 5, true)));
    stage.join("a", None);
    assert_eq!(stage.told("a"), None);
    stage.later(SETTLE_MS);
    assert_eq!(stage.told("a"), Some((5, true)));
    // That it had it once, just as it is written, says nothing of now.
    for state in [GroupState::Waiting, GroupState::Stopped, GroupState::Expired] {
        let mut stage = Stage::lead(settings(), Some(on("a", 5, true)));
        stage.join("a", Some(told(5, state)));
        assert_eq!(stage.told("a"), None, "{state:?}");
        assert_eq!(stage.owner(), "a 5", "{state:?}");
    }
    // That other node may have run it by a lease, of which a store that was put back knows nothing.
    let mut stage = Stage::lead(settings(), Some(on("a", 5, true)));
    let records = [("group/db".to_owned(), on("a", 5, true))];
    stage.planner = Planner::new(stage.now, GENERATION, 3 * SETTLE_MS, records);
    stage.give(Input::Nodes(["a", "b"].map(NodeName::from).to_vec()));
    stage.configure(settings());
    stage.join("a", None);
    stage.later(3 * SETTLE_MS - 100);
    assert_eq!(stage.told("a"), None);
    assert!(stage.planner.wake_at().is_some_and(|at| at <= stage.now + 100), "it is looked at then");
    stage.later(100);
    assert_eq!(stage.told("a"), Some((5, true)));
    // It runs a higher epoch itself: that one ends first.
    let mut stage = Stage::lead(settings(), Some(on("a", 5, true)));
    stage.join("b", None);
    stage.join("a", Some(told(7, GroupState::Online)));
    assert_eq!(stage.told("a"), None);
    stage.say("a", None);
    assert_eq!(stage.told("a"), Some((8, true)));
    // A record that is missing names nobody; who has it keeps it from others all the same.
    let mut stage = Stage::lead(settings(), None);
    stage.join("a", None);
    assert_eq!(stage.owner(), "-");
    stage.join("b", Some(told(6, GroupState::Online)));
    stage.later(60_000);
    assert_eq!(stage.owner(), "-");
    stage.say("b", None);
    assert_eq!(stage.owner(), "a 7", "above what it ran as");
}

#[test]
fn a_record_that_nobody_here_wrote_waits_for_whom_was_told_before() {
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Manual);
    stage.is_slow = true;
    stage.ask_and_wait(GroupAct::Freeze);
    let attempt = stage.waiting.pop().expect("it is written");
    // What a manager of before had on its way has come into force.
    let found = Some(on("b", 6, false));
    stage.give(Input::Committed { attempt, end: CommitEnd::NotDone { found } });
    stage.is_slow = false;
    assert_eq!(stage.told("a"), None, "it is not its own any more");
    assert_eq!(stage.told("b"), None, "node a still runs it");
    stage.give(Input::NodeLost { node: "a".into() });
    stage.take_lease("a");
    stage.later(GROUP_RETRY_MS);
    assert_eq!(stage.told("b"), None, "it runs without a lease");
    stage.join("a", Some(told(5, GroupState::Online)));
    stage.say("a", Some(told(5, GroupState::Stopping)));
    assert_eq!(stage.told("b"), None);
    stage.say("a", None);
    assert_eq!(stage.told("b"), Some((6, false)));
}

fn wish(act: RecoveryAct, is_granted: bool) -> RecoveryWish {
    RecoveryWish { number: 7, monitor: "web".into(), act, why: "web is down".into(), is_granted }
}

#[test]
fn nothing_that_a_node_in_maintenance_wished_is_granted_or_carried_out() {
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.ask_of("a", NodeAct::MaintenanceOn);
    let wished = wish(RecoveryAct::FailOver, false);
    stage.say("a", Some(Told { wish: Some(wished), ..told(5, GroupState::Online) }));
    stage.later(SETTLE_MS);
    let reason = stage.status().reason;
    assert!(reason.contains("node a is in maintenance"), "{reason}");
    assert_eq!(stage.events("group-recovery"), 0);
    // One that was granted just before: it has left already.
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.ask_of("a", NodeAct::MaintenanceOn);
    let wished = wish(RecoveryAct::FailOver, true);
    stage.say("a", Some(Told { wish: Some(wished), ..told(5, GroupState::Failed) }));
    assert_eq!(stage.owner(), "a 5");
    assert!(stage.status().reason.contains("node a is in maintenance"), "{}", stage.status().reason);
    stage.ask_of("a", NodeAct::MaintenanceOff);
    assert_eq!(stage.owner(), "b 6");
}

#[test]
fn a_wish_that_was_granted_is_not_granted_to_the_next_agent() {
    let granted = |stage: &Stage| stage.sent[&NodeName::from("a")].1[0].granted;
    let wished = || Told { wish: Some(wish(RecoveryAct::FailOver, false)), ..told(5, GroupState::Online) };
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.say("a", Some(wished()));
    assert_eq!(granted(&stage), Some(7));
    // Its agent starts anew, and counts from the beginning. Meanwhile nobody else could have the group.
    stage.give(Input::NodeLost { node: "a".into() });
    stage.give(Input::NodeLost { node: "b".into() });
    stage.later(SETTLE_MS);
    stage.join("a", None);
    assert_eq!(granted(&stage), None);
    stage.say("a", Some(wished()));
    assert_eq!(granted(&stage), None);
}

#[test]
fn no_number_that_a_node_says_is_too_large() {
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.say("a", Some(Told { restarts: u32::MAX, ..told(5, GroupState::Failed) }));
    assert_eq!(stage.owner(), "b 6", "it has failed there often enough");
}

#[test]
fn a_group_of_a_node_that_is_gone_from_the_configuration_says_what_a_person_can_do() {
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.give(Input::NodeLost { node: "a".into() });
    stage.join("c", None);
    stage.give(Input::Nodes(["b", "c"].map(NodeName::from).to_vec()));
    let nodes = vec!["b".into(), "c".into()];
    stage.configure(GroupSettings { nodes, ..settings(GroupClass::Soft, Attribute::Automatic) });
    let reason = stage.status().reason;
    assert!(reason.contains("confirm-off db a"), "{reason}");
    stage.confirm_off("a").expect("it is off");
    assert_eq!(stage.owner(), "b 6");
}

#[test]
fn a_group_that_is_put_back_while_it_is_being_forgotten_is_not_lost() {
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.give(Input::Configure(Vec::new()));
    stage.is_slow = true;
    stage.say("a", None);
    stage.written();
    assert!(stage.status().node.is_none(), "it has ended, and is being forgotten");
    stage.configure(settings(GroupClass::Soft, Attribute::Automatic));
    stage.is_slow = false;
    stage.written();
    assert_eq!(stage.owner(), "a 6");
}

#[test]
fn a_node_that_has_ended_a_later_epoch_is_told_one_above_it() {
    let mut stage = Stage::lead(settings(GroupClass::Soft, Attribute::Automatic), Some(on("a", 5, true)));
    stage.join("b", None);
    stage.join("a", Some(told(7, GroupState::Stopped)));
    assert_eq!(stage.told("a"), None, "it runs no epoch below one that it has run");
    stage.say("a", None);
    assert_eq!(stage.told("a"), Some((8, true)));
}

#[test]
fn a_persons_start_begins_the_count_of_failovers_anew() {
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.configure(GroupSettings { failovers_max: 1, ..settings(GroupClass::Soft, Attribute::Automatic) });
    stage.say("a", Some(told(5, GroupState::Failed)));
    assert_eq!(stage.owner(), "b 6");
    stage.say("a", None);
    stage.say("b", Some(told(6, GroupState::Failed)));
    assert_eq!((stage.owner(), stage.status().state), ("b 6".into(), GroupCondition::Failed));
    stage.ask(GroupAct::Start { node: None }).expect("it can be tried");
    assert_eq!(stage.owner(), "b 7");
    stage.say("b", Some(told(7, GroupState::Failed)));
    assert_eq!(stage.owner(), "a 8");
}

#[test]
fn a_stop_that_was_not_in_good_order_is_an_event_and_only_one() {
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.ask(GroupAct::Move { node: None }).expect("b is able");
    let why = "disk was not stopped in good order and is killed: it ended with status 7";
    for state in [GroupState::Stopping, GroupState::Stopped] {
        stage.say("a", Some(Told { not_stopped: Some(why), ..told(5, state) }));
    }
    assert_eq!(stage.owner(), "b 6");
    let told = |event: &&(&str, String)| event.0 == "group-stop-failed";
    let texts: Vec<&String> = stage.events.iter().filter(told).map(|(_, text)| text).collect();
    assert_eq!(texts, [&format!("group db on node a: {why}")]);
}

/// The one who leads next, a moment later, over the same store.
fn next_leader(stage: &Stage) -> Stage {
    Stage::lead(stage.settings.clone(), stage.store.clone())
}

#[test]
fn who_leads_next_knows_who_claims_a_group_and_waits_for_it_however_long_it_is_silent() {
    let store = Some(on("a", 5, false));
    let mut stage = Stage::lead(settings(GroupClass::Soft, Attribute::Manual), store);
    stage.join("b", Some(told(9, GroupState::Online)));
    assert!(stage.record().ends_with(" claimed=b:9 above=9"), "{}", stage.record());
    let mut stage = next_leader(&stage);
    stage.join("a", None);
    stage.later(60_000);
    assert_eq!(stage.told("a"), None, "node b is silent, and may run it");
    assert!(stage.status().reason.contains("confirm-off db b"), "{}", stage.status().reason);
    // It comes, and is about to end it; then that one dies too.
    stage.join("b", Some(told(9, GroupState::Stopping)));
    let mut stage = next_leader(&stage);
    stage.join("a", None);
    stage.later(60_000);
    assert_eq!(stage.told("a"), None);
    stage.join("b", Some(told(9, GroupState::Stopping)));
    stage.say("b", None);
    assert!(stage.record().ends_with(" mark=- above=9"), "{}", stage.record());
    stage.say("a", None);
    assert_eq!(stage.told("a"), Some((10, false)), "no epoch of the lost future is used again");
    assert!(stage.record().ends_with(" mark=-"), "{}", stage.record());
}

#[test]
fn that_a_claimant_is_off_is_written_down_before_it_counts() {
    let mut stage = Stage::lead(settings(GroupClass::Soft, Attribute::Manual), Some(on("a", 5, false)));
    stage.join("b", Some(told(6, GroupState::Online)));
    stage.join("a", None);
    stage.give(Input::NodeLost { node: "b".into() });
    stage.is_slow = true;
    stage.ask_and_wait(GroupAct::ConfirmOff { node: "b".into() });
    stage.later(SETTLE_MS);
    assert_eq!(stage.told("a"), None, "whoever leads next would not know");
    // It is there after all, before that is written.
    stage.join("b", Some(told(6, GroupState::Online)));
    stage.written();
    assert_eq!(stage.told("a"), None);
    stage.is_slow = false;
    stage.written();
    stage.give(Input::NodeLost { node: "b".into() });
    stage.confirm_off("b").expect("now it is off");
    stage.say("a", None);
    assert_eq!(stage.told("a"), Some((7, false)));
    let mut stage = next_leader(&stage);
    stage.join("a", None);
    stage.later(SETTLE_MS);
    assert_eq!(stage.told("a"), Some((7, false)));
}

#[test]
fn a_group_that_somebody_claims_is_not_forgotten() {
    let mut stage = Stage::lead(settings(GroupClass::Soft, Attribute::Manual), Some(on("a", 5, false)));
    stage.join("a", None);
    stage.join("b", Some(told(6, GroupState::Online)));
    stage.give(Input::Configure(Vec::new()));
    stage.give(Input::NodeLost { node: "b".into() });
    stage.say("a", None);
    assert!(stage.record().contains(" owner=- "), "{}", stage.record());
    assert!(stage.record().contains(" claimed=b:6"), "{}", stage.record());
    // It is defined again: nobody begins with it beside the one that has it.
    stage.configure(stage.settings.clone());
    stage.later(60_000);
    assert_eq!(stage.told("a"), None);
    stage.give(Input::Configure(Vec::new()));
    stage.confirm_off("b").expect("it is off");
    assert_eq!(stage.record(), gone(6));
}

#[test]
fn an_epoch_that_no_group_can_have_come_to_keeps_nothing_but_the_group() {
    let mut stage = Stage::lead(settings(GroupClass::Soft, Attribute::Manual), Some(on("a", 5, false)));
    stage.join("b", Some(told(u64::MAX, GroupState::Online)));
    stage.join("a", None);
    assert_eq!(stage.told("a"), None);
    stage.say("b", None);
    assert_eq!(stage.told("a"), Some((5, false)));
    stage.say("a", Some(told(5, GroupState::Online)));
    stage.ask(GroupAct::Move { node: None }).expect("b is able");
    stage.say("a", None);
    assert_eq!(stage.owner(), "b 6");
}

/// Whether the node was told that nobody has to be asked.
fn is_handed_over(stage: &Stage, node: &str) -> bool {
    let (_, groups) = &stage.sent[&NodeName::from(node)];
    groups.first().expect("it was told to run it").is_handed_over
}

#[test]
fn who_has_given_it_back_hands_it_over_to_who_begins_at_once() {
    for end in [None, Some(told(5, GroupState::Stopped))] {
        let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
        assert!(!is_handed_over(&stage, "a"), "nobody had it before");
        stage.ask(GroupAct::Move { node: None }).expect("b is able");
        stage.say("a", Some(told(5, GroupState::Stopping)));
        assert_eq!(stage.told("b"), None);
        stage.say("a", end);
        assert_eq!(stage.told("b"), Some((6, true)));
        assert!(is_handed_over(&stage, "b"));
        // Its agent dies, and the next one begins at another time.
        stage.give(Input::NodeLost { node: "b".into() });
        stage.join("b", None);
        assert_eq!(stage.told("b"), Some((6, true)));
        assert!(!is_handed_over(&stage, "b"));
    }
}

#[test]
fn what_a_lease_or_a_person_proves_or_has_failed_is_not_handed_over() {
    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.lose("a");
    assert_eq!(stage.told("b"), Some((6, true)));
    assert!(!is_handed_over(&stage, "b"));
    // As long as the first one has not come back, nobody knows what it has.
    stage.join("c", None);
    stage.configure(GroupSettings {
        nodes: ["a", "b", "c"].map(NodeName::from).to_vec(),
        ..settings(GroupClass::Soft, Attribute::Automatic)
    });
    stage.say("b", Some(told(6, GroupState::Online)));
    stage.ask(GroupAct::Move { node: Some("c".into()) }).expect("c is able");
    stage.say("b", None);
    assert_eq!(stage.told("c"), Some((7, true)));
    assert!(!is_handed_over(&stage, "c"));

    let mut stage = Stage::running(GroupClass::Soft, Attribute::Manual);
    stage.give(Input::NodeLost { node: "a".into() });
    stage.confirm_off("a").expect("it is the only way out");
    stage.later(SETTLE_MS);
    assert_eq!(stage.told("b"), Some((6, false)));
    assert!(!is_handed_over(&stage, "b"));

    let mut stage = Stage::running(GroupClass::Soft, Attribute::Automatic);
    stage.say("a", Some(told(5, GroupState::Failed)));
    assert_eq!(stage.told("b"), Some((6, true)));
    assert!(!is_handed_over(&stage, "b"), "perhaps because somebody else has its address");
}
