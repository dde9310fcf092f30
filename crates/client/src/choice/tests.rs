//! Stories of a client that chooses members by itself.

use super::*;
use wire::id::Epoch;

/// `NAME[*WEIGHT][@ZONE][!STATE]`, with `+` in front for a backup.
fn member(text: &str) -> ClientMember {
    let (text, state) = text.split_once('!').unwrap_or((text, "up"));
    let (text, zone) = text.split_once('@').unwrap_or((text, ""));
    let (name, weight) = text.split_once('*').unwrap_or((text, "1"));
    let number = name.trim_start_matches('+').bytes().map(u16::from).sum();
    ClientMember {
        name: name.trim_start_matches('+').into(),
        address: Some(([10, 0, 0, 1], number).into()),
        state: match state {
            "up" => ClientState::Up,
            "draining" => ClientState::Draining,
            "down" => ClientState::Down,
            "lost" => ClientState::Lost,
            other => panic!("{other}"),
        },
        weight: weight.parse().expect("a weight"),
        zone: zone.into(),
        is_backup: name.starts_with('+'),
        tls: None,
    }
}

fn view(number: u64, policy: Policy, members: &str) -> ClientView {
    let members = members.split_whitespace().map(member).collect();
    ClientView { cluster: "shop".into(), epoch: Epoch { generation: 1, number }, policy, members }
}

struct Story {
    choice: Choice,
    chance: Chance,
    now_ms: u64,
}

impl Story {
    fn new(policy: Policy, members: &str) -> Self {
        Self::preferring(Prefer::Nothing, policy, members)
    }

    fn preferring(prefer: Prefer, policy: Policy, members: &str) -> Self {
        let choice = Choice::new(view(1, policy, members), prefer, None);
        Self { choice, chance: Chance::new(11), now_ms: 1_000 }
    }

    fn choose(&mut self, tried: &[&str]) -> Option<String> {
        let tried: Vec<MemberName> = tried.iter().map(|name| (*name).into()).collect();
        self.choice.choose(self.now_ms, &tried, &mut self.chance).map(|chosen| chosen.member.name.0)
    }

    /// The names of so many choices in a row.
    fn row(&mut self, count: usize) -> String {
        let names: Vec<String> = (0..count).map(|_| self.choose(&[]).unwrap_or("-".into())).collect();
        names.join(" ")
    }

    fn counts(&mut self, count: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..count {
            *counts.entry(self.choose(&[]).unwrap_or("-".into())).or_default() += 1;
        }
        counts
    }

    fn fails(&mut self, name: &str) {
        self.choice.failed(&name.into(), self.now_ms, Failing::Broken, &mut self.chance);
    }
}

#[test]
fn weighted_round_robin_keeps_the_shares_and_makes_no_bursts() {
    let mut story = Story::new(Policy::RoundRobin, "a*3 b*1 c*2");
    assert_eq!(story.row(12), "a c a b c a a c a b c a");
    assert_eq!(story.counts(600), BTreeMap::from([("a".into(), 300), ("b".into(), 100), ("c".into(), 200)]));
}

#[test]
fn only_members_that_are_up_have_weight_and_can_be_reached_are_chosen() {
    let mut story = Story::new(Policy::RoundRobin, "a!down b!lost c!draining d*0 e");
    assert_eq!(story.row(3), "e e e");
    let mut none = view(2, Policy::RoundRobin, "e");
    none.members[0].address = None;
    assert_eq!(story.choice.replace(none), Applied::Now);
    assert_eq!(story.row(1), "-", "only a router can help");
}

#[test]
fn a_member_that_failed_is_skipped_at_once_and_comes_back() {
    let mut story = Story::new(Policy::RoundRobin, "a b");
    story.fails("a");
    assert_eq!(story.row(3), "b b b");
    story.now_ms += 100;
    story.fails("b");
    assert_eq!(story.row(2), "a a", "all have failed: who comes back first");
    story.now_ms += 60_000;
    assert_eq!(story.counts(10).len(), 2);
    // What the cell says of its return ends the pause.
    story.fails("a");
    assert_eq!(story.choice.replace(view(2, Policy::RoundRobin, "a!lost b")), Applied::Now);
    assert_eq!(story.choice.replace(view(3, Policy::RoundRobin, "a b")), Applied::Now);
    assert_eq!(story.counts(10).len(), 2);
    story.fails("a");
    assert_eq!(story.choice.replace(view(4, Policy::RoundRobin, "a b*2")), Applied::Now);
    assert_eq!(story.row(2), "b b", "it was up all the time, as far as the cell knows");
}

