//! Files without a mistake, and the settings that come out.

use super::settings;
use expect_test::expect;
use wire::agent::{ProbeKind, Run};
use wire::settings::{CellSettings, PathKind, RemoteStore, StoreServer, StoreSettings, StoreTls};

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
            node_addresses: {},
            node_power: {},
            manager: ManagerSettings {
                listen: None,
                nodes: [
                    NodeName(
                        "local",
                    ),
                ],
                profile: "normal",
                certificate_life_ms: 2592000000,
                heartbeat_port: 0,
            },
            store: Sqlite,
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
                    listeners: [
                        Listener {
                            address: 127.0.0.1:8080,
                            protocol: Http {
                                http2: true,
                            },
                            tls: None,
                            takes_proxy_header: false,
                        },
                    ],
                    zone: "",
                    threads: 0,
                    routes: [
                        RouteSettings {
                            name: "*/",
                            host: "*",
                            port: None,
                            path: "/",
                            path_kind: Prefix,
                            levels: [
                                [
                                    ClusterName(
                                        "shop",
                                    ),
                                ],
                            ],
                            spread: Flat,
                            actions: RouteActions {
                                answer: None,
                                path_replacement: None,
                                request_headers: HeaderChanges {
                                    remove: [],
                                    set: [],
                                },
                                answer_headers: HeaderChanges {
                                    remove: [],
                                    set: [],
                                },
                                body_size_max_bytes: None,
                                head_size_max_bytes: None,
                                rate_limit: None,
                                compresses: false,
                            },
                            affinity: None,
                        },
                    ],
                    timeouts: Timeouts {
                        connect_ms: 5000,
                        head_ms: 10000,
                        body_ms: 60000,
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
                        pattern: "",
                        path: "",
                    },
                    trace: None,
                    trusted_proxies: [],
                    clients: [],
                    advertise: "",
                    gateway: None,
                    plugin_cfg: None,
                },
            ],
            cells: [],
            bridges: [],
            clusters: [
                ClusterSettings {
                    name: ClusterName(
                        "shop",
                    ),
                    policy: Auto,
                    affinity: None,
                    drain_ms: 30000,
                    hash_key: ClientAddress,
                    health: Health {
                        slow_start_ms: 0,
                        eject_after: 5,
                        ejects_on_status: false,
                        eject_ms: 10000,
                        eject_percent_max: 33,
                        panic_percent: 0,
                        retry_interval_ms: None,
                        queue_max: 0,
                        queue_ms: 5000,
                    },
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
                            zone: "",
                            is_backup: false,
                            requests_max: 0,
                            transport: Transport {
                                http2: false,
                                tls: None,
                                sends_proxy_header: false,
                                connect_ms: None,
                                unacknowledged_ms: None,
                                response_ms: None,
                                marks_silence: false,
                                upgrade_ms: None,
                                tunnel_idle_ms: None,
                                asks_first: false,
                                waits_for_continue: false,
                            },
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
            groups: [],
            fences: [],
            monitors: [],
        }
    "#]]
    .assert_debug_eq(&settings(SMALLEST));
}

/// The settings of the only router's or first cluster's parts that a story is about.
fn managed(settings: &CellSettings, member: usize) -> &wire::agent::Launch {
    match &settings.clusters[0].members[member].run {
        Run::Managed(launch) => launch,
        Run::External { address } => panic!("member {member} runs at {address}"),
    }
}

const ROUTER: &str = "[routers.front]\nlisten = [\"127.0.0.1:0\"]\n";

#[test]
fn members_keep_the_order_of_the_file() {
    let names = ["zeta", "alpha", "mid", "beta"];
    let members: String = names
        .iter()
        .map(|name| format!("[clusters.c.members.{name}]\ncommand = [\"s\", \"{{port}}\"]\n"))
        .collect();
    let settings = settings(&format!("{ROUTER}{members}"));
    let order: Vec<&str> = settings.clusters[0].members.iter().map(|member| member.name.0.as_str()).collect();
    assert_eq!(order, names);
}

