//! What a manager does while another one leads, or nobody: it says so to whoever comes, and where to go instead.
//!
//! Promise: nothing is decided and nothing is kept for a later term, but who was heard (see `listening`). Not here: who leads
//! (see `election`).

use super::Base;
use super::archive::{LEADER_KEY, LeaderRecord};
use super::election::{Election, Lease, Standing};
use super::enrol::{NODE_PREFIX, read_record};
use super::front::Front;
use super::handle::Leadership;
use super::links::{self, Elsewhere, Reception};
use super::listening;
use super::strangers;
use logic::model::{Change, Read};
use std::rc::Rc;
use std::time::Duration;
use store::{Store, StoreError};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Pause after the store could not be read.
const AGAIN: Duration = Duration::from_millis(500);

/// Turns everybody away as long as it lives.
pub struct WaitingRoom {
    elsewhere: Rc<Elsewhere>,
    _tasks: JoinSet<()>,
}

impl WaitingRoom {
    /// Must be called within a `LocalSet`.
    pub fn open(base: &Base) -> Self {
        let elsewhere = Rc::new(Elsewhere::default());
        let reception = Reception::Follows(elsewhere.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn_local(links::accept(base.local.clone(), reception.clone()));
        if let Some(front) = &base.front {
            tasks.spawn_local(strangers::accept(front.clone(), reception));
        }
        Self { elsewhere, _tasks: tasks }
    }
}

/// Waits until this manager leads; None: it is asked to stop.
pub async fn until_leading(base: &mut Base, store: &Store, election: &Election) -> Option<Lease> {
    let room = WaitingRoom::open(base);
    let (found_in, found) = watch::channel(None);
    let mut finding = JoinSet::new();
    finding.spawn_local(find_leader(store.clone(), found_in));
    if let Some(front) = base.front.clone() {
        finding.spawn_local(follow_records(store.clone(), front.clone()));
        if let Some(heartbeats) = base.heartbeats.clone() {
            let node = base.own.node.clone();
            finding.spawn_local(listening::listen(store.clone(), node, front, heartbeats));
        }
    }
    let standing = election.standing();
    // Whatever is cancelled only waits or turns away.
    let lease = tokio::select! {
        biased;
        _ = base.stopping.wait_for(|stop| *stop) => None,
        lease = announce(&room, &base.leadership, standing, found, election) => lease,
        () = turn_away(&mut base.requests) => None,
    };
    base.leadership.send_replace(if lease.is_some() { Leadership::Here } else { Leadership::Nobody });
    lease
}

/// Keeps it known who leads, until it is this manager. None: the election has ended, which it does not by itself.
async fn announce(
    room: &WaitingRoom,
    leadership: &watch::Sender<Leadership>,
    mut standing: watch::Receiver<Standing>,
    mut found: watch::Receiver<Option<LeaderRecord>>,
    election: &Election,
) -> Option<Lease> {
    loop {
        let now = standing.borrow_and_update().clone();
        let followed = match now {
            Standing::Leads { term, fence } => return Some(election.lease(term, fence)),
            Standing::Follows { leader } => leader,
        };
        // The record of another term tells of a leader that was.
        let record = found.borrow_and_update().clone();
        let record = record.filter(|record| followed.as_ref().is_some_and(|(term, _)| *term == record.term));
        room.elsewhere.leader.replace(record.as_ref().map(|record| record.address.clone()));
        leadership.send_if_modified(|told| {
            let new = record.map_or(Leadership::Nobody, Leadership::There);
            let is_new = *told != new;
            *told = new;
            is_new
        });
        // Both only wait.
        tokio::select! {
            changed = standing.changed() => changed.ok()?,
            Ok(()) = found.changed() => {}
        }
    }
}

/// Keeps `found` at what the store says of who leads.
async fn find_leader(store: Store, found: watch::Sender<Option<LeaderRecord>>) {
    let mut watch = store.watch(LEADER_KEY, 0);
    loop {
        match watch.next().await {
            Ok(changes) => {
                let record = changes.changes.iter().find(|change| change.key == LEADER_KEY);
                let record = record.and_then(|change| serde_json::from_slice(change.value.as_deref()?).ok());
                found.send_replace(record);
            }
            Err(error) => {
                tracing::debug!(%error, "who leads cannot be read at this moment");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Keeps it known which nodes' certificates count, as the leader writes it down.
async fn follow_records(store: Store, front: Rc<Front>) {
    let mut watch = loop {
        match store.read(Read::Prefix(NODE_PREFIX.into())).await {
            Ok(found) => {
                let records = found.entries.iter();
                let records = records.filter_map(|entry| read_record(&entry.key, &entry.value));
                front.know_records(records.collect());
                break store.watch(NODE_PREFIX, found.revision);
            }
            Err(error) => not_read(&error).await,
        }
    };
    loop {
        match watch.next().await {
            Ok(news) => {
                let read = |change: Change| read_record(&change.key, change.value.as_deref()?);
                let records = news.changes.into_iter().filter_map(read);
                match news.is_whole {
                    true => front.know_records(records.collect()),
                    false => records.for_each(|(node, record)| front.know_record(&node, record)),
                }
            }
            Err(error) => not_read(&error).await,
        }
    }
}

async fn not_read(error: &StoreError) {
    tracing::debug!(%error, "which nodes are of the cell cannot be read at this moment");
    tokio::time::sleep(AGAIN).await;
}

/// Whoever asks is told that there is no answer here, by the end of the question. Never ends while anybody could ask.
pub async fn turn_away(requests: &mut tokio::sync::mpsc::Receiver<super::handle::Request>) {
    while requests.recv().await.is_some() {}
    // Nobody can ask any more; that the process shall end is said in another way.
    std::future::pending::<()>().await;
}
