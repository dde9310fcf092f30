//! Random histories of a fleet: faults by chance, and what must be true when they have ended.

use super::node::Manner;
use super::world::{Event, Fleet, Place};
use logic::lease::PROFILES;
use logic::seed::Chance;

/// After the last fault everything is whole again within this time. The longest way there: the store is back and shows
/// something new (7.1 s to wait with the slowest profile), the new leader distrusts itself for as long, and a node that
/// came and went must stay for up to 32 intervals of 1.2 s.
const WHOLE_WITHIN_US: u64 = 90_000_000;

/// The slowest node speaks each 1.2 s, and is called degraded after eight that did not come.
const QUIET_US: u64 = 12_000_000;

/// What a history came to.
#[derive(Debug, Clone, Default)]
pub struct FleetOutcome {
    pub elections: u64,
    pub batches: u64,
    pub take_overs: u64,
    pub restarts: u64,
    pub alarms: u64,
    pub heartbeats: u64,
    /// Datagrams that were genuine once and are old.
    pub refused: u64,
    pub events: u64,
    /// From the end of all faults.
    pub whole_after_us: u64,
}

/// Tells how to see a failed history again.
struct Replay {
    seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.seed;
            eprintln!(
                "the fleet failed with seed {seed}; MUSTER_SEED={seed} replays it and shows its history"
            );
        }
    }
}

/// Runs the history of `seed`. Panics where a promise is broken.
pub fn run_fleet_seed(seed: u64, steps: u32, is_traced: bool) -> FleetOutcome {
    let _replay = Replay { seed };
    let mut chance = Chance::new(seed);
    let managers = 1 + chance.below(5) as usize;
    let nodes = 1 + chance.below(24) as usize;
    let profile = PROFILES[chance.below(PROFILES.len() as u32) as usize];
    let mut fleet = Fleet::new(managers, nodes, profile, chance.bits(), is_traced);
    fleet.run_until_us(5_000_000);
    for _ in 0..steps {
        let pause_us = 1_000 + u64::from(chance.below(300_000));
        fleet.run_until_us(fleet.now_us + pause_us);
        if chance.percent(30) {
            fleet.disturb(&mut chance);
        }
    }
    fleet.end_faults();
    let end_us = fleet.now_us;
    let whole_after_us = fleet.settle_down() - end_us;
    // It also stays so: nothing is said, and nobody else leads, without a fault.
    let (elections, batches) = (fleet.elections, fleet.batches);
    fleet.run_until_us(fleet.now_us + 5_000_000);
    assert_eq!(fleet.elections, elections, "the leader changes without a reason");
    assert_eq!(fleet.batches, batches, "verdicts are said without a reason");
    FleetOutcome {
        elections: fleet.elections,
        batches: fleet.batches,
        take_overs: fleet.take_overs,
        restarts: fleet.restarts,
        alarms: fleet.alarms,
        heartbeats: fleet.heartbeats,
        refused: fleet.refused,
        events: fleet.events,
        whole_after_us,
    }
}

