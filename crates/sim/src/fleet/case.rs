//! Muster in the cases of `models`: the same number of hosts, the same fault, the same measures; and from a crash to all
//! routers informed.
//!
//! What decides is the real thing: every node has its `Pulse`, every manager its `Detector` and its `Elector`, every
//! datagram is written, checked and read. What follows a verdict is arithmetic on assumptions that are stated here: the
//! leader commits it, and writes to one router after the other.

use super::world::{Fleet, Place};
use crate::models::{Case, Fault, Found, Rate};
use logic::heartbeat::Reach;
use logic::lease::NORMAL;
use std::collections::BTreeSet;
use wire::heartbeat::SIZE_BYTES;

/// What the leader does with the same fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Leader {
    #[default]
    Well,
    /// It is killed at the same moment.
    Killed,
    /// It gets no time of its processor for so many milliseconds; so do the other managers.
    AllStall(u64),
}

/// Routers that are told, and what that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Push {
    pub routers: usize,
    /// Of a thousand packets; TCP sends again after `RETRANSMIT_US`, doubled each time.
    pub loss: u32,
}

/// From the leader's decision to the store's promise that it lasts, at most and at least.
const COMMIT_US: (u64, u64) = (2_000, 20_000);
/// The leader's work for each router: one frame, written once, encrypted for each and given to the kernel. Several times
/// what that takes.
const SEND_US: u64 = 10;
const DELAY_US: (u64, u64) = (100, 3_000);
/// What common kernels wait at least before they send a packet again.
const RETRANSMIT_US: u64 = 200_000;
/// UDP and IP.
const HEADERS_BYTES: u64 = 28;
const MANAGERS: usize = 3;
/// How often a fleet that starts is looked at.
const LOOK_EVERY_US: u64 = 10_000;
/// How long it may take. 20 s: ten times what it takes.
const BOOT_MAX_US: u64 = 20_000_000;

/// Muster's share of a comparison.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetFound {
    pub found: Found,
    /// Batches of verdicts since the fault: epochs.
    pub epochs: usize,
    /// From the fault until each router knew that a faulty node is not there: half of them all, and 99 of a hundred.
    pub informed_p50_ms: u64,
    pub informed_p99_ms: u64,
    pub informed_max_ms: u64,
    pub elections: u64,
    /// From the fault to the last of these elections.
    pub led_ms: Option<u64>,
    pub alarms: u64,
    /// Of all nodes to all managers.
    pub heartbeats_per_second: f64,
    /// From the fault until something may be taken over from the last faulty node, if it may from all of them.
    pub taken_over_ms: Option<u64>,
    /// Writes to the store a second, verdicts aside.
    pub commits_per_second: f64,
    pub events: u64,
}

pub fn run_fleet_case(case: Case, leader: Leader, push: Push) -> FleetFound {
    let mut fleet = Fleet::new(MANAGERS, case.nodes, NORMAL, case.seed, false);
    fleet.has_mischief = false;
    let at_us = case.at_s * 1_000_000;
    fleet.run_until_us(at_us);
    assert!(fleet.batches == 0, "verdicts before anything went wrong");
    let (heartbeats, elections, alarms) = (fleet.heartbeats, fleet.elections, fleet.alarms);
    let commits = fleet.store.commits;
    disturb_leader(&mut fleet, leader);
    let mut turns = vec![at_us; case.faulty];
    let end_us = case.until_s * 1_000_000;
    while fleet.now_us < end_us {
        fleet.disturb_nodes(&case, &mut turns);
        let next_us = turns.iter().copied().min().unwrap_or(end_us).clamp(fleet.now_us + 1, end_us);
        fleet.run_until_us(next_us);
    }
    let seconds = (case.until_s - case.at_s) as f64;
    let mut measured = FleetFound {
        found: fleet.found(&case),
        epochs: fleet.said.len(),
        elections: fleet.elections - elections,
        led_ms: fleet.led_at_us.checked_sub(at_us).map(|us| us / 1_000),
        alarms: fleet.alarms - alarms,
        heartbeats_per_second: (fleet.heartbeats - heartbeats) as f64 / seconds,
        taken_over_ms: fleet.taken_over_ms(&case),
        commits_per_second: (fleet.store.commits - commits) as f64 / seconds,
        events: fleet.events,
        ..FleetFound::default()
    };
    let bytes = (SIZE_BYTES as u64 + HEADERS_BYTES) as f64;
    // Each heartbeat that came is answered.
    let mean = (fleet.heartbeats - heartbeats) as f64 * bytes / seconds / case.nodes as f64;
    let beats_per_second = 1_000 / u64::from(logic::limits::HEARTBEAT_INTERVAL_MS) + 1;
    let most = beats_per_second * MANAGERS as u64 * bytes as u64;
    (measured.found.sent, measured.found.received) = (Rate { mean, most }, Rate { mean, most });
    fleet.inform(&case, push, &mut measured);
    measured
}

