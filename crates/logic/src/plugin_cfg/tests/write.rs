//! Files made of a cell: right by our own judgement, with everything that is configured, and weights that stay.

use crate::plugin_cfg::check::{Severity, check};
use crate::plugin_cfg::graph::Graph;
use crate::plugin_cfg::weights::spread;
use crate::plugin_cfg::write::{Written, of_cell, of_routers};
use crate::plugin_cfg::{Document, read};
use proptest::prelude::*;
use wire::router::{Limits, RetrySettings, Timeouts};
use wire::settings::{
    AccessLog, AccessLogFormat, Listener, ListenerTls, PathKind, PluginCfgScope, RouteAnswer, RouteSettings,
    RouterPlace, Spread,
};
use wire::view::{Affinity, AffinityKind, MemberView, RunState, View};

fn router(name: &str, node: &str, listen: &str, routes: Vec<RouteSettings>) -> RouterPlace {
    RouterPlace {
        name: name.into(),
        node: node.into(),
        listeners: vec![Listener::plain(listen.parse().expect("an address"))],
        zone: String::new(),
        threads: 1,
        routes,
        timeouts: Timeouts {
            connect_ms: 5_000,
            head_ms: 1,
            body_ms: 1,
            idle_ms: 1,
            response_ms: 60_000,
            request_ms: 0,
            tunnel_idle_ms: 1,
            pool_idle_ms: 1,
        },
        limits: Limits {
            head_size_max_bytes: 1,
            header_count_max: 1,
            body_size_max_bytes: 0,
            connections_max: 1,
            pool_size_max: 1,
        },
        retry: RetrySettings {
            attempts_max: 0,
            budget_percent: 0,
            budget_floor_per_second: 0,
            replay_max_bytes: 0,
        },
        access_log: AccessLog { format: AccessLogFormat::Off, path: String::new(), pattern: String::new() },
        trace: None,
        trusted_proxies: Vec::new(),
        clients: Vec::new(),
        advertise: String::new(),
        plugin_cfg: None,
        gateway: None,
    }
}

fn member(name: &str, port: u16, state: RunState) -> MemberView {
    MemberView {
        name: name.into(),
        clone_id: format!("{name}-id"),
        address: Some(([10, 0, 0, 1], port).into()),
        state,
        weight: 2,
        ..MemberView::default()
    }
}

fn view(name: &str, members: Vec<MemberView>) -> View {
    let affinity = Affinity {
        kind: AffinityKind::CloneId,
        cookie: "SHOPID".into(),
        url_identifier: "shopid".into(),
        separator: '+',
        ..Affinity::default()
    };
    View { cluster: name.into(), members, affinity: Some(affinity), ..View::default() }
}

#[track_caller]
fn right(written: &Written) -> Document {
    let text = written.file.write();
    let document = read(text.as_bytes()).expect("written by us");
    let findings = check(&document);
    assert_eq!(findings.count(Severity::Error), 0, "{findings:#?}\n{text}");
    document
}

fn graph(document: &Document) -> Vec<String> {
    let servers = Graph::of(&document.config).expect("small").servers(&document.config);
    let told = servers.iter().map(|(pair, servers)| {
        let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
        format!("{} {}: {}", pair.host, pair.uri, servers.join(" "))
    });
    told.collect()
}

