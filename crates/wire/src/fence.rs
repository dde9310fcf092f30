//! Fences: how a node that does not answer is switched off for certain, and what people are shown of that.
//!
//! A fence is a program that knows how to reach a power switch: any fence agent of Debian. Its secrets are read from files
//! right before it runs, and stand in no message.

use crate::id::{FenceName, NodeName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A fence of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceSettings {
    pub name: FenceName,
    /// The program, as a path.
    pub agent: String,
    /// The nodes that it can switch off.
    pub nodes: Vec<NodeName>,
    /// What the agent is told; `{node}` stands for the node's name.
    pub parameters: BTreeMap<String, String>,
    /// Files that hold what else it is told.
    pub secret_files: BTreeMap<String, String>,
    pub action: FenceAction,
    /// Longest time of one call.
    pub timeout_ms: u64,
    /// Calls after the first that did not bring it about.
    pub retries: u32,
    /// How often it is asked whether it could.
    pub check_interval_ms: u64,
}

/// What becomes of a node that is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FenceAction {
    /// It stays off until somebody switches it on.
    Off,
    /// It is switched on again once it is proven to be off.
    Reboot,
}

/// Whether a fence could switch a node off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceStatus {
    pub fence: FenceName,
    pub node: NodeName,
    pub state: FenceState,
    /// When it was asked last.
    pub checked_ms: Option<u64>,
    /// What it said, as a sentence.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FenceState {
    /// It was not asked yet.
    Unknown,
    /// It answers.
    Ready,
    /// It could not switch the node off.
    Failing,
    /// It is doing so.
    Fencing,
}

impl fmt::Display for FenceState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            FenceState::Unknown => "unknown",
            FenceState::Ready => "ready",
            FenceState::Failing => "failing",
            FenceState::Fencing => "fencing",
        })
    }
}
