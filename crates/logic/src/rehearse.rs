//! Takes a configuration through losses before they happen: who ends where, after how long, why, and what is not saved.
//!
//! There is no second model of the rules: `world` runs the planner, the residents, the heartbeats, the leases and the
//! election themselves, each loss on a copy of the same healthy cell, and `Rehearsal::rehearse` reads off what came of it.
//! Pure and without chance: the same configuration gives the same answer.
//!
//! Not here: what scripts, processes and fences need for themselves (they take no time here, and work), how it is printed, and what more than
//! one loss after another would do. Durations are milliseconds.

mod judge;
mod manager;
mod members;
mod node;
#[cfg(test)]
mod tests;
mod world;

pub use judge::two_nodes;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use wire::group::GroupSettings;
use wire::id::{ClusterName, GroupName, MemberName, NodeName};
use wire::settings::CellSettings;
use world::World;

/// Pairs, and links, that are rehearsed. 5,000: all of a cell of 100 nodes.
const PAIRS_MAX: usize = 5_000;

/// What is lost. Nothing comes back by itself while it is rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Nothing: all machines get power at once.
    Boot,
    Node(NodeName),
    Pair(NodeName, NodeName),
    /// Nothing gets through between the two any more.
    Link(NodeName, NodeName),
    /// The manager of this node: its process, not the machine.
    Manager(NodeName),
    /// Something of the group fails on the node where it runs, however often it is started there.
    Group(GroupName),
    /// The member's process ends, or what runs elsewhere stops answering.
    Member(ClusterName, MemberName),
}

impl Loss {
    /// The word by which it is chosen.
    pub fn kind(&self) -> &'static str {
        match self {
            Loss::Boot => "boot",
            Loss::Node(_) => "node",
            Loss::Pair(..) => "pair",
            Loss::Link(..) => "link",
            Loss::Manager(_) => "manager",
            Loss::Group(_) => "group",
            Loss::Member(..) => "member",
        }
    }

    pub const KINDS: [&'static str; 7] = ["boot", "manager", "node", "pair", "link", "group", "member"];

    /// As a person names it, after the kind and a colon.
    pub fn name(&self) -> String {
        match self {
            Loss::Boot => String::new(),
            Loss::Node(node) | Loss::Manager(node) => node.to_string(),
            Loss::Pair(one, two) | Loss::Link(one, two) => format!("{one},{two}"),
            Loss::Group(group) => group.to_string(),
            Loss::Member(cluster, member) => format!("{cluster}/{member}"),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Boot => write!(out, "all nodes boot at once"),
            Loss::Node(node) => write!(out, "node {node} is lost"),
            Loss::Pair(one, two) => write!(out, "nodes {one} and {two} are lost"),
            Loss::Link(one, two) => write!(out, "nothing gets through between {one} and {two}"),
            Loss::Manager(node) => write!(out, "the manager of {node} is lost"),
            Loss::Group(group) => write!(out, "group {group} fails on its node again and again"),
            Loss::Member(cluster, member) => write!(out, "member {member} of cluster {cluster} is lost"),
        }
    }
}

/// Typical and longest, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Span {
    pub typical_ms: u64,
    pub most_ms: u64,
}

/// What becomes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It runs, by itself.
    Saved,
    /// It runs once a person has said that the node is off.
    ByHand,
    /// It does not run, whatever anybody says.
    NotSaved,
    /// Two nodes had it at once. Nobody should ever see this.
    Twice,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupEnd {
    pub group: GroupName,
    pub from: Option<NodeName>,
    pub to: Option<NodeName>,
    pub end: End,
    /// How long nobody runs it, beyond what its own scripts take; with `ByHand` and `NotSaved` for good.
    pub away: Span,
    /// The planner's reason.
    pub why: String,
}

/// What is left of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterEnd {
    pub cluster: ClusterName,
    /// None: for everybody.
    pub router: Option<String>,
    pub members: usize,
    pub left: usize,
    /// When the lost member serves again by itself; None: not.
    pub back_ms: Option<u64>,
    pub why: String,
}

/// A node that runs more groups than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Crowd {
    pub node: NodeName,
    pub before: usize,
    pub after: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub loss: Loss,
    /// Groups that were touched by it; all of them where everything boots.
    pub groups: Vec<GroupEnd>,
    pub clusters: Vec<ClusterEnd>,
    pub crowds: Vec<Crowd>,
    /// What would be said beside that.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Everything is served by itself.
    pub fn is_saved(&self) -> bool {
        self.groups.iter().all(|group| group.end == End::Saved)
            && self.clusters.iter().all(|cluster| cluster.left > 0)
    }
}

