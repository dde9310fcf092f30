//! The cell's status as Prometheus reads it (text format 0.0.4).
//!
//! Names follow Prometheus: `muster_` first, base units (seconds, bytes), counters end in `_total`. Counters of routers
//! and members count since the router's start and begin anew with it, as Prometheus expects of counters.

use std::fmt::Write;
use wire::monitor::MonitorState;
use wire::router::{FIRST_BYTE_BOUNDS_US, TrafficCounts};
use wire::status::{CellStatus, MemberStatus, MonitorStatus, NodeReach, RouteStatus, RouterStatus};
use wire::view::RunState;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const STATES: [RunState; 6] = [
    RunState::Unknown,
    RunState::Starting,
    RunState::Up,
    RunState::Draining,
    RunState::Down,
    RunState::Failed,
];

/// One metric: its name, type and help, and how it is read off what it belongs to.
struct Metric<T> {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&T) -> f64,
}

const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> f64) -> Metric<T> {
    Metric { name, kind: "counter", help, value }
}

const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> f64) -> Metric<T> {
    Metric { name, kind: "gauge", help, value }
}

const ROUTER_METRICS: [Metric<RouterStatus>; 8] = [
    gauge("muster_router_connected", "Whether the manager hears the router (1) or not (0).", |router| {
        f64::from(u8::from(router.connected))
    }),
    gauge("muster_router_client_connections", "Connections of clients that are open.", |router| {
        router.connections as f64
    }),
    counter("muster_router_requests_total", "Requests accepted from clients.", |router| {
        router.totals.requests as f64
    }),
    counter("muster_router_failed_requests_total", "Requests that no member answered.", |router| {
        router.totals.failed as f64
    }),
    counter("muster_router_retries_total", "Further attempts at a request, at another member.", |router| {
        router.totals.retried as f64
    }),
    counter(
        "muster_router_refused_requests_total",
        "Malformed or over-long requests, never forwarded.",
        |router| router.totals.refused as f64,
    ),
    counter("muster_router_received_bytes_total", "Bytes received from clients.", |router| {
        router.totals.bytes_in as f64
    }),
    counter("muster_router_sent_bytes_total", "Bytes sent to clients.", |router| {
        router.totals.bytes_out as f64
    }),
];

const MEMBER_METRICS: [Metric<MemberStatus>; 9] = [
    gauge(
        "muster_member_weight",
        "Share of new requests, relative to the cluster's other members.",
        |member| f64::from(member.weight),
    ),
    gauge(
        "muster_member_state_since_seconds",
        "Unix time since when the member is in its state.",
        |member| member.since_ms as f64 / 1e3,
    ),
    counter("muster_member_requests_total", "Requests sent to the member.", |member| member.requests as f64),
    counter("muster_member_failed_requests_total", "Requests that the member did not answer.", |member| {
        member.failed as f64
    }),
    counter("muster_member_restarts_total", "Starts of the member's process after its first.", |member| {
        f64::from(member.restarts)
    }),
    gauge("muster_member_requests_in_flight", "Requests that the member is working on.", |member| {
        member.in_flight as f64
    }),
    gauge("muster_member_sessions", "Estimate of distinct sessions in the last five minutes.", |member| {
        member.sessions as f64
    }),
    gauge(
        "muster_member_first_byte_p50_seconds",
        "Median time from a request to the answer's first byte, over the last seconds.",
        |member| member.latency_p50_us as f64 / 1e6,
    ),
    gauge(
        "muster_member_first_byte_p99_seconds",
        "99th percentile of the time from a request to the answer's first byte, over the last seconds.",
        |member| member.latency_p99_us as f64 / 1e6,
    ),
];

