//! `muster client token`: makes the secret of a program that may know members. It asks no cell and changes none.

use super::Exit;
use super::listed_token::{ListedToken, are_names, secret};
use logic::enrol::to_hex;

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

pub fn run(args: Args) -> Exit {
    let Act::Token(args) = args.act;
    if !are_names(args.clusters.iter().chain([&args.client])) {
        return Exit::WrongUse;
    }
    match secret() {
        Ok(bytes) => listed(args.client, args.clusters, &bytes).show(args.json),
        Err(exit) => exit,
    }
}

fn listed(client: String, clusters: Vec<String>, secret: &[u8; TOKEN_BYTES]) -> ListedToken {
    let token = format!("{PREFIX}{}", to_hex(secret));
    ListedToken { kind: "client", name: client, clusters, token }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::digest;

    #[test]
    fn what_it_prints_is_a_right_part_of_a_configuration() {
        for client in ["billing", "billing.eu"] {
            let listed = listed(client.to_owned(), vec!["shop".to_owned()], &[7; TOKEN_BYTES]);
            assert!(wire::client_view::is_valid_token(&listed.token));
            let text = format!(
                "[routers.front]\nlisten = [\"127.0.0.1:1\"]\n[[routers.front.routes]]\npath = \"/views\"\nviews = true\n\
                 [clusters.shop.members.a]\naddress = \"127.0.0.1:2\"\n{}",
                listed.configuration()
            );
            let hash = to_hex(digest::digest(&digest::SHA256, listed.token.as_bytes()).as_ref());
            let mistaken = text.replace(&hash, &listed.token);
            assert!(crate::config::parse(&mistaken, "test").is_err(), "the token in place of its hash");
            let settings =
                crate::config::parse(&text, "test").unwrap_or_else(|problems| panic!("{problems:?}"));
            let read = &settings.routers[0].clients;
            assert_eq!((read.len(), read[0].name.as_str()), (1, client));
            assert_eq!(read[0].clusters, ["shop".into()]);
        }
    }
}
