//! What an agent is told to monitor, and what it reports of it. Durations are milliseconds.
//!
//! Whole lists go both ways, so that a lost message does no harm.

use crate::id::{GroupName, MonitorName, NodeName, ResourceName};
use crate::is_default;
use crate::view::MemberTls;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One monitor of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorSettings {
    pub name: MonitorName,
    /// The nodes whose agents make the probes, each for itself.
    pub nodes: Vec<NodeName>,
    pub check: Check,
    pub pace: Pace,
    /// None: its errors are told, and nothing follows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub recovery: Option<Recovery>,
}

/// What follows from an error of a monitor, step after step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    pub target: RecoveryTarget,
    /// Nothing is asked where the target is not online.
    pub is_while_active: bool,
    /// From when the target is online to the first probe.
    pub delay_ms: u64,
    /// With `is_while_active`: from when the target is online, how long failed probes are not counted while none was good.
    #[serde(default)]
    pub start_period_ms: u64,
    /// Restarts of the target in its place, within an hour, before anything else is done.
    pub restarts_max: u32,
    /// Times within an hour that the group then leaves a node, before the final action.
    pub failovers_max: u32,
    pub final_action: FinalAction,
    /// Of `FinalAction::Shutdown` and `Reboot`: the program that does it.
    pub final_command: Vec<String>,
    /// Run before each of them, where they are given; how they end does not matter.
    pub before_restart: Vec<String>,
    pub before_failover: Vec<String>,
    pub before_final: Vec<String>,
}

/// What an error of a monitor is an error of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RecoveryTarget {
    Group {
        group: GroupName,
    },
    /// The resource is restarted, and what comes after it in its group.
    Resource {
        group: GroupName,
        resource: ResourceName,
    },
    /// All groups of the node.
    AllGroups,
}

impl RecoveryTarget {
    /// Whether this group is (part of) what is recovered.
    pub fn has(&self, name: &GroupName) -> bool {
        match self {
            RecoveryTarget::Group { group } | RecoveryTarget::Resource { group, .. } => group == name,
            RecoveryTarget::AllGroups => true,
        }
    }
}

/// What is left when restarts and moves are used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalAction {
    #[default]
    None,
    /// The group is stopped, until a person starts it.
    StopGroup,
    /// All that Muster runs on the node is stopped.
    StopService,
    /// As `StopService`, and the machine is switched off.
    Shutdown,
    /// As `StopService`, and the machine is started anew.
    Reboot,
}

impl fmt::Display for FinalAction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            FinalAction::None => "none",
            FinalAction::StopGroup => "stop-group",
            FinalAction::StopService => "stop-service",
            FinalAction::Shutdown => "shutdown",
            FinalAction::Reboot => "reboot",
        })
    }
}

/// How often is asked, and how much of what comes back counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// From the start of a probe to the start of the next.
    pub interval_ms: u64,
    pub timeout_ms: u64,
    /// Failed probes in a row that are only tried again; one more is an error.
    pub retries: u32,
    /// After the retries, silence is asked about so many times more, each with twice the time-out, before it counts as an
    /// error; 0: it counts at once.
    pub confirmations: u32,
    /// An answer that takes longer than this part of the time-out is a warning; 0: never.
    pub slow_percent: u32,
}

/// What is asked of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Check {
    /// A connection can be made.
    Tcp {
        target: Target,
    },
    Http {
        target: Target,
        tls: Option<MemberTls>,
        ask: HttpAsk,
    },
    Smtp {
        target: Target,
        tls: Option<SmtpTls>,
    },
    Redis {
        target: Target,
        tls: Option<MemberTls>,
        credentials: Option<Credentials>,
    },
    Postgres {
        target: Target,
    },
    Dns {
        target: Target,
        ask: DnsAsk,
    },
    /// The process whose number is in this file is there.
    Pid {
        file: String,
    },
    /// A program that says by its exit status how things are.
    Program {
        command: Vec<String>,
        manner: Manner,
    },
    /// The `monitor` action of a resource agent.
    Ocf {
        agent: OcfAgent,
    },
    /// The file system of this path has room and answers.
    Disk {
        path: String,
        free_min_percent: u32,
    },
    /// A network interface is up and has a carrier.
    Link {
        interface: String,
    },
    /// This machine has the address.
    Address {
        address: std::net::IpAddr,
    },
}

