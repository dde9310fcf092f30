//! What cells tell each other: a few numbers for each cluster, never a single member.
//!
//! JSON over an authenticated stream between managers of two cells. Bounded in length; whoever sends more, or what does
//! not parse, is not listened to for a while (`logic::summary`). Fields that are not known are ignored, so that cells of
//! different versions understand each other.
//! Not here: when something is told, and what is believed.

use crate::id::{CellNumber, ClusterName, Epoch};
use crate::is_default;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Longest message. 256 KiB: 1,000 clusters with names and gateways of common length, and nothing that hurts a receiver.
pub const SUMMARY_MAX_BYTES: usize = 256 << 10;
/// Clusters of one message, and that one cell tells of. 1,000: five times what a large cell was seen to have.
pub const SUMMARY_CLUSTERS_MAX: usize = 1_000;
/// Addresses of routers through which a cluster is reached. Four: who finds none of four up would not find a fifth.
pub const GATEWAYS_MAX: usize = 4;
/// Highest load that is told: nothing is free.
pub const LOAD_MAX: u8 = 10;

/// The protocol (ALPN) of a connection on which one cell hears of another.
pub const BRIDGE_PROTOCOL: &[u8] = b"muster-bridge/1";
/// Raised when a message changes its meaning; the other side is refused with both numbers named.
pub const BRIDGE_VERSION: u32 = 1;
/// Longest hello and answer to it. 4 KiB: names, numbers and a secret.
pub const BRIDGE_HELLO_MAX_BYTES: u32 = 4 << 10;

/// The first frame of the cell that wants to hear.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeHello {
    pub version: u32,
    /// Version of its program, for people.
    pub muster: String,
    /// What it is called in the other cell's configuration.
    pub bridge: String,
    /// The secret of its token, as lower-case hexadecimal digits.
    pub secret: String,
}

/// What it hears before the first summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeAnswer {
    Welcome {
        /// Name of the cell, for people.
        name: String,
    },
    Refused {
        code: String,
        message: String,
    },
    /// Another manager leads, at this address if it is known.
    NotLeader {
        #[serde(default)]
        leader: Option<String>,
    },
}

/// Everything that is new since the message before on the same stream; the first has everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellSummary {
    pub cell: CellNumber,
    /// All that the sender tells of is in here: forget what is not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_whole: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub clusters: Vec<ClusterSummary>,
    /// No longer there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gone: Vec<ClusterName>,
}

/// One cluster in one cell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSummary {
    pub cluster: ClusterName,
    /// Of the view from which it was made.
    pub epoch: Epoch,
    /// Members that take requests: exact up to eight, then to an eighth.
    pub ready: u32,
    /// Sum of their weights, as coarse.
    pub weight: u32,
    /// Tenths of what they can do that is in use; at most `LOAD_MAX`.
    pub load: u8,
    /// It takes no new conversations from other cells.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_draining: bool,
    /// Routers of its cell that take requests for it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gateways: Vec<SocketAddr>,
}
