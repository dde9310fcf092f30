//! Random histories of groups: faults and wishes by chance, and what must be true when they have ended.

use super::{Event, World, node_name};
use logic::lease::PROFILES;
use logic::seed::Chance;
use std::collections::{BTreeMap, BTreeSet};
use wire::group::{Attribute, GroupAct, GroupClass, GroupCondition};
use wire::id::GroupName;
use wire::node::NodeAct;

/// After the last fault every group runs again within this time: a lost lease with the slowest profile (7.1 s), a node that
/// relapsed and must stay for up to 40 s, scripts that hang for two seconds each, and a group that goes back by itself.
const WHOLE_WITHIN_US: u64 = 120_000_000;

/// After the store was put back, what runs in the wrong place has ended there: scripts of two resources hang for two seconds
/// each, and those of a recovery before.
const PUT_BACK_WITHIN_US: u64 = 12_000_000;

/// After a leader is lost, or the store was put back, another one leads within this time: 14 s with the slowest profile if two
/// claim it at once.
const LEADS_WITHIN_US: u64 = 30_000_000;

/// All nodes have said what they hold within this time after the manager began, and that is written down: they dial ten times
/// a second. Soon enough for most that are told to end something not to have done so.
const HEARD_WITHIN_US: u64 = 120_000;

/// Longer than a leader waits for nodes that may never come, so that it decides without them.
pub(super) const SILENT_FOR_US: u64 = 4_000_000;

/// What a history came to.
#[derive(Debug, Clone, Default)]
pub struct GroupsOutcome {
    /// Guardians that began.
    pub starts: u64,
    /// Leases that were taken.
    pub taken: u64,
    /// Assignments that were refused as old.
    pub refused: u64,
    /// Nodes that were switched off.
    pub fenced: u64,
    /// Terms that began.
    pub terms: u64,
    /// Stores that were put back.
    pub put_back: u64,
    /// Managers that were lost a moment after that, while nodes still held what is not theirs.
    pub left_claimed: u64,
    /// What people were told, by kind.
    pub events: BTreeMap<&'static str, u64>,
    /// Nodes whose service ended as a final action.
    pub ended: u64,
    /// The newest epoch of each group that ran, and where.
    pub(super) epochs: BTreeMap<GroupName, (u64, usize)>,
}

/// Tells how to see a failed history again.
struct Replay {
    seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.seed;
            eprintln!("groups failed with seed {seed}; MUSTER_SEED={seed} replays it and shows its history");
        }
    }
}

/// Runs the history of `seed` with so many managers. Panics where a promise is broken.
pub fn run_groups_seed(managers: usize, seed: u64, steps: u32, is_traced: bool) -> GroupsOutcome {
    let _replay = Replay { seed };
    let mut chance = Chance::new(seed);
    let nodes = 2 + chance.below(3) as usize;
    let groups = 1 + chance.below(4) as usize;
    let profile = PROFILES[chance.below(PROFILES.len() as u32) as usize];
    let mut world = World::new((managers, nodes), groups, profile, chance.bits(), is_traced);
    world.run_until_us(5_000_000);
    for _ in 0..steps {
        let pause_us = 1_000 + u64::from(chance.below(400_000));
        world.run_until_us(world.now_us + pause_us);
        if chance.percent(40) {
            world.disturb(&mut chance);
        }
    }
    world.end_faults();
    world.wait_until_whole();
    world.outcome.clone()
}

impl World {
    fn disturb(&mut self, chance: &mut Chance) {
        let node = chance.below(self.nodes.len() as u32) as usize;
        let group = self.groups[chance.below(self.groups.len() as u32) as usize].name.0.clone();
        let target = chance.percent(50).then(|| node_name(node));
        let manager = chance.below(self.managers.len() as u32) as usize;
        match chance.below(if self.has_several { 48 } else { 40 }) {
            40..=47 => self.disturb_managers(chance, manager, node),
            32..=36 => self.change(chance, &group),
            37 => self.backup = Some(self.store.clone()),
            38 => self.put_back(chance),
            28 | 29 => self.stick(node),
            0 => self.kill_node(node),
            1..=3 => self.handle(Event::StartNode { node }),
            4 => self.stop_node(node),
            5 | 6 => self.resume_node(node),
            7 | 8 => {
                self.tell(|| format!("{} is cut off", node_name(node)));
                self.cut.insert(node);
                if chance.percent(50) {
                    self.break_link(node);
                }
            }
            19 => {
                let leader = self.leader().unwrap_or(manager);
                self.tell(|| format!("{} does not hear manager-{}", node_name(node), leader + 1));
                self.deaf.insert((leader, node));
            }
            9..=11 => {
                self.heal_cables();
            }
            12 => self.kill_manager(manager),
            13 | 14 => self.start_manager(manager),
            15 => self.stop_manager(manager),
            16 => self.resume_manager(manager),
            17 => self.is_store_down = chance.percent(50),
            20..=22 => self.fall_sick(node, &group),
            // Wherever it goes.
            23 => (0..self.nodes.len()).for_each(|node| self.fall_sick(node, &group)),
            24..=26 => self.heal(Some(&group)),
            18 => self.loss_permille = [0, 0, 50, 300][chance.below(4) as usize],
            30 | 31 => self.ask_of_node(node, NodeAct::ALL[chance.below(NodeAct::ALL.len() as u32) as usize]),
            _ => self.ask(
                &group,
                match chance.below(4) {
                    0 => GroupAct::Start { node: None },
                    1 => GroupAct::Failback,
                    _ => GroupAct::Move { node: target },
                },
            ),
        }
    }

