//! Which node a group goes to, with a reason for each; and what its scripts are told about that.
//!
//! Pure arithmetic on facts: the first node of the policy that is able is chosen, and nothing else counts.

use std::collections::BTreeMap;
use wire::group::{GroupAssignment, NodeWhy, StartCause};
use wire::id::{NodeName, ResourceName};

/// What is known of a node that a group may run on. Each is a reason against it, but for `is_owner`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub is_owner: bool,
    pub is_connected: bool,
    /// Its agent has obeyed this leader and said what it runs.
    pub has_reported: bool,
    pub is_reachable: bool,
    /// Its lease was taken from it, and it has not come back yet.
    pub is_taken: bool,
    /// The group needs a lease, and the node has none.
    pub lacks_lease: bool,
    /// Something of the group failed there, so many times, for the last time like this.
    pub failed: Option<(u32, String)>,
    /// It is to be emptied, or left alone. One that is there may stay all the same.
    pub is_drained: bool,
    pub is_in_maintenance: bool,
    /// A group that it must be apart from is there.
    pub apart_from: Option<String>,
    /// A monitor of the group is in error there, which speaks against the node only while there are better ones.
    pub ailment: Option<String>,
}

/// Whether a group could run there.
pub fn judge(node: &NodeName, facts: &Facts) -> NodeWhy {
    let against = if facts.is_taken {
        Some("its lease was taken from it, and it has not answered since".to_owned())
    } else if !facts.is_connected {
        Some("its agent is not connected".to_owned())
    } else if !facts.is_reachable {
        Some("its heartbeats do not come".to_owned())
    } else if !facts.has_reported {
        Some("its agent has not said yet what runs there".to_owned())
    } else if facts.is_drained && !facts.is_owner {
        Some(format!("it is drained, until `muster node undrain {node}`"))
    } else if facts.is_in_maintenance && !facts.is_owner {
        Some(format!("it is in maintenance, until `muster node maintenance {node} off`"))
    } else if facts.lacks_lease {
        Some("it has no lease: its heartbeats are not answered by the manager that leads".to_owned())
    } else if let Some((count, why)) = &facts.failed {
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
        Some(format!("the group failed there {times}: {why}"))
    } else {
        facts.apart_from.as_ref().map(|group| format!("group {group} is there, from which it is kept apart"))
    };
    let able = match facts.is_owner {
        true if facts.is_drained => "it is there, and leaves: the node is drained",
        true => "it is there, and can stay",
        false => "it can run there",
    };
    let (is_able, why) = against.map_or((true, able.to_owned()), |against| (false, against));
    match &facts.ailment {
        Some(ailment) if is_able => {
            NodeWhy { node: node.clone(), is_able, is_ailing: true, why: format!("{why}, but {ailment}") }
        }
        Some(_) | None => NodeWhy { node: node.clone(), is_able, is_ailing: facts.ailment.is_some(), why },
    }
}

/// The first that is able, but for `not`; one that ails only where there is no better one.
pub fn choose<'a>(whys: &'a [NodeWhy], not: Option<&NodeName>) -> Option<&'a NodeName> {
    let able = whys.iter().filter(|why| why.is_able && Some(&why.node) != not);
    able.min_by_key(|why| why.is_ailing).map(|why| &why.node)
}

/// The first that is able and does not ail, but for `not`.
pub fn choose_well<'a>(whys: &'a [NodeWhy], not: Option<&NodeName>) -> Option<&'a NodeName> {
    choose(whys, not).filter(|node| whys.iter().any(|why| why.node == **node && !why.is_ailing))
}

/// All that speaks against the nodes, for people.
pub fn against(whys: &[NodeWhy], not: Option<&NodeName>) -> String {
    let is_against = |why: &&NodeWhy| !why.is_able || why.is_ailing;
    let others = whys.iter().filter(is_against).filter(|why| Some(&why.node) != not);
    let said: Vec<String> = others.map(|why| format!("{}: {}", why.node, why.why)).collect();
    if said.is_empty() { "its policy has no other node".into() } else { said.join("; ") }
}

/// What scripts and processes are told. `CLP_` names are those that scripts of ExpressCluster look at.
pub fn environment(
    group: &GroupAssignment,
    resource: &ResourceName,
    node: &NodeName,
) -> BTreeMap<String, String> {
    let event = match group.cause {
        StartCause::Start | StartCause::Again => "START",
        StartCause::Failover => "FAILOVER",
    };
    let server = if group.priority == 0 { "HOME" } else { "OTHER" };
    let mut all = BTreeMap::from([
        ("CLP_EVENT", event.to_owned()),
        ("CLP_SERVER", server.to_owned()),
        // Its file systems are resources before this one, or there are none.
        ("CLP_DISK", "SUCCESS".to_owned()),
        ("CLP_PRIORITY", (group.priority + 1).to_string()),
        ("CLP_GROUPNAME", group.name.0.clone()),
        ("CLP_RESOURCENAME", resource.0.clone()),
        ("MUSTER_GROUP", group.name.0.clone()),
        ("MUSTER_RESOURCE", resource.0.clone()),
        ("MUSTER_NODE", node.0.clone()),
        ("MUSTER_EPOCH", group.epoch.to_string()),
    ]);
    if let Some(previous) = &group.previous {
        all.insert("CLP_SERVER_PREV", previous.0.clone());
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
