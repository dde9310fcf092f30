//! Reads monitors, and refuses keys that their kind does not have.

use super::address;
use super::document::{At, Table};
use super::members::tls;
use super::problem::KeyPath;
use super::reader::Reader;
use super::recovery;
use super::settings::{Builder, listed, named};
use logic::monitor::dns;
use wire::error_code;
use wire::group::GroupSettings;
use wire::id::NodeName;
use wire::monitor::{
    Check, Credentials, DnsAsk, HttpAsk, Manner, MonitorSettings, OcfAgent, Pace, SmtpTls, Target,
};

/// Longest name of a network interface that Linux takes.
const INTERFACE_MAX_BYTES: usize = 15;
const INTERVAL_MS: u64 = 1_000;
const TIMEOUT_MS: u64 = 1_000;
/// Of programs: starting one costs more, and plugins take up to ten seconds by themselves.
const PROGRAM_INTERVAL_MS: u64 = 10_000;
const PROGRAM_TIMEOUT_MS: u64 = 10_000;

const TLS_KEYS: [&str; 6] =
    ["tls", "tls_server_name", "tls_authorities", "tls_certificate", "tls_key", "tls_unverified"];

/// The keys that say what is asked, and the kinds that have them.
const KEYS: &[(&str, &[&str])] = &[
    ("target", &["dns", "http", "postgres", "redis", "smtp", "tcp"]),
    ("path", &["http"]),
    ("method", &["http"]),
    ("http_version", &["http"]),
    ("host", &["http"]),
    ("status_min", &["http"]),
    ("status_max", &["http"]),
    ("text", &["http"]),
    ("user", &["http", "redis"]),
    ("password_file", &["http", "redis"]),
    ("name", &["dns"]),
    ("ipv6", &["dns"]),
    ("pid_file", &["pid"]),
    ("command", &["nagios", "custom"]),
    ("agent", &["ocf"]),
    ("instance", &["ocf"]),
    ("parameters", &["ocf"]),
    ("environment", &["ocf"]),
    ("check_level", &["ocf"]),
    ("directory", &["disk"]),
    ("free_min_percent", &["disk"]),
    ("interface", &["link"]),
    ("address", &["address"]),
    ("starttls", &["smtp"]),
];
const TLS_KINDS: &[&str] = &["http", "redis", "smtp"];

/// All of `[monitors.NAME]`, in the order of the file.
pub fn read(builder: &mut Builder<'_>, groups: &[GroupSettings]) -> Vec<MonitorSettings> {
    let root = &builder.document.root;
    named(root, "monitors").into_iter().map(|(name, table)| monitor(builder, name, table, groups)).collect()
}

fn monitor(
    builder: &mut Builder<'_>,
    name: &str,
    table: &Table,
    groups: &[GroupSettings],
) -> MonitorSettings {
    let path = KeyPath::of(&["monitors", name]);
    let reader = Reader::new("monitors.*", vec![(path, Some(table))]);
    let kind = reader.text("kind");
    refuse_foreign_keys(builder, &reader, &kind);
    let recovery = recovery::read(builder, &reader, groups);
    let nodes = match &recovery {
        Some(recovery) if !reader.has("nodes") => recovery::nodes(recovery, groups),
        Some(_) | None => nodes(builder, &reader),
    };
    MonitorSettings {
        name: name.into(),
        nodes,
        pace: pace(&reader, &kind),
        check: check(builder, &reader, name, &kind),
        recovery,
    }
}

fn refuse_foreign_keys(builder: &mut Builder<'_>, reader: &Reader<'_>, kind: &str) {
    let tls = TLS_KEYS.iter().map(|key| (*key, TLS_KINDS));
    for (key, kinds) in KEYS.iter().copied().chain(tls) {
        // What is only its default says nothing.
        if reader.departs(key) && !kinds.contains(&kind) {
            let message = format!("`{key}` has no effect on a monitor of kind `{kind}`");
            let allowed = format!("it belongs to {}", listed(kinds.iter().copied()));
            builder.refuse(error_code::CONFIG_CONTRADICTION, &reader.path(key), At::Key, message, &allowed);
        }
    }
}

