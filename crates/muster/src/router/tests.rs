//! Stories of requests through a real router: real sockets, members that do what a story says, and the test as manager.

mod actions;
mod choice;
mod clients;
mod doubt;
mod http2;
pub mod stage;

use expect_test::expect;
use stage::{Stage, get, read_answer, read_request};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};
use wire::settings::Listener;
use wire::view::RunState;

/// A member that answers every request with its name, until its caller closes.
fn named(name: &'static str) -> impl Fn(std::net::TcpStream) + Send + Sync + 'static {
    move |mut caller| {
        while let Some(request) = read_request(&mut caller) {
            let body = if request.starts_with("HEAD") { String::new() } else { name.to_owned() };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", name.len());
            if caller.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// A member that gives one prepared answer to whatever comes, and closes if it says so.
fn says(answer: &'static str, closes: bool) -> impl Fn(std::net::TcpStream) + Send + Sync + 'static {
    move |mut caller| {
        while read_request(&mut caller).is_some() {
            if caller.write_all(answer.as_bytes()).is_err() || closes {
                return;
            }
        }
    }
}

#[test]
fn requests_go_to_members_by_weight_on_one_connection() {
    let stage = Stage::new();
    stage.member("a", 2, named("a"));
    stage.member("b", 1, named("b"));
    let mut client = stage.connect();
    let mut counts = [0; 2];
    for _ in 0..30 {
        client.write_all(get("/").as_bytes()).expect("the router reads");
        let answer = read_answer(&mut client);
        counts[usize::from(answer.ends_with('b'))] += 1;
    }
    assert_eq!(counts, [20, 10]);
}

#[test]
fn the_member_sees_who_asks_and_nothing_of_the_connection() {
    let stage = Stage::new();
    stage.member("a", 1, |mut caller| {
        let request = read_request(&mut caller).expect("a request");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{request}", request.len());
        caller.write_all(answer.as_bytes()).expect("the router reads");
    });
    let mut client = stage.connect();
    let request = "GET /x?y HTTP/1.1\r\nHost: shop:80\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    client.write_all(request.as_bytes()).expect("the router reads");
    let answer = read_answer(&mut client);
    expect![[r#"
        GET /x?y HTTP/1.1
        Host: shop:80
        X-Forwarded-For: 127.0.0.1
        X-Forwarded-Proto: http
        X-Forwarded-Host: shop:80
        Forwarded: for=127.0.0.1;host="shop:80";proto=http
        Via: 1.1 muster

    "#]]
    .assert_eq(&answer.split_once("\r\n\r\n").expect("a head").1.replace("\r\n", "\n"));
    assert!(answer.contains("Connection: close"));
    assert_eq!(client.read(&mut [0]).expect("an end"), 0);
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    const SIZE: usize = 5_000_000;
    let stage = Stage::new();
    stage.member("a", 1, |mut caller| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if caller.read(&mut byte).expect("readable") == 0 {
                return;
            }
            head.push(byte[0]);
        }
        let mut body = vec![0; SIZE];
        caller.read_exact(&mut body).expect("the whole body");
        caller
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())
            .expect("read");
        caller.write_all(&body).expect("read");
    });
    let body: Vec<u8> = (0..SIZE).map(|at| (at * 31 % 251) as u8).collect();
    let mut client = stage.connect();
    let mut sender = client.try_clone().expect("a second handle");
    let sent = body.clone();
    let writer = std::thread::spawn(move || {
        sender
            .write_all(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())
            .expect("the router reads");
        sender.write_all(&sent).expect("the router reads");
    });
    let answer = stage::read_answer_bytes(&mut client);
    writer.join().expect("all was sent");
    assert!(answer.ends_with(&body), "{} bytes came back", answer.len());
}

#[test]
fn chunks_and_trailers_pass_as_they_are_and_an_old_client_gets_plain_bytes() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\nX-Sum: 8\r\n\r\n";
    let stage = Stage::new();
    stage.member("a", 1, says(chunked, false));
    let mut client = stage.connect();
    client.write_all(get("/").as_bytes()).expect("the router reads");
    assert!(read_answer(&mut client).ends_with("5\r\nhello\r\n3\r\nyou\r\n0\r\nX-Sum: 8\r\n\r\n"));
    let mut old = stage.connect();
    old.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("the router reads");
    let mut answer = String::new();
    old.read_to_string(&mut answer).expect("an end");
    assert!(answer.ends_with("\r\n\r\nhelloyou"), "{answer}");
    assert!(!answer.contains("chunked"), "{answer}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let stage = Stage::new();
    stage.member("a", 1, |mut caller| {
        while let Some(request) = read_request(&mut caller) {
            let path = request.split(' ').nth(1).expect("a target").to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
            caller.write_all(answer.as_bytes()).expect("the router reads");
        }
    });
    let mut client = stage.connect();
    client.write_all([get("/1"), get("/2"), get("/3")].concat().as_bytes()).expect("the router reads");
    for path in ["/1", "/2", "/3"] {
        assert!(read_answer(&mut client).ends_with(path));
    }
}

#[test]
fn interim_answers_come_before_the_final_one() {
    let stage = Stage::new();
    stage.member("a", 1, |mut caller| {
        let head = stage::read_head(&mut caller).expect("a head");
        assert!(head.contains("Expect: 100-continue"), "{head}");
        caller.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("the router reads");
        let mut body = [0; 3];
        caller.read_exact(&mut body).expect("the body");
        caller
            .write_all(
                b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            )
            .expect("the router reads");
        caller.write_all(&body).expect("the router reads");
    });
    let mut client = stage.connect();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        .expect("the router reads");
    assert!(stage::read_head(&mut client).expect("a head").starts_with("HTTP/1.1 100 Continue"));
    client.write_all(b"abc").expect("the router reads");
    assert!(stage::read_head(&mut client).expect("a head").starts_with("HTTP/1.1 103 Early Hints"));
    assert!(read_answer(&mut client).ends_with("abc"));
}

#[test]
fn after_an_interim_answer_a_failure_is_still_told() {
    let stage = Stage::new();
    let seen = stage.member("a", 1, |mut caller| {
        stage::read_head(&mut caller).expect("a head");
        caller.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("the router reads");
    });
    stage.member("b", 0, named("b"));
    let mut client = stage.connect();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        .expect("the router reads");
    assert!(stage::read_head(&mut client).expect("a head").starts_with("HTTP/1.1 100 Continue"));
    let answer = read_answer(&mut client);
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway"), "{answer}");
    assert_eq!(seen.count(), 1);
}

#[test]
fn a_listen_address_that_is_taken_leaves_the_old_one() {
    let stage = Stage::new();
    stage.member("a", 1, named("a"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    stage.change_settings(|settings| settings.listeners = vec![Listener::plain(address)]);
    assert!(stage.ask("/").ends_with('a'));
}

#[test]
fn an_upgrade_becomes_a_tunnel_and_ends_one_way_at_a_time() {
    let stage = Stage::new();
    let log = stage::log_json(&stage, "tunnel");
    stage.member("a", 1, |mut caller| {
        let head = stage::read_head(&mut caller).expect("a head");
        assert!(head.contains("Upgrade: websocket") && head.contains("Connection: upgrade"), "{head}");
        caller
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
            )
            .expect("the router reads");
        let mut all = Vec::new();
        caller.read_to_end(&mut all).expect("an end");
        all.reverse();
        caller.write_all(&all).expect("the router reads");
    });
    let mut client = stage.connect();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(request.as_bytes()).expect("the router reads");
    assert!(stage::read_head(&mut client).expect("a head").starts_with("HTTP/1.1 101 "));
    client.write_all(b"abc").expect("the router reads");
    client.shutdown(Shutdown::Write).expect("open");
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("an end");
    assert_eq!(rest, "hicba");
    // One line, now that it is over, with what went through.
    let lines = stage::wait_for_lines(&log, 1);
    let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
    let number = |name: &str| line[name].as_u64().expect("a number");
    assert_eq!((number("status"), number("body_bytes")), (101, 5));
    assert!(number("bytes_in") >= request.len() as u64 + 3, "{line}");
    stage.wait_for_report(|report| report.totals.bytes_out == number("bytes_out"));
    std::fs::remove_file(&log).expect("ours");
}

#[test]
fn a_get_is_sent_elsewhere_and_a_post_never_twice() {
    let stage = Stage::new();
    let seen = stage.member("breaks", 1000, |mut caller| drop(read_request(&mut caller)));
    stage.member("works", 1, named("works"));
    let mut client = stage.connect();
    for _ in 0..4 {
        client.write_all(get("/").as_bytes()).expect("the router reads");
        assert!(read_answer(&mut client).ends_with("works"));
    }
    // The member is known to fail by now and comes last; alone, it is tried again.
    stage.set_state("works", RunState::Down);
    let before = seen.count();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        .expect("the router reads");
    let answer = read_answer(&mut client);
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway"), "{answer}");
    assert_eq!(seen.count(), before + 1);
}

#[test]
fn a_small_answer_that_breaks_off_is_given_by_another_member() {
    let stage = Stage::new();
    let seen = stage.member("breaks", 1000, says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbroke", true));
    stage.member("works", 1, named("works"));
    let mut client = stage.connect();
    client.write_all(get("/").as_bytes()).expect("the router reads");
    assert!(read_answer(&mut client).ends_with("\r\n\r\nworks"));
    assert!(seen.count() > 0, "the first one was asked");
}

#[test]
fn a_small_answer_that_comes_slowly_is_not_kept_back_for_long() {
    let stage = Stage::new();
    let (seen, is_seen) = std::sync::mpsc::sync_channel::<()>(1);
    let is_seen = std::sync::Mutex::new(is_seen);
    stage.member("a", 1, move |mut caller| {
        read_request(&mut caller).expect("a request");
        caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na").expect("the router reads");
        // It says no more before its client has seen that.
        is_seen.lock().expect("one caller").recv().expect("the client has read");
        caller.write_all(b"bc").expect("the router reads");
    });
    let mut client = stage.connect();
    client.write_all(get("/").as_bytes()).expect("the router reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\na") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("what there is comes");
        answer.push(byte[0]);
    }
    seen.send(()).expect("the member waits");
    let mut last = [0; 2];
    client.read_exact(&mut last).expect("the rest");
    assert_eq!(&last, b"bc");
}

#[test]
fn a_connection_that_a_member_closed_meanwhile_costs_nothing() {
    let stage = Stage::new();
    // Each connection serves one request and is closed without a word, as servers do with idle ones.
    stage.member("a", 1, says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true));
    let mut client = stage.connect();
    for _ in 0..20 {
        client.write_all(get("/").as_bytes()).expect("the router reads");
        assert!(read_answer(&mut client).ends_with("ok"));
    }
}

#[test]
fn malformed_requests_are_answered_and_never_forwarded() {
    let stage = Stage::new();
    let seen = stage.member("a", 1, named("a"));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", "417"),
    ] {
        let mut client = stage.connect();
        client.write_all(request.as_bytes()).expect("the router reads");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an end");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    assert_eq!(seen.count(), 0);
}

#[test]
fn a_malformed_answer_does_not_reach_the_client() {
    let stage = Stage::new();
    stage.member(
        "a",
        1,
        says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", false),
    );
    let mut client = stage.connect();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n")
        .expect("the router reads");
    let answer = read_answer(&mut client);
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway"), "{answer}");
    assert!(answer.contains("application/json") && !answer.contains("ok\n"), "{answer}");
}

#[test]
fn what_takes_too_long_ends() {
    let stage = Stage::with(|settings| {
        settings.timeouts.head_ms = 100;
        settings.timeouts.idle_ms = 200;
        settings.timeouts.response_ms = 300;
    });
    stage.member("a", 1, |mut caller| {
        let mut all = Vec::new();
        caller.read_to_end(&mut all).expect("an end");
    });
    let mut slow = stage.connect();
    slow.write_all(b"GET / HT").expect("the router reads");
    assert!(read_answer(&mut slow).starts_with("HTTP/1.1 408 "));
    let mut waits = stage.connect();
    waits.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").expect("the router reads");
    assert!(read_answer(&mut waits).starts_with("HTTP/1.1 504 "));
    let mut idle = stage.connect();
    assert_eq!(idle.read(&mut [0]).expect("an end"), 0);
    let mut stuck = stage.connect();
    stuck.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").expect("the router reads");
    assert!(read_answer(&mut stuck).starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_body_that_dribbles_ends_and_a_call_that_does_goes_on() {
    let stage = Stage::with(|settings| settings.timeouts.body_ms = 300);
    stage.member("a", 1, named("a"));
    let dribble = |head: &str| {
        let mut client = stage.connect();
        client.write_all(head.as_bytes()).expect("the router reads");
        let mut sender = client.try_clone().expect("a second handle");
        let sending = std::thread::spawn(move || {
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(50));
                if sender.write_all(b"x").is_err() {
                    break;
                }
            }
        });
        let answer = read_answer(&mut client);
        sending.join().expect("it only sends");
        answer
    };
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n";
    assert!(dribble(&format!("{head}\r\n")).starts_with("HTTP/1.1 408 "));
    assert!(dribble(&format!("{head}Content-Type: application/grpc\r\n\r\n")).starts_with("HTTP/1.1 200 "));
    stage.change_settings(|settings| settings.timeouts.body_ms = 0);
    assert!(dribble(&format!("{head}\r\n")).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_request_waits_in_vain_for_two_members_and_no_more() {
    let stage = Stage::with(|settings| settings.timeouts.response_ms = 500);
    let seen: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| {
            stage.member(name, 1, |mut caller| {
                let mut all = Vec::new();
                caller.read_to_end(&mut all).expect("an end");
            })
        })
        .into();
    let mut client = stage.connect();
    let start = Instant::now();
    client.write_all(get("/").as_bytes()).expect("the router reads");
    assert!(read_answer(&mut client).starts_with("HTTP/1.1 504 "));
    assert!(start.elapsed() >= Duration::from_millis(1_000), "a second member was asked");
    assert_eq!(seen.iter().map(stage::Seen::count).sum::<u64>(), 2);
}

#[test]
fn an_old_client_without_host_is_given_to_another_member_too() {
    let stage = Stage::new();
    // Closes behind its request.
    stage.member("closes", 1000, |mut caller| drop(stage::read_head(&mut caller)));
    stage.member("works", 1, |mut caller| {
        let head = stage::read_head(&mut caller).expect("a head");
        let host = head.lines().find(|line| line.starts_with("Host: ")).unwrap_or_default();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{host}", host.len());
        caller.write_all(answer.as_bytes()).expect("the router reads");
    });
    let mut client = stage.connect();
    let address = client.peer_addr().expect("connected");
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("the router reads");
    let answer = read_answer(&mut client);
    assert!(answer.ends_with(&format!("Host: {address}")), "{answer}");
}

#[test]
fn requests_that_wait_for_a_lost_member_go_elsewhere_at_once() {
    let stage = Stage::new();
    let seen = stage.member("hangs", 1000, |mut caller| {
        let mut all = Vec::new();
        caller.read_to_end(&mut all).expect("an end");
    });
    stage.member("works", 1, named("works"));
    let mut client = stage.connect();
    client.write_all(get("/").as_bytes()).expect("the router reads");
    seen.wait_for(1);
    let start = Instant::now();
    stage.lose("hangs");
    assert!(read_answer(&mut client).ends_with("works"));
    assert!(start.elapsed() < Duration::from_secs(30), "before the answer's own deadline of a minute");
}

#[test]
fn an_early_answer_is_read_although_the_body_still_comes() {
    let stage = Stage::new();
    stage.member("a", 1, |mut caller| {
        stage::read_head(&mut caller).expect("a head");
        caller.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nbig!").expect("read");
        caller.shutdown(Shutdown::Both).expect("open");
    });
    let mut client = stage.connect();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
        .expect("the router reads");
    let mut sender = client.try_clone().expect("a second handle");
    // The router stops reading when it has answered: what does not fit the sockets is not sent.
    let writer = std::thread::spawn(move || sender.write_all(&[b'x'; 900_000]).is_ok());
    let answer = read_answer(&mut client);
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("big!"), "{answer}");
    writer.join().expect("no panic");
}

#[test]
fn sizes_are_bounded_as_configured() {
    let stage = Stage::with(|settings| {
        settings.limits.body_size_max_bytes = 10;
        settings.limits.head_size_max_bytes = 1024;
        settings.limits.header_count_max = 5;
    });
    let seen = stage.member("a", 1, named("a"));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(2000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(5));
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", "413"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n",
            "413",
        ),
        (long.as_str(), "431"),
        (many.as_str(), "431"),
    ] {
        let mut client = stage.connect();
        client.write_all(request.as_bytes()).expect("the router reads");
        let answer = read_answer(&mut client);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    assert_eq!(seen.count(), 0);
}

#[test]
fn without_a_member_or_a_route_the_router_says_so_and_goes_on() {
    let stage = Stage::with(|settings| settings.routes[0].path = "/shop".into());
    stage.member("a", 1, named("a"));
    let mut client = stage.connect();
    client.write_all(get("/").as_bytes()).expect("the router reads");
    assert!(read_answer(&mut client).starts_with("HTTP/1.1 404 Not Found"));
    stage.set_state("a", RunState::Down);
    client.write_all(get("/shop").as_bytes()).expect("the router reads");
    let answer = read_answer(&mut client);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 1"), "{answer}");
    stage.set_state("a", RunState::Up);
    client.write_all(get("/shop/x").as_bytes()).expect("the router reads");
    assert!(read_answer(&mut client).ends_with('a'));
}

#[test]
fn a_router_serves_from_its_disk_without_a_manager() {
    let stage = Stage::new();
    stage.member("a", 1, named("a"));
    assert!(stage.ask("/").ends_with('a'));
    let stage = stage.restart_without_manager();
    assert!(stage.ask("/").ends_with('a'));
}

#[test]
fn a_conversation_stays_with_its_member() {
    let stage = Stage::new();
    stage.member("a", 1, named("a"));
    stage.member("b", 1, named("b"));
    let mut client = stage.connect();
    let request = "GET / HTTP/1.1\r\nHost: x\r\nCookie: z=1; JSESSIONID=0000abc:b\r\n\r\n";
    for _ in 0..5 {
        client.write_all(request.as_bytes()).expect("the router reads");
        assert!(read_answer(&mut client).ends_with('b'));
    }
    stage.set_state("b", RunState::Draining);
    client.write_all(request.as_bytes()).expect("the router reads");
    assert!(read_answer(&mut client).ends_with('b'));
    stage.set_state("b", RunState::Down);
    client.write_all(request.as_bytes()).expect("the router reads");
    assert!(read_answer(&mut client).ends_with('a'));
}

#[test]
fn the_number_of_threads_changes_without_a_failed_request() {
    let stage = Stage::new();
    stage.member("a", 1, named("a"));
    let mut client = stage.connect();
    for threads in [3, 1, 2] {
        client.write_all(get("/").as_bytes()).expect("the router reads");
        assert!(read_answer(&mut client).ends_with('a'));
        stage.change_settings(|settings| settings.threads = threads);
        for _ in 0..20 {
            assert!(stage.ask("/").ends_with('a'));
        }
        // Its own thread may be one that ends now: then the connection ends in order, between two requests.
        client = stage.connect();
    }
    stage.set_state("a", RunState::Down);
    assert!(stage.ask("/").starts_with("HTTP/1.1 503 "), "all threads use the newest view");
}
