//! What people are shown of groups.

use super::{Group, Planner};
use crate::time::Time;
use wire::group::{GroupStatus, ResourceReport, ResourceState};

impl Planner {
    /// All groups in the order of their names. `unix_ms` makes times for people.
    pub fn status(&self, unix_ms: &dyn Fn(Time) -> u64) -> Vec<GroupStatus> {
        self.groups.values().map(|group| self.status_of(group, unix_ms)).collect()
    }

    fn status_of(&self, group: &Group, unix_ms: &dyn Fn(Time) -> u64) -> GroupStatus {
        let owner = group.record.owner.as_ref();
        let report = owner.and_then(|owner| self.nodes.get(owner)?.report_of(group));
        let resources = match report {
            Some(report) => report.resources.clone(),
            None => {
                let names = group.settings.resources.iter().map(|resource| resource.name.clone());
                names.map(|name| ResourceReport { name, state: ResourceState::Offline }).collect()
            }
        };
        GroupStatus {
            group: group.settings.name.clone(),
            state: group.condition,
            node: owner.cloned(),
            epoch: group.record.epoch,
            reason: group.reason.clone(),
            since_ms: unix_ms(group.since),
            is_frozen: group.record.is_frozen,
            nodes: group.settings.nodes.clone(),
            resources,
            why: self.whys(group),
            last_move: None,
        }
    }
}
