//! Members that speak HTTP/2: played by the h2 crate, on threads of their own.

use super::*;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// Takes the requests of a connection as `serve` says.
fn speak<F: Future<Output = ()> + 'static>(
    caller: TcpStream,
    builder: &h2::server::Builder,
    leaves_after: usize,
    serve: impl Fn(Asked) -> F,
) {
    caller.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let caller = tokio::net::TcpStream::from_std(caller).expect("a socket");
        let Ok(mut connection) = builder.handshake(caller).await else { return };
        let mut count = 0;
        while let Some(Ok(asked)) = connection.accept().await {
            tokio::task::spawn_local(serve(asked));
            count += 1;
            if count == leaves_after {
                connection.graceful_shutdown();
            }
        }
    });
}

/// A member that treats each request as `serve` says.
fn speaks<F: Future<Output = ()> + 'static>(
    serve: impl Fn(Asked) -> F + Send + Sync + 'static,
) -> impl Fn(TcpStream) + Send + Sync + 'static {
    move |caller| speak(caller, &h2::server::Builder::new(), 0, &serve)
}

/// Answers with the body that it got, says what it was asked for, and adds a trailer.
async fn echo((request, mut respond): Asked) {
    let (parts, mut body) = request.into_parts();
    let te = parts.headers.get("te").map(|value| value.to_str().expect("text"));
    let asked = format!("{} {} {te:?}", parts.method, parts.uri);
    let response = Response::builder().header("x-asked", asked).body(()).expect("an answer");
    let mut stream = respond.send_response(response, false).expect("room");
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).expect("it was received");
        if send(&mut stream, data, false).await.is_err() {
            return;
        }
    }
    let mut trailers = body.trailers().await.ok().flatten().unwrap_or_default();
    trailers.append("grpc-status", "0".parse().expect("a value"));
    // Whoever has gone needs no end.
    let _ = stream.send_trailers(trailers);
}

#[test]
fn a_call_flows_in_both_directions_at_once_and_ends_with_its_status() {
    let stage = Stage::new();
    let seen = stage.http2_member("a", speaks(echo));
    tell(async {
        let mut client = client(&stage).await;
        let mut call = request(Method::POST, "/pkg.Service/Chat");
        call.headers_mut().append("content-type", "application/grpc".parse().expect("a value"));
        call.headers_mut().append("te", "trailers".parse().expect("a value"));
        let (response, mut stream) = client.send_request(call, false).expect("room");
        let response = response.await.expect("its head comes before any message");
        assert_eq!(response.headers()["x-asked"], "POST http://a/pkg.Service/Chat Some(\"trailers\")");
        let mut body = response.into_body();
        for message in ["one", "two", "three"] {
            stream.send_data(Bytes::from(message), false).expect("room");
            assert_eq!(body.data().await.expect("an echo").expect("no error"), message);
        }
        let mut trailers = HeaderMap::new();
        trailers.append("x-last", "1".parse().expect("a value"));
        stream.send_trailers(trailers).expect("room");
        assert!(body.data().await.is_none());
        let trailers = body.trailers().await.expect("no error").expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["x-last"], "1");
    });
    assert_eq!(seen.count(), 1, "one connection");
}

