//! Stories of HTTP/2 clients: well-behaved ones by the h2 crate, hostile ones by frames written byte for byte.

mod attacks;
mod goodbye;
mod members;
mod raw;
mod standard;

use super::stage::{Stage, get, read_answer, read_head, read_request};
use super::{named, says};
use bytes::Bytes;
use expect_test::expect;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Response};
use std::future::Future;
use std::io::{Read, Write};
use std::time::Duration;
use wire::settings::Listener;

/// Runs a story of asynchronous clients.
fn tell<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let set = tokio::task::LocalSet::new();
    set.block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), story).await.expect("the story ends in time")
    })
}

/// A connection of a client that knows that we speak HTTP/2.
async fn client(stage: &Stage) -> SendRequest<Bytes> {
    let stream = stage.connect();
    stream.set_nonblocking(true).expect("a socket");
    let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
    let (client, connection) = h2::client::handshake(stream).await.expect("the router speaks HTTP/2");
    tokio::task::spawn_local(async move {
        // How it ends is seen by its requests.
        let _ = connection.await;
    });
    client.ready().await.expect("a connection")
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://a{path}")).body(()).expect("a request")
}

/// A whole answer.
#[derive(Debug)]
struct Answer {
    head: Response<()>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }
}

async fn take(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?;
    Ok(Answer { head: Response::from_parts(head, ()), body: bytes, trailers })
}

/// Sends as the windows allow.
async fn send(stream: &mut h2::SendStream<Bytes>, mut bytes: Bytes, is_end: bool) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let room = room.unwrap_or(Err(h2::Reason::CANCEL.into()))?;
        let part = bytes.split_to(room.min(bytes.len()));
        stream.send_data(part, is_end && bytes.is_empty())?;
    }
    Ok(())
}

async fn send_all(stream: &mut h2::SendStream<Bytes>, bytes: Bytes) -> Result<(), h2::Error> {
    send(stream, bytes, true).await
}

async fn ask(
    client: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: &[u8],
) -> Result<Answer, h2::Error> {
    let (response, mut stream) = client.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        send_all(&mut stream, Bytes::copy_from_slice(body)).await?;
    }
    take(response).await
}

#[test]
fn many_requests_share_a_connection_beside_http11_on_the_same_port() {
    let stage = Stage::new();
    stage.member("a", 1, named("a"));
    assert!(stage.ask("/").ends_with('a'));
    tell(async {
        let mut client = client(&stage).await;
        // After the first one the client knows how many it may ask at once.
        ask(&mut client, request(Method::GET, "/"), b"").await.expect("an answer");
        let asked: Vec<_> = (0..300)
            .map(|number| {
                let mut client = client.clone();
                tokio::task::spawn_local(async move {
                    client = client.ready().await.expect("room");
                    ask(&mut client, request(Method::GET, &format!("/{number}")), b"").await
                })
            })
            .collect();
        for answer in asked {
            let answer = answer.await.expect("no panic").expect("an answer");
            assert_eq!((answer.head.status().as_u16(), answer.text().as_str()), (200, "a"));
        }
    });
    assert!(stage.ask("/").ends_with('a'));
}

