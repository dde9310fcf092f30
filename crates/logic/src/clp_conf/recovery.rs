//! What follows from the errors of a monitor: whose errors they are, how often it is restarted and moved, and the end.

use super::groups::COUNT_MAX;
use super::{Import, find, text_of};
use crate::plugin_cfg::xml::Element;

/// What the file calls the server itself as a target.
const SERVER: &str = "cls";

impl Import<'_> {
    pub(super) fn recovery(&mut self, monitor: &Element) {
        let Some(relation) = find(monitor, "relation/type") else { return };
        let kind = text_of(relation).to_owned();
        let target = self.take(monitor, "relation/name").unwrap_or_default().to_owned();
        self.take(monitor, "relation/type");
        let what =
            |path: &str| format!("{}[{}]/{path}", monitor.name, monitor.value("name").unwrap_or_default());
        let known = self.groups.iter().find_map(|group| match kind.as_str() {
            "grp" if group.given == target => Some((group.name.clone(), None, group.nodes.clone())),
            "rsc" => {
                let found = group.resources.iter().find(|(given, _)| *given == target)?;
                Some((group.name.clone(), Some(found.1.clone()), group.nodes.clone()))
            }
            _ => None,
        });
        let Some((group, resource, nodes)) = known else {
            let why = match kind.as_str() {
                SERVER => {
                    "a monitor recovers groups: `all_groups` makes its errors those of all groups of the node"
                }
                _ => "what it recovers was not taken",
            };
            return self.note(relation, what("relation"), why);
        };
        self.text.value("group", &group);
        if let Some(resource) = resource {
            self.text.value("resource", &resource);
        }
        match self.take(monitor, "polling/timing") {
            Some("0") => self.text.value("when", "always"),
            // There each failure counts from the first one on.
            _ => self.text.plain("start_period_ms", 0),
        }
        // What is active is what is recovered.
        if let Some(observed) = find(monitor, "target").filter(|observed| text_of(observed) == target) {
            self.done.insert((observed.place.line, observed.place.column));
        }
        if let Some(seconds) = self.take_number(monitor, "firstmonwait") {
            self.text.plain("delay_ms", seconds.saturating_mul(1_000));
        }
        if let Some(restarts) = self.take_number(monitor, "emergency/threshold/restart") {
            self.text.plain("restarts_max", restarts.min(COUNT_MAX));
        }
        let newer = self.take_number(monitor, "emergency/threshold/fo2");
        if let Some(failovers) = newer.or(self.take_number(monitor, "emergency/threshold/fo")) {
            self.text.plain("failovers_max", failovers.min(COUNT_MAX));
        }
        self.final_action(monitor, &nodes);
    }

    fn final_action(&mut self, monitor: &Element, nodes: &[String]) {
        let Some(found) = find(monitor, "emergency/action") else { return };
        let number = self.take(monitor, "emergency/action").unwrap_or_default();
        let (action, stops_all) = match number {
            "0" | "1" => return,
            "2" => ("stop-group", false),
            "3" => ("stop-service", true),
            "4" => ("shutdown", true),
            "5" => ("reboot", true),
            _ => ("", false),
        };
        let has_manager = self.servers.first().is_some_and(|first| nodes.contains(first));
        let why = match action {
            "" => format!("there is no final action like {number}"),
            _ if stops_all && has_manager => {
                format!("`{action}` would also stop the only manager, which is on the first server")
            }
            _ => return self.text.value("final_action", action),
        };
        let name = monitor.value("name").unwrap_or_default();
        self.note(found, format!("{}[{name}]/emergency/action", monitor.name), why);
    }
}
