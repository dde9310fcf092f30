//! What an agent is told to run, and what it reports. Agents never choose: they obey the newest assignment.

use crate::id::{MemberId, NodeName};
use crate::is_default;
use crate::view::Transport;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// One member that an agent looks after. The whole list is sent each time; what is missing is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub id: MemberId,
    pub clone_id: String,
    pub run: Run,
    pub probe: ProbeSettings,
    pub want: Want,
    /// Raised by one for each wish to have a new process; a process of a lower instance is replaced, and the
    /// memory of failed starts is forgotten. Level, not edge: saying it twice changes nothing.
    pub instance: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    Running,
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "most members are managed, and there are few of either")]
pub enum Run {
    /// The agent starts and stops it.
    Managed(Launch),
    /// It runs elsewhere; the agent only probes it.
    External { address: SocketAddr },
}

/// How to start and stop a process. `{port}`, `{address}`, `{member}`, `{cluster}` and `{clone_id}` in command and
/// environment are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub directory: Option<String>,
    pub user: Option<String>,
    /// 0: the agent picks a free one and keeps it for this member.
    pub port: u16,
    /// Where it is reached and probed; None: at 127.0.0.1, where only its own machine can.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Name without SIG, e.g. `TERM`.
    pub stop_signal: String,
    /// After this the process group is killed.
    pub stop_grace_ms: u64,
    pub log: LogSettings,
    pub restart: RestartSettings,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// None: `<state_dir>/log/<cluster>.<member>.log`.
    pub path: Option<String>,
    pub size_max_bytes: u64,
    /// Older files kept beside the current one.
    pub files_max: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartSettings {
    /// Wait before the first restart; doubles up to `delay_max_ms`.
    pub delay_ms: u64,
    pub delay_max_ms: u64,
    /// Failed starts in a row before the agent gives up.
    pub attempts_max: u32,
    /// A process that was healthy for this long has made up for all earlier failures.
    pub reset_after_ms: u64,
    /// A process that has not passed its probe this long after its start counts as a failed start.
    pub start_timeout_ms: u64,
    /// A process that has passed its probe and then is `Failing` for this long without a break is stopped, which
    /// counts as a failed start. 0: never. Nothing that `ProbeKind::Process` looks after can hang.
    pub hung_after_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSettings {
    pub kind: ProbeKind,
    pub interval_ms: u64,
    pub timeout_ms: u64,
    /// Good answers in a row that make a member healthy.
    pub rise: u32,
    /// Bad answers in a row that make it unhealthy.
    pub fall: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// The process being there is enough.
    Process,
    /// A TCP connection can be made.
    Tcp,
    /// GET answers with a status in the range.
    Http {
        path: String,
        host: Option<String>,
        status_min: u16,
        status_max: u16,
        /// As routers speak to the member.
        #[serde(default)]
        transport: Box<Transport>,
    },
}

/// All that an agent knows: whole, not a difference, so that a lost report does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub node: NodeName,
    /// New with each start of the agent, and higher than before (wall-clock microseconds at start).
    pub incarnation: u64,
    pub sequence: u64,
    pub members: Vec<MemberReport>,
    /// How long ago the agent last heard its manager over the link that carries this.
    #[serde(default)]
    pub manager_heard_ms: Option<u64>,
    /// What the machine's clock shows, in Unix milliseconds.
    #[serde(default)]
    pub clock_ms: Option<u64>,
    /// Until when the node's certificate counts, if another should have taken its place by now. Unix milliseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub certificate_until_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    pub id: MemberId,
    /// The highest instance that the agent was ever told. A manager that counts from less goes on from here.
    pub instance: u64,
    pub process: ProcessState,
    pub probe: ProbeState,
    pub address: Option<SocketAddr>,
    /// Starts of a process since the agent's start, less the first.
    pub restarts: u32,
    /// Why it is so, as a sentence for people.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessState {
    /// Not ours to start.
    External,
    Stopped,
    Running {
        pid: u32,
    },
    /// Asked to stop; not gone yet.
    Stopping {
        pid: u32,
    },
    /// Exited; will be started again.
    BackingOff,
    /// Exited too often; a person must act.
    GaveUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeState {
    Unknown,
    Passing,
    Failing,
}
