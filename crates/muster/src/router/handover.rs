//! What a router's control thread is asked when another process takes its work over, and what goes with it.
//!
//! Not here: how processes find and speak to each other (see `upgrade`), and what the control thread does about it
//! (see `control::handover`).

use super::kept::Kept;
use std::io;
use std::net::{SocketAddr, TcpListener};
use tokio::sync::{mpsc, oneshot};
use wire::id::RouterName;
use wire::router::RouterReport;

/// Requests that may wait for a control thread. 16: there are a handful during one hand-over.
pub const REQUESTS_MAX: usize = 16;

/// One address and our copies of its listening sockets: the queues of connections behind them outlive whoever accepts.
#[derive(Debug)]
pub struct Held {
    pub asked: SocketAddr,
    /// Another port than asked for where that was 0.
    pub got: SocketAddr,
    pub listeners: Vec<TcpListener>,
}

/// Everything that another process needs in order to serve in this router's place.
#[derive(Debug)]
pub struct Offer {
    pub kept: Kept,
    pub held: Vec<Held>,
}

/// What was taken over from another process.
#[derive(Debug)]
pub struct Taken {
    pub kept: Kept,
    pub held: Vec<Held>,
    /// Told when all threads are ready to accept.
    pub serves: oneshot::Sender<()>,
}

/// What a successor tells the router that it took over from: its state, while that one still has clients.
pub type Follower = mpsc::Sender<(RouterName, Kept)>;

#[derive(Debug)]
pub enum Request {
    /// Say what a successor needs; nothing changes.
    Offer {
        reply: oneshot::Sender<io::Result<Offer>>,
    },
    /// A successor serves: leave manager, disk and addresses to it, answer those clients that are there, and end.
    Release {
        drain_ms: u64,
        successor: mpsc::Sender<RouterReport>,
        reply: oneshot::Sender<()>,
    },
    /// The predecessor has let go: accept, and speak to the manager. `follower` hears of every change while it still has clients.
    Lead {
        follower: Option<Follower>,
    },
    /// To the predecessor: what its successor knows.
    Follow {
        kept: Box<Kept>,
    },
    /// What the predecessor counted, for as long as it has clients.
    PredecessorCounts {
        report: Box<RouterReport>,
    },
    PredecessorEnded,
}
