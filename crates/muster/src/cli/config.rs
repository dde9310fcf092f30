//! `muster config`: the configurations that the cell has had: when they came and from whom, what differs, and going back.
//!
//! The cell keeps the texts and carries out the way back; comparing is done here, with the same rules by which the cell
//! says what an `apply` changes. Not here: a new configuration (see `apply`).

use super::client::{Api, ClientError, Target, fail, run as run_until_done};
use super::cluster::confirm;
use super::table::{Paint, Style, plain};
use super::{Exit, print};
use crate::config;
use logic::cell::changes;
use logic::log_pattern::rfc3339;
use logic::text_diff::unified;
use serde_json::json;
use wire::status::{Applied, ConfigRevision, ConfigText};

const EXAMPLES: &str = "\
Examples:
  muster config log                    who changed what and when, the newest last
  muster config show > muster.toml     the configuration in force
  muster config diff 3                 what has changed since configuration 3
  muster config diff 3 4
  muster config rollback 3 --dry-run   what going back would change
  muster config rollback 3

Exit codes:
  0  done; diff: nothing differs
  1  refused, and nothing changed; diff: something differs
  2  wrong use
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Show the history: revision, time, who it was, and what changed, a sentence each
    Log(LogArgs),
    /// Print the text of a configuration
    Show(ShowArgs),
    /// Say what differs between two configurations, in sentences and line by line
    Diff(DiffArgs),
    /// Put an earlier configuration in force again, as a new one
    Rollback(RollbackArgs),
}

