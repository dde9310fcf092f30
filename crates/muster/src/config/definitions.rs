//! Every key of the configuration: type, default, range, meaning and an example. The only place that says so.
//!
//! Durations are milliseconds (`_ms`), sizes bytes (`_bytes`). Each range has its reason where it is not evident.

mod cells;
mod fences;
mod groups;
mod member;
mod monitor;
mod node;
mod plugin_cfg;
mod store;
mod transport;

use super::action_definitions;
use super::choice_definitions::{AFFINITY, CLUSTER, HEALTH, ROUTE_TO};
use super::definition::{Definition, Preset, Repeats, Section};
use super::kind::{Form, Kind};
pub use groups::SHARED;
use logic::limits::CLUSTER_MEMBERS_MAX;
use member::{LAUNCH, LOG, MEMBER, MEMBER_ALONE, RESTART};
use plugin_cfg::PLUGIN_CFG;
use transport::{CERTIFICATE, LISTENER, SERVER_NAME, TRANSPORT};

/// Nodes of a cell. 1,000: what one manager can hear on one machine; larger cells are several.
const NODES_MAX: usize = 1000;
/// Managers of a cell. Five: two may be lost, and more only make the store busier.
const MANAGERS_MAX: usize = 5;
/// Routers of a cell. 1,000: one on each node.
const ROUTERS_MAX: usize = 1000;
/// Clusters of a cell. 1,000: each has a view that every router holds.
const CLUSTERS_MAX: usize = 1000;
/// Clients of a cell. 1,000: each is looked at when one of them is behind.
const CLIENTS_MAX: usize = 1000;
/// Routes of a router. 10,000: the table finds by hash, so that their number costs a request nothing; a file with more is
/// longer than anybody reads.
const ROUTES_MAX: usize = 10_000;
/// Longest duration. One day: what is longer is a mistake in the unit.
const DAY_MS: u64 = 24 * 3_600_000;
/// Shortest life of a node's certificate. Ten seconds: enough to see it renewed; nobody needs less.
const CERTIFICATE_LIFE_MIN_MS: u64 = 10_000;
/// Longest life of a node's certificate. A year: what is never renewed is found not to work when it has to.
const CERTIFICATE_LIFE_MAX_MS: u64 = 365 * DAY_MS;
/// Longest duration that people wait for something to end or to begin.
const HOUR_MS: u64 = 3_600_000;
pub const MIB: u64 = 1 << 20;

pub const fn key(
    name: &'static str,
    kind: Kind,
    preset: Preset,
    example: &'static str,
    doc: &'static str,
) -> Definition {
    Definition { name, kind, preset, doc, example }
}

pub const fn integer(
    name: &'static str,
    least: u64,
    most: u64,
    preset: u64,
    example: &'static str,
    doc: &'static str,
) -> Definition {
    key(name, Kind::Integer { least, most }, Preset::Integer(preset), example, doc)
}

