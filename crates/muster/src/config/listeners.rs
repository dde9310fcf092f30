//! Reads the listeners of a router, and finds keys of them that contradict each other.
//!
//! Pure: whether files are there and right is a question for `environment`.

use super::document::{At, Data, Document, Table};
use super::problem::KeyPath;
use super::reader::Reader;
use super::settings::{Builder, address};
use wire::error_code;
use wire::id::ClusterName;
use wire::settings::{CertificateFiles, Listener, ListenerTls, Protocol};

/// Those of `listen`, then those of `listeners`.
pub fn read<'a>(
    builder: &mut Builder<'a>,
    router: &Reader<'a>,
    path: &KeyPath,
    table: &'a Table,
) -> Vec<Listener> {
    let plain = router.list("listen");
    let mut all: Vec<Listener> = plain.iter().map(|text| Listener::plain(address(text))).collect();
    for (place, item) in tables(table, "listeners") {
        all.push(listener(builder, &path.with("listeners").with(&place), item));
    }
    if all.is_empty() {
        let message = "the router listens nowhere".to_owned();
        let allowed = "`listen = [\"0.0.0.0:8080\"]`, or [[routers.NAME.listeners]]";
        builder.refuse(error_code::CONFIG_MISSING, &path.with("listen"), At::Key, message, allowed);
    }
    all
}

/// Where the listener at this place of a router's is written: those of `listen` come first.
pub fn path_of(document: &Document<'_>, router: &str, index: usize) -> KeyPath {
    let router = KeyPath::of(&["routers", router]);
    let plain = document.count(&router.with("listen"));
    match index.checked_sub(plain) {
        None => router.with("listen").with(&format!("[{index}]")),
        Some(place) => router.with("listeners").with(&format!("[{place}]")),
    }
}

/// Where its address is written.
pub fn address_path_of(document: &Document<'_>, router: &str, index: usize) -> KeyPath {
    let path = path_of(document, router, index);
    if path.0[2] == "listeners" { path.with("address") } else { path }
}

/// The tables of a list, each with its place.
fn tables<'t>(table: &'t Table, key: &str) -> Vec<(String, &'t Table)> {
    let Some(Data::List(items)) = table.get(key) else { return Vec::new() };
    let all = items.iter().enumerate().filter_map(|(index, item)| match &item.data {
        Data::Table(inner) => Some((format!("[{index}]"), inner)),
        _ => None,
    });
    all.collect()
}

fn listener<'a>(builder: &mut Builder<'a>, path: &KeyPath, table: &'a Table) -> Listener {
    let reader = Reader::new("routers.*.listeners", vec![(path.clone(), Some(table))]);
    let certificates: Vec<CertificateFiles> = tables(table, "certificates")
        .into_iter()
        .map(|(place, item)| {
            let at = path.with("certificates").with(&place);
            let reader = Reader::new("routers.*.listeners.certificates", vec![(at, Some(item))]);
            CertificateFiles { certificate: reader.text("certificate"), key: reader.text("key") }
        })
        .collect();
    let kind = reader.text("protocol");
    let protocol = match kind.as_str() {
        "tcp" => Protocol::Tcp { cluster: demand_cluster(builder, &reader) },
        "tls" => Protocol::Tls { clusters: server_names(builder, &reader, path, table) },
        _ => Protocol::Http { http2: true },
    };
    refuse_without_effect(builder, &reader, path, table, &kind, certificates.is_empty());
    let tls = ListenerTls {
        client_authorities: reader.text_if_any("client_authorities").unwrap_or_default(),
        client_required: reader.boolean("client_required"),
        client_header: reader.text_if_any("client_header").unwrap_or_default(),
        certificates,
    };
    Listener {
        address: address(&reader.text("address")),
        protocol,
        tls: (!tls.certificates.is_empty()).then_some(tls),
        takes_proxy_header: reader.boolean("proxy_protocol"),
    }
}

fn demand_cluster(builder: &mut Builder<'_>, reader: &Reader<'_>) -> ClusterName {
    match reader.text_if_any("cluster") {
        Some(name) => builder.known_cluster(&reader.path("cluster"), name),
        None => {
            let message = "a listener with the protocol `tcp` needs a cluster".to_owned();
            let allowed = "`cluster` with the name of a cluster of this file";
            builder.refuse(error_code::CONFIG_MISSING, &reader.path("cluster"), At::Key, message, allowed);
            ClusterName::from("")
        }
    }
}

fn server_names<'a>(
    builder: &mut Builder<'a>,
    reader: &Reader<'a>,
    path: &KeyPath,
    table: &'a Table,
) -> Vec<(String, ClusterName)> {
    let mut clusters: Vec<(String, ClusterName)> = Vec::new();
    for (place, item) in tables(table, "server_names") {
        let at = path.with("server_names").with(&place);
        let reader = Reader::new("routers.*.listeners.server_names", vec![(at, Some(item))]);
        let name = reader.text("name").to_ascii_lowercase();
        if clusters.iter().any(|(known, _)| *known == name) {
            let message = format!("the server name `{name}` stands here twice");
            let allowed = "each name of a listener once";
            builder.refuse(error_code::CONFIG_DUPLICATE, &reader.path("name"), At::Value, message, allowed);
        }
        clusters.push((name, builder.known_cluster(&reader.path("cluster"), reader.text("cluster"))));
    }
    if let Some(name) = reader.text_if_any("cluster") {
        clusters.push(("*".to_owned(), builder.known_cluster(&reader.path("cluster"), name)));
    }
    if clusters.is_empty() {
        let message = "a listener with the protocol `tls` needs to know where connections go".to_owned();
        let allowed = "`server_names`, `cluster` for all other names, or both";
        builder.refuse(error_code::CONFIG_MISSING, path, At::Key, message, allowed);
    }
    clusters
}

fn refuse_without_effect(
    builder: &mut Builder<'_>,
    reader: &Reader<'_>,
    path: &KeyPath,
    table: &Table,
    kind: &str,
    is_plain: bool,
) {
    // What is only its default says nothing.
    let says = |key: &str| reader.says(key) && (key != "client_required" || reader.boolean(key));
    let mut refuse = |key: &str, why: &str, allowed: &str| {
        let message = format!("`{key}` has no effect {why}");
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path.with(key), At::Key, message, allowed);
    };
    if kind == "http" && reader.says("cluster") {
        refuse("cluster", "on a listener with the protocol `http`", "routes say where requests go");
    }
    if kind != "tls" && table.get("server_names").is_some() {
        refuse("server_names", "without the protocol `tls`", "only with `protocol = \"tls\"`");
    }
    if kind == "tls" && !is_plain {
        refuse(
            "certificates",
            "where TLS is passed through unread",
            "`protocol = \"tcp\"` or `\"http\"` to end TLS here",
        );
    }
    if kind == "tcp" && reader.says("client_header") {
        refuse("client_header", "where no requests are read", "only with `protocol = \"http\"`");
    }
    for key in ["client_authorities", "client_required", "client_header"] {
        if is_plain && says(key) {
            refuse(key, "without certificates", "only beside `certificates`");
        }
    }
    for key in ["client_required", "client_header"] {
        if !is_plain && says(key) && !reader.says("client_authorities") {
            refuse(key, "without `client_authorities`", "beside `client_authorities`");
        }
    }
}
