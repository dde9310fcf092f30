//! Answers of HTTP servers, cut in every place.

use super::*;
use crate::seed::Chance;

fn status(text: Option<&str>) -> Wanted {
    Wanted::Status { status_min: 200, status_max: 399, text: text.map(str::to_owned) }
}

/// The verdict after these pieces, and after the connection's end if there was none before.
fn judge(wanted: &Wanted, pieces: &[&[u8]]) -> Verdict {
    let mut talk = HttpTalk::new(wanted.clone(), b"ask".to_vec());
    assert_eq!(talk.begin(), Next::Say(b"ask".to_vec()));
    for piece in pieces {
        match talk.heard(piece) {
            Next::Done { verdict, .. } => return verdict,
            Next::Say(bytes) => assert!(bytes.is_empty(), "there is nothing more to say"),
            Next::Encrypt => panic!("TLS is not begun here"),
        }
    }
    talk.closed()
}

fn bad(status: u16) -> Verdict {
    Err(Trouble::Status { status, status_min: 200, status_max: 399 })
}

#[test]
fn answers_are_judged_alike_wherever_they_are_cut() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nall i\r\n7\r\ns well.\r\n0\r\n\r\n";
    let missing = || Err(Trouble::TextMissing("is well".into()));
    for (wanted, answer, verdict) in [
        (status(None), "HTTP/1.1 200 OK\r\n\r\n", Ok(())),
        (status(None), "HTTP/1.0 302 \r\n", Ok(())),
        (status(None), "HTTP/1.1 404 Not Found\r\n\r\n", bad(404)),
        (status(None), "HTTP/1.1 500 Oh\r\n\r\n", bad(500)),
        (status(None), "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Ok(())),
        (status(None), "HTTP/1.1 101 Switching\r\n\r\n", bad(101)),
        (status(None), "HTTP/1.1 20 Oh\r\n\r\n", Err(Trouble::OtherProtocol("HTTP"))),
        (status(None), "SSH-2.0-x\r\n", Err(Trouble::OtherProtocol("HTTP"))),
        (status(None), "", Err(Trouble::Closed)),
        (status(None), "HTTP/1.1 2", Err(Trouble::OtherProtocol("HTTP"))),
        (Wanted::Protocol, "HTTP/", Ok(())),
        (Wanted::Protocol, "HTTP/1.1 500 Oh\r\n", Ok(())),
        (Wanted::Protocol, "HTTQ/", Err(Trouble::OtherProtocol("HTTP"))),
        (Wanted::Protocol, "HTT", Err(Trouble::OtherProtocol("HTTP"))),
        (status(Some("is well")), chunked, Ok(())),
        (status(Some("is well")), "HTTP/1.1 200 OK\r\n\r\nall is well", Ok(())),
        (status(Some("is well")), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nall is well", missing()),
        (status(Some("is well")), "HTTP/1.1 200 OK\r\n\r\nall is wel", missing()),
        (status(Some("is well")), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", missing()),
        (status(Some("is well")), "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall", Err(Trouble::Closed)),
        (status(Some("is well")), "HTTP/1.1 200 OK\r\nis well: x\r\n\r\n", missing()),
        (status(Some("is well")), "HTTP/1.1 503 is well\r\n\r\nis well", bad(503)),
    ] {
        for cut in 0..=answer.len() {
            let (first, second) = answer.as_bytes().split_at(cut);
            assert_eq!(judge(&wanted, &[first, second]), verdict, "{wanted:?} {answer:?} cut at {cut}");
        }
        let bytes: Vec<&[u8]> = answer.as_bytes().chunks(1).collect();
        assert_eq!(judge(&wanted, &bytes), verdict, "{wanted:?} {answer:?} byte by byte");
    }
}

#[test]
fn a_head_without_end_and_a_body_without_end_are_given_up() {
    let line = [b'a'; 1 << 10];
    let mut pieces: Vec<&[u8]> = vec![b"HTTP/1.1 103 Wait\r\n"];
    pieces.extend(std::iter::repeat_n(&line[..], 100));
    assert!(matches!(judge(&status(None), &pieces), Err(Trouble::TooLong(_))));
    let block = vec![b'a'; 1 << 20];
    let mut pieces: Vec<&[u8]> = vec![b"HTTP/1.1 200 OK\r\n\r\n"];
    pieces.extend(std::iter::repeat_n(&block[..], 20));
    assert!(matches!(judge(&status(Some("b")), &pieces), Err(Trouble::TooLong(_))));
}

#[test]
fn whatever_comes_is_judged_without_a_panic() {
    for seed in 0..3_000 {
        let mut seed = Chance::new(seed);
        let parts: [&[u8]; 8] = [
            b"HTTP/1.1 200 OK\r\n",
            b"\r\n",
            b"transfer-encoding: chunked\r\n",
            b"content-length: 5\r\n",
            b"5\r\nhello\r\n",
            b"0\r\n\r\n",
            b"\xff\x00:\n",
            b"HTTP/1.1 100 C\r\n\r\n",
        ];
        let pieces: Vec<&[u8]> = (0..10).map(|_| parts[seed.below(8) as usize]).collect();
        let _ = judge(&status(Some("hello")), &pieces);
    }
}

#[test]
fn requests_say_what_is_asked_and_of_whom() {
    let mut ask = HttpAsk {
        is_head: true,
        is_version_11: false,
        path: "/health?x=1".into(),
        host: None,
        status_min: 200,
        status_max: 399,
        text: None,
        credentials: None,
    };
    let text = |ask: &HttpAsk, host: &str, port, authorization| {
        let target = Target { host: host.into(), port };
        let request = String::from_utf8(request(ask, &target, 80, authorization)).expect("it is text");
        assert!(request.ends_with("\r\nConnection: close\r\n\r\n"), "{request}");
        request.lines().take(3).collect::<Vec<_>>().join("|")
    };
    assert_eq!(text(&ask, "web", 80, None), "HEAD /health?x=1 HTTP/1.0|Host: web|User-Agent: muster-monitor");
    ask = HttpAsk { is_head: false, is_version_11: true, ..ask };
    let authorized = text(&ask, "::1", 8080, Some("Basic dTpw"));
    assert_eq!(authorized, "GET /health?x=1 HTTP/1.1|Host: [::1]:8080|Authorization: Basic dTpw");
    ask.host = Some("shop.example.com".into());
    assert!(text(&ask, "web", 8080, None).contains("|Host: shop.example.com|"));
}
