//! Every decision of Muster, pure: the caller passes the time and a seed, outputs and reasons come back as data.
//!
//! No I/O, clock, randomness, thread, global or log in this crate; tidy holds that.

pub mod account;
pub mod actions;
pub mod affinity;
pub mod agent;
pub mod balance;
pub mod cell;
pub mod certificate;
pub mod client_hello;
pub mod compress;
pub mod delta;
pub mod enrol;
pub mod explain;
pub mod heartbeat;
pub mod histogram;
pub mod hpack;
pub mod http;
pub mod http2;
pub mod lease;
pub mod limits;
pub mod lockout;
pub mod log_pattern;
pub mod machine;
pub mod model;
pub mod pace;
pub mod plugin_cfg;
pub mod probe;
pub mod proxy_protocol;
pub mod rate;
pub mod real;
pub mod retry;
pub mod rollout;
pub mod route;
pub mod run_state;
pub mod seed;
pub mod server_name;
pub mod sessions;
pub mod snapshot;
pub mod spread;
pub mod summary;
pub mod supervision;
pub mod term;
pub mod time;
pub mod trace;
pub mod view;
