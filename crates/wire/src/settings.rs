//! The checked configuration of a cell. `muster::config` makes it from a file; everything behind trusts it.

use crate::agent::{ProbeSettings, Run};
use crate::id::{ClusterName, MemberName, NodeName, RouterName};
use crate::router::{Limits, RetrySettings, Timeouts};
use crate::view::{Affinity, Policy};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellSettings {
    pub name: String,
    /// Directory for the store, last views, logs and tokens.
    pub state_dir: String,
    pub nodes: Vec<NodeName>,
    pub console: ConsoleSettings,
    pub routers: Vec<RouterPlace>,
    /// In the order of the file.
    pub clusters: Vec<ClusterSettings>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSettings {
    pub listen: SocketAddr,
}

/// A router and the node that it runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterPlace {
    pub name: RouterName,
    pub node: NodeName,
    pub listen: Vec<SocketAddr>,
    pub threads: u32,
    pub routes: Vec<RouteSettings>,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub retry: RetrySettings,
    pub access_log: AccessLog,
    pub trusted_proxies: Vec<IpAddr>,
}

/// Requests for `host` whose path lies under `path` go to `cluster`. The longest path of the most exact host wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSettings {
    /// Lower case, without port; `*` means any.
    pub host: String,
    /// Starts with `/`. `/shop` matches `/shop` and `/shop/...`, not `/shopping`.
    pub path: String,
    pub cluster: ClusterName,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    pub format: AccessLogFormat,
    /// Empty means standard output.
    pub path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLogFormat {
    Off,
    Common,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    pub name: ClusterName,
    pub policy: Policy,
    pub affinity: Option<Affinity>,
    /// Longest wait for conversations to end when a member is stopped or restarted; requests under way are
    /// waited for in any case, as long as `stop_grace_ms`.
    pub drain_ms: u64,
    /// In the order of the file, which is the order of round robin.
    pub members: Vec<MemberSettings>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSettings {
    pub name: MemberName,
    pub clone_id: String,
    pub weight: u32,
    /// The node whose agent starts or probes it.
    pub node: NodeName,
    pub run: Run,
    pub probe: ProbeSettings,
}
