//! The checked configuration of a cell. `muster::config` makes it from a file; everything behind trusts it.

use crate::agent::{ProbeSettings, Run};
use crate::fence::FenceSettings;
use crate::group::GroupSettings;
use crate::id::{ClusterName, MemberName, NodeName, RouterName};
use crate::is_default;
use crate::monitor::MonitorSettings;
use crate::node::PowerCommands;
use crate::router::{Limits, RetrySettings, Timeouts};
use crate::view::{Affinity, HashKey, Health, Policy, Transport};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellSettings {
    pub name: String,
    /// Directory for the store, last views, logs and tokens.
    pub state_dir: String,
    pub nodes: Vec<NodeName>,
    /// Where others reach a node; those that have none are only reached from their own machine.
    #[serde(default)]
    pub node_addresses: BTreeMap<NodeName, IpAddr>,
    /// Of nodes of which the file says how they are rebooted or shut down.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node_power: BTreeMap<NodeName, PowerCommands>,
    #[serde(default)]
    pub manager: ManagerSettings,
    #[serde(default)]
    pub store: StoreSettings,
    pub console: ConsoleSettings,
    pub routers: Vec<RouterPlace>,
    /// Other cells that this one hears of, and sends requests to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cells: Vec<OtherCell>,
    /// Other cells that may hear of this one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bridges: Vec<BridgeSettings>,
    /// In the order of the file.
    pub clusters: Vec<ClusterSettings>,
    /// Failover groups, in the order of the file.
    #[serde(default, skip_serializing_if = "is_default")]
    pub groups: Vec<GroupSettings>,
    /// In the order of the file, in which they are tried.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fences: Vec<FenceSettings>,
    /// In the order of the file.
    #[serde(default, skip_serializing_if = "is_default")]
    pub monitors: Vec<MonitorSettings>,
}

impl CellSettings {
    /// The nodes that have a manager; the first alone where the file names none.
    pub fn managers(&self) -> &[NodeName] {
        match self.manager.nodes.as_slice() {
            [] => &self.nodes[..self.nodes.len().min(1)],
            named => named,
        }
    }

    /// Whether managers have to agree which of them leads.
    pub fn has_several_managers(&self) -> bool {
        self.managers().len() > 1
    }

    /// Where the other machines reach the managers, `IP:PORT`; empty where the cell is one machine.
    pub fn manager_addresses(&self) -> Vec<String> {
        let addresses = self.managers().iter().filter_map(|node| self.manager_address(node));
        addresses.collect()
    }

    /// Where other machines reach the manager of a node.
    pub fn manager_address(&self, node: &NodeName) -> Option<String> {
        let address = self.node_addresses.get(node)?;
        Some(SocketAddr::new(*address, self.manager.listen?.port()).to_string())
    }
}

/// Another cell of which this one hears by summaries, and some of whose clusters its routes may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherCell {
    pub name: String,
    /// Where its managers listen, `HOST:PORT`.
    pub managers: Vec<String>,
    /// The file with the token that it gave, on each machine with a manager of this cell.
    pub token_file: String,
    /// As they are called there.
    pub clusters: Vec<ClusterName>,
    /// How its gateways are spoken to.
    pub transport: Transport,
}

impl OtherCell {
    /// What one of its clusters is called in this cell.
    pub fn name_of(&self, cluster: &ClusterName) -> ClusterName {
        ClusterName(format!("{cluster}@{}", self.name))
    }
}

/// Another cell that may hear of some clusters of this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeSettings {
    pub name: String,
    /// SHA-256 of its token's secret as 64 small hexadecimal digits.
    pub token_sha256: String,
    pub clusters: Vec<ClusterName>,
}

/// How managers are reached from other machines, and which there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerSettings {
    /// None: only from its own.
    pub listen: Option<SocketAddr>,
    /// Nodes with a manager; empty: the first node.
    #[serde(default)]
    pub nodes: Vec<NodeName>,
    /// Name of the numbers by which one of several managers keeps the lead.
    #[serde(default)]
    pub profile: String,
    /// How long the certificates of nodes are valid.
    pub certificate_life_ms: u64,
    /// UDP port on which it hears heartbeats, at the address of `listen`; 0: the one after that of `listen`.
    #[serde(default)]
    pub heartbeat_port: u16,
}

impl ManagerSettings {
    /// Where it hears heartbeats, if other machines reach it.
    pub fn heartbeat_listen(&self) -> Option<SocketAddr> {
        let listen = self.listen?;
        let port = match self.heartbeat_port {
            0 => listen.port().checked_add(1)?,
            port => port,
        };
        Some(SocketAddr::new(listen.ip(), port))
    }
}

