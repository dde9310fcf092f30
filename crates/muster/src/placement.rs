//! Runs what the managers place on this machine: that of last time at once, other things when they say so.
//!
//! One thread, which starts and stops routers and, where there are several managers, this machine's; each has threads of
//! its own. Keeps what it was told for the next start, also the cell's secrets on machines with a manager. Promises:
//! without a manager that leads the routers of last time run, and so does this machine's manager.

use crate::config;
use crate::identity::{KeptManager, Membership, Place};
use crate::kept_file;
use crate::link::ManagerAt;
use crate::manager::{ManagerOptions, cookie_keys_path};
use crate::role::RoleHandle;
use crate::roles::{self, Selection, StartError, Started};
use crate::router::{self, RouterError, RouterOptions};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use wire::id::{NodeName, RouterName};
use wire::link::{ManagerPlace, Placed};

/// Pause before a manager that did not start is started again: an address may be taken for a moment.
const MANAGER_AGAIN: Duration = Duration::from_secs(2);

/// Where and for whom things run.
#[derive(Debug)]
pub struct PlacementOptions {
    pub node: NodeName,
    pub state_dir: PathBuf,
    pub place: Place,
    /// What the agent hears.
    pub placed: watch::Receiver<Option<Placed>>,
    /// What of it is run by this process; the rest is only kept for those that do.
    pub selection: Selection,
}

/// Starts the thread, and what ran last time.
pub fn start(options: PlacementOptions) -> io::Result<RoleHandle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::Builder::new().name("placement".into()).spawn(move || {
        let mut placement =
            Placement { options, routers: BTreeMap::new(), manager: Vec::new(), told: String::new() };
        let wanted = placement.options.place.routers().unwrap_or_default();
        // A router that cannot be started now is reported by its absence; the manager's word brings another try.
        if placement.run_these(&wanted) {
            placement.run_manager();
            runtime.block_on(placement.follow(stopped));
        }
        for router in placement.routers.into_values().chain(placement.manager) {
            router.stop();
        }
    })?;
    Ok(RoleHandle { name: "placement", stop, thread })
}

/// Starts the manager of a node with what was kept for it, and its console; in the order in which they are stopped.
pub fn start_manager(
    kept: &KeptManager,
    node: &NodeName,
    state_dir: &Path,
) -> Result<Vec<RoleHandle>, StartError> {
    let settings = config::parse(&kept.config, "the kept configuration")
        .map_err(|problems| StartError::KeptConfig { node: node.clone(), problems: problems.to_string() })?;
    let listen = settings.console.listen;
    let options = ManagerOptions {
        settings,
        config_text: kept.config.clone(),
        is_users: kept.is_users,
        node: node.clone(),
        state_dir: state_dir.to_path_buf(),
        who: "muster run".into(),
    };
    let Started { manager, handle: _, console, address: _ } = roles::start_manager(options, listen)?;
    Ok(vec![console, manager])
}

/// Keeps what was placed here for the next start.
fn keep(options: &PlacementOptions, placed: &Placed) {
    let PlacementOptions { place, state_dir, .. } = options;
    let mut results = Vec::new();
    if place.routers().as_ref() != Some(&placed.routers) {
        results.push(place.keep_routers(&placed.routers));
    }
    if let Some(membership) = place.membership()
        && !placed.managers.is_empty()
        && membership.managers != placed.managers
    {
        let managers = placed.managers.clone();
        results.push(place.keep_membership(&Membership { managers, ..membership }));
    }
    match &placed.manager {
        Some(manager) => results.push(keep_manager(place, state_dir, manager)),
        None => results.push(place.forget_manager()),
    }
    for error in results.into_iter().filter_map(Result::err) {
        tracing::warn!(%error, "cannot keep what runs here for the next start");
    }
}

/// Each file only where it differs, and the one that starts a manager last.
fn keep_manager(place: &Place, state_dir: &Path, manager: &ManagerPlace) -> io::Result<()> {
    let secrets = &manager.secrets;
    let files = [
        (place.authority_key(), secrets.authority_key.clone()),
        (cookie_keys_path(state_dir), secrets.cookie_keys.iter().map(|key| format!("{key}\n")).collect()),
    ];
    for (path, text) in files.into_iter().filter(|(_, text)| !text.is_empty()) {
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            kept_file::write_text(&path, &text)?;
        }
    }
    let kept = KeptManager { config: manager.config.clone(), is_users: false };
    if place.manager().as_ref() == Some(&kept) { Ok(()) } else { place.keep_manager(&kept) }
}

