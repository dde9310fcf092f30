//! Keys about other cells: those that this one hears of, and those that may hear of it.

use super::transport::TRANSPORT;
use super::{CLUSTERS_MAX, key};
use crate::config::definition::{Definition, Preset, Repeats, Section};
use crate::config::kind::{Form, Kind};

/// Managers of another cell. Five: as many as a cell has.
const MANAGERS_MAX: usize = 5;

pub const CELLS_SECTION: Section = Section {
    path: "cells.*",
    repeats: Repeats::Named { most: logic::limits::CELLS_MAX },
    doc: "Another cell, some of whose clusters the routes of this one may name: cluster `shop` of `[cells.east]` is \
          `shop@east`. It gives a token for that. Its routers stand as the members, so the keys about TLS are about \
          connections to them. See [several cells](../operate/super-cluster.md).",
    keys: &[OTHER, TLS],
};

pub const BRIDGES_SECTION: Section = Section {
    path: "bridges.*",
    repeats: Repeats::Named { most: logic::limits::CELLS_MAX },
    doc: "Another cell that may hear how some clusters of this one are, and where their gateways are. It hears of no \
          member. See [several cells](../operate/super-cluster.md).",
    keys: &[BRIDGE],
};

const OTHER: &[Definition] = &[
    key(
        "managers",
        Kind::List { of: Form::Server, least: 1, most: MANAGERS_MAX },
        Preset::Required,
        "[\"10.1.0.1:29001\"]",
        "Where its managers listen.",
    ),
    key(
        "token_file",
        Kind::Text(Form::AbsolutePath),
        Preset::Required,
        "\"/etc/muster/east.token\"",
        "File with the token that `muster bridge token` printed there, on each machine with a manager of this cell. \
         Nobody but its owner may read it. It is read for each connection.",
    ),
    key(
        "clusters",
        Kind::List { of: Form::Name, least: 1, most: CLUSTERS_MAX },
        Preset::Required,
        "[\"shop\"]",
        "The clusters, as they are called there.",
    ),
];

/// Those of members without the PROXY protocol, which would name our client where the forwarding headers do.
const TLS: &[Definition] = TRANSPORT.split_at(6).0;

const BRIDGE: &[Definition] = &[
    key(
        "token_sha256",
        Kind::Text(Form::Sha256),
        Preset::Required,
        "\"ec7ad5f8a2fd1fce2b8f6e7f3c9ad04ad21f58a8e2f4a3ce9a1c5f7d2b6e9013\"",
        "SHA-256 of its token. `muster bridge token` makes both; the token itself stands nowhere in this cell.",
    ),
    key(
        "clusters",
        Kind::List { of: Form::Name, least: 1, most: CLUSTERS_MAX },
        Preset::Required,
        "[\"shop\"]",
        "The clusters of which it may hear. A router with `gateway` must have a route to each.",
    ),
];

pub const GATEWAY: Definition = key(
    "gateway",
    Kind::Text(Form::PeerAddress),
    Preset::Else("none: routers of other cells do not use it"),
    "\"10.1.0.1:8080\"",
    "Where routers of other cells reach this one, for its clusters that [bridges] name. Their addresses belong into \
     `trusted_proxies`, so that members learn of the client and not of them.",
);
