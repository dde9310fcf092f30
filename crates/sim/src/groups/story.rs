//! Histories that chance comes to too seldom, or whose times are promised.

use super::chaos::SILENT_FOR_US;
use super::{World, node_name};
use logic::lease::{NORMAL, Profile};
use logic::limits::SETTLE_MS;
use logic::model::Read;
use wire::group::{Attribute, GroupAct, GroupClass, GroupCondition};
use wire::id::NodeName;

/// The store is put back to before a group was moved, and the manager is lost a moment after the group's node has said so. Panics
/// where a promise is broken: the group needs no lease, so that nothing but what was written down keeps another node from it.
/// Tells whether it came to that: what runs may fail by chance at that moment.
pub fn run_groups_claimed(seed: u64, is_traced: bool) -> bool {
    let mut world = World::with_one_group((1, 3), NORMAL, Attribute::Manual, seed, is_traced);
    let (group, nodes) = (world.groups[0].name.0.clone(), world.groups[0].nodes.clone());
    world.run_on(&nodes[0]);
    world.backup = Some(world.store.clone());
    world.ask(&group, GroupAct::Move { node: Some(nodes[1].clone()) });
    world.run_on(&nodes[1]);

    world.kill_manager(0);
    world.store = world.backup.take().expect("it was just made");
    world.outcome.epochs.clear();
    world.tell(|| "the store is put back".into());
    world.start_manager(0);
    let end_us = world.now_us + 1_000_000;
    while !world.is_written("claimed=") && world.now_us < end_us {
        world.run_until_us(world.now_us + 1_000);
    }
    let holder = world.index_of(&nodes[1]);
    world.kill_manager(0);
    world.stop_node(holder);
    world.start_manager(0);
    world.run_until_us(world.now_us + SILENT_FOR_US);
    let is_held = world.held.values().flatten().any(|held| held.node == holder);
    let status = world.status();
    let is_claimed = status[0].reason.contains("which the store does not say");
    assert!(is_claimed || !is_held, "it does not wait for its node: {}", status[0].reason);
    world.resume_node(holder);
    world.run_on(&nodes[0]);
    is_held
}

/// How the leader of several managers is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    Killed,
    /// It goes on later, and believes that no time has passed.
    Frozen,
    /// It does not reach the store any more.
    Cut,
    /// It lets another one lead.
    Resigned,
}

/// The leader is lost, and nothing else: what runs goes on, because the next one grants leases before those of the last have
/// run out.
pub fn run_groups_leader_lost(managers: usize, profile: Profile, how: Lost, seed: u64) {
    let mut world = World::with_one_group((managers, 3), profile, Attribute::Automatic, seed, false);
    let node = world.groups[0].nodes[0].clone();
    world.run_on(&node);
    let before = world.begun_as();
    let (leader, generation) = world.lose_leader(how);
    world.await_term(generation);
    world.run_until_us(world.now_us + 3 * profile.wait_ms * 1_000);
    world.resume_manager(leader);
    world.run_until_us(world.now_us + 3 * profile.wait_ms * 1_000);
    assert_eq!(world.begun_as(), before, "seed {seed}, {how:?}: what runs was touched");
}

/// The leader and the group's node are lost at the same moment. Tells after how many milliseconds the group runs elsewhere.
pub fn run_groups_both_lost(managers: usize, profile: Profile, how: Lost, seed: u64) -> u64 {
    let mut world = World::with_one_group((managers, 3), profile, Attribute::Automatic, seed, false);
    let node = world.groups[0].nodes[0].clone();
    world.run_on(&node);
    let (lost, start_us) = (world.index_of(&node), world.now_us);
    let (leader, _) = world.lose_leader(how);
    world.cut.insert(lost);
    let is_elsewhere = |world: &World| world.held.values().flatten().any(|held| held.node != lost);
    // Elected, all that was granted has run out, and agents have come; then again as long for what fails by chance.
    let least_ms = profile.wait_ms + profile.across_leaders().wait_ms + SETTLE_MS;
    while !is_elsewhere(&world) {
        world.run_until_us(world.now_us + 10_000);
        let away_ms = (world.now_us - start_us) / 1_000;
        assert!(away_ms <= 2 * least_ms, "seed {seed}, {how:?}: {:#?}", world.status());
    }
    let away_ms = (world.now_us - start_us) / 1_000;
    // Whoever was frozen wakes, with all that it had in mind, and so does the node.
    world.resume_manager(leader);
    world.run_until_us(world.now_us + 1_000_000);
    world.heal_cables();
    world.start_manager(leader);
    world.run_until_us(world.now_us + 20_000_000);
    away_ms
}

