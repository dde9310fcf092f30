//! What `check` finds, each with its line.

use crate::plugin_cfg::check::{Severity, check};
use crate::plugin_cfg::read;

/// Lines, severities and rules of the findings in `inside` (which begins in line 2).
#[track_caller]
fn found(inside: &str) -> Vec<String> {
    let text = format!("<Config>\n{inside}\n</Config>");
    let findings = check(&read(text.as_bytes()).expect("XML"));
    findings.list.iter().map(|one| format!("{} {} {}", one.place.line, one.severity, one.rule)).collect()
}

/// A cluster that `check` finds nothing in, its Route in the same line.
fn cluster(attributes: &str, servers: &str) -> String {
    format!("<ServerCluster Name='c' {attributes}>{servers}</ServerCluster><Route ServerCluster='c'/>")
}

fn server(name: &str, attributes: &str) -> String {
    format!(
        "<Server Name='{name}' ConnectTimeout='5' ServerIOTimeout='900' {attributes}>\
         <Transport Hostname='{name}' Port='443' Protocol='https'><Property Name='keyring' Value='k.pem'/></Transport>\
         </Server>"
    )
}

fn two(one: &str, two: &str) -> String {
    server("s1", &format!("CloneID='c1' {one}")) + &server("s2", &format!("CloneID='c2' {two}"))
}

#[test]
fn a_right_file_has_no_findings() {
    assert_eq!(found(&cluster("", &two("LoadBalanceWeight='20'", "LoadBalanceWeight='19'"))), [""; 0]);
}

#[test]
fn routes_that_name_what_is_not_there_are_errors() {
    let text = "<Route ServerCluster='c' UriGroup='u' VirtualHostGroup='v'/>";
    assert_eq!(found(text), ["2 error route-reference"; 3]);
}

#[test]
fn what_is_defined_twice_is_an_error_at_the_second_place() {
    let groups =
        "<UriGroup Name='u'><Uri Name='/a'/></UriGroup>\n<UriGroup Name='u'><Uri Name='/b'/></UriGroup>
<VirtualHostGroup Name='v'><VirtualHost Name='*:80'/></VirtualHostGroup>
<VirtualHostGroup Name='v'><VirtualHost Name='*:81'/></VirtualHostGroup>";
    let found = found(groups);
    assert!(
        found.contains(&"3 error defined-twice".into()) && found.contains(&"5 error defined-twice".into()),
        "{found:?}"
    );
    let clusters = format!("{}\n{}", cluster("", &server("s", "")), cluster("", &server("s", "")));
    assert!(self::found(&clusters).contains(&"3 error defined-twice".into()));
    let servers = format!("{}\n{}", server("s", "CloneID='a'"), server("s", "CloneID='b'"));
    assert!(self::found(&cluster("", &servers)).contains(&"3 error defined-twice".into()));
}

#[test]
fn clone_ids_must_differ_and_hold_no_separator() {
    let servers =
        format!("{}\n{}", server("s1", "CloneID='a' LoadBalanceWeight='3'"), server("s2", "CloneID='a'"));
    assert_eq!(found(&cluster("", &servers)), ["3 error clone-id-twice"]);
    assert_eq!(found(&cluster("", &server("s", "CloneID='a:b'"))), ["2 error clone-id-separator"]);
    assert_eq!(found(&cluster("CloneSeparatorChange='true'", &server("s", "CloneID='a:b'"))), [""; 0]);
    assert_eq!(
        found(&cluster("", &(server("s1", "LoadBalanceWeight='3'") + &server("s2", "")))),
        ["2 warning no-clone-id"; 2]
    );
}

#[test]
fn lists_name_servers_that_are_there_once() {
    let lists = "<PrimaryServers><Server Name='s1'/><Server Name='gone'/></PrimaryServers>\
                 <BackupServers><Server Name='s1'/></BackupServers>";
    let found = found(&cluster("", &(two("", "LoadBalanceWeight='3'") + lists)));
    assert_eq!(found, ["2 warning server-lists", "2 warning server-lists", "2 error server-reference"]);
}

#[test]
fn weights_that_surprise_are_told() {
    assert_eq!(
        found(&cluster("", &two("LoadBalanceWeight='20'", "LoadBalanceWeight='20'"))),
        ["2 hint weights-equal"]
    );
    assert_eq!(
        found(&cluster("", &two("LoadBalanceWeight='0'", "LoadBalanceWeight='0'"))),
        ["2 error weights-zero"]
    );
    assert_eq!(found(&cluster("", &two("LoadBalanceWeight='0'", ""))), ["2 hint drained"]);
    assert_eq!(
        found(&cluster("LoadBalance='Random'", &two("LoadBalanceWeight='3'", ""))),
        ["2 warning weights-random"]
    );
}