/// So many nodes and the managers start at once: until one leads, all nodes are known to be there and have a lease. And how
/// often anything was said of them meanwhile. What their machines need to start is not in it.
pub fn fleet_boot_ms(nodes: usize, seed: u64) -> (u64, usize) {
    let mut fleet = Fleet::new(MANAGERS, nodes, NORMAL, seed, false);
    fleet.has_mischief = false;
    while fleet.is_whole().is_err() {
        fleet.run_until_us(fleet.now_us + LOOK_EVERY_US);
        assert!(fleet.now_us < BOOT_MAX_US, "a fleet that starts does not become whole");
    }
    (fleet.now_us / 1_000, fleet.said.len())
}

/// So many of the nodes come into a fleet that runs: until all of them are known to be there.
pub fn fleet_join_ms(nodes: usize, joining: usize, seed: u64) -> u64 {
    let mut fleet = Fleet::new(MANAGERS, nodes, NORMAL, seed, false);
    fleet.has_mischief = false;
    (0..joining).for_each(|node| fleet.kill_node(node));
    fleet.run_until_us(BOOT_MAX_US);
    let began_us = fleet.now_us;
    (0..joining).for_each(|node| fleet.start_node(node, true));
    while fleet.is_whole().is_err() {
        fleet.run_until_us(fleet.now_us + LOOK_EVERY_US);
        assert!(fleet.now_us < 2 * BOOT_MAX_US, "nodes that come are not noticed");
    }
    (fleet.now_us - began_us) / 1_000
}

fn disturb_leader(fleet: &mut Fleet, leader: Leader) {
    match leader {
        Leader::Well => {}
        Leader::Killed => {
            let leads = fleet.managers.iter().position(|host| host.leads.is_some());
            fleet.kill_manager(leads.expect("somebody leads a healthy cell"));
        }
        Leader::AllStall(stall_ms) => {
            (0..MANAGERS).for_each(|manager| fleet.stop_manager(manager));
            fleet.run_until_us(fleet.now_us + stall_ms * 1_000);
            (0..MANAGERS).for_each(|manager| fleet.resume_manager(manager));
        }
    }
}

/// Whether routers stop using a node of which that was said.
fn is_away(reach: Reach) -> bool {
    match reach {
        Reach::Reachable | Reach::Elsewhere | Reach::Nearby => false,
        Reach::Degraded | Reach::Unreachable => true,
    }
}

impl Fleet {
    fn disturb_nodes(&mut self, case: &Case, turns: &mut [u64]) {
        let now_us = self.now_us;
        for (node, turn_us) in turns.iter_mut().enumerate().filter(|(_, turn_us)| **turn_us <= now_us) {
            *turn_us = u64::MAX;
            match case.fault {
                Fault::None => {}
                Fault::Crash => self.kill_node(node),
                Fault::DeafOnAndOff => {
                    let place = Place::Node(node);
                    let is_cut = self.cuts.contains(&(Place::Manager(0), place));
                    for other in self.places() {
                        if is_cut {
                            self.cuts.remove(&(other, place));
                        } else {
                            self.cut(other, place);
                        }
                    }
                    *turn_us = now_us + 20_000_000;
                }
                Fault::EgressLoss(share) => {
                    self.node_losses.insert(node, (share, 0));
                }
                Fault::Stalls { blocked_ms, runs_ms } | Fault::Blocks { blocked_ms, runs_ms } => {
                    *turn_us = now_us + self.turn_node(node, blocked_ms, runs_ms);
                }
            }
        }
    }

