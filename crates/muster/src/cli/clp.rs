//! The commands of ExpressCluster under which scripts know Muster: by the name of the program, or after `muster clp`.
//!
//! A link `clp_httpmon` to the binary is enough for the first; `muster install-names` makes them all. What the monitoring
//! commands take and say is in `logic::monitor::command`.

mod collect;
mod common;
mod config;
mod group;
mod license;
mod monitor;
pub mod names;
mod power;
mod service;
mod stat;
mod words;

use super::{Exit, print};
use crate::monitor::command::{self, End};
use logic::monitor::messages::Service;
use std::path::Path;

const EXAMPLES: &str = "\
Examples:
  muster install-names /usr/sbin                   from then on scripts find all of them by their names
  muster clp httpmon WATCH1 -n 8080 -i 5 -c 2      clp_httpmon without a link
  muster clp httpmon WATCH1 --stop
  muster clp smtpmon WATCH2 -s mail.example.com
  muster clp grp -m mail                           clpgrp
  muster clp stat -g                               clpstat
  muster clp grp --help                            what one of them takes

See docs/reference/clp-commands.md.

Exit codes:
  0  it is done; of a monitor: it was stopped
  1  it is not; of a monitor: the service has failed
  2  wrong use
  3  the cell was not reached
  4  the system failed";

const HTTPMON_HELP: &str = "\
clp_httpmon: monitor an HTTP server until it fails.

  clp_httpmon IDENTIFIER [-s SERVER] [-n PORT] [-i INTERVAL] [-c RETRIES] [-r RESPONSE_WAIT] [-v VERSION] [-h URI]
  clp_httpmon IDENTIFIER --stop [WAIT] | --pause | --resume | --disp | --del

Presets: localhost, 80, 60 s, 3, 10 s, 1.1, /. See docs/reference/clp-commands.md.

Examples:
  clp_httpmon WATCH1 -s 10.0.0.12 -i 30 -c 2
  clp_httpmon WATCH1 --stop

Exit codes: 0 it was stopped, or what was asked is done; 1 the service has failed, or what was asked could not be done; 2 wrong
use; 4 the system failed.
";

const SMTPMON_HELP: &str = "\
clp_smtpmon: monitor a mail server until it fails.

  clp_smtpmon IDENTIFIER [-s SERVER] [-n PORT] [-i INTERVAL] [-c RETRIES] [-r RESPONSE_WAIT]
  clp_smtpmon IDENTIFIER --stop [WAIT] | --pause | --resume | --disp | --del

Presets: localhost, 25, 60 s, 3, 10 s. See docs/reference/clp-commands.md.

Examples:
  clp_smtpmon WATCH2 -s mail.example.com
  clp_smtpmon WATCH2 --stop

Exit codes: 0 it was stopped, or what was asked is done; 1 the service has failed, or what was asked could not be done; 2 wrong
use; 4 the system failed.
";

/// Does what the words after the command's name ask for.
type Run = fn(&[String]) -> Exit;

/// Every name, and what it does.
pub const COMMANDS: [(&str, Run); 12] = [
    ("clp_httpmon", httpmon),
    ("clp_smtpmon", smtpmon),
    ("clpgrp", group::clpgrp),
    ("clprsc", group::clprsc),
    ("clpstat", stat::clpstat),
    ("clpcl", service::clpcl),
    ("clpmonctrl", monitor::clpmonctrl),
    ("clpcfctrl", config::clpcfctrl),
    ("clpdown", power::clpdown),
    ("clpstdn", power::clpstdn),
    ("clplogcc", collect::clplogcc),
    ("clplcnsc", license::clplcnsc),
];

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, clap::Subcommand)]
enum Which {
    /// Monitor an HTTP server until it fails (clp_httpmon)
    #[command(disable_help_flag = true)]
    Httpmon(Words),
    /// Monitor a mail server until it fails (clp_smtpmon)
    #[command(disable_help_flag = true)]
    Smtpmon(Words),
    /// Start, stop and move groups (clpgrp)
    #[command(disable_help_flag = true)]
    Grp(Words),
    /// Start and stop a group's only resource (clprsc)
    #[command(disable_help_flag = true)]
    Rsc(Words),
    /// Show the cell (clpstat)
    #[command(disable_help_flag = true)]
    Stat(Words),
    /// Take servers out of service and back, suspend and resume recovery (clpcl)
    #[command(disable_help_flag = true)]
    Cl(Words),
    /// Suspend and resume monitors, let them fail (clpmonctrl)
    #[command(disable_help_flag = true)]
    Monctrl(Words),
    /// Apply and save configurations (clpcfctrl)
    #[command(disable_help_flag = true)]
    Cfctrl(Words),
    /// Empty a server and switch it off (clpdown)
    #[command(disable_help_flag = true)]
    Down(Words),
    /// Stop all groups and switch all servers off (clpstdn)
    #[command(disable_help_flag = true)]
    Stdn(Words),
    /// Collect logs (clplogcc)
    #[command(disable_help_flag = true)]
    Logcc(Words),
    /// Licences, of which none is needed (clplcnsc)
    #[command(disable_help_flag = true)]
    Lcnsc(Words),
}

#[derive(Debug, clap::Args)]
struct Words {
    /// As under its own name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    words: Vec<String>,
}

pub fn run(args: Args) -> Exit {
    match args.which {
        Which::Httpmon(Words { words }) => httpmon(&words),
        Which::Smtpmon(Words { words }) => smtpmon(&words),
        Which::Grp(Words { words }) => group::clpgrp(&words),
        Which::Rsc(Words { words }) => group::clprsc(&words),
        Which::Stat(Words { words }) => stat::clpstat(&words),
        Which::Cl(Words { words }) => service::clpcl(&words),
        Which::Monctrl(Words { words }) => monitor::clpmonctrl(&words),
        Which::Cfctrl(Words { words }) => config::clpcfctrl(&words),
        Which::Down(Words { words }) => power::clpdown(&words),
        Which::Stdn(Words { words }) => power::clpstdn(&words),
        Which::Logcc(Words { words }) => collect::clplogcc(&words),
        Which::Lcnsc(Words { words }) => license::clplcnsc(&words),
    }
}

/// Does what the program's own name says, if it is one of these.
pub fn under_other_name() -> Option<Exit> {
    let mut words = std::env::args_os();
    let name = words.next()?;
    let name = Path::new(&name).file_name()?.to_str()?;
    let (_, run) = COMMANDS.iter().find(|(known, _)| *known == name)?;
    // Nothing that these commands take is anything but ASCII, so that what is not text is refused as a value.
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    Some(run(&words))
}

fn httpmon(words: &[String]) -> Exit {
    if words == ["--help"] {
        return print(HTTPMON_HELP.as_bytes());
    }
    exit(command::run(Service::Http, words))
}

fn smtpmon(words: &[String]) -> Exit {
    if words == ["--help"] {
        return print(SMTPMON_HELP.as_bytes());
    }
    exit(command::run(Service::Smtp, words))
}

fn exit(end: End) -> Exit {
    match end {
        End::Done => Exit::Yes,
        End::Failed => Exit::No,
        End::WrongUse => Exit::WrongUse,
        End::SystemFailed => Exit::OurFault,
    }
}