#[derive(Debug, clap::Args)]
struct LogArgs {
    /// Show only so many, the newest; the cell keeps a hundred
    #[arg(long, short = 'n', value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    most: Option<u16>,
    /// Print a JSON list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Its revision, as in the log [default: the one in force]
    revision: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct DiffArgs {
    /// The revision to begin with
    old: u64,
    /// The revision to end with [default: the one in force]
    new: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct RollbackArgs {
    /// The revision whose text shall be in force again
    revision: u64,
    /// Only tell what would change
    #[arg(long, short = 'n')]
    dry_run: bool,
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
    let (done, json) = match args.act {
        Act::Log(args) => (run_until_done(log(&args)), args.json),
        Act::Show(args) => (run_until_done(show(&args)), args.json),
        Act::Diff(args) => (run_until_done(diff(&args)), args.json),
        Act::Rollback(args) => (run_until_done(rollback(&args)), args.json),
    };
    done.unwrap_or_else(|error| fail(&error, json))
}

fn print_json(value: &impl serde::Serialize) -> Exit {
    let text = serde_json::to_string_pretty(value).expect("it has only names as keys");
    print(format!("{text}\n").as_bytes())
}

async fn read(api: &Api, revision: Option<u64>) -> Result<ConfigText, ClientError> {
    match revision {
        Some(revision) => api.get(&format!("/api/v1/config/history/{revision}")).await,
        None => api.get("/api/v1/config").await,
    }
}

async fn log(args: &LogArgs) -> Result<Exit, ClientError> {
    let mut history: Vec<ConfigRevision> = Api::find(&args.target)?.get("/api/v1/config/history").await?;
    let skipped = args.most.map_or(0, |most| history.len().saturating_sub(usize::from(most)));
    history.drain(..skipped);
    if args.json {
        return Ok(print_json(&history));
    }
    let text: String = history.iter().map(|entry| log_entry(entry, Paint::of_stdout())).collect();
    Ok(print(text.as_bytes()))
}

fn log_entry(entry: &ConfigRevision, paint: Paint) -> String {
    let title = format!("{}  {}  {}", entry.revision, rfc3339(entry.at_ms), plain(&entry.who));
    let mut text = format!("{}\n", paint.dye(&title, Style::Bold));
    if let Some(revision) = entry.back_to {
        text += &format!("    back to configuration {revision}\n");
    }
    if entry.changes.is_empty() {
        text += "    nothing but its wording\n";
    }
    for change in &entry.changes {
        text += &format!("    {}\n", plain(change));
    }
    text
}

async fn show(args: &ShowArgs) -> Result<Exit, ClientError> {
    let found = read(&Api::find(&args.target)?, args.revision).await?;
    Ok(if args.json { print_json(&found) } else { print(found.text.as_bytes()) })
}

async fn diff(args: &DiffArgs) -> Result<Exit, ClientError> {
    let api = Api::find(&args.target)?;
    let (old, new) = (read(&api, Some(args.old)).await?, read(&api, args.new).await?);
    let lines = unified((&title(&old), &old.text), (&title(&new), &new.text));
    // An old text may be one that this version no longer understands; its lines can be compared all the same.
    let parse = |from: &ConfigText| config::parse(&from.text, &title(from));
    let sentences = parse(&old).and_then(|old| Ok(changes(&old, &parse(&new)?)));
    let (sentences, problem) = match sentences {
        Ok(sentences) => (sentences, None),
        Err(problems) => (Vec::new(), Some(problems.to_string())),
    };
    let printed = if args.json {
        let (old, new) = (old.revision, new.revision);
        print_json(
            &json!({ "old": old, "new": new, "changes": sentences, "problem": problem, "lines": lines }),
        )
    } else {
        print(tell_diff(&sentences, problem.as_deref(), &lines).as_bytes())
    };
    Ok(match printed {
        Exit::Yes if !lines.is_empty() => Exit::No,
        exit => exit,
    })
}

fn title(text: &ConfigText) -> String {
    format!("configuration {}", text.revision)
}

fn tell_diff(sentences: &[String], problem: Option<&str>, lines: &str) -> String {
    if lines.is_empty() {
        return "nothing differs\n".into();
    }
    let mut text: String = sentences.iter().map(|sentence| format!("{sentence}\n")).collect();
    match problem {
        Some(problem) => text += &format!("what this would change cannot be said: {problem}\n"),
        None if sentences.is_empty() => text += "nothing but the wording differs\n",
        None => {}
    }
    // Tabs steer no terminal, and the lines are those of the files.
    let parts: Vec<String> = format!("{text}\n{lines}").split('\t').map(plain).collect();
    parts.join("\t")
}

async fn rollback(args: &RollbackArgs) -> Result<Exit, ClientError> {
    let api = Api::find(&args.target)?;
    let path = format!("/api/v1/config/history/{}/rollback", args.revision);
    // What would change is told before anybody is asked, and refused before as well.
    let would: Applied = api.post(&format!("{path}?dry_run=true"), String::new()).await?;
    if args.dry_run {
        return Ok(if args.json { print_json(&would) } else { tell_rollback(&would, None) });
    }
    if !args.yes {
        for change in &would.changes {
            eprintln!("{}", plain(change));
        }
        if !confirm(&format!("Put configuration {} in force again?", args.revision))? {
            eprintln!("nothing was changed");
            return Ok(Exit::No);
        }
    }
    let applied: Applied = api.post(&path, String::new()).await?;
    if applied.revision == would.revision {
        eprintln!("configuration {} has this text already", applied.revision);
        return Ok(if args.json { print_json(&applied) } else { Exit::Yes });
    }
    let exit = if args.json { print_json(&applied) } else { tell_rollback(&applied, Some(args.revision)) };
    if exit == Exit::Yes {
        eprintln!(
            "`muster run` starts with the file that it is given: `muster config show` has the text to keep in it"
        );
    }
    Ok(exit)
}

/// `done`: back to this revision.
fn tell_rollback(applied: &Applied, done: Option<u64>) -> Exit {
    let mut text: String = applied.changes.iter().map(|change| format!("{}\n", plain(change))).collect();
    let count = match applied.changes.len() {
        0 => "nothing but the wording".to_owned(),
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    text += &match done {
        None => format!("{count} would be made; nothing has changed\n"),
        Some(old) => {
            format!("{count} made; this is configuration {}, with the text of {old}\n", applied.revision)
        }
    };
    print(text.as_bytes())
}
