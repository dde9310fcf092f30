//! Where bodies end, whole and in pieces.

use super::*;

/// Feeds `bytes` in pieces of each size and says where the body ended, or why it was refused.
fn check(start: Framing, bytes: &[u8], expected: Result<usize, Refusal>) {
    for piece in 1..=bytes.len().max(1) {
        let mut framing = start;
        let mut used = 0;
        let mut result = Ok(());
        for part in bytes.chunks(piece) {
            match framing.consume(part) {
                Ok(step) => used += step.used,
                Err(refusal) => {
                    result = Err(refusal);
                    break;
                }
            }
        }
        let got = result.map(|()| used);
        assert_eq!(got, expected, "in pieces of {piece}: {:?}", String::from_utf8_lossy(bytes));
        assert!(got.is_err() || framing.is_done(), "not done in pieces of {piece}");
    }
}

#[test]
fn bodies_end_where_they_say() {
    check(Framing::length(5), b"helloNEXT", Ok(5));
    check(Framing::CHUNKED, b"5\r\nhello\r\n0\r\n\r\nNEXT", Ok(15));
    check(Framing::CHUNKED, b"005\r\nhello\r\n000\r\nVary: *\r\nX:\r\n\r\nNEXT", Ok(32));
    check(Framing::CHUNKED, b"a; some; q=\"a b\"\r\n0123456789\r\n0;x\r\n\r\n", Ok(37));
}

#[test]
fn chunks_that_others_might_read_differently_are_refused() {
    for size in ["6_0", " 5", "5 ", "+5", "-5", "0x5", "", "5\n;", "1000000000000000"] {
        check(Framing::CHUNKED, format!("{size}\r\nhello\r\n0\r\n\r\n").as_bytes(), Err(Refusal::ChunkSize));
    }
    check(Framing::CHUNKED, b"5\nhello\r\n0\r\n\r\n", Err(Refusal::ChunkSize));
    check(Framing::CHUNKED, b"5;a\rb\r\nhello\r\n0\r\n\r\n", Err(Refusal::ChunkSize));
    check(Framing::CHUNKED, b"5;a\nb\r\nhello\r\n0\r\n\r\n", Err(Refusal::ChunkExtension));
    check(Framing::CHUNKED, b"5\r\nhelloX\n0\r\n\r\n", Err(Refusal::ChunkEnd));
    check(Framing::CHUNKED, b"5\r\nhello\n0\r\n\r\n", Err(Refusal::ChunkEnd));
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(300));
    check(Framing::CHUNKED, long.as_bytes(), Err(Refusal::ChunkExtension));
}

#[test]
fn trailers_may_not_change_framing() {
    for name in ["Content-Length", "transfer-encoding", "HOST", "Transfer_Encoding", "Trailer"] {
        check(Framing::CHUNKED, format!("0\r\n{name}: 9\r\n\r\n").as_bytes(), Err(Refusal::TrailerForbidden));
    }
    check(Framing::CHUNKED, b"0\r\nContent-Lengths: 9\r\nHos: t\r\n\r\n", Ok(33));
    check(Framing::CHUNKED, b"0\r\nA : 9\r\n\r\n", Err(Refusal::Trailer));
    check(Framing::CHUNKED, b"0\r\n: 9\r\n\r\n", Err(Refusal::Trailer));
    check(Framing::CHUNKED, b"0\r\nA: 9\n\r\n", Err(Refusal::Trailer));
    check(
        Framing::CHUNKED,
        format!("0\r\nA: {}\r\n\r\n", "x".repeat(9000)).as_bytes(),
        Err(Refusal::Trailer),
    );
}

#[test]
fn only_payload_counts_as_data() {
    let mut framing = Framing::CHUNKED;
    assert_eq!(
        framing.consume(b"5;x=y\r\nhello\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n").map(|step| step.data),
        Ok(8)
    );
}

#[test]
fn the_end_is_in_sight_only_after_the_last_chunk() {
    let mut framing = Framing::CHUNKED;
    framing.consume(b"5\r\nhello\r\n").expect("well formed");
    assert!(!framing.is_in_trailers());
    framing.consume(b"0\r\n").expect("well formed");
    assert!(framing.is_in_trailers());
    assert!(!framing.is_done());
}
