//! `muster group`: where failover groups run and why; start, stop, move and freeze them, and see it through.

use super::client::{Api, ClientError, Target, encode, fail, is_code, run as run_until_done};
use super::cluster::{confirm, did_not_come_about, tell};
use super::follow::News;
use super::table::{self, Paint, plain};
use super::{Exit, print};
use serde::Serialize;
use std::time::Duration;
use wire::error_code;
use wire::group::{GroupCondition, GroupStatus, GroupVerb, NodeWhy};
use wire::id::is_valid_name;
use wire::status::{Acted, CellStatus, ErrorBody};

mod history;
#[cfg(test)]
mod tests;

const EXAMPLES: &str = "\
Examples:
  muster group status                     where each group runs
  muster group why db                     what speaks for and against each node
  muster group history db                 its last moves, stage by stage, with milliseconds
  muster group move db --dry-run          where it would go
  muster group move db db-2 --yes         in a script
  muster group stop db
  muster group freeze db                  nothing happens to it by itself
  muster group confirm-off db db-1        a person has looked: node db-1 is off

Exit codes:
  0  done (with --no-wait: begun)
  1  refused or it did not come about
  2  wrong use
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    act: ActArgs,
}

#[derive(Debug, clap::Subcommand)]
enum ActArgs {
    /// Show where groups run
    Status(Look),
    /// Say why a group is where it is, and what speaks for and against each node
    Why(Why),
    /// Show what a group went through: its starts, stops and moves, stage by stage
    History(Past),
    /// Start a group, on this node or where its policy says
    Start(OnNode),
    /// Stop a group; it stays stopped
    Stop(What),
    /// Move a group, to this node or to the next that can run it
    Move(OnNode),
    /// Move a group to the first node of its policy that can run it
    Failback(What),
    /// Let nothing happen to a group by itself
    Freeze(What),
    /// Look after a frozen group again
    Thaw(What),
    /// Say that the node of a group is off, so that another may take it over
    ConfirmOff(Confirmed),
}

