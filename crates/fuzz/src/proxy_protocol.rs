//! PROXY protocol: a header takes its own bytes and no others, and says the same when we say it again.

use logic::proxy_protocol::{HEADER_MAX_BYTES, Header, parse, write};

pub fn check(bytes: &[u8]) {
    match parse(bytes) {
        Ok(Some(header)) => check_header(bytes, header),
        Ok(None) => {
            assert!(bytes.len() < HEADER_MAX_BYTES, "waits for more after {} bytes", bytes.len());
            check_patience(bytes);
        }
        Err(refusal) => {
            // What was refused stays refused, whatever comes.
            for more in [b"\r\n".as_slice(), b"\0\0\0\0", b" "] {
                assert_eq!(parse(&[bytes, more].concat()), Err(refusal));
            }
        }
    }
}

fn check_header(bytes: &[u8], header: Header) {
    assert!(header.length <= bytes.len() && header.length <= HEADER_MAX_BYTES);
    let own = &bytes[..header.length];
    for more in [b"".as_slice(), b"GET / HTTP/1.1\r\n", b"\r\n", b"\0"] {
        assert_eq!(parse(&[own, more].concat()), Ok(Some(header)), "what follows changes it");
    }
    for length in 0..own.len() {
        assert_eq!(parse(&own[..length]), Ok(None), "the first {length} bytes");
    }
    let Some((client, server)) = header.addresses else { return };
    let mut written = Vec::new();
    write(client, server, &mut written);
    let length = written.len();
    let again = parse(&written).expect("what we write we accept").expect("it is whole");
    assert_eq!(again, Header { length, addresses: header.addresses });
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    assert_eq!(client.is_ipv4(), server.is_ipv4());
    let line =
        format!("PROXY {family} {} {} {} {}\r\n", client.ip(), server.ip(), client.port(), server.port());
    let as_text = parse(line.as_bytes()).expect("it is right").expect("it is whole");
    assert_eq!(as_text.addresses, header.addresses, "{line}");
}

/// A sender that is waited for has an end: the rest that its own words announce, or the end of the line.
fn check_patience(bytes: &[u8]) {
    let rest =
        if bytes.first() == Some(&b'P') { b"\r\n".to_vec() } else { vec![0; HEADER_MAX_BYTES - bytes.len()] };
    let ended = parse(&[bytes, &rest].concat());
    assert!(ended != Ok(None) || bytes.len() < b"PROXY ".len(), "{}", bytes.escape_ascii());
}
