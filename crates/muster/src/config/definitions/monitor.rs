//! Keys of monitors.

use super::transport::TRANSPORT;
use super::{DAY_MS, integer, key};
use crate::config::definition::{Definition, Preset, Repeats, Section};
use crate::config::kind::{Form, Kind};

/// Monitors of a cell. 1,000: what one node makes in a second at well below a tenth of a core.
const MONITORS_MAX: usize = 1000;

/// What can be monitored.
pub const KINDS: &[&str] = &[
    "address", "custom", "disk", "dns", "http", "link", "nagios", "ocf", "pid", "postgres", "redis", "smtp",
    "tcp",
];

pub const SECTION: Section = Section {
    path: "monitors.*",
    repeats: Repeats::Named { most: MONITORS_MAX },
    doc: "A monitor uses a service and says how it is: `normal`, `warning`, `error`, or `unknown` while it is silent and \
          that is not confirmed. The agents of its nodes make the probes. See [monitors](../operate/monitors.md).",
    keys: &[MONITOR, WHAT, TLS, RECOVERY],
};

const MONITOR: &[Definition] = &[
    key("kind", Kind::Choice(KINDS), Preset::Required, "\"http\"", "How it is asked."),
    key(
        "nodes",
        Kind::List { of: Form::Name, least: 1, most: super::NODES_MAX },
        Preset::Else("all nodes; those of the group that is recovered"),
        "[\"local\"]",
        "The nodes whose agents ask, each for itself.",
    ),
    key(
        "interval_ms",
        Kind::Integer { least: 50, most: DAY_MS },
        Preset::Else("1000; 10000 for `nagios`, `custom` and `ocf`"),
        "5000",
        "From the start of one probe to the start of the next.",
    ),
    key(
        "timeout_ms",
        Kind::Integer { least: 10, most: DAY_MS },
        Preset::Else("1000; 10000 for `nagios`, `custom` and `ocf`"),
        "2000",
        "How long an answer may take.",
    ),
    integer(
        "retries",
        0,
        10_000,
        1,
        "3",
        "Failed probes in a row that are only tried again, an interval later each; one more is an error.",
    ),
    integer(
        "confirmations",
        0,
        100,
        1,
        "2",
        "Silence may be ours. After the retries the monitor is `unknown`, and so many more probes at once, each with twice \
         the time-out, have to be silent too before that is an error. 0: silence is an error like any other.",
    ),
    integer(
        "slow_percent",
        0,
        100,
        80,
        "50",
        "An answer that takes more of its time-out than this is a warning, until three in a row are faster. 0: never.",
    ),
];

/// Each belongs to some kinds only; see `monitors`.
const WHAT: &[Definition] = &[
    key(
        "target",
        Kind::Text(Form::Server),
        Preset::Else("none; must be given for kinds that connect"),
        "\"localhost:8080\"",
        "Host and port. A name is looked up for each probe, and all of its addresses are tried.",
    ),
    key(
        "path",
        Kind::Text(Form::RequestTarget),
        Preset::Text("/"),
        "\"/health\"",
        "`http`: what is asked for.",
    ),
    key(
        "method",
        Kind::Choice(&["GET", "HEAD"]),
        Preset::Text("GET"),
        "\"HEAD\"",
        "`http`: how it is asked for.",
    ),
    key(
        "http_version",
        Kind::Choice(&["1.0", "1.1"]),
        Preset::Text("1.1"),
        "\"1.0\"",
        "`http`: the version.",
    ),
    key(
        "host",
        Kind::Text(Form::HostHeader),
        Preset::Else("that of `target`"),
        "\"shop.example.com\"",
        "`http`: the Host header.",
    ),
    integer("status_min", 100, 999, 200, "201", "`http`: least status that is good."),
    integer("status_max", 100, 999, 399, "299", "`http`: greatest status that is good."),
    key(
        "text",
        Kind::Text(Form::Word),
        Preset::Else("none"),
        "\"all is well\"",
        "`http`: must be in the body, of which 8 MiB are read; it may be compressed by nobody.",
    ),
    key(
        "user",
        Kind::Text(Form::Word),
        Preset::Else("none"),
        "\"watcher\"",
        "`http` (Basic), `redis`: who asks; with `password_file`.",
    ),
    key(
        "password_file",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("none"),
        "\"/etc/muster/watcher.password\"",
        "`http`, `redis`: the file with the password, on each of the nodes. It is read for each probe.",
    ),
    key(
        "name",
        Kind::Text(Form::Word),
        Preset::Else("none"),
        "\"www.example.com\"",
        "`dns`: the name that must have an address.",
    ),
    key("ipv6", Kind::Boolean, Preset::Boolean(false), "true", "`dns`: ask for an IPv6 address."),
    key(
        "pid_file",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("none"),
        "\"/run/server.pid\"",
        "`pid`: the file with the number of the process that must be there.",
    ),
    key(
        "command",
        Kind::List { of: Form::Word, least: 1, most: 1000 },
        Preset::Else("none"),
        "[\"/usr/lib/nagios/plugins/check_load\"]",
        "`nagios`, `custom`: program and arguments; no shell reads them. A plugin's status 0 is good, 1 a warning, 2 an \
         error, anything else tells nothing; figures after `|` become metrics. Of `custom` 0 is good and anything else an \
         error.",
    ),
    key(
        "agent",
        Kind::Text(Form::Word),
        Preset::Else("none"),
        "\"heartbeat:pgsql\"",
        "`ocf`: provider and name of the agent of the Open Cluster Framework whose action `monitor` is called; it is looked \
         for in `/usr/lib/ocf/resource.d`, or where `OCF_ROOT` in `environment` says. Status 0 is good, 190 a warning, \
         anything else an error.",
    ),
    key(
        "instance",
        Kind::Text(Form::Word),
        Preset::Else("the name of the monitor"),
        "\"server\"",
        "`ocf`: what the agent calls that which it looks at. Of a resource of a group of the type `ocf` it is the name of \
         the resource.",
    ),
    key(
        "parameters",
        Kind::Environment,
        Preset::Else("none"),
        "{ pgdata = \"/srv/db\" }",
        "`ocf`: parameters of the agent.",
    ),
    key(
        "environment",
        Kind::Environment,
        Preset::Else("none"),
        "{ OCF_ROOT = \"/opt/ocf\" }",
        "`ocf`: variables of the agent, which gets nothing of the environment of `muster`.",
    ),
    integer(
        "check_level",
        0,
        100,
        0,
        "10",
        "`ocf`: how thorough the agent looks, as far as it knows that depth.",
    ),
    key(
        "directory",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("none"),
        "\"/var/lib/mail\"",
        "`disk`: any path on the file system, which must answer and have room.",
    ),
    integer("free_min_percent", 0, 99, 5, "10", "`disk`: least part that must be free."),
    key(
        "interface",
        Kind::Text(Form::Name),
        Preset::Else("none"),
        "\"eth0\"",
        "`link`: the network interface that must be up.",
    ),
    key(
        "address",
        Kind::Text(Form::IpAddress),
        Preset::Else("none"),
        "\"10.0.0.12\"",
        "`address`: the address that the node must have.",
    ),
    key(
        "starttls",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "`smtp` with `tls`: begin TLS with STARTTLS instead of from the first byte.",
    ),
];

