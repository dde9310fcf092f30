//! Reads what follows from the errors of a monitor, and refuses what could not follow or would never end.

use super::document::At;
use super::problem::KeyPath;
use super::reader::Reader;
use super::settings::{Builder, listed};
use logic::limits::RECOVERY_WINDOW_MS;
use wire::error_code;
use wire::group::GroupSettings;
use wire::id::{GroupName, NodeName, ResourceName};
use wire::monitor::{FinalAction, MonitorSettings, Pace, Recovery, RecoveryTarget};
use wire::settings::CellSettings;

/// Keys that say nothing without a target.
const KEYS: [&str; 11] = [
    "resource",
    "when",
    "delay_ms",
    "start_period_ms",
    "restarts_max",
    "failovers_max",
    "final_action",
    "final_command",
    "before_restart",
    "before_failover",
    "before_final",
];

pub fn read(builder: &mut Builder<'_>, reader: &Reader<'_>, groups: &[GroupSettings]) -> Option<Recovery> {
    let Some(target) = target(builder, reader, groups) else {
        for key in KEYS.iter().filter(|key| reader.says(key)) {
            let message = format!("`{key}` has no effect on a monitor from whose errors nothing follows");
            let allowed = "only beside `group` or `all_groups`";
            builder.refuse(error_code::CONFIG_CONTRADICTION, &reader.path(key), At::Key, message, allowed);
        }
        return None;
    };
    let final_action = final_action(reader);
    let default_command: &[&str] = match final_action {
        FinalAction::None | FinalAction::StopGroup | FinalAction::StopService => &[],
        FinalAction::Shutdown => &["systemctl", "poweroff"],
        FinalAction::Reboot => &["systemctl", "reboot"],
    };
    let is_said = reader.says("final_command");
    if is_said && default_command.is_empty() {
        let message = format!("`final_command` has no effect with the final action `{final_action}`");
        let (path, allowed) = (reader.path("final_command"), "only beside `shutdown` or `reboot`");
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Key, message, allowed);
    }
    let is_active = match reader.text_if_any("when").as_deref() {
        Some("active") => true,
        Some(_) => false,
        None => target != RecoveryTarget::AllGroups,
    };
    if !is_active && reader.says("start_period_ms") {
        let message = "`start_period_ms` has no effect on a monitor that asks always".to_owned();
        let (path, allowed) = (reader.path("start_period_ms"), "only with `when = \"active\"`");
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Key, message, allowed);
    }
    Some(Recovery {
        target,
        is_while_active: is_active,
        delay_ms: reader.integer("delay_ms"),
        start_period_ms: if is_active { reader.integer("start_period_ms") } else { 0 },
        restarts_max: reader.small_integer("restarts_max"),
        failovers_max: reader.small_integer("failovers_max"),
        final_action,
        final_command: match is_said {
            true => reader.list("final_command"),
            false => default_command.iter().map(|word| (*word).to_owned()).collect(),
        },
        before_restart: reader.list("before_restart"),
        before_failover: reader.list("before_failover"),
        before_final: reader.list("before_final"),
    })
}

fn final_action(reader: &Reader<'_>) -> FinalAction {
    match reader.text("final_action").as_str() {
        "stop-group" => FinalAction::StopGroup,
        "stop-service" => FinalAction::StopService,
        "shutdown" => FinalAction::Shutdown,
        "reboot" => FinalAction::Reboot,
        _ => FinalAction::None,
    }
}

fn target(
    builder: &mut Builder<'_>,
    reader: &Reader<'_>,
    groups: &[GroupSettings],
) -> Option<RecoveryTarget> {
    let (group, resource) = (reader.text_if_any("group"), reader.text_if_any("resource"));
    let is_all = reader.boolean("all_groups");
    if is_all && let Some(group) = &group {
        let message = format!("either group `{group}` is recovered, or all groups of the node");
        let path = reader.path("all_groups");
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Key, message, "`group` or `all_groups`");
    }
    if is_all && resource.is_some() {
        let message = "`resource` has no effect on a monitor of all groups".to_owned();
        let path = reader.path("resource");
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Key, message, "only beside `group`");
    }
    let Some(group) = group else { return is_all.then_some(RecoveryTarget::AllGroups) };
    let names: Vec<String> = groups.iter().map(|known| known.name.0.clone()).collect();
    let Some(known) = groups.iter().find(|known| known.name.0 == group) else {
        builder.unknown_name(&reader.path("group"), "group", &group, &names);
        return Some(RecoveryTarget::Group { group: GroupName(group) });
    };
    let Some(resource) = resource else { return Some(RecoveryTarget::Group { group: GroupName(group) }) };
    let resources: Vec<String> = known.resources.iter().map(|known| known.name.0.clone()).collect();
    if !resources.contains(&resource) {
        builder.unknown_name(&reader.path("resource"), "resource", &resource, &resources);
    }
    Some(RecoveryTarget::Resource { group: GroupName(group), resource: ResourceName(resource) })
}

