//! The small process between an agent and one member: starts it, sees its exit, keeps its output, leaves no orphan.
//!
//! The agent runs one keeper per started member. Orders come as JSON lines on stdin, news go as JSON lines to
//! stdout (see `message`). Promises: the exit is told as soon as the kernel says so (pidfd); after it everything
//! that the member started is killed and reaped, also what left its process group and session (the keeper is the
//! subreaper below it); the same when stdin ends or the agent is gone, however it went. Output that cannot be
//! kept is counted and dropped; the member never waits for the log file, except where the file system itself hangs.
//! The keeper is single threaded, and deaf to TERM, INT and HUP: who stops a service by signalling all of its
//! processes must not take the members' grace away.
//! Not here: when to start or stop (see `logic::supervision`).

pub mod account;
pub mod cgroup;
pub mod descendants;
pub mod log;
mod member_exec;
pub mod message;
pub mod output;
mod run;
pub mod signal;

pub use member_exec::{Place, become_member, become_member_when_told};
pub use run::{keep, program, status_text, what_to_become};
