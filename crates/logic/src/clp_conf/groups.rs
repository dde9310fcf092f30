//! Groups and their resources.

use super::{Group, Import, Note, find, text_of, toml};
use crate::plugin_cfg::xml::Element;
use std::net::IpAddr;

/// What ExpressCluster gives a script where the file does not say, in seconds.
const SCRIPT_TIMEOUT_S: u64 = 1_800;
/// Most restarts and failovers that a configuration takes.
pub(super) const COUNT_MAX: u64 = 1_000;

/// One resource, with what it depends on.
struct Resource<'a> {
    kind: Kind,
    name: String,
    given: String,
    element: &'a Element,
    after: Vec<String>,
}

/// Types that are taken, in the order in which they are started where the file does not say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Disk,
    Address,
    Exec,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        match name {
            "disk" => Some(Kind::Disk),
            "fip" => Some(Kind::Address),
            "exec" => Some(Kind::Exec),
            _ => None,
        }
    }
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
        let mut taken: Vec<Resource> = Vec::new();
        for member in group.all("resource") {
            taken.extend(self.resource(&name, member, resources));
        }
        if taken.is_empty() {
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
        if nodes.len() > 1 && taken.iter().any(|resource| resource.kind == Kind::Disk) {
            self.text.value("class", "hard");
        }
        self.limits(&taken);
        let given_group = group.value("name").unwrap_or_default().to_owned();
        let names = taken.iter().map(|resource| (resource.given.clone(), resource.name.clone())).collect();
        self.groups.push(Group { given: given_group.clone(), name: name.clone(), nodes, resources: names });
        for resource in in_order(taken) {
            match resource.kind {
                Kind::Disk => self.disk(&name, &resource),
                Kind::Address => self.address_of_group(&name, &resource),
                Kind::Exec => self.exec(&name, &given_group, &resource),
            }
        }
    }

    fn resource<'a>(
        &mut self,
        group: &str,
        member: &Element,
        resources: Option<&'a Element>,
    ) -> Option<Resource<'a>> {
        self.done.insert((member.place.line, member.place.column));
        let full = member.value("name").unwrap_or_default().to_owned();
        let what = format!("group[{group}]/resource[{full}]");
        let Some((kind, given)) = full.split_once('@') else {
            self.note(member, what, "a resource is written TYPE@NAME");
            return None;
        };
        let found = resources
            .and_then(|all| all.elements().find(|it| it.name == kind && it.value("name") == Some(given)));
        let Some(element) = found else {
            self.note(member, what, "the file does not describe it");
            return None;
        };
        let known = Kind::named(kind).ok_or_else(|| not_taken(kind));
        let kind = match known.and_then(|known| lacks(known, element).map_or(Ok(known), Err)) {
            Ok(kind) => kind,
            Err(why) => {
                self.note(element, format!("resource[{full}]"), why);
                return None;
            }
        };
        let name = self.named(element, given, kind.word())?;
        let depends = element.all("depend");
        let after: Vec<String> = depends.filter_map(|it| it.value("name").map(str::to_owned)).collect();
        for depend in element.all("depend") {
            self.done.insert((depend.place.line, depend.place.column));
        }
        Some(Resource { kind, name, given: given.to_owned(), element, after })
    }

    /// What resources say of failed starts, for the group: the most of all.
    fn limits(&mut self, resources: &[Resource<'_>]) {
        for (paths, key) in [(["act/retry", ""], "restarts_max"), (["act/fo2", "act/fo"], "failovers_max")] {
            let mut most = None;
            for resource in resources {
                for path in paths.iter().filter(|path| !path.is_empty()) {
                    most = most.max(self.take_number(resource.element, path));
                }
            }
            if let Some(most) = most {
                self.text.plain(key, most.min(COUNT_MAX));
            }
        }
        for resource in resources {
            // After all that a group stays down, which is what 1 and 2 say; with 0 the rest of it would be started.
            let element = resource.element;
            let action = find(element, "act/action").map(text_of);
            if matches!(action, Some("1" | "2")) {
                self.take(element, "act/action");
            } else if let Some(found) = find(element, "act/action") {
                let what = format!("{}[{}]/act/action", resource.kind.word(), resource.given);
                self.note(
                    found,
                    what,
                    "a group that cannot be started stays down; only monitors have a final action",
                );
            }
        }
    }

    fn disk(&mut self, group: &str, disk: &Resource<'_>) {
        let element = disk.element;
        let mut text = |path: &str| self.take(element, path).unwrap_or_default().to_owned();
        let (device, point) = (text("parameters/device"), text("parameters/mount/point"));
        let (kind, file_system) = (text("parameters/disktype"), text("parameters/fs"));
        if kind == "lvm" {
            let place = find(element, "parameters/disktype").unwrap_or(element);
            let what = format!("disk[{}]/parameters/disktype", disk.given);
            self.note(
                place,
                what,
                "the volume must be active on each node: nothing here activates a volume group",
            );
        }
        let what = format!("disk[{}]", disk.given);
        let why = "machines that share a disk need a fence: without one the group goes to another node only by \
                   `muster group confirm-off`";
        self.notes.push(Note { place: element.place, what, why: why.into() });
        self.text.table(&table(group, &disk.name));
        self.text.value("type", "filesystem");
        self.text.value("device", &device);
        self.text.value("mount_point", &point);
        self.text.value("file_system", &file_system);
    }

    fn address_of_group(&mut self, group: &str, fip: &Resource<'_>) {
        let given = self.take(fip.element, "parameters/ip").unwrap_or_default();
        let Some((address, prefix, interface)) = address(given) else { return };
        let place = find(fip.element, "parameters/ip").unwrap_or(fip.element).place;
        let prefix = prefix.unwrap_or_else(|| {
            let usual = if address.is_ipv4() { 24 } else { 64 };
            let why =
                format!("the file does not say how long the prefix of its network is: /{usual} is written");
            self.notes.push(Note { place, what: format!("fip[{}]/parameters/ip", fip.given), why });
            usual
        });
        self.text.table(&table(group, &fip.name));
        self.text.value("type", "address");
        self.text.value("address", &format!("{address}/{prefix}"));
        if let Some(interface) = interface {
            self.text.value("interface", interface);
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

    fn exec(&mut self, group: &str, given_group: &str, exec: &Resource<'_>) {
        let element = exec.element;
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
        if !is_asynchronous {
            self.text.table(&table(group, &exec.name));
            self.text.value("type", "exec");
            self.text.list("start", [start.as_str()]);
            self.text.list("stop", [stop.as_str()]);
            self.text.plain("start_timeout_ms", start_ms);
            self.text.plain("stop_timeout_ms", stop_ms);
            return;
        }
        // A start script that nobody waits for runs as long as the group does: when it ends, that is a failure, which is what
        // a pid monitor would see.
        self.text.table(&table(group, &exec.name));
        self.text.value("type", "process");
        self.text.list("command", [start.as_str()]);
        self.text.comment("Its stop script; it is stopped before the one above.");
        self.text.table(&table(group, &format!("{}-stop", exec.name)));
        self.text.value("type", "exec");
        self.text.list("start", ["true"]);
        self.text.list("stop", [stop.as_str()]);
        self.text.plain("stop_timeout_ms", stop_ms);
    }
}

impl Kind {
    /// As the file calls it.
    fn word(self) -> &'static str {
        match self {
            Kind::Disk => "disk",
            Kind::Address => "fip",
            Kind::Exec => "exec",
        }
    }
}

fn table(group: &str, resource: &str) -> String {
    format!("groups.{}.resources.{}", toml::key(group), toml::key(resource))
}

/// `10.0.0.12`, `10.0.0.12/24`, `fe80::1%eth0`: the address, the length of its prefix and the interface, as far as they are there.
fn address(text: &str) -> Option<(IpAddr, Option<u8>, Option<&str>)> {
    let (text, interface) = match text.split_once('%') {
        Some((text, interface)) => (text, Some(interface)),
        None => (text, None),
    };
    let (text, prefix) = match text.split_once('/') {
        Some((text, prefix)) => (text, Some(prefix.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = text.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|prefix| (1..=most).contains(&prefix)).then_some((address, prefix, interface))
}

/// Why a resource of a type that is taken cannot be.
fn lacks(kind: Kind, element: &Element) -> Option<String> {
    let says = |path: &str| find(element, path).map(text_of).filter(|text| !text.is_empty());
    match kind {
        Kind::Exec => None,
        Kind::Address => match says("parameters/ip") {
            Some(text) if address(text).is_some() => None,
            Some(text) => Some(format!("`{text}` is no address")),
            None => Some("it has no address".to_owned()),
        },
        Kind::Disk => {
            let missing = ["parameters/device", "parameters/mount/point", "parameters/fs"];
            if let Some(kind) = says("parameters/disktype").filter(|kind| !matches!(*kind, "disk" | "lvm")) {
                return Some(format!("disks of type {kind} are not taken"));
            }
            let missing = missing.into_iter().find(|path| says(path).is_none())?;
            Some(format!("it has no {missing}"))
        }
    }
}

/// Why a resource of this type is not taken.
fn not_taken(kind: &str) -> String {
    match kind {
        "md" | "hd" => format!(
            "resources of type {kind} are not taken: what mirrors a disk is something else's business; add its file system \
             to the group by hand, before the others"
        ),
        _ => format!("resources of type {kind} are not taken"),
    }
}

/// Disks and addresses first, each after those that it depends on, and otherwise as they stand in the file.
fn in_order(mut resources: Vec<Resource<'_>>) -> Vec<Resource<'_>> {
    resources.sort_by_key(|resource| resource.kind);
    let mut ordered: Vec<Resource> = Vec::new();
    while !resources.is_empty() {
        let waits = |resource: &Resource| {
            let is_left =
                |after: &String| resources.iter().any(|it| it.given == *after && it.given != resource.given);
            resource.after.iter().any(is_left)
        };
        // In a circle the first goes first.
        let next = resources.iter().position(|resource| !waits(resource)).unwrap_or(0);
        ordered.push(resources.remove(next));
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
