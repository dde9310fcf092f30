//! What a route does to requests besides finding a member: redirects, own answers, rewritten paths, changed headers.
//!
//! Pure. Promise: whatever a request holds, what comes out has no line end in it, frames no message, and a redirect
//! leads to the host that the configuration names or, with `{host}`, to the one that the client asked for.
//! Not here: rate limits (see `rate`), compression (see `compress`).

use std::fmt;
use wire::settings::{RateLimit, RouteActions, RouteAnswer};

/// What a template may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The request's host, without port.
    Host,
    /// Its path, with `/` at its start.
    Path,
    /// The path behind the route's own; empty, or with `/` at its start.
    Rest,
    /// `?` and the query; empty without one.
    Query,
    /// The client's address.
    Client,
    /// `http` or `https`, as the client reached the router.
    Scheme,
    /// The route's name.
    Route,
}

const PLACES: [(&str, Place); 7] = [
    ("host", Place::Host),
    ("path", Place::Path),
    ("rest", Place::Rest),
    ("query", Place::Query),
    ("client", Place::Client),
    ("scheme", Place::Scheme),
    ("route", Place::Route),
];

/// What may stand in the value of a header.
pub const VALUE_PLACES: &[Place] =
    &[Place::Host, Place::Path, Place::Query, Place::Client, Place::Scheme, Place::Route];
/// What may stand in a redirect.
pub const LOCATION_PLACES: &[Place] = &[Place::Host, Place::Path, Place::Rest, Place::Query];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// A text with places in it that each request fills.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// What a request fills them with. Bytes as they came, checked by `http::request`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    pub host: &'a [u8],
    pub path: &'a [u8],
    /// Of the route, without `/` at its end.
    pub route_path: &'a [u8],
    /// Without `?`; None where the target has none.
    pub query: Option<&'a [u8]>,
    pub client: &'a str,
    pub scheme: &'a str,
    pub route: &'a str,
}

/// Why a text is no template, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(pub String);

impl fmt::Display for Unfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Template {
    /// Reads `text`, in which only `allowed` may stand in braces.
    pub fn parse(text: &str, allowed: &[Place]) -> Result<Self, Unfit> {
        if let Some(byte) = text.bytes().find(|byte| !(0x20..=0x7e).contains(byte)) {
            return Err(Unfit(format!("byte {byte:#04x} cannot stand in a header")));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            if open > 0 {
                pieces.push(Piece::Text(rest[..open].to_owned()));
            }
            let inner = rest[open..].strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((name, after)) = inner else { return Err(Unfit("a brace has no partner".into())) };
            let known = PLACES.iter().find(|(known, place)| *known == name && allowed.contains(place));
            let Some((_, place)) = known else {
                return Err(Unfit(format!("`{{{name}}}` cannot stand here")));
            };
            pieces.push(Piece::Place(*place));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// Reads the target of a redirect: a path, or a URL whose host no part of a request but its own host can change.
    pub fn parse_location(text: &str) -> Result<Self, Unfit> {
        let template = Self::parse(text, LOCATION_PLACES)?;
        if text.contains(' ') {
            return Err(Unfit("a location has no spaces".into()));
        }
        let after_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let Some(rest) = after_scheme else {
            let is_path = (text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\"))
                || text.starts_with("{path}");
            return if is_path {
                Ok(template)
            } else {
                Err(Unfit("it starts neither with `/` nor with `http://` or `https://`".into()))
            };
        };
        // `https://shop.example{rest}` would let `;@elsewhere` become the host.
        let end = rest.find('/').into_iter().chain(rest.find("{path}")).min().unwrap_or(rest.len());
        let authority = rest[..end].replacen("{host}", "host", 1);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if authority.is_empty() || !authority.bytes().all(is_plain) {
            return Err(Unfit("between `//` and the next `/` or `{path}` only a host may stand".into()));
        }
        Ok(template)
    }

    /// Whether a request must name a host to fill it.
    pub fn needs_host(&self) -> bool {
        self.0.contains(&Piece::Place(Place::Host))
    }

    /// Appends the text that `facts` make of it.
    pub fn fill(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Place(Place::Host) => out.extend_from_slice(facts.host),
                Piece::Place(Place::Path) => out.extend_from_slice(rooted(facts.path)),
                Piece::Place(Place::Rest) => {
                    let rest = rest_of(facts.path, facts.route_path);
                    if rest.first().is_some_and(|first| *first != b'/') {
                        out.push(b'/');
                    }
                    out.extend_from_slice(rest);
                }
                Piece::Place(Place::Query) => {
                    if let Some(query) = facts.query {
                        out.push(b'?');
                        out.extend_from_slice(query);
                    }
                }
                Piece::Place(Place::Client) => out.extend_from_slice(facts.client.as_bytes()),
                Piece::Place(Place::Scheme) => out.extend_from_slice(facts.scheme.as_bytes()),
                Piece::Place(Place::Route) => out.extend_from_slice(facts.route.as_bytes()),
            }
        }
    }

    /// The Location of a redirect. A path never begins with two slashes: browsers would take what follows for a host.
    pub fn location(&self, facts: &Facts<'_>) -> Vec<u8> {
        let mut filled = Vec::new();
        self.fill(facts, &mut filled);
        if filled.first() != Some(&b'/') {
            return filled;
        }
        let slashes = filled.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
        filled.splice(..slashes, [b'/']);
        filled
    }
}

/// `*` of `OPTIONS *` is no path.
fn rooted(path: &[u8]) -> &[u8] {
    if path.starts_with(b"/") { path } else { b"/" }
}

/// The path behind the route's, which is a prefix of it or there is none.
fn rest_of<'p>(path: &'p [u8], route_path: &[u8]) -> &'p [u8] {
    if path.starts_with(b"/") { path.strip_prefix(route_path).unwrap_or_default() } else { b"" }
}

