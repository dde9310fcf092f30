//! `muster join`: makes this machine a node of a cell.

use super::Exit;
use crate::config;
use crate::identity::{IdentityError, Place, join};
use crate::logging::chain;
use logic::enrol::JoinToken;
use std::io::Read as _;
use std::path::PathBuf;
use wire::error_code;

/// Longest token on standard input.
const TOKEN_LENGTH_MAX: u64 = 4 << 10;

const EXAMPLES: &str = "\
Examples:
  muster join 10.0.0.1:29001 mj1.3f...      as `muster node token` printed it
  muster join 10.0.0.1:29001 - < token      the token from standard input, so that no list of processes shows it

Then `muster run` needs no configuration here: the manager says what runs on this machine.

Exit codes:
  0  this machine is a node now
  1  refused: the token is used or expired, or the machine is in a cell already; nothing was changed here
  2  wrong use
  3  the manager was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the manager listens
    #[arg(value_name = "HOST:PORT")]
    manager: String,
    /// The token of `muster node token`, or `-` to read it from standard input
    token: String,
    /// Where this machine keeps who it is [default: /var/lib/muster for root, else ~/.local/state/muster]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

pub fn run(args: Args) -> Exit {
    let wrong = |text: String| {
        eprintln!("{text}");
        Exit::WrongUse
    };
    let Some(state_dir) = args.state_dir.or_else(|| config::default_state_dir().map(PathBuf::from)) else {
        return wrong("there is no home directory to keep state in; say where with --state-dir".into());
    };
    let text = match args.token.as_str() {
        "-" => match read_token() {
            Ok(text) => text,
            Err(error) => return wrong(format!("no token came from standard input: {error}")),
        },
        text => text.to_owned(),
    };
    let token: JoinToken = match text.parse() {
        Ok(token) => token,
        Err(logic::enrol::NotAToken(why)) => return wrong(format!("{}: {why}", error_code::TOKEN_MALFORMED)),
    };
    if !args.manager.contains(':') {
        let example = format!("{}:29001", args.manager);
        return wrong(format!("`{}` lacks the manager's port: try {example}", args.manager));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("this command cannot run: {error}");
            return Exit::OurFault;
        }
    };
    match runtime.block_on(join::join(&args.manager, &token, &Place::of(&state_dir))) {
        Ok(membership) => {
            eprintln!(
                "This machine is node {} of the cell {} now. Next: `muster run` here.",
                membership.node, membership.cell
            );
            Exit::Yes
        }
        Err(error) => {
            eprintln!("{}", chain(&error));
            exit_of(&error)
        }
    }
}

fn exit_of(error: &IdentityError) -> Exit {
    match error {
        IdentityError::NotReached { .. } => Exit::CellNotReached,
        IdentityError::Refused { .. } | IdentityError::InACell { .. } | IdentityError::OtherCell { .. } => {
            Exit::No
        }
        IdentityError::Write { .. } | IdentityError::None { .. } | IdentityError::NoAuthority { .. } => {
            Exit::WrongUse
        }
        IdentityError::Files { .. } | IdentityError::Meaningless { .. } | IdentityError::Make { .. } => {
            Exit::OurFault
        }
    }
}

fn read_token() -> std::io::Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().take(TOKEN_LENGTH_MAX).read_to_string(&mut text)?;
    Ok(text)
}
