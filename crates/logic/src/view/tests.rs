//! When a view gets a new epoch, and when not.

use super::*;
use wire::view::RunState;

fn member(name: &str) -> MemberView {
    MemberView {
        name: name.into(),
        clone_id: format!("{name}-clone"),
        address: Some(([127, 0, 0, 1], 8080).into()),
        state: RunState::Up,
        weight: 2,
        is_lost: false,
        reason: "passes its probe".into(),
        ..MemberView::default()
    }
}

fn rules() -> Rules<'static> {
    Rules {
        policy: Policy::RoundRobin,
        affinity: &None,
        hash_key: &HashKey::ClientAddress,
        health: const {
            &Health {
                slow_start_ms: 0,
                eject_after: 0,
                ejects_on_status: false,
                eject_ms: 0,
                eject_percent_max: 0,
                panic_percent: 0,
                retry_interval_ms: None,
                queue_max: 0,
                queue_ms: 0,
            }
        },
    }
}

fn published() -> ViewKeeper {
    let mut keeper = ViewKeeper::new("shop".into(), 3, 0);
    let first = keeper.offer(rules(), vec![member("a"), member("b")], true);
    assert_eq!(first.map(|view| view.epoch), Some(Epoch { generation: 3, number: 1 }));
    keeper
}

#[test]
fn same_truth_has_no_new_epoch() {
    let mut keeper = published();
    assert_eq!(keeper.offer(rules(), vec![member("a"), member("b")], false), None);
    let reworded = MemberView { reason: "passes its probe: HTTP 200".into(), ..member("b") };
    assert_eq!(keeper.offer(rules(), vec![member("a"), reworded], false), None);
    assert_eq!(keeper.view().epoch.number, 1);
}

#[test]
fn whatever_routers_act_on_has_a_new_epoch() {
    let affinity = Some(Affinity {
        cookie: "JSESSIONID".into(),
        url_identifier: String::new(),
        separator: ':',
        lowers_weight: false,
        ..Affinity::default()
    });
    let changed: [(&str, Policy, &Option<Affinity>, Vec<MemberView>); 10] = [
        ("policy", Policy::Random, &None, vec![member("a"), member("b")]),
        ("affinity", Policy::RoundRobin, &affinity, vec![member("a"), member("b")]),
        ("order", Policy::RoundRobin, &None, vec![member("b"), member("a")]),
        ("added", Policy::RoundRobin, &None, vec![member("a"), member("b"), member("c")]),
        ("removed", Policy::RoundRobin, &None, vec![member("a")]),
        (
            "state",
            Policy::RoundRobin,
            &None,
            vec![member("a"), MemberView { state: RunState::Down, ..member("b") }],
        ),
        ("weight", Policy::RoundRobin, &None, vec![member("a"), MemberView { weight: 3, ..member("b") }]),
        (
            "address",
            Policy::RoundRobin,
            &None,
            vec![member("a"), MemberView { address: None, ..member("b") }],
        ),
        ("lost", Policy::RoundRobin, &None, vec![member("a"), MemberView { is_lost: true, ..member("b") }]),
        (
            "clone id",
            Policy::RoundRobin,
            &None,
            vec![member("a"), MemberView { clone_id: "x".into(), ..member("b") }],
        ),
    ];
    for (what, policy, affinity, members) in changed {
        let mut keeper = published();
        let view = keeper.offer(Rules { policy, affinity, ..rules() }, members.clone(), false).expect(what);
        assert_eq!(view.epoch, Epoch { generation: 3, number: 2 }, "{what}");
        assert_eq!((view.policy, &view.affinity, &view.members), (policy, affinity, &members), "{what}");
    }
}

#[test]
fn cluster_that_comes_back_goes_on_above_its_old_numbers() {
    let mut keeper = ViewKeeper::new("shop".into(), 3, 41);
    let first = keeper.offer(rules(), Vec::new(), true).expect("the first is always told");
    assert_eq!(first.epoch.number, 42);
}
