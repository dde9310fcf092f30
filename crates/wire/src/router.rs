//! What a router is told to do, and what it reports.

use crate::id::{ClusterName, Epoch, MemberName, RouterName};
use crate::is_default;
use crate::settings::{AccessLog, ClientSettings, Listener, PluginCfgOutput, RouteSettings, TraceSettings};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Everything a router needs besides views. Kept on its disk so that it can serve without a manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterSettings {
    pub name: RouterName,
    pub listeners: Vec<Listener>,
    pub zone: String,
    /// Threads of the data plane; 0 means one for each processor.
    pub threads: u32,
    pub routes: Vec<RouteSettings>,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub retry: RetrySettings,
    pub access_log: AccessLog,
    #[serde(default)]
    pub trace: Option<TraceSettings>,
    /// Keep X-Forwarded-* and Forwarded of these callers instead of starting anew.
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// Programs that may know members.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clients: Vec<ClientSettings>,
    /// Keys of the cookies by which routers keep conversations, as hexadecimal digits; the first signs, all are
    /// believed. The manager's shell puts them in: machines know no secrets.
    #[serde(default)]
    pub cookie_keys: Vec<String>,
    /// Routes are found by the port that a request came in on, not by that of its Host header.
    #[serde(default)]
    pub matches_listener_port: bool,
    /// A file to keep for web servers in front.
    #[serde(default)]
    pub plugin_cfg: Option<PluginCfgFile>,
}

/// A plugin-cfg.xml as it shall be, made by the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginCfgFile {
    pub output: PluginCfgOutput,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// A TCP connection to a member.
    pub connect_ms: u64,
    /// From the first byte of a request head to its last.
    pub head_ms: u64,
    /// From a request head's last byte to its body's, and a second more for each 100 bytes of it; 0 means no bound.
    #[serde(default)]
    pub body_ms: u64,
    /// A client connection on which no request is under way.
    pub idle_ms: u64,
    /// From the request's last byte to the first byte of the answer; also the longest pause within a body.
    pub response_ms: u64,
    /// From the first byte of a request to the last byte of its answer; 0 means no bound.
    pub request_ms: u64,
    /// A tunnel (WebSocket) on which nothing moves.
    pub tunnel_idle_ms: u64,
    /// An unused connection to a member.
    pub pool_idle_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub head_size_max_bytes: u32,
    pub header_count_max: u32,
    /// 0 means no bound; bodies are streamed in any case.
    pub body_size_max_bytes: u64,
    pub connections_max: u32,
    /// Idle connections kept to one member, per thread.
    pub pool_size_max: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetrySettings {
    /// Further attempts at one request.
    pub attempts_max: u32,
    /// Retries allowed per hundred requests, over ten seconds.
    pub budget_percent: u32,
    /// Retries allowed per second whatever the traffic, so that a quiet router can retry too.
    pub budget_floor_per_second: u32,
    /// Request body kept for another attempt; a longer one is never sent twice.
    pub replay_max_bytes: u32,
}

/// Sent by a router about once a second and whenever a member stops having requests in flight while it is not Up; by one with
/// thousands of members a few times less often, with `RouterProgress` in between.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterReport {
    pub router: RouterName,
    /// Addresses on which it listens, in the order of the settings; others than there where port 0 was asked for.
    pub listening: Vec<SocketAddr>,
    /// What it could not do, a sentence each, e.g. listen on an address that is taken.
    pub problems: Vec<String>,
    pub connections: u64,
    pub clusters: Vec<ClusterTraffic>,
    /// Of routes that had requests; those beyond `ROUTES_TOLD_MAX` together.
    #[serde(default)]
    pub routes: Vec<RouteTraffic>,
    /// Counters since the router's start.
    pub totals: Totals,
    /// It has all views that it was sent, so that it need only hear what changes. False from routers of versions that
    /// cannot, and after a change that did not fit: then it is sent whole views, all of them at once if it took changes
    /// before.
    #[serde(default)]
    pub takes_changes: bool,
}

