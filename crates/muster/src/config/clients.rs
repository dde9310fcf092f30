//! Reads who may know the members of clusters, and finds clients that could never hear of them.

use super::document::At;
use super::problem::KeyPath;
use super::reader::Reader;
use super::settings::{Builder, named};
use wire::error_code;
use wire::settings::{CellSettings, ClientSettings, RouteAnswer};

/// All of `[clients.NAME]`, in the order of the file.
pub fn read(builder: &mut Builder<'_>) -> Vec<ClientSettings> {
    let mut clients = Vec::new();
    for (name, table) in named(&builder.document.root, "clients") {
        let path = KeyPath::of(&["clients", name]);
        let client = Reader::new("clients.*", vec![(path.clone(), Some(table))]);
        let mut clusters = Vec::new();
        for (index, cluster) in client.list("clusters").into_iter().enumerate() {
            let place = path.with("clusters").with(&format!("[{index}]"));
            clusters.push(builder.known_cluster(&place, cluster));
        }
        let token_sha256 = client.text("token_sha256");
        clients.push(ClientSettings { name: name.to_owned(), token_sha256, clusters });
    }
    clients
}

/// Clients without a place to fetch from, and such a place without clients.
pub fn check(settings: &CellSettings, builder: &mut Builder<'_>) {
    let Some(router) = settings.routers.first() else { return };
    let mut told = Vec::new();
    for router in &settings.routers {
        for (index, route) in router.routes.iter().enumerate() {
            if route.actions.answer == Some(RouteAnswer::Views) {
                told.push(KeyPath::of(&[
                    "routers",
                    &router.name.0,
                    "routes",
                    &format!("[{index}]"),
                    "views",
                ]));
            }
        }
    }
    match (router.clients.first(), told.first()) {
        (Some(client), None) => {
            let message = format!("client `{}` has nowhere to fetch its first view", client.name);
            let path = KeyPath::of(&["clients", &client.name]);
            let allowed = "a route with `views = true` beside it, such as [[routers.NAME.routes]] with `path = \"/muster/views\"`";
            builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Key, message, allowed);
        }
        (None, Some(path)) => {
            let message = "`views` has no effect: there are no clients that could ask".to_owned();
            let allowed = "a table [clients.NAME] with `token_sha256` and `clusters`, as `muster client token` prints it";
            builder.refuse(error_code::CONFIG_CONTRADICTION, path, At::Key, message, allowed);
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
}
