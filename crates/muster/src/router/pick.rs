//! Who gets a request: the clusters of its route, then a member of one of them, with room for one more request.
//!
//! What is decided here is carried out, not judged: `logic::spread` and `logic::balance` judge. A route to one cluster,
//! the common case, asks that cluster at once. Promise: who has `requests_max` requests under way over all threads of
//! the router gets no more; who came first to a full cluster is served first.

use super::core::Core;
use super::gate::Slot;
use super::member::{Cluster, Member};
use super::own_cookie::session_values;
use logic::affinity;
use logic::balance::{Ask, Choice, Tried};
use logic::http::request::RequestHead;
use logic::retry::Fault;
use logic::spread::{Clusters, Spreader};
use logic::time::Time;
use std::cell::RefCell;
use std::rc::Rc;
use wire::settings::{RouteSettings, Spread};
use wire::view::{Affinity, AffinityKind, HashKey, Policy, View};

/// Where requests of one route go.
#[derive(Debug)]
pub struct Target {
    /// How the route reads sessions, instead of its clusters.
    affinity: Option<Affinity>,
    /// In the order of the levels; None while the view of a cluster is not known.
    clusters: Vec<Option<Rc<Cluster>>>,
    /// For each cluster the first one that reads sessions in the same way.
    reads_as: Vec<usize>,
    /// None where there is nothing to decide: one cluster, whatever the zone.
    spreader: Option<RefCell<Spreader>>,
    /// Whether some of the clusters are in other cells.
    has_elsewhere: bool,
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

#[derive(Debug, Default)]
pub struct Held {
    /// Given back with the request.
    _slot: Option<Slot>,
    /// There is no room: the request may wait.
    awaited: Option<Awaited>,
    /// What the answer's Set-Cookie headers shall say, a line each.
    pub set_cookie: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    AnyMember,
    /// The one that has its session.
    OwnMember,
}

impl Held {
    pub fn taken(slot: Slot) -> Box<Self> {
        Box::new(Self { _slot: Some(slot), ..Self::default() })
    }

    fn add_cookie(&mut self, cookie: &str) {
        self.set_cookie = Some(match self.set_cookie.take() {
            None => cookie.into(),
            Some(before) => format!("{before}\n{cookie}").into(),
        });
    }
}

/// Whether the cluster's members are gateways of another cell.
pub fn is_elsewhere(cluster: &Cluster) -> bool {
    !cluster.view.borrow().cell.is_empty()
}

/// What the request has to wait for, if anything.
pub fn awaited(room: &Room) -> Option<Awaited> {
    room.as_ref().and_then(|held| held.awaited)
}

/// Nobody can have the request.
pub type Nobody = (Fault, String);

/// A request that asks for a member.
#[derive(Clone, Copy)]
pub struct Asking<'a, 'h> {
    pub core: &'a Core,
    pub head: &'a RequestHead<'h, 'h>,
    pub client: &'a str,
    /// It came over TLS.
    pub is_secure: bool,
    /// It came from another cell, and goes to no third one.
    pub is_spilled: bool,
    pub tried: &'a [Rc<Member>],
    pub now: Time,
    /// It has waited for its turn, which has come.
    pub is_called: bool,
}

impl Target {
    /// `before` is the target of the same route in an older table: whose turn it is stays.
    pub fn new(
        route: &RouteSettings,
        clusters: Vec<Option<Rc<Cluster>>>,
        before: Option<&Rc<Target>>,
    ) -> Self {
        let needs_spreader = clusters.len() > 1 || route.spread == Spread::ZoneFirst;
        let has_elsewhere = clusters.iter().flatten().any(|cluster| is_elsewhere(cluster));
        let mut target = Self {
            has_elsewhere,
            affinity: route.affinity.clone(),
            clusters,
            reads_as: Vec::new(),
            spreader: needs_spreader.then(|| match before.and_then(|before| before.spreader.as_ref()) {
                Some(spreader) => spreader.clone(),
                None => RefCell::new(Spreader::new(route)),
            }),
        };
        target.reads_as = target.readers();
        target
    }

