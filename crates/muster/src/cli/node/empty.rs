//! `muster node drain`, `undrain` and `maintenance`: asks for it, and sees through that a node is emptied.

use super::check_name;
use crate::cli::Exit;
use crate::cli::client::{Api, ClientError, Target, is_code};
use crate::cli::cluster::{Line, confirm, did_not_come_about, tell};
use crate::cli::follow::News;
use crate::cli::table::plain;
use std::time::Duration;
use wire::error_code;
use wire::group::{GroupCondition, GroupStatus};
use wire::node::NodeAct;
use wire::status::{Acted, CellStatus};

const DRAIN_EXAMPLES: &str = "\
Examples:
  muster node drain web-2 --dry-run      where its groups would go
  muster node drain web-2 --yes          in a script: ends once it is empty
  muster node drain web-2 --all-at-once  do not wait for one group before the next leaves
  muster node undrain web-2

Groups that no other node can run stay, and are named. What is under way to its members is not waited for: muster status
shows it. It stays drained, whoever leads, until undrain.";

const MAINTENANCE_EXAMPLES: &str = "\
Examples:
  muster node maintenance web-2 on
  muster node maintenance web-2 off

While it is on, its monitors pause, and groups that fail there or are lost with it do not move and are not started again by
themselves. A group that needs a lease still ends when its node loses it. A person can move groups away at any time.";

#[derive(Debug, clap::Args)]
#[command(after_help = DRAIN_EXAMPLES)]
pub struct DrainArgs {
    /// The node to be emptied
    node: String,
    /// Move all groups at the same time
    #[arg(long)]
    all_at_once: bool,
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
    #[command(flatten)]
    pub how: How,
}

#[derive(Debug, clap::Args)]
#[command(after_help = DRAIN_EXAMPLES)]
pub struct UndrainArgs {
    /// The node to be used again
    node: String,
    #[command(flatten)]
    pub how: How,
}

#[derive(Debug, clap::Args)]
#[command(after_help = MAINTENANCE_EXAMPLES)]
pub struct MaintenanceArgs {
    node: String,
    state: OnOrOff,
    #[command(flatten)]
    pub how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnOrOff {
    On,
    Off,
}

#[derive(Debug, clap::Args)]
pub struct How {
    /// Only say what would follow
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    target: Target,
}

/// Asks for an act of a node; gives what was answered.
pub async fn ask(api: &Api, node: &str, act: NodeAct, dry_run: bool) -> Result<String, ClientError> {
    check_name(node)?;
    let path = format!("/api/v1/nodes/{node}/{}?dry_run={dry_run}", act.name());
    let acted: Acted = api.post(&path, String::new()).await?;
    Ok(acted.text)
}

pub async fn undrain(args: &UndrainArgs) -> Result<Exit, ClientError> {
    let api = Api::find(&args.how.target)?;
    let text = ask(&api, &args.node, NodeAct::Undrain, args.how.dry_run).await?;
    Ok(tell(args.how.json, &text))
}

pub async fn maintain(args: &MaintenanceArgs) -> Result<Exit, ClientError> {
    let act = match args.state {
        OnOrOff::On => NodeAct::MaintenanceOn,
        OnOrOff::Off => NodeAct::MaintenanceOff,
    };
    let api = Api::find(&args.how.target)?;
    let text = ask(&api, &args.node, act, args.how.dry_run).await?;
    Ok(tell(args.how.json, &text))
}

pub async fn drain(args: &DrainArgs) -> Result<Exit, ClientError> {
    let act = if args.all_at_once { NodeAct::DrainAtOnce } else { NodeAct::Drain };
    let api = Api::find(&args.how.target)?;
    let (json, dry_run) = (args.how.json, args.how.dry_run);
    let first = ask(&api, &args.node, act, true).await?;
    if dry_run {
        return Ok(tell(json, &first));
    }
    if !args.yes {
        eprintln!("{}", plain(&first));
        if !confirm(&format!("Drain node {}? Its groups are interrupted while they move.", args.node))? {
            eprintln!("nothing was changed");
            return Ok(Exit::No);
        }
    }
    let text = ask(&api, &args.node, act, false).await?;
    if args.no_wait {
        return Ok(tell(json, &text));
    }
    eprintln!("{}", plain(&text));
    match tokio::time::timeout(Duration::from_secs(args.timeout), see_empty(&api, &args.node)).await {
        Ok(Ok(Ok(text))) => Ok(tell(json, &text)),
        Ok(Ok(Err(why))) => Ok(did_not_come_about(json, why)),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let seconds = args.timeout;
            let text = format!("not done after {seconds} s; it goes on, see `muster group status`");
            Ok(did_not_come_about(json, text))
        }
    }
}

/// Follows the cell until nothing more leaves the node: the sentence says that it is empty, or what stays.
pub async fn see_empty(api: &Api, node: &str) -> Result<Result<String, String>, ClientError> {
    let mut line = Line::new();
    loop {
        match follow(api, node, &mut line).await {
            // The wish is written down; a manager that restarts is found again, the deadline is our caller's.
            Err(ClientError::NotReached { .. }) => line.show("the cell is not reached"),
            Err(error) if is_code(&error, error_code::MANAGER_UNAVAILABLE) => {
                line.show("the manager is away")
            }
            ended => return ended,
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn follow(api: &Api, node: &str, line: &mut Line) -> Result<Result<String, String>, ClientError> {
    let mut follow = api.follow(None).await?;
    loop {
        let News::Status(status) = follow.next().await? else { continue };
        let here = |group: &&GroupStatus| group.node.as_ref().is_some_and(|owner| owner.0 == node);
        let left: Vec<&GroupStatus> = status.groups.iter().filter(here).collect();
        let is_drained = status.nodes.iter().any(|known| known.node.0 == node && known.drained);
        if !is_drained {
            return Ok(Err(format!("node {node} is not drained any more")));
        }
        if left.is_empty() {
            return Ok(Ok(format!("no group is on node {node}{}", members(&status, node))));
        }
        if left.iter().all(|group| stays(group)) {
            let why: Vec<String> =
                left.iter().map(|group| format!("group {} stays: {}", group.group, group.reason)).collect();
            return Ok(Err(format!("node {node} is not empty: {}", why.join("; "))));
        }
        let text: Vec<String> = left
            .iter()
            .map(|group| format!("{} is {} ({})", group.group, group.state, group.reason))
            .collect();
        line.show(&format!("on node {node}: {}", text.join("; ")));
    }
}

/// Whether nothing will come of waiting for the group to leave.
fn stays(group: &GroupStatus) -> bool {
    if group.is_frozen || group.state == GroupCondition::Failed {
        return true;
    }
    let has_other = group.why.iter().any(|why| why.is_able && Some(&why.node) != group.node.as_ref());
    group.state == GroupCondition::Online && !has_other
}

/// What its members still have to do.
fn members(status: &CellStatus, node: &str) -> String {
    let all = status.clusters.iter().flat_map(|cluster| &cluster.members);
    let here: Vec<_> = all.filter(|member| member.node.0 == node).collect();
    if here.is_empty() {
        return String::new();
    }
    let under_way: u64 = here.iter().map(|member| member.in_flight).sum();
    format!("; its {} members take no new conversations, {under_way} requests are under way", here.len())
}
