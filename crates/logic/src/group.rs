//! Failover groups: resources that run together on one node at a time, and come back on another when that one is lost.
//!
//! Two machines. `Planner`, at the leader of the managers, decides where each group runs and commits that before anybody is
//! told. `Resident`, at each node, runs what it is told in order, and only while it may. The promise of both together, held
//! by simulation: no group has two owners at any instant. It rests on these:
//! - An owner is only replaced with proof that nothing of the group is left on it: its agent has obeyed assignments without
//!   the group and says so, or its lease has run out and is withheld (`heartbeat`), or a person has looked.
//! - An epoch that failed or outlived its lease on a node is not run again there.
//! - A node whose lease was taken gets none before it has obeyed the newest assignments.
//!
//! Not here: processes, sockets, the store; heartbeats and leases (`heartbeat`, `lease`).

mod moves;
mod plan;
mod planner;
mod record;
mod resident;

pub use moves::Moves;
pub use planner::{CommitEnd, Input as PlannerInput, Output as PlannerOutput, Planner};
pub use record::{PREFIX, is_readable, is_record};
pub use resident::{Action, Input as ResidentInput, Output as ResidentOutput, RUN_OF_BEFORE, Resident, Verb};
