//! What routers are told of clusters of other cells, and what other cells can be told of ours.

use super::story;
use crate::cell::{CELL_COOKIE, Cell, Elsewhere, Input, Output};
use crate::machine::Machine;
use crate::time::Time;
use std::net::SocketAddr;
use wire::id::Epoch;
use wire::settings::{CellSettings, OtherCell};
use wire::summary::{ClusterSummary, LOAD_MAX};
use wire::view::{RunState, Transport};

fn settings(words: &str) -> CellSettings {
    story::settings(&words.split(' ').collect::<Vec<_>>())
}

fn address(last: u8) -> SocketAddr {
    ([10, 1, 0, last], 8080).into()
}

fn east(clusters: &[&str]) -> OtherCell {
    OtherCell {
        name: "east".to_owned(),
        managers: vec!["10.1.0.1:29001".to_owned()],
        token_file: "/token".to_owned(),
        clusters: clusters.iter().map(|name| (*name).into()).collect(),
        transport: Transport::default(),
    }
}

/// A cell with cluster shop that hears of two clusters of east.
fn cell() -> Cell {
    let mut settings = settings("affinity shop=s1@a");
    settings.cells = vec![east(&["shop", "stock"])];
    let mut cell = Cell::new(7, []);
    cell.step(Time(0), Input::Configure(Box::new(settings)));
    cell
}

fn told(ready: u32, gateways: &[SocketAddr]) -> Elsewhere {
    Elsewhere::Told(ClusterSummary {
        cluster: "shop".into(),
        epoch: Epoch { generation: 1, number: 1 },
        ready,
        weight: ready * 10,
        gateways: gateways.to_vec(),
        ..ClusterSummary::default()
    })
}

/// The view that follows, if any, with the states and weights of its members.
fn step(cell: &mut Cell, known: Elsewhere) -> Option<(u64, Vec<(RunState, u32)>)> {
    let input = Input::Elsewhere { cluster: "shop@east".into(), known };
    let outputs = cell.step(Time(10), input);
    cell.check();
    outputs.into_iter().find_map(|output| match output {
        Output::Publish { to: None, view } if view.cell == "east" => {
            let members = view.members.iter().map(|member| (member.state, member.weight)).collect();
            Some((view.epoch.number, members))
        }
        _ => None,
    })
}

#[test]
fn gateways_stand_as_members_and_share_what_their_cell_can_carry() {
    let mut cell = cell();
    let up = RunState::Up;
    assert_eq!(step(&mut cell, told(4, &[address(1), address(2)])), Some((1, vec![(up, 20), (up, 20)])));
    assert_eq!(step(&mut cell, told(4, &[address(1), address(2)])), None, "nothing new");
    assert_eq!(step(&mut cell, told(2, &[address(1)])), Some((2, vec![(up, 20)])));
    assert_eq!(step(&mut cell, told(2, &[address(1), address(1)])), None, "one gateway twice");
    assert_eq!(step(&mut cell, told(0, &[address(1)])), Some((3, vec![(RunState::Down, 1)])));
    let Elsewhere::Told(summary) = told(2, &[address(1)]) else { unreachable!("it is told") };
    let full = ClusterSummary { load: LOAD_MAX, ..summary.clone() };
    assert_eq!(step(&mut cell, Elsewhere::Told(full)), Some((4, vec![(RunState::Draining, 20)])));
    let draining = ClusterSummary { is_draining: true, ready: 0, weight: 0, ..summary };
    assert_eq!(step(&mut cell, Elsewhere::Told(draining)), Some((5, vec![(RunState::Draining, 1)])));
    assert_eq!(step(&mut cell, told(2, &[])), Some((6, Vec::new())), "without a gateway there is no way");
}

#[test]
fn a_cell_that_was_never_heard_takes_nothing_from_routers_and_one_that_is_forgotten_keeps_its_gateways() {
    let mut cell = cell();
    assert_eq!(step(&mut cell, Elsewhere::Forgotten), None);
    let outputs = cell.step(Time(20), Input::RouterConnected { router: "edge".into() });
    let names = |output: &Output| match output {
        Output::Clusters { names, .. } => names.iter().map(|name| name.0.clone()).collect(),
        _ => Vec::new(),
    };
    let names: Vec<String> = outputs.iter().flat_map(names).collect();
    assert_eq!(names, ["shop", "shop@east", "stock@east"], "what routers know of them stays");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Publish { .. })));

    assert_eq!(step(&mut cell, told(1, &[address(1)])), Some((1, vec![(RunState::Up, 10)])));
    assert_eq!(step(&mut cell, Elsewhere::Forgotten), Some((2, vec![(RunState::Unknown, 10)])));
    assert_eq!(step(&mut cell, Elsewhere::Untold), Some((3, vec![(RunState::Down, 10)])));
    assert_eq!(step(&mut cell, told(1, &[address(1)])), Some((4, vec![(RunState::Up, 10)])));
    assert_eq!(cell.step(Time(10), Input::Elsewhere { cluster: "x@y".into(), known: Elsewhere::Untold }), []);
}

#[test]
fn epochs_go_on_when_a_cell_is_taken_out_and_put_back() {
    let mut cell = cell();
    step(&mut cell, told(1, &[address(1)]));
    step(&mut cell, told(2, &[address(1)]));
    cell.step(Time(20), Input::Configure(Box::new(settings("affinity shop=s1@a"))));
    assert_eq!(cell.views().filter(|view| !view.cell.is_empty()).count(), 0);
    let mut again = settings("affinity shop=s1@a");
    again.cells = vec![east(&["shop"])];
    cell.step(Time(30), Input::Configure(Box::new(again)));
    let (number, _) = step(&mut cell, told(2, &[address(1)])).expect("a first view");
    assert!(number > 2, "{number}");
}

#[test]
fn conversations_are_kept_where_the_own_cluster_keeps_them() {
    for (text, keeps) in [("affinity shop=s1@a", true), ("shop=s1@a", false), ("other=s1@a", true)] {
        let mut settings = settings(text);
        settings.cells = vec![east(&["shop"])];
        let mut cell = Cell::new(7, []);
        cell.step(Time(0), Input::Configure(Box::new(settings)));
        step(&mut cell, told(1, &[address(1)]));
        let view = cell.views().find(|view| view.cell == "east").expect("it was told");
        let cookie = view.affinity.as_ref().map(|affinity| affinity.cookie.as_str());
        assert_eq!(cookie, keeps.then_some(CELL_COOKIE), "{text}");
    }
}

#[test]
fn what_others_are_told_is_what_can_be_used_and_by_which_way() {
    let mut settings = settings("shop=s1@a,s2@a,x@b!");
    settings.routers[0].gateway = Some(address(9));
    let mut cell = Cell::new(7, []);
    cell.step(Time(0), Input::Configure(Box::new(settings)));
    assert_eq!(cell.facts(&"shop".into()), None, "nothing is known before its view");
    cell.step(Time(60_000), Input::Tick);
    let facts = cell.facts(&"shop".into()).expect("it is published");
    assert_eq!((facts.ready, facts.weight, facts.is_draining), (0, 0, false));
    assert_eq!(facts.gateways, [address(9)], "better than nothing");
    cell.step(Time(60_000), Input::RouterConnected { router: "edge".into() });
    assert_eq!(cell.facts(&"shop".into()).map(|facts| facts.gateways), Some(vec![address(9)]));
    assert_eq!(cell.facts(&"none".into()), None);
}
