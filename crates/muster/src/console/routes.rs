//! Every route of the console, and how a path and a query are taken apart.
//!
//! The table is the one truth: requests are matched by it, `Allow` is made from it, each row has the least role that
//! may call it, and tests hold the OpenAPI description and the reference to it. Paths are matched by whole segments;
//! names in them need no percent-encoding (see `wire::id`).

use hyper::Method;
use wire::account::Role;
use wire::group::GroupVerb;
use wire::id::{
    ClusterName, FenceName, GroupName, MemberName, MonitorName, NodeName, TokenName, UserName, is_valid_name,
};
use wire::node::{NodeAct, PowerAct};
use wire::status::Act;

/// What may be asked of a monitor; how long a drill lasts is in the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitorVerb {
    Pause,
    Resume,
    Fail,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Page,
    LoginPage,
    Login,
    Logout,
    Asset(&'static Asset),
    Status,
    Events,
    Stream,
    ActCluster {
        cluster: ClusterName,
        act: Act,
    },
    ActMember {
        cluster: ClusterName,
        member: MemberName,
        act: Act,
    },
    ActGroup {
        group: GroupName,
        verb: GroupVerb,
    },
    GroupMoves {
        group: GroupName,
    },
    ActMonitor {
        monitor: MonitorName,
        act: MonitorVerb,
    },
    FenceTest {
        fence: FenceName,
    },
    NodeOff {
        node: NodeName,
    },
    ActNode {
        node: NodeName,
        act: NodeAct,
    },
    Power {
        node: NodeName,
        act: PowerAct,
    },
    ConfirmLost {
        node: NodeName,
    },
    NodeToken {
        node: NodeName,
    },
    NodeRemove {
        node: NodeName,
    },
    Config,
    Apply,
    History,
    OldConfig {
        revision: u64,
    },
    Rollback {
        revision: u64,
    },
    Explain,
    PluginCfg,
    OpenApi,
    Metrics,
    Me,
    /// Of whoever knows the present one.
    OwnPassword,
    Users,
    UserAdd {
        user: UserName,
    },
    UserRole {
        user: UserName,
    },
    UserPassword {
        user: UserName,
    },
    UserRemove {
        user: UserName,
    },
    Tokens,
    TokenCreate {
        token: TokenName,
    },
    TokenRevoke {
        token: TokenName,
    },
    Audit,
}

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Everybody: it tells nothing, or proves by itself who calls.
    Nothing,
    /// Who has this role or a higher one.
    Role(Role),
}

/// A file of the console's own, served to everybody: it holds no data.
#[derive(Debug, PartialEq, Eq)]
pub struct Asset {
    pub path: &'static str,
    pub content_type: &'static str,
    pub text: &'static str,
}

/// One row of the table. Segments in braces take a name.
#[derive(Debug)]
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub need: Need,
    make: fn(&Names) -> Option<Call>,
}

/// What stood where the path has braces, in order.
type Names<'a> = Vec<&'a str>;

const SCRIPT: &str = "text/javascript; charset=utf-8";

pub const ASSETS: &[Asset] = &[
    Asset {
        path: "/assets/style.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("assets/style.css"),
    },
    Asset {
        path: "/assets/cards.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("assets/cards.css"),
    },
    Asset { path: "/assets/console.js", content_type: SCRIPT, text: include_str!("assets/console.js") },
    Asset {
        path: "/assets/failover.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("assets/failover.css"),
    },
    Asset { path: "/assets/acts.js", content_type: SCRIPT, text: include_str!("assets/acts.js") },
    Asset { path: "/assets/alerts.js", content_type: SCRIPT, text: include_str!("assets/alerts.js") },
    Asset { path: "/assets/groups.js", content_type: SCRIPT, text: include_str!("assets/groups.js") },
    Asset { path: "/assets/lamps.js", content_type: SCRIPT, text: include_str!("assets/lamps.js") },
    Asset { path: "/assets/menu.js", content_type: SCRIPT, text: include_str!("assets/menu.js") },
    Asset { path: "/assets/tables.js", content_type: SCRIPT, text: include_str!("assets/tables.js") },
    Asset { path: "/assets/talk.js", content_type: SCRIPT, text: include_str!("assets/talk.js") },
    Asset { path: "/assets/timeline.js", content_type: SCRIPT, text: include_str!("assets/timeline.js") },
    Asset { path: "/assets/tree.js", content_type: SCRIPT, text: include_str!("assets/tree.js") },
    Asset { path: "/assets/picture.js", content_type: SCRIPT, text: include_str!("assets/picture.js") },
    Asset { path: "/assets/cards.js", content_type: SCRIPT, text: include_str!("assets/cards.js") },
    Asset { path: "/assets/words.js", content_type: SCRIPT, text: include_str!("assets/words.js") },
    Asset { path: "/assets/login.js", content_type: SCRIPT, text: include_str!("assets/login.js") },
    Asset { path: "/assets/icon.svg", content_type: "image/svg+xml", text: include_str!("assets/icon.svg") },
];

