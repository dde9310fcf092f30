//! The small process that holds one group on one node: runs its scripts and processes, and kills them all at a deadline.
//!
//! The agent runs one guardian for each group that it starts. Orders come as JSON lines on stdin, news go as JSON lines to
//! stdout (see `message`). Promises: everything that the group's scripts and processes started is killed and reaped, also
//! what left its process group and session, when the deadline passes (by `CLOCK_BOOTTIME`, whatever the agent does), when
//! the agent says so, and when the agent is gone. Only then the guardian ends, and with it its lock: whoever gets the lock
//! knows that nothing is left. It has one thread, and is deaf to TERM, INT and HUP.
//! Not here: when the node may go on (see `logic::group`).

pub mod message;
mod run;

pub use run::guard;
