//! What processes say to each other at the upgrade socket: frames of JSON, and descriptors behind an offer.

use crate::router::kept::Kept;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use wire::id::RouterName;
use wire::router::RouterReport;

/// Raised when a message changes its meaning; the other side is refused with both numbers named.
pub const UPGRADE_VERSION: u32 = 1;

/// To the process that serves.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// From an operator's command: start this program, or the one that you were started from, in your place.
    Upgrade {
        version: u32,
        binary: Option<PathBuf>,
        drain_ms: u64,
    },
    /// From the process that shall serve.
    TakeOver {
        version: u32,
        pid: u32,
        release: String,
    },
    /// All its threads are ready, and accept as soon as the other process does not.
    Serves,
    /// What the new process knows, for the clients that the old one still has.
    Follow {
        router: RouterName,
        kept: Box<Kept>,
    },
    KeepAlive,
}

/// From the process that serves.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Refused {
        reason: String,
    },
    Upgraded {
        old_pid: u32,
        new_pid: u32,
        old_release: String,
        new_release: String,
    },
    /// Followed by the descriptors, in this order.
    Offer {
        pid: u32,
        release: String,
        routers: Vec<OfferedRouter>,
    },
    /// It accepts no more, and has let go of manager and disk.
    Released,
    Counts(Box<RouterReport>),
    KeepAlive,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct OfferedRouter {
    pub router: RouterName,
    pub kept: Kept,
    pub addresses: Vec<OfferedAddress>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct OfferedAddress {
    pub asked: SocketAddr,
    pub got: SocketAddr,
    /// Listening sockets that come with it.
    pub count: usize,
}
