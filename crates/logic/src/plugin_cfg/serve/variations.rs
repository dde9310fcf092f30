//! What becomes of the kinds of files that are met in the wild: which routes, members and notes a router gets.
//!
//! The texts are made for these tests; they vary what generators and people vary.

use super::tests::served;
use super::*;
use crate::plugin_cfg::read;
use expect_test::{Expect, expect};
use std::fmt::Write;

/// Routes, members and notes of a file.
#[track_caller]
fn check(text: &str, expected: Expect) {
    let (_, served) = served(text);
    let mut told = String::new();
    for route in &served.routes {
        let port = route.port.map_or_else(String::new, |port| format!(":{port}"));
        writeln!(told, "{}{port} {} {:?} -> {}", route.host, route.path, route.path_kind, route.levels[0][0])
            .expect("a string takes everything");
    }
    let views = served.views(Epoch { generation: 1, number: 1 }, &BTreeMap::new(), &BTreeMap::new());
    for view in &views {
        for member in &view.members {
            let kind = |transport: &wire::view::Transport| match &transport.tls {
                None => "http".to_owned(),
                Some(tls) => format!("https {}", tls.server_name),
            };
            let secure = member.secure.as_ref().map(|secure| format!(" or {}", kind(&secure.transport)));
            writeln!(
                told,
                "{} {:?}: {} clone={:?} weight={}{} {}{}",
                view.cluster,
                view.policy,
                member.name,
                member.clone_id,
                member.weight,
                if member.is_backup { " backup" } else { "" },
                kind(&member.transport),
                secure.unwrap_or_default()
            )
            .expect("a string takes everything");
        }
    }
    for problem in &served.problems {
        writeln!(told, "{problem}").expect("a string takes everything");
    }
    writeln!(told, "listens at {:?}", served.ports_to_listen()).expect("a string takes everything");
    expected.assert_eq(&told);
}

/// A server with both kinds of transport, as generators write it.
const PAIR: &str = r#"<Server CloneID="c-1" LoadBalanceWeight="20" Name="node_one">
  <Transport Hostname="one.example" Port="9003" Protocol="http"/>
  <Transport Hostname="one.example" Port="9403" Protocol="https">
    <Property Name="keyring" Value="/plugins/plugin-key.kdb"/><Property Name="stashfile" Value="/plugins/plugin-key.sth"/>
    <Property Name="certLabel" Value="own"/>
  </Transport></Server>"#;

