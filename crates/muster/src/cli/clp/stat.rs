//! `clpstat`: the cell in the words of ExpressCluster.
//!
//! Pure but for asking. States are Online, Offline, Online Pending, Offline Pending, Online Failure for groups and
//! resources; Normal, Caution, Error, Unknown, Suspend for monitors; servers have some of both.

use super::common::{Failure, known_node, own_node, run, status};
use super::words::{Flag, Words, plain, valued};
use crate::cli::Exit;
use crate::cli::client::Api;
use wire::group::{GroupCondition, GroupStatus, ResourceState};
use wire::id::NodeName;
use wire::monitor::MonitorState;
use wire::status::{CellStatus, MonitorStatus, NodeReach, NodeStatus};

const HELP: &str = "\
clpstat: show the cell.

  clpstat [-s] [-h SERVER]   servers, groups with their resources, monitors
  clpstat -g [-h SERVER]     which group runs on which server
  clpstat -m [-h SERVER]     each monitor on each server
  clpstat -n [-h SERVER]     heartbeats of each server
  clpstat -p [-h SERVER]     who decides when the network is cut
  clpstat -i [-h SERVER]     the configuration of groups and monitors

  -h SERVER   the server that is marked with *; default: this machine

Also --config FILE, --api URL, --token-file FILE, --state-dir DIR.

Examples:
  clpstat
  clpstat -g
  muster clp stat -m

muster status, muster group why and muster monitor say more. Exit codes: 0, else there was no answer.
";

const FLAGS: &[Flag] =
    &[plain("-s"), plain("-g"), plain("-m"), plain("-n"), plain("-p"), plain("-i"), valued("-h")];

/// Columns of a line, without the newline.
const WIDTH: usize = 69;
/// Columns of a name, with what fills it up.
const NAME_WIDTH: usize = 22;

pub fn clpstat(words: &[String]) -> Exit {
    run("clpstat", HELP, FLAGS, words, show)
}

async fn show(words: Words) -> Result<String, Failure> {
    if let Some(word) = words.rest.first() {
        return Err(Failure::WrongUse(format!("`{word}` is not expected here")));
    }
    let view = match words.given(&["-s", "-g", "-m", "-n", "-p", "-i"]).as_slice() {
        [] | ["-s"] => summary,
        ["-g"] => groups,
        ["-m"] => monitors,
        ["-n"] => heartbeats,
        ["-p"] => partitions,
        ["-i"] => configuration,
        many => return Err(Failure::WrongUse(format!("{} exclude each other", many.join(" and ")))),
    };
    let api = Api::find(&words.target())?;
    let cell = status(&api).await?;
    let own = match words.value("-h") {
        Some(host) => Some(known_node(&cell, host)?),
        None => own_node(&words.target(), &cell),
    };
    Ok(view(&cell, own.as_ref()))
}

/// Lines between a head and a foot.
struct Page {
    text: String,
}

impl Page {
    fn new(title: &str, cell: &CellStatus) -> Self {
        let title = format!("  {title}  ");
        let head = format!(" {title:=^width$}\n  Cluster : {}\n", cell.cell, width = WIDTH - 1);
        Self { text: head }
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    fn section(&mut self, name: &str) {
        self.line(&format!("  <{name}>"));
    }

    /// An object and its state.
    fn object(&mut self, mark: char, name: &str, state: &str, besides: &str) {
        let name = format!("{name} ");
        self.line(&format!("   {mark}{name:.<NAME_WIDTH$}: {state:<16} {besides}"));
    }

    fn detail(&mut self, name: &str, value: &str, besides: &str) {
        let width = NAME_WIDTH - 2;
        self.line(&format!("      {name:<width$}: {value:<16} {besides}"));
    }

    fn end(mut self) -> String {
        self.line(&format!(" {}", "=".repeat(WIDTH - 1)));
        self.text
    }
}

fn mark(node: &NodeName, own: Option<&NodeName>) -> char {
    if own == Some(node) { '*' } else { ' ' }
}

fn server_state(node: &NodeStatus) -> &'static str {
    match (node.connected, node.left_out, node.reach) {
        (_, true, _) | (false, false, NodeReach::Unknown | NodeReach::Unreachable) => "Offline",
        (true, false, _) if node.maintenance => "Suspend",
        (true, false, NodeReach::Reachable | NodeReach::Unknown) => "Online",
        (true, false, NodeReach::Degraded | NodeReach::Unreachable)
        | (false, false, NodeReach::Reachable | NodeReach::Degraded) => "Caution",
    }
}

