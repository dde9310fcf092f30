//! Clients that mean harm, or are broken: their connection ends within bounds, and others notice nothing.

use super::raw::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, Frame, GET, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};
use super::*;

const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Sends the flood until the router ends the connection, and checks that it did so within bounds.
fn check_flood(what: &str, opening: &[u8], flood: impl Fn(u32) -> Vec<u8>) {
    const ROUNDS_MAX: u32 = 200_000;
    let stage = Stage::new();
    let seen = stage.member("a", 1, named("a"));
    let mut client = Client::begin(&stage);
    client.send(opening);
    let mut reader = Client { stream: client.stream.try_clone().expect("a second handle") };
    let reading = std::thread::spawn(move || reader.read_to_end());
    let ended = (0..ROUNDS_MAX).step_by(20).find(|round| {
        let bytes: Vec<u8> = (*round..round + 20).flat_map(&flood).collect();
        !client.send(&bytes)
    });
    assert!(ended.is_some(), "{what}: the router takes all of it");
    drop(client);
    let frames = reading.join().expect("the reader ends");
    // What the router said last may be lost in the close; if it is there, it says why.
    let goodbye: Vec<u32> = frames.iter().filter(|frame| frame.kind == GOAWAY).map(Frame::reason).collect();
    assert!(
        goodbye.iter().all(|reason| [PROTOCOL_ERROR, ENHANCE_YOUR_CALM].contains(reason)),
        "{what}: {goodbye:?}"
    );
    assert!(seen.count() <= 1_000, "{what}: {} requests reached the member", seen.count());
    assert!(stage.ask("/").ends_with('a'), "{what}: others are served");
}

#[test]
fn a_rapid_reset_ends_the_connection() {
    check_flood("rapid reset", &[], |round| {
        let stream = 2 * round + 1;
        let ask = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET));
        [ask, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
}

#[test]
fn resets_that_the_router_is_made_to_send_end_the_connection() {
    check_flood("made to reset", &[], |round| {
        let stream = 2 * round + 1;
        let ask = frame(HEADERS, END_HEADERS, stream, &block(&GET));
        // An increment of nothing is an error of the stream.
        [ask, frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes())].concat()
    });
}

#[test]
fn a_flood_of_continuations_ends_the_connection() {
    let opening = frame(HEADERS, END_STREAM, 1, &block(&GET));
    check_flood("CONTINUATION", &opening, |_| frame(CONTINUATION, 0, 1, &block(&[("x-more", "x")])));
    check_flood("empty CONTINUATION", &opening, |_| frame(CONTINUATION, 0, 1, &[]));
}

#[test]
fn floods_of_frames_that_want_an_answer_end_the_connection() {
    check_flood("PING", &[], |_| frame(PING, 0, 0, &[7; 8]));
    check_flood("SETTINGS", &[], |_| frame(SETTINGS, 0, 0, &[]));
    check_flood("PRIORITY", &[], |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]));
    check_flood("WINDOW_UPDATE", &[], |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()));
}

#[test]
fn floods_of_data_without_any_end_the_connection() {
    let opening = frame(HEADERS, END_HEADERS, 1, &block(&GET));
    check_flood("empty DATA", &opening, |_| frame(DATA, 0, 1, &[]));
    check_flood("padding", &opening, |_| frame(DATA, PADDED, 1, &[4, 0, 0, 0, 0]));
}

#[test]
fn a_header_bomb_is_refused_within_bounds() {
    // One long header in the table, then named again and again: a byte each, 3,000 bytes unpacked.
    let mut bomb = block(&GET);
    let mut long = block(&[("x-bomb", &"x".repeat(3_000))]);
    long[0] = 0x40;
    bomb.extend(long);
    bomb.extend(std::iter::repeat_n(0xbe, 10_000));
    let stage = Stage::new();
    let seen = stage.member("a", 1, named("a"));
    let mut client = Client::begin(&stage);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
    let goodbye = loop {
        match client.read() {
            Some(frame) if frame.kind == GOAWAY => break frame,
            Some(frame) => assert!(frame.kind != HEADERS, "{frame:?}"),
            None => panic!("no goodbye"),
        }
    };
    assert_eq!(goodbye.reason(), ENHANCE_YOUR_CALM);
    assert_eq!(seen.count(), 0);
    assert!(stage.ask("/").ends_with('a'), "others are served");
}

