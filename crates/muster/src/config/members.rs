//! Reads the members of one cluster: how each runs, how it is probed, and which keys of it would have no effect.
//!
//! Pure. A key comes from the member, else from the cluster's defaults, else from the definitions.

use super::document::{At, Table};
use super::problem::KeyPath;
use super::reader::Reader;
use super::settings::{Builder, address, named};
use wire::agent::{Launch, LogSettings, ProbeKind, ProbeSettings, RestartSettings, Run};
use wire::error_code;
use wire::id::MemberName;
use wire::settings::MemberSettings;
use wire::view::{MemberTls, Transport};

/// Keys and tables of a member that only matter to whoever starts it.
const LAUNCH_KEYS: [&str; 8] =
    ["port", "environment", "directory", "user", "stop_signal", "stop_grace_ms", "log", "restart"];

/// Keys that only matter where TLS is spoken.
const TLS_KEYS: [&str; 5] =
    ["tls_server_name", "tls_authorities", "tls_certificate", "tls_key", "tls_unverified"];

pub fn read(builder: &mut Builder<'_>, cluster: &str, table: &Table) -> Vec<MemberSettings> {
    let place = |name: &str| KeyPath::of(&["clusters", cluster, name]);
    check_ranges(builder, &[(place("probe"), table.table("probe"))], &[]);
    let defaults = table.table("defaults");
    let members = named(table, "members").into_iter();
    let member = |(name, own)| {
        let path = place("members").with(name);
        let tables = Tables {
            cluster,
            name,
            own: (path, own),
            defaults: (place("defaults"), defaults),
            probe: (place("probe"), table.table("probe")),
        };
        tables.member(builder)
    };
    members.map(member).collect()
}

/// TLS to a member, or to another cell's gateway, if it is wanted.
pub fn tls(builder: &mut Builder<'_>, reader: &Reader<'_>) -> Option<MemberTls> {
    let text = |key| reader.text_if_any(key).unwrap_or_default();
    let tls = reader.boolean("tls").then(|| MemberTls {
        server_name: text("tls_server_name"),
        authorities: text("tls_authorities"),
        certificate: text("tls_certificate"),
        key: text("tls_key"),
        is_unverified: reader.boolean("tls_unverified"),
    });
    let mut refuse = |key: &str, message: String, allowed: &str| {
        builder.refuse(error_code::CONFIG_CONTRADICTION, &reader.path(key), At::Key, message, allowed);
    };
    // What is only its default says nothing.
    let says = |key: &&str| reader.has(key) && (*key != "tls_unverified" || reader.boolean(key));
    for key in TLS_KEYS.into_iter().filter(says).filter(|_| tls.is_none()) {
        refuse(key, format!("`{key}` has no effect without `tls`"), "`tls = true` beside it");
    }
    if let Some(tls) = &tls {
        if tls.certificate.is_empty() != tls.key.is_empty() {
            let key = if tls.key.is_empty() { "tls_certificate" } else { "tls_key" };
            refuse(key, format!("`{key}` stands alone"), "`tls_certificate` and `tls_key` together");
        }
        if tls.is_unverified && !tls.authorities.is_empty() {
            let message = "`tls_authorities` has no effect where any certificate is believed".to_owned();
            refuse("tls_authorities", message, "either it or `tls_unverified`");
        }
        if tls.server_name.starts_with("*.") {
            let message = "a member has one name, which its certificate carries".to_owned();
            refuse("tls_server_name", message, "a name without `*`");
        }
    }
    tls
}

