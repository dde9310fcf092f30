//! Starts the roles of this process, each on threads of its own, and stops them in order.
//!
//! All roles meet at the manager's socket in the state directory, whether they share a process or not, so there is
//! one path only. Socket: `<state_dir>/manager.sock`, mode 0600: who may not read the directory may not speak.
//! Promise: when starting fails, what was started before is stopped again, and the error says which role it was.

use crate::agent::{self, AgentError, AgentOptions};
use crate::console::{self, ConsoleError, ConsoleOptions};
use crate::identity::{self, IdentityError, renewal};
use crate::late_manager;
use crate::link::ManagerAt;
use crate::logging::chain;
use crate::manager::handle::{self, ManagerHandle};
use crate::manager::{self, ManagerError, ManagerOptions};
use crate::placement::{self, PlacementOptions};
use crate::role::{RoleHandle, manager_socket, raise_file_limit};
use crate::router::handover::{REQUESTS_MAX, Request, Taken};
use crate::router::plugin_cfg::{Begun, FileOptions};
use crate::router::{self, RouterError, RouterOptions};
use crate::upgrade::{
    self, Before, Origin, Predecessor, RouterAccess, ServeError, ServeOptions, TakeOverError,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, watch};
use wire::id::{NodeName, RouterName};
use wire::settings::CellSettings;

/// Which roles a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// With console.
    pub manager: bool,
    pub agent: bool,
    pub routers: bool,
}

impl Selection {
    /// Everything that the configuration places on `node`.
    pub fn of_node(settings: &CellSettings, node: &NodeName) -> Self {
        let routers = settings.routers.iter().any(|router| router.node == *node);
        Self { manager: settings.managers().contains(node), agent: true, routers }
    }
}

/// What this process shall run.
#[derive(Debug, Clone)]
pub struct RolesOptions {
    pub settings: CellSettings,
    /// From which `settings` were made.
    pub config_text: String,
    pub node: NodeName,
    pub selection: Selection,
    /// Who gave the configuration, for its history.
    pub who: String,
    /// Take over what another process serves.
    pub take_over: bool,
}

