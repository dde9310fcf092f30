//! What request and response heads have in common: one pass over the headers, and copying those that stay.
//!
//! Headers stay in their order and their spelling; runs of kept lines are copied in one piece.

use super::body::is_token_byte;
use super::private::is_private;
use super::refusal::Refusal;
use httparse::{Header, Status};
use std::mem::MaybeUninit;

/// Most headers of one head. 128: one bit each in a `u128`; the configured limit is at most this.
pub const HEADERS_MAX: usize = 128;
/// Longest line of a head. 8190: Apache's default, which applications are made for.
const LINE_MAX_BYTES: usize = 8190;

/// Room for parsed headers, on the caller's stack so that parsing allocates nothing.
pub struct HeaderSpace<'b>(pub(super) [MaybeUninit<Header<'b>>; HEADERS_MAX]);

impl HeaderSpace<'_> {
    pub fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; HEADERS_MAX])
    }
}

impl Default for HeaderSpace<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// What one pass over the headers found. Bits are header positions.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Never forwarded: they concern one connection only, or are written anew.
    pub hop: u128,
    /// X-Forwarded-*, Forwarded: forwarded only for trusted callers.
    pub forwarded: u128,
    /// `$WS...`, from or for a router only.
    pub private: u128,
    pub has_private_host: bool,
    pub cookies: u128,
    pub has_forwarded_proto: bool,
    pub has_forwarded_host: bool,
    pub length: Option<u64>,
    length_at: u8,
    /// Written in a way that not every server reads: it is not forwarded and must be written anew.
    pub is_length_odd: bool,
    pub is_chunked: bool,
    pub says_close: bool,
    pub says_keep_alive: bool,
    pub says_upgrade: bool,
    pub names_others: bool,
    pub upgrade: Option<u8>,
    pub host: Option<u8>,
    /// `Muster-View`: between clients and routers, never further.
    pub view: Option<u8>,
    /// `Muster-Spilled`: a router of another cell has sent it, and it must not leave this one. Never sent on as it came.
    pub is_spilled: bool,
    pub expects_continue: bool,
    pub expects_other: bool,
    pub content_types: u8,
}

/// The length of a complete head, from what the parser made of `bytes`. `Ok(None)`: more is needed.
pub(super) fn length(
    parsed: httparse::Result<usize>,
    bytes: &[u8],
    size_max_bytes: usize,
) -> Result<Option<usize>, Refusal> {
    match parsed {
        Ok(Status::Complete(length)) if length > size_max_bytes => Err(Refusal::HeadTooLarge),
        Ok(Status::Complete(length)) => Ok(Some(length)),
        Ok(Status::Partial) if bytes.len() > size_max_bytes => Err(Refusal::HeadTooLarge),
        Ok(Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(Refusal::TooManyHeaders),
        Err(_) => Err(Refusal::Malformed),
    }
}

/// Where `part`, which lies within `whole`, begins.
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// Whether two names are the same but for capitals, eight bytes at a time. Both are tokens, as the parser has checked: of
/// their bytes only letters, and `^` and `~`, which no name that we know has, differ by nothing but this bit.
fn is(name: &str, other: &str) -> bool {
    const SMALL: u8 = 0x20;
    let (name, other) = (name.as_bytes(), other.as_bytes());
    if name.len() != other.len() {
        return false;
    }
    let (words, rest) = name.as_chunks::<8>();
    let (other_words, other_rest) = other.as_chunks::<8>();
    let small = |word: &[u8; 8]| u64::from_ne_bytes(*word) | u64::from_ne_bytes([SMALL; 8]);
    words.iter().zip(other_words).all(|(a, b)| small(a) == small(b))
        && rest.iter().zip(other_rest).all(|(a, b)| a | SMALL == b | SMALL)
}

/// Like `is`, with `_` for `-`: how servers that map header names to variables would read it.
fn is_mapped(name: &str, other: &str) -> bool {
    is(name, other) || (name.len() == other.len() && is_mapped_by_byte(name, other))
}

fn is_mapped_by_byte(name: &str, other: &str) -> bool {
    let mut bytes = name.bytes().zip(other.bytes());
    bytes.all(|(a, b)| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-'))
}

/// X-Forwarded-Port, -Prefix, -Ssl and so on: applications take them for a proxy's word.
fn is_forwarded(name: &str) -> bool {
    name.as_bytes().first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'x'))
        && name.get(..12).is_some_and(|start| is_mapped(start, "x-forwarded-"))
}

