//! Routes and the groups that they join: what is missing, empty, defined twice or never reached.

use super::{Findings, Severity};
use crate::plugin_cfg::graph::Graph;
use crate::plugin_cfg::matching::{HostPattern, UriPattern};
use crate::plugin_cfg::model::{Config, Names, Route};
use crate::plugin_cfg::xml::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub fn check(config: &Config, findings: &mut Findings) {
    check_twice(config, findings);
    check_patterns(config, findings);
    let names = config.names();
    for route in &config.routes {
        check_references(&names, route, findings);
    }
    check_use(config, findings);
    check_reach(config, findings);
    check_trust(config, findings);
    if let Some(management) = &config.intelligent_management {
        findings.add(
            Severity::Warning,
            "intelligent-management",
            management.place,
            "IntelligentManagement takes routes live from the vendor's controllers".into(),
            "Muster keeps it and does not act on it: routes are those of this file. Put Muster's own cell in its place.",
        );
    }
}

fn check_twice(config: &Config, findings: &mut Findings) {
    let groups = config.virtual_host_groups.iter().map(|group| (group.name.as_str(), group.place));
    twice("VirtualHostGroup", groups, findings);
    twice("UriGroup", config.uri_groups.iter().map(|group| (group.name.as_str(), group.place)), findings);
    let clusters = config.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster.place));
    twice("ServerCluster", clusters, findings);
}

fn twice<'a>(kind: &str, named: impl Iterator<Item = (&'a str, Place)>, findings: &mut Findings) {
    let mut first: BTreeMap<&str, Place> = BTreeMap::new();
    for (name, place) in named {
        if let Some(earlier) = first.insert(name, place) {
            let what = format!("{kind} {name} is defined already in line {}", earlier.line);
            let advice = "Give each its own name, or join them; the last definition counts.";
            findings.add(Severity::Error, "defined-twice", place, what, advice);
        }
    }
}

fn check_patterns(config: &Config, findings: &mut Findings) {
    for group in &config.virtual_host_groups {
        if group.hosts.is_empty() {
            let what = format!("VirtualHostGroup {} has no VirtualHost, so it matches nothing", group.name);
            findings.add(Severity::Warning, "empty-group", group.place, what, "Add hosts, or take it out.");
        }
        for host in &group.hosts {
            let has_port = host.name.rfind(':').is_some_and(|at| at > host.name.rfind(']').unwrap_or(0));
            if HostPattern::parse(&host.name).is_none() {
                let what = format!("VirtualHost {} is not host:port", host.name);
                let advice = "Write host:port, where either may be *; an IPv6 address stands in brackets.";
                findings.add(Severity::Error, "virtual-host", host.place, what, advice);
            } else if !has_port {
                let what = format!("VirtualHost {} names no port, so port 80 is meant", host.name);
                findings.add(Severity::Warning, "virtual-host-port", host.place, what, "Write the port.");
            }
        }
    }
    for group in &config.uri_groups {
        if group.uris.is_empty() {
            let what = format!("UriGroup {} has no Uri, so it matches nothing", group.name);
            findings.add(Severity::Warning, "empty-group", group.place, what, "Add URIs, or take it out.");
        }
        for uri in &group.uris {
            if UriPattern::parse(&uri.name).is_none() {
                let what = format!("Uri {} is not a pattern", uri.name);
                let advice = "Write /path (exact), /path/* (all below), *.ending or /*.";
                findings.add(Severity::Error, "uri", uri.place, what, advice);
            }
        }
    }
}

fn check_references(names: &Names<'_>, route: &Route, findings: &mut Findings) {
    let mut missing = |kind: &str, name: &str, is_there: bool| {
        if !is_there && !name.is_empty() {
            let what = format!("the Route names {kind} {name}, which is not defined");
            let advice = "Define it or correct the name; until then this Route matches nothing.";
            findings.add(Severity::Error, "route-reference", route.place, what, advice);
        }
    };
    missing(
        "ServerCluster",
        &route.server_cluster,
        names.clusters.contains_key(route.server_cluster.as_str()),
    );
    if let Some(name) = &route.uri_group {
        missing("UriGroup", name, names.uri_groups.contains_key(name.as_str()));
    }
    if let Some(name) = &route.virtual_host_group {
        missing("VirtualHostGroup", name, names.host_groups.contains_key(name.as_str()));
    }
}

