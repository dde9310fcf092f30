//! Every bound of the decisions, with its reason.

/// Members of one cluster. 1,024: ten times the largest WebSphere cluster, and an index still fits 16 bits.
pub const CLUSTER_MEMBERS_MAX: usize = 1024;
