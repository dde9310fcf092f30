//! Reads which other cells this one hears of and which may hear of it, and finds tables that could have no effect.

use super::document::At;
use super::members;
use super::problem::KeyPath;
use super::reader::Reader;
use super::settings::{Builder, address, named};
use wire::error_code;
use wire::id::ClusterName;
use wire::settings::{BridgeSettings, CellSettings, OtherCell};
use wire::view::Transport;

/// For a connection to a gateway. Two seconds: one lost packet is repeated, and a cell that is gone costs a conversation
/// that was there no more than that, once.
const GATEWAY_CONNECT_MS: u64 = 2_000;
/// On a connection that is there already. Three seconds: what is lost once or twice arrives, and nothing tells this cell
/// sooner that a machine of another one is gone.
const GATEWAY_UNACKNOWLEDGED_MS: u32 = 3_000;

/// All of `[cells.NAME]`, in the order of the file.
pub fn read_cells(builder: &mut Builder<'_>) -> Vec<OtherCell> {
    let mut cells: Vec<OtherCell> = Vec::new();
    for (name, table) in named(&builder.document.root, "cells") {
        let path = KeyPath::of(&["cells", name]);
        let reader = Reader::new("cells.*", vec![(path, Some(table))]);
        let tls = members::tls(builder, &reader);
        cells.push(OtherCell {
            name: name.to_owned(),
            managers: reader.list("managers"),
            token_file: reader.text("token_file"),
            clusters: reader.list("clusters").into_iter().map(ClusterName).collect(),
            transport: Transport {
                tls,
                connect_ms: Some(GATEWAY_CONNECT_MS),
                unacknowledged_ms: Some(GATEWAY_UNACKNOWLEDGED_MS),
                ..Transport::default()
            },
        });
    }
    cells
}

/// All of `[bridges.NAME]`, in the order of the file.
pub fn read_bridges(builder: &mut Builder<'_>) -> Vec<BridgeSettings> {
    let mut bridges = Vec::new();
    for (name, table) in named(&builder.document.root, "bridges") {
        let path = KeyPath::of(&["bridges", name]);
        let reader = Reader::new("bridges.*", vec![(path.clone(), Some(table))]);
        let mut clusters = Vec::new();
        for (index, cluster) in reader.list("clusters").into_iter().enumerate() {
            let place = path.with("clusters").with(&format!("[{index}]"));
            clusters.push(builder.known_cluster(&place, cluster));
        }
        bridges.push(BridgeSettings {
            name: name.to_owned(),
            token_sha256: reader.text("token_sha256"),
            clusters,
        });
    }
    bridges
}

/// Where routers of other cells reach a router.
pub fn gateway(builder: &mut Builder<'_>, router: &Reader<'_>) -> Option<std::net::SocketAddr> {
    let gateway = router.text_if_any("gateway").map(|text| address(&text))?;
    if gateway.ip().is_unspecified() || gateway.port() == 0 {
        let message = format!("nobody can be reached at {gateway}");
        let allowed = "the address and port at which routers of other cells reach this one";
        builder.refuse(error_code::CONFIG_NOT_ALLOWED, &router.path("gateway"), At::Value, message, allowed);
    }
    Some(gateway)
}

/// Bridges over which nothing could be heard, and gateways of which nobody hears.
pub fn check(settings: &CellSettings, builder: &mut Builder<'_>) {
    let contradiction = error_code::CONFIG_CONTRADICTION;
    if let Some(bridge) = settings.bridges.first()
        && settings.manager.listen.is_none()
    {
        let path = KeyPath::of(&["bridges", &bridge.name]);
        let message = "no other cell can reach the manager: there is no `listen`".to_owned();
        let allowed = "`listen` in [manager], e.g. \"0.0.0.0:29001\"";
        builder.refuse(contradiction, &path, At::Key, message, allowed);
    }
    for bridge in &settings.bridges {
        for cluster in &bridge.clusters {
            let mut gateways = settings.routers.iter().filter(|router| router.gateway.is_some());
            let is_led_to = gateways
                .any(|router| router.routes.iter().any(|route| route.clusters().any(|name| name == cluster)));
            if !is_led_to {
                let path = KeyPath::of(&["bridges", &bridge.name, "clusters"]);
                let message =
                    format!("cell `{}` hears of cluster `{cluster}` and cannot reach it", bridge.name);
                let allowed = "`gateway` in a [routers.NAME] that has a route to the cluster";
                builder.refuse(contradiction, &path, At::Value, message, allowed);
            }
        }
    }
    if let Some(router) = settings.routers.iter().find(|router| router.gateway.is_some())
        && settings.bridges.is_empty()
    {
        let path = KeyPath::of(&["routers", &router.name.0, "gateway"]);
        let message = "`gateway` has no effect: no other cell hears of it".to_owned();
        let allowed =
            "a table [bridges.NAME] with `token_sha256` and `clusters`, as `muster bridge token` prints it";
        builder.refuse(contradiction, &path, At::Key, message, allowed);
    }
}