#[test]
fn a_member_is_reached_at_the_address_of_its_node() {
    let settings = settings(
        "[manager]\nlisten = \"0.0.0.0:29001\"\n[nodes.a]\naddress = \"10.0.0.1\"\n\
         [nodes.b]\naddress = \"fd00::2\"\n[routers.front]\nnode = \"a\"\nlisten = [\"127.0.0.1:0\"]\n\
         [clusters.shop.defaults]\ncommand = [\"s\", \"{port}\"]\n\
         [clusters.shop.members.one]\nnode = \"b\"\n[clusters.shop.members.two]\nnode = \"a\"\n",
    );
    assert_eq!(managed(&settings, 0).address, Some("fd00::2".parse().expect("an address")));
    assert_eq!(managed(&settings, 1).address, Some([10, 0, 0, 1].into()));
    assert_eq!(settings.manager.listen, Some(([0, 0, 0, 0], 29001).into()));
}

#[test]
fn groups_that_fail_over_by_themselves_may_have_several_managers() {
    let settings = settings(
        "[manager]\nlisten = \"0.0.0.0:29001\"\nnodes = [\"a\", \"b\"]\n[store]\nkind = \"postgres\"\nservers = [\"db.example:5432\"]\n\
         [nodes.a]\naddress = \"10.0.0.1\"\n[nodes.b]\naddress = \"10.0.0.2\"\n\
         [groups.g]\nnodes = [\"a\", \"b\"]\n[groups.g.resources.r]\ntype = \"process\"\ncommand = [\"x\"]\n",
    );
    assert!(settings.has_several_managers() && settings.groups[0].is_leased());
}

#[test]
fn managers_and_their_store_are_read() {
    let settings = settings(
        "[manager]\nlisten = \"0.0.0.0:29001\"\nnodes = [\"b\", \"a\"]\n[store]\nkind = \"postgres\"\n\
         servers = [\"db.example:5432\", \"[fd00::4]:5433\"]\npassword_file = \"/p\"\ntls = true\n\
         [nodes.a]\naddress = \"10.0.0.1\"\n[nodes.b]\naddress = \"10.0.0.2\"\n\
         [routers.front]\nnode = \"a\"\nlisten = [\"127.0.0.1:0\"]\n\
         [clusters.shop.members.one]\nnode = \"b\"\naddress = \"10.0.0.2:80\"\n",
    );
    assert_eq!(settings.manager_addresses(), ["10.0.0.2:29001", "10.0.0.1:29001"]);
    assert!(settings.has_several_managers());
    let server = |host: &str, port| StoreServer { host: host.into(), port };
    let remote = RemoteStore {
        servers: vec![server("db.example", 5432), server("fd00::4", 5433)],
        user: Some("muster".into()),
        password_file: Some("/p".into()),
        tls: Some(StoreTls::default()),
    };
    let (database, schema) = ("muster".to_owned(), "muster".to_owned());
    assert_eq!(settings.store, StoreSettings::Postgres { remote, database, schema });
    let text = serde_json::to_string(&settings.store).expect("it has only names");
    assert_eq!(serde_json::from_str::<StoreSettings>(&text).ok(), Some(settings.store));
}

