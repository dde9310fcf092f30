//! Failover groups: how they are configured, what a node is told to run of them, what it reports, and what people see.
//!
//! The leader of the managers decides where a group runs and commits that before anybody is told. A node runs a group
//! only while the leader's word, and where it is `is_leased` the node's own lease, allow it.

use crate::group_move::MoveSummary;
use crate::id::{GroupName, MonitorName, NodeName, ResourceName};
use crate::is_default;
use crate::monitor::FinalAction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A group of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSettings {
    pub name: GroupName,
    /// Where it may run, the preferred one first.
    pub nodes: Vec<NodeName>,
    pub startup: Attribute,
    pub failover: Attribute,
    pub failback: Attribute,
    #[serde(default, skip_serializing_if = "is_default")]
    pub class: GroupClass,
    /// Starts on the same node after something of it failed there, before it goes to another one.
    pub restarts_max: u32,
    /// Times within an hour that it goes to another node because something of it failed.
    pub failovers_max: u32,
    /// Groups that must run before it starts.
    pub after: Vec<GroupName>,
    /// Groups that never run on the same node.
    pub apart: Vec<GroupName>,
    /// In the order in which they are started.
    pub resources: Vec<ResourceSettings>,
}

impl GroupSettings {
    /// Whether a node needs its lease to run it: where another node may take it over without asking a person.
    pub fn is_leased(&self) -> bool {
        self.nodes.len() > 1 && self.failover == Attribute::Automatic
    }
}

/// What has to be proven before another node may take a group over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupClass {
    /// That its node's lease is over: processes and addresses end with it.
    #[default]
    Soft,
    /// That its node is off, too: what it writes to may be shared, and what was written may still be on its way.
    Hard,
}

/// Whether something happens by itself or by a person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attribute {
    Automatic,
    Manual,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceSettings {
    pub name: ResourceName,
    pub kind: ResourceKind,
    pub start_timeout_ms: u64,
    pub stop_timeout_ms: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub directory: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub user: Option<String>,
}

/// What a resource is: the name of its type, and what the configuration says for that type. What the keys mean is the
/// business of the type alone, so that a new one changes nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, ResourceOptions>", into = "BTreeMap<String, ResourceOptions>")]
pub struct ResourceKind {
    pub name: String,
    pub options: ResourceOptions,
}

/// Of one resource, by key.
pub type ResourceOptions = BTreeMap<String, OptionValue>;

/// What a key of a resource says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    Flag(bool),
    Number(i64),
    Text(String),
    List(Vec<String>),
    Table(BTreeMap<String, String>),
}

impl OptionValue {
    pub fn text(&self) -> Option<&str> {
        match self {
            OptionValue::Text(text) => Some(text),
            OptionValue::Flag(_) | OptionValue::Number(_) | OptionValue::List(_) | OptionValue::Table(_) => {
                None
            }
        }
    }
}

impl ResourceKind {
    /// An `exec` that is nothing but its start.
    pub fn script(start: &[String]) -> Self {
        let options = [("start", start), ("stop", &[])];
        let options = options.map(|(key, words)| (key.to_owned(), OptionValue::List(words.to_vec())));
        Self { name: "exec".into(), options: options.into() }
    }
}

impl TryFrom<BTreeMap<String, ResourceOptions>> for ResourceKind {
    type Error = &'static str;

    fn try_from(map: BTreeMap<String, ResourceOptions>) -> Result<Self, Self::Error> {
        let mut entries = map.into_iter();
        match (entries.next(), entries.next()) {
            (Some((name, options)), None) => Ok(Self { name, options }),
            _ => Err("a resource must have one type with its options"),
        }
    }
}

impl From<ResourceKind> for BTreeMap<String, ResourceOptions> {
    fn from(kind: ResourceKind) -> Self {
        Self::from([(kind.name, kind.options)])
    }
}

