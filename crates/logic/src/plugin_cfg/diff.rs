//! Compares two plugin-cfg.xml files by what they do: where requests go, and with which settings.
//!
//! Names of groups and of clusters, order of elements, comments and spellings of defaults make no difference. Clusters
//! are compared through the pairs that they serve. Promise: two files without a difference here serve alike.

use super::definition::{self, AttributeDefinition};
use super::graph::{Graph, Pair, TooManyPairs, identity};
use super::model::{Document, ReadCluster};
use super::xml::Element;
use std::collections::{BTreeMap, BTreeSet};

/// One difference, for people and scripts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What differs: a pair, a cluster's setting, a server's setting.
    pub what: String,
    /// None: not there.
    pub left: Option<String>,
    pub right: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.left, &self.right) {
            (Some(left), Some(right)) => write!(out, "{}: {left} -> {right}", self.what),
            (Some(left), None) => write!(out, "{}: {left} -> nothing", self.what),
            (None, Some(right)) => write!(out, "{}: nothing -> {right}", self.what),
            (None, None) => out.write_str(&self.what),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Where requests go.
    pub routes: Vec<Difference>,
    /// With which settings.
    pub settings: Vec<Difference>,
}

impl Differences {
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.settings.is_empty()
    }
}

pub fn diff(left: &Document, right: &Document) -> Result<Differences, TooManyPairs> {
    let (left_graph, right_graph) = (Graph::of(&left.config)?, Graph::of(&right.config)?);
    let routes = diff_routes(left, &left_graph, right, &right_graph);
    let mut settings = Vec::new();
    attributes("Config", &left.file.root, &right.file.root, &["ConfigHash"], &mut settings);
    diff_plain_elements(left, right, &mut settings);
    diff_clusters(left, &left_graph, right, &right_graph, &mut settings);
    Ok(Differences { routes, settings })
}

fn diff_routes(
    left: &Document,
    left_graph: &Graph,
    right: &Document,
    right_graph: &Graph,
) -> Vec<Difference> {
    let left_servers = left_graph.servers(&left.config);
    let right_servers = right_graph.servers(&right.config);
    let pairs: BTreeSet<&Pair> = left_servers.keys().chain(right_servers.keys()).collect();
    let mut differences = Vec::new();
    for pair in pairs {
        let told = |servers: Option<&BTreeSet<String>>| {
            servers.map(|servers| servers.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
        };
        let (one, other) = (told(left_servers.get(pair)), told(right_servers.get(pair)));
        let what = format!("{} {}", pair.host, pair.uri);
        if one != other {
            differences.push(Difference { what: what.clone(), left: one, right: other });
        }
        if let (Some(one), Some(other)) = (left_graph.targets.get(pair), right_graph.targets.get(pair))
            && one.affinity != other.affinity
        {
            let told = |target: &super::graph::Target| {
                Some(format!("{} and {}", target.affinity.cookie, target.affinity.url_identifier))
            };
            let what = format!("{what}, affinity");
            differences.push(Difference { what, left: told(one), right: told(other) });
        }
    }
    differences
}

/// Attributes of two elements of one kind, defaults filled in.
fn attributes(
    what: &str,
    left: &Element,
    right: &Element,
    except: &[&str],
    differences: &mut Vec<Difference>,
) {
    let known: &[AttributeDefinition] = definition::ELEMENTS
        .iter()
        .find(|element| left.is(element.name))
        .map_or(&[], |element| element.attributes);
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    let written = left.attributes.iter().chain(&right.attributes).map(|attribute| attribute.name.as_str());
    for name in known.iter().map(|attribute| attribute.name).chain(written) {
        names.entry(name.to_ascii_lowercase()).or_insert(name);
    }
    for name in names.into_values().filter(|name| !except.contains(name)) {
        let definition = known.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name));
        let value = |element: &Element| {
            let written = element.value(name).map(|value| plain(value, definition));
            written.or_else(|| definition.and_then(|one| one.default).map(str::to_owned))
        };
        let (one, other) = (value(left), value(right));
        if one != other {
            differences.push(Difference { what: format!("{what} {name}"), left: one, right: other });
        }
    }
}