#[test]
fn a_member_takes_from_the_defaults_what_it_does_not_say() {
    let settings = settings(&format!(
        "{ROUTER}
        [clusters.shop.defaults]
        weight = 7
        command = [\"serve\", \"{{port}}\"]
        environment = {{ MODE = \"live\", PORT = \"{{port}}\" }}
        directory = \"/srv/{{cluster}}/{{member}}\"
        [clusters.shop.defaults.log]
        path = \"/var/log/{{clone_id}}.log\"
        files_max = 1
        [clusters.shop.defaults.restart]
        attempts_max = 3
        [clusters.shop.members.one]
        [clusters.shop.members.two]
        weight = 1
        clone_id = \"b2\"
        environment = {{ MODE = \"test\" }}
        stop_signal = \"INT\"
        [clusters.shop.members.two.log]
        files_max = 9
        [clusters.shop.members.far]
        address = \"[fd00::5]:80\""
    ));
    let weights: Vec<u32> = settings.clusters[0].members.iter().map(|member| member.weight).collect();
    assert_eq!(weights, [7, 1, 7]);
    expect![[r#"
        [
            Launch {
                command: [
                    "serve",
                    "{port}",
                ],
                environment: {
                    "MODE": "live",
                    "PORT": "{port}",
                },
                directory: Some(
                    "/srv/shop/one",
                ),
                user: None,
                port: 0,
                address: None,
                stop_signal: "TERM",
                stop_grace_ms: 10000,
                log: LogSettings {
                    path: Some(
                        "/var/log/one.log",
                    ),
                    size_max_bytes: 10485760,
                    files_max: 1,
                },
                restart: RestartSettings {
                    delay_ms: 200,
                    delay_max_ms: 30000,
                    attempts_max: 3,
                    reset_after_ms: 30000,
                    start_timeout_ms: 60000,
                    hung_after_ms: 15000,
                },
            },
            Launch {
                command: [
                    "serve",
                    "{port}",
                ],
                environment: {
                    "MODE": "test",
                    "PORT": "{port}",
                },
                directory: Some(
                    "/srv/shop/two",
                ),
                user: None,
                port: 0,
                address: None,
                stop_signal: "INT",
                stop_grace_ms: 10000,
                log: LogSettings {
                    path: Some(
                        "/var/log/b2.log",
                    ),
                    size_max_bytes: 10485760,
                    files_max: 9,
                },
                restart: RestartSettings {
                    delay_ms: 200,
                    delay_max_ms: 30000,
                    attempts_max: 3,
                    reset_after_ms: 30000,
                    start_timeout_ms: 60000,
                    hung_after_ms: 15000,
                },
            },
        ]
    "#]]
    .assert_debug_eq(&[managed(&settings, 0), managed(&settings, 1)]);
    let far = &settings.clusters[0].members[2].run;
    assert_eq!(*far, Run::External { address: "[fd00::5]:80".parse().expect("an address") });
}

#[test]
fn the_nearest_table_says_the_kind_of_probe() {
    let kind = |cluster: &str, member: &str| {
        let text = format!(
            "{ROUTER}[clusters.c.probe]\n{cluster}\n[clusters.c.members.m]\ncommand = [\"s\", \"{{port}}\"]\n\
             [clusters.c.members.m.probe]\n{member}"
        );
        settings(&text).clusters[0].members[0].probe.kind.clone()
    };
    let http = |path: &str, status_max| ProbeKind::Http {
        path: path.to_owned(),
        host: None,
        status_min: 200,
        status_max,
        transport: Box::default(),
    };
    assert_eq!(kind("", ""), ProbeKind::Tcp);
    assert_eq!(kind("path = \"/a\"", ""), http("/a", 399));
    assert_eq!(kind("path = \"/a\"", "kind = \"tcp\""), ProbeKind::Tcp);
    assert_eq!(kind("path = \"/a\"", "kind = \"process\""), ProbeKind::Process);
    assert_eq!(kind("kind = \"process\"", "path = \"/b\""), http("/b", 399));
    assert_eq!(kind("kind = \"http\"", ""), http("/", 399));
    assert_eq!(kind("path = \"/a\"", "status_max = 299"), http("/a", 299));
}

#[test]
fn routes_know_their_cluster_and_hosts_have_no_case() {
    let settings = settings(&format!(
        "{ROUTER}
        [[routers.front.routes]]
        host = \"Shop.Example\"
        path = \"/a\"
        [[routers.front.routes]]
        host = \"[fd00::1]\"
        [clusters.c.members.m]
        address = \"10.0.0.1:80\""
    ));
    let routes: Vec<String> = settings.routers[0]
        .routes
        .iter()
        .map(|route| format!("{}{} {}", route.host, route.path, route.levels[0][0]))
        .collect();
    assert_eq!(routes, ["shop.example/a c", "[fd00::1]/ c"]);
}

#[test]
fn a_route_is_for_an_exact_path_an_ending_a_beginning_and_for_one_port() {
    let settings = settings(&format!(
        "{ROUTER}
        [[routers.front.routes]]
        path = \"/a\"
        [[routers.front.routes]]
        path = \"/a\"
        path_kind = \"exact\"
        [[routers.front.routes]]
        path = \"/a\"
        path_kind = \"start\"
        port = 8443
        [[routers.front.routes]]
        host = \"shop.example\"
        path = \"/a/*.jsp\"
        path_kind = \"extension\"
        [clusters.c.members.m]
        address = \"10.0.0.1:80\""
    ));
    let routes = settings.routers[0].routes.iter().map(|route| (&*route.name, route.port, route.path_kind));
    assert_eq!(
        routes.collect::<Vec<_>>(),
        [
            ("*/a", None, PathKind::Prefix),
            ("*/a exact", None, PathKind::Exact),
            ("*:8443/a*", Some(8443), PathKind::Start),
            ("shop.example/a/*.jsp", None, PathKind::Extension),
        ]
    );
}

#[test]
fn a_router_may_have_ten_thousand_routes() {
    let mut text = ROUTER.to_owned();
    for number in 0..10_000 {
        text += &format!("[[routers.front.routes]]\npath = \"/{number}\"\n");
    }
    text += "[clusters.c.members.m]\naddress = \"10.0.0.1:80\"\n";
    assert_eq!(settings(&text).routers[0].routes.len(), 10_000);
}

#[test]
fn the_same_port_may_be_used_on_two_nodes() {
    let settings = settings(
        "[nodes.a]
        [nodes.b]
        [routers.left]
        node = \"a\"
        listen = [\"0.0.0.0:80\"]
        [routers.right]
        node = \"b\"
        listen = [\"0.0.0.0:80\"]
        [clusters.c.defaults]
        command = [\"s\"]
        port = 9000
        [clusters.c.members.one]
        node = \"a\"
        [clusters.c.members.two]
        node = \"b\"",
    );
    assert_eq!(settings.nodes.len(), 2);
}

#[test]
fn tables_may_be_written_in_any_way_that_toml_has() {
    let inline = settings(
        "routers = { front = { listen = [\"127.0.0.1:8080\"] } }\n\
         clusters.shop.members.one.address = \"127.0.0.1:9001\"",
    );
    assert_eq!(inline, settings(SMALLEST));
    let listed = settings(
        "routers.front = { listen = [\"127.0.0.1:8080\"], routes = [{ path = \"/\" }] }\n\
         clusters.shop.members = { one = { address = \"127.0.0.1:9001\" } }",
    );
    assert_eq!(listed, settings(SMALLEST));
}

#[test]
fn routes_lead_to_clusters_of_other_cells() {
    let hash = "ec7ad5f8a2fd1fce2b8f6e7f3c9ad04ad21f58a8e2f4a3ce9a1c5f7d2b6e9013";
    let settings = settings(&format!(
        "[manager]\nlisten = \"0.0.0.0:29001\"\n[nodes.a]\naddress = \"10.0.0.1\"\n[routers.front]\nlisten = [\"0.0.0.0:80\"]\n\
         gateway = \"10.0.0.1:80\"\n[[routers.front.routes]]\npath = \"/\"\nlevels = [[\"shop\"], [\"shop@east\"]]\n\
         [bridges.east]\ntoken_sha256 = \"{hash}\"\nclusters = [\"shop\"]\n[cells.east]\nmanagers = [\"east.example:29001\"]\n\
         token_file = \"/etc/east.token\"\nclusters = [\"shop\"]\n[clusters.shop.members.one]\naddress = \"10.0.0.1:81\"\n"
    ));
    assert_eq!(settings.routers[0].gateway, Some(([10, 0, 0, 1], 80).into()));
    assert_eq!(settings.routers[0].routes[0].levels[1], ["shop@east".into()]);
    assert_eq!(settings.cells[0].name_of(&"shop".into()), "shop@east".into());
    assert_eq!(
        (settings.bridges[0].name.as_str(), settings.bridges[0].token_sha256.as_str()),
        ("east", hash)
    );
}
