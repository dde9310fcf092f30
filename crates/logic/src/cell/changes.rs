//! Says in sentences what a new configuration changes, before and after it is applied.

use super::record::fingerprint;
use crate::actions::describe;
use wire::id::NodeName;
use wire::settings::{CellSettings, ClusterSettings, MemberSettings, RouteSettings, RouterPlace};

/// What changes from `old` to `new`, a sentence each, in the order of the new configuration. Empty: nothing.
pub fn changes(old: &CellSettings, new: &CellSettings) -> Vec<String> {
    let mut told = Vec::new();
    if old.name != new.name {
        told.push(format!("the cell is called {} instead of {}: is this its file?", new.name, old.name));
    }
    if old.state_dir != new.state_dir {
        told.push(format!("state_dir becomes {}, from the next start on", new.state_dir));
    }
    if old.manager.listen != new.manager.listen {
        let place = new.manager.listen.map_or("nowhere".to_owned(), |address| format!("on {address}"));
        told.push(format!("the manager listens {place} for other machines, from the next start on"));
    }
    if old.manager.heartbeat_listen() != new.manager.heartbeat_listen() && new.manager.listen.is_some() {
        let address =
            new.manager.heartbeat_listen().map_or("nowhere".to_owned(), |address| address.to_string());
        told.push(format!("the manager hears heartbeats on UDP {address}, from the next start on"));
    }
    if old.manager.certificate_life_ms != new.manager.certificate_life_ms {
        told.push(
            "manager: certificate_life_ms changes, for certificates made from the next start on".into(),
        );
    }
    if old.managers() != new.managers() {
        let names: Vec<&str> = new.managers().iter().map(|node| node.0.as_str()).collect();
        told.push(format!("managers run on {}", names.join(", ")));
    }
    if old.manager.profile != new.manager.profile {
        told.push(format!("managers: profile becomes {}, from their next start on", new.manager.profile));
    }
    if old.store != new.store {
        told.push("the store is another one, from the next start on".into());
    }
    if old.console != new.console {
        told.push(format!("the console listens on {}, from the next start on", new.console.listen));
    }
    nodes(old, new, &mut told);
    [routers, other_cells, monitors].into_iter().for_each(|tell| tell(old, new, &mut told));
    for cluster in &new.clusters {
        match old.clusters.iter().find(|known| known.name == cluster.name) {
            Some(known) => cluster_changes(known, cluster, &mut told),
            None => {
                told.push(format!("cluster {} is added with {} members", cluster.name, cluster.members.len()))
            }
        }
    }
    for cluster in &old.clusters {
        if !new.clusters.iter().any(|kept| kept.name == cluster.name) {
            told.push(format!("cluster {} is removed; its members are stopped", cluster.name));
        }
    }
    groups(old, new, &mut told);
    fences(old, new, &mut told);
    let order = |settings: &CellSettings| {
        settings.clusters.iter().map(|cluster| cluster.name.clone()).collect::<Vec<_>>()
    };
    if told.is_empty() && order(old) != order(new) {
        told.push("the clusters are in another order".into());
    }
    told
}

fn nodes(old: &CellSettings, new: &CellSettings, told: &mut Vec<String>) {
    for node in new.nodes.iter().filter(|node| !old.nodes.contains(node)) {
        told.push(format!("node {node} is added{}", shared_address(new, node)));
    }
    for node in new.nodes.iter().filter(|node| old.nodes.contains(node)) {
        if old.node_addresses.get(node) != new.node_addresses.get(node) {
            let address = new.node_addresses.get(node).map_or("none".to_owned(), ToString::to_string);
            told.push(format!("the address of node {node} becomes {address}{}", shared_address(new, node)));
        }
        if old.node_power.get(node) != new.node_power.get(node) {
            told.push(format!("node {node}: how its machine is rebooted or shut down changes"));
        }
    }
    for node in old.nodes.iter().filter(|node| !new.nodes.contains(node)) {
        told.push(format!("node {node} is removed"));
    }
}