impl Fleet {
    fn disturb(&mut self, chance: &mut Chance) {
        let manager = chance.below(self.managers.len() as u32) as usize;
        let node = chance.below(self.nodes.len() as u32) as usize;
        match chance.below(23) {
            0 => self.fault("kill", Place::Manager(manager), |fleet| fleet.kill_manager(manager)),
            1 | 2 => self.fault("start", Place::Manager(manager), |fleet| fleet.start_manager(manager)),
            3 => self.fault("stop", Place::Manager(manager), |fleet| fleet.stop_manager(manager)),
            4 | 5 => self.fault("resume", Place::Manager(manager), |fleet| fleet.resume_manager(manager)),
            6 => self.fault("kill", Place::Node(node), |fleet| fleet.kill_node(node)),
            7 | 8 => self.fault("start", Place::Node(node), |fleet| {
                fleet.handle(Event::StartNode { node, is_reboot: true });
            }),
            9 => self.fault("stop", Place::Node(node), |fleet| fleet.stop_node(node)),
            10 | 11 => self.fault("resume", Place::Node(node), |fleet| fleet.resume_node(node)),
            12 => self.fault("restart", Place::Node(node), |fleet| {
                fleet.kill_node(node);
                fleet.handle(Event::StartNode { node, is_reboot: node.is_multiple_of(2) });
            }),
            13 | 14 => self.cut_something(chance),
            15..=17 => self.fault("heal", Place::Store, |fleet| fleet.cuts.clear()),
            18 => {
                self.store.is_down = chance.percent(40);
                self.store.slow_us = u64::from(chance.below(3)) * 100_000;
            }
            19 => self.loss_permille = [0, 0, 10, 50, 300][chance.below(5) as usize],
            20 => self.restore(chance),
            21 => {
                let manners = [Manner::Honest, Manner::Idle, Manner::Lying];
                self.nodes[node].manner = manners[chance.below(3) as usize];
            }
            _ => self.fault("resign", Place::Manager(manager), |fleet| {
                let run = fleet.managers[manager].run;
                if !fleet.managers[manager].is_stopped {
                    fleet.step_elector(manager, run, logic::term::Input::Resign);
                }
            }),
        }
    }

    /// Until everything is whole and nothing has been said for a while: what went wrong right before the end is only
    /// noticed after it. Tells when it was whole.
    fn settle_down(&mut self) -> u64 {
        let end_us = self.now_us;
        let (mut whole_us, mut batches) = (None, self.batches);
        loop {
            match self.is_whole() {
                Ok(()) if self.batches == batches => {
                    let since_us = *whole_us.get_or_insert(self.now_us);
                    if self.now_us - since_us >= QUIET_US {
                        return since_us;
                    }
                }
                Ok(()) => whole_us = None,
                Err(missing) => {
                    assert!(self.now_us - end_us < WHOLE_WITHIN_US, "not whole again: {missing}");
                    whole_us = None;
                }
            }
            batches = self.batches;
            self.run_until_us(self.now_us + 50_000);
        }
    }

    fn fault(&mut self, verb: &str, place: Place, act: impl FnOnce(&mut Fleet)) {
        self.tell(|| format!("> {verb} {place:?}, from 0"));
        act(self);
    }

    /// One way, both ways, or everything of one place.
    fn cut_something(&mut self, chance: &mut Chance) {
        let places = self.places();
        let mut lot = || places[chance.below(places.len() as u32) as usize];
        let (one, other) = (lot(), lot());
        self.tell(|| format!("> cut {one:?} {other:?}, from 0"));
        match chance.below(3) {
            0 => self.cut(one, other),
            1 => {
                self.cut(one, other);
                self.cut(other, one);
            }
            _ => self.isolate(one),
        }
    }

    /// Rarely the store is put back to an older state, within a lease of the lost future or after it.
    fn restore(&mut self, chance: &mut Chance) {
        if self.store.copy.is_none() || chance.percent(80) {
            self.store.copy = Some(self.store.model.clone());
            return;
        }
        self.tell(|| "> the store goes back to an older state".into());
        self.store.model = self.store.copy.take().unwrap_or_default();
        self.was_restored = true;
        // Nobody copies a store, stops it, puts it back and starts it within a moment.
        let away_ms = self.profile.hand_over_ms() + u64::from(chance.below(2 * self.profile.wait_ms as u32));
        self.store.away_until_us = self.now_us + away_ms * 1_000;
    }

    fn end_faults(&mut self) {
        self.tell(|| "> all faults end".into());
        self.cuts.clear();
        self.loss_permille = 0;
        self.has_mischief = false;
        self.store.is_down = false;
        self.store.slow_us = 0;
        for manager in 0..self.managers.len() {
            self.resume_manager(manager);
            self.start_manager(manager);
        }
        (0..self.nodes.len()).for_each(|node| self.resume_node(node));
        // Nodes that are gone stay gone. Only where all are, nobody can tell that from a broken manager.
        self.handle(Event::StartNode { node: 0, is_reboot: true });
    }
}
