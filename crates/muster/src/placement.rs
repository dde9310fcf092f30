//! Runs the routers that the manager places on this machine: those of last time at once, others when it says so.
//!
//! One thread, which starts and stops routers; each has threads of its own. Promise: without a manager the routers of
//! last time run.

use crate::identity::Place;
use crate::link::ManagerAt;
use crate::role::RoleHandle;
use crate::router::{self, RouterError, RouterOptions};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::task::Poll;
use tokio::sync::{mpsc, watch};
use wire::id::{NodeName, RouterName};

/// Where and for whom routers run.
#[derive(Debug)]
pub struct PlacementOptions {
    pub node: NodeName,
    pub state_dir: PathBuf,
    pub place: Place,
    /// What the agent hears.
    pub placed: watch::Receiver<Option<Vec<RouterName>>>,
}

/// Starts the thread, and the routers of last time.
pub fn start(options: PlacementOptions) -> io::Result<RoleHandle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::Builder::new().name("routers".into()).spawn(move || {
        let mut placement = Placement { options, running: BTreeMap::new() };
        let wanted = placement.options.place.routers().unwrap_or_default();
        // A router that cannot be started now is reported by its absence; the manager's word brings another try.
        if placement.run_these(&wanted) {
            runtime.block_on(placement.follow(stopped));
        }
        for (_, router) in placement.running {
            router.stop();
        }
    })?;
    Ok(RoleHandle { name: "routers", stop, thread })
}

/// Starts a thread that only keeps which routers are placed here, for the process that runs them.
pub fn remember(options: PlacementOptions) -> io::Result<RoleHandle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, mut stopped) = watch::channel(false);
    let thread = std::thread::Builder::new().name("routers".into()).spawn(move || {
        let PlacementOptions { place, mut placed, .. } = options;
        runtime.block_on(async {
            let keeping = async {
                while placed.changed().await.is_ok() {
                    if let Some(wanted) = placed.borrow_and_update().clone() {
                        keep(&place, &wanted);
                    }
                }
                std::future::pending::<()>().await;
            };
            // What is cancelled only waits.
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => {}
                () = keeping => {}
            }
        });
    })?;
    Ok(RoleHandle { name: "routers", stop, thread })
}

fn keep(place: &Place, wanted: &Vec<RouterName>) {
    if place.routers().as_ref() != Some(wanted)
        && let Err(error) = place.keep_routers(wanted)
    {
        tracing::warn!(%error, "cannot keep which routers run here for the next start");
    }
}

struct Placement {
    options: PlacementOptions,
    running: BTreeMap<RouterName, RoleHandle>,
}

impl Placement {
    async fn follow(&mut self, mut stopped: watch::Receiver<bool>) {
        let mut placed = self.options.placed.clone();
        let mut has_agent = true;
        loop {
            // All may be cancelled: they only wait.
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                name = ended(&self.running) => {
                    return tracing::error!(router = %name, "a router has ended by itself");
                }
                // When the agent has ended nobody places routers, and these go on.
                changed = placed.changed(), if has_agent => has_agent = changed.is_ok(),
            }
            let Some(wanted) = placed.borrow_and_update().clone() else { continue };
            keep(&self.options.place, &wanted);
            if !self.run_these(&wanted) {
                return;
            }
        }
    }

    /// Starts and stops routers so that these run. Whether they do.
    fn run_these(&mut self, wanted: &[RouterName]) -> bool {
        let gone: Vec<RouterName> =
            self.running.keys().filter(|name| !wanted.contains(name)).cloned().collect();
        for name in gone {
            tracing::info!(router = %name, "the router is placed here no longer");
            self.running.remove(&name).map(RoleHandle::stop);
        }
        for name in wanted {
            if self.running.contains_key(name) {
                continue;
            }
            match self.start(name.clone()) {
                Ok(router) => drop(self.running.insert(name.clone(), router)),
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

/// Waits until some router ends although nobody has asked it to.
async fn ended(running: &BTreeMap<RouterName, RoleHandle>) -> RouterName {
    let mut waiting: Vec<_> = running.iter().map(|(name, router)| (name, Box::pin(router.ended()))).collect();
    std::future::poll_fn(|context| {
        let mut polled = waiting.iter_mut().map(|(name, ended)| (name, ended.as_mut().poll(context)));
        let done = polled.find(|(_, poll)| poll.is_ready());
        done.map_or(Poll::Pending, |(name, _)| Poll::Ready((*name).clone()))
    })
    .await
}