#[test]
fn members_of_all_states_are_servers_with_their_weights() {
    let routes = vec![
        RouteSettings::to_cluster("*", "/shop", "shop".into()),
        RouteSettings {
            path_kind: PathKind::Exact,
            port: Some(81),
            ..RouteSettings::to_cluster("h", "/x", "shop".into())
        },
        RouteSettings {
            path_kind: PathKind::Extension,
            ..RouteSettings::to_cluster("*", ".jsp", "shop".into())
        },
    ];
    let members = vec![
        member("m1", 1, RunState::Up),
        member("m2", 2, RunState::Down),
        member("m3", 3, RunState::Draining),
        MemberView { is_backup: true, ..member("m4", 4, RunState::Up) },
        MemberView { address: None, ..member("m5", 5, RunState::Starting) },
    ];
    let view = view("shop", members);
    let written = of_cell("cell", &[router("r", "n", "0.0.0.0:80", routes)], None, &[&view]).expect("right");
    let document = right(&written);
    assert_eq!(
        graph(&document),
        [
            "*:* *.jsp: m1-id m2-id m3-id m4-id",
            "*:* /shop/*: m1-id m2-id m3-id m4-id",
            "*:* /shop: m1-id m2-id m3-id m4-id",
            "h:81 /x: m1-id m2-id m3-id m4-id",
        ]
    );
    let cluster = &document.config.clusters[0];
    let weights: Vec<u32> = cluster.servers.iter().map(|server| server.weight()).collect();
    assert_eq!(weights, [20, 20, 0, 19]);
    assert_eq!(cluster.backups().len(), 1);
    assert_eq!(cluster.clone_separator(), '+');
    assert_eq!(document.config.uri_groups[0].uris[0].affinity_cookie, "SHOPID");
    assert_eq!(written.notes, ["shop/m5 has no address yet and is left out."]);
    let text = written.file.write();
    assert!(text.contains("<!-- m2: down -->") && text.contains("<!-- from router r -->"), "{text}");
}

#[test]
fn what_the_format_cannot_say_is_noted() {
    let mut own = view("own", vec![member("m", 1, RunState::Up)]);
    own.affinity.as_mut().expect("there").kind = AffinityKind::Own;
    let answer = RouteAnswer::Redirect { status: 302, location: "/".into() };
    let mut redirect = RouteSettings::to_cluster("*", "/old", "own".into());
    redirect.actions.answer = Some(answer);
    let levels = RouteSettings {
        levels: vec![vec!["own".into()], vec!["shop".into()]],
        spread: Spread::StrictBackup,
        ..RouteSettings::to_cluster("*", "/", "own".into())
    };
    let shop = view("shop", vec![member("s", 2, RunState::Up)]);
    let routers = [router("r", "n", "0.0.0.0:80", vec![redirect, levels])];
    let written = of_cell("cell", &routers, None, &[&own, &shop]).expect("right");
    assert_eq!(written.notes.len(), 3, "{:?}", written.notes);
    let document = right(&written);
    assert_eq!(document.config.clusters[0].name, "own_and_shop");
    assert_eq!(document.config.clusters[0].backups()[0].name, "shop_s");
    assert!(document.config.clusters[0].servers[0].clone_id.is_none());
    let missing = of_cell("cell", &routers, Some(&"gone".into()), &[]).expect_err("there is none");
    assert_eq!(missing, "There is no router gone.");
}

#[test]
fn the_last_of_equal_routes_counts() {
    let routes = ["a", "b"].map(|name| RouteSettings::to_cluster("*", "/", name.into())).to_vec();
    let views = ["a", "b"].map(|name| view(name, vec![member(name, 1, RunState::Up)]));
    let written = of_cell("cell", &[router("r", "n", "0.0.0.0:80", routes)], None, &[&views[0], &views[1]]);
    assert_eq!(graph(&right(&written.expect("right"))), ["*:* /*: b-id"]);
}

/// Ends in no reasonable time where each route looks through those before it.
#[test]
fn tens_of_thousands_of_routes_to_as_many_clusters_are_written() {
    const COUNT: usize = 30_000;
    let names: Vec<String> = (0..COUNT).map(|number| format!("c{number}")).collect();
    let route = |name: &String| RouteSettings::to_cluster("*", &format!("/{name}"), name.as_str().into());
    let views: Vec<View> = names.iter().map(|name| view(name, vec![member(name, 1, RunState::Up)])).collect();
    let views: Vec<&View> = views.iter().collect();
    // Each route twice, and of equal ones the last counts.
    let routes = names.iter().chain(&names).map(route).collect();
    let written = of_cell("cell", &[router("r", "n", "0.0.0.0:80", routes)], None, &views).expect("right");
    let count = |tag: &str| written.file.root.all(tag).count();
    assert_eq!((count("ServerCluster"), count("Route")), (COUNT, COUNT));
    assert_eq!(written.notes, Vec::<String>::new());
}

