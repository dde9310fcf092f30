//! Where requests go, told in full.

use super::*;
use expect_test::{Expect, expect};
use wire::id::Epoch;
use wire::router::{Limits, RetrySettings, Timeouts};
use wire::settings::{AccessLog, Listener, RouteSettings};
use wire::view::{Affinity, MemberView, Policy, RunState};

fn router(name: &str, port: u16, routes: &[(&str, &str, &str)]) -> RouterPlace {
    let routes =
        routes.iter().map(|(host, path, cluster)| RouteSettings::to_cluster(host, path, (*cluster).into()));
    RouterPlace {
        name: name.into(),
        node: "a".into(),
        listeners: vec![Listener::plain(([0, 0, 0, 0], port).into())],
        zone: String::new(),
        threads: 1,
        routes: routes.collect(),
        timeouts: Timeouts {
            connect_ms: 1,
            head_ms: 1,
            body_ms: 1,
            idle_ms: 1,
            response_ms: 1,
            request_ms: 1,
            tunnel_idle_ms: 1,
            pool_idle_ms: 1,
        },
        limits: Limits {
            head_size_max_bytes: 1,
            header_count_max: 1,
            body_size_max_bytes: 1,
            connections_max: 1,
            pool_size_max: 1,
        },
        retry: RetrySettings {
            attempts_max: 1,
            budget_percent: 1,
            budget_floor_per_second: 1,
            replay_max_bytes: 1,
        },
        access_log: AccessLog::default(),
        trace: None,
        trusted_proxies: Vec::new(),
        clients: Vec::new(),
        advertise: String::new(),
        plugin_cfg: None,
        gateway: None,
    }
}

fn view() -> View {
    let member = |name: &str, state| MemberView {
        name: name.into(),
        clone_id: format!("{name}-id"),
        address: Some(([127, 0, 0, 1], 8080).into()),
        state,
        weight: 1,
        is_lost: false,
        reason: "told by a test".into(),
        ..MemberView::default()
    };
    View {
        cluster: "shop".into(),
        epoch: Epoch { generation: 1, number: 1 },
        policy: Policy::RoundRobin,
        affinity: Some(Affinity {
            cookie: "JSESSIONID".into(),
            url_identifier: "jsessionid".into(),
            separator: ':',
            lowers_weight: false,
            ..Affinity::default()
        }),
        members: vec![member("s1", RunState::Up), member("s2", RunState::Up), member("s3", RunState::Down)],
        ..View::default()
    }
}

fn check(url: &str, cookie: Option<&str>, expected: Expect) {
    let routers = [
        router("edge", 80, &[("*", "/", "other"), ("shop.example", "/", "shop")]),
        router("inner", 8080, &[("*", "/shop", "shop")]),
    ];
    let text = match explain(url, cookie, &routers, [view()].iter()) {
        Ok(it) => format!(
            "route {:?} cluster {:?} member {:?} candidates {:?}\n{}\n",
            it.route.as_deref().unwrap_or("-"),
            it.cluster.as_ref().map_or("-", |it| it.0.as_str()),
            it.member.as_ref().map_or("-", |it| it.0.as_str()),
            it.candidates.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(),
            it.why.join("\n")
        ),
        Err(error) => format!("refused: {error}\n"),
    };
    expected.assert_eq(&text);
}

#[test]
fn new_client_goes_where_rotation_says() {
    check(
        "http://shop.example/cart?x=1",
        None,
        expect![[r#"
        route "shop.example/" cluster "shop" member "-" candidates ["s1", "s2"]
        Router edge listens on that port.
        The host shop.example has 1 route of its own.
        / is the longest path of that host that fits, of 1: cluster shop.
        The request belongs to no session.
        Weighted round robin decides among s1 (1 in turn), s2 (1 in turn).
    "#]],
    );
}

#[test]
fn session_goes_to_its_member() {
    check(
        "shop.example/cart",
        Some("a=b; JSESSIONID=0000abc:s2-id"),
        expect![[r#"
        route "shop.example/" cluster "shop" member "s2" candidates ["s2"]
        Router edge listens on that port.
        The host shop.example has 1 route of its own.
        / is the longest path of that host that fits, of 1: cluster shop.
        The session belongs to s2 by its clone id s2-id; it is up, so the request goes there.
    "#]],
    );
    check(
        "shop.example/cart;jsessionid=0000abc:s3-id",
        None,
        expect![[r#"
            route "shop.example/" cluster "shop" member "s2" candidates ["s2"]
            Router edge listens on that port.
            The host shop.example has 1 route of its own.
            / is the longest path of that host that fits, of 1: cluster shop.
            The session belongs to s3, which is down (told by a test).
            The session's number chooses s2, in every router alike.
        "#]],
    );
}

#[test]
fn port_chooses_the_router() {
    check(
        "http://anything:8080/shop",
        None,
        expect![[r#"
        route "*/shop" cluster "shop" member "-" candidates ["s1", "s2"]
        Router inner listens on that port.
        No route names the host anything; routes of any host (*) are asked.
        /shop is the longest path of any host (*) that fits, of 1: cluster shop.
        The request belongs to no session.
        Weighted round robin decides among s1 (1 in turn), s2 (1 in turn).
    "#]],
    );
    check(
        "http://anything:8080/nothing",
        None,
        expect![[r#"
        route "-" cluster "-" member "-" candidates []
        Router inner listens on that port.
        No route names the host anything; routes of any host (*) are asked.
        None of the 1 paths of any host (*) fits.
        No route: the router answers 404.
    "#]],
    );
    check(
        "/unheard-of",
        None,
        expect![[r#"
            route "*/" cluster "other" member "-" candidates []
            Router edge listens on that port.
            The request names no host: routes of any host (*) are asked.
            / is the longest path of any host (*) that fits, of 1: cluster other.
            Nothing is known of cluster other yet; the router answers 503.
        "#]],
    );
}

#[test]
fn what_is_no_url_is_refused() {
    for (url, reason) in [
        ("", "\"\" is not a URL: it is empty or has blanks in it"),
        ("a b", "\"a b\" is not a URL: it is empty or has blanks in it"),
        ("ftp://x/", "\"ftp://x/\" has the scheme ftp; routers know http and https"),
        ("http://x:99999/", "\"x:99999\" is not a host and port"),
        ("http:///path", "\"http:///path\" names no host"),
    ] {
        assert_eq!(explain(url, None, &[], std::iter::empty()), Err(reason.to_owned()));
    }
    assert_eq!(parse("http://[::1]:80/x").map(|it| (it.host, it.port)), Ok(("[::1]", Some(80))));
    assert_eq!(parse("https://x/").map(|it| it.port), Ok(Some(443)));
    assert_eq!(parse("https://x:8443/").map(|it| it.port), Ok(Some(8443)));
    assert_eq!(parse("http://[::1]?q").map(|it| (it.host, it.path)), Ok(("[::1]", "/")));
}
