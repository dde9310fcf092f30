//! Losses of small cells, also with several managers, and that the world itself keeps its promises.

use super::{End, Loss, PAIRS_MAX, Rehearsal};
use wire::group::{Attribute, GroupClass, GroupSettings, ResourceKind, ResourceSettings};
use wire::id::NodeName;
use wire::settings::{CellSettings, ConsoleSettings, ManagerSettings, StoreSettings};

fn resource() -> ResourceSettings {
    ResourceSettings {
        name: "server".into(),
        kind: ResourceKind { name: "process".into(), options: Default::default() },
        start_timeout_ms: 1_000,
        stop_timeout_ms: 1_000,
        environment: Default::default(),
        directory: None,
        user: None,
    }
}

fn group(name: &str, nodes: &[&str]) -> GroupSettings {
    GroupSettings {
        name: name.into(),
        nodes: nodes.iter().map(|node| NodeName::from(*node)).collect(),
        startup: Attribute::Automatic,
        failover: Attribute::Automatic,
        failback: Attribute::Manual,
        class: GroupClass::Soft,
        restarts_max: 1,
        failovers_max: 3,
        after: Vec::new(),
        apart: Vec::new(),
        resources: vec![resource()],
    }
}

fn cell(profile: &str, nodes: &[&str], managers: &[&str], groups: Vec<GroupSettings>) -> CellSettings {
    let names = |names: &[&str]| names.iter().map(|node| NodeName::from(*node)).collect::<Vec<_>>();
    CellSettings {
        groups,
        fences: Vec::new(),
        cells: Vec::new(),
        bridges: Vec::new(),
        monitors: Vec::new(),
        name: "cell".into(),
        state_dir: "state".into(),
        nodes: names(nodes),
        node_addresses: Default::default(),
        node_power: Default::default(),
        manager: ManagerSettings {
            listen: Some(([10, 0, 0, 1], 29001).into()),
            nodes: names(managers),
            profile: profile.into(),
            ..Default::default()
        },
        store: StoreSettings::Sqlite,
        console: ConsoleSettings { listen: ([127, 0, 0, 1], 0).into() },
        routers: Vec::new(),
        clusters: Vec::new(),
    }
}

/// How a group ends after a loss, and how long it is away at most.
fn end(rehearsal: &Rehearsal, loss: &Loss) -> Option<(End, Option<NodeName>, u64)> {
    let outcome = rehearsal.rehearse(loss);
    let group = outcome.groups.into_iter().next()?;
    Some((group.end, group.to, group.away.most_ms))
}

#[test]
fn a_lost_node_costs_what_its_profile_says() {
    for profile in &crate::lease::PROFILES {
        let cell = cell(profile.name, &["m", "a", "b"], &[], vec![group("g", &["a", "b"])]);
        let (how, to, away_ms) = end(&Rehearsal::new(&cell), &Loss::Node("a".into())).expect("it is touched");
        assert_eq!((how, to), (End::Saved, Some("b".into())));
        // Never before the lease is over, and soon after it.
        assert!(away_ms >= profile.wait_ms - 1, "{}: {away_ms}", profile.name);
        assert!(away_ms <= profile.wait_ms + 100, "{}: {away_ms}", profile.name);
    }
}

#[test]
fn with_three_managers_the_loss_of_any_machine_is_saved() {
    let names = ["a", "b", "c"];
    let cell = cell("normal", &names, &names, vec![group("g", &names)]);
    let rehearsal = Rehearsal::new(&cell);
    for node in names {
        let outcome = rehearsal.rehearse(&Loss::Node(node.into()));
        assert!(outcome.is_saved(), "{outcome:#?}");
        let outcome = rehearsal.rehearse(&Loss::Manager(node.into()));
        assert!(outcome.groups.is_empty(), "a group was interrupted: {outcome:#?}");
    }
}

#[test]
fn of_several_managers_one_is_enough_to_lead_and_a_person_to_say_that_the_others_are_off() {
    let names = ["a", "b", "c"];
    let cell = cell("normal", &names, &names, vec![group("g", &names)]);
    let rehearsal = Rehearsal::new(&cell);
    let (how, to, _) = end(&rehearsal, &Loss::Pair("a".into(), "b".into())).expect("it is touched");
    assert_eq!(
        (how, to),
        (End::ByHand, Some("c".into())),
        "one that hears nobody may be the one that is cut off"
    );
}