/// A group that a node shall run. The whole list is sent each time; what is missing is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAssignment {
    pub name: GroupName,
    /// Counts the owners that the group was given. Scripts and processes get it, so that what they write to can refuse
    /// who comes late.
    pub epoch: u64,
    pub is_leased: bool,
    /// Nothing of it happens by itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_frozen: bool,
    /// Restarts of what ends by itself, within an hour, before the group counts as failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restarts_max: u32,
    /// The number of the node's wish that is granted (see `RecoveryWish`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub granted: Option<u64>,
    pub cause: StartCause,
    /// Place of the node in the policy, from 0.
    pub priority: u32,
    /// Where it ran before.
    #[serde(default)]
    pub previous: Option<NodeName>,
    /// That node has said, after it was told to stop it, that nothing of it is left there, and no other node can have anything of
    /// it. Who begins at once need not ask whether somebody has it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_handed_over: bool,
    pub resources: Vec<ResourceSettings>,
}

/// Why a group starts on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartCause {
    /// At the start of the cell, or by a person's word.
    Start,
    /// Because it could not stay elsewhere.
    Failover,
    /// Because it could not go on as it was, on the same node.
    Again,
}

/// All that a node's agent knows of groups: whole, not a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsReport {
    pub node: NodeName,
    pub incarnation: u64,
    pub sequence: u64,
    /// Of the newest assignments that were obeyed: whose they were, and their number; 0 and 0: none.
    pub generation: u64,
    pub number: u64,
    /// The node holds its lease.
    pub has_lease: bool,
    pub groups: Vec<GroupReport>,
    /// Errors of monitors that speak against groups on this node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ailments: Vec<Ailment>,
}

/// A monitor is in error on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ailment {
    pub monitor: MonitorName,
    /// None: of all groups.
    pub group: Option<GroupName>,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    pub name: GroupName,
    pub epoch: u64,
    pub state: GroupState,
    /// Why it is so, as a sentence for people.
    pub reason: String,
    pub resources: Vec<ResourceReport>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub recovery: RecoveryReport,
    /// What could not be given back when the group ended here, as a sentence: a file system that cannot be unmounted, an agent
    /// whose stop fails. Only with `Stopping`, for as long as it is so; the node goes on trying.
    #[serde(default, skip_serializing_if = "is_default")]
    pub left: Option<String>,
}

/// What a node did by itself to keep a group well, and what it wishes to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryReport {
    /// Restarts within an hour because something of the group ended or did not start.
    pub restarts: u32,
    /// Restarts since the group began, for whatever reason; and the newest, as a sentence.
    pub acts: u64,
    pub last: String,
    pub wish: Option<RecoveryWish>,
    /// What was not stopped in good order since the group began, and was killed: the newest, as a sentence.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_stopped: Option<String>,
}

/// A node may restart things by itself; whatever else it has to do to a group it asks the leader for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryWish {
    /// Names it among all of one start of the agent.
    pub number: u64,
    pub monitor: MonitorName,
    pub act: RecoveryAct,
    /// What is wrong, as a sentence.
    pub why: String,
    /// It was granted, and is carried out.
    pub is_granted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryAct {
    FailOver,
    Final(FinalAction),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceReport {
    pub name: ResourceName,
    pub state: ResourceState,
}

/// A group on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupState {
    /// To be started once the node has its lease.
    Waiting,
    Starting,
    Online,
    Stopping,
    /// Nothing of it is left, and it was meant to be so.
    Stopped,
    /// Something of it failed, and nothing of it is left. This epoch is not run again.
    Failed,
    /// The node's lease ended, and nothing of it is left. This epoch is not run again.
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceState {
    Offline,
    Starting,
    Online,
    Stopping,
    Failed,
}

impl GroupAct {
    pub fn verb(&self) -> GroupVerb {
        match self {
            GroupAct::Start { .. } => GroupVerb::Start,
            GroupAct::Stop => GroupVerb::Stop,
            GroupAct::Move { .. } => GroupVerb::Move,
            GroupAct::Failback => GroupVerb::Failback,
            GroupAct::Freeze => GroupVerb::Freeze,
            GroupAct::Thaw => GroupVerb::Thaw,
            GroupAct::ConfirmOff { .. } => GroupVerb::ConfirmOff,
        }
    }
}

impl fmt::Display for ResourceState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            ResourceState::Offline => "offline",
            ResourceState::Starting => "starting",
            ResourceState::Online => "online",
            ResourceState::Stopping => "stopping",
            ResourceState::Failed => "failed",
        })
    }
}

