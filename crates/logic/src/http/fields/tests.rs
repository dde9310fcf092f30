//! What the reader of heads accepts, held against a library's reader: never more, and always the same parts.

use super::*;
use httparse::{EMPTY_HEADER, Status};
use proptest::prelude::*;

/// Name and value of each header, and the length of the whole; None where more is needed.
type Found = Result<Option<(Vec<(Vec<u8>, Vec<u8>)>, usize)>, Refusal>;

fn request(bytes: &[u8]) -> Found {
    let mut reader = Reader::new(bytes);
    let mut read = || {
        let Some(_) = reader.method()? else { return Ok(None) };
        let Some(_) = reader.target()? else { return Ok(None) };
        let Some(_) = reader.version()? else { return Ok(None) };
        let Some(()) = reader.line_end()? else { return Ok(None) };
        rest(&mut reader, bytes)
    };
    read()
}

fn answer(bytes: &[u8]) -> Found {
    let mut reader = Reader::new(bytes);
    let mut read = || {
        let Some(_) = reader.version()? else { return Ok(None) };
        let Some(_) = reader.status()? else { return Ok(None) };
        let Some(()) = reader.line_end()? else { return Ok(None) };
        rest(&mut reader, bytes)
    };
    read()
}

fn rest(reader: &mut Reader<'_>, bytes: &[u8]) -> Found {
    let mut space = HeaderSpace::new();
    let Some(count) = reader.fields(&mut space, usize::MAX, |_, _| Ok(()))? else { return Ok(None) };
    let both = |field: &Field| (field.name(bytes).to_vec(), field.value(bytes).to_vec());
    Ok(Some((space.0[..count].iter().map(both).collect(), reader.position())))
}

fn pairs(headers: &[httparse::Header<'_>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    headers.iter().map(|header| (header.name.as_bytes().to_vec(), header.value.to_vec())).collect()
}

/// Whatever is accepted, the library accepts and reads in the same way; what it wants more of is never whole for us.
fn agrees(bytes: &[u8]) {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut theirs = httparse::Request::new(&mut headers);
    let parsed = theirs.parse(bytes);
    match request(bytes) {
        Ok(Some((ours, length))) => {
            assert_eq!(parsed, Ok(Status::Complete(length)), "{:?}", bytes.escape_ascii().to_string());
            assert_eq!(ours, pairs(theirs.headers));
        }
        Ok(None) => assert_eq!(parsed, Ok(Status::Partial), "{:?}", bytes.escape_ascii().to_string()),
        Err(_) => {}
    }
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut theirs = httparse::Response::new(&mut headers);
    let parsed = theirs.parse(bytes);
    match answer(bytes) {
        Ok(Some((ours, length))) => {
            assert_eq!(parsed, Ok(Status::Complete(length)), "{:?}", bytes.escape_ascii().to_string());
            assert_eq!(ours, pairs(theirs.headers));
        }
        Ok(None) => assert_eq!(parsed, Ok(Status::Partial), "{:?}", bytes.escape_ascii().to_string()),
        Err(_) => {}
    }
}

const REQUEST: &[u8] = b"GET /a/path?with=query HTTP/1.1\r\nHost: www.example.com:80\r\nEmpty:\r\nSpaced: \t a b\tc \t\r\nX-Long-Name-Of-A-Header: 0123456789abcdef0123456789abcdef\r\n\r\nbody";
const ANSWER: &[u8] = b"HTTP/1.1 200 Very \t well\r\nContent-Length: 4\r\nServer: one of ours, with a long name\r\nA:b\r\n\r\nbody";

#[test]
fn well_formed_heads_are_read_whole_and_no_part_of_them_is() {
    let (headers, length) = request(REQUEST).expect("well formed").expect("whole");
    assert_eq!((headers.len(), length), (4, REQUEST.len() - 4));
    assert_eq!(headers[2], (b"Spaced".to_vec(), b"a b\tc".to_vec()));
    let (headers, length) = answer(ANSWER).expect("well formed").expect("whole");
    assert_eq!((headers.len(), length), (3, ANSWER.len() - 4));
    for end in 0..REQUEST.len() - 4 {
        assert_eq!(request(&REQUEST[..end]), Ok(None), "{end}");
    }
    for end in 0..ANSWER.len() - 4 {
        assert_eq!(answer(&ANSWER[..end]), Ok(None), "{end}");
    }
    for without_reason in ["HTTP/1.0 404\r\nA: b\r\n\r\n", "HTTP/1.0 404 \r\nA: b\r\n\r\n"] {
        assert!(matches!(answer(without_reason.as_bytes()), Ok(Some(_))));
        agrees(without_reason.as_bytes());
    }
}

#[test]
fn each_byte_at_each_place_is_read_as_the_library_reads_it_or_refused() {
    for whole in [REQUEST, ANSWER] {
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = whole.to_vec();
                changed[at] = byte;
                agrees(&changed);
                changed[at] = whole[at];
                changed.insert(at, byte);
                agrees(&changed);
            }
        }
    }
}

#[test]
fn control_bytes_are_found_wherever_they_stand_in_a_word() {
    for length in 0..40 {
        for at in 0..length {
            for byte in (0..=255_u8).filter(|byte| *byte < 0x20 || *byte == 0x7f) {
                let mut bytes = vec![b'a'; length];
                bytes[at] = byte;
                assert_eq!(run::<0x20>(&bytes), at, "{byte} at {at} of {length}");
            }
        }
        for plain in [b' ', b'~', 0x80, 0xff] {
            assert_eq!(run::<0x20>(&vec![plain; length]), length);
        }
        assert_eq!(run::<0x21>(&[vec![0xff; length], vec![b' '; 9]].concat()), length);
    }
}

proptest! {
    #[test]
    fn random_heads_are_read_as_the_library_reads_them(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "GET ", "/", " HTTP/1.1\r\n", "HTTP/1.1 ", "200 OK\r\n", "Host: a\r\n", "a", ":", " ", "\t", "\r\n", "\r", "\n",
            "\0", "\u{e9}", "\u{7f}", "X-Name: value\r\n", "\r\n\r\n",
        ]), 0..24)
    ) {
        agrees(pieces.concat().as_bytes());
    }
}