impl Check {
    /// As the configuration calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Check::Tcp { .. } => "tcp",
            Check::Http { .. } => "http",
            Check::Smtp { .. } => "smtp",
            Check::Redis { .. } => "redis",
            Check::Postgres { .. } => "postgres",
            Check::Dns { .. } => "dns",
            Check::Pid { .. } => "pid",
            Check::Program { manner: Manner::Plugin, .. } => "nagios",
            Check::Program { manner: Manner::Custom, .. } => "custom",
            Check::Ocf { .. } => "ocf",
            Check::Disk { .. } => "disk",
            Check::Link { .. } => "link",
            Check::Address { .. } => "address",
        }
    }

    /// How its server is spoken to in TLS.
    pub fn tls(&self) -> Option<&MemberTls> {
        match self {
            Check::Http { tls, .. } | Check::Redis { tls, .. } => tls.as_ref(),
            Check::Smtp { tls, .. } => tls.as_ref().map(|tls| &tls.tls),
            Check::Tcp { .. }
            | Check::Postgres { .. }
            | Check::Dns { .. }
            | Check::Pid { .. }
            | Check::Program { .. }
            | Check::Ocf { .. }
            | Check::Disk { .. }
            | Check::Link { .. }
            | Check::Address { .. } => None,
        }
    }

    /// What is asked, for people.
    pub fn target(&self) -> String {
        match self {
            Check::Tcp { target }
            | Check::Http { target, .. }
            | Check::Smtp { target, .. }
            | Check::Redis { target, .. }
            | Check::Postgres { target }
            | Check::Dns { target, .. } => target.to_string(),
            Check::Pid { file } => file.clone(),
            Check::Program { command, .. } => command.join(" "),
            Check::Ocf { agent } => agent.name.clone(),
            Check::Disk { path, .. } => path.clone(),
            Check::Link { interface } => interface.clone(),
            Check::Address { address } => address.to_string(),
        }
    }
}

/// A host, by name or address, and a port. Names are looked up for each probe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAsk {
    pub is_head: bool,
    /// HTTP/1.1; false means 1.0.
    pub is_version_11: bool,
    pub path: String,
    /// Instead of the target's name.
    pub host: Option<String>,
    /// Statuses that are good.
    pub status_min: u16,
    pub status_max: u16,
    /// Must be found in the body.
    pub text: Option<String>,
    pub credentials: Option<Credentials>,
}

/// Who asks. The password is in a file on the node, never in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub user: String,
    pub password_file: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmtpTls {
    /// With STARTTLS after the greeting; false means from the first byte.
    pub is_started: bool,
    pub tls: MemberTls,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAsk {
    pub name: String,
    /// The name's IPv6 addresses instead of its IPv4 ones.
    pub is_ipv6: bool,
}

/// An agent of the Open Cluster Framework, and what it is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OcfAgent {
    /// Provider and name, with a colon between them.
    pub name: String,
    /// What it calls that which it looks at.
    pub instance: String,
    pub parameters: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    /// How thorough it looks: 0, 10 or 20.
    pub level: u32,
}

/// What the exit status of a program means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manner {
    /// That of monitoring plugins: 0 good, 1 warning, 2 error, 3 unknown; figures after `|`.
    Plugin,
    /// 0 good, all else an error.
    Custom,
}

/// What operators want of a monitor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MonitorWish {
    #[default]
    Run,
    Pause,
    /// Every probe counts as failed, and none is made: a drill.
    Fail,
}

/// A monitor that an agent looks after. The whole list is sent each time; what is missing is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorAssignment {
    pub name: MonitorName,
    pub check: Check,
    pub pace: Pace,
    pub wish: MonitorWish,
    #[serde(default, skip_serializing_if = "is_default")]
    pub recovery: Option<Recovery>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MonitorState {
    /// Not asked yet, or silent and not confirmed.
    #[default]
    Unknown,
    Normal,
    Warning,
    Error,
    Paused,
    /// It is asked only where its target is online, and that is not here.
    Idle,
}

impl fmt::Display for MonitorState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            MonitorState::Unknown => "unknown",
            MonitorState::Normal => "normal",
            MonitorState::Warning => "warning",
            MonitorState::Error => "error",
            MonitorState::Paused => "paused",
            MonitorState::Idle => "idle",
        })
    }
}

/// All that an agent knows of its monitors. `sequence` orders what one start of the agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorsReport {
    pub node: NodeName,
    pub incarnation: u64,
    pub sequence: u64,
    pub monitors: Vec<MonitorReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorReport {
    pub name: MonitorName,
    pub state: MonitorState,
    /// Why it is so, as a sentence for people.
    pub reason: String,
    /// How long the newest answer took.
    pub took_ms: Option<u64>,
    pub probes: u64,
    pub failures: u64,
    /// When the next probe is due, from when this was written.
    pub next_in_ms: Option<u64>,
    /// What a plugin measured.
    #[serde(default)]
    pub figures: Vec<Figure>,
}

/// A number with a name, as plugins give them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub label: String,
    pub value: f64,
    /// `s`, `B`, `%`, `c` for counters, or nothing.
    pub unit: String,
}

/// A message of a monitoring command, for the list of alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The command, e.g. `clp_httpmon`.
    pub source: String,
    pub id: u16,
    pub severity: crate::status::Severity,
    pub text: String,
}
