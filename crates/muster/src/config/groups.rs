//! Reads failover groups, and finds those that could not run or not be safe.

use super::definitions;
use super::document::{At, Table};
use super::problem::KeyPath;
use super::reader::Reader;
use super::settings::{Builder, listed, named};
use crate::resource::{self, TYPES};
use std::collections::BTreeMap;
use wire::error_code;
use wire::group::{Attribute, GroupClass, GroupSettings, ResourceKind, ResourceSettings};
use wire::id::{GroupName, NodeName, ResourceName};
use wire::settings::CellSettings;

/// All of `[groups.NAME]`, in the order of the file.
pub fn read(builder: &mut Builder<'_>) -> Vec<GroupSettings> {
    let tables = named(&builder.document.root, "groups");
    let names: Vec<String> = tables.iter().map(|(name, _)| (*name).to_owned()).collect();
    tables.into_iter().map(|(name, table)| group(builder, name, table, &names)).collect()
}

fn group(builder: &mut Builder<'_>, name: &str, table: &Table, names: &[String]) -> GroupSettings {
    let path = KeyPath::of(&["groups", name]);
    let reader = Reader::new("groups.*", vec![(path.clone(), Some(table))]);
    let resources = named(table, "resources");
    if resources.is_empty() {
        let message = format!("group `{name}` has no resources");
        let allowed = format!("at least one [{path}.resources.NAME]");
        builder.refuse(error_code::CONFIG_MISSING, &path.with("resources"), At::Key, message, &allowed);
    }
    let resources = resources.into_iter().map(|(own, table)| resource(builder, name, own, table)).collect();
    GroupSettings {
        name: GroupName::from(name),
        nodes: nodes(builder, &path, &reader),
        startup: attribute(&reader, "startup"),
        failover: attribute(&reader, "failover"),
        failback: attribute(&reader, "failback"),
        class: match reader.text("class").as_str() {
            "hard" => GroupClass::Hard,
            _ => GroupClass::Soft,
        },
        restarts_max: reader.small_integer("restarts_max"),
        failovers_max: reader.small_integer("failovers_max"),
        after: others(builder, &path, &reader, "after", names),
        apart: others(builder, &path, &reader, "apart", names),
        resources,
    }
}

fn attribute(reader: &Reader<'_>, key: &str) -> Attribute {
    match reader.text(key).as_str() {
        "manual" => Attribute::Manual,
        _ => Attribute::Automatic,
    }
}

fn nodes(builder: &mut Builder<'_>, path: &KeyPath, reader: &Reader<'_>) -> Vec<NodeName> {
    let mut nodes: Vec<NodeName> = Vec::new();
    for (index, name) in reader.list("nodes").into_iter().enumerate() {
        let place = path.with("nodes").with(&format!("[{index}]"));
        let node = builder.known_node(&place, name);
        if nodes.contains(&node) {
            let message = format!("node `{node}` stands twice in the policy");
            builder.refuse(error_code::CONFIG_DUPLICATE, &place, At::Value, message, "each node once");
        }
        nodes.push(node);
    }
    nodes
}

/// Names of other groups.
fn others(
    builder: &mut Builder<'_>,
    path: &KeyPath,
    reader: &Reader<'_>,
    key: &str,
    names: &[String],
) -> Vec<GroupName> {
    let mut others = Vec::new();
    for (index, name) in reader.list(key).into_iter().enumerate() {
        let place = path.with(key).with(&format!("[{index}]"));
        if path.0.last() == Some(&name) {
            let message = format!("group `{name}` names itself");
            let allowed = listed(names.iter().filter(|known| **known != name).map(String::as_str));
            builder.refuse(error_code::CONFIG_CONTRADICTION, &place, At::Value, message, &allowed);
        } else if !names.contains(&name) {
            builder.unknown_name(&place, "group", &name, names);
        }
        others.push(GroupName(name));
    }
    others
}

