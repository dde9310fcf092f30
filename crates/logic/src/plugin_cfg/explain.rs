//! Says where a request would go by a plugin-cfg.xml alone, and why: virtual host, URI, Route, cluster and server.
//!
//! The Route is found by the file's own words, the server by what the router makes of the file (`serve`, `route`,
//! `balance`); that both name the same cluster is held by a test. Every server counts as up: a file says nothing of that.

use super::matching::find_route;
use super::model::Document;
use super::serve;
use crate::explain::parse;
use crate::route::RouteTable;
use crate::spread;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use wire::id::Epoch;
use wire::view::View;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileExplanation {
    /// As the file has them; None where the Route names no group, or there is no Route.
    pub virtual_host: Option<String>,
    pub uri: Option<String>,
    /// Line of the Route in the file.
    pub route_line: Option<u32>,
    pub cluster: Option<String>,
    /// None where turn or chance decides among `candidates`.
    pub server: Option<String>,
    pub candidates: Vec<String>,
    pub why: Vec<String>,
}

/// Explains `url` (`https://host:port/path`, `host/path` or `/path`) for a request with this Cookie header. The error
/// says what is wrong with the URL or the file.
pub fn explain(document: &Document, url: &str, cookie: Option<&str>) -> Result<FileExplanation, String> {
    let target = parse(url)?;
    let config = &document.config;
    let port = target.port.unwrap_or(if url.starts_with("https://") { 443 } else { 80 });
    let mut explanation = FileExplanation::default();
    let which = if config.vhost_matching_compat { "of the connection" } else { "of the Host header" };
    explanation.why.push(format!("Virtual hosts are matched by the port {which}: {port}."));
    let Some(found) = find_route(config, target.host, port, target.path) else {
        explanation
            .why
            .push("No Route has a virtual host and a URI that fit: the request is not taken (404).".into());
        return Ok(explanation);
    };
    let (host, uri) = (found.virtual_host, found.uri);
    explanation.why.push(match host {
        Some(host) => format!("The virtual host {} (line {}) fits best.", host.name, host.place.line),
        None => "The Route names no VirtualHostGroup, so any host fits.".into(),
    });
    explanation.why.push(match uri {
        Some(uri) => format!("The URI {} (line {}) fits best.", uri.name, uri.place.line),
        None => "The Route names no UriGroup, so any path fits.".into(),
    });
    let line = found.route.place.line;
    explanation.why.push(format!(
        "The Route in line {line} joins them; it leads to {}. Of equal Routes the last counts.",
        found.route.server_cluster
    ));
    explanation.virtual_host = host.map(|host| host.name.clone());
    explanation.uri = uri.map(|uri| uri.name.clone());
    explanation.route_line = Some(line);
    explanation.cluster = Some(found.route.server_cluster.clone());

    let served = serve::plan(config).map_err(|problem| problem.to_string())?;
    let table = RouteTable::new(&served.routes);
    let (host, path) = (target.host.as_bytes(), target.path.as_bytes());
    let route = &served.routes
        [table.find(host, port, path).ok_or("the router's table has no such route, though the file has")?];
    let name = route.clusters().next().expect("every route of a file leads to a cluster");
    let views = served.views(Epoch::default(), &everywhere(&served), &BTreeMap::new());
    let view = views.into_iter().find(|view| view.cluster == *name);
    let mut view = view.expect("every route of a file leads to a cluster of it");
    hold_backups(&mut view, &mut explanation.why);
    let affinity = route.affinity.as_ref().or(view.affinity.as_ref());
    match affinity {
        Some(affinity) => {
            let parameter = match affinity.url_identifier.as_str() {
                "" => String::new(),
                identifier => format!(" or the path parameter ;{identifier}"),
            };
            explanation.why.push(format!("Sessions are told by the cookie {}{parameter}.", affinity.cookie));
        }
        None => {
            explanation.why.push("No server has a CloneID, so no session is kept together.".into());
        }
    }
    let cookies = cookie.map(str::as_bytes);
    let explained = spread::explain(route, "", &[Some(&view)], &|view| {
        spread::read_session(route, view, cookies.into_iter(), path)
    });
    let name = |(_, index): &(usize, u16)| view.members[usize::from(*index)].name.0.clone();
    explanation.candidates = explained.candidates.iter().map(name).collect();
    if let [only] = &explanation.candidates[..] {
        explanation.server = Some(only.clone());
    }
    explanation.why.extend(explained.why);
    Ok(explanation)
}

/// Every host name has an address: a file is explained where its servers may not be known at all.
fn everywhere(served: &serve::Served) -> BTreeMap<String, IpAddr> {
    let somewhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    served.targets().iter().map(|target| (target.host.clone(), somewhere)).collect()
}

/// Backups wait while a primary takes requests; all servers count as up here.
fn hold_backups(view: &mut View, why: &mut Vec<String>) {
    if !view.members.iter().any(|member| !member.is_backup && member.weight > 0) {
        return;
    }
    let backups = view.members.iter_mut().filter(|member| member.is_backup);
    let names: Vec<String> = backups
        .map(|member| {
            member.weight = 0;
            member.name.0.clone()
        })
        .collect();
    if !names.is_empty() {
        why.push(format!("Backup, used only while no primary server can be: {}.", names.join(", ")));
    }
}