fn group_state(state: GroupCondition) -> &'static str {
    match state {
        GroupCondition::Offline => "Offline",
        GroupCondition::Starting | GroupCondition::Waiting => "Online Pending",
        GroupCondition::Online => "Online",
        GroupCondition::Stopping => "Offline Pending",
        GroupCondition::Failed => "Online Failure",
    }
}

fn resource_state(state: ResourceState) -> &'static str {
    match state {
        ResourceState::Offline => "Offline",
        ResourceState::Starting => "Online Pending",
        ResourceState::Online => "Online",
        ResourceState::Stopping => "Offline Pending",
        ResourceState::Failed => "Online Failure",
    }
}

fn monitor_state(state: MonitorState) -> &'static str {
    match state {
        MonitorState::Normal => "Normal",
        MonitorState::Warning => "Caution",
        MonitorState::Error => "Error",
        MonitorState::Unknown => "Unknown",
        MonitorState::Paused => "Suspend",
        MonitorState::Idle => "Offline",
    }
}

fn beats_state(reach: NodeReach) -> &'static str {
    match reach {
        NodeReach::Reachable => "Normal",
        NodeReach::Degraded => "Caution",
        NodeReach::Unreachable => "Error",
        NodeReach::Unknown => "Unused",
    }
}

/// The worst of the same monitor on several servers.
fn worst(states: impl Iterator<Item = MonitorState>) -> MonitorState {
    let rank = |state: &MonitorState| match state {
        MonitorState::Idle | MonitorState::Paused => 0,
        MonitorState::Normal => 1,
        MonitorState::Unknown => 2,
        MonitorState::Warning => 3,
        MonitorState::Error => 4,
    };
    states.max_by_key(rank).unwrap_or(MonitorState::Unknown)
}

/// The monitors, each once, with what is known of it on each of its servers.
fn by_name(cell: &CellStatus) -> Vec<(&str, Vec<&MonitorStatus>)> {
    let mut all: Vec<(&str, Vec<&MonitorStatus>)> = Vec::new();
    for monitor in &cell.monitors {
        match all.iter_mut().find(|(name, _)| *name == monitor.monitor.0) {
            Some((_, list)) => list.push(monitor),
            None => all.push((&monitor.monitor.0, vec![monitor])),
        }
    }
    all
}

fn current(group: &GroupStatus) -> &str {
    let runs = group.state != GroupCondition::Offline;
    group.node.as_ref().filter(|_| runs).map_or("", |node| node.0.as_str())
}

fn summary(cell: &CellStatus, own: Option<&NodeName>) -> String {
    let mut page = Page::new("CLUSTER STATUS", cell);
    page.section("server");
    for node in &cell.nodes {
        let besides = if node.drained { "(drained)" } else { "" };
        page.object(mark(&node.node, own), &node.node.0, server_state(node), besides);
        page.detail("heartbeat", beats_state(node.reach), "LAN Heartbeat");
    }
    if !cell.groups.is_empty() {
        page.section("group");
    }
    for group in &cell.groups {
        let besides = if group.is_frozen { "(frozen)" } else { "" };
        page.object(' ', &group.group.0, group_state(group.state), besides);
        page.detail("current", current(group), "");
        for resource in &group.resources {
            page.detail(&resource.name.0, resource_state(resource.state), "");
        }
    }
    if !cell.monitors.is_empty() {
        page.section("monitor");
    }
    for (name, list) in by_name(cell) {
        page.object(' ', name, monitor_state(worst(list.iter().map(|monitor| monitor.state))), "");
    }
    page.end()
}

/// The servers with the numbers under which the tables below have them.
fn servers(page: &mut Page, cell: &CellStatus, own: Option<&NodeName>) {
    for (index, node) in cell.nodes.iter().enumerate() {
        page.line(&format!("   {}server{index} : {}", mark(&node.node, own), node.node));
    }
}

