//! Rotation by weight, chance and affinity, against slow oracles and the rules of the plug-in.

mod policies;

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use wire::settings::RouteSettings;
use wire::view::Affinity;

/// A view from lines such as `a up 3`; clone ids are `c` and the name.
fn view(number: u64, policy: Policy, lines: &[(&str, RunState, u32)]) -> View {
    let members = lines.iter().map(|(name, state, weight)| MemberView {
        name: (*name).into(),
        clone_id: format!("c{name}"),
        address: Some(([127, 0, 0, 1], 8080).into()),
        state: *state,
        weight: *weight,
        is_lost: false,
        reason: "test".into(),
        ..MemberView::default()
    });
    let affinity = Affinity {
        cookie: "JSESSIONID".into(),
        url_identifier: String::new(),
        separator: ':',
        lowers_weight: false,
        ..Affinity::default()
    };
    View {
        cluster: "shop".into(),
        epoch: Epoch { generation: 1, number },
        policy,
        affinity: Some(affinity),
        members: members.collect(),
        ..View::default()
    }
}

fn up(lines: &[(&str, u32)]) -> View {
    let lines: Vec<_> = lines.iter().map(|(name, weight)| (*name, RunState::Up, *weight)).collect();
    view(1, Policy::RoundRobin, &lines)
}

/// One request; its member's name, or why there is none.
fn ask_at(balancer: &mut Balancer, view: &View, clone_ids: &[&str], tried: &[u16], now: Time) -> String {
    let mut list = Tried::default();
    tried.iter().for_each(|index| list.add(*index));
    let choice = balancer.choose(clone_ids.iter().copied(), &Ask::new(&list, now));
    balancer.check();
    match choice {
        Choice::Member { index, .. } => view.members[index as usize].name.to_string(),
        Choice::Full { index, .. } => format!("{} is full", view.members[index as usize].name),
        Choice::None { why } => why.to_string(),
    }
}

fn ask(balancer: &mut Balancer, view: &View, clone_ids: &[&str]) -> String {
    ask_at(balancer, view, clone_ids, &[], Time(0))
}

/// So many requests of no conversation, as one word of names.
fn turns(balancer: &mut Balancer, view: &View, count: usize) -> String {
    (0..count).map(|_| ask(balancer, view, &[])).collect()
}

/// A seed whose first member is the first in the file.
fn seed_of_first(members: usize) -> u64 {
    let is_first = |seed: &u64| Chance::new(*seed).below(members as u32) == 0;
    (0..).find(is_first).expect("one of many seeds begins with the first member")
}

fn balancer(view: &View) -> Balancer {
    Balancer::new(view, seed_of_first(view.members.len()), "")
}

#[test]
fn weights_are_divided_by_their_highest_common_factor() {
    let view = up(&[("a", 20), ("b", 20), ("c", 20)]);
    assert_eq!(turns(&mut balancer(&view), &view, 7), "abcabca");
    let view = up(&[("a", 30), ("b", 20), ("c", 10)]);
    assert_eq!(turns(&mut balancer(&view), &view, 12), "abcababcabaa");
    let view = up(&[("a", 100), ("b", 90), ("c", 80)]);
    let mut balancer = balancer(&view);
    let cycle = turns(&mut balancer, &view, 27);
    assert_eq!(cycle, "abc".repeat(8) + "aba");
}

#[test]
fn the_first_member_is_chosen_by_chance_and_each_is_as_likely() {
    let view = up(&[("a", 1), ("b", 1), ("c", 1)]);
    let mut counts = [0; 3];
    for seed in 0..3_000 {
        let first = turns(&mut Balancer::new(&view, seed, ""), &view, 1);
        counts[usize::from(first.as_bytes()[0] - b'a')] += 1;
    }
    assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    let word = turns(&mut Balancer::new(&view, 1, ""), &view, 6);
    assert!("abcabcabcabc".contains(&word), "file order from the first on, not {word}");
}

#[test]
fn a_session_stays_with_its_member_while_that_is_up_or_draining() {
    use RunState::*;
    for (state, expected) in
        [(Up, "b"), (Draining, "b"), (Down, "a"), (Failed, "a"), (Starting, "a"), (Unknown, "a")]
    {
        let view = view(1, Policy::RoundRobin, &[("a", Up, 1), ("b", state, 1)]);
        assert_eq!(ask(&mut balancer(&view), &view, &["cb"]), expected, "{state}");
    }
}

