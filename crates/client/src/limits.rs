//! Every bound of a client, with its reason. Times are milliseconds.

/// Attempts at one call. Four: a call that four places could not take is better given back.
pub const ATTEMPTS_MAX: usize = 4;
/// Calls that earn one retry. Five: retries are at most a fifth of the calls, so that they cannot multiply an overload.
pub const CALLS_FOR_A_RETRY: u32 = 5;
/// Retries that a client has at first and may save. Ten: a quiet client can bear the end of a member.
pub const RETRIES_SAVED_MAX: u32 = 10;
/// First time for which a place that failed is left out, doubled with each failure that follows.
pub const PAUSE_FIRST_MS: u64 = 250;
/// Longest such time. As long as an idle client may not know better.
pub const PAUSE_MAX_MS: u64 = 30_000;
/// Calls in a row that were not answered in time before a place is left out. Three: one may be a slow page.
pub const SILENCES_MAX: u32 = 3;
/// Pause between polls of a client that makes no calls, more or less: see `Chance::about`.
pub const IDLE_POLL_MS: u64 = 30_000;
/// The same for a client that calls members itself, whose answers tell nothing. Two seconds: what it calls in vain until
/// then it leaves out by itself.
pub const DIRECT_POLL_MS: u64 = 2_000;
/// Pause after which a client asks that has just met a member that is dead.
pub const EVIDENCE_POLL_MS: u64 = 50;
/// Shortest pause between two polls, whatever happens.
pub const POLL_PAUSE_MIN_MS: u64 = 200;
/// Time over which clients spread that were told to fetch the whole view. Many were told at the same moment.
pub const FETCH_SPREAD_MS: u64 = 100;
/// Longest wait that a router may ask for.
pub const FETCH_WAIT_MAX_MS: u64 = 60_000;
/// Idle connections to one place. 16: a client with more calls at once makes new ones.
pub const IDLE_CONNECTIONS_MAX: usize = 16;
/// How long an idle connection is used again. Shorter than servers commonly keep theirs.
pub const IDLE_CONNECTION_MS: u64 = 20_000;
/// Places to which there are idle connections. 1,024: those used longest ago go first.
pub const PLACES_MAX: usize = 1_024;
/// Largest view. 16 MiB: 10,000 members with long names.
pub const VIEW_MAX_BYTES: usize = 16 << 20;
/// Routers that a client is given.
pub const ROUTERS_MAX: usize = 64;
/// Cookies of one transaction. 32: the session, and what an application adds.
pub const COOKIES_MAX: usize = 32;
