//! `muster import`: makes a configuration of Muster from that of another product.
//!
//! The file is only read. What is made goes to standard output, what was not taken to standard error.

use super::table::plain;
use super::{Exit, print};
use crate::config;
use logic::clp_conf::{self, Imported};
use logic::limits::PLUGIN_CFG_SIZE_MAX_BYTES;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use wire::error_code;

const EXAMPLES: &str = "\
Examples:
  muster import clp.conf /opt/nec/clusterpro/etc/clp.conf > muster.toml
  muster import clp.conf saved/clp.conf --scripts /etc/muster/scripts > muster.toml
  muster check muster.toml

What was not taken is told on standard error, as FILE: line, column: what: why. Read it before you apply the result.

Exit codes:
  0  the configuration was made
  1  the file could not be read as clp.conf, or what was made of it is not right yet
  2  wrong use";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The cluster configuration of ExpressCluster
    #[command(name = "clp.conf")]
    ClpConf(ClpConf),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct ClpConf {
    /// The file clp.conf
    file: PathBuf,
    /// Where its directory `scripts` lies on every machine [default: beside the file]
    #[arg(long, value_name = "DIR")]
    scripts: Option<PathBuf>,
}

pub fn run(args: &Args) -> Exit {
    let What::ClpConf(args) = &args.what;
    let name = plain(&args.file.display().to_string());
    let bytes = match read(&args.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{}: {name} cannot be read: {error}", error_code::IMPORT_FAILED);
            return Exit::No;
        }
    };
    let scripts = scripts(args);
    let Some(scripts) = scripts.to_str() else {
        eprintln!("--scripts: a directory whose name is not text cannot stand in a configuration");
        return Exit::WrongUse;
    };
    let Imported { text, notes, left_out } = match clp_conf::import(&bytes, scripts) {
        Ok(imported) => imported,
        Err(error) => {
            eprintln!("{}: {name}: {}", error_code::IMPORT_FAILED, plain(&error.to_string()));
            return Exit::No;
        }
    };
    for note in &notes {
        eprintln!("{name}: {}", plain(&note.to_string()));
    }
    if left_out > 0 {
        eprintln!("{name}: and {left_out} more that were not taken");
    }
    let exit = print(text.as_bytes());
    match (exit, config::parse(&text, "the configuration made")) {
        (Exit::Yes, Err(problems)) => {
            eprintln!("{}", plain(&problems.to_string()));
            Exit::No
        }
        (exit, _) => exit,
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than is taken, so that a file that is too long is told as that.
    let bound = PLUGIN_CFG_SIZE_MAX_BYTES as u64 + 1;
    std::fs::File::open(path)?.take(bound).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An absolute path, as the configuration needs it.
fn scripts(args: &ClpConf) -> PathBuf {
    let beside = || args.file.parent().unwrap_or(Path::new("")).join("scripts");
    let path = args.scripts.clone().unwrap_or_else(beside);
    std::path::absolute(&path).unwrap_or(path)
}
