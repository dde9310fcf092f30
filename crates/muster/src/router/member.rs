//! What one data thread knows of a cluster and its members: where they are, idle connections, counts.
//!
//! Never shared between threads. A member that leaves the view lives on until its last request is over.

use super::doubt::Doubt;
use super::gate::{Gate, Queue, Rooms};
use super::http2::member_link::Links;
use super::manner::Manner;
use super::pick::{Held, Room};
use super::streams::Stream;
use logic::balance::{Balancer, Left, Tried};
use logic::histogram::Histogram;
use logic::retry::RetryBudget;
use logic::sessions::SessionCount;
use logic::time::Time;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use wire::id::MemberName;
use wire::router::{RetrySettings, TrafficCounts};
use wire::view::{MemberTls, MemberView, RunState, Secure, Transport, View};

#[derive(Debug)]
pub struct Member {
    pub name: MemberName,
    address: Cell<Option<SocketAddr>>,
    /// Where requests go that came by TLS, if that is another place.
    secure: RefCell<Option<Box<SecureEnd>>>,
    /// Place in the view in force; None once it has left.
    index: Cell<Option<u16>>,
    is_up: Cell<bool>,
    pub transport: RefCell<Transport>,
    pub manner: Cell<Manner>,
    idle: RefCell<Vec<Idle>>,
    /// Connections of an earlier one carry what is under way, and no further request.
    generation: Cell<u32>,
    speaks_http2: Cell<bool>,
    /// Connections that are shared by requests, if it speaks HTTP/2.
    pub links: Links,
    /// Where requests under way are bounded.
    gate: RefCell<Option<(Arc<Rooms>, Arc<Queue>)>>,
    /// When it was left out last, and why.
    pub ejection: RefCell<Option<Ejected>>,
    in_flight: Cell<u64>,
    /// When this thread heard of it last, and when it last tried whether its system is there; 0: never.
    pub heard_at: Cell<Time>,
    pub tried_at: Cell<Time>,
    pub doubt: RefCell<Doubt>,
    /// It has had a request: otherwise there is nothing to tell of it, and no connection to look after.
    is_used: Cell<bool>,
    /// Its cluster's, which chooses by what is under way.
    balancer: Rc<RefCell<Balancer>>,
    pub requests: Cell<u64>,
    pub failed: Cell<u64>,
    pub latency: RefCell<Histogram>,
    pub counts: RefCell<TrafficCounts>,
    pub sessions: RefCell<SessionCount>,
}

/// That this thread has left a member out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejected {
    pub at: Time,
    pub until: Time,
    pub reason: String,
}

/// A member's second address, which requests have for themselves that came by TLS.
#[derive(Debug)]
struct SecureEnd {
    is: Secure,
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    connection: Stream,
    until: Time,
}

/// How to reach a member.
#[derive(Debug, PartialEq)]
pub struct Way {
    /// None while nobody knows it.
    pub address: Option<SocketAddr>,
    pub sends_proxy_header: bool,
    pub tls: Option<MemberTls>,
}

/// The newest of these connections that is still good; those that are not are closed.
fn quiet(idle: &mut Vec<Idle>, now: Time) -> Option<Stream> {
    while let Some(Idle { mut connection, until }) = idle.pop() {
        if until > now && connection.is_quiet() {
            return Some(connection);
        }
    }
    None
}

impl Member {
    fn new(view: &MemberView, balancer: &Rc<RefCell<Balancer>>) -> Rc<Self> {
        Rc::new(Self {
            name: view.name.clone(),
            address: Cell::new(view.address),
            secure: RefCell::default(),
            index: Cell::new(None),
            is_up: Cell::new(false),
            transport: RefCell::new(view.transport.clone()),
            manner: Cell::default(),
            idle: RefCell::default(),
            generation: Cell::new(0),
            speaks_http2: Cell::new(view.transport.http2),
            links: Links::default(),
            gate: RefCell::default(),
            ejection: RefCell::default(),
            in_flight: Cell::new(0),
            heard_at: Cell::default(),
            tried_at: Cell::default(),
            doubt: RefCell::default(),
            is_used: Cell::new(false),
            balancer: balancer.clone(),
            requests: Cell::new(0),
            failed: Cell::new(0),
            latency: RefCell::default(),
            counts: RefCell::default(),
            sessions: RefCell::default(),
        })
    }