/// In the order of the reference. Tables come before those within them.
pub const SECTIONS: &[Section] = &[
    Section { path: "", repeats: Repeats::Once, doc: "The file itself has only tables.", keys: &[] },
    Section {
        path: "cell",
        repeats: Repeats::Once,
        doc: "The cell: all that one manager looks after.",
        keys: &[CELL],
    },
    Section {
        path: "manager",
        repeats: Repeats::Once,
        doc: "How other machines reach the managers, and which nodes have one. Without `listen` the cell is one \
              machine. See [several machines](../operate/several-machines.md) and \
              [several managers](../operate/several-managers.md).",
        keys: &[MANAGER],
    },
    store::SECTION,
    Section {
        path: "console",
        repeats: Repeats::Once,
        doc: "The console and the HTTP API. Both need a login.",
        keys: &[CONSOLE],
    },
    Section {
        path: "nodes.*",
        repeats: Repeats::Named { most: NODES_MAX },
        doc: "The machines of the cell, that of the manager first. Without any there is one, called `local`.",
        keys: &[node::NODE],
    },
    Section {
        path: "clients.*",
        repeats: Repeats::Named { most: CLIENTS_MAX },
        doc: "A program that may know the members of clusters, so that it can call them itself and learns of changes \
              with the answers of routers. It needs a route with `views = true`. See [clients](../operate/clients.md).",
        keys: &[CLIENT],
    },
    cells::CELLS_SECTION,
    cells::BRIDGES_SECTION,
    Section {
        path: "routers.*",
        repeats: Repeats::Named { most: ROUTERS_MAX },
        doc: "A router takes requests and sends each to a member of a cluster. At least one is needed.",
        keys: &[ROUTER],
    },
    Section {
        path: "routers.*.timeouts",
        repeats: Repeats::Once,
        doc: "How long the router waits for what.",
        keys: &[TIMEOUTS],
    },
    Section {
        path: "routers.*.limits",
        repeats: Repeats::Once,
        doc: "What the router takes at most.",
        keys: &[LIMITS],
    },
    Section {
        path: "routers.*.retry",
        repeats: Repeats::Once,
        doc: "When a request goes to another member after a failure. A request of which a member may have seen \
              something is only repeated if its method is idempotent (GET, HEAD, PUT, DELETE, OPTIONS, TRACE).",
        keys: &[RETRY],
    },
    Section {
        path: "routers.*.access_log",
        repeats: Repeats::Once,
        doc: "One line for each request.",
        keys: &[ACCESS_LOG],
    },
    action_definitions::TRACE_SECTION,
    Section {
        path: "routers.*.listeners",
        repeats: Repeats::Listed { most: transport::LISTENERS_MAX },
        doc: "Addresses on which the router takes more than plain HTTP: TLS, TCP, the PROXY protocol. They may stand \
              beside `listen` or in its place.",
        keys: &[LISTENER],
    },
    Section {
        path: "routers.*.listeners.certificates",
        repeats: Repeats::Listed { most: transport::CERTIFICATES_MAX },
        doc: "The certificates of a listener; with any of them it speaks TLS. The one whose name fits best what the \
              client asks for is shown (exact, then with `*`), the first where none fits. New files are taken within \
              seconds, without losing a connection; wrong ones are told of, and the last good ones stay in use.",
        keys: &[CERTIFICATE],
    },
    Section {
        path: "routers.*.listeners.server_names",
        repeats: Repeats::Listed { most: transport::SERVER_NAMES_MAX },
        doc: "Which cluster gets which connections of a listener with the protocol `tls`.",
        keys: &[SERVER_NAME],
    },
    Section {
        path: "routers.*.plugin_cfg",
        repeats: Repeats::Once,
        doc: "A plugin-cfg.xml that the router keeps for web servers in front of the cell's routers, such as those in a \
              DMZ. It lists every configured router, whether it is up or not; it is replaced whole when the \
              configuration changes, and the one before stays beside it as `PATH.last-good`. The table is enough to \
              switch it on.",
        keys: &[PLUGIN_CFG],
    },
    Section {
        path: "routers.*.routes",
        repeats: Repeats::Listed { most: ROUTES_MAX },
        doc: "Which requests go to which cluster. A host that is named beats `*`, a port beats any, then the longest path wins; the \
              order in the file plays no part. A file with exactly one cluster needs no routes: everything goes to it. \
              Tables of a route, such as `redirect`, may also be written in one line: `redirect = { to = \"/new\" }`.",
        keys: &[ROUTE, ROUTE_TO, action_definitions::ROUTE_ACTIONS],
    },
    action_definitions::REDIRECT_SECTION,
    action_definitions::ANSWER_SECTION,
    action_definitions::RATE_LIMIT_SECTION,
    action_definitions::REQUEST_HEADERS_SECTION,
    action_definitions::ANSWER_HEADERS_SECTION,
    Section {
        path: "clusters.*",
        repeats: Repeats::Named { most: CLUSTERS_MAX },
        doc: "A cluster: members that run the same application. At least one is needed.",
        keys: &[CLUSTER],
    },
    Section {
        path: "clusters.*.affinity",
        repeats: Repeats::Once,
        doc: "Keeps a conversation with its member. The table is enough to switch it on; without it there is no \
              affinity.",
        keys: &[AFFINITY],
    },
    Section {
        path: "clusters.*.health",
        repeats: Repeats::Once,
        doc: "How routers judge and protect members, beyond what the probes find.",
        keys: &[HEALTH],
    },
    Section {
        path: "clusters.*.probe",
        repeats: Repeats::Once,
        doc: "How to find out whether a member works, for all members that do not say it themselves.",
        keys: &[PROBE],
    },
    Section {
        path: "clusters.*.defaults",
        repeats: Repeats::Once,
        doc: "Keys of members, used where a member does not say it itself. Environments are put together, variable \
              by variable.",
        keys: &[MEMBER, TRANSPORT, LAUNCH],
    },
    Section {
        path: "clusters.*.defaults.log",
        repeats: Repeats::Once,
        doc: "The log, where a member does not say it itself.",
        keys: &[LOG],
    },
    Section {
        path: "clusters.*.defaults.restart",
        repeats: Repeats::Once,
        doc: "Restarts, where a member does not say it itself.",
        keys: &[RESTART],
    },
    Section {
        path: "clusters.*.members.*",
        repeats: Repeats::Named { most: CLUSTER_MEMBERS_MAX },
        doc: "A member of the cluster; at least one is needed. The order in the file is the order of round robin. A \
              member has either `command`, and is started by the agent of its node, or `address`, and runs \
              elsewhere. Keys that a member lacks come from `[clusters.CLUSTER.defaults]`.",
        keys: &[MEMBER, MEMBER_ALONE, TRANSPORT, LAUNCH],
    },
    Section {
        path: "clusters.*.members.*.log",
        repeats: Repeats::Once,
        doc: "Where the output of a member goes that the agent starts.",
        keys: &[LOG],
    },
    Section {
        path: "clusters.*.members.*.restart",
        repeats: Repeats::Once,
        doc: "What happens when a member that the agent starts ends by itself, does not become healthy, or hangs.",
        keys: &[RESTART],
    },
    Section {
        path: "clusters.*.members.*.probe",
        repeats: Repeats::Once,
        doc: "The probe of this member; keys that it lacks come from `[clusters.CLUSTER.probe]`.",
        keys: &[PROBE],
    },
    groups::GROUPS_SECTION,
    groups::RESOURCES_SECTION,
    fences::SECTION,
    monitor::SECTION,
];

