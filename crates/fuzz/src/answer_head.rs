//! Answer heads: whatever a member says, the client gets a head that it can read in one way only.

use crate::strict::{self, Body, values};
use logic::http::body::Framing;
use logic::http::refusal::Refusal;
use logic::http::request::HeadLimits;
use logic::http::response::{Asked, ResponseHead, parse};
use logic::http::{HEADERS_MAX, HeaderSpace};

const LIMITS: HeadLimits = HeadLimits { size_max_bytes: 64 * 1024, header_count_max: HEADERS_MAX };

/// The first byte says what was asked.
pub fn check(bytes: &[u8]) {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let asked = Asked {
        is_head: flags & 1 != 0,
        is_version_11: flags & 2 != 0,
        keep_alive: flags & 4 != 0,
        upgrade: flags & 8 != 0,
    };
    let mut space = HeaderSpace::new();
    let Ok(Some(head)) = parse(bytes, &mut space, LIMITS, asked) else { return };
    for length in head.length.saturating_sub(6)..head.length {
        let mut space = HeaderSpace::new();
        let parsed = parse(&bytes[..length], &mut space, LIMITS, asked);
        assert!(matches!(parsed, Ok(None)), "the first {length} bytes give {parsed:?}");
    }
    let mut written = Vec::new();
    head.write("muster", &mut written);
    check_written(&head, asked, &written);
}

fn check_written(head: &ResponseHead<'_, '_>, asked: Asked, written: &[u8]) {
    let (line, fields) = strict::head(written);
    assert!(line.starts_with(format!("HTTP/1.1 {:03} ", head.status).as_bytes()), "{}", line.escape_ascii());
    let body = strict::body(&fields);
    let has_body = !asked.is_head && head.status >= 200 && head.status != 204 && head.status != 304;
    if has_body {
        match (head.framing, body) {
            (Framing::Done, Body::Length(0)) | (Framing::UntilClose, Body::Unsaid) => {}
            (Framing::Length(length), Body::Length(said)) => assert_eq!(length, said),
            (Framing::Chunked(_), Body::Chunked) => assert!(!head.unchunk),
            (Framing::Chunked(_), Body::Unsaid) => assert!(head.unchunk),
            (framing, said) => panic!("{framing:?} is told as {said:?}"),
        }
        // A body that ends by closing must end the connection, or the client waits for ever.
        assert!(body != Body::Unsaid || head.client_closes, "{:?} and keeps the connection", head.framing);
    } else {
        assert!(head.status == 101 || head.framing == Framing::Done, "{:?}", head.framing);
    }
    if head.status == 204 || head.status < 200 {
        assert_eq!(body, Body::Unsaid, "a length where no body can be");
    }
    let says_close = values(&fields, "connection").contains(&b"close".as_slice());
    if head.status >= 200 {
        assert_eq!(says_close, head.client_closes);
    }
    assert!(values(&fields, "connection").len() <= 1);
    for name in ["keep-alive", "proxy-connection", "te"] {
        assert!(values(&fields, name).is_empty(), "{name} is passed on");
    }
    let mut space = HeaderSpace::new();
    let again = parse(written, &mut space, LIMITS, asked);
    // The lines that the router adds may be more than it takes itself.
    if matches!(again, Err(Refusal::TooManyHeaders)) {
        return;
    }
    let again = again.expect("what we write can be read").expect("it is whole");
    assert_eq!((again.length, again.status), (written.len(), head.status));
    if !head.unchunk {
        assert_eq!(again.framing, head.framing);
    }
}
