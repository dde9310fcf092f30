//! What one data thread knows of a cluster and its members: where they are, idle connections, counts.
//!
//! Never shared between threads. A member that leaves the view lives on until its last request is over.

use super::http2::member_link::Links;
use super::manner::Manner;
use super::streams::Stream;
use logic::balance::{Balancer, Choice, Tried};
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
use wire::view::{MemberView, RunState, Transport, View};

#[derive(Debug)]
pub struct Member {
    pub name: MemberName,
    address: Cell<Option<SocketAddr>>,
    /// Place in the view in force; None once it has left.
    index: Cell<Option<u16>>,
    is_up: Cell<bool>,
    pub transport: RefCell<Transport>,
    pub manner: Cell<Manner>,
    idle: RefCell<Vec<Idle>>,
    speaks_http2: Cell<bool>,
    /// Connections that are shared by requests, if it speaks HTTP/2.
    pub links: Links,
    pub in_flight: Cell<u64>,
    pub requests: Cell<u64>,
    pub failed: Cell<u64>,
    pub latency: RefCell<Histogram>,
    pub counts: RefCell<TrafficCounts>,
    pub sessions: RefCell<SessionCount>,
}

#[derive(Debug)]
struct Idle {
    connection: Stream,
    until: Time,
}

impl Member {
    fn new(view: &MemberView) -> Rc<Self> {
        Rc::new(Self {
            name: view.name.clone(),
            address: Cell::new(view.address),
            index: Cell::new(None),
            is_up: Cell::new(false),
            transport: RefCell::new(view.transport.clone()),
            manner: Cell::default(),
            idle: RefCell::default(),
            speaks_http2: Cell::new(view.transport.http2),
            links: Links::default(),
            in_flight: Cell::new(0),
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

    pub fn is_up(&self) -> bool {
        self.is_up.get()
    }

    /// Whether its requests go over HTTP/2. Upgrades do not: HTTP/2 has none.
    pub fn speaks_http2(&self) -> bool {
        self.speaks_http2.get()
    }

    /// An idle connection that the member has not closed as far as we know. Costs no system call.
    pub fn take_idle(&self, now: Time) -> Option<Stream> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { mut connection, until }) = idle.pop() {
            if until > now && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection on which nothing is under way, unless there are enough or the member has left.
    pub fn keep_idle(&self, connection: Stream, until: Time, most: usize) {
        let mut idle = self.idle.borrow_mut();
        // What a member was told about one client holds for no other.
        let is_shared = !connection.is_single() && !self.transport.borrow().sends_proxy_header;
        if is_shared && self.index.get().is_some() && idle.len() < most {
            idle.push(Idle { connection, until });
        }
    }

    /// Closes idle connections whose time is over.
    pub fn close_old_idle(&self, now: Time, pool_idle_ms: u64) {
        self.links.close_idle(now.0 * 1000, pool_idle_ms);
        self.idle.borrow_mut().retain(|idle| idle.until > now);
    }

    fn leave(&self) {
        self.index.set(None);
        self.is_up.set(false);
        self.forget_connections();
    }

    fn forget_connections(&self) {
        self.idle.borrow_mut().clear();
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
    balancer: RefCell<Balancer>,
    pub members: RefCell<Vec<Rc<Member>>>,
    pub budget: RefCell<RetryBudget>,
}

impl Cluster {
    pub fn new(view: &Arc<View>, seed: u64, retry: &RetrySettings) -> Rc<Self> {
        let cluster = Self {
            view: RefCell::new(view.clone()),
            balancer: RefCell::new(Balancer::new(view, seed)),
            members: RefCell::default(),
            budget: RefCell::new(RetryBudget::new(retry)),
        };
        cluster.take_members(view);
        Rc::new(cluster)
    }

    /// Takes a newer view over; an older one changes nothing. Returns the members for which nobody shall wait any longer.
    pub fn apply(&self, view: &Arc<View>) -> Vec<Rc<Member>> {
        if !self.balancer.borrow_mut().apply(view) {
            return Vec::new();
        }
        *self.view.borrow_mut() = view.clone();
        self.take_members(view);
        let members = self.members.borrow();
        members
            .iter()
            .zip(&view.members)
            .filter(|(_, view)| view.is_lost)
            .map(|(member, _)| member.clone())
            .collect()
    }

    fn take_members(&self, view: &View) {
        let mut members = self.members.borrow_mut();
        let old = std::mem::take(&mut *members);
        for (index, fresh) in view.members.iter().enumerate() {
            // Mostly at the same place as before; searching all for each would take long in a large cluster.
            let is_it = |member: &&Rc<Member>| member.name == fresh.name;
            let known = old.get(index).filter(is_it).or_else(|| old.iter().find(is_it)).cloned();
            let member = known.unwrap_or_else(|| Member::new(fresh));
            member.take_over(index, fresh);
            members.push(member);
        }
        let has_left = |member: &&Rc<Member>| {
            let place = member.index.get().map(usize::from);
            !place.and_then(|place| members.get(place)).is_some_and(|stays| Rc::ptr_eq(stays, member))
        };
        old.iter().filter(has_left).for_each(|member| member.leave());
    }

    /// Who gets this request, of those that have not tried it yet.
    pub fn choose<'id>(
        &self,
        clone_ids: impl Iterator<Item = &'id str>,
        tried: &[Rc<Member>],
        now: Time,
    ) -> (Choice, Option<Rc<Member>>) {
        let mut indices = Tried::default();
        tried.iter().filter_map(|member| member.index.get()).for_each(|index| indices.add(index));
        let choice = self.balancer.borrow_mut().choose(clone_ids, &indices, now);
        let member = match choice {
            Choice::Member { index, .. } => self.members.borrow().get(usize::from(index)).cloned(),
            Choice::None { .. } => None,
        };
        (choice, member)
    }

    /// The member could not be reached or broke off: others come first for a while.
    pub fn member_failed(&self, member: &Member, now: Time) {
        if let Some(index) = member.index.get() {
            self.balancer.borrow_mut().failed(index, now);
        }
    }

    /// Whether a request that has begun with this member may go on there, on another connection.
    pub fn keeps(&self, member: &Member) -> bool {
        member.index.get().is_some_and(|index| self.balancer.borrow().keeps(index))
    }

    pub fn member_answered(&self, member: &Member) {
        if let Some(index) = member.index.get() {
            self.balancer.borrow_mut().answered(index);
        }
    }

    pub fn leave(&self) {
        self.members.borrow().iter().for_each(|member| member.leave());
    }
}
