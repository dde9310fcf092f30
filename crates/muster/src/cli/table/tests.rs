//! Tables as people see them.

use super::*;
use crate::console::testing::{sample_event, sample_status};
use expect_test::expect;
use wire::status::{NodeRefusal, OtherCellStatus};

#[test]
fn a_status_is_aligned() {
    let mut sample = sample_status();
    sample.clusters[0].operation = Some("restarting shop-2 (2 of 2)".into());
    expect![[r#"
        cell test  configuration 3, manager generation 7, muster 1.2.3

        NODE  AGENT      HEARD   HEARTBEATS  CLOCK  FROM  VERSION  RUNS  MEMBERS  UP
        one   connected  0s ago  -               -  -     -        -           2   1

        ROUTER  NODE  LISTENS AT      REQUESTS/S  CONNECTIONS  REQUESTS  RETRIED  FAILED  REFUSED
        front   one   127.0.0.1:8080         120           64      2001        2       1        3

        cluster shop  1 of 2 up, weighted round robin
          restarting shop-2 (2 of 2)
          MEMBER  STATE  FOR  WEIGHT  REQUESTS/S  IN FLIGHT  SESSIONS    P50   P99  ADDRESS         REASON
          shop-1  up      1m       2         120          3        17  1.2ms  20ms  127.0.0.1:9001  passes its probe: status 200
          shop-2  down    1m       2           0          0        17  1.2ms  20ms  -               exited with "status" 1 and said \o/

        MONITOR  NODE  STATE    FOR  KIND    TARGET               ANSWER  PROBES  FAILED  NEXT IN  REASON
        web      one   warning   1m  nagios  check_web -H "shop"  850 ms      20       3        -  slow�[31m
    "#]].assert_eq(&status(&sample, Paint::Plain));
}

#[test]
fn what_is_not_heard_is_told() {
    let mut sample = sample_status();
    sample.clusters.clear();
    (sample.nodes[0].connected, sample.routers[0].connected) = (false, false);
    expect![[r#"
        cell test  configuration 3, manager generation 7, muster 1.2.3

        NODE  AGENT          HEARD   HEARTBEATS  CLOCK  FROM  VERSION  RUNS  MEMBERS  UP
        one   not connected  0s ago  -               -  -     -        -           0   0

        ROUTER  NODE  LISTENS AT  REQUESTS/S  CONNECTIONS  REQUESTS  RETRIED  FAILED  REFUSED
        front   one   not heard          120           64      2001        2       1        3

        MONITOR  NODE  STATE    FOR  KIND    TARGET               ANSWER  PROBES  FAILED  NEXT IN  REASON
        web      one   warning   1m  nagios  check_web -H "shop"  850 ms      20       3        -  slow�[31m
    "#]]
    .assert_eq(&status(&sample, Paint::Plain));
}

#[test]
fn colours_do_not_move_columns() {
    let coloured = status(&sample_status(), Paint::Coloured);
    assert!(coloured.contains("\x1b[32mup\x1b[0m"), "{coloured}");
    let bare: String = strip(&coloured);
    assert_eq!(bare, status(&sample_status(), Paint::Plain));
}

/// Without the sequences that colour.
fn strip(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |bare, part| bare + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn nothing_steers_the_terminal() {
    let mut sample = sample_status();
    sample.cell = "\x1b[2Jgone".into();
    sample.clusters[0].members[0].reason = "a\x1b]0;title\x07\nsecond line\r".into();
    let text = status(&sample, Paint::Plain);
    assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
    assert_eq!(text.lines().count(), status(&sample_status(), Paint::Plain).lines().count());
}

#[test]
fn events_are_listed_oldest_first() {
    let mut second = sample_event(12, "shop-2 is down:\nexited");
    second.member = Some("shop-2".into());
    expect![[r#"
        AGO  ABOUT        WHAT HAPPENED
         1m  shop         shop-1 is up
         1m  shop/shop-2  shop-2 is down: exited
    "#]]
    .assert_eq(&events(&[sample_event(9, "shop-1 is up"), second], 1_700_000_065_009, Paint::Plain));
}

#[test]
fn what_does_not_fit_a_terminal_is_cut() {
    let text = "one two three\n\x1b[31mred\x1b[0m and more\nthird\nfourth";
    assert_eq!(fit(text, 5, 9), "one t\n\x1b[31mred\x1b[0m a\nthird\nfourt");
    assert_eq!(fit(text, 40, 2), "one two three\n... and more; a larger window shows it");
}

#[test]
fn numbers_are_short() {
    assert_eq!([0.0, 0.04, 9.9, 10.2, 1234.5].map(rate), ["0", "0.0", "9.9", "10", "1234"]);
    assert_eq!([0, 1, 1_250, 20_000, 1_500_000].map(latency), ["-", "0.0ms", "1.2ms", "20ms", "1.5s"]);
    let ages = [0, 59_999, 60_000, 3_720_000, 90_000_000];
    assert_eq!(ages.map(|age| duration(age, 0)), ["0s", "59s", "1m", "1h02m", "1d01h"]);
}

#[test]
fn what_is_old_refused_or_not_heard_stands_where_people_look() {
    let mut status = sample_status();
    let before = |ms: u64| status.now_ms - ms;
    let (stale, refused, heard) = (before(12_000), before(3_000), before(32_000));
    status.stale_since_ms = Some(stale);
    status.nodes[0].refused = Some(NodeRefusal {
        from: Some([10, 0, 0, 9].into()),
        at_ms: refused,
        reason: "another machine\nhas joined".into(),
    });
    status.other_cells = vec![
        OtherCellStatus {
            cell: "west".into(),
            standing: CellStanding::Silent,
            heard_ms: Some(heard),
            problem: Some("the connection was refused".into()),
            ..OtherCellStatus::default()
        },
        OtherCellStatus { cell: "north".into(), standing: CellStanding::Heard, ..OtherCellStatus::default() },
    ];
    let text = super::status(&status, Paint::Plain);
    for part in [
        "STALE: no manager leads; this is what was known 12s ago\n",
        "one: a machine at 10.0.0.9 was refused 3s ago: another machine has joined\n",
        "cell west not heard for 32s; what it told last is shown and counts for a while: the connection was refused\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("north"), "of a cell that is heard there is nothing to say");
}
