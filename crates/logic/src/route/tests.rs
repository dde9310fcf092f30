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
    assert_eq!(RouteTable::new(&routes(SAMPLE)).find(host.as_bytes(), path.as_bytes()), expected);
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
    assert_eq!(table.find(b"b.example", b"/x"), None);
    assert_eq!(table.find(b"a.example", b"/y"), None);
    assert_eq!(table.find(b"a.example", b"*"), None);
    assert_eq!(RouteTable::new(&[]).find(b"a", b"/"), None);
}

#[test]
fn of_two_equal_routes_the_last_one_wins() {
    assert_eq!(RouteTable::new(&routes(&[("a", "/x"), ("A", "/x/")])).find(b"a", b"/x"), Some(1));
}

#[test]
fn explanations_follow_the_decisions() {
    #[track_caller]
    fn check(host: &str, path: &str, expected: Expect) {
        let settings = routes(SAMPLE);
        let why = RouteTable::new(&settings).explain(&settings, host.as_bytes(), path.as_bytes());
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
        The host api.example has 1 routes of its own.
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
        prop_assert_eq!(RouteTable::new(&settings).find(host.as_bytes(), path.as_bytes()), best);
    }
}