#[test]
fn clone_ids_are_tried_in_order() {
    use RunState::*;
    let view = view(1, Policy::RoundRobin, &[("a", Up, 1), ("b", Down, 1), ("c", Up, 1)]);
    let mut balancer = balancer(&view);
    assert_eq!(ask(&mut balancer, &view, &["cb", "cc"]), "c");
    assert_eq!(ask(&mut balancer, &view, &["cb", "nobody", "cc", "ca"]), "c");
    assert_eq!(ask(&mut balancer, &view, &["nobody"]), "a");
}

#[test]
fn affinity_leaves_the_weight_alone_unless_it_shall_lower_it() {
    let mut view = up(&[("a", 2), ("b", 1)]);
    let mut alone = balancer(&view);
    for _ in 0..5 {
        assert_eq!(ask(&mut alone, &view, &["ca"]), "a");
    }
    assert_eq!(alone.current_weights().collect::<Vec<_>>(), [2, 1]);
    view.affinity.as_mut().expect("the sample has affinity").lowers_weight = true;
    let mut lowering = balancer(&view);
    for _ in 0..5 {
        assert_eq!(ask(&mut lowering, &view, &["ca"]), "a");
    }
    assert_eq!(lowering.current_weights().collect::<Vec<_>>(), [-3, 1]);
    // b has 1 left; then all are at or below 0, and k = 2 is the smallest with -3 + 2k > 0.
    assert_eq!(turns(&mut lowering, &view, 1), "b");
    assert_eq!(turns(&mut lowering, &view, 1), "a");
    assert_eq!(lowering.current_weights().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(turns(&mut lowering, &view, 2), "bb");
}

#[test]
fn weight_0_takes_no_new_conversations_and_keeps_its_own() {
    for policy in [Policy::RoundRobin, Policy::Random] {
        let view = view(1, policy, &[("a", RunState::Up, 0), ("b", RunState::Up, 3)]);
        let mut balancer = balancer(&view);
        assert_eq!(turns(&mut balancer, &view, 6), "bbbbbb");
        assert_eq!(ask(&mut balancer, &view, &["ca"]), "a");
    }
    let view = up(&[("a", 0)]);
    let answer = ask(&mut balancer(&view), &view, &[]);
    assert_eq!(answer, "the members that are up have weight 0: no new conversations");
}

#[test]
fn chance_is_blind_to_weights() {
    let view = view(
        1,
        Policy::Random,
        &[
            ("a", RunState::Up, 1),
            ("b", RunState::Down, 5),
            ("c", RunState::Up, 100),
            ("d", RunState::Draining, 1),
        ],
    );
    let mut balancer = balancer(&view);
    let all = turns(&mut balancer, &view, 4_000);
    let count = |name| all.matches(name).count();
    assert_eq!(count("a") + count("c"), 4_000);
    assert!((1_900..2_100).contains(&count("a")), "{}", count("a"));
    assert_eq!(ask(&mut balancer, &view, &["cd"]), "d");
}

#[test]
fn a_member_that_failed_gets_nothing_for_a_pause_that_doubles() {
    let view = up(&[("a", 1), ("b", 1)]);
    let mut balancer = balancer(&view);
    let both = |balancer: &mut Balancer, at| {
        (0..2).map(|_| ask_at(balancer, &view, &[], &[], Time(at))).collect::<String>()
    };
    balancer.failed(0, Time(0));
    balancer.failed(0, Time(10));
    assert_eq!(both(&mut balancer, 999), "bb");
    assert_eq!(both(&mut balancer, 1_000), "ab", "the pause is over");
    assert_eq!(both(&mut balancer, 1_001), "bb", "one request tries it, others wait");
    balancer.failed(0, Time(1_010));
    assert_eq!(both(&mut balancer, 3_009), "bb", "two seconds now");
    assert_eq!(both(&mut balancer, 3_010), "ab");
    balancer.answered(0);
    assert_eq!(both(&mut balancer, 3_011), "ab");
    for round in 0..10 {
        balancer.failed(0, Time(100_000 * (round + 1)));
    }
    assert!(balancer.is_marked(0, Time(1_000_000 + MARK_PAUSE_MAX_MS - 1)));
    assert!(!balancer.is_marked(0, Time(1_000_000 + MARK_PAUSE_MAX_MS)));
}

#[test]
fn a_request_that_tried_a_failed_member_and_never_came_back_frees_it_after_a_pause() {
    let view = up(&[("a", 1), ("b", 1)]);
    let mut balancer = balancer(&view);
    balancer.failed(0, Time(0));
    assert_eq!(ask_at(&mut balancer, &view, &["ca"], &[], Time(1_000)), "a");
    assert_eq!(ask_at(&mut balancer, &view, &["ca"], &[], Time(1_500)), "b");
    assert_eq!(ask_at(&mut balancer, &view, &["ca"], &[], Time(2_000)), "a");
}

#[test]
fn where_nobody_is_fit_the_least_bad_is_taken_and_never_one_that_is_down() {
    use RunState::*;
    let lines =
        [("a", Down, 1), ("b", Up, 1), ("c", Up, 1), ("d", Unknown, 1), ("e", Starting, 1), ("f", Failed, 1)];
    let view = view(1, Policy::RoundRobin, &lines);
    let mut balancer = balancer(&view);
    balancer.failed(2, Time(0));
    balancer.failed(1, Time(10));
    let mut asked =
        |clone_ids: &[&str], tried: &[u16]| ask_at(&mut balancer, &view, clone_ids, tried, Time(20));
    assert_eq!(asked(&[], &[]), "c", "its pause ends first");
    assert_eq!(asked(&["cb"], &[]), "b", "the session's own member");
    assert_eq!(asked(&["cd"], &[]), "d", "the session's own member, though its state is unknown");
    assert_eq!(asked(&["ca"], &[]), "c");
    assert_eq!(asked(&[], &[2]), "b");
    assert_eq!(asked(&[], &[1, 2]), "d");
    assert_eq!(asked(&["ca"], &[1, 2, 3]), "all 3 members that could be tried failed");
}

#[test]
fn a_cluster_of_nobody_says_so() {
    let empty = up(&[]);
    assert_eq!(ask(&mut Balancer::new(&empty, 1, ""), &empty, &["ca"]), "the cluster has no members");
    let down = view(1, Policy::Random, &[("a", RunState::Down, 1), ("b", RunState::Starting, 1)]);
    assert_eq!(ask(&mut balancer(&down), &down, &[]), "none of the 2 members is up");
}

#[test]
fn a_new_view_keeps_the_cycle_going() {
    use RunState::*;
    let one = view(1, Policy::RoundRobin, &[("a", Up, 3), ("b", Up, 2), ("c", Up, 1)]);
    let mut balancer = balancer(&one);
    assert_eq!(turns(&mut balancer, &one, 2), "ab");
    let two = view(2, Policy::RoundRobin, &[("a", Up, 3), ("x", Up, 1), ("c", Up, 1), ("b", Up, 2)]);
    assert!(balancer.apply(&two, Time(0)));
    assert_eq!(balancer.current_weights().collect::<Vec<_>>(), [2, 1, 1, 1]);
    assert_eq!(turns(&mut balancer, &two, 5), "cbaxa", "goes on at c, then in the new order");
    assert!(!balancer.apply(&one, Time(0)), "an older view is not taken");
    assert!(!balancer.apply(&two, Time(0)), "nor the same");
    assert_eq!(balancer.epoch(), two.epoch);
}

#[test]
fn a_changed_weight_counts_what_was_given_in_this_cycle() {
    let one = up(&[("a", 4), ("b", 5)]);
    let mut balancer = balancer(&one);
    assert_eq!(turns(&mut balancer, &one, 6), "ababab");
    let mut two = up(&[("a", 7), ("b", 2)]);
    two.epoch.number = 2;
    balancer.apply(&two, Time(0));
    assert_eq!(balancer.current_weights().collect::<Vec<_>>(), [4, 0]);
}

#[test]
fn becoming_up_clears_the_mark_and_gives_the_whole_weight() {
    use RunState::*;
    let one = up(&[("a", 3), ("b", 2)]);
    let mut balancer = balancer(&one);
    turns(&mut balancer, &one, 4);
    balancer.failed(0, Time(0));
    let down = view(2, Policy::RoundRobin, &[("a", Down, 3), ("b", Up, 2)]);
    balancer.apply(&down, Time(0));
    assert!(balancer.is_marked(0, Time(1)), "being down is no reason to forget");
    let back = view(3, Policy::RoundRobin, &[("a", Up, 3), ("b", Up, 2)]);
    balancer.apply(&back, Time(0));
    assert!(!balancer.is_marked(0, Time(1)));
    assert_eq!(balancer.current_weights().next(), Some(3));
}

#[test]
fn tried_members_are_found_again_in_a_new_view() {
    let old = up(&[("a", 1), ("b", 1), ("c", 1)]);
    let mut new = up(&[("x", 1), ("c", 1), ("b", 1)]);
    new.epoch.number = 2;
    let mut balancer = balancer(&old);
    balancer.apply(&new, Time(0));
    let mut tried = Tried::default();
    [0, 2, 2].into_iter().for_each(|index| tried.add(index));
    assert_eq!(tried.count(), 2);
    let moved = tried.moved(&old, &balancer);
    assert_eq!((moved.count(), moved.contains(1)), (1, true));
    assert_eq!(size_of::<Tried>(), 32);
}

#[test]
fn reasons_are_sentences() {
    #[track_caller]
    fn check(clone_ids: &[&str], tried: &[u16], expected: Expect) {
        use RunState::*;
        let view = view(1, Policy::RoundRobin, &[("a", Up, 1), ("b", Down, 1), ("c", Draining, 1)]);
        let mut list = Tried::default();
        tried.iter().for_each(|index| list.add(*index));
        let why = match balancer(&view).choose(clone_ids.iter().copied(), &Ask::new(&list, Time(0))) {
            Choice::Member { why, .. } => why.to_string(),
            Choice::Full { index, .. } => format!("{} is full", view.members[index as usize].name),
            Choice::None { why } => why.to_string(),
        };
        expected.assert_eq(&why);
    }
    check(&[], &[], expect!["next in turn with something left of its weight"]);
    check(&["cc"], &[], expect!["the session belongs to it"]);
    check(
        &["cb"],
        &[],
        expect!["the session's member is down; next in turn with something left of its weight"],
    );
    check(
        &["cx"],
        &[],
        expect!["no member has the session's clone id; next in turn with something left of its weight"],
    );
    check(&["ca"], &[0], expect!["the only member that could be tried failed"]);
}

#[test]
fn explanations_name_the_candidates() {
    #[track_caller]
    fn check(policy: Policy, lines: &[(&str, RunState, u32)], clone_ids: &[&str], expected: Expect) {
        let view = view(1, policy, lines);
        let route = RouteSettings::to_cluster("*", "/", view.cluster.clone());
        let ids = |_: &View| (clone_ids.iter().map(|id| (*id).to_owned()).collect(), None);
        let explained = crate::spread::explain(&route, "", &[Some(&view)], &ids);
        let candidates: Vec<u16> = explained.candidates.iter().map(|(_, index)| *index).collect();
        let member = candidates.first().filter(|_| candidates.len() == 1);
        expected.assert_eq(&format!("{}\n{member:?} of {candidates:?}", explained.why.join("\n")));
    }
    use RunState::*;
    let lines = [("a", Up, 20), ("b", Down, 20), ("c", Up, 40), ("d", Up, 0)];
    check(
        Policy::RoundRobin,
        &lines,
        &[],
        expect![[r#"
        The request belongs to no session.
        Weighted round robin decides among a (1 in turn), c (2 in turn).
        None of [0, 2]"#]],
    );
    check(
        Policy::Random,
        &lines,
        &["cb", "cx"],
        expect![[r#"
        The session belongs to b, which is down (test).
        No member of shop has the clone id cx.
        Chance decides among a, c.
        None of [0, 2]"#]],
    );
    check(
        Policy::RoundRobin,
        &lines,
        &["cd"],
        expect![[r#"
        The session belongs to d by its clone id cd; it is up, so the request goes there.
        Some(3) of [3]"#]],
    );
    check(
        Policy::RoundRobin,
        &lines[1..2],
        &[],
        expect![[r#"
        The request belongs to no session.
        None of the 1 members is up.
        The router answers 503.
        None of []"#]],
    );
    check(
        Policy::RoundRobin,
        &[("a", Unknown, 1), ("b", Down, 1)],
        &[],
        expect![[r#"
            The request belongs to no session.
            None of the 2 members is up.
            a is of unknown state and is tried as a last resort.
            Some(0) of [0]"#]],
    );
}

/// The vendor's rules as a list of words, nothing clever: the oracle.
struct Oracle {
    /// Name, weight as configured, what is left of it, whether it takes requests.
    members: Vec<(String, i64, i64, bool)>,
    next: usize,
}

impl Oracle {
    fn turn(&mut self) -> Option<usize> {
        let factor =
            (1..=1000).rev().find(|factor| self.members.iter().all(|member| member.1 % factor == 0))?;
        let usable: Vec<usize> = (0..self.members.len())
            .filter(|index| self.members[*index].3 && self.members[*index].1 > 0)
            .collect();
        if usable.is_empty() {
            return None;
        }
        while usable.iter().all(|index| self.members[*index].2 <= 0) {
            let mut times = 1;
            while usable
                .iter()
                .any(|index| self.members[*index].2 + times * (self.members[*index].1 / factor) <= 0)
            {
                times += 1;
            }
            for index in &usable {
                self.members[*index].2 += times * (self.members[*index].1 / factor);
            }
        }
        loop {
            let index = self.next % self.members.len();
            self.next = index + 1;
            if usable.contains(&index) && self.members[index].2 > 0 {
                self.members[index].2 -= 1;
                return Some(index);
            }
        }
    }
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

proptest! {
    #[test]
    fn round_robin_agrees_with_the_rules_taken_literally(
        weights in prop::collection::vec(0u32..60, 1..6),
        scale in 1u32..12,
        lowers_weight in any::<bool>(),
        steps in prop::collection::vec(0usize..20, 1..400),
        seed in any::<u64>(),
    ) {
        let mut states = vec![RunState::Up; weights.len()];
        let make = |states: &[RunState], number| {
            let lines: Vec<_> = weights.iter().zip(states).zip(NAMES)
                .map(|((weight, state), name)| (name, *state, weight * scale)).collect();
            let mut view = view(number, Policy::RoundRobin, &lines);
            view.affinity.as_mut().expect("the sample has affinity").lowers_weight = lowers_weight;
            view
        };
        let mut view = make(&states, 1);
        let mut balancer = Balancer::new(&view, seed, "");
        let factor = (1..=1000).rev().find(|factor| weights.iter().all(|weight| weight * scale % factor == 0)).unwrap_or(1);
        let whole = |index: usize| i64::from(weights[index] * scale / factor);
        let mut oracle = Oracle {
            members: (0..weights.len()).map(|index| {
                (NAMES[index].to_owned(), i64::from(weights[index] * scale), whole(index), true)
            }).collect(),
            next: Chance::new(seed).below(weights.len() as u32) as usize,
        };
        for (number, step) in (2..).zip(steps) {
            let index = step % weights.len();
            match step {
                // A member goes or comes back.
                0..=2 if weights.len() > 1 => {
                    let is_up = states[index] == RunState::Up;
                    states[index] = if is_up { RunState::Down } else { RunState::Up };
                    view = make(&states, number);
                    prop_assert!(balancer.apply(&view, Time(0)));
                    oracle.members[index].3 = !is_up;
                    if !is_up {
                        oracle.members[index].2 = whole(index);
                    }
                }
                // A request of a conversation.
                3..=6 if states[index] == RunState::Up => {
                    let clone_id = format!("c{}", NAMES[index]);
                    prop_assert_eq!(ask(&mut balancer, &view, &[&clone_id]), NAMES[index]);
                    if lowers_weight && weights[index] > 0 {
                        oracle.members[index].2 -= 1;
                    }
                }
                _ => {
                    let expected = oracle.turn().map(|index| NAMES[index]);
                    let got = ask(&mut balancer, &view, &[]);
                    match expected {
                        Some(name) => prop_assert_eq!(got, name),
                        None => prop_assert!(got.contains(' '), "{} instead of a refusal", got),
                    }
                }
            }
        }
    }

    #[test]
    fn over_a_cycle_each_member_gets_exactly_its_weight(
        weights in prop::collection::vec(1u32..1000, 1..6),
        seed in any::<u64>(),
        cycles in 1usize..4,
    ) {
        let lines: Vec<_> = weights.iter().zip(NAMES).map(|(weight, name)| (name, *weight)).collect();
        let view = up(&lines);
        let mut balancer = Balancer::new(&view, seed, "");
        let factor = weights.iter().copied().fold(0, highest_common_factor);
        let total: u32 = weights.iter().map(|weight| weight / factor).sum();
        for _ in 0..cycles {
            let cycle = turns(&mut balancer, &view, total as usize);
            for (weight, name) in weights.iter().zip(NAMES) {
                prop_assert_eq!(cycle.matches(name).count(), (weight / factor) as usize);
            }
        }
    }

    /// Failures, retries, affinity and views in any order: only fit members are chosen.
    #[test]
    fn nobody_unfit_is_ever_chosen(
        states in prop::collection::vec(prop::collection::vec(0usize..6, 5), 1..20),
        steps in prop::collection::vec((0u16..5, 0u64..900, 0usize..4, prop::collection::vec(0u16..5, 0..3)), 1..20),
        policy in prop_oneof![
            Just(Policy::RoundRobin), Just(Policy::Random), Just(Policy::LeastOutstanding), Just(Policy::Auto),
            Just(Policy::Hash)
        ],
        seed in any::<u64>(),
    ) {
        use RunState::*;
        let all = [Unknown, Starting, Up, Draining, Down, Failed];
        let mut balancer = Balancer::new(&view(0, policy, &[]), seed, "");
        let mut now = Time(0);
        for (number, states) in (1..).zip(states) {
            let lines: Vec<_> = states.iter().zip(NAMES).map(|(state, name)| (name, all[*state], 1)).collect();
            let view = view(number, policy, &lines);
            balancer.apply(&view, Time(0));
            for (index, pause, kind, tried_indices) in &steps {
                now = now + *pause;
                let mut tried = Tried::default();
                tried_indices.iter().for_each(|index| tried.add(*index));
                let clone_id = format!("c{}", NAMES[*index as usize]);
                let clone_ids = (*kind == 1).then_some(clone_id.as_str());
                let own_is_fit = matches!(lines[*index as usize].1, Up | Draining)
                    && !balancer.is_marked(*index, now) && !tried.contains(*index);
                let has_fit = (0..5).any(|index| {
                    lines[index as usize].1 == Up && !balancer.is_marked(index, now) && !tried.contains(index)
                });
                let has_up = (0..5).any(|index| lines[index as usize].1 == Up && !tried.contains(index));
                let marked: Vec<bool> = (0..5).map(|index| balancer.is_marked(index, now)).collect();
                let choice = balancer.choose(clone_ids.into_iter(), &Ask { session: Some(seed), key: now.0, ..Ask::new(&tried, now) });
                balancer.check();
                match choice {
                    Choice::Member { index: chosen, .. } => {
                        let state = lines[chosen as usize].1;
                        let is_own = clone_ids.is_some() && chosen == *index;
                        prop_assert!(!tried.contains(chosen));
                        prop_assert!(!matches!(state, Down | Failed | Starting));
                        prop_assert!(state != Draining || is_own);
                        prop_assert!(state != Unknown || !has_up || (is_own && !has_fit));
                        prop_assert!(!has_fit || is_own || !marked[chosen as usize]);
                        prop_assert!(clone_ids.is_none() || !own_is_fit || is_own);
                        match kind {
                            2 => balancer.failed(chosen, now),
                            3 => balancer.answered(chosen),
                            _ => {}
                        }
                    }
                    Choice::Full { .. } => prop_assert!(false, "nobody is full"),
                    Choice::None { .. } => {
                        prop_assert!(!has_up);
                        prop_assert!(clone_ids.is_none() || !own_is_fit);
                    }
                }
            }
        }
    }
}
