//! W3C trace context (Trace Context Level 1): which trace a request belongs to, and what the next hop is told.
//!
//! Pure: chance comes from outside. Promise: what does not keep to the format byte by byte is never passed on or logged.

use std::fmt;

/// A `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// Never 0.
    pub trace_id: u128,
    /// The span of whoever sends it. Never 0.
    pub parent_id: u64,
    pub is_sampled: bool,
}

/// Longest `tracestate` that is passed on. 512: what the standard asks for at least.
const STATE_MAX_BYTES: usize = 512;
/// Most entries of a `tracestate`, by the standard.
const STATE_ENTRIES_MAX: usize = 32;

impl TraceParent {
    /// Reads `00-TRACE-PARENT-FLAGS`. A later version may have more behind; version ff is none.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let [v1, v2, b'-', rest @ ..] = value else { return None };
        let version = hex(&[*v1, *v2])?;
        let (trace, rest) = (rest.get(..32)?, rest.get(32..)?);
        let (parent, rest) = (rest.strip_prefix(b"-")?.get(..16)?, rest.get(17..)?);
        let (flags, rest) = (rest.strip_prefix(b"-")?.get(..2)?, rest.get(3..)?);
        let is_end_right = rest.is_empty() || (version > 0 && rest[0] == b'-');
        let (trace_id, parent_id, flags) = (hex(trace)?, hex(parent)? as u64, hex(flags)?);
        let is_whole = version != 0xff && is_end_right && trace_id != 0 && parent_id != 0;
        is_whole.then_some(Self { trace_id, parent_id, is_sampled: flags & 1 == 1 })
    }

    /// A trace that begins here.
    pub fn start(bits: [u64; 3], is_sampled: bool) -> Self {
        let trace_id = (u128::from(bits[0]) << 64 | u128::from(bits[1])).max(1);
        Self { trace_id, parent_id: bits[2].max(1), is_sampled }
    }

    /// The same trace, told by us.
    pub fn child(self, bits: u64) -> Self {
        Self { parent_id: bits.max(1), ..self }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, parent_id, is_sampled } = self;
        write!(out, "00-{trace_id:032x}-{parent_id:016x}-{:02x}", u8::from(*is_sampled))
    }
}

/// Lower case digits only, as the standard says.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |sum, byte| match byte {
        b'0'..=b'9' => Some(sum << 4 | u128::from(byte - b'0')),
        b'a'..=b'f' => Some(sum << 4 | u128::from(byte - b'a' + 10)),
        _ => None,
    })
}

/// Whether a `tracestate` may be passed on: bounded, printable, entries of the form `key=value`, no key twice.
pub fn is_state(value: &[u8]) -> bool {
    if value.len() > STATE_MAX_BYTES || !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return false;
    }
    let entries = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty());
    let mut keys: Vec<&[u8]> = Vec::new();
    for entry in entries {
        let Some(equals) = entry.iter().position(|byte| *byte == b'=') else { return false };
        let (key, value) = (&entry[..equals], &entry[equals + 1..]);
        let is_key_byte =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
        let is_key = !key.is_empty() && key.len() <= 256 && key.iter().all(is_key_byte);
        let is_value = !value.is_empty() && value.len() <= 256 && !value.contains(&b'=');
        if !is_key || !is_value || keys.contains(&key) || keys.len() == STATE_ENTRIES_MAX {
            return false;
        }
        keys.push(key);
    }
    !keys.is_empty()
}

#[cfg(test)]
mod tests;
