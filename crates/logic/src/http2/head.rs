//! The head of an HTTP/2 request, written as the text of an HTTP/1.1 request.
//!
//! Refuses what HTTP/2 forbids (RFC 9113, 8.2 and 8.3): pseudo headers that are missing, out of place or said twice,
//! and headers of one connection. What is written is then judged as strictly as any other head (`http::request`).

use crate::hpack::{Field, Kind};

/// What each field counts in the size of a list of headers, beside its bytes (RFC 9113, 6.5.2).
const FIELD_BYTES: usize = 32;
/// A list this many times as large as we have announced ends the connection: nobody honest comes near.
const ABUSE_FACTOR: usize = 4;
/// Scratch space beyond this is given back.
const KEPT_BYTES: usize = 1024;

/// Space for what comes in another order than it is written in.
#[derive(Debug, Default)]
pub struct Scratch {
    pseudo: Vec<u8>,
    cookies: Vec<u8>,
}

/// What the fields are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Request(Shape),
    Malformed,
    /// More than was announced as the largest list.
    TooLarge,
    /// So much more that it must be meant to harm.
    Abuse,
}

/// What matters of a request's head beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub is_head: bool,
    /// CONNECT for a WebSocket (RFC 8441), written as an upgrade.
    pub is_websocket: bool,
    /// As announced.
    pub length: Option<u64>,
}

/// Places of the pseudo headers in the scratch space.
const METHOD: usize = 0;
const SCHEME: usize = 1;
const PATH: usize = 2;
const AUTHORITY: usize = 3;
const PROTOCOL: usize = 4;

/// Takes one field after the other.
#[derive(Debug)]
pub struct HeadText<'a> {
    out: &'a mut Vec<u8>,
    scratch: &'a mut Scratch,
    /// From where to where the values of pseudo headers reach.
    pseudo: [Option<(usize, usize)>; 5],
    size: usize,
    size_max: usize,
    is_line_written: bool,
    is_malformed: bool,
    is_websocket: bool,
    is_head: bool,
    length: Option<u64>,
}

impl<'a> HeadText<'a> {
    /// Writes to `out`, which gets nothing of use where the verdict is not a request.
    pub fn new(out: &'a mut Vec<u8>, scratch: &'a mut Scratch, size_max: usize) -> Self {
        scratch.pseudo.clear();
        scratch.cookies.clear();
        Self {
            out,
            scratch,
            pseudo: [None; 5],
            size: 0,
            size_max,
            is_line_written: false,
            is_malformed: false,
            is_websocket: false,
            is_head: false,
            length: None,
        }
    }

    pub fn take(&mut self, field: Field<'_>) {
        self.size += field.name.len() + field.value.len() + FIELD_BYTES;
        if self.is_malformed || self.size > self.size_max {
            return;
        }
        let is_taken = match field.kind {
            Kind::Method => self.take_pseudo(METHOD, field.value),
            Kind::Scheme => self.take_pseudo(SCHEME, field.value),
            Kind::Path => self.take_pseudo(PATH, field.value),
            Kind::Authority => self.take_pseudo(AUTHORITY, field.value),
            Kind::Protocol => self.take_pseudo(PROTOCOL, field.value),
            Kind::Forbidden => None,
            Kind::Host | Kind::Cookie | Kind::ContentLength | Kind::WebSocketKey | Kind::Other => {
                self.take_header(field)
            }
        };
        self.is_malformed = is_taken.is_none();
    }

    /// None: it is out of place, or said twice.
    fn take_pseudo(&mut self, place: usize, value: &[u8]) -> Option<()> {
        if self.is_line_written || self.pseudo[place].is_some() {
            return None;
        }
        let start = self.scratch.pseudo.len();
        self.scratch.pseudo.extend_from_slice(value);
        self.pseudo[place] = Some((start, start + value.len()));
        Some(())
    }

    fn value(&self, place: usize) -> Option<&[u8]> {
        self.pseudo[place].map(|(start, end)| &self.scratch.pseudo[start..end])
    }

