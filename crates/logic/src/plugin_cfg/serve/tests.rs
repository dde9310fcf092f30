//! What a router makes of plugin-cfg.xml files.

use super::*;
use crate::plugin_cfg::{find_route, read};
use crate::route::RouteTable;
use proptest::prelude::*;

pub(super) fn served(text: &str) -> (Config, Served) {
    let document = read(text.as_bytes()).expect("it is XML");
    assert_eq!(document.problems, []);
    let served = plan(&document.config).expect("it is small");
    (document.config, served)
}

const FILE: &str = r#"<Config IgnoreDNSFailures="true" RefreshInterval="7" VHostMatchingCompat="true">
  <ServerCluster Name="my shop!" RetryInterval="9" CloneSeparatorChange="true" IgnoreAffinityRequests="false" PostSizeLimit="77">
    <Server Name="b" CloneID="c2" ConnectTimeout="3" ServerIOTimeout="-4" MaxConnections="5">
      <Transport Hostname="one.example" Port="9443" Protocol="https"><Property Name="keyring" Value="/k.kdb"/></Transport>
      <Transport Hostname="one.example" Port="9080" Protocol="http"/>
    </Server>
    <Server Name="a" CloneID="c1"><Transport Hostname="192.0.2.1" Port="80" Protocol="http"/></Server>
    <Server Name="spare" CloneID="c3"><Transport Hostname="192.0.2.2" Port="80" Protocol="http"/></Server>
    <PrimaryServers><Server Name="a"/></PrimaryServers>
    <BackupServers><Server Name="b"/></BackupServers>
  </ServerCluster>
  <VirtualHostGroup Name="hosts"><VirtualHost Name="*:80"/><VirtualHost Name="*:443"/><VirtualHost Name="*:80"/></VirtualHostGroup>
  <UriGroup Name="uris"><Uri Name="/x" AffinityCookie="ONE"/><Uri Name="/y/*"/><Uri Name="/a*b*"/></UriGroup>
  <Route ServerCluster="my shop!" UriGroup="uris" VirtualHostGroup="hosts"/>
  <Route ServerCluster="my shop!" UriGroup="gone"/>
  <Route ServerCluster="nobody"/>
</Config>"#;

#[test]
fn everything_that_a_file_says_reaches_routes_and_views() {
    let (_, served) = served(FILE);
    assert_eq!((served.refresh_interval_s, served.ignores_dns_failures), (Some(7), true));
    assert!(served.matches_listener_port);
    assert_eq!((served.ports.as_slice(), served.ports_to_listen()), ([80, 443].as_slice(), vec![80]));
    let problems: Vec<String> = served.problems.iter().map(Problem::to_string).collect();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].contains("/a*b*") && problems[1].contains("gone") && problems[2].contains("nobody"));
    // Two ports and two URIs; the virtual host that is there twice counts once.
    assert_eq!(served.routes.len(), 4);
    assert_eq!(served.routes[0].affinity, None, "the first URI speaks for its cluster");
    assert_eq!(
        served.routes[1].affinity.as_ref().map(|affinity| affinity.cookie.as_str()),
        Some("JSESSIONID")
    );
    assert_eq!(served.routes[0].actions.body_size_max_bytes, Some(77));

    let addresses = BTreeMap::from([("one.example".to_owned(), "192.0.2.9".parse().expect("an address"))]);
    let key_file = KeyFile { path: "/k.pem".into(), has_key: false };
    let epoch = Epoch { generation: 1, number: 4 };
    let views = served.views(epoch, &addresses, &BTreeMap::from([("/k.kdb".to_owned(), key_file)]));
    let view = &views[0];
    assert_eq!((view.cluster.0.as_str(), view.epoch), ("my-shop-", epoch));
    assert_eq!(view.health.retry_interval_ms, Some(9_000));
    let affinity = view.affinity.as_ref().expect("there are clone ids");
    assert_eq!((affinity.cookie.as_str(), affinity.separator, affinity.lowers_weight), ("ONE", '+', true));
    let members: Vec<(&str, u32, bool)> =
        view.members.iter().map(|member| (member.name.0.as_str(), member.weight, member.is_backup)).collect();
    // The one in neither list keeps its sessions and gets no new ones.
    assert_eq!(members, [("a", 2, false), ("b", 2, true), ("spare", 0, false)]);
    let b = &view.members[1];
    assert_eq!(b.address, Some("192.0.2.9:9080".parse().expect("an address")));
    assert_eq!(
        (b.requests_max, b.transport.connect_ms, b.transport.response_ms),
        (5, Some(3_000), Some(4_000))
    );
    assert!(b.transport.marks_silence && b.transport.tls.is_none());
    let secure = b.secure.as_ref().expect("there is an https transport beside the http one");
    assert_eq!(secure.address, Some("192.0.2.9:9443".parse().expect("an address")));
    let tls = secure.transport.tls.as_ref().expect("https");
    assert_eq!(
        (tls.server_name.as_str(), tls.authorities.as_str(), tls.key.as_str()),
        ("one.example", "/k.pem", "")
    );
    // What an earlier run knew is known again.
    let shared: Vec<std::sync::Arc<View>> = views.iter().cloned().map(std::sync::Arc::new).collect();
    assert_eq!(served.addresses_in(&shared), addresses);
}

