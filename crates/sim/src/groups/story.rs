//! One history that chance comes to too seldom: the store is put back to before a group was moved, and the manager is lost a
//! moment after the group's node has said so.

use super::chaos::SILENT_FOR_US;
use super::{World, node_name};
use logic::lease::NORMAL;
use logic::model::Read;
use wire::group::{Attribute, GroupAct, GroupClass, GroupCondition};

/// Runs it with the chances of `seed`. Panics where a promise is broken: the group needs no lease, so that nothing but what
/// was written down keeps another node from it. Tells whether it came to that: what runs may fail by chance at that moment.
pub fn run_groups_claimed(seed: u64, is_traced: bool) -> bool {
    let mut world = World::new(3, 1, NORMAL, seed, is_traced);
    for group in &mut world.groups {
        (group.failover, group.failback, group.class) =
            (Attribute::Manual, Attribute::Manual, GroupClass::Soft);
    }
    world.configure(world.groups.clone());
    let (group, nodes) = (world.groups[0].name.0.clone(), world.groups[0].nodes.clone());
    world.run_on(&nodes[0]);
    world.backup = Some(world.store.clone());
    world.ask(&group, GroupAct::Move { node: Some(nodes[1].clone()) });
    world.run_on(&nodes[1]);

    world.kill_manager();
    world.store = world.backup.take().expect("it was just made");
    world.outcome.epochs.clear();
    world.tell(|| "the store is put back".into());
    world.start_manager();
    let end_us = world.now_us + 1_000_000;
    while !world.is_written("claimed=") && world.now_us < end_us {
        world.run_until_us(world.now_us + 1_000);
    }
    let holder = (0..world.nodes.len()).find(|node| node_name(*node) == nodes[1]).expect("it is there");
    world.kill_manager();
    world.stop_node(holder);
    world.start_manager();
    world.run_until_us(world.now_us + SILENT_FOR_US);
    let is_held = world.held.values().flatten().any(|held| held.node == holder);
    let status = world.status();
    let is_claimed = status[0].reason.contains("which the store does not say");
    assert!(is_claimed || !is_held, "it does not wait for its node: {}", status[0].reason);
    world.resume_node(holder);
    world.run_on(&nodes[0]);
    is_held
}

impl World {
    fn is_written(&self, word: &str) -> bool {
        let found = self.store.read(&Read::Prefix(String::new())).entries;
        found.iter().any(|entry| String::from_utf8_lossy(&entry.value).contains(word))
    }

    /// Until the only group runs there, which takes two starts and two ends of two seconds each at most, if some of them fail.
    fn run_on(&mut self, node: &wire::id::NodeName) {
        let end_us = self.now_us + 60_000_000;
        loop {
            let status = self.status();
            if status.iter().all(|it| it.state == GroupCondition::Online && it.node.as_ref() == Some(node)) {
                return;
            }
            assert!(self.now_us < end_us, "it does not come to {node}: {status:#?}");
            for group in status.iter().filter(|it| it.state != GroupCondition::Starting) {
                let node = Some(node.clone());
                self.ask(&group.group.0, GroupAct::Move { node: node.clone() });
                self.ask(&group.group.0, GroupAct::Start { node });
            }
            self.run_until_us(self.now_us + 1_000_000);
        }
    }
}
