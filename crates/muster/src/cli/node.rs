//! `muster node`: the machines of the cell, whether they are heard, and who may become one.

mod empty;
mod lost;
mod power;

pub use empty::{ask as ask_of_node, see_empty};

use super::client::{Api, ClientError, Target, fail, run as run_until_done};
use super::cluster::confirm;
use super::status::told_if_stale;
use super::table::{self, Paint, plain};
use super::time::time_ms;
use super::{Exit, print};
use wire::enrol::IssuedToken;
use wire::id::is_valid_name;
use wire::node::PowerAct;
use wire::status::Acted;

const EXAMPLES: &str = "\
Examples:
  muster node
  muster node --json | jq '.[] | select((.connected | not) or .left_out)'
  muster node token web-2            what to type on the machine that shall be node web-2
  muster node token web-2 --valid 15m
  muster node drain web-2 --dry-run  where its groups would go
  muster node drain web-2            empty it, and see that through
  muster node undrain web-2          it may be used again
  muster node maintenance web-2 on   leave it alone while somebody works on it
  muster node reboot web-2           its groups go elsewhere, then its machine is rebooted
  muster node confirm-lost web-2     it fell silent with many others, and is really lost
  muster node remove web-2           its machine is cut off at once

Exit codes:
  0  all machines are heard; done
  1  one is not connected, or cannot be reached; refused
  2  wrong use
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    act: Option<Act>,
    /// Print a JSON list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Print a one-time token with which a machine becomes a node of the configuration
    Token(TokenArgs),
    /// Empty a node: its groups go elsewhere, its members take no new conversations
    Drain(empty::DrainArgs),
    /// Use a drained node again
    Undrain(empty::UndrainArgs),
    /// Leave a node alone, or look after it again: its monitors pause, and nothing moves because of it
    Maintenance(empty::MaintenanceArgs),
    /// Reboot a node's machine, once its groups have ended there
    Reboot(power::PowerArgs),
    /// Shut a node's machine down, once its groups have ended there
    Shutdown(power::PowerArgs),
    /// A person has looked: nodes that fell silent together with many others are lost
    ConfirmLost(lost::LostArgs),
    /// Cut a node's machine off: its connections end and its certificate counts no longer
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
struct TokenArgs {
    /// The node that the machine shall be
    node: String,
    /// How long the token can be used: a number with s, m, h or d, up to 30d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = valid_ms)]
    valid: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// The node whose machine is to be cut off
    node: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(args: Args) -> Exit {
    match args.act {
        None => list(&args),
        Some(Act::Token(args)) => {
            run_until_done(token(&args)).unwrap_or_else(|error| fail(&error, args.json))
        }
        Some(Act::Drain(args)) => {
            run_until_done(empty::drain(&args)).unwrap_or_else(|error| fail(&error, args.how.json))
        }
        Some(Act::Undrain(args)) => {
            run_until_done(empty::undrain(&args)).unwrap_or_else(|error| fail(&error, args.how.json))
        }
        Some(Act::Maintenance(args)) => {
            run_until_done(empty::maintain(&args)).unwrap_or_else(|error| fail(&error, args.how.json))
        }
        Some(Act::Reboot(args)) => end_machine(&args, PowerAct::Reboot),
        Some(Act::Shutdown(args)) => end_machine(&args, PowerAct::Shutdown),
        Some(Act::ConfirmLost(args)) => {
            run_until_done(lost::confirm_lost(&args)).unwrap_or_else(|error| fail(&error, args.json))
        }
        Some(Act::Remove(args)) => {
            run_until_done(remove(&args)).unwrap_or_else(|error| fail(&error, args.json))
        }
    }
}

fn end_machine(args: &power::PowerArgs, act: PowerAct) -> Exit {
    run_until_done(power::end(args, act)).unwrap_or_else(|error| fail(&error, args.json))
}

fn list(args: &Args) -> Exit {
    let asking = async { Api::find(&args.target)?.status().await };
    let status = match run_until_done(asking) {
        Ok(status) => status,
        Err(error) => return fail(&error, args.json),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&status.nodes).expect("nodes have only names as keys") + "\n"
    } else {
        format!(
            "{}{}",
            table::staleness(&status, Paint::of_stdout()),
            table::nodes(&status, Paint::of_stdout())
        )
    };
    match print(text.as_bytes()) {
        exit if status.stale_since_ms.is_some() => told_if_stale(&status, exit),
        Exit::Yes if status.nodes.iter().any(|node| !node.connected || node.left_out) => Exit::No,
        exit => exit,
    }
}

fn valid_ms(text: &str) -> Result<u64, String> {
    time_ms(text, 30)
}

fn check_name(node: &str) -> Result<(), ClientError> {
    match is_valid_name(node) {
        true => Ok(()),
        false => Err(ClientError::WrongUse(format!("{node:?} is no name of a node"))),
    }
}

async fn token(args: &TokenArgs) -> Result<Exit, ClientError> {
    check_name(&args.node)?;
    let path = format!("/api/v1/nodes/{}/token?valid_ms={}", args.node, args.valid);
    let issued: IssuedToken = Api::find(&args.target)?.post(&path, String::new()).await?;
    if args.json {
        let text = serde_json::to_string(&issued).expect("a token has only names as keys");
        return Ok(print(format!("{text}\n").as_bytes()));
    }
    let valid_s = args.valid / 1_000;
    if issued.replaces {
        eprintln!(
            "note: a machine is node {} already; the one that uses this token takes its place",
            plain(&issued.node.0)
        );
    }
    if issued.others > 0 {
        let count = issued.others;
        eprintln!(
            "note: {count} more of this node's tokens can still be used; each use throws the one before out"
        );
    }
    eprintln!("On the machine that shall be node {}, once and within {valid_s} s:", plain(&issued.node.0));
    Ok(print(format!("muster join {} {}\n", plain(&issued.manager), plain(&issued.token)).as_bytes()))
}

async fn remove(args: &RemoveArgs) -> Result<Exit, ClientError> {
    check_name(&args.node)?;
    let api = Api::find(&args.target)?;
    let question = format!("Cut the machine of node {} off? It needs a new token to come back.", args.node);
    if !args.yes && !confirm(&question)? {
        eprintln!("nothing was changed");
        return Ok(Exit::No);
    }
    let done: Acted = api.post(&format!("/api/v1/nodes/{}/remove", args.node), String::new()).await?;
    if args.json {
        let text = serde_json::to_string(&done).expect("it has only names as keys");
        return Ok(print(format!("{text}\n").as_bytes()));
    }
    eprintln!("{}", plain(&done.text));
    Ok(Exit::Yes)
}