#[derive(Debug, clap::Args)]
struct Look {
    /// One group; without it all
    group: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct Why {
    /// The group
    group: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct Past {
    /// The group
    group: String,
    /// How many moves to show, the newest last
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    last: u64,
    /// Print JSON, the newest first
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct OnNode {
    /// The group
    group: String,
    /// The node that is to run it [default: the next that can]
    node: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct What {
    /// The group
    group: String,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Confirmed {
    /// The group
    group: String,
    /// The node that is off
    node: String,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Only say what would follow
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// End as soon as it has begun
    #[arg(long)]
    no_wait: bool,
    /// Longest wait, in seconds; what has begun goes on all the same
    #[arg(long, value_name = "SECONDS", default_value_t = 600, conflicts_with = "no_wait",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(args: Args) -> Exit {
    let (verb, group, node, how) = match args.act {
        ActArgs::Status(look) => return show(&look),
        ActArgs::Why(why) => return history::why(&why.target, &why.group, why.json),
        ActArgs::History(past) => return history::show(&past.target, &past.group, past.last, past.json),
        ActArgs::Start(what) => (GroupVerb::Start, what.group, what.node, what.how),
        ActArgs::Move(what) => (GroupVerb::Move, what.group, what.node, what.how),
        ActArgs::Stop(what) => (GroupVerb::Stop, what.group, None, what.how),
        ActArgs::Failback(what) => (GroupVerb::Failback, what.group, None, what.how),
        ActArgs::Freeze(what) => (GroupVerb::Freeze, what.group, None, what.how),
        ActArgs::Thaw(what) => (GroupVerb::Thaw, what.group, None, what.how),
        ActArgs::ConfirmOff(what) => (GroupVerb::ConfirmOff, what.group, Some(what.node), what.how),
    };
    let done = run_until_done(carry_out(verb, &group, node.as_deref(), &how));
    done.unwrap_or_else(|error| fail(&error, how.json))
}

fn show(look: &Look) -> Exit {
    let work = async {
        let status: CellStatus = Api::find(&look.target)?.get("/api/v1/status").await?;
        if let Some(name) = &look.group {
            let group = find(&status, name)?;
            let text = if look.json { to_json(group) } else { table::groups(&[group], Paint::of_stdout()) };
            return Ok(print(text.as_bytes()));
        }
        let groups: Vec<&GroupStatus> = status.groups.iter().collect();
        let text = if look.json { to_json(&groups) } else { table::groups(&groups, Paint::of_stdout()) };
        Ok(print(text.as_bytes()))
    };
    run_until_done(work).unwrap_or_else(|error| fail(&error, look.json))
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect("a status has only names as keys") + "\n"
}

fn find<'a>(status: &'a CellStatus, name: &str) -> Result<&'a GroupStatus, ClientError> {
    let found = status.groups.iter().find(|group| group.group.0 == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = status.groups.iter().map(|group| group.group.0.as_str()).collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        ClientError::Refused {
            status: hyper::StatusCode::NOT_FOUND,
            body: ErrorBody {
                code: error_code::NO_SUCH_GROUP.to_string(),
                message: format!("there is no group {name}; there is {known}"),
                retry: false,
            },
        }
    })
}

async fn carry_out(verb: GroupVerb, group: &str, node: Option<&str>, how: &How) -> Result<Exit, ClientError> {
    for name in [Some(group), node].into_iter().flatten() {
        if !is_valid_name(name) {
            return Err(ClientError::WrongUse(format!("`{name}` is no name of a group or node")));
        }
    }
    let api = Api::find(&how.target)?;
    let status: CellStatus = api.get("/api/v1/status").await?;
    let before = find(&status, group)?.clone();
    if let Some(question) = question(verb, &before, node)
        && !how.dry_run
        && !how.yes
        && !confirm(&question)?
    {
        eprintln!("nothing was changed");
        return Ok(Exit::No);
    }
    let wanted = node;
    let node = node.map(|node| format!("&node={}", encode(node))).unwrap_or_default();
    let path = format!("/api/v1/groups/{group}/{}?dry_run={}{node}", verb.name(), how.dry_run);
    let acted: Acted = api.post(&path, String::new()).await?;
    let is_done = how.dry_run || how.no_wait || matches!(verb, GroupVerb::Freeze | GroupVerb::Thaw);
    if is_done {
        return Ok(tell(how.json, &acted.text));
    }
    eprintln!("{}", plain(&acted.text));
    let waiting = see_through(&api, verb, &before, wanted);
    match tokio::time::timeout(Duration::from_secs(how.timeout), waiting).await {
        Ok(Ok(Ok(text))) => Ok(tell(how.json, &text)),
        Ok(Ok(Err(why))) => Ok(did_not_come_about(how.json, why)),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let text =
                format!("not done after {} s; it goes on, see `muster group why {group}`", how.timeout);
            Ok(did_not_come_about(how.json, text))
        }
    }
}

/// What to ask before an act that interrupts the group; None when it does not.
fn question(verb: GroupVerb, group: &GroupStatus, node: Option<&str>) -> Option<String> {
    let name = &group.group;
    match verb {
        GroupVerb::Start | GroupVerb::Freeze | GroupVerb::Thaw => None,
        GroupVerb::Stop => Some(format!("Stop group {name}?")),
        GroupVerb::Move | GroupVerb::Failback => {
            Some(format!("Move group {name}? It is interrupted until it runs on the other node."))
        }
        GroupVerb::ConfirmOff => Some(format!(
            "Is node {} really off? If it runs group {name} yet, the group will run twice.",
            node.unwrap_or_default()
        )),
    }
}

/// Follows the cell until the group is as wanted (the sentence says how), or cannot be. `node` is where it was to go.
pub async fn see_through(
    api: &Api,
    verb: GroupVerb,
    before: &GroupStatus,
    node: Option<&str>,
) -> Result<Result<String, String>, ClientError> {
    loop {
        match follow(api, verb, before, node).await {
            // The act was accepted and goes on; a manager that restarts is found again, the deadline is our caller's.
            Err(ClientError::NotReached { .. }) => {}
            Err(error) if is_code(&error, error_code::MANAGER_UNAVAILABLE) => {}
            ended => return ended,
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn follow(
    api: &Api,
    verb: GroupVerb,
    before: &GroupStatus,
    node: Option<&str>,
) -> Result<Result<String, String>, ClientError> {
    let mut follow = api.follow(None).await?;
    loop {
        let News::Status(status) = follow.next().await? else { continue };
        if let Some(end) = end_of(verb, before, find(&status, &before.group.0)?, node) {
            return Ok(end);
        }
    }
}

/// How an act has ended; None while it goes on.
fn end_of(
    verb: GroupVerb,
    before: &GroupStatus,
    group: &GroupStatus,
    wanted: Option<&str>,
) -> Option<Result<String, String>> {
    let name = &group.group;
    let node = group.node.as_ref().map(|node| node.0.as_str()).unwrap_or("-");
    match (verb, group.state) {
        (GroupVerb::Stop, GroupCondition::Offline) => Some(Ok(format!("group {name} is stopped"))),
        (GroupVerb::Stop, _) => None,
        (GroupVerb::Move | GroupVerb::Failback | GroupVerb::ConfirmOff, GroupCondition::Online)
            if group.node == before.node =>
        {
            // With a newer epoch it has been away, or been started anew, and is back.
            let is_back = group.epoch > before.epoch && verb != GroupVerb::ConfirmOff;
            let why = || not_elsewhere(group, wanted);
            is_back.then(|| Err(format!("group {name} runs on node {node} again{}", why())))
        }
        (GroupVerb::Start | GroupVerb::Move, GroupCondition::Online)
            if wanted.is_some_and(|wanted| wanted != node) =>
        {
            // It may still have to leave that node.
            (group.epoch > before.epoch)
                .then(|| Err(format!("group {name} runs on node {node}{}", not_elsewhere(group, wanted))))
        }
        (_, GroupCondition::Online) => Some(Ok(format!("group {name} runs on node {node}"))),
        (_, GroupCondition::Failed) => Some(Err(format!("group {name}: {}", group.reason))),
        (
            _,
            GroupCondition::Offline
            | GroupCondition::Starting
            | GroupCondition::Stopping
            | GroupCondition::Waiting,
        ) => None,
    }
}

/// What speaks against the nodes to which it was to go.
fn not_elsewhere(group: &GroupStatus, wanted: Option<&str>) -> String {
    let is_meant = |why: &&NodeWhy| match wanted {
        Some(wanted) => why.node.0 == wanted,
        None => Some(&why.node) != group.node.as_ref(),
    };
    let against: Vec<String> = group
        .why
        .iter()
        .filter(is_meant)
        .filter(|why| !why.is_able)
        .map(|why| format!("; {}: {}", why.node, why.why))
        .collect();
    against.concat()
}
