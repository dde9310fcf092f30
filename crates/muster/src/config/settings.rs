//! Turns a file whose keys are right into the settings of a cell, and finds what takes more than one key to judge.
//!
//! Pure. Promise: `CellSettings` that come out need no further check; all problems that do not follow from others are told
//! at once.
//! Not here: what two things may not share (see `conflicts`), and members (see `members`).

use super::actions;
use super::choice;
use super::conflicts;
use super::document::{At, Data, Document, Table};
use super::problem::{KeyPath, Problems};
use super::reader::Reader;
use super::suggest;
use super::{cells, clients, fences, groups, listeners, members, monitors, stores};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use wire::error_code::{self, ErrorCode};
use wire::id::{ClusterName, NodeName, RouterName};
use wire::node::PowerCommands;
use wire::router::{Limits, RetrySettings, Timeouts};
use wire::settings::{
    AccessLog, AccessLogFormat, CellSettings, ClientSettings, ClusterSettings, ConsoleSettings, Listener,
    ManagerSettings, PathKind, PluginCfgOutput, PluginCfgScope, Protocol, RouteSettings, RouterPlace,
    TraceSettings,
};

/// The node of a file that names none.
const ONLY_NODE: &str = "local";

/// How managers keep the lead where nothing is said.
const PROFILE: &str = "normal";

/// `default_state_dir` is what the user's environment gives; None where it gives nothing.
pub fn build(document: &Document<'_>, default_state_dir: Option<String>) -> Result<CellSettings, Problems> {
    let mut builder = Builder::new(document);
    let settings = builder.cell(default_state_dir);
    conflicts::check(&settings, &mut builder);
    if builder.problems.is_empty() { Ok(settings) } else { Err(builder.problems) }
}

/// What all parts need while they read: the file, the names in it, and what was found wrong so far.
pub struct Builder<'a> {
    pub document: &'a Document<'a>,
    pub problems: Problems,
    nodes: Vec<NodeName>,
    node_addresses: BTreeMap<NodeName, IpAddr>,
    node_power: BTreeMap<NodeName, PowerCommands>,
    pub clusters: Vec<ClusterName>,
    /// Those of other cells, as routes name them.
    pub elsewhere: Vec<ClusterName>,
    clients: Vec<ClientSettings>,
}

impl<'a> Builder<'a> {
    fn new(document: &'a Document<'a>) -> Self {
        let names = |key| named(&document.root, key).into_iter().map(|(name, _)| name);
        let mut nodes: Vec<NodeName> = names("nodes").map(NodeName::from).collect();
        if nodes.is_empty() {
            nodes.push(ONLY_NODE.into());
        }
        let clusters = names("clusters").map(ClusterName::from).collect();
        Self {
            document,
            problems: Problems::default(),
            nodes,
            node_addresses: BTreeMap::new(),
            node_power: BTreeMap::new(),
            clusters,
            elsewhere: Vec::new(),
            clients: Vec::new(),
        }
    }

