//! Every bound of the decisions, with its reason.

/// Members of one cluster. 1,024: ten times the largest WebSphere cluster, and an index still fits 16 bits.
pub const CLUSTER_MEMBERS_MAX: usize = 1024;

// --- agent ---

/// First pause between probes of a process that has just started; doubles up to the probe's interval.
/// 50: a server that is ready after 200 ms is Up before 350 ms, and a dead one is not hammered.
pub const PROBE_FIRST_PAUSE_MS: u64 = 50;

/// How long an agent that has just started waits for its manager before it obeys the assignments on its disk.
/// 1,000: a manager in the same process answers within 100 ms, and nobody should wait long for their servers.
pub const MANAGER_WAIT_MS: u64 = 1_000;

/// An agent reports at least this often, so that the manager can tell a quiet node from a lost one.
pub const REPORT_INTERVAL_MS: u64 = 1_000;

/// How long an ending agent waits for killed processes to be gone. 5,000: only a process that hangs in the
/// kernel needs longer, and waiting for it helps nobody.
pub const SHUTDOWN_KILL_WAIT_MS: u64 = 5_000;

/// Longest piece of foreign text (last line of output, answer to a probe) within a reason.
/// 200: two lines on a terminal.
pub const FOREIGN_TEXT_MAX_CHARS: usize = 200;
