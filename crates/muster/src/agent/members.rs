//! The processes of this node's members: hands each order to the task that owns the member's process.

use super::orphans::Children;
use super::ports::PortBook;
use super::process::{self, Command};
use logic::agent::Input;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::agent::Assignment;
use wire::id::MemberId;

/// Orders that may wait for one member. 4: start, stop and kill of one process, and the start of the next.
const ORDERS_MAX: usize = 4;
/// How long the end waits for keepers to clear up.
const END_WAIT: Duration = Duration::from_secs(2);

/// What all members share.
#[derive(Debug)]
pub struct Surroundings {
    pub inputs: mpsc::Sender<Input>,
    pub ports: RefCell<PortBook>,
    pub children: Rc<Children>,
    /// Upper control group, where this machine has them.
    pub cgroup: Option<PathBuf>,
    pub log_directory: PathBuf,
}

pub struct Members {
    surroundings: Rc<Surroundings>,
    orders: BTreeMap<MemberId, mpsc::Sender<Command>>,
    tasks: JoinSet<()>,
}

impl Members {
    pub fn new(surroundings: Surroundings) -> Self {
        Self { surroundings: Rc::new(surroundings), orders: BTreeMap::new(), tasks: JoinSet::new() }
    }

    pub fn order(&mut self, id: MemberId, command: Command) {
        let (surroundings, tasks) = (&self.surroundings, &mut self.tasks);
        let orders = self.orders.entry(id.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(ORDERS_MAX);
            tasks.spawn_local(process::look_after(id.clone(), surroundings.clone(), receiver));
            sender
        });
        if orders.try_send(command).is_err() {
            // The machine orders no second start before the first has ended, so there is always room.
            tracing::error!(member = %id, "an order for this member was lost");
        }
    }

    /// Forgets members that are gone; what their keepers still have to do, they do.
    pub fn retain(&mut self, is_known: impl Fn(&MemberId) -> bool) {
        self.orders.retain(|id, _| is_known(id));
        while self.tasks.try_join_next().is_some() {}
    }

    /// Members that are assigned no longer give their ports back.
    pub fn keep_ports(&self, assignments: &[Assignment]) {
        let names: BTreeSet<String> =
            assignments.iter().map(|assignment| assignment.id.to_string()).collect();
        self.surroundings.ports.borrow_mut().retain(|name| names.contains(name));
    }

    /// Waits until all keepers have cleared up. Whoever takes longer is killed by losing its agent.
    pub async fn end(mut self) {
        self.orders.clear();
        let all_gone = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(END_WAIT, all_gone).await.is_err() {
            tracing::warn!("some processes have not ended in time");
        }
        self.tasks.shutdown().await;
        if let Some(group) = &self.surroundings.cgroup {
            super::keeper::cgroup::remove(group);
        }
    }
}
