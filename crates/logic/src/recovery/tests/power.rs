//! A node whose machine is rebooted or shut down by a person's word.

use super::*;
use wire::error_code::{ACT_MAKES_NO_SENSE, NO_SUCH_NODE, NODE_POWER_UNCONFIRMED};
use wire::node::{NodeAct, PowerAct};

fn boss() -> Vec<NodeName> {
    vec!["c".into()]
}

impl Story {
    fn with_nodes(groups: Vec<GroupSettings>) -> Self {
        let mut story = Self::new(groups, &[]);
        story.plan(PlannerInput::Nodes(["a", "b", "c"].map(NodeName::from).to_vec()));
        story.done();
        story
    }

    fn reboot(&mut self, node: &str) {
        let command = vec!["reboot".to_owned(), "now".to_owned()];
        let (generation, act, who) = (self.generation, PowerAct::Reboot, "ann".to_owned());
        self.tell(node, ResidentInput::Power { generation, act, command, who });
    }

    /// Text, or code and text of the refusal.
    fn plan_of(
        &self,
        node: &str,
        managers: &[NodeName],
        is_confirmed: bool,
    ) -> Result<String, (&str, String)> {
        let planned = self.planner.plan_power(&node.into(), PowerAct::Reboot, managers, is_confirmed);
        planned.map_err(|refusal| (refusal.code.0, refusal.message))
    }
}

#[test]
fn groups_end_in_their_order_and_go_elsewhere_and_then_the_program_is_run() {
    let mut story = Story::with_nodes(vec![group("mail")]);
    story.reboot("a");
    let done = story.done();
    story.reboot("a");
    assert_eq!(story.done(), Vec::<String>::new(), "the same is under way");
    let (generation, act, who) = (story.generation, PowerAct::Shutdown, "ann".to_owned());
    story.tell("a", ResidentInput::Power { generation, act, command: vec!["off".into()], who });
    assert_eq!(story.done(), ["a is not shut down: it is being rebooted"]);
    let program = done.iter().position(|line| line == "a is rebooted: reboot now").expect("it was run");
    assert_eq!(done[..3], ["a stop extra", "a stop server", "a stop disk"], "{done:?}");
    assert!(program >= 3 && done[program..].iter().all(|line| !line.starts_with("a st")), "{done:?}");
    assert_eq!(story.place("mail"), "online on b");
    // The machine ends, and with it the service: only now the node is gone.
    assert!(story.nodes.contains_key(&NodeName::from("a")));
    story.tell("a", ResidentInput::Shutdown);
    assert!(!story.nodes.contains_key(&NodeName::from("a")));
    assert!(story.done().iter().all(|line| !line.starts_with("a is")), "it is run once");
    story.join("a");
    assert_eq!(story.place("mail"), "online on b");
}

#[test]
fn a_node_whose_machine_goes_on_can_be_used_again() {
    let mut story = Story::with_nodes(vec![group("mail")]);
    let hand = GroupSettings { nodes: vec!["a".into()], ..group("local") };
    story.plan(PlannerInput::Configure(vec![group("mail"), hand]));
    assert_eq!(story.place("local"), "online on a");
    story.done();
    story.reboot("a");
    assert_eq!(story.starts("a", "disk"), 0, "nothing begins there meanwhile");
    assert_ne!(story.place("local"), "online on a");
    story.tell("a", ResidentInput::PowerFailed);
    story.later(1_000);
    assert_eq!(story.place("local"), "online on a", "{:?}", story.status("local"));
    let act = GroupAct::Move { node: Some("a".into()) };
    let (ask, who) = (7, "ann".to_owned());
    story.plan(PlannerInput::Operator { ask, who, group: "mail".into(), act, dry_run: false });
    assert_eq!(story.place("mail"), "online on a");
    // It can be asked for again.
    story.done();
    story.reboot("a");
    assert!(story.done().contains(&"a is rebooted: reboot now".to_owned()));
}

#[test]
fn a_manager_that_was_followed_by_another_one_reboots_nothing() {
    let mut story = Story::with_nodes(vec![group("mail")]);
    let (generation, act, who) = (story.generation - 1, PowerAct::Shutdown, "ann".to_owned());
    story.tell("a", ResidentInput::Power { generation, act, command: vec!["off".into()], who });
    assert_eq!(story.place("mail"), "online on a");
    assert_eq!(story.done(), Vec::<String>::new());
    // What was never asked for cannot fail either.
    story.tell("a", ResidentInput::PowerFailed);
    assert_eq!(story.place("mail"), "online on a");
}

