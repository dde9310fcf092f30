//! A client's requests: what is written as HTTP/1.1 says what the block of headers said, and no more.

use crate::strict;
use logic::hpack::{Decoder, Kind};
use logic::http::HeaderSpace;
use logic::http::request::{HeadLimits, parse};
use logic::http2::head::{HeadText, Scratch, Verdict};

const LIMITS: HeadLimits = HeadLimits { size_max_bytes: 64 * 1024, header_count_max: 100 };

/// The first byte says whether a body follows; then come blocks of one connection, each behind its length in a byte.
pub fn check(bytes: &[u8]) {
    let Some((flags, mut rest)) = bytes.split_first() else { return };
    let (mut decoder, mut scratch) = (Decoder::default(), Scratch::default());
    while let Some((length, after)) = rest.split_first() {
        let (block, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        let (mut written, mut crumbs, mut path) = (Vec::new(), Vec::new(), Vec::new());
        let mut text = HeadText::new(&mut written, &mut scratch, LIMITS.size_max_bytes);
        let unpacked = decoder.decode(block, |field| {
            match field.kind {
                // Empty ones before all others are left out.
                Kind::Cookie if crumbs.is_empty() && field.value.is_empty() => {}
                Kind::Cookie => crumbs.push(field.value.to_vec()),
                Kind::Path => path = field.value.to_vec(),
                _ => {}
            }
            text.take(field);
        });
        let has_ended = flags & 1 == 0;
        let verdict = text.end(has_ended, || "AAAAAAAAAAAAAAAAAAAAAA==".to_owned());
        let (Ok(()), Verdict::Request(shape)) = (unpacked, verdict) else { return };
        check_head(&written, has_ended, shape.is_websocket, &crumbs, &path);
    }
}

fn check_head(written: &[u8], has_ended: bool, is_websocket: bool, crumbs: &[Vec<u8>], path: &[u8]) {
    let mut space = HeaderSpace::new();
    // What is refused is no request.
    let Ok(head) = parse(written, &mut space, LIMITS) else { return };
    let (line, fields) = strict::head(written);
    assert_eq!(line.split(|byte| *byte == b' ').count(), 3, "{}", line.escape_ascii());
    assert!(strict::values(&fields, "cookie").len() <= 1);
    let head = head.expect("the head is written whole");
    assert_eq!(head.length, written.len(), "the head ends before its end");
    assert_eq!(head.target.as_bytes(), path);
    // Announced or not: a member waits for no byte that will never come.
    assert!(head.framing.is_done() || !has_ended, "{:?}", head.framing);
    // What asks to switch is one connection's own and cannot be said in HTTP/2.
    assert_eq!(head.upgrade.is_some(), is_websocket);
    assert_eq!(head.cookies().collect::<Vec<_>>().concat(), crumbs.join(&b"; "[..]).trim_ascii());
}