    fn readers(&self) -> Vec<usize> {
        let affinity = |place: usize| {
            let view = self.clusters[place].as_ref()?.view.borrow();
            // A cookie of our own is signed for one cluster.
            let signed_for = view.affinity.as_ref().filter(|affinity| affinity.kind == AffinityKind::Own);
            let signed_for = signed_for.map(|_| view.cluster.clone());
            Some((view.affinity.clone(), signed_for))
        };
        let reader_of = |cluster: usize| {
            (0..cluster).find(|earlier| affinity(*earlier) == affinity(cluster)).unwrap_or(cluster)
        };
        if self.clusters.len() == 1 || self.affinity.is_some() {
            return vec![0; self.clusters.len()];
        }
        (0..self.clusters.len()).map(reader_of).collect()
    }

    fn affinity_of<'a>(&'a self, view: &'a View) -> Option<&'a Affinity> {
        self.affinity.as_ref().or(view.affinity.as_ref())
    }

    /// Whether it is the target that would be made of these clusters now.
    pub fn leads_to(&self, mut clusters: impl Iterator<Item = Option<Rc<Cluster>>>) -> bool {
        let is_same = |own: &Option<Rc<Cluster>>| match (own, clusters.next().flatten()) {
            (Some(own), Some(other)) => Rc::ptr_eq(own, &other),
            (None, None) => true,
            (_, _) => false,
        };
        let may_differ = self.clusters.len() > 1;
        self.clusters.iter().all(is_same) && (!may_differ || self.reads_as == self.readers())
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
        for _ in 0..PASSES_MAX {
            self.clusters.iter().flatten().for_each(|cluster| cluster.note_full());
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
        let mut room = if is_full || (!asking.is_called && cluster.has_waiting()) {
            let awaited = if is_own { Awaited::OwnMember } else { Awaited::AnyMember };
            Some(Box::new(Held { awaited: Some(awaited), ..Held::default() }))
        } else {
            match member.take_room() {
                Some(room) => room,
                None => return Ok(None),
            }
        };
        if awaited(&room).is_none() {
            self.note_session(cluster, &member, index, asking, &mut room);
            if is_failover {
                cluster.failed_over.set(cluster.failed_over.get() + 1);
            }
        }
        Ok(Some(Picked { cluster: cluster.clone(), member, room }))
    }

    fn choose_of_one(&self, asking: &Asking<'_, '_>) -> Choice {
        let first = self.clusters.first().and_then(Option::as_ref);
        let Some(cluster) = first.filter(|cluster| !(asking.is_spilled && is_elsewhere(cluster))) else {
            return Choice::None { why: logic::balance::WhyNone::NoMembers };
        };
        let tried = cluster.tried(asking.tried);
        let view = cluster.view.borrow();
        let mut ask = Ask { key: key_of(&view, asking), ..Ask::new(&tried, asking.now) };
        let mut balancer = cluster.balancer.borrow_mut();
        let Some(affinity) = self.affinity_of(&view) else {
            return balancer.choose(std::iter::empty(), &ask);
        };
        let keys = asking.core.cookie_keys.borrow();
        let values = || session_values(&keys, &view, affinity, asking.head);
        let Some(value) = values().next() else {
            return balancer.choose(std::iter::empty(), &ask);
        };
        ask.session = Some(affinity::session_key(value, affinity));
        balancer.choose(affinity::clone_ids_of(values(), affinity), &ask)
    }

    /// Counts the request's session with its member, and begins one where the router keeps them.
    fn note_session(
        &self,
        cluster: &Cluster,
        member: &Member,
        index: u16,
        asking: &Asking<'_, '_>,
        room: &mut Room,
    ) {
        let view = cluster.view.borrow();
        // The cell that it came from keeps its own account of where it is.
        if self.has_elsewhere && !asking.is_spilled {
            self.note_cell(&view, index, asking, room);
        }
        let Some(affinity) = self.affinity_of(&view) else { return };
        let keys = asking.core.cookie_keys.borrow();
        let mut values = session_values(&keys, &view, affinity, asking.head);
        let first = values.next();
        let mut key = first.map(|value| affinity::session_key(value, affinity));
        if affinity.kind == AffinityKind::Own && view.cell.is_empty() {
            let names_any = |value: &str| affinity::ids_of(value, affinity).any(|id| self.has_clone_id(id));
            if !first.into_iter().chain(values).any(names_any) {
                let id = asking.core.session_id();
                let clone_id = &view.members[usize::from(index)].clone_id;
                if let Some(cookie) = keys.set_cookie(&view, clone_id, id, asking.is_secure) {
                    key = Some(affinity::key_of_bytes(format!("{:016x}{:016x}", id[0], id[1]).as_bytes()));
                    room.get_or_insert_default().add_cookie(&cookie);
                }
            }
        }
        if let Some(key) = key {
            member.note_session(key, asking.now);
        }
    }

    /// Keeps a conversation in the cell that has it now: one that begins elsewhere gets a cookie that says where, and one
    /// that is here again loses it, for what was over there is not known here.
    fn note_cell(&self, view: &View, index: u16, asking: &Asking<'_, '_>, room: &mut Room) {
        let keys = asking.core.cookie_keys.borrow();
        let holds = |view: &View| {
            let affinity = view.affinity.as_ref()?;
            let values = session_values(&keys, view, affinity, asking.head);
            let mut ids = affinity::clone_ids_of(values, affinity);
            ids.any(|id| view.members.iter().any(|gateway| gateway.clone_id == id)).then_some(&())?;
            Some(affinity.cookie.clone())
        };
        if !view.cell.is_empty() {
            if view.affinity.is_some() && holds(view).is_none() {
                let (id, gateway) = (asking.core.session_id(), &view.members[usize::from(index)].clone_id);
                if let Some(cookie) = keys.set_cookie(view, gateway, id, asking.is_secure) {
                    room.get_or_insert_default().add_cookie(&cookie);
                }
            }
            return;
        }
        let elsewhere = self.clusters.iter().flatten().filter(|cluster| is_elsewhere(cluster));
        let held = elsewhere.filter_map(|cluster| holds(&cluster.view.borrow())).next();
        if let Some(name) = held {
            let secure = if asking.is_secure { "; Secure" } else { "" };
            let forgotten = format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{secure}");
            room.get_or_insert_default().add_cookie(&forgotten);
        }
    }

    /// Whether a member of the route has it, in whatever state.
    fn has_clone_id(&self, clone_id: &str) -> bool {
        let has = |cluster: &Rc<Cluster>| {
            cluster.view.borrow().members.iter().any(|member| member.clone_id == clone_id)
        };
        self.clusters.iter().flatten().any(has)
    }
}

/// Finds a member with room for a connection of which nothing is known but where it comes from, and takes that room.
pub fn for_connection(
    cluster: &Cluster,
    tried: &[Rc<Member>],
    client: &str,
    now: Time,
) -> Option<(Rc<Member>, Room)> {
    for _ in 0..PASSES_MAX {
        cluster.note_full();
        let tried = cluster.tried(tried);
        let ask = Ask { key: affinity::key_of_bytes(client.as_bytes()), ..Ask::new(&tried, now) };
        let choice = cluster.balancer.borrow_mut().choose(std::iter::empty(), &ask);
        let Choice::Member { index, .. } = choice else { return None };
        let member = cluster.members.borrow().get(usize::from(index)).cloned()?;
        if let Some(room) = member.take_room() {
            return Some((member, room));
        }
    }
    None
}

/// Members that fill up between being chosen and being asked, of one request. 16: more only happens where many
/// threads compete for the last places, and then waiting is right.
const PASSES_MAX: usize = 16;

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
            let affinity = target.affinity_of(&view)?;
            let keys = asking.core.cookie_keys.borrow();
            let value = session_values(&keys, &view, affinity, asking.head).next()?;
            Some(affinity::session_key(value, affinity))
        });
        Self { target, asking, session }
    }
}

impl Clusters for Read<'_, '_> {
    /// Clusters of other cells are none to a request that came from one.
    fn balancer(&self, cluster: usize) -> Option<&RefCell<logic::balance::Balancer>> {
        let may_go = !(self.asking.is_spilled && self.is_elsewhere(cluster));
        self.target.clusters[cluster].as_ref().filter(|_| may_go).map(|cluster| &*cluster.balancer)
    }

    fn is_elsewhere(&self, cluster: usize) -> bool {
        self.target.has_elsewhere
            && self.target.clusters[cluster].as_ref().is_some_and(|cluster| is_elsewhere(cluster))
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
        let Some(affinity) = self.target.affinity_of(&view) else { return };
        let keys = self.asking.core.cookie_keys.borrow();
        let values = session_values(&keys, &view, affinity, self.asking.head);
        let _ = affinity::clone_ids_of(values, affinity).any(look);
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

#[cfg(test)]
mod tests;