const CELL: &[Definition] = &[
    key("name", Kind::Text(Form::Name), Preset::Text("cell"), "\"shop\"", "Name of the cell, for people."),
    key(
        "state_dir",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("`/var/lib/muster` for root, otherwise `$HOME/.local/state/muster`"),
        "\"/var/lib/muster\"",
        "Directory for the store, the last views, logs and tokens. It is created if it is missing.",
    ),
];

const MANAGER: &[Definition] = &[
    key(
        "listen",
        Kind::Text(Form::ListenAddress),
        Preset::Else("only this machine reaches it"),
        "\"0.0.0.0:29001\"",
        "Where the manager listens for agents and routers of other machines. They speak TLS 1.3, and each side proves \
         with a certificate of the cell who it is. Needs `muster init` once, and an `address` for every node.",
    ),
    key(
        "heartbeat_port",
        Kind::Integer { least: 1, most: 65_535 },
        Preset::Else("the port after that of `listen`"),
        "29002",
        "UDP port on which the manager hears heartbeats, at the address of `listen`. Every node sends one each 150 ms; a \
         machine whose heartbeats stop is known to all routers in less than a second. It must be open to all nodes.",
    ),
    key(
        "nodes",
        Kind::List { of: Form::Name, least: 1, most: MANAGERS_MAX },
        Preset::Else("the first node"),
        "[\"web-1\", \"web-2\", \"web-3\"]",
        "The nodes that have a manager. One of several leads; when it is lost another one does within two seconds. \
         Several need `listen`, and a store on servers.",
    ),
    key(
        "profile",
        Kind::Choice(&["fast", "normal", "careful"]),
        Preset::Else("`normal`"),
        "\"careful\"",
        "How soon another manager leads when the present one is lost, and how soon a failover group starts elsewhere \
         when its node is lost: after 1.3 (`fast`), 1.6 or 7.1 seconds (`careful`); with several managers such a group after \
         2.6, 3.1 or 14.2. The store, and the network to the nodes, must answer within 0.2, 0.3 or 2 seconds. All managers \
         must have the same.",
    ),
    integer(
        "certificate_life_ms",
        CERTIFICATE_LIFE_MIN_MS,
        CERTIFICATE_LIFE_MAX_MS,
        30 * DAY_MS,
        "604800000",
        "How long the certificates of nodes are valid. Each is renewed by itself when two thirds of that are over, so \
         a node may be without the manager for a third of it.",
    ),
];

