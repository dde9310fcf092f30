//! `muster init`: makes the cell's certificate authority on the machine of its manager.

use super::Exit;
use crate::config;
use crate::identity::authority::Authority;
use crate::identity::{IdentityError, Place};
use crate::logging::chain;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  muster init                        on the first node of ./muster.toml, once
  muster node token web-2            then, for each other machine

The authority's key stays in the state directory. Whoever has it can become any node: back it up where secrets go.

Exit codes:
  0  made
  1  there is one already; nothing was changed
  2  wrong use
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The cell's configuration [default: ./muster.toml, else /etc/muster/muster.toml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(args: Args) -> Exit {
    let path = args.config.unwrap_or_else(config::default_path);
    let settings = match config::load(&path) {
        Ok((settings, _)) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return Exit::WrongUse;
        }
    };
    let Some(node) = settings.managers().first() else {
        unreachable!("a configuration has at least the node `local`, which has the manager")
    };
    let place = Place::of(Path::new(&settings.state_dir));
    let life = Duration::from_millis(settings.manager.certificate_life_ms);
    let made = Authority::create(&place).and_then(|authority| {
        authority.issue_own(&place, node, life)?;
        Ok(authority)
    });
    match made {
        Ok(authority) => {
            eprintln!(
                "The cell {} has a certificate authority, and node {node} the first certificate.\n\
                 Authority (SHA-256): {}\n\
                 Next: `muster run` here, and `muster node token NODE` for each other machine.",
                settings.name,
                authority.fingerprint_text()
            );
            if settings.manager.listen.is_none() {
                eprintln!("So far the cell is one machine: `listen` in [manager] lets others reach it.");
            }
            Exit::Yes
        }
        Err(error) => {
            eprintln!("{}", chain(&error));
            match error {
                IdentityError::InACell { .. } => Exit::No,
                IdentityError::Write { .. } => Exit::WrongUse,
                _ => Exit::OurFault,
            }
        }
    }
}
