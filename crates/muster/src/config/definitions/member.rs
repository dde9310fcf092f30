//! Keys of members, and of those that the agent starts: command, log and restarts.

use super::super::definition::{Definition, Preset};
use super::super::kind::{Form, Kind};
use super::{DAY_MS, HOUR_MS, MIB, integer, key};

/// Signals that ask a process to end; the others would stop it without ending it, or mean an error.
const STOP_SIGNALS: &[&str] = &["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL"];

/// Of every member, and of `defaults`.
pub const MEMBER: &[Definition] = &[
    key(
        "node",
        Kind::Text(Form::Name),
        Preset::Else("the only node of the file"),
        "\"local\"",
        "The node whose agent starts or probes it.",
    ),
    integer("weight", 0, 1000, 2, "5", "Its share of requests. 0: no new conversations come to it."),
    key(
        "zone",
        Kind::Text(Form::Name),
        Preset::Else("none"),
        "\"hall-1\"",
        "Where it runs, for routes with `spread = \"zone-first\"`.",
    ),
    integer(
        "requests_max",
        0,
        1_000_000,
        0,
        "32",
        "Requests under way at it at once from one router, over all its threads; 0 means no bound. See `queue_max`.",
    ),
    key(
        "http2",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Routers speak HTTP/2 with it, many requests on one connection; needed for gRPC. It must begin with HTTP/2 at \
         once (prior knowledge). Upgrades (WebSocket) still use HTTP/1.1.",
    ),
];

/// Of one member only: two cannot have the same.
pub const MEMBER_ALONE: &[Definition] = &[
    key(
        "backup",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "It is used only while no other member of the cluster can be; of several the first in the file.",
    ),
    key(
        "clone_id",
        Kind::Text(Form::Name),
        Preset::Else("the member's name"),
        "\"one\"",
        "What session ids carry to name this member.",
    ),
    key(
        "address",
        Kind::Text(Form::PeerAddress),
        Preset::Else("none: the agent starts it"),
        "\"10.0.0.5:8080\"",
        "Where a member listens that runs elsewhere. Host names are not looked up.",
    ),
];

/// Of members that the agent starts, and of `defaults`.
pub const LAUNCH: &[Definition] = &[
    key(
        "command",
        Kind::List { of: Form::Word, least: 1, most: 1000 },
        Preset::Else("none: it runs elsewhere"),
        "[\"./server\", \"--port\", \"{port}\"]",
        "Program and arguments; no shell reads them. `{port}`, `{address}`, `{member}`, `{cluster}` and `{clone_id}` are \
         replaced. A program with `/` in it is relative to `directory`, one without is looked for in `PATH`.",
    ),
    integer(
        "port",
        0,
        65_535,
        0,
        "9101",
        "The port on which it listens at 127.0.0.1. 0: the agent picks a free one and keeps it for this member.",
    ),
    key(
        "environment",
        Kind::Environment,
        Preset::Else("none"),
        "{ MODE = \"production\", PORT = \"{port}\" }",
        "Variables added to the environment of `muster`. The same words in braces are replaced.",
    ),
    key(
        "directory",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("that of `muster`"),
        "\"/srv/shop\"",
        "Working directory. `{member}`, `{cluster}` and `{clone_id}` are replaced.",
    ),
    key(
        "user",
        Kind::Text(Form::UserName),
        Preset::Else("that of `muster`"),
        "\"www-data\"",
        "The user as whom it runs; needs `muster` to run as root.",
    ),
    key(
        "stop_signal",
        Kind::Choice(STOP_SIGNALS),
        Preset::Text("TERM"),
        "\"QUIT\"",
        "The signal that asks it to end.",
    ),
    integer(
        "stop_grace_ms",
        0,
        HOUR_MS,
        10_000,
        "5000",
        "Time to end after the signal; then all its processes are killed.",
    ),
];

pub const LOG: &[Definition] = &[
    key(
        "path",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("`log/CLUSTER.MEMBER.log` in `state_dir`"),
        "\"/var/log/muster/{member}.log\"",
        "The file for its output. `{member}`, `{cluster}` and `{clone_id}` are replaced.",
    ),
    integer(
        "size_max_bytes",
        4096,
        1 << 40,
        10 * MIB,
        "1048576",
        "A file that grows beyond this is put aside.",
    ),
    integer("files_max", 0, 1000, 5, "3", "Older files kept beside the current one."),
];

pub const RESTART: &[Definition] = &[
    integer(
        "delay_ms",
        0,
        HOUR_MS,
        200,
        "500",
        "Wait before the first restart; it doubles with each failure in a row.",
    ),
    integer("delay_max_ms", 0, HOUR_MS, 30_000, "60000", "Longest wait before a restart."),
    integer("attempts_max", 1, 1000, 10, "5", "Failed starts in a row before the agent gives up."),
    integer(
        "reset_after_ms",
        1,
        DAY_MS,
        30_000,
        "60000",
        "A member that was healthy for this long has made up for all earlier failures.",
    ),
    integer(
        "start_timeout_ms",
        1,
        HOUR_MS,
        60_000,
        "120000",
        "A member that has not become healthy this long after its start counts as a failed start.",
    ),
    integer(
        "hung_after_ms",
        0,
        HOUR_MS,
        15_000,
        "30000",
        "A member that was healthy and then fails its probe for this long is stopped, as by `stop_signal` and \
         `stop_grace_ms`, and started again; it counts as a failed start. 0: never. A probe of the kind \"process\" \
         never fails.",
    ),
];
