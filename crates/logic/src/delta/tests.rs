//! Any client that has had any view gets the newest one, whatever happened in between.

use super::*;
use proptest::prelude::*;
use wire::client_view::Applied;
use wire::view::{MemberTls, Policy, Transport};

fn member(name: &str, state: RunState) -> MemberView {
    MemberView { name: name.into(), state, weight: 1, ..MemberView::default() }
}

fn view(number: u64, members: Vec<MemberView>) -> View {
    View { cluster: "shop".into(), epoch: Epoch { generation: 1, number }, members, ..View::default() }
}

fn up(number: u64, names: &[&str]) -> View {
    view(number, names.iter().map(|name| member(name, RunState::Up)).collect())
}

fn delta(history: &History, number: u64) -> ViewDelta {
    match history.since(Epoch { generation: 1, number }) {
        Since::Delta(delta) => delta,
        other => panic!("no delta but {other:?}"),
    }
}

#[test]
fn clients_see_what_they_need_and_nothing_of_files_or_reasons() {
    let tls =
        MemberTls { server_name: "shop.example".into(), key: "/etc/key".into(), ..MemberTls::default() };
    let transport = Transport { tls: Some(tls), ..Transport::default() };
    let address = Some(([10, 0, 0, 1], 9080).into());
    let plain = MemberView { address, zone: "hall-1".into(), transport, ..member("a", RunState::Up) };
    let seen = member_seen(&plain);
    assert_eq!(seen.address, address);
    assert_eq!((seen.tls.as_deref(), seen.zone.as_str()), (Some("shop.example"), "hall-1"));

    for transport in [
        Transport { http2: true, ..Transport::default() },
        Transport { sends_proxy_header: true, ..Transport::default() },
    ] {
        let special = MemberView { transport, ..plain.clone() };
        assert_eq!(member_seen(&special).address, None, "it is reached through routers only");
    }
    let state = |state, is_lost| state_seen(&MemberView { is_lost, ..member("a", state) });
    assert_eq!(state(RunState::Down, false), ClientState::Down);
    assert_eq!(state(RunState::Down, true), ClientState::Lost);
    assert_eq!(state(RunState::Starting, true), ClientState::Lost);
    assert_eq!(state(RunState::Failed, false), ClientState::Down);
    assert_eq!(state(RunState::Draining, false), ClientState::Draining);
}

#[test]
fn a_change_of_state_costs_little_more_than_the_name() {
    let mut history = History::new(&up(1, &["a", "b", "c"]));
    let mut next = up(2, &["a", "b", "c"]);
    next.members[1] = MemberView { is_lost: true, ..member("b", RunState::Down) };
    history.take(&next);
    let told = delta(&history, 1);
    assert_eq!(told.states, BTreeMap::from([(ClientState::Lost, vec!["b".into()])]));
    assert!(told.gone.is_empty() && told.put.is_empty() && told.policy.is_none());
}

#[test]
fn a_change_of_policy_alone_is_told() {
    let mut history = History::new(&up(1, &["a"]));
    history.take(&View { policy: Policy::Random, ..up(2, &["a"]) });
    assert_eq!(delta(&history, 1).policy, Some(Policy::Random));
    // What clients do not act on makes a step without content: they have the newest epoch all the same.
    let mut other = View { policy: Policy::Random, ..up(3, &["a"]) };
    other.members[0].requests_max = 5;
    history.take(&other);
    assert_eq!(
        delta(&history, 2),
        ViewDelta {
            from: Epoch { generation: 1, number: 2 },
            to: other.epoch,
            cluster: "shop".into(),
            ..ViewDelta::default()
        }
    );
}

#[test]
fn who_knows_the_newest_or_more_is_told_nothing_and_strange_epochs_get_no_delta() {
    let mut history = History::new(&up(1, &["a"]));
    history.take(&up(3, &["a", "b"]));
    let since = |generation, number| history.since(Epoch { generation, number });
    assert_eq!(since(1, 3), Since::Nothing);
    assert_eq!(since(1, 4), Since::Nothing);
    assert_eq!(since(2, 0), Since::Nothing);
    // A number that this router never saw may stand for anything.
    assert_eq!(since(1, 2), Since::TooMuch);
    assert_eq!(since(0, 0), Since::TooMuch);
    history.take(&up(2, &[]));
    assert_eq!(history.newest().epoch.number, 3, "an older view changes nothing");
}

