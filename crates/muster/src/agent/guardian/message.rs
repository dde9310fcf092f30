//! What an agent tells its guardians, and what it hears from them: JSON, one line each.

use crate::agent::keeper::message::Start;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The first line, and only that.
    Hold(Hold),
    /// Everything is killed once the machine's clock shows this; None: never by itself.
    Until { since_boot_ms: Option<u64> },
    /// Run a script to its end. What the last `Run` has not ended is killed first.
    Run { step: u64, start: Box<Start> },
    /// Start a process that is to last, as this resource.
    Begin { step: u64, index: usize, start: Box<Start> },
    /// End the process of this resource: TERM, and it counts once it is gone.
    Terminate { step: u64, index: usize },
    /// Kill everything, and end.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Held until nothing of the group is left.
    pub lock: PathBuf,
    /// Created by the guardian and removed after the last process; None or impossible: process groups only.
    pub cgroup: Option<PathBuf>,
    pub log: PathBuf,
    pub log_size_max_bytes: u64,
    pub log_files_max: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum News {
    /// The step came to its end; the error completes "it ...".
    Done { step: u64, error: Option<String> },
    /// The process of this resource, which was to last, has ended.
    Lost { index: usize, why: String },
}
