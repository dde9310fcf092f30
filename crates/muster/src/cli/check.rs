//! `muster check`: whether a configuration is right, and what the cell would be.
//!
//! Summary and JSON go to stdout, problems to stderr. Changes nothing. Ends with 0 when the file is right, 1 when not.

use super::{Exit, print};
use crate::config::{self, Problems};
use crate::roles::Selection;
use logic::lease::Profile;
use serde_json::{Value, json};
use std::path::PathBuf;
use wire::agent::Run;
use wire::group::{GroupClass, GroupSettings};
use wire::id::{ClusterName, NodeName};
use wire::monitor::RecoveryTarget;
use wire::settings::{CellSettings, RouterPlace, StoreSettings};

const EXAMPLES: &str = "\
Examples:
  muster check                              the file that muster run would read
  muster check new.toml                     a file that shall be applied
  muster check new.toml --node b            what concerns node b, on node b
  muster check --file-only --json           in a build pipeline, far from the cell's machines

Exit codes: 0 the file is right, 1 it is not.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file [default: ./muster.toml, else /etc/muster/muster.toml]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same, as other commands take it
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The node that this machine is; needed when the file has more than one
    #[arg(long, value_name = "NAME", conflicts_with = "file_only")]
    node: Option<String>,
    /// Look only at the file, not at this machine
    #[arg(long)]
    file_only: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found out.
struct Findings {
    file: String,
    /// None when the file gave none.
    settings: Option<CellSettings>,
    problems: Problems,
    /// What was not looked at, and why.
    notes: Vec<String>,
}

pub fn run(args: Args) -> Exit {
    let findings = examine(&args);
    let is_right = findings.problems.is_empty();
    let data = if args.json {
        format!("{:#}\n", as_json(&findings))
    } else {
        tell(&findings);
        if is_right { summary(&findings) } else { String::new() }
    };
    match print(data.as_bytes()) {
        Exit::Yes if !is_right => Exit::No,
        exit => exit,
    }
}

/// What people want to know besides the answer.
fn tell(findings: &Findings) {
    for note in &findings.notes {
        eprintln!("note: {note}");
    }
    if !findings.problems.is_empty() {
        eprintln!("{}", findings.problems);
        let count = findings.problems.list.len() + findings.problems.left_out;
        eprintln!("\n{}: {}", findings.file, plural(count, "problem"));
    }
}

fn examine(args: &Args) -> Findings {
    let path = args.file.clone().or_else(|| args.config.clone()).unwrap_or_else(config::default_path);
    let file = path.display().to_string();
    let mut notes = Vec::new();
    let (settings, text) = match config::load(&path) {
        Ok(loaded) => loaded,
        Err(problems) => return Findings { file, settings: None, problems, notes },
    };
    let node = match (&args.node, settings.nodes.as_slice()) {
        (Some(name), _) => Some(NodeName::from(name.as_str())),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    };
    notes.extend(config::unverified(&settings));
    notes.extend(config::by_hand(&settings));
    let problems = match node {
        _ if args.file_only => Problems::default(),
        Some(node) if !settings.nodes.contains(&node) => config::no_such_node(&settings, &file, &node).into(),
        Some(node) => {
            if config::runs_already(&settings) {
                notes.push("the cell runs on this machine, so its addresses were not tried".to_owned());
            }
            notes.extend(config::expiring(&settings, &node));
            let roles = Selection::of_node(&settings, &node);
            let mut problems = config::check_environment(&settings, &text, &file, &node, roles);
            let certificates = config::check_certificates(&settings, &text, &file, &node).list;
            let resources = config::check_resources(&settings, &text, &file, &node).list;
            certificates.into_iter().chain(resources).for_each(|problem| problems.push(problem));
            problems.sort();
            problems
        }
        None => {
            notes.push(
                "the file has several nodes; with --node NAME this machine is checked as well".to_owned(),
            );
            Problems::default()
        }
    };
    Findings { file, settings: Some(settings), problems, notes }
}

fn as_json(findings: &Findings) -> Value {
    json!({
        "ok": findings.problems.is_empty(),
        "file": findings.file,
        "problems": findings.problems.list,
        "problems_left_out": findings.problems.left_out,
        "notes": findings.notes,
        "cell": findings.settings,
    })
}

