//! What a group has gone through when it started, stopped or went to another node: stage by stage, with times.
//!
//! Times are Unix milliseconds of the manager that led. What a node has done counts from when the manager heard of it.
//! Not here: where a group is now (see `group`).

use crate::id::{GroupName, NodeName, ResourceName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One start, stop, restart or move of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMove {
    /// Counts up within the term of a leader.
    pub number: u64,
    pub group: GroupName,
    pub kind: MoveKind,
    pub from: Option<NodeName>,
    pub to: Option<NodeName>,
    /// Of the newest owner that was decided on.
    pub epoch: u64,
    /// Why it was decided, as a sentence.
    pub reason: String,
    pub began_ms: u64,
    /// None: it goes on.
    pub ended_ms: Option<u64>,
    pub outcome: MoveOutcome,
    /// In the order of their times.
    pub stages: Vec<MoveStage>,
    /// Stages that were not kept, because there were too many.
    #[serde(default)]
    pub left_out: u64,
}

/// As much of the newest one as everybody is told who follows the cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveSummary {
    pub number: u64,
    pub kind: MoveKind,
    pub from: Option<NodeName>,
    pub to: Option<NodeName>,
    pub began_ms: u64,
    pub ended_ms: Option<u64>,
    pub outcome: MoveOutcome,
    /// How many stages there are so far.
    pub stages: u64,
}

impl GroupMove {
    pub fn summary(&self) -> MoveSummary {
        MoveSummary {
            number: self.number,
            kind: self.kind,
            from: self.from.clone(),
            to: self.to.clone(),
            began_ms: self.began_ms,
            ended_ms: self.ended_ms,
            outcome: self.outcome,
            stages: self.stages.len() as u64 + self.left_out,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveKind {
    Start,
    Stop,
    /// By a person's word.
    Move,
    /// To a node that comes earlier in its policy.
    Failback,
    /// Because it could not stay where it was.
    Failover,
    /// On the node where it was.
    Restart,
}

impl fmt::Display for MoveKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            MoveKind::Start => "start",
            MoveKind::Stop => "stop",
            MoveKind::Move => "move",
            MoveKind::Failback => "failback",
            MoveKind::Failover => "failover",
            MoveKind::Restart => "restart",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveOutcome {
    /// It goes on.
    Going,
    Online,
    Offline,
    Failed,
}

impl fmt::Display for MoveOutcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            MoveOutcome::Going => "going on",
            MoveOutcome::Online => "online",
            MoveOutcome::Offline => "offline",
            MoveOutcome::Failed => "failed",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveStage {
    pub stage: Stage,
    pub at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceName>,
    /// As a sentence for people.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// A person wants it.
    Asked,
    /// The node's last heartbeat came.
    LastHeard,
    /// The node's agent is not connected any more.
    Suspected,
    /// The node's heartbeats do not come.
    Confirmed,
    /// The node's lease has run out and is withheld: proof that nothing is left there of what needs one.
    LeaseEnded,
    /// A fence has proven that the node is off.
    Fenced,
    /// Something of the group failed on its node.
    Failed,
    Stopping,
    /// The node says that nothing of the group is left: proof.
    Stopped,
    Decided,
    /// The decision is in the store.
    Committed,
    NotCommitted,
    /// The node was told to run it.
    Told,
    ResourceStarting,
    ResourceOnline,
    ResourceFailed,
    Online,
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Stage::Asked => "asked for",
            Stage::LastHeard => "last heard",
            Stage::Suspected => "suspected",
            Stage::Confirmed => "confirmed",
            Stage::LeaseEnded => "lease ended",
            Stage::Fenced => "fenced",
            Stage::Failed => "failed",
            Stage::Stopping => "stopping",
            Stage::Stopped => "stopped",
            Stage::Decided => "decided",
            Stage::Committed => "committed",
            Stage::NotCommitted => "not committed",
            Stage::Told => "told",
            Stage::ResourceStarting => "resource starting",
            Stage::ResourceOnline => "resource online",
            Stage::ResourceFailed => "resource failed",
            Stage::Online => "online",
        })
    }
}
