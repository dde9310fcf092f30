//! Reads a request head strictly and writes it anew for a member.
//!
//! Promise: exactly one reading is possible of what `write` gives out. Header order and spelling are kept.

use super::body::Framing;
use super::head::{HeaderSpace, check_line_lengths, copy_kept, is_method, is_protocol, length, named, scan};
use super::private::{self, PrivateHeaders};
use super::refusal::Refusal;
use crate::actions::is_same_name;
use httparse::Header;
use std::net::SocketAddr;

/// Bounds that the configuration sets.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    pub size_max_bytes: usize,
    pub header_count_max: usize,
}

/// A request head that kept every rule. Borrows the bytes that it was read from.
#[derive(Debug)]
pub struct RequestHead<'b, 'h> {
    /// Bytes of the head with its empty line, and of an empty line before it.
    pub length: usize,
    pub method: &'b str,
    /// Path and query, or `*`. A path that is missing before its query is `/`: only `path` and `write` say so.
    pub target: &'b str,
    /// As sent, with port; empty for HTTP/1.0 without Host.
    pub host: &'b [u8],
    pub framing: Framing,
    /// HTTP/1.1; false means 1.0.
    pub is_version_11: bool,
    pub keep_alive: bool,
    /// The protocol that it asks to switch to.
    pub upgrade: Option<&'b [u8]>,
    pub expects_continue: bool,
    head: &'b [u8],
    headers: &'h [Header<'b>],
    scan: super::head::Scan,
}

/// What the router adds to a request.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// The client's address as text, IPv6 without brackets.
    pub client: &'a str,
    /// Where it came in: the host of an old client that names none.
    pub server: SocketAddr,
    /// Whether the client may say itself whom it speaks for.
    pub is_trusted: bool,
    /// `http` or `https`: how the client reached us.
    pub scheme: &'a str,
    /// Pseudonym in Via.
    pub via: &'a str,
    /// It came over HTTP/2 and was written as HTTP/1.1 by ourselves.
    pub is_http2: bool,
    pub private: PrivateHeaders<'a>,
    pub certificate: CertificateHeader<'a>,
}

/// The header in which members get the client's certificate.
#[derive(Debug, Clone, Copy, Default)]
pub struct CertificateHeader<'a> {
    /// Names under which members believe it: nobody else may say them.
    pub dropped: &'a [String],
    /// Name and value for this client.
    pub added: Option<(&'a str, &'a str)>,
}

/// What a route changes in a head that goes to a member.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadChanges<'a> {
    /// Instead of the request's own target; empty keeps it.
    pub target: &'a [u8],
    /// Headers that are left out, by `RequestHead::named`.
    pub dropped: u128,
    /// Whole lines that are added.
    pub lines: &'a [u8],
}

/// Reads one request head from the start of `bytes`. `Ok(None)`: it is not complete yet.
pub fn parse<'b, 'h>(
    bytes: &'b [u8],
    space: &'h mut HeaderSpace<'b>,
    limits: HeadLimits,
) -> Result<Option<RequestHead<'b, 'h>>, Refusal> {
    let skipped = leading_line(bytes)?;
    let bytes = &bytes[skipped..];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut space.0);
    let Some(length) = length(parsed, bytes, limits.size_max_bytes)? else { return Ok(None) };
    let (head, headers) = (&bytes[..length], &*request.headers);
    if headers.len() > limits.header_count_max {
        return Err(Refusal::TooManyHeaders);
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Refusal::Malformed);
    };
    check_line_lengths(head, headers)?;
    let mut scan = scan(head, headers)?;
    scan.note_odd_length(head, headers);
    if scan.content_types > 1 {
        return Err(Refusal::ContentTypeTwice);
    }
    if scan.expects_other {
        return Err(Refusal::Expectation);
    }
    let is_version_11 = version == 1;
    let host = scan.host.map(|at| headers[usize::from(at)].value);
    check_host(host, is_version_11)?;
    let target = check_target(method, target, host)?;
    if scan.is_chunked && !is_version_11 {
        return Err(Refusal::EncodingInVersion10);
    }
    let framing = if scan.is_chunked { Framing::CHUNKED } else { Framing::length(scan.length.unwrap_or(0)) };
    let keep_alive = if is_version_11 { !scan.says_close } else { scan.says_keep_alive && !scan.says_close };
    Ok(Some(RequestHead {
        length: skipped + length,
        method,
        target,
        host: host.unwrap_or_default(),
        framing,
        is_version_11,
        keep_alive,
        upgrade: upgrade(&scan, headers, is_version_11, framing),
        expects_continue: scan.expects_continue && is_version_11,
        head,
        headers,
        scan,
    }))
}

