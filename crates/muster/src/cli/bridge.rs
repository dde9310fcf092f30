//! `muster bridge token`: makes the secret with which another cell hears of this one. It asks no manager and changes none.

use super::{Exit, print};
use crate::config;
use crate::identity::{Place, authority_of, fingerprint};
use crate::logging::chain;
use logic::enrol::{BridgeToken, SECRET_BYTES, to_hex};
use ring::digest;
use serde::Serialize;
use std::path::{Path, PathBuf};
use wire::id::is_valid_name;

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

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Made {
    bridge: String,
    token: String,
    /// Lines for the configuration.
    configuration: String,
}

pub fn run(args: Args) -> Exit {
    let Act::Token(args) = args.act;
    if let Some(wrong) = args.clusters.iter().chain([&args.bridge]).find(|name| !is_valid_name(name)) {
        eprintln!("{wrong:?} is no name: 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first");
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
    let mut secret = [0; SECRET_BYTES];
    if let Err(error) = getrandom::fill(&mut secret) {
        eprintln!("the system gives no random numbers: {error}");
        return Exit::OurFault;
    }
    let token = BridgeToken { authority, secret, bridge: args.bridge.clone() }.to_string();
    let configuration = lines(&args.bridge, &args.clusters, &token);
    if args.json {
        let made = Made { bridge: args.bridge, token, configuration };
        let text = serde_json::to_string(&made).expect("names as keys");
        return print(format!("{text}\n").as_bytes());
    }
    eprintln!(
        "For the configuration of this cell:\n\n{configuration}\nFor cell {}, on standard output:",
        args.bridge
    );
    print(format!("{token}\n").as_bytes())
}

fn lines(bridge: &str, clusters: &[String], token: &str) -> String {
    let hash = to_hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    let clusters: Vec<String> = clusters.iter().map(|name| format!("{name:?}")).collect();
    // A name with a dot is two keys unless it is quoted.
    let name = if bridge.contains('.') { format!("{bridge:?}") } else { bridge.to_owned() };
    format!("[bridges.{name}]\ntoken_sha256 = \"{hash}\"\nclusters = [{}]\n", clusters.join(", "))
}
