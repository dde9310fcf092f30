//! Who is there: nodes send heartbeats, managers notice silence, and neither believes more than it can know.
//!
//! - `Pulse` is a node's side: when to send, to whom, and how long it may act by the leader's grants.
//! - `admit` says which datagrams count at all: not forged, not of another cell, not meant for another.
//! - `Detector` is a manager's side. Taking a heartbeat is `Detector::hear`: constant time, no allocation, before any
//!   queue. Everything else is a look at all nodes every 25 ms.
//!
//! - `Carriers` and `Courier` are the two sides of questions that other nodes carry to one that is not heard: who is sent,
//!   and what is carried.
//! - `Fellows` are the other managers of a manager: which of their datagrams count, and who is there.
//!
//! Two severities: *route around* is said fast, may be wrong and is taken back; *take over* only when the leader, who alone
//! grants leases, grants the node nothing more and all grants have run out. Facts: cell 2.2 and 2.3, failover 7.3. Times are
//! milliseconds of `Time`, which must count while the machine sleeps.
//! Not here: sockets, codes, the exchange between managers, and what follows from a verdict.

pub mod admit;
mod carriers;
mod case;
mod courier;
mod detector;
mod fellows;
mod message;
mod pulse;

pub use carriers::Carriers;
pub use courier::Courier;
pub use detector::Detector;
pub use fellows::{Fellows, Presence, Word};
pub use message::{
    Alarm, Doubted, Glance, Heard, Input, Opinion, Output, Reach, Restart, Search, Settings, Verdict,
};
pub use pulse::{Pulse, PulseInput, PulseOutput, PulseSettings};

#[cfg(test)]
mod tests;
