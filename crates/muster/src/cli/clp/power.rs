//! `clpdown` and `clpstdn`: groups are stopped in order, then a command of the user switches machines off.
//!
//! Muster switches nothing off by itself: without a command nothing is done at all.

use super::common::{Failure, SUCCEEDED, known_node, node_of, own_node, run, status};
use super::service::{stop_all, stop_node};
use super::words::{Flag, Words, plain, valued};
use crate::cli::Exit;
use crate::cli::client::Api;
use crate::script::{self, Streams};
use std::process::Command;
use std::time::Duration;
use wire::id::NodeName;

const DOWN_HELP: &str = "\
clpdown: stop what a server does for the cell, and switch it off or reboot it.

  clpdown [-r] [-h SERVER] [--command PROGRAM]

  -r                  reboot
  -h SERVER           default: this machine
  --command PROGRAM   what switches it off; default: MUSTER_POWER_COMMAND. It finds MUSTER_NODE (the server) and
                      MUSTER_POWER (shutdown or reboot) in its environment, and must end with 0 within 60 seconds

First its groups go elsewhere, and those that cannot are stopped, as with clpcl -t. The server takes no groups when it
comes back, until `clpcl --return -h SERVER`; groups that were stopped start with `clpcl -s -h SERVER`.

Also --config FILE, --api URL, --token-file FILE, --state-dir DIR.

Examples:
  clpdown --command /etc/muster/power.sh
  MUSTER_POWER_COMMAND=/etc/muster/power.sh clpdown -r -h server2

Exit codes: 0 it is done, else it is not (1 no, 2 wrong use, 3 the cell was not reached).
";

const STANDBY_HELP: &str = "\
clpstdn: stop all groups, and switch all servers off or reboot them.

  clpstdn [-r] [--command PROGRAM]

  -r                  reboot
  --command PROGRAM   what switches a server off; it is run once for each, the one of this machine last.
                      See clpdown --help

Groups stay stopped until `clpcl -s -a`.

Also --config FILE, --api URL, --token-file FILE, --state-dir DIR.

Examples:
  clpstdn --command /etc/muster/power.sh
  muster clp stdn -r --command /etc/muster/power.sh

Exit codes: 0 it is done, else it is not (1 no, 2 wrong use, 3 the cell was not reached).
";

const DOWN_FLAGS: &[Flag] = &[plain("-r"), valued("-h"), valued("--command")];
const STANDBY_FLAGS: &[Flag] = &[plain("-r"), valued("--command")];

/// How long the command may take: it asks for something, and does not wait until the machine is off.
const COMMAND_MAX: Duration = Duration::from_secs(60);
/// How long groups may take to leave: as long as it takes.
const LEAVE_MAX_S: u64 = 86_400;

pub fn clpdown(words: &[String]) -> Exit {
    run("clpdown", DOWN_HELP, DOWN_FLAGS, words, down)
}

pub fn clpstdn(words: &[String]) -> Exit {
    run("clpstdn", STANDBY_HELP, STANDBY_FLAGS, words, stand_down)
}

async fn down(words: Words) -> Result<String, Failure> {
    let program = program(&words)?;
    let api = Api::find(&words.target())?;
    let cell = status(&api).await?;
    let node = match words.value("-h") {
        Some(host) => known_node(&cell, host)?,
        None => node_of(&words, &cell)?,
    };
    stop_node(&api, &node, LEAVE_MAX_S).await?;
    switch(&program, &node, words.has("-r")).await?;
    Ok(SUCCEEDED.into())
}

async fn stand_down(words: Words) -> Result<String, Failure> {
    let program = program(&words)?;
    let api = Api::find(&words.target())?;
    let cell = status(&api).await?;
    let own = own_node(&words.target(), &cell);
    stop_all(&api, &cell, LEAVE_MAX_S).await?;
    let others = cell.nodes.iter().map(|node| &node.node).filter(|node| Some(*node) != own.as_ref());
    let mut failed = Vec::new();
    for node in others {
        match switch(&program, node, words.has("-r")).await {
            Ok(()) => {}
            // Each of the others is still asked.
            Err(Failure::No(why)) => failed.push(why),
            Err(failure) => return Err(failure),
        }
    }
    if !failed.is_empty() {
        // Somebody has to look after those, and can from here.
        return Err(Failure::No(format!("{}; this server stays on", failed.join("; "))));
    }
    // The last one takes this command along.
    if let Some(own) = &own {
        switch(&program, own, words.has("-r")).await?;
    }
    Ok(SUCCEEDED.into())
}

fn program(words: &Words) -> Result<String, Failure> {
    if let Some(word) = words.rest.first() {
        return Err(Failure::WrongUse(format!("`{word}` is not expected here")));
    }
    let named = words.value("--command").map(str::to_owned);
    let named = named.or_else(|| std::env::var("MUSTER_POWER_COMMAND").ok()).filter(|name| !name.is_empty());
    named.ok_or_else(|| {
        let why = "no command switches servers off: name one with --command or in MUSTER_POWER_COMMAND. Nothing was done; \
                   `clpcl -t` stops what a server does";
        Failure::No(why.into())
    })
}

async fn switch(program: &str, node: &NodeName, is_reboot: bool) -> Result<(), Failure> {
    let act = if is_reboot { "reboot" } else { "shutdown" };
    let mut command = Command::new(program);
    command.env("MUSTER_NODE", &node.0).env("MUSTER_POWER", act);
    let ended = script::run(command, Streams::Both, COMMAND_MAX).await;
    let ended = ended.map_err(|error| Failure::No(format!("{program} for {node}: {error}")))?;
    if ended.status.success() {
        eprintln!("{act} of {node} was asked for");
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.output).trim().to_owned();
    Err(Failure::No(format!("{program} for {node}: {}: {said}", ended.status)))
}
