//! Says whether an answer goes out compressed, from what its request accepts and its head says.
//!
//! Pure. Promise: only whole, plain, compressible bodies are touched; a part (206), an answer that is compressed
//! already, one that forbids it (`no-transform`) and one that is signed stay as they are.

/// A body shorter than this gains nothing: head and frame of gzip take 18 bytes, and it fits one packet anyway.
const LENGTH_MIN_BYTES: u64 = 256;

/// What an answer's head says that bears on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnswerFacts<'a> {
    pub status: u16,
    /// None where the head does not say.
    pub length: Option<u64>,
    pub content_type: Option<&'a [u8]>,
    pub content_encoding: Option<&'a [u8]>,
    pub cache_control: Option<&'a [u8]>,
    /// It is a part, or carries a digest of exactly these bytes.
    pub is_bound_to_bytes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Compress,
    /// As it is, but another client would get it compressed: caches must know.
    Vary,
    Leave,
}

/// Whether `Accept-Encoding` takes gzip (RFC 9110, 12.5.3). Without the header it is not sent.
pub fn takes_gzip(accept_encoding: &[u8]) -> bool {
    let mut any = None;
    for part in accept_encoding.split(|byte| *byte == b',') {
        let mut pieces = part.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let coding = pieces.next().unwrap_or_default();
        let is_wanted = !pieces.any(is_zero_weight);
        if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
            return is_wanted;
        }
        if coding == b"*" {
            any = Some(is_wanted);
        }
    }
    any.unwrap_or(false)
}

fn is_zero_weight(parameter: &[u8]) -> bool {
    let Some(equals) = parameter.iter().position(|byte| *byte == b'=') else { return false };
    let (name, value) = (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
    name.eq_ignore_ascii_case(b"q")
        && value.first() == Some(&b'0')
        && value[1..].iter().all(|b| b".0".contains(b))
}

/// Whether an answer on a route that compresses goes out compressed to a client that takes gzip or not.
pub fn judge(facts: &AnswerFacts<'_>, takes_gzip: bool) -> Verdict {
    let has_body = !matches!(facts.status, 0..=199 | 204 | 205 | 206 | 304);
    let is_plain = facts.content_encoding.is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity"));
    let is_long = facts.length.is_none_or(|length| length >= LENGTH_MIN_BYTES);
    let is_left_alone = facts.is_bound_to_bytes || facts.cache_control.is_some_and(forbids);
    if facts.status == 304 && !is_left_alone {
        return Verdict::Vary;
    }
    let is_compressible = facts.content_type.is_some_and(is_compressible);
    if !has_body || !is_plain || !is_long || is_left_alone || !is_compressible {
        return Verdict::Leave;
    }
    if takes_gzip { Verdict::Compress } else { Verdict::Vary }
}

fn forbids(cache_control: &[u8]) -> bool {
    let mut directives = cache_control.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    directives.any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// Text in any form; pictures, films and archives are compressed already, and gRPC frames its own.
fn is_compressible(content_type: &[u8]) -> bool {
    const WHOLE: [&[u8]; 9] = [
        b"application/json",
        b"application/javascript",
        b"application/xml",
        b"application/x-javascript",
        b"application/wasm",
        b"application/x-ndjson",
        b"application/manifest+json",
        b"image/svg+xml",
        b"image/x-icon",
    ];
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    let kind = content_type[..end].trim_ascii().to_ascii_lowercase();
    kind.starts_with(b"text/")
        || kind.ends_with(b"+json")
        || kind.ends_with(b"+xml")
        || WHOLE.contains(&kind.as_slice())
}

#[cfg(test)]
mod tests;
