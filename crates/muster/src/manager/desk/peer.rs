//! The other end of a connection: which role it is, who has proven to be it, and the way to it.

use logic::enrol::Bearer;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use wire::id::{NodeName, RouterName};
use wire::link::{FromManager, Role};

/// A role by the name under which there can only be one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Agent(NodeName),
    Router(RouterName),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Agent(node) => write!(out, "agent of {node}"),
            Place::Router(router) => write!(out, "router {router}"),
        }
    }
}

impl From<&Role> for Place {
    fn from(role: &Role) -> Self {
        match role {
            Role::Agent { node } => Place::Agent(node.clone()),
            Role::Router { router, .. } => Place::Router(router.clone()),
        }
    }
}

/// The way to one connection's writer.
#[derive(Debug, Clone)]
pub struct Outlet {
    pub queue: mpsc::Sender<FromManager>,
    /// Ends the connection.
    pub cut: Arc<Notify>,
    /// Nothing is sent after a message was lost: a gap would not be seen.
    pub is_cut: Arc<AtomicBool>,
}

impl Outlet {
    /// Queues a message, or ends a connection that is too slow.
    pub fn send(&self, message: FromManager) {
        if !self.is_cut.load(Ordering::Relaxed) && self.queue.try_send(message).is_err() {
            self.end();
        }
    }

    pub fn is_ended(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    pub fn end(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.cut.notify_one();
    }
}

/// What is known of the other end of a connection.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// None: it is on this machine.
    pub from: Option<SocketAddr>,
    /// Who it has proven to be; None: it is on this machine, where the socket's directory lets nobody else in.
    pub bearer: Option<Bearer>,
    /// When its certificate expires, and the connection with it.
    pub until: Option<Instant>,
    /// Since when its machine is the node; 0 on this machine.
    pub joined_us: u64,
    /// Its version.
    pub muster: String,
    /// The highest generation that it has obeyed.
    pub generation: u64,
    /// It is about to say what it has.
    pub resumes: bool,
    /// It carries questions to nodes that are not heard.
    pub carries: bool,
    /// It can be told to reboot or shut down its machine.
    pub powers: bool,
}
