//! Reads a member's answer head strictly and writes it anew for the client.
//!
//! Interim answers (1xx) are heads too; only 101 ends the conversation in HTTP.

use super::body::Framing;
use super::head::{HeaderSpace, Scan, copy_kept, is_protocol, length, named, scan};
use super::refusal::Refusal;
use super::request::HeadLimits;
use httparse::Header;

/// What an answer depends on in its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub is_head: bool,
    /// HTTP/1.1; false means 1.0.
    pub is_version_11: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
}

/// An answer head that kept every rule.
#[derive(Debug)]
pub struct ResponseHead<'b, 'h> {
    /// Bytes of the head with its empty line.
    pub length: usize,
    pub status: u16,
    pub framing: Framing,
    /// Whether the member's connection may carry another request.
    pub member_keeps_alive: bool,
    /// Whether the client's connection ends with this answer.
    pub client_closes: bool,
    /// The body goes out without its chunk framing, because the client speaks HTTP/1.0.
    pub unchunk: bool,
    reason: &'b str,
    head: &'b [u8],
    headers: &'h [Header<'b>],
    scan: Scan,
    asked: Asked,
}

/// What a route changes in a head that goes to a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnswerChanges<'a> {
    /// Headers that are left out, by `ResponseHead::named`.
    pub dropped: u128,
    /// Whole lines that are added.
    pub lines: &'a [u8],
    /// The body goes out in chunks of our own, whatever its framing was; only for clients of HTTP/1.1.
    pub rechunks: bool,
}

/// Reads one answer head from the start of `bytes`. `Ok(None)`: it is not complete yet.
pub fn parse<'b, 'h>(
    bytes: &'b [u8],
    space: &'h mut HeaderSpace<'b>,
    limits: HeadLimits,
    asked: Asked,
) -> Result<Option<ResponseHead<'b, 'h>>, Refusal> {
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut space.0);
    let Some(length) = length(parsed, bytes, limits.size_max_bytes)? else { return Ok(None) };
    let (head, headers) = (&bytes[..length], &*response.headers);
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(Refusal::Malformed);
    };
    // The parser skips empty lines before the status line; a member that sends them is out of step with us.
    if !head.starts_with(b"HTTP/1.") {
        return Err(Refusal::Malformed);
    }
    let scan = scan(head, headers)?;
    if scan.is_chunked && version != 1 {
        return Err(Refusal::EncodingInVersion10);
    }
    let framing = framing(status, &scan, asked)?;
    let says_keep_alive =
        if version == 1 { !scan.says_close } else { scan.says_keep_alive && !scan.says_close };
    let unchunk = matches!(framing, Framing::Chunked(_)) && !asked.is_version_11;
    let until_close = framing == Framing::UntilClose || unchunk;
    Ok(Some(ResponseHead {
        length,
        status,
        framing,
        member_keeps_alive: says_keep_alive && framing != Framing::UntilClose,
        client_closes: status >= 200 && (!asked.keep_alive || until_close),
        unchunk,
        reason: response.reason.unwrap_or_default(),
        head,
        headers,
        scan,
        asked,
    }))
}

fn framing(status: u16, scan: &Scan, asked: Asked) -> Result<Framing, Refusal> {
    match status {
        101 if !asked.upgrade => Err(Refusal::UpgradeNotAsked),
        100..=199 | 204 | 304 => Ok(Framing::Done),
        200..=999 if asked.is_head => Ok(Framing::Done),
        200..=999 if scan.is_chunked => Ok(Framing::CHUNKED),
        200..=999 => Ok(scan.length.map_or(Framing::UntilClose, Framing::length)),
        _ => Err(Refusal::StatusInvalid),
    }
}

impl ResponseHead<'_, '_> {
    /// Whether another head follows this one.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Value of the first header of that name. A linear search: not for the common path.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// What Content-Length says.
    pub fn content_length(&self) -> Option<u64> {
        self.scan.length
    }

    /// The places of headers with such names, a bit each.
    pub fn named(&self, is_meant: impl Fn(&str) -> bool) -> u128 {
        named(self.headers, is_meant)
    }

    /// The bytes of the head, in which the values of `fields` lie.
    pub fn bytes(&self) -> &[u8] {
        self.head
    }

    /// How many headers the member sent.
    pub fn header_count(&self) -> usize {
        self.headers.len()
    }

    /// Headers for a client that knows no connection of one request and frames bodies otherwise: HTTP/2. Without Via.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let lengths = if self.status == 204 { self.length_bits() } else { 0 };
        let dropped = self.scan.hop | self.scan.private | lengths;
        let kept = self.headers.iter().enumerate().filter(move |(at, _)| dropped & (1 << at) == 0);
        kept.map(|(_, header)| (header.name, header.value))
    }

    /// Appends the head as the client gets it.
    pub fn write(&self, via: &str, out: &mut Vec<u8>) {
        self.write_changed(via, &AnswerChanges::default(), out);
    }

    /// Appends the head as the client gets it, with what the route changes.
    pub fn write_changed(&self, via: &str, changes: &AnswerChanges<'_>, out: &mut Vec<u8>) {
        let lengths =
            if self.status == 204 || self.status < 200 || changes.rechunks { self.length_bits() } else { 0 };
        out.reserve(self.head.len() + 96);
        out.extend_from_slice(b"HTTP/1.1 ");
        // The digits as the member sent them: `HTTP/1.x NNN`.
        out.extend_from_slice(&self.head[9..12]);
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        let dropped = self.scan.hop | self.scan.private | lengths | changes.dropped;
        copy_kept(self.head, self.headers, dropped, out);
        out.extend_from_slice(changes.lines);
        let is_chunked = (self.scan.is_chunked && !self.unchunk) || changes.rechunks;
        if is_chunked && self.status >= 200 && self.status != 204 {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if self.status == 101 {
            out.extend_from_slice(b"Connection: upgrade\r\n");
            let protocol = self.scan.upgrade.map(|at| self.headers[usize::from(at)].value);
            if let Some(protocol) = protocol.filter(|protocol| is_protocol(protocol)) {
                out.extend_from_slice(b"Upgrade: ");
                out.extend_from_slice(protocol);
                out.extend_from_slice(b"\r\n");
            }
        } else if self.client_closes {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if !self.asked.is_version_11 && self.status >= 200 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"Via: 1.1 ");
        out.extend_from_slice(via.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// Content-Length has no meaning in 1xx and 204 and some clients wait for that body.
    fn length_bits(&self) -> u128 {
        self.named(|name| name.eq_ignore_ascii_case("content-length"))
    }
}

#[cfg(test)]
mod tests;
