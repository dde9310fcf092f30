//! Names of all kinds of events, as the list of alerts has them.
//!
//! Each has a section in `docs/operate/alerts.md`; `cargo xtask tidy` compares the two.

/// In the order of that page.
pub const ALL: [&str; 70] = [
    // Machines.
    "node-unreachable",
    "node-degraded",
    "node-reachable",
    "node-lost",
    "node-connected",
    "node-rebooted",
    "node-power",
    "node-vouched",
    "node-certificate",
    "node-twice",
    "node-joined",
    "node-removed",
    "join-refused",
    "mass-silence",
    // Managers and their store.
    "manager-started",
    "manager-leads",
    "manager-down",
    "manager-back",
    "manager-lagged",
    "manager-alone",
    "store-failed",
    "store-works",
    "configured",
    "operator",
    // Failover groups.
    "group-online",
    "group-offline",
    "group-planned",
    "group-waits",
    "group-failed",
    "group-down",
    "group-restarted",
    "group-stop-failed",
    "group-claimed",
    "group-recovery",
    "group-recovery-suppressed",
    // Fences.
    "fencing",
    "fenced",
    "fence-failed",
    "fence-spared",
    "fence-failing",
    "fence-ready",
    // Monitors.
    "monitor-error",
    "monitor-unknown",
    "monitor-warning",
    "monitor-normal",
    "monitor-starting",
    "monitor-started",
    "monitor-stopped",
    "monitor-drill-over",
    "clp-httpmon",
    "clp-smtpmon",
    // Members and clusters.
    "member-failed",
    "member-down",
    "member-unknown",
    "member-starting",
    "member-up",
    "member-draining",
    "requests-cut",
    "restart-failed",
    "restart-finished",
    // Routers.
    "router-connected",
    "router-lost",
    "router-problem",
    // Other cells.
    "cell-not-heard",
    "cell-forgotten",
    "cell-quarantined",
    "cell-heard",
    "remote-cluster-up",
    "remote-cluster-draining",
    "remote-cluster-down",
];

pub fn is_known(kind: &str) -> bool {
    ALL.contains(&kind)
}
