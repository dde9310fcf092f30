//! `muster rehearse`: what the loss of each node, pair, link, manager and member would do, before it does it.
//!
//! Needs no cell: the file is enough; `--running` asks a cell for the configuration in force and rehearses that. Changes
//! nothing anywhere. The rehearsal itself is `logic::rehearse`; here it is spread over the cores and told.
//! Not here: how a loss is judged.

mod print;
#[cfg(test)]
mod tests;

use super::client::{Api, ClientError, Target, fail, run as run_until_done};
use super::{Exit, print as print_data};
use crate::config::{self, Problems};
use logic::rehearse::{Loss, Outcome, Rehearsal};
use serde_json::json;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wire::settings::CellSettings;
use wire::status::ConfigText;

const EXAMPLES: &str = "\
Examples:
  muster rehearse                       the file that muster run would read
  muster rehearse new.toml              a file that shall be applied
  muster rehearse --running             the configuration that is in force
  muster rehearse --only node           each node, and nothing else
  muster rehearse --only node:db-1      what becomes of everything on db-1
  muster rehearse --all                 also each pair and link that does no harm

Exit codes:
  0  everything is saved by itself
  1  something is not
  2  wrong use, or the file is not right
  3  the cell was not reached
  4  Muster's fault";

/// Threads that rehearse. Eight: the largest cell then takes seconds.
const THREADS_MAX: usize = 8;
/// How long it works before it says how far it is.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// Names that are listed when one is wrong.
const NAMED_MAX: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration [default: ./muster.toml, else /etc/muster/muster.toml]
    #[arg(value_name = "CONFIG", conflicts_with = "running")]
    file: Option<PathBuf>,
    /// The configuration in force in a running cell
    #[arg(long)]
    running: bool,
    /// Only these losses: boot, manager, node, pair, link, group or member, with a name after a colon or without
    #[arg(long, value_name = "KIND[:NAME]")]
    only: Vec<String>,
    /// Tell each loss, also those that do no harm
    #[arg(long)]
    all: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What was found out.
#[derive(Debug)]
pub struct Findings {
    pub outcomes: Vec<Outcome>,
    pub cautions: Vec<String>,
}

pub fn run(args: Args) -> Exit {
    let settings = match read(&args) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let findings = match rehearse(&settings, &args.only) {
        Ok(findings) => findings,
        Err(message) => {
            eprintln!("{message}");
            return Exit::WrongUse;
        }
    };
    let is_saved = findings.outcomes.iter().all(Outcome::is_saved);
    let text = match args.json {
        true => as_json(&settings, &findings),
        false => print::tell(&settings, &findings, args.all),
    };
    match print_data(text.as_bytes()) {
        Exit::Yes if !is_saved => Exit::No,
        exit => exit,
    }
}

fn read(args: &Args) -> Result<CellSettings, Exit> {
    let wrong = |problems: Problems| {
        eprintln!("{problems}");
        Exit::WrongUse
    };
    if !args.running {
        let path = args.file.clone().unwrap_or_else(config::default_path);
        return config::load(&path).map(|(settings, _)| settings).map_err(wrong);
    }
    let asking = async {
        let found: ConfigText = Api::find(&args.target)?.get("/api/v1/config").await?;
        Ok::<_, ClientError>(found)
    };
    let found = run_until_done(asking).map_err(|error| fail(&error, args.json))?;
    config::parse(&found.text, "the configuration in force").map_err(wrong)
}

/// All losses that are wanted, with what came of them, in order. The error is for people.
fn rehearse(settings: &CellSettings, only: &[String]) -> Result<Findings, String> {
    let rehearsal = Rehearsal::new(settings);
    let losses = chosen(rehearsal.losses(), only)?;
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(losses.len())));
    let (begun, shows) = (Instant::now(), std::io::stderr().is_terminal());
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(loss) = losses.get(place) else { return };
            let outcome = rehearsal.rehearse(loss);
            let mut done = done.lock().expect("nobody panics while holding it");
            done.push((place, outcome));
            if shows && begun.elapsed() >= SILENT_FOR {
                eprint!("\rrehearsed {} of {} losses", done.len(), losses.len());
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    if shows && begun.elapsed() >= SILENT_FOR {
        eprintln!();
    }
    let mut done = done.into_inner().expect("nobody panics while holding it");
    done.sort_by_key(|(place, _)| *place);
    let outcomes = done.into_iter().map(|(_, outcome)| outcome).collect();
    Ok(Findings { outcomes, cautions: rehearsal.cautions() })
}

/// Those that the words name; all without words.
fn chosen(losses: Vec<Loss>, only: &[String]) -> Result<Vec<Loss>, String> {
    let mut is_wanted = vec![only.is_empty(); losses.len()];
    for word in only {
        let (kind, name) =
            word.split_once(':').map_or((word.as_str(), None), |(kind, name)| (kind, Some(name)));
        if !Loss::KINDS.contains(&kind) {
            return Err(format!("there is no kind of loss {kind:?}; there is {}", Loss::KINDS.join(", ")));
        }
        let of_kind: Vec<usize> = (0..losses.len()).filter(|place| losses[*place].kind() == kind).collect();
        let meant = |place: &&usize| name.is_none_or(|name| is_named(&losses[**place], name));
        let meant: Vec<usize> = of_kind.iter().filter(meant).copied().collect();
        if meant.is_empty() {
            let names: Vec<String> =
                of_kind.iter().take(NAMED_MAX).map(|place| losses[*place].name()).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join("; ") };
            return Err(format!(
                "nothing can be lost that is called {word:?}; of that kind there is {there}"
            ));
        }
        meant.into_iter().for_each(|place| is_wanted[place] = true);
    }
    Ok(losses.into_iter().zip(is_wanted).filter(|(_, is_wanted)| *is_wanted).map(|(loss, _)| loss).collect())
}

/// Pairs and links have their ends in any order, and one end stands for all with it.
fn is_named(loss: &Loss, name: &str) -> bool {
    match loss {
        Loss::Pair(one, two) | Loss::Link(one, two) => match name.split_once(',') {
            Some((first, second)) => {
                (one.0 == first && two.0 == second) || (one.0 == second && two.0 == first)
            }
            None => one.0 == name || two.0 == name,
        },
        Loss::Boot | Loss::Node(_) | Loss::Manager(_) | Loss::Group(_) | Loss::Member(..) => {
            loss.name() == name
        }
    }
}

fn as_json(settings: &CellSettings, findings: &Findings) -> String {
    let losses = findings.outcomes.iter().map(|outcome| {
        let mut value = serde_json::to_value(outcome).expect("an outcome has only names as keys");
        value["loss"] = json!({ "kind": outcome.loss.kind(), "name": outcome.loss.name() });
        value["saved"] = json!(outcome.is_saved());
        value
    });
    let losses: Vec<_> = losses.collect();
    let is_saved = findings.outcomes.iter().all(Outcome::is_saved);
    let all = json!({
        "cell": settings.name,
        "profile": settings.manager.profile,
        "saved": is_saved,
        "losses": losses,
        "cautions": findings.cautions,
    });
    format!("{all:#}\n")
}
