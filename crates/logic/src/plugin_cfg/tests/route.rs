//! Which Route a request finds, and that `explain` and the router's own table agree about it.

use crate::plugin_cfg::explain::explain;
use crate::plugin_cfg::{Document, find_route, read, serve};
use crate::route::RouteTable;
use proptest::prelude::*;

const SAMPLE: &str = "<Config>
<VirtualHostGroup Name='any'><VirtualHost Name='*:*'/></VirtualHostGroup>
<VirtualHostGroup Name='port'><VirtualHost Name='*:80'/></VirtualHostGroup>
<VirtualHostGroup Name='shop'><VirtualHost Name='shop.example:80'/><VirtualHost Name='[2001:db8::1]:80'/></VirtualHostGroup>
<UriGroup Name='all'><Uri Name='/*'/></UriGroup>
<UriGroup Name='app'><Uri Name='/app/*'/><Uri Name='*.jsp'/></UriGroup>
<UriGroup Name='deep'><Uri Name='/app/deep/*'/><Uri Name='/app/exact'/></UriGroup>
<ServerCluster Name='a'><Server Name='a1' CloneID='1'><Transport Hostname='h' Port='1'/></Server><Server Name='a2' CloneID='2'><Transport Hostname='h' Port='2'/></Server></ServerCluster>
<ServerCluster Name='b'><Server Name='b1' CloneID='1'><Transport Hostname='h' Port='1'/></Server></ServerCluster>
<ServerCluster Name='c'><Server Name='c1'><Transport Hostname='h' Port='1'/></Server></ServerCluster>
<Route ServerCluster='a' UriGroup='app' VirtualHostGroup='any'/>
<Route ServerCluster='b' UriGroup='all' VirtualHostGroup='shop'/>
<Route ServerCluster='c' UriGroup='deep' VirtualHostGroup='any'/>
<Route ServerCluster='b' UriGroup='app' VirtualHostGroup='port'/>
<Route ServerCluster='a' UriGroup='app' VirtualHostGroup='port'/>
<Route ServerCluster='gone' UriGroup='all' VirtualHostGroup='any'/>
</Config>";

fn sample() -> Document {
    read(SAMPLE.as_bytes()).expect("right")
}

#[track_caller]
fn check(host: &str, port: u16, path: &str, expected: Option<(&str, u32)>) {
    let document = sample();
    let found = find_route(&document.config, host, port, path);
    let told = found.map(|found| (found.route.server_cluster.as_str(), found.route.place.line));
    assert_eq!(told, expected);
}

#[test]
fn the_host_then_the_uri_then_the_last_route_decide() {
    check("shop.example", 80, "/app/x", Some(("b", 12)));
    check("SHOP.example.", 80, "/app/exact", Some(("b", 12)));
    check("[2001:db8::1]", 80, "/", Some(("b", 12)));
    check("other", 80, "/app/x", Some(("a", 15)));
    check("other", 80, "/app", Some(("a", 15)));
    check("other", 80, "/application", None);
    check("other", 80, "/app/deep/x", Some(("a", 15)));
    check("other", 81, "/app/deep/x", Some(("c", 13)));
    check("other", 81, "/app/exact?q=/app", Some(("c", 13)));
    check("other", 81, "/app/exact;jsessionid=1", Some(("c", 13)));
    check("other", 81, "/x/y.jsp;jsessionid=1?q", Some(("a", 11)));
    check("other", 81, "/x/y.jsp/z", None);
}

#[test]
fn explain_says_the_way_and_keeps_sessions() {
    let explained = explain(&sample(), "http://other/app/x", Some("JSESSIONID=0000abc:2")).expect("a URL");
    assert_eq!(explained.cluster.as_deref(), Some("a"));
    assert_eq!((explained.server.as_deref(), explained.route_line), (Some("a2"), Some(15)));
    assert_eq!((explained.virtual_host.as_deref(), explained.uri.as_deref()), (Some("*:80"), Some("/app/*")));
    let explained = explain(&sample(), "https://other/app/x;jsessionid=abc:1", None).expect("a URL");
    assert_eq!((explained.server.as_deref(), explained.route_line), (Some("a1"), Some(11)));
    let explained = explain(&sample(), "http://other/app/x", None).expect("a URL");
    assert_eq!((explained.server, explained.candidates.len()), (None, 2));
    let explained = explain(&sample(), "http://other/nothing", None).expect("a URL");
    assert_eq!((explained.cluster, explained.candidates.len()), (None, 0));
    assert!(explain(&sample(), "ftp://x/", None).is_err());
}

#[test]
fn backups_wait_in_explanations_too() {
    let document = read(include_bytes!("shop.xml")).expect("right");
    let explained = explain(&document, "http://x:9080/a.jsp", None).expect("a URL");
    // The cluster has an address of its own, which takes all requests without a session.
    assert_eq!(explained.candidates, ["balancer"]);
    let explained = explain(&document, "http://x:9080/shop/x", Some("SHOPID=abc+c3")).expect("a URL");
    assert_eq!(explained.server.as_deref(), Some("three"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_router_finds_what_explain_tells(
        host in prop_oneof![Just("shop.example"), Just("other"), Just("[2001:db8::1]"), Just("Shop.Example")],
        port in prop_oneof![Just(80u16), Just(81)],
        path in "(/(app|deep|exact|x|a\\.jsp|b\\.jsp|application)){1,4}(;jsessionid=a:1)?(\\?q)?"
    ) {
        let document = sample();
        let found = find_route(&document.config, host, port, &path);
        let served = serve::plan(&document.config).expect("small");
        let table = RouteTable::new(&served.routes);
        let place = table.find(host.as_bytes(), port, path.as_bytes());
        let cluster = place.and_then(|place| served.routes[place].clusters().next().map(|name| name.0.clone()));
        prop_assert_eq!(cluster, found.map(|found| found.route.server_cluster.clone()));
    }
}