/// One empty line before a request is common and harmless (RFC 9112, 2.2); more are refused.
fn leading_line(bytes: &[u8]) -> Result<usize, Refusal> {
    match bytes {
        [b'\r', b'\n', b'\r', ..] => Err(Refusal::LeadingLines),
        [b'\n', ..] => Err(Refusal::BareLineFeed),
        [b'\r', b'\n', ..] => Ok(2),
        _ => Ok(0),
    }
}

fn check_host(host: Option<&[u8]>, is_version_11: bool) -> Result<(), Refusal> {
    match host {
        None if is_version_11 => Err(Refusal::HostMissing),
        None => Ok(()),
        Some(host) if is_host(host) => Ok(()),
        Some(_) => Err(Refusal::HostInvalid),
    }
}

/// Bytes of a DNS name or an IPv4 address: one look for each byte of every request's host.
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

/// A DNS name, an IPv4 address or an IPv6 address in brackets, with an optional port.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => match rest.iter().position(|byte| *byte == b']') {
            Some(end) if end > 0 => (&rest[..end], &rest[end + 1..]),
            _ => return false,
        },
        None => host.split_at(host.iter().position(|byte| *byte == b':').unwrap_or(host.len())),
    };
    let is_bracketed = host.starts_with(b"[");
    let is_name_byte = |byte: &u8| {
        if is_bracketed {
            byte.is_ascii_hexdigit() || b":.".contains(byte)
        } else {
            NAME_BYTES[usize::from(*byte)]
        }
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !name.is_empty() && name.len() <= 255 && name.iter().all(is_name_byte) && is_port
}

/// The target as a member shall see it: path and query, or `*`.
fn check_target<'b>(method: &str, target: &'b str, host: Option<&[u8]>) -> Result<&'b str, Refusal> {
    if !is_method(method) {
        return Err(Refusal::Method);
    }
    if method == "CONNECT" {
        return Err(Refusal::Connect);
    }
    // A fragment is the client's own affair; some servers cut it off and others do not.
    if !target.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'#') {
        return Err(Refusal::Target);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(target);
    }
    let has_prefix =
        |prefix: &str| target.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let rest = match () {
        () if has_prefix("http://") => &target[7..],
        () if has_prefix("https://") => &target[8..],
        () => return Err(Refusal::Target),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !is_host(authority.as_bytes()) {
        return Err(Refusal::Target);
    }
    if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority.as_bytes())) {
        return Err(Refusal::HostDiffersFromTarget);
    }
    if host.is_none() {
        return Err(Refusal::HostMissing);
    }
    Ok(match path {
        // The server as a whole (RFC 9112, 3.2.4).
        "" if method == "OPTIONS" => "*",
        "" => "/",
        path => path,
    })
}

/// An upgrade that may be passed on: asked for properly, without a body, and not to HTTP/2 in clear text, which
/// would take later requests out of our sight.
fn upgrade<'b>(
    scan: &super::head::Scan,
    headers: &[Header<'b>],
    is_version_11: bool,
    framing: Framing,
) -> Option<&'b [u8]> {
    let protocol = headers[usize::from(scan.upgrade?)].value;
    let is_allowed = is_version_11
        && scan.says_upgrade
        && framing.is_done()
        && is_protocol(protocol)
        && !protocol.eq_ignore_ascii_case(b"h2c");
    is_allowed.then_some(protocol)
}

