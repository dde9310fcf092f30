//! Commands that Muster gives to itself; people have no use for them.

use super::Exit;
use crate::agent::guardian::guard;
use crate::agent::keeper::message::{Become, UserNumbers};
use crate::agent::keeper::{Place, become_member, become_member_when_told, keep};
use crate::agent::warden::ward;
use crate::agent::{self, AgentOptions};
use crate::link::ManagerAt;
use crate::role::{RoleHandle, manager_socket};
use clap::{Parser, Subcommand};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use wire::id::NodeName;

/// What agents, keepers and guardians start, each as a process of its own.
#[derive(Debug, Subcommand)]
pub enum Own {
    /// Runs one member for an agent
    #[command(hide = true)]
    Keeper(KeeperArgs),
    /// Holds one group for an agent
    #[command(hide = true)]
    Guardian(GuardianArgs),
    /// Ends groups of an agent that neither it nor their guardians end
    #[command(hide = true)]
    Warden(WardenArgs),
    /// Waits for the end of a guardian, for systemd
    #[command(hide = true)]
    UnitWatch(UnitWatchArgs),
    /// Becomes a member's own program
    #[command(hide = true)]
    MemberExec(MemberExecArgs),
}

/// The part of the command line that people have no use for.
#[derive(Debug, Parser)]
#[command(name = "muster", version)]
struct OwnLine {
    #[command(subcommand)]
    command: Own,
}

/// One of these commands, if this process was started as one. The whole command line with its texts takes milliseconds to set
/// up, and these are started while somebody waits for a service to be back.
pub fn own() -> Option<Own> {
    let name = std::env::args_os().nth(1)?;
    Own::has_subcommand(name.to_str()?).then(|| OwnLine::parse().command)
}

impl Own {
    pub fn run(self) -> Exit {
        match self {
            Own::Keeper(args) => keeper(args),
            Own::Guardian(args) => guardian(args),
            Own::Warden(args) => warden(args),
            Own::UnitWatch(args) => unit_watch(args),
            Own::MemberExec(args) => member_exec(args),
        }
    }
}

/// Orders come on stdin, see `agent::keeper::message`.
#[derive(Debug, clap::Args)]
pub struct KeeperArgs {}

fn keeper(KeeperArgs {}: KeeperArgs) -> Exit {
    keep()
}

/// Orders come on stdin, see `agent::guardian::message`.
#[derive(Debug, clap::Args)]
pub struct GuardianArgs {}

fn guardian(GuardianArgs {}: GuardianArgs) -> Exit {
    guard()
}

/// Orders come on stdin, see `agent::warden`.
#[derive(Debug, clap::Args)]
pub struct WardenArgs {}

fn warden(WardenArgs {}: WardenArgs) -> Exit {
    ward()
}

/// Waits for the end of a guardian, as the process of a unit; see `resource::systemd`.
#[derive(Debug, clap::Args)]
pub struct UnitWatchArgs {
    /// The guardian
    pid: i32,
}

fn unit_watch(UnitWatchArgs { pid }: UnitWatchArgs) -> Exit {
    // One that is not there any more has ended, too.
    if let Some(guardian) = Pid::from_raw(pid)
        && let Ok(guardian) = pidfd_open(guardian, PidfdFlags::empty())
    {
        let mut asked = [PollFd::new(&guardian, PollFlags::IN)];
        while poll(&mut asked, None) == Err(Errno::INTR) {}
    }
    Exit::Yes
}

#[derive(Debug, clap::Args)]
pub struct MemberExecArgs {
    /// Process that this one must belong to
    #[arg(long)]
    keeper: i32,
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// Wait for a line on stdin that says what to become
    #[arg(long, conflicts_with_all = ["uid", "gid", "groups", "directory", "command"])]
    ready: bool,
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    #[arg(long, requires = "uid")]
    gid: Option<u32>,
    /// Supplementary group; may be repeated
    #[arg(long = "group")]
    groups: Vec<u32>,
    #[arg(long)]
    directory: Option<PathBuf>,
    #[arg(last = true, required_unless_present = "ready")]
    command: Vec<String>,
}

fn member_exec(args: MemberExecArgs) -> Exit {
    let place = Place { keeper_pid: args.keeper, cgroup: args.cgroup };
    let numbers = args.uid.zip(args.gid);
    let wish = Become {
        command: args.command,
        // It has it already.
        environment: BTreeMap::new(),
        is_bare: false,
        directory: args.directory,
        user: numbers.map(|(uid, gid)| UserNumbers { uid, gid, groups: args.groups }),
    };
    match args.ready {
        true => become_member_when_told(&place),
        false => become_member(&place, &wish),
    }
    Exit::OurFault
}

#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    /// Name of this node
    #[arg(long)]
    node: String,
    #[arg(long)]
    state_dir: PathBuf,
    /// Where the manager listens [default: manager.sock in the state directory]
    #[arg(long)]
    manager_socket: Option<PathBuf>,
}

/// An agent in a process of its own, until TERM or INT: members then go on when the manager's process ends.
pub fn agent(args: AgentArgs) -> Exit {
    let to_stderr = tracing_subscriber::fmt().with_writer(std::io::stderr);
    // Fails only where logging is set up already, which is as good.
    let _ = to_stderr.with_env_filter("info").try_init();
    let manager_socket = args.manager_socket.unwrap_or_else(|| manager_socket(&args.state_dir));
    let options = AgentOptions {
        node: NodeName(args.node),
        state_dir: args.state_dir,
        manager: ManagerAt::Socket(manager_socket),
        placed: tokio::sync::watch::Sender::default(),
    };
    match agent::start(options).map_err(Into::into).and_then(run_until_signalled) {
        Ok(()) => Exit::Yes,
        Err(error) => {
            let source = error.source().map(|source| format!(": {source}"));
            eprintln!("muster agent: {error}{}", source.unwrap_or_default());
            Exit::WrongUse
        }
    }
}

fn run_until_signalled(role: RoleHandle) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Either means the same; losing one of two is harmless.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok::<(), std::io::Error>(())
    })?;
    role.stop.send_replace(true);
    role.thread.join().map_err(|_| "the agent panicked".into())
}