#[test]
fn a_call_goes_to_each_member_once() {
    let mut story = Story::new(Policy::LeastOutstanding, "a b c");
    assert_eq!(story.choose(&["a", "c"]), Some("b".into()));
    assert_eq!(story.choose(&["a", "b", "c"]), None);
}

#[test]
fn near_members_first_backups_last() {
    let mut story =
        Story::preferring(Prefer::Zone("east".into()), Policy::RoundRobin, "a@west b@east c@east +d@east");
    assert_eq!(story.row(4), "b c b c");
    story.fails("b");
    story.fails("c");
    assert_eq!(story.row(2), "a a", "what is far is better than a backup");
    story.fails("a");
    assert_eq!(story.row(1), "d");
    let own = Prefer::Address([10, 0, 0, 1].into());
    let mut story = Story::preferring(own, Policy::RoundRobin, "a b");
    let mut other = view(2, Policy::RoundRobin, "a b");
    other.members[0].address = Some(([10, 0, 0, 2], 80).into());
    assert_eq!(story.choice.replace(other), Applied::Now);
    assert_eq!(story.row(2), "b b");
}

#[test]
fn the_least_busy_for_its_weight_is_chosen() {
    let mut story = Story::new(Policy::LeastOutstanding, "a*1 b*3");
    for _ in 0..8 {
        let name = story.choose(&[]).expect("there are two");
        story.choice.begin(&name.as_str().into());
    }
    let in_flight = |story: &Story, name: &str| story.choice.known[&name.into()].in_flight;
    assert_eq!((in_flight(&story, "a"), in_flight(&story, "b")), (2, 6));
    (0..6).for_each(|_| story.choice.end(&"b".into()));
    assert_eq!(story.row(1), "b");
}

#[test]
fn by_chance_all_get_their_share() {
    let mut story = Story::new(Policy::Random, "a*1 b*9");
    let counts = story.counts(1_000);
    assert!((400..600).contains(&counts["a"]), "weights play no part: {counts:?}");
    let mut story = Story::new(Policy::Auto, "a*1 b*3");
    let counts = story.counts(4_000);
    assert!(counts["b"] > 2 * counts["a"], "{counts:?}");
}

#[test]
fn a_transaction_stays_while_its_member_may_have_it() {
    let mut story = Story::new(Policy::RoundRobin, "a b");
    story.fails("a");
    assert!(story.choice.same(&"a".into()).is_some(), "a failure is the transaction's own to judge");
    assert_eq!(story.choice.replace(view(2, Policy::RoundRobin, "a!draining b")), Applied::Now);
    assert!(story.choice.same(&"a".into()).is_some());
    assert_eq!(story.choice.replace(view(3, Policy::RoundRobin, "a!lost b")), Applied::Now);
    assert!(story.choice.same(&"a".into()).is_none() && story.choice.is_lost(&"a".into()));
    assert!(story.choice.same(&"z".into()).is_none());
}

#[test]
fn a_new_policy_counts_from_the_next_call_on_and_one_of_the_clients_own_beats_it() {
    let mut story = Story::new(Policy::RoundRobin, "a*9 b*1");
    let epoch = |number| Epoch { generation: 1, number };
    let delta = ViewDelta {
        cluster: "shop".into(),
        from: epoch(1),
        to: epoch(2),
        policy: Some(Policy::Random),
        ..ViewDelta::default()
    };
    assert_eq!(story.choice.apply(&delta), Applied::Now);
    assert_eq!(story.choice.apply(&delta), Applied::Known);
    assert!(story.counts(1_000)["b"] > 300);
    story.choice.policy = Some(Policy::RoundRobin);
    assert_eq!(story.counts(1_000)["b"], 100);
    assert_eq!(story.choice.apply(&ViewDelta { from: epoch(5), to: epoch(6), ..delta }), Applied::Unfit);
}

#[test]
fn nothing_is_kept_of_members_that_left() {
    let mut story = Story::new(Policy::RoundRobin, "a b");
    story.row(4);
    story.choice.begin(&"a".into());
    assert_eq!(story.choice.replace(view(2, Policy::RoundRobin, "c")), Applied::Now);
    story.row(1);
    assert_eq!(story.choice.known.keys().map(|name| name.0.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    story.choice.end(&"a".into());
    assert_eq!(story.choice.replace(view(3, Policy::RoundRobin, "c d")), Applied::Now);
    assert!(!story.choice.known.contains_key(&"a".into()));
}
