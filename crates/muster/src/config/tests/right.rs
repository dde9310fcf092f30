//! Files without a mistake, and the settings that come out.

use super::settings;
use expect_test::expect;
use wire::agent::{ProbeKind, Run};
use wire::settings::CellSettings;

/// The least that makes a cell.
const SMALLEST: &str = r#"
    [routers.front]
    listen = ["127.0.0.1:8080"]
    [clusters.shop.members.one]
    address = "127.0.0.1:9001"
"#;

#[test]
fn smallest_file_gets_every_default() {
    expect![[r#"
        CellSettings {
            name: "cell",
            state_dir: "/state",
            nodes: [
                NodeName(
                    "local",
                ),
            ],
            console: ConsoleSettings {
                listen: 127.0.0.1:29003,
            },
            routers: [
                RouterPlace {
                    name: RouterName(
                        "front",
                    ),
                    node: NodeName(
                        "local",
                    ),
                    listen: [
                        127.0.0.1:8080,
                    ],
                    threads: 0,
                    routes: [
                        RouteSettings {
                            host: "*",
                            path: "/",
                            cluster: ClusterName(
                                "shop",
                            ),
                        },
                    ],
                    timeouts: Timeouts {
                        connect_ms: 1000,
                        head_ms: 10000,
                        idle_ms: 75000,
                        response_ms: 60000,
                        request_ms: 0,
                        tunnel_idle_ms: 3600000,
                        pool_idle_ms: 60000,
                    },
                    limits: Limits {
                        head_size_max_bytes: 32768,
                        header_count_max: 100,
                        body_size_max_bytes: 0,
                        connections_max: 20000,
                        pool_size_max: 256,
                    },
                    retry: RetrySettings {
                        attempts_max: 3,
                        budget_percent: 20,
                        budget_floor_per_second: 10,
                        replay_max_bytes: 65536,
                    },
                    access_log: AccessLog {
                        format: Off,
                        path: "",
                    },
                    trusted_proxies: [],
                },
            ],
            clusters: [
                ClusterSettings {
                    name: ClusterName(
                        "shop",
                    ),
                    policy: RoundRobin,
                    affinity: None,
                    drain_ms: 30000,
                    members: [
                        MemberSettings {
                            name: MemberName(
                                "one",
                            ),
                            clone_id: "one",
                            weight: 2,
                            node: NodeName(
                                "local",
                            ),
                            run: External {
                                address: 127.0.0.1:9001,
                            },
                            probe: ProbeSettings {
                                kind: Tcp,
                                interval_ms: 1000,
                                timeout_ms: 1000,
                                rise: 2,
                                fall: 2,
                            },
                        },
                    ],
                },
            ],
        }
    "#]]
    .assert_debug_eq(&settings(SMALLEST));
}
