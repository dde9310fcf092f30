//! What a plugin-cfg.xml says, typed: every element and attribute that is known, defaults filled in.
//!
//! The tree that it was made from is kept beside it (`Document::file`), and that is what is written: unknown attributes
//! and elements, comments and spellings stay. An `Option` means that leaving the attribute out has a meaning of its own.
//! Not here: reading values (see `read`), whether it makes sense (see `check`), what a request finds (see `matching`).

use super::xml::{Element, Place, XmlFile};
use std::collections::BTreeMap;
use std::fmt;

/// A file that could be read. `problems` lists values that could not; such a file must not be served from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub file: XmlFile,
    pub config: Config,
    pub problems: Vec<Problem>,
}

/// A value that is not what its attribute takes, or a name that is missing. The default is used in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}: {}", self.place.line, self.place.column, self.what)
    }
}

/// The root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    pub place: Place,
    /// Seconds between looks at the file; None: it is never read again.
    pub refresh_interval_s: Option<u64>,
    pub ignore_dns_failures: bool,
    pub response_chunk_size_kb: u64,
    pub accept_all_content: bool,
    pub as_disable_nagle: bool,
    pub iis_disable_nagle: bool,
    pub iis_plugin_priority: String,
    pub app_server_port_preference: PortPreference,
    pub chunked_response: bool,
    /// Virtual hosts are matched by the port of the connection, not of the Host header.
    pub vhost_matching_compat: bool,
    pub trusted_proxy_enable: bool,
    pub fips_enable: bool,
    pub ssl_consolidate: bool,
    pub use_insecure: bool,
    pub strict_security: bool,
    pub kill_web_server_start_up_on_parse_err: bool,
    pub http_headers_max: u64,
    pub log: Option<Log>,
    pub properties: Vec<Property>,
    pub trusted_proxies: Vec<TrustedProxy>,
    pub virtual_host_groups: Vec<VirtualHostGroup>,
    pub uri_groups: Vec<UriGroup>,
    /// In the order of the file, as everything here.
    pub clusters: Vec<ServerCluster>,
    pub routes: Vec<Route>,
    pub request_metrics: Option<RequestMetrics>,
    pub intelligent_management: Option<IntelligentManagement>,
}

impl Config {
    /// The cluster of that name; of two the last, as the last definition wins elsewhere too.
    pub fn cluster(&self, name: &str) -> Option<&ServerCluster> {
        self.clusters.iter().rev().find(|cluster| cluster.name == name)
    }

    pub fn virtual_host_group(&self, name: &str) -> Option<&VirtualHostGroup> {
        self.virtual_host_groups.iter().rev().find(|group| group.name == name)
    }

    pub fn uri_group(&self, name: &str) -> Option<&UriGroup> {
        self.uri_groups.iter().rev().find(|group| group.name == name)
    }

    /// For those who look many names up.
    pub fn names(&self) -> Names<'_> {
        Names {
            clusters: self.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster)).collect(),
            host_groups: self.virtual_host_groups.iter().map(|group| (group.name.as_str(), group)).collect(),
            uri_groups: self.uri_groups.iter().map(|group| (group.name.as_str(), group)).collect(),
        }
    }

    /// The value of a Property directly under Config, by its name in any case.
    pub fn property(&self, name: &str) -> Option<&str> {
        find_property(&self.properties, name)
    }
}

/// A cluster, and the element that it was read from.
#[derive(Debug, Clone, Copy)]
pub struct ReadCluster<'a> {
    pub cluster: &'a ServerCluster,
    pub element: &'a Element,
}

impl Document {
    /// By name; of two of one name the last one.
    pub fn clusters(&self) -> BTreeMap<&str, ReadCluster<'_>> {
        let clusters = self.config.names().clusters;
        let elements = self.file.root.all("ServerCluster").filter_map(|element| {
            let name = element.value("Name")?.trim();
            Some((name, ReadCluster { cluster: clusters.get(name)?, element }))
        });
        elements.collect()
    }
}

/// What a file defines, by name; of two of one name the last one.
#[derive(Debug)]
pub struct Names<'a> {
    pub clusters: BTreeMap<&'a str, &'a ServerCluster>,
    pub host_groups: BTreeMap<&'a str, &'a VirtualHostGroup>,
    pub uri_groups: BTreeMap<&'a str, &'a UriGroup>,
}

