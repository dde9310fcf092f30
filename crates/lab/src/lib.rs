//! Machines to try a cell on: hosts that are network namespaces with a switch between them, faults, and scenarios.
//!
//! Everything is real but the machines: processes of Muster, etcd and PostgreSQL, packets, kernels' time-outs. `Hosts` are
//! the machines, `Cell` a cell of Muster on them, `Scenario` a text that says what happens to them and how it must end.
//! Tests and `cargo xtask lab` use the same.
//!
//! Promise: nothing outlives the lab, whatever way its process ends (see `janitor`). Needs root, `ip`, `nft`, `nsenter`,
//! `unshare` and `setpriv`. The thread that makes hosts must live as long as they do: the kernel ends them with it.

pub mod cell;
mod delay;
pub mod host;
pub mod hosts;
mod janitor;
pub mod lan;
mod ledger;
pub mod load;
mod network;
pub mod run;
pub mod scenario;
pub mod servers;
pub mod wait;

use std::fmt;

/// What went wrong in the lab, or how a scenario ended otherwise than it should: one sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

pub type Outcome<T> = Result<T, Problem>;

/// Adds what was being done to an error that does not know.
trait Doing<T> {
    fn doing(self, act: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, act: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Problem(format!("could not {act}: {error}")))
    }
}