const CLIENT: &[Definition] = &[
    key(
        "token_sha256",
        Kind::Text(Form::Sha256),
        Preset::Required,
        "\"ec7ad5f8a2fd1fce2b8f6e7f3c9ad04ad21f58a8e2f4a3ce9a1c5f7d2b6e9013\"",
        "SHA-256 of its token. `muster client token` makes both; the token itself stands nowhere in the cell.",
    ),
    key(
        "clusters",
        Kind::List { of: Form::Name, least: 1, most: CLUSTERS_MAX },
        Preset::Required,
        "[\"shop\"]",
        "The clusters whose members it may know.",
    ),
];

const CONSOLE: &[Definition] = &[key(
    "listen",
    Kind::Text(Form::ListenAddress),
    Preset::Text("127.0.0.1:29003"),
    "\"0.0.0.0:29003\"",
    "Where the console and the API listen.",
)];

const ROUTER: &[Definition] = &[
    key(
        "listen",
        Kind::List { of: Form::ListenAddress, least: 1, most: 64 },
        Preset::Else("none: there must be `listeners`"),
        "[\"0.0.0.0:8080\"]",
        "Addresses on which the router takes requests without TLS.",
    ),
    key(
        "node",
        Kind::Text(Form::Name),
        Preset::Else("the only node of the file"),
        "\"local\"",
        "The node on which it runs.",
    ),
    key(
        "zone",
        Kind::Text(Form::Name),
        Preset::Else("none"),
        "\"hall-1\"",
        "Where it runs, for routes with `spread = \"zone-first\"`.",
    ),
    key(
        "advertise",
        Kind::Text(Form::RouteHost),
        Preset::Else("the address of `listen`, or the node's name where that is any"),
        "\"router1.example\"",
        "Host or address under which web servers in front reach it, for `plugin_cfg`.",
    ),
    cells::GATEWAY,
    integer("threads", 0, 256, 0, "2", "Threads that pass on requests; 0 means one for each processor."),
    key(
        "trusted_proxies",
        Kind::List { of: Form::IpAddress, least: 0, most: 256 },
        Preset::EmptyList,
        "[\"10.0.0.1\"]",
        "Callers whose X-Forwarded-For, -Proto, -Host and Forwarded headers are believed and continued. From anybody \
         else they are replaced.",
    ),
];

const TIMEOUTS: &[Definition] = &[
    integer(
        "connect_ms",
        1,
        HOUR_MS,
        5000,
        "4000",
        "To make a TCP connection to a member. Above 3000, so that the two repetitions of a lost first packet count. Who waits goes elsewhere sooner where the machine says nothing \
         at all, to several connections within a third of a second, and another member can be reached.",
    ),
    integer("head_ms", 1, HOUR_MS, 10_000, "5000", "From the first byte of a request's head to its last."),
    integer(
        "body_ms",
        0,
        DAY_MS,
        60_000,
        "20000",
        "From the last byte of a request's head to the last of its body, and a second more for each 100 bytes that come, \
         so that nobody holds a request by sending a byte now and then; 0 means no bound. Once the answer has begun, \
         and for gRPC calls, only `response_ms` counts.",
    ),
    integer(
        "idle_ms",
        1,
        DAY_MS,
        75_000,
        "30000",
        "For a client connection on which no request is under way.",
    ),
    integer(
        "response_ms",
        1,
        DAY_MS,
        60_000,
        "120000",
        "From the last byte of a request to the first byte of the answer; also the longest pause within a body. A request that may be repeated \
         waits once more, for another member, and no longer.",
    ),
    integer(
        "request_ms",
        0,
        DAY_MS,
        0,
        "300000",
        "From the first byte of a request to the last byte of its answer; 0 means no bound.",
    ),
    integer(
        "tunnel_idle_ms",
        1,
        DAY_MS,
        3_600_000,
        "600000",
        "For a tunnel (WebSocket) on which nothing moves.",
    ),
    integer("pool_idle_ms", 1, DAY_MS, 60_000, "30000", "For an unused connection to a member."),
];

const LIMITS: &[Definition] = &[
    integer("head_size_max_bytes", 1024, MIB, 32_768, "65536", "Largest head of a request or answer."),
    integer("header_count_max", 8, 120, 100, "64", "Most header lines of a request."),
    integer(
        "body_size_max_bytes",
        0,
        1 << 50,
        0,
        "10485760",
        "Largest body of a request; 0 means no bound. Bodies are never held whole in memory.",
    ),
    integer("connections_max", 1, 1_000_000, 20_000, "50000", "Most client connections at once."),
    integer("pool_size_max", 0, 65_536, 256, "64", "Most unused connections kept to one member, per thread."),
];