impl<'b> RequestHead<'b, '_> {
    /// Host without port, as sent.
    pub fn host_name(&self) -> &'b [u8] {
        let after_address = self.host.iter().rposition(|byte| *byte == b']').unwrap_or(0);
        match self.host[after_address..].iter().position(|byte| *byte == b':') {
            Some(colon) => &self.host[..after_address + colon],
            None => self.host,
        }
    }

    /// The port that Host names.
    pub fn port(&self) -> Option<u16> {
        let digits = self.host.get(self.host_name().len() + 1..)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Path without query.
    pub fn path(&self) -> &'b [u8] {
        let target = self.target.as_bytes();
        if target.first() == Some(&b'?') {
            return b"/";
        }
        &target[..target.iter().position(|byte| *byte == b'?').unwrap_or(target.len())]
    }

    /// The head as it came, with its empty line.
    pub fn bytes(&self) -> &'b [u8] {
        self.head
    }

    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether doing it twice has the effect of doing it once (RFC 9110, 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        let may_repeat = crate::retry::is_idempotent(self.method.as_bytes());
        may_repeat || self.header("idempotency-key").is_some_and(|key| !key.trim_ascii().is_empty())
    }

    /// Values of all Cookie headers.
    pub fn cookies(&self) -> impl Iterator<Item = &'b [u8]> + use<'b, '_> {
        let mut rest = self.scan.cookies;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let at = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                self.headers[at].value
            })
        })
    }

    /// What a client shows of its view of a cluster (see `wire::client_view`).
    pub fn view_claim(&self) -> Option<&'b [u8]> {
        self.scan.view.map(|at| self.headers[usize::from(at)].value)
    }

    /// Whether another cell has sent it here: then it goes to no third one (see `spread`).
    pub fn is_spilled(&self) -> bool {
        self.scan.is_spilled
    }

    /// Value of the first header of that name. A linear search: not for the common path.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// Query without `?`; None where the target has none.
    pub fn query(&self) -> Option<&'b [u8]> {
        self.target.as_bytes().get(self.path().len() + 1..)
    }

    /// The places of headers with such names, a bit each.
    pub fn named(&self, is_meant: impl Fn(&str) -> bool) -> u128 {
        named(self.headers, is_meant)
    }

    /// Appends the head as a member gets it.
    pub fn write(&self, add: &Forwarding<'_>, out: &mut Vec<u8>) {
        self.write_changed(add, &HeadChanges::default(), out);
    }

    /// Appends the head as a member gets it, with what its route changes. Framing and Host stay what they are.
    pub fn write_changed(&self, add: &Forwarding<'_>, changes: &HeadChanges<'_>, out: &mut Vec<u8>) {
        let private = if self.keeps_private(add) { 0 } else { self.scan.private };
        let is_certificate = |name: &str| add.certificate.dropped.iter().any(|own| is_same_name(name, own));
        let certificate = if add.certificate.dropped.is_empty() { 0 } else { self.named(is_certificate) };
        let private = private | certificate;
        let forwarded = if add.is_trusted { 0 } else { self.scan.forwarded };
        let dropped = self.scan.hop | private | forwarded | changes.dropped;
        out.reserve(self.head.len() + 256);
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        let own = self.target.as_bytes();
        let target = if changes.target.is_empty() { own } else { changes.target };
        if target.starts_with(b"?") {
            out.push(b'/');
        }
        out.extend_from_slice(target);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if self.host.is_empty() {
            // Members want one, and so do we when it is read again for another member.
            out.extend_from_slice(format!("Host: {}\r\n", add.server).as_bytes());
        }
        copy_kept(self.head, self.headers, dropped, out);
        out.extend_from_slice(changes.lines);
        if self.scan.is_chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if self.scan.is_length_odd {
            let length = self.scan.length.unwrap_or(0);
            out.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        self.write_forwarded(add, out);
        if let Some((name, value)) = add.certificate.added {
            let line = [name, ": ", value, "\r\n"];
            line.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        }
        if let PrivateHeaders::Sent { port, tls, .. } = add.private
            && !self.speaks_for_another(add)
        {
            let host = self.host_name();
            let (scheme, is_version_11) = (add.scheme, self.is_version_11);
            let client = add.client;
            private::write(private::Facts { host, port, scheme, is_version_11, client, tls }, out);
        }
        if let Some(protocol) = self.upgrade {
            out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
            out.extend_from_slice(protocol);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether the caller is a router that we trust and tells about its own client.
    fn speaks_for_another(&self, add: &Forwarding<'_>) -> bool {
        add.is_trusted && self.scan.has_private_host
    }

    fn keeps_private(&self, add: &Forwarding<'_>) -> bool {
        let drops_strangers = match add.private {
            PrivateHeaders::NotSent => true,
            PrivateHeaders::Sent { drops_strangers, .. } => drops_strangers,
        };
        !drops_strangers || self.speaks_for_another(add)
    }

    fn write_forwarded(&self, add: &Forwarding<'_>, out: &mut Vec<u8>) {
        let mut line = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        let client = add.client.as_bytes();
        line(&[b"X-Forwarded-For: ", client, b"\r\n"]);
        if !(add.is_trusted && self.scan.has_forwarded_proto) {
            line(&[b"X-Forwarded-Proto: ", add.scheme.as_bytes(), b"\r\n"]);
        }
        let is_kept = add.is_trusted && self.scan.has_forwarded_host;
        if !is_kept && !self.host.is_empty() {
            line(&[b"X-Forwarded-Host: ", self.host, b"\r\n"]);
        }
        // RFC 7239: an IPv6 address stands in brackets and quotes, a host with a port in quotes.
        let (open, close): (&[u8], &[u8]) =
            if client.contains(&b':') { (b"Forwarded: for=\"[", b"]\"") } else { (b"Forwarded: for=", b"") };
        line(&[open, client, close]);
        if !self.host.is_empty() {
            line(&[b";host=\"", self.host, b"\""]);
        }
        line(&[
            b";proto=",
            add.scheme.as_bytes(),
            b"\r\nVia: ",
            match (add.is_http2, self.is_version_11) {
                (true, _) => b"2.0 ",
                (false, true) => b"1.1 ",
                (false, false) => b"1.0 ",
            },
        ]);
        line(&[add.via.as_bytes(), b"\r\n"]);
    }
}

#[cfg(test)]
mod tests;
