//! Request heads: what is accepted is written so that it can be read in one way only, and means the same.

use crate::strict::{self, Body, values};
use logic::http::body::Framing;
use logic::http::request::{CertificateHeader, Forwarding, HeadLimits, RequestHead, parse};
use logic::http::{HEADERS_MAX, HeaderSpace, PrivateHeaders, PrivateTls};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const LIMITS: HeadLimits = HeadLimits { size_max_bytes: 64 * 1024, header_count_max: 100 };
/// What the router adds itself does not count against its own bounds.
const AGAIN: HeadLimits = HeadLimits { size_max_bytes: usize::MAX, header_count_max: HEADERS_MAX };
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 443);
const STRANGER: Forwarding<'static> = Forwarding {
    client: "2001:db8::1",
    server: SERVER,
    is_trusted: false,
    scheme: "https",
    via: "muster",
    is_http2: false,
    certificate: CertificateHeader { dropped: &[], added: None },
    private: PrivateHeaders::Sent {
        drops_strangers: true,
        port: 443,
        tls: PrivateTls { certificate: "MIIB", cipher_suite: "TLS_AES_128_GCM_SHA256" },
    },
};

pub fn check(bytes: &[u8]) {
    let mut space = HeaderSpace::new();
    let Ok(Some(head)) = parse(bytes, &mut space, LIMITS) else { return };
    check_prefixes(&bytes[..head.length]);
    let mut written = Vec::new();
    head.write(&STRANGER, &mut written);
    check_written(&head, &written);
    let mut space = HeaderSpace::new();
    let again = parse(&written, &mut space, AGAIN).expect("what we write we accept").expect("it is whole");
    assert_eq!(again.length, written.len());
    assert_eq!((again.method, again.path(), again.host), (head.method, head.path(), &*host(&head)));
    assert_eq!(again.framing, head.framing);
    assert_eq!(again.upgrade, head.upgrade);
    assert!(again.is_version_11);
    assert_eq!(again.cookies().collect::<Vec<_>>(), head.cookies().collect::<Vec<_>>());
}

/// An old client that names none gets the address that it came to.
fn host(head: &RequestHead<'_, '_>) -> Vec<u8> {
    assert!(!head.is_version_11 || !head.host.is_empty());
    if head.host.is_empty() { SERVER.to_string().into_bytes() } else { head.host.to_vec() }
}

/// No beginning of a good request is taken for a whole one or refused: more bytes must be able to come.
fn check_prefixes(head: &[u8]) {
    // All near the end, where it is decided, and some before.
    let near_end = head.len().saturating_sub(6)..head.len();
    for length in near_end.chain((0..head.len()).step_by(97)) {
        let mut space = HeaderSpace::new();
        let parsed = parse(&head[..length], &mut space, LIMITS);
        assert!(matches!(parsed, Ok(None)), "the first {length} bytes give {parsed:?}");
    }
}

fn check_written(head: &RequestHead<'_, '_>, written: &[u8]) {
    let (line, fields) = strict::head(written);
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words.as_slice() else { panic!("{}", line.escape_ascii()) };
    assert_eq!((*method, *version), (head.method.as_bytes(), b"HTTP/1.1".as_slice()));
    assert!(target.starts_with(b"/") || *target == b"*", "{}", target.escape_ascii());
    assert!(target.ends_with(head.target.as_bytes()), "{}", target.escape_ascii());
    assert_eq!(values(&fields, "host"), [&*host(head)]);
    let expected = match head.framing {
        Framing::Done => [Body::Unsaid, Body::Length(0)],
        Framing::Length(length) => [Body::Length(length); 2],
        Framing::Chunked(_) => [Body::Chunked; 2],
        Framing::UntilClose => panic!("a request never ends by closing"),
    };
    assert!(expected.contains(&strict::body(&fields)), "{:?}", head.framing);
    // A stranger's word about others is not passed on.
    assert_eq!(values(&fields, "x-forwarded-for"), [b"2001:db8::1"]);
    assert_eq!(values(&fields, "x-forwarded-proto"), [b"https"]);
    assert_eq!(values(&fields, "forwarded").len(), 1);
    assert_eq!(values(&fields, "$wssc"), [b"https"]);
    // One of each is ours: a stranger's would be a second.
    assert_eq!(values(&fields, "$wsra"), [b"2001:db8::1"]);
    assert_eq!(values(&fields, "$wscc"), [b"MIIB"]);
    assert_eq!(values(&fields, "$wscs"), [b"TLS_AES_128_GCM_SHA256"]);
    // What concerns one connection stays there.
    for name in ["te", "keep-alive", "proxy-connection", "http2-settings"] {
        assert!(values(&fields, name).is_empty(), "{name} is passed on");
    }
    match head.upgrade {
        None => assert!(values(&fields, "connection").is_empty() && values(&fields, "upgrade").is_empty()),
        Some(protocol) => {
            assert_eq!(values(&fields, "connection"), [b"upgrade"]);
            assert_eq!(values(&fields, "upgrade"), [protocol]);
        }
    }
}