    /// A reader of one table that nothing stands in for.
    pub fn reader(&self, section: &str, path: KeyPath, table: Option<&'a Table>) -> Reader<'a> {
        Reader::new(section, vec![(path, table)])
    }

    /// Notes a problem; what is built further is thrown away in the end.
    pub fn refuse(&mut self, code: ErrorCode, path: &KeyPath, at: At, message: String, allowed: &str) {
        let problem = self.document.problem(code, path, at, message);
        self.problems.push(problem.allowing(allowed));
    }

    fn cell(&mut self, default_state_dir: Option<String>) -> CellSettings {
        let root = &self.document.root;
        let cell = self.reader("cell", KeyPath::of(&["cell"]), root.table("cell"));
        let console = self.reader("console", KeyPath::of(&["console"]), root.table("console"));
        let state_dir = cell.text_if_any("state_dir").or(default_state_dir);
        if state_dir.is_none() {
            let message =
                "`state_dir` is missing, and HOME is not set, from which it would follow".to_owned();
            let path = KeyPath::of(&["cell", "state_dir"]);
            self.refuse(error_code::CONFIG_MISSING, &path, At::Key, message, "a path that starts with `/`");
        }
        self.read_nodes();
        let manager = self.manager();
        let store = stores::read(self, &manager);
        self.demand_tables("routers", "a router takes the requests: [routers.NAME]");
        self.clients = clients::read(self);
        let cells = cells::read_cells(self);
        let names = cells.iter().flat_map(|cell| cell.clusters.iter().map(|name| cell.name_of(name)));
        self.elsewhere = names.collect();
        let bridges = cells::read_bridges(self);
        let groups = groups::read(self);
        let fences = fences::read(self);
        self.demand_tables("clusters", "a cluster has the members: [clusters.NAME.members.NAME]");
        let routers =
            named(root, "routers").into_iter().map(|(name, table)| self.router(name, table)).collect();
        let clusters =
            named(root, "clusters").into_iter().map(|(name, table)| self.cluster(name, table)).collect();
        let monitors = monitors::read(self, &groups);
        CellSettings {
            name: cell.text("name"),
            state_dir: state_dir.unwrap_or_default(),
            nodes: self.nodes.clone(),
            node_addresses: self.node_addresses.clone(),
            node_power: self.node_power.clone(),
            manager,
            store,
            console: ConsoleSettings { listen: address(&console.text("listen")) },
            routers,
            cells,
            bridges,
            clusters,
            groups,
            fences,
            monitors,
        }
    }

    fn read_nodes(&mut self) {
        for (name, table) in named(&self.document.root, "nodes") {
            let path = KeyPath::of(&["nodes", name]);
            let reader = self.reader("nodes.*", path.clone(), Some(table));
            let power = PowerCommands {
                reboot: reader.list("reboot_command"),
                shutdown: reader.list("shutdown_command"),
            };
            if power != PowerCommands::default() {
                self.node_power.insert(name.into(), power);
            }
            let Some(text) = reader.text_if_any("address") else { continue };
            let address: IpAddr = text.parse().expect("addresses are checked with the definitions");
            if address.is_unspecified() {
                let message = format!("nobody can be reached at {address}");
                let allowed = "the address of one interface of the machine";
                self.refuse(
                    error_code::CONFIG_NOT_ALLOWED,
                    &path.with("address"),
                    At::Value,
                    message,
                    allowed,
                );
            }
            self.node_addresses.insert(name.into(), address);
        }
    }

    fn manager(&mut self) -> ManagerSettings {
        let path = KeyPath::of(&["manager"]);
        let reader = self.reader("manager", path.clone(), self.document.root.table("manager"));
        let listen = reader.text_if_any("listen").map(|text| address(&text));
        if listen.is_some_and(|listen| listen.port() == 0) {
            let message = "other machines must know the port".to_owned();
            let allowed = "a port from 1 to 65535; 29001 is usual";
            self.refuse(error_code::CONFIG_NOT_ALLOWED, &path.with("listen"), At::Value, message, allowed);
        }
        let homeless = self.nodes.iter().find(|node| !self.node_addresses.contains_key(*node)).cloned();
        if let (Some(_), Some(node)) = (listen, homeless) {
            let message = format!("node `{node}` has no address, and the cell is several machines");
            let allowed = format!("`address` in [nodes.{node}]: where other machines reach it");
            self.refuse(error_code::CONFIG_MISSING, &path.with("listen"), At::Key, message, &allowed);
        }
        let nodes = self.manager_nodes(&reader, listen.is_some());
        let profile = reader.text_if_any("profile").unwrap_or_else(|| PROFILE.to_owned());
        let heartbeat_port = self.heartbeat_port(&reader, listen);
        let certificate_life_ms = reader.integer("certificate_life_ms");
        ManagerSettings { listen, nodes, profile, certificate_life_ms, heartbeat_port }
    }

    /// 0: the port after that of `listen`.
    fn heartbeat_port(&mut self, reader: &Reader<'_>, listen: Option<SocketAddr>) -> u16 {
        if reader.has("heartbeat_port") {
            return u16::try_from(reader.integer("heartbeat_port")).expect("its range is that of ports");
        }
        if listen.is_some_and(|listen| listen.port() == u16::MAX) {
            let message =
                "there is no port after that of `listen`, on which heartbeats would be heard".to_owned();
            let allowed = "`heartbeat_port`, from 1 to 65535; 29002 is usual";
            let path = reader.path("listen");
            self.refuse(error_code::CONFIG_NOT_ALLOWED, &path, At::Value, message, allowed);
        }
        0
    }

    /// The nodes with a manager. Several cannot do without an address for the others.
    fn manager_nodes(&mut self, reader: &Reader<'_>, can_be_reached: bool) -> Vec<NodeName> {
        let path = reader.path("nodes");
        let mut nodes: Vec<NodeName> = Vec::new();
        for (index, name) in reader.list("nodes").into_iter().enumerate() {
            let place = path.with(&format!("[{index}]"));
            let name = NodeName(name);
            if nodes.contains(&name) {
                let message = format!("node `{name}` is given twice");
                self.refuse(error_code::CONFIG_DUPLICATE, &place, At::Value, message, "each node once");
            } else if !self.nodes.contains(&name) {
                let known: Vec<String> = self.nodes.iter().map(|name| name.0.clone()).collect();
                self.unknown_name(&place, "node", &name.0, &known);
            }
            nodes.push(name);
        }
        if nodes.is_empty() {
            nodes.extend(self.nodes.first().cloned());
        }
        let is_elsewhere = nodes.len() > 1 || nodes.first() != self.nodes.first();
        if is_elsewhere && !can_be_reached {
            let message =
                "the managers of other machines must be reached, and there is no `listen`".to_owned();
            let allowed = "`listen` in [manager], e.g. \"0.0.0.0:29001\"";
            self.refuse(error_code::CONFIG_MISSING, &path, At::Key, message, allowed);
        }
        nodes
    }

    /// In the order of the file.
    pub fn nodes(&self) -> &[NodeName] {
        &self.nodes
    }

    /// Where others reach a node, if that is said.
    pub fn address_of(&self, node: &NodeName) -> Option<IpAddr> {
        self.node_addresses.get(node).copied()
    }

    fn demand_tables(&mut self, key: &str, why: &str) {
        let has_groups = !named(&self.document.root, "groups").is_empty();
        if named(&self.document.root, key).is_empty() && !has_groups {
            let message = format!("there are no {key}");
            self.refuse(error_code::CONFIG_MISSING, &KeyPath::of(&[key]), At::Key, message, why);
        }
    }

    fn router(&mut self, name: &str, table: &'a Table) -> RouterPlace {
        let path = KeyPath::of(&["routers", name]);
        let inner =
            |key: &str| Reader::new(&format!("routers.*.{key}"), vec![(path.with(key), table.table(key))]);
        let (timeouts, limits, retry) = (inner("timeouts"), inner("limits"), inner("retry"));
        let access_log = self.access_log(&inner("access_log"));
        let router = self.reader("routers.*", path.clone(), Some(table));
        let listeners = listeners::read(self, &router, &path, table);
        let ip = |text: &String| text.parse().expect("addresses are checked with the definitions");
        RouterPlace {
            name: RouterName::from(name),
            node: self.node(&router),
            routes: self.routes(&path, table, &listeners, limits.integer("head_size_max_bytes")),
            listeners,
            zone: router.text_if_any("zone").unwrap_or_default(),
            threads: router.small_integer("threads"),
            timeouts: Timeouts {
                connect_ms: timeouts.integer("connect_ms"),
                head_ms: timeouts.integer("head_ms"),
                body_ms: timeouts.integer("body_ms"),
                idle_ms: timeouts.integer("idle_ms"),
                response_ms: timeouts.integer("response_ms"),
                request_ms: timeouts.integer("request_ms"),
                tunnel_idle_ms: timeouts.integer("tunnel_idle_ms"),
                pool_idle_ms: timeouts.integer("pool_idle_ms"),
            },
            limits: Limits {
                head_size_max_bytes: limits.small_integer("head_size_max_bytes"),
                header_count_max: limits.small_integer("header_count_max"),
                body_size_max_bytes: limits.integer("body_size_max_bytes"),
                connections_max: limits.small_integer("connections_max"),
                pool_size_max: limits.small_integer("pool_size_max"),
            },
            retry: RetrySettings {
                attempts_max: retry.small_integer("attempts_max"),
                budget_percent: retry.small_integer("budget_percent"),
                budget_floor_per_second: retry.small_integer("budget_floor_per_second"),
                replay_max_bytes: retry.small_integer("replay_max_bytes"),
            },
            access_log,
            trace: table.table("trace").map(|_| {
                let trace = inner("trace");
                TraceSettings {
                    starts: trace.boolean("starts"),
                    sampled_percent: trace.small_integer("sampled_percent"),
                }
            }),
            trusted_proxies: router.list("trusted_proxies").iter().map(ip).collect(),
            clients: self.clients.clone(),
            gateway: cells::gateway(self, &router),
            advertise: router.text_if_any("advertise").unwrap_or_default(),
            plugin_cfg: self.plugin_cfg(&path, table),
        }
    }

    fn plugin_cfg(&mut self, router: &KeyPath, table: &'a Table) -> Option<PluginCfgOutput> {
        let inner = table.table("plugin_cfg")?;
        let reader = self.reader("routers.*.plugin_cfg", router.with("plugin_cfg"), Some(inner));
        Some(PluginCfgOutput {
            path: reader.text("path"),
            scope: match reader.text("scope").as_str() {
                "none" => PluginCfgScope::None,
                "all" => PluginCfgScope::All,
                "node" => PluginCfgScope::Node,
                "server" => PluginCfgScope::Server,
                _ => PluginCfgScope::Cell,
            },
            change_script: reader.list("change_script"),
            change_script_ms: reader.integer("change_script_ms"),
        })
    }

    fn access_log(&mut self, reader: &Reader<'_>) -> AccessLog {
        if reader.says("path") && !reader.says("format") {
            let message =
                "`path` has no effect, because `format` is not given and no log is written".to_owned();
            let allowed = "`format = \"common\"` or `format = \"json\"` beside it";
            self.refuse(error_code::CONFIG_CONTRADICTION, &reader.path("path"), At::Key, message, allowed);
        }
        let format = match reader.text("format").as_str() {
            "common" => AccessLogFormat::Common,
            "combined" => AccessLogFormat::Combined,
            "json" => AccessLogFormat::Json,
            "custom" => AccessLogFormat::Custom,
            _ => AccessLogFormat::Off,
        };
        let pattern = reader.text_if_any("pattern");
        let (is_custom, place) = (format == AccessLogFormat::Custom, reader.path("pattern"));
        if is_custom && pattern.is_none() {
            let message = "`pattern` is missing, which says how lines look".to_owned();
            let allowed = "a pattern like `pattern = \"{client} {method} {target} {status}\"`";
            self.refuse(error_code::CONFIG_MISSING, &place, At::Key, message, allowed);
        }
        if !is_custom && pattern.is_some() {
            let message = "`pattern` has no effect without `format = \"custom\"`".to_owned();
            self.refuse(error_code::CONFIG_CONTRADICTION, &place, At::Key, message, "`format = \"custom\"`");
        }
        let path = reader.text_if_any("path").unwrap_or_default();
        AccessLog { format, pattern: pattern.unwrap_or_default(), path }
    }

    fn routes(
        &mut self,
        router: &KeyPath,
        table: &'a Table,
        listeners: &[Listener],
        head_size_max_bytes: u64,
    ) -> Vec<RouteSettings> {
        let path = router.with("routes");
        let written = match table.get("routes") {
            Some(Data::List(items)) => items.as_slice(),
            _ => &[],
        };
        if written.is_empty() {
            if let [cluster] = self.clusters.as_slice() {
                return vec![RouteSettings::to_cluster("*", "/", cluster.clone())];
            }
            let takes_requests = |listener: &Listener| matches!(listener.protocol, Protocol::Http { .. });
            if !self.clusters.is_empty() && listeners.iter().any(takes_requests) {
                let message =
                    "there are no routes, and more than one cluster to which requests could go".to_owned();
                let allowed = format!("[[{path}]] with `host`, `path` and `cluster`");
                self.refuse(error_code::CONFIG_MISSING, &path, At::Key, message, &allowed);
            }
            return Vec::new();
        }
        let mut routes = Vec::new();
        for (index, item) in written.iter().enumerate() {
            let Data::Table(route) = &item.data else { continue };
            let reader = self.reader("routers.*.routes", path.with(&format!("[{index}]")), Some(route));
            let place = path.with(&format!("[{index}]"));
            let (levels, spread) = if actions::answers_itself(route) {
                Default::default()
            } else {
                choice::levels(self, &reader)
            };
            let (host, path) = (reader.text("host").to_ascii_lowercase(), reader.text("path"));
            let actions = actions::read(self, &reader, &place, route, head_size_max_bytes);
            let path_kind = self.path_kind(&reader, &path);
            let port = u16::try_from(reader.integer("port")).expect("the range is that of ports");
            let port = (port != 0).then_some(port);
            routes.push(RouteSettings {
                name: route_name(&host, port, &path, path_kind),
                host,
                port,
                path,
                path_kind,
                levels,
                spread,
                actions,
                ..RouteSettings::default()
            });
        }
        routes
    }

    /// How a route's path is meant, which must be written accordingly.
    fn path_kind(&mut self, route: &Reader<'a>, path: &str) -> PathKind {
        match route.text("path_kind").as_str() {
            "exact" => PathKind::Exact,
            "start" => PathKind::Start,
            "extension" => {
                let ending = path.rsplit_once("/*").map(|(_, ending)| ending);
                let is_right =
                    ending.is_some_and(|ending| !ending.is_empty() && !ending.contains(['/', '*']));
                if !is_right || path.matches('*').count() != 1 {
                    let message =
                        format!("`path_kind` is `extension`, and `{path}` has no ending to look for");
                    let (place, allowed) = (route.path("path"), "a folder and an ending, such as \"/*.jsp\"");
                    self.refuse(error_code::CONFIG_CONTRADICTION, &place, At::Value, message, allowed);
                }
                PathKind::Extension
            }
            _ => PathKind::Prefix,
        }
    }

    /// A cluster that is named at `path`.
    pub fn known_cluster(&mut self, path: &KeyPath, name: String) -> ClusterName {
        let name = ClusterName(name);
        if !self.clusters.contains(&name) {
            let known: Vec<String> = self.clusters.iter().map(|name| name.0.clone()).collect();
            self.unknown_name(path, "cluster", &name.0, &known);
        }
        name
    }

    /// The node that a router or member names, or the only one.
    pub fn node(&mut self, reader: &Reader<'_>) -> NodeName {
        let path = reader.path("node");
        match (reader.text_if_any("node"), self.nodes.as_slice()) {
            (None, [only]) => only.clone(),
            (None, _) => {
                let message = "`node` is missing, and the file has more than one".to_owned();
                let allowed = listed(self.nodes.iter().map(|name| name.0.as_str()));
                self.refuse(error_code::CONFIG_MISSING, &path, At::Key, message, &allowed);
                self.nodes[0].clone()
            }
            (Some(name), _) => self.known_node(&path, name),
        }
    }

    /// A node that is named at `path`.
    pub fn known_node(&mut self, path: &KeyPath, name: String) -> NodeName {
        let name = NodeName(name);
        if !self.nodes.contains(&name) {
            let known: Vec<String> = self.nodes.iter().map(|name| name.0.clone()).collect();
            self.unknown_name(path, "node", &name.0, &known);
        }
        name
    }

    pub fn unknown_name(&mut self, path: &KeyPath, what: &str, name: &str, known: &[String]) {
        let message = format!("there is no {what} `{name}` in this file");
        let near = suggest::nearest(name, known.iter().map(String::as_str)).map(|name| format!("`{name:?}`"));
        let problem = self.document.problem(error_code::CONFIG_UNKNOWN_NAME, path, At::Value, message);
        let allowed = listed(known.iter().map(String::as_str));
        self.problems.push(problem.allowing(allowed).suggesting(near));
    }

    fn cluster(&mut self, name: &str, table: &'a Table) -> ClusterSettings {
        let path = KeyPath::of(&["clusters", name]);
        let cluster = self.reader("clusters.*", path.clone(), Some(table));
        if named(table, "members").is_empty() {
            let message = format!("cluster `{name}` has no members");
            let allowed = format!("at least one [{path}.members.NAME]");
            self.refuse(error_code::CONFIG_MISSING, &path.with("members"), At::Key, message, &allowed);
        }
        ClusterSettings {
            name: ClusterName::from(name),
            policy: choice::policy(&cluster),
            affinity: choice::affinity(self, name, table),
            drain_ms: cluster.integer("drain_ms"),
            hash_key: choice::hash_key(self, &cluster),
            health: choice::health(self, name, table),
            members: members::read(self, name, table),
        }
    }
}

/// The tables `[key.NAME]` right below `table`, in the order of the file.
pub fn named<'t>(table: &'t Table, key: &str) -> Vec<(&'t str, &'t Table)> {
    let Some(names) = table.table(key) else { return Vec::new() };
    let tables = names.0.iter().filter_map(|entry| match &entry.value.data {
        Data::Table(inner) => Some((entry.key.as_str(), inner)),
        _ => None,
    });
    tables.collect()
}

pub fn address(text: &str) -> std::net::SocketAddr {
    text.parse().expect("addresses are checked with the definitions")
}

/// Names for a message.
pub fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    quoted.join(", ")
}

/// As metrics and logs name it: no two routes of a router have the same.
fn route_name(host: &str, port: Option<u16>, path: &str, kind: PathKind) -> String {
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let kind = match kind {
        PathKind::Prefix | PathKind::Extension => "",
        PathKind::Exact => " exact",
        PathKind::Start => "*",
    };
    format!("{host}{port}{path}{kind}")
}
