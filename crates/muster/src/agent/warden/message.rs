//! What an agent tells its warden: JSON, one line each.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    Hold(Hold),
    /// Runs that are held by another span of the lease from now on; None: by none, for ever.
    Spans(Vec<(u64, Option<u64>)>),
    /// No process of this run is left.
    Forget(u64),
}

/// A guardian has a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub run: u64,
    /// The number of the guardian's process, which is a child of the agent.
    pub guardian: i32,
    pub cgroup: PathBuf,
    /// Where the guardian notes what it has begun.
    pub lock: PathBuf,
    pub span: Option<u64>,
}
