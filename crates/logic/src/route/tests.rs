//! Which route a host and a path find.

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn routes(lines: &[(&str, &str)]) -> Vec<RouteSettings> {
    let name = |index: usize| format!("c{index}").as_str().into();
    let route =
        |(index, (host, path)): (usize, &(&str, &str))| RouteSettings::to_cluster(host, path, name(index));
    lines.iter().enumerate().map(route).collect()
}

const SAMPLE: &[(&str, &str)] = &[
    ("*", "/"),
    ("shop.example", "/"),
    ("shop.example", "/cart"),
    ("shop.example", "/cart/pay/"),
    ("api.example", "/v1"),
    ("*", "/status"),
];

#[track_caller]
fn check(host: &str, path: &str, expected: Option<usize>) {
    assert_eq!(RouteTable::new(&routes(SAMPLE)).find(host.as_bytes(), 80, path.as_bytes()), expected);
}

#[test]
fn the_most_exact_host_and_then_the_longest_path_win() {
    check("shop.example", "/", Some(1));
    check("shop.example", "/cart", Some(2));
    check("shop.example", "/cart/pay", Some(3));
    check("shop.example", "/cart/pay/now", Some(3));
    check("SHOP.Example.", "/cart/payment", Some(2));
    check("other", "/status/x", Some(5));
}

#[test]
fn where_no_path_of_the_host_fits_any_host_is_asked() {
    check("api.example", "/v1/x", Some(4));
    check("api.example", "/v2", Some(0));
    check("api.example", "/status", Some(5));
}

#[test]
fn paths_match_whole_segments_as_they_were_sent() {
    check("shop.example", "/carts", Some(1));
    check("shop.example", "/cart;jsessionid=1:c1", Some(2));
    check("shop.example", "/cart?x=1", Some(2));
    check("shop.example", "/cart%2Fpay", Some(1));
    check("shop.example", "/CART", Some(1));
    check("shop.example", "*", Some(1));
}

#[test]
fn without_a_fitting_route_there_is_none() {
    let table = RouteTable::new(&routes(&[("a.example", "/x")]));
    assert_eq!(table.find(b"b.example", 80, b"/x"), None);
    assert_eq!(table.find(b"a.example", 80, b"/y"), None);
    assert_eq!(table.find(b"a.example", 80, b"*"), None);
    assert_eq!(RouteTable::new(&[]).find(b"a", 80, b"/"), None);
}

#[test]
fn of_two_equal_routes_the_last_one_wins() {
    assert_eq!(RouteTable::new(&routes(&[("a", "/x"), ("A", "/x/")])).find(b"a", 80, b"/x"), Some(1));
}

