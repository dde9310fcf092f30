//! Keys of fences.

use super::{DAY_MS, integer, key};
use crate::config::definition::{Definition, Preset, Repeats, Section};
use crate::config::kind::{Form, Kind};

/// Fences of a cell. 1,000: one for each node, as with controllers on the machines' boards.
const FENCES_MAX: usize = 1000;

pub const SECTION: Section = Section {
    path: "fences.*",
    repeats: Repeats::Named { most: FENCES_MAX },
    doc: "A fence switches a node off that does not answer, so that groups of the class `hard` may go elsewhere. Several for \
          one node are tried in the order of the file. See [failover groups](../operate/failover-groups.md).",
    keys: &[FENCE],
};

const FENCE: &[Definition] = &[
    key(
        "agent",
        Kind::Text(Form::AbsolutePath),
        Preset::Required,
        "\"/usr/sbin/fence_ipmilan\"",
        "The fence agent: any of Debian's package `fence-agents`, or another program that reads lines like `action=off` on \
         standard input, and whose `status` ends with 0 for a node that is on and with 2 for one that is off. The leading \
         manager runs it.",
    ),
    key(
        "nodes",
        Kind::List { of: Form::Name, least: 1, most: super::NODES_MAX },
        Preset::Required,
        "[\"local\"]",
        "The nodes that it can switch off.",
    ),
    key(
        "parameters",
        Kind::Environment,
        Preset::Else("none"),
        "{ ip = \"10.0.9.1\", plug = \"{node}\" }",
        "What the agent is told, as its manual page names it for standard input; `{node}` stands for the node's name.",
    ),
    key(
        "secret_files",
        Kind::Environment,
        Preset::Else("none"),
        "{ password = \"/etc/muster/fence-password\" }",
        "What else it is told, from the first line of a file each. They are read on the machine of the leading manager, right \
         before each call.",
    ),
    key(
        "action",
        Kind::Choice(&["off", "reboot"]),
        Preset::Text("off"),
        "\"reboot\"",
        "`off`: the node stays off until somebody switches it on. `reboot`: it is switched on again once it is proven to be \
         off, unless a person wanted it off (`muster fence off`).",
    ),
    integer(
        "timeout_ms",
        100,
        DAY_MS,
        20_000,
        "60000",
        "Longest time of one call; then the agent is killed.",
    ),
    integer(
        "retries",
        0,
        100,
        1,
        "3",
        "How often it is tried again, if the node is not off after the first time. Then it is the turn of the next fence.",
    ),
    integer(
        "check_interval_ms",
        1_000,
        DAY_MS,
        300_000,
        "60000",
        "How often its `status` is asked for each node, so that a fence that could not work is known before it has to.",
    ),
];
