//! What a simulated cell consists of: nodes, members, routers, and the settings that follow.
//!
//! Bounds are short, so that a minute of simulated time sees every wait come to its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use wire::agent::{Launch, LogSettings, ProbeKind, ProbeSettings, RestartSettings, Run};
use wire::id::{MemberId, NodeName};
use wire::router::{Limits, RetrySettings, Timeouts};
use wire::settings::{
    AccessLog, CellSettings, ClusterSettings, ConsoleSettings, Listener, MemberSettings, RouteSettings,
    RouterPlace,
};
use wire::view::{Affinity, HashKey, Health, Policy, Transport};

/// The one cluster of a simulated cell.
pub const CLUSTER: &str = "shop";
/// Twenty times the longest answer of a healthy member.
pub const STOP_GRACE_MS: u64 = 1_000;
/// A hung member is found within two of these.
pub const PROBE_INTERVAL_MS: u64 = 200;
/// Below the interval, so that probes never pile up.
pub const PROBE_TIMEOUT_MS: u64 = 150;
/// Thirty times what a healthy member needs.
pub const START_TIMEOUT_MS: u64 = 2_000;
/// Ten probes: long enough that a story can wake a hung member in time.
pub const HUNG_AFTER_MS: u64 = 2_000;
/// Longest pause before a restart. One second: several restarts fit into a story.
pub const RESTART_DELAY_MAX_MS: u64 = 1_000;
/// The routers' time-out for connections: longer than any healthy path needs.
pub const CONNECT_MS: u64 = 300;
/// The routers' time-out for answers. Longer than a probe takes to find a hung member, shorter than the slowest
/// member: both ends of a slow answer happen.
pub const RESPONSE_MS: u64 = 500;

/// One member of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlantMember {
    pub name: String,
    /// Counted from 1.
    pub node: usize,
    pub weight: u32,
    pub is_external: bool,
    /// Changed to make the manager replace its process.
    pub release: u32,
}

/// The plan of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plant {
    pub nodes: usize,
    pub routers: usize,
    pub policy: Policy,
    pub lowers_weight: bool,
    pub drain_ms: u64,
    pub members: Vec<PlantMember>,
}

impl Plant {
    pub fn new(nodes: usize, routers: usize) -> Self {
        Self {
            nodes,
            routers,
            policy: Policy::RoundRobin,
            lowers_weight: false,
            drain_ms: 500,
            members: Vec::new(),
        }
    }

    pub fn add(&mut self, name: &str, node: usize, weight: u32, is_external: bool) {
        self.members.push(PlantMember { name: name.into(), node, weight, is_external, release: 1 });
    }

    pub fn node_name(node: usize) -> NodeName {
        NodeName(format!("node-{node}"))
    }

    pub fn member_id(name: &str) -> MemberId {
        MemberId::new(CLUSTER, name)
    }

    /// Where an external member listens: the digits of its name are its port.
    pub fn external_address(name: &str) -> SocketAddr {
        let number: u16 =
            name.bytes().filter(u8::is_ascii_digit).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        ([10, 0, 9, 9], 9_000 + number % 1_000).into()
    }

    pub fn settings(&self) -> CellSettings {
        let routers = (1..=self.routers).map(|number| router_place(number, self.nodes));
        CellSettings {
            groups: Vec::new(),
            fences: Vec::new(),
            cells: Vec::new(),
            bridges: Vec::new(),
            monitors: Vec::new(),
            name: "sim".into(),
            state_dir: "/none".into(),
            nodes: (1..=self.nodes).map(Self::node_name).collect(),
            node_addresses: Default::default(),
            node_power: Default::default(),
            manager: Default::default(),
            store: wire::settings::StoreSettings::Sqlite,
            console: ConsoleSettings { listen: ([127, 0, 0, 1], 29003).into() },
            routers: routers.collect(),
            clusters: vec![ClusterSettings {
                name: CLUSTER.into(),
                policy: self.policy,
                affinity: Some(affinity(self.lowers_weight)),
                drain_ms: self.drain_ms,
                hash_key: HashKey::default(),
                health: Health::default(),
                members: self.members.iter().map(member_settings).collect(),
            }],
        }
    }
}

pub fn affinity(lowers_weight: bool) -> Affinity {
    Affinity {
        cookie: "JSESSIONID".into(),
        url_identifier: "jsessionid".into(),
        separator: ':',
        lowers_weight,
        ..Affinity::default()
    }
}

fn router_place(number: usize, nodes: usize) -> RouterPlace {
    RouterPlace {
        name: format!("router-{number}").as_str().into(),
        node: Plant::node_name((number - 1) % nodes + 1),
        listeners: vec![Listener::plain(([127, 0, 0, 1], 8080).into())],
        zone: String::new(),
        threads: 1,
        routes: vec![RouteSettings::to_cluster("*", "/", CLUSTER.into())],
        timeouts: Timeouts {
            connect_ms: CONNECT_MS,
            head_ms: 1_000,
            body_ms: 0,
            idle_ms: 10_000,
            response_ms: RESPONSE_MS,
            request_ms: 0,
            tunnel_idle_ms: 10_000,
            pool_idle_ms: 10_000,
        },
        limits: Limits {
            head_size_max_bytes: 32_768,
            header_count_max: 100,
            body_size_max_bytes: 0,
            connections_max: 1_000,
            pool_size_max: 4,
        },
        retry: RetrySettings {
            attempts_max: 2,
            budget_percent: 20,
            budget_floor_per_second: 10,
            replay_max_bytes: 65_536,
        },
        access_log: AccessLog::default(),
        trace: None,
        trusted_proxies: Vec::new(),
        clients: Vec::new(),
        advertise: String::new(),
        plugin_cfg: None,
        gateway: None,
    }
}

fn member_settings(member: &PlantMember) -> MemberSettings {
    let launch = Launch {
        command: vec!["application".into(), format!("--release={}", member.release)],
        environment: BTreeMap::new(),
        directory: None,
        user: None,
        port: 0,
        address: None,
        stop_signal: "TERM".into(),
        stop_grace_ms: STOP_GRACE_MS,
        log: LogSettings { path: None, size_max_bytes: 1 << 20, files_max: 2 },
        restart: RestartSettings {
            delay_ms: 100,
            delay_max_ms: RESTART_DELAY_MAX_MS,
            attempts_max: 4,
            reset_after_ms: 3_000,
            start_timeout_ms: START_TIMEOUT_MS,
            hung_after_ms: HUNG_AFTER_MS,
        },
    };
    MemberSettings {
        zone: String::new(),
        is_backup: false,
        requests_max: 0,
        transport: Transport::default(),
        name: member.name.as_str().into(),
        clone_id: format!("c{}", member.name),
        weight: member.weight,
        node: Plant::node_name(member.node),
        run: if member.is_external {
            Run::External { address: Plant::external_address(&member.name) }
        } else {
            Run::Managed(launch)
        },
        probe: ProbeSettings {
            kind: ProbeKind::Http {
                path: "/".into(),
                host: None,
                status_min: 200,
                status_max: 399,
                transport: Box::default(),
            },
            interval_ms: PROBE_INTERVAL_MS,
            timeout_ms: PROBE_TIMEOUT_MS,
            rise: 2,
            fall: 2,
        },
    }
}