    /// A number that no other living member of this thread has; never 0.
    pub fn identity(self: &Rc<Self>) -> usize {
        Rc::as_ptr(self) as usize
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.address.get()
    }

    /// All places where it is spoken to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let secure = self.secure.borrow().as_ref().and_then(|end| end.is.address);
        let mut all: Vec<_> = self.address.get().into_iter().chain(secure).collect();
        all.dedup();
        all
    }

    /// Where and how it is spoken to for requests that came by TLS, or for all others.
    pub fn way(&self, is_secure: bool) -> Way {
        let way = |address, transport: &Transport| Way {
            address,
            sends_proxy_header: transport.sends_proxy_header,
            tls: transport.tls.clone(),
        };
        match &*self.secure.borrow() {
            Some(end) if is_secure => way(end.is.address, &end.is.transport),
            Some(_) | None => way(self.address.get(), &self.transport.borrow()),
        }
    }

    pub fn is_up(&self) -> bool {
        self.is_up.get()
    }

    /// Whether its requests go over HTTP/2. Upgrades do not: HTTP/2 has none.
    pub fn speaks_http2(&self) -> bool {
        self.speaks_http2.get()
    }

    /// An idle connection that the member has not closed as far as we know. Costs no system call.
    pub fn take_idle(&self, now: Time, is_secure: bool) -> Option<Stream> {
        match &mut *self.secure.borrow_mut() {
            Some(end) if is_secure => quiet(&mut end.idle, now),
            Some(_) | None => quiet(&mut self.idle.borrow_mut(), now),
        }
    }

    /// Which of its connections are good now.
    pub fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// Keeps a connection on which nothing is under way, unless it is an old one, there are enough or the member has left.
    pub fn keep_idle(&self, connection: Stream, generation: u32, until: Time, most: usize, is_secure: bool) {
        if connection.is_single() || self.index.get().is_none() || generation != self.generation.get() {
            return;
        }
        // What a member was told about one client holds for no other.
        match &mut *self.secure.borrow_mut() {
            Some(end) if is_secure => {
                if !end.is.transport.sends_proxy_header && end.idle.len() < most {
                    end.idle.push(Idle { connection, until });
                }
            }
            Some(_) | None => {
                let mut idle = self.idle.borrow_mut();
                if !self.transport.borrow().sends_proxy_header && idle.len() < most {
                    idle.push(Idle { connection, until });
                }
            }
        }
    }

    /// Closes idle connections whose time is over.
    pub fn close_old_idle(&self, now: Time, pool_idle_ms: u64) {
        self.links.close_idle(now.0 * 1000, pool_idle_ms);
        self.idle.borrow_mut().retain(|idle| idle.until > now);
        if let Some(end) = &mut *self.secure.borrow_mut() {
            end.idle.retain(|idle| idle.until > now);
        }
    }

    /// Whether it has ever had a request.
    pub fn is_used(&self) -> bool {
        self.is_used.get()
    }

    /// Counts a request of a session.
    pub fn note_session(&self, key: u64, now: Time) {
        self.is_used.set(true);
        self.sessions.borrow_mut().add(key, now);
    }

    pub fn in_flight(&self) -> u64 {
        self.in_flight.get()
    }

    pub fn set_in_flight(&self, in_flight: u64) {
        self.in_flight.set(in_flight);
        self.is_used.set(true);
        if let Some(index) = self.index.get() {
            let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
            self.balancer.borrow_mut().set_in_flight(index, in_flight);
        }
    }

    /// Room for one request; None where `requests_max` are under way.
    pub fn take_room(&self) -> Option<Room> {
        match &*self.gate.borrow() {
            None => Some(None),
            Some((rooms, queue)) => {
                let slot = rooms.take(queue, &self.name);
                slot.map(|slot| Some(Held::taken(slot)))
            }
        }
    }

    fn leave(&self) {
        self.index.set(None);
        self.is_up.set(false);
        self.forget_connections();
    }

    /// Closes those on which nothing is under way, and gives no further request to the others.
    pub fn forget_connections(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.idle.borrow_mut().clear();
        if let Some(end) = &mut *self.secure.borrow_mut() {
            end.idle.clear();
        }
        self.links.clear();
    }

    fn take_over(&self, index: usize, view: &MemberView) {
        let takes_requests = matches!(view.state, RunState::Up | RunState::Draining);
        let is_spoken_to_otherwise = *self.transport.borrow() != view.transport;
        if self.address.get() != view.address || is_spoken_to_otherwise || !takes_requests {
            self.forget_connections();
        }
        if is_spoken_to_otherwise {
            self.transport.replace(view.transport.clone());
        }
        let is_same = match (&*self.secure.borrow(), &view.secure) {
            (Some(end), Some(secure)) => end.is == **secure,
            (None, None) => true,
            (_, _) => false,
        };
        if !is_same {
            self.forget_connections();
            let end = |secure: &Secure| Box::new(SecureEnd { is: secure.clone(), idle: Vec::new() });
            self.secure.replace(view.secure.as_deref().map(end));
        }
        self.speaks_http2.set(view.transport.http2);
        self.address.set(view.address);
        self.manner.set(Manner::of(&view.transport));
        self.index.set(Some(index as u16));
        self.is_up.set(view.state == RunState::Up);
    }
}