fn nodes(builder: &mut Builder<'_>, reader: &Reader<'_>) -> Vec<NodeName> {
    if !reader.has("nodes") {
        return builder.nodes().to_vec();
    }
    let mut nodes: Vec<NodeName> = Vec::new();
    for (index, name) in reader.list("nodes").into_iter().enumerate() {
        let place = reader.path("nodes").with(&format!("[{index}]"));
        let name = NodeName(name);
        if nodes.contains(&name) {
            let message = format!("node `{name}` is given twice");
            builder.refuse(error_code::CONFIG_DUPLICATE, &place, At::Value, message, "each node once");
        } else if !builder.nodes().contains(&name) {
            let known: Vec<String> = builder.nodes().iter().map(|name| name.0.clone()).collect();
            builder.unknown_name(&place, "node", &name.0, &known);
        }
        nodes.push(name);
    }
    nodes
}

fn pace(reader: &Reader<'_>, kind: &str) -> Pace {
    let is_program = matches!(kind, "nagios" | "custom" | "ocf");
    let (interval_ms, timeout_ms) = match is_program {
        true => (PROGRAM_INTERVAL_MS, PROGRAM_TIMEOUT_MS),
        false => (INTERVAL_MS, TIMEOUT_MS),
    };
    let given = |key: &str, otherwise| if reader.has(key) { reader.integer(key) } else { otherwise };
    Pace {
        interval_ms: given("interval_ms", interval_ms),
        timeout_ms: given("timeout_ms", timeout_ms),
        retries: reader.small_integer("retries"),
        confirmations: reader.small_integer("confirmations"),
        slow_percent: reader.small_integer("slow_percent"),
    }
}

fn check(builder: &mut Builder<'_>, reader: &Reader<'_>, name: &str, kind: &str) -> Check {
    match kind {
        "tcp" => Check::Tcp { target: target(builder, reader) },
        "http" => Check::Http {
            target: target(builder, reader),
            tls: tls(builder, reader),
            ask: http(builder, reader),
        },
        "smtp" => Check::Smtp { target: target(builder, reader), tls: smtp_tls(builder, reader) },
        "redis" => Check::Redis {
            target: target(builder, reader),
            tls: tls(builder, reader),
            credentials: credentials(builder, reader, false),
        },
        "postgres" => Check::Postgres { target: target(builder, reader) },
        "dns" => Check::Dns { target: target(builder, reader), ask: looked_up(builder, reader) },
        "pid" => Check::Pid { file: demanded(builder, reader, "pid_file") },
        "nagios" => Check::Program { command: command(builder, reader), manner: Manner::Plugin },
        "custom" => Check::Program { command: command(builder, reader), manner: Manner::Custom },
        "ocf" => Check::Ocf { agent: agent(builder, reader, name) },
        "disk" => Check::Disk {
            path: demanded(builder, reader, "directory"),
            free_min_percent: reader.small_integer("free_min_percent"),
        },
        "link" => Check::Link { interface: interface(builder, reader) },
        // The kinds of the definitions are these and no other.
        _ => {
            let text = demanded(builder, reader, "address");
            let nowhere = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
            Check::Address { address: text.parse().unwrap_or(nowhere) }
        }
    }
}

/// The text of a key that this kind cannot do without; empty where it is missing, which is told.
fn demanded(builder: &mut Builder<'_>, reader: &Reader<'_>, key: &str) -> String {
    match reader.text_if_any(key) {
        Some(text) => text,
        None => {
            missing(builder, reader, key);
            String::new()
        }
    }
}

fn missing(builder: &mut Builder<'_>, reader: &Reader<'_>, key: &str) {
    let kind = reader.text("kind");
    let message = format!("`{key}` is missing, and a monitor of kind `{kind}` needs it");
    let allowed = format!("`{key} = {}`", reader.example(key));
    builder.refuse(error_code::CONFIG_MISSING, &reader.path(key), At::Key, message, &allowed);
}

fn target(builder: &mut Builder<'_>, reader: &Reader<'_>) -> Target {
    let text = demanded(builder, reader, "target");
    let (host, port) = address::server(&text).unwrap_or_default();
    Target { host, port }
}

fn command(builder: &mut Builder<'_>, reader: &Reader<'_>) -> Vec<String> {
    if !reader.has("command") {
        missing(builder, reader, "command");
        return Vec::new();
    }
    reader.list("command")
}

