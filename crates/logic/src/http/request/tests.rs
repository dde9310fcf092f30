//! What is understood, what is refused, and what a member gets to see.

use super::*;
use crate::http::{HeaderSpace, PrivateTls};
use expect_test::{Expect, expect};
use std::net::{IpAddr, Ipv4Addr};

const LIMITS: HeadLimits = HeadLimits { size_max_bytes: 32 << 10, header_count_max: 100 };
const ADD: Forwarding<'_> = Forwarding {
    client: "1.2.3.4",
    server: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 8080),
    is_trusted: false,
    scheme: "http",
    via: "muster",
    is_http2: false,
    private: PrivateHeaders::NotSent,
    certificate: CertificateHeader { dropped: &[], added: None },
};

fn refused(bytes: &[u8], expected: Refusal) {
    let mut space = HeaderSpace::new();
    match parse(bytes, &mut space, LIMITS) {
        Err(refusal) => assert_eq!(refusal, expected, "{:?}", String::from_utf8_lossy(bytes)),
        Ok(Some(_)) => panic!("accepted: {:?}", String::from_utf8_lossy(bytes)),
        Ok(None) => panic!("waits for more: {:?}", String::from_utf8_lossy(bytes)),
    }
}

fn forwarded(bytes: &[u8], add: &Forwarding<'_>, expected: Expect) {
    let mut space = HeaderSpace::new();
    let head = parse(bytes, &mut space, LIMITS).expect("accepted").expect("complete");
    let mut out = Vec::new();
    head.write(add, &mut out);
    expected.assert_eq(&String::from_utf8(out).expect("text").replace("\r\n", "\n"));
}

