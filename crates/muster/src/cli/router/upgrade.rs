//! `muster router upgrade`: asks the process that runs this machine's routers to start its successor, and waits until
//! that one serves.

use crate::cli::{Exit, print};
use crate::config;
use crate::link::{read_frame_within, write_frame};
use crate::upgrade::message::{Answer, Ask, UPGRADE_VERSION};
use crate::upgrade::{self, DRAIN_SECONDS, START_MAX};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

const EXAMPLES: &str = "\
Examples:
  muster router upgrade                              after a new package was installed
  muster router upgrade --binary /opt/muster-2/muster

The new process has the arguments, environment, directory and output of the one that runs. It takes
over the listening sockets; the old one answers the clients that it still has and ends. If the new
one fails before it serves, the old one goes on. Only for a process that runs routers and nothing
else: `muster run --role router`.

Exit codes:
  0  the new process serves
  1  refused or it did not come about; the old process goes on
  2  wrong use
  3  no process was reached
  4  Muster's fault";

/// Longer than the old process waits for the new one.
const ANSWER_MAX: Duration = START_MAX.saturating_add(Duration::from_secs(60));

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration of the routers that run, which names their state directory
    /// [default: ./muster.toml, else /etc/muster/muster.toml]
    #[arg(long, short, value_name = "FILE", conflicts_with = "state_dir")]
    config: Option<PathBuf>,
    /// Their state directory, where there is no configuration to name it
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
    /// The file of a router without a cell, as `muster router run` was given it
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    plugin_cfg: Option<PathBuf>,
    /// The program to start [default: what now lies where the running one was started from]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// How long the old process answers the clients that it still has
    #[arg(long, value_name = "SECONDS", default_value_t = DRAIN_SECONDS,
          value_parser = clap::value_parser!(u64).range(0..=86_400))]
    drain_seconds: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Told {
    is_upgraded: bool,
    old_pid: Option<u32>,
    new_pid: Option<u32>,
    old_release: Option<String>,
    new_release: Option<String>,
    reason: Option<String>,
}

pub fn run(args: Args) -> Exit {
    let ask = match ask(&args) {
        Ok(ask) => ask,
        Err(message) => {
            eprintln!("{message}");
            return Exit::WrongUse;
        }
    };
    let socket = match socket(&args) {
        Ok(socket) => socket,
        Err(message) => {
            eprintln!("{message}");
            return Exit::WrongUse;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(talk(&socket, &ask)),
        Err(error) => {
            eprintln!("this command cannot run: {error}");
            return Exit::OurFault;
        }
    };
    show(answer, &socket, args.json)
}

fn ask(args: &Args) -> Result<Ask, String> {
    let binary = args.binary.as_deref().map(|path| {
        let is_program = rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file();
        // The process that starts it is in a directory of its own.
        let path = path.canonicalize().ok().filter(|_| is_program);
        path.ok_or_else(|| {
            format!("--binary {}: no program", args.binary.as_deref().unwrap_or(Path::new("")).display())
        })
    });
    let drain_ms = args.drain_seconds * 1000;
    Ok(Ask::Upgrade { version: UPGRADE_VERSION, binary: binary.transpose()?, drain_ms })
}

/// Where the process that runs is asked.
fn socket(args: &Args) -> Result<PathBuf, String> {
    if let Some(plugin_cfg) = &args.plugin_cfg {
        let state_dir = args.state_dir.clone().or_else(|| config::default_state_dir().map(PathBuf::from));
        let state_dir =
            state_dir.ok_or("there is no home directory; say with --state-dir where state is kept")?;
        return Ok(upgrade::socket_of_file(&state_dir, plugin_cfg));
    }
    if let Some(state_dir) = &args.state_dir {
        return Ok(upgrade::socket(state_dir));
    }
    let path = args.config.clone().unwrap_or_else(config::default_path);
    let (settings, _) = config::load(&path).map_err(|problems| {
        format!(
            "{problems}\n--state-dir names the state directory of routers whose configuration is wrong by now"
        )
    })?;
    Ok(upgrade::socket(Path::new(&settings.state_dir)))
}

async fn talk(socket: &Path, ask: &Ask) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket).await?;
    write_frame(&mut stream, ask).await?;
    loop {
        match read_frame_within(&mut stream, ANSWER_MAX).await? {
            Answer::KeepAlive => {}
            answer => return Ok(answer),
        }
    }
}

fn show(answer: io::Result<Answer>, socket: &Path, json: bool) -> Exit {
    let nothing = Told {
        is_upgraded: false,
        old_pid: None,
        new_pid: None,
        old_release: None,
        new_release: None,
        reason: None,
    };
    let failed = |reason: String| Told { reason: Some(reason), ..nothing };
    let (told, exit) = match answer {
        Ok(Answer::Upgraded { old_pid, new_pid, old_release, new_release }) => {
            let told = Told {
                is_upgraded: true,
                old_pid: Some(old_pid),
                new_pid: Some(new_pid),
                old_release: Some(old_release),
                new_release: Some(new_release),
                reason: None,
            };
            (told, Exit::Yes)
        }
        Ok(Answer::Refused { reason }) => (failed(reason), Exit::No),
        Ok(_) => (failed("the answer is not one to this question".into()), Exit::OurFault),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let reason = "the old process ended meanwhile; `muster status` says whether the new one serves";
            (failed(reason.into()), Exit::OurFault)
        }
        Err(error) => (
            failed(format!("no routers were reached at {}: {error}", socket.display())),
            Exit::CellNotReached,
        ),
    };
    if json {
        let text = serde_json::to_string(&told).expect("it has only names as keys");
        let printed = print(format!("{text}\n").as_bytes());
        return if exit == Exit::Yes { printed } else { exit };
    }
    match (&told.reason, told.old_pid, told.new_pid) {
        (None, Some(old), Some(new)) => {
            let release = |release: &Option<String>| release.clone().unwrap_or_default();
            let (before, after) = (release(&told.old_release), release(&told.new_release));
            print(
                format!(
                    "process {new} (Muster {after}) serves; process {old} (Muster {before}) answers its last clients\n"
                )
                .as_bytes(),
            )
        }
        (reason, _, _) => {
            eprintln!("{}", reason.as_deref().unwrap_or_default());
            exit
        }
    }
}
