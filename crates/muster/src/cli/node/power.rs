//! `muster node reboot` and `muster node shutdown`: says what would follow, asks, and has it done.

use super::check_name;
use crate::cli::Exit;
use crate::cli::client::{Api, ClientError, Target, is_code};
use crate::cli::cluster::{confirm, tell};
use crate::cli::table::plain;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use wire::error_code::NODE_POWER_UNCONFIRMED;
use wire::node::PowerAct;
use wire::status::Acted;

const EXAMPLES: &str = "\
Examples:
  muster node reboot web-2 --dry-run        where its groups would go
  muster node reboot web-2 --yes            in a script
  muster node shutdown web-2 --confirm web-2  also where something would be without a node

All groups of the node end in their order and go elsewhere, as a failover; then `reboot_command` or `shutdown_command` of the
node is run there. Where that fails the node goes on, which an event tells (`node-power`). A node that is back takes groups
again; drain it before if it shall not.

Exit codes: 0 it has begun, 1 refused, 2 wrong use, 3 the cell was not reached, 4 Muster's fault.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PowerArgs {
    /// The node
    node: String,
    /// Do not ask; still refused where a group, or the cell, would be without a node
    #[arg(long, short)]
    yes: bool,
    /// The node's name once more: do not ask, and do it also where something would be without a node
    #[arg(long, value_name = "NODE")]
    confirm: Option<String>,
    /// Only say what would follow
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    target: Target,
}

pub async fn end(args: &PowerArgs, act: PowerAct) -> Result<Exit, ClientError> {
    let node = &args.node;
    check_name(node)?;
    if let Some(name) = args.confirm.as_ref().filter(|name| *name != node) {
        return Err(ClientError::WrongUse(format!("--confirm {name} is not the name of the node: {node}")));
    }
    let api = Api::find(&args.target)?;
    let mut is_confirmed = args.confirm.is_some();
    if args.dry_run {
        return Ok(tell(args.json, &ask(&api, node, act, true, is_confirmed).await?));
    }
    if !args.yes && !is_confirmed {
        let is_granted = match ask(&api, node, act, true, false).await {
            Ok(text) => {
                eprintln!("{}", plain(&text));
                confirm(&format!("{}?", question(node, act)))?
            }
            Err(error) if is_code(&error, NODE_POWER_UNCONFIRMED) && std::io::stdin().is_terminal() => {
                eprintln!("{}", plain(&ask(&api, node, act, true, true).await?));
                is_confirmed = typed(node, act)?;
                is_confirmed
            }
            Err(error) => return Err(error),
        };
        if !is_granted {
            eprintln!("nothing was changed");
            return Ok(Exit::No);
        }
    }
    Ok(tell(args.json, &ask(&api, node, act, false, is_confirmed).await?))
}

async fn ask(
    api: &Api,
    node: &str,
    act: PowerAct,
    dry_run: bool,
    is_confirmed: bool,
) -> Result<String, ClientError> {
    let confirm = if is_confirmed { format!("&confirm={node}") } else { String::new() };
    let path = format!("/api/v1/nodes/{node}/{}?dry_run={dry_run}{confirm}", act.name());
    let acted: Acted = api.post(&path, String::new()).await?;
    Ok(acted.text)
}

fn question(node: &str, act: PowerAct) -> String {
    match act {
        PowerAct::Reboot => format!("Reboot the machine of node {node}"),
        PowerAct::Shutdown => format!("Shut the machine of node {node} down"),
    }
}

/// Asks for the node's name at the terminal.
fn typed(node: &str, act: PowerAct) -> Result<bool, ClientError> {
    let system = |source| ClientError::System { source };
    eprint!("{} all the same? Type its name: ", question(node, act));
    std::io::stderr().flush().map_err(system)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(system)?;
    Ok(answer.trim() == node)
}
