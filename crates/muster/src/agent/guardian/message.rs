//! What an agent tells its guardians, and what it hears from them: JSON, one line each.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use wire::group::ResourceSettings;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The first line, and only that.
    Hold(Hold),
    /// Everything is taken away once this span of the node's lease is over, as the board says; None: never by itself.
    Leased { span: Option<u64> },
    /// The lease was renewed: only told where something of the group is to be renewed too.
    Renewed,
    /// Start or stop a resource. What the last action has not ended is killed first.
    Do(Box<Task>),
    /// Say `Here`: that it does not hang.
    Answer,
    /// Take everything away, and end.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Held until nothing of the group is left; what was begun is noted in it.
    pub lock: PathBuf,
    /// Of the group, for whoever finds what is left of it.
    #[serde(default)]
    pub epoch: u64,
    /// Created by the guardian and removed after the last process; None or impossible: process groups only.
    pub cgroup: Option<PathBuf>,
    pub log: PathBuf,
    pub log_size_max_bytes: u64,
    pub log_files_max: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    Start,
    Stop,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub step: u64,
    pub verb: Verb,
    /// Its place in the group.
    pub index: usize,
    pub resource: ResourceSettings,
    /// What its programs may know, beside what is configured.
    pub environment: BTreeMap<String, String>,
    /// The node before has just given it back (see `GroupAssignment`).
    #[serde(default)]
    pub is_handed_over: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum News {
    /// The step came to its end; the error completes "it ...".
    Done { step: u64, error: Option<String> },
    /// This resource, which was started, is not there any more.
    Lost { index: usize, why: String },
    /// The kill path is at a resource, which may take as long as the resource does.
    Clearing,
    /// The last word: this could not be given back.
    Left { why: String },
    /// It does not hang.
    Here,
    /// For the log.
    Warning { text: String },
}