impl Default for ManagerSettings {
    /// A month: what is stolen is of no use for long, and a node may be away for three weeks.
    fn default() -> Self {
        Self {
            listen: None,
            nodes: Vec::new(),
            profile: "normal".into(),
            certificate_life_ms: 30 * 24 * 3_600_000,
            heartbeat_port: 0,
        }
    }
}

/// Where managers keep what must outlive them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum StoreSettings {
    /// A file in the state directory of the only manager.
    #[default]
    Sqlite,
    Postgres {
        #[serde(flatten)]
        remote: RemoteStore,
        database: String,
        schema: String,
    },
    Etcd {
        #[serde(flatten)]
        remote: RemoteStore,
        prefix: String,
    },
}

/// Servers that keep a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteStore {
    pub servers: Vec<StoreServer>,
    #[serde(default)]
    pub user: Option<String>,
    /// The file with the user's password on each machine with a manager.
    #[serde(default)]
    pub password_file: Option<String>,
    /// None: clear text.
    #[serde(default)]
    pub tls: Option<StoreTls>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreServer {
    pub host: String,
    pub port: u16,
}

/// Paths of PEM files on each machine with a manager; empty means the system's authorities, or no certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreTls {
    pub authorities: String,
    pub certificate: String,
    pub key: String,
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
    pub listeners: Vec<Listener>,
    /// Where it runs, for routes that prefer what is near; empty means nowhere in particular.
    pub zone: String,
    pub threads: u32,
    pub routes: Vec<RouteSettings>,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub retry: RetrySettings,
    pub access_log: AccessLog,
    #[serde(default)]
    pub trace: Option<TraceSettings>,
    pub trusted_proxies: Vec<IpAddr>,
    /// Programs that may know its clusters' members.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clients: Vec<ClientSettings>,
    /// Host under which others reach it; empty: the address that it listens on, or its node's name.
    #[serde(default)]
    pub advertise: String,
    /// Where routers of other cells reach it; None: it takes nothing from them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gateway: Option<SocketAddr>,
    /// The plugin-cfg.xml that it keeps for web servers in front of the cell's routers.
    #[serde(default)]
    pub plugin_cfg: Option<PluginCfgOutput>,
}

/// A program that may know the members of clusters, and learns of changes (see `client_view`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSettings {
    pub name: String,
    /// SHA-256 of its token as 64 small hexadecimal digits: whoever reads the configuration has no token.
    pub token_sha256: String,
    pub clusters: Vec<ClusterName>,
}

/// A plugin-cfg.xml that lists routers, and what happens when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginCfgOutput {
    pub path: String,
    pub scope: PluginCfgScope,
    /// Program and arguments, run after the file changed; empty: none.
    pub change_script: Vec<String>,
    pub change_script_ms: u64,
}

/// Which routers such a file lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginCfgScope {
    /// No file is written.
    None,
    /// All that are known.
    All,
    /// Those of the cell.
    #[default]
    Cell,
    /// Those on the same node.
    Node,
    /// This one alone.
    Server,
}

impl fmt::Display for PluginCfgScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            PluginCfgScope::None => "none",
            PluginCfgScope::All => "all",
            PluginCfgScope::Cell => "cell",
            PluginCfgScope::Node => "node",
            PluginCfgScope::Server => "server",
        })
    }
}

/// An address on which a router takes connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub address: SocketAddr,
    pub protocol: Protocol,
    pub tls: Option<ListenerTls>,
    /// Every connection begins with a PROXY protocol header (version 1 or 2), which names the client.
    pub takes_proxy_header: bool,
}

impl Listener {
    /// One that takes HTTP without TLS.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, protocol: Protocol::Http { http2: true }, tls: None, takes_proxy_header: false }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.0 and 1.1, and HTTP/2 where allowed: by ALPN with TLS, by its first bytes without.
    Http { http2: bool },
    /// Bytes both ways with members of one cluster, after TLS where the listener has it.
    Tcp { cluster: ClusterName },
    /// TLS passed through unread; the name in its first message finds the cluster, `*` any other.
    Tls { clusters: Vec<(String, ClusterName)> },
}

/// TLS towards clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerTls {
    /// Found by the name that the client asks for; the first where none fits.
    pub certificates: Vec<CertificateFiles>,
    /// PEM file of the authorities whose client certificates are believed; empty asks for none.
    pub client_authorities: String,
    /// A client without a certificate is refused.
    pub client_required: bool,
    /// Header in which members get the client's certificate (RFC 9440); empty means none. From no client of the router
    /// is it taken, whatever listener it uses.
    pub client_header: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFiles {
    /// PEM file, the server's own certificate first.
    pub certificate: String,
    /// PEM file.
    pub key: String,
}

