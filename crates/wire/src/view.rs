//! What routers and clients know of a cluster: members, run states, weights and selection policy, with an epoch.

use crate::id::{ClusterName, Epoch, MemberName};
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr};

/// What we believe about a member. Only `logic::run_state` decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Nobody has told us yet, or not for a long time.
    Unknown,
    /// Its process runs, or will soon; it has not yet answered its probe.
    Starting,
    /// Takes requests.
    Up,
    /// Takes only requests of conversations that it already has.
    Draining,
    /// Takes nothing; expected to come back.
    Down,
    /// Takes nothing and will not be started again until a person says so.
    Failed,
}

impl fmt::Display for RunState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            RunState::Unknown => "unknown",
            RunState::Starting => "starting",
            RunState::Up => "up",
            RunState::Draining => "draining",
            RunState::Down => "down",
            RunState::Failed => "failed",
        })
    }
}

/// How a request without affinity finds its member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Weighted round robin, exactly as the WebSphere plug-in counts (spec/routing.md 1.3).
    RoundRobin,
    /// Each member that is Up is equally likely; weights are ignored.
    Random,
}

/// How a conversation stays with its member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// Cookie whose value ends in one or more clone ids, e.g. `JSESSIONID=0000abc:clone1`.
    pub cookie: String,
    /// Path parameter with the same value, e.g. `;jsessionid=...`; empty means none.
    pub url_identifier: String,
    /// Character between session id and clone ids: `:` or `+`.
    pub separator: char,
    /// Whether a request with affinity also lowers its member's current weight.
    pub lowers_weight: bool,
}

/// One member as routers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    pub name: MemberName,
    /// What a session id carries to name this member.
    pub clone_id: String,
    /// None while nobody knows where it listens.
    pub address: Option<SocketAddr>,
    pub state: RunState,
    /// 0: takes no new conversations.
    pub weight: u32,
    /// Requests that wait for its answer shall be given up, and sent elsewhere where that is safe: its process is
    /// gone or does not answer. True until it is up again; false while one that answered is stopped in good order.
    pub is_lost: bool,
    /// Why it is in this state, as a sentence for people.
    pub reason: String,
}

/// All that a router needs to choose a member of one cluster. Members are in the order of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub cluster: ClusterName,
    pub epoch: Epoch,
    pub policy: Policy,
    pub affinity: Option<Affinity>,
    pub members: Vec<MemberView>,
}
