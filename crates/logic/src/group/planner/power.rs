//! What becomes of a cell when a node's machine is rebooted or shut down: said before it is done, and refused where a person has
//! to know better.
//!
//! Nothing is decided here that lasts: the node's agent ends what runs there in its order, as at every end of it, and what it no
//! longer runs is placed as always (`decide`).

use super::super::plan::{against, choose};
use super::operate::{no_such_node, refuse_for_now};
use super::{Group, Planner};
use crate::cell::Refusal;
use wire::error_code::NODE_POWER_UNCONFIRMED;
use wire::group::Attribute;
use wire::id::NodeName;
use wire::node::PowerAct;

const ONLY_MANAGER: &str = "the only manager runs there: while it is away nothing fails over, and groups that need a lease end on all nodes";

/// What becomes of one group of the node.
enum Fate {
    Goes(String),
    /// It runs nowhere until the node is back.
    Waits(String),
}

impl Planner {
    /// What would follow, for people; `managers` are the nodes that have one. What would be without a node has to be confirmed.
    pub fn plan_power(
        &self,
        node: &NodeName,
        act: PowerAct,
        managers: &[NodeName],
        is_confirmed: bool,
    ) -> Result<String, Refusal> {
        if !self.known.contains(node) {
            return Err(no_such_node(node, self.known.iter()));
        }
        if !self.nodes.get(node).is_some_and(|known| known.is_connected) {
            let message = format!("node {node} cannot be {}: its agent is not connected", act.done());
            return Err(refuse_for_now(message));
        }
        let on_it = self.groups.values().filter(|group| group.record.owner.as_ref() == Some(node));
        let fates: Vec<Fate> = on_it.map(|group| self.fate(group, node)).collect();
        let mut waits: Vec<&str> = Vec::new();
        let mut said: Vec<&str> = Vec::new();
        for fate in &fates {
            match fate {
                Fate::Goes(text) => said.push(text),
                Fate::Waits(text) => {
                    said.push(text);
                    waits.push(text);
                }
            }
        }
        if managers == std::slice::from_ref(node) {
            said.push(ONLY_MANAGER);
            waits.push(ONLY_MANAGER);
        }
        if !waits.is_empty() && !is_confirmed {
            let message = format!(
                "node {node} is not {}: {}. Confirm that with the node's name, or move what has to go on before",
                act.done(),
                waits.join("; ")
            );
            return Err(Refusal { code: NODE_POWER_UNCONFIRMED, message, retry: false });
        }
        let groups = if said.is_empty() { "no group is there".to_owned() } else { said.join("; ") };
        Ok(format!(
            "node {node} is being {}, once its groups have ended there in their order: {groups}",
            act.done()
        ))
    }

    fn fate(&self, group: &Group, node: &NodeName) -> Fate {
        let name = &group.settings.name;
        let waits = |why: String| Fate::Waits(format!("{name} runs nowhere until the node is back: {why}"));
        if !group.shall_run() {
            return Fate::Goes(format!("{name} is being stopped"));
        }
        if let Some(to) = group.record.to.as_ref().filter(|to| *to != node) {
            return Fate::Goes(format!("{name} is on its way to {to}"));
        }
        if let Some(why) = self.held(group) {
            return waits(why);
        }
        let whys = self.whys(group);
        let better = choose(&whys, Some(node));
        match better {
            Some(_) if group.settings.failover == Attribute::Manual => {
                waits("it goes to another node by a person's word only".into())
            }
            Some(to) => Fate::Goes(format!("{name} goes to {to}")),
            None => waits(format!("no other node can run it: {}", against(&whys, Some(node)))),
        }
    }
}