fn agent(builder: &mut Builder<'_>, reader: &Reader<'_>, name: &str) -> OcfAgent {
    let agent = demanded(builder, reader, "agent");
    if reader.has("agent") && crate::ocf::split(&agent).is_none() {
        let message = format!("`{agent}` names no agent");
        let allowed = "`PROVIDER:NAME`, such as `heartbeat:IPaddr2`";
        builder.refuse(error_code::CONFIG_NOT_ALLOWED, &reader.path("agent"), At::Value, message, allowed);
    }
    OcfAgent {
        name: agent,
        instance: reader.text_if_any("instance").unwrap_or_else(|| name.to_owned()),
        parameters: reader.variables("parameters"),
        environment: reader.variables("environment"),
        level: reader.small_integer("check_level"),
    }
}

fn http(builder: &mut Builder<'_>, reader: &Reader<'_>) -> HttpAsk {
    let is_head = reader.text("method") == "HEAD";
    let text = reader.text_if_any("text");
    let mut contradict = |key: &str, message: String, allowed: &str| {
        builder.refuse(error_code::CONFIG_CONTRADICTION, &reader.path(key), At::Key, message, allowed);
    };
    if is_head && text.is_some() {
        contradict("text", "the answer to HEAD has no body with a text".into(), "`method = \"GET\"`");
    }
    if text.as_deref() == Some("") {
        contradict("text", "an empty text is in any answer".into(), "a text");
    }
    let (status_min, status_max) = (reader.integer("status_min"), reader.integer("status_max"));
    if status_min > status_max {
        let message = format!("no status is from {status_min} to {status_max}");
        contradict("status_min", message, "`status_min` at most `status_max`");
    }
    let status = |number| u16::try_from(number).expect("the range is that of statuses");
    HttpAsk {
        is_head,
        is_version_11: reader.text("http_version") == "1.1",
        path: reader.text("path"),
        host: reader.text_if_any("host"),
        status_min: status(status_min),
        status_max: status(status_max),
        text,
        credentials: credentials(builder, reader, true),
    }
}

/// Redis has a user by default.
fn credentials(builder: &mut Builder<'_>, reader: &Reader<'_>, needs_user: bool) -> Option<Credentials> {
    let (user, password_file) = (reader.text_if_any("user"), reader.text_if_any("password_file"));
    let (alone, other) = match (&user, &password_file) {
        (Some(_), None) => ("user", "password_file"),
        (None, Some(_)) if needs_user => ("password_file", "user"),
        (_, _) => {
            let password_file = password_file?;
            return Some(Credentials { user: user.unwrap_or_default(), password_file });
        }
    };
    let message = format!("`{alone}` stands alone");
    let allowed = format!("`{other}` beside it");
    builder.refuse(error_code::CONFIG_CONTRADICTION, &reader.path(alone), At::Key, message, &allowed);
    None
}

fn smtp_tls(builder: &mut Builder<'_>, reader: &Reader<'_>) -> Option<SmtpTls> {
    let is_started = reader.boolean("starttls");
    let tls = tls(builder, reader);
    if is_started && tls.is_none() {
        let message = "`starttls` has no effect without `tls`".to_owned();
        let path = reader.path("starttls");
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Key, message, "`tls = true` beside it");
    }
    tls.map(|tls| SmtpTls { is_started, tls })
}

fn looked_up(builder: &mut Builder<'_>, reader: &Reader<'_>) -> DnsAsk {
    let name = demanded(builder, reader, "name");
    if reader.has("name") && (name.is_empty() || dns::question(0, &name, false).is_none()) {
        let message = format!("`{name}` is no name that a name server could know");
        let path = reader.path("name");
        builder.refuse(
            error_code::CONFIG_NOT_ALLOWED,
            &path,
            At::Value,
            message,
            "a name such as \"example.com\"",
        );
    }
    DnsAsk { name, is_ipv6: reader.boolean("ipv6") }
}

fn interface(builder: &mut Builder<'_>, reader: &Reader<'_>) -> String {
    let interface = demanded(builder, reader, "interface");
    if interface.len() > INTERFACE_MAX_BYTES {
        let message = format!("no interface has a name longer than {INTERFACE_MAX_BYTES}");
        let path = reader.path("interface");
        builder.refuse(
            error_code::CONFIG_NOT_ALLOWED,
            &path,
            At::Value,
            message,
            "a name as `ip link` shows it",
        );
    }
    interface
}