#[test]
fn a_generated_file_with_virtual_hosts_of_one_name_and_a_hash() {
    check(
        &format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><!-- generated --><Config ConfigHash="-52" RefreshInterval="60">
            <Property Name="ESIEnable" Value="true"/>
            <VirtualHostGroup Name="default_host"><VirtualHost Name="shop.example:8080"/><VirtualHost Name="shop.example:9443"/></VirtualHostGroup>
            <ServerCluster LoadBalance="Round Robin" Name="one_node_Cluster">{PAIR}<PrimaryServers><Server Name="node_one"/></PrimaryServers></ServerCluster>
            <UriGroup Name="uris"><Uri Name="/connector/*"/><Uri Name="/metrics/*"/></UriGroup>
            <Route ServerCluster="one_node_Cluster" UriGroup="uris" VirtualHostGroup="default_host"/></Config>"#
        ),
        expect![[r#"
            shop.example:8080 /connector/ Prefix -> one_node_Cluster
            shop.example:8080 /metrics/ Prefix -> one_node_Cluster
            shop.example:9443 /connector/ Prefix -> one_node_Cluster
            shop.example:9443 /metrics/ Prefix -> one_node_Cluster
            one_node_Cluster RoundRobin: node_one clone="c-1" weight=20 http or https one.example
            listens at [8080]
        "#]],
    );
}

#[test]
fn a_merged_file_with_a_virtual_host_twice() {
    check(
        &format!(
            r#"<Config>
            <VirtualHostGroup Name="h_0_0"><VirtualHost Name="b.example:8080"/><VirtualHost Name="b.example:8080"/></VirtualHostGroup>
            <VirtualHostGroup Name="h_1"><VirtualHost Name="a.example:8080"/></VirtualHostGroup>
            <ServerCluster Name="Cluster_0">{PAIR}</ServerCluster><ServerCluster Name="Cluster_1">{PAIR}</ServerCluster>
            <UriGroup Name="u0"><Uri Name="/metrics/*"/></UriGroup><UriGroup Name="u1"><Uri Name="/metrics/*"/></UriGroup>
            <Route ServerCluster="Cluster_0" UriGroup="u0" VirtualHostGroup="h_0_0"/>
            <Route ServerCluster="Cluster_1" UriGroup="u1" VirtualHostGroup="h_1"/></Config>"#
        ),
        expect![[r#"
            b.example:8080 /metrics/ Prefix -> Cluster_0
            a.example:8080 /metrics/ Prefix -> Cluster_1
            Cluster_0 RoundRobin: node_one clone="c-1" weight=20 http or https one.example
            Cluster_1 RoundRobin: node_one clone="c-1" weight=20 http or https one.example
            listens at [8080]
        "#]],
    );
}

#[test]
fn a_file_without_groups_and_routes_serves_nothing() {
    check(
        &format!(r#"<Config><ServerCluster Name="A">{PAIR}</ServerCluster></Config>"#),
        expect![[r#"
        A RoundRobin: node_one clone="c-1" weight=20 http or https one.example
        listens at []
    "#]],
    );
}

#[test]
fn a_file_by_hand_with_backups_an_odd_spelling_and_a_route_to_a_group_that_is_missing() {
    check(
        r#"<Config>
        <VirtualHostGroup Name="VHosts"><VirtualHost Name="*:443"/></VirtualHostGroup>
        <ServerCluster Name="Bank" LoadBalance="RoundRobin">
          <Server Name="n1" CloneId="1a" LoadBalanceWeight="2"><Transport Hostname="n1.example" Port="9443" Protocol="https"/></Server>
          <Server Name="n2" CloneId="2b" LoadBalanceWeight="2"><Transport Hostname="n2.example" Port="9080" Protocol="http"/></Server>
          <Server Name="dr"><Transport Hostname="dr.example" Port="9080" Protocol="http"/></Server>
          <PrimaryServers><Server Name="n1"/><Server Name="n2"/></PrimaryServers><BackupServers><Server Name="dr"/></BackupServers>
        </ServerCluster>
        <UriGroup Name="uris"><Uri Name="/bank/*"/></UriGroup>
        <Route ServerCluster="Bank" UriGroup="uris" VirtualHostGroup="VHosts_HostGroup"/></Config>"#,
        expect![[r#"
            Bank RoundRobin: n1 clone="1a" weight=2 https n1.example
            Bank RoundRobin: n2 clone="2b" weight=2 http
            Bank RoundRobin: dr clone="" weight=2 backup http
            line 10, column 9: this Route names the VirtualHostGroup VHosts_HostGroup, which is not there; it is left out
            listens at []
        "#]],
    );
}

#[test]
fn an_old_file_in_latin_1_with_exact_uris_endings_and_values_over_several_lines() {
    let text = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n<Config>\n<Log Name=\"/logs/\n  caf\u{e9}.log\"/>\
        <VirtualHostGroup Name=\"h\"><VirtualHost Name=\"*:13341\"/><VirtualHost Name=\"*:80\"/></VirtualHostGroup>\
        <ServerCluster Name=\"old\" PostSizeLimit=\"-1\"><Server Name=\"s\" ConnectTimeout=\"0\" MaxConnections=\"-1\">\
        <Transport Hostname=\"OLD.EXAMPLE\" Port=\"13341\"\n Protocol=\"http\"/></Server></ServerCluster>\
        <UriGroup Name=\"u\"><Uri Name=\"/snoop/*\"/><Uri Name=\"/hello\"/><Uri Name=\"*.jsp\"/></UriGroup>\
        <Route ServerCluster=\"old\"\n UriGroup=\"u\" VirtualHostGroup=\"h\"/>\
        <RequestMetrics rmEnabled=\"false\"><filters enable=\"false\" type=\"URI\"><filterValues enable=\"false\" value=\"/x\"/></filters></RequestMetrics>\
        </Config>";
    let latin: Vec<u8> =
        text.chars().map(|letter| u8::try_from(u32::from(letter)).expect("within Latin 1")).collect();
    let document = read(&latin).expect("it is XML");
    assert_eq!(document.problems, []);
    let old = plan(&document.config).expect("it is small");
    let routes: Vec<(Option<u16>, &str, PathKind)> =
        old.routes.iter().map(|route| (route.port, route.path.as_str(), route.path_kind)).collect();
    assert_eq!(
        routes,
        [
            (Some(13341), "/snoop/", PathKind::Prefix),
            (Some(13341), "/hello", PathKind::Exact),
            (Some(13341), "*.jsp", PathKind::Extension),
            (Some(80), "/snoop/", PathKind::Prefix),
            (Some(80), "/hello", PathKind::Exact),
            (Some(80), "*.jsp", PathKind::Extension),
        ]
    );
    assert_eq!(old.ports_to_listen(), [80, 13341]);
    assert_eq!(old.targets()[0].host, "OLD.EXAMPLE");
    // ConnectTimeout 0 waits as long as the system does, and -1 connections is no bound.
    let member = &old.plain_views[0].members[0];
    assert_eq!((member.transport.connect_ms, member.requests_max), (Some(0), 0));
}

#[test]
fn a_template_whose_variables_nobody_has_filled_in_is_refused() {
    let text = r#"<Config><ServerCluster Name="A"><Server Name="${name}"><Transport Hostname="localhost" Port="${port}"/></Server>
        </ServerCluster></Config>"#;
    let document = read(text.as_bytes()).expect("it is XML");
    let problems: Vec<String> = document.problems.iter().map(Problem::to_string).collect();
    assert!(problems.len() == 1 && problems[0].contains("${port}"), "{problems:?}");
}

#[test]
fn intelligent_management_is_kept_and_the_clusters_beside_it_are_served() {
    check(
        &format!(
            r#"<Config><IntelligentManagement><Property name="webserverName" value="web"/>
            <ConnectorCluster enabled="true" maxRetries="-1" name="main" retryInterval="60"><Property name="uri" value="/x"/>
            <Connector host="controller.example" port="9080" protocol="http"/></ConnectorCluster></IntelligentManagement>
            <ServerCluster Name="main">{PAIR}</ServerCluster>
            <VirtualHostGroup Name="h"><VirtualHost Name="*:8080"/></VirtualHostGroup><UriGroup Name="u"><Uri Name="/*"/></UriGroup>
            <Route ServerCluster="main" UriGroup="u" VirtualHostGroup="h"/></Config>"#
        ),
        expect![[r#"
            *:8080 / Prefix -> main
            main RoundRobin: node_one clone="c-1" weight=20 http or https one.example
            listens at [8080]
        "#]],
    );
}

#[test]
fn cluster_address_has_the_times_and_bounds_of_a_server() {
    let (_, served) = served(
        r#"<Config><ServerCluster Name="A"><Server Name="a"><Transport Hostname="a.example" Port="80"/></Server>
        <ClusterAddress Name="front" ConnectTimeout="3" ServerIOTimeout="-4" wsServerIOTimeout="5" wsServerIdleTimeout="6"
            MaxConnections="7" ExtendedHandshake="true" WaitForContinue="true">
          <Transport Hostname="front.example" Port="80"/></ClusterAddress></ServerCluster></Config>"#,
    );
    let front = &served.plain_views[0].members[0];
    assert_eq!((front.name.0.as_str(), front.requests_max), ("front", 7));
    let expected = wire::view::Transport {
        connect_ms: Some(3_000),
        response_ms: Some(4_000),
        marks_silence: true,
        upgrade_ms: Some(5_000),
        tunnel_idle_ms: Some(6_000),
        asks_first: true,
        waits_for_continue: true,
        ..wire::view::Transport::default()
    };
    assert_eq!(front.transport, expected);
}
