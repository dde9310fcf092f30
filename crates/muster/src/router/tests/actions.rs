//! Stories of what routes do besides finding a member.

use super::stage::{self, Stage, get, read_answer, read_request};
use flate2::read::GzDecoder;
use std::io::{Read, Write};
use std::net::TcpStream;
use wire::settings::{
    AccessLog, AccessLogFormat, HeaderChanges, RateLimit, RouteActions, RouteAnswer, RouteSettings,
    TraceSettings,
};

/// A router whose only route does this and leads to the cluster `shop` unless it answers itself.
fn stage_with(path: &str, actions: RouteActions) -> Stage {
    Stage::with(|settings| {
        let mut route = RouteSettings::to_cluster("*", path, "shop".into());
        if actions.answer.is_some() {
            route.levels.clear();
        }
        route.actions = actions;
        settings.routes = vec![route];
    })
}

/// A member that answers with the request that it got.
fn echo(mut caller: TcpStream) {
    while let Some(request) = read_request(&mut caller) {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nServer: old\r\nX-Powered-By: x\r\nContent-Length: {}\r\n\r\n{request}",
            request.len()
        );
        if caller.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn ask(stage: &Stage, request: &str) -> String {
    let mut client = stage.connect();
    client.write_all(request.as_bytes()).expect("the router reads");
    read_answer(&mut client)
}

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn redirect(status: u16, location: &str) -> RouteActions {
    let location = location.to_owned();
    RouteActions { answer: Some(RouteAnswer::Redirect { status, location }), ..RouteActions::default() }
}

#[test]
fn a_redirect_goes_where_it_says_and_the_connection_goes_on() {
    let stage = stage_with("/old", redirect(308, "https://{host}/new{rest}{query}"));
    let mut client = stage.connect();
    for _ in 0..2 {
        client.write_all(b"GET /old/x?y=1 HTTP/1.1\r\nHost: shop:80\r\n\r\n").expect("the router reads");
        let answer = read_answer(&mut client);
        assert!(answer.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{answer}");
        assert!(answer.contains("\r\nLocation: https://shop/new/x?y=1\r\n"), "{answer}");
        assert!(answer.contains("Content-Length: 0\r\n") && answer.contains("keep-alive"), "{answer}");
    }
    // A body that has not come would be taken for the next request.
    client
        .write_all(b"POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        .expect("the router reads");
    assert!(read_answer(&mut client).contains("Connection: close\r\n"));
    assert!(ask(&stage, "GET /old HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_redirect_cannot_be_bent_to_another_host() {
    let stage = stage_with("/", redirect(302, "{path}"));
    for path in ["//evil.example/", "/\\evil.example", "///evil.example"] {
        let answer = ask(&stage, &get(path));
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a redirect");
        assert!(location.starts_with("/evil.example"), "{path} leads to {location}");
    }
}

#[test]
fn a_static_answer_needs_no_member() {
    let answer =
        RouteAnswer::Static { status: 503, content_type: "text/plain".into(), body: "closed".into() };
    let headers = HeaderChanges {
        set: texts(&[("Retry-After", "60"), ("X-For", "{client}")]),
        ..HeaderChanges::default()
    };
    let actions = RouteActions { answer: Some(answer), answer_headers: headers, ..RouteActions::default() };
    let stage = stage_with("/", actions);
    let answer = ask(&stage, &get("/"));
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nRetry-After: 60\r\nX-For: 127.0.0.1\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nclosed"), "{answer}");
    let mut client = stage.connect();
    client.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("read");
    assert!(stage::read_head(&mut client).expect("a head").contains("Content-Length: 6\r\n"));
    assert!(read_answer(&mut client).ends_with("closed"));
}

fn limited(limit: RateLimit) -> Stage {
    let stage = Stage::with(|settings| {
        settings.threads = 4;
        settings.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
        settings.routes[0].actions.rate_limit = Some(limit);
    });
    stage.member("a", 1, echo);
    stage
}

#[test]
fn a_rate_holds_for_all_threads_together_and_for_each_caller_alone() {
    let stage = limited(RateLimit { header: None, requests_per_second: 1, burst: 20 });
    let asked = |client: &str| {
        ask(&stage, &format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"))
    };
    let begin = std::time::Instant::now();
    // Each on a connection of its own: the kernel spreads them over the threads.
    let answers: Vec<String> = (0..40).map(|_| asked("10.0.0.1")).collect();
    let passed = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 200 ")).count();
    let most = 20 + begin.elapsed().as_secs() as usize + 1;
    assert!((20..=most).contains(&passed), "{passed} passed");
    let refused = answers.iter().find(|answer| !answer.starts_with("HTTP/1.1 200 ")).expect("one too many");
    assert!(refused.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{refused}");
    assert!(refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
    assert!(asked("10.0.0.2").starts_with("HTTP/1.1 200 "));
    // One a second passes by and by. An address that the caller made up would have twenty of its own.
    let made_up = || asked("6.6.6.6, 10.0.0.1");
    assert!((0..15).any(|_| made_up().starts_with("HTTP/1.1 429 ")), "who makes up addresses is let through");
}

#[test]
fn a_rate_by_header_goes_on_over_a_change_of_the_settings() {
    let stage = limited(RateLimit { header: Some("X-Key".into()), requests_per_second: 1, burst: 1 });
    let asked = |key: &str| {
        let answer = ask(&stage, &format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n"));
        answer.split(' ').nth(1).expect("a status").to_owned()
    };
    // A bucket of one fills within a second, so it is emptied right before it is asked.
    let is_refused_at_once = || {
        (0..20).any(|_| {
            asked("one");
            asked("one") == "429"
        })
    };
    assert!(is_refused_at_once());
    assert_eq!(asked("two"), "200");
    stage.change_settings(|settings| settings.limits.pool_size_max = 3);
    let slow = || {
        asked("slow");
        stage.change_settings(|settings| settings.limits.pool_size_max += 1);
        asked("slow") == "429"
    };
    assert!((0..20).any(|_| slow()), "each change of the settings gave a new bucket");
}

#[test]
fn headers_change_both_ways_and_cannot_be_smuggled_past() {
    let actions = RouteActions {
        request_headers: HeaderChanges {
            remove: vec!["X-Secret".into()],
            set: texts(&[("X-User", "{client}|{host}|{path}|{query}|{scheme}")]),
        },
        answer_headers: HeaderChanges {
            remove: vec!["x-powered-by".into()],
            set: texts(&[("Server", "shop")]),
        },
        ..RouteActions::default()
    };
    let stage = stage_with("/", actions);
    stage.member("a", 1, echo);
    let answer = ask(
        &stage,
        "GET /p?q HTTP/1.1\r\nHost: shop:80\r\nx-user: root\r\nX_User: root\r\nX-SECRET: 1\r\nX-Other: 2\r\n\r\n",
    );
    let (head, request) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("\r\nServer: shop") && !head.contains("X-Powered-By"), "{head}");
    assert!(!head.contains("Server: old"), "{head}");
    assert!(request.contains("\r\nX-Other: 2\r\nX-User: 127.0.0.1|shop|/p|?q|http\r\n"), "{request}");
    assert!(!request.contains("root") && !request.to_lowercase().contains("secret"), "{request}");
}

#[test]
fn a_rewritten_path_reaches_the_member_and_nothing_climbs_out() {
    let actions = RouteActions { path_replacement: Some("/new".into()), ..RouteActions::default() };
    let stage = stage_with("/old", actions);
    let seen = stage.member("a", 1, echo);
    let line = |path: &str| {
        let answer = ask(&stage, &get(path));
        answer.lines().find_map(|line| line.strip_prefix("GET ")).map(|line| line.replace(" HTTP/1.1", ""))
    };
    assert_eq!(line("/old/a%2Fb?q=/../x").as_deref(), Some("/new/a%2Fb?q=/../x"));
    assert_eq!(line("/old").as_deref(), Some("/new"));
    let before = seen.count();
    for path in ["/old/../x", "/old/%2e%2e/x", "/old/..;a/x", "/old/a%2f..%2f..%2fx"] {
        assert!(ask(&stage, &get(path)).starts_with("HTTP/1.1 400 "), "{path} was let through");
    }
    assert_eq!(seen.count(), before);
}

#[test]
fn bounds_of_a_route_stand_in_place_of_the_routers() {
    let stage = Stage::with(|settings| {
        settings.limits.body_size_max_bytes = 4;
        let mut large = RouteSettings::to_cluster("*", "/large", "shop".into());
        large.actions.body_size_max_bytes = Some(8);
        let mut any = RouteSettings::to_cluster("*", "/any", "shop".into());
        any.actions.body_size_max_bytes = Some(0);
        any.actions.head_size_max_bytes = Some(300);
        settings.routes.extend([large, any]);
    });
    stage.member("a", 1, echo);
    let status = |path: &str, size: usize| {
        let body = "x".repeat(size);
        let answer =
            ask(&stage, &format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{body}"));
        answer[9..12].to_owned()
    };
    assert_eq!([status("/", 4), status("/", 5)], ["200", "413"]);
    assert_eq!([status("/large", 8), status("/large", 9)], ["200", "413"]);
    assert_eq!(status("/any", 5_000), "200");
    let chunked = "POST /large HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = stage.connect();
    client.write_all(format!("{chunked}9\r\nxxxxxxxxx\r\n").as_bytes()).expect("the router reads");
    assert!(read_answer(&mut client).starts_with("HTTP/1.1 413 "));
    let long = format!("GET /any HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(300));
    assert!(ask(&stage, &long).starts_with("HTTP/1.1 431 "));
}

const ZIP: &str = "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";

fn compressing(answer: impl Into<String>, closes: bool) -> Stage {
    let stage = stage_with("/", RouteActions { compresses: true, ..RouteActions::default() });
    let answer = answer.into();
    stage.member("a", 1, move |mut caller| {
        while read_request(&mut caller).is_some() {
            if caller.write_all(answer.as_bytes()).is_err() || closes {
                return;
            }
        }
    });
    stage
}

/// The payload of a chunked body, as it came.
fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").expect("a chunk size");
        let size =
            usize::from_str_radix(std::str::from_utf8(&body[..end]).expect("text"), 16).expect("a size");
        if size == 0 {
            return payload;
        }
        payload.extend_from_slice(&body[end + 2..][..size]);
        body = &body[end + 2 + size + 2..];
    }
}

/// The head of an answer and its body, unpacked if it is compressed. Ends of chunks may look like the end of the body,
/// so the connection's end is what is waited for.
fn unzipped(stage: &Stage, request: &str) -> (String, Vec<u8>) {
    let mut client = stage.connect();
    let request = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    client.write_all(request.as_bytes()).expect("the router reads");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("an end");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(answer[..end].to_vec()).expect("text");
    let mut body = answer[end..].to_vec();
    if head.contains("Transfer-Encoding: chunked") {
        body = unchunk(&body);
    }
    if head.contains("Content-Encoding: gzip") {
        let mut plain = Vec::new();
        GzDecoder::new(body.as_slice()).read_to_end(&mut plain).expect("gzip");
        body = plain;
    }
    (head, body)
}

fn text(size: usize) -> String {
    (0..size).map(|at| char::from(b'a' + (at * at / 7 % 23) as u8)).collect()
}

#[test]
fn text_goes_compressed_to_those_who_take_it() {
    let body = text(200_000);
    let length = body.len();
    let stage = compressing(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
        false,
    );
    let (head, plain) = unzipped(&stage, ZIP);
    assert_eq!(plain, body.as_bytes());
    for line in
        ["Content-Encoding: gzip", "Vary: Accept-Encoding", "ETag: W/\"v1\"", "Transfer-Encoding: chunked"]
    {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is not in {head}");
    }
    assert!(!head.contains("Content-Length") && !head.contains("Accept-Ranges"), "{head}");
    let (head, plain) = unzipped(&stage, &get("/"));
    assert_eq!(plain, body.as_bytes());
    assert!(head.contains("ETag: \"v1\"") && head.contains("Vary: Accept-Encoding"), "{head}");
    assert!(head.contains(&format!("Content-Length: {length}")), "{head}");
    // HTTP/1.0 has no chunks, in which alone a compressed body could end.
    let (head, plain) = unzipped(&stage, &ZIP.replace("HTTP/1.1", "HTTP/1.0"));
    assert!(!head.contains("gzip") && plain == body.as_bytes(), "{head}");
}

#[test]
fn a_compressed_connection_goes_on_with_the_next_request() {
    let body = text(300);
    let stage = compressing(
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: 300\r\n\r\n{body}"),
        false,
    );
    let mut client = stage.connect();
    for _ in 0..3 {
        client.write_all(ZIP.as_bytes()).expect("the router reads");
        let head = stage::read_head(&mut client).expect("a head");
        assert!(head.contains("gzip") && !head.contains("close"), "{head}");
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n0\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).expect("a body");
            body.push(byte[0]);
        }
    }
}

#[test]
fn chunked_answers_and_those_that_end_by_closing_are_compressed_too() {
    let body = text(5_000);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{}\r\nfa0\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n",
        &body[..1000],
        &body[1000..]
    );
    assert_eq!(unzipped(&compressing(chunked, false), ZIP).1, body.as_bytes());
    let closing = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{body}");
    let (head, plain) = unzipped(&compressing(closing, true), ZIP);
    assert!(head.contains("gzip") && plain == body.as_bytes(), "{head}");
}

#[test]
fn what_is_a_part_or_compressed_already_stays_byte_by_byte() {
    let body = text(1_000);
    for line in [
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-999/5000\r\nContent-Type: text/html",
        "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Type: text/html",
        "HTTP/1.1 200 OK\r\nCache-Control: no-transform\r\nContent-Type: text/html",
        "HTTP/1.1 200 OK\r\nContent-Type: image/png",
    ] {
        let stage =
            compressing(format!("{line}\r\nETag: \"s\"\r\nContent-Length: 1000\r\n\r\n{body}"), false);
        let (head, plain) = unzipped(&stage, ZIP);
        assert!(head.contains("ETag: \"s\"") && !head.contains("gzip"), "{head}");
        assert_eq!(plain, body.as_bytes());
    }
}

#[test]
fn head_says_what_get_would() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n";
    let stage = compressing(answer, false);
    let mut client = stage.connect();
    for _ in 0..2 {
        client.write_all(ZIP.replace("GET", "HEAD").as_bytes()).expect("the router reads");
        let head = stage::read_head(&mut client).expect("a head");
        assert!(head.contains("Content-Encoding: gzip") && !head.contains("Content-Length"), "{head}");
    }
}

#[test]
fn an_answer_that_says_nothing_changed_matches_the_tag_that_was_given_out() {
    let stage = compressing("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n", false);
    let mut client = stage.connect();
    client.write_all(ZIP.as_bytes()).expect("the router reads");
    let head = stage::read_head(&mut client).expect("a head");
    assert!(head.contains("ETag: W/\"v1\"") && head.contains("Vary: Accept-Encoding"), "{head}");
}

/// The second event is only sent when the first has been read in plain: nothing may wait in the compressor.
#[test]
fn events_flow_through_the_compressor_one_by_one() {
    let stage = stage_with("/", RouteActions { compresses: true, ..RouteActions::default() });
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let wait = std::sync::Mutex::new(wait);
    stage.member("a", 1, move |mut caller| {
        read_request(&mut caller).expect("a request");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        caller.write_all(head.as_bytes()).expect("the router reads");
        for number in 0..3 {
            caller.write_all(format!("9\r\ndata: {number}\n\n\r\n").as_bytes()).expect("the router reads");
            wait.lock().expect("no panic").recv().expect("the test goes on");
        }
        caller.write_all(b"0\r\n\r\n").expect("the router reads");
    });
    let mut client = stage.connect();
    client.write_all(ZIP.as_bytes()).expect("the router reads");
    let head = stage::read_head(&mut client).expect("a head");
    assert!(head.contains("Content-Encoding: gzip"), "{head}");
    let mut zipped = Vec::new();
    for number in 0..3 {
        let wanted = format!("data: {number}\n\n");
        loop {
            zipped.extend(read_chunk(&mut client));
            let mut plain = vec![0; 1000];
            let mut decoder = flate2::Decompress::new(false);
            // The head of gzip has ten bytes; what follows is deflate.
            decoder
                .decompress(&zipped[10.min(zipped.len())..], &mut plain, flate2::FlushDecompress::Sync)
                .expect("deflate");
            if String::from_utf8_lossy(&plain).contains(&wanted) {
                break;
            }
        }
        go.send(()).expect("the member waits");
    }
}

fn read_chunk(client: &mut TcpStream) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("a chunk");
        line.push(byte[0]);
    }
    let size = std::str::from_utf8(&line[..line.len() - 2]).expect("text");
    let mut chunk = vec![0; usize::from_str_radix(size, 16).expect("a size") + 2];
    client.read_exact(&mut chunk).expect("a chunk");
    chunk.truncate(chunk.len() - 2);
    chunk
}

#[test]
fn a_valid_trace_goes_on_and_garbage_does_not() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let stage = Stage::with(|settings| {
        settings.trace = Some(TraceSettings { starts: true, sampled_percent: 0 });
    });
    stage.member("a", 1, echo);
    let asked = |lines: &str| {
        let answer = ask(&stage, &format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        let header = |name: &str| {
            let mut found = answer.lines().filter_map(|line| line.strip_prefix(name));
            let first = found.next().map(str::to_owned);
            assert_eq!(found.next(), None, "{name} stands twice in {answer}");
            first
        };
        (header("traceparent: "), header("tracestate: "))
    };
    let (parent, state) = asked(&format!("traceparent: {PARENT}\r\ntracestate: a=1\r\n"));
    let parent = parent.expect("a trace");
    assert!(parent.starts_with(&PARENT[..36]) && parent.ends_with("-01") && parent != PARENT, "{parent}");
    assert_eq!(state.as_deref(), Some("a=1"));
    let garbage = [
        "traceparent: 00-x\r\ntracestate: a=1\r\n".to_owned(),
        format!("traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\n"),
    ];
    for lines in garbage {
        let (parent, state) = asked(&lines);
        let parent = parent.expect("a new trace");
        assert!(!parent.contains("4bf92f35") && parent.len() == 55 && parent.ends_with("-00"), "{parent}");
        assert_eq!(state, None);
    }
    assert_ne!(asked("").0, asked("").0);
    stage.change_settings(|settings| {
        settings.trace = Some(TraceSettings { starts: false, sampled_percent: 100 });
    });
    assert_eq!(asked("traceparent: 00-x\r\n"), (None, None));
    stage.change_settings(|settings| settings.trace = None);
    assert_eq!(asked("traceparent: 00-x\r\n").0.as_deref(), Some("00-x"));
}

#[test]
fn the_log_tells_route_member_trace_and_phases() {
    let path = std::env::temp_dir().join(format!("muster-log-story-{}", std::process::id()));
    let stage = Stage::with(|settings| {
        settings.access_log = AccessLog {
            format: AccessLogFormat::Json,
            path: path.display().to_string(),
            ..AccessLog::default()
        };
        settings.trace = Some(TraceSettings { starts: true, sampled_percent: 100 });
        settings.routes[0].actions.path_replacement = Some("/new".into());
        let mut moved = RouteSettings::to_cluster("*", "/moved", "shop".into());
        moved.levels.clear();
        moved.actions = redirect(301, "/");
        settings.routes.push(moved);
    });
    stage.member("a", 1, echo);
    ask(&stage, "GET /x?q HTTP/1.1\r\nHost: shop\r\nUser-Agent: me\"\r\n\r\n");
    ask(&stage, &get("/moved"));
    let lines = stage::wait_for_lines(&path, 2);
    let of = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("JSON") };
    let (carried, moved) = (of(&lines[0]), of(&lines[1]));
    assert_eq!(carried["target"], "/x?q");
    assert_eq!([&carried["route"], &carried["member"], &carried["router"]], ["*/", "a", "front"]);
    assert_eq!(
        [&carried["user_agent"], &carried["protocol"], &carried["host"]],
        ["me\"", "HTTP/1.1", "shop"]
    );
    assert_eq!(carried["trace_id"].as_str().expect("a trace").len(), 32);
    let number = |name: &str| carried[name].as_u64().expect("a number");
    let phases = ["connect_us", "send_us", "wait_us", "answer_us"].map(number);
    assert!(phases.iter().sum::<u64>() >= number("duration_us"), "{phases:?}");
    assert_eq!([&moved["route"], &moved["target"]], ["*/moved", "/moved"]);
    assert_eq!([&moved["status"], &moved["member"]], [&serde_json::json!(301), &serde_json::Value::Null]);
    std::fs::remove_file(&path).expect("ours");
}

#[test]
fn routes_and_members_are_counted_apart() {
    let stage = Stage::with(|settings| {
        settings.routes.push(RouteSettings::to_cluster("*", "/b", "shop".into()));
    });
    stage.member("a", 1, echo);
    stage.ask("/");
    stage.ask("/b");
    stage.ask("/b/c");
    let report = stage.wait_for_report(|report| {
        report.routes.iter().map(|route| route.counts.requests()).sum::<u64>() == 3
    });
    let counted: Vec<(&str, u64, u64)> = report
        .routes
        .iter()
        .map(|route| (route.route.as_str(), route.counts.by_class[1], route.in_flight))
        .collect();
    assert_eq!(counted, [("*/", 1, 0), ("*/b", 2, 0)]);
    let member = &report.clusters[0].members[0];
    assert_eq!(member.counts.first_byte.iter().sum::<u64>(), 3);
    assert!(member.counts.bytes_out > 0 && member.counts.bytes_in > 0);
}
