//! What monitors do to the world: connections, questions, and the messages of the monitoring commands.
//!
//! Used by the agent, for monitors of the configuration, and by `clp_httpmon` and `clp_smtpmon`. What is asked and what an
//! answer means is in `logic::monitor`.

pub mod command;
pub mod converse;
mod registry;
mod small;
pub mod tell;