/// A member that answers with what it was asked, head and all.
fn mirrors(mut caller: std::net::TcpStream) {
    while let Some(request) = read_request(&mut caller) {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{request}", request.len());
        if caller.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn the_member_gets_one_strict_head() {
    let stage = Stage::new();
    stage.member("a", 1, mirrors);
    let text = tell(async {
        let mut client = client(&stage).await;
        let mut request = request(Method::POST, "/x?y");
        let headers = request.headers_mut();
        headers.append("cookie", "a=1".parse().expect("a value"));
        headers.append("x-two", "1".parse().expect("a value"));
        headers.append("cookie", "b=2".parse().expect("a value"));
        headers.append("x-two", "2".parse().expect("a value"));
        headers.append("te", "trailers".parse().expect("a value"));
        headers.append("content-length", "3".parse().expect("a value"));
        ask(&mut client, request, b"abc").await.expect("an answer").text()
    });
    expect![[r#"
        POST /x?y HTTP/1.1
        Host: a
        x-two: 1
        x-two: 2
        content-length: 3
        cookie: a=1; b=2
        X-Forwarded-For: 127.0.0.1
        X-Forwarded-Proto: http
        X-Forwarded-Host: a
        Forwarded: for=127.0.0.1;host="a";proto=http
        Via: 2.0 muster

        abc"#]]
    .assert_eq(&text.replace("\r\n", "\n"));
}

#[test]
fn affinity_holds_over_http2() {
    let stage = Stage::new();
    stage.member("a", 1, named("a"));
    stage.member("b", 1, named("b"));
    tell(async {
        let mut client = client(&stage).await;
        for _ in 0..10 {
            let mut request = request(Method::GET, "/");
            request.headers_mut().append("cookie", "x=1".parse().expect("a value"));
            request.headers_mut().append("cookie", "JSESSIONID=0000s:b".parse().expect("a value"));
            assert_eq!(ask(&mut client, request, b"").await.expect("an answer").text(), "b");
        }
    });
}

/// A member that takes a body in whatever framing, and answers with its length and the trailers behind it.
fn measures(mut caller: std::net::TcpStream) {
    while let Some(head) = read_head(&mut caller) {
        let mut seen = Vec::new();
        let mut bytes = [0; 16 * 1024];
        let (length, trailers) = if head.contains("chunked") {
            while !seen.ends_with(b"\r\n\r\n") || !String::from_utf8_lossy(&seen).contains("0\r\n") {
                let count = caller.read(&mut bytes).expect("a body");
                seen.extend_from_slice(&bytes[..count]);
            }
            let text = String::from_utf8_lossy(&seen).into_owned();
            let end = text.rfind("\r\n0\r\n").expect("a last chunk");
            (text[..end].matches('x').count(), text[end + 5..].trim().to_owned())
        } else {
            let line = head.lines().find(|line| line.starts_with("content-length")).expect("a length");
            let mut left: usize = line[15..].trim().parse().expect("a number");
            let whole = left;
            while left > 0 {
                left -= caller.read(&mut bytes[..left.min(16 * 1024)]).expect("a body");
            }
            (whole, String::new())
        };
        let text = format!("{length} {trailers}");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\nX-After: yes\r\n\r\n",
            text.len()
        );
        caller.write_all(answer.as_bytes()).expect("the router reads");
    }
}

#[test]
fn bodies_of_any_length_and_trailers_pass_both_ways() {
    let stage = Stage::new();
    stage.member("a", 1, measures);
    tell(async {
        let mut client = client(&stage).await;
        let body = Bytes::from(vec![b'x'; 3_000_000]);
        let mut announced = request(Method::PUT, "/");
        announced.headers_mut().append("content-length", body.len().to_string().parse().expect("a value"));
        let answer = ask(&mut client, announced, &body).await.expect("an answer");
        assert_eq!(answer.text(), "3000000 ");
        assert_eq!(answer.trailers.expect("trailers")["x-after"], "yes");
        let (response, mut stream) = client.send_request(request(Method::PUT, "/"), false).expect("room");
        stream.send_data(Bytes::from_static(b"xxx"), false).expect("room");
        stream.send_data(Bytes::from(vec![b'x'; 9_000]), false).expect("room");
        let mut trailers = HeaderMap::new();
        trailers.append("x-sum", "12".parse().expect("a value"));
        stream.send_trailers(trailers).expect("room");
        let answer = take(response).await.expect("an answer");
        assert_eq!(answer.text(), "9003 x-sum: 12");
    });
}

#[test]
fn a_large_answer_passes_whole_and_a_cut_off_one_is_known_as_such() {
    const LENGTH: usize = 5_000_000;
    let stage = Stage::new();
    stage.member("a", 1, |mut caller| {
        while let Some(request) = read_request(&mut caller) {
            let head = match () {
                () if request.starts_with("GET /open") => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
                () => format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"),
            };
            caller.write_all(head.as_bytes()).expect("the router reads");
            let body: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
            let sent = if request.starts_with("GET /cut") { LENGTH / 2 } else { LENGTH };
            caller.write_all(&body[..sent]).expect("the router reads");
            if sent < LENGTH || request.starts_with("GET /open") {
                return;
            }
        }
    });
    tell(async {
        let mut client = client(&stage).await;
        for path in ["/", "/open"] {
            let answer = ask(&mut client, request(Method::GET, path), b"").await.expect("an answer");
            assert_eq!(answer.body.len(), LENGTH, "{path}");
            assert!(answer.body.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
        }
        let error = ask(&mut client, request(Method::GET, "/cut"), b"").await.expect_err("it is cut off");
        assert!(error.is_reset() && error.is_remote(), "{error}");
        ask(&mut client, request(Method::GET, "/"), b"").await.expect("the connection goes on");
    });
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let stage = Stage::new();
    stage.member("a", 1, |mut caller| {
        while let Some(request) = read_request(&mut caller) {
            let answer: &[u8] = match request.split(' ').nth(1).expect("a target") {
                "/204" => b"HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: x\r\n\r\n",
                "/empty" => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            };
            caller.write_all(answer).expect("the router reads");
        }
    });
    tell(async {
        let mut client = client(&stage).await;
        for (method, path, status) in [
            (Method::GET, "/204", 204),
            (Method::GET, "/304", 304),
            (Method::GET, "/empty", 200),
            (Method::HEAD, "/", 200),
        ] {
            let (response, _) = client.send_request(request(method, path), true).expect("room");
            let response = response.await.expect("an answer");
            assert_eq!(response.status().as_u16(), status, "{path}");
            assert!(response.body().is_end_stream(), "{path} ends with its head");
            assert!(!response.headers().contains_key("connection"));
        }
    });
}

#[test]
fn interim_answers_come_before_the_final_one() {
    let stage = Stage::new();
    stage.member("a", 1, |mut caller| {
        let head = read_head(&mut caller).expect("a head");
        assert!(head.contains("expect: 100-continue"), "{head}");
        caller
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            .expect("read");
        let mut body = [0; 4];
        caller.read_exact(&mut body).expect("the body comes after 100");
        caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").expect("the router reads");
        caller.write_all(&body).expect("the router reads");
    });
    tell(async {
        let mut client = client(&stage).await;
        let mut request = request(Method::POST, "/");
        request.headers_mut().append("expect", "100-continue".parse().expect("a value"));
        request.headers_mut().append("content-length", "4".parse().expect("a value"));
        let (mut response, mut stream) = client.send_request(request, false).expect("room");
        let mut interim = async || {
            let found = std::future::poll_fn(|context| response.poll_informational(context)).await;
            found.expect("an interim answer").expect("no error")
        };
        assert_eq!(interim().await.status(), 100);
        let hints = interim().await;
        assert_eq!((hints.status().as_u16(), hints.headers()["link"].as_bytes()), (103, &b"</a>"[..]));
        stream.send_data(Bytes::from_static(b"body"), true).expect("room");
        assert_eq!(take(response).await.expect("an answer").text(), "body");
    });
}

#[test]
fn an_early_answer_comes_whole_and_the_rest_of_the_body_is_refused() {
    let stage = Stage::with(|settings| settings.limits.body_size_max_bytes = 100_000);
    let seen = stage.member("a", 1, |mut caller| {
        while read_head(&mut caller).is_some() {
            let mut rest = Vec::new();
            // Ends when the router gives the request up.
            let _ = caller.read_to_end(&mut rest);
        }
    });
    tell(async {
        let mut client = client(&stage).await;
        let (response, mut stream) = client.send_request(request(Method::POST, "/"), false).expect("room");
        while seen.count() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let sending = tokio::task::spawn_local(async move {
            send_all(&mut stream, Bytes::from(vec![0; 3_000_000])).await.expect_err("nobody wants it");
            std::future::poll_fn(|context| stream.poll_reset(context)).await
        });
        let answer = take(response).await.expect("an answer");
        assert_eq!(answer.head.status(), 413);
        assert!(answer.text().contains("too large"), "{answer:?}");
        assert_eq!(sending.await.expect("no panic").expect("a reset"), h2::Reason::NO_ERROR);
        let mut announced = request(Method::POST, "/");
        announced.headers_mut().append("content-length", "100001".parse().expect("a value"));
        let (response, _stream) = client.send_request(announced, false).expect("room");
        assert_eq!(take(response).await.expect("an answer").head.status(), 413);
    });
    assert_eq!(seen.count(), 1, "what is announced as too large reaches nobody");
}

#[test]
fn a_body_that_nobody_wants_is_taken_for_a_while_so_that_its_answer_is_read() {
    let stage = Stage::with(|settings| settings.limits.body_size_max_bytes = 100_000);
    stage.member("a", 1, |mut caller| {
        while let Some(head) = read_head(&mut caller) {
            if head.starts_with("POST") {
                // Ends when the router gives the request up.
                let _ = caller.read_to_end(&mut Vec::new());
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            caller.write_all(answer).expect("the router reads");
        }
    });
    tell(async {
        let mut client = client(&stage).await;
        let mut announced = request(Method::POST, "/");
        announced.headers_mut().append("content-length", "300000".parse().expect("a value"));
        for refused in [announced, request(Method::POST, "/")] {
            let (response, mut stream) = client.send_request(refused, false).expect("room");
            let sending = send_all(&mut stream, Bytes::from(vec![0; 300_000]));
            // A reset would end this with an error, and programs like curl with it.
            sending.await.expect("all of it is taken");
            assert_eq!(take(response).await.expect("an answer").head.status(), 413);
        }
        let answer = ask(&mut client, request(Method::GET, "/"), b"").await.expect("an answer");
        assert_eq!(answer.head.status(), 200, "the connection goes on");
    });
}

#[test]
fn a_request_that_is_given_up_ends_at_its_member() {
    let (told, gone) = std::sync::mpsc::sync_channel(1);
    let stage = Stage::new();
    let seen = stage.member("a", 1, move |mut caller| {
        read_request(&mut caller).expect("a request");
        let left = caller.read(&mut [0]);
        told.send(matches!(left, Ok(0) | Err(_))).expect("the test listens");
    });
    tell(async {
        let mut client = client(&stage).await;
        let (response, mut stream) = client.send_request(request(Method::GET, "/"), true).expect("room");
        tokio::task::spawn_blocking(move || seen.wait_for(1)).await.expect("no panic");
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        let gone = tokio::task::spawn_blocking(move || gone.recv_timeout(Duration::from_secs(30))).await;
        assert_eq!(gone.expect("no panic"), Ok(true));
    });
}

#[test]
fn a_failed_member_is_replaced_by_another() {
    let stage = Stage::new();
    let closing = stage.member("a", 1, |mut caller| drop(read_request(&mut caller)));
    stage.member("b", 1, named("b"));
    tell(async {
        let mut client = client(&stage).await;
        for _ in 0..4 {
            assert_eq!(
                ask(&mut client, request(Method::GET, "/"), b"").await.expect("an answer").text(),
                "b"
            );
        }
    });
    assert!(closing.count() > 0);
}

#[test]
fn websockets_open_by_extended_connect() {
    let stage = Stage::new();
    stage.member("a", 1, |mut caller| {
        let head = read_head(&mut caller).expect("a head");
        assert!(head.starts_with("GET /chat HTTP/1.1\r\nHost: a\r\n"), "{head}");
        for line in ["Connection: upgrade\r\n", "Upgrade: websocket\r\n", "sec-websocket-version: 13\r\n"] {
            assert!(head.contains(line), "{head}");
        }
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
        assert!(key.len() == 24 && key.ends_with("=="), "{key}");
        if head.contains("x-refuse") {
            return caller.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").expect("read");
        }
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: p\r\n\r\n";
        caller.write_all(switch).expect("the router reads");
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = caller.read(&mut bytes) {
            caller.write_all(&bytes[..count]).expect("the router reads");
        }
    });
    tell(async {
        let mut client = client(&stage).await;
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let connect = |is_refused: bool| {
            let mut request = request(Method::CONNECT, "/chat");
            request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
            request.headers_mut().append("sec-websocket-version", "13".parse().expect("a value"));
            if is_refused {
                request.headers_mut().append("x-refuse", "1".parse().expect("a value"));
            }
            request
        };
        let (response, _) = client.send_request(connect(true), false).expect("room");
        let refused = take(response).await.expect("an answer");
        assert_eq!((refused.head.status().as_u16(), refused.text().as_str()), (403, "no"));
        let (response, mut stream) = client.send_request(connect(false), false).expect("room");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["sec-websocket-protocol"], "p");
        assert!(!response.headers().contains_key("sec-websocket-accept"));
        let mut body = response.into_body();
        for message in ["hello", "and again"] {
            stream.send_data(Bytes::from(message), false).expect("room");
            let echoed = body.data().await.expect("an echo").expect("no error");
            assert_eq!(echoed, message);
        }
        stream.send_data(Bytes::new(), true).expect("room");
        let end = body.data().await.transpose().expect("no error");
        assert!(end.is_none_or(|end| end.is_empty()), "the member's end comes after ours");
        assert!(body.is_end_stream());
    });
}

#[test]
fn the_router_says_goodbye_when_it_stops_and_finishes_what_it_has() {
    let (go_on, may_answer) = std::sync::mpsc::sync_channel::<()>(1);
    let may_answer = std::sync::Mutex::new(may_answer);
    let mut stage = Stage::new();
    let seen = stage.member("a", 1, move |mut caller| {
        read_request(&mut caller).expect("a request");
        may_answer.lock().expect("one at a time").recv().expect("the test says when");
        caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!").expect("the router reads");
    });
    tell(async {
        let mut idle = client(&stage).await;
        let mut busy = client(&stage).await;
        let (response, _) = busy.send_request(request(Method::GET, "/"), true).expect("room");
        let seen = tokio::task::spawn_blocking(move || seen.wait_for(1));
        seen.await.expect("no panic");
        let stopping = tokio::task::spawn_blocking(move || stage.stop());
        let refused = std::future::poll_fn(|context| {
            let asked = idle.poll_ready(context);
            if asked.is_pending() {
                context.waker().wake_by_ref();
            }
            match asked {
                std::task::Poll::Ready(Ok(())) => {
                    context.waker().wake_by_ref();
                    std::task::Poll::Pending
                }
                other => other,
            }
        });
        let error = refused.await.expect_err("an idle connection is ended");
        assert!(error.is_go_away() || error.is_io(), "{error:?}");
        go_on.send(()).expect("the member waits");
        assert_eq!(take(response).await.expect("an answer").text(), "!");
        stopping.await.expect("the router stops in good order");
    });
}

#[test]
fn clients_are_sent_away_when_nobody_listens_there_any_more() {
    let stage = Stage::new();
    stage.member("a", 1, named("a"));
    let mut client = raw::Client::begin(&stage);
    client.ask(1);
    assert_eq!(client.wait_for(raw::HEADERS, 1).status(), 200);
    stage.change_settings(|settings| {
        settings.listeners = vec![Listener::plain("127.0.0.2:0".parse().expect("an address"))];
    });
    let goodbye = std::iter::from_fn(|| client.read()).find(|frame| frame.kind == raw::GOAWAY);
    assert_eq!(goodbye.expect("a goodbye").reason(), 0);
}

#[test]
fn a_quiet_client_is_asked_to_go() {
    let stage = Stage::with(|settings| settings.timeouts.idle_ms = 100);
    stage.member("a", 1, named("a"));
    let mut client = raw::Client::begin(&stage);
    client.ask(1);
    let frames = client.read_to_end();
    assert!(frames.iter().any(|frame| frame.kind == raw::GOAWAY), "{frames:?}");
}

#[test]
fn plain_requests_of_the_old_kind_stay_as_they_were() {
    let stage = Stage::new();
    stage.member("a", 1, says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false));
    let mut client = stage.connect();
    client.write_all(get("/").as_bytes()).expect("the router reads");
    assert!(read_answer(&mut client).ends_with("ok"));
    // A preface is only a preface at the start.
    client.write_all(logic::http2::PREFACE).expect("the router reads");
    assert!(read_answer(&mut client).starts_with("HTTP/1.1 400"));
}

#[test]
fn a_client_that_shows_its_view_hears_what_changed() {
    let stage = super::clients::stage();
    stage.member("a", 1, named("a"));
    let answer = |number: u64| {
        tell(async {
            let mut client = client(&stage).await;
            let mut request = request(Method::GET, "/");
            let claim = format!("shop 1.{number} {}", super::clients::TOKEN);
            request.headers_mut().insert("muster-view", claim.parse().expect("a value"));
            let (response, _) = client.send_request(request, true).expect("a request");
            take(response).await.expect("an answer")
        })
    };
    let before = answer(2).head.headers().get("muster-view").cloned();
    assert_eq!(before, None, "it has the newest");
    stage.change(|view| view.members[0].weight = 9);
    let told = answer(2);
    let news = told.head.headers()["muster-view"].to_str().expect("text").to_owned();
    assert!(news.starts_with("{\"delta\":") && news.contains("\"weight\":9"), "{news}");
    assert_eq!(told.text(), "a");
}