fn check_use(config: &Config, findings: &mut Findings) {
    if config.routes.is_empty() {
        let what = "there is no Route: no request is taken".into();
        let advice = "Generate the file again once applications are installed, or write a Route.";
        findings.add(Severity::Warning, "no-route", config.place, what, advice);
    }
    let routed: BTreeSet<&str> = config.routes.iter().map(|route| route.server_cluster.as_str()).collect();
    let hosts = config.routes.iter().filter_map(|route| route.virtual_host_group.as_deref());
    let hosts: BTreeSet<&str> = hosts.collect();
    let uris: BTreeSet<&str> = config.routes.iter().filter_map(|route| route.uri_group.as_deref()).collect();
    let mut unused = |kind: &str, name: &str, place: Place, severity: Severity| {
        let what = format!("{kind} {name} is in no Route");
        findings.add(severity, "unused", place, what, "Write a Route for it, or take it out.");
    };
    for cluster in config.clusters.iter().filter(|cluster| !routed.contains(cluster.name.as_str())) {
        unused("ServerCluster", &cluster.name, cluster.place, Severity::Warning);
    }
    for group in config.virtual_host_groups.iter().filter(|group| !hosts.contains(group.name.as_str())) {
        unused("VirtualHostGroup", &group.name, group.place, Severity::Hint);
    }
    for group in config.uri_groups.iter().filter(|group| !uris.contains(group.name.as_str())) {
        unused("UriGroup", &group.name, group.place, Severity::Hint);
    }
}

/// A Route of which every pair is given to a later one gets no request: the classic surprise of one application on two
/// clusters.
fn check_reach(config: &Config, findings: &mut Findings) {
    let graph = match Graph::of(config) {
        Ok(graph) => graph,
        Err(error) => {
            let what = format!("{error}; whether some are never reached was not looked at");
            findings.add(Severity::Hint, "too-many-pairs", config.place, what, "Use fewer groups per Route.");
            return;
        }
    };
    let names = config.names();
    for (index, route) in config.routes.iter().enumerate() {
        let is_whole = names.clusters.contains_key(route.server_cluster.as_str())
            && route.uri_group.as_ref().is_none_or(|name| {
                names
                    .uri_groups
                    .get(name.as_str())
                    .is_some_and(|group| group.uris.iter().any(|uri| UriPattern::parse(&uri.name).is_some()))
            })
            && route.virtual_host_group.as_ref().is_none_or(|name| {
                names.host_groups.get(name.as_str()).is_some_and(|group| {
                    group.hosts.iter().any(|host| HostPattern::parse(&host.name).is_some())
                })
            });
        if is_whole && !graph.routes_in_use.contains(&index) {
            let what = format!(
                "the Route to {} is never used: later Routes name the same hosts and URIs, and the last wins",
                route.server_cluster
            );
            let advice = "Put the servers of both clusters into one (`muster plugin-cfg merge`), or take one Route out.";
            findings.add(Severity::Warning, "route-shadowed", route.place, what, advice);
        }
    }
}

fn check_trust(config: &Config, findings: &mut Findings) {
    for proxy in &config.trusted_proxies {
        if proxy.address.parse::<IpAddr>().is_err() {
            let what = format!("TrustedProxy {} is not an IP address", proxy.address);
            let advice = "Write an IPv4 address, or an IPv6 address in brackets; names are not looked up.";
            findings.add(Severity::Error, "trusted-proxy", proxy.place, what, advice);
        }
    }
    let (place, what) = match (config.trusted_proxy_enable, config.trusted_proxies.first()) {
        (true, None) => (config.place, "TrustedProxyEnable is true, but no TrustedProxy is named"),
        (false, Some(proxy)) => (proxy.place, "trusted proxies are named, but TrustedProxyEnable is false"),
        (true, Some(_)) | (false, None) => return,
    };
    let advice = "Private headers of proxies are believed only with both.";
    findings.add(Severity::Warning, "trust-half", place, what.into(), advice);
}