const RETRY: &[Definition] = &[
    integer("attempts_max", 0, 10, 3, "1", "Further attempts at one request; 0 means none."),
    integer(
        "budget_percent",
        0,
        100,
        20,
        "10",
        "Retries per hundred requests, over ten seconds, so that retries never multiply an overload.",
    ),
    integer(
        "budget_floor_per_second",
        0,
        100_000,
        10,
        "5",
        "Retries per second, on average over ten seconds, that are allowed whatever the traffic is.",
    ),
    integer(
        "replay_max_bytes",
        0,
        16 * MIB,
        65_536,
        "16384",
        "Body of a request that is kept for another attempt; a request with a longer one is never sent twice.",
    ),
];

const ACCESS_LOG: &[Definition] = &[
    key(
        "format",
        Kind::Choice(&["off", "common", "combined", "json", "custom"]),
        Preset::Text("off"),
        "\"json\"",
        "`common` is the format that web servers have in common, `combined` adds referer and user agent, `json` is one \
         object a line with all there is to tell, `custom` is what `pattern` says.",
    ),
    key(
        "pattern",
        Kind::Text(Form::LogPattern),
        Preset::Else("none: for `custom` only"),
        "\"{time} {client} {method} {target} {status} {duration_us}\"",
        "A line of the format `custom`. Its fields in braces are listed in [the access log](access-log.md).",
    ),
    key(
        "path",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("standard output"),
        "\"/var/log/muster/access.log\"",
        "The file to which lines are added.",
    ),
];

const ROUTE: &[Definition] = &[
    key(
        "host",
        Kind::Text(Form::RouteHost),
        Preset::Text("*"),
        "\"shop.example\"",
        "Host of the request, without port; upper and lower case are the same. `*` is any.",
    ),
    key(
        "path",
        Kind::Text(Form::RoutePath),
        Preset::Text("/"),
        "\"/shop\"",
        "`/shop` is for `/shop` and `/shop/...`, not for `/shopping`. What it means otherwise is said by `path_kind`.",
    ),
    key(
        "path_kind",
        Kind::Choice(&["prefix", "exact", "start", "extension"]),
        Preset::Text("prefix"),
        "\"exact\"",
        "`prefix`: the path and all below it; `exact`: that path alone; `start`: all that begins so, `/shopping` too; \
         `extension`: `path` is a folder and an ending, such as `/*.jsp` or `/shop/*.jsp`. Exact comes before the others, \
         then the longest path, then an ending in any folder.",
    ),
    integer(
        "port",
        0,
        65_535,
        0,
        "8443",
        "Port of the request: that of its Host header, otherwise 443 with TLS and 80 without. 0 is any; a route with the \
         request's port comes before one for any.",
    ),
];

const PROBE: &[Definition] = &[
    key(
        "kind",
        Kind::Choice(&["process", "tcp", "http"]),
        Preset::Else("`\"http\"` where `path` is given, otherwise `\"tcp\"`"),
        "\"process\"",
        "`process`: being there is enough (only for members that the agent starts); `tcp`: it takes connections; \
         `http`: GET answers with a status in the range.",
    ),
    key(
        "path",
        Kind::Text(Form::RequestTarget),
        Preset::Else("`\"/\"` for `http`"),
        "\"/health\"",
        "What an HTTP probe asks for.",
    ),
    key(
        "host",
        Kind::Text(Form::HostHeader),
        Preset::Else("the member's address"),
        "\"shop.example\"",
        "Host header of an HTTP probe.",
    ),
    integer("status_min", 100, 599, 200, "204", "Lowest status with which an HTTP probe is passed."),
    integer("status_max", 100, 599, 399, "299", "Highest status with which an HTTP probe is passed."),
    integer("interval_ms", 10, HOUR_MS, 1000, "500", "Time between two probes."),
    integer("timeout_ms", 1, HOUR_MS, 1000, "300", "A probe without an answer after this time has failed."),
    integer("rise", 1, 100, 2, "1", "Probes passed in a row that make a member healthy."),
    integer("fall", 1, 100, 2, "3", "Probes failed in a row that make a member unhealthy."),
];
