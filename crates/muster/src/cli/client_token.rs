//! `muster client token`: makes the secret of a program that may know members. It asks no cell and changes none.

use super::{Exit, print};
use ring::digest;
use serde::Serialize;
use wire::id::is_valid_name;

const EXAMPLES: &str = "\
Examples:
  muster client token billing --cluster shop > billing.token
  muster client token billing --cluster shop --cluster stock --json

The token goes to standard output, for the program. What goes into the configuration is said beside it; it holds only a
hash, so that nobody who reads the configuration has the token.

Exit codes:
  0  done
  2  wrong use
  4  Muster's fault";

/// Random bytes of a token. 32: nobody guesses 256 bits.
const TOKEN_BYTES: usize = 32;
/// How a token begins, so that it is not taken for the hash that belongs into the configuration.
const PREFIX: &str = "mc1.";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Make a token, and the lines of the configuration that let it in
    #[command(after_help = EXAMPLES)]
    Token(TokenArgs),
}

#[derive(Debug, clap::Args)]
struct TokenArgs {
    /// What the program is called in the configuration
    client: String,
    /// A cluster whose members it may know; may be given several times
    #[arg(long = "cluster", value_name = "CLUSTER", required = true)]
    clusters: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Made {
    client: String,
    token: String,
    /// Lines for the configuration.
    configuration: String,
}

pub fn run(args: Args) -> Exit {
    let Act::Token(args) = args.act;
    if let Some(wrong) = args.clusters.iter().chain([&args.client]).find(|name| !is_valid_name(name)) {
        eprintln!("{wrong:?} is no name: 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first");
        return Exit::WrongUse;
    }
    let mut bytes = [0; TOKEN_BYTES];
    if let Err(error) = getrandom::fill(&mut bytes) {
        eprintln!("the system gives no random numbers: {error}");
        return Exit::OurFault;
    }
    let token = format!("{PREFIX}{}", hex(&bytes));
    let configuration = lines(&args.client, &args.clusters, &token);
    if args.json {
        let made = Made { client: args.client, token, configuration };
        let text = serde_json::to_string(&made).expect("names as keys");
        return print(format!("{text}\n").as_bytes());
    }
    eprintln!(
        "For the configuration of the cell:\n\n{configuration}\nFor {}, on standard output:",
        args.client
    );
    print(format!("{token}\n").as_bytes())
}

fn lines(client: &str, clusters: &[String], token: &str) -> String {
    let hash = hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    let clusters: Vec<String> = clusters.iter().map(|name| format!("{name:?}")).collect();
    // A name with a dot is two keys unless it is quoted.
    let name = if client.contains('.') { format!("{client:?}") } else { client.to_owned() };
    format!("[clients.{name}]\ntoken_sha256 = \"{hash}\"\nclusters = [{}]\n", clusters.join(", "))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints_is_a_right_part_of_a_configuration() {
        for client in ["billing", "billing.eu"] {
            let token = format!("{PREFIX}{}", hex(&[7; TOKEN_BYTES]));
            assert!(wire::client_view::is_valid_token(&token));
            let text = format!(
                "[routers.front]\nlisten = [\"127.0.0.1:1\"]\n[[routers.front.routes]]\npath = \"/views\"\nviews = true\n\
                 [clusters.shop.members.a]\naddress = \"127.0.0.1:2\"\n{}",
                lines(client, &["shop".into()], &token)
            );
            let hash = hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
            let mistaken = text.replace(&hash, &token);
            assert!(crate::config::parse(&mistaken, "test").is_err(), "the token in place of its hash");
            let settings =
                crate::config::parse(&text, "test").unwrap_or_else(|problems| panic!("{problems:?}"));
            let read = &settings.routers[0].clients;
            assert_eq!((read.len(), read[0].name.as_str()), (1, client));
            assert_eq!(read[0].clusters, ["shop".into()]);
        }
    }
}
