//! Finds the route of a request by host and path.
//!
//! An exact host beats `*`; under one host the longest path wins; of two equal routes the last one. Where no path of
//! the exact host fits, `*` is asked too. A route's path matches whole segments: `/shop` matches `/shop`, `/shop/x`,
//! `/shop?q` and `/shop;v=1`, not `/shopping`. The path is compared as it was sent, byte by byte and with regard to
//! case: nothing is decoded, `%2F` is no slash and dots are not resolved, so that what is matched is what the member gets.
//! `OPTIONS *` belongs to routes of `/`. Not here: which cluster is there (see `balance`).

use std::ops::Range;
use wire::settings::RouteSettings;

/// The routes of one router, ready for look-up without allocation.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    /// Grouped by host, longest path first within each.
    routes: Vec<Route>,
    /// Exact hosts, ordered, each with its part of `routes`.
    hosts: Vec<(Box<[u8]>, Range<usize>)>,
    any_host: Range<usize>,
}

#[derive(Debug, Clone)]
struct Route {
    /// Without a slash at its end, so `/` is empty.
    path: Box<[u8]>,
    /// Place in the settings.
    index: usize,
}

impl RouteTable {
    pub fn new(settings: &[RouteSettings]) -> Self {
        let mut ordered: Vec<(Vec<u8>, Route)> = settings
            .iter()
            .enumerate()
            .map(|(index, route)| {
                let path = route.path.trim_end_matches('/').as_bytes().into();
                (plain_host(route.host.as_bytes()).to_ascii_lowercase(), Route { path, index })
            })
            .collect();
        ordered.sort_by(|(left_host, left), (right_host, right)| {
            let by_length = right.path.len().cmp(&left.path.len());
            left_host.cmp(right_host).then(by_length).then(right.index.cmp(&left.index))
        });
        let mut table = RouteTable::default();
        for group in ordered.chunk_by(|left, right| left.0 == right.0) {
            let start = table.routes.len();
            table.routes.extend(group.iter().map(|(_, route)| route.clone()));
            let range = start..table.routes.len();
            if group[0].0 == b"*" {
                table.any_host = range;
            } else {
                table.hosts.push((group[0].0.as_slice().into(), range));
            }
        }
        table
    }

    /// The place in the settings of the route for `host` (without port, in any case) and `path`.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Option<usize> {
        let exact = self.range_of(host).and_then(|range| self.find_in(range, path));
        exact.or_else(|| self.find_in(self.any_host.clone(), path))
    }

    /// How `find` comes to its answer, a sentence each. `settings` are those that the table was made from.
    pub fn explain(&self, settings: &[RouteSettings], host: &[u8], path: &[u8]) -> Vec<String> {
        let mut why = Vec::new();
        let host_text = String::from_utf8_lossy(host);
        let exact = self.range_of(host);
        let places = [(exact.clone(), "that host"), (Some(self.any_host.clone()), "any host (*)")];
        match exact {
            None if host.is_empty() => {
                why.push("The request names no host: routes of any host (*) are asked.".into())
            }
            None => {
                why.push(format!("No route names the host {host_text}; routes of any host (*) are asked."))
            }
            Some(range) => why.push(format!("The host {host_text} has {} routes of its own.", range.len())),
        }
        for (range, whose) in places.into_iter().filter_map(|(range, whose)| Some((range?, whose))) {
            if let Some(index) = self.find_in(range.clone(), path) {
                let route = &settings[index];
                let path = &route.path;
                let clusters: Vec<&str> = route.clusters().map(|cluster| cluster.0.as_str()).collect();
                let place = match clusters.as_slice() {
                    [] => "the router itself".to_owned(),
                    clusters => format!("cluster {}", clusters.join(", ")),
                };
                why.push(format!(
                    "{path} is the longest path of {whose} that fits, of {}: {place}.",
                    range.len()
                ));
                return why;
            }
            why.push(format!("None of the {} paths of {whose} fits.", range.len()));
        }
        why.push("No route: the router answers 404.".into());
        why
    }

    fn range_of(&self, host: &[u8]) -> Option<Range<usize>> {
        let host = plain_host(host);
        let lower = || host.iter().map(u8::to_ascii_lowercase);
        let place = self.hosts.binary_search_by(|(name, _)| name.iter().copied().cmp(lower())).ok()?;
        Some(self.hosts[place].1.clone())
    }

    fn find_in(&self, range: Range<usize>, path: &[u8]) -> Option<usize> {
        self.routes[range].iter().find(|route| lies_under(path, &route.path)).map(|route| route.index)
    }
}

/// `example.com.` with its last dot is the same host.
fn plain_host(host: &[u8]) -> &[u8] {
    host.strip_suffix(b".").unwrap_or(host)
}

fn lies_under(path: &[u8], route_path: &[u8]) -> bool {
    match path.strip_prefix(route_path) {
        None => false,
        Some([]) => true,
        Some([b'/' | b'?' | b';', ..]) => true,
        Some(rest) => route_path.is_empty() && rest == b"*",
    }
}

#[cfg(test)]
mod tests;
