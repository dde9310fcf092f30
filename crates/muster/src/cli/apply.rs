//! `muster apply`: changes a running cell to a new configuration, all or nothing.
//!
//! The cell judges the file; this command sends it and tells the differences.

use super::client::{Api, ClientError, Target, fail, run as run_until_done};
use super::table::plain;
use super::{Exit, print};
use crate::config;
use std::io::Read as _;
use std::path::PathBuf;
use wire::status::Applied;

const EXAMPLES: &str = "\
Examples:
  muster apply muster.toml --dry-run   what would change
  muster apply muster.toml             change it, without a dropped connection
  muster apply muster.toml --if-revision 7   only if nobody was faster; `muster config log` shows the numbers
  generate | muster apply - --config muster.toml

Exit codes:
  0  done
  1  the configuration was refused and nothing changed
  2  wrong use
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The new configuration; - reads standard input. It also tells where the cell is, unless --config or --api do
    file: PathBuf,
    /// Only tell what would change
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Refuse unless this revision is in force: nobody's change that came in between is undone
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
    if_revision: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(args: Args) -> Exit {
    let applied = read(&args).and_then(|text| run_until_done(send(&args, text)));
    let applied = match applied {
        Ok(applied) => applied,
        // A file that is wrong is the answer no, wherever it was found out.
        Err(error @ ClientError::Config(_)) => {
            fail(&error, args.json);
            return Exit::No;
        }
        Err(error) => return fail(&error, args.json),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&applied).expect("an answer has only names as keys") + "\n"
    } else {
        tell(&applied, args.dry_run)
    };
    print(text.as_bytes())
}

fn read(args: &Args) -> Result<String, ClientError> {
    let name = args.file.display();
    let wrong = |error: std::io::Error| ClientError::WrongUse(format!("{name} cannot be read: {error}"));
    let mut bytes = Vec::new();
    let bound = config::SIZE_MAX_BYTES as u64 + 1;
    if args.file.as_os_str() == "-" {
        std::io::stdin().lock().take(bound).read_to_end(&mut bytes).map_err(wrong)?;
    } else {
        let file = std::fs::File::open(&args.file).map_err(wrong)?;
        file.take(bound).read_to_end(&mut bytes).map_err(wrong)?;
    }
    // The same words and lines here as at the cell, and nothing is sent for a typing error.
    let name = if args.file.as_os_str() == "-" { "standard input".into() } else { name.to_string() };
    let text = config::text_of(bytes, &name).map_err(ClientError::Config)?;
    config::parse(&text, &name).map_err(ClientError::Config)?;
    Ok(text)
}

async fn send(args: &Args, text: String) -> Result<Applied, ClientError> {
    let mut target = args.target.clone();
    let is_named = target.api.is_some() || std::env::var_os("MUSTER_API").is_some();
    if target.config.is_none() && !is_named && args.file.as_os_str() != "-" {
        target.config = Some(args.file.clone());
    }
    let dry_run = args.dry_run.then(|| "dry_run=true".to_owned());
    let if_revision = args.if_revision.map(|revision| format!("if_revision={revision}"));
    let query: Vec<String> = dry_run.into_iter().chain(if_revision).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    Api::find(&target)?.post(&format!("/api/v1/config{query}"), text).await
}

fn tell(applied: &Applied, dry_run: bool) -> String {
    let mut text = String::new();
    for change in &applied.changes {
        text.push_str(&format!("{change}\n"));
    }
    let count = applied.changes.len();
    let in_place = applied.replaced.map_or(String::new(), |before| format!(", in place of {before}"));
    text.push_str(&match (count, dry_run) {
        (0, _) => format!("nothing differs from configuration {}\n", applied.revision),
        (1, true) => "1 change would be made; nothing has changed\n".into(),
        (_, true) => format!("{count} changes would be made; nothing has changed\n"),
        (1, false) => format!("1 change made; this is configuration {}{in_place}\n", applied.revision),
        (_, false) => {
            format!("{count} changes made; this is configuration {}{in_place}\n", applied.revision)
        }
    });
    plain(&text)
}

#[cfg(test)]
mod tests;