#[test]
fn heads_beyond_the_limits_are_refused_with_431() {
    let stage = Stage::with(|settings| {
        settings.limits.header_count_max = 20;
        settings.limits.head_size_max_bytes = 2_000;
    });
    let seen = stage.member("a", 1, named("a"));
    let mut client = Client::begin(&stage);
    let mut refused = |stream: u32, more: &[(&str, &str)]| {
        let headers = [GET.as_slice(), more].concat();
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&headers)));
        client.wait_for(HEADERS, stream).status()
    };
    assert_eq!(refused(1, &[("x-a", "1")]), 200);
    assert_eq!(refused(3, &[("x-a", "1"); 30]), 431);
    // Beyond our own bound, and beyond that which clients are told.
    assert_eq!(refused(5, &[("x-a", &"a".repeat(2_100))]), 431);
    assert_eq!(refused(7, &[("x-a", &"a".repeat(4_000))]), 431);
    assert_eq!(refused(9, &[("x-a", "1")]), 200);
    assert_eq!(seen.count(), 1, "one connection to the member");
}

/// What becomes of a request with these headers and this body on a connection of its own.
fn outcome(stage: &Stage, headers: &[(&str, &str)], body: &[u8]) -> String {
    let mut client = Client::begin(stage);
    let flags = if body.is_empty() { END_HEADERS | END_STREAM } else { END_HEADERS };
    client.send(&frame(HEADERS, flags, 1, &block(headers)));
    if !body.is_empty() {
        client.send(&frame(DATA, END_STREAM, 1, body));
    }
    loop {
        match client.read() {
            Some(frame) if frame.kind == HEADERS => return format!("{}", frame.status()),
            Some(frame) if [RST_STREAM, GOAWAY].contains(&frame.kind) => {
                return format!("error {}", frame.reason());
            }
            Some(_) => {}
            None => return "end".to_owned(),
        }
    }
}

#[test]
fn requests_that_could_be_read_in_two_ways_reach_no_member() {
    let stage = Stage::new();
    let seen = stage.member("a", 1, named("a"));
    let with = |more: &[(&'static str, &'static str)]| [GET.as_slice(), more].concat();
    let without = |name: &str| -> Vec<_> { GET.into_iter().filter(|(known, _)| *known != name).collect() };
    let instead = |name: &'static str, value: &'static str| {
        GET.map(|(known, old)| (known, if known == name { value } else { old })).to_vec()
    };
    let malformed = [
        ("upper case", with(&[("X-Upper", "1")])),
        ("a name with a colon", with(&[("a:b", "1")])),
        ("a name with a space", with(&[("a b", "1")])),
        ("CR LF in a value", with(&[("a", "1\r\nb: 2")])),
        ("LF in a value", with(&[("a", "1\nb: 2")])),
        ("NUL in a value", with(&[("a", "1\0")])),
        ("CR LF in a path", instead(":path", "/ HTTP/1.1\r\nx: y")),
        ("a space in a path", instead(":path", "/a b")),
        ("no path", without(":path")),
        ("an empty path", instead(":path", "")),
        ("a path that does not begin with /", instead(":path", "a")),
        ("a method with a space", instead(":method", "GET /a")),
        ("another host than the authority", with(&[("host", "b")])),
        ("two hosts", [without(":authority"), vec![("host", "a"), ("host", "a")]].concat()),
        ("no host", without(":authority")),
        ("a user in the authority", instead(":authority", "me@a")),
        ("CR LF in the authority", instead(":authority", "a\r\nx: y")),
        ("connection", with(&[("connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("te other than trailers", with(&[("te", "gzip")])),
        ("a pseudo header behind others", [vec![("a", "1")], GET.to_vec()].concat()),
        ("a pseudo header twice", with(&[(":path", "/b")])),
        ("an unknown pseudo header", with(&[(":other", "1")])),
        ("a status", with(&[(":status", "200")])),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "a")]),
        ("a length that is none", with(&[("content-length", "+3")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "0")])),
        ("a length by another name", with(&[("content_length", "3")])),
    ];
    for (what, headers) in malformed {
        let found = outcome(&stage, &headers, b"");
        assert!(["400", "405"].contains(&found.as_str()) || found.starts_with("error"), "{what}: {found}");
    }
    assert_eq!(seen.count(), 0);
    // Of another length than announced: an error to the client, and to the member a request that breaks off.
    for length in ["2", "4"] {
        let found = outcome(&stage, &with(&[("content-length", length)]), b"abc");
        assert!(found.starts_with("error"), "a body of 3 bytes, announced as {length}: {found}");
    }
    assert_eq!(outcome(&stage, &GET, b""), "200");
    assert_eq!(outcome(&stage, &with(&[("host", "A")]), b""), "200", "the same host, said twice");
}

