//! Stories of a cell: what happens at which time, and everything the cell says about it.

mod monitors;
mod nodes;
mod remote;
mod story;

use super::*;
use expect_test::expect;
use story::{Story, check};

const THREE: &str = "
    0 configure shop=s1@a,s2@a,s3@a
    0 agent a
    0 router edge
    100 report a s1=up s2=up s3=up
    110 edge shop
";

/// `THREE` and what it says, then `story` alone.
fn check_three(story: &str, expected: expect_test::Expect) {
    let mut told = Story::default();
    told.tell(THREE);
    told.forget();
    told.tell(story);
    told.compare(&expected);
}

#[test]
fn members_are_started_and_appear_as_they_come_up() {
    check(
        "
        0 configure shop=s1@a,s2@b,x@b!
        10 agent a
        20 agent b
        30 router edge
        100 report a s1=starting
        110 report b s2=starting x=up
        500 report a s1=up
        600 report b s2=up x=down
        ",
        expect![[r#"
            0 clusters all: shop
            10 event info node-connected: the agent of node a is connected
            10 assign a: s1 running 1
            20 event info node-connected: the agent of node b is connected
            20 assign b: s2 running 1, x running 1
            30 settings edge
            30 clusters edge: shop
            30 event info router-connected: router edge is connected
            100 event info member-starting: shop/s1 is starting: has not passed its probe yet
            110 event info member-starting: shop/s2 is starting: has not passed its probe yet
            110 event info member-up: shop/x is up: passes its probe
            110 view shop 7.1: s1 starting, s2 starting, x up
            500 event info member-up: shop/s1 is up: passes its probe
            500 view shop 7.2: s1 up, s2 starting, x up
            600 event info member-up: shop/s2 is up: passes its probe
            600 event warning member-down: shop/x is down: fails its probe
            600 view shop 7.3: s1 up, s2 up, x down!?
        "#]],
    );
}

#[test]
fn agent_that_never_reports_holds_views_up_only_for_a_while() {
    check(
        "
        0 configure shop=s1@a,s2@b
        10 agent a
        20 router edge
        30 report a s1=up
        5000 tick
        ",
        expect![[r#"
            0 clusters all: shop
            10 event info node-connected: the agent of node a is connected
            10 assign a: s1 running 1
            20 settings edge
            20 clusters edge: shop
            20 event info router-connected: router edge is connected
            30 event info member-up: shop/s1 is up: passes its probe
            2000 view shop 7.1: s1 up, s2 unknown
        "#]],
    );
}

#[test]
fn lost_agent_changes_no_view() {
    check_three(
        "
        1000 lost a
        9000 agent a
        9100 report a s1=up s2=backoff s3=up
        ",
        expect![[r#"
            1000 event warning node-lost: the agent of node a is not connected; its members keep their last state
            9000 event info node-connected: the agent of node a is connected
            9000 assign a: s1 running 1, s2 running 1, s3 running 1
            9100 event warning member-down: shop/s2 is down: exited and will be started again
            9100 view shop 7.2: s1 up, s2 down!, s3 up
        "#]],
    );
}

/// Its agent stops a member that hangs and starts it anew: whoever waits for it waits in vain all the time.
#[test]
fn member_that_hangs_and_is_restarted_is_lost_until_it_is_up_again() {
    check_three(
        "
        1000 report a s1=down s2=up s3=up
        2000 report a s1=stopping s2=up s3=up
        3000 report a s1=backoff s2=up s3=up
        4000 report a s1=starting s2=up s3=up
        5000 report a s1=up s2=up s3=up
        6000 report a s1=stopping s2=up s3=up
        ",
        expect![[r#"
            1000 event warning member-down: shop/s1 is down: fails its probe
            1000 view shop 7.2: s1 down!?, s2 up, s3 up
            2000 view shop 7.3: s1 down!, s2 up, s3 up
            4000 event info member-starting: shop/s1 is starting: has not passed its probe yet
            4000 view shop 7.4: s1 starting!, s2 up, s3 up
            5000 event info member-up: shop/s1 is up: passes its probe
            5000 view shop 7.5: s1 up, s2 up, s3 up
            6000 event info member-down: shop/s1 is down: its process is stopping
            6000 view shop 7.6: s1 down, s2 up, s3 up
        "#]],
    );
}

#[test]
fn old_reports_change_nothing() {
    check_three(
        "
        200 report-numbered a 1 9 s1=backoff s2=up s3=up
        300 report-numbered a 1 8 s1=up s2=up s3=up
        400 report-numbered a 0 99 s1=up s2=up s3=up
        500 report-numbered a 2 1 s1=up s2=up s3=up
        ",
        expect![[r#"
            200 event warning member-down: shop/s1 is down: exited and will be started again
            200 view shop 7.2: s1 down!, s2 up, s3 up
            400 above a 1
            400 event error node-twice: the agent of node a was started before another one that has spoken as node a since: was its state directory copied to another machine, or put back? The one that is connected now counts
            500 event info member-up: shop/s1 is up: passes its probe
            500 view shop 7.3: s1 up, s2 up, s3 up
        "#]],
    );
}

#[test]
fn an_agent_that_was_started_before_another_of_its_name_goes_above_it_and_is_believed_again() {
    check_three(
        "
        200 report-numbered a 5 1 s1=backoff s2=up s3=up
        300 lost a
        400 agent a
        500 report-numbered a 1 9 s1=up s2=up s3=up
        600 report-numbered a 1 10 s1=up s2=up s3=up
        700 report-numbered a 6 11 s1=up s2=up s3=up
        ",
        expect![[r#"
            200 event warning member-down: shop/s1 is down: exited and will be started again
            200 view shop 7.2: s1 down!, s2 up, s3 up
            300 event warning node-lost: the agent of node a is not connected; its members keep their last state
            400 event info node-connected: the agent of node a is connected
            400 assign a: s1 running 1, s2 running 1, s3 running 1
            500 above a 5
            500 event error node-twice: the agent of node a was started before another one that has spoken as node a since: was its state directory copied to another machine, or put back? The one that is connected now counts
            700 event info member-up: shop/s1 is up: passes its probe
            700 view shop 7.3: s1 up, s2 up, s3 up
        "#]],
    );
}

#[test]
fn stop_takes_out_first_and_waits_for_requests_under_way() {
    check_three(
        "
        1000 stop shop/s2
        1100 edge-at 7.1 shop
        1200 edge shop s2=3
        1900 edge shop s2=1
        2000 edge shop s2=0
        2100 report a s1=up s2=stopping s3=up
        2200 report a s1=up s2=stopped s3=up
        3000 start shop/s2
        3100 report a s1=up s2=stopped#1 s3=up
        3200 report a s1=up s2=starting s3=up
        3300 report a s1=up s2=up s3=up
        ",
        expect![[r#"
            1000 event info operator: ann asked to stop shop/s2
            1000 event info member-down: shop/s2 is down: is being stopped
            1000 view shop 7.2: s1 up, s2 down, s3 up
            1000 answer: shop/s2 is being stopped
            2000 assign a: s1 running 1, s2 stopped 1, s3 running 1
            3000 event info operator: ann asked to start shop/s2
            3000 event info member-starting: shop/s2 is starting: its agent has been told to start it
            3000 view shop 7.3: s1 up, s2 starting, s3 up
            3000 assign a: s1 running 1, s2 running 2, s3 running 1
            3000 answer: shop/s2 is being started
            3300 event info member-up: shop/s2 is up: passes its probe
            3300 view shop 7.4: s1 up, s2 up, s3 up
        "#]],
    );
}

#[test]
fn stop_ends_although_a_router_says_nothing() {
    check_three(
        "
        1000 stop shop/s1
        9000 tick
        ",
        expect![[r#"
            1000 event info operator: ann asked to stop shop/s1
            1000 event info member-down: shop/s1 is down: is being stopped
            1000 view shop 7.2: s1 down, s2 up, s3 up
            1000 answer: shop/s1 is being stopped
            6000 event warning requests-cut: shop/s1 is stopped although requests may be under way: they had 5000 ms
            6000 assign a: s1 stopped 1, s2 running 1, s3 running 1
        "#]],
    );
}

#[test]
fn router_that_has_just_left_is_waited_for_and_one_long_gone_is_not() {
    check_three(
        "
        1000 gone edge
        1500 stop shop/s1
        3500 tick
        9000 stop shop/s2
        ",
        expect![[r#"
            1000 event warning router-lost: router edge is not connected; it goes on with what it has
            1500 event info operator: ann asked to stop shop/s1
            1500 event info member-down: shop/s1 is down: is being stopped
            1500 view shop 7.2: s1 down, s2 up, s3 up
            1500 answer: shop/s1 is being stopped
            3000 assign a: s1 stopped 1, s2 running 1, s3 running 1
            9000 event info operator: ann asked to stop shop/s2
            9000 event info member-down: shop/s2 is down: is being stopped
            9000 view shop 7.3: s1 down, s2 down, s3 up
            9000 assign a: s1 stopped 1, s2 stopped 1, s3 running 1
            9000 answer: shop/s2 is being stopped
        "#]],
    );
}

#[test]
fn stop_lets_conversations_end_where_time_is_given_for_them() {
    check(
        "
        0 configure shop=s1@a,s2@a affinity drain=4000
        0 agent a
        0 router edge
        100 report a s1=up s2=up
        110 edge shop s1=2/5 s2=1/5
        200 stop shop/s1
        1000 edge shop s1=1/4
        3000 edge shop s1=0/1
        3500 edge shop s1=0/0
        3600 edge shop s1=0/0
        4000 restart shop/s2
        ",
        expect![[r#"
            0 clusters all: shop
            0 event info node-connected: the agent of node a is connected
            0 assign a: s1 running 1, s2 running 1
            0 settings edge
            0 clusters edge: shop
            0 event info router-connected: router edge is connected
            100 event info member-up: shop/s1 is up: passes its probe
            100 event info member-up: shop/s2 is up: passes its probe
            100 view shop 7.1: s1 up, s2 up
            200 event info operator: ann asked to stop shop/s1
            200 event info member-draining: shop/s1 is draining: conversations may end before it is stopped
            200 view shop 7.2: s1 draining, s2 up
            200 answer: shop/s1 is being stopped
            3500 event info member-down: shop/s1 is down: is being stopped
            3500 view shop 7.3: s1 down, s2 up
            3600 assign a: s1 stopped 1, s2 running 1
            4000 event info operator: ann asked to restart shop/s2
            4000 event info member-down: shop/s2 is down: is being restarted
            4000 view shop 7.4: s1 down, s2 down
            4000 answer: shop/s2 is being restarted
        "#]],
    );
}

#[test]
fn drain_keeps_conversations_until_started_again() {
    check_three(
        "
        1000 drain shop/s1
        1001 drain shop/s1
        2000 report a s1=down s2=up s3=up
        3000 report a s1=up s2=up s3=up
        4000 start shop/s1
        4001 start shop/s1
        ",
        expect![[r#"
            1000 event info operator: ann asked to drain shop/s1
            1000 event info member-draining: shop/s1 is draining: drained by an operator; keeps its conversations, takes no new ones
            1000 view shop 7.2: s1 draining, s2 up, s3 up
            1000 answer: shop/s1 keeps its conversations and takes no new ones
            1001 event info operator: ann asked to drain shop/s1
            1001 answer: shop/s1 is draining already
            2000 event warning member-down: shop/s1 is down: fails its probe
            2000 view shop 7.3: s1 down!, s2 up, s3 up
            3000 event info member-draining: shop/s1 is draining: drained by an operator; keeps its conversations, takes no new ones
            3000 view shop 7.4: s1 draining, s2 up, s3 up
            4000 event info operator: ann asked to start shop/s1
            4000 event info member-up: shop/s1 is up: passes its probe
            4000 view shop 7.5: s1 up, s2 up, s3 up
            4000 answer: shop/s1 takes new conversations again
            4001 event info operator: ann asked to start shop/s1
            4001 answer: shop/s1 is running already
        "#]],
    );
}

#[test]
fn cluster_restarts_one_by_one() {
    check_three(
        "
        1000 restart shop
        1001 restart shop
        1100 edge shop
        1200 report a s1=starting s2=up s3=up
        1300 report a s1=up s2=up s3=up
        1400 edge shop
        1500 report a s1=up s2=up s3=up
        1600 edge shop
        1700 report a s1=up s2=up s3=up
        ",
        expect![[r#"
            1000 event info operator: ann asked to restart cluster shop
            1000 event info member-down: shop/s1 is down: is being restarted
            1000 view shop 7.2: s1 down, s2 up, s3 up
            1000 answer: cluster shop: restarting 3 members, one after the other
            1001 refused M2005 retry: shop: restarting s1 (1 of 3)
            1100 event info member-starting: shop/s1 is starting: its agent has been told to start it
            1100 view shop 7.3: s1 starting, s2 up, s3 up
            1100 assign a: s1 running 2, s2 running 1, s3 running 1
            1300 event info member-up: shop/s1 is up: passes its probe
            1300 view shop 7.4: s1 up, s2 up, s3 up
            1300 event info member-down: shop/s2 is down: is being restarted
            1300 view shop 7.5: s1 up, s2 down, s3 up
            1400 event info member-starting: shop/s2 is starting: its agent has been told to start it
            1400 view shop 7.6: s1 up, s2 starting, s3 up
            1400 assign a: s1 running 2, s2 running 2, s3 running 1
            1500 event info member-up: shop/s2 is up: passes its probe
            1500 view shop 7.7: s1 up, s2 up, s3 up
            1500 event info member-down: shop/s3 is down: is being restarted
            1500 view shop 7.8: s1 up, s2 up, s3 down
            1600 event info member-starting: shop/s3 is starting: its agent has been told to start it
            1600 view shop 7.9: s1 up, s2 up, s3 starting
            1600 assign a: s1 running 2, s2 running 2, s3 running 2
            1700 event info member-up: shop/s3 is up: passes its probe
            1700 view shop 7.10: s1 up, s2 up, s3 up
            1700 event info restart-finished: cluster shop: 3 members were restarted
        "#]],
    );
}

#[test]
fn a_stop_ends_a_restart_and_says_so_until_the_next_start() {
    let setback = |story: &Story| story.summary().clusters[0].setback.clone();
    let mut story = Story::default();
    story.tell(THREE);
    story.tell("1000 restart shop");
    assert_eq!(setback(&story), None);
    story.tell("1050 stop shop");
    let told = "cluster shop is being stopped, so its restart is given up";
    assert_eq!(setback(&story).as_deref(), Some(told));
    story.tell("1060 start shop");
    assert_eq!(setback(&story), None);
    let mut story = Story::default();
    story.tell(THREE);
    story.tell("1000 restart shop/s1");
    story.tell("1050 stop shop/s1");
    let told = "shop/s1 is being stopped, so its restart is given up";
    assert_eq!(setback(&story).as_deref(), Some(told));
}

#[test]
fn restart_of_a_cluster_stops_at_the_first_member_that_does_not_come_back() {
    check_three(
        "
        1000 restart shop
        1100 edge shop
        1200 report a s1=backoff s2=up s3=up
        1300 report a s1=gaveup s2=up s3=up
        1400 start shop/s1
        1500 report a s1=up s2=up s3=up
        ",
        expect![[r#"
            1000 event info operator: ann asked to restart cluster shop
            1000 event info member-down: shop/s1 is down: is being restarted
            1000 view shop 7.2: s1 down, s2 up, s3 up
            1000 answer: cluster shop: restarting 3 members, one after the other
            1100 event info member-starting: shop/s1 is starting: its agent has been told to start it
            1100 view shop 7.3: s1 starting, s2 up, s3 up
            1100 assign a: s1 running 2, s2 running 1, s3 running 1
            1200 event warning member-down: shop/s1 is down: exited and will be started again
            1200 view shop 7.4: s1 down!, s2 up, s3 up
            1300 event error member-failed: shop/s1 is failed: failed too often and waits for a person to start it
            1300 view shop 7.5: s1 failed!, s2 up, s3 up
            1300 event error restart-failed: shop/s1 did not come back: its new process failed too often; no further member is restarted
            1400 event info operator: ann asked to start shop/s1
            1400 event info member-starting: shop/s1 is starting: its agent has been told to start it
            1400 view shop 7.6: s1 starting!, s2 up, s3 up
            1400 assign a: s1 running 3, s2 running 1, s3 running 1
            1400 answer: shop/s1 is being started
            1500 event info member-up: shop/s1 is up: passes its probe
            1500 view shop 7.7: s1 up, s2 up, s3 up
        "#]],
    );
}

#[test]
fn member_that_never_passes_its_probe_stops_the_rollout_in_time() {
    check_three(
        "
        1000 restart shop
        1100 edge shop
        1200 report a s1=starting s2=up s3=up
        99000 tick
        ",
        expect![[r#"
            1000 event info operator: ann asked to restart cluster shop
            1000 event info member-down: shop/s1 is down: is being restarted
            1000 view shop 7.2: s1 down, s2 up, s3 up
            1000 answer: cluster shop: restarting 3 members, one after the other
            1100 event info member-starting: shop/s1 is starting: its agent has been told to start it
            1100 view shop 7.3: s1 starting, s2 up, s3 up
            1100 assign a: s1 running 2, s2 running 1, s3 running 1
            16600 event error restart-failed: shop/s1 did not come back: its new process did not pass its probe in time; no further member is restarted
        "#]],
    );
}

#[test]
fn last_member_that_is_up_is_not_restarted_with_its_cluster() {
    check_three(
        "
        1000 report a s1=up s2=down s3=down
        1100 stop shop/s2
        1200 stop shop/s3
        1300 edge shop
        1400 restart shop
        1500 restart shop/s1
        ",
        expect![[r#"
            1000 event warning member-down: shop/s2 is down: fails its probe
            1000 event warning member-down: shop/s3 is down: fails its probe
            1000 view shop 7.2: s1 up, s2 down!?, s3 down!?
            1100 event info operator: ann asked to stop shop/s2
            1100 view shop 7.3: s1 up, s2 down!, s3 down!?
            1100 answer: shop/s2 is being stopped
            1200 event info operator: ann asked to stop shop/s3
            1200 view shop 7.4: s1 up, s2 down!, s3 down!
            1200 answer: shop/s3 is being stopped
            1300 assign a: s1 running 1, s2 stopped 1, s3 stopped 1
            1400 refused M2005: s1 is the only member that is up; restart the member itself to accept that requests fail meanwhile
            1500 event info operator: ann asked to restart shop/s1
            1500 event info member-down: shop/s1 is down: is being restarted
            1500 view shop 7.5: s1 down, s2 down!, s3 down!
            1500 answer: shop/s1 is being restarted
        "#]],
    );
}

#[test]
fn acts_that_make_no_sense_are_refused_and_change_nothing() {
    check(
        "
        0 configure shop=s1@a,x@a!
        0 agent a
        100 report a s1=up x=up
        200 stop nope
        201 stop shop/nope
        202 restart shop/x
        203 stop shop/s1
        204 drain shop/s1
        205 restart shop/s1
        206 restart shop
        207 lost a
        208 start shop/s1
        209 restart shop/s1
        ",
        expect![[r#"
            0 clusters all: shop
            0 event info node-connected: the agent of node a is connected
            0 assign a: s1 running 1, x running 1
            100 event info member-up: shop/s1 is up: passes its probe
            100 event info member-up: shop/x is up: passes its probe
            100 view shop 7.1: s1 up, x up
            200 refused M2003: there is no cluster nope; there is shop
            201 refused M2004: there is no member nope in cluster shop; there is s1 and x
            202 refused M2005: shop/x runs elsewhere; Muster cannot restart it
            203 event info operator: ann asked to stop shop/s1
            203 event info member-down: shop/s1 is down: is being stopped
            203 view shop 7.2: s1 down, x up
            203 answer: shop/s1 is being stopped
            204 refused M2005: shop/s1 is stopped and has nothing to drain
            205 refused M2005: shop/s1 is stopped; start it instead
            206 refused M2005: cluster shop has no running member that Muster could restart
            207 event warning node-lost: the agent of node a is not connected; its members keep their last state
            208 event info operator: ann asked to start shop/s1
            208 event info member-up: shop/s1 is up: passes its probe (last known: its agent is not connected)
            208 view shop 7.3: s1 up, x up
            208 answer: shop/s1 is no longer being stopped
            209 refused M2005 retry: the agent of node a is not connected
        "#]],
    );
}

#[test]
fn external_member_is_only_taken_out_of_rotation() {
    check(
        "
        0 configure shop=x@a!,y@a!
        0 agent a
        0 router edge
        100 report a x=up y=up
        200 stop shop/x
        300 edge shop
        400 start shop/x
        ",
        expect![[r#"
            0 clusters all: shop
            0 event info node-connected: the agent of node a is connected
            0 assign a: x running 1, y running 1
            0 settings edge
            0 clusters edge: shop
            0 event info router-connected: router edge is connected
            100 event info member-up: shop/x is up: passes its probe
            100 event info member-up: shop/y is up: passes its probe
            100 view shop 7.1: x up, y up
            200 event info operator: ann asked to stop shop/x
            200 event info member-down: shop/x is down: is being stopped
            200 view shop 7.2: x down, y up
            200 answer: shop/x is being stopped
            400 event info operator: ann asked to start shop/x
            400 event info member-up: shop/x is up: passes its probe
            400 view shop 7.3: x up, y up
            400 answer: shop/x takes requests again
        "#]],
    );
}

#[test]
fn changed_weight_is_only_a_new_epoch() {
    check_three(
        "
        1000 configure shop=s1@a*5,s2@a,s3@a
        1001 configure shop=s1@a*5,s2@a,s3@a
        ",
        expect![[r#"
            1000 view shop 7.2: s1 up *5, s2 up, s3 up
        "#]],
    );
}

#[test]
fn added_member_starts_and_removed_one_leaves_when_nothing_is_under_way() {
    check_three(
        "
        1000 configure shop=s2@a,s3@a,s4@a
        1100 edge shop s1=2
        1200 report a s1=up s2=up s3=up s4=starting
        1300 edge shop s1=0
        1400 report a s2=up s3=up s4=up
        2000 configure shop=s1@a,s2@a,s3@a,s4@a
        ",
        expect![[r#"
            1000 event info member-starting: shop/s4 is starting: its agent has been told to start it
            1000 view shop 7.2: s2 up, s3 up, s4 starting, s1 up
            1000 event info member-down: shop/s1 is down: is being removed
            1000 view shop 7.3: s2 up, s3 up, s4 starting, s1 down
            1000 assign a: s2 running 1, s3 running 1, s4 running 1, s1 running 1
            1200 view shop 7.4: s2 up, s3 up, s4 starting, s1 down
            1300 view shop 7.5: s2 up, s3 up, s4 starting
            1300 assign a: s2 running 1, s3 running 1, s4 running 1
            1400 event info member-up: shop/s4 is up: passes its probe
            1400 view shop 7.6: s2 up, s3 up, s4 up
            2000 event info member-starting: shop/s1 is starting: its agent has been told to start it
            2000 view shop 7.7: s1 starting, s2 up, s3 up, s4 up
            2000 assign a: s1 running 2, s2 running 1, s3 running 1, s4 running 1
        "#]],
    );
}

#[test]
fn members_that_are_replaced_stay_until_a_new_one_is_up() {
    check_three(
        "
        1000 configure shop=n1@a,n2@a
        1100 report a s1=up s2=up s3=up n1=starting n2=starting
        1200 report a s1=up s2=up s3=up n1=up n2=starting
        1300 edge shop
        ",
        expect![[r#"
            1000 event info member-starting: shop/n1 is starting: its agent has been told to start it
            1000 event info member-starting: shop/n2 is starting: its agent has been told to start it
            1000 view shop 7.2: n1 starting, n2 starting, s1 up, s2 up, s3 up
            1000 assign a: n1 running 1, n2 running 1, s1 running 1, s2 running 1, s3 running 1
            1100 view shop 7.3: n1 starting, n2 starting, s1 up, s2 up, s3 up
            1200 event info member-up: shop/n1 is up: passes its probe
            1200 view shop 7.4: n1 up, n2 starting, s1 up, s2 up, s3 up
            1200 event info member-down: shop/s1 is down: is being removed
            1200 event info member-down: shop/s2 is down: is being removed
            1200 event info member-down: shop/s3 is down: is being removed
            1200 view shop 7.5: n1 up, n2 starting, s1 down, s2 down, s3 down
            1300 view shop 7.6: n1 up, n2 starting
            1300 assign a: n1 running 1, n2 running 1
        "#]],
    );
}

#[test]
fn changed_command_restarts_that_member_alone() {
    check_three(
        "
        1000 configure shop=s1@a,s2@a:new,s3@a
        1100 edge shop
        1200 report a s1=up s2=up s3=up
        ",
        expect![[r#"
            1000 event info member-down: shop/s2 is down: is being restarted
            1000 view shop 7.2: s1 up, s2 down, s3 up
            1100 event info member-starting: shop/s2 is starting: its agent has been told to start it
            1100 view shop 7.3: s1 up, s2 starting, s3 up
            1100 assign a: s1 running 1, s2 running 2 :new, s3 running 1
            1200 event info member-up: shop/s2 is up: passes its probe
            1200 view shop 7.4: s1 up, s2 up, s3 up
            1200 event info restart-finished: cluster shop: 1 members were restarted
        "#]],
    );
}

#[test]
fn cluster_that_is_removed_loses_its_routes_first_and_keeps_its_numbers() {
    check_three(
        "
        1000 configure other=o@a!
        1100 edge shop s1=1
        1200 edge shop s1=0
        2000 configure other=o@a! shop=s1@a
        2100 report a o=up s1=up
        ",
        expect![[r#"
            1000 event info member-starting: other/o is starting: its agent has been told to probe it
            1000 view other 7.1: o starting
            1000 event info member-down: shop/s1 is down: is being removed
            1000 event info member-down: shop/s2 is down: is being removed
            1000 event info member-down: shop/s3 is down: is being removed
            1000 view shop 7.2: s1 down, s2 down, s3 down
            1000 settings edge
            1000 clusters all: other shop
            1000 assign a: o running 1, s1 running 1, s2 running 1, s3 running 1
            1100 view shop 7.3: s1 down
            1100 assign a: o running 1, s1 running 1
            1200 view shop 7.4: nobody
            1200 clusters all: other
            1200 assign a: o running 1
            2000 event info member-starting: shop/s1 is starting: its agent has been told to start it
            2000 view shop 7.5: s1 starting
            2000 settings edge
            2000 clusters all: other shop
            2000 assign a: o running 1, s1 running 2
            2100 event info member-up: other/o is up: passes its probe
            2100 view other 7.2: o up
            2100 event info member-up: shop/s1 is up: passes its probe
            2100 view shop 7.6: s1 up
        "#]],
    );
}

#[test]
fn next_manager_keeps_wishes_instances_and_what_was_seen() {
    let mut story = Story::default();
    story.tell(THREE);
    story.tell(
        "
        1000 restart shop/s3
        1100 edge shop
        1200 report a s1=up s2=up s3=up
        2000 stop shop/s1
        2100 edge shop
        2200 report a s1=stopped s2=up s3=up
        3000 drain shop/s2
        ",
    );
    story.forget();
    story.restart_manager(8);
    story.tell(
        "
        0 configure shop=s1@a,s2@a,s3@a
        500 router edge
        5000 agent a
        5100 report a s1=stopped s2=up s3=up
        ",
    );
    story.compare(&expect![[r#"
        0 clusters all: shop
        500 settings edge
        500 clusters edge: shop
        500 event info router-connected: router edge is connected
        2000 view shop 8.1: s1 down, s2 draining, s3 up
        5000 event info node-connected: the agent of node a is connected
        5000 assign a: s1 stopped 1, s2 running 1, s3 running 2
    "#]]);
}

#[test]
fn stop_that_a_manager_did_not_finish_is_finished_by_the_next() {
    let mut story = Story::default();
    story.tell(THREE);
    story.tell("1000 stop shop/s1");
    story.forget();
    story.restart_manager(8);
    story.tell(
        "
        0 configure shop=s1@a,s2@a,s3@a
        100 agent a
        110 router edge
        200 report a s1=up s2=up s3=up
        300 edge shop
        ",
    );
    story.compare(&expect![[r#"
        0 clusters all: shop
        100 event info node-connected: the agent of node a is connected
        100 assign a: s1 running 1, s2 running 1, s3 running 1
        110 settings edge
        110 clusters edge: shop
        110 event info router-connected: router edge is connected
        200 view shop 8.1: s1 down, s2 up, s3 up
        300 assign a: s1 stopped 1, s2 running 1, s3 running 1
    "#]]);
}

#[test]
fn restarts_that_a_manager_did_not_finish_are_finished_by_the_next() {
    let mut story = Story::default();
    story.tell(THREE);
    story.tell("1000 configure shop=s1@a:new,s2@a:new,s3@a:new");
    story.forget();
    story.restart_manager(8);
    story.tell(
        "
        0 configure shop=s1@a:new,s2@a:new,s3@a:new
        100 agent a
        110 router edge
        200 report a s1=up s2=up s3=up
        300 edge shop
        ",
    );
    story.compare(&expect![[r#"
        0 clusters all: shop
        100 event info node-connected: the agent of node a is connected
        100 assign a: s1 running 1 :new, s2 running 1 :new, s3 running 1 :new
        110 settings edge
        110 clusters edge: shop
        110 event info router-connected: router edge is connected
        200 view shop 8.1: s1 up, s2 up, s3 up
        200 event info member-down: shop/s1 is down: is being restarted
        200 view shop 8.2: s1 down, s2 up, s3 up
        300 event info member-starting: shop/s1 is starting: its agent has been told to start it
        300 view shop 8.3: s1 starting, s2 up, s3 up
        300 assign a: s1 running 2 :new, s2 running 1 :new, s3 running 1 :new
    "#]]);
}

#[test]
fn instance_that_was_not_remembered_is_learned_from_the_agent() {
    check_three(
        "
        1000 report a s1=up#9 s2=up s3=up
        1100 restart shop/s1
        1200 edge shop
        ",
        expect![[r#"
            1000 assign a: s1 running 9, s2 running 1, s3 running 1
            1100 event info operator: ann asked to restart shop/s1
            1100 event info member-down: shop/s1 is down: is being restarted
            1100 view shop 7.2: s1 down, s2 up, s3 up
            1100 answer: shop/s1 is being restarted
            1200 event info member-starting: shop/s1 is starting: its agent has been told to start it
            1200 view shop 7.3: s1 starting, s2 up, s3 up
            1200 assign a: s1 running 10, s2 running 1, s3 running 1
        "#]],
    );
}

#[test]
fn members_go_on_when_the_store_is_put_back_to_before_their_last_restart() {
    let mut story = Story::default();
    story.tell(THREE);
    story.forget();
    // The agent is told the instances of the backup first, and keeps its own.
    story.restart_manager(9);
    story.tell(
        "
        0 configure shop=s1@a,s2@a,s3@a
        100 router edge
        200 agent a
        300 report a s1=up#4 s2=up s3=up
        400 restart shop/s2
        500 edge shop
        600 report a s1=up#4 s2=up#2 s3=up
        ",
    );
    story.compare(&expect![[r#"
        0 clusters all: shop
        100 settings edge
        100 clusters edge: shop
        100 event info router-connected: router edge is connected
        200 event info node-connected: the agent of node a is connected
        200 assign a: s1 running 1, s2 running 1, s3 running 1
        300 view shop 9.1: s1 up, s2 up, s3 up
        300 assign a: s1 running 4, s2 running 1, s3 running 1
        400 event info operator: ann asked to restart shop/s2
        400 event info member-down: shop/s2 is down: is being restarted
        400 view shop 9.2: s1 up, s2 down, s3 up
        400 answer: shop/s2 is being restarted
        500 event info member-starting: shop/s2 is starting: its agent has been told to start it
        500 view shop 9.3: s1 up, s2 starting, s3 up
        500 assign a: s1 running 4, s2 running 2, s3 running 1
        600 event info member-up: shop/s2 is up: passes its probe
        600 view shop 9.4: s1 up, s2 up, s3 up
    "#]]);
}

#[test]
fn new_configuration_is_told_in_sentences() {
    let old = story::settings(&["shop=s1@a,s2@a,x@b!", "old=o@a!"]);
    let new = story::settings(&["shop=s1@b*3,s2@a:new,s4@a", "new=n@a!", "drain=500"]);
    assert_eq!(changes(&old, &old), [""; 0]);
    expect![[r#"
        router edge: */new goes to cluster new
        router edge: */old is no longer routed
        cluster shop: drain_ms changes from 0 to 500
        shop/s1: weight changes from 1 to 3
        shop/s1: is restarted, because what it runs changes
        shop/s2: is restarted, because what it runs changes
        shop/s4 is added on node a
        shop/x is removed
        cluster new is added with 1 members
        cluster old is removed; its members are stopped
    "#]]
    .assert_eq(&(changes(&old, &new).join("\n") + "\n"));
}

#[test]
fn every_difference_of_two_configurations_is_told() {
    let base = || story::settings(&["shop=s1@a,s2@a", "other=o@a!"]);
    type Change = fn(&mut wire::settings::CellSettings);
    let differences: &[(&str, Change)] = &[
        ("name", |settings| settings.name = "x".into()),
        ("state_dir", |settings| settings.state_dir = "x".into()),
        ("nodes", |settings| settings.nodes.push("c".into())),
        ("node address", |settings| {
            settings.node_addresses.insert("a".into(), [10, 0, 0, 1].into());
        }),
        ("manager", |settings| settings.manager.listen = Some(([127, 0, 0, 1], 1).into())),
        ("certificates", |settings| settings.manager.certificate_life_ms = 1),
        ("console", |settings| settings.console.listen = ([127, 0, 0, 1], 1).into()),
        ("router", |settings| settings.routers[0].name = "x".into()),
        ("router listen", |settings| settings.routers[0].listeners.clear()),
        ("router threads", |settings| settings.routers[0].threads = 9),
        ("router timeouts", |settings| settings.routers[0].timeouts.idle_ms = 9),
        ("router limits", |settings| settings.routers[0].limits.connections_max = 9),
        ("router retry", |settings| settings.routers[0].retry.attempts_max = 9),
        ("router log", |settings| settings.routers[0].access_log.path = "x".into()),
        ("router trust", |settings| settings.routers[0].trusted_proxies.push([1, 2, 3, 4].into())),
        ("router node", |settings| settings.routers[0].node = "b".into()),
        ("cluster order", |settings| settings.clusters.reverse()),
        ("policy", |settings| settings.clusters[0].policy = wire::view::Policy::Random),
        ("member order", |settings| settings.clusters[0].members.reverse()),
        ("clone id", |settings| settings.clusters[0].members[0].clone_id = "x".into()),
        ("probe", |settings| settings.clusters[0].members[0].probe.rise = 9),
        ("stop signal", |settings| match &mut settings.clusters[0].members[0].run {
            wire::agent::Run::Managed(launch) => launch.stop_signal = "INT".into(),
            wire::agent::Run::External { .. } => panic!("the agent starts it"),
        }),
    ];
    for (what, change) in differences {
        let mut new = base();
        change(&mut new);
        assert!(!changes(&base(), &new).is_empty(), "{what} is not told");
    }
}

#[test]
fn traffic_of_routers_is_added_up_for_people() {
    let mut story = Story::default();
    story.tell(THREE);
    story.tell("200 edge shop s1=3/7");
    let summary = story.summary();
    let s1 = &summary.clusters[0].members[0];
    assert_eq!((s1.in_flight, s1.sessions, s1.requests), (3, 7, 10));
    assert_eq!((s1.latency_p50_us, s1.latency_p99_us), (100, 200));
    assert_eq!(s1.since_ms, 1_000_100, "it is up since the report at 100");
    assert_eq!(summary.routers[0].requests_per_second, 3.0);
    story.tell("300 gone edge");
    let summary = story.summary();
    let s1 = &summary.clusters[0].members[0];
    assert_eq!((s1.in_flight, s1.requests_per_second), (0, 0.0), "what is gone does nothing");
    assert_eq!(s1.requests, 10, "what was done stays done");
    assert!(!summary.routers[0].connected);
}

#[test]
fn only_configured_roles_may_join() {
    let mut story = Story::default();
    story.tell("0 configure shop=s1@a");
    let agent = |node: &str| Role::Agent { node: node.into() };
    let router = |node: &str, router: &str| Role::Router { node: node.into(), router: router.into() };
    assert_eq!(story.admits(&agent("a")), Ok(()));
    assert_eq!(story.admits(&agent("z")), Err("node z is not in the configuration".into()));
    assert_eq!(story.admits(&router("a", "edge")), Ok(()));
    assert_eq!(
        story.admits(&router("b", "edge")),
        Err("router edge is configured on node a, not on b".into())
    );
    assert_eq!(story.admits(&router("a", "x")), Err("router x is not in the configuration".into()));
}

#[test]
fn what_is_remembered_can_be_read_by_people_and_back() {
    let mut story = Story::default();
    story.tell(THREE);
    story.tell("200 drain shop/s2");
    expect![[r#"
        member/shop/s1: wish=run want=running instance=1 launched=472e6bbd28502e2b
        member/shop/s2: wish=drain want=running instance=1 launched=ee53413bf25d329e
        member/shop/s3: wish=run want=running instance=1 launched=a07e2b75c0844069
        node-floor: 2
        node/a: number=0 beats=no away=no
        node/b: number=1 beats=no away=no
        seen/shop/s1: state=up address=127.0.0.1:8080
        seen/shop/s2: state=up address=127.0.0.1:8080
        seen/shop/s3: state=up address=127.0.0.1:8080
    "#]]
    .assert_eq(&story.remembered_text());
    for damaged in [
        "",
        "wish=run",
        "wish=fly want=running instance=1 launched=0",
        "wish=run want=running instance=x launched=0",
    ] {
        assert_eq!(record::Record::parse(damaged), None, "{damaged}");
    }
    for damaged in ["", "state=up", "state=odd address=unknown", "state=up address=nowhere"] {
        assert_eq!(record::Seen::parse(damaged), None, "{damaged}");
    }
}

#[test]
fn external_members_do_not_notice_that_their_agent_starts_anew() {
    check(
        "
        0 configure shop=x@a!,s1@a
        0 agent a
        100 report-numbered a 1 1 x=up s1=up
        200 report-numbered a 1 2
        210 lost a
        300 agent a
        310 report-numbered a 2 1
        320 report-numbered a 2 2 x=starting s1=starting
        900 report-numbered a 2 3 x=up s1=up
        ",
        expect![[r#"
            0 clusters all: shop
            0 event info node-connected: the agent of node a is connected
            0 assign a: x running 1, s1 running 1
            100 event info member-up: shop/x is up: passes its probe
            100 event info member-up: shop/s1 is up: passes its probe
            100 view shop 7.1: x up, s1 up
            200 event info member-starting: shop/s1 is starting: its agent has been told to start it
            200 view shop 7.2: x up, s1 starting
            210 event warning node-lost: the agent of node a is not connected; its members keep their last state
            210 event warning member-down: shop/s1 is down: did not run when its agent was last heard, which is not connected
            210 view shop 7.3: x up, s1 down
            300 event info node-connected: the agent of node a is connected
            300 event info member-starting: shop/s1 is starting: its agent has been told to start it
            300 view shop 7.4: x up, s1 starting
            300 assign a: x running 1, s1 running 1
            900 event info member-up: shop/s1 is up: passes its probe
            900 view shop 7.5: x up, s1 up
        "#]],
    );
}
