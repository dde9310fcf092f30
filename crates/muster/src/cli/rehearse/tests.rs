//! What `muster rehearse` says of configurations: each by the machines themselves, so a changed rule changes these texts.

use super::{as_json, print, rehearse};
use crate::config;
use expect_test::{Expect, expect};
use std::time::{Duration, Instant};
use wire::settings::CellSettings;

fn cell(text: &str) -> CellSettings {
    config::parse(text, "test.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn check(text: &str, only: &[&str], expected: Expect) {
    let settings = cell(text);
    let only: Vec<String> = only.iter().map(|word| (*word).to_owned()).collect();
    let findings = rehearse(&settings, &only).expect("these losses exist");
    let told = print::tell(&settings, &findings, false);
    // The heading is the same each time.
    let told: Vec<&str> = told.lines().skip(4).collect();
    expected.assert_eq(&told.join("\n"));
}

const NODES: &str = r#"
    [cell]
    name = "mail"
    state_dir = "/tmp"
    [manager]
    listen = "0.0.0.0:29001"
    [nodes.boss]
    address = "10.0.0.1"
    [nodes.one]
    address = "10.0.0.2"
    [nodes.two]
    address = "10.0.0.3"
"#;

fn group(name: &str, nodes: &str, more: &str) -> String {
    format!(
        "[groups.{name}]\nnodes = {nodes}\n{more}\n[groups.{name}.resources.server]\ntype = \"process\"\n\
         command = [\"/bin/server\"]\n"
    )
}

#[test]
fn a_group_goes_to_the_next_node_and_not_without_a_manager() {
    let text = format!("{NODES}{}", group("mail", "[\"one\", \"two\"]", ""));
    check(
        &text,
        &[],
        expect![[r#"
            all nodes boot at once
              mail           runs on one after 0.16 s

            the manager of boss is lost
              mail           NOT SAVED: one ends it 1.2 s after its last answered heartbeat, until it is back: the only manager, on boss, is gone

            node boss is lost
              mail           NOT SAVED: one ends it 1.2 s after its last answered heartbeat, until it is back: the only manager, on boss, is gone

            node one is lost
              mail           one -> two, away 1.50 s, at most 1.58 s: node one is lost

            node two is lost
              nothing is touched

            nodes boss and one are lost
              mail           NOT SAVED: nobody decides: the only manager, on boss, is gone

            nodes boss and two are lost
              mail           NOT SAVED: one ends it 1.2 s after its last answered heartbeat, until it is back: the only manager, on boss, is gone

            nodes one and two are lost
              note: a manager hears none of 2 nodes, believes itself cut off, and decides nothing
              mail           NOT SAVED: the agent of node one is not connected

            3 links: everything is saved, groups are away for at most 0.38 s

            1 group that fails on its node: everything is saved, groups are away for at most 0.01 s

            12 losses rehearsed: 5 leave a group down."#]],
    );
}

#[test]
fn a_group_that_is_moved_by_hand_needs_a_persons_word() {
    let text = format!("{NODES}{}", group("mail", "[\"one\", \"two\"]", "failover = \"manual\""));
    check(
        &text,
        &["node:one", "manager"],
        expect![[r#"
            the manager of boss is lost
              nothing is touched

            node one is lost
              mail           BY HAND: node one may still run it, and no lease ends that: once that node is off, say so with `muster group confirm-off mail one` (then it runs on two)

            2 losses rehearsed: 1 need a person."#]],
    );
}

#[test]
fn groups_that_stay_apart_are_in_each_others_way() {
    let mail = group("mail", "[\"one\", \"two\"]", "apart = [\"web\"]");
    let text = format!("{NODES}{mail}{}", group("web", "[\"two\", \"one\"]", ""));
    check(
        &text,
        &["node:one"],
        expect![[r#"
        node one is lost
          mail           NOT SAVED: node one is lost, and no other can run it: two: group web is there, from which it is kept apart

        1 loss rehearsed: 1 leave a group down."#]],
    );
}

#[test]
fn two_nodes_alone_cannot_help_each_other_both_ways() {
    let text = format!(
        "{}{}",
        NODES.replace("[nodes.two]\n    address = \"10.0.0.3\"", ""),
        group("mail", "[\"boss\", \"one\"]", "")
    );
    check(
        &text,
        &[],
        expect![[r#"
            all nodes boot at once
              mail           runs on boss after 0.16 s

            the manager of boss is lost
              mail           NOT SAVED: boss ends it 1.2 s after its last answered heartbeat, until it is back: the only manager, on boss, is gone

            node boss is lost
              mail           NOT SAVED: nobody decides: the only manager, on boss, is gone

            node one is lost
              nothing is touched

            1 link: everything is saved

            1 group that fails on its node: everything is saved, groups are away for at most 0.01 s

            To be known:
            - two nodes, and nothing outside of them: when boss is lost, or the network between the two, one cannot know which it is, so it ends mail and takes over nothing; that is for a person. A manager on a third machine, however small, changes that

            6 losses rehearsed: 2 leave a group down."#]],
    );
}

#[test]
fn groups_pile_up_and_that_is_told() {
    let names = ["a", "b", "c"];
    let groups = names.map(|name| group(name, "[\"one\", \"two\"]", "")).concat();
    check(
        &format!("{NODES}{groups}"),
        &["node:one"],
        expect![[r#"
        node one is lost
          a              one -> two, away 1.50 s, at most 1.58 s: node one is lost
          b              one -> two, away 1.50 s, at most 1.58 s: node one is lost
          c              one -> two, away 1.50 s, at most 1.58 s: node one is lost
          node two then runs 3 groups; before 0

        1 loss rehearsed: everything is saved."#]],
    );
}

#[test]
fn clusters_lose_members_and_one_of_one_is_told() {
    let text = format!(
        r#"{NODES}
        [routers.front]
        node = "boss"
        listen = ["10.0.0.1:8080"]
        [clusters.shop.members.first]
        node = "one"
        address = "10.0.0.2:9000"
        command = ["/bin/shop", "{{port}}"]
        [clusters.shop.members.second]
        node = "two"
        command = ["/bin/shop", "{{port}}"]
        [clusters.only.members.one]
        node = "two"
        command = ["/bin/only", "{{port}}"]
        [[routers.front.routes]]
        path = "/"
        clusters = ["shop"]
        "#
    );
    let text = text.replace("        address = \"10.0.0.2:9000\"\n        command", "        command");
    check(
        &text,
        &["node", "link", "member"],
        expect![[r#"
            node boss is lost
              nothing is touched

            node one is lost
              shop           1 of 2 members left: its members on one are lost with their machines

            node two is lost
              shop           1 of 2 members left: its members on two are lost with their machines
              only           NO MEMBER LEFT of 1: its members on two are lost with their machines

            3 links: everything is saved

            member one of cluster only is lost
              only           NO MEMBER LEFT of 1: it is the only one; its agent starts it again after 0.20 s

            2 members: everything is saved

            9 losses rehearsed: 2 leave a cluster without members."#]],
    );
}

#[test]
fn what_cannot_be_lost_is_refused_with_what_can() {
    let settings = cell(&format!("{NODES}{}", group("mail", "[\"one\", \"two\"]", "")));
    let refused = |word: &str| rehearse(&settings, &[word.to_owned()]).expect_err("there is no such loss");
    expect!["there is no kind of loss \"disk\"; there is boot, manager, node, pair, link, group, member"]
        .assert_eq(&refused("disk"));
    expect!["nothing can be lost that is called \"node:three\"; of that kind there is boss; one; two"]
        .assert_eq(&refused("node:three"));
}

#[test]
fn json_has_each_loss_with_its_kind_and_whether_all_is_saved() {
    let settings = cell(&format!("{NODES}{}", group("mail", "[\"one\", \"two\"]", "")));
    let findings = rehearse(&settings, &["node:one".to_owned()]).expect("the loss exists");
    expect![[r#"
        {
          "cautions": [],
          "cell": "mail",
          "losses": [
            {
              "clusters": [],
              "crowds": [],
              "groups": [
                {
                  "away": {
                    "most_ms": 1580,
                    "typical_ms": 1505
                  },
                  "end": "saved",
                  "from": "one",
                  "group": "mail",
                  "to": "two",
                  "why": "node one is lost"
                }
              ],
              "loss": {
                "kind": "node",
                "name": "one"
              },
              "notes": [],
              "saved": true
            }
          ],
          "profile": "normal",
          "saved": true
        }
    "#]]
    .assert_eq(&as_json(&settings, &findings));
}

/// The largest cell that the bound names: each pair, each link to the manager, each group. Ten times what it takes when the
/// machine is idle, without optimization.
#[test]
fn twenty_nodes_with_two_hundred_groups_are_rehearsed_in_seconds() {
    let nodes: String =
        (0..20).map(|node| format!("[nodes.n{node}]\naddress = \"10.0.0.{}\"\n", node + 1)).collect();
    let names = |first: usize| {
        let names: Vec<String> = (0..4).map(|next| format!("\"n{}\"", (first + next) % 20)).collect();
        format!("[{}]", names.join(", "))
    };
    let groups: String = (0..200).map(|place| group(&format!("g{place}"), &names(place % 20), "")).collect();
    let text = format!(
        "[cell]\nname = \"big\"\nstate_dir = \"/tmp\"\n[manager]\nlisten = \"0.0.0.0:29001\"\n{nodes}{groups}"
    );
    let settings = cell(&text);
    let begun = Instant::now();
    let findings = rehearse(&settings, &["pair".to_owned()]).expect("there are pairs");
    assert_eq!(findings.outcomes.len(), 190);
    assert!(begun.elapsed() < Duration::from_secs(200), "it took {:?}", begun.elapsed());
    let saved = findings.outcomes.iter().filter(|outcome| outcome.is_saved()).count();
    // All but those with the manager's own machine.
    assert_eq!(saved, 171);
}
