//! What `muster top` shows, and in which order.

use super::*;
use crate::console::testing::{sample_member, sample_status};
use expect_test::expect;
use wire::view::RunState;

fn status() -> CellStatus {
    let mut status = sample_status();
    let mut slow = sample_member("shop-3", RunState::Up, "passes\u{1b}[31m its probe");
    (slow.latency_p99_us, slow.requests_per_second, slow.failed) = (3_000_000, 7.25, 0);
    status.clusters[0].members.push(slow);
    status
}

fn first_member(look: Look) -> String {
    let text = picture(&status(), look, Paint::Plain);
    let members = text.split_once("CLUSTER").expect("a table of members").1;
    members.lines().nth(1).and_then(|line| line.split_whitespace().nth(1)).expect("a member").to_owned()
}

#[test]
fn one_picture_has_routers_routes_and_members_and_steers_no_terminal() {
    let look = Look { sort: Sort::Rate, is_turned: false };
    expect![[r#"
        cell test  120 requests/s  sorted by rate

        ROUTER  STATE  REQUESTS/S  CONNECTIONS  RETRIED  FAILED  REFUSED
        front   up            120           64        2       1        3

        ROUTE  ROUTER  REQUESTS/S  IN FLIGHT  2XX  3XX  4XX  5XX   MEAN  LEADS TO
        */     front          120          2    1    0    1    0  10.0s  shop

        CLUSTER  MEMBER  STATE  FOR  REQUESTS/S  IN FLIGHT  SESSIONS    P50   P99  FAILED  REASON
        shop     shop-1  up      1m         120          3        17  1.2ms  20ms       1  passes its probe: status 200
        shop     shop-3  up      1m         7.2          3        17  1.2ms  3.0s       0  passes�[31m its probe
        shop     shop-2  down    1m           0          0        17  1.2ms  20ms       1  exited with "status" 1 and said \o/
    "#]].assert_eq(&picture(&status(), look, Paint::Plain));
}

#[test]
fn keys_sort_and_turn_round() {
    let look = Look { sort: Sort::Rate, is_turned: false };
    assert_eq!(first_member(look), "shop-1");
    assert_eq!(first_member(look.after(b'l')), "shop-3");
    assert_eq!(first_member(look.after(b'n')), "shop-1");
    assert_eq!(first_member(look.after(b'n').after(b'o')), "shop-3");
    assert_eq!(first_member(look.after(b'o')), "shop-2");
    assert_eq!(first_member(look.after(b'e').after(b'x')), "shop-1");
}

#[test]
fn a_snapshot_for_programs_is_sorted_too() {
    let mut status = status();
    sort_status(&mut status, Look { sort: Sort::Latency, is_turned: false });
    assert_eq!(status.clusters[0].members[0].member.0, "shop-3");
}