#[test]
fn a_service_that_ends_meanwhile_ends() {
    let mut story = Story::with_nodes(vec![group("mail")]);
    story.tell("a", ResidentInput::Shutdown);
    story.join("a");
    story.reboot("a");
    story.tell("a", ResidentInput::Shutdown);
    story.tell("a", ResidentInput::PowerFailed);
    assert!(!story.nodes.contains_key(&NodeName::from("a")));
}

#[test]
fn a_person_is_told_where_groups_go() {
    let off = GroupSettings { startup: Attribute::Manual, ..group("idle") };
    let story = Story::with_nodes(vec![group("mail"), group("web"), off]);
    assert_eq!(
        story.plan_of("a", &boss(), false).as_deref(),
        Ok(
            "node a is being rebooted, once its groups have ended there in their order: mail goes to b; web goes to b"
        )
    );
    assert_eq!(
        story.plan_of("b", &boss(), false).as_deref(),
        Ok("node b is being rebooted, once its groups have ended there in their order: no group is there")
    );
}

#[test]
fn what_would_be_without_a_node_has_to_be_confirmed() {
    let hand = GroupSettings { failover: Attribute::Manual, ..group("hand") };
    let mut story = Story::with_nodes(vec![group("mail"), hand]);
    let (code, why) = story.plan_of("a", &boss(), false).expect_err("one group has no other node");
    assert_eq!(code, NODE_POWER_UNCONFIRMED.0);
    assert!(
        why.contains(
            "hand runs nowhere until the node is back: it goes to another node by a person's word only"
        ),
        "{why}"
    );
    assert!(!why.contains("mail"), "{why}");
    let text = story.plan_of("a", &boss(), true).expect("it is confirmed");
    assert!(text.contains("mail goes to b") && text.contains("hand runs nowhere"), "{text}");

    let wish = |story: &mut Story, act| {
        let (ask, who, node) = (1, "ann".to_owned(), "a".into());
        story.plan(PlannerInput::NodeOperator { ask, who, node, act, dry_run: false });
    };
    wish(&mut story, NodeAct::MaintenanceOn);
    let (_, why) = story.plan_of("a", &boss(), false).expect_err("nothing moves");
    assert!(why.contains("mail runs nowhere until the node is back: node a is in maintenance"), "{why}");
    wish(&mut story, NodeAct::MaintenanceOff);

    // The last node that can.
    story.tell("b", ResidentInput::Shutdown);
    let (_, why) = story.plan_of("a", &boss(), false).expect_err("there is no other node");
    assert!(why.contains("mail runs nowhere until the node is back: no other node can run it: b:"), "{why}");
}

#[test]
fn the_only_manager_goes_by_a_confirmed_word_only_and_one_of_several_as_any_node() {
    let story = Story::with_nodes(Vec::new());
    let (code, why) = story.plan_of("a", &["a".into()], false).expect_err("nobody would lead");
    assert_eq!(code, NODE_POWER_UNCONFIRMED.0);
    assert!(why.contains("the only manager runs there"), "{why}");
    assert!(story.plan_of("a", &["a".into()], true).is_ok_and(|text| text.contains("the only manager")));
    let several = ["a", "b", "c"].map(NodeName::from);
    assert!(story.plan_of("a", &several, false).is_ok_and(|text| !text.contains("manager")));
}

#[test]
fn nodes_that_there_are_not_or_that_nobody_can_tell_are_refused() {
    let mut story = Story::with_nodes(vec![group("mail")]);
    assert_eq!(story.plan_of("z", &boss(), true).map_err(|(code, _)| code), Err(NO_SUCH_NODE.0));
    story.tell("b", ResidentInput::Shutdown);
    let (code, why) = story.plan_of("b", &boss(), true).expect_err("it is gone");
    assert_eq!(
        (code, why.as_str()),
        (ACT_MAKES_NO_SENSE.0, "node b cannot be rebooted: its agent is not connected")
    );
}