/// Looks at each header once. `head` ends with its empty line.
pub(super) fn scan(head: &[u8], headers: &[Header<'_>]) -> Result<Scan, Refusal> {
    check_lines(head, headers)?;
    let mut scan = Scan::default();
    for (at, header) in headers.iter().enumerate() {
        scan.look_at(at, header)?;
    }
    if scan.is_chunked && scan.length.is_some() {
        return Err(Refusal::LengthAndEncoding);
    }
    if scan.names_others {
        scan.drop_named_by_connection(headers);
    }
    Ok(scan)
}

/// No line of a request is too long. What a member sends is bounded by the size of the whole head alone.
pub(super) fn check_line_lengths(head: &[u8], headers: &[Header<'_>]) -> Result<(), Refusal> {
    let mut start = 0;
    for header in headers {
        let next = offset(head, header.name.as_bytes());
        if next - start > LINE_MAX_BYTES + 2 {
            return Err(Refusal::FieldTooLarge);
        }
        start = next;
    }
    if head.len() - start > LINE_MAX_BYTES + 4 { Err(Refusal::FieldTooLarge) } else { Ok(()) }
}

/// Every line ends in CRLF. The parser accepts a bare LF; we do not.
fn check_lines(head: &[u8], headers: &[Header<'_>]) -> Result<(), Refusal> {
    for header in headers {
        let next = offset(head, header.name.as_bytes());
        if head.get(next.wrapping_sub(2)) != Some(&b'\r') {
            return Err(Refusal::BareLineFeed);
        }
    }
    if head.ends_with(b"\r\n\r\n") { Ok(()) } else { Err(Refusal::BareLineFeed) }
}

impl Scan {
    /// By length first: most headers are none of ours and cost one comparison of a number.
    #[inline]
    fn look_at(&mut self, at: usize, header: &Header<'_>) -> Result<(), Refusal> {
        let (name, bit) = (header.name, 1_u128 << at);
        match name.len() {
            2 if is(name, "te") => self.hop |= bit,
            4 if is(name, "host") => {
                if self.host.is_some() {
                    return Err(Refusal::HostTwice);
                }
                self.host = Some(at as u8);
            }
            6 if is(name, "cookie") => self.cookies |= bit,
            6 if is(name, "expect") => {
                let is_continue = header.value.eq_ignore_ascii_case(b"100-continue");
                self.expects_continue |= is_continue;
                self.expects_other |= !is_continue;
            }
            7 if is(name, "upgrade") => {
                self.hop |= bit;
                self.upgrade = Some(at as u8);
            }
            9 if is(name, "forwarded") => self.forwarded |= bit,
            10 if is(name, "connection") => {
                self.hop |= bit;
                self.read_connection(header.value);
            }
            10 if is(name, "keep-alive") => self.hop |= bit,
            11 if is(name, "muster-view") => {
                self.hop |= bit;
                self.view = Some(at as u8);
            }
            12 if is(name, "content-type") => self.content_types += 1,
            14 if is_mapped(name, "content-length") => {
                self.length_at = at as u8;
                self.read_length(name, header.value)?;
            }
            14 if is(name, "http2-settings") => self.hop |= bit,
            14 if is_mapped(name, "muster-spilled") => {
                self.hop |= bit;
                self.is_spilled = true;
            }
            15 if is_mapped(name, "x-forwarded-for") => self.forwarded |= bit,
            16 if is_mapped(name, "x-forwarded-host") => {
                self.forwarded |= bit;
                self.has_forwarded_host = true;
            }
            16 if is(name, "proxy-connection") => self.hop |= bit,
            17 if is_mapped(name, "transfer-encoding") => {
                self.hop |= bit;
                self.read_encoding(name, header.value)?;
            }
            17 if is_mapped(name, "x-forwarded-proto") => {
                self.forwarded |= bit;
                self.has_forwarded_proto = true;
            }
            13.. if is_forwarded(name) => self.forwarded |= bit,
            9 if is_mapped(name, "x-real-ip") => self.forwarded |= bit,
            20 if is(name, "_ws_haprt_wlmversion") => self.private |= bit,
            _ if name.starts_with('$') && is_private(name) => {
                self.private |= bit;
                self.has_private_host |= is(name, "$wssn");
            }
            _ => {}
        }
        Ok(())
    }

    fn read_connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.says_keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.says_close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.says_upgrade = true;
            } else if !option.is_empty() {
                self.names_others = true;
            }
        }
    }

    fn read_length(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        if name.contains('_') {
            return Err(Refusal::AmbiguousName);
        }
        if self.length.is_some() {
            return Err(Refusal::LengthTwice);
        }
        // 18 digits fit 64 bits with room for sums.
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::LengthInvalid);
        }
        self.length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    /// Tabs and more than one space around a length, and zeros before it, are allowed, and yet refused by some servers.
    pub fn note_odd_length(&mut self, head: &[u8], headers: &[Header<'_>]) {
        if self.length.is_none() {
            return;
        }
        let value = headers[usize::from(self.length_at)].value;
        let start = offset(head, value);
        let is_plain = matches!(&head[start - 2..start], b": " | [_, b':'])
            && head[start + value.len()..].starts_with(b"\r\n")
            && (value.len() == 1 || value[0] != b'0');
        if !is_plain {
            self.is_length_odd = true;
            self.hop |= 1 << self.length_at;
        }
    }

    fn read_encoding(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        if name.contains('_') {
            return Err(Refusal::AmbiguousName);
        }
        if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::EncodingUnsupported);
        }
        self.is_chunked = true;
        Ok(())
    }

    /// Drops what Connection names, but never what framing and routing rest on.
    fn drop_named_by_connection(&mut self, headers: &[Header<'_>]) {
        const KEPT: [&str; 3] = ["host", "content-length", "cookie"];
        for (at, header) in headers.iter().enumerate() {
            let is_named = headers.iter().filter(|other| is(other.name, "connection")).any(|other| {
                let mut options = other.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                options.any(|option| option.eq_ignore_ascii_case(header.name.as_bytes()))
            });
            if is_named && !KEPT.iter().any(|kept| is(header.name, kept)) {
                self.hop |= 1 << at;
            }
        }
    }
}