/// A healthy cell, ready to lose something.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    cell: CellSettings,
    healthy: World,
    boot: Outcome,
}

impl Rehearsal {
    /// All machines of the cell boot at once.
    pub fn new(cell: &CellSettings) -> Self {
        let mut world = World::boot(cell);
        let boot = judge::boot(&mut world);
        Self { cell: cell.clone(), healthy: world, boot }
    }

    /// All losses that there are, in the order in which people want to read them.
    pub fn losses(&self) -> Vec<Loss> {
        let nodes = &self.cell.nodes;
        let mut all = vec![Loss::Boot];
        all.extend(self.cell.managers().iter().cloned().map(Loss::Manager));
        all.extend(nodes.iter().cloned().map(Loss::Node));
        let pairs = pairs(&self.cell);
        all.extend(pairs.iter().filter(|_| nodes.len() > 2).cloned().map(|(one, two)| Loss::Pair(one, two)));
        all.extend(pairs.into_iter().map(|(one, two)| Loss::Link(one, two)));
        all.extend(self.cell.groups.iter().map(|group| Loss::Group(group.name.clone())));
        for cluster in &self.cell.clusters {
            let members = cluster.members.iter();
            all.extend(members.map(|member| Loss::Member(cluster.name.clone(), member.name.clone())));
        }
        all
    }

    pub fn rehearse(&self, loss: &Loss) -> Outcome {
        match loss {
            Loss::Boot => self.boot.clone(),
            Loss::Member(cluster, member) => members::member(&self.cell, cluster, member),
            // Nothing of groups goes over it.
            Loss::Link(one, two) if !self.is_manager(one) && !self.is_manager(two) => Outcome {
                loss: loss.clone(),
                groups: Vec::new(),
                clusters: members::around(&self.cell, loss),
                crowds: Vec::new(),
                notes: Vec::new(),
            },
            Loss::Node(_) | Loss::Pair(..) | Loss::Link(..) | Loss::Manager(_) | Loss::Group(_) => {
                let mut outcome = judge::judge(&self.healthy, loss);
                outcome.clusters = members::around(&self.cell, loss);
                outcome
            }
        }
    }

    fn is_manager(&self, node: &NodeName) -> bool {
        self.cell.managers().contains(node)
    }

    /// Whether a person has to know of something that no loss shows, a sentence each.
    pub fn cautions(&self) -> Vec<String> {
        let count = self.cell.nodes.len();
        let left_out = (count * count.saturating_sub(1) / 2).saturating_sub(PAIRS_MAX);
        let told = (left_out > 0).then(|| {
            format!(
                "{left_out} pairs of nodes and links are not rehearsed: {PAIRS_MAX} are, first those that share a manager \
                 or a group"
            )
        });
        judge::cautions(&self.cell).into_iter().chain(told).collect()
    }
}

/// Pairs of nodes in the order of the configuration: all, or those first that share a group or a manager.
fn pairs(cell: &CellSettings) -> Vec<(NodeName, NodeName)> {
    let places: BTreeMap<&NodeName, usize> =
        cell.nodes.iter().enumerate().map(|(place, node)| (node, place)).collect();
    let of_group = |group: &GroupSettings| -> Vec<usize> {
        group.nodes.iter().filter_map(|node| places.get(node).copied()).collect()
    };
    let in_groups = cell.groups.iter().flat_map(|group| {
        let nodes = of_group(group);
        let others = |place: usize| nodes[place + 1..].iter().map(move |other| (place, *other));
        let all = (0..nodes.len()).flat_map(others).map(|(place, other)| (nodes[place], other));
        all.take(PAIRS_MAX).collect::<Vec<_>>()
    });
    let count = cell.nodes.len();
    let managers = cell.managers().iter().filter_map(|node| places.get(node).copied());
    let with_managers = managers.flat_map(|manager| (0..count).map(move |node| (manager, node)));
    let all = (0..count).flat_map(|place| (place + 1..count).map(move |other| (place, other)));
    let mut found = BTreeSet::new();
    for (one, two) in with_managers.chain(in_groups).chain(all).filter(|(one, two)| one != two) {
        if found.len() == PAIRS_MAX {
            break;
        }
        found.insert((one.min(two), one.max(two)));
    }
    found.into_iter().map(|(one, two)| (cell.nodes[one].clone(), cell.nodes[two].clone())).collect()
}
