//! Reads `[store]`: which engine keeps the cell's state, and how it is reached.

use super::address;
use super::document::At;
use super::problem::KeyPath;
use super::reader::Reader;
use super::settings::Builder;
use wire::error_code;
use wire::settings::{ManagerSettings, RemoteStore, StoreServer, StoreSettings, StoreTls};

const POSTGRES_KEYS: [&str; 2] = ["database", "schema"];
const ETCD_KEYS: [&str; 1] = ["prefix"];
const REMOTE_KEYS: [&str; 6] =
    ["servers", "user", "password_file", "tls_authorities", "tls_certificate", "tls_key"];
const TLS_KEYS: [&str; 3] = ["tls_authorities", "tls_certificate", "tls_key"];
/// User, database and schema of PostgreSQL where nothing is said.
const POSTGRES_NAME: &str = "muster";
const ETCD_PREFIX: &str = "muster/";
/// Longest name of a schema: the driver's own tables add to it.
const SCHEMA_LENGTH_MAX: usize = 48;

pub fn read(builder: &mut Builder<'_>, manager: &ManagerSettings) -> StoreSettings {
    let path = KeyPath::of(&["store"]);
    let reader = builder.reader("store", path.clone(), builder.document.root.table("store"));
    let kind = reader.text("kind");
    let unused: Vec<&str> = match kind.as_str() {
        "postgres" => ETCD_KEYS.to_vec(),
        "etcd" => POSTGRES_KEYS.to_vec(),
        _ => [&POSTGRES_KEYS[..], &ETCD_KEYS, &REMOTE_KEYS].concat(),
    };
    for key in unused.into_iter().filter(|key| reader.says(key)) {
        let message = format!("`{key}` has no effect with `kind = {kind:?}`");
        let allowed = "the keys of this kind of store";
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path.with(key), At::Key, message, allowed);
    }
    if kind == "sqlite" {
        if reader.boolean("tls") {
            let message = "`tls` has no effect with `kind = \"sqlite\"`".to_owned();
            let allowed = "the keys of this kind of store";
            builder.refuse(error_code::CONFIG_CONTRADICTION, &path.with("tls"), At::Key, message, allowed);
        }
        if manager.nodes.len() > 1 {
            let message = "several managers cannot share a file".to_owned();
            let allowed = "`kind = \"postgres\"` or `kind = \"etcd\"`";
            builder.refuse(error_code::CONFIG_MISSING, &path.with("kind"), At::Key, message, allowed);
        }
        let profile = KeyPath::of(&["manager", "profile"]);
        let has_groups = builder.document.has(&KeyPath::of(&["groups"]));
        if builder.document.has(&profile) && manager.nodes.len() < 2 && !has_groups {
            let message = "`profile` has no effect: nobody else can use a file of this machine".to_owned();
            let allowed = "several `nodes` in [manager], another `kind` of store, or failover groups";
            builder.refuse(error_code::CONFIG_CONTRADICTION, &profile, At::Key, message, allowed);
        }
        return StoreSettings::Sqlite;
    }
    let remote = remote(builder, &reader, &kind);
    if kind == "etcd" {
        return StoreSettings::Etcd { remote, prefix: prefix(builder, &reader) };
    }
    let schema = reader.text_if_any("schema").unwrap_or_else(|| POSTGRES_NAME.to_owned());
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts_well = schema.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
    if !starts_well || schema.len() > SCHEMA_LENGTH_MAX || !schema.bytes().all(is_letter) {
        let message = "this is not a name for a schema".to_owned();
        let allowed = "1 to 48 lower case letters, digits and `_`, a letter first";
        builder.refuse(error_code::CONFIG_NOT_ALLOWED, &path.with("schema"), At::Value, message, allowed);
    }
    let database = reader.text_if_any("database").unwrap_or_else(|| POSTGRES_NAME.to_owned());
    StoreSettings::Postgres { remote, database, schema }
}

fn prefix(builder: &mut Builder<'_>, reader: &Reader<'_>) -> String {
    let prefix = reader.text_if_any("prefix").unwrap_or_else(|| ETCD_PREFIX.to_owned());
    if prefix.trim_end_matches('/').is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "this cannot be the beginning of keys".to_owned();
        let allowed = "printable ASCII without blanks, and more than `/`";
        let path = reader.path("prefix");
        builder.refuse(error_code::CONFIG_NOT_ALLOWED, &path, At::Value, message, allowed);
    }
    prefix
}

fn remote(builder: &mut Builder<'_>, reader: &Reader<'_>, kind: &str) -> RemoteStore {
    let mut refuse = |code, key: &str, message: String, allowed: &str| {
        builder.refuse(code, &reader.path(key), At::Key, message, allowed);
    };
    let servers = reader.list("servers");
    if servers.is_empty() {
        let message = format!("`servers` is missing, and `kind = {kind:?}` is reached by it");
        let allowed = "hosts and ports like [\"db.example:5432\"]";
        refuse(error_code::CONFIG_MISSING, "servers", message, allowed);
    }
    let servers = servers.iter().filter_map(|text| address::server(text));
    let servers = servers.map(|(host, port)| StoreServer { host, port }).collect();
    let (user, password_file) = (reader.text_if_any("user"), reader.text_if_any("password_file"));
    if kind == "etcd" && user.is_some() != password_file.is_some() {
        let key = if user.is_some() { "user" } else { "password_file" };
        let message = format!("`{key}` stands alone");
        let allowed = "`user` and `password_file` together";
        refuse(error_code::CONFIG_CONTRADICTION, key, message, allowed);
    }
    let text = |key: &str| reader.text_if_any(key).unwrap_or_default();
    let tls = reader.boolean("tls").then(|| StoreTls {
        authorities: text("tls_authorities"),
        certificate: text("tls_certificate"),
        key: text("tls_key"),
    });
    for key in TLS_KEYS.into_iter().filter(|key| tls.is_none() && reader.says(key)) {
        let message = format!("`{key}` has no effect without `tls`");
        refuse(error_code::CONFIG_CONTRADICTION, key, message, "`tls = true` beside it");
    }
    if let Some(tls) = tls.as_ref().filter(|tls| tls.certificate.is_empty() != tls.key.is_empty()) {
        let key = if tls.key.is_empty() { "tls_certificate" } else { "tls_key" };
        let message = format!("`{key}` stands alone");
        let allowed = "`tls_certificate` and `tls_key` together";
        refuse(error_code::CONFIG_CONTRADICTION, key, message, allowed);
    }
    let user = user.or_else(|| (kind == "postgres").then(|| POSTGRES_NAME.to_owned()));
    RemoteStore { servers, user, password_file, tls }
}