#[test]
fn a_head_is_written_anew_without_what_concerns_one_connection() {
    forwarded(
        b"GET /a?b HTTP/1.1\r\nHost: x:80\r\nConnection: keep-alive, foo\r\nFoo: 1\r\nX-Forwarded-For: 9.9.9.9\r\nx-forwarded-Port: 1\r\nX-Real-IP: 6.6.6.6\r\nTE: trailers\r\nAccept: b\r\nUpgrade: websocket\r\n\r\nrest",
        &ADD,
        expect![[r#"
            GET /a?b HTTP/1.1
            Host: x:80
            Accept: b
            X-Forwarded-For: 1.2.3.4
            X-Forwarded-Proto: http
            X-Forwarded-Host: x:80
            Forwarded: for=1.2.3.4;host="x:80";proto=http
            Via: 1.1 muster

        "#]],
    );
}

#[test]
fn a_trusted_caller_is_believed_and_added_to() {
    forwarded(
        b"POST http://x/p HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nTransfer-Encoding: Chunked\r\n\r\n",
        &Forwarding { is_trusted: true, client: "2001:db8::1", ..ADD },
        expect![[r#"
            POST /p HTTP/1.1
            Host: x
            X-Forwarded-For: 9.9.9.9
            X-Forwarded-Proto: https
            Transfer-Encoding: chunked
            X-Forwarded-For: 2001:db8::1
            X-Forwarded-Host: x
            Forwarded: for="[2001:db8::1]";host="x";proto=http
            Via: 1.1 muster

        "#]],
    );
}

#[test]
fn an_upgrade_is_passed_on_but_not_to_clear_text_http2() {
    forwarded(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
        &ADD,
        expect![[r#"
            GET /ws HTTP/1.1
            Host: x
            Sec-WebSocket-Key: k
            X-Forwarded-For: 1.2.3.4
            X-Forwarded-Proto: http
            X-Forwarded-Host: x
            Forwarded: for=1.2.3.4;host="x";proto=http
            Via: 1.1 muster
            Connection: upgrade
            Upgrade: websocket

        "#]],
    );
    let mut space = HeaderSpace::new();
    let bytes = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n";
    let head = parse(bytes, &mut space, LIMITS).expect("accepted").expect("complete");
    assert_eq!(head.upgrade, None);
}

/// A clear head with private headers of the client's own making.
const FORGED: &[u8] =
    b"GET /a HTTP/1.1\r\nHost: x:8080\r\n$WSRA: 6.6.6.6\r\n$wsRU: admin\r\n$WSSN: y\r\n$W: 1\r\n\r\n";

const NO_TLS: PrivateTls<'_> = PrivateTls { certificate: "", cipher_suite: "" };
const SENT: PrivateHeaders<'_> = PrivateHeaders::Sent { drops_strangers: true, port: 8080, tls: NO_TLS };

#[test]
fn remove_special_headers_drops_what_a_stranger_says_and_members_hear_the_truth() {
    let truth = expect![[r#"
        GET /a HTTP/1.1
        Host: x:8080
        $W: 1
        X-Forwarded-For: 1.2.3.4
        X-Forwarded-Proto: http
        X-Forwarded-Host: x:8080
        Forwarded: for=1.2.3.4;host="x:8080";proto=http
        Via: 1.1 muster
        $WSIS: false
        $WSSC: http
        $WSPR: HTTP/1.1
        $WSRA: 1.2.3.4
        $WSRH: 1.2.3.4
        $WSSN: x
        $WSSP: 8080

    "#]];
    forwarded(FORGED, &Forwarding { private: SENT, ..ADD }, truth);
}

fn head_of(bytes: &[u8], add: &Forwarding<'_>) -> String {
    let mut space = HeaderSpace::new();
    let head = parse(bytes, &mut space, LIMITS).expect("accepted").expect("complete");
    let mut out = Vec::new();
    head.write(add, &mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn without_private_headers_to_send_forged_ones_are_dropped_all_the_same() {
    let text = head_of(FORGED, &ADD);
    assert!(!text.contains("6.6.6.6") && !text.contains("admin") && !text.contains("$WS"), "{text}");
}

#[test]
fn remove_special_headers_false_keeps_them_beside_our_own() {
    let private = PrivateHeaders::Sent { drops_strangers: false, port: 8080, tls: NO_TLS };
    let text = head_of(FORGED, &Forwarding { private, ..ADD });
    assert!(text.contains("$WSRA: 6.6.6.6\r\n") && text.contains("$WSRA: 1.2.3.4\r\n"), "{text}");
}

#[test]
fn a_trusted_proxy_speaks_for_its_client_only_when_it_names_the_server() {
    let trusted = Forwarding { private: SENT, is_trusted: true, ..ADD };
    let text = head_of(FORGED, &trusted);
    assert!(text.contains("$WSRA: 6.6.6.6\r\n") && text.contains("$WSSN: y\r\n"), "{text}");
    assert!(!text.contains("1.2.3.4\r\n$WS") && !text.contains("$WSSP"), "{text}");
    let without = b"GET / HTTP/1.1\r\nHost: x\r\n$WSRA: 6.6.6.6\r\n\r\n";
    let text = head_of(without, &trusted);
    assert!(!text.contains("6.6.6.6") && text.contains("$WSRA: 1.2.3.4\r\n"), "{text}");
}

#[test]
fn members_hear_of_the_clients_certificate_and_cipher_suite_and_of_none_that_it_made_up() {
    let tls = PrivateTls { certificate: "MIIB", cipher_suite: "TLS_AES_128_GCM_SHA256" };
    let private = PrivateHeaders::Sent { drops_strangers: true, port: 443, tls };
    let bytes = b"GET / HTTP/1.1\r\nHost: x\r\n$WSCC: Zm9yZ2Vk\r\n$WSCS: none\r\n$WSSI: 1\r\n\r\n";
    let text = head_of(bytes, &Forwarding { private, scheme: "https", ..ADD });
    assert!(text.contains("$WSCC: MIIB\r\n$WSCS: TLS_AES_128_GCM_SHA256\r\n"), "{text}");
    assert!(!text.contains("Zm9yZ2Vk") && !text.contains("none") && !text.contains("$WSSI"), "{text}");
    let text = head_of(bytes, &Forwarding { private: SENT, ..ADD });
    assert!(!text.contains("$WSCC") && !text.contains("$WSCS"), "{text}");
}

#[test]
fn an_upgrade_carries_private_headers_too() {
    let bytes = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let text = head_of(bytes, &Forwarding { private: SENT, scheme: "https", ..ADD });
    assert!(text.contains("$WSIS: true\r\n$WSSC: https\r\n"), "{text}");
    assert!(text.ends_with("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"), "{text}");
}

#[test]
fn what_another_server_might_read_differently_is_refused() {
    let cases: &[(&str, Refusal)] = &[
        ("GET / HTTP/1.1\r\n\r\n", Refusal::HostMissing),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::HostTwice),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Refusal::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: a=5\r\n\r\n", Refusal::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: \r\n\r\n", Refusal::HostInvalid),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostDiffersFromTarget),
        ("GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Refusal::Connect),
        ("-GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
        ("GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", Refusal::BareLineFeed),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Refusal::BareLineFeed),
        ("\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::BareLineFeed),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::LeadingLines),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Refusal::Malformed),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Refusal::Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{7f}\r\n\r\n", Refusal::Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Refusal::Malformed),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refusal::Malformed),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            Refusal::LengthTwice,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", Refusal::LengthInvalid),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", Refusal::LengthInvalid),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Refusal::LengthInvalid),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n", Refusal::AmbiguousName),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refusal::LengthAndEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Refusal::EncodingUnsupported,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refusal::EncodingUnsupported,
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::EncodingInVersion10),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n",
            Refusal::ContentTypeTwice,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", Refusal::Expectation),
    ];
    for (bytes, refusal) in cases {
        refused(bytes.as_bytes(), *refusal);
    }
    refused("GET /é HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes(), Refusal::Target);
}

#[test]
fn sizes_are_bounded() {
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
    refused(many.as_bytes(), Refusal::TooManyHeaders);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(8200));
    refused(long.as_bytes(), Refusal::FieldTooLarge);
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(40_000));
    refused(endless.as_bytes(), Refusal::HeadTooLarge);
}

#[test]
fn a_head_in_pieces_is_waited_for() {
    let bytes = b"\r\nGET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let whole = bytes.len() - 3;
    for end in 0..bytes.len() {
        let mut space = HeaderSpace::new();
        let head = parse(&bytes[..end], &mut space, LIMITS).expect("never refused");
        assert_eq!(head.map(|head| head.length), (end >= whole).then_some(whole), "at {end}");
    }
}

#[test]
fn an_old_client_without_host_gets_the_address_that_it_came_to() {
    let written = head_of(b"GET /a HTTP/1.0\r\n\r\n", &ADD);
    assert!(written.starts_with("GET /a HTTP/1.1\r\nHost: 192.0.2.1:8080\r\nX-Forwarded-For:"), "{written}");
    assert!(!written.contains("X-Forwarded-Host") && !written.contains("host="), "it named none: {written}");
    let mut space = HeaderSpace::new();
    let again = parse(written.as_bytes(), &mut space, LIMITS).expect("it can be read again").expect("whole");
    assert_eq!(again.host, b"192.0.2.1:8080");
    let server = SocketAddr::new("2001:db8::1".parse().expect("an address"), 80);
    let written = head_of(b"GET /a HTTP/1.0\r\n\r\n", &Forwarding { server, ..ADD });
    assert!(written.contains("\r\nHost: [2001:db8::1]:80\r\n"), "{written}");
}

#[test]
fn version_10_keeps_alive_only_when_it_says_so() {
    for (bytes, keeps) in [
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false),
    ] {
        let mut space = HeaderSpace::new();
        let head = parse(bytes.as_bytes(), &mut space, LIMITS).expect("accepted").expect("complete");
        assert_eq!(head.keep_alive, keeps, "{bytes:?}");
    }
}

#[test]
fn host_name_and_path_leave_out_port_and_query() {
    for (host, name) in [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")] {
        let bytes = format!("GET /p/q?x=/y HTTP/1.1\r\nHost: {host}\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n");
        let mut space = HeaderSpace::new();
        let head = parse(bytes.as_bytes(), &mut space, LIMITS).expect("accepted").expect("complete");
        assert_eq!(head.host_name(), name.as_bytes());
        assert_eq!(head.path(), b"/p/q");
        assert_eq!(head.cookies().collect::<Vec<_>>(), [&b"a=1"[..], b"b=2"]);
    }
}

#[test]
fn nobody_but_us_says_which_certificate_a_client_has() {
    let bytes =
        b"GET / HTTP/1.1\r\nHost: x\r\nclient-CERT: :forged:\r\nclient_cert: :forged:\r\nX: 1\r\n\r\n";
    let dropped = ["Client-Cert".to_owned()];
    let certificate = CertificateHeader { dropped: &dropped, added: None };
    let text = head_of(bytes, &Forwarding { certificate, ..ADD });
    assert!(!text.contains("forged") && text.contains("X: 1\r\n"), "{text}");
    let certificate = CertificateHeader { dropped: &dropped, added: Some(("Client-Cert", ":AAAA:")) };
    let text = head_of(bytes, &Forwarding { certificate, ..ADD });
    assert!(!text.contains("forged") && text.contains("\r\nClient-Cert: :AAAA:\r\n"), "{text}");
}
