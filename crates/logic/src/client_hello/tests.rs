//! First messages made here, whole, cut and damaged.

use super::*;
use proptest::prelude::*;

/// A message that names these servers, one extension each.
fn message(names: &[&[u8]]) -> Vec<u8> {
    let prefixed = |size: usize, body: &[u8]| {
        let mut out = (body.len() as u32).to_be_bytes()[4 - size..].to_vec();
        out.extend_from_slice(body);
        out
    };
    let mut extensions = [vec![0, 23], prefixed(2, &[])].concat();
    for name in names {
        let entry = [vec![0], prefixed(2, name)].concat();
        extensions.extend([vec![0, 0], prefixed(2, &prefixed(2, &entry))].concat());
    }
    let body = [
        vec![3, 3],
        vec![7; 32],
        prefixed(1, &[9; 32]),
        prefixed(2, &[0x13, 0x01]),
        prefixed(1, &[0]),
        prefixed(2, &extensions),
    ]
    .concat();
    [vec![1], prefixed(3, &body)].concat()
}

/// The message in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for part in message.chunks(size) {
        out.extend_from_slice(&[22, 3, 1]);
        out.extend_from_slice(&(part.len() as u16).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

fn named(name: &str) -> Result<Option<Hello>, Refusal> {
    Ok(Some(Hello { server_name: Some(name.into()) }))
}

#[test]
fn the_name_is_found_however_the_message_is_cut() {
    let message = message(&[b"Shop.Example."]);
    for size in [1, 3, 4, 5, 16, 70, 16_384] {
        let wire = records(&message, size);
        assert_eq!(parse(&wire), named("shop.example"), "{size}");
        for cut in 0..wire.len() {
            assert_eq!(parse(&wire[..cut]), Ok(None), "{size} {cut}");
        }
    }
}

#[test]
fn a_message_without_a_name_is_fine_and_a_doubtful_one_is_not() {
    assert_eq!(parse(&records(&message(&[]), 99)), Ok(Some(Hello { server_name: None })));
    for names in [&[b"a".as_slice(), b"b"][..], &[b""], &[b"a..b"], &[b"a b"], &[b"\xff"]] {
        assert_eq!(parse(&records(&message(names), 99)), Err(Refusal::Malformed), "{names:?}");
    }
}

#[test]
fn what_is_not_tls_is_refused_at_once() {
    assert_eq!(parse(b"G"), Err(Refusal::NotTls));
    assert_eq!(parse(b"\x16\x02"), Err(Refusal::NotTls));
    assert_eq!(parse(&records(&[2, 0, 0, 1, 0], 9)), Err(Refusal::NotTls));
    assert_eq!(parse(&records(&[1, 1, 0, 0, 0], 9)), Err(Refusal::TooLong));
    assert_eq!(parse(b"\x16\x03\x01\0\0"), Err(Refusal::Malformed));
    let followed = [message(&[b"a"]), vec![20, 0]].concat();
    assert_eq!(parse(&records(&followed, 999)), Err(Refusal::Malformed));
}

proptest! {
    #[test]
    fn no_bytes_break_it_and_what_is_long_gets_an_answer(
        at in 0_usize..200,
        bytes in prop::collection::vec(any::<u8>(), 1..40),
        tail in 0_usize..40_000,
    ) {
        let mut wire = records(&message(&[b"shop.example"]), 50);
        let at = at.min(wire.len());
        let end = (at + bytes.len()).min(wire.len());
        wire.splice(at..end, bytes);
        wire.resize(wire.len() + tail, 22);
        let answer = parse(&wire);
        prop_assert!(answer != Ok(None) || wire.len() < WIRE_MAX_BYTES);
    }
}