fn groups(old: &CellSettings, new: &CellSettings, told: &mut Vec<String>) {
    for group in &new.groups {
        match old.groups.iter().find(|known| known.name == group.name) {
            None => told.push(format!("group {} is added", group.name)),
            Some(known) if known == group => {}
            Some(known) if known.resources == group.resources => {
                told.push(format!("group {}: its policy changes", group.name));
            }
            Some(_) => {
                told.push(format!("group {}: its resources change, from its next start on", group.name))
            }
        }
    }
    for group in old.groups.iter().filter(|old| !new.groups.iter().any(|kept| kept.name == old.name)) {
        told.push(format!("group {} is removed and stopped", group.name));
    }
}

fn fences(old: &CellSettings, new: &CellSettings, told: &mut Vec<String>) {
    for fence in &new.fences {
        match old.fences.iter().find(|known| known.name == fence.name) {
            None => told.push(format!("fence {} is added", fence.name)),
            Some(known) if known == fence => {}
            Some(_) => told.push(format!("fence {} changes", fence.name)),
        }
    }
    for fence in old.fences.iter().filter(|old| !new.fences.iter().any(|kept| kept.name == old.name)) {
        told.push(format!("fence {} is removed", fence.name));
    }
}

fn monitors(old: &CellSettings, new: &CellSettings, told: &mut Vec<String>) {
    for monitor in &new.monitors {
        match old.monitors.iter().find(|known| known.name == monitor.name) {
            None => {
                let (name, target) = (&monitor.name, monitor.check.target());
                told.push(format!("monitor {name} of {target} is added"));
            }
            Some(known) if known == monitor => {}
            Some(_) => told.push(format!("monitor {} changes", monitor.name)),
        }
    }
    for monitor in
        old.monitors.iter().filter(|known| !new.monitors.iter().any(|kept| kept.name == known.name))
    {
        told.push(format!("monitor {} is removed", monitor.name));
    }
}

/// Says which other node has the same address, where that is more likely a mistake than a machine to try things on.
fn shared_address(settings: &CellSettings, node: &NodeName) -> String {
    let Some(address) = settings.node_addresses.get(node).filter(|address| !address.is_loopback()) else {
        return String::new();
    };
    let mut others = settings.node_addresses.iter().filter(|(other, its)| *other != node && *its == address);
    others.next().map_or(String::new(), |(other, _)| format!(", which node {other} has too: is that meant?"))
}

fn routers(old: &CellSettings, new: &CellSettings, told: &mut Vec<String>) {
    // Machines that have joined are told at once; the manager's own starts what its file says.
    let when = |router: &RouterPlace| {
        let is_elsewhere = new.has_several_managers() || !new.managers().contains(&router.node);
        let is_told = new.manager.listen.is_some() && is_elsewhere;
        if is_told { "" } else { ", from the next start of that node on" }
    };
    for router in &new.routers {
        let name = &router.name;
        match old.routers.iter().find(|known| known.name == *name) {
            None => told.push(format!("router {name} is added on node {}{}", router.node, when(router))),
            Some(known) if known == router => {}
            Some(known) => router_changes(known, router, told),
        }
    }
    for router in old.routers.iter().filter(|known| !new.routers.iter().any(|kept| kept.name == known.name)) {
        told.push(format!("router {} is removed from node {}{}", router.name, router.node, when(router)));
    }
}

fn other_cells(old: &CellSettings, new: &CellSettings, told: &mut Vec<String>) {
    for cell in &new.cells {
        match old.cells.iter().find(|known| known.name == cell.name) {
            None => told.push(format!("cell {} is heard of", cell.name)),
            Some(known) if known == cell => {}
            Some(_) => told.push(format!("cell {} is heard of in another way", cell.name)),
        }
    }
    for cell in old.cells.iter().filter(|known| !new.cells.iter().any(|kept| kept.name == known.name)) {
        told.push(format!("cell {} is heard of no longer", cell.name));
    }
    for bridge in &new.bridges {
        match old.bridges.iter().find(|known| known.name == bridge.name) {
            None => told.push(format!("cell {} may hear of this one", bridge.name)),
            Some(known) if known == bridge => {}
            Some(_) => told.push(format!("what cell {} may hear, or its token, changes", bridge.name)),
        }
    }
    for bridge in old.bridges.iter().filter(|known| !new.bridges.iter().any(|kept| kept.name == known.name)) {
        told.push(format!("cell {} may no longer hear of this one", bridge.name));
    }
}

