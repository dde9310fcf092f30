//! `muster node`: the machines of the cell, and whether their agents are heard.

use super::client::{Api, Target, fail, run as run_until_done};
use super::table::{self, Paint};
use super::{Exit, print};
use wire::status::CellStatus;

const EXAMPLES: &str = "\
Examples:
  muster node
  muster node --json | jq '.[] | select(.connected | not)'

Exit codes:
  0  all agents are heard
  1  one is not
  2  wrong use
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print a JSON list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(args: Args) -> Exit {
    let asking = async { Api::find(&args.target)?.get::<CellStatus>("/api/v1/status").await };
    let status = match run_until_done(asking) {
        Ok(status) => status,
        Err(error) => return fail(&error, args.json),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&status.nodes).expect("nodes have only names as keys") + "\n"
    } else {
        table::nodes(&status, Paint::of_stdout())
    };
    match print(text.as_bytes()) {
        Exit::Yes if status.nodes.iter().any(|node| !node.connected) => Exit::No,
        exit => exit,
    }
}
