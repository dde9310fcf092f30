//! What the API, the console and `muster status --json` show of a cell. Times are Unix milliseconds.

use crate::agent::ProcessState;
use crate::fence::FenceStatus;
use crate::group::GroupStatus;
use crate::id::{ClusterName, Epoch, MemberName, MonitorName, NodeName, RouterName, TermNumber};
use crate::monitor::{Figure, MonitorState};
use crate::router::{Totals, TrafficCounts};
use crate::view::{Policy, RunState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellStatus {
    pub cell: String,
    pub version: String,
    /// Of the manager that answers.
    pub generation: u64,
    /// Who leads of several managers; None where there is one on a store of its own.
    #[serde(default)]
    pub leader: Option<LeaderStatus>,
    /// All of several managers, in the order of the configuration; none where there is one on a store of its own.
    #[serde(default)]
    pub managers: Vec<ManagerStatus>,
    /// Number of the configuration in force, counted from 1.
    pub config_revision: u64,
    pub now_ms: u64,
    pub nodes: Vec<NodeStatus>,
    pub routers: Vec<RouterStatus>,
    pub clusters: Vec<ClusterStatus>,
    #[serde(default)]
    pub groups: Vec<GroupStatus>,
    #[serde(default)]
    pub monitors: Vec<MonitorStatus>,
    /// What could switch nodes off, for each fence and node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fences: Vec<FenceStatus>,
    /// The cells of the configuration of which this one hears.
    #[serde(default)]
    pub other_cells: Vec<OtherCellStatus>,
    /// No manager leads, and this is what was known at that moment; None: it is so now. Only for those who ask for it.
    #[serde(default)]
    pub stale_since_ms: Option<u64>,
}

/// A monitor on one of its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorStatus {
    pub monitor: MonitorName,
    pub node: NodeName,
    /// `tcp`, `http`...
    pub kind: String,
    pub target: String,
    pub state: MonitorState,
    pub since_ms: u64,
    pub reason: String,
    /// How long the newest answer took.
    pub took_ms: Option<u64>,
    pub interval_ms: u64,
    /// When the next probe is due; None where none is.
    pub next_ms: Option<u64>,
    pub probes: u64,
    pub failures: u64,
    /// When a drill ends; None if there is none.
    #[serde(default)]
    pub drill_ends_ms: Option<u64>,
    #[serde(default)]
    pub figures: Vec<Figure>,
}

/// Another cell, as this one hears it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherCellStatus {
    pub cell: String,
    pub standing: CellStanding,
    /// Since when that is so.
    pub since_ms: u64,
    /// When it last told something that was believed; None if never.
    pub heard_ms: Option<u64>,
    /// Why nothing is heard, as it was last found.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellStanding {
    /// Nothing has ever been heard.
    #[default]
    Unheard,
    Heard,
    /// What it told last counts, for a while.
    Silent,
    /// What it told last counts, and it is not listened to.
    Quarantined,
    /// It was silent for too long: what it told counts no longer.
    Forgotten,
}

impl fmt::Display for CellStanding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            CellStanding::Unheard => "never heard",
            CellStanding::Heard => "heard",
            CellStanding::Silent => "silent",
            CellStanding::Quarantined => "quarantined",
            CellStanding::Forgotten => "forgotten",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderStatus {
    pub node: NodeName,
    pub term: TermNumber,
    pub since_ms: u64,
}

/// A manager, as the one that leads hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerStatus {
    pub node: NodeName,
    pub state: ManagerState,
    /// Since when; of one that is down, when it was heard last. None: nothing was heard of it since the leader started.
    pub since_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagerState {
    Leads,
    Follows,
    /// Nothing has been heard of it for two seconds.
    Down,
    /// The leader has not listened for that long.
    Unknown,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub node: NodeName,
    pub connected: bool,
    /// When its agent last spoke; None if never.
    pub heard_ms: Option<u64>,
    /// Since when its agent is connected; None if it is not.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// From where its agent is connected; None on the manager's own machine.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Of Muster there; empty where it is not known.
    #[serde(default)]
    pub version: String,
    /// What of it is connected: `manager`, `agent`, `router NAME`.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Whether its machine can be reached, as its heartbeats tell.
    #[serde(default)]
    pub reach: NodeReach,
    /// Who hears it while the leader does not: another manager, or a node that was sent to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_by: Option<NodeName>,
    /// Since when that is so; None if it has always been.
    #[serde(default)]
    pub reach_since_ms: Option<u64>,
    /// Requests go around it: neither heartbeats nor its agent's link lead there.
    #[serde(default)]
    pub left_out: bool,
    /// It fell silent together with many others: nothing is taken over from it before somebody says that it is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost_with_many: bool,
    /// None if none has come since the manager's start.
    #[serde(default)]
    pub heartbeat: Option<HeartbeatStatus>,
    /// How far its clock is ahead of the manager's, negative if behind, when its agent last spoke. Counts what the report
    /// was on its way for.
    #[serde(default)]
    pub clock_ahead_ms: Option<i64>,
    /// Until when its certificate counts, if it is overdue and was not renewed. Unix milliseconds.
    #[serde(default)]
    pub certificate_until_ms: Option<u64>,
    /// A machine that has shown a certificate of this node and was refused, in the last minute.
    #[serde(default)]
    pub refused: Option<NodeRefusal>,
    /// Nothing new shall go there, and its groups shall leave it.
    #[serde(default)]
    pub drained: bool,
    /// Its monitors pause, and nothing moves because of it by itself.
    #[serde(default)]
    pub maintenance: bool,
}

/// That a machine was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRefusal {
    pub from: Option<IpAddr>,
    pub at_ms: u64,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeReach {
    /// It has never sent a heartbeat.
    #[default]
    Unknown,
    Reachable,
    /// One direction is broken, or other managers or nodes hear it and the leader does not.
    Degraded,
    Unreachable,
}