#[test]
fn old_clients_reach_members_that_speak_http2() {
    let stage = Stage::new();
    let seen = stage.http2_member("a", speaks(echo));
    let mut client = stage.connect();
    for _ in 0..3 {
        client.write_all(b"POST /a<b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").expect("read");
        let answer = read_answer(&mut client);
        assert!(answer.contains("x-asked: POST http://a/a%3Cb"), "{answer}");
        assert!(answer.ends_with("4\r\nbody\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{answer}");
    }
    assert_eq!(seen.count(), 1, "one connection");
}

#[test]
fn large_bodies_pass_through_both_connections() {
    let stage = Stage::new();
    stage.http2_member("a", speaks(echo));
    tell(async {
        let mut client = client(&stage).await;
        let body: Bytes = (0..4_000_000_u32).map(|at| (at % 253) as u8).collect();
        let (response, mut stream) = client.send_request(request(Method::POST, "/"), false).expect("room");
        let sent = body.clone();
        let sending = tokio::task::spawn_local(async move { send_all(&mut stream, sent).await });
        let answer = take(response).await.expect("an answer");
        sending.await.expect("no panic").expect("all is sent");
        assert!(answer.body == body, "{} bytes come back", answer.body.len());
    });
}

#[test]
fn an_answer_of_trailers_only_stays_one() {
    let stage = Stage::new();
    stage.http2_member(
        "a",
        speaks(async |(_, mut respond): Asked| {
            let response = Response::builder().header("grpc-status", "12").body(()).expect("an answer");
            respond.send_response(response, true).expect("room");
        }),
    );
    tell(async {
        let mut client = client(&stage).await;
        let (response, _stream) = client.send_request(request(Method::POST, "/"), false).expect("room");
        let response = response.await.expect("an answer");
        assert_eq!(response.headers()["grpc-status"], "12");
        assert!(response.body().is_end_stream());
    });
}

#[test]
fn a_request_that_a_member_refused_unseen_is_sent_again_whatever_it_is() {
    let stage = Stage::new();
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let serve = move |asked: Asked| {
        let is_refused = count.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        async move {
            if !is_refused {
                return echo(asked).await;
            }
            let (_, mut respond) = asked;
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    };
    stage.http2_member("a", speaks(serve));
    tell(async {
        let mut client = client(&stage).await;
        for _ in 0..3 {
            let answer = ask(&mut client, request(Method::POST, "/"), b"pay once").await.expect("an answer");
            assert_eq!((answer.head.status().as_u16(), answer.text().as_str()), (200, "pay once"));
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), 5);
}

#[test]
fn a_request_that_a_member_broke_off_is_not_sent_again_unless_it_may_be() {
    let stage = Stage::new();
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let serve = move |(_, mut respond): Asked| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { respond.send_reset(Reason::INTERNAL_ERROR) }
    };
    stage.http2_member("a", speaks(serve));
    tell(async {
        let mut client = client(&stage).await;
        let answer = ask(&mut client, request(Method::POST, "/"), b"pay once").await.expect("an answer");
        assert_eq!(answer.head.status(), 502);
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// Asks so many times at once, and gives the answers' bodies.
async fn ask_at_once(
    client: &SendRequest<Bytes>,
    times: usize,
    method: Method,
    body: &'static str,
) -> Vec<String> {
    let asked: Vec<_> = (0..times)
        .map(|_| {
            let (client, request) = (client.clone(), request(method.clone(), "/"));
            tokio::task::spawn_local(async move {
                let mut client = client.ready().await.expect("room");
                ask(&mut client, request, body.as_bytes()).await
            })
        })
        .collect();
    let mut bodies = Vec::new();
    for answer in asked {
        let answer = answer.await.expect("no panic").expect("an answer");
        assert_eq!(answer.head.status(), 200, "{answer:?}");
        bodies.push(answer.text());
    }
    bodies
}

#[test]
fn a_member_that_says_goodbye_loses_no_request() {
    let stage = Stage::new();
    // Takes three requests on each connection, then leaves in good order.
    let seen = stage.http2_member("a", |caller| speak(caller, &h2::server::Builder::new(), 3, echo));
    tell(async {
        let client = client(&stage).await;
        for _ in 0..5 {
            assert_eq!(ask_at_once(&client, 12, Method::POST, "once").await, ["once"; 12]);
        }
    });
    assert!(seen.count() > 1);
}

#[test]
fn no_more_requests_than_a_member_takes_are_under_way_on_a_connection() {
    let stage = Stage::new();
    let (now, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (running, highest) = (now.clone(), most.clone());
    let seen = stage.http2_member("a", move |caller| {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(5);
        speak(caller, &builder, 0, |asked| {
            let running = running.clone();
            highest.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                echo(asked).await;
            }
        });
    });
    tell(async {
        let client = client(&stage).await;
        // After the first one the router knows how many the member takes.
        ask_at_once(&client, 1, Method::GET, "").await;
        ask_at_once(&client, 40, Method::GET, "").await;
    });
    assert!(seen.count() > 1, "more connections are made");
    assert!(most.load(Ordering::SeqCst) <= 5 * seen.count());
}

#[test]
fn a_member_that_is_silent_on_its_connection_gets_a_new_one() {
    let stage = Stage::with(|settings| settings.timeouts.response_ms = 2_500);
    let connections = Arc::new(AtomicU64::new(0));
    let count = connections.clone();
    let (never, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    stage.http2_member("a", move |caller| {
        // The first connection dies without a word after its first answer.
        let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let (answered, held) = (AtomicU64::new(0), held.clone());
        speak(caller, &h2::server::Builder::new(), 0, |asked| {
            if is_first && answered.fetch_add(1, Ordering::SeqCst) > 0 {
                let _ = held.lock().map(|held| held.recv());
            }
            echo(asked)
        });
    });
    tell(async {
        let mut client = client(&stage).await;
        let mut status = async |method: Method| {
            let body: &[u8] = if method == Method::POST { b"x" } else { b"" };
            ask(&mut client, request(method, "/"), body).await.expect("an answer").head.status().as_u16()
        };
        assert_eq!(status(Method::GET).await, 200);
        assert_eq!(status(Method::POST).await, 504);
        assert_eq!(status(Method::POST).await, 200);
    });
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    drop(never);
}

#[test]
fn a_call_that_its_client_gives_up_ends_at_the_member() {
    let (told, gone) = std::sync::mpsc::channel();
    let stage = Stage::new();
    let serve = move |(request, mut respond): Asked| {
        let told = told.clone();
        async move {
            let mut stream = respond.send_response(Response::new(()), false).expect("room");
            stream.send_data(Bytes::from_static(b"first"), false).expect("room");
            let reason = std::future::poll_fn(|context| stream.poll_reset(context)).await;
            drop(request);
            told.send(reason.ok()).expect("the test listens");
        }
    };
    stage.http2_member("a", speaks(serve));
    tell(async {
        let mut client = client(&stage).await;
        let (response, mut stream) = client.send_request(request(Method::POST, "/"), false).expect("room");
        let mut body = response.await.expect("an answer").into_body();
        body.data().await.expect("a message").expect("no error");
        stream.send_reset(Reason::CANCEL);
        let gone = tokio::task::spawn_blocking(move || gone.recv_timeout(Duration::from_secs(30))).await;
        assert_eq!(gone.expect("no panic"), Ok(Some(Reason::CANCEL)));
    });
}

#[test]
fn upgrades_reach_members_over_http11() {
    let stage = Stage::new();
    stage.http2_member("a", |mut caller| {
        let head = read_head(&mut caller).expect("a head");
        assert!(head.contains("Upgrade: echo"), "{head}");
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        caller.write_all(switch).expect("the router reads");
    });
    let mut client = stage.connect();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .expect("read");
    assert!(read_head(&mut client).expect("an answer").starts_with("HTTP/1.1 101"));
}
