//! The private headers in which a WebSphere plug-in tells an application server about the client: `$WSSN` and so on.
//!
//! Promise: a client cannot say them itself. They are kept only from a trusted caller that sends `$WSSN` with them, as
//! another router or web server in front of us does, or where a plugin-cfg.xml says RemoveSpecialHeaders="false"; and
//! those that a server sends to its router never reach a client. Facts: spec/routing.md 1.5.

/// Whether it is one that a plug-in sends, or an answer to one.
pub(super) fn is_private(name: &str) -> bool {
    name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("$ws"))
}

/// What becomes of private headers of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PrivateHeaders<'a> {
    /// Those of strangers are dropped and none are added.
    #[default]
    NotSent,
    /// Added, in place of those of strangers where these are dropped.
    Sent { drops_strangers: bool, port: u16, tls: PrivateTls<'a> },
}

/// What they say of the client's TLS. Empty: not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrivateTls<'a> {
    /// The client's certificate, DER in Base64.
    pub certificate: &'a str,
    pub cipher_suite: &'a str,
}

/// What they say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// That the client asked for, without port; empty where it named none.
    pub host: &'a [u8],
    pub port: u16,
    pub scheme: &'a str,
    pub is_version_11: bool,
    pub client: &'a str,
    pub tls: PrivateTls<'a>,
}

/// Appends the lines.
pub(super) fn write(facts: Facts<'_>, out: &mut Vec<u8>) {
    let mut line = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    let is_secure: &[u8] = if facts.scheme == "https" { b"true" } else { b"false" };
    let version: &[u8] = if facts.is_version_11 { b"1.1" } else { b"1.0" };
    line(&[b"$WSIS: ", is_secure, b"\r\n$WSSC: ", facts.scheme.as_bytes(), b"\r\n$WSPR: HTTP/", version]);
    // A bare address: servers check that it is one. Nobody looks names up, so the host is the address too.
    line(&[b"\r\n$WSRA: ", facts.client.as_bytes(), b"\r\n$WSRH: ", facts.client.as_bytes()]);
    if !facts.host.is_empty() {
        line(&[b"\r\n$WSSN: ", facts.host]);
    }
    let mut digits = [0; 5];
    line(&[b"\r\n$WSSP: ", decimal(facts.port, &mut digits), b"\r\n"]);
    for (name, value) in [("$WSCC: ", facts.tls.certificate), ("$WSCS: ", facts.tls.cipher_suite)] {
        if !value.is_empty() {
            line(&[name.as_bytes(), value.as_bytes(), b"\r\n"]);
        }
    }
}

/// A port as text, without allocation.
fn decimal(mut number: u16, digits: &mut [u8; 5]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_in_decimal() {
        for port in [0, 7, 80, 443, 9080, 65535] {
            assert_eq!(decimal(port, &mut [0; 5]), port.to_string().as_bytes());
        }
    }
}
