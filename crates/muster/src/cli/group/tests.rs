//! When a command that waits for a group has its answer.

use super::end_of;
use wire::group::{GroupCondition, GroupStatus, GroupVerb, NodeWhy};
use wire::id::{GroupName, NodeName};

fn group(state: GroupCondition, node: &str, epoch: u64) -> GroupStatus {
    let why = |node: &str, is_able: bool, why: &str| NodeWhy {
        node: NodeName::from(node),
        is_able,
        is_ailing: false,
        why: why.into(),
    };
    GroupStatus {
        group: GroupName::from("g"),
        state,
        node: Some(NodeName::from(node)),
        epoch,
        reason: "all of it was started".into(),
        since_ms: 0,
        is_frozen: false,
        nodes: ["a", "b"].map(NodeName::from).to_vec(),
        resources: Vec::new(),
        why: vec![why("a", true, "it can"), why("b", false, "the group failed there once")],
        last_move: None,
    }
}

#[test]
fn a_move_that_ends_where_it_began_has_not_come_about() {
    let before = group(GroupCondition::Online, "a", 4);
    let end = |verb, group: &GroupStatus, wanted| end_of(verb, &before, group, wanted);
    for verb in [GroupVerb::Move, GroupVerb::Failback] {
        assert_eq!(end(verb, &before, None), None, "it has not begun to leave");
        assert_eq!(end(verb, &group(GroupCondition::Starting, "b", 5), None), None);
        let there = end(verb, &group(GroupCondition::Online, "b", 5), None);
        assert_eq!(there, Some(Ok("group g runs on node b".into())));
        let back = end(verb, &group(GroupCondition::Online, "a", 6), None);
        let told = "group g runs on node a again; b: the group failed there once";
        assert_eq!(back, Some(Err(told.into())));
    }
}

#[test]
fn another_node_than_the_wanted_one_is_no_success() {
    let before = group(GroupCondition::Offline, "a", 4);
    for verb in [GroupVerb::Start, GroupVerb::Move] {
        let there = end_of(verb, &before, &group(GroupCondition::Online, "c", 5), Some("b"));
        let told = "group g runs on node c; b: the group failed there once";
        assert_eq!(there, Some(Err(told.into())));
        let wanted = end_of(verb, &before, &group(GroupCondition::Online, "b", 5), Some("b"));
        assert_eq!(wanted, Some(Ok("group g runs on node b".into())));
    }
}
