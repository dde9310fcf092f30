//! Reads fences, and says where groups of the class hard have none.

use super::claims;
use super::document::{At, Table};
use super::problem::KeyPath;
use super::reader::Reader;
use super::settings::{Builder, named};
use std::collections::BTreeMap;
use wire::error_code;
use wire::fence::{FenceAction, FenceSettings};
use wire::group::{Attribute, GroupClass};
use wire::id::{FenceName, NodeName};
use wire::settings::CellSettings;

/// What Muster says itself.
const OWN_PARAMETERS: [&str; 2] = ["action", "option"];
/// What nobody should write into a configuration, which many may read.
const SECRET_PARAMETERS: [&str; 4] = ["passwd", "password", "secret_key", "snmp_priv_passwd"];

/// All of `[fences.NAME]`, in the order of the file.
pub fn read(builder: &mut Builder<'_>) -> Vec<FenceSettings> {
    let tables = named(&builder.document.root, "fences");
    tables.into_iter().map(|(name, table)| fence(builder, name, table)).collect()
}

fn fence(builder: &mut Builder<'_>, name: &str, table: &Table) -> FenceSettings {
    let path = KeyPath::of(&["fences", name]);
    let reader = Reader::new("fences.*", vec![(path.clone(), Some(table))]);
    let (parameters, secret_files) = (reader.variables("parameters"), reader.variables("secret_files"));
    check_parameters(builder, &path, &parameters, &secret_files);
    let mut nodes: Vec<NodeName> = Vec::new();
    for (index, name) in reader.list("nodes").into_iter().enumerate() {
        let place = path.with("nodes").with(&format!("[{index}]"));
        let node = builder.known_node(&place, name);
        if nodes.contains(&node) {
            let message = format!("node `{node}` stands twice in it");
            builder.refuse(error_code::CONFIG_DUPLICATE, &place, At::Value, message, "each node once");
        }
        nodes.push(node);
    }
    FenceSettings {
        name: FenceName::from(name),
        agent: reader.text("agent"),
        nodes,
        parameters,
        secret_files,
        action: match reader.text("action").as_str() {
            "reboot" => FenceAction::Reboot,
            _ => FenceAction::Off,
        },
        timeout_ms: reader.integer("timeout_ms"),
        retries: reader.small_integer("retries"),
        check_interval_ms: reader.integer("check_interval_ms"),
    }
}

fn check_parameters(
    builder: &mut Builder<'_>,
    path: &KeyPath,
    parameters: &BTreeMap<String, String>,
    secret_files: &BTreeMap<String, String>,
) {
    let both = [("parameters", parameters), ("secret_files", secret_files)];
    for (key, names) in both {
        for name in names.keys().filter(|name| OWN_PARAMETERS.contains(&name.as_str())) {
            let message = format!("`{name}` is what Muster tells the agent itself");
            let place = path.with(key).with(name);
            builder.refuse(error_code::CONFIG_CONTRADICTION, &place, At::Key, message, "another parameter");
        }
    }
    for (name, value) in parameters {
        let place = path.with("parameters").with(name);
        if SECRET_PARAMETERS.contains(&name.as_str()) {
            let message = format!("`{name}` is a secret, and a configuration is read by many");
            let allowed = format!("`secret_files = {{ {name} = \"/path/of/a/file\" }}`");
            builder.refuse(error_code::CONFIG_NOT_ALLOWED, &place, At::Key, message, &allowed);
        }
        if value.contains(['\n', '\r']) {
            let message = format!("`{name}` has more than one line, which would be more than one argument");
            builder.refuse(error_code::CONFIG_NOT_ALLOWED, &place, At::Value, message, "one line");
        }
        if secret_files.contains_key(name) {
            let message = format!("`{name}` is given twice, once as a secret");
            builder.refuse(error_code::CONFIG_DUPLICATE, &place, At::Key, message, "each parameter once");
        }
    }
    for (name, file) in secret_files.iter().filter(|(_, file)| !file.starts_with('/')) {
        let message = format!("`{file}` is not an absolute path");
        let place = path.with("secret_files").with(name);
        builder.refuse(
            error_code::CONFIG_NOT_ALLOWED,
            &place,
            At::Value,
            message,
            "a path that starts with `/`",
        );
    }
}

/// What is only safe by hand, a sentence each.
pub fn by_hand(settings: &CellSettings) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(logic::rehearse::two_nodes(settings));
    for group in settings.groups.iter().filter(|group| group.class == GroupClass::Soft && group.is_leased()) {
        let disks: Vec<&str> = group.resources.iter().filter_map(claims::disk_of).collect();
        if !disks.is_empty() {
            notes.push(format!(
                "group {} mounts {} elsewhere when the lease of its node is over, which does not prove that nothing is written \
                 there any more: it may damage the file system, unless it is of the class hard or fails over by hand",
                group.name,
                disks.join(", ")
            ));
        }
    }
    for group in settings.groups.iter().filter(|group| group.class == GroupClass::Hard) {
        let is_covered = |node: &&NodeName| settings.fences.iter().any(|fence| fence.nodes.contains(node));
        let bare: Vec<&str> =
            group.nodes.iter().filter(|node| !is_covered(node)).map(|node| node.0.as_str()).collect();
        if group.nodes.len() > 1 && group.failover == Attribute::Automatic && !bare.is_empty() {
            notes.push(format!(
                "group {} is of the class hard, and no fence can switch off {}: when such a node is lost, the group goes \
                 elsewhere only once a person has said that it is off",
                group.name,
                bare.join(", ")
            ));
        }
    }
    notes
}
