//! `muster router`: a router without a cell, which serves what a plugin-cfg.xml says, and how a router's process is
//! replaced (see `upgrade`).
//!
//! Ends with 0 when it was asked to stop, 2 when the file or this machine does not allow it, 4 when the router failed.

mod upgrade;

use super::Exit;
use super::run::until_stopped;
use crate::config;
use crate::logging::chain;
use crate::logging::{self, LogFormat};
use crate::role::raise_file_limit;
use crate::roles::start_from_file;
use crate::router::plugin_cfg::{Begun, FileOptions};
use crate::tls;
use crate::upgrade::notify;
use logic::limits::REQUEST_TRIES_MAX;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use wire::router::{RetrySettings, RouterSettings};
use wire::settings::{AccessLog, AccessLogFormat, CertificateFiles, Listener, ListenerTls};

const EXAMPLES: &str = "\
Examples:
  muster router run --plugin-cfg plugin-cfg.xml                       at the file's virtual hosts
  muster router run --plugin-cfg plugin-cfg.xml --listen 0.0.0.0:80   there only
  muster router run --plugin-cfg plugin-cfg.xml --listen 0.0.0.0:80 --listen-tls 0.0.0.0:443 \
      --certificate shop.pem --key shop.key                           be an HTTPS front, too

The file is looked at as often as its RefreshInterval says, and at once on SIGHUP. One that cannot
be read is refused, with line and column in the log, and the last good one stays in use, also after
a restart. Stops on TERM and INT: requests under way are finished. A second signal ends it at once.";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster router run --plugin-cfg plugin-cfg.xml   serve from a file alone\n  \
    muster router upgrade                           put a new binary in place of the running one"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Serve what a plugin-cfg.xml says, until TERM or INT
    Run(RunArgs),
    /// Put a new process of the program in the place of the one that runs, without a refused connection
    Upgrade(upgrade::Args),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct RunArgs {
    /// The file
    #[arg(long, value_name = "FILE")]
    plugin_cfg: PathBuf,
    /// Listen there; may be repeated [default without --listen-tls: 0.0.0.0 and the ports of the file's virtual hosts, but for those of TLS]
    #[arg(long, value_name = "IP:PORT")]
    listen: Vec<SocketAddr>,
    /// Listen there for TLS; may be repeated
    #[arg(long, value_name = "IP:PORT", requires = "certificate", requires = "key")]
    listen_tls: Vec<SocketAddr>,
    /// PEM file of a certificate for --listen-tls, with those that lead to its authority after it; may be repeated, each
    /// with its --key: the client's server name chooses
    #[arg(long, value_name = "FILE", requires = "listen_tls")]
    certificate: Vec<PathBuf>,
    /// PEM file of the key of the --certificate at the same place; may be repeated
    #[arg(long, value_name = "FILE", requires = "listen_tls")]
    key: Vec<PathBuf>,
    /// PEM file of the authorities whose client certificates are believed; servers are told of them in $WSCC. Without it
    /// clients are not asked for one
    #[arg(long, value_name = "FILE", requires = "listen_tls")]
    client_authorities: Option<PathBuf>,
    /// Threads that carry requests; 0 means one for each processor
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    threads: u32,
    /// One line for each request
    #[arg(long, value_name = "FORMAT", default_value = "off")]
    access_log: LogChoice,
    /// Where these lines go [default: standard output]
    #[arg(long, value_name = "FILE")]
    access_log_file: Option<PathBuf>,
    /// Where the last good state is kept [default: /var/lib/muster for root, else ~/.local/state/muster]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Take over what another process of this file serves, as `muster router upgrade` wants it
    #[arg(long)]
    take_over: bool,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Which log lines are written: error, warn, info, debug, trace, or filters by module [default: by the file's LogLevel]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogChoice {
    Off,
    Common,
    Combined,
    Json,
}

pub fn run(args: Args) -> Exit {
    match args.command {
        Command::Run(args) => run_router(args),
        Command::Upgrade(args) => upgrade::run(args),
    }
}

fn run_router(args: RunArgs) -> Exit {
    let level = args.log_level.clone().unwrap_or_else(|| level_of(&args.plugin_cfg).to_owned());
    if let Err(error) = logging::start(args.log_format, &level) {
        eprintln!("--log-level: {error}");
        return Exit::WrongUse;
    }
    let Some(state_dir) = args.state_dir.clone().or_else(|| config::default_state_dir().map(PathBuf::from))
    else {
        eprintln!("there is no home directory to keep state in; say where with --state-dir");
        return Exit::WrongUse;
    };
    let tls = match listener_tls(&args) {
        Ok(tls) => tls,
        Err(message) => {
            eprintln!("{message}");
            return Exit::WrongUse;
        }
    };
    raise_file_limit();
    let options = FileOptions {
        path: args.plugin_cfg.clone(),
        base: base(&args, &tls),
        listens_at_virtual_hosts: args.listen.is_empty() && args.listen_tls.is_empty(),
    };
    match start_from_file(options, &state_dir, args.take_over) {
        Ok((running, begun)) => {
            let file = args.plugin_cfg.display();
            match begun {
                Begun::Fresh => tracing::info!(%file, "serving"),
                Begun::Kept { why } => {
                    tracing::error!(%file, "{}; serving by the last good file", chain(&why));
                }
            }
            notify::ready();
            until_stopped(running)
        }
        Err(error) => {
            eprintln!("{}", chain(&error));
            Exit::WrongUse
        }
    }
}

/// What `--listen-tls` goes with, checked; the error is a sentence for the user.
fn listener_tls(args: &RunArgs) -> Result<ListenerTls, String> {
    let (certificates, keys) = (args.certificate.len(), args.key.len());
    if certificates != keys {
        return Err(format!(
            "each --certificate needs its --key: there are {certificates} of the one and {keys} of the other"
        ));
    }
    let pair = |(certificate, key): (&PathBuf, &PathBuf)| CertificateFiles {
        certificate: absolute(certificate),
        key: absolute(key),
    };
    let tls = ListenerTls {
        certificates: args.certificate.iter().zip(&args.key).map(pair).collect(),
        client_authorities: args.client_authorities.as_deref().map(absolute).unwrap_or_default(),
        ..ListenerTls::default()
    };
    if !args.listen_tls.is_empty() {
        tls::check_listener(&tls).map_err(|error| chain(&error))?;
    }
    Ok(tls)
}

/// What the file does not say: the defaults of any router, and retries without our bounds, as plug-ins do them.
fn base(args: &RunArgs, tls: &ListenerTls) -> RouterSettings {
    const SMALLEST: &str = "[routers.plugin-cfg]\nlisten = [\"127.0.0.1:0\"]\n\
                            [clusters.none.members.none]\naddress = \"127.0.0.1:1\"\n";
    let cell = config::parse(SMALLEST, "defaults").expect("the least that makes a cell is right");
    let place = cell.routers.into_iter().next().expect("the least cell has a router");
    let plain = args.listen.iter().copied().map(Listener::plain);
    let with_tls = |address: &SocketAddr| Listener { tls: Some(tls.clone()), ..Listener::plain(*address) };
    let secure = args.listen_tls.iter().map(with_tls);
    RouterSettings {
        name: place.name,
        listeners: plain.chain(secure).collect(),
        zone: place.zone,
        threads: args.threads,
        routes: Vec::new(),
        timeouts: place.timeouts,
        limits: place.limits,
        retry: RetrySettings {
            attempts_max: REQUEST_TRIES_MAX as u32 - 1,
            // As many as requests: every request may go to another server once, which is what a dead one takes.
            budget_percent: 100,
            ..place.retry
        },
        access_log: AccessLog {
            format: match args.access_log {
                LogChoice::Off => AccessLogFormat::Off,
                LogChoice::Common => AccessLogFormat::Common,
                LogChoice::Combined => AccessLogFormat::Combined,
                LogChoice::Json => AccessLogFormat::Json,
            },
            pattern: String::new(),
            path: args.access_log_file.as_deref().map(absolute).unwrap_or_default(),
        },
        trace: None,
        trusted_proxies: Vec::new(),
        clients: Vec::new(),
        cookie_keys: Vec::new(),
        matches_listener_port: false,
        plugin_cfg: None,
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Our level for the file's LogLevel. What its Error tells of, a person may have to act on: those are our warnings.
fn level_of(path: &Path) -> &'static str {
    let Ok(bytes) = std::fs::read(path) else { return "info" };
    let Ok(document) = logic::plugin_cfg::read(&bytes) else { return "info" };
    match document.config.log.map_or("", |log| log.level) {
        "Error" | "Warn" => "warn",
        "Detail" | "Debug" => "debug",
        "Trace" => "trace",
        _ => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_level_sets_which_lines_are_written() {
        let path = std::env::temp_dir().join(format!("muster-log-level-{}.xml", std::process::id()));
        for (written, expected) in
            [("Error", "warn"), ("Warn", "warn"), ("Stats", "info"), ("Debug", "debug"), ("Trace", "trace")]
        {
            let text = format!("<Config><Log LogLevel=\"{written}\" Name=\"x\"/></Config>");
            std::fs::write(&path, text).expect("a temporary file can be written");
            assert_eq!(level_of(&path), expected, "{written}");
        }
        std::fs::remove_file(&path).expect("the file is ours");
        assert_eq!(level_of(&path), "info");
    }
}
