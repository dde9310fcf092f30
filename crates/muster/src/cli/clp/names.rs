//! `muster install-names`: links in a directory, by which scripts find the commands of ExpressCluster.

use crate::cli::table::plain;
use crate::cli::{Exit, print};
use std::io;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  muster install-names /usr/sbin             clp_httpmon, clp_smtpmon, clpgrp, clpstat and the others
  muster install-names /usr/sbin --dry-run
  muster install-names /usr/sbin --remove

Each is a symbolic link to this binary. A file of that name that is something else is left as it is, and named.

Exit codes:
  0  every name is there (or, with --remove, none)
  1  at least one is in the way, or could not be made
  2  wrong use";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The directory, which must be there; scripts need it in their PATH
    directory: PathBuf,
    /// Take the links away again
    #[arg(long)]
    remove: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args) -> Exit {
    let binary = match std::env::current_exe() {
        Ok(binary) => binary,
        Err(error) => {
            eprintln!("it is not known where this binary is: {error}");
            return Exit::OurFault;
        }
    };
    let mut exit = Exit::Yes;
    let mut text = String::new();
    for (name, _) in super::COMMANDS {
        match settle(&args.directory.join(name), &binary, args) {
            Ok(line) => text.push_str(&line),
            Err(error) => {
                eprintln!("{}: {error}", plain(&args.directory.join(name).display().to_string()));
                exit = Exit::No;
            }
        }
    }
    match print(text.as_bytes()) {
        Exit::Yes => exit,
        other => other,
    }
}

/// Makes one link, or takes it away; the line says what was done.
fn settle(path: &Path, binary: &Path, args: &Args) -> io::Result<String> {
    let shown = path.display();
    let found = match std::fs::symlink_metadata(path) {
        Ok(_) => Some(std::fs::read_link(path).ok().as_deref() == Some(binary)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let line = match (found, args.remove) {
        (Some(false), true) => return Ok(format!("{shown} is something else and stays\n")),
        (Some(false), false) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it is there already, and is something else",
            ));
        }
        (Some(true), false) => return Ok(format!("{shown} is there already\n")),
        (None, true) => return Ok(format!("{shown} is not there\n")),
        (Some(true), true) => format!("{shown} is removed\n"),
        (None, false) => format!("{shown} leads to {}\n", binary.display()),
    };
    match (args.dry_run, args.remove) {
        (true, _) => {}
        (false, true) => std::fs::remove_file(path)?,
        (false, false) => std::os::unix::fs::symlink(binary, path)?,
    }
    Ok(line)
}
