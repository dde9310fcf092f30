//! Finds two things that claim what only one can have: clone ids, addresses, ports, routes, log files.
//!
//! Pure: only what the file itself says. What else uses a port of this machine is a question for `environment`.

use super::document::{At, Document};
use super::listeners;
use super::problem::KeyPath;
use super::settings::Builder;
use super::{cells, claims, clients, groups, recovery};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use wire::agent::Run;
use wire::error_code;
use wire::id::NodeName;
use wire::settings::{CellSettings, ClusterSettings, PluginCfgScope};

pub fn check(settings: &CellSettings, builder: &mut Builder<'_>) {
    for cluster in &settings.clusters {
        check_cluster(cluster, builder);
    }
    for router in &settings.routers {
        let mut routes = Once::new("a router has one route for each host, port, path and kind of path");
        for (index, route) in router.routes.iter().enumerate() {
            let path = KeyPath::of(&["routers", &router.name.0, "routes", &format!("[{index}]")]);
            let port = route.port.map_or_else(String::new, |port| format!(", port {port}"));
            let what = format!("the route for host `{}`{port} and path `{}`", route.host, route.path);
            let claimed = (&route.host, route.port, &route.path, route.path_kind);
            routes.claim(builder, claimed, path, &what);
        }
    }
    clients::check(settings, builder);
    cells::check(settings, builder);
    groups::check(settings, builder);
    claims::check(settings, builder);
    recovery::check(settings, builder);
    // With a node missing or unknown, everything would seem to stand on the same one.
    if !builder.problems.is_empty() {
        return;
    }
    check_listeners(settings, builder);
    check_logs(settings, builder);
    check_plugin_cfgs(settings, builder);
}

fn check_cluster(cluster: &ClusterSettings, builder: &mut Builder<'_>) {
    let mut clone_ids = Once::new("each member of a cluster has a clone id of its own");
    let mut addresses = Once::new("each member of a cluster has an address of its own");
    for member in &cluster.members {
        let path = KeyPath::of(&["clusters", &cluster.name.0, "members", &member.name.0]);
        let what = format!("clone id `{}`", member.clone_id);
        clone_ids.claim(builder, member.clone_id.as_str(), path.with("clone_id"), &what);
        if let Run::External { address } = &member.run {
            addresses.claim(builder, *address, path.with("address"), &format!("address {address}"));
        }
    }
}

/// Things that each may stand once, by the place where they stood first.
pub(super) struct Once<K> {
    seen: HashMap<K, KeyPath>,
    rule: &'static str,
}

impl<K: Hash + Eq> Once<K> {
    pub(super) fn new(rule: &'static str) -> Self {
        Self { seen: HashMap::new(), rule }
    }

    pub(super) fn claim(&mut self, builder: &mut Builder<'_>, thing: K, path: KeyPath, what: &str) {
        self.claim_all(builder, vec![thing], path, what);
    }

    /// Claims several things for one place, which is refused at most once.
    pub(super) fn claim_all(&mut self, builder: &mut Builder<'_>, things: Vec<K>, path: KeyPath, what: &str) {
        match things.iter().find_map(|thing| self.seen.get(thing)) {
            Some(first) => refuse(builder, &path, first, what, self.rule),
            None => self.seen.extend(things.into_iter().map(|thing| (thing, path.clone()))),
        }
    }
}

fn refuse(builder: &mut Builder<'_>, path: &KeyPath, first: &KeyPath, what: &str, rule: &str) {
    let line = builder.document.line(first).map_or_else(String::new, |line| format!(" in line {line}"));
    let message = format!("{what} is already taken by `{first}`{line}");
    builder.refuse(error_code::CONFIG_DUPLICATE, path, At::Value, message, rule);
}

/// Addresses on one node that differ only in what they leave open cannot both be listened on.
fn check_listeners(settings: &CellSettings, builder: &mut Builder<'_>) {
    let mut taken: HashMap<(NodeName, u16), Vec<(IpAddr, KeyPath)>> = HashMap::new();
    for (node, address, path) in all_listeners(builder.document, settings) {
        if address.port() == 0 {
            continue;
        }
        let others = taken.entry((node.clone(), address.port())).or_default();
        let overlaps = |other: &&(IpAddr, KeyPath)| {
            other.0 == address.ip() || other.0.is_unspecified() || address.ip().is_unspecified()
        };
        if let Some((_, first)) = others.iter().find(overlaps) {
            let what = format!("{address} on node `{node}`");
            refuse(
                builder,
                &path,
                first,
                &what,
                "each address and port of a node once; port 0 takes a free one",
            );
        } else {
            others.push((address.ip(), path));
        }
    }
}

/// Every address that something of the cell will listen on, in the order of the file's usual reading.
fn all_listeners(document: &Document<'_>, settings: &CellSettings) -> Vec<(NodeName, SocketAddr, KeyPath)> {
    let mut all = Vec::new();
    // The console runs beside the manager, which a file with several nodes leaves open.
    if let [node] = settings.nodes.as_slice() {
        all.push((node.clone(), settings.console.listen, KeyPath::of(&["console", "listen"])));
    }
    for node in settings.managers() {
        let listen =
            settings.manager.listen.map(|it| (node.clone(), it, KeyPath::of(&["manager", "listen"])));
        all.extend(listen);
    }
    for router in &settings.routers {
        for (index, address) in router.listeners.iter().map(|listener| &listener.address).enumerate() {
            let path = listeners::address_path_of(document, &router.name.0, index);
            all.push((router.node.clone(), *address, path));
        }
    }
    for cluster in &settings.clusters {
        for member in &cluster.members {
            let Run::Managed(launch) = &member.run else { continue };
            let path = KeyPath::of(&["clusters", &cluster.name.0, "members", &member.name.0, "port"]);
            let own = launch.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let address = SocketAddr::new(own, launch.port);
            all.push((member.node.clone(), address, path));
        }
    }
    all
}

/// Two routers that write one file would each undo what the other wrote.
fn check_plugin_cfgs(settings: &CellSettings, builder: &mut Builder<'_>) {
    let mut files = Once::new("each router of a node writes a plugin-cfg.xml of its own");
    for router in &settings.routers {
        let Some(output) = &router.plugin_cfg else { continue };
        let path = KeyPath::of(&["routers", &router.name.0, "plugin_cfg", "path"]);
        let what = format!("the file {} on node `{}`", output.path, router.node);
        if output.scope != PluginCfgScope::None {
            files.claim(builder, (router.node.clone(), output.path.clone()), path, &what);
        }
    }
}

/// Two writers that both put full files aside would lose each other's lines.
fn check_logs(settings: &CellSettings, builder: &mut Builder<'_>) {
    let mut files =
        Once::new("each log has a file of its own; `{cluster}` and `{member}` in its path are replaced");
    for router in settings.routers.iter().filter(|router| !router.access_log.path.is_empty()) {
        let path = KeyPath::of(&["routers", &router.name.0, "access_log", "path"]);
        let file = router.access_log.path.clone();
        let what = format!("log file {file} on node `{}`", router.node);
        files.claim(builder, (router.node.clone(), file), path, &what);
    }
    for cluster in &settings.clusters {
        for member in &cluster.members {
            let Run::Managed(launch) = &member.run else { continue };
            let Some(file) = launch.log.path.clone() else { continue };
            let path = KeyPath::of(&["clusters", &cluster.name.0, "members", &member.name.0, "log", "path"]);
            let what = format!("log file {file} on node `{}`", member.node);
            files.claim(builder, (member.node.clone(), file), path, &what);
        }
    }
}