/// Why not all roles run. None is left running; see the source for whether a retry is safe.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the manager did not start")]
    Manager(#[source] ManagerError),
    #[error("the console did not start")]
    Console(#[source] ConsoleError),
    #[error("the agent of node {node} did not start")]
    Agent {
        node: NodeName,
        #[source]
        source: AgentError,
    },
    #[error("router {router} did not start")]
    Router {
        router: RouterName,
        #[source]
        source: RouterError,
    },
    #[error("this machine is no node of a cell")]
    Identity(#[source] IdentityError),
    #[error(
        "no router is known to run on node {node}: the manager says so to its agent, which has to run there first"
    )]
    NoRouters { node: NodeName },
    #[error("no manager is known to run on node {node}: the configuration says which nodes have one")]
    NoManager { node: NodeName },
    #[error("the configuration with which the manager of node {node} starts is not right: {problems}")]
    KeptConfig { node: NodeName, problems: String },
    #[error("the system gave no thread")]
    System {
        #[source]
        source: std::io::Error,
    },
    #[error("nothing was taken over")]
    TakeOver(#[source] TakeOverError),
    #[error("the routers cannot be upgraded later")]
    Upgrade(#[source] ServeError),
}

impl StartError {
    /// Whether it is the manager's alone, and may be over soon.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Manager(error) if error.may_pass())
    }
}

/// The roles that run in this process. Dropping it does not stop them; `stop` does.
#[derive(Debug)]
pub struct Running {
    /// Where the console listens, if it is here.
    pub console: Option<SocketAddr>,
    /// The manager, if it is here.
    pub manager: Option<ManagerHandle>,
    /// In the order in which they are stopped.
    roles: Vec<RoleHandle>,
    /// Another process has taken over; what runs here only answers the clients that are left.
    is_handed_over: Arc<AtomicBool>,
}

/// Starts what is selected: manager, console, agent, routers, in this order, because each looks for those before it.
pub fn start_all(options: RolesOptions) -> Result<Running, StartError> {
    raise_file_limit();
    let is_handed_over = Arc::default();
    let mut running = Running { console: None, manager: None, roles: Vec::new(), is_handed_over };
    match start_each(options, &mut running) {
        Ok(()) => Ok(running),
        Err(error) => {
            running.stop();
            Err(error)
        }
    }
}

fn start_each(options: RolesOptions, running: &mut Running) -> Result<(), StartError> {
    let RolesOptions { settings, config_text, node, selection, who, take_over } = options;
    let state_dir = PathBuf::from(&settings.state_dir);
    let manager_at = ManagerAt::Socket(manager_socket(&state_dir));
    let console_listen = settings.console.listen;
    let here = settings.routers.iter().filter(|router| router.node == node && selection.routers);
    let routers: Vec<RouterName> = here.map(|router| router.name.clone()).collect();
    if selection.manager {
        let options = ManagerOptions {
            settings,
            config_text,
            is_users: true,
            node: node.clone(),
            state_dir: state_dir.clone(),
            who,
        };
        // Others that run here serve from what they keep.
        let has_company = selection.agent || selection.routers;
        match start_manager(options.clone(), console_listen) {
            Ok(Started { manager, handle, console, address }) => {
                running.manager = Some(handle);
                running.console = Some(address);
                running.add(manager);
                running.add(console);
            }
            Err(why) if has_company && why.may_pass() => {
                let error = chain(&why);
                tracing::error!(error, "the manager cannot start now and is tried again; the rest starts");
                let late = late_manager::start(options, console_listen, why);
                running.add(late.map_err(|source| StartError::System { source })?);
            }
            Err(error) => return Err(error),
        }
    }
    if selection.agent {
        let (state_dir, manager) = (state_dir.clone(), manager_at.clone());
        // The file places the routers of the manager's own machine.
        let placed = watch::Sender::default();
        let started = agent::start(AgentOptions { node: node.clone(), state_dir, manager, placed });
        running.add(started.map_err(|source| StartError::Agent { node: node.clone(), source })?);
    }
    let origin = upgrade_origin(selection);
    start_routers(&node, &state_dir, &manager_at, routers, origin, take_over, running)
}

/// A manager that runs, and its console.
pub struct Started {
    pub manager: RoleHandle,
    pub handle: ManagerHandle,
    pub console: RoleHandle,
    /// Where the console listens.
    pub address: SocketAddr,
}

/// Starts both, or neither.
pub fn start_manager(options: ManagerOptions, listen: SocketAddr) -> Result<Started, StartError> {
    let state_dir = options.state_dir.clone();
    let started = manager::start(options).map_err(StartError::Manager)?;
    let handle::Started { role, manager, accounts, callers } = started;
    let handle = manager.clone();
    match console::start(ConsoleOptions { listen, state_dir, manager, accounts, callers: Some(callers) }) {
        Ok((console, address)) => Ok(Started { manager: role, handle, console, address }),
        Err(error) => {
            role.stop();
            Err(StartError::Console(error))
        }
    }
}

/// What a machine that has joined a cell shall run. All else the manager says.
#[derive(Debug, Clone)]
pub struct JoinedOptions {
    pub state_dir: PathBuf,
    pub node: NodeName,
    /// Of what is placed on the node.
    pub selection: Selection,
    /// Take over what another process serves.
    pub take_over: bool,
}

/// Starts the roles of a node that has joined a cell, whose managers say what they are.
pub fn start_joined(options: JoinedOptions) -> Result<Running, StartError> {
    raise_file_limit();
    let is_handed_over = Arc::default();
    let mut running = Running { console: None, manager: None, roles: Vec::new(), is_handed_over };
    match start_each_joined(options, &mut running) {
        Ok(()) => Ok(running),
        Err(error) => {
            running.stop();
            Err(error)
        }
    }
}

fn start_each_joined(options: JoinedOptions, running: &mut Running) -> Result<(), StartError> {
    let JoinedOptions { state_dir, node, selection, take_over } = options;
    let place = identity::Place::of(&state_dir);
    identity::load(&place).map_err(StartError::Identity)?;
    let manager = ManagerAt::Cell(place.clone());
    let system = |source| StartError::System { source };
    running.add(renewal::start(place.clone()).map_err(system)?);
    if !selection.agent && selection.manager {
        let kept = place.manager().ok_or(StartError::NoManager { node: node.clone() })?;
        let roles = placement::start_manager(&kept, &node, &state_dir)?;
        roles.into_iter().rev().for_each(|role| running.add(role));
    }
    if !selection.agent && !selection.routers {
        return Ok(());
    }
    if !selection.agent {
        let routers = place.routers().unwrap_or_default();
        if routers.is_empty() {
            return Err(StartError::NoRouters { node });
        }
        let origin = upgrade_origin(selection);
        return start_routers(&node, &state_dir, &manager, routers, origin, take_over, running);
    }
    let placed = watch::Sender::default();
    let seen = placed.subscribe();
    let agent_options = AgentOptions { node: node.clone(), state_dir: state_dir.clone(), manager, placed };
    let started = agent::start(agent_options);
    running.add(started.map_err(|source| StartError::Agent { node: node.clone(), source })?);
    let options = PlacementOptions { node, state_dir, place, placed: seen, selection };
    running.add(placement::start(options).map_err(system)?);
    Ok(())
}

/// Starts routers, each for itself or in the place of another process's.
fn start_routers(
    node: &NodeName,
    state_dir: &Path,
    manager: &ManagerAt,
    routers: Vec<RouterName>,
    origin: Result<Origin, String>,
    take_over: bool,
    running: &mut Running,
) -> Result<(), StartError> {
    if routers.is_empty() {
        return Ok(());
    }
    let mut place = Place::find(upgrade::socket(state_dir), &routers, take_over)?;
    for router in routers {
        let options = RouterOptions {
            node: node.clone(),
            router: router.clone(),
            state_dir: state_dir.to_path_buf(),
            manager: manager.clone(),
        };
        let (inbox, taken) = place.prepare(&router);
        let started = router::start(options, inbox, taken);
        running.add(started.map_err(|source| StartError::Router { router, source })?);
    }
    place.serve(origin, running)
}

/// Starts a router without a cell, and what is needed to replace it later. Says which file it serves from.
pub fn start_from_file(
    options: FileOptions,
    state_dir: &Path,
    take_over: bool,
) -> Result<(Running, Begun), StartError> {
    let mut running =
        Running { console: None, manager: None, roles: Vec::new(), is_handed_over: Arc::default() };
    let router = options.base.name.clone();
    let socket = upgrade::socket_of_file(state_dir, &options.path);
    let mut place = Place::find(socket, std::slice::from_ref(&router), take_over)?;
    let (inbox, taken) = place.prepare(&router);
    let started = router::start_from_file(options, state_dir, inbox, taken);
    let (role, begun) = started.map_err(|source| StartError::Router { router, source })?;
    running.add(role);
    let selection = Selection { manager: false, agent: false, routers: true };
    match place.serve(upgrade_origin(selection), &mut running) {
        Ok(()) => Ok((running, begun)),
        Err(error) => {
            running.stop();
            Err(error)
        }
    }
}

/// Where the routers of this process can be asked for, and whose place they take.
struct Place {
    socket: PathBuf,
    predecessor: Option<Predecessor>,
    routers: Vec<RouterAccess>,
}

impl Place {
    fn find(socket: PathBuf, routers: &[RouterName], take_over: bool) -> Result<Self, StartError> {
        let found = if take_over { Predecessor::find(&socket, routers) } else { Ok(None) };
        Ok(Self { socket, predecessor: found.map_err(StartError::TakeOver)?, routers: Vec::new() })
    }

    /// What a router is started with.
    fn prepare(&mut self, router: &RouterName) -> (mpsc::Receiver<Request>, Option<Taken>) {
        let taken = self.predecessor.as_mut().and_then(|predecessor| predecessor.taken(router));
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        self.routers.push(RouterAccess { router: router.clone(), requests });
        (inbox, taken)
    }

    /// Waits until every router that takes another's place serves, and listens for those who want this one's.
    fn serve(self, origin: Result<Origin, String>, running: &mut Running) -> Result<(), StartError> {
        let Self { socket, predecessor, routers } = self;
        let seat = upgrade::Seat::prepare(&socket, predecessor.is_none()).map_err(StartError::Upgrade)?;
        let before = predecessor.map_or(Ok(Before::Nobody), Predecessor::relieve);
        let before = before.map_err(StartError::TakeOver)?;
        let is_handed_over = running.is_handed_over.clone();
        let options = ServeOptions { seat, routers, origin, before, is_handed_over };
        running.add(upgrade::serve(options).map_err(StartError::Upgrade)?);
        Ok(())
    }
}

/// How a successor of this process is started, or why it can have none.
fn upgrade_origin(selection: Selection) -> Result<Origin, String> {
    if selection.agent || selection.manager {
        return Err("this process is not a router alone: its members would end with its agent, and its manager \
                    cannot be in two processes. Run routers in a process of their own (`muster run --role router`), \
                    or restart this one"
            .into());
    }
    if std::process::id() == 1 {
        return Err(
            "this process is the first of its container, which ends with it: replace the container".into()
        );
    }
    Origin::remember().map_err(|error| format!("it is not known which program this is: {error}"))
}

impl Running {
    /// What was started last is stopped first: routers finish their requests while members still run, the agent
    /// stops members while the manager still hears of it.
    fn add(&mut self, role: RoleHandle) {
        self.roles.insert(0, role);
    }

    /// Waits until some role ends although nobody has asked it to; its name. Safe to cancel.
    pub async fn any_ended(&self) -> &'static str {
        let mut waiting: Vec<_> = self.roles.iter().map(|role| Box::pin(role.ended())).collect();
        std::future::poll_fn(|context| {
            let polls = waiting.iter_mut().map(|ended| ended.as_mut().poll(context));
            polls.into_iter().find(|poll| poll.is_ready()).unwrap_or(std::task::Poll::Pending)
        })
        .await
    }

    /// Whether another process has taken over.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over.load(Ordering::SeqCst)
    }

    /// Waits until every role has ended by itself. Safe to cancel.
    pub async fn all_ended(&self) {
        for role in &self.roles {
            role.ended().await;
        }
    }

    /// Stops every role in order and waits for each. Whether all ended without a panic.
    pub fn stop(self) -> bool {
        let Self { console: _, manager, roles, is_handed_over: _ } = self;
        drop(manager);
        // Every role is stopped, also after one that failed.
        let failed = roles.into_iter().map(RoleHandle::stop).filter(|ended_well| !ended_well).count();
        failed == 0
    }
}
