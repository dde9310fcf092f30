//! `clpgrp` and `clprsc`: start, stop and move groups; and what becomes of the wish to do so with one resource.

use super::common::{
    Failure, SUCCEEDED, WAIT_S, act_on_group, known_group, known_node, node_of, own_node, run, status,
};
use super::words::{Flag, Words, one_name, one_of, plain, valued};
use crate::cli::Exit;
use crate::cli::client::Api;
use wire::group::{GroupCondition, GroupStatus, GroupVerb};
use wire::id::NodeName;
use wire::status::CellStatus;

const GROUP_HELP: &str = "\
clpgrp: start, stop and move groups.

  clpgrp -s [GROUP] [-h SERVER] [-f]   start a group on a server, or all that do not run
  clpgrp -t [GROUP] [-h SERVER] [-f]   stop a group, or all that run on a server
  clpgrp -m [GROUP] [-h SERVER] [-a DESTINATION]
                                       move a group, or all of a server, to the next server or to this one
  clpgrp -n GROUP                      print the server that it runs on

  -h SERVER        default: this machine
  -a DESTINATION   default: by the group's policy
  -f               start: also a group that runs on another server, which is moved; stop: wherever it runs

Also --config FILE, --api URL, --token-file FILE, --state-dir DIR.

Examples:
  clpgrp -s mail
  clpgrp -m mail -a server2
  clpgrp -t
  muster clp grp -m mail

Exit codes: 0 it is done, else it is not (1 no, 2 wrong use, 3 the cell was not reached).
";

const RESOURCE_HELP: &str = "\
clprsc: start and stop a group's only resource.

  clprsc -s RESOURCE [-h SERVER] [-f]
  clprsc -t RESOURCE [-h SERVER] [-f]

Muster starts and stops the resources of a group together. So this works for a resource that is alone in its group,
and is the same as clpgrp with that group. For all others it changes nothing and names the group.

Also --config FILE, --api URL, --token-file FILE, --state-dir DIR.

Examples:
  clprsc -t httpd
  clpgrp -t web

Exit codes: 0 it is done, else it is not (1 no, 2 wrong use, 3 the cell was not reached).
";

const GROUP_FLAGS: &[Flag] =
    &[plain("-s"), plain("-t"), plain("-m"), plain("-n"), valued("-h"), valued("-a"), plain("-f")];
const RESOURCE_FLAGS: &[Flag] = &[plain("-s"), plain("-t"), valued("-h"), plain("-f")];

pub fn clpgrp(words: &[String]) -> Exit {
    run("clpgrp", GROUP_HELP, GROUP_FLAGS, words, groups)
}

pub fn clprsc(words: &[String]) -> Exit {
    run("clprsc", RESOURCE_HELP, RESOURCE_FLAGS, words, resource)
}

async fn groups(words: Words) -> Result<String, Failure> {
    let act = one_of(&words, &["-s", "-t", "-m", "-n"]).map_err(Failure::WrongUse)?;
    let name = one_name(&words).map_err(Failure::WrongUse)?;
    if act != "-m" && words.has("-a") {
        return Err(Failure::WrongUse("`-a` is for -m only".into()));
    }
    if matches!(act, "-m" | "-n") && words.has("-f") {
        return Err(Failure::WrongUse("`-f` is for -s and -t only".into()));
    }
    let api = Api::find(&words.target())?;
    let cell = status(&api).await?;
    if act == "-n" {
        let name = name.ok_or_else(|| Failure::WrongUse("-n needs a group".into()))?;
        let group = known_group(&cell, name)?;
        let runs = group.state != GroupCondition::Offline;
        let node = group.node.as_ref().filter(|_| runs).map(ToString::to_string);
        return node.ok_or_else(|| Failure::No(format!("group {name} runs on no server")));
    }
    let chosen: Vec<&GroupStatus> = match name {
        Some(name) => vec![known_group(&cell, name)?],
        None => all_of(act, &words, &cell)?,
    };
    let mut failed = Vec::new();
    for group in &chosen {
        let done = match act {
            "-s" => start(&api, &words, &cell, group, name.is_some()).await,
            "-t" => stop(&api, &words, &cell, group).await,
            _ => move_away(&api, &words, &cell, group).await,
        };
        match done {
            Ok(text) => eprintln!("{text}"),
            // The others do not depend on it.
            Err(Failure::No(why)) => failed.push(why),
            Err(Failure::Client(error)) if chosen.len() > 1 => failed.push(error.to_string()),
            Err(failure) => return Err(failure),
        }
    }
    if failed.is_empty() { Ok(SUCCEEDED.into()) } else { Err(Failure::No(failed.join("; "))) }
}

