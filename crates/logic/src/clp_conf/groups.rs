//! Groups and their resources.

use super::{Import, find, text_of, toml};
use crate::plugin_cfg::xml::Element;

/// What ExpressCluster gives a script where the file does not say, in seconds.
const SCRIPT_TIMEOUT_S: u64 = 1_800;

/// One exec resource, with what it depends on.
struct Exec<'a> {
    name: String,
    given: String,
    element: &'a Element,
    after: Vec<String>,
}

impl Import<'_> {
    pub(super) fn groups(&mut self, root: &Element) {
        let resources = root.all("resource").next();
        for group in root.all("group") {
            self.group(group, resources);
        }
        // Those that no group has are told about with the rest.
    }

    fn group(&mut self, group: &Element, resources: Option<&Element>) {
        let Some(name) = self.name(group, "group") else { return };
        let mut execs: Vec<Exec> = Vec::new();
        for member in group.all("resource") {
            self.done.insert((member.place.line, member.place.column));
            let full = member.value("name").unwrap_or_default().to_owned();
            let Some((kind, given)) = full.split_once('@') else {
                self.note(
                    member,
                    format!("group[{name}]/resource[{full}]"),
                    "a resource is written TYPE@NAME",
                );
                continue;
            };
            let found = resources
                .and_then(|all| all.elements().find(|it| it.name == kind && it.value("name") == Some(given)));
            let Some(element) = found else {
                self.note(member, format!("group[{name}]/resource[{full}]"), "the file does not describe it");
                continue;
            };
            if kind != "exec" {
                self.note(element, format!("resource[{full}]"), why_not(kind));
                continue;
            }
            let Some(own) = self.named(element, given, "exec") else { continue };
            let depends = element.all("depend");
            let after: Vec<String> = depends.filter_map(|it| it.value("name").map(str::to_owned)).collect();
            execs.push(Exec { name: own, given: given.to_owned(), element, after });
        }
        if execs.is_empty() {
            self.note(
                group,
                format!("group[{name}]"),
                "none of its resources is taken, so it would be empty",
            );
            return;
        }
        self.text.table(&format!("groups.{}", toml::key(&name)));
        let nodes = self.policy(group);
        self.text.list("nodes", nodes.iter().map(String::as_str));
        if self.take(group, "start") == Some("0") {
            self.text.value("startup", "manual");
        }
        let given_group = group.value("name").unwrap_or_default().to_owned();
        for exec in in_order(execs) {
            self.exec(&name, &given_group, &exec);
        }
    }

    /// The servers that may run a group, in order.
    fn policy(&mut self, group: &Element) -> Vec<String> {
        let mut policy: Vec<(u64, String)> = Vec::new();
        for server in group.all("policy") {
            let order = self.take_number(server, "order").unwrap_or(u64::MAX);
            self.done.insert((server.place.line, server.place.column));
            if let Some(name) = self.name(server, "policy") {
                match self.servers.contains(&name) {
                    true => policy.push((order, name)),
                    false => self.note(server, format!("policy[{name}]"), "there is no server of this name"),
                }
            }
        }
        policy.sort_by_key(|(order, _)| *order);
        if policy.is_empty() {
            return self.servers.clone();
        }
        policy.into_iter().map(|(_, name)| name).collect()
    }

    fn exec(&mut self, group: &str, given_group: &str, exec: &Exec) {
        let element = exec.element;
        for depend in element.all("depend") {
            self.done.insert((depend.place.line, depend.place.column));
        }
        let is_asynchronous = self.take(element, "parameters/act/sync") == Some("0");
        if self.take(element, "parameters/deact/sync") == Some("0") {
            let place = find(element, "parameters/deact/sync").unwrap_or(element);
            let what = format!("exec[{}]/parameters/deact/sync", exec.given);
            self.note(place, what, "a stop script is always waited for");
        }
        let directory = format!("{}/{given_group}/{}", self.scripts, exec.given);
        let path = |given: Option<&str>, preset: &str| match given {
            Some(path) if path.starts_with('/') => path.to_owned(),
            Some(path) => format!("{directory}/{path}"),
            None => format!("{directory}/{preset}"),
        };
        let start = path(self.take(element, "parameters/act/path"), "start.sh");
        let stop = path(self.take(element, "parameters/deact/path"), "stop.sh");
        let seconds = |given: Option<u64>| given.unwrap_or(SCRIPT_TIMEOUT_S).saturating_mul(1_000);
        let start_ms = seconds(self.take_number(element, "parameters/timeout/start"));
        let stop_ms = seconds(self.take_number(element, "parameters/timeout/stop"));
        let table = |name: &str| format!("groups.{}.resources.{}", toml::key(group), toml::key(name));
        if !is_asynchronous {
            self.text.table(&table(&exec.name));
            self.text.value("type", "exec");
            self.text.list("start", [start.as_str()]);
            self.text.list("stop", [stop.as_str()]);
            self.text.plain("start_timeout_ms", start_ms);
            self.text.plain("stop_timeout_ms", stop_ms);
            return;
        }
        // A start script that nobody waits for runs as long as the group does: when it ends, that is a failure, which is what
        // a pid monitor would see.
        self.text.table(&table(&exec.name));
        self.text.value("type", "process");
        self.text.list("command", [start.as_str()]);
        self.text.comment("Its stop script; it is stopped before the one above.");
        self.text.table(&table(&format!("{}-stop", exec.name)));
        self.text.value("type", "exec");
        self.text.list("start", ["true"]);
        self.text.list("stop", [stop.as_str()]);
        self.text.plain("stop_timeout_ms", stop_ms);
    }
}

/// Why a resource of this type is not taken.
fn why_not(kind: &str) -> String {
    let nearest = match kind {
        "fip" => "a resource with type = \"address\" and the prefix of its network",
        "disk" => "a resource with type = \"filesystem\"",
        _ => return format!("resources of type {kind} are not taken"),
    };
    format!("resources of type {kind} are not taken: add {nearest} to the group by hand, before the others")
}

/// Each after those that it depends on, and otherwise as they stand in the file.
fn in_order(mut execs: Vec<Exec<'_>>) -> Vec<Exec<'_>> {
    let mut ordered: Vec<Exec> = Vec::new();
    while !execs.is_empty() {
        let waits = |exec: &Exec| {
            exec.after.iter().any(|after| execs.iter().any(|it| it.given == *after && it.given != exec.given))
        };
        // In a circle the first goes first.
        let next = execs.iter().position(|exec| !waits(exec)).unwrap_or(0);
        ordered.push(execs.remove(next));
    }
    ordered
}

/// The exec resources whose start script nobody waits for: of these a pid monitor is a part already.
pub(super) fn is_asynchronous(root: &Element, name: &str) -> bool {
    let resources = root.all("resource").next();
    let found = resources.and_then(|all| all.all("exec").find(|exec| exec.value("name") == Some(name)));
    let sync = found.and_then(|exec| find(exec, "parameters/act/sync"));
    sync.is_some_and(|sync| text_of(sync) == "0")
}
