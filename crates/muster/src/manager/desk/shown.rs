//! What people are shown of nodes that only connections tell.

use super::{Desk, Output, Place};
use logic::time::Time;
use wire::id::{ManagerNumber, NodeNumber};
use wire::status::{NodeStatus, Severity};

impl Desk {
    /// What people are told of another manager. One that was taken out of the configuration is none.
    pub(super) fn fellow(&self, manager: ManagerNumber, is_there: bool) -> Vec<Output> {
        let Some(node) = self.cell.node_of(NodeNumber(u32::from(manager.0))) else { return Vec::new() };
        let (severity, kind, text) = match is_there {
            true => (Severity::Info, "manager-back", format!("the manager on node {node} is heard again")),
            false => (
                Severity::Warning,
                "manager-down",
                format!(
                    "the manager on node {node} is not heard: it does not run, or is cut off from the one that leads. One \
                     fewer can take over"
                ),
            ),
        };
        vec![Output::Event { severity, kind, cluster: None, member: None, text }]
    }

    /// Adds what is known from their connections to what the cell knows of nodes.
    pub fn describe(&self, nodes: &mut [NodeStatus], unix_ms: &dyn Fn(Time) -> u64) {
        for status in nodes {
            if self.node == status.node {
                status.roles.push("manager".into());
                status.version = env!("CARGO_PKG_VERSION").to_owned();
            }
            if let Some(linked) = self.links.get(&Place::Agent(status.node.clone())) {
                status.roles.push("agent".into());
                status.since_ms = Some(unix_ms(linked.since));
                status.address = linked.peer.from.map(|from| from.ip().to_canonical());
                status.version.clone_from(&linked.peer.muster);
            }
            let here = self.config.settings.routers.iter().filter(|router| router.node == status.node);
            let linked = here.filter(|router| self.links.contains_key(&Place::Router(router.name.clone())));
            status.roles.extend(linked.map(|router| format!("router {}", router.name)));
        }
    }
}
