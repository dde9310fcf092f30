//! Turns a plugin-cfg.xml into what a router needs: routes, views of clusters, and the names to look up.
//!
//! Every ServerCluster becomes a cluster, and every virtual host and URI of a Route becomes a route; of equal ones the last
//! stays. Pure: the caller looks names and key files up and puts the answers in with `Served::views`.
//! Promise: what cannot be served (a Route whose group is missing, a pattern with two stars) is left out and said in
//! `problems`; the rest is served. Not here: how the file is read (see `read`), what is wrong with it (see `check`).

use super::matching::{HostPattern, UriPattern};
use super::model::{
    Config, LoadBalance, PortPreference, Problem, Route, Server, ServerCluster, Transport, TransportProtocol,
    Uri, UriGroup, VirtualHostGroup,
};
use super::xml::Place;
use crate::limits::{CLUSTER_MEMBERS_MAX, PLUGIN_CFG_POST_BUFFER_MAX_BYTES, PLUGIN_CFG_ROUTES_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use wire::id::{ClusterName, Epoch, MemberName, NAME_LENGTH_MAX};
use wire::settings::{PathKind, RouteActions, RouteSettings};
use wire::view::{
    Affinity, AffinityKind, Health, MemberTls, MemberView, PluginRules, Policy, RunState, Secure, View,
};

/// ServerIOTimeout of a server that gives none: the vendor's default since version 8.
const IO_TIMEOUT_DEFAULT_S: i64 = 900;
/// AffinityCookie and AffinityURLIdentifier of a cluster that no URI leads to.
const COOKIE_DEFAULT: &str = "JSESSIONID";
const URL_IDENTIFIER_DEFAULT: &str = "jsessionid";

/// All that a file says to a router.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    pub routes: Vec<RouteSettings>,
    /// Without addresses; see `views`.
    plain_views: Vec<View>,
    targets: Vec<Target>,
    pub trusted_proxies: Vec<IpAddr>,
    pub matches_listener_port: bool,
    /// Seconds; None: the file is not looked at again.
    pub refresh_interval_s: Option<u64>,
    /// Servers whose names are not known are left out until they are; otherwise the file is refused.
    pub ignores_dns_failures: bool,
    /// Those of virtual hosts, ordered.
    pub ports: Vec<u16>,
    /// What was left out.
    pub problems: Vec<Problem>,
}

/// A server's address as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    view: usize,
    member: usize,
    is_secure: bool,
    pub host: String,
    pub port: u16,
    pub place: Place,
    /// The keyring of an https transport.
    pub keyring: Option<String>,
}

/// A PEM file that was found beside a keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    pub path: String,
    /// It holds our own certificate and key too, not just authorities.
    pub has_key: bool,
}

/// What a router serves by this file. The error is for a file beyond what one router can hold.
pub fn plan(config: &Config) -> Result<Served, Problem> {
    // Of two of one name the last one counts, as everywhere in such a file.
    let mut planner = Planner {
        config,
        served: Served::default(),
        clusters: BTreeMap::new(),
        host_groups: config.virtual_host_groups.iter().map(|group| (group.name.as_str(), group)).collect(),
        uri_groups: config.uri_groups.iter().map(|group| (group.name.as_str(), group)).collect(),
    };
    planner.served.refresh_interval_s = config.refresh_interval_s;
    planner.served.ignores_dns_failures = config.ignore_dns_failures;
    planner.served.matches_listener_port = config.vhost_matching_compat;
    planner.trust_proxies();
    planner.clusters()?;
    planner.routes()?;
    Ok(planner.served)
}

struct Planner<'a> {
    config: &'a Config,
    served: Served,
    /// By the file's names.
    clusters: BTreeMap<&'a str, Planned<'a>>,
    host_groups: BTreeMap<&'a str, &'a VirtualHostGroup>,
    uri_groups: BTreeMap<&'a str, &'a UriGroup>,
}

#[derive(Clone, Copy)]
struct Planned<'a> {
    cluster: &'a ServerCluster,
    /// Place among the views.
    view: usize,
    /// A URI has said what its affinity is.
    has_affinity: bool,
}