    /// How long it now runs, or does not.
    fn turn_node(&mut self, node: usize, blocked_ms: u32, runs_ms: u32) -> u64 {
        let (is_stopped, most_ms) = match self.nodes[node].is_stopped {
            true => (false, runs_ms),
            false => (true, blocked_ms),
        };
        if is_stopped {
            self.stop_node(node)
        } else {
            self.resume_node(node)
        }
        1_000 * (1 + u64::from(self.chance.below(most_ms)))
    }

    fn taken_over_ms(&self, case: &Case) -> Option<u64> {
        let taken = self.nodes.iter().take(case.faulty).map(|node| node.taken_at_us);
        let last_us = taken.collect::<Option<Vec<u64>>>()?.into_iter().max()?;
        Some(last_us.saturating_sub(case.at_s * 1_000_000) / 1_000)
    }

    fn found(&self, case: &Case) -> Found {
        let is_faulty = |node: usize| node < case.faulty && case.fault != Fault::None;
        let at_us = case.at_s * 1_000_000;
        let mut found = Found { views: 1 + self.said.len(), ..Found::default() };
        let mut away = BTreeSet::new();
        for said in &self.said {
            let since_ms = said.at_us.saturating_sub(at_us) / 1_000;
            for (node, reach) in &said.verdicts {
                match (is_away(*reach), is_faulty(*node)) {
                    (true, true) => {
                        found.first_ms = found.first_ms.or(Some(since_ms));
                        away.insert(*node);
                    }
                    (false, true) => {
                        away.remove(node);
                        found.returns += 1;
                    }
                    (true, false) => {
                        found.false_removals += 1;
                        found.false_at_healthy += 1;
                    }
                    (false, false) => {}
                }
            }
            if away.len() == case.faulty && found.everywhere_ms.is_none() {
                found.everywhere_ms = Some(since_ms);
            }
        }
        found.is_concluded = away.len() == case.faulty;
        if case.faulty == 0 {
            (found.first_ms, found.everywhere_ms) = (None, None);
        }
        found
    }

    /// When each router has heard of the last faulty node's first verdict.
    fn inform(&mut self, case: &Case, push: Push, measured: &mut FleetFound) {
        let mut left: BTreeSet<usize> = (0..case.faulty).collect();
        let (at_us, mut informed_us) = (case.at_s * 1_000_000, vec![0; push.routers]);
        for said in self.said.clone() {
            let mut is_news = false;
            for (node, _) in said.verdicts.iter().filter(|(_, reach)| is_away(*reach)) {
                is_news |= left.remove(node);
            }
            if !is_news {
                continue;
            }
            let committed_us = said.at_us + self.some(COMMIT_US.0, COMMIT_US.1);
            for (place, informed_us) in informed_us.iter_mut().enumerate() {
                let mut at_us = committed_us + place as u64 * SEND_US + self.some(DELAY_US.0, DELAY_US.1);
                let mut again_us = RETRANSMIT_US;
                while push.loss > 0 && self.chance.below(1_000) < push.loss {
                    at_us += again_us;
                    again_us *= 2;
                }
                *informed_us = at_us.max(*informed_us);
            }
        }
        if case.faulty == 0 || !left.is_empty() || informed_us.is_empty() {
            return;
        }
        informed_us.sort_unstable();
        let at = |share: f64| {
            let place = ((informed_us.len() as f64 * share) as usize).min(informed_us.len() - 1);
            (informed_us[place] - at_us) / 1_000
        };
        measured.informed_p50_ms = at(0.5);
        measured.informed_p99_ms = at(0.99);
        measured.informed_max_ms = at(1.0);
    }
}
