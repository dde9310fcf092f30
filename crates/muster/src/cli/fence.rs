//! `muster fence`: what could switch nodes off and whether it answers; try it, and do it.

use super::client::{Api, ClientError, Target, fail, run as run_until_done};
use super::cluster::confirm;
use super::table::{self, Cell, Paint, Side, Style, cell, one_line, plain, styled};
use super::{Exit, listed, print};
use wire::fence::{FenceState, FenceStatus};
use wire::id::is_valid_name;
use wire::status::{Acted, CellStatus};

const EXAMPLES: &str = "\
Examples:
  muster fence list              what could switch which node off, and whether it answers
  muster fence test board-1      ask now; the list shows what it said
  muster fence off db-1          switch a node off, whatever runs there

Exit codes:
  0  every fence answers; begun
  1  one does not; refused
  2  wrong use
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Show what could switch which node off, and whether it answers
    List(ListArgs),
    /// Ask a fence whether it could switch its nodes off; this switches nothing
    Test(TestArgs),
    /// Switch a node off with its fences, whatever runs there; it stays off
    Off(OffArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print a JSON list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    /// The fence
    fence: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct OffArgs {
    /// The node
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
        Act::List(args) => list(&args),
        Act::Test(args) => {
            let work = begin(&args.target, ("fence", &args.fence), "fences", "test", args.json);
            run_until_done(work).unwrap_or_else(|error| fail(&error, args.json))
        }
        Act::Off(args) => run_until_done(off(&args)).unwrap_or_else(|error| fail(&error, args.json)),
    }
}

fn list(args: &ListArgs) -> Exit {
    let asking = async { Api::find(&args.target)?.get::<CellStatus>("/api/v1/status").await };
    let status = match run_until_done(asking) {
        Ok(status) => status,
        Err(error) => return fail(&error, args.json),
    };
    let none = "there are no fences: the configuration has no table [fences.NAME]";
    let table = || list_table(&status.fences, status.now_ms, Paint::of_stdout());
    let text = listed(&status.fences, args.json, none, table);
    let is_bad = |fence: &FenceStatus| match fence.state {
        FenceState::Failing => true,
        FenceState::Unknown | FenceState::Ready | FenceState::Fencing => false,
    };
    match print(text.as_bytes()) {
        Exit::Yes if status.fences.iter().any(is_bad) => Exit::No,
        exit => exit,
    }
}

fn list_table(fences: &[FenceStatus], now_ms: u64, paint: Paint) -> String {
    let heads = [
        ("FENCE", Side::Left),
        ("NODE", Side::Left),
        ("STATE", Side::Left),
        ("CHECKED", Side::Left),
        ("REASON", Side::Left),
    ];
    let row = |fence: &FenceStatus| {
        let style = match fence.state {
            FenceState::Ready => Style::Good,
            FenceState::Unknown => Style::Plain,
            FenceState::Failing | FenceState::Fencing => Style::Bad,
        };
        let checked = match fence.checked_ms {
            Some(at_ms) => format!("{} s ago", now_ms.saturating_sub(at_ms) / 1_000),
            None => "never".to_owned(),
        };
        vec![
            cell(fence.fence.0.as_str()),
            cell(fence.node.0.as_str()),
            styled(fence.state.to_string(), style),
            cell(checked),
            cell(one_line(&fence.reason)),
        ]
    };
    let rows: Vec<Vec<Cell>> = fences.iter().map(row).collect();
    table::table(paint, 0, &heads, &rows)
}

async fn off(args: &OffArgs) -> Result<Exit, ClientError> {
    let question = format!("Switch node {} off, with everything that runs there?", args.node);
    if !args.yes && !confirm(&question)? {
        eprintln!("nothing was changed");
        return Ok(Exit::No);
    }
    begin(&args.target, ("node", &args.node), "nodes", "off", args.json).await
}

async fn begin(
    target: &Target,
    (what, name): (&str, &str),
    under: &str,
    act: &str,
    json: bool,
) -> Result<Exit, ClientError> {
    if !is_valid_name(name) {
        return Err(ClientError::WrongUse(format!("{name:?} is no name of a {what}")));
    }
    let path = format!("/api/v1/{under}/{name}/{act}");
    let done: Acted = Api::find(target)?.post(&path, String::new()).await?;
    if json {
        let text = serde_json::to_string(&done).expect("it has only names as keys");
        return Ok(print(format!("{text}\n").as_bytes()));
    }
    eprintln!("{}; `muster fence list` shows how it goes", plain(&done.text));
    Ok(Exit::Yes)
}
