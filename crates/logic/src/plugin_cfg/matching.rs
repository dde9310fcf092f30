//! Which Route a request finds: virtual host by host and port, URI by path, and the last of equal routes.
//!
//! Order: the host and port that say more win (host and port, host, port, neither), then the URI that says more (exact,
//! then the longest prefix, then an extension), then the route that stands last. A path is compared without its query
//! and path parameters, byte by byte; hosts in any case. Not here: tables for the request path (the router's).

use super::model::{Config, Route, Uri, VirtualHost};

/// A virtual host's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPattern {
    /// Lower case; IPv6 in brackets; None: any.
    pub host: Option<String>,
    /// None: any.
    pub port: Option<u16>,
}

/// Port of a virtual host that names none, which is that of http.
const DEFAULT_PORT: u16 = 80;

impl HostPattern {
    pub const ANY: Self = Self { host: None, port: None };

    /// None where the name is no host and port.
    pub fn parse(name: &str) -> Option<Self> {
        let bracket = name.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match name[bracket..].rfind(':') {
            Some(colon) => (&name[..bracket + colon], &name[bracket + colon + 1..]),
            None => (name, ""),
        };
        let port = match port {
            "*" => None,
            "" if bracket + host.len() >= name.len() => Some(DEFAULT_PORT),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        let is_host = |host: &str| {
            let in_brackets = host.starts_with('[') && host.ends_with(']');
            !host.is_empty() && (in_brackets || !host.contains([':', '/', '*', ' ', '[', ']']))
        };
        let host = match host {
            "*" => None,
            name if is_host(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
            _ => return None,
        };
        Some(Self { host, port })
    }

    fn fits(&self, host: &str, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
            && self.host.as_ref().is_none_or(|own| own.eq_ignore_ascii_case(host))
    }

    /// How much it says.
    fn rank(&self) -> u8 {
        u8::from(self.host.is_some()) * 2 + u8::from(self.port.is_some())
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.host.as_deref().unwrap_or("*"))?;
        match self.port {
            Some(port) => write!(out, ":{port}"),
            None => out.write_str(":*"),
        }
    }
}

/// A URI pattern, taken apart. Ordered by how much it says, the least first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum UriPattern {
    /// `*.jsp`: that ending of the path's last segment, with its dot.
    Extension(String),
    /// `/app/*`: that path and all below it, without its last slash; empty for `/*`. `/app/*.jsp` has an ending as well.
    Prefix { path: String, ending: String },
    /// `/app*`: everything that begins so, whether a segment ends there or not.
    Start(String),
    /// `/hello`: that path only.
    Exact(String),
}

impl UriPattern {
    pub const ALL: Self = Self::Prefix { path: String::new(), ending: String::new() };

    /// None where the name is no pattern: it neither starts with `/` nor with `*`, or has more than one `*`.
    pub fn parse(name: &str) -> Option<Self> {
        let Some((before, ending)) = name.split_once('*') else {
            return name.starts_with('/').then(|| Self::Exact(name.to_owned()));
        };
        if ending.contains(['*', '/']) {
            return None;
        }
        match before.strip_suffix('/') {
            Some(path) if path.is_empty() || path.starts_with('/') => {
                Some(Self::Prefix { path: path.to_owned(), ending: ending.to_owned() })
            }
            // `*` alone means all, as `/*` does.
            None if before.is_empty() && ending.is_empty() => Some(Self::ALL),
            None if before.is_empty() => Some(Self::Extension(ending.to_owned())),
            None if before.starts_with('/') && ending.is_empty() => Some(Self::Start(before.to_owned())),
            Some(_) | None => None,
        }
    }

    /// Whether a path without query and parameters fits.
    pub fn fits(&self, path: &str) -> bool {
        match self {
            Self::Exact(own) => own == path,
            Self::Start(own) => path.starts_with(own.as_str()),
            Self::Extension(ending) => {
                let last = path.rsplit('/').next().unwrap_or_default();
                last.ends_with(ending.as_str())
            }
            Self::Prefix { path: own, ending } => match path.strip_prefix(own.as_str()) {
                Some(rest) => {
                    rest.is_empty() && ending.is_empty()
                        || rest.starts_with('/') && rest.ends_with(ending.as_str())
                }
                None => false,
            },
        }
    }

    /// How much it says: kind, then length.
    fn rank(&self) -> (u8, usize, usize) {
        match self {
            Self::Extension(ending) => (0, ending.len(), 0),
            // Of one length the one that asks for a whole segment says more.
            Self::Start(path) => (1, path.len(), 0),
            Self::Prefix { path, ending } => (1, path.len(), ending.len() + 1),
            Self::Exact(path) => (2, path.len(), 0),
        }
    }
}

impl std::fmt::Display for UriPattern {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Extension(ending) => write!(out, "*{ending}"),
            Self::Prefix { path, ending } => write!(out, "{path}/*{ending}"),
            Self::Start(path) => write!(out, "{path}*"),
            Self::Exact(path) => out.write_str(path),
        }
    }
}

/// What a request found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// Place among the routes of the file.
    pub index: usize,
    pub route: &'a Route,
    /// None: the route names no group.
    pub virtual_host: Option<&'a VirtualHost>,
    pub uri: Option<&'a Uri>,
}

/// The route of a request for `host` (without port) at `port`, and `path` as it was sent. A route whose cluster or
/// groups are not defined takes part in nothing.
pub fn find_route<'a>(config: &'a Config, host: &str, port: u16, path: &str) -> Option<Found<'a>> {
    let path = plain_path(path);
    let host = host.trim_end_matches('.');
    let candidates = config.routes.iter().enumerate().filter_map(|(index, route)| {
        config.cluster(&route.server_cluster)?;
        let (host_rank, virtual_host) = best_host(config, route, host, port)?;
        let (uri_rank, uri) = best_uri(config, route, path)?;
        Some(((host_rank, uri_rank, index), Found { index, route, virtual_host, uri }))
    });
    candidates.max_by_key(|(rank, _)| *rank).map(|(_, found)| found)
}

/// Without query, fragment and path parameters.
pub fn plain_path(path: &str) -> &str {
    path.split(['?', '#', ';']).next().unwrap_or_default()
}

fn best_host<'a>(
    config: &'a Config,
    route: &Route,
    host: &str,
    port: u16,
) -> Option<(u8, Option<&'a VirtualHost>)> {
    let Some(name) = &route.virtual_host_group else { return Some((0, None)) };
    let fitting = config.virtual_host_group(name)?.hosts.iter().filter_map(|virtual_host| {
        let pattern = HostPattern::parse(&virtual_host.name)?;
        pattern.fits(host, port).then(|| (pattern.rank(), virtual_host))
    });
    fitting.max_by_key(|(rank, _)| *rank).map(|(rank, virtual_host)| (rank, Some(virtual_host)))
}

type UriRank = (u8, usize, usize);

fn best_uri<'a>(config: &'a Config, route: &Route, path: &str) -> Option<(UriRank, Option<&'a Uri>)> {
    let Some(name) = &route.uri_group else { return Some((UriPattern::ALL.rank(), None)) };
    let fitting = config.uri_group(name)?.uris.iter().filter_map(|uri| {
        let pattern = UriPattern::parse(&uri.name)?;
        pattern.fits(path).then(|| (pattern.rank(), uri))
    });
    fitting.max_by_key(|(rank, _)| *rank).map(|(rank, uri)| (rank, Some(uri)))
}
