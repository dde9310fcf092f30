//! Starts the roles of this process, each on threads of its own, and stops them in order.
//!
//! All roles meet at the manager's socket in the state directory, whether they share a process or not, so there is
//! one path only. Socket: `<state_dir>/manager.sock`, mode 0600: who may not read the directory may not speak.
//! Promise: when starting fails, what was started before is stopped again, and the error says which role it was.

use crate::agent::{self, AgentError, AgentOptions};
use crate::console::{self, ConsoleError, ConsoleOptions};
use crate::manager::handle::ManagerHandle;
use crate::manager::{self, ManagerError, ManagerOptions};
use crate::role::{RoleHandle, manager_socket, raise_file_limit};
use crate::router::{self, RouterError, RouterOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
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
    /// Everything that the configuration places on `node`: manager and console are on the first one.
    pub fn of_node(settings: &CellSettings, node: &NodeName) -> Self {
        let routers = settings.routers.iter().any(|router| router.node == *node);
        Self { manager: settings.nodes.first() == Some(node), agent: true, routers }
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
}

/// Starts what is selected: manager, console, agent, routers, in this order, because each looks for those before it.
pub fn start_all(options: RolesOptions) -> Result<Running, StartError> {
    raise_file_limit();
    let mut running = Running { console: None, manager: None, roles: Vec::new() };
    match start_each(options, &mut running) {
        Ok(()) => Ok(running),
        Err(error) => {
            running.stop();
            Err(error)
        }
    }
}

fn start_each(options: RolesOptions, running: &mut Running) -> Result<(), StartError> {
    let RolesOptions { settings, config_text, node, selection, who } = options;
    let state_dir = PathBuf::from(&settings.state_dir);
    let manager_socket = manager_socket(&state_dir);
    let console_listen = settings.console.listen;
    let here = settings.routers.iter().filter(|router| router.node == node && selection.routers);
    let routers: Vec<RouterName> = here.map(|router| router.name.clone()).collect();
    if selection.manager {
        let options = ManagerOptions { settings, config_text, state_dir: state_dir.clone(), who };
        let (role, handle) = manager::start(options).map_err(StartError::Manager)?;
        running.manager = Some(handle.clone());
        running.add(role);
        let options =
            ConsoleOptions { listen: console_listen, state_dir: state_dir.clone(), manager: handle };
        let (role, address) = console::start(options).map_err(StartError::Console)?;
        running.console = Some(address);
        running.add(role);
    }
    if selection.agent {
        let (state_dir, manager_socket) = (state_dir.clone(), manager_socket.clone());
        let started = agent::start(AgentOptions { node: node.clone(), state_dir, manager_socket });
        running.add(started.map_err(|source| StartError::Agent { node: node.clone(), source })?);
    }
    for router in routers {
        let (state_dir, manager_socket) = (state_dir.clone(), manager_socket.clone());
        let options = RouterOptions { node: node.clone(), router: router.clone(), state_dir, manager_socket };
        running.add(router::start(options).map_err(|source| StartError::Router { router, source })?);
    }
    Ok(())
}

impl Running {
    /// One role that was started by itself.
    pub fn only(role: RoleHandle) -> Self {
        Self { console: None, manager: None, roles: vec![role] }
    }

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

    /// Stops every role in order and waits for each. Whether all ended without a panic.
    pub fn stop(self) -> bool {
        let Self { console: _, manager, roles } = self;
        drop(manager);
        // Every role is stopped, also after one that failed.
        let failed = roles.into_iter().map(RoleHandle::stop).filter(|ended_well| !ended_well).count();
        failed == 0
    }
}