#[test]
fn history_is_bounded_in_steps_and_in_members() {
    let mut history = History::new(&up(0, &["a"]));
    for number in 1..=CLIENT_STEPS_MAX as u64 + 10 {
        history.take(&up(number, if number % 2 == 0 { &["a"] } else { &["a", "b"] }));
        history.check();
    }
    assert_eq!(history.remembered().count(), CLIENT_STEPS_MAX);
    assert_eq!(history.since(Epoch { generation: 1, number: 9 }), Since::TooMuch);
    assert!(matches!(history.since(Epoch { generation: 1, number: 10 }), Since::Delta(_)));
    let names: Vec<String> = (0..=CLIENT_STEP_MEMBERS_MAX).map(|number| format!("m{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    history.take(&up(1_000, &names));
    assert_eq!(history.remembered().count(), 0, "nobody can be told of it in a header");
}

/// A member that may be there, with what may change.
fn any_member() -> impl Strategy<Value = MemberView> {
    let states = prop_oneof![
        4 => Just(RunState::Up),
        1 => Just(RunState::Draining),
        2 => Just(RunState::Down),
        1 => Just(RunState::Starting)
    ];
    (0..8_u32, states, 0..3_u32, any::<bool>()).prop_map(|(number, state, weight, is_lost)| MemberView {
        weight,
        is_lost: is_lost && state != RunState::Up,
        ..member(&format!("m{number}"), state)
    })
}

fn any_view() -> impl Strategy<Value = (u64, u64, Vec<MemberView>, bool)> {
    // Mostly the next number; sometimes some are skipped, a new generation begins, or an old view comes late.
    let jump = prop_oneof![6 => Just((0, 1)), 2 => Just((0, 3)), 1 => Just((1, 1)), 1 => Just((0, 0))];
    (jump, prop::collection::vec(any_member(), 0..9), any::<bool>())
        .prop_map(|((generations, numbers), members, is_random)| (generations, numbers, members, is_random))
}

proptest! {
    #[test]
    fn any_client_comes_to_the_newest_view_by_deltas_or_by_fetching(
        steps in prop::collection::vec(any_view(), 1..90),
        asks in prop::collection::vec((0..90_usize, 0..4_usize), 0..120),
    ) {
        let mut history = History::new(&view(1, Vec::new()));
        let mut clients = vec![ClientView { cluster: "shop".into(), ..ClientView::default() }; 4];
        let mut epoch = Epoch { generation: 1, number: 1 };
        let mut had = vec![history.newest().clone()];
        for (place, (generations, numbers, mut members, is_random)) in steps.into_iter().enumerate() {
            let mut seen = std::collections::BTreeSet::new();
            members.retain(|member| seen.insert(member.name.clone()));
            epoch.generation += generations;
            epoch.number = if generations > 0 { 1 } else { epoch.number + numbers };
            let policy = if is_random { Policy::Random } else { Policy::RoundRobin };
            history.take(&View { cluster: "shop".into(), epoch, policy, members, ..View::default() });
            history.check();
            if had.last().map(|view| view.epoch) != Some(history.newest().epoch) {
                had.push(history.newest().clone());
            }
            for (_, client) in asks.iter().filter(|(at, _)| *at == place) {
                let client = &mut clients[*client];
                match history.since(client.epoch) {
                    Since::Nothing => {}
                    Since::Delta(delta) => prop_assert_eq!(client.apply(&delta), Applied::Now),
                    Since::TooMuch => prop_assert_eq!(client.replace(history.newest().clone()), Applied::Now),
                }
                prop_assert_eq!(&*client, history.newest());
            }
        }
        // Every view that was ever the newest, and is remembered, leads to the present one.
        let reached = had.len().saturating_sub(1 + CLIENT_STEPS_MAX);
        for old in &had[reached..had.len() - 1] {
            let mut client = old.clone();
            let Since::Delta(delta) = history.since(client.epoch) else { panic!("{} is remembered", client.epoch) };
            prop_assert_eq!(client.apply(&delta), Applied::Now);
            prop_assert_eq!(&client, history.newest());
        }
    }
}