struct Placement {
    options: PlacementOptions,
    routers: BTreeMap<RouterName, RoleHandle>,
    /// With its console, in the order in which they are stopped.
    manager: Vec<RoleHandle>,
    /// Why the manager did not start last.
    told: String,
}

impl Placement {
    async fn follow(&mut self, mut stopped: watch::Receiver<bool>) {
        let mut placed = self.options.placed.clone();
        let mut has_agent = true;
        loop {
            let is_missing = self.wants_manager() && self.manager.is_empty();
            // All may be cancelled: they only wait.
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                name = ended(&self.routers, &self.manager) => {
                    return tracing::error!(role = %name, "a role has ended by itself");
                }
                () = tokio::time::sleep(MANAGER_AGAIN), if is_missing => {
                    self.run_manager();
                    continue;
                }
                // When the agent has ended nobody places anything, and all goes on.
                changed = placed.changed(), if has_agent => has_agent = changed.is_ok(),
            }
            let Some(wanted) = placed.borrow_and_update().clone() else { continue };
            keep(&self.options, &wanted);
            if !self.run_these(&wanted.routers) {
                return;
            }
            self.run_manager();
        }
    }

    fn wants_manager(&self) -> bool {
        self.options.selection.manager && self.options.place.manager().is_some()
    }

    /// Starts or stops the manager, as was kept. One that does not start is tried again.
    fn run_manager(&mut self) {
        if !self.wants_manager() {
            if !self.manager.is_empty() {
                tracing::info!("the manager is placed here no longer");
            }
            for role in self.manager.drain(..) {
                role.stop();
            }
            return;
        }
        let PlacementOptions { node, state_dir, place, .. } = &self.options;
        let Some(kept) = place.manager().filter(|_| self.manager.is_empty()) else { return };
        match start_manager(&kept, node, state_dir) {
            Ok(roles) => {
                self.manager = roles;
                self.told.clear();
            }
            Err(error) => {
                let error = crate::logging::chain(&error);
                if self.told != error {
                    tracing::error!(error, "the manager of this node did not start; trying again");
                }
                self.told = error;
            }
        }
    }

    /// Starts and stops routers so that these run. Whether they do.
    fn run_these(&mut self, wanted: &[RouterName]) -> bool {
        if !self.options.selection.routers {
            return true;
        }
        let gone: Vec<RouterName> =
            self.routers.keys().filter(|name| !wanted.contains(name)).cloned().collect();
        for name in gone {
            tracing::info!(router = %name, "the router is placed here no longer");
            self.routers.remove(&name).map(RoleHandle::stop);
        }
        for name in wanted {
            if self.routers.contains_key(name) {
                continue;
            }
            match self.start(name.clone()) {
                Ok(router) => drop(self.routers.insert(name.clone(), router)),
                Err(error) => {
                    let error = crate::logging::chain(&error);
                    tracing::error!(router = %name, error, "the router did not start");
                    return false;
                }
            }
        }
        true
    }

    fn start(&self, router: RouterName) -> Result<RoleHandle, RouterError> {
        let PlacementOptions { node, state_dir, place, .. } = &self.options;
        let manager = ManagerAt::Cell(place.clone());
        let options = RouterOptions { node: node.clone(), router, state_dir: state_dir.clone(), manager };
        // Nobody asks for its sockets: members would end with this process, which another cannot replace.
        let (_, inbox) = mpsc::channel(1);
        router::start(options, inbox, None)
    }
}

/// Waits until some role ends although nobody has asked it to.
async fn ended(routers: &BTreeMap<RouterName, RoleHandle>, manager: &[RoleHandle]) -> String {
    let routers = routers.iter().map(|(name, router)| (format!("router {name}"), router));
    let all = routers.chain(manager.iter().map(|role| (role.name.to_owned(), role)));
    let mut waiting: Vec<_> = all.map(|(name, role)| (name, Box::pin(role.ended()))).collect();
    std::future::poll_fn(|context| {
        let mut polled = waiting.iter_mut().map(|(name, ended)| (name, ended.as_mut().poll(context)));
        let done = polled.find(|(_, poll)| poll.is_ready());
        done.map_or(Poll::Pending, |(name, _)| Poll::Ready(name.clone()))
    })
    .await
}
