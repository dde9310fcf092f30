//! Machines of nodes that are rebooted or shut down: what a person is told before, and what the node's agent is told.

use super::{Desk, Output, Place, To, error_body};
use logic::cell::Refusal;
use tokio::sync::oneshot;
use wire::error_code::AGENT_TOO_OLD_FOR_POWER;
use wire::id::NodeName;
use wire::link::FromManager;
use wire::node::PowerAct;
use wire::status::{ErrorBody, Severity};

/// A person's wish for a node's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerWish {
    pub who: String,
    pub node: NodeName,
    pub act: PowerAct,
    /// Only tell what would follow.
    pub dry_run: bool,
    /// Also where something would be without a node.
    pub is_confirmed: bool,
}

impl Desk {
    pub(super) fn wish_of_power(
        &self,
        wish: PowerWish,
        reply: oneshot::Sender<Result<String, ErrorBody>>,
    ) -> Vec<Output> {
        let PowerWish { who, node, act, dry_run, is_confirmed } = wish;
        let planned = self.planned_power(&node, act, is_confirmed);
        let text = match planned {
            Err(refusal) => return vec![Output::Answer { reply, result: Err(error_body(refusal)) }],
            Ok(text) if dry_run => {
                return vec![Output::Answer { reply, result: Ok(format!("dry run: {text}")) }];
            }
            Ok(text) => text,
        };
        let event = Output::NodeEvent {
            severity: Severity::Warning,
            kind: "node-power",
            node: node.clone(),
            id: None,
            text: format!("{who} asked: {text}"),
        };
        let commands = self.config.settings.node_power.get(&node).cloned().unwrap_or_default();
        let generation = self.cell.generation();
        let message = FromManager::Power { generation, act, command: commands.of(act), who };
        let told = Output::Send { to: To::One(Place::Agent(node)), message };
        vec![event, Output::Answer { reply, result: Ok(text) }, told]
    }

    fn planned_power(&self, node: &NodeName, act: PowerAct, is_confirmed: bool) -> Result<String, Refusal> {
        let managers = self.config.settings.managers();
        let text = self.groups.planner.plan_power(node, act, managers, is_confirmed)?;
        let peer = self.links.get(&Place::Agent(node.clone())).map(|linked| &linked.peer);
        match peer {
            Some(peer) if !peer.powers => {
                let message = format!(
                    "the agent of node {node} is of Muster {}, which cannot do that; nothing was changed",
                    peer.muster
                );
                Err(Refusal { code: AGENT_TOO_OLD_FOR_POWER, message, retry: false })
            }
            Some(_) | None => Ok(text),
        }
    }

    pub(super) fn power_failed(node: &NodeName, act: PowerAct, why: &str) -> Output {
        let text = format!("the machine of node {node} is not {}: {why}", act.done());
        let (severity, kind) = (Severity::Error, "node-power");
        Output::NodeEvent { severity, kind, node: node.clone(), id: None, text }
    }
}
