//! `muster run`: this node's part of the cell, until TERM or INT.
//!
//! Ends with 0 when it was asked to stop, 2 when the configuration or this machine does not allow it, 4 when a role
//! failed. A second signal ends it at once; what an agent has started ends with it in any case.

use super::Exit;
use crate::config;
use crate::identity::authority::Authority;
use crate::identity::{self, IdentityError, KeptManager, Membership, Place};
use crate::logging::{self, LogFormat, chain};
use crate::roles::{JoinedOptions, RolesOptions, Running, Selection, start_all, start_joined};
use crate::upgrade::notify;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use wire::error_code;
use wire::id::NodeName;
use wire::settings::CellSettings;

const EXAMPLES: &str = "\
Examples:
  muster run                                 a cell of one node, from ./muster.toml
  muster run --config cell.toml --node b     node b's part of the cell
  muster run --node b --role router          only the routers of node b
  muster run                                 without a file, on a machine that has joined a cell: its part of it

Stops on TERM and INT: routers finish their requests, then members are stopped. A second signal ends it at once.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file [default: ./muster.toml, else /etc/muster/muster.toml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run without a file, as the node that this machine has become by `muster join`; where it keeps that
    /// [default without a file: /var/lib/muster for root, else ~/.local/state/muster]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    state_dir: Option<PathBuf>,
    /// The node that this machine is; needed when the file has more than one and the machine has not joined
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Run only this role; may be repeated [default: all roles of the node]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<RoleName>,
    /// Take over what another process of this configuration's routers serves, as `muster router upgrade` wants it
    #[arg(long)]
    take_over: bool,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Which log lines are written: error, warn, info, debug, trace, or filters by module
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RoleName {
    /// With console
    Manager,
    Agent,
    Router,
}

pub fn run(args: Args) -> Exit {
    if let Err(error) = logging::start(args.log_format, &args.log_level) {
        eprintln!("--log-level: {error}");
        return Exit::WrongUse;
    }
    let what = match examine(&args) {
        Ok(what) => what,
        Err(message) => {
            eprintln!("{message}");
            return Exit::WrongUse;
        }
    };
    let (cell, node, started) = match what {
        What::Here(options) => (options.settings.name.clone(), options.node.clone(), start_all(*options)),
        What::Joined(cell, options) => (cell, options.node.clone(), start_joined(options)),
    };
    match started {
        Ok(running) => {
            let console = running.console.map(|address| format!("http://{address}"));
            tracing::info!(cell, %node, console, "running");
            notify::ready();
            until_stopped(running)
        }
        Err(error) => {
            eprintln!("{}", chain(&error));
            Exit::WrongUse
        }
    }
}

/// What a process is to run.
enum What {
    /// All that the file places here; the manager, if it is not here, is found by the socket.
    Here(Box<RolesOptions>),
    /// What the manager of another machine says; with the cell's name.
    Joined(String, JoinedOptions),
}

/// Everything that can be known before anything is started; the error is the text for the user.
fn examine(args: &Args) -> Result<What, String> {
    let path = args.config.clone().unwrap_or_else(config::default_path);
    let is_without_file = args.state_dir.is_some() || (args.config.is_none() && !path.exists());
    if is_without_file {
        let state_dir = args.state_dir.clone().or_else(|| config::default_state_dir().map(PathBuf::from));
        match state_dir.map(|state_dir| (Place::of(&state_dir).membership(), state_dir)) {
            Some((Some(membership), state_dir)) => return joined(args, membership, state_dir),
            Some((None, state_dir)) if args.state_dir.is_some() => {
                return Err(not_joined(&state_dir));
            }
            // Without either, the file is what is missing.
            Some((None, _)) | None => {}
        }
    }
    let file = path.display().to_string();
    let (settings, config_text) = config::load(&path).map_err(|problems| problems.to_string())?;
    let membership = Place::of(Path::new(&settings.state_dir)).membership();
    let node = own_node(args, &settings, membership.as_ref(), &file)?;
    if !settings.nodes.contains(&node) {
        return Err(config::no_such_node(&settings, &file, &node).to_string());
    }
    let state_dir = PathBuf::from(&settings.state_dir);
    let is_manager = settings.managers().contains(&node);
    let has_authority = Place::of(&state_dir).authority_key().exists();
    let shares = settings.has_several_managers();
    if settings.manager.listen.is_some() && (!is_manager || (shares && !has_authority)) {
        return match membership {
            Some(membership) if membership.node == node => joined(args, membership, state_dir),
            Some(membership) => Err(other_node(&node, &membership)),
            None if settings.managers().first() == Some(&node) => {
                let error = IdentityError::NoAuthority { path: Place::of(&state_dir).authority_key() };
                Err(error.to_string())
            }
            None => Err(not_joined(&state_dir)),
        };
    }
    if let Some(membership) = membership.filter(|_| !has_authority) {
        return Err(is_of_another_cell(&file, &state_dir, &membership));
    }
    let selection = select(&args.roles, &settings, &node)?;
    // Addresses that are taken over are in use, and rightly.
    let checked = Selection { routers: selection.routers && !args.take_over, ..selection };
    let check = |roles| config::check_environment(&settings, &config_text, &file, &node, roles);
    let problems = check(Selection { agent: false, ..checked });
    if !problems.is_empty() {
        return Err(problems.to_string());
    }
    // What one member lacks does not keep the others from running; its run state will say what it is.
    for problem in check(Selection { manager: false, routers: false, ..checked }).list {
        let text = problem.to_string();
        tracing::warn!(key = %problem.key, "{}", text.lines().next().unwrap_or_default());
    }
    if shares {
        let membership = settle(&settings, config_text, &node)?;
        return joined(args, membership, state_dir);
    }
    Ok(What::Here(Box::new(RolesOptions {
        settings,
        config_text,
        node,
        selection,
        who: "muster run".into(),
        take_over: args.take_over,
    })))
}

/// Which node of the configuration this machine is.
fn own_node(
    args: &Args,
    settings: &CellSettings,
    membership: Option<&Membership>,
    file: &str,
) -> Result<NodeName, String> {
    match (&args.node, settings.nodes.as_slice(), membership) {
        (Some(name), _, _) => Ok(NodeName::from(name.as_str())),
        (None, [only], _) => Ok(only.clone()),
        (None, _, Some(membership)) => Ok(membership.node.clone()),
        (None, nodes, None) => {
            let names: Vec<&str> = nodes.iter().map(|node| node.0.as_str()).collect();
            Err(format!("{file} has several nodes; say with --node which one this is: {}", names.join(", ")))
        }
    }
}

/// This machine's part of a cell whose manager is elsewhere.
fn joined(args: &Args, membership: Membership, state_dir: PathBuf) -> Result<What, String> {
    if let Some(name) = args.node.as_ref().filter(|name| **name != membership.node.0) {
        return Err(other_node(&name.as_str().into(), &membership));
    }
    let wants = |role| args.roles.is_empty() || args.roles.contains(&role);
    let (manager, agent, routers) =
        (wants(RoleName::Manager), wants(RoleName::Agent), wants(RoleName::Router));
    if args.roles.contains(&RoleName::Manager) && Place::of(&state_dir).manager().is_none() {
        return Err(format!("--role manager: no manager is placed on node {}", membership.node));
    }
    let selection = Selection { manager, agent, routers };
    let node = membership.node;
    Ok(What::Joined(membership.cell, JoinedOptions { state_dir, node, selection, take_over: args.take_over }))
}

/// Keeps what the file says of this manager's cell as if it had joined: with several managers each machine runs what the
/// one that leads says. What cannot be written is an error only where nothing was kept before.
fn settle(settings: &CellSettings, config: String, node: &NodeName) -> Result<Membership, String> {
    let place = Place::of(Path::new(&settings.state_dir));
    let managers = settings.manager_addresses();
    let membership = Membership { cell: settings.name.clone(), node: node.clone(), managers };
    let kept = place
        .keep_membership(&membership)
        .and_then(|()| place.keep_manager(&KeptManager { config, is_users: true }));
    if let Err(source) = kept {
        let error = chain(&IdentityError::Write { path: place.path().to_path_buf(), source });
        let is_known =
            place.membership().is_some_and(|kept| kept.cell == membership.cell && kept.node == *node);
        if !is_known || place.manager().is_none() {
            return Err(error);
        }
        // A full disk keeps no manager from starting: the store says what is in force.
        tracing::warn!(
            error,
            "what the file says is not kept; this manager starts with what was kept before"
        );
    }
    if let Err(IdentityError::None { .. }) = identity::load(&place) {
        let life = Duration::from_millis(settings.manager.certificate_life_ms);
        let made = Authority::load(&place).and_then(|authority| authority.issue_own(&place, node, life));
        made.map_err(|error| chain(&error))?;
    }
    Ok(membership)
}

/// The file would run a cell of its own where the identity of a node of another one lies.
fn is_of_another_cell(file: &str, state_dir: &Path, membership: &Membership) -> String {
    let Membership { cell, node, .. } = membership;
    let directory = state_dir.display();
    format!(
        "{}: {file} describes a cell of its own, and this machine has joined the cell {cell} as node {node} \
         ({directory}). To run as that node: `muster run --state-dir {directory}`; to run the file's cell: give it another \
         state_dir, or remove {}",
        error_code::IN_A_CELL_ALREADY,
        Place::of(state_dir).path().display()
    )
}

fn other_node(node: &NodeName, membership: &Membership) -> String {
    format!("--node {node}: this machine has joined the cell {} as node {}", membership.cell, membership.node)
}

fn not_joined(state_dir: &Path) -> String {
    let directory = Place::of(state_dir).path().to_path_buf();
    let error = IdentityError::None { directory };
    format!("{error}; `muster node token NODE` on the manager's machine says how it joins")
}

fn select(roles: &[RoleName], settings: &CellSettings, node: &NodeName) -> Result<Selection, String> {
    let of_node = Selection::of_node(settings, node);
    if roles.is_empty() {
        return Ok(of_node);
    }
    if roles.contains(&RoleName::Router) && !of_node.routers {
        return Err(format!("--role router: the configuration has no router on node {node}"));
    }
    if roles.contains(&RoleName::Manager) && !of_node.manager {
        let nodes: Vec<&str> = settings.managers().iter().map(|node| node.0.as_str()).collect();
        return Err(format!("--role manager: managers run on {}, and not on {node}", nodes.join(", ")));
    }
    Ok(Selection {
        manager: roles.contains(&RoleName::Manager),
        agent: roles.contains(&RoleName::Agent),
        routers: roles.contains(&RoleName::Router),
    })
}

/// The two signals that ask to stop.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Must be called within a runtime; from then on the signals do not end the process by themselves.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Safe to cancel.
    pub async fn next(&mut self) {
        // Either means the same; losing one of two at once is harmless.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for a signal, or for a role to end by itself, and then stops all.
pub fn until_stopped(running: Running) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let mut signals = Signals::listen()?;
            // Both may be cancelled: they only wait.
            let failed = tokio::select! {
                () = signals.next() => None,
                role = running.any_ended() => Some(role),
            };
            if failed.is_some() && running.is_handed_over() {
                // The last clients of a process whose place another one has taken.
                tokio::select! {
                    () = signals.next() => {}
                    () = running.all_ended() => {}
                }
                return Ok((stop(running, &mut signals).await, true));
            }
            match failed {
                None => tracing::info!("stopping; a second signal ends at once"),
                Some(role) => tracing::error!(role, "a role has ended by itself; stopping the others"),
            }
            Ok((stop(running, &mut signals).await, failed.is_none()))
        })
    });
    match outcome {
        Ok((true, true)) => Exit::Yes,
        Ok((_, _)) => Exit::OurFault,
        Err(error) => {
            eprintln!("cannot wait for signals: {error}");
            Exit::OurFault
        }
    }
}

/// Stops all roles, or leaves them at the next signal. Whether they ended well.
pub async fn stop(running: Running, signals: &mut Signals) -> bool {
    let (done_in, done) = oneshot::channel();
    // Stopping blocks; its thread is left behind only when the whole process ends.
    let thread = std::thread::Builder::new().name("stop".into());
    let spawned = thread.spawn(move || {
        // Nobody waits any more after a second signal.
        let _ = done_in.send(running.stop());
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot stop in good order");
        return false;
    }
    tokio::select! {
        ended = done => ended.unwrap_or(false),
        () = signals.next() => {
            tracing::warn!("stopped at once");
            false
        }
    }
}
