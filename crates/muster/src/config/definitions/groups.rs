//! Keys of failover groups and of their resources.

use super::{DAY_MS, integer, key};
use crate::config::definition::{Definition, Preset, Repeats, Section};
use crate::config::kind::{Form, Kind};
use crate::resource::TYPES;

/// Groups of a cell. 200: what one node can run, after the loss of all others.
const GROUPS_MAX: usize = 200;
/// Nodes of a group's policy. Sixteen: nobody loses so many before a person looks.
const POLICY_MAX: usize = 16;
/// Resources of a group. 100: they are started one after the other.
const RESOURCES_MAX: usize = 100;

pub const GROUPS_SECTION: Section = Section {
    path: "groups.*",
    repeats: Repeats::Named { most: GROUPS_MAX },
    doc: "A failover group: resources that run together on one node at a time, and on another one when that is lost. \
          See [failover groups](../operate/failover-groups.md).",
    keys: &[GROUP],
};

pub const RESOURCES_SECTION: Section = Section {
    path: "groups.*.resources.*",
    repeats: Repeats::Named { most: RESOURCES_MAX },
    doc: "Something that is started and stopped with its group; at least one is needed. They are started in the order of \
          the file, and stopped in reverse. Scripts and processes find `CLP_EVENT` (`START` or `FAILOVER`), `CLP_SERVER` \
          (`HOME` on the first node of the policy, else `OTHER`), `CLP_DISK`, `CLP_PRIORITY`, `CLP_GROUPNAME`, \
          `CLP_RESOURCENAME`, `CLP_SERVER_PREV`, `MUSTER_GROUP`, `MUSTER_RESOURCE`, `MUSTER_NODE` and `MUSTER_EPOCH` in \
          their environment; the last is a number that rises each time the group is started.",
    keys: &RESOURCE_KEYS,
};

/// What all types have, what several share, and then the own keys of each type.
const RESOURCE_KEYS: [&[Definition]; TYPES.len() + 2] = {
    let mut keys = [RESOURCE; TYPES.len() + 2];
    keys[1] = SHARED;
    let mut index = 0;
    while index < TYPES.len() {
        keys[index + 2] = TYPES[index].keys;
        index += 1;
    }
    keys
};

const TYPE_NAMES: [&str; TYPES.len()] = {
    let mut names = [""; TYPES.len()];
    let mut index = 0;
    while index < TYPES.len() {
        names[index] = TYPES[index].name;
        index += 1;
    }
    names
};

const ATTRIBUTE: Kind = Kind::Choice(&["automatic", "manual"]);

const GROUP: &[Definition] = &[
    key(
        "nodes",
        Kind::List { of: Form::Name, least: 1, most: POLICY_MAX },
        Preset::Required,
        "[\"db-1\", \"db-2\"]",
        "The nodes that may run it, the preferred one first.",
    ),
    key(
        "startup",
        ATTRIBUTE,
        Preset::Text("automatic"),
        "\"manual\"",
        "Whether it is started with the cell, or by `muster group start` only.",
    ),
    key(
        "failover",
        ATTRIBUTE,
        Preset::Text("automatic"),
        "\"manual\"",
        "Whether it goes to another node by itself when its node is lost or something of it fails. Then a node runs it \
         only as long as managers answer its heartbeats, and ends it at once when they do not. With `manual` it runs on, \
         and goes elsewhere only by a person's word.",
    ),
    key(
        "failback",
        ATTRIBUTE,
        Preset::Text("manual"),
        "\"automatic\"",
        "Whether it goes back to a node that stands before its present one, once that has been there for ten seconds.",
    ),
    key(
        "class",
        Kind::Choice(&["soft", "hard"]),
        Preset::Text("soft"),
        "\"hard\"",
        "What must be proven before another node takes it over from one that is lost. `soft`: that the node's lease is over, \
         which ends processes and addresses. `hard`: also that the node is off, as a fence or a person says; for everything \
         that writes to what the nodes share.",
    ),
    integer(
        "restarts_max",
        0,
        1000,
        1,
        "3",
        "Failures of its resources on a node, within an hour, after which it is started there again. Then it goes to \
         another node.",
    ),
    integer(
        "failovers_max",
        0,
        1000,
        5,
        "2",
        "Times within an hour that it goes to another node because its resources fail. Then it stays down, and a person \
         is told. A lost node does not count.",
    ),
    key(
        "after",
        Kind::List { of: Form::Name, least: 0, most: GROUPS_MAX },
        Preset::EmptyList,
        "[\"storage\"]",
        "Groups that must run, on any node, before it is started.",
    ),
    key(
        "apart",
        Kind::List { of: Form::Name, least: 0, most: GROUPS_MAX },
        Preset::EmptyList,
        "[\"batch\"]",
        "Groups that never run on the same node as this one.",
    ),
];

const RESOURCE: &[Definition] = &[
    key(
        "type",
        Kind::Choice(&TYPE_NAMES),
        Preset::Required,
        "\"exec\"",
        "What it is. `exec`: a script that starts something and one that stops it. `process`: a command that runs as long \
         as the group does; when it ends by itself, it has failed. `systemd`: a unit of systemd. `address`: an IPv4 or IPv6 address that clients reach \
         the group at. `filesystem`: one that is mounted. `ocf`: a resource agent of the Open Cluster Framework.",
    ),
    integer(
        "start_timeout_ms",
        1,
        DAY_MS,
        60_000,
        "1800000",
        "A start that has not come to its end after this has failed. Of `ocf`: as long as its agent says, if nothing is written \
         here.",
    ),
    integer("stop_timeout_ms", 1, DAY_MS, 60_000, "1800000", "What has not stopped after this is killed."),
];

/// Of several types; each says which it heeds.
pub const SHARED: &[Definition] = &[
    key(
        "environment",
        Kind::Environment,
        Preset::Else("none"),
        "{ MODE = \"production\" }",
        "Of `exec` and `process`: variables added to the environment of `muster`. Of `ocf`: variables of its agent, which \
         gets nothing of that of `muster`.",
    ),
    key(
        "directory",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("that of `muster`"),
        "\"/srv/shop\"",
        "Of `exec` and `process`: working directory.",
    ),
    key(
        "user",
        Kind::Text(Form::UserName),
        Preset::Else("that of `muster`"),
        "\"www-data\"",
        "Of `exec` and `process`: the user as whom it runs; needs `muster` to run as root.",
    ),
];
