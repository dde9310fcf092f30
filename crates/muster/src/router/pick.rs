//! Who gets a request: the clusters of its route, then a member of one of them, with room for one more request.
//!
//! What is decided here is carried out, not judged: `logic::spread` and `logic::balance` judge. A route to one cluster,
//! the common case, asks that cluster at once. Promise: who has `requests_max` requests under way over all threads of
//! the router gets no more; who came first to a full cluster is served first.

use super::gate::Slot;
use super::member::{Cluster, Member};
use logic::affinity;
use logic::balance::{Ask, Choice, Tried};
use logic::http::request::RequestHead;
use logic::retry::Fault;
use logic::spread::{Clusters, Spreader};
use logic::time::Time;
use std::cell::RefCell;
use std::rc::Rc;
use wire::settings::{RouteSettings, Spread};
use wire::view::{Affinity, HashKey, Policy, View};

/// Where requests of one route go.
#[derive(Debug)]
pub struct Target {
    /// In the order of the levels; None while the view of a cluster is not known.
    clusters: Vec<Option<Rc<Cluster>>>,
    /// For each cluster the first one that reads sessions in the same way.
    reads_as: Vec<usize>,
    /// None where there is nothing to decide: one cluster, whatever the zone.
    spreader: Option<RefCell<Spreader>>,
    /// Instead of that of the clusters.
    affinity: Option<Box<Affinity>>,
}

/// A member with room for the request, or one to wait for.
#[derive(Debug)]
pub struct Picked {
    pub cluster: Rc<Cluster>,
    pub member: Rc<Member>,
    pub room: Room,
}

/// Room for the request at its member; nothing where that has no bound. Small: every idle session carries it.
pub type Room = Option<Box<Held>>;

#[derive(Debug)]
pub enum Held {
    /// Given back with the request.
    Taken { _slot: Slot },
    /// There is none: the request may wait, for this member only where its session is there.
    Awaited { is_own: bool },
}

/// Whether the request has to wait for room.
pub fn is_awaited(room: &Room) -> bool {
    matches!(room.as_deref(), Some(Held::Awaited { .. }))
}

/// Nobody can have the request.
pub type Nobody = (Fault, String);

/// A request that asks for a member.
#[derive(Clone, Copy)]
pub struct Asking<'a, 'h> {
    pub head: &'a RequestHead<'h, 'h>,
    pub client: &'a str,
    pub tried: &'a [Rc<Member>],
    pub now: Time,
    /// It has waited for its turn, which has come.
    pub is_called: bool,
}

impl Target {
    pub fn new(route: &RouteSettings, clusters: Vec<Option<Rc<Cluster>>>) -> Self {
        let needs_spreader = clusters.len() > 1 || route.spread == Spread::ZoneFirst;
        let mut target = Self {
            clusters,
            reads_as: Vec::new(),
            spreader: needs_spreader.then(|| RefCell::new(Spreader::new(route))),
            affinity: route.affinity.clone().map(Box::new),
        };
        target.reads_as = target.readers();
        target
    }

    fn readers(&self) -> Vec<usize> {
        let affinity = |place: usize| {
            self.clusters[place].as_ref().map(|cluster| cluster.view.borrow().affinity.clone())
        };
        let reader_of = |cluster: usize| {
            (0..cluster).find(|earlier| affinity(*earlier) == affinity(cluster)).unwrap_or(cluster)
        };
        let is_one = self.clusters.len() == 1 || self.affinity.is_some();
        if is_one { vec![0; self.clusters.len()] } else { (0..self.clusters.len()).map(reader_of).collect() }
    }

    /// How sessions are read on the way to the cluster of `view`.
    fn affinity<'a>(&'a self, view: &'a View) -> Option<&'a Affinity> {
        self.affinity.as_deref().or(view.affinity.as_ref())
    }

    /// Takes over whose turn it is from the same route of an older table.
    pub fn go_on_from(&mut self, old: &Target) {
        if let (Some(spreader), Some(old)) = (&mut self.spreader, &old.spreader)
            && self.clusters.len() == old_len(old)
        {
            *spreader = RefCell::new(old.borrow().clone());
        }
    }

    /// Counts the request with the retry budget of each cluster that it may go to, and finds its member.
    pub fn admit(&self, asking: &Asking<'_, '_>) -> Result<Picked, Nobody> {
        let first = self.clusters.iter().flatten().next();
        let Some(first) = first else {
            return Err((Fault::NoMember, "the cluster's view is not known yet".into()));
        };
        first.budget.borrow_mut().request(asking.now);
        self.pick(asking)
    }

    /// Finds a member with room, and takes that room.
    pub fn pick(&self, asking: &Asking<'_, '_>) -> Result<Picked, Nobody> {
        self.clusters.iter().flatten().for_each(|cluster| cluster.note_full());
        // Each pass finds one member that has filled up in between; another thread cannot fill all of them for long.
        for _ in 0..PASSES_MAX {
            let (cluster, choice) = match &self.spreader {
                None => (0, self.choose_of_one(asking)),
                Some(spreader) => {
                    let read = Read::new(self, asking);
                    spreader.borrow_mut().choose(&read, read.session, asking.now)
                }
            };
            let Some(cluster) = self.clusters.get(cluster).and_then(Option::as_ref) else {
                return Err((Fault::NoMember, "the cluster's view is not known yet".into()));
            };
            if let Some(picked) = self.take(cluster, choice, asking)? {
                return Ok(picked);
            }
        }
        Err((Fault::NoMember, "all members have their most requests under way".into()))
    }