#[test]
fn all_configured_routers_of_the_scope_are_listed() {
    let shop = || vec![RouteSettings::to_cluster("*", "/shop", "shop".into())];
    let mut both = shop();
    both.push(RouteSettings::to_cluster("*", "/more", "shop".into()));
    let mut a = router("a", "n1", "10.0.0.1:80", shop());
    let secure = Listener {
        tls: Some(ListenerTls::default()),
        ..Listener::plain("[::]:443".parse().expect("an address"))
    };
    a.listeners.push(secure);
    a.advertise = "a.example".into();
    let b = router("b", "n1", "0.0.0.0:80", shop());
    let c = router("c", "n2", "[2001:db8::3]:80", both);
    let routers = [(&a, true), (&b, false), (&c, true)];
    let names = |scope| {
        let written = of_routers("cell", &routers, &b, scope)?;
        let document = right(&written);
        let mut names: Vec<String> = document
            .config
            .clusters
            .iter()
            .flat_map(|one| &one.servers)
            .map(|server| server.name.clone())
            .collect();
        names.sort();
        names.dedup();
        Some(names.join(" "))
    };
    assert_eq!(names(PluginCfgScope::None), None);
    assert_eq!(names(PluginCfgScope::All).as_deref(), Some("a b c"));
    assert_eq!(names(PluginCfgScope::Cell).as_deref(), Some("a b c"));
    assert_eq!(names(PluginCfgScope::Node).as_deref(), Some("a b"));
    assert_eq!(names(PluginCfgScope::Server).as_deref(), Some("b"));
    let written = of_routers("cell", &routers, &b, PluginCfgScope::Cell).expect("in scope");
    let document = right(&written);
    assert_eq!(
        graph(&document),
        [
            "*:* /more/*: http://[2001:db8::3]:80",
            "*:* /shop/*: http://[2001:db8::3]:80 http://a.example:80 http://n1:80",
            "*:* /more: http://[2001:db8::3]:80",
            "*:* /shop: http://[2001:db8::3]:80 http://a.example:80 http://n1:80",
        ]
    );
    let text = written.file.write();
    assert!(
        text.contains("<!-- router b on node n1: away -->")
            && text.contains("Hostname=\"a.example\" Port=\"443\" Protocol=\"https\""),
        "{text}"
    );
    let weights: Vec<u32> =
        document.config.clusters[0].servers.iter().map(|server| server.weight()).collect();
    assert_eq!(weights, [20, 20, 19]);
}

#[test]
fn equal_weights_differ_by_one_and_others_stay_in_proportion() {
    assert_eq!(spread(&[2, 2, 2]), [20, 20, 19]);
    assert_eq!(spread(&[1]), [20]);
    assert_eq!(spread(&[0, 0]), [0, 0]);
    assert_eq!(spread(&[0, 5]), [0, 20]);
    assert_eq!(spread(&[1000, 999]), [1000, 999]);
    assert_eq!(spread(&[3, 2]), [19, 14]);
    assert_eq!(spread(&[]), [0; 0]);
}

proptest! {
    #[test]
    fn written_weights_have_no_common_factor_and_hardly_change(weights in prop::collection::vec(0u32..1001, 2..12)) {
        let written = spread(&weights);
        prop_assert_eq!(written.len(), weights.len());
        let above: Vec<u32> = written.iter().copied().filter(|weight| *weight > 0).collect();
        let factor = above.iter().fold(0u32, |left, right| {
            let (mut left, mut right) = (left, *right);
            while right != 0 { (left, right) = (right, left % right); }
            left
        });
        prop_assert!(above.len() < 2 || factor == 1, "{:?}", written);
        let largest = *weights.iter().max().expect("some");
        for (before, after) in weights.iter().zip(&written) {
            prop_assert_eq!(*before == 0, *after == 0);
            let wanted = f64::from(*before) / f64::from(largest.max(1));
            let got = f64::from(*after) / f64::from(*written.iter().max().expect("some")).max(1.0);
            prop_assert!((wanted - got).abs() < 0.11, "{} {}", wanted, got);
        }
    }
}
