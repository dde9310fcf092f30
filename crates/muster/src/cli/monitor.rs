//! `muster monitor`: how monitored services are; pause and resume monitors, and let them fail as a drill.

use super::client::{Api, ClientError, Target, fail, run as run_until_done};
use super::table::{self, Paint, plain};
use super::time::time_ms;
use super::{Exit, listed, print};
use wire::id::is_valid_name;
use wire::monitor::MonitorState;
use wire::status::{Acted, CellStatus};

const EXAMPLES: &str = "\
Examples:
  muster monitor                     all of them; the same as muster monitor list
  muster monitor pause mail          while the mail server is looked after
  muster monitor resume mail         goes on, and ends a drill
  muster monitor fail mail           a drill: it fails for a minute, and nobody is asked
  muster monitor fail mail --for 10m

Exit codes:
  0  no monitor is in error; done
  1  one is; refused
  2  wrong use
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    act: Option<Act>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Show all monitors
    List(ListArgs),
    /// Make no more probes, until `resume`
    Pause(What),
    /// Make probes again, and end a drill
    Resume(What),
    /// A drill: let every probe fail for a while, without asking anybody
    Fail(FailArgs),
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
struct What {
    /// The monitor
    monitor: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct FailArgs {
    #[command(flatten)]
    what: What,
    /// How long: a number with s, m, h or d, up to 1d
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = drill_ms)]
    for_ms: u64,
}

fn drill_ms(text: &str) -> Result<u64, String> {
    time_ms(text, 1)
}

pub fn run(args: Args) -> Exit {
    match args.act {
        None => list(&args.list),
        Some(Act::List(args)) => list(&args),
        Some(Act::Pause(what)) => carry_out(&what, "pause"),
        Some(Act::Resume(what)) => carry_out(&what, "resume"),
        Some(Act::Fail(FailArgs { what, for_ms })) => carry_out(&what, &format!("fail?for_ms={for_ms}")),
    }
}

fn list(args: &ListArgs) -> Exit {
    let asking = async { Api::find(&args.target)?.get::<CellStatus>("/api/v1/status").await };
    let status = match run_until_done(asking) {
        Ok(status) => status,
        Err(error) => return fail(&error, args.json),
    };
    let none = "there are no monitors: the configuration has no table [monitors.NAME]";
    let text = listed(&status.monitors, args.json, none, || table::monitors(&status, Paint::of_stdout()));
    match print(text.as_bytes()) {
        Exit::Yes if status.monitors.iter().any(|monitor| monitor.state == MonitorState::Error) => Exit::No,
        exit => exit,
    }
}

fn carry_out(what: &What, act: &str) -> Exit {
    run_until_done(ask(what, act)).unwrap_or_else(|error| fail(&error, what.json))
}

async fn ask(what: &What, act: &str) -> Result<Exit, ClientError> {
    if !is_valid_name(&what.monitor) {
        return Err(ClientError::WrongUse(format!("{:?} is no name of a monitor", what.monitor)));
    }
    let path = format!("/api/v1/monitors/{}/{act}", what.monitor);
    let done: Acted = Api::find(&what.target)?.post(&path, String::new()).await?;
    if what.json {
        let text = serde_json::to_string(&done).expect("it has only names as keys");
        return Ok(print(format!("{text}\n").as_bytes()));
    }
    eprintln!("{}", plain(&done.text));
    Ok(Exit::Yes)
}
