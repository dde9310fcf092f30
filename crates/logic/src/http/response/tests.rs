//! How answers are framed and what a client gets to see.

use super::*;
use expect_test::{Expect, expect};

const LIMITS: HeadLimits = HeadLimits { size_max_bytes: 32 << 10, header_count_max: 100 };
const GET: Asked = Asked { is_head: false, is_version_11: true, keep_alive: true, upgrade: false };

fn check(bytes: &str, asked: Asked, expected: Expect) {
    let mut space = HeaderSpace::new();
    let head = match parse(bytes.as_bytes(), &mut space, LIMITS, asked) {
        Err(refusal) => return expected.assert_eq(&format!("refused: {refusal}\n")),
        Ok(head) => head.expect("complete"),
    };
    let mut out = Vec::new();
    head.write("muster", &mut out);
    let text = String::from_utf8(out).expect("text").replace("\r\n", "\n");
    expected.assert_eq(&format!(
        "{:?}, member {}, client {}\n{text}",
        head.framing,
        if head.member_keeps_alive { "stays" } else { "closes" },
        if head.client_closes { "closes" } else { "stays" },
    ));
}

#[test]
fn a_plain_answer() {
    check(
        "HTTP/1.1 200 Fine\r\nConnection: close\r\nContent-Length: 3\r\nX-A: b\r\n\r\n",
        GET,
        expect![[r#"
            Length(3), member closes, client stays
            HTTP/1.1 200 Fine
            Content-Length: 3
            X-A: b
            Via: 1.1 muster

        "#]],
    );
}

#[test]
fn private_headers_of_an_answer_never_reach_a_client() {
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n$WSPT: a,b\r\n_WS_HAPRT_WLMVERSION: 3\r\n$WSEP: \r\nX: 1\r\n\r\n",
        GET,
        expect![[r#"
            Done, member stays, client stays
            HTTP/1.1 200 OK
            Content-Length: 0
            X: 1
            Via: 1.1 muster

        "#]],
    );
}

#[test]
fn an_old_client_gets_no_chunks() {
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        Asked { is_version_11: false, ..GET },
        expect![[r#"
            Chunked(Size { value: 0, digits: 0 }), member stays, client closes
            HTTP/1.1 200 OK
            Connection: close
            Via: 1.1 muster

        "#]],
    );
}

#[test]
fn answers_without_a_body() {
    let head = Asked { is_head: true, ..GET };
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        head,
        expect![[r#"
            Done, member stays, client stays
            HTTP/1.1 200 OK
            Content-Length: 3
            Via: 1.1 muster

        "#]],
    );
    check(
        "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
        GET,
        expect![[r#"
            Done, member stays, client stays
            HTTP/1.1 204 No Content
            Via: 1.1 muster

        "#]],
    );
}

#[test]
fn an_answer_without_length_ends_with_the_connection() {
    check(
        "HTTP/1.0 200 OK\r\n\r\n",
        GET,
        expect![[r#"
            UntilClose, member closes, client closes
            HTTP/1.1 200 OK
            Connection: close
            Via: 1.1 muster

        "#]],
    );
}

#[test]
fn switching_protocols_only_when_asked() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    check(answer, GET, expect!["refused: 101 although no upgrade was asked for\n"]);
    check(
        answer,
        Asked { upgrade: true, ..GET },
        expect![[r#"
            Done, member stays, client stays
            HTTP/1.1 101 Switching Protocols
            Connection: upgrade
            Upgrade: websocket
            Via: 1.1 muster

        "#]],
    );
}

#[test]
fn an_answer_that_could_be_read_in_two_ways_is_refused() {
    for (answer, why) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refusal::LengthAndEncoding,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", Refusal::LengthTwice),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Refusal::EncodingUnsupported),
        ("HTTP/1.1 200 OK\nContent-Length: 3\r\n\r\n", Refusal::BareLineFeed),
    ] {
        let mut space = HeaderSpace::new();
        assert_eq!(parse(answer.as_bytes(), &mut space, LIMITS, GET).err(), Some(why), "{answer:?}");
    }
}

#[test]
fn what_is_no_matter_of_framing_passes() {
    let long = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Type: b\r\nSet-Cookie: {}\r\nContent-Length: 0\r\n\r\n",
        "x".repeat(9_000)
    );
    let mut space = HeaderSpace::new();
    assert!(parse(long.as_bytes(), &mut space, LIMITS, GET).is_ok_and(|head| head.is_some()));
}
