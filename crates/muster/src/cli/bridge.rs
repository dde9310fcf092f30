//! `muster bridge token`: makes the secret with which another cell hears of this one. It asks no manager and changes none.

use super::Exit;
use super::listed_token::{ListedToken, are_names, secret};
use crate::config;
use crate::identity::{Place, authority_of, fingerprint};
use crate::logging::chain;
use logic::enrol::{BridgeToken, SECRET_BYTES};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  muster bridge token west --cluster shop > west.token
  muster bridge token west --cluster shop --cluster stock --json

Run it on a machine of this cell. The token goes to standard output, for a file on the machines of the other cell's
managers. What goes into the configuration of this cell is said beside it; it holds only a hash. With the token the
other cell hears of these clusters alone, and can do nothing here. Take the table out to end it.

Exit codes:
  0  done
  2  wrong use
  4  Muster's fault";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Make a token, and the lines of the configuration that let the other cell hear
    #[command(after_help = EXAMPLES)]
    Token(TokenArgs),
}

#[derive(Debug, clap::Args)]
struct TokenArgs {
    /// What the other cell is called in the configuration of this one
    bridge: String,
    /// A cluster of which it may hear; may be given several times
    #[arg(long = "cluster", value_name = "CLUSTER", required = true)]
    clusters: Vec<String>,
    /// This cell's configuration [default: ./muster.toml, else /etc/muster/muster.toml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Exit {
    let Act::Token(args) = args.act;
    if !are_names(args.clusters.iter().chain([&args.bridge])) {
        return Exit::WrongUse;
    }
    let path = args.config.clone().unwrap_or_else(config::default_path);
    let settings = match config::load(&path) {
        Ok((settings, _)) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return Exit::WrongUse;
        }
    };
    let authority = match authority_of(&Place::of(Path::new(&settings.state_dir))) {
        Ok(authority) => fingerprint(&authority),
        Err(error) => {
            eprintln!("{}", chain(&error));
            return Exit::WrongUse;
        }
    };
    let secret = match secret::<SECRET_BYTES>() {
        Ok(secret) => secret,
        Err(exit) => return exit,
    };
    let token = BridgeToken { authority, secret, bridge: args.bridge.clone() }.to_string();
    ListedToken { kind: "bridge", name: args.bridge, clusters: args.clusters, token }.show(args.json)
}
