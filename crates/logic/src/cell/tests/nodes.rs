//! Stories of machines that are lost, come back, start anew, or are only half there.

use super::story::{Story, check};
use crate::heartbeat::{Doubted, Reach};
use expect_test::{Expect, expect};
use wire::id::NodeNumber;

/// Two machines; `x` runs elsewhere and is probed by the agent of b, and so is `s2`, which b's agent runs.
const TWO: &str = "
    0 configure shop=s1@a,s2@b,s3@b,x@b!
    0 agent a
    0 agent b
    0 router edge
    100 report a s1=up
    100 report b s2=up s3=up x=up
    110 beats a
    110 beats b
";

/// `TWO` and what it says, then `story` alone.
fn check_two(story: &str, expected: Expect) {
    let mut told = Story::default();
    told.tell(TWO);
    told.forget();
    told.tell(story);
    told.compare(&expected);
}

#[test]
fn members_of_a_lost_machine_leave_in_one_epoch_and_come_back_in_one() {
    check_two(
        "
        2000 reach b=away
        10000 lost b
        20000 agent b
        20050 reach b=there
        20100 report b s2=starting s3=starting x=up
        ",
        expect![[r#"
            2000 event error node-unreachable: node b cannot be reached, no heartbeat for 0.9 s: requests go around
            2000 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
            2000 event warning member-down: shop/s3 is down: its node cannot be reached: its heartbeats have stopped
            2000 view shop 7.2: s1 up, s2 down!, s3 down!, x up
            10000 event warning node-lost: the agent of node b is not connected
            20000 event info node-connected: the agent of node b is connected
            20000 assign b: s2 running 1, s3 running 1, x running 1
            20050 event info node-reachable: node b can be reached
            20050 event info member-up: shop/s2 is up: passes its probe
            20050 event info member-up: shop/s3 is up: passes its probe
            20050 view shop 7.3: s1 up, s2 up, s3 up, x up
            20100 event info member-starting: shop/s2 is starting: has not passed its probe yet
            20100 event info member-starting: shop/s3 is starting: has not passed its probe yet
            20100 view shop 7.4: s1 up, s2 starting, s3 starting, x up
        "#]],
    );
}

#[test]
fn members_of_a_machine_that_only_other_machines_hear_stay_in_use() {
    check_two(
        "
        2000 reach b=nearby-by-a
        10000 lost b
        12000 reach b=away
        20000 agent b
        20050 reach b=there
        ",
        expect![[r#"
            2000 event warning node-degraded: no manager hears node b, but questions that node a carried there were answered: something is wrong with the network in between. Members there are used; groups are not run there, for nobody grants a lease
            10000 event warning node-lost: the agent of node b is not connected; its members keep their last state
            12000 event error node-unreachable: node b cannot be reached, no heartbeat for 0.9 s: requests go around
            12000 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
            12000 event warning member-down: shop/s3 is down: its node cannot be reached: its heartbeats have stopped
            12000 view shop 7.2: s1 up, s2 down!, s3 down!, x up
            20000 event info node-connected: the agent of node b is connected
            20000 assign b: s2 running 1, s3 running 1, x running 1
            20050 event info node-reachable: node b can be reached
            20050 event info member-up: shop/s2 is up: passes its probe
            20050 event info member-up: shop/s3 is up: passes its probe
            20050 view shop 7.3: s1 up, s2 up, s3 up, x up
        "#]],
    );
}

#[test]
fn members_of_a_machine_that_was_removed_stay_out_until_another_has_joined() {
    check_two(
        "
        2000 reach b=away
        3000 removed b
        3010 lost b
        3020 reach b=there
        9000 stop shop/s3
        20000 agent b
        20100 report b s2=up s3=up x=up
        ",
        expect![[r#"
            2000 event error node-unreachable: node b cannot be reached, no heartbeat for 0.9 s: requests go around
            2000 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
            2000 event warning member-down: shop/s3 is down: its node cannot be reached: its heartbeats have stopped
            2000 view shop 7.2: s1 up, s2 down!, s3 down!, x up
            3010 event warning node-lost: the agent of node b is not connected
            9000 event info operator: ann asked to stop shop/s3
            9000 answer: shop/s3 is being stopped
            14000 event warning requests-cut: shop/s3 is stopped although requests may be under way: they had 5000 ms
            20000 event info node-connected: the agent of node b is connected
            20000 event warning member-unknown: shop/s2 is unknown: its agent has not reported yet
            20000 view shop 7.3: s1 up, s2 unknown!, s3 down!, x up
            20000 assign b: s2 running 1, s3 stopped 1, x running 1
            20100 event info member-up: shop/s2 is up: passes its probe
            20100 view shop 7.4: s1 up, s2 up, s3 down, x up
        "#]],
    );
}

#[test]
fn a_link_that_is_gone_while_heartbeats_come_changes_nothing() {
    check_two(
        "
        2000 lost b
        9000 agent b
        9100 report b s2=up s3=up x=up
        ",
        expect![[r#"
            2000 event warning node-lost: the agent of node b is not connected; its members keep their last state
            9000 event info node-connected: the agent of node b is connected
            9000 assign b: s2 running 1, s3 running 1, x running 1
        "#]],
    );
}

#[test]
fn a_link_that_works_both_ways_vouches_for_a_machine_whose_heartbeats_do_not_get_through() {
    check_two(
        "
        2000 reach b=away
        2100 report b s2=up s3=up x=up
        2600 deaf-report b s2=up s3=up x=up
        3100 report b s2=up s3=down x=up
        4000 lost b
        5000 agent b
        5100 report b s2=up s3=up x=up
        6100 report b s2=up s3=up x=up
        ",
        expect![[r#"
            2000 event error node-unreachable: node b cannot be reached, no heartbeat for 0.9 s: requests go around
            2000 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
            2000 event warning member-down: shop/s3 is down: its node cannot be reached: its heartbeats have stopped
            2000 view shop 7.2: s1 up, s2 down!, s3 down!, x up
            3100 event warning node-vouched: heartbeats of node b do not get through, but its agent speaks: its members are used. A firewall may keep UDP from the manager
            3100 event info member-up: shop/s2 is up: passes its probe
            3100 view shop 7.3: s1 up, s2 up, s3 down!?, x up
            4000 event warning node-lost: the agent of node b is not connected
            4000 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
            4000 view shop 7.4: s1 up, s2 down!, s3 down!, x up
            5000 event info node-connected: the agent of node b is connected
            5000 assign b: s2 running 1, s3 running 1, x running 1
            6100 event warning node-vouched: heartbeats of node b do not get through, but its agent speaks: its members are used. A firewall may keep UDP from the manager
            6100 event info member-up: shop/s2 is up: passes its probe
            6100 event info member-up: shop/s3 is up: passes its probe
            6100 view shop 7.5: s1 up, s2 up, s3 up, x up
        "#]],
    );
}

#[test]
fn a_degraded_machine_is_left_out_only_when_its_link_does_not_vouch_for_it_in_time() {
    check_two(
        "
        2000 reach b=degraded
        3000 report b s2=up s3=up x=up
        9000 reach b=there
        20000 reach b=degraded
        21000 deaf-report b s2=up s3=up x=up
        23000 tick
        24000 reach b=there
        ",
        expect![[r#"
            2000 event warning node-degraded: node b can be heard by some and not by all, or hears nobody: something is wrong with its network
            9000 event info node-reachable: node b can be reached
            20000 event warning node-degraded: node b can be heard by some and not by all, or hears nobody: something is wrong with its network
            22500 event error node-unreachable: node b cannot be reached both ways, neither by heartbeats nor over a link: requests go around
            22500 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
            22500 event warning member-down: shop/s3 is down: its node cannot be reached: its heartbeats have stopped
            22500 view shop 7.2: s1 up, s2 down!, s3 down!, x up
            24000 event info node-reachable: node b can be reached
            24000 event info member-up: shop/s2 is up: passes its probe
            24000 event info member-up: shop/s3 is up: passes its probe
            24000 view shop 7.3: s1 up, s2 up, s3 up, x up
        "#]],
    );
}

#[test]
fn a_rack_is_one_epoch_and_the_last_members_are_kept_for_want_of_others() {
    check_two(
        "
        2000 reach mass a=away b=away
        3000 reach a=there
        4000 reach b=there
        ",
        expect![[r#"
            2000 event error node-unreachable: nodes a and b cannot be reached, no heartbeat for 0.9 s: requests go around; so many at once are suspicious
            2000 event warning member-down: shop/s1 is down: its node cannot be reached: its heartbeats have stopped
            2000 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
            2000 event warning member-down: shop/s3 is down: its node cannot be reached: its heartbeats have stopped
            2000 view shop 7.2: s1 down!, s2 down!, s3 down!, x up
            3000 event info node-reachable: node a can be reached
            3000 event info member-up: shop/s1 is up: passes its probe
            3000 view shop 7.3: s1 up, s2 down!, s3 down!, x up
            4000 event info node-reachable: node b can be reached
            4000 event info member-up: shop/s2 is up: passes its probe
            4000 event info member-up: shop/s3 is up: passes its probe
            4000 view shop 7.4: s1 up, s2 up, s3 up, x up
        "#]],
    );
}

#[test]
fn that_nodes_fell_together_is_remembered_until_a_person_has_looked_or_they_are_there() {
    let mut told = Story::default();
    told.tell(TWO);
    let mut after = |line: &str, node: &str| {
        told.forget();
        told.tell(line);
        let text = told.remembered_text();
        let key = format!("node/{node}: ");
        let record = text.lines().find_map(|line| line.strip_prefix(&key)).expect("it has a number");
        record.split_once("away=").expect("it was said").1.to_owned()
    };
    assert_eq!(after("2000 reach a=away", "a"), "yes");
    assert_eq!(after("2100 reach mass a=away b=away", "a"), "mass");
    assert_eq!(after("2200 confirm-lost a", "b"), "mass");
    assert_eq!(after("2200 confirm-lost a", "a"), "yes");
    // Somebody hears it, but that is no lease.
    assert_eq!(after("2300 reach mass b=elsewhere", "b"), "mass");
    assert_eq!(after("2400 reach mass b=nearby-by-a", "b"), "mass");
    assert_eq!(after("2500 confirm-lost b", "b"), "no", "it is not out of reach");
    assert_eq!(after("3000 reach b=there", "b"), "no");
    told.forget();
    told.tell("3100 confirm-lost a");
    told.tell("3200 confirm-lost x");
    told.compare(&expect![[r#"
        3100 refused M2005: node a is not one that fell silent together with many others: nothing waits for your word
        3200 refused M2006: there is no node x in the configuration
    "#]]);
}

#[test]
fn who_fell_with_many_others_and_is_heard_by_some_waits_for_a_person_under_the_next_manager_too() {
    let mut told = Story::default();
    told.tell(TWO);
    told.tell("2000 reach mass a=away b=away");
    told.tell("3000 reach mass b=nearby-by-a");
    told.restart_manager(8);
    told.tell("4000 configure shop=s1@a,s2@b,s3@b,x@b!");
    let doubted = |node| Doubted { node: NodeNumber(node), reach: Reach::Unreachable, is_mass: true };
    assert_eq!(told.away(), [doubted(0), doubted(1)]);
}

/// Its agent stays connected all the while, so that what is known of its link holds. Nobody has ever heard its new number.
#[test]
fn a_node_that_is_named_anew_is_not_what_was_said_of_the_number_before() {
    let mut told = Story::default();
    told.tell(TWO);
    told.tell("2000 reach mass a=away b=away");
    told.tell("2100 configure-nodes a");
    told.tell("2200 configure-nodes a,b");
    let doubted = Doubted { node: NodeNumber(0), reach: Reach::Unreachable, is_mass: true };
    assert_eq!(told.away(), [doubted]);
    told.forget();
    told.tell("2300 confirm-lost b");
    told.compare(&expect![[r#"
        2300 refused M2005: node b is not one that fell silent together with many others: nothing waits for your word
    "#]]);
}

#[test]
fn members_of_lost_machines_are_for_panic_where_nobody_else_is_left() {
    check(
        "
        0 configure shop=s1@a,s2@a
        0 agent a
        0 router edge
        100 report a s1=up s2=down
        2000 reach a=away
        3000 stop shop/s1
        ",
        expect![[r#"
            0 clusters all: shop
            0 event info node-connected: the agent of node a is connected
            0 assign a: s1 running 1, s2 running 1
            0 settings edge
            0 clusters edge: shop
            0 event info router-connected: router edge is connected
            100 event info member-up: shop/s1 is up: passes its probe
            100 event info member-starting: shop/s2 is starting: has not passed its probe yet
            100 view shop 7.1: s1 up, s2 starting
            2000 event error node-unreachable: node a cannot be reached, no heartbeat for 0.9 s: requests go around
            2000 event warning member-down: shop/s1 is down: its node cannot be reached: its heartbeats have stopped
            2000 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
            2000 view shop 7.2: s1 down!?, s2 down!
            3000 event info operator: ann asked to stop shop/s1
            3000 view shop 7.3: s1 down!, s2 down!
            3000 answer: shop/s1 is being stopped
        "#]],
    );
}

/// The agent's link ends in the moment of its last heartbeat: the machine is there to end it.
#[test]
fn an_agent_that_dies_takes_its_own_processes_along_and_not_what_it_only_probed() {
    let mut told = Story::default();
    told.tell(&TWO.replace("configure", "configure-addresses"));
    told.forget();
    told.tell(
        "
        2000 lost b
        2950 reach b=away
        5000 agent b
        5050 reach b=there
        5100 report b s2=up s3=up x=up
        9000 reach b=away
        ",
    );
    told.compare(&expect![[r#"
        2000 event warning node-lost: the agent of node b is not connected; its members keep their last state
        2950 event error node-unreachable: node b cannot be reached, no heartbeat for 0.9 s: requests go around
        2950 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
        2950 event warning member-down: shop/s3 is down: its node cannot be reached: its heartbeats have stopped
        2950 view shop 7.2: s1 up, s2 down!, s3 down!, x up
        5000 event info node-connected: the agent of node b is connected
        5000 assign b: s2 running 1, s3 running 1, x running 1
        5050 event info node-reachable: node b can be reached
        5050 event info member-up: shop/s2 is up: passes its probe
        5050 event info member-up: shop/s3 is up: passes its probe
        5050 view shop 7.3: s1 up, s2 up, s3 up, x up
        9000 event error node-unreachable: node b cannot be reached, no heartbeat for 0.9 s: requests go around
        9000 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
        9000 event warning member-down: shop/s3 is down: its node cannot be reached: its heartbeats have stopped
        9000 event warning member-down: shop/x is down: its node cannot be reached: its heartbeats have stopped
        9000 view shop 7.4: s1 up, s2 down!, s3 down!, x down!
    "#]]);
}

#[test]
fn a_machine_that_starts_anew_within_the_time_out_loses_what_was_under_way() {
    check_two(
        "
        2000 reboot b
        2300 agent b
        2400 report-numbered b 2 1 s2=starting s3=starting x=up
        3000 report-numbered b 2 2 s2=up s3=up x=up
        4000 reboot b
        ",
        expect![[r#"
            2000 event warning node-rebooted: the machine of node b was started anew
            2000 event info member-starting: shop/s2 is starting: its agent has been told to start it
            2000 event info member-starting: shop/s3 is starting: its agent has been told to start it
            2000 view shop 7.2: s1 up, s2 starting!, s3 starting!, x up
            2300 event info node-connected: the agent of node b is connected
            2300 assign b: s2 running 1, s3 running 1, x running 1
            3000 event info member-up: shop/s2 is up: passes its probe
            3000 event info member-up: shop/s3 is up: passes its probe
            3000 view shop 7.3: s1 up, s2 up, s3 up, x up
            4000 event warning node-rebooted: the machine of node b was started anew
        "#]],
    );
}

#[test]
fn numbers_outlive_managers_and_nodes_and_are_never_given_twice() {
    let mut told = Story::default();
    told.tell(
        "
        0 configure shop=s1@a
        0 agent a
        10 beats a
        ",
    );
    let numbers = |told: &Story| -> Vec<String> {
        told.nodes().iter().map(|place| format!("{} {} {}", place.node, place.number, place.beats)).collect()
    };
    assert_eq!(numbers(&told), ["a 0 true", "b 1 false"]);
    told.restart_manager(8);
    told.tell("0 configure-nodes b,c");
    assert_eq!(numbers(&told), ["b 1 false", "c 2 false"]);
    told.restart_manager(9);
    told.tell("0 configure-nodes a,c");
    assert_eq!(numbers(&told), ["a 3 false", "c 2 false"]);
    expect![[r#"
        instance-floor: 1
        node-floor: 4
        node/a: number=3 beats=no away=no
        node/c: number=2 beats=no away=no
    "#]]
    .assert_eq(&told.remembered_text());
    // Also one that left while it was connected.
    told.tell(
        "
        10 agent c
        20 configure-nodes a
        30 configure-nodes a,c
        ",
    );
    assert_eq!(numbers(&told), ["a 3 false", "c 4 false"]);
}

#[test]
fn verdicts_on_who_has_left_and_verdicts_that_are_no_news_change_nothing() {
    let mut told = Story::default();
    told.tell("0 configure-nodes a,b");
    told.tell("10 reach a=there b=there");
    told.compare(&expect![[""]]);
    check(
        "
        0 configure shop=s1@a
        10 reach b=away
        ",
        expect![[r#"
            0 clusters all: shop
            10 event error node-unreachable: node b cannot be reached, no heartbeat for 0.9 s: requests go around
        "#]],
    );
}

#[test]
fn a_machine_that_was_lost_under_one_manager_is_lost_for_the_next() {
    let mut told = Story::default();
    told.tell(TWO);
    told.tell("2000 reach b=away");
    told.restart_manager(8);
    told.forget();
    told.tell(
        "
        3000 configure shop=s1@a,s2@b,s3@b,x@b!
        3000 router edge
        3100 agent a
        3100 report a s1=up
        9000 reach b=there
        9100 agent b
        9100 report b s2=up s3=up x=up
        ",
    );
    told.compare(&expect![[r#"
        3000 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
        3000 event warning member-down: shop/s3 is down: its node cannot be reached: its heartbeats have stopped
        3000 clusters all: shop
        3000 settings edge
        3000 clusters edge: shop
        3000 event info router-connected: router edge is connected
        3100 event info node-connected: the agent of node a is connected
        3100 assign a: s1 running 1
        5000 view shop 8.1: s1 up, s2 down!, s3 down!, x up
        9000 event info node-reachable: node b can be reached
        9000 event info member-up: shop/s2 is up: as before; its agent has not been heard since
        9000 event info member-up: shop/s3 is up: as before; its agent has not been heard since
        9000 view shop 8.2: s1 up, s2 up, s3 up, x up
        9100 event info node-connected: the agent of node b is connected
        9100 assign b: s2 running 1, s3 running 1, x running 1
    "#]]);
    let away = |told: &Story| told.remembered_text().matches("away=yes").count();
    assert_eq!(away(&told), 0, "what has come back stays there");
    told.tell("10000 reach b=away");
    assert_eq!(away(&told), 1);
}

#[test]
fn a_new_manager_does_not_wait_for_the_reports_of_a_machine_that_it_finds_lost() {
    let mut told = Story::default();
    told.tell(TWO);
    told.restart_manager(8);
    told.forget();
    told.tell(
        "
        3000 configure shop=s1@a,s2@b,s3@b,x@b!
        3000 router edge
        3100 agent a
        3100 report a s1=up
        3900 reach b=away
        ",
    );
    told.compare(&expect![[r#"
        3000 clusters all: shop
        3000 settings edge
        3000 clusters edge: shop
        3000 event info router-connected: router edge is connected
        3100 event info node-connected: the agent of node a is connected
        3100 assign a: s1 running 1
        3900 event error node-unreachable: node b cannot be reached, no heartbeat for 0.9 s: requests go around
        3900 event warning member-down: shop/s2 is down: its node cannot be reached: its heartbeats have stopped
        3900 event warning member-down: shop/s3 is down: its node cannot be reached: its heartbeats have stopped
        3900 view shop 8.1: s1 up, s2 down!, s3 down!, x up
    "#]]);
}

#[test]
fn a_certificate_that_is_overdue_is_told_of_once_until_it_is_renewed() {
    check_two(
        "
        2000 report b s2=up s3=up x=up overdue=9
        3000 report b s2=up s3=up x=up overdue=9
        4000 report b s2=up s3=up x=up
        5000 report b s2=up s3=up x=up overdue=0
        ",
        expect![[r#"
            2000 event warning node-certificate: the certificate of node b is overdue and was not renewed; it expires in 9 days, and then the node must join again. The log of its machine tells why
            5000 event warning node-certificate: the certificate of node b is overdue and was not renewed; it expires in less than a day, and then the node must join again. The log of its machine tells why
        "#]],
    );
}
