//! `clpcl`: takes servers out of the service of the cell and back, and suspends its recovery.
//!
//! The service of a server is what it does for the cell: its groups and its members. Muster itself goes on running there.

use super::common::{Failure, SUCCEEDED, WAIT_S, act_on_group, node_of, run, status};
use super::words::{Flag, Words, one_of, plain, valued};
use crate::cli::Exit;
use crate::cli::client::{Api, is_code};
use crate::cli::node::{ask_of_node, see_empty};
use std::time::Duration;
use wire::error_code;
use wire::group::{GroupCondition, GroupStatus, GroupVerb};
use wire::id::NodeName;
use wire::node::NodeAct;
use wire::status::CellStatus;

const HELP: &str = "\
clpcl: start and stop what servers do for the cell; suspend and resume recovery.

  clpcl -t [-a | -h SERVER] [-w SECONDS]   stop: the groups of a server go elsewhere, those that cannot are stopped, and
                                           its members take no new conversations. With -a every group stops
  clpcl -s [-a | -h SERVER]                start: the server may be used again, and groups that stopped with it start
  clpcl -r [-a | -h SERVER] [-w SECONDS]   restart: the first and then the second
  clpcl --return [-h SERVER]               let a stopped server back in; starts no group
  clpcl --suspend [--force]                suspend: monitors pause, and no group is moved or started again by itself
  clpcl --resume                           resume

  -h SERVER    default: this machine
  -a           all servers
  -w SECONDS   longest wait for groups to leave; 0: as long as it takes. Default: 0
  --force      suspending never needs more than a manager, so it is the same with and without

Muster itself goes on running: `systemctl stop muster` ends it on a machine, which this command does not do.

Also --config FILE, --api URL, --token-file FILE, --state-dir DIR.

Examples:
  clpcl -t -h server2
  clpcl -s -a
  muster clp cl --suspend

Exit codes: 0 it is done, else it is not (1 no, 2 wrong use, 3 the cell was not reached).
";

const ACTS: &[&str] = &["-s", "-t", "-r", "--return", "--suspend", "--resume"];
const FLAGS: &[Flag] = &[
    plain("-s"),
    plain("-t"),
    plain("-r"),
    plain("--return"),
    plain("--suspend"),
    plain("--resume"),
    plain("--force"),
    plain("-a"),
    valued("-h"),
    valued("-w"),
];

/// As long as it takes: longer than any stop and start of all groups.
const WAIT_MAX_S: u64 = 86_400;

pub fn clpcl(words: &[String]) -> Exit {
    run("clpcl", HELP, FLAGS, words, service)
}

async fn service(words: Words) -> Result<String, Failure> {
    let act = one_of(&words, ACTS).map_err(Failure::WrongUse)?;
    if let Some(word) = words.rest.first() {
        return Err(Failure::WrongUse(format!("`{word}` is not expected here")));
    }
    let is_whole = matches!(act, "--suspend" | "--resume");
    for (flag, is_allowed) in [
        ("-a", act != "--return"),
        ("-h", !is_whole),
        ("-w", matches!(act, "-t" | "-r")),
        ("--force", act == "--suspend"),
    ] {
        if words.has(flag) && !is_allowed {
            return Err(Failure::WrongUse(format!("`{flag}` is not for {act}")));
        }
    }
    if words.has("-a") && words.has("-h") {
        return Err(Failure::WrongUse("-a and -h exclude each other".into()));
    }
    let wait_s = match words.number("-w", 0..=WAIT_MAX_S).map_err(Failure::WrongUse)? {
        None | Some(0) => WAIT_MAX_S,
        Some(seconds) => seconds,
    };
    let api = Api::find(&words.target())?;
    let cell = status(&api).await?;
    match act {
        "--suspend" => suspend(&api, &cell, NodeAct::MaintenanceOn).await?,
        "--resume" => suspend(&api, &cell, NodeAct::MaintenanceOff).await?,
        "--return" => undrain(&api, &node_of(&words, &cell)?).await?,
        _ if words.has("-a") => {
            if matches!(act, "-t" | "-r") {
                stop_all(&api, &cell, wait_s).await?;
            }
            if matches!(act, "-s" | "-r") {
                start_all(&api).await?;
            }
        }
        _ => {
            let node = node_of(&words, &cell)?;
            if matches!(act, "-t" | "-r") {
                stop_node(&api, &node, wait_s).await?;
            }
            if matches!(act, "-s" | "-r") {
                start_node(&api, &node).await?;
            }
        }
    }
    Ok(SUCCEEDED.into())
}

