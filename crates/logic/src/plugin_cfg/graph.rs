//! What a plugin-cfg.xml routes, apart from how it says so: (virtual host, URI) to the servers behind it.
//!
//! Names of groups and clusters, order and duplicates do not count; of two Routes for the same pair the last one does.
//! Two files with equal graphs send every request to the same servers. Bounded: a file whose pairs are too many to list
//! is refused with their number. Not here: settings of clusters and servers (see `diff`).

use super::matching::{HostPattern, UriPattern};
use super::model::{Config, Names, Route, Server, ServerCluster, Uri};
use crate::limits::PLUGIN_CFG_PAIRS_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// A virtual host and a URI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    pub host: HostPattern,
    pub uri: UriPattern,
}

/// Where a pair leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Place of the Route that counts.
    pub route: usize,
    /// Name of its cluster.
    pub cluster: String,
    /// The cookie and the path parameter of its sessions.
    pub affinity: Affinity,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Affinity {
    pub cookie: String,
    pub url_identifier: String,
}

impl Affinity {
    fn of(uri: Option<&Uri>) -> Self {
        let or = |value: Option<&str>, default: &str| value.unwrap_or(default).to_owned();
        Self {
            cookie: or(uri.map(|uri| uri.affinity_cookie.as_str()), "JSESSIONID"),
            url_identifier: or(uri.map(|uri| uri.affinity_url_identifier.as_str()), "jsessionid"),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    pub targets: BTreeMap<Pair, Target>,
    /// Routes of which some pair counts.
    pub routes_in_use: BTreeSet<usize>,
}

/// There are more pairs than anybody can look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the routes make more than {PLUGIN_CFG_PAIRS_MAX} pairs of virtual host and URI")]
pub struct TooManyPairs;

impl Graph {
    /// Routes whose cluster or groups are not defined, and patterns that are none, take part in nothing.
    pub fn of(config: &Config) -> Result<Self, TooManyPairs> {
        let mut graph = Self::default();
        let names = config.names();
        let mut pairs_looked_at = 0;
        for (index, route) in config.routes.iter().enumerate() {
            if !names.clusters.contains_key(route.server_cluster.as_str()) {
                continue;
            }
            let (hosts, uris) = (hosts_of(&names, route), uris_of(&names, route));
            pairs_looked_at += hosts.len().saturating_mul(uris.len());
            if pairs_looked_at > PLUGIN_CFG_PAIRS_MAX {
                return Err(TooManyPairs);
            }
            for host in &hosts {
                for (uri, affinity) in &uris {
                    let pair = Pair { host: host.clone(), uri: uri.clone() };
                    let target = Target {
                        route: index,
                        cluster: route.server_cluster.clone(),
                        affinity: affinity.clone(),
                    };
                    graph.targets.insert(pair, target);
                }
            }
        }
        graph.routes_in_use = graph.targets.values().map(|target| target.route).collect();
        Ok(graph)
    }

    /// Each pair with the identities of the servers behind it: what two files are compared by.
    pub fn servers(&self, config: &Config) -> BTreeMap<Pair, BTreeSet<String>> {
        let of_cluster: BTreeMap<&str, BTreeSet<String>> = config
            .clusters
            .iter()
            .map(|cluster| (cluster.name.as_str(), cluster.servers.iter().map(identity).collect()))
            .collect();
        let servers = |target: &Target| of_cluster.get(target.cluster.as_str()).cloned().unwrap_or_default();
        self.targets.iter().map(|(pair, target)| (pair.clone(), servers(target))).collect()
    }
}

/// What a server is known by in any file: its clone id, else where it listens, else its name.
pub fn identity(server: &Server) -> String {
    match (&server.clone_id, server.transports.first()) {
        (Some(clone_id), _) => clone_id.clone(),
        (None, Some(transport)) => transport.to_string(),
        (None, None) => server.name.clone(),
    }
}

fn hosts_of(names: &Names<'_>, route: &Route) -> Vec<HostPattern> {
    match &route.virtual_host_group {
        None => vec![HostPattern::ANY],
        Some(name) => names
            .host_groups
            .get(name.as_str())
            .into_iter()
            .flat_map(|group| &group.hosts)
            .filter_map(|host| HostPattern::parse(&host.name))
            .collect(),
    }
}

fn uris_of(names: &Names<'_>, route: &Route) -> Vec<(UriPattern, Affinity)> {
    match &route.uri_group {
        None => vec![(UriPattern::ALL, Affinity::of(None))],
        Some(name) => names
            .uri_groups
            .get(name.as_str())
            .into_iter()
            .flat_map(|group| &group.uris)
            .filter_map(|uri| Some((UriPattern::parse(&uri.name)?, Affinity::of(Some(uri)))))
            .collect(),
    }
}

/// Servers of a cluster that requests without a session are shared among.
pub fn takes_new(cluster: &ServerCluster) -> Vec<&Server> {
    cluster.primaries().into_iter().filter(|server| server.weight() > 0).collect()
}