fn resource(builder: &mut Builder<'_>, group: &str, name: &str, table: &Table) -> ResourceSettings {
    let path = KeyPath::of(&["groups", group, "resources", name]);
    let reader = Reader::new("groups.*.resources.*", vec![(path.clone(), Some(table))]);
    // One of `TYPES`, or refused already.
    let kind = resource::find(&reader.text_if_any("type").unwrap_or_default()).unwrap_or(&TYPES[0]);
    for key in kind.needed.iter().filter(|key| !reader.says(key)) {
        let message = format!("`{key}` is missing, which a resource of the type `{}` needs", kind.name);
        let allowed = format!("`{key} = {}`", reader.example(key));
        builder.refuse(error_code::CONFIG_MISSING, &path.with(key), At::Key, message, &allowed);
    }
    let shared = definitions::SHARED.iter().filter(|definition| !kind.shared.contains(&definition.name));
    let others = TYPES.iter().filter(|other| other.name != kind.name).flat_map(|other| other.keys);
    for foreign in shared.chain(others).filter(|definition| reader.departs(definition.name)) {
        let message = format!("`{}` has no effect on a resource of the type `{}`", foreign.name, kind.name);
        let own = kind.keys.iter().map(|own| own.name).chain(kind.shared.iter().copied());
        builder.refuse(
            error_code::CONFIG_CONTRADICTION,
            &path.with(foreign.name),
            At::Key,
            message,
            &listed(own),
        );
    }
    let options = kind.keys.iter().filter_map(|own| Some((own.name.to_owned(), reader.option(own.name)?)));
    let options = BTreeMap::from_iter(options);
    for wrong in (kind.check)(&options) {
        let at = if reader.says(wrong.key) { At::Value } else { At::Key };
        builder.refuse(
            error_code::CONFIG_CONTRADICTION,
            &path.with(wrong.key),
            at,
            wrong.message,
            wrong.allowed,
        );
    }
    let timeout_ms = |key: &str| match kind.timeout_ms {
        Some(own) if !reader.says(key) => own,
        Some(_) | None => reader.integer(key),
    };
    ResourceSettings {
        name: ResourceName::from(name),
        kind: ResourceKind { name: kind.name.to_owned(), options },
        start_timeout_ms: timeout_ms("start_timeout_ms"),
        stop_timeout_ms: timeout_ms("stop_timeout_ms"),
        environment: reader.variables("environment"),
        directory: reader.text_if_any("directory"),
        user: reader.text_if_any("user"),
    }
}

/// Groups that would wait for each other, and groups that nobody could take over safely.
pub fn check(settings: &CellSettings, builder: &mut Builder<'_>) {
    let after: BTreeMap<&GroupName, &[GroupName]> =
        settings.groups.iter().map(|group| (&group.name, group.after.as_slice())).collect();
    for group in &settings.groups {
        let path = KeyPath::of(&["groups", &group.name.0]);
        if waits_for_itself(&group.name, &after) {
            let message = format!("group `{}` would wait for itself", group.name);
            let allowed = "no circle of groups that wait for each other";
            builder.refuse(error_code::CONFIG_CONTRADICTION, &path.with("after"), At::Key, message, allowed);
        }
        if group.is_leased() && settings.manager.listen.is_none() {
            let message = format!(
                "group `{}` cannot go to another node by itself: without `listen` in [manager] no node sends heartbeats",
                group.name
            );
            let allowed = "`listen` in [manager], or `failover = \"manual\"`, or one node";
            builder.refuse(error_code::CONFIG_CONTRADICTION, &path.with("nodes"), At::Key, message, allowed);
        }
    }
}

fn waits_for_itself(name: &GroupName, after: &BTreeMap<&GroupName, &[GroupName]>) -> bool {
    let mut open: Vec<&GroupName> = after.get(name).into_iter().flat_map(|others| others.iter()).collect();
    let mut seen: Vec<&GroupName> = Vec::new();
    while let Some(other) = open.pop() {
        if other == name {
            return true;
        }
        if !seen.contains(&other) {
            seen.push(other);
            open.extend(after.get(other).into_iter().flat_map(|others| others.iter()));
        }
    }
    false
}