#[test]
fn a_cut_node_ends_its_group_before_another_has_it() {
    let cell = cell("normal", &["m", "a", "b"], &[], vec![group("g", &["a", "b"])]);
    let rehearsal = Rehearsal::new(&cell);
    let (how, to, away_ms) = end(&rehearsal, &Loss::Link("m".into(), "a".into())).expect("it is touched");
    assert_eq!((how, to), (End::Saved, Some("b".into())));
    // It ran on for most of the wait.
    assert!((100..=500).contains(&away_ms), "{away_ms}");
    let untouched = rehearsal.rehearse(&Loss::Link("a".into(), "b".into()));
    assert!(untouched.groups.is_empty());
}

#[test]
fn what_fails_again_and_again_is_started_again_and_then_goes() {
    let cell = cell("normal", &["m", "a", "b"], &[], vec![group("g", &["a", "b"]), group("alone", &["a"])]);
    let rehearsal = Rehearsal::new(&cell);
    let (how, to, _) = end(&rehearsal, &Loss::Group("g".into())).expect("it is touched");
    assert_eq!((how, to), (End::Saved, Some("b".into())));
    let (how, to, _) = end(&rehearsal, &Loss::Group("alone".into())).expect("it is touched");
    assert_eq!((how, to), (End::NotSaved, None));
}

#[test]
fn a_hard_group_goes_only_once_its_node_is_off() {
    let hard = GroupSettings { class: GroupClass::Hard, ..group("g", &["a", "b"]) };
    let mut cell = cell("normal", &["m", "a", "b"], &[], vec![hard]);
    let (how, to, _) = end(&Rehearsal::new(&cell), &Loss::Node("a".into())).expect("it is touched");
    assert_eq!((how, to), (End::ByHand, Some("b".into())), "nothing can prove that the node is off");
    cell.fences.push(wire::fence::FenceSettings {
        name: "power".into(),
        agent: "/usr/sbin/fence_power".into(),
        nodes: vec!["a".into()],
        parameters: Default::default(),
        secret_files: Default::default(),
        action: wire::fence::FenceAction::Off,
        timeout_ms: 5_000,
        retries: 1,
        check_interval_ms: 60_000,
    });
    let rehearsal = Rehearsal::new(&cell);
    for loss in [Loss::Node("a".into()), Loss::Link("m".into(), "a".into())] {
        let (how, to, away_ms) = end(&rehearsal, &loss).expect("it is touched");
        assert_eq!((how, to), (End::Saved, Some("b".into())), "{loss}");
        assert!(away_ms < 2_000, "{loss}: {away_ms}");
    }
}

#[test]
fn of_a_large_cell_those_pairs_are_tried_that_share_something() {
    let names: Vec<String> = (0..1_000).map(|number| format!("n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cell = cell("fast", &names, &[], vec![group("g", &["n998", "n999"])]);
    let rehearsal = Rehearsal::new(&cell);
    let losses = rehearsal.losses();
    let pairs: Vec<&Loss> = losses.iter().filter(|loss| loss.kind() == "pair").collect();
    assert_eq!(pairs.len(), PAIRS_MAX);
    assert!(pairs.contains(&&Loss::Pair("n998".into(), "n999".into())));
    assert!(pairs.contains(&&Loss::Pair("n0".into(), "n999".into())), "the manager is on the first");
    assert_eq!(losses.iter().filter(|loss| loss.kind() == "link").count(), PAIRS_MAX);
    assert!(rehearsal.cautions().iter().any(|caution| caution.contains("494500 pairs")));
}

#[test]
fn the_same_configuration_gives_the_same_answer() {
    let groups = vec![group("g", &["a", "b"]), group("h", &["b", "a"])];
    let cell = cell("fast", &["m", "a", "b"], &[], groups);
    let (one, two) = (Rehearsal::new(&cell), Rehearsal::new(&cell));
    for loss in one.losses() {
        assert_eq!(one.rehearse(&loss), two.rehearse(&loss));
    }
}
