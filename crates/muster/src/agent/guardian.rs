//! The small process that holds one group on one node: runs its scripts and processes, and kills them all at a deadline.
//!
//! The agent runs one guardian for each group that it starts. Orders come as JSON lines on stdin, news go as JSON lines to
//! stdout (see `message`). Promises: when the deadline passes (by `CLOCK_BOOTTIME`, whatever the agent does), when the agent
//! says so, and when the agent is gone, everything is taken away: what other machines see, then all processes, also those
//! that left their process group and session, then the rest. Only then the guardian ends, and with it its lock: whoever gets
//! the lock knows that nothing is left, or finds in the file what could not be given back, or what a guardian that was killed
//! has left (see `record`). The thread that hears the deadline waits for no disk before it; others do. It is deaf to TERM, INT
//! and HUP.
//! Not here: when the node may go on (see `logic::group`), and what types of resources there are (see `resource`).

pub mod message;
mod ready;
pub mod record;
mod run;
mod tools;
mod writer;

pub use run::guard;
pub use tools::{Process, Rest, Tools};