    pub(super) fn heal_cables(&mut self) {
        self.tell(|| "all cables are whole".into());
        self.cut.clear();
        self.cut_pairs.clear();
        self.deaf.clear();
        self.cut_store.clear();
        self.cut_managers.clear();
    }

    /// What only several managers know: that some reach what others do not, and that the leader is lost with a node.
    fn disturb_managers(&mut self, chance: &mut Chance, manager: usize, node: usize) {
        let leader = self.leader().unwrap_or(manager);
        match chance.below(8) {
            0 | 1 => {
                self.tell(|| format!("{} and manager-{} are cut off", node_name(node), manager + 1));
                self.cut_pairs.insert((manager, node));
            }
            2 => {
                self.tell(|| format!("manager-{} does not reach the store", leader + 1));
                self.cut_store.insert(leader);
            }
            3 => {
                self.cut_managers.insert((manager, leader));
            }
            4 => self.resign(leader),
            5 => self.stop_manager(leader),
            6 => {
                self.stop_manager(leader);
                self.cut.insert(node);
            }
            _ => {
                self.kill_manager(leader);
                self.cut.insert(node);
            }
        }
    }

    /// People change what a group needs while it runs, take it out of the configuration, or put it back as it was.
    fn change(&mut self, chance: &mut Chance, group: &str) {
        let mut groups = self.configured.clone();
        let place = groups.iter().position(|known| known.name.0 == group);
        let original = self.groups.iter().find(|known| known.name.0 == group).cloned();
        match (place.map(|place| (place, &mut groups[place])), chance.below(4)) {
            (None, _) => groups.extend(original),
            (Some((place, _)), 0) => drop(groups.remove(place)),
            (Some((_, settings)), 1) => {
                settings.class = match settings.class {
                    GroupClass::Soft => GroupClass::Hard,
                    GroupClass::Hard => GroupClass::Soft,
                }
            }
            (Some((_, settings)), _) => {
                settings.failover = match settings.failover {
                    Attribute::Automatic => Attribute::Manual,
                    Attribute::Manual => Attribute::Automatic,
                }
            }
        }
        self.tell(|| {
            let all = groups.iter().map(|it| format!("{} {:?} {:?}", it.name, it.class, it.failover));
            format!("configured: {}", all.collect::<Vec<_>>().join(", "))
        });
        self.configure(groups);
    }

    /// People put the store back to what it was. They do so while the nodes are there and nothing hangs: what a machine holds
    /// that nobody hears of, nobody can know of. Once all have said what they hold, nothing that happens makes two owners.
    fn put_back(&mut self, chance: &mut Chance) {
        let Some(store) = self.backup.take() else { return };
        self.heal_cables();
        (self.loss_permille, self.is_store_down) = (0, false);
        for manager in 0..self.managers.len() {
            self.resume_manager(manager);
            self.start_manager(manager);
        }
        (0..self.nodes.len()).for_each(|node| self.resume_node(node));
        self.run_until_us(self.now_us + 3_000_000);
        let is_lost = |held: &super::Held| held.is_stuck || self.nodes[held.node].start != held.start;
        if self.held.values().flatten().any(is_lost) {
            return;
        }
        // The only manager is stopped for it. Of several none has to be: the store is away for a moment.
        if self.has_several {
            let away_ms =
                self.profile.hand_over_ms() + u64::from(chance.below(2 * self.profile.wait_ms as u32));
            self.away_until_us = self.now_us + away_ms * 1_000;
            self.run_until_us(self.away_until_us - 1);
        } else {
            self.kill_manager(0);
        }
        self.tell(|| "the store is put back".into());
        self.store = store;
        self.outcome.put_back += 1;
        self.outcome.epochs.clear();
        self.start_manager(0);
        self.await_term(self.generation);
        let end_us = self.now_us + PUT_BACK_WITHIN_US;
        self.run_until_us(self.now_us + HEARD_WITHIN_US);
        if chance.percent(50) {
            self.lose_manager_and_claimants(chance);
        }
        self.run_until_us(end_us);
    }