/// Appends the target with `replacement` in place of the route's path. None: the rest climbs out of the path that it
/// is put under, plainly or in disguise, and no member may see it.
pub fn rewrite(replacement: &str, facts: &Facts<'_>, out: &mut Vec<u8>) -> Option<()> {
    if !facts.path.starts_with(b"/") {
        out.extend_from_slice(facts.path);
        return Some(());
    }
    let rest = rest_of(facts.path, facts.route_path);
    if climbs(rest) {
        return None;
    }
    let replacement = replacement.trim_end_matches('/').as_bytes();
    out.extend_from_slice(replacement);
    if replacement.is_empty() && rest.first() != Some(&b'/') {
        out.push(b'/');
    }
    out.extend_from_slice(rest);
    if let Some(query) = facts.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    Some(())
}

/// Whether a segment means "one up" to some server: `..`, `%2e%2e`, `..;x`, behind `/`, `\` or their encodings, which
/// may be encoded once more.
fn climbs(path: &[u8]) -> bool {
    let mut dots = 0;
    let mut is_segment_of_dots = true;
    let mut at = 0;
    while at < path.len() {
        let (byte, length) = decoded(&path[at..]);
        at += length;
        match byte {
            b'/' | b'\\' => {
                if is_segment_of_dots && dots == 2 {
                    return true;
                }
                (dots, is_segment_of_dots) = (0, true);
            }
            b'.' => dots += 1,
            // What follows are parameters of the segment; some servers resolve `..;x` as `..`.
            b';' if is_segment_of_dots && dots == 2 => return true,
            _ => is_segment_of_dots = false,
        }
    }
    is_segment_of_dots && dots == 2
}

/// The byte that the start of `path` stands for, and its length; `%25` before two digits is read through.
fn decoded(path: &[u8]) -> (u8, usize) {
    let [b'%', rest @ ..] = path else { return (path[0], 1) };
    let mut digits = rest;
    while let [b'2', b'5', more @ ..] = digits {
        digits = more;
    }
    let digit = |at: usize| digits.get(at).and_then(|byte| (*byte as char).to_digit(16));
    match (digit(0), digit(1)) {
        (Some(high), Some(low)) => ((high * 16 + low) as u8, path.len() - digits.len() + 2),
        _ => (b'%', 1),
    }
}

/// Why a header cannot be changed on requests (or answers); None: it can. Names that servers map to the same variable
/// count as the same, whatever their case and whether they have `-` or `_`.
pub fn why_fixed(name: &str, is_request: bool) -> Option<&'static str> {
    const FRAMING: [&str; 13] = [
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
        "content-encoding",
        "content-range",
        "date",
        "via",
    ];
    const OF_REQUESTS: [&str; 7] = [
        "host",
        "expect",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "traceparent",
    ];
    let fits = |fixed: &&str| is_same_name(name, fixed);
    if FRAMING.iter().any(&fits) {
        return Some("it belongs to the framing of messages, which the router alone writes");
    }
    (is_request && OF_REQUESTS.iter().any(fits))
        .then_some("the router writes it itself, and members rely on it")
}

/// Whether two names are the same to a server that maps them to variables.
pub fn is_same_name(left: &str, right: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    left.len() == right.len() && left.bytes().map(plain).eq(right.bytes().map(plain))
}

/// What `actions` do, a few words each, for people.
pub fn describe(actions: &RouteActions) -> Vec<String> {
    let mut told = Vec::new();
    match &actions.answer {
        Some(RouteAnswer::Redirect { status, location }) => {
            told.push(format!("redirect {status} to {location}"))
        }
        Some(RouteAnswer::Static { status, content_type, body }) => {
            told.push(format!("answer {status} with {} bytes of {content_type}", body.len()));
        }
        Some(RouteAnswer::Views) => told.push("views for clients".into()),
        None => {}
    }
    if let Some(limit) = &actions.rate_limit {
        let whose =
            limit.header.as_ref().map_or_else(|| "client".into(), |header| format!("value of {header}"));
        let RateLimit { requests_per_second, burst, .. } = limit;
        told.push(format!("at most {requests_per_second} requests/s of each {whose}, {burst} at once"));
    }
    if let Some(most) = actions.head_size_max_bytes {
        told.push(format!("heads of at most {most} bytes"));
    }
    match actions.body_size_max_bytes {
        Some(0) => told.push("bodies of any size".into()),
        Some(most) => told.push(format!("bodies of at most {most} bytes")),
        None => {}
    }
    if let Some(replacement) = &actions.path_replacement {
        told.push(format!("path put under {replacement}"));
    }
    for (changes, whose) in [(&actions.request_headers, "requests"), (&actions.answer_headers, "answers")] {
        if !changes.remove.is_empty() {
            told.push(format!("{} removed from {whose}", changes.remove.join(", ")));
        }
        if !changes.set.is_empty() {
            let names: Vec<&str> = changes.set.iter().map(|(name, _)| name.as_str()).collect();
            told.push(format!("{} set on {whose}", names.join(", ")));
        }
    }
    if actions.compresses {
        told.push("answers compressed".into());
    }
    told
}

#[cfg(test)]
mod tests;
