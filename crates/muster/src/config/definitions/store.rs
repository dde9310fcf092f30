//! The keys of the store: where managers keep what must outlive them.

use super::super::definition::{Definition, Preset, Repeats, Section};
use super::super::kind::{Form, Kind};
use super::key;

/// Servers of one store. Nine: the most that etcd is run with.
const SERVERS_MAX: usize = 9;

pub const SECTION: Section = Section {
    path: "store",
    repeats: Repeats::Once,
    doc: "Where managers keep what must outlive them: configurations, wishes, events. Several managers share a store on \
          servers. Credentials are files, on each machine with a manager. See \
          [several managers](../operate/several-managers.md).",
    keys: &[STORE],
};

const STORE: &[Definition] = &[
    key(
        "kind",
        Kind::Choice(&["sqlite", "postgres", "etcd"]),
        Preset::Text("sqlite"),
        "\"postgres\"",
        "`sqlite`: a file in the state directory, for one manager. `postgres`: PostgreSQL 13 or later. `etcd`: etcd 3.4 \
         or later.",
    ),
    key(
        "servers",
        Kind::List { of: Form::Server, least: 1, most: SERVERS_MAX },
        Preset::Else("none: `postgres` and `etcd` need it"),
        "[\"db-1.example:5432\", \"db-2.example:5432\"]",
        "Hosts and ports. Of PostgreSQL the first that takes writes is used, of etcd one after the other.",
    ),
    key(
        "database",
        Kind::Text(Form::Word),
        Preset::Else("`muster`"),
        "\"cells\"",
        "For `postgres`: the database, which must exist.",
    ),
    key(
        "schema",
        Kind::Text(Form::Word),
        Preset::Else("`muster`"),
        "\"shop\"",
        "For `postgres`: the schema, one for each cell. It is created where it is missing.",
    ),
    key(
        "prefix",
        Kind::Text(Form::Word),
        Preset::Else("`muster/`"),
        "\"shop/\"",
        "For `etcd`: what every key begins with, one for each cell.",
    ),
    key(
        "user",
        Kind::Text(Form::Word),
        Preset::Else("`muster` with `postgres`; none with `etcd`"),
        "\"shop\"",
        "As whom managers log in.",
    ),
    key(
        "password_file",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("none: the servers trust us by other means"),
        "\"/etc/muster/store-password\"",
        "A file with the password of `user` in one line, which only its owner may read.",
    ),
    key(
        "tls",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Speak TLS with the servers. Their certificates must be of one of `tls_authorities` and carry their names in \
         `servers`. Without it whoever can reach the network in between can read and change everything.",
    ),
    key(
        "tls_authorities",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("those of the system"),
        "\"/etc/muster/store-ca.pem\"",
        "PEM file of the authorities that are believed.",
    ),
    key(
        "tls_certificate",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("none"),
        "\"/etc/muster/store.pem\"",
        "PEM file of the manager's own certificate, for servers that want one; with `tls_key`.",
    ),
    key(
        "tls_key",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("none"),
        "\"/etc/muster/store.key\"",
        "PEM file with the private key of `tls_certificate`.",
    ),
];
