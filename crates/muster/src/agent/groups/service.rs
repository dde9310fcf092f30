//! The final action of a recovery that ends all that Muster runs on this machine, and with it perhaps the machine.
//!
//! Promise: the groups of this node are gone before; the service ends also where the program that ends the machine fails.

use crate::script::{self, Streams};
use rustix::process::{Signal, getpid, kill_process};
use std::process::Command;
use std::time::Duration;

/// How long the program that ends the machine may take to ask for it.
const COMMAND_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Ending {
    /// Empty: the machine goes on.
    pub command: Vec<String>,
    pub why: String,
}

impl Ending {
    pub async fn end(self) {
        let Self { command, why } = self;
        tracing::error!(why, "the service of this node ends, as the final action of a monitor");
        if let Some((program, arguments)) = command.split_first() {
            let mut ending = Command::new(program);
            ending.args(arguments);
            match script::run(ending, Streams::Both, COMMAND_WAIT).await {
                Ok(ended) if ended.status.success() => tracing::error!(program, "this machine ends"),
                Ok(ended) => {
                    let said = String::from_utf8_lossy(&ended.output).into_owned();
                    tracing::error!(program, status = %ended.status, said, "this machine does not end");
                }
                Err(error) => tracing::error!(program, %error, "this machine does not end"),
            }
        }
        // As a service manager would: all roles of this process end in their order.
        if let Err(error) = kill_process(getpid(), Signal::TERM) {
            tracing::error!(%error, "the service could not be ended");
        }
    }
}
