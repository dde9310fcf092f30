//! The cell's members as servers: for web servers whose plug-in shall do what a router does.

use super::{CONNECT_TIMEOUT_S, Written, cluster, names, pairs_of, root, vendor_affinity};
use crate::plugin_cfg::graph::{Affinity, Pair};
use crate::plugin_cfg::layout::Parts;
use crate::plugin_cfg::weights;
use crate::plugin_cfg::xml::{Element, Node, XmlFile};
use std::collections::{BTreeMap, BTreeSet};
use wire::id::{ClusterName, RouterName};
use wire::settings::{RouteSettings, RouterPlace, Spread};
use wire::view::{AffinityKind, MemberView, Policy, RunState, View};

/// A member, and whether it waits as a backup.
type Candidate<'a> = (&'a View, &'a MemberView, bool);

/// The routes of all routers, or of one. The error says that there is no such router.
pub fn of_cell(
    cell: &str,
    routers: &[RouterPlace],
    only: Option<&RouterName>,
    views: &[&View],
) -> Result<Written, String> {
    if let Some(name) = only
        && !routers.iter().any(|router| router.name == *name)
    {
        return Err(format!("There is no router {name}."));
    }
    let mut writer = Writer::over(views);
    for router in routers.iter().filter(|router| only.is_none_or(|name| router.name == *name)) {
        for route in &router.routes {
            writer.add(router, route);
        }
    }
    let mut parts = Parts::default();
    for group in std::mem::take(&mut writer.groups) {
        if group.pairs.is_empty() {
            continue;
        }
        let Some(element) = writer.cluster(&group) else { continue };
        parts.clusters.push(element);
        parts.route(&group.pairs, &group.name, &format!(" from router {} ", group.routers.join(", ")));
    }
    let mut root = root();
    parts.append_to(&mut root);
    let head = format!(" Cell {cell}, written by Muster ");
    let file = XmlFile { before: vec![Node::Comment(head)], root, after: Vec::new() };
    Ok(Written { file, notes: writer.notes })
}

/// What each route needs is found by a name or key: a cell may have thousands of them.
struct Writer<'a> {
    views: BTreeMap<&'a ClusterName, &'a View>,
    notes: Vec<String>,
    noted: BTreeSet<String>,
    groups: Vec<Group>,
    group_names: BTreeSet<String>,
    /// Places in `groups`.
    group_of_way: BTreeMap<Way, usize>,
    group_of_pair: BTreeMap<Pair, usize>,
}

/// Levels of clusters, and how requests spread over them.
type Way = (Vec<Vec<ClusterName>>, Spread);

/// Pairs that lead to the same clusters in the same way.
struct Group {
    name: String,
    route: RouteSettings,
    routers: Vec<String>,
    response_ms: u64,
    pairs: BTreeMap<Pair, Affinity>,
}