/// The nodes that ask where the file does not say.
pub fn nodes(recovery: &Recovery, groups: &[GroupSettings]) -> Vec<NodeName> {
    let mut nodes: Vec<NodeName> = Vec::new();
    for node in groups.iter().filter(|group| recovery.target.has(&group.name)).flat_map(|group| &group.nodes)
    {
        if !nodes.contains(node) {
            nodes.push(node.clone());
        }
    }
    nodes
}

/// Recoveries that never come to their end, or that would take more away than they save.
pub fn check(settings: &CellSettings, builder: &mut Builder<'_>) {
    for monitor in &settings.monitors {
        let Some(recovery) = &monitor.recovery else { continue };
        let path = KeyPath::of(&["monitors", &monitor.name.0]);
        check_time(builder, &path, monitor, recovery);
        check_nodes(settings, builder, &path, monitor, recovery);
        match recovery.final_action {
            FinalAction::None | FinalAction::StopGroup => {}
            FinalAction::StopService | FinalAction::Shutdown | FinalAction::Reboot => {
                check_service(settings, builder, &path, monitor, recovery);
            }
        }
    }
}

/// Nothing ever follows from what is found where the group never is.
fn check_nodes(
    settings: &CellSettings,
    builder: &mut Builder<'_>,
    path: &KeyPath,
    monitor: &MonitorSettings,
    recovery: &Recovery,
) {
    let groups = || settings.groups.iter().filter(|group| recovery.target.has(&group.name));
    let is_there = groups().flat_map(|group| &group.nodes).any(|node| monitor.nodes.contains(node));
    let (RecoveryTarget::Group { group } | RecoveryTarget::Resource { group, .. }) = &recovery.target else {
        return;
    };
    if let Some(known) = groups().next()
        && !is_there
    {
        let message = format!("group `{group}` never runs on the nodes that ask, so nothing would follow");
        let allowed = listed(known.nodes.iter().map(|node| node.0.as_str()));
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path.with("nodes"), At::Value, message, &allowed);
    }
}

/// As long as restarts are forgotten before they are used up, nothing else ever follows.
fn check_time(builder: &mut Builder<'_>, path: &KeyPath, monitor: &MonitorSettings, recovery: &Recovery) {
    let found_ms =
        found_after_ms(&monitor.pace).saturating_add(recovery.delay_ms.max(recovery.start_period_ms));
    let rounds = u64::from(recovery.restarts_max) + 1;
    if recovery.restarts_max == 0 || found_ms.saturating_mul(rounds) < RECOVERY_WINDOW_MS {
        return;
    }
    let seconds = found_ms / 1_000;
    let message = format!(
        "an error of monitor `{}` takes up to {seconds} s to be found: {rounds} of them do not come within the hour for \
         which restarts count, so that it would be restarted for ever",
        monitor.name
    );
    let rounds_max = (RECOVERY_WINDOW_MS - 1) / found_ms.max(1);
    let allowed = match rounds_max.checked_sub(1) {
        Some(most) => format!("at most {most}, or a shorter `interval_ms`"),
        None => "0, or a shorter `interval_ms`".to_owned(),
    };
    let path = path.with("restarts_max");
    builder.refuse(error_code::RESTARTS_NEVER_USED_UP, &path, At::Value, message, &allowed);
}

/// From when something fails to when that is an error, at most.
fn found_after_ms(pace: &Pace) -> u64 {
    let tries = u64::from(pace.retries) + 1;
    let round_ms = pace.interval_ms.max(pace.timeout_ms);
    let silence_ms = pace.timeout_ms.saturating_mul(2 * u64::from(pace.confirmations));
    round_ms.saturating_mul(tries).saturating_add(pace.timeout_ms).saturating_add(silence_ms)
}

fn check_service(
    settings: &CellSettings,
    builder: &mut Builder<'_>,
    path: &KeyPath,
    monitor: &MonitorSettings,
    recovery: &Recovery,
) {
    let path = path.with("final_action");
    if let [only] = settings.managers()
        && monitor.nodes.contains(only)
    {
        let message = format!(
            "the final action `{}` would also stop the only manager, which is on node `{only}`",
            recovery.final_action
        );
        let others = monitor.nodes.iter().filter(|node| *node != only).map(|node| node.0.as_str());
        let allowed = format!("`nodes = [..]` of {}, or another final action", listed(others));
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Value, message, &allowed);
    }
    let mut groups = settings.groups.iter().filter(|group| recovery.target.has(&group.name));
    if !groups.any(GroupSettings::is_leased) {
        let message = format!(
            "the final action `{}` is taken only where a group can go to another node by itself, and none can",
            recovery.final_action
        );
        let allowed = "`none` or `stop-group`";
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Value, message, allowed);
    }
}