const VIEWER: Need = Need::Role(Role::Viewer);
const OPERATOR: Need = Need::Role(Role::Operator);
const ADMIN: Need = Need::Role(Role::Admin);

pub const ROUTES: &[Route] = &[
    Route { method: Method::GET, path: "/", need: VIEWER, make: |_| Some(Call::Page) },
    Route { method: Method::GET, path: "/login", need: Need::Nothing, make: |_| Some(Call::LoginPage) },
    Route { method: Method::POST, path: "/login", need: Need::Nothing, make: |_| Some(Call::Login) },
    Route { method: Method::POST, path: "/logout", need: VIEWER, make: |_| Some(Call::Logout) },
    Route { method: Method::GET, path: "/metrics", need: VIEWER, make: |_| Some(Call::Metrics) },
    Route { method: Method::GET, path: "/api/v1/status", need: VIEWER, make: |_| Some(Call::Status) },
    Route { method: Method::GET, path: "/api/v1/events", need: VIEWER, make: |_| Some(Call::Events) },
    Route { method: Method::GET, path: "/api/v1/stream", need: VIEWER, make: |_| Some(Call::Stream) },
    Route {
        method: Method::POST,
        path: "/api/v1/clusters/{cluster}/{act}",
        need: OPERATOR,
        make: act_cluster,
    },
    Route {
        method: Method::POST,
        path: "/api/v1/clusters/{cluster}/members/{member}/{act}",
        need: OPERATOR,
        make: act_member,
    },
    Route { method: Method::POST, path: "/api/v1/groups/{group}/{act}", need: OPERATOR, make: act_group },
    Route {
        method: Method::GET,
        path: "/api/v1/groups/{group}/moves",
        need: VIEWER,
        make: |names| Some(Call::GroupMoves { group: (*names.first()?).into() }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/monitors/{monitor}/{act}",
        need: OPERATOR,
        make: act_monitor,
    },
    Route {
        method: Method::POST,
        path: "/api/v1/fences/{fence}/test",
        need: OPERATOR,
        make: |names| Some(Call::FenceTest { fence: (*names.first()?).into() }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/nodes/{node}/off",
        need: ADMIN,
        make: |names| Some(Call::NodeOff { node: (*names.first()?).into() }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/nodes/{node}/confirm-lost",
        need: OPERATOR,
        make: |names| Some(Call::ConfirmLost { node: (*names.first()?).into() }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/nodes/{node}/token",
        need: ADMIN,
        make: |names| Some(Call::NodeToken { node: (*names.first()?).into() }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/nodes/{node}/remove",
        need: ADMIN,
        make: |names| Some(Call::NodeRemove { node: (*names.first()?).into() }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/nodes/{node}/reboot",
        need: OPERATOR,
        make: |names| Some(Call::Power { node: (*names.first()?).into(), act: PowerAct::Reboot }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/nodes/{node}/shutdown",
        need: OPERATOR,
        make: |names| Some(Call::Power { node: (*names.first()?).into(), act: PowerAct::Shutdown }),
    },
    Route { method: Method::POST, path: "/api/v1/nodes/{node}/{act}", need: OPERATOR, make: act_node },
    Route { method: Method::GET, path: "/api/v1/config", need: OPERATOR, make: |_| Some(Call::Config) },
    Route { method: Method::POST, path: "/api/v1/config", need: ADMIN, make: |_| Some(Call::Apply) },
    Route {
        method: Method::GET,
        path: "/api/v1/config/history",
        need: VIEWER,
        make: |_| Some(Call::History),
    },
    Route {
        method: Method::GET,
        path: "/api/v1/config/history/{revision}",
        need: OPERATOR,
        make: |names| Some(Call::OldConfig { revision: names.first()?.parse().ok()? }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/config/history/{revision}/rollback",
        need: ADMIN,
        make: |names| Some(Call::Rollback { revision: names.first()?.parse().ok()? }),
    },
    Route { method: Method::GET, path: "/api/v1/explain", need: VIEWER, make: |_| Some(Call::Explain) },
    Route { method: Method::GET, path: "/api/v1/plugin-cfg", need: VIEWER, make: |_| Some(Call::PluginCfg) },
    Route { method: Method::GET, path: "/api/v1/openapi.json", need: VIEWER, make: |_| Some(Call::OpenApi) },
    Route { method: Method::GET, path: "/api/v1/me", need: VIEWER, make: |_| Some(Call::Me) },
    Route {
        method: Method::POST,
        path: "/api/v1/own-password",
        need: Need::Nothing,
        make: |_| Some(Call::OwnPassword),
    },
    Route { method: Method::GET, path: "/api/v1/users", need: ADMIN, make: |_| Some(Call::Users) },
    Route {
        method: Method::POST,
        path: "/api/v1/users/{user}",
        need: ADMIN,
        make: |names| Some(Call::UserAdd { user: (*names.first()?).into() }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/users/{user}/role",
        need: ADMIN,
        make: |names| Some(Call::UserRole { user: (*names.first()?).into() }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/users/{user}/password",
        need: ADMIN,
        make: |names| Some(Call::UserPassword { user: (*names.first()?).into() }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/users/{user}/remove",
        need: ADMIN,
        make: |names| Some(Call::UserRemove { user: (*names.first()?).into() }),
    },
    Route { method: Method::GET, path: "/api/v1/tokens", need: ADMIN, make: |_| Some(Call::Tokens) },
    Route {
        method: Method::POST,
        path: "/api/v1/tokens/{token}",
        need: ADMIN,
        make: |names| Some(Call::TokenCreate { token: (*names.first()?).into() }),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/tokens/{token}/revoke",
        need: ADMIN,
        make: |names| Some(Call::TokenRevoke { token: (*names.first()?).into() }),
    },
    Route { method: Method::GET, path: "/api/v1/audit", need: ADMIN, make: |_| Some(Call::Audit) },
];

/// What the table says of a method and a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Call(Call, Need),
    /// The path exists for these methods.
    OtherMethods(String),
    Nothing,
}

/// HEAD is answered as GET; the server leaves the body away.
pub fn find(method: &Method, path: &str) -> Found {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut allowed: Vec<&str> = Vec::new();
    for route in ROUTES {
        let Some(call) = names_in(route.path, path).and_then(|names| (route.make)(&names)) else { continue };
        if route.method == method {
            return Found::Call(call, route.need);
        }
        allowed.push(route.method.as_str());
    }
    if let Some(asset) = ASSETS.iter().find(|asset| asset.path == path) {
        if method == Method::GET {
            return Found::Call(Call::Asset(asset), Need::Nothing);
        }
        allowed.push("GET");
    }
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    if allowed.is_empty() { Found::Nothing } else { Found::OtherMethods(allowed.join(", ")) }
}

fn names_in<'a>(pattern: &str, path: &'a str) -> Option<Names<'a>> {
    if pattern.split('/').count() != path.split('/').count() {
        return None;
    }
    let mut names = Vec::new();
    for (wanted, given) in pattern.split('/').zip(path.split('/')) {
        match wanted.starts_with('{') {
            true if is_valid_name(given) => names.push(given),
            false if wanted == given => {}
            true | false => return None,
        }
    }
    Some(names)
}

fn act_cluster(names: &Names) -> Option<Call> {
    let [cluster, act] = names[..] else { return None };
    Some(Call::ActCluster { cluster: cluster.into(), act: act_of(act)? })
}

fn act_member(names: &Names) -> Option<Call> {
    let [cluster, member, act] = names[..] else { return None };
    Some(Call::ActMember { cluster: cluster.into(), member: member.into(), act: act_of(act)? })
}

fn act_group(names: &Names) -> Option<Call> {
    let [group, act] = names[..] else { return None };
    Some(Call::ActGroup { group: group.into(), verb: GroupVerb::named(act)? })
}

fn act_node(names: &Names) -> Option<Call> {
    let [node, act] = names[..] else { return None };
    Some(Call::ActNode { node: node.into(), act: NodeAct::named(act)? })
}

fn act_monitor(names: &Names) -> Option<Call> {
    let [monitor, act] = names[..] else { return None };
    let act = match act {
        "pause" => MonitorVerb::Pause,
        "resume" => MonitorVerb::Resume,
        "fail" => MonitorVerb::Fail,
        _ => return None,
    };
    Some(Call::ActMonitor { monitor: monitor.into(), act })
}

fn act_of(word: &str) -> Option<Act> {
    match word {
        "start" => Some(Act::Start),
        "stop" => Some(Act::Stop),
        "drain" => Some(Act::Drain),
        "restart" => Some(Act::Restart),
        _ => None,
    }
}

impl Call {
    /// What the audit log says of a call that changes something: the act, and what it is done to.
    pub fn audited(&self) -> Option<(&'static str, String)> {
        let audited = match self {
            Call::ActCluster { cluster, act } => (cluster_act(*act), cluster.to_string()),
            Call::ActMember { cluster, member, act } => (member_act(*act), format!("{cluster}/{member}")),
            Call::ActGroup { group, verb } => (group_act(*verb), group.to_string()),
            Call::ActMonitor { monitor, act } => (monitor_act(*act), monitor.to_string()),
            Call::FenceTest { fence } => ("fence-test", fence.to_string()),
            Call::NodeOff { node } => ("node-off", node.to_string()),
            Call::ActNode { node, act } => (node_act(*act), node.to_string()),
            Call::Power { node, act: PowerAct::Reboot } => ("node-reboot", node.to_string()),
            Call::Power { node, act: PowerAct::Shutdown } => ("node-shutdown", node.to_string()),
            Call::ConfirmLost { node } => ("node-confirm-lost", node.to_string()),
            Call::NodeToken { node } => ("node-token", node.to_string()),
            Call::NodeRemove { node } => ("node-remove", node.to_string()),
            Call::Apply => ("config-apply", String::new()),
            Call::Rollback { revision } => ("config-rollback", revision.to_string()),
            Call::Login => ("login", String::new()),
            Call::Logout => ("logout", String::new()),
            Call::OwnPassword => ("own-password", String::new()),
            Call::UserAdd { user } => ("user-add", user.to_string()),
            Call::UserRole { user } => ("user-role", user.to_string()),
            Call::UserPassword { user } => ("user-password", user.to_string()),
            Call::UserRemove { user } => ("user-remove", user.to_string()),
            Call::TokenCreate { token } => ("token-create", token.to_string()),
            Call::TokenRevoke { token } => ("token-revoke", token.to_string()),
            Call::Page
            | Call::LoginPage
            | Call::Asset(_)
            | Call::Status
            | Call::Events
            | Call::Stream
            | Call::GroupMoves { .. }
            | Call::Config
            | Call::History
            | Call::OldConfig { .. }
            | Call::Explain
            | Call::PluginCfg
            | Call::OpenApi
            | Call::Metrics
            | Call::Me
            | Call::Users
            | Call::Tokens
            | Call::Audit => return None,
        };
        Some(audited)
    }
}

fn cluster_act(act: Act) -> &'static str {
    match act {
        Act::Start => "cluster-start",
        Act::Stop => "cluster-stop",
        Act::Drain => "cluster-drain",
        Act::Restart => "cluster-restart",
    }
}

fn member_act(act: Act) -> &'static str {
    match act {
        Act::Start => "member-start",
        Act::Stop => "member-stop",
        Act::Drain => "member-drain",
        Act::Restart => "member-restart",
    }
}

fn group_act(verb: GroupVerb) -> &'static str {
    match verb {
        GroupVerb::Start => "group-start",
        GroupVerb::Stop => "group-stop",
        GroupVerb::Move => "group-move",
        GroupVerb::Failback => "group-failback",
        GroupVerb::Freeze => "group-freeze",
        GroupVerb::Thaw => "group-thaw",
        GroupVerb::ConfirmOff => "group-confirm-off",
    }
}

fn node_act(act: NodeAct) -> &'static str {
    match act {
        NodeAct::Drain => "node-drain",
        NodeAct::DrainAtOnce => "node-drain-at-once",
        NodeAct::Undrain => "node-undrain",
        NodeAct::MaintenanceOn => "node-maintenance-on",
        NodeAct::MaintenanceOff => "node-maintenance-off",
    }
}

fn monitor_act(act: MonitorVerb) -> &'static str {
    match act {
        MonitorVerb::Pause => "monitor-pause",
        MonitorVerb::Resume => "monitor-resume",
        MonitorVerb::Fail => "monitor-fail",
    }
}

/// Why a query was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("`{0}` is not a parameter here; allowed: {1}")]
    Unknown(String, String),
    #[error("`{0}` is given twice")]
    Twice(String),
    #[error("`{0}` has a broken percent-encoding or is not UTF-8")]
    Encoding(String),
}

/// The parameters of a query, decoded, in the order of `allowed`. Unknown and repeated ones are errors: a mistyped
/// `dry_run` must not become a change.
pub fn parameters<const N: usize>(
    query: &str,
    allowed: [&str; N],
) -> Result<[Option<String>; N], QueryError> {
    let mut values = [const { None }; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(index) = allowed.iter().position(|known| *known == name) else {
            let known = if N == 0 { "none".into() } else { allowed.join(", ") };
            return Err(QueryError::Unknown(name.to_owned(), known));
        };
        let value = decode(value).ok_or_else(|| QueryError::Encoding(name.to_owned()))?;
        if values[index].replace(value).is_some() {
            return Err(QueryError::Twice(name.to_owned()));
        }
    }
    Ok(values)
}

/// Undoes percent-encoding, and `+` for a space.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).expect("two hexadecimal digits fit a byte")
            }
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok()
}
