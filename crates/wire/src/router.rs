//! What a router is told to do, and what it reports.

use crate::id::{ClusterName, Epoch, MemberName, RouterName};
use crate::settings::{AccessLog, Listener, PluginCfgOutput, RouteSettings};
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
    /// Keep X-Forwarded-* and Forwarded of these callers instead of starting anew.
    pub trusted_proxies: Vec<std::net::IpAddr>,
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

/// Sent by a router about once a second and whenever a member stops having requests in flight while it is not Up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterReport {
    pub router: RouterName,
    /// Addresses on which it listens, in the order of the settings; others than there where port 0 was asked for.
    pub listening: Vec<SocketAddr>,
    /// What it could not do, a sentence each, e.g. listen on an address that is taken.
    pub problems: Vec<String>,
    pub connections: u64,
    pub clusters: Vec<ClusterTraffic>,
    /// Counters since the router's start.
    pub totals: Totals,
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
    pub members: Vec<MemberTraffic>,
    /// Requests of a session that went to another member than its own, since the router's start.
    #[serde(default)]
    pub failed_over: u64,
    /// Requests that had to wait for room at a member, and those that were refused for want of it, since the start.
    #[serde(default)]
    pub queued: u64,
    #[serde(default)]
    pub queue_refused: u64,
    /// Requests that wait now.
    #[serde(default)]
    pub waiting: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
