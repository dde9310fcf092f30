//! Reads and writes the header of the PROXY protocol, versions 1 and 2, which tells for whom a connection was made.
//!
//! Strict and bounded: whoever is believed to send it must send it right. Promise: `Ok(None)` only while the bytes to
//! come can decide, which they do within `HEADER_MAX_BYTES`, and a header that is read takes exactly `length` bytes.
//! Additional fields (TLV) are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, by its specification: both addresses in full and the end of the line.
const TEXT_MAX_BYTES: usize = 107;
/// Most bytes after the fixed part of version 2. 4,096: addresses, and a client certificate's names beside them.
const BINARY_REST_MAX_BYTES: usize = 4096;
/// No header is longer than this.
pub const HEADER_MAX_BYTES: usize = BINARY_FIXED_BYTES + BINARY_REST_MAX_BYTES;

const TEXT_START: &[u8] = b"PROXY ";
const BINARY_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const BINARY_FIXED_BYTES: usize = 16;

/// A header that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows belongs to the connection.
    pub length: usize,
    /// Client and the address that it asked for; None: the sender speaks for itself, or does not know.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    #[error("the PROXY protocol header is too long")]
    TooLong,
    #[error("the PROXY protocol header has an unknown version, command or family")]
    Unknown,
}

/// Reads the header at the start of `bytes`. `Ok(None)`: it is not complete yet.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Refusal> {
    if starts_alike(bytes, BINARY_START) {
        return parse_binary(bytes);
    }
    if starts_alike(bytes, TEXT_START) {
        return parse_text(bytes);
    }
    Err(Refusal::Missing)
}

fn starts_alike(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

fn parse_text(bytes: &[u8]) -> Result<Option<Header>, Refusal> {
    let window = &bytes[..bytes.len().min(TEXT_MAX_BYTES)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() == TEXT_MAX_BYTES { Err(Refusal::TooLong) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&bytes[TEXT_START.len()..end]).map_err(|_| Refusal::Malformed)?;
    let length = end + 2;
    let mut words = line.split(' ');
    let is_version_4 = match words.next() {
        // What follows in this case is to be ignored, by the specification.
        Some("UNKNOWN") => return Ok(Some(Header { length, addresses: None })),
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return Err(Refusal::Unknown),
    };
    let mut word = || words.next().ok_or(Refusal::Malformed);
    let (client, server) = (word()?, word()?);
    let (client_port, server_port) = (word()?, word()?);
    if words.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let socket = |address: &str, port: &str| Some(SocketAddr::new(ip(address, is_version_4)?, number(port)?));
    let addresses = socket(client, client_port).zip(socket(server, server_port));
    Ok(Some(Header { length, addresses: Some(addresses.ok_or(Refusal::Malformed)?) }))
}

fn ip(text: &str, is_version_4: bool) -> Option<IpAddr> {
    if is_version_4 {
        text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
    } else {
        text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    }
}

/// A port without sign and leading zeros.
fn number(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

fn parse_binary(bytes: &[u8]) -> Result<Option<Header>, Refusal> {
    let Some(fixed) = bytes.get(..BINARY_FIXED_BYTES) else { return Ok(None) };
    let (command, family) = (fixed[12], fixed[13]);
    let rest_length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if command != 0x20 && command != 0x21 {
        return Err(Refusal::Unknown);
    }
    let address_length = match family {
        // Unspecified, IPv4, IPv6 and Unix over a stream; datagrams have no place here.
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ if command == 0x20 => 0,
        _ => return Err(Refusal::Unknown),
    };
    if rest_length > BINARY_REST_MAX_BYTES {
        return Err(Refusal::TooLong);
    }
    // A sender that speaks for itself need not say anything more.
    if command == 0x21 && rest_length < address_length {
        return Err(Refusal::Malformed);
    }
    let length = BINARY_FIXED_BYTES + rest_length;
    let Some(rest) = bytes.get(BINARY_FIXED_BYTES..length) else { return Ok(None) };
    let addresses = match (command, family) {
        (0x21, 0x11) => Some(version_4(rest)),
        (0x21, 0x21) => Some(version_6(rest)),
        _ => None,
    };
    Ok(Some(Header { length, addresses }))
}

fn version_4(rest: &[u8]) -> (SocketAddr, SocketAddr) {
    let ip = |at: usize| IpAddr::from([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    (SocketAddr::new(ip(0), port(rest, 8)), SocketAddr::new(ip(4), port(rest, 10)))
}

fn version_6(rest: &[u8]) -> (SocketAddr, SocketAddr) {
    let ip = |at: usize| {
        let bytes: [u8; 16] = rest[at..at + 16].try_into().expect("a slice of 16 bytes");
        IpAddr::from(bytes)
    };
    (SocketAddr::new(ip(0), port(rest, 32)), SocketAddr::new(ip(16), port(rest, 34)))
}

fn port(rest: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([rest[at], rest[at + 1]])
}

/// Appends a header of version 2 that says that `client` asked for `server`.
pub fn write(client: SocketAddr, server: SocketAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(BINARY_START);
    out.push(0x21);
    match (client.ip(), server.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x11, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            out.extend_from_slice(&[0x21, 0, 36]);
            out.extend_from_slice(&as_version_6(from));
            out.extend_from_slice(&as_version_6(to));
        }
    }
    out.extend_from_slice(&client.port().to_be_bytes());
    out.extend_from_slice(&server.port().to_be_bytes());
}

fn as_version_6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests;
