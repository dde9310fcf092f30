//! `muster plugin-cfg`: judge, merge, compare, explain and write the files of the WebSphere plug-in.
//!
//! Answers go to stdout, talk to stderr. What a file means is decided in `logic::plugin_cfg`.

mod check;
mod diff;
mod explain;
mod merge;
mod write;

use super::Exit;
use logic::limits::PLUGIN_CFG_SIZE_MAX_BYTES;
use logic::plugin_cfg::{self, Document};
use std::io::Read as _;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  muster plugin-cfg check plugin-cfg.xml                     what is wrong with it, and what to do
  muster plugin-cfg explain http://shop/cart plugin-cfg.xml  where a request would go, and why
  muster plugin-cfg diff old.xml new.xml                     what a change does
  muster plugin-cfg merge a.xml b.xml --output merged.xml    several cells as one
  muster plugin-cfg write plugin-cfg.xml                     the running cell as a file";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say what is wrong with a file, what will surprise, and what to do about it
    Check(check::Args),
    /// Make one file of several, so that what they share is served by the servers of all
    Merge(merge::Args),
    /// Compare two files by where requests go and with which settings
    Diff(diff::Args),
    /// Say where a request would go by a file, and why
    Explain(explain::Args),
    /// Write a file that says what the running cell is
    Write(write::Args),
}

pub fn run(args: Args) -> Exit {
    match args.command {
        Command::Check(args) => check::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Write(args) => write::run(&args),
    }
}

/// Why there is nothing to judge.
#[derive(Debug)]
enum Failure {
    /// The file is not there or cannot be read: wrong use.
    NoFile(String),
    /// It is there and is no plugin-cfg.xml: the answer is no.
    NotReadable(String),
}

impl Failure {
    fn tell(&self, json: bool) -> Exit {
        let (text, exit) = match self {
            Failure::NoFile(text) => (text, Exit::WrongUse),
            Failure::NotReadable(text) => (text, Exit::No),
        };
        if json {
            let body = serde_json::json!({ "ok": false, "error": text });
            super::print(format!("{body:#}\n").as_bytes());
        } else {
            eprintln!("{}", super::table::plain(text));
        }
        exit
    }
}

/// The file's document; `-` is standard input.
fn load(path: &Path) -> Result<Document, Failure> {
    let name = name(path);
    let bytes = read(path).map_err(|error| Failure::NoFile(format!("{name} cannot be read: {error}")))?;
    plugin_cfg::read(&bytes).map_err(|error| Failure::NotReadable(format!("{name}: {error}")))
}

fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    // One more than is allowed, so that a longer file is refused and not cut.
    let bound = PLUGIN_CFG_SIZE_MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(bound).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(bound).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Where an answer that is a file goes.
#[derive(Debug, clap::Args)]
struct Output {
    /// The file to write, whole or not at all; the old one stays beside it as FILE.last-good [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes a file that was made here, after it was read back.
fn publish(path: &Path, text: &str) -> Exit {
    match crate::compat::plugin_cfg_file::publish(path, text) {
        Ok(_) => Exit::Yes,
        Err(error) => {
            eprintln!("{}", super::table::plain(&error.told()));
            Exit::WrongUse
        }
    }
}