/// Those of members without the PROXY protocol.
const TLS: &[Definition] = TRANSPORT.split_at(6).0;

/// What follows from an error; see `recovery`.
const RECOVERY: &[Definition] = &[
    key(
        "group",
        Kind::Text(Form::Name),
        Preset::Else("none: nothing follows from its errors"),
        "\"mail\"",
        "The failover group of which its errors are errors: the group is restarted where it is, then goes to another node, \
         then the final action is taken. See [recovery](../operate/recovery.md).",
    ),
    key(
        "resource",
        Kind::Text(Form::Name),
        Preset::Else("the whole group"),
        "\"server\"",
        "The resource of `group` that is restarted, with those that come after it.",
    ),
    key(
        "all_groups",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Instead of `group`: its errors are errors of all groups of the node.",
    ),
    key(
        "when",
        Kind::Choice(&["active", "always"]),
        Preset::Else("`active` with `group`, `always` with `all_groups`"),
        "\"always\"",
        "`active`: it asks only on the node where its target is online. `always`: on all of its nodes, and a group does not \
         go by itself to a node where it is in error if there is another.",
    ),
    integer(
        "delay_ms",
        0,
        DAY_MS,
        0,
        "10000",
        "From when its target is online, also after a restart, to the first probe: the time that it needs until it answers.",
    ),
    integer(
        "start_period_ms",
        0,
        DAY_MS,
        5000,
        "60000",
        "With `when = \"active\"`: from when its target is online, also after a restart, failed probes are not counted for so \
         long, until one is good. 0: each counts. It is asked four times as often then.",
    ),
    integer(
        "restarts_max",
        0,
        1000,
        3,
        "0",
        "Restarts of its target where it is, within an hour, before the group leaves the node.",
    ),
    integer(
        "failovers_max",
        0,
        1000,
        1,
        "0",
        "Times within an hour that the group leaves a node because of it, before the final action. The `failovers_max` of \
         the group limits those for all reasons together.",
    ),
    key(
        "final_action",
        Kind::Choice(&["none", "stop-group", "stop-service", "shutdown", "reboot"]),
        Preset::Text("none"),
        "\"stop-group\"",
        "What is done when restarts and failovers are used up. `stop-service` ends everything of Muster on the node, so that \
         all of its groups go elsewhere; `shutdown` and `reboot` do so too and then run `final_command`. These three are \
         taken only while another node can run the group.",
    ),
    key(
        "final_command",
        Kind::List { of: Form::Word, least: 1, most: 1000 },
        Preset::Else("`systemctl poweroff` or `systemctl reboot`"),
        "[\"/sbin/reboot\", \"-f\"]",
        "Of `shutdown` and `reboot`: program and arguments that do it, with the rights of `muster`.",
    ),
    key(
        "before_restart",
        Kind::List { of: Form::Word, least: 1, most: 1000 },
        Preset::Else("none"),
        "[\"/etc/shop/save-logs.sh\"]",
        "Program and arguments that are run on the node before each restart. It may take 30 seconds; how it ends does not \
         matter. It finds `MUSTER_WHY` beside the variables of resources.",
    ),
    key(
        "before_failover",
        Kind::List { of: Form::Word, least: 1, most: 1000 },
        Preset::Else("none"),
        "[\"/etc/shop/save-logs.sh\"]",
        "As `before_restart`, before the group leaves the node.",
    ),
    key(
        "before_final",
        Kind::List { of: Form::Word, least: 1, most: 1000 },
        Preset::Else("none"),
        "[\"/etc/shop/tell.sh\"]",
        "As `before_restart`, before the final action.",
    ),
];
