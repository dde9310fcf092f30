//! The cell's routers as servers: for web servers that stand in front of them, often in a DMZ.

use super::{CONNECT_TIMEOUT_S, Written, cluster, names, pairs_of, root, vendor_affinity};
use crate::plugin_cfg::graph::{Affinity, Pair};
use crate::plugin_cfg::layout::Parts;
use crate::plugin_cfg::weights;
use crate::plugin_cfg::xml::{Element, Node, XmlFile};
use std::collections::{BTreeMap, BTreeSet};
use wire::settings::{PluginCfgScope, Protocol, RouterPlace};

/// Weight of each router; they are equals.
const WEIGHT: u32 = 20;

/// The file that router `own` keeps. `is_up` tells for each router whether it is there now; all are written, as one
/// that is away will be back. None where the scope is none.
pub fn of_routers(
    cell: &str,
    routers: &[(&RouterPlace, bool)],
    own: &RouterPlace,
    scope: PluginCfgScope,
) -> Option<Written> {
    let is_meant = |router: &RouterPlace| match scope {
        PluginCfgScope::None => false,
        PluginCfgScope::All | PluginCfgScope::Cell => true,
        PluginCfgScope::Node => router.node == own.node,
        PluginCfgScope::Server => router.name == own.name,
    };
    if scope == PluginCfgScope::None {
        return None;
    }
    let routers: Vec<(&RouterPlace, bool)> =
        routers.iter().filter(|(router, _)| is_meant(router)).copied().collect();
    let mut notes = Vec::new();
    // The routers that have a pair; a web server shall ask no router that would answer 404.
    let mut routers_of_pair: BTreeMap<Pair, BTreeSet<usize>> = BTreeMap::new();
    for (number, (router, _)) in routers.iter().enumerate() {
        if transports(router).is_empty() {
            notes.push(format!("Router {} takes no HTTP and is left out.", router.name));
            continue;
        }
        for route in &router.routes {
            // What a router answers itself is asked of it all the same.
            let mut plain = route.clone();
            plain.actions.answer = None;
            match pairs_of(&plain) {
                Ok(pairs) => {
                    pairs.into_iter().for_each(|pair| {
                        routers_of_pair.entry(pair).or_default().insert(number);
                    });
                }
                Err(why) => notes.push(why),
            }
        }
    }
    let mut pairs_of_routers: BTreeMap<BTreeSet<usize>, BTreeMap<Pair, Affinity>> = BTreeMap::new();
    for (pair, numbers) in routers_of_pair {
        pairs_of_routers.entry(numbers).or_default().insert(pair, vendor_affinity());
    }
    let mut parts = Parts::default();
    for (number, (members, pairs)) in pairs_of_routers.iter().enumerate() {
        let name = format!("{cell}_routers_{number}");
        let members: Vec<(&RouterPlace, bool)> = members.iter().map(|member| routers[*member]).collect();
        parts.clusters.push(cluster_of(&name, &members));
        let list: Vec<&str> = members.iter().map(|(router, _)| router.name.0.as_str()).collect();
        parts.route(pairs, &name, &format!(" routed by {} ", list.join(", ")));
    }
    let mut root = root();
    parts.append_to(&mut root);
    let head = format!(" Routers of cell {cell} (scope {scope}), written by Muster router {} ", own.name);
    let file = XmlFile { before: vec![Node::Comment(head)], root, after: Vec::new() };
    Some(Written { file, notes })
}

fn cluster_of(name: &str, routers: &[(&RouterPlace, bool)]) -> Element {
    let mut element = cluster(name);
    let written = weights::spread(&vec![WEIGHT; routers.len()]);
    let mut list = Vec::new();
    for ((router, is_up), weight) in routers.iter().zip(written) {
        let state = if *is_up { "up" } else { "away" };
        element.comment(&format!(" router {} on node {}: {state} ", router.name, router.node));
        let mut server = Element::new("Server")
            .with("ConnectTimeout", CONNECT_TIMEOUT_S)
            .with("ExtendedHandshake", false)
            .with("LoadBalanceWeight", weight)
            .with("MaxConnections", -1)
            .with("Name", &router.name)
            // The router waits for its members itself, and tries others meanwhile.
            .with("ServerIOTimeout", (router.timeouts.response_ms.div_ceil(1000) * 2).max(900))
            .with("WaitForContinue", false);
        server.children.extend(transports(router).into_iter().map(Node::Element));
        element.children.push(Node::Element(server));
        list.push(router.name.0.clone());
    }
    element.children.extend(names("PrimaryServers", &list));
    element
}

/// The first listener for http and the first for https: a plug-in does not share requests among transports.
fn transports(router: &RouterPlace) -> Vec<Element> {
    let of = |is_secure: bool| {
        let listener = router.listeners.iter().find(|listener| {
            matches!(listener.protocol, Protocol::Http { .. })
                && listener.tls.is_some() == is_secure
                && !listener.takes_proxy_header
                // A port that the system chooses is another after each start.
                && listener.address.port() != 0
        })?;
        Some(
            Element::new("Transport")
                .with("Hostname", host(router, listener.address.ip()))
                .with("Port", listener.address.port())
                .with("Protocol", if is_secure { "https" } else { "http" }),
        )
    };
    [false, true].into_iter().filter_map(of).collect()
}

/// Where web servers reach the router: what it says itself, else its address, else the name of its node.
fn host(router: &RouterPlace, address: std::net::IpAddr) -> String {
    match address {
        _ if !router.advertise.is_empty() => router.advertise.clone(),
        any if any.is_unspecified() => router.node.0.clone(),
        std::net::IpAddr::V4(plain) => plain.to_string(),
        std::net::IpAddr::V6(long) => format!("[{long}]"),
    }
}