/// What an operator may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupAct {
    /// On this node, or where the policy says.
    Start {
        node: Option<NodeName>,
    },
    Stop,
    /// To this node, or to the next that can.
    Move {
        node: Option<NodeName>,
    },
    /// To the first node of its policy.
    Failback,
    /// Nothing of it happens by itself, until it is thawed.
    Freeze,
    Thaw,
    /// The node that it was on is off: a person has looked.
    ConfirmOff {
        node: NodeName,
    },
}

/// The word for a wish, as the API and the command line have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupVerb {
    Start,
    Stop,
    Move,
    Failback,
    Freeze,
    Thaw,
    ConfirmOff,
}

impl GroupVerb {
    pub const ALL: [GroupVerb; 7] = [
        GroupVerb::Start,
        GroupVerb::Stop,
        GroupVerb::Move,
        GroupVerb::Failback,
        GroupVerb::Freeze,
        GroupVerb::Thaw,
        GroupVerb::ConfirmOff,
    ];

    pub fn name(self) -> &'static str {
        match self {
            GroupVerb::Start => "start",
            GroupVerb::Stop => "stop",
            GroupVerb::Move => "move",
            GroupVerb::Failback => "failback",
            GroupVerb::Freeze => "freeze",
            GroupVerb::Thaw => "thaw",
            GroupVerb::ConfirmOff => "confirm-off",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        GroupVerb::ALL.into_iter().find(|verb| verb.name() == name)
    }

    /// What is asked for. The error says which node is missing, or too much.
    pub fn act(self, node: Option<NodeName>) -> Result<GroupAct, &'static str> {
        const NO_NODE: &str = "no node can be given here";
        match (self, node) {
            (GroupVerb::Start, node) => Ok(GroupAct::Start { node }),
            (GroupVerb::Move, node) => Ok(GroupAct::Move { node }),
            (GroupVerb::ConfirmOff, Some(node)) => Ok(GroupAct::ConfirmOff { node }),
            (GroupVerb::ConfirmOff, None) => Err("the node that is off must be given"),
            (GroupVerb::Stop, None) => Ok(GroupAct::Stop),
            (GroupVerb::Failback, None) => Ok(GroupAct::Failback),
            (GroupVerb::Freeze, None) => Ok(GroupAct::Freeze),
            (GroupVerb::Thaw, None) => Ok(GroupAct::Thaw),
            (GroupVerb::Stop | GroupVerb::Failback | GroupVerb::Freeze | GroupVerb::Thaw, Some(_)) => {
                Err(NO_NODE)
            }
        }
    }
}

/// As the API and `muster status` show a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub group: GroupName,
    pub state: GroupCondition,
    /// Where it is, or may be.
    pub node: Option<NodeName>,
    pub epoch: u64,
    /// Why it is so, as a sentence.
    pub reason: String,
    pub since_ms: u64,
    pub is_frozen: bool,
    /// The policy.
    pub nodes: Vec<NodeName>,
    pub resources: Vec<ResourceReport>,
    /// What the planner thinks of each node, in the order of the policy.
    pub why: Vec<NodeWhy>,
    /// The newest start, stop or move that the manager that leads has seen.
    #[serde(default)]
    pub last_move: Option<MoveSummary>,
}

/// A group as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupCondition {
    Offline,
    Starting,
    Online,
    Stopping,
    Failed,
    /// It shall run, and cannot yet.
    Waiting,
}

impl fmt::Display for GroupCondition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            GroupCondition::Offline => "offline",
            GroupCondition::Starting => "starting",
            GroupCondition::Online => "online",
            GroupCondition::Stopping => "stopping",
            GroupCondition::Failed => "failed",
            GroupCondition::Waiting => "waiting",
        })
    }
}

/// Whether a group could run on a node, and why or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWhy {
    pub node: NodeName,
    pub is_able: bool,
    /// It could, and yet another one would be better.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_ailing: bool,
    pub why: String,
}
