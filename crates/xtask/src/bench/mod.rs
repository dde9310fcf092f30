//! `cargo xtask bench`: what Muster costs, measured beside its peers.
//!
//! The proxies run on core 0, generator and back ends on core 1. All proxies stay up; short slices of load rotate over
//! them in random order, so that a slow phase of the machine meets all of them. The figure that counts is processor
//! time per request as a ratio to HAProxy within the same round; a difference under 0.05 is not a finding.

mod balance;
mod candidate;
mod cell;
mod cell_client;
mod connection;
mod crashes;
mod exits;
mod failover;
mod generator;
mod heartbeats;
mod members;
mod message;
mod meter;
mod network;
mod peers;
mod protocols;
mod report;
mod router;
mod statistics;
mod tables;
mod told;

pub use balance::{BalanceArgs, balance};
pub use candidate::{
    BESIDE_ROUTER, MUSTER_FILE, ROUTER_ONLY, built, free_address, muster, muster_config, start_manager,
    write_output_to,
};

pub use cell::{CellArgs, cell};
pub use crashes::{CrashesArgs, crashes};
pub use exits::{ExitsArgs, exits};
pub use failover::{FailoverArgs, failover};
pub use generator::Generator;
pub use heartbeats::{HeartbeatsArgs, heartbeats};
pub use members::{MembersArgs, members};
pub use router::{RouterArgs, Scratch, router};
