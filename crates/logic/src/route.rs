//! Finds the route of a request by host, port and path.
//!
//! An exact host beats `*`, then an exact port beats any: `host:port`, `host`, `*:port`, `*` are asked in this order, and
//! the first under which a path fits decides. There an exact path wins, then the longest one that begins the request's,
//! then an extension; of two equal routes the last. A route's path matches whole segments: `/shop` matches `/shop`,
//! `/shop/x`, `/shop?q` and `/shop;v=1`, not `/shopping`. The path is compared as it was sent, byte by byte and with
//! regard to case: nothing is decoded, `%2F` is no slash and dots are not resolved, so that what is matched is what the
//! member gets. `OPTIONS *` belongs to routes of `/`.
//!
//! Promise: no allocation, and the work depends on the request's path, never on the number of routes: one pass over the
//! path that looks up each of its beginnings by hash. Not here: which cluster is there (see `balance`).

mod explain;
mod slots;

use slots::{Slots, hash_of, joined, step};
use wire::settings::{PathKind, RouteSettings};

/// The routes of one router, ready for look-up without allocation.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    hosts: Vec<Host>,
    host_slots: Slots,
    /// Routes of `*`.
    any_host: Ports,
    groups: Vec<Group>,
    entries: Vec<Entry>,
    entry_slots: Slots,
    has_ports: bool,
}

#[derive(Debug, Clone)]
struct Host {
    name: Box<[u8]>,
    ports: Ports,
}

/// The groups of one host.
#[derive(Debug, Clone, Default)]
struct Ports {
    /// Ordered by port.
    exact: Vec<(u16, u32)>,
    any: Option<u32>,
}

impl Ports {
    fn group(&self, port: u16) -> Option<u32> {
        let place = self.exact.binary_search_by_key(&port, |(port, _)| *port).ok()?;
        Some(self.exact[place].1)
    }
}

/// The routes of one host and port: what a search among them has to look at.
#[derive(Debug, Clone, Default)]
struct Group {
    routes: usize,
    /// Beginnings of a path that are longer than this need no look.
    longest_bytes: usize,
    /// Lengths of extensions, the longest first, each once.
    extension_lengths: Vec<usize>,
    has_exact: bool,
    /// Extensions that count within a folder only.
    has_scoped_extensions: bool,
    /// Lengths of paths that need not end at a segment's end, ordered, each once.
    start_lengths: Vec<usize>,
}

/// One route; `path` and `extension` as `Pattern` has them.
#[derive(Debug, Clone)]
struct Entry {
    group: u32,
    kind: PathKind,
    path: Box<[u8]>,
    extension: Box<[u8]>,
    /// Place in the settings.
    index: usize,
}

/// What of a path is compared.
struct Pattern<'a> {
    /// Of a prefix without a slash at its end, so `/` is empty; of an extension the folder, empty for all.
    path: &'a str,
    extension: &'a str,
}

impl<'a> Pattern<'a> {
    fn of(route: &'a RouteSettings) -> Self {
        match route.path_kind {
            PathKind::Prefix => Self { path: route.path.trim_end_matches('/'), extension: "" },
            PathKind::Exact | PathKind::Start => Self { path: &route.path, extension: "" },
            PathKind::Extension => {
                let (folder, extension) = route.path.split_once('*').unwrap_or(("", &route.path));
                Self { path: folder.trim_end_matches('/'), extension }
            }
        }
    }
}

/// The salt of each kind, so that one path may be there in each.
fn salt(group: u32, kind: PathKind) -> u64 {
    let kind = match kind {
        PathKind::Prefix => 1,
        PathKind::Exact => 2,
        PathKind::Start => 3,
        PathKind::Extension => 4,
    };
    u64::from(group) << 3 | kind
}

impl RouteTable {
    pub fn new(settings: &[RouteSettings]) -> Self {
        let mut table = RouteTable {
            host_slots: Slots::with_room_for(settings.len()),
            entry_slots: Slots::with_room_for(settings.len()),
            ..RouteTable::default()
        };
        for (index, route) in settings.iter().enumerate() {
            let group = table.group_for(route);
            table.add(group, route, index);
        }
        table
    }

    /// The group of the route's host and port, made where there is none yet.
    fn group_for(&mut self, route: &RouteSettings) -> u32 {
        let host = plain_host(route.host.as_bytes()).to_ascii_lowercase();
        let ports = if host == b"*" {
            &mut self.any_host
        } else {
            let place = match self.place_of(&host) {
                Some(place) => place,
                None => {
                    let place = self.hosts.len();
                    self.host_slots.insert(hash_of(&host), place);
                    self.hosts.push(Host { name: host.into(), ports: Ports::default() });
                    place
                }
            };
            &mut self.hosts[place].ports
        };
        let fresh = self.groups.len() as u32;
        let group = match route.port {
            None => *ports.any.get_or_insert(fresh),
            Some(port) => {
                self.has_ports = true;
                match ports.exact.binary_search_by_key(&port, |(port, _)| *port) {
                    Ok(place) => ports.exact[place].1,
                    Err(place) => {
                        ports.exact.insert(place, (port, fresh));
                        fresh
                    }
                }
            }
        };
        if group == fresh {
            self.groups.push(Group::default());
        }
        group
    }

