//! Reads from a request which conversation it belongs to: session ids and the clone ids that they end in.
//!
//! `JSESSIONID=0000A2MB4IJozU_VM8IffsMNfdR:c1:c2` is session `0000A2...` of clone `c1`, which `c2` took over once.
//! All cookies of the name are read, in order, then path parameters `;jsessionid=...` of any segment before the
//! query. Values may stand in double quotes. What is not UTF-8 or has an empty id is passed over.
//! Promise: no allocation, and at most `CLONE_IDS_MAX` clone ids. Not here: whose clone id it is (see `balance`).

use crate::limits::CLONE_IDS_MAX;
use wire::view::{Affinity, AffinityKind};

/// The clone ids of a request in the order in which their members shall be tried.
pub fn clone_ids<'a>(
    cookie_header_values: impl Iterator<Item = &'a [u8]>,
    path: &'a [u8],
    affinity: &'a Affinity,
) -> impl Iterator<Item = &'a str> {
    clone_ids_of(session_values(cookie_header_values, path, affinity), affinity)
}

/// The clone ids of these session values, in their order.
pub fn clone_ids_of<'a>(
    values: impl Iterator<Item = &'a str>,
    affinity: &'a Affinity,
) -> impl Iterator<Item = &'a str> {
    values
        .flat_map(|value| ids_of(value, affinity))
        .filter(|clone_id| !clone_id.is_empty())
        .take(CLONE_IDS_MAX)
}

/// What stands behind the session id, in its parts; as a whole first where ids may have the separator in them, as
/// member names may have dots.
pub fn ids_of<'a>(value: &'a str, affinity: &Affinity) -> impl Iterator<Item = &'a str> + use<'a> {
    let separator = affinity.separator;
    // Our own cookie ends in its signature.
    let value = match affinity.kind {
        AffinityKind::Own => value.rsplit_once(separator).map_or("", |(signed, _)| signed),
        AffinityKind::CloneId | AffinityKind::RouteSuffix => value,
    };
    let rest = value.split_once(separator).map_or("", |(_, rest)| rest);
    let has_parts = affinity.kind != AffinityKind::CloneId && rest.contains(separator);
    has_parts.then_some(rest).into_iter().chain(rest.split(separator))
}

/// The session ids of a request with their clone ids, as they were sent: cookies first, then the path.
pub fn session_values<'a>(
    cookie_header_values: impl Iterator<Item = &'a [u8]>,
    path: &'a [u8],
    affinity: &'a Affinity,
) -> impl Iterator<Item = &'a str> {
    let name = affinity.cookie.as_bytes();
    let identifier = affinity.url_identifier.as_bytes();
    let of_cookies = cookie_values(cookie_header_values, name);
    let of_path = path
        .split(|byte| matches!(byte, b'?' | b'#'))
        .next()
        .unwrap_or_default()
        .split(|byte| *byte == b';')
        .skip(1)
        .filter_map(move |parameter| value_of(until_slash(parameter), identifier));
    of_cookies
        .chain(of_path)
        .map(unquoted)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .filter(|value| !value.is_empty())
}

/// A number for the session of `value`, equal for equal sessions whoever serves them: clone ids are left out, and
/// so is the cache id, four digits that may change within one session.
pub fn session_key(value: &str, affinity: &Affinity) -> u64 {
    let id = value.split(affinity.separator).next().unwrap_or_default().as_bytes();
    // Shorter ids cannot carry a cache id and 16 characters of their own: take them whole.
    let has_cache_id = id.len() >= 20 && id[..4].iter().all(u8::is_ascii_digit);
    let id = if has_cache_id { &id[4..] } else { id };
    key_of_bytes(id)
}

/// A number for any bytes, well mixed and the same everywhere.
pub fn key_of_bytes(bytes: &[u8]) -> u64 {
    // FNV-1a, then splitmix's last steps: FNV alone leaves the upper bits, which a sketch reads first, too even.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    crate::seed::Chance::new(hash).bits()
}

/// The values of all cookies of that name.
pub fn cookie_values<'a>(
    cookie_header_values: impl Iterator<Item = &'a [u8]>,
    name: &'a [u8],
) -> impl Iterator<Item = &'a [u8]> {
    cookie_header_values
        .flat_map(|header| header.split(|byte| *byte == b';'))
        .filter_map(move |pair| value_of(pair.trim_ascii(), name))
}

/// The value of `name=value`; None for another or an empty name.
fn value_of<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if name.is_empty() {
        return None;
    }
    pair.strip_prefix(name)?.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii_start)
}

fn until_slash(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'/').next().unwrap_or_default()
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests;