/// The group's node does not hear the leader, which hears it. Tells after how many milliseconds the group runs elsewhere.
pub fn run_groups_leader_unheard(managers: usize, profile: Profile, seed: u64) -> u64 {
    let mut world = World::with_one_group((managers, 3), profile, Attribute::Automatic, seed, false);
    let node = world.groups[0].nodes[0].clone();
    world.run_on(&node);
    let (deaf, start_us) = (world.index_of(&node), world.now_us);
    world.deaf.insert((world.leader().expect("one leads"), deaf));
    let is_elsewhere = |world: &World| world.held.values().flatten().any(|held| held.node != deaf);
    let away_ms = |world: &World| (world.now_us - start_us) / 1_000;
    while !is_elsewhere(&world) {
        world.run_until_us(world.now_us + 10_000);
        let is_late = away_ms(&world) > 2 * profile.across_leaders().wait_ms;
        assert!(!is_late, "seed {seed}, {managers} managers: {:#?}", world.status());
    }
    let away_ms = away_ms(&world);
    world.heal_cables();
    world.run_until_us(world.now_us + 20_000_000);
    away_ms
}

impl World {
    /// One soft group that stays where it is, and in which nothing fails unless it must.
    fn with_one_group(
        hosts: (usize, usize),
        profile: Profile,
        failover: Attribute,
        seed: u64,
        is_traced: bool,
    ) -> Self {
        let mut world = Self::new(hosts, 1, profile, seed, is_traced);
        for group in &mut world.groups {
            (group.failover, group.failback, group.class) = (failover, Attribute::Manual, GroupClass::Soft);
        }
        world.await_term(0);
        world.configure(world.groups.clone());
        // Services that end by themselves would be restarted, which is not what these histories are about.
        world.is_calm = true;
        world
    }

    fn index_of(&self, node: &NodeName) -> usize {
        (0..self.nodes.len()).find(|index| node_name(*index) == *node).expect("it is there")
    }

    fn is_written(&self, word: &str) -> bool {
        let found = self.store.read(&Read::Prefix(String::new())).entries;
        found.iter().any(|entry| String::from_utf8_lossy(&entry.value).contains(word))
    }

    /// The guardians that live.
    fn begun_as(&self) -> Vec<u64> {
        self.held.values().flatten().filter(|held| !held.is_ending).map(|held| held.number).collect()
    }

    /// Who led, and as which generation.
    fn lose_leader(&mut self, how: Lost) -> (usize, u64) {
        let (leader, generation) = (self.leader().expect("one leads"), self.generation);
        match how {
            Lost::Killed => self.kill_manager(leader),
            Lost::Frozen => self.stop_manager(leader),
            Lost::Cut => drop(self.cut_store.insert(leader)),
            Lost::Resigned => self.resign(leader),
        }
        (leader, generation)
    }

    /// Until the only group runs there, and has done so for longer than a lease.
    fn run_on(&mut self, node: &NodeName) {
        let end_us = self.now_us + 120_000_000;
        let mut since_us = None;
        loop {
            let status = self.status();
            let is_there = !status.is_empty()
                && status
                    .iter()
                    .all(|it| it.state == GroupCondition::Online && it.node.as_ref() == Some(node));
            since_us = since_us.filter(|_| is_there).or(is_there.then_some(self.now_us));
            if since_us.is_some_and(|since_us| self.now_us - since_us >= 2 * self.profile.wait_ms * 1_000) {
                return;
            }
            assert!(self.now_us < end_us, "it does not come to {node}: {status:#?}");
            if !is_there {
                for group in status.iter().filter(|it| it.state != GroupCondition::Starting) {
                    let node = Some(node.clone());
                    self.ask(&group.group.0, GroupAct::Move { node: node.clone() });
                    self.ask(&group.group.0, GroupAct::Start { node });
                }
            }
            self.run_until_us(self.now_us + 1_000_000);
        }
    }
}