fn groups(cell: &CellStatus, own: Option<&NodeName>) -> String {
    let mut page = Page::new("GROUP STATUS", cell);
    servers(&mut page, cell, own);
    let word =
        |group: &GroupStatus, node: &NodeName| match (current(group) == node.0, group.nodes.contains(node)) {
            (true, _) if group.state == GroupCondition::Online => "o",
            (true, _) => group_state(group.state),
            (false, true) => "-",
            (false, false) => "",
        };
    let rows: Vec<(&str, Vec<&str>)> = cell
        .groups
        .iter()
        .map(|group| {
            let words = cell.nodes.iter().map(|node| word(group, &node.node));
            (group.group.0.as_str(), words.collect())
        })
        .collect();
    // "o" and "-" need no more; a group that starts or has failed does.
    let width = rows.iter().flat_map(|(_, words)| words).map(|word| word.len() + 1).fold(10, usize::max);
    let line = |name: &str, words: &mut dyn Iterator<Item = String>| {
        let cells: String = words.map(|word| format!("{word:<width$}")).collect();
        format!("   {name:<NAME_WIDTH$}  {cells}")
    };
    page.line("");
    page.line(&line("Group", &mut (0..cell.nodes.len()).map(|index| format!("server{index}"))));
    page.line(&format!("   {}", "-".repeat(WIDTH - 6)));
    for (name, words) in rows {
        page.line(&line(name, &mut words.into_iter().map(str::to_owned)));
    }
    page.end()
}

fn monitors(cell: &CellStatus, own: Option<&NodeName>) -> String {
    let mut page = Page::new("MONITOR RESOURCE STATUS", cell);
    servers(&mut page, cell, own);
    for (index, (name, list)) in by_name(cell).into_iter().enumerate() {
        let state = monitor_state(worst(list.iter().map(|monitor| monitor.state)));
        page.line("");
        page.line(&format!("   Monitor{index} [{name} : {state}]"));
        page.line(&format!("   {}", "-".repeat(WIDTH - 6)));
        for (index, node) in cell.nodes.iter().enumerate() {
            let here = list.iter().find(|monitor| monitor.node == node.node);
            let word = here.map_or("-", |monitor| monitor_state(monitor.state));
            let reason = here.map_or("", |monitor| monitor.reason.as_str());
            page.detail(&format!("server{index}"), word, reason);
        }
    }
    page.end()
}

fn heartbeats(cell: &CellStatus, own: Option<&NodeName>) -> String {
    let mut page = Page::new("HEARTBEAT RESOURCE STATUS", cell);
    servers(&mut page, cell, own);
    page.line("");
    page.line("   HB0 [LAN Heartbeat: UDP from each server to each manager]");
    page.line(&format!("   {}", "-".repeat(WIDTH - 6)));
    for (index, node) in cell.nodes.iter().enumerate() {
        let word = match node.reach {
            NodeReach::Reachable => "o",
            NodeReach::Degraded | NodeReach::Unreachable => "x",
            NodeReach::Unknown => "-",
        };
        page.detail(&format!("server{index}"), word, beats_state(node.reach));
    }
    page.end()
}

fn partitions(cell: &CellStatus, own: Option<&NodeName>) -> String {
    let mut page = Page::new("NETWORK PARTITION RESOLUTION STATUS", cell);
    servers(&mut page, cell, own);
    page.line("");
    page.line("   Resolution: lease. A server whose lease is not renewed ends its groups by itself; only");
    page.line("   then another one may have them.");
    match &cell.leader {
        Some(leader) => {
            page.line(&format!("   Decides: the manager of {} (term {})", leader.node, leader.term))
        }
        None => page.line("   Decides: the only manager"),
    }
    for (index, node) in cell.nodes.iter().enumerate() {
        page.detail(&format!("server{index}"), beats_state(node.reach), "");
    }
    page.end()
}

fn configuration(cell: &CellStatus, own: Option<&NodeName>) -> String {
    let mut page = Page::new("CLUSTER INFORMATION", cell);
    page.line(&format!("  Configuration : {}", cell.config_revision));
    servers(&mut page, cell, own);
    for group in &cell.groups {
        let nodes: Vec<&str> = group.nodes.iter().map(|node| node.0.as_str()).collect();
        page.line(&format!("  [Group: {}]", group.group));
        page.detail("failover policy", &nodes.join(", "), "");
        let resources: Vec<&str> = group.resources.iter().map(|resource| resource.name.0.as_str()).collect();
        page.detail("resources", &resources.join(", "), "");
    }
    for (name, list) in by_name(cell) {
        let nodes: Vec<&str> = list.iter().map(|monitor| monitor.node.0.as_str()).collect();
        page.line(&format!("  [Monitor: {name}]"));
        if let Some(first) = list.first() {
            page.detail("type", &first.kind, "");
            page.detail("target", &first.target, "");
            page.detail("interval", &format!("{} ms", first.interval_ms), "");
        }
        page.detail("servers", &nodes.join(", "), "");
    }
    page.line("  The whole of it: muster config show");
    page.end()
}

#[cfg(test)]
mod tests;
