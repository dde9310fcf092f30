//! What an agent tells its keepers, and what it hears from them: JSON, one line each.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Longest line either way. 256 KiB: a command and environment as long as Linux allows in practice.
pub const LINE_MAX_BYTES: usize = 256 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The first line, and only that.
    Start(Box<Start>),
    /// Send this signal (name without SIG) to the member's process group, and wake it if it is suspended.
    Stop { signal: String },
    /// Kill the member and everything that it started.
    Kill,
}

/// Everything about one process, placeholders replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Program and arguments; a program without `/` is looked for in PATH.
    pub command: Vec<String>,
    /// Added to the agent's own environment.
    pub environment: BTreeMap<String, String>,
    /// Nothing of the agent's own environment is kept.
    #[serde(default)]
    pub is_bare: bool,
    pub directory: Option<PathBuf>,
    pub user: Option<String>,
    /// Created by the keeper and removed after the last process; None or impossible: process groups only.
    pub cgroup: Option<PathBuf>,
    pub log: PathBuf,
    pub log_size_max_bytes: u64,
    pub log_files_max: u32,
}

/// What a process that waits becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Become {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to the environment of the process that waits.
    pub environment: BTreeMap<String, String>,
    /// Nothing of that environment is kept.
    pub is_bare: bool,
    pub directory: Option<PathBuf>,
    pub user: Option<UserNumbers>,
}

/// The user to become, by numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNumbers {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum News {
    Started {
        pid: u32,
    },
    /// There is no process of the member; the keeper ends.
    StartFailed {
        why: String,
    },
    /// The member's own process is gone; the keeper ends when all that it started is gone too.
    Exited {
        /// Completes "it ...", e.g. `exited with status 1`.
        status: String,
        last_line: Option<String>,
        /// Output that could not be kept, over the whole run.
        dropped_bytes: u64,
    },
    /// From now on output is dropped (Some: why), or kept again.
    LogTrouble {
        why: Option<String>,
    },
}