#[test]
fn cluster_address_takes_what_is_new_and_servers_keep_their_sessions() {
    let text = r#"<Config><ServerCluster Name="A">
        <Server Name="a" CloneID="c1"><Transport Hostname="192.0.2.1" Port="80"/></Server>
        <ClusterAddress Name="front"><Transport Hostname="192.0.2.2" Port="80"/></ClusterAddress>
        </ServerCluster></Config>"#;
    let (_, served) = served(text);
    let members: Vec<(&str, u32)> =
        served.plain_views[0].members.iter().map(|member| (member.name.0.as_str(), member.weight)).collect();
    assert_eq!(members, [("front", 1), ("a", 0)]);
}

#[test]
fn names_become_ours_and_stay_apart() {
    let mut taken = BTreeSet::new();
    let long = "x".repeat(100);
    for (written, expected) in
        [("a b", "a-b"), ("a/b", "a-b-2"), ("_a", "x_a"), (long.as_str(), &long[..64]), ("é", "x-")]
    {
        let name = plain_name(written, &mut taken);
        assert_eq!(name, expected);
        assert!(wire::id::is_valid_name(&name), "{name}");
    }
    let again = plain_name(&long, &mut taken);
    assert!(wire::id::is_valid_name(&again) && again.ends_with("-2"), "{again}");
}

proptest! {
    /// The table of the router finds the route that the plain reading of the file finds.
    #[test]
    fn the_routers_table_agrees_with_the_file(
        hosts in prop::collection::vec(prop::collection::vec("[ab*]:(80|81|\\*)", 1..3), 2),
        uris in prop::collection::vec(prop::collection::vec("((/[ab]){1,2}|(/[ab]){0,2}/\\*|\\*\\.[ef])", 1..3), 2),
        routes in prop::collection::vec((0..2_usize, 0..3_usize, 0..3_usize), 1..5),
        host in "[abc]", port in 79..82_u16, path in "(/[ab]{1,2}){1,3}(\\.[ef])?(;[ab])?",
    ) {
        let mut text = "<Config><ServerCluster Name=\"0\"><Server Name=\"s\"><Transport Hostname=\"h\" Port=\"1\"/></Server></ServerCluster>\
            <ServerCluster Name=\"1\"><Server Name=\"s\"><Transport Hostname=\"h\" Port=\"1\"/></Server></ServerCluster>".to_owned();
        for (index, group) in hosts.iter().enumerate() {
            let hosts: String = group.iter().map(|name| format!("<VirtualHost Name=\"{name}\"/>")).collect();
            text += &format!("<VirtualHostGroup Name=\"{index}\">{hosts}</VirtualHostGroup>");
        }
        for (index, group) in uris.iter().enumerate() {
            let uris: String = group.iter().map(|name| format!("<Uri Name=\"{name}\"/>")).collect();
            text += &format!("<UriGroup Name=\"{index}\">{uris}</UriGroup>");
        }
        for (cluster, host, uri) in routes {
            let group = |name: &str, index: usize| {
                if index < 2 { format!(" {name}=\"{index}\"") } else { String::new() }
            };
            let groups = group("VirtualHostGroup", host) + &group("UriGroup", uri);
            text += &format!("<Route ServerCluster=\"{cluster}\"{groups}/>");
        }
        let (config, served) = served(&(text + "</Config>"));
        let expected = find_route(&config, &host, port, &path).map(|found| found.route.server_cluster.as_str());
        let found = RouteTable::new(&served.routes).find(host.as_bytes(), port, path.as_bytes());
        let found = found.map(|index| served.routes[index].levels[0][0].0.as_str());
        prop_assert_eq!(found, expected);
    }
}
