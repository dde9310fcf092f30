//! `muster plugin-cfg merge`: one file of several.

use super::super::table::plain;
use super::super::{Exit, print};
use super::{Failure, Output, load, publish};
use logic::plugin_cfg::merge::{Input, merge};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  muster plugin-cfg merge cell-a.xml cell-b.xml > plugin-cfg.xml
  muster plugin-cfg merge cell-*.xml --output plugin-cfg.xml

A pair of virtual host and URI that several files have goes to the servers of exactly these files.
Settings are those of the first file; what is left out is told.

Exit codes: 0 done, 1 the files cannot be merged, 2 wrong use.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The files, two or more
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
    /// Print one JSON object with the notes, and the file's text unless --output is given
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Exit {
    let merged = match merge_files(args) {
        Ok(merged) => merged,
        Err(failure) => return failure.tell(args.json),
    };
    let text = merged.file.write();
    if let Some(path) = &args.output.output {
        match publish(path, &text) {
            Exit::Yes => {}
            exit => return exit,
        }
    }
    if args.json {
        let shown = args.output.output.is_none().then_some(&text);
        let value = serde_json::json!({ "ok": true, "notes": merged.notes, "text": shown });
        return print(format!("{value:#}\n").as_bytes());
    }
    for note in &merged.notes {
        eprintln!("note: {}", plain(note));
    }
    if args.output.output.is_some() { Exit::Yes } else { print(text.as_bytes()) }
}

fn merge_files(args: &Args) -> Result<logic::plugin_cfg::merge::Merged, Failure> {
    let mut documents = Vec::new();
    for path in &args.files {
        documents.push((super::name(path), load(path)?));
    }
    let inputs: Vec<Input> = documents.iter().map(|(label, document)| Input { label, document }).collect();
    merge(&inputs).map_err(|error| Failure::NotReadable(error.to_string()))
}