fn find_property<'a>(properties: &'a [Property], name: &str) -> Option<&'a str> {
    let found = properties.iter().find(|property| property.name.eq_ignore_ascii_case(name))?;
    Some(&found.value)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PortPreference {
    #[default]
    HostHeader,
    WebserverPort,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub place: Place,
    pub name: String,
    /// In the vendor's spelling.
    pub level: &'static str,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Property {
    pub place: Place,
    pub name: String,
    pub value: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxy {
    pub place: Place,
    /// An address, without brackets.
    pub address: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VirtualHostGroup {
    pub place: Place,
    pub name: String,
    pub hosts: Vec<VirtualHost>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VirtualHost {
    pub place: Place,
    /// As written.
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UriGroup {
    pub place: Place,
    pub name: String,
    pub uris: Vec<Uri>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uri {
    pub place: Place,
    /// The pattern as written.
    pub name: String,
    pub affinity_cookie: String,
    pub affinity_url_identifier: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LoadBalance {
    #[default]
    RoundRobin,
    Random,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerCluster {
    pub place: Place,
    pub name: String,
    pub load_balance: LoadBalance,
    pub retry_interval_s: u64,
    pub ignore_affinity_requests: bool,
    pub get_dwlm_table: bool,
    pub remove_special_headers: bool,
    /// Clone ids are separated by `+` and not by `:`.
    pub clone_separator_change: bool,
    /// None: any size.
    pub post_size_max_bytes: Option<u64>,
    /// None: any size. 0: nothing is kept, so a request with a body is never repeated.
    pub post_buffer_max_bytes: Option<u64>,
    /// None: as many as there are servers.
    pub server_io_timeout_retries: Option<u32>,
    pub servers: Vec<Server>,
    /// None: the file has no list, so all servers are primary. Names, in order.
    pub primary_servers: Option<Vec<ServerName>>,
    /// Names, in order.
    pub backup_servers: Vec<ServerName>,
    /// Requests without affinity go there.
    pub cluster_address: Option<Server>,
}

impl ServerCluster {
    /// Of two of one name the first: a list of names means the first that it finds.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// Servers that share requests, in the order of their list. Without a list all but the backups.
    pub fn primaries(&self) -> Vec<&Server> {
        match &self.primary_servers {
            Some(names) => names.iter().filter_map(|name| self.server(&name.name)).collect(),
            None => self.servers.iter().filter(|server| !self.is_backup(&server.name)).collect(),
        }
    }

    /// Servers that are used one at a time, in order, when no primary can be.
    pub fn backups(&self) -> Vec<&Server> {
        self.backup_servers.iter().filter_map(|name| self.server(&name.name)).collect()
    }

    fn is_backup(&self, name: &str) -> bool {
        self.backup_servers.iter().any(|backup| backup.name == name)
    }

    pub fn clone_separator(&self) -> char {
        if self.clone_separator_change { '+' } else { ':' }
    }
}

/// A server that a list of primaries or backups names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerName {
    pub place: Place,
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    pub place: Place,
    pub name: String,
    /// None: its sessions carry nothing, so there is no affinity.
    pub clone_id: Option<String>,
    /// None: not given, as for a server on its own.
    pub load_balance_weight: Option<u32>,
    /// 0: as long as the system takes.
    pub connect_timeout_s: u64,
    /// None: not given. Below 0: the same time, and the server is marked down as well. 0: no bound.
    pub server_io_timeout_s: Option<i64>,
    pub ws_server_io_timeout_s: Option<i64>,
    pub ws_server_idle_timeout_s: Option<i64>,
    /// None: no bound.
    pub connections_max: Option<u32>,
    pub extended_handshake: bool,
    pub wait_for_continue: bool,
    pub transports: Vec<Transport>,
}

impl Server {
    /// Its share of new requests. Where none is given, the weight that the vendor's documentation names as default.
    pub fn weight(&self) -> u32 {
        self.load_balance_weight.unwrap_or(DEFAULT_WEIGHT)
    }

    /// The first transport of that protocol.
    pub fn transport(&self, protocol: TransportProtocol) -> Option<&Transport> {
        self.transports.iter().find(|transport| transport.protocol == protocol)
    }
}

/// Weight of a server that gives none.
pub const DEFAULT_WEIGHT: u32 = 2;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransportProtocol {
    #[default]
    Http,
    Https,
}

impl fmt::Display for TransportProtocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transport {
    pub place: Place,
    /// IPv6 addresses without brackets.
    pub hostname: String,
    pub port: u16,
    pub protocol: TransportProtocol,
    pub properties: Vec<Property>,
}

impl Transport {
    /// `keyring`, `stashfile` or `certLabel`, in any case.
    pub fn property(&self, name: &str) -> Option<&str> {
        find_property(&self.properties, name)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hostname.contains(':') {
            true => write!(out, "{}://[{}]:{}", self.protocol, self.hostname, self.port),
            false => write!(out, "{}://{}:{}", self.protocol, self.hostname, self.port),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    pub place: Place,
    pub server_cluster: String,
    /// None: all URIs.
    pub uri_group: Option<String>,
    /// None: all virtual hosts.
    pub virtual_host_group: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestMetrics {
    pub place: Place,
    pub arm_enabled: bool,
    pub new_behavior: bool,
    pub rm_enabled: bool,
    pub trace_level: String,
    pub filters: Vec<Filter>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub place: Place,
    pub enable: bool,
    /// `URI` or `SOURCE_IP`.
    pub kind: String,
    /// Value, and whether it counts.
    pub values: Vec<(String, bool)>,
}

/// Where the vendor's plug-in would take routes from, live.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntelligentManagement {
    pub place: Place,
    pub properties: Vec<Property>,
    pub connector_clusters: Vec<ConnectorCluster>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectorCluster {
    pub place: Place,
    pub name: String,
    pub enabled: bool,
    /// None: without end.
    pub retries_max: Option<u32>,
    pub retry_interval_s: u64,
    pub properties: Vec<Property>,
    pub connectors: Vec<Connector>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connector {
    pub place: Place,
    pub host: String,
    pub port: u16,
    pub protocol: TransportProtocol,
    pub properties: Vec<Property>,
}
