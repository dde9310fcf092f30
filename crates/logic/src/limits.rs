//! Every bound of the decisions, with its reason.

/// Members of one cluster. 1,024: ten times the largest WebSphere cluster, and an index still fits 16 bits.
pub const CLUSTER_MEMBERS_MAX: usize = 1024;

// The manager.

/// How long a manager that has just started waits for agents before it publishes views from what it remembers.
/// An agent that is there finds its manager within half a second; four times that, and a paused machine is not missed.
pub const SETTLE_MS: u64 = 2_000;
/// How long a router that is away is believed to route by its old view and to come back. As for agents: half a second
/// to find the manager, four times over. Longer would hold up every stop in a cell with a broken router.
pub const ROUTER_RETURN_MS: u64 = 2_000;
/// How long requests under way to a member that runs elsewhere may take once it is removed or its address changes.
/// As long as common load balancers give: nobody tells us a stop grace for it.
pub const EXTERNAL_GRACE_MS: u64 = 10_000;
/// Times that one input may move a cluster's operations. Each member moves at most four times (drain, out, goal,
/// gone) and a rollout twice; twice that means a mistake in our own rules.
pub const SETTLE_PASSES_MAX: u32 = 16;

// The store.

/// Longest key. Two names of 64 bytes with their folders, twice over; every engine can index it.
pub const KEY_SIZE_MAX_BYTES: usize = 256;
/// Longest value. 4 MiB: a configuration file of 10,000 members, and small enough to be kept in memory a few times.
pub const VALUE_SIZE_MAX_BYTES: usize = 4 << 20;
/// Checks and writes of one transaction. 65,536: several keys for each of 10,000 members at once.
pub const TXN_PARTS_MAX: usize = 1 << 16;
/// Deleted keys that a store remembers for watchers. More than a watcher can miss while it is away for a moment;
/// beyond that it is told everything, which costs little more.
pub const TOMBSTONES_MAX: usize = 1000;