#[derive(Debug)]
pub struct Cluster {
    pub view: RefCell<Arc<View>>,
    pub balancer: Rc<RefCell<Balancer>>,
    pub members: RefCell<Vec<Rc<Member>>>,
    pub budget: RefCell<RetryBudget>,
    gate: RefCell<Option<Arc<Gate>>>,
    /// Requests of this thread that wait for room now; that have ever waited; that were refused for want of it.
    pub waiting: Cell<u32>,
    pub queued: Cell<u64>,
    pub queue_refused: Cell<u64>,
    /// Requests that went to another member than their session's.
    pub failed_over: Cell<u64>,
}

impl Cluster {
    /// `zone` is the router's.
    pub fn new(view: &Arc<View>, seed: u64, retry: &RetrySettings, zone: &str) -> Rc<Self> {
        let cluster = Self {
            view: RefCell::new(view.clone()),
            balancer: Rc::new(RefCell::new(Balancer::new(view, seed, zone))),
            members: RefCell::default(),
            budget: RefCell::new(RetryBudget::new(retry)),
            gate: RefCell::default(),
            waiting: Cell::new(0),
            queued: Cell::new(0),
            queue_refused: Cell::new(0),
            failed_over: Cell::new(0),
        };
        cluster.take_members(view);
        Rc::new(cluster)
    }

    /// Takes a newer view over; an older one changes nothing. Returns the members for which nobody shall wait any longer.
    pub fn apply(&self, view: &Arc<View>, now: Time) -> Vec<Rc<Member>> {
        if !self.balancer.borrow_mut().apply(view, now) {
            return Vec::new();
        }
        let old = std::mem::replace(&mut *self.view.borrow_mut(), view.clone());
        self.take_members(view);
        // Who came to one that was lost already did so in panic, knowing that.
        let was_lost = |name: &MemberName| {
            old.members.iter().any(|member| member.is_lost && member.only_fails_probe && member.name == *name)
        };
        let members = self.members.borrow();
        let lost = members
            .iter()
            .zip(&view.members)
            .filter(|(_, view)| view.is_lost && !(view.only_fails_probe && was_lost(&view.name)));
        lost.map(|(member, _)| member.clone()).collect()
    }

    fn take_members(&self, view: &View) {
        let mut members = self.members.borrow_mut();
        let old = std::mem::take(&mut *members);
        for (index, fresh) in view.members.iter().enumerate() {
            // Mostly at the same place as before; searching all for each would take long in a large cluster.
            let is_it = |member: &&Rc<Member>| member.name == fresh.name;
            let known = old.get(index).filter(is_it).or_else(|| old.iter().find(is_it)).cloned();
            let member = known.unwrap_or_else(|| Member::new(fresh, &self.balancer));
            member.take_over(index, fresh);
            members.push(member);
        }
        let has_left = |member: &&Rc<Member>| {
            let place = member.index.get().map(usize::from);
            !place.and_then(|place| members.get(place)).is_some_and(|stays| Rc::ptr_eq(stays, member))
        };
        old.iter().filter(has_left).for_each(|member| member.leave());
    }

    pub fn set_zone(&self, zone: &str) {
        self.balancer.borrow_mut().set_zone(&self.view.borrow(), zone);
    }