/// A value without what makes no difference: blanks around it, the case of flags, the spelling of choices.
fn plain(value: &str, definition: Option<&AttributeDefinition>) -> String {
    use definition::Kind;
    let value = value.trim();
    match definition.map(|one| one.kind) {
        Some(Kind::Boolean) => value.to_ascii_lowercase(),
        Some(Kind::Choice(choices)) => choices
            .iter()
            .find(|choice| super::read::plain(choice) == super::read::plain(value))
            .map_or_else(|| value.to_owned(), |choice| (*choice).to_owned()),
        Some(Kind::Text | Kind::Name | Kind::Number { .. }) | None => value.to_owned(),
    }
}

/// Children of Config that are neither routes nor what they lead to, by kind and name.
fn diff_plain_elements(left: &Document, right: &Document, differences: &mut Vec<Difference>) {
    let routed = ["ServerCluster", "VirtualHostGroup", "UriGroup", "Route"];
    let of = |document: &Document| -> BTreeMap<String, String> {
        let elements = document.file.root.elements();
        let plain = elements.filter(|element| !routed.iter().any(|name| element.is(name)));
        plain
            .map(|element| {
                let name = element.value("Name").filter(|_| element.is("Property"));
                let what = name.map_or(element.name.clone(), |name| format!("{} {name}", element.name));
                (what, told(element))
            })
            .collect()
    };
    let (one, other) = (of(left), of(right));
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for what in names {
        let (left, right) = (one.get(what).cloned(), other.get(what).cloned());
        if left != right {
            differences.push(Difference { what: what.clone(), left, right });
        }
    }
}

/// An element in one line, its attributes in alphabetic order.
fn told(element: &Element) -> String {
    let mut values: Vec<String> =
        element.attributes.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
    values.sort();
    values.extend(element.elements().map(|child| format!("<{} {}>", child.name, told(child))));
    values.join(" ")
}

/// Clusters that serve a pair in common are compared, once each.
fn diff_clusters(
    left: &Document,
    left_graph: &Graph,
    right: &Document,
    right_graph: &Graph,
    differences: &mut Vec<Difference>,
) {
    let (ones, others) = (left.clusters(), right.clusters());
    let mut compared: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (pair, target) in &left_graph.targets {
        let Some(other) = right_graph.targets.get(pair) else { continue };
        if compared.insert((&target.cluster, &other.cluster)) {
            let (Some(one), Some(other)) =
                (ones.get(target.cluster.as_str()), others.get(other.cluster.as_str()))
            else {
                continue;
            };
            one.compare(other, differences);
        }
    }
}

impl<'a> ReadCluster<'a> {
    fn servers(&self) -> BTreeMap<String, &'a Element> {
        let identities = self.cluster.servers.iter().map(identity);
        identities.zip(self.element.all("Server")).collect()
    }

    fn lists(&self) -> (Vec<String>, Vec<String>) {
        let told = |servers: Vec<&super::model::Server>| servers.into_iter().map(identity).collect();
        (told(self.cluster.primaries()), told(self.cluster.backups()))
    }

    fn compare(&self, other: &Self, differences: &mut Vec<Difference>) {
        let name = match self.cluster.name == other.cluster.name {
            true => format!("ServerCluster {}", self.cluster.name),
            false => format!("ServerCluster {} and {}", self.cluster.name, other.cluster.name),
        };
        attributes(&name, self.element, other.element, &["Name"], differences);
        let (left, right) = (self.lists(), other.lists());
        for (list, left, right) in [("PrimaryServers", left.0, right.0), ("BackupServers", left.1, right.1)] {
            if left != right {
                differences.push(Difference {
                    what: format!("{name} {list}"),
                    left: Some(left.join(" ")),
                    right: Some(right.join(" ")),
                });
            }
        }
        let (left, right) = (self.servers(), other.servers());
        for (identity, server) in &left {
            // A server of one file only is a difference of routes already.
            let Some(other) = right.get(identity) else { continue };
            let what = format!("Server {identity}");
            attributes(&what, server, other, &["Name"], differences);
            let children = |element: &Element| -> Vec<String> { element.elements().map(told).collect() };
            let (left, right) = (children(server), children(other));
            if left != right {
                let (left, right) = (Some(left.join(", ")), Some(right.join(", ")));
                differences.push(Difference { what: format!("{what} Transport"), left, right });
            }
        }
        let address = |both: &Self| both.element.all("ClusterAddress").next().map(told);
        if address(self) != address(other) {
            let (left, right) = (address(self), address(other));
            differences.push(Difference { what: format!("{name} ClusterAddress"), left, right });
        }
    }
}
