//! Several files as one, compared as graphs; and what `diff` sees.

use crate::plugin_cfg::check::{Severity, check};
use crate::plugin_cfg::diff::diff;
use crate::plugin_cfg::graph::Graph;
use crate::plugin_cfg::merge::{Input, Merged, merge};
use crate::plugin_cfg::{Document, from_file, read};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A file of one cluster with one server, as a server of its own generates it.
fn single(name: &str, hosts: &[&str], uris: &[&str]) -> Document {
    let hosts: String = hosts.iter().map(|host| format!("<VirtualHost Name='{host}'/>")).collect();
    let uris: String = uris.iter().map(|uri| format!("<Uri Name='{uri}'/>")).collect();
    let text = format!(
        "<Config ConfigHash='7'><Log Name='/log'/><VirtualHostGroup Name='default_host'>{hosts}</VirtualHostGroup>
<ServerCluster Name='cluster'><Server Name='server' CloneID='{name}' LoadBalanceWeight='20'>
<Transport Hostname='{name}.example' Port='9080'/></Server><PrimaryServers><Server Name='server'/></PrimaryServers></ServerCluster>
<UriGroup Name='uris'>{uris}</UriGroup><Route ServerCluster='cluster' UriGroup='uris' VirtualHostGroup='default_host'/></Config>"
    );
    read(text.as_bytes()).expect("right")
}

fn merged(documents: &[&Document]) -> (Document, Merged) {
    let labels = ["a.xml", "b.xml", "c.xml", "d.xml", "e.xml"];
    let inputs: Vec<Input> =
        labels.iter().zip(documents).map(|(label, document)| Input { label, document }).collect();
    let merged = merge(&inputs).expect("they can be merged");
    let written = merged.file.write();
    (read(written.as_bytes()).expect("written by us"), merged)
}

/// `host uri: clone ids` of every pair.
fn graph(document: &Document) -> Vec<String> {
    let servers = Graph::of(&document.config).expect("small").servers(&document.config);
    servers
        .iter()
        .map(|(pair, servers)| {
            let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
            format!("{} {}: {}", pair.host, pair.uri, servers.join(" "))
        })
        .collect()
}

#[test]
fn what_files_share_goes_to_the_servers_of_exactly_these() {
    let a = single("a", &["*:80"], &["/both/*", "/a/*"]);
    let b = single("b", &["*:80", "b.example:80"], &["/both/*", "/b/*"]);
    let (document, merged) = merged(&[&a, &b]);
    assert_eq!(
        graph(&document),
        [
            "*:80 /a/*: a",
            "*:80 /b/*: b",
            "*:80 /both/*: a b",
            "b.example:80 /b/*: b",
            "b.example:80 /both/*: b",
        ]
    );
    assert_eq!(check(&document).count(Severity::Error), 0);
    assert!(document.file.root.value("ConfigHash").is_none());
    let shared = document.config.clusters.iter().find(|one| one.servers.len() == 2).expect("one is shared");
    assert_eq!(shared.name, "sharedCell_3_Cluster_0");
    let names: Vec<&str> = shared.primaries().iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["server_0", "server_1"]);
    let text = merged.file.write();
    assert!(text.contains("<!-- from a.xml and b.xml -->") && text.contains("Name=\"cluster_1\""), "{text}");
}

#[test]
fn hosts_of_their_own_share_nothing() {
    let (a, b) = (single("a", &["a:80"], &["/x"]), single("b", &["b:80"], &["/x"]));
    assert_eq!(graph(&merged(&[&a, &b]).0), ["a:80 /x: a", "b:80 /x: b"]);
}

/// Three files of which a later one has only part of what two earlier ones share.
#[test]
fn a_subset_of_what_is_shared_needs_no_order_of_the_files() {
    let a = single("a", &["*:80"], &["/x", "/y"]);
    let b = single("b", &["*:80"], &["/x", "/y"]);
    let c = single("c", &["*:80"], &["/y", "/z"]);
    let expected = ["*:80 /x: a b", "*:80 /y: a b c", "*:80 /z: c"];
    for order in [[&a, &b, &c], [&c, &a, &b], [&b, &c, &a]] {
        assert_eq!(graph(&merged(&order).0), expected);
    }
}