/// Resident memory of this process, in bytes.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}

/// A member whose answers are large.
fn generous(mut caller: std::net::TcpStream) {
    let part = [b'x'; 16 * 1024];
    while read_request(&mut caller).is_some() {
        let length = 100 << 20;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        if caller.write_all(head.as_bytes()).is_err() {
            return;
        }
        for _ in 0..length / part.len() {
            if caller.write_all(&part).is_err() {
                return;
            }
        }
    }
}

#[test]
fn clients_that_take_nothing_hold_little_and_end() {
    let stage = Stage::with(|settings| settings.timeouts.response_ms = 500);
    stage.member("a", 1, generous);
    let before = resident_bytes();
    // Windows that never open; windows that are wide open to a client that does not read.
    for window in [0, (1 << 31) - 1] {
        let mut client = Client::with_settings(&stage, &[(INITIAL_WINDOW_SIZE, window)]);
        if window > 0 {
            client.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 28).to_be_bytes()));
        }
        for number in 0..100 {
            client.ask(2 * number + 1);
        }
        // Looks at what it was sent only after the router has had time to lose its patience. A busy one may still have some:
        // then it sends what the window allows, and loses it afterwards.
        std::thread::sleep(Duration::from_secs(2));
        let held = resident_bytes().saturating_sub(before);
        assert!(held < 64 << 20, "window {window}: {held} bytes are held");
        let mut given_up = 0;
        while given_up < 100 && (window == 0 || client.stream.peek(&mut [0]).is_ok_and(|count| count > 0)) {
            let Some(frame) = client.read() else { break };
            // On a busy machine a member may be too late to begin with an answer.
            let is_late = frame.kind == HEADERS && frame.status() == 504;
            given_up += usize::from(frame.kind == RST_STREAM || is_late);
        }
        assert!(window > 0 || given_up == 100, "{given_up} of 100 requests are given up");
    }
}

#[test]
fn a_stream_that_stands_still_does_not_stop_the_others() {
    let (_never, held) = std::sync::mpsc::sync_channel::<()>(1);
    let held = std::sync::Mutex::new(held);
    let stage = Stage::new();
    stage.member("a", 1, move |mut caller| {
        while let Some(head) = read_head(&mut caller) {
            if head.starts_with("POST") {
                // Reads no body until the test is over.
                let _ = held.lock().expect("one at a time").recv();
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n";
            if caller.write_all(&[answer.as_slice(), &[b'x'; 30_000]].concat()).is_err() {
                return;
            }
        }
    });
    tell(async {
        let mut client = client(&stage).await;
        let (_stuck, mut stream) = client.send_request(request(Method::POST, "/"), false).expect("room");
        tokio::task::spawn_local(async move { send_all(&mut stream, Bytes::from(vec![0; 64 << 20])).await });
        // Its answer is never read: half of what the client lets us send at once.
        let (unread, _) = client.send_request(request(Method::GET, "/unread"), true).expect("room");
        let _unread = unread.await.expect("an answer");
        for _ in 0..5 {
            let answer = ask(&mut client, request(Method::GET, "/small"), b"").await.expect("an answer");
            assert_eq!(answer.body.len(), 30_000);
        }
    });
}

#[test]
fn requests_beyond_the_bound_are_refused_unseen() {
    let (never, held) = std::sync::mpsc::sync_channel::<()>(1);
    let held = std::sync::Mutex::new(held);
    let stage = Stage::new();
    let seen = stage.member("a", 1, move |mut caller| {
        read_request(&mut caller);
        let _ = held.lock().map(|held| held.recv());
    });
    let mut client = Client::begin(&stage);
    for number in 0..140 {
        client.ask(2 * number + 1);
    }
    let mut refused = 0;
    while refused < 12 {
        let frame = client.read().expect("the connection goes on");
        refused += usize::from(frame.kind == RST_STREAM && frame.reason() == REFUSED_STREAM);
    }
    assert!(seen.count() <= 128, "{}", seen.count());
    drop((client, never));
}