/// The places of headers with such names, a bit each.
pub(super) fn named(headers: &[Header<'_>], is_meant: impl Fn(&str) -> bool) -> u128 {
    let meant = headers.iter().enumerate().filter(|(_, header)| is_meant(header.name));
    meant.fold(0, |bits, (at, _)| bits | 1 << at)
}

/// Copies the lines whose bit in `dropped` is not set, in runs. `head` ends with its empty line, which stays out.
pub(super) fn copy_kept(head: &[u8], headers: &[Header<'_>], dropped: u128, out: &mut Vec<u8>) {
    let end = head.len() - 2;
    let start_of = |at: usize| headers.get(at).map_or(end, |header| offset(head, header.name.as_bytes()));
    let mut run = start_of(0);
    let mut rest = dropped;
    while rest != 0 {
        let at = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        out.extend_from_slice(&head[run..start_of(at)]);
        run = start_of(at + 1);
    }
    out.extend_from_slice(&head[run..end]);
}

/// A method: a name that starts with a letter. Stricter than a token, as other servers are.
pub(super) fn is_method(method: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    method.len() <= 32
        && method.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && method.bytes().all(plain)
}

/// A protocol name as in `Upgrade: websocket`.
pub(super) fn is_protocol(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= 64 && value.iter().all(|byte| is_token_byte(*byte) || *byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::{is, is_mapped};

    #[test]
    fn names_are_the_same_but_for_capitals_and_only_then() {
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        for known in ["te", "host", "$wssn", "http2-settings", "x-forwarded-proto", "_ws_haprt_wlmversion"] {
            assert!(is(known, known) && is(&known.to_uppercase(), known) && !is("", known));
            assert!(!is(&known[1..], known) && !is(&format!("{known}s"), known));
            for at in 0..known.len() {
                for byte in (0_u8..128).filter(token) {
                    let mut other = known.as_bytes().to_vec();
                    other[at] = byte;
                    let other = String::from_utf8(other).expect("ASCII");
                    assert_eq!(is(&other, known), other.eq_ignore_ascii_case(known), "{other}");
                    let is_as_mapped = other.to_lowercase().replace('_', "-") == known.replace('_', "-");
                    assert_eq!(is_mapped(&other, &known.replace('_', "-")), is_as_mapped, "{other}");
                }
            }
        }
    }
}
