//! `muster demo`: a running cell on this machine, to look at or to try itself.

use super::run::Signals;
use super::{Exit, print};
use crate::console::TOKEN_FILE;
use crate::demo::check::Check;
use crate::demo::{Directory, MEMBERS, Plan, free_address};
use crate::logging::{self, LogFormat};
use crate::manager::handle::{ManagerHandle, Request};
use crate::roles::{RolesOptions, Running, Selection, start_all};
use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::status::CellStatus;
use wire::view::RunState;

/// How long the demo waits for its own cell on a machine that is busy with other things; two seconds are usual.
const START_MAX: Duration = Duration::from_secs(60);

/// Events that are told when a check fails: all of a check's and some to spare.
const EVENTS_TOLD: usize = 200;

const EXAMPLES: &str = "\
Examples:
  muster demo                 a router, a console and three members; Ctrl-C stops everything
  muster demo --check         drives itself and prints what it found as one JSON object

The check keeps 64 connections busy while it kills, hangs, stops, adds, weighs and restarts members.
It ends with 0 only if every promise held.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Try it under load instead of waiting for Ctrl-C; findings go to stdout as JSON
    #[arg(long)]
    check: bool,
    /// Port of the router; any free one where it is taken
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Port of the console; any free one where it is taken
    #[arg(long, value_name = "PORT", default_value_t = 29003)]
    console_port: u16,
    /// Which log lines are written: error, warn, info, debug, trace, or filters by module
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    log_level: String,
}