    /// What follows from the choice; None where the member has just filled up.
    fn take(
        &self,
        cluster: &Rc<Cluster>,
        choice: Choice,
        asking: &Asking<'_, '_>,
    ) -> Result<Option<Picked>, Nobody> {
        let (index, is_full, is_own, is_failover) = match choice {
            Choice::Member { index, why } => (index, false, false, why.affinity.is_failover()),
            Choice::Full { index, is_own } => (index, true, is_own, false),
            Choice::None { why } => return Err((Fault::NoMember, why.to_string())),
        };
        let Some(member) = cluster.members.borrow().get(usize::from(index)).cloned() else {
            return Err((Fault::NoMember, "the chosen member has left".into()));
        };
        let room = if is_full || (!asking.is_called && cluster.has_waiting()) {
            Some(Box::new(Held::Awaited { is_own }))
        } else {
            match member.take_room() {
                Some(room) => room,
                None => return Ok(None),
            }
        };
        if !is_awaited(&room) {
            self.note_session(cluster, &member, asking);
            if is_failover {
                cluster.failed_over.set(cluster.failed_over.get() + 1);
            }
        }
        Ok(Some(Picked { cluster: cluster.clone(), member, room }))
    }

    fn choose_of_one(&self, asking: &Asking<'_, '_>) -> Choice {
        let Some(cluster) = self.clusters.first().and_then(Option::as_ref) else {
            return Choice::None { why: logic::balance::WhyNone::NoMembers };
        };
        let tried = cluster.tried(asking.tried);
        let view = cluster.view.borrow();
        let mut ask = Ask { key: key_of(&view, asking), ..Ask::new(&tried, asking.now) };
        let mut balancer = cluster.balancer.borrow_mut();
        let Some(affinity) = self.affinity(&view) else {
            return balancer.choose(std::iter::empty(), &ask);
        };
        let (head, path) = (asking.head, asking.head.target.as_bytes());
        let Some(value) = affinity::session_values(head.cookies(), path, affinity).next() else {
            return balancer.choose(std::iter::empty(), &ask);
        };
        ask.session = Some(affinity::session_key(value, affinity));
        balancer.choose(affinity::clone_ids(head.cookies(), path, affinity), &ask)
    }

    /// Counts the request's session with its member.
    fn note_session(&self, cluster: &Cluster, member: &Member, asking: &Asking<'_, '_>) {
        let view = cluster.view.borrow();
        let Some(affinity) = self.affinity(&view) else { return };
        let target = asking.head.target.as_bytes();
        if let Some(value) = affinity::session_values(asking.head.cookies(), target, affinity).next() {
            member.sessions.borrow_mut().add(affinity::session_key(value, affinity), asking.now);
        }
    }
}

/// Members that fill up between being chosen and being asked, of one request. 16: more only happens where many
/// threads compete for the last places, and then waiting is right.
const PASSES_MAX: usize = 16;

fn old_len(spreader: &RefCell<Spreader>) -> usize {
    spreader.borrow().cluster_count()
}

/// The request as the clusters of its route read it.
struct Read<'a, 'h> {
    target: &'a Target,
    asking: &'a Asking<'a, 'h>,
    session: Option<u64>,
}

impl<'a, 'h> Read<'a, 'h> {
    fn new(target: &'a Target, asking: &'a Asking<'a, 'h>) -> Self {
        let session = target.clusters.iter().flatten().find_map(|cluster| {
            let view = cluster.view.borrow();
            let affinity = target.affinity(&view)?;
            let path = asking.head.target.as_bytes();
            let value = affinity::session_values(asking.head.cookies(), path, affinity).next()?;
            Some(affinity::session_key(value, affinity))
        });
        Self { target, asking, session }
    }
}

impl Clusters for Read<'_, '_> {
    fn balancer(&self, cluster: usize) -> Option<&RefCell<logic::balance::Balancer>> {
        self.target.clusters[cluster].as_ref().map(|cluster| &*cluster.balancer)
    }

    fn reads_as(&self, cluster: usize) -> usize {
        self.target.reads_as[cluster]
    }

    fn tried(&self, cluster: usize) -> Tried {
        let cluster = self.target.clusters[cluster].as_ref();
        cluster.map(|cluster| cluster.tried(self.asking.tried)).unwrap_or_default()
    }

    fn each_clone_id(&self, cluster: usize, look: &mut dyn FnMut(&str) -> bool) {
        let Some(cluster) = &self.target.clusters[cluster] else { return };
        let view = cluster.view.borrow();
        let Some(affinity) = self.target.affinity(&view) else { return };
        let path = self.asking.head.target.as_bytes();
        let _ = affinity::clone_ids(self.asking.head.cookies(), path, affinity).any(|id| look(id));
    }

    fn key(&self, cluster: usize) -> u64 {
        let cluster = self.target.clusters[cluster].as_ref();
        cluster.map_or(0, |cluster| key_of(&cluster.view.borrow(), self.asking))
    }
}

/// What a choice by hash goes by; where the header or cookie is missing, the client's address.
fn key_of(view: &View, asking: &Asking<'_, '_>) -> u64 {
    if view.policy != Policy::Hash {
        return 0;
    }
    let head = asking.head;
    let value = match &view.hash_key {
        HashKey::ClientAddress => None,
        HashKey::Path => Some(head.path()),
        HashKey::Header(name) => head.header(name),
        HashKey::Cookie(name) => affinity::cookie_values(head.cookies(), name.as_bytes()).next(),
    };
    affinity::key_of_bytes(value.unwrap_or(asking.client.as_bytes()))
}
