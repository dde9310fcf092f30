//! Many nodes and several managers over a network that loses, delays and cuts, with a store that fails like real ones.
//!
//! The machines are `logic::term::Elector`, `logic::heartbeat::Detector` and `logic::heartbeat::Pulse`, unchanged. True
//! time is in microseconds; each host has a clock of its own that starts anywhere and runs a little wrong. Checked from
//! outside, in true time: never two managers act at once; nothing is taken over from a node that may still act.

mod case;
mod chaos;
mod clock;
mod day;
mod errands;
mod forger;
mod manager;
mod node;
mod scenario;
mod store;
mod world;

pub use case::{FleetFound, Leader, Push, fleet_boot_ms, fleet_join_ms, run_fleet_case};
pub use chaos::{FleetOutcome, run_fleet_seed};
pub(crate) use clock::Clock;
pub use day::{Day, DayOutcome};
pub use scenario::run_fleet_scenario;