#[test]
fn explanations_follow_the_decisions() {
    #[track_caller]
    fn check(host: &str, path: &str, expected: Expect) {
        let settings = routes(SAMPLE);
        let why = RouteTable::new(&settings).explain(&settings, host.as_bytes(), 80, path.as_bytes());
        expected.assert_eq(&why.join("\n"));
    }
    check(
        "shop.example",
        "/cart/1",
        expect![[r#"
        The host shop.example has 3 routes of its own.
        /cart is the longest path of that host that fits, of 3: cluster c2."#]],
    );
    check(
        "api.example",
        "/status",
        expect![[r#"
        The host api.example has 1 route of its own.
        None of the 1 paths of that host fits.
        /status is the longest path of any host (*) that fits, of 2: cluster c5."#]],
    );
    check(
        "nobody",
        "?",
        expect![[r#"
        No route names the host nobody; routes of any host (*) are asked.
        / is the longest path of any host (*) that fits, of 2: cluster c0."#]],
    );
}

proptest! {
    #[test]
    fn agrees_with_trying_every_route(
        lines in prop::collection::vec(("[ab*]", "(/[ab]{0,2}){1,3}"), 0..12),
        host in "[abcAB]",
        path in "(/[ab]{0,2}){1,4}[?;]?",
    ) {
        let lines: Vec<(&str, &str)> = lines.iter().map(|(host, path)| (host.as_str(), path.as_str())).collect();
        let settings = routes(&lines);
        let fits = |route: &RouteSettings| {
            let route_path = route.path.trim_end_matches('/');
            let bare = path.split(['?', ';']).next().expect("split gives at least one part");
            bare == route_path || bare.starts_with(&format!("{route_path}/"))
                || (route_path.is_empty() && bare.is_empty())
        };
        let best = settings
            .iter()
            .enumerate()
            .filter(|(_, route)| fits(route) && (route.host == "*" || route.host.eq_ignore_ascii_case(&host)))
            .max_by_key(|(index, route)| (route.host != "*", route.path.trim_end_matches('/').len(), *index))
            .map(|(index, _)| index);
        prop_assert_eq!(RouteTable::new(&settings).find(host.as_bytes(), 80, path.as_bytes()), best);
    }
}

/// `host path` or `host:port path`, as in plugin-cfg.xml: `/x` exact, `/x/*` prefix, `/x*` beginning, `*.e` extension.
fn plugin_routes(lines: &[String]) -> Vec<RouteSettings> {
    let route = |line: &String| {
        let (host, uri) = line.split_once(' ').expect("two words");
        let (host, port) = host
            .split_once(':')
            .map_or((host, None), |(host, port)| (host, Some(port.parse().expect("a port"))));
        let (path, path_kind) = kind_of(uri);
        RouteSettings { host: host.into(), port, path: path.into(), path_kind, ..RouteSettings::default() }
    };
    lines.iter().map(route).collect()
}

fn kind_of(uri: &str) -> (&str, PathKind) {
    match uri {
        _ if uri.contains('*') && !uri.ends_with('*') => (uri, PathKind::Extension),
        _ if uri.ends_with("/*") => (&uri[..uri.len() - 1], PathKind::Prefix),
        _ if uri.ends_with('*') => (&uri[..uri.len() - 1], PathKind::Start),
        _ => (uri, PathKind::Exact),
    }
}

/// Whether the pattern fits, and how well: the slow and obvious way.
fn rank(uri: &str, path: &str) -> Option<(u8, usize, u8)> {
    let bare = path.split(['?', ';']).next().expect("split gives at least one part");
    let last = bare.rsplit('/').next().expect("split gives at least one part");
    let (text, kind) = kind_of(uri);
    match kind {
        PathKind::Exact => (bare == text).then_some((2, 0, 0)),
        PathKind::Prefix => {
            let text = text.trim_end_matches('/');
            (bare == text || bare.starts_with(&format!("{text}/"))).then_some((1, text.len(), 1))
        }
        PathKind::Start => path.starts_with(text).then_some((1, text.len(), 0)),
        PathKind::Extension => {
            let (folder, extension) = text.split_once('*').expect("a pattern with a star");
            let folder = folder.trim_end_matches('/');
            let fits = last.ends_with(extension) && bare.starts_with(&format!("{folder}/"));
            fits.then_some(if folder.is_empty() {
                (0, extension.len(), 0)
            } else {
                (1, folder.len(), 1 + extension.len() as u8)
            })
        }
    }
}

#[track_caller]
fn check_plugin(lines: &[&str], host: &str, port: u16, path: &str, expected: Option<usize>) {
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let found = RouteTable::new(&plugin_routes(&lines)).find(host.as_bytes(), port, path.as_bytes());
    assert_eq!(found, expected, "{host}:{port}{path}");
}

#[test]
fn a_named_port_beats_any_and_a_named_host_beats_both() {
    let lines = ["* /*", "*:81 /*", "a /*", "a:81 /x/*"];
    check_plugin(&lines, "b", 80, "/x", Some(0));
    check_plugin(&lines, "b", 81, "/x", Some(1));
    check_plugin(&lines, "a", 80, "/x", Some(2));
    check_plugin(&lines, "a", 81, "/x", Some(3));
    check_plugin(&lines, "a", 81, "/y", Some(2));
}

#[test]
fn exact_then_longest_then_extension() {
    let lines = ["* *.jsp", "* /shop/*", "* /shop/cart", "* /shop/*.jsp", "* /sho*"];
    check_plugin(&lines, "a", 80, "/x/y.jsp", Some(0));
    check_plugin(&lines, "a", 80, "/x/y.jsp;jsessionid=1:c", Some(0));
    check_plugin(&lines, "a", 80, "/x/y.jspx", None);
    check_plugin(&lines, "a", 80, "/x.jsp/y", None);
    check_plugin(&lines, "a", 80, "/shop/cart", Some(2));
    check_plugin(&lines, "a", 80, "/shop/cart;jsessionid=1:c", Some(2));
    check_plugin(&lines, "a", 80, "/shop/cart/", Some(1));
    check_plugin(&lines, "a", 80, "/shop/x.jsp", Some(3));
    check_plugin(&lines, "a", 80, "/shopping", Some(4));
    check_plugin(&lines, "a", 80, "/shop", Some(1));
}

/// What a request costs must not grow with the table: few places are looked at, however many routes there are.
#[test]
fn a_search_is_short_among_ten_thousand_routes() {
    let lines: Vec<String> = (0..10_000).map(|n| format!("host{}:80 /app{n}/*", n % 100)).collect();
    let table = RouteTable::new(&plugin_routes(&lines));
    assert_eq!(table.find(b"host42", 80, b"/app9942/x/y"), Some(9942));
    assert_eq!(table.find(b"host42", 80, b"/app9943/x/y"), None);
    assert!(table.entry_slots.longest_run() <= 32, "{} in a row", table.entry_slots.longest_run());
    assert!(table.host_slots.longest_run() <= 32, "{} in a row", table.host_slots.longest_run());
}

proptest! {
    #[test]
    fn agrees_with_trying_every_pattern(
        lines in prop::collection::vec("[ab*](:8[01])? ((/[ab]{0,2}){1,2}|(/[ab]{0,2}){0,2}/\\*|/[ab]{1,2}\\*|(/[ab])?/\\*\\.?[ef]{1,2}|\\*\\.?[ef])", 0..12),
        host in "[abc]",
        port in 79..82_u16,
        path in "(/[ab]{0,2}){1,3}(\\.?[ef]{1,3})?(;[ab])?",
    ) {
        let settings = plugin_routes(&lines);
        let best = lines
            .iter()
            .enumerate()
            .filter_map(|(index, line)| {
                let (place, uri) = line.split_once(' ').expect("two words");
                let route = &settings[index];
                let fits = (route.host == "*" || route.host == host) && route.port.is_none_or(|own| own == port);
                let rank = rank(uri, &path).filter(|_| fits)?;
                Some(((!place.starts_with('*'), place.contains(':'), rank, index), index))
            })
            .max()
            .map(|(_, index)| index);
        prop_assert_eq!(RouteTable::new(&settings).find(host.as_bytes(), port, path.as_bytes()), best);
    }
}