/// Requests for `host` whose path fits go to the route's clusters. The most exact host and port win, then an exact path,
/// then the longest one, then an extension; of equal routes the last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSettings {
    /// For people and metrics.
    pub name: String,
    /// Lower case, without port; `*` means any.
    pub host: String,
    /// The port that the request names; None means any.
    #[serde(default, skip_serializing_if = "is_default")]
    pub port: Option<u16>,
    /// Starts with `/`. `/shop` matches `/shop` and `/shop/...`, not `/shopping`.
    pub path: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub path_kind: PathKind,
    /// Clusters by priority: the first level first.
    pub levels: Vec<Vec<ClusterName>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub spread: Spread,
    #[serde(default, skip_serializing_if = "is_default")]
    pub actions: RouteActions,
    /// Instead of the cluster's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub affinity: Option<Affinity>,
}

impl RouteSettings {
    /// A route to one cluster that does nothing else.
    pub fn to_cluster(host: &str, path: &str, cluster: ClusterName) -> Self {
        Self {
            name: format!("{host}{path}"),
            host: host.to_owned(),
            path: path.to_owned(),
            levels: vec![vec![cluster]],
            ..Self::default()
        }
    }

    pub fn clusters(&self) -> impl Iterator<Item = &ClusterName> {
        self.levels.iter().flatten()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// The path and all below it.
    #[default]
    Prefix,
    /// That path only.
    Exact,
    /// Everything that begins with these bytes, whether a segment ends there or not.
    Start,
    /// `path` is an extension such as `*.jsp`, or one within a folder such as `/shop/*.jsp`.
    Extension,
}

/// How a route spreads requests over the clusters of its levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// All members of all levels are equals, by weight: the plug-in's super cluster.
    #[default]
    Flat,
    /// A level that is not wholly healthy gives what it cannot carry to the next (factor 1.4).
    Spill,
    /// Members of the router's own zone first; the others take what these cannot carry.
    ZoneFirst,
    /// A level is used only while no member of those before it can be.
    StrictBackup,
}

/// What happens to requests of a route besides finding a member. Texts in braces are those of `logic::actions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteActions {
    /// Answered by the router itself instead of a member.
    pub answer: Option<RouteAnswer>,
    /// Replaces the route's path at the start of the request's path.
    pub path_replacement: Option<String>,
    pub request_headers: HeaderChanges,
    pub answer_headers: HeaderChanges,
    /// Instead of the router's; 0 means no bound.
    pub body_size_max_bytes: Option<u64>,
    /// Within the router's.
    #[serde(default)]
    pub head_size_max_bytes: Option<u32>,
    pub rate_limit: Option<RateLimit>,
    /// Compress answers of compressible types for clients that take it.
    pub compresses: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteAnswer {
    /// `location` may hold `{host}`, `{path}`, `{rest}` and `{query}`.
    Redirect {
        status: u16,
        location: String,
    },
    Static {
        status: u16,
        content_type: String,
        body: String,
    },
    /// The view of the cluster that a client asks for.
    Views,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderChanges {
    pub remove: Vec<String>,
    /// Name and value; what is there under that name is replaced.
    pub set: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Whose requests are counted together: those of one client address, or of one value of this header.
    pub header: Option<String>,
    pub requests_per_second: u32,
    /// Requests beyond the rate that are let through at once after a pause.
    pub burst: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    pub format: AccessLogFormat,
    /// Of `Custom`; see `logic::log_pattern`.
    #[serde(default)]
    pub pattern: String,
    /// Empty means standard output.
    pub path: String,
}

/// W3C trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSettings {
    /// A request without a valid trace gets one.
    pub starts: bool,
    /// Of the traces that begin here, so many of a hundred are marked as sampled.
    pub sampled_percent: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLogFormat {
    #[default]
    Off,
    Common,
    Combined,
    Json,
    Custom,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    pub name: ClusterName,
    pub policy: Policy,
    pub affinity: Option<Affinity>,
    /// Longest wait for conversations to end when a member is stopped or restarted; requests under way are
    /// waited for in any case, as long as `stop_grace_ms`.
    pub drain_ms: u64,
    pub hash_key: HashKey,
    pub health: Health,
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
    pub zone: String,
    pub is_backup: bool,
    pub requests_max: u32,
    pub transport: Transport,
    pub run: Run,
    pub probe: ProbeSettings,
}