/// What managers wait for, without the rest: a report of ten thousand members has megabytes, and one is wanted at each
/// change. A manager that does not know this message hears the same with the next report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterProgress {
    pub router: RouterName,
    /// Each with members that are not `Up` in the newest view that the router has, and not as they were told last.
    pub clusters: Vec<ClusterTraffic>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub requests: u64,
    /// Answers that the router had to make itself because no member gave one.
    pub failed: u64,
    pub retried: u64,
    /// Malformed or over-long requests, never forwarded.
    pub refused: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterTraffic {
    pub cluster: ClusterName,
    /// The epoch that every thread of this router now uses.
    pub applied: Epoch,
    /// Those that have had a request since the router's start or since they came, each once.
    pub members: Vec<MemberTraffic>,
    /// Requests of a session that went to another member than its own, since the router's start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed_over: u64,
    /// Requests that had to wait for room at a member, and those that were refused for want of it, since the start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub queued: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub queue_refused: u64,
    /// Requests that wait now.
    #[serde(default, skip_serializing_if = "is_default")]
    pub waiting: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberTraffic {
    pub member: MemberName,
    /// Since the router's start.
    pub requests: u64,
    pub failed: u64,
    pub in_flight: u64,
    pub requests_per_second: f64,
    /// Estimate of distinct sessions seen in the last five minutes.
    pub sessions: u64,
    /// Median and 99th percentile from request sent to first byte of the answer, of the last seconds.
    pub latency_p50_us: u64,
    pub latency_p99_us: u64,
    #[serde(default, skip_serializing_if = "TrafficCounts::is_empty")]
    pub counts: TrafficCounts,
    /// The last time that a thread of this router left it out for failing; None if that has never happened.
    #[serde(default)]
    pub ejection: Option<Ejection>,
}

/// That a member was left out for failing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejection {
    pub reason: String,
    /// Threads of the router that leave it out now.
    pub threads: u32,
    /// How long it is still left out; 0 if it is used again.
    pub left_ms: u64,
}

/// Routes that a report tells of one by one, the first of the configuration. 256: more would be no table for people,
/// and a metric of each for every router would burden whoever stores them.
pub const ROUTES_TOLD_MAX: usize = 256;
/// Name for all other routes together; no route is called so.
pub const OTHER_ROUTES: &str = "(other)";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteTraffic {
    /// Its name in the settings, or `OTHER_ROUTES`.
    pub route: String,
    pub in_flight: u64,
    pub requests_per_second: f64,
    pub counts: TrafficCounts,
}

/// Bounds of the buckets of `TrafficCounts::first_byte`, in microseconds; the last bucket has none. One, two and a half
/// and five of each power of ten between a millisecond and ten seconds, as dashboards expect.
pub const FIRST_BYTE_BOUNDS_US: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// Counters since the router's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficCounts {
    /// Answers with a status of 1xx, 2xx, ... 5xx; those of a route count the router's own answers too.
    pub by_class: [u64; 5],
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Attempts that another one followed.
    pub retries: u64,
    /// Members' answers by the time from the request's sending to their first byte.
    pub first_byte: [u64; FIRST_BYTE_BOUNDS_US.len() + 1],
    pub first_byte_sum_us: u64,
}

impl TrafficCounts {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn requests(&self) -> u64 {
        self.by_class.iter().sum()
    }

    /// Counts an answer of the router itself, or of a member.
    pub fn add_status(&mut self, status: u16) {
        self.by_class[usize::from(status / 100).clamp(1, 5) - 1] += 1;
    }

    /// Counts a member's answer.
    pub fn add_answer(&mut self, status: u16, bytes_in: u64, bytes_out: u64, first_byte_us: u64) {
        self.add_status(status);
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.first_byte[FIRST_BYTE_BOUNDS_US.partition_point(|bound_us| *bound_us < first_byte_us)] += 1;
        self.first_byte_sum_us += first_byte_us;
    }

    /// Makes this the counts of both.
    pub fn merge(&mut self, other: &TrafficCounts) {
        self.by_class.iter_mut().zip(other.by_class).for_each(|(mine, theirs)| *mine += theirs);
        self.first_byte.iter_mut().zip(other.first_byte).for_each(|(mine, theirs)| *mine += theirs);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.retries += other.retries;
        self.first_byte_sum_us += other.first_byte_sum_us;
    }
}