impl<'a> Planner<'a> {
    fn problem(&mut self, place: Place, what: String) {
        self.served.problems.push(Problem { place, what });
    }

    fn trust_proxies(&mut self) {
        if !self.config.trusted_proxy_enable {
            return;
        }
        for proxy in &self.config.trusted_proxies {
            match proxy.address.parse() {
                Ok(address) => self.served.trusted_proxies.push(address),
                Err(_) => {
                    let what = format!("the trusted proxy {} is not an IP address", proxy.address);
                    self.problem(proxy.place, format!("{what}; it is not trusted"));
                }
            }
        }
    }

    fn clusters(&mut self) -> Result<(), Problem> {
        let mut taken = BTreeSet::new();
        let last: BTreeMap<&str, usize> = self
            .config
            .clusters
            .iter()
            .enumerate()
            .map(|(index, cluster)| (cluster.name.as_str(), index))
            .collect();
        for (index, cluster) in self.config.clusters.iter().enumerate() {
            if last[cluster.name.as_str()] != index {
                let what = format!("another cluster {} follows and takes its place", cluster.name);
                self.problem(cluster.place, what);
                continue;
            }
            let planned = Planned { cluster, view: self.served.plain_views.len(), has_affinity: false };
            self.clusters.insert(&cluster.name, planned);
            self.cluster(ClusterName(plain_name(&cluster.name, &mut taken)), cluster)?;
        }
        Ok(())
    }

    fn cluster(&mut self, name: ClusterName, cluster: &'a ServerCluster) -> Result<(), Problem> {
        if cluster.servers.len() >= CLUSTER_MEMBERS_MAX {
            let what = format!("cluster {} has more than {CLUSTER_MEMBERS_MAX} servers", cluster.name);
            return Err(Problem { place: cluster.place, what });
        }
        let mut view = View {
            cluster: name,
            policy: match cluster.load_balance {
                LoadBalance::RoundRobin => Policy::RoundRobin,
                LoadBalance::Random => Policy::Random,
            },
            affinity: cluster
                .servers
                .iter()
                .any(|server| server.clone_id.is_some())
                .then(|| affinity(cluster, COOKIE_DEFAULT, URL_IDENTIFIER_DEFAULT)),
            health: Health {
                retry_interval_ms: Some(cluster.retry_interval_s.saturating_mul(1000)),
                ..Health::default()
            },
            plugin: Some(self.rules(cluster)),
            ..View::default()
        };
        let mut taken = BTreeSet::new();
        // New conversations of a cluster with an address of its own go there; sessions straight to their server.
        let (primaries, backups) = (cluster.primaries(), cluster.backups());
        let is_fronted = cluster.cluster_address.is_some();
        let listed: BTreeSet<&str> =
            primaries.iter().chain(&backups).map(|server| server.name.as_str()).collect();
        let others = cluster.servers.iter().filter(|server| !listed.contains(server.name.as_str()));
        let weighted = cluster.cluster_address.iter().map(|server| (server, 1, false));
        let weighted = weighted
            .chain(
                primaries.iter().map(|server| (*server, if is_fronted { 0 } else { server.weight() }, false)),
            )
            .chain(backups.iter().map(|server| (*server, if is_fronted { 0 } else { server.weight() }, true)))
            // In neither list: it keeps the sessions that it has, and gets no other.
            .chain(others.map(|server| (server, 0, false)));
        for (server, weight, is_backup) in weighted {
            let name = MemberName(plain_name(&server.name, &mut taken));
            let member = self.member(name, server, view.members.len());
            view.members.push(MemberView { weight, is_backup, ..member });
        }
        self.served.plain_views.push(view);
        Ok(())
    }