#[test]
fn a_server_of_two_files_is_one_and_equal_clone_ids_of_two_are_told() {
    let a = single("a", &["*:80"], &["/x"]);
    let (document, merged) = merged(&[&a, &a]);
    assert_eq!(document.config.clusters[0].servers.len(), 1);
    assert_eq!(merged.notes, [""; 0]);
    let mut text = a.file.write();
    text = text.replace("a.example", "other.example");
    let other = read(text.as_bytes()).expect("right");
    let (document, merged) = self::merged(&[&a, &other]);
    assert_eq!(document.config.clusters[0].servers.len(), 2);
    assert!(merged.notes[0].contains("same CloneID a"), "{:?}", merged.notes);
}

#[test]
fn lists_are_joined_and_differences_told() {
    let shop = read(include_bytes!("shop.xml")).expect("right");
    let other =
        include_str!("shop.xml").replace("RetryInterval=\"7\"", "RetryInterval=\"8\"").replace("\"c", "\"d");
    let other = other.replace(".example\" Port", ".other\" Port");
    let text = |text: &str| {
        let start = text.find("<IntelligentManagement>").expect("it is there");
        let end =
            text.find("</IntelligentManagement>").expect("it is there") + "</IntelligentManagement>".len();
        format!("{}{}", &text[..start], &text[end..])
    };
    let (a, b) = (text(include_str!("shop.xml")), text(&other));
    let (a, b) = (read(a.as_bytes()).expect("right"), read(b.as_bytes()).expect("right"));
    let (document, merged) = merged(&[&a, &b]);
    let cluster = &document.config.clusters[0];
    let names = |servers: Vec<&crate::plugin_cfg::Server>| {
        servers.iter().map(|server| server.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(cluster.primaries()), ["two_0", "one_0", "two_1", "one_1"]);
    assert_eq!(names(cluster.backups()), ["three_0", "three_1"]);
    assert!(cluster.cluster_address.is_none() && cluster.retry_interval_s == 7);
    assert!(
        merged.notes.iter().any(|note| note.contains("RetryInterval of cluster shop in b.xml")),
        "{:?}",
        merged.notes
    );
    assert!(merged.notes.iter().any(|note| note.contains("ClusterAddress")), "{:?}", merged.notes);
    // What only one file can say stays that of the first.
    assert!(document.file.write().contains("<Inner>text that counts</Inner>"));
    let inputs = [Input { label: "shop.xml", document: &shop }];
    assert_eq!(
        merge(&inputs).expect_err("not mergeable").to_string(),
        "shop.xml takes its routes live from controllers (IntelligentManagement); such files cannot be merged"
    );
}

#[test]
fn diff_sees_what_counts_and_nothing_else() {
    let shop = read(include_bytes!("shop.xml")).expect("right");
    let same = include_str!("shop.xml")
        .replace("shop_uris", "renamed")
        .replace("<!-- Two servers and one that waits. -->", "")
        .replace("CloneId", "CloneID")
        .replace("\"TRUE\"", "\"true\"")
        .replace("ConfigHash=\"-17\"", "ConfigHash=\"18\"")
        .replace("<Uri Name=\"*.jsp\"/>", "<Uri AffinityCookie=\"JSESSIONID\" Name=\"*.jsp\"/>");
    let same = diff(&shop, &read(same.as_bytes()).expect("right")).expect("small");
    assert!(same.is_empty(), "{same:?}");
    let other = include_str!("shop.xml")
        .replace("*.jsp", "*.do")
        .replace("RetryInterval=\"7\"", "")
        .replace("LoadBalanceWeight=\"999\"", "LoadBalanceWeight=\"5\"")
        .replace(
            "Port=\"9080\" Protocol=\"http\"/>\n        </Server>\n        <Server Name=\"three\"",
            "Port=\"9081\" Protocol=\"http\"/>\n        </Server>\n        <Server Name=\"three\"",
        );
    let told = diff(&shop, &read(other.as_bytes()).expect("right")).expect("small");
    let lines = |list: &[crate::plugin_cfg::diff::Difference]| {
        list.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(&told.routes),
        [
            "*:9080 *.do: nothing -> c1 c2 c3",
            "*:9080 *.jsp: c1 c2 c3 -> nothing",
            "shop.example:443 *.do: nothing -> c1 c2 c3",
            "shop.example:443 *.jsp: c1 c2 c3 -> nothing",
        ]
    );
    assert_eq!(
        lines(&told.settings),
        [
            "ServerCluster shop RetryInterval: 7 -> 60",
            "Server c2 LoadBalanceWeight: 999 -> 5",
            "Server c2 Transport: Hostname=two.example Port=9080 Protocol=http -> Hostname=two.example Port=9081 Protocol=http",
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The slow oracle: each pair belongs to all inputs that have it.
    #[test]
    fn merging_is_the_union_of_graphs(
        files in prop::collection::vec((prop::collection::btree_set(0usize..4, 1..4), prop::collection::btree_set(0usize..5, 1..5)), 1..5)
    ) {
        let hosts = ["*:80", "*:*", "one.example:80", "two.example:*"];
        let uris = ["/a/*", "/b", "*.jsp", "/*", "/a/*.do"];
        let clones = ["a", "b", "c", "d", "e"];
        let mut expected: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        let mut documents = Vec::new();
        for ((host_set, uri_set), clone) in files.iter().zip(clones) {
            let own_hosts: Vec<&str> = host_set.iter().map(|index| hosts[*index]).collect();
            let own_uris: Vec<&str> = uri_set.iter().map(|index| uris[*index]).collect();
            for host in &own_hosts {
                for uri in &own_uris {
                    expected.entry(format!("{host} {uri}")).or_default().insert(clone);
                }
            }
            documents.push(single(clone, &own_hosts, &own_uris));
        }
        let (document, merged) = merged(&documents.iter().collect::<Vec<_>>());
        let expected: BTreeSet<String> = expected
            .into_iter()
            .map(|(pair, servers)| format!("{pair}: {}", servers.into_iter().collect::<Vec<_>>().join(" ")))
            .collect();
        prop_assert_eq!(graph(&document).into_iter().collect::<BTreeSet<_>>(), expected);
        prop_assert_eq!(check(&document).count(Severity::Error), 0);
        let made = from_file(merged.file).expect("right");
        prop_assert!(diff(&made, &document).expect("small").is_empty());
    }
}

/// On one line each, as some tools write them. Looking each name up in a list, or counting columns from the line's start,
/// would take minutes.
#[test]
fn ten_thousand_clusters_are_read_merged_and_compared() {
    let large = |name: &str| {
        let mut text =
            String::from("<Config><VirtualHostGroup Name='h'><VirtualHost Name='*:80'/></VirtualHostGroup>");
        for number in 0..10_000 {
            let shared = if number % 2 == 0 { "both" } else { name };
            text += &format!(
                "<ServerCluster Name='c{number}'><Server Name='s' CloneID='{name}{number}'><Transport Hostname='{name}' \
                 Port='80'/></Server></ServerCluster><UriGroup Name='u{number}'><Uri Name='/{shared}/{number}/*'/></UriGroup>\
                 <Route ServerCluster='c{number}' UriGroup='u{number}' VirtualHostGroup='h'/>"
            );
        }
        read((text + "</Config>").as_bytes()).expect("right")
    };
    let (a, b) = (large("a"), large("b"));
    let inputs = [Input { label: "a", document: &a }, Input { label: "b", document: &b }];
    let merged = merge(&inputs).expect("they can be merged");
    assert_eq!(merged.file.root.all("ServerCluster").count(), 15_000);
    assert!(!diff(&a, &b).expect("they can be compared").routes.is_empty());
    check(&a);
}
