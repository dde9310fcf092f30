//! What ends all that Muster runs on this machine, and with it perhaps the machine: a final action of a recovery, or an operator.
//!
//! Promise: the groups of this node are gone before. After a final action the service ends also where the program that ends the
//! machine fails; what an operator asked for and failed leaves the node as it was.

use crate::script::{self, Streams};
use rustix::process::{Signal, getpid, kill_process};
use std::process::Command;
use std::time::Duration;
use wire::node::PowerAct;

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
        if !command.is_empty() {
            match run(&command).await {
                Ok(()) => tracing::error!(program = command[0], "this machine ends"),
                Err(why) => tracing::error!(why, "this machine does not end"),
            }
        }
        end_service();
    }
}

/// Runs the program that reboots or shuts down the machine, as an operator asked for. The error says why it did not.
pub async fn power(act: PowerAct, command: &[String], who: &str) -> Result<(), String> {
    tracing::warn!(who, "this machine is to be {}, and nothing of groups runs here any more", act.done());
    run(command).await?;
    tracing::warn!("this machine is being {}", act.done());
    end_service();
    Ok(())
}

async fn run(command: &[String]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("no program does it".to_owned());
    };
    let mut ending = Command::new(program);
    ending.args(arguments);
    match script::run(ending, Streams::Both, COMMAND_WAIT).await {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => {
            let said = String::from_utf8_lossy(&ended.output);
            Err(format!("`{}` ended with {}: {}", command.join(" "), ended.status, said.trim()))
        }
        Err(error) => Err(format!("`{}`: {error}", command.join(" "))),
    }
}

/// As a service manager would: all roles of this process end in their order.
fn end_service() {
    if let Err(error) = kill_process(getpid(), Signal::TERM) {
        tracing::error!(%error, "the service could not be ended");
    }
}
