//! Lays a file out as the vendor's tools do: clusters, groups of virtual hosts, groups of URIs, Routes.
//!
//! Names of groups are made here; pairs of one cluster with the same URIs stand in one Route.

use super::graph::{Affinity, Pair};
use super::xml::{Element, Node};
use std::collections::BTreeMap;

/// What leads requests to servers, in the order in which it is written.
#[derive(Debug, Default)]
pub struct Parts {
    pub clusters: Vec<Element>,
    hosts: Vec<Element>,
    uris: Vec<Element>,
    /// Each with a comment on where it comes from.
    routes: Vec<(String, Element)>,
}

impl Parts {
    /// Leads the pairs to a cluster.
    pub fn route(&mut self, pairs: &BTreeMap<Pair, Affinity>, cluster: &str, comment: &str) {
        let mut uris_of_host: BTreeMap<String, BTreeMap<String, &Affinity>> = BTreeMap::new();
        for (pair, affinity) in pairs {
            uris_of_host.entry(pair.host.to_string()).or_default().insert(pair.uri.to_string(), affinity);
        }
        let mut hosts_of_uris: BTreeMap<BTreeMap<String, &Affinity>, Vec<String>> = BTreeMap::new();
        for (host, uris) in uris_of_host {
            hosts_of_uris.entry(uris).or_default().push(host);
        }
        for (number, (uris, hosts)) in hosts_of_uris.into_iter().enumerate() {
            let (host_group, uri_group) =
                (format!("{cluster}_Hosts_{number}"), format!("{cluster}_URIs_{number}"));
            let mut element = Element::new("VirtualHostGroup").with("Name", &host_group);
            for host in hosts {
                element = element.with_child(Element::new("VirtualHost").with("Name", host));
            }
            self.hosts.push(element);
            let mut element = Element::new("UriGroup").with("Name", &uri_group);
            for (uri, affinity) in uris {
                let uri = Element::new("Uri")
                    .with("AffinityCookie", &affinity.cookie)
                    .with("AffinityURLIdentifier", &affinity.url_identifier)
                    .with("Name", uri);
                element = element.with_child(uri);
            }
            self.uris.push(element);
            let route = Element::new("Route")
                .with("ServerCluster", cluster)
                .with("UriGroup", uri_group)
                .with("VirtualHostGroup", host_group);
            self.routes.push((comment.to_owned(), route));
        }
    }

    pub fn append_to(self, root: &mut Element) {
        root.comment(" Server Clusters ");
        root.children.extend(self.clusters.into_iter().map(Node::Element));
        root.comment(" Virtual Host Groups ");
        root.children.extend(self.hosts.into_iter().map(Node::Element));
        root.comment(" URI Groups ");
        root.children.extend(self.uris.into_iter().map(Node::Element));
        root.comment(" Routes ");
        for (comment, route) in self.routes {
            root.comment(&comment);
            root.children.push(Node::Element(route));
        }
    }
}