/// All metrics of the cell.
pub fn text(status: &CellStatus) -> String {
    let mut page = Page(String::new());
    page.head("muster_build_info", "gauge", "Always 1; the labels say which cell and version this is.");
    page.sample("muster_build_info", &[("cell", &status.cell), ("version", &status.version)], 1.0);
    page.head(
        "muster_manager_generation",
        "gauge",
        "Number of the manager's start, counted over the cell's life.",
    );
    page.sample("muster_manager_generation", &[], status.generation as f64);
    page.head("muster_config_revision", "gauge", "Number of the configuration in force.");
    page.sample("muster_config_revision", &[], status.config_revision as f64);
    page.head("muster_node_connected", "gauge", "Whether the manager hears the node's agent (1) or not (0).");
    for node in &status.nodes {
        let connected = f64::from(u8::from(node.connected));
        page.sample("muster_node_connected", &[("node", &node.node.0)], connected);
    }
    let heard = || status.nodes.iter().filter(|node| node.reach != NodeReach::Unknown);
    page.head(
        "muster_node_left_out",
        "gauge",
        "Whether requests go around the node (1), which cannot be reached.",
    );
    for node in heard() {
        page.sample("muster_node_left_out", &[("node", &node.node.0)], f64::from(u8::from(node.left_out)));
    }
    page.head("muster_node_heartbeat_age_seconds", "gauge", "Time since the node's last heartbeat.");
    for (node, heartbeat) in heard().filter_map(|node| Some((node, node.heartbeat?))) {
        let age_s = heartbeat.ago_ms as f64 / 1e3;
        page.sample("muster_node_heartbeat_age_seconds", &[("node", &node.node.0)], age_s);
    }
    for metric in &ROUTER_METRICS {
        page.head(metric.name, metric.kind, metric.help);
        for router in &status.routers {
            let labels = [("router", router.router.0.as_str()), ("node", router.node.0.as_str())];
            page.sample(metric.name, &labels, (metric.value)(router));
        }
    }
    for metric in &MEMBER_METRICS {
        page.head(metric.name, metric.kind, metric.help);
        each_member(status, |labels, member| page.sample(metric.name, labels, (metric.value)(member)));
    }
    let help = "1 for the state that the member is in, 0 for the others.";
    page.head("muster_member_state", "gauge", help);
    each_member(status, |labels, member| {
        for state in STATES {
            let [cluster, name, node] = *labels;
            let word = state.to_string();
            let value = f64::from(u8::from(member.state == state));
            page.sample("muster_member_state", &[cluster, name, node, ("state", &word)], value);
        }
    });
    routes(status, &mut page);
    member_traffic(status, &mut page);
    monitors(status, &mut page);
    page.0
}

/// Requests, bytes, retries and durations of each route. A router tells of 256 routes one by one and of all others
/// together, so that the number of series has a bound.
fn routes(status: &CellStatus, page: &mut Page) {
    let mut all: Vec<([(&str, &str); 2], &RouteStatus)> = Vec::new();
    for router in &status.routers {
        let labels = |route| [("router", router.router.0.as_str()), ("route", route)];
        all.extend(router.routes.iter().map(|route| (labels(route.route.as_str()), route)));
    }
    page.head("muster_route_requests_in_flight", "gauge", "Requests under way on the route.");
    for (labels, route) in &all {
        page.sample("muster_route_requests_in_flight", labels, route.in_flight as f64);
    }
    let counts: Vec<(&[(&str, &str)], &TrafficCounts)> =
        all.iter().map(|(labels, route)| (labels.as_slice(), &route.counts)).collect();
    traffic(page, "route", &counts);
}

fn member_traffic(status: &CellStatus, page: &mut Page) {
    let mut all: Vec<([(&str, &str); 3], &TrafficCounts)> = Vec::new();
    for cluster in &status.clusters {
        for member in &cluster.members {
            let labels = [
                ("cluster", cluster.cluster.0.as_str()),
                ("member", member.member.0.as_str()),
                ("node", member.node.0.as_str()),
            ];
            all.push((labels, &member.counts));
        }
    }
    let counts: Vec<(&[(&str, &str)], &TrafficCounts)> =
        all.iter().map(|(labels, counts)| (labels.as_slice(), *counts)).collect();
    traffic(page, "member", &counts);
}