impl fmt::Display for NodeReach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            NodeReach::Unknown => "unknown",
            NodeReach::Reachable => "reachable",
            NodeReach::Degraded => "degraded",
            NodeReach::Unreachable => "unreachable",
        })
    }
}

/// A node's heartbeats as the manager hears them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatStatus {
    /// How long ago the last one came, up to a quarter of a second more by now.
    pub ago_ms: u64,
    pub interval_ms: u16,
    pub lease: LeaseStatus,
}

/// Whether a node may act by what the manager granted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseStatus {
    Granted,
    /// Every grant has run out.
    Over,
    /// It is granted nothing more, so that others may take over.
    Withheld,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterStatus {
    pub router: RouterName,
    pub node: NodeName,
    pub connected: bool,
    pub heard_ms: Option<u64>,
    pub listening: Vec<SocketAddr>,
    /// The epoch of each cluster that all its threads use.
    #[serde(default)]
    pub applied: BTreeMap<ClusterName, Epoch>,
    pub connections: u64,
    pub requests_per_second: f64,
    pub totals: Totals,
    /// In the order of the configuration, at most `ROUTES_TOLD_MAX`; what others had together comes last.
    #[serde(default)]
    pub routes: Vec<RouteStatus>,
    /// What it could not do, or will not be able to do soon, a sentence each.
    #[serde(default)]
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    pub route: String,
    pub host: String,
    pub path: String,
    /// Clusters by priority; empty where the router answers itself.
    pub levels: Vec<Vec<ClusterName>>,
    /// What else is done with its requests, a few words each.
    pub actions: Vec<String>,
    pub in_flight: u64,
    pub requests_per_second: f64,
    pub counts: TrafficCounts,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    pub cluster: ClusterName,
    pub epoch: Epoch,
    pub policy: Policy,
    /// What is being done to the cluster, e.g. `restarting shop-2 (2 of 3)`; None when nothing is.
    pub operation: Option<String>,
    /// Why the last operation ended early; None when it did not, or a new one has begun.
    #[serde(default)]
    pub setback: Option<String>,
    pub members: Vec<MemberStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    pub member: MemberName,
    pub node: NodeName,
    pub clone_id: String,
    pub address: Option<SocketAddr>,
    pub state: RunState,
    pub since_ms: u64,
    pub reason: String,
    pub weight: u32,
    pub process: Option<ProcessState>,
    pub restarts: u32,
    pub requests: u64,
    pub failed: u64,
    pub in_flight: u64,
    pub requests_per_second: f64,
    /// Sessions seen in the last five minutes; of one that is drained, those that are left.
    pub sessions: u64,
    pub latency_p50_us: u64,
    pub latency_p99_us: u64,
    #[serde(default)]
    pub counts: TrafficCounts,
    /// The last time that a router left it out for failing, and which router.
    #[serde(default)]
    pub ejection: Option<MemberEjection>,
    /// When a drain, stop or restart goes on whether sessions have ended or not.
    #[serde(default)]
    pub drain_ends_ms: Option<u64>,
}

/// That a router leaves a member out, or did so last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEjection {
    pub router: RouterName,
    pub reason: String,
    /// How long it is still left out; 0 if it is used again.
    pub left_ms: u64,
}

/// Something that happened and that a person may want to know. Shown as alerts, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up within the history of the cell.
    pub number: u64,
    pub at_ms: u64,
    pub severity: Severity,
    /// Stable name of the kind of event, e.g. `member-up`.
    pub kind: String,
    pub cluster: Option<ClusterName>,
    pub member: Option<MemberName>,
    /// Where it happened, if that is one machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Number of the message in the catalogue of its source, for those that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Error,
}

/// What an operator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    Start,
    Stop,
    Drain,
    Restart,
}

/// What an operator may ask of a monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MonitorAct {
    Pause,
    /// Goes on, and ends a drill.
    Resume,
    /// A drill: it fails for so long.
    Fail {
        for_ms: u64,
    },
}

/// A refusal as the API and `--json` show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// E.g. `M1003`; see docs/errors.
    pub code: String,
    pub message: String,
    /// Whether the same call may simply be made again.
    pub retry: bool,
}

/// What an accepted configuration changed, a sentence each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub revision: u64,
    pub changes: Vec<String>,
    /// The revision that was in force before; None where nothing was changed.
    #[serde(default)]
    pub replaced: Option<u64>,
}

/// One entry of the configuration's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRevision {
    pub revision: u64,
    pub at_ms: u64,
    pub who: String,
    pub changes: Vec<String>,
    /// It is the text of this earlier revision again.
    #[serde(default)]
    pub back_to: Option<u64>,
}

/// Where a request would go, and why: the sentences are in the order of the decisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub url: String,
    pub route: Option<String>,
    /// Place of the cluster's level in the route, from 1; None where several levels get a share.
    #[serde(default)]
    pub level: Option<u32>,
    /// None where several clusters share.
    pub cluster: Option<ClusterName>,
    /// None where there is none, or where chance or rotation decides among `candidates`.
    pub member: Option<MemberName>,
    pub candidates: Vec<MemberName>,
    /// The cluster of each candidate.
    #[serde(default)]
    pub candidate_clusters: Vec<ClusterName>,
    pub why: Vec<String>,
}

/// The answer to an accepted act: what is now being done, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acted {
    pub text: String,
}

/// A configuration: the one in force, or one of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    pub revision: u64,
    pub text: String,
}

/// The cell as a plugin-cfg.xml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginCfgText {
    pub text: String,
    /// What could not be said in it, a sentence each.
    pub notes: Vec<String>,
}
