//! The commands of ExpressCluster under which scripts know Muster: by the name of the program, or after `muster clp`.
//!
//! A link `clp_httpmon` to the binary is enough for the first. What they take and say is in `logic::monitor::command`.

use super::Exit;
use crate::monitor::command::{self, End};
use logic::monitor::messages::Service;
use std::path::Path;

const EXAMPLES: &str = "\
Examples:
  ln -s /usr/bin/muster /usr/sbin/clp_httpmon      from then on scripts find it
  muster clp httpmon WATCH1 -n 8080 -i 5 -c 2      the same without a link
  muster clp httpmon WATCH1 --stop
  muster clp smtpmon WATCH2 -s mail.example.com

Identifier and options are those of clp_httpmon and clp_smtpmon; see docs/reference/clp-commands.md.

Exit codes:
  0  it was stopped, or what was asked is done
  1  the service has failed, or what was asked could not be done
  2  wrong use
  4  the system failed";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, clap::Subcommand)]
enum Which {
    /// Monitor an HTTP server until it fails
    #[command(disable_help_flag = true)]
    Httpmon(Words),
    /// Monitor a mail server until it fails
    #[command(disable_help_flag = true)]
    Smtpmon(Words),
}

#[derive(Debug, clap::Args)]
struct Words {
    /// Identifier and options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    words: Vec<String>,
}

pub fn run(args: Args) -> Exit {
    match args.which {
        Which::Httpmon(Words { words }) => exit(command::run(Service::Http, &words)),
        Which::Smtpmon(Words { words }) => exit(command::run(Service::Smtp, &words)),
    }
}

/// Does what the program's own name says, if it is one of these.
pub fn under_other_name() -> Option<Exit> {
    let mut words = std::env::args_os();
    let name = words.next()?;
    let service = match Path::new(&name).file_name()?.to_str()? {
        "clp_httpmon" => Service::Http,
        "clp_smtpmon" => Service::Smtp,
        _ => return None,
    };
    // Nothing that these commands take is anything but ASCII, so that what is not text is refused as a value.
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    Some(exit(command::run(service, &words)))
}

fn exit(end: End) -> Exit {
    match end {
        End::Done => Exit::Yes,
        End::Failed => Exit::No,
        End::WrongUse => Exit::WrongUse,
        End::SystemFailed => Exit::OurFault,
    }
}