/// Where the keys of one member may stand.
struct Tables<'a> {
    cluster: &'a str,
    name: &'a str,
    own: (KeyPath, &'a Table),
    defaults: (KeyPath, Option<&'a Table>),
    /// The cluster's probe.
    probe: (KeyPath, Option<&'a Table>),
}

impl<'a> Tables<'a> {
    fn reader(&self) -> Reader<'a> {
        let own = (self.own.0.clone(), Some(self.own.1));
        Reader::new("clusters.*.members.*", vec![own, self.defaults.clone()])
    }

    /// A reader of a table within the member, e.g. its log.
    fn inner(&self, key: &str) -> Reader<'a> {
        let own = (self.own.0.with(key), self.own.1.table(key));
        let shared = (self.defaults.0.with(key), self.defaults.1.and_then(|table| table.table(key)));
        Reader::new(&format!("clusters.*.members.*.{key}"), vec![own, shared])
    }

    fn member(&self, builder: &mut Builder<'_>) -> MemberSettings {
        let reader = self.reader();
        let clone_id = reader.text_if_any("clone_id").unwrap_or_else(|| self.name.to_owned());
        let mut run = self.run(builder, &reader, &clone_id);
        let transport = self.transport(builder, &reader);
        let node = builder.node(&reader);
        if let Run::Managed(launch) = &mut run {
            launch.address = builder.address_of(&node);
        }
        MemberSettings {
            name: MemberName::from(self.name),
            weight: reader.small_integer("weight"),
            node,
            zone: reader.text_if_any("zone").unwrap_or_default(),
            is_backup: reader.boolean("backup"),
            requests_max: reader.small_integer("requests_max"),
            probe: self.probe(builder, &run, &transport),
            transport,
            clone_id,
            run,
        }
    }

    fn transport(&self, builder: &mut Builder<'_>, reader: &Reader<'_>) -> Transport {
        let tls = tls(builder, reader);
        let mut refuse = |key: &str, message: String, allowed: &str| {
            builder.refuse(error_code::CONFIG_CONTRADICTION, &reader.path(key), At::Key, message, allowed);
        };
        let (http2, sends_proxy_header) = (reader.boolean("http2"), reader.boolean("proxy_protocol"));
        if http2 && sends_proxy_header {
            let message =
                "`proxy_protocol` names one client, and a connection with `http2` is shared by many"
                    .to_owned();
            refuse("proxy_protocol", message, "one of both");
        }
        Transport { http2, tls, sends_proxy_header, ..Transport::default() }
    }

    fn run(&self, builder: &mut Builder<'_>, reader: &Reader<'_>, clone_id: &str) -> Run {
        if let Some(text) = reader.text_if_any("address") {
            self.refuse_launch_keys(builder, reader);
            return Run::External { address: address(&text) };
        }
        let launch = self.launch(builder, reader, clone_id);
        if launch.command.is_empty() {
            let message = format!("member `{}` has neither `command` nor `address`", self.name);
            let allowed =
                "`command = [\"./server\", \"{port}\"]` to have it started, or `address = \"10.0.0.5:8080\"`";
            builder.refuse(error_code::CONFIG_MISSING, &self.own.0, At::Key, message, allowed);
        } else if launch.port == 0 && !names_port(&launch) {
            let message = format!("member `{}` cannot know on which port to listen", self.name);
            let allowed = "`port` with the port that it uses, or `{port}` in `command` or `environment`";
            builder.refuse(error_code::CONFIG_MISSING, &reader.path("command"), At::Value, message, allowed);
        }
        Run::Managed(launch)
    }

    fn refuse_launch_keys(&self, builder: &mut Builder<'_>, reader: &Reader<'_>) {
        if reader.says("command") {
            let message = format!("member `{}` has both `command` and `address`", self.name);
            let allowed =
                "`command` for a member that the agent starts, or `address` for one that runs elsewhere";
            builder.refuse(
                error_code::CONFIG_CONTRADICTION,
                &reader.path("command"),
                At::Key,
                message,
                allowed,
            );
        }
        for key in LAUNCH_KEYS {
            if reader.says(key) {
                let message = format!("`{key}` has no effect on a member that runs elsewhere");
                let allowed = "only for members with `command`";
                let path = self.own.0.with(key);
                builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Key, message, allowed);
            }
        }
    }

    fn launch(&self, builder: &mut Builder<'_>, reader: &Reader<'_>, clone_id: &str) -> Launch {
        let (log, restart) = (self.inner("log"), self.inner("restart"));
        let fill = |text: String| {
            text.replace("{member}", self.name)
                .replace("{cluster}", self.cluster)
                .replace("{clone_id}", clone_id)
        };
        let command = reader.list("command");
        if command.first().is_some_and(String::is_empty) {
            let message = "the program's name is empty".to_owned();
            let path = reader.path("command");
            builder.refuse(
                error_code::CONFIG_NOT_ALLOWED,
                &path,
                At::Value,
                message,
                "a program and its arguments",
            );
        }
        let restart_settings = RestartSettings {
            delay_ms: restart.integer("delay_ms"),
            delay_max_ms: restart.integer("delay_max_ms"),
            attempts_max: restart.small_integer("attempts_max"),
            reset_after_ms: restart.integer("reset_after_ms"),
            start_timeout_ms: restart.integer("start_timeout_ms"),
            hung_after_ms: restart.integer("hung_after_ms"),
        };
        let bounds =
            [("delay_ms", restart_settings.delay_ms), ("delay_max_ms", restart_settings.delay_max_ms)];
        refuse_reversed(builder, &restart, bounds);
        Launch {
            command,
            environment: reader.variables("environment"),
            directory: reader.text_if_any("directory").map(fill),
            user: reader.text_if_any("user"),
            port: u16::try_from(reader.integer("port")).expect("the range of ports fits 16 bits"),
            address: None,
            stop_signal: reader.text("stop_signal"),
            stop_grace_ms: reader.integer("stop_grace_ms"),
            log: LogSettings {
                path: log.text_if_any("path").map(fill),
                size_max_bytes: log.integer("size_max_bytes"),
                files_max: log.small_integer("files_max"),
            },
            restart: restart_settings,
        }
    }

    fn probe(&self, builder: &mut Builder<'_>, run: &Run, transport: &Transport) -> ProbeSettings {
        let own = (self.own.0.with("probe"), self.own.1.table("probe"));
        let places = vec![own, self.probe.clone()];
        check_ranges(builder, &places[..1], &places[1..]);
        let reader = Reader::new("clusters.*.members.*.probe", places.clone());
        let kind = kind_of(&places);
        if kind == "process" && matches!(run, Run::External { .. }) {
            let message = format!("member `{}` runs elsewhere, so nobody sees its process", self.name);
            let allowed = format!("\"tcp\" or \"http\" for it, in [{}.probe]", self.own.0);
            let path = reader.path("kind");
            builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Value, message, &allowed);
        }
        let status = |key| u16::try_from(reader.integer(key)).expect("the range of a status fits 16 bits");
        let kind = match kind {
            "process" => ProbeKind::Process,
            "http" => ProbeKind::Http {
                path: reader.text_if_any("path").unwrap_or_else(|| "/".to_owned()),
                host: reader.text_if_any("host"),
                status_min: status("status_min"),
                status_max: status("status_max"),
                transport: Box::new(transport.clone()),
            },
            _ => ProbeKind::Tcp,
        };
        ProbeSettings {
            kind,
            interval_ms: reader.integer("interval_ms"),
            timeout_ms: reader.integer("timeout_ms"),
            rise: reader.small_integer("rise"),
            fall: reader.small_integer("fall"),
        }
    }
}

