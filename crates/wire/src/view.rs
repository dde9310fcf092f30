//! What routers and clients know of a cluster: members, run states, weights and selection policy, with an epoch.

use crate::id::{ClusterName, Epoch, MemberName};
use crate::is_default;
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr};

/// What we believe about a member. Only `logic::run_state` decides it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    #[default]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Weighted round robin, exactly as the WebSphere plug-in counts (spec/routing.md 1.3).
    #[default]
    RoundRobin,
    /// Each member that is Up is equally likely; weights are ignored.
    Random,
    /// The member with the fewest requests under way for its weight.
    LeastOutstanding,
    /// The better of two drawn by weight, by latency and requests under way.
    Auto,
    /// The same member for the same `HashKey`, unless it has too much to do.
    Hash,
}

/// How a conversation stays with its member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Affinity {
    pub kind: AffinityKind,
    /// Cookie whose value ends in one or more clone ids, e.g. `JSESSIONID=0000abc:clone1`.
    pub cookie: String,
    /// Path parameter with the same value, e.g. `;jsessionid=...`; empty means none.
    pub url_identifier: String,
    /// Character between session id and clone ids: `:` or `+`.
    pub separator: char,
    /// Whether a request with affinity also lowers its member's current weight.
    pub lowers_weight: bool,
    /// A conversation whose member is gone is refused rather than given to another.
    pub is_strict: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AffinityKind {
    /// `SESSION:CLONE[:CLONE...]`, as WebSphere and Liberty write it.
    #[default]
    CloneId,
    /// `SESSION.CLONE`, as Tomcat, JBoss and others write it.
    RouteSuffix,
    /// A cookie that the router itself sets and signs.
    Own,
}

/// One member as routers see it. There may be ten thousand, most of them without anything special, which is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_lost: bool,
    /// It is down for no other reason than that it fails its probe. A router in panic uses it nevertheless.
    #[serde(default, skip_serializing_if = "is_default")]
    pub only_fails_probe: bool,
    /// Why it is in this state, as a sentence for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reason: String,
    /// Where it runs, for routes that prefer what is near; empty means nowhere in particular.
    #[serde(default, skip_serializing_if = "is_default")]
    pub zone: String,
    /// Used only while no other member of its cluster can be, the first in order first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_backup: bool,
    /// Requests under way at once from one router; 0 means no bound.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requests_max: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub transport: Transport,
    /// Where and how requests go that reached the router by TLS; None: as all others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secure: Option<Box<Secure>>,
}

/// A member's second address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Secure {
    pub address: Option<SocketAddr>,
    pub transport: Transport,
}

/// How routers speak with a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Transport {
    /// HTTP/2 instead of HTTP/1.1.
    pub http2: bool,
    pub tls: Option<MemberTls>,
    /// Begin each connection with a PROXY protocol header (version 2) that names the client.
    pub sends_proxy_header: bool,
    /// Instead of the router's; 0 means no bound.
    pub connect_ms: Option<u64>,
    /// A connection ends when what was sent on it has not even arrived for so long; None: when the system gives up.
    pub unacknowledged_ms: Option<u32>,
    /// Instead of the router's `response_ms`; 0 means no bound.
    pub response_ms: Option<u64>,
    /// A member that was silent for `response_ms` is left out for a while, like one that could not be reached.
    pub marks_silence: bool,
    /// Instead of `response_ms` for requests that ask to switch protocols, and for writes in a tunnel; 0 means no bound.
    pub upgrade_ms: Option<u64>,
    /// Instead of the router's `tunnel_idle_ms`; 0 means no bound.
    pub tunnel_idle_ms: Option<u64>,
    /// A new connection carries a request only after the member has answered `OPTIONS *` on it: a firewall between may
    /// accept connections for a server that is dead.
    pub asks_first: bool,
    /// The body follows only when the member has answered `Expect: 100-continue`.
    pub waits_for_continue: bool,
}

/// TLS to a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemberTls {
    /// Name that its certificate must carry; empty means its address.
    pub server_name: String,
    /// PEM file of the authorities that are believed; empty means those of the system.
    pub authorities: String,
    /// PEM files of our own certificate and key, where the member wants one; empty means none.
    pub certificate: String,
    pub key: String,
    /// Believe any certificate. Says so in `check` and in the log.
    pub is_unverified: bool,
}

/// How a cluster's members are judged and protected beyond their run state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Health {
    /// Time over which a member that comes back gets its full share; 0 means at once.
    pub slow_start_ms: u64,
    /// Failures in a row after which a router leaves a member out for a while; 0 means never.
    pub eject_after: u32,
    /// Whether an answer with a status from 500 on is such a failure.
    pub ejects_on_status: bool,
    /// First time out; grows with each ejection that follows.
    pub eject_ms: u64,
    /// Most members that may be left out at once, of a hundred.
    pub eject_percent_max: u32,
    /// When fewer members than this, of a hundred, can be used, all are that are left out or fail their probe; 0 means
    /// never.
    pub panic_percent: u32,
    /// Pause after a failure to reach a member, instead of one that grows.
    pub retry_interval_ms: Option<u64>,
    /// Requests that may wait per router thread when all members have `requests_max`; 0 means none.
    pub queue_max: u32,
    /// How long they wait.
    pub queue_ms: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            slow_start_ms: 0,
            eject_after: 0,
            ejects_on_status: false,
            eject_ms: 10_000,
            eject_percent_max: 33,
            panic_percent: 0,
            retry_interval_ms: None,
            queue_max: 0,
            queue_ms: 0,
        }
    }
}

/// What a choice by hash looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashKey {
    #[default]
    ClientAddress,
    Path,
    Header(String),
    Cookie(String),
}

/// All that a router needs to choose a member of one cluster. Members are in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub cluster: ClusterName,
    pub epoch: Epoch,
    pub policy: Policy,
    pub affinity: Option<Affinity>,
    pub members: Vec<MemberView>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub hash_key: HashKey,
    #[serde(default, skip_serializing_if = "is_default")]
    pub health: Health,
    /// The other cell that it is in, whose gateways stand as its members; empty: in this one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cell: String,
    /// Set where the cluster comes from a plugin-cfg.xml.
    #[serde(default, skip_serializing_if = "is_default")]
    pub plugin: Option<PluginRules>,
}

/// Rules of a ServerCluster in plugin-cfg.xml that differ from ours (spec/routing.md 1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PluginRules {
    pub remove_special_headers: bool,
    /// None: no bound. 0: a request with a body is never repeated.
    pub post_buffer_max_bytes: Option<u64>,
    /// Retries after ServerIOTimeout; None: as many as there are servers.
    pub io_timeout_retries: Option<u32>,
    /// `$WSSP` names the port that the request came in on, not that of its Host header.
    pub tells_listener_port: bool,
}