    fn rules(&self, cluster: &ServerCluster) -> PluginRules {
        PluginRules {
            remove_special_headers: cluster.remove_special_headers,
            // Without a bound of the file's there is still ours: memory is not endless.
            post_buffer_max_bytes: Some(
                cluster.post_buffer_max_bytes.map_or(PLUGIN_CFG_POST_BUFFER_MAX_BYTES, |most| {
                    most.min(PLUGIN_CFG_POST_BUFFER_MAX_BYTES)
                }),
            ),
            io_timeout_retries: cluster.server_io_timeout_retries,
            tells_listener_port: match self.config.app_server_port_preference {
                PortPreference::HostHeader => false,
                PortPreference::WebserverPort => true,
            },
        }
    }

    /// The member, and its addresses among the targets.
    fn member(&mut self, name: MemberName, server: &'a Server, index: usize) -> MemberView {
        let http = server.transport(TransportProtocol::Http);
        let https = server.transport(TransportProtocol::Https);
        let view = self.served.plain_views.len();
        let mut target = |transport: &Transport, is_secure| {
            self.served.targets.push(Target {
                view,
                member: index,
                is_secure,
                host: transport.hostname.clone(),
                port: transport.port,
                place: transport.place,
                keyring: transport.property("keyring").map(str::to_owned),
            });
            wire_transport(server, transport)
        };
        let transport = http.or(https).map(|transport| target(transport, false));
        let secure = http.and(https).map(|transport| target(transport, true));
        if transport.is_none() {
            self.problem(
                server.place,
                format!("server {} has no Transport: it gets no request", server.name),
            );
        }
        MemberView {
            name,
            clone_id: server.clone_id.clone().unwrap_or_default(),
            state: RunState::Up,
            weight: server.weight(),
            reason: "in plugin-cfg.xml, which says nothing of run states".into(),
            requests_max: server.connections_max.unwrap_or(0),
            transport: transport.unwrap_or_default(),
            secure: secure.map(|transport| Box::new(Secure { address: None, transport })),
            ..MemberView::default()
        }
    }

    fn routes(&mut self) -> Result<(), Problem> {
        let mut places: BTreeMap<(String, Option<u16>, PathKind, String), usize> = BTreeMap::new();
        let mut ports = BTreeSet::new();
        for route in &self.config.routes {
            let Some(planned) = self.clusters.get(route.server_cluster.as_str()).copied() else {
                self.missing(route, "ServerCluster", &route.server_cluster);
                continue;
            };
            let (Some(hosts), Some(uris)) = (self.hosts(route), self.uris(route)) else { continue };
            for (host, (pattern, uri)) in
                hosts.iter().flat_map(|host| uris.iter().map(move |uri| (host, uri)))
            {
                ports.extend(host.port);
                let made = self.route(planned, host, pattern, *uri);
                let key = (made.host.clone(), made.port, made.path_kind, made.path.clone());
                match places.get(&key) {
                    // The last of equal ones wins.
                    Some(place) => self.served.routes[*place] = made,
                    None => {
                        places.insert(key, self.served.routes.len());
                        self.served.routes.push(made);
                    }
                }
            }
            if self.served.routes.len() > PLUGIN_CFG_ROUTES_MAX {
                let what = format!("virtual hosts and URIs make more than {PLUGIN_CFG_ROUTES_MAX} routes");
                return Err(Problem { place: route.place, what });
            }
        }
        self.served.ports = ports.into_iter().collect();
        Ok(())
    }

    fn missing(&mut self, route: &Route, what: &str, name: &str) {
        let what = format!("this Route names the {what} {name}, which is not there; it is left out");
        self.problem(route.place, what);
    }

    /// None where the route names a group that is not there.
    fn hosts(&mut self, route: &Route) -> Option<Vec<HostPattern>> {
        let Some(name) = &route.virtual_host_group else { return Some(vec![HostPattern::ANY]) };
        let Some(group) = self.host_groups.get(name.as_str()).copied() else {
            self.missing(route, "VirtualHostGroup", name);
            return None;
        };
        Some(group.hosts.iter().filter_map(|host| self.host(&host.name, host.place)).collect())
    }

