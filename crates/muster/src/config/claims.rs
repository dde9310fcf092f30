//! Finds what two groups would both take: addresses and disks, which can be in one place only.
//!
//! Each group alone is kept on one node; nothing else keeps two groups from having the same thing on two nodes.
//! Pure: only what the file itself says.

use super::conflicts::Once;
use super::document::At;
use super::problem::KeyPath;
use super::settings::Builder;
use std::collections::HashSet;
use std::net::IpAddr;
use wire::error_code;
use wire::group::{OptionValue, ResourceOptions, ResourceSettings};
use wire::settings::CellSettings;

/// Kinds of file systems that are made for several machines at the same time.
const SHARED_KINDS: [&str; 5] = ["gfs2", "ocfs2", "nfs", "nfs4", "cifs"];
/// Options with which a disk is not written, or no disk is mounted at all.
const HARMLESS_OPTIONS: [&str; 3] = ["ro", "bind", "rbind"];
/// How a disk is written that is not the name of a file.
const DISK_MARKS: [&str; 4] = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="];

pub fn check(settings: &CellSettings, builder: &mut Builder<'_>) {
    let mut addresses =
        Once::new("each address in one resource of one group: two would have it on two nodes");
    let mut disks = Once::new("each disk in one resource of one group: two would write to it from two nodes");
    for group in &settings.groups {
        for resource in &group.resources {
            let path = KeyPath::of(&["groups", &group.name.0, "resources", &resource.name.0]);
            let options = &resource.kind.options;
            if resource.kind.name == "address"
                && let Some(address) = address(options)
            {
                let path = path.with("address");
                refuse_machines_own(settings, builder, &path, address);
                addresses.claim(builder, (address, interface(address, options)), path, &address.to_string());
            }
            if let Some(disk) = disk_of(resource) {
                let nodes: HashSet<_> = group.nodes.iter().collect();
                let places: Vec<_> = nodes.into_iter().map(|node| (node, disk)).collect();
                disks.claim_all(builder, places, path.with("device"), &format!("the disk {disk}"));
            }
        }
    }
}

fn address(options: &ResourceOptions) -> Option<IpAddr> {
    let text = options.get("address").and_then(OptionValue::text)?;
    text.split('/').next()?.parse().ok()
}

/// Addresses that are valid on one link only may be on several links.
fn interface(address: IpAddr, options: &ResourceOptions) -> Option<&str> {
    let is_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    options.get("interface").and_then(OptionValue::text).filter(|_| is_local)
}

/// What is mounted, if two machines must not do so. The same name may be another disk on nodes that share no group.
pub fn disk_of(resource: &ResourceSettings) -> Option<&str> {
    let options = Some(&resource.kind).filter(|kind| kind.name == "filesystem").map(|kind| &kind.options)?;
    let text = |key: &str| options.get(key).and_then(OptionValue::text);
    let device = text("device")?;
    let is_disk = device.starts_with('/') || DISK_MARKS.iter().any(|mark| device.starts_with(mark));
    let is_shared = text("file_system").is_some_and(|kind| SHARED_KINDS.contains(&kind));
    let is_harmless = match options.get("mount_options") {
        Some(OptionValue::List(words)) => {
            words.iter().flat_map(|words| words.split(',')).any(|word| HARMLESS_OPTIONS.contains(&word))
        }
        _ => false,
    };
    (is_disk && !is_shared && !is_harmless).then_some(device)
}

/// What a machine has by itself does not go to another one.
fn refuse_machines_own(settings: &CellSettings, builder: &mut Builder<'_>, path: &KeyPath, address: IpAddr) {
    let own = settings.node_addresses.iter().find(|(_, own)| **own == address);
    if let Some((node, _)) = own {
        let message = format!("{address} is the address of node `{node}` itself");
        let allowed = "an address that no machine has by itself";
        builder.refuse(error_code::CONFIG_DUPLICATE, path, At::Value, message, allowed);
    }
}