/// Why there is no demo. Whatever was started has been stopped; a retry is safe.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("the demo has no place for its files")]
    Directory(#[source] io::Error),
    #[error("this program cannot be found again")]
    Program(#[source] io::Error),
    #[error("the demo's configuration is wrong: {0}")]
    Config(crate::config::Problems),
    #[error("the demo did not start")]
    Start(#[source] crate::roles::StartError),
    #[error("the demo has no event loop")]
    Runtime(#[source] io::Error),
    #[error("the demo's members are not up after {} s: {seen}", START_MAX.as_secs())]
    NotUp { seen: String },
    #[error("the check could not be finished")]
    Check(#[source] crate::demo::check::CheckError),
    #[error("the demo's manager has stopped")]
    Gone,
}

pub fn run(args: Args) -> Exit {
    if let Err(error) = logging::start(LogFormat::Text, &args.log_level) {
        eprintln!("--log-level: {error}");
        return Exit::WrongUse;
    }
    match demo(&args) {
        Ok(exit) => exit,
        Err(error) => {
            eprint!("muster demo: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            Exit::OurFault
        }
    }
}

fn demo(args: &Args) -> Result<Exit, DemoError> {
    let directory = Directory::make().map_err(DemoError::Directory)?;
    let program = std::env::current_exe().map_err(DemoError::Program)?;
    let plan = Plan {
        router: free_address(args.port),
        console: free_address(args.console_port),
        members: MEMBERS.iter().map(|name| ((*name).to_owned(), 2)).collect(),
    };
    let text = plan.configuration(directory.path(), &program);
    let file = directory.path().join("muster.toml");
    fs::write(&file, &text).map_err(DemoError::Directory)?;
    let settings = crate::config::parse(&text, &file.display().to_string()).map_err(DemoError::Config)?;
    let node = settings.nodes[0].clone();
    let selection = Selection::of_node(&settings, &node);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DemoError::Runtime)?;
    let who = "demo".into();
    let options = RolesOptions { settings, config_text: text, node, selection, who, take_over: false };
    let running = start_all(options).map_err(DemoError::Start)?;
    let stage = Stage { running: &running, plan, file, state_dir: directory.path().to_owned(), program };
    let result = runtime.block_on(stage.play(args.check));
    if !running.stop() {
        eprintln!("muster demo: not everything ended in order");
        return Ok(Exit::OurFault);
    }
    result
}

/// The running demo with all that belongs to it.
struct Stage<'r> {
    running: &'r Running,
    plan: Plan,
    file: PathBuf,
    state_dir: PathBuf,
    program: PathBuf,
}

impl Stage<'_> {
    async fn play(self, check: bool) -> Result<Exit, DemoError> {
        let mut signals = Signals::listen().map_err(DemoError::Runtime)?;
        let manager = self.running.manager.clone().ok_or(DemoError::Gone)?;
        // Cancelling any of these leaves nothing half done: the cell is stopped by the caller.
        tokio::select! {
            // A demo that is stopped has done what it was asked for; a check has not.
            () = signals.next() => Ok(if check { Exit::No } else { Exit::Yes }),
            name = self.running.any_ended() => {
                eprintln!("muster demo: the {name} has ended");
                Ok(Exit::OurFault)
            }
            result = self.show(manager, check) => result,
        }
    }

    async fn show(&self, manager: ManagerHandle, check: bool) -> Result<Exit, DemoError> {
        let router = wait_until_up(manager.clone(), self.plan.members.len()).await?;
        if check {
            return self.check(manager, router).await;
        }
        self.greet(router);
        std::future::pending().await
    }

    async fn check(&self, manager: ManagerHandle, router: SocketAddr) -> Result<Exit, DemoError> {
        let events = manager.clone();
        let check = Check {
            manager,
            router,
            plan: self.plan.clone(),
            state_dir: self.state_dir.clone(),
            program: self.program.clone(),
        };
        let findings = check.run(|text| eprintln!("{text}")).await.map_err(DemoError::Check)?;
        if !findings.ok {
            tell_events(&events).await;
        }
        let text = serde_json::to_string(&findings).expect("findings are plain data");
        let printed = print(format!("{text}\n").as_bytes());
        Ok(if findings.ok { printed } else { Exit::No })
    }

    fn greet(&self, router: SocketAddr) {
        let console = self.running.console.map(|address| address.to_string()).unwrap_or_default();
        let token = fs::read_to_string(self.state_dir.join(TOKEN_FILE)).unwrap_or_default();
        let (token, file) = (token.trim(), self.file.display());
        let program = shown(&self.program);
        let text = format!(
            "Muster runs a cluster of three members here, behind one address.\n\n\
             \x20 router    http://{router}/\n\
             \x20 console   http://{console}/login#token={token}\n\n\
             Try:\n\
             \x20 curl http://{router}/\n\
             \x20 {program} status --config {file}\n\
             \x20 {program} cluster drain shop shop-2 --config {file}\n\n\
             Ctrl-C stops everything.\n"
        );
        if print(text.as_bytes()) != Exit::Yes {
            tracing::warn!("the greeting could not be printed");
        }
    }
}

/// What happened to the cell meanwhile, for whoever wants to know why a promise did not hold.
async fn tell_events(manager: &ManagerHandle) {
    let asked = manager.ask(|reply| Request::Events { after: None, most: EVENTS_TOLD, reply });
    for event in asked.await.unwrap_or_default() {
        eprintln!("{} {} {}", event.at_ms, event.kind, event.text);
    }
}

/// The program as one would type it.
fn shown(program: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.as_deref().and_then(|here| program.strip_prefix(here).ok());
    relative.unwrap_or(program).display().to_string()
}

/// Waits for the router and all members, and tells where the router listens.
async fn wait_until_up(mut manager: ManagerHandle, members: usize) -> Result<SocketAddr, DemoError> {
    let deadline = tokio::time::Instant::now() + START_MAX;
    loop {
        manager.changed.borrow_and_update();
        let status = manager.ask(|reply| Request::Status { reply }).await.map_err(|_| DemoError::Gone)?;
        let address = status.routers.iter().flat_map(|router| &router.listening).next().copied();
        if let (Some(address), true) = (address, up_members(&status) == members) {
            return Ok(address);
        }
        match tokio::time::timeout_at(deadline, manager.changed.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(DemoError::Gone),
            Err(_) => {
                let seen =
                    format!("{} of {members} are up, the router listens on {address:?}", up_members(&status));
                return Err(DemoError::NotUp { seen });
            }
        }
    }
}

fn up_members(status: &CellStatus) -> usize {
    let members = status.clusters.iter().flat_map(|cluster| &cluster.members);
    members.filter(|member| member.state == RunState::Up).count()
}