    /// None where the route names a group that is not there.
    fn uris(&mut self, route: &Route) -> Option<Vec<(UriPattern, Option<&'a Uri>)>> {
        let Some(name) = &route.uri_group else { return Some(vec![(UriPattern::ALL, None)]) };
        let Some(group) = self.uri_groups.get(name.as_str()).copied() else {
            self.missing(route, "UriGroup", name);
            return None;
        };
        Some(group.uris.iter().filter_map(|uri| self.uri(uri)).collect())
    }

    fn host(&mut self, name: &str, place: Place) -> Option<HostPattern> {
        let pattern = HostPattern::parse(name);
        if pattern.is_none() {
            self.problem(place, format!("the virtual host {name} is no host and port; it is left out"));
        }
        pattern
    }

    fn uri(&mut self, uri: &'a Uri) -> Option<(UriPattern, Option<&'a Uri>)> {
        let pattern = UriPattern::parse(&uri.name);
        if pattern.is_none() {
            let what = format!("the URI {} is no pattern that can be matched; it is left out", uri.name);
            self.problem(uri.place, what);
        }
        Some((pattern?, Some(uri)))
    }

    fn route(
        &mut self,
        planned: Planned<'a>,
        host: &HostPattern,
        pattern: &UriPattern,
        uri: Option<&Uri>,
    ) -> RouteSettings {
        let (path, path_kind) = match pattern {
            UriPattern::Exact(path) => (path.clone(), PathKind::Exact),
            UriPattern::Prefix { path, ending } if ending.is_empty() => {
                (format!("{path}/"), PathKind::Prefix)
            }
            UriPattern::Prefix { path, ending } => (format!("{path}/*{ending}"), PathKind::Extension),
            UriPattern::Start(path) => (path.clone(), PathKind::Start),
            UriPattern::Extension(ending) => (format!("*{ending}"), PathKind::Extension),
        };
        RouteSettings {
            name: format!("{host} {}", uri.map_or("/*", |uri| &uri.name)),
            host: host.host.clone().unwrap_or_else(|| "*".into()),
            port: host.port,
            path,
            path_kind,
            levels: vec![vec![self.served.plain_views[planned.view].cluster.clone()]],
            affinity: uri.and_then(|uri| self.affinity_of(planned.cluster, uri)),
            actions: RouteActions {
                body_size_max_bytes: Some(planned.cluster.post_size_max_bytes.unwrap_or(0)),
                ..RouteActions::default()
            },
            ..RouteSettings::default()
        }
    }

    /// What the URI says of affinity where the cluster says another thing. The first URI speaks for its cluster.
    fn affinity_of(&mut self, cluster: &'a ServerCluster, uri: &Uri) -> Option<Affinity> {
        let wanted = affinity(cluster, &uri.affinity_cookie, &uri.affinity_url_identifier);
        let planned = self.clusters.get_mut(cluster.name.as_str())?;
        let own = self.served.plain_views[planned.view].affinity.as_mut()?;
        if !std::mem::replace(&mut planned.has_affinity, true) {
            *own = wanted;
            return None;
        }
        (*own != wanted).then_some(wanted)
    }
}

fn affinity(cluster: &ServerCluster, cookie: &str, url_identifier: &str) -> Affinity {
    Affinity {
        kind: AffinityKind::CloneId,
        cookie: cookie.to_owned(),
        url_identifier: url_identifier.to_owned(),
        separator: cluster.clone_separator(),
        lowers_weight: !cluster.ignore_affinity_requests,
        is_strict: false,
    }
}

fn wire_transport(server: &Server, transport: &Transport) -> wire::view::Transport {
    let io_timeout_s = server.server_io_timeout_s.unwrap_or(IO_TIMEOUT_DEFAULT_S);
    let milliseconds = |seconds: i64| seconds.unsigned_abs().saturating_mul(1000);
    wire::view::Transport {
        tls: (transport.protocol == TransportProtocol::Https)
            .then(|| MemberTls { server_name: transport.hostname.clone(), ..MemberTls::default() }),
        connect_ms: Some(server.connect_timeout_s.saturating_mul(1000)),
        response_ms: Some(milliseconds(io_timeout_s)),
        marks_silence: io_timeout_s < 0,
        upgrade_ms: server.ws_server_io_timeout_s.map(milliseconds),
        tunnel_idle_ms: server.ws_server_idle_timeout_s.map(milliseconds),
        asks_first: server.extended_handshake,
        waits_for_continue: server.wait_for_continue,
        ..wire::view::Transport::default()
    }
}