    /// Who leads next knows only what was written down: some that hold a group say nothing for as long as others are waited for.
    fn lose_manager_and_claimants(&mut self, chance: &mut Chance) {
        let leader = self.leader().unwrap_or(0);
        self.kill_manager(leader);
        let generation = self.generation;
        let holders: BTreeSet<usize> = self.held.values().flatten().map(|held| held.node).collect();
        for node in holders {
            match chance.below(4) {
                0 => {}
                1 => self.stop_node(node),
                _ => {
                    self.tell(|| format!("{} is cut off", node_name(node)));
                    self.cut.insert(node);
                }
            }
        }
        self.outcome.left_claimed += 1;
        self.start_manager(leader);
        self.await_term(generation);
        self.run_until_us(self.now_us + SILENT_FOR_US);
        self.cut.clear();
        (0..self.nodes.len()).for_each(|node| self.resume_node(node));
    }

    /// Until a manager leads in a later generation: the only one does at once.
    pub(super) fn await_term(&mut self, generation: u64) {
        let end_us = self.now_us + LEADS_WITHIN_US;
        while self.has_several && (self.generation == generation || self.leader().is_none()) {
            assert!(self.now_us < end_us, "nobody leads");
            self.run_until_us(self.now_us + 1_000);
        }
    }

    fn end_faults(&mut self) {
        self.tell(|| "all faults end".into());
        self.heal_cables();
        self.loss_permille = 0;
        self.is_store_down = false;
        self.fence_fails_percent = 0;
        self.unstick();
        self.heal(None);
        self.configured.clone_from(&self.groups);
        for manager in 0..self.managers.len() {
            self.resume_manager(manager);
            self.start_manager(manager);
        }
        self.configure(self.groups.clone());
        for node in 0..self.nodes.len() {
            self.resume_node(node);
        }
        // Those that are off stay off; one node is enough to run everything.
        self.handle(Event::StartNode { node: 0 });
    }

    /// People say what is off: what needs no lease does not go elsewhere by itself.
    fn confirm_off(&mut self, missing: &[wire::group::GroupStatus]) {
        for node in 0..self.nodes.len() {
            let holds = self.held.values().flatten().any(|held| held.node == node);
            if self.nodes[node].machines.is_some() || holds {
                continue;
            }
            for group in missing {
                self.ask(&group.group.0, GroupAct::ConfirmOff { node: node_name(node) });
            }
        }
    }

    /// Every group runs somewhere, or has failed so often that a person must look: then one does.
    fn wait_until_whole(&mut self) {
        let end_us = self.now_us + WHOLE_WITHIN_US;
        let mut steady_since_us = None;
        loop {
            let status = self.status();
            let is_online = |group: &wire::group::GroupStatus| {
                let node = (0..self.nodes.len()).find(|node| group.node.as_ref() == Some(&node_name(*node)));
                let held = self.held.get(&group.group).map(Vec::as_slice).unwrap_or_default();
                group.state == GroupCondition::Online && held.iter().any(|held| Some(held.node) == node)
            };
            let missing: Vec<_> = status.iter().filter(|group| !is_online(group)).cloned().collect();
            if missing.is_empty() && status.len() == self.groups.len() {
                let since_us = *steady_since_us.get_or_insert(self.now_us);
                if self.now_us - since_us >= 2_000_000 {
                    return;
                }
            } else {
                steady_since_us = None;
            }
            assert!(self.now_us < end_us, "these groups do not come back: {missing:#?}");
            // A final action may have stopped it.
            let is_stuck = |state| {
                matches!(state, GroupCondition::Failed | GroupCondition::Waiting | GroupCondition::Offline)
            };
            for group in missing.iter().filter(|group| is_stuck(group.state)) {
                self.ask(&group.group.0, GroupAct::Start { node: None });
            }
            self.confirm_off(&missing);
            // A wish that came while the store was away is refused: it is repeated.
            for node in 0..self.nodes.len() {
                self.ask_of_node(node, NodeAct::Undrain);
                self.ask_of_node(node, NodeAct::MaintenanceOff);
            }
            // Many that fall at once are believed only on a person's word.
            self.confirm();
            // Its service may have ended as a final action, begun before the faults ended.
            self.handle(Event::StartNode { node: 0 });
            self.run_until_us(self.now_us + 100_000);
        }
    }
}
