//! Makes a plugin-cfg.xml of a cell: its members for web servers that take the router's place, or its routers for web
//! servers in front of them.
//!
//! All that is configured is written, not only what is up; a comment tells the state at the time of writing. Each Route
//! carries a comment on where it comes from. What the format cannot say becomes a note. Not here: putting the file into
//! its place.

mod cell;
mod routers;

pub use cell::of_cell;
pub use routers::of_routers;

use super::graph::{Affinity, Pair};
use super::matching::{HostPattern, UriPattern};
use super::xml::{Element, Node, XmlFile};
use wire::settings::{PathKind, RouteSettings};

/// A file, and what could not be said in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub file: XmlFile,
    pub notes: Vec<String>,
}

/// Seconds to connect that are written where nothing else is configured: the vendor's own default.
const CONNECT_TIMEOUT_S: u64 = 5;

/// The root with what every file of ours says.
fn root() -> Element {
    Element::new("Config")
        .with("ASDisableNagle", false)
        .with("AcceptAllContent", true)
        .with("AppServerPortPreference", "HostHeader")
        .with("ChunkedResponse", false)
        .with("IgnoreDNSFailures", true)
        .with("RefreshInterval", 60)
        .with("ResponseChunkSize", 64)
        .with("TrustedProxyEnable", false)
        .with("VHostMatchingCompat", false)
}

fn cluster(name: &str) -> Element {
    Element::new("ServerCluster")
        .with("CloneSeparatorChange", false)
        .with("GetDWLMTable", false)
        .with("IgnoreAffinityRequests", true)
        .with("LoadBalance", "Round Robin")
        .with("Name", name)
        .with("PostBufferSize", 0)
        .with("PostSizeLimit", -1)
        .with("RemoveSpecialHeaders", true)
        .with("RetryInterval", 60)
        .with("ServerIOTimeoutRetry", -1)
}

fn names(list: &str, servers: &[String]) -> Option<Node> {
    let mut element = Element::new(list);
    for server in servers {
        element.children.push(Node::Element(Element::new("Server").with("Name", server)));
    }
    (!servers.is_empty()).then_some(Node::Element(element))
}

/// The pairs of a route; an error says why the format has no word for it.
fn pairs_of(route: &RouteSettings) -> Result<Vec<Pair>, String> {
    let name = format!("{}{}", route.host, route.path);
    if route.actions.answer.is_some() {
        return Err(format!("{name} is answered by the router itself and is left out."));
    }
    let host = (route.host != "*").then(|| route.host.to_ascii_lowercase());
    let host = HostPattern { host, port: route.port };
    let path = route.path.as_str();
    let uris = match route.path_kind {
        PathKind::Exact => vec![UriPattern::Exact(path.to_owned())],
        PathKind::Start => vec![UriPattern::Start(path.to_owned())],
        PathKind::Extension => {
            let written = if path.starts_with(['*', '/']) { path.to_owned() } else { format!("*{path}") };
            vec![UriPattern::parse(&written).ok_or_else(|| format!("{name} is no pattern of the plug-in."))?]
        }
        PathKind::Prefix => {
            let plain = path.trim_end_matches('/');
            let below = UriPattern::Prefix { path: plain.to_owned(), ending: String::new() };
            // Some plug-ins do not take `/shop` for `/shop/*`.
            let itself = (!plain.is_empty()).then(|| UriPattern::Exact(plain.to_owned()));
            std::iter::once(below).chain(itself).collect()
        }
    };
    Ok(uris.into_iter().map(|uri| Pair { host: host.clone(), uri }).collect())
}

fn vendor_affinity() -> Affinity {
    Affinity { cookie: "JSESSIONID".into(), url_identifier: "jsessionid".into() }
}
