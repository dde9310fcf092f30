//! Makes one plugin-cfg.xml of several: the super cluster, without copying Server elements by hand.
//!
//! What two files share is a pair of virtual host and URI. A pair that several files have goes to a cluster with the
//! servers of exactly those files; a pair of one file keeps that file's own cluster, as `NAME_N` with the number of the
//! file. So a request never reaches a server that does not have its application. Groups of pairs are told apart by
//! which files have them, whatever the order of the files. Settings are those of the first file that has a say; notes
//! tell what was left out. Not here: choosing the files, writing the answer.

use super::graph::{Affinity, Graph, Pair, identity};
use super::layout::Parts;
use super::model::{Document, ReadCluster, Server, ServerCluster};
use super::xml::{Element, Node, XmlFile};
use crate::limits::PLUGIN_CFG_FILES_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// One of the files to be merged.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What people call it: its path.
    pub label: &'a str,
    pub document: &'a Document,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    pub file: XmlFile,
    /// What was left out or decided, a sentence each.
    pub notes: Vec<String>,
}

/// Why there is no answer. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("{count} files are too many to merge at once; at most {PLUGIN_CFG_FILES_MAX}")]
    TooManyFiles { count: usize },
    #[error(
        "{label} takes its routes live from controllers (IntelligentManagement); such files cannot be merged"
    )]
    IntelligentManagement { label: String },
    #[error("{label} has a value that cannot be understood: {problem}")]
    Broken { label: String, problem: String },
    #[error("{label}: {source}")]
    TooManyPairs { label: String, source: super::graph::TooManyPairs },
}

/// A cluster of one of the inputs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    input: usize,
    cluster: String,
}

/// Pairs that go to the same clusters of the same inputs.
type Shares = BTreeMap<Vec<Origin>, BTreeMap<Pair, Affinity>>;

pub fn merge(inputs: &[Input]) -> Result<Merged, MergeError> {
    if inputs.len() > PLUGIN_CFG_FILES_MAX {
        return Err(MergeError::TooManyFiles { count: inputs.len() });
    }
    let mut merger = Merger {
        inputs,
        clusters: inputs.iter().map(|input| input.document.clusters()).collect(),
        notes: Vec::new(),
    };
    let shares = merger.shares()?;
    Ok(merger.build(&shares))
}

struct Merger<'a> {
    inputs: &'a [Input<'a>],
    /// Those of each input, by name.
    clusters: Vec<BTreeMap<&'a str, ReadCluster<'a>>>,
    notes: Vec<String>,
}