/// The groups that are meant where none is named.
fn all_of<'a>(act: &str, words: &Words, cell: &'a CellStatus) -> Result<Vec<&'a GroupStatus>, Failure> {
    let runs = |group: &&GroupStatus| group.state != GroupCondition::Offline;
    if act == "-s" {
        let idle =
            |group: &&GroupStatus| !matches!(group.state, GroupCondition::Online | GroupCondition::Starting);
        return Ok(cell.groups.iter().filter(idle).collect());
    }
    let node = node_of(words, cell)?;
    let here = |group: &&GroupStatus| group.node.as_ref() == Some(&node);
    Ok(cell.groups.iter().filter(runs).filter(here).collect())
}

async fn start(
    api: &Api,
    words: &Words,
    cell: &CellStatus,
    group: &GroupStatus,
    is_named: bool,
) -> Result<String, Failure> {
    let name = &group.group;
    // Without a server it starts where it was typed, if it may run there.
    let node: Option<NodeName> = match words.value("-h") {
        Some(host) => Some(known_node(cell, host)?),
        None if is_named => own_node(&words.target(), cell).filter(|node| group.nodes.contains(node)),
        None => None,
    };
    let is_running = group.state != GroupCondition::Offline;
    match (&group.node, &node) {
        (Some(owner), Some(node)) if is_running && owner != node && words.has("-f") => {
            act_on_group(api, GroupVerb::Move, group, Some(node), WAIT_S).await
        }
        (Some(owner), Some(_)) if is_running && words.value("-h").is_none() => {
            // It runs already, and nobody has said where it should.
            let text = format!("group {name} is on server {owner}");
            if group.state == GroupCondition::Online {
                return Ok(text);
            }
            act_on_group(api, GroupVerb::Start, group, None, WAIT_S).await
        }
        (_, node) => act_on_group(api, GroupVerb::Start, group, node.as_ref(), WAIT_S).await,
    }
}

async fn stop(api: &Api, words: &Words, cell: &CellStatus, group: &GroupStatus) -> Result<String, Failure> {
    let name = &group.group;
    if let (Some(host), Some(owner)) = (words.value("-h"), &group.node) {
        let host = known_node(cell, host)?;
        if host != *owner && !words.has("-f") {
            return Err(Failure::No(format!(
                "group {name} is on server {owner}, not on {host}; -f stops it there"
            )));
        }
    }
    act_on_group(api, GroupVerb::Stop, group, None, WAIT_S).await
}

async fn move_away(
    api: &Api,
    words: &Words,
    cell: &CellStatus,
    group: &GroupStatus,
) -> Result<String, Failure> {
    let name = &group.group;
    if let (Some(host), Some(owner)) = (words.value("-h"), &group.node) {
        let host = known_node(cell, host)?;
        if host != *owner {
            return Err(Failure::No(format!("group {name} is on server {owner}, not on {host}")));
        }
    }
    let to = words.value("-a").map(|host| known_node(cell, host)).transpose()?;
    act_on_group(api, GroupVerb::Move, group, to.as_ref(), WAIT_S).await
}

async fn resource(words: Words) -> Result<String, Failure> {
    let act = one_of(&words, &["-s", "-t"]).map_err(Failure::WrongUse)?;
    let name = one_name(&words).map_err(Failure::WrongUse)?;
    let name = name.ok_or_else(|| Failure::WrongUse("a resource is needed".into()))?;
    let api = Api::find(&words.target())?;
    let cell = status(&api).await?;
    let has = |group: &&GroupStatus| group.resources.iter().any(|resource| resource.name.0 == name);
    let found: Vec<&GroupStatus> = cell.groups.iter().filter(has).collect();
    let group = match found.as_slice() {
        [] => return Err(Failure::No(format!("no group has a resource {name}"))),
        [group] => *group,
        many => {
            let names: Vec<&str> = many.iter().map(|group| group.group.0.as_str()).collect();
            return Err(Failure::No(format!("several groups have a resource {name}: {}", names.join(", "))));
        }
    };
    if group.resources.len() > 1 {
        let text = format!(
            "resource {name} is one of {} in group {}, and these start and stop together: use `clpgrp {act} {}`",
            group.resources.len(),
            group.group,
            group.group
        );
        return Err(Failure::No(text));
    }
    let said = match act {
        "-s" => start(&api, &words, &cell, group, true).await?,
        _ => stop(&api, &words, &cell, group).await?,
    };
    eprintln!("{said}");
    Ok(SUCCEEDED.into())
}
