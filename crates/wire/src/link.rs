//! Messages between a manager and the roles that follow it, on one long-lived stream each.
//!
//! A frame is a 4-byte big-endian length and that many bytes of JSON. Either side closes on a frame longer than
//! `FRAME_MAX_BYTES`, on one that does not parse, and on silence longer than `SILENCE_MAX_MS`. Fields that a reader does not
//! know are ignored, and messages that it does not know are skipped, so that versions may differ during an upgrade.

use crate::agent::{Assignment, Report};
use crate::group::{GroupAssignment, GroupsReport};
use crate::heartbeat::{Errand, HeartbeatSettings, Sealed};
use crate::id::{ClusterName, Epoch, NodeName, RouterName};
use crate::is_default;
use crate::monitor::{Alert, MonitorAssignment, MonitorsReport};
use crate::node::PowerAct;
use crate::router::{RouterProgress, RouterReport, RouterSettings};
use crate::view::View;
use crate::view_change::ViewChange;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest frame. 16 MiB: views of 10,000 members with room to spare, and small enough to refuse nonsense.
pub const FRAME_MAX_BYTES: u32 = 16 << 20;
/// Each side sends something at least this often.
pub const KEEP_ALIVE_MS: u64 = 1_000;
/// Ten missed keep-alives: a paused machine is not a lost one.
pub const SILENCE_MAX_MS: u64 = 10_000;
/// Raised when a message changes its meaning; the other side is refused with both numbers named.
pub const LINK_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToManager {
    /// `muster` is the version of the role's program, for people; `generation` the highest that the role has obeyed,
    /// which the manager's store may have forgotten.
    Hello {
        version: u32,
        role: Role,
        #[serde(default)]
        muster: String,
        #[serde(default)]
        generation: u64,
        /// `Have` follows the welcome: nothing but keep-alives needs to be sent before.
        #[serde(default, skip_serializing_if = "is_default")]
        resumes: bool,
        /// The agent knows what `FromManager::Carry` means.
        #[serde(default, skip_serializing_if = "is_default")]
        carries: bool,
        /// The agent knows what `FromManager::Power` means.
        #[serde(default, skip_serializing_if = "is_default")]
        powers: bool,
    },
    /// What a router has when it comes, so that it need only be sent the rest.
    Have(Have),
    Agent(Report),
    Groups(GroupsReport),
    Router(RouterReport),
    Monitors(MonitorsReport),
    /// A monitoring command on the agent's machine said this.
    Alert(Alert),
    /// What came back of the questions that the agent has carried.
    Carried {
        replies: Vec<Sealed>,
    },
    /// The agent could not do what `FromManager::Power` asked for, and its node goes on; the error completes "it ...".
    PowerFailed {
        act: PowerAct,
        why: String,
    },
    /// Between two reports of a router with very many members.
    Progress(RouterProgress),
    KeepAlive,
}

/// What a router kept from the connections before this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    pub views: Vec<KnownView>,
    /// A print of its settings; None: it has none.
    #[serde(default)]
    pub settings: Option<u64>,
}

/// A view that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownView {
    pub cluster: ClusterName,
    #[serde(with = "crate::view_change::epoch_text")]
    pub epoch: Epoch,
    /// Of all that it says but its epoch and reasons. Another version may make another one of the same.
    pub print: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Agent { node: NodeName },
    Router { node: NodeName, router: RouterName },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromManager {
    /// First answer to an accepted hello. `generation` orders managers: a role never obeys a lower one than it has seen.
    Welcome {
        version: u32,
        generation: u64,
    },
    Refused {
        reason: String,
    },
    /// In place of a welcome: another manager leads, at this address if it is known.
    NotLeader {
        #[serde(default)]
        leader: Option<String>,
    },
    /// To agents: everything it shall look after.
    Assignments {
        generation: u64,
        assignments: Vec<Assignment>,
    },
    /// To agents: the groups that its node runs. Numbers count up within a generation.
    Groups {
        generation: u64,
        number: u64,
        groups: Vec<GroupAssignment>,
    },
    /// To agents: every monitor that it shall look after.
    Monitors {
        generation: u64,
        monitors: Vec<MonitorAssignment>,
    },
    /// To agents of machines that have joined: what the configuration places on their node.
    Placed(Placed),
    /// To agents that say that they carry: bring each of these where it shall go, and bring back what comes.
    Carry {
        errands: Vec<Errand>,
    },
    /// To agents that say that they know it: everything that runs on the node ends in its order, and then this program is run.
    Power {
        generation: u64,
        act: PowerAct,
        command: Vec<String>,
        /// Who asked for it.
        who: String,
    },
    /// To routers. Boxed: it is eight times as large as the rest, and the rest waits in queues.
    Settings {
        generation: u64,
        settings: Box<RouterSettings>,
    },
    /// To routers: whole views of the clusters that changed.
    Views(Vec<View>),
    /// To routers whose reports say that they take changes, or that told what they have: what turns the views that they
    /// have into the newest.
    Changes(Vec<ViewChange>),
    /// To routers: forget every cluster that is not named here.
    Clusters {
        generation: u64,
        names: Vec<ClusterName>,
    },
    KeepAlive,
}

/// What a node runs, and where its managers are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    pub routers: Vec<RouterName>,
    /// How the node sends heartbeats; None: as before, or not at all.
    #[serde(default)]
    pub heartbeats: Option<Box<HeartbeatSettings>>,
    /// Where managers listen, `HOST:PORT`; empty: as before.
    #[serde(default)]
    pub managers: Vec<String>,
    /// Only to nodes that are to have a manager.
    #[serde(default)]
    pub manager: Option<Box<ManagerPlace>>,
    /// The agent's incarnation has to be above this: another one has spoken in its node's name.
    #[serde(default)]
    pub incarnation_above: Option<u64>,
}

/// What a node needs to have a manager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManagerPlace {
    /// The text of the configuration in force, which names the store.
    pub config: String,
    pub secrets: CellSecrets,
}

/// What only managers know. Never in the store, in a log, or on another machine.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellSecrets {
    /// The private key of the cell's certificate authority, PEM. Empty where the cell has none.
    pub authority_key: String,
    /// The keys that sign cookies, the one in use first.
    pub cookie_keys: Vec<String>,
    /// Of which nodes' keys for heartbeats are made: 64 hexadecimal digits. Empty where nobody hears any.
    #[serde(default)]
    pub heartbeat_secret: String,
}

impl fmt::Debug for CellSecrets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("CellSecrets(..)")
    }
}

/// The names of messages, as they stand on the wire: another one is of a newer version.
pub trait Known {
    const NAMES: &[&str];
}

impl Known for ToManager {
    const NAMES: &[&str] = &[
        "hello",
        "have",
        "agent",
        "groups",
        "router",
        "monitors",
        "alert",
        "carried",
        "power-failed",
        "progress",
        "keep-alive",
    ];
}

impl Known for FromManager {
    const NAMES: &[&str] = &[
        "welcome",
        "refused",
        "not-leader",
        "assignments",
        "groups",
        "monitors",
        "placed",
        "carry",
        "power",
        "settings",
        "views",
        "changes",
        "clusters",
        "keep-alive",
    ];
}
