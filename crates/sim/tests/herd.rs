//! A thousand routers that come back at the same moment, to the manager that they had and to one that has just started.

use logic::cell::{Cell, Input, Output};
use logic::machine::Machine;
use logic::time::Time;
use sim::Plant;
use std::collections::BTreeMap;
use wire::id::{Epoch, RouterName};

const ROUTERS: usize = 1_000;

fn plant() -> Plant {
    let mut plant = Plant::new(2, ROUTERS);
    plant.add("shop-1", 1, 1, false);
    plant.add("shop-2", 2, 1, false);
    plant
}

/// All come within a millisecond; what each is told of the cluster.
fn come_back(cell: &mut Cell, now: Time) -> BTreeMap<RouterName, Vec<Epoch>> {
    let mut told: BTreeMap<RouterName, Vec<Epoch>> = BTreeMap::new();
    for number in 1..=ROUTERS {
        let router = RouterName(format!("router-{number}"));
        for output in cell.step(now, Input::RouterConnected { router }) {
            if let Output::Publish { to, view } = output {
                let router = to.expect("nobody else hears of one that comes back");
                told.entry(router).or_default().push(view.epoch);
            }
        }
        cell.check();
    }
    told
}

fn cell(generation: u64) -> Cell {
    let mut cell = Cell::new(generation, []);
    cell.step(Time(0), Input::Configure(Box::new(plant().settings())));
    // Nobody reports; after the time for that it publishes what it knows.
    cell.step(Time(10_000), Input::Tick);
    cell
}

#[test]
fn a_thousand_routers_at_once_are_each_told_once_and_make_no_epoch() {
    let mut cell = cell(1);
    let epoch = cell.views().next().expect("it is published").epoch;
    for turn in 0..3 {
        let now = Time(20_000 + turn * 1_000);
        let told = come_back(&mut cell, now);
        assert_eq!(told.len(), ROUTERS);
        assert!(told.values().all(|epochs| epochs[..] == [epoch]), "once, and what there is");
        for number in 1..=ROUTERS {
            let router = RouterName(format!("router-{number}"));
            let outputs = cell.step(now + 500, Input::RouterLost { router });
            let is_quiet = outputs.iter().all(|output| matches!(output, Output::Event { .. }));
            assert!(is_quiet, "one that goes is no news for others: {outputs:?}");
        }
    }
}

#[test]
fn a_thousand_routers_are_told_a_later_epoch_by_a_new_manager() {
    let old = cell(1).views().next().expect("it is published").epoch;
    let mut new = cell(2);
    let told = come_back(&mut new, Time(10_001));
    assert_eq!(told.len(), ROUTERS);
    assert!(told.values().all(|epochs| epochs.len() == 1 && epochs[0] > old));
}