    fn take_header(&mut self, field: Field<'_>) -> Option<()> {
        if !self.is_line_written {
            self.write_line()?;
        }
        match field.kind {
            Kind::Cookie => {
                if !self.scratch.cookies.is_empty() {
                    self.scratch.cookies.extend_from_slice(b"; ");
                }
                self.scratch.cookies.extend_from_slice(field.value);
                return Some(());
            }
            // Another Host than the authority stays beside it, and the request is refused for having two.
            Kind::Host if self.is_authority(field.value) => return Some(()),
            // The member gets one of ours.
            Kind::WebSocketKey if self.is_websocket => return Some(()),
            Kind::ContentLength => {
                let length = std::str::from_utf8(field.value).ok()?.parse().ok()?;
                if self.length.replace(length).is_some() {
                    return None;
                }
            }
            _ => {}
        }
        write_header(field.name, field.value, self.out);
        Some(())
    }

    fn is_authority(&self, host: &[u8]) -> bool {
        self.value(AUTHORITY).is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    }

    /// The request line and Host, when all pseudo headers have come.
    fn write_line(&mut self) -> Option<()> {
        self.is_line_written = true;
        let Self { scratch, pseudo, out, .. } = self;
        let value = |place: usize| pseudo[place].map(|(start, end)| &scratch.pseudo[start..end]);
        let method = value(METHOD)?;
        let authority = value(AUTHORITY).unwrap_or_default();
        let protocol = value(PROTOCOL);
        let is_connect = method == b"CONNECT";
        let target = match (value(PATH), value(SCHEME)) {
            (None, None) if is_connect && protocol.is_none() && !authority.is_empty() => authority,
            (Some(path), Some(_)) if is_connect == protocol.is_some() => path,
            _ => return None,
        };
        self.is_websocket = protocol == Some(b"websocket");
        self.is_head = method == b"HEAD";
        out.extend_from_slice(if self.is_websocket { b"GET" } else { method });
        out.push(b' ');
        out.extend_from_slice(target);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if !authority.is_empty() {
            write_header(b"Host", authority, out);
        }
        Some(())
    }

    /// Ends the head of a request that ends with it, or else has a body. `challenge` goes with a WebSocket.
    pub fn end(mut self, has_ended: bool, challenge: impl FnOnce() -> String) -> Verdict {
        if self.size > self.size_max {
            let is_abuse = self.size > self.size_max.saturating_mul(ABUSE_FACTOR);
            return if is_abuse { Verdict::Abuse } else { Verdict::TooLarge };
        }
        if !self.is_malformed && !self.is_line_written {
            self.is_malformed = self.write_line().is_none();
        }
        let lacks_body = has_ended && self.length.is_some_and(|length| length > 0);
        // What follows a WebSocket's head is no body.
        let has_two_forms = self.is_websocket && self.length.is_some();
        if self.is_malformed || lacks_body || has_two_forms {
            return Verdict::Malformed;
        }
        if !self.scratch.cookies.is_empty() {
            write_header(b"cookie", &self.scratch.cookies, self.out);
        }
        if self.is_websocket {
            self.out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: websocket\r\n");
            write_header(b"Sec-WebSocket-Key", challenge().as_bytes(), self.out);
        } else if !has_ended && self.length.is_none() {
            self.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        self.out.extend_from_slice(b"\r\n");
        self.scratch.pseudo.shrink_to(KEPT_BYTES);
        self.scratch.cookies.shrink_to(KEPT_BYTES);
        let Self { is_head, is_websocket, length, .. } = self;
        Verdict::Request(Shape { is_head, is_websocket, length })
    }
}

/// Appends a field of trailers as a line; false where it must not be among them.
pub fn write_trailer(field: Field<'_>, out: &mut Vec<u8>) -> bool {
    match field.kind {
        Kind::Method | Kind::Scheme | Kind::Path | Kind::Authority | Kind::Protocol | Kind::Forbidden => {
            false
        }
        Kind::Host | Kind::Cookie | Kind::ContentLength | Kind::WebSocketKey | Kind::Other => {
            write_header(field.name, field.value, out);
            true
        }
    }
}

fn write_header(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
