//! A simulated cell, its faults and its checkers. Never shipped.
//!
//! One thread, one queue of events, one generator: the same seed gives the same history. The machines are those of
//! `logic`, unchanged; this crate is another shell around them, with links that delay, stall and break, processes that
//! die and hang, and clients. Promise: `check` of every machine runs after each of its steps, and `checks` after each
//! thing that a user could see. Times are milliseconds.
//!
//! `models` holds other protocols, to be compared with. `super_cluster` is about many cells.
//! `fleet` is a second world, for what comes with many nodes and several managers: leaders, leases and heartbeats.

mod asked;
mod chaos;
mod checks;
mod exchange;
mod fleet;
mod groups;
mod link;
mod manager;
pub mod models;
mod node;
mod plant;
mod push;
mod router;
mod scenario;
mod super_cluster;
mod world;

pub use chaos::{Kind, Outcome, run_seed};
pub use fleet::{
    Day, DayOutcome, FleetFound, FleetOutcome, Leader, Push, fleet_boot_ms, fleet_join_ms, run_fleet_case,
    run_fleet_scenario, run_fleet_seed,
};
/// Histories of the lab are drawn as those here are.
pub use logic::seed::Chance;

pub use groups::{
    GroupsOutcome, Lost, run_groups_both_lost, run_groups_claimed, run_groups_leader_lost,
    run_groups_leader_unheard, run_groups_seed,
};
pub use plant::Plant;
pub use push::{PushBytes, push_bytes};
pub use scenario::run_scenario;
pub use super_cluster::{SuperCluster, SuperCost, SuperOutcome};
pub use world::World;
