//! The agent's shell: runs and probes members as `logic::agent` says.

pub mod keeper;
mod readable;