impl Merger<'_> {
    fn shares(&mut self) -> Result<Shares, MergeError> {
        let mut origins: BTreeMap<Pair, (Vec<Origin>, Affinity)> = BTreeMap::new();
        for (number, input) in self.inputs.iter().enumerate() {
            let label = input.label.to_owned();
            if input.document.config.intelligent_management.is_some() {
                return Err(MergeError::IntelligentManagement { label });
            }
            if let Some(problem) = input.document.problems.first() {
                return Err(MergeError::Broken { label, problem: problem.to_string() });
            }
            let graph = Graph::of(&input.document.config)
                .map_err(|source| MergeError::TooManyPairs { label, source })?;
            self.tell_unused(number, &graph);
            for (pair, target) in graph.targets {
                let origin = Origin { input: number, cluster: target.cluster };
                match origins.get_mut(&pair) {
                    Some((list, affinity)) => {
                        if *affinity != target.affinity {
                            self.notes.push(format!(
                                "{} on {} has another affinity cookie in {}; that of {} is kept.",
                                uri_name(&pair),
                                pair.host,
                                input.label,
                                self.inputs[list[0].input].label
                            ));
                        }
                        list.push(origin);
                    }
                    None => {
                        origins.insert(pair, (vec![origin], target.affinity));
                    }
                }
            }
        }
        let mut shares = Shares::new();
        for (pair, (list, affinity)) in origins {
            shares.entry(list).or_default().insert(pair, affinity);
        }
        Ok(shares)
    }

    fn tell_unused(&mut self, number: usize, graph: &Graph) {
        let input = self.inputs[number];
        let used: BTreeSet<&str> = graph.targets.values().map(|target| target.cluster.as_str()).collect();
        let unused = input.document.config.clusters.iter().filter(|one| !used.contains(one.name.as_str()));
        let notes = unused.map(|cluster| {
            format!("Cluster {} of {} gets no request there and is left out.", cluster.name, input.label)
        });
        self.notes.extend(notes);
    }

    fn build(mut self, shares: &Shares) -> Merged {
        let mut parts = Parts::default();
        let mut clusters_of_set: BTreeMap<String, usize> = BTreeMap::new();
        // Shared ones first, as the vendor's tool writes them.
        let (single, shared): (Vec<_>, Vec<_>) = shares.iter().partition(|(origins, _)| origins.len() == 1);
        for (origins, pairs) in shared.into_iter().chain(single) {
            let (cluster, base) = match &origins[..] {
                [only] => {
                    let mut cluster = self.element_of(only);
                    let name = format!("{}_{}", only.cluster, only.input);
                    cluster.set("Name", &name);
                    (cluster, name)
                }
                several => {
                    let set = set_name(several);
                    let number = clusters_of_set.entry(set.clone()).or_default();
                    let name = format!("sharedCell_{set}_Cluster_{number}");
                    *number += 1;
                    (self.shared_cluster(several, &name), name)
                }
            };
            parts.clusters.push(cluster);
            let labels: Vec<&str> = origins.iter().map(|origin| self.inputs[origin.input].label).collect();
            let comment = format!(" from {} ", labels.join(" and "));
            parts.route(pairs, &base, &comment);
        }
        let file = self.file(parts);
        Merged { file, notes: self.notes }
    }

    fn element_of(&self, origin: &Origin) -> Element {
        let mut element = self.read_cluster(origin).element.clone();
        element.drop_comments();
        element
    }

    fn cluster_of(&self, origin: &Origin) -> &ServerCluster {
        self.read_cluster(origin).cluster
    }

    fn read_cluster(&self, origin: &Origin) -> ReadCluster<'_> {
        let found = self.clusters[origin.input].get(origin.cluster.as_str());
        *found.expect("the graph names only clusters that the file defines")
    }

    fn shared_cluster(&mut self, origins: &[Origin], name: &str) -> Element {
        let mut shared = self.element_of(&origins[0]);
        shared.children.retain(|child| !matches!(child, Node::Element(element) if is_member(element)));
        shared.set("Name", name);
        let (mut primaries, mut backups) = (Vec::new(), Vec::new());
        let mut taken: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
        for origin in origins {
            self.tell_differences(&origins[0], origin);
            let (cluster, element) = (self.cluster_of(origin).clone(), self.element_of(origin));
            let mut names: BTreeMap<String, String> = BTreeMap::new();
            for (server, server_element) in cluster.servers.iter().zip(element.all("Server")) {
                let new_name = format!("{}_{}", server.name, origin.input);
                let known = (identity(server), transports(server));
                if let Some((earlier, where_it_is)) = taken.get(&known.0) {
                    if *where_it_is == known.1 {
                        // The same server, in two files.
                        names.insert(server.name.clone(), earlier.clone());
                        continue;
                    }
                    self.notes.push(format!(
                        "Servers {earlier} and {new_name} have the same CloneID {}: sessions of one will reach the other.",
                        known.0
                    ));
                }
                taken.insert(known.0, (new_name.clone(), known.1));
                names.insert(server.name.clone(), new_name.clone());
                let mut copy = server_element.clone();
                copy.set("Name", &new_name);
                shared.children.push(Node::Element(copy));
            }
            let renamed = |servers: Vec<&Server>| -> Vec<String> {
                servers.iter().filter_map(|server| names.get(&server.name).cloned()).collect()
            };
            primaries.extend(renamed(cluster.primaries()));
            backups.extend(renamed(cluster.backups()));
            if cluster.cluster_address.is_some() {
                self.notes.push(format!(
                    "The ClusterAddress of {} of {} is left out: it reaches the servers of that file alone.",
                    cluster.name, self.inputs[origin.input].label
                ));
            }
        }
        append_list(&mut shared, "PrimaryServers", &primaries, &[]);
        append_list(&mut shared, "BackupServers", &backups, &primaries);
        shared
    }

    /// Settings of a later cluster that the first one overrules.
    fn tell_differences(&mut self, first: &Origin, other: &Origin) {
        let (kept, left) = (self.element_of(first), self.element_of(other));
        let differs = |attribute: &&super::xml::Attribute| {
            !attribute.name.eq_ignore_ascii_case("Name")
                && kept.value(&attribute.name).is_some_and(|value| value != attribute.value)
        };
        let names: Vec<&str> =
            left.attributes.iter().filter(differs).map(|attribute| attribute.name.as_str()).collect();
        if !names.is_empty() {
            self.notes.push(format!(
                "{} of cluster {} in {} is not as in {}; that of {} is kept.",
                names.join(", "),
                other.cluster,
                self.inputs[other.input].label,
                self.inputs[first.input].label,
                self.inputs[first.input].label
            ));
        }
    }

    /// Everything else comes from the first input.
    fn file(&mut self, parts: Parts) -> XmlFile {
        let first = &self.inputs.first().expect("merged of at least one input").document.file;
        let mut root = Element { children: Vec::new(), ..first.root.clone() };
        // It tells what a generator wrote, which this no longer is.
        root.attributes.retain(|attribute| !attribute.name.eq_ignore_ascii_case("ConfigHash"));
        for input in &self.inputs[1..] {
            let other = &input.document.file.root;
            let differs = |attribute: &&super::xml::Attribute| {
                root.value(&attribute.name).is_some_and(|value| value != attribute.value)
            };
            let names: Vec<&str> =
                other.attributes.iter().filter(differs).map(|attribute| attribute.name.as_str()).collect();
            if !names.is_empty() {
                let (names, first) = (names.join(", "), self.inputs[0].label);
                self.notes.push(format!(
                    "{names} of {} is not as in {first}; that of {first} is kept.",
                    input.label
                ));
            }
        }
        let replaced = ["ServerCluster", "VirtualHostGroup", "UriGroup", "Route"];
        for element in first.root.elements() {
            if !replaced.iter().any(|name| element.is(name)) {
                root.children.push(Node::Element(element.clone()));
            }
        }
        parts.append_to(&mut root);
        let labels: Vec<&str> = self.inputs.iter().map(|input| input.label).collect();
        let head = format!(" Merged by Muster from {} ", labels.join(", "));
        XmlFile { before: vec![Node::Comment(head)], root, after: Vec::new() }
    }
}

fn is_member(element: &Element) -> bool {
    ["Server", "PrimaryServers", "BackupServers", "ClusterAddress"].iter().any(|name| element.is(name))
}

/// The inputs as bits, in hexadecimal: inputs 0 and 2 are `5`.
fn set_name(origins: &[Origin]) -> String {
    let mask = origins.iter().fold(0u128, |mask, origin| mask | 1 << origin.input);
    format!("{mask:x}")
}

fn transports(server: &Server) -> Vec<String> {
    server.transports.iter().map(ToString::to_string).collect()
}

fn append_list(cluster: &mut Element, list: &str, names: &[String], except: &[String]) {
    let mut element = Element::new(list);
    let mut seen = BTreeSet::new();
    for name in names.iter().filter(|name| !except.contains(name)) {
        if seen.insert(name) {
            element.children.push(Node::Element(Element::new("Server").with("Name", name)));
        }
    }
    if !element.children.is_empty() {
        cluster.children.push(Node::Element(element));
    }
}

fn uri_name(pair: &Pair) -> String {
    pair.uri.to_string()
}
