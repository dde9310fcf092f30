//! A token that the configuration lists by its hash: shown once, with the lines that let it in.
//!
//! It asks no cell and changes none. Not here: whose token it is (see `client_token`, `bridge`).

use super::{Exit, print};
use logic::enrol::to_hex;
use ring::digest;
use serde_json::json;
use wire::id::is_valid_name;

/// A token just made.
pub struct ListedToken {
    /// What has it, in the singular: `client` has its lines in `[clients.NAME]`.
    pub kind: &'static str,
    pub name: String,
    /// What it opens.
    pub clusters: Vec<String>,
    pub token: String,
}

impl ListedToken {
    /// Its lines in the configuration.
    pub fn configuration(&self) -> String {
        let Self { kind, name, clusters, token } = self;
        let hash = to_hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let clusters: Vec<String> = clusters.iter().map(|name| format!("{name:?}")).collect();
        // A name with a dot is two keys unless it is quoted.
        let name = if name.contains('.') { format!("{name:?}") } else { name.clone() };
        format!("[{kind}s.{name}]\ntoken_sha256 = \"{hash}\"\nclusters = [{}]\n", clusters.join(", "))
    }

    /// The token to standard output, the lines beside it; or both as JSON.
    pub fn show(&self, is_json: bool) -> Exit {
        let Self { kind, name, clusters: _, token } = self;
        let configuration = self.configuration();
        if is_json {
            let made = json!({ *kind: name, "token": token, "configuration": configuration });
            return print(format!("{made}\n").as_bytes());
        }
        eprintln!("For the configuration of this cell:\n\n{configuration}\nFor {name}, on standard output:");
        print(format!("{token}\n").as_bytes())
    }
}

/// Whether all of them can be names; says which cannot.
pub fn are_names<'a>(mut names: impl Iterator<Item = &'a String>) -> bool {
    let wrong = names.find(|name| !is_valid_name(name));
    if let Some(wrong) = wrong {
        eprintln!("{wrong:?} is no name: 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first");
    }
    wrong.is_none()
}

/// Bytes that nobody guesses.
pub fn secret<const BYTES: usize>() -> Result<[u8; BYTES], Exit> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        eprintln!("the system gives no random numbers: {error}");
        Exit::OurFault
    })?;
    Ok(bytes)
}