fn router_changes(old: &RouterPlace, new: &RouterPlace, told: &mut Vec<String>) {
    let name = &new.name;
    let RouterPlace {
        name: _,
        node,
        listeners,
        zone,
        threads,
        routes,
        timeouts,
        limits,
        retry,
        access_log,
        trace,
        trusted_proxies,
        clients,
        advertise,
        plugin_cfg,
        gateway,
    } = old;
    let parts = [
        (*node != new.node, "node"),
        (*listeners != new.listeners, "listeners"),
        (*zone != new.zone, "zone"),
        (*threads != new.threads, "threads"),
        (*timeouts != new.timeouts, "timeouts"),
        (*limits != new.limits, "limits"),
        (*retry != new.retry, "retry"),
        (*access_log != new.access_log, "access_log"),
        (*trace != new.trace, "trace"),
        (*trusted_proxies != new.trusted_proxies, "trusted_proxies"),
        (*clients != new.clients, "clients"),
        (*advertise != new.advertise, "advertise"),
        (*plugin_cfg != new.plugin_cfg, "plugin_cfg"),
        (*gateway != new.gateway, "gateway"),
    ];
    for (_, part) in parts.iter().filter(|(is_changed, _)| *is_changed) {
        told.push(format!("router {name}: {part} changes"));
    }
    for route in new.routes.iter().filter(|route| !routes.contains(route)) {
        told.push(format!("router {name}: {}{} {}", route.host, route.path, where_to(route)));
    }
    for route in routes.iter().filter(|route| !new.routes.contains(route)) {
        let is_replaced = new.routes.iter().any(|kept| kept.host == route.host && kept.path == route.path);
        if !is_replaced {
            told.push(format!("router {name}: {}{} is no longer routed", route.host, route.path));
        }
    }
}

/// Where requests of a route end, for people.
fn where_to(route: &RouteSettings) -> String {
    let clusters: Vec<&str> = route.clusters().map(|cluster| cluster.0.as_str()).collect();
    let place = match (&route.actions.answer, clusters.as_slice()) {
        (Some(_), _) => "is answered by the router".into(),
        (None, [one]) => format!("goes to cluster {one}"),
        (None, several) => format!("goes to clusters {}", several.join(", ")),
    };
    match describe(&route.actions).as_slice() {
        [] => place,
        actions => format!("{place}: {}", actions.join("; ")),
    }
}

fn cluster_changes(old: &ClusterSettings, new: &ClusterSettings, told: &mut Vec<String>) {
    let name = &new.name;
    if old.policy != new.policy {
        told.push(format!("cluster {name}: policy changes"));
    }
    if old.affinity != new.affinity {
        told.push(format!("cluster {name}: affinity changes"));
    }
    if old.hash_key != new.hash_key {
        told.push(format!("cluster {name}: hash_key changes"));
    }
    if old.health != new.health {
        told.push(format!("cluster {name}: health changes"));
    }
    if old.drain_ms != new.drain_ms {
        told.push(format!("cluster {name}: drain_ms changes from {} to {}", old.drain_ms, new.drain_ms));
    }
    let before = told.len();
    for member in &new.members {
        match old.members.iter().find(|known| known.name == member.name) {
            Some(known) => member_changes(name, known, member, told),
            None => told.push(format!("{name}/{} is added on node {}", member.name, member.node)),
        }
    }
    for member in &old.members {
        if !new.members.iter().any(|kept| kept.name == member.name) {
            told.push(format!("{name}/{} is removed", member.name));
        }
    }
    let is_same = told.len() == before;
    let names =
        |cluster: &ClusterSettings| cluster.members.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
    if is_same && names(old) != names(new) {
        told.push(format!("cluster {name}: the members are in another order"));
    }
}

fn member_changes(
    cluster: &wire::id::ClusterName,
    old: &MemberSettings,
    new: &MemberSettings,
    told: &mut Vec<String>,
) {
    let name = format!("{cluster}/{}", new.name);
    if old.weight != new.weight {
        told.push(format!("{name}: weight changes from {} to {}", old.weight, new.weight));
    }
    if old.probe != new.probe {
        told.push(format!("{name}: probe changes"));
    }
    if fingerprint(old) != fingerprint(new) {
        told.push(format!("{name}: is restarted, because what it runs changes"));
    } else if old.run != new.run {
        told.push(format!("{name}: how it is stopped and restarted changes"));
    }
}