fn traffic(page: &mut Page, what: &str, all: &[(&[(&str, &str)], &TrafficCounts)]) {
    const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let name = format!("muster_{what}_answers_total");
    page.head(&name, "counter", "Answers by the class of their status.");
    for (labels, counts) in all {
        for (class, number) in CLASSES.iter().zip(counts.by_class) {
            page.sample(&name, &joined(labels, ("class", class)), number as f64);
        }
    }
    type Value = fn(&TrafficCounts) -> u64;
    let sums: [(&str, &str, Value); 3] = [
        ("received_bytes_total", "Bytes of requests, heads and bodies.", |counts| counts.bytes_in),
        ("sent_bytes_total", "Bytes of answers, heads and bodies.", |counts| counts.bytes_out),
        ("retries_total", "Attempts that failed and that another one followed.", |counts| counts.retries),
    ];
    for (suffix, help, value) in sums {
        let name = format!("muster_{what}_{suffix}");
        page.head(&name, "counter", help);
        for (labels, counts) in all {
            page.sample(&name, labels, value(counts) as f64);
        }
    }
    let name = format!("muster_{what}_first_byte_seconds");
    page.head(&name, "histogram", "Time from a request's sending to the first byte of the member's answer.");
    for (labels, counts) in all {
        let mut below = 0;
        for (at, number) in counts.first_byte.iter().enumerate() {
            below += number;
            let bound = FIRST_BYTE_BOUNDS_US.get(at);
            let bound = bound.map_or("+Inf".to_owned(), |bound_us| (*bound_us as f64 / 1e6).to_string());
            page.sample(&format!("{name}_bucket"), &joined(labels, ("le", &bound)), below as f64);
        }
        page.sample(&format!("{name}_sum"), labels, counts.first_byte_sum_us as f64 / 1e6);
        page.sample(&format!("{name}_count"), labels, below as f64);
    }
}

const MONITOR_STATES: [MonitorState; 6] = [
    MonitorState::Unknown,
    MonitorState::Normal,
    MonitorState::Warning,
    MonitorState::Error,
    MonitorState::Paused,
    MonitorState::Idle,
];

const MONITOR_METRICS: [Metric<MonitorStatus>; 4] = [
    gauge(
        "muster_monitor_state_since_seconds",
        "Unix time since when the monitor is in its state.",
        |monitor| monitor.since_ms as f64 / 1e3,
    ),
    gauge(
        "muster_monitor_answer_seconds",
        "How long the newest answer took; NaN if there was none.",
        |monitor| monitor.took_ms.map_or(f64::NAN, |took_ms| took_ms as f64 / 1e3),
    ),
    counter("muster_monitor_probes_total", "Probes that were answered, or failed.", |monitor| {
        monitor.probes as f64
    }),
    counter("muster_monitor_failed_probes_total", "Probes that failed.", |monitor| monitor.failures as f64),
];

/// What monitors find, and the figures of their plugins.
fn monitors(status: &CellStatus, page: &mut Page) {
    if status.monitors.is_empty() {
        return;
    }
    page.head("muster_monitor_state", "gauge", "1 for the state that the monitor is in, 0 for the others.");
    for monitor in &status.monitors {
        for state in MONITOR_STATES {
            let word = state.to_string();
            let value = f64::from(u8::from(monitor.state == state));
            page.sample("muster_monitor_state", &joined(&monitor_labels(monitor), ("state", &word)), value);
        }
    }
    for metric in &MONITOR_METRICS {
        page.head(metric.name, metric.kind, metric.help);
        for monitor in &status.monitors {
            page.sample(metric.name, &monitor_labels(monitor), (metric.value)(monitor));
        }
    }
    let help = "What a plugin measured, by its own label; seconds, bytes, percent or as the unit says.";
    page.head("muster_monitor_figure", "gauge", help);
    for monitor in &status.monitors {
        for figure in &monitor.figures {
            let mut labels = joined(&monitor_labels(monitor), ("label", &figure.label));
            labels.push(("unit", &figure.unit));
            page.sample("muster_monitor_figure", &labels, figure.value);
        }
    }
}

fn monitor_labels(monitor: &MonitorStatus) -> [(&str, &str); 3] {
    [("monitor", &monitor.monitor.0), ("node", &monitor.node.0), ("kind", &monitor.kind)]
}

fn joined<'l>(labels: &[(&'l str, &'l str)], last: (&'l str, &'l str)) -> Vec<(&'l str, &'l str)> {
    labels.iter().copied().chain([last]).collect()
}

fn each_member(status: &CellStatus, mut each: impl FnMut(&[(&str, &str); 3], &MemberStatus)) {
    for cluster in &status.clusters {
        for member in &cluster.members {
            let labels = [
                ("cluster", cluster.cluster.0.as_str()),
                ("member", member.member.0.as_str()),
                ("node", member.node.0.as_str()),
            ];
            each(&labels, member);
        }
    }
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes any text");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            write!(self.0, "{label}=\"{}\"", escape(text)).expect("a string takes any text");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        writeln!(self.0, "{close} {value}").expect("a string takes any text");
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