#[test]
fn settings_that_are_misread_are_explained() {
    let one = |attributes: &str| found(&cluster(attributes, &server("s", "CloneID='c1'")));
    assert_eq!(one("IgnoreAffinityRequests='false'"), ["2 hint ignore-affinity"]);
    assert_eq!(one("RemoveSpecialHeaders='false'"), ["2 warning special-headers"]);
    assert_eq!(one("PostBufferSize='64'"), ["2 warning post-twice"]);
    assert_eq!(one("PostBufferSize='64' ServerIOTimeoutRetry='0'"), [""; 0]);
    assert_eq!(one("PostSizeLimit='512'"), ["2 warning post-size"]);
    assert_eq!(one("GetDWLMTable='true'"), ["2 hint partition-table"]);
}

#[test]
fn times_that_hold_requests_or_mark_all_servers_down_are_told() {
    let servers = two("LoadBalanceWeight='3'", "").replace("ServerIOTimeout='900'", "ServerIOTimeout='-30'");
    assert_eq!(found(&cluster("RetryInterval='30'", &servers)), ["2 warning retry-interval"; 2]);
    assert_eq!(found(&cluster("RetryInterval='29'", &servers)), [""; 0]);
    let slow = server("s", "")
        .replace("ConnectTimeout='5'", "")
        .replace("ServerIOTimeout='900'", "ServerIOTimeout='0'");
    assert_eq!(found(&cluster("", &slow)), ["2 warning connect-timeout", "2 warning io-timeout"]);
}

#[test]
fn transports_and_keyrings_are_judged() {
    assert_eq!(
        found(&cluster("", "<Server Name='s' ConnectTimeout='5' ServerIOTimeout='9'/>")),
        ["2 hint no-https", "2 error no-transport"]
    );
    let twice =
        server("s", "").replace("</Server>", "<Transport Hostname='t' Port='1' Protocol='https'/></Server>");
    assert_eq!(found(&cluster("", &twice)), ["2 warning transports", "2 warning keyring"]);
    let other = two("LoadBalanceWeight='3'", "").replacen("k.pem", "other.kdb", 1);
    assert_eq!(found(&cluster("", &other)), ["2 hint keyring-kdb", "2 warning keyrings-differ"]);
}

#[test]
fn patterns_and_addresses_that_are_none_are_errors() {
    let text = "<VirtualHostGroup Name='v'><VirtualHost Name='a:b:c'/><VirtualHost Name='host'/></VirtualHostGroup>
<UriGroup Name='u'><Uri Name='app'/><Uri Name='/a/*/b/*'/></UriGroup>
<TrustedProxyGroup><TrustedProxy Name='proxy.example'/></TrustedProxyGroup>
<ServerCluster Name='c'><Server Name='s' ConnectTimeout='5' ServerIOTimeout='9'><Transport Hostname='s' Port='1'/></Server></ServerCluster>
<Route ServerCluster='c' UriGroup='u' VirtualHostGroup='v'/>";
    assert_eq!(
        found(text),
        [
            "2 error virtual-host",
            "2 warning virtual-host-port",
            "3 error uri",
            "3 error uri",
            "4 error trusted-proxy",
            "4 warning trust-half",
            "5 hint no-https",
        ]
    );
}

#[test]
fn a_route_behind_a_later_equal_one_is_told() {
    let text = format!(
        "{}<ServerCluster Name='d'>{}</ServerCluster>\n<Route ServerCluster='d'/>",
        cluster("", &server("s", "")),
        server("t", "")
    );
    assert_eq!(found(&text), ["2 warning route-shadowed"]);
}

#[test]
fn unknown_and_misspelt_names_are_told() {
    let text = cluster("LoadBalence='Random' Colour='red' retryInterval='6'", &server("s", "CloneId='x'"))
        + "<Rout ServerCluster='c'/><Other/>";
    assert_eq!(
        found(&text),
        [
            "2 warning unknown-name",
            "2 hint unknown-name",
            "2 hint spelling",
            "2 warning unknown-name",
            "2 hint unknown-name",
        ]
    );
}

#[test]
fn what_nobody_uses_is_told() {
    assert_eq!(found(""), ["1 warning no-route"]);
    let text = cluster("", &server("s", ""))
        + "\n<ServerCluster Name='d'><Server Name='t' ConnectTimeout='5' ServerIOTimeout='9'><Transport Hostname='h' Port='1' Protocol='https'/></Server></ServerCluster>"
        + "\n<UriGroup Name='u'/>\n<VirtualHostGroup Name='v'/>";
    assert_eq!(
        found(&text),
        [
            "3 warning unused",
            "3 warning keyring",
            "4 warning empty-group",
            "4 hint unused",
            "5 warning empty-group",
            "5 hint unused",
        ]
    );
}

#[test]
fn errors_are_not_lost_among_many_findings() {
    let many: String = (0..2000).map(|number| format!("<UriGroup Name='u{number}'/>")).collect();
    let text = format!("<Config>{many}<Route ServerCluster='gone'/></Config>");
    let findings = check(&read(text.as_bytes()).expect("XML"));
    assert_eq!(findings.count(Severity::Error), 1);
    assert!(findings.left_out > 1000 && findings.list.len() == crate::limits::PLUGIN_CFG_FINDINGS_MAX);
}