fn summary(findings: &Findings) -> String {
    let Some(settings) = &findings.settings else { return String::new() };
    let mut lines = vec![
        format!("{} is right.", findings.file),
        String::new(),
        format!("cell     {}, state in {}", settings.name, settings.state_dir),
        format!("console  http://{}", settings.console.listen),
    ];
    let nodes: Vec<&str> = settings.nodes.iter().map(|node| node.0.as_str()).collect();
    lines.push(format!("{:8} {}", if nodes.len() == 1 { "node" } else { "nodes" }, nodes.join(", ")));
    describe_managers(settings, &mut lines);
    settings.routers.iter().for_each(|router| describe_router(router, &mut lines));
    for cluster in &settings.clusters {
        let affinity = match &cluster.affinity {
            Some(affinity) => format!("affinity by {}", affinity.cookie),
            None => "no affinity".to_owned(),
        };
        let policy = match cluster.policy {
            wire::view::Policy::RoundRobin => "round robin",
            wire::view::Policy::Random => "random",
            wire::view::Policy::LeastOutstanding => "least outstanding",
            wire::view::Policy::Auto => "auto",
            wire::view::Policy::Hash => "hash",
        };
        let members = plural(cluster.members.len(), "member");
        lines.push(format!("cluster  {}: {members}, {policy}, {affinity}", cluster.name));
        for member in &cluster.members {
            let what = match &member.run {
                Run::External { address } => format!("runs at {address}"),
                Run::Managed(launch) if launch.port == 0 => {
                    format!("{} at a free port", launch.command.join(" "))
                }
                Run::Managed(launch) => format!("{} at port {}", launch.command.join(" "), launch.port),
            };
            lines.push(format!(
                "  {:20} weight {:<4} on {}: {what}",
                member.name.0, member.weight, member.node
            ));
        }
    }
    settings.groups.iter().for_each(|group| describe_group(group, &mut lines));
    for fence in &settings.fences {
        lines.push(format!("fence    {} for {}: {}", fence.name, listed(&fence.nodes), fence.agent));
    }
    for monitor in &settings.monitors {
        let (kind, target) = (monitor.check.kind(), monitor.check.target());
        let follows = match monitor.recovery.as_ref().map(|recovery| &recovery.target) {
            None => String::new(),
            Some(RecoveryTarget::Group { group }) => format!(", for group {group}"),
            Some(RecoveryTarget::Resource { group, resource }) => {
                format!(", for {resource} of group {group}")
            }
            Some(RecoveryTarget::AllGroups) => ", for all groups".to_owned(),
        };
        lines.push(format!(
            "monitor  {} on {}: {kind} {target}{follows}",
            monitor.name,
            listed(&monitor.nodes)
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn describe_group(group: &GroupSettings, lines: &mut Vec<String>) {
    let how = match (group.class, group.is_leased()) {
        (_, false) if group.nodes.len() == 1 => "stays there",
        (_, false) => "goes elsewhere by hand only",
        (GroupClass::Soft, true) => "goes elsewhere by itself",
        (GroupClass::Hard, true) => "goes elsewhere by itself, once its node is proven to be off",
    };
    lines.push(format!("group    {} on {}: {how}", group.name, listed(&group.nodes)));
    for resource in &group.resources {
        lines.push(format!("  {:20} {}", resource.name.0, resource.kind.name));
    }
}

fn listed<T: std::fmt::Display>(names: &[T]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Where state is kept, and by which numbers one of several managers keeps the lead.
fn describe_managers(settings: &CellSettings, lines: &mut Vec<String>) {
    let (kind, remote) = match &settings.store {
        StoreSettings::Sqlite => return,
        StoreSettings::Postgres { remote, .. } => ("PostgreSQL", remote),
        StoreSettings::Etcd { remote, .. } => ("etcd", remote),
    };
    let servers: Vec<String> =
        remote.servers.iter().map(|server| format!("{}:{}", server.host, server.port)).collect();
    let tls = if remote.tls.is_some() { "with TLS" } else { "in clear text" };
    let managers: Vec<&str> = settings.managers().iter().map(|node| node.0.as_str()).collect();
    lines.push(format!("store    {kind} at {}, {tls}", servers.join(", ")));
    lines.push(format!("managers {}", managers.join(", ")));
    if let Some(profile) = Profile::named(&settings.manager.profile) {
        lines.push(format!("  two never lead at once, because {}", profile.safety()));
        if settings.has_several_managers() {
            let across = profile.across_leaders();
            let (hold_s, wait_s) = (across.hold_ms as f64 / 1_000.0, across.wait_ms as f64 / 1_000.0);
            lines.push(format!(
                "  a node's lease lasts {hold_s} s, and its groups go elsewhere after {wait_s} s"
            ));
        }
    }
}

fn describe_router(router: &RouterPlace, lines: &mut Vec<String>) {
    let addresses: Vec<String> =
        router.listeners.iter().map(|listener| listener.address.to_string()).collect();
    lines.push(format!("router   {} on {}: listens on {}", router.name, router.node, addresses.join(", ")));
    for route in &router.routes {
        let names = |level: &Vec<ClusterName>| {
            level.iter().map(|cluster| cluster.0.as_str()).collect::<Vec<_>>().join(", ")
        };
        let levels: Vec<String> = route.levels.iter().map(names).collect();
        let levels = if levels.is_empty() { "the router itself".to_owned() } else { levels.join(", else ") };
        let actions = logic::actions::describe(&route.actions);
        let actions = if actions.is_empty() { String::new() } else { format!(": {}", actions.join("; ")) };
        lines.push(format!("  {} -> {levels}{actions}", route.name));
    }
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests;