    fn add(&mut self, group: u32, route: &RouteSettings, index: usize) {
        let kind = route.path_kind;
        let Pattern { path, extension } = Pattern::of(route);
        let (path, extension) = (path.as_bytes(), extension.as_bytes());
        let hash = joined(hash_of(path), if extension.is_empty() { 0 } else { hash_of(extension) });
        let groups_own = &mut self.groups[group as usize];
        groups_own.routes += 1;
        groups_own.longest_bytes = groups_own.longest_bytes.max(path.len());
        match kind {
            PathKind::Prefix => {}
            PathKind::Exact => groups_own.has_exact = true,
            PathKind::Start => {
                if let Err(place) = groups_own.start_lengths.binary_search(&path.len()) {
                    groups_own.start_lengths.insert(place, path.len());
                }
            }
            PathKind::Extension => {
                let lengths = &mut groups_own.extension_lengths;
                if let Err(place) = lengths.binary_search_by(|length| extension.len().cmp(length)) {
                    lengths.insert(place, extension.len());
                }
                groups_own.has_scoped_extensions |= !path.is_empty();
            }
        }
        match self.probe(group, kind, hash, path, extension) {
            // The last of equal ones wins.
            Some(place) => self.entries[place].index = index,
            None => {
                self.entry_slots.insert(joined(hash, salt(group, kind)), self.entries.len());
                let (path, extension) = (path.into(), extension.into());
                self.entries.push(Entry { group, kind, path, extension, index });
            }
        }
    }

    /// Whether the port that a request names makes a difference.
    pub fn has_ports(&self) -> bool {
        self.has_ports
    }

    /// The place in the settings of the route for `host` (without port, in any case), `port` and `path`.
    pub fn find(&self, host: &[u8], port: u16, path: &[u8]) -> Option<usize> {
        let groups = self.groups_for(host, port);
        groups.into_iter().flatten().find_map(|group| self.find_in(group, path)).map(|entry| entry.index)
    }

    /// Those that are asked, in order.
    fn groups_for(&self, host: &[u8], port: u16) -> [Option<u32>; 4] {
        let own = self.place_of(host).map(|place| &self.hosts[place].ports);
        [
            own.and_then(|ports| ports.group(port)),
            own.and_then(|ports| ports.any),
            self.any_host.group(port),
            self.any_host.any,
        ]
    }

    fn place_of(&self, host: &[u8]) -> Option<usize> {
        if self.hosts.is_empty() {
            return None;
        }
        let host = plain_host(host);
        let hash = host.iter().fold(hash_of(b""), |hash, byte| step(hash, byte.to_ascii_lowercase()));
        self.host_slots.find(hash, |place| self.hosts[place].name.eq_ignore_ascii_case(host))
    }

    fn find_in(&self, group: u32, path: &[u8]) -> Option<&Entry> {
        let wanted = &self.groups[group as usize];
        let reach = path.len().min(wanted.longest_bytes);
        let mut starts = wanted.start_lengths.iter().copied().peekable();
        let mut hash = hash_of(b"");
        let mut best = None;
        let mut probe = |kind, hash, length: usize, extension: &[u8]| {
            let found = self.probe(group, kind, hash, &path[..length], extension);
            best = found.or(best);
            found.is_some()
        };
        for length in 0..=reach {
            let next = path.get(length);
            let is_end = matches!(next, None | Some(b'?' | b';'));
            let plain = joined(hash, 0);
            if starts.next_if_eq(&length).is_some() {
                probe(PathKind::Start, plain, length, b"");
            }
            if is_end || next == Some(&b'/') || (length == 0 && path == b"*") {
                probe(PathKind::Prefix, plain, length, b"");
                if wanted.has_scoped_extensions && length > 0 {
                    wanted.extensions(path).any(|extension| {
                        probe(PathKind::Extension, joined(hash, hash_of(extension)), length, extension)
                    });
                }
            }
            if is_end && wanted.has_exact && probe(PathKind::Exact, plain, length, b"") {
                break;
            }
            if let Some(byte) = next {
                hash = step(hash, *byte);
            }
        }
        let place = best.or_else(|| {
            wanted.extensions(path).find_map(|extension| {
                let hash = joined(hash_of(b""), hash_of(extension));
                self.probe(group, PathKind::Extension, hash, b"", extension)
            })
        });
        place.map(|place| &self.entries[place])
    }

    fn probe(&self, group: u32, kind: PathKind, hash: u64, path: &[u8], extension: &[u8]) -> Option<usize> {
        self.entry_slots.find(joined(hash, salt(group, kind)), |place| {
            let entry = &self.entries[place];
            entry.group == group
                && entry.kind == kind
                && is_same(&entry.path, path)
                && is_same(&entry.extension, extension)
        })
    }
}

/// Nothing is compared with nothing by its length alone: where there is no byte, a pointer leads to no page, and looking
/// there with a vector instruction costs a processor a hundred nanoseconds, though nothing is read.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

impl Group {
    /// What the last segment ends in, in the lengths that extensions have here: the longest first.
    fn extensions<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        let segment = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        self.extension_lengths.iter().filter_map(|length| name.get(name.len().checked_sub(*length)?..))
    }
}

/// `example.com.` with its last dot is the same host.
fn plain_host(host: &[u8]) -> &[u8] {
    host.strip_suffix(b".").unwrap_or(host)
}

#[cfg(test)]
mod tests;
