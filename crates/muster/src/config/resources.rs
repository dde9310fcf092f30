//! Looks whether this machine has what the resources of its groups need: interfaces, agents, devices.
//!
//! Only for `muster check`: a node that lacks something must not keep the manager from starting.

use super::document::{At, Document};
use super::problem::{KeyPath, Problems};
use crate::resource;
use wire::error_code;
use wire::id::NodeName;
use wire::settings::CellSettings;

/// What the groups that `node` may run would not find on this machine.
pub fn check(settings: &CellSettings, text: &str, file: &str, node: &NodeName) -> Problems {
    let mut problems = Problems::default();
    let Ok(document) = Document::read(text, file) else { return problems };
    for group in settings.groups.iter().filter(|group| group.nodes.contains(node)) {
        for settings in &group.resources {
            let Some(kind) = resource::find(&settings.kind.name) else { continue };
            let path = KeyPath::of(&["groups", &group.name.0, "resources", &settings.name.0]);
            for missing in (kind.look)(settings) {
                let message = format!("on this machine: {missing}");
                let problem = document.problem(error_code::RESOURCE_NOT_USABLE, &path, At::Key, message);
                problems
                    .push(problem.allowing("what the resource needs, on each node of the group".to_owned()));
            }
        }
    }
    problems
}
