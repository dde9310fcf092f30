//! The API for machines of the cell, over connections that the manager has accepted and whose certificate it has seen.
//!
//! Promises: a connection ends when its certificate expires or counts no longer; one machine cannot take the places of
//! the others. Not here: TLS, and who is a node (see `manager/strangers.rs` and `manager/enrol.rs`).

use super::server::{Peer, Shared, serve_http};
use crate::manager::handle::{NodeCaller, NodeCallers, NodeRecords};
use logic::enrol::{Bearer, admit};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::id::NodeName;

/// Connections of all machines. 256: people and programs on many machines, each with a few.
const CONNECTIONS_MAX: usize = 256;
/// Of one machine.
const CONNECTIONS_PER_NODE_MAX: usize = 16;

type Counts = Rc<RefCell<BTreeMap<NodeName, usize>>>;

/// A place among the connections; dropping it gives it back.
struct PlaceTaken {
    counts: Counts,
    node: NodeName,
}

impl PlaceTaken {
    fn take(counts: &Counts, node: &NodeName) -> Option<Self> {
        let mut counted = counts.borrow_mut();
        let here = counted.get(node).copied().unwrap_or(0);
        if here >= CONNECTIONS_PER_NODE_MAX || counted.values().sum::<usize>() >= CONNECTIONS_MAX {
            return None;
        }
        counted.insert(node.clone(), here + 1);
        Some(Self { counts: counts.clone(), node: node.clone() })
    }
}

impl Drop for PlaceTaken {
    fn drop(&mut self) {
        let mut counted = self.counts.borrow_mut();
        match counted.get_mut(&self.node) {
            Some(here) if *here > 1 => *here -= 1,
            Some(_) | None => drop(counted.remove(&self.node)),
        }
    }
}

/// Serves until `stopping` turns true or the manager has ended. Must run within a `LocalSet`.
pub async fn serve(shared: Rc<Shared>, callers: NodeCallers, mut stopping: watch::Receiver<bool>) {
    let NodeCallers { mut connections, records } = callers;
    let counts = Counts::default();
    let mut tasks = JoinSet::new();
    loop {
        // All may be cancelled: a connection stays in the queue, and a task that ended is told once.
        let caller = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection of a machine broke");
                }
                continue;
            }
            caller = connections.recv() => caller,
        };
        let Some(caller) = caller else { break };
        match PlaceTaken::take(&counts, &caller.bearer.node) {
            Some(place) => {
                let serving = connection(shared.clone(), caller, records.clone(), stopping.clone());
                tasks.spawn_local(async move {
                    serving.await;
                    drop(place);
                });
            }
            None => {
                tracing::warn!(node = %caller.bearer.node, "too many connections of one machine to the API");
            }
        }
    }
    // Each is told to finish by itself.
    while tasks.join_next().await.is_some() {}
}

async fn connection(
    shared: Rc<Shared>,
    caller: NodeCaller,
    records: watch::Receiver<Option<NodeRecords>>,
    mut stopping: watch::Receiver<bool>,
) {
    let NodeCaller { stream, from, bearer, until } = caller;
    let peer = Peer { address: from, node: Some(bearer.node.clone()) };
    // Whichever comes first ends the connection, and an answer under way with it: who is cut off hears nothing more.
    tokio::select! {
        () = serve_http(shared, stream, peer, &mut stopping) => {}
        () = tokio::time::sleep_until(until) => tracing::info!(%from, "a node's certificate has expired"),
        () = counts_no_longer(records, &bearer) => tracing::info!(%from, node = %bearer.node, "a node is cut off"),
    }
}

/// Waits until the certificate counts no longer.
async fn counts_no_longer(mut records: watch::Receiver<Option<NodeRecords>>, bearer: &Bearer) {
    let record = |records: &Option<NodeRecords>| records.as_ref()?.get(&bearer.node).cloned();
    let counts = |records: &_| admit(record(records).as_ref(), bearer.issued_us).is_ok();
    // An error means that the manager ends, and this connection with it.
    drop(records.wait_for(|records| !counts(records)).await);
}