impl<'a> Writer<'a> {
    fn over(views: &'a [&'a View]) -> Self {
        Self {
            views: views.iter().map(|view| (&view.cluster, *view)).collect(),
            notes: Vec::new(),
            noted: BTreeSet::new(),
            groups: Vec::new(),
            group_names: BTreeSet::new(),
            group_of_way: BTreeMap::new(),
            group_of_pair: BTreeMap::new(),
        }
    }

    fn note(&mut self, note: String) {
        if self.noted.insert(note.clone()) {
            self.notes.push(note);
        }
    }

    fn view(&self, name: &ClusterName) -> Option<&'a View> {
        self.views.get(name).copied()
    }

    fn add(&mut self, router: &RouterPlace, route: &RouteSettings) {
        let pairs = match pairs_of(route) {
            Ok(pairs) => pairs,
            Err(why) => return self.note(why),
        };
        let affinity = self.affinity(route);
        let way = (route.levels.clone(), route.spread);
        let place = match self.group_of_way.get(&way) {
            Some(place) => *place,
            None => {
                let name = self.group_name(route);
                let (routers, pairs) = (Vec::new(), BTreeMap::new());
                let response_ms = router.timeouts.response_ms;
                self.groups.push(Group { name, route: route.clone(), routers, response_ms, pairs });
                self.group_of_way.insert(way, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        for pair in pairs {
            // Of equal pairs the last wins, whichever group had it.
            if let Some(before) = self.group_of_pair.insert(pair.clone(), place) {
                self.groups[before].pairs.remove(&pair);
            }
            self.groups[place].pairs.insert(pair, affinity.clone());
        }
        let group = &mut self.groups[place];
        if !group.routers.contains(&router.name.0) {
            group.routers.push(router.name.0.clone());
        }
    }

    /// A name that no group has.
    fn group_name(&mut self, route: &RouteSettings) -> String {
        let mut name = route.clusters().map(|name| name.0.as_str()).collect::<Vec<_>>().join("_and_");
        if self.group_names.contains(&name) {
            name = format!("{name}_{}", self.groups.len());
        }
        self.group_names.insert(name.clone());
        name
    }

    fn affinity(&self, route: &RouteSettings) -> Affinity {
        let of_cluster = || route.clusters().find_map(|name| self.view(name)?.affinity.as_ref());
        match route.affinity.as_ref().or_else(of_cluster) {
            Some(affinity) => {
                Affinity { cookie: affinity.cookie.clone(), url_identifier: affinity.url_identifier.clone() }
            }
            None => vendor_affinity(),
        }
    }

    /// None where the cell knows no member of it.
    fn cluster(&mut self, group: &Group) -> Option<Element> {
        let mut candidates: Vec<Candidate> = Vec::new();
        let uses_levels = group.route.spread != Spread::Flat;
        for (level, names) in group.route.levels.iter().enumerate() {
            for name in names {
                let Some(view) = self.view(name) else { continue };
                let is_behind = uses_levels && level > 0;
                candidates.extend(view.members.iter().map(|one| (view, one, one.is_backup || is_behind)));
            }
        }
        if uses_levels && group.route.levels.len() > 1 {
            self.note(format!("{}: later levels are written as backups, one at a time.", group.name));
        }
        for (view, member, _) in candidates.iter().filter(|(_, member, _)| member.address.is_none()) {
            self.note(format!("{}/{} has no address yet and is left out.", view.cluster, member.name));
        }
        candidates.retain(|(_, member, _)| member.address.is_some());
        if candidates.is_empty() {
            self.note(format!("{} has no member with an address and is left out.", group.name));
            return None;
        }
        let mut element = cluster(&group.name);
        let first = candidates[0].0;
        if first.policy == Policy::Random {
            element.set("LoadBalance", "Random");
        }
        if let Some(retry_ms) = first.health.retry_interval_ms {
            element.set("RetryInterval", retry_ms.div_ceil(1000).max(1));
        }
        let keeps_sessions = self.set_affinity(&mut element, group, first);
        let weights: Vec<u32> = candidates
            .iter()
            .map(|(_, member, _)| if member.state == RunState::Draining { 0 } else { member.weight })
            .collect();
        let (mut primaries, mut backups) = (Vec::new(), Vec::new());
        for ((view, member, is_backup), weight) in candidates.iter().zip(weights::spread(&weights)) {
            let name = format!("{}_{}", view.cluster, member.name);
            element.comment(&format!(" {}: {} ", member.name, member.state));
            element.children.push(Node::Element(server(&name, member, weight, keeps_sessions, group)));
            if *is_backup { &mut backups } else { &mut primaries }.push(name);
        }
        element.children.extend(names("PrimaryServers", &primaries));
        element.children.extend(names("BackupServers", &backups));
        Some(element)
    }

    /// Whether the plug-in can keep sessions as the cell does.
    fn set_affinity(&mut self, element: &mut Element, group: &Group, view: &View) -> bool {
        let Some(affinity) = group.route.affinity.as_ref().or(view.affinity.as_ref()) else { return false };
        if affinity.kind != AffinityKind::CloneId {
            self.note(format!(
                "{}: its sessions are not told by clone ids, which is all that the plug-in knows; they are not kept.",
                group.name
            ));
            return false;
        }
        element.set("CloneSeparatorChange", affinity.separator == '+');
        element.set("IgnoreAffinityRequests", !affinity.lowers_weight);
        true
    }
}

fn server(name: &str, member: &MemberView, weight: u32, keeps_sessions: bool, group: &Group) -> Element {
    let mut server = Element::new("Server");
    if keeps_sessions && !member.clone_id.is_empty() {
        server.set("CloneID", &member.clone_id);
    }
    let transport = &member.transport;
    let connect_s = transport.connect_ms.map_or(CONNECT_TIMEOUT_S, |limit_ms| limit_ms.div_ceil(1000));
    let response_ms = transport.response_ms.unwrap_or(group.response_ms);
    let requests_max = if member.requests_max == 0 { -1 } else { i64::from(member.requests_max) };
    server.set("ConnectTimeout", connect_s);
    server.set("ExtendedHandshake", false);
    server.set("LoadBalanceWeight", weight);
    server.set("MaxConnections", requests_max);
    server.set("Name", name);
    server.set("ServerIOTimeout", response_ms.div_ceil(1000));
    server.set("WaitForContinue", false);
    let address = member.address.expect("members without an address were left out");
    let protocol = if transport.tls.is_some() { "https" } else { "http" };
    // A certificate is for the name and not for the address.
    let named = transport.tls.as_ref().map(|tls| tls.server_name.clone()).filter(|name| !name.is_empty());
    let host = named.unwrap_or_else(|| host_of(address.ip()));
    server.with_child(
        Element::new("Transport")
            .with("Hostname", host)
            .with("Port", address.port())
            .with("Protocol", protocol),
    )
}

fn host_of(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(plain) => plain.to_string(),
        std::net::IpAddr::V6(long) => format!("[{long}]"),
    }
}
