//! `muster plugin-cfg diff`: what is different between two files, not how it is written.

use super::super::table::plain;
use super::super::{Exit, print};
use super::{Failure, load};
use logic::plugin_cfg::diff::{Difference, Differences, diff};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  muster plugin-cfg diff plugin-cfg.xml.last-good plugin-cfg.xml
  muster plugin-cfg diff --routes-only expected.xml merged.xml

Names of groups and clusters, order, comments and written-out defaults make no difference. Where requests go is shown as
virtual host, URI and the CloneIDs of the servers before and after.

Exit codes: 0 no difference, 1 differences, 2 wrong use.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file as it was
    old: PathBuf,
    /// The file as it is
    new: PathBuf,
    /// Compare only where requests go
    #[arg(long)]
    routes_only: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Exit {
    let differences = match compare(args) {
        Ok(differences) => differences,
        // Of files that cannot be read nothing is known, so it is not the answer no.
        Err(failure) => {
            failure.tell(args.json);
            return Exit::WrongUse;
        }
    };
    let text = if args.json { as_json(&differences) } else { tell(&differences) };
    match print(text.as_bytes()) {
        Exit::Yes if !differences.is_empty() => Exit::No,
        exit => exit,
    }
}

fn compare(args: &Args) -> Result<Differences, Failure> {
    let (old, new) = (load(&args.old)?, load(&args.new)?);
    let mut differences = diff(&old, &new).map_err(|error| Failure::NotReadable(error.to_string()))?;
    if args.routes_only {
        differences.settings.clear();
    }
    Ok(differences)
}

fn as_json(differences: &Differences) -> String {
    let list = |differences: &[Difference]| -> Vec<_> {
        let one = |one: &Difference| json!({ "what": one.what, "old": one.left, "new": one.right });
        differences.iter().map(one).collect()
    };
    let value = json!({
        "same": differences.is_empty(),
        "routes": list(&differences.routes),
        "settings": list(&differences.settings),
    });
    format!("{value:#}\n")
}

fn tell(differences: &Differences) -> String {
    if differences.is_empty() {
        return "no difference\n".into();
    }
    let mut text = String::new();
    for (title, list) in
        [("Where requests go", &differences.routes), ("With which settings", &differences.settings)]
    {
        if !list.is_empty() {
            writeln!(text, "{title}").expect("a String takes any text");
        }
        for difference in list {
            writeln!(text, "  {difference}").expect("a String takes any text");
        }
    }
    plain(&text)
}