/// A name that may be one of ours: other characters become `-`, a long one is cut, and one that is taken gets a number.
fn plain_name(written: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() || "._-".contains(character) { character } else { '-' }
    };
    let mut name: String = written.chars().map(plain).take(NAME_LENGTH_MAX).collect();
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        name = format!("x{name}").chars().take(NAME_LENGTH_MAX).collect();
    }
    let mut number = 1;
    while taken.contains(&name) {
        number += 1;
        let suffix = format!("-{number}");
        let stem: String = written.chars().map(plain).take(NAME_LENGTH_MAX - suffix.len() - 1).collect();
        let start = if stem.starts_with(|first: char| first.is_ascii_alphanumeric()) { "" } else { "x" };
        name = format!("{start}{stem}{suffix}");
    }
    taken.insert(name.clone());
    name
}

impl Served {
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Names of its clusters.
    pub fn clusters(&self) -> Vec<ClusterName> {
        self.plain_views.iter().map(|view| view.cluster.clone()).collect()
    }

    /// Where to listen when nobody says it: the ports of virtual hosts, but for those that mean TLS or SIP by custom; 80
    /// for virtual hosts of any port.
    pub fn ports_to_listen(&self) -> Vec<u16> {
        let is_other = |port: &u16| port % 1000 == 443 || [5060, 5061].contains(port);
        let mut ports: BTreeSet<u16> = self.ports.iter().copied().filter(|port| !is_other(port)).collect();
        if self.routes.iter().any(|route| route.port.is_none()) {
            ports.insert(80);
        }
        ports.into_iter().collect()
    }

    /// Addresses of names, as earlier views of the same servers have them.
    pub fn addresses_in(&self, old: &[impl AsRef<View>]) -> BTreeMap<String, IpAddr> {
        let old: BTreeMap<&ClusterName, &View> =
            old.iter().rev().map(AsRef::as_ref).map(|old| (&old.cluster, old)).collect();
        let member = |target: &Target| {
            let view = &self.plain_views[target.view];
            let name = &view.members[target.member].name;
            let old = old.get(&view.cluster)?;
            let member = old.members.iter().find(|member| member.name == *name)?;
            let secure = member.secure.as_ref().filter(|_| target.is_secure);
            let address = secure.map_or(member.address, |secure| secure.address)?;
            (address.port() == target.port).then(|| (target.host.clone(), address.ip()))
        };
        self.targets.iter().filter_map(member).collect()
    }

    /// The views with what was looked up. A server whose name is not among `addresses` is there without an address; a
    /// keyring that is not among `key_files` leaves it to the system's authorities.
    pub fn views(
        &self,
        epoch: Epoch,
        addresses: &BTreeMap<String, IpAddr>,
        key_files: &BTreeMap<String, KeyFile>,
    ) -> Vec<View> {
        let mut views = self.plain_views.clone();
        views.iter_mut().for_each(|view| view.epoch = epoch);
        for target in &self.targets {
            let member = &mut views[target.view].members[target.member];
            let address = addresses.get(&target.host).map(|address| SocketAddr::new(*address, target.port));
            let transport = match (&mut member.secure, target.is_secure) {
                (Some(secure), true) => {
                    secure.address = address;
                    &mut secure.transport
                }
                (_, _) => {
                    member.address = address;
                    &mut member.transport
                }
            };
            let key_file = target.keyring.as_ref().and_then(|keyring| key_files.get(keyring));
            if let (Some(tls), Some(file)) = (&mut transport.tls, key_file) {
                tls.authorities.clone_from(&file.path);
                if file.has_key {
                    tls.certificate.clone_from(&file.path);
                    tls.key.clone_from(&file.path);
                }
            }
        }
        views
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod variations;