type Place<'a> = (KeyPath, Option<&'a Table>);

/// The kind of probe: the nearest table that says it, be it by `kind` or by `path`.
fn kind_of(places: &[Place<'_>]) -> &'static str {
    for table in places.iter().filter_map(|(_, table)| *table) {
        match table.get("kind") {
            Some(super::document::Data::Text(kind)) => {
                return ["process", "http"].into_iter().find(|known| known == kind).unwrap_or("tcp");
            }
            _ if table.get("path").is_some() => return "http",
            _ => {}
        }
    }
    "tcp"
}

/// Refuses what cannot have an effect in `own`, whose missing keys come from `shared`.
fn check_ranges<'a>(builder: &mut Builder<'_>, own: &[Place<'a>], shared: &[Place<'a>]) {
    let all: Vec<Place<'a>> = own.iter().chain(shared).cloned().collect();
    let reader = Reader::new("clusters.*.members.*.probe", all.clone());
    let kind = kind_of(&all);
    if kind != "http" {
        for key in ["path", "host", "status_min", "status_max"] {
            if reader.says(key) {
                let message = format!("`{key}` has no effect on a probe of kind {kind:?}");
                let path = reader.path(key);
                builder.refuse(
                    error_code::CONFIG_CONTRADICTION,
                    &path,
                    At::Key,
                    message,
                    "only with kind \"http\"",
                );
            }
        }
    }
    if reader.says("status_min") || reader.says("status_max") {
        let bounds =
            [("status_min", reader.integer("status_min")), ("status_max", reader.integer("status_max"))];
        refuse_reversed(builder, &reader, bounds);
    }
}

/// Refuses a lowest value above the highest.
fn refuse_reversed(builder: &mut Builder<'_>, reader: &Reader<'_>, bounds: [(&str, u64); 2]) {
    let [(least_key, least), (most_key, most)] = bounds;
    if least <= most {
        return;
    }
    // Point at the one that the user wrote; at least one is, as the defaults are in order.
    let key = if reader.has(most_key) { most_key } else { least_key };
    let message = format!("`{least_key}` ({least}) is above `{most_key}` ({most})");
    let allowed = format!("`{least_key}` not above `{most_key}`");
    builder.refuse(error_code::CONFIG_CONTRADICTION, &reader.path(key), At::Value, message, &allowed);
}

/// Whether the process is told its port.
fn names_port(launch: &Launch) -> bool {
    launch.command.iter().chain(launch.environment.values()).any(|text| text.contains("{port}"))
}
