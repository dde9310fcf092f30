//! Headers as others write them, wrong ones, and random ones.

use super::*;
use proptest::prelude::*;

fn check(bytes: &[u8], expected: Result<Option<Header>, Refusal>) {
    assert_eq!(parse(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
}

fn addresses(client: &str, server: &str) -> Option<(SocketAddr, SocketAddr)> {
    Some((client.parse().expect("an address"), server.parse().expect("an address")))
}

#[test]
fn text_headers_are_read_to_the_end_of_their_line() {
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET /";
    check(
        header,
        Ok(Some(Header { length: 45, addresses: addresses("192.0.2.7:56324", "198.51.100.1:443") })),
    );
    let header = b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n";
    let expected = addresses("[2001:db8::7]:1", "[2001:db8::1]:65535");
    check(header, Ok(Some(Header { length: 44, addresses: expected })));
    check(b"PROXY UNKNOWN\r\n", Ok(Some(Header { length: 15, addresses: None })));
    check(b"PROXY UNKNOWN ff:: 1 what ever\r\n", Ok(Some(Header { length: 32, addresses: None })));
}

#[test]
fn what_is_not_a_header_is_refused() {
    check(b"GET / HTTP/1.1\r\n\r\n", Err(Refusal::Missing));
    check(b"\x16\x03\x01", Err(Refusal::Missing));
    check(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n", Err(Refusal::Malformed));
    check(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n", Err(Refusal::Malformed));
    check(b"PROXY TCP4 192.0.2.7 198.51.100.1 056 443\r\n", Err(Refusal::Malformed));
    check(b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", Err(Refusal::Malformed));
    check(b"PROXY TCP4 ::1 ::1 1 1\r\n", Err(Refusal::Malformed));
    check(b"PROXY UDP4 192.0.2.7 198.51.100.1 1 1\r\n", Err(Refusal::Unknown));
    check(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat(), Err(Refusal::TooLong));
    let binary = |fixed: [u8; 4]| [BINARY_START.as_slice(), &fixed].concat();
    check(&binary([0x11, 0x11, 0, 12]), Err(Refusal::Unknown));
    check(&binary([0x22, 0x11, 0, 12]), Err(Refusal::Unknown));
    check(&binary([0x21, 0x12, 0, 12]), Err(Refusal::Unknown));
    check(&binary([0x21, 0x11, 0, 11]), Err(Refusal::Malformed));
    check(&binary([0x21, 0x11, 0x10, 0x01]), Err(Refusal::TooLong));
}

#[test]
fn a_sender_that_speaks_for_itself_names_nobody() {
    let local = [BINARY_START.as_slice(), &[0x20, 0, 0, 0]].concat();
    check(&local, Ok(Some(Header { length: 16, addresses: None })));
    let local_with_fields = [BINARY_START.as_slice(), &[0x20, 0x11, 0, 2, 1, 1]].concat();
    check(&local_with_fields, Ok(Some(Header { length: 18, addresses: None })));
    let unix = [BINARY_START.as_slice(), &[0x21, 0x31, 0, 216], &[0; 216]].concat();
    check(&unix, Ok(Some(Header { length: 232, addresses: None })));
}

#[test]
fn additional_fields_are_skipped() {
    let mut bytes = Vec::new();
    let (client, server) = addresses("192.0.2.7:1", "198.51.100.1:2").expect("both");
    write(client, server, &mut bytes);
    bytes[15] += 5;
    bytes.extend_from_slice(&[4, 0, 2, 9, 9]);
    check(&bytes, Ok(Some(Header { length: 33, addresses: Some((client, server)) })));
}

fn socket() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(client in socket(), server in socket(), rest in any::<Vec<u8>>()) {
        let mut bytes = Vec::new();
        write(client, server, &mut bytes);
        let length = bytes.len();
        for cut in 0..length {
            prop_assert_eq!(parse(&bytes[..cut]), Ok(None));
        }
        bytes.extend(rest);
        let header = parse(&bytes).expect("a header").expect("whole");
        prop_assert_eq!(header.length, length);
        let (from, to) = header.addresses.expect("addresses");
        prop_assert_eq!((from.ip().to_canonical(), from.port()), (client.ip().to_canonical(), client.port()));
        prop_assert_eq!((to.ip().to_canonical(), to.port()), (server.ip().to_canonical(), server.port()));
    }

    #[test]
    fn no_bytes_break_it_and_more_bytes_change_no_answer(
        start in prop_oneof![Just(TEXT_START.to_vec()), Just(BINARY_START.to_vec()), Just(Vec::new())],
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, rest].concat();
        let whole = parse(&bytes);
        for cut in 0..bytes.len() {
            match parse(&bytes[..cut]) {
                Ok(None) => {}
                answer => {
                    prop_assert_eq!(answer, whole);
                    break;
                }
            }
        }
        if let Ok(None) = whole {
            prop_assert!(bytes.len() < HEADER_MAX_BYTES);
        }
    }
}