    /// Bounds the requests under way as the view in force says; whoever waits looks again.
    pub fn set_gate(&self, gate: Option<&Arc<Gate>>) {
        let is_same = match (&*self.gate.borrow(), gate) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            (_, _) => false,
        };
        if is_same {
            return;
        }
        for member in &*self.members.borrow() {
            let rooms = gate.and_then(|gate| Some((gate.rooms(&member.name)?, gate.queue.clone())));
            *member.gate.borrow_mut() = rooms;
        }
        let old = self.gate.replace(gate.cloned());
        if gate.is_none() {
            let mut balancer = self.balancer.borrow_mut();
            (0..self.members.borrow().len()).for_each(|index| balancer.set_full(index as u16, false));
        }
        old.iter().chain(gate).for_each(|gate| gate.queue.call_all());
    }

    pub fn gate(&self) -> Option<Arc<Gate>> {
        self.gate.borrow().clone()
    }

    pub fn has_waiting(&self) -> bool {
        self.gate.borrow().as_ref().is_some_and(|gate| gate.queue.has_waiting())
    }

    /// Tells the balancer which members are full now.
    pub fn note_full(&self) {
        if self.gate.borrow().is_none() {
            return;
        }
        let mut balancer = self.balancer.borrow_mut();
        for (index, member) in self.members.borrow().iter().enumerate() {
            let gate = member.gate.borrow();
            let is_full = gate.as_ref().is_some_and(|(rooms, _)| rooms.is_full());
            balancer.set_full(index as u16, is_full);
        }
    }

    /// Those of `tried` that are this cluster's, as its balancer counts them.
    pub fn tried(&self, tried: &[Rc<Member>]) -> Tried {
        let mut indices = Tried::default();
        if tried.is_empty() {
            return indices;
        }
        let members = self.members.borrow();
        let is_own = |member: &Rc<Member>, index: u16| {
            members.get(usize::from(index)).is_some_and(|own| Rc::ptr_eq(own, member))
        };
        for member in tried {
            if let Some(index) = member.index.get().filter(|index| is_own(member, *index)) {
                indices.add(index);
            }
        }
        indices
    }

    /// The member could not be reached or broke off: others come first for a while.
    pub fn member_failed(&self, member: &Member, now: Time) {
        if let Some(index) = member.index.get() {
            self.balancer.borrow_mut().failed(index, now);
        }
    }

    /// Whether this thread could not reach it a moment ago.
    pub fn is_marked(&self, member: &Member, now: Time) -> bool {
        member.index.get().is_some_and(|index| self.balancer.borrow().is_marked(index, now))
    }

    /// Whether another member can be reached as far as this thread knows.
    pub fn has_other(&self, member: &Rc<Member>, now: Time) -> bool {
        let members = self.members.borrow();
        members.iter().any(|other| !Rc::ptr_eq(other, member) && other.is_up() && !self.is_marked(other, now))
    }

    /// Whether a request that has begun with this member may go on there, on another connection.
    pub fn keeps(&self, member: &Member) -> bool {
        member.index.get().is_some_and(|index| self.balancer.borrow().keeps(index))
    }

    /// The member could be connected to.
    pub fn member_connected(&self, member: &Member) {
        if let Some(index) = member.index.get() {
            self.balancer.borrow_mut().answered(index);
        }
    }

    /// The member answered with this status, of which the first byte came after so long.
    pub fn member_answered(&self, member: &Member, status: u16, first_byte_us: u64, now: Time) {
        let Some(index) = member.index.get() else { return };
        let mut balancer = self.balancer.borrow_mut();
        balancer.answered(index);
        if status < 500 {
            balancer.measured(index, first_byte_us, now);
            return;
        }
        let counts = self.view.borrow().health.ejects_on_status;
        let left = balancer.measured_failure(index, first_byte_us, counts, now);
        drop(balancer);
        self.note_ejection(member, left, &format!("answers with status {status}"), now);
    }

    /// An attempt at the member failed after so long.
    pub fn attempt_failed(&self, member: &Member, waited_us: u64, why: &str, now: Time) {
        let Some(index) = member.index.get() else { return };
        let left = self.balancer.borrow_mut().measured_failure(index, waited_us, true, now);
        self.note_ejection(member, left, why, now);
    }

    fn note_ejection(&self, member: &Member, left: Option<Left>, why: &str, now: Time) {
        let Some(Left { failures, for_ms }) = left else { return };
        let reason = format!("{failures} failures in a row, the last: {why}");
        let cluster = self.view.borrow().cluster.clone();
        tracing::warn!(%cluster, member = %member.name, for_ms, reason, "a member is left out for a while");
        *member.ejection.borrow_mut() = Some(Ejected { at: now, until: now + for_ms, reason });
    }

    pub fn leave(&self) {
        self.members.borrow().iter().for_each(|member| member.leave());
    }
}