async fn suspend(api: &Api, cell: &CellStatus, act: NodeAct) -> Result<(), Failure> {
    let is_wanted = |is_on: bool| is_on != (act == NodeAct::MaintenanceOn);
    for node in cell.nodes.iter().filter(|node| is_wanted(node.maintenance)) {
        eprintln!("{}", ask_of_node(api, &node.node.0, act, false).await?);
    }
    Ok(())
}

async fn undrain(api: &Api, node: &NodeName) -> Result<(), Failure> {
    match ask_of_node(api, &node.0, NodeAct::Undrain, false).await {
        Ok(text) => eprintln!("{text}"),
        // It is in service already.
        Err(error) if is_code(&error, error_code::ACT_MAKES_NO_SENSE) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Empties a server; what nobody else can run is stopped. Also what is done before a machine is switched off.
pub async fn stop_node(api: &Api, node: &NodeName, wait_s: u64) -> Result<(), Failure> {
    eprintln!("{}", ask_of_node(api, &node.0, NodeAct::Drain, false).await?);
    match tokio::time::timeout(Duration::from_secs(wait_s), see_empty(api, &node.0)).await {
        // What stays is named; it is stopped below.
        Ok(Ok(Ok(text) | Err(text))) => eprintln!("{text}"),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => {
            let why = format!("groups have not left {node} after {wait_s} s; they go on leaving it");
            return Err(Failure::No(why));
        }
    }
    let cell = status(api).await?;
    let left = |group: &&GroupStatus| group.node.as_ref() == Some(node);
    for group in cell.groups.iter().filter(left) {
        eprintln!("{}", act_on_group(api, GroupVerb::Stop, group, None, WAIT_S).await?);
    }
    Ok(())
}

async fn start_node(api: &Api, node: &NodeName) -> Result<(), Failure> {
    undrain(api, node).await?;
    let cell = status(api).await?;
    // What no other server can run has stopped with this one.
    let is_its = |group: &&GroupStatus| {
        let able = || group.why.iter().filter(|why| why.is_able);
        group.state == GroupCondition::Offline
            && group.nodes.contains(node)
            && able().all(|why| why.node == *node)
    };
    for group in cell.groups.iter().filter(is_its) {
        eprintln!("{}", act_on_group(api, GroupVerb::Start, group, None, WAIT_S).await?);
    }
    Ok(())
}

/// Stops every group, wherever it runs.
pub async fn stop_all(api: &Api, cell: &CellStatus, wait_s: u64) -> Result<(), Failure> {
    for group in cell.groups.iter().filter(|group| group.state != GroupCondition::Offline) {
        eprintln!("{}", act_on_group(api, GroupVerb::Stop, group, None, wait_s.min(WAIT_S)).await?);
    }
    Ok(())
}

async fn start_all(api: &Api) -> Result<(), Failure> {
    let cell = status(api).await?;
    for node in cell.nodes.iter().filter(|node| node.drained) {
        undrain(api, &node.node).await?;
    }
    for group in cell.groups.iter().filter(|group| group.state == GroupCondition::Offline) {
        eprintln!("{}", act_on_group(api, GroupVerb::Start, group, None, WAIT_S).await?);
    }
    Ok(())
}
