//! The manager's shell: holds configuration and run state, tells routers and agents.

pub mod handle;
