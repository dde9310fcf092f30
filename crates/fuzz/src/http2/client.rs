//! A client's requests: what is written as HTTP/1.1 says what the stream said, and no more.

use super::peer::{Wire, speak};
use super::request_stream::{Company, RequestStream, Seat};
use super::{End, check_body};
use crate::strict;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::COOKIE;
use http::{Method, Request};
use logic::http::HeaderSpace;
use logic::http::request::{HeadLimits, parse};
use logic::http2::PREFACE;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

const LIMITS: HeadLimits = HeadLimits { size_max_bytes: 64 * 1024, header_count_max: 100 };
/// Reads of one body. Inputs are small: more than their bytes are never needed.
const READS_MAX: usize = 10_000;

/// The first byte says how it is sent and read; what follows see `peer::speak`, or frames as they are.
pub fn check(bytes: &[u8]) {
    let Some((flags, input)) = bytes.split_first() else { return };
    let (said, payloads) = if flags & 1 == 0 {
        let speech = speak(input, true);
        (speech.bytes, speech.payloads)
    } else {
        (input.to_vec(), None)
    };
    let mut context = Context::from_waker(Waker::noop());
    let wire = Wire::new([PREFACE, &said].concat(), flags & 2 != 0, &Rc::new(Cell::new(true)));
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(64 * 1024).enable_connect_protocol();
    let mut handshake = pin!(builder.handshake::<_, Bytes>(wire));
    let Poll::Ready(Ok(mut connection)) = handshake.as_mut().poll(&mut context) else { return };
    let company = Rc::new(Company {
        count: Cell::new(0),
        of_thread: Rc::new(Cell::new(0)),
        port: 443,
        is_unwanted: Cell::new(false),
        waker: RefCell::new(Waker::noop().clone()),
    });
    let mut requests = Vec::new();
    while let Poll::Ready(Some(Ok(request))) = connection.poll_accept(&mut context) {
        requests.push(request);
    }
    // Streams that h2 refused by itself are missing: then it is not known which payload is whose.
    let payloads = payloads.filter(|payloads| payloads.len() == requests.len());
    for (at, (request, respond)) in requests.into_iter().enumerate() {
        let payload = payloads.as_ref().map(|payloads| payloads[at].as_slice());
        let read_bytes = if flags & 4 == 0 { 4096 } else { usize::from(flags >> 3) + 1 };
        check_request(request, respond, &company, payload, read_bytes);
    }
    assert_eq!(company.count.get(), 0, "requests that are over are still counted");
}

fn check_request(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    company: &Rc<Company>,
    payload: Option<&[u8]>,
    read_bytes: usize,
) {
    let (method, uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());
    let (is_connect, is_empty) = (method == Method::CONNECT, request.body().is_end_stream());
    let mut written = Vec::new();
    let mut stream = RequestStream::new(request, respond, Seat::take(company), &mut written);
    let mut space = HeaderSpace::new();
    // h2 is more lenient with names than HTTP/1.1; what is refused is no request.
    let Ok(head) = parse(&written, &mut space, LIMITS) else { return };
    let (line, fields) = strict::head(&written);
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    assert_eq!(words.len(), 3, "{}", line.escape_ascii());
    assert!(strict::values(&fields, "cookie").len() <= 1);
    let head = head.expect("the head is written whole");
    assert_eq!(head.length, written.len(), "the head ends before its end");
    if !is_connect {
        assert_eq!(head.method, method.as_str());
        // Announced or not: a member waits for no byte that will never come.
        assert!(head.framing.is_done() || !is_empty, "{:?}", head.framing);
        // What asks to switch is one connection's own and cannot be said in HTTP/2.
        assert_eq!(head.upgrade, None);
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    assert!(authority.is_none_or(|authority| head.host == authority), "{}", head.host.escape_ascii());
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    assert!(head.target == target || !target.starts_with('/'), "{target} becomes {}", head.target);
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(|crumb| crumb.as_bytes()).collect();
    assert_eq!(head.cookies().collect::<Vec<_>>().concat(), crumbs.join(&b"; "[..]).trim_ascii());
    if is_connect {
        return;
    }
    let (body, end) = read(&mut stream, read_bytes);
    let read = check_body(head.framing, &body, end);
    if let Some(payload) = payload {
        assert!(payload.starts_with(&read), "{} was not sent", read.escape_ascii());
        assert!(end != End::Clean || payload == read, "{} is missing", payload[read.len()..].escape_ascii());
    }
}

fn read(stream: &mut RequestStream, read_bytes: usize) -> (Vec<u8>, End) {
    let mut context = Context::from_waker(Waker::noop());
    let (mut body, mut room) = (Vec::new(), vec![0; read_bytes]);
    for _ in 0..READS_MAX {
        let mut buffer = ReadBuf::new(&mut room);
        match stream.poll_read(&mut context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return (body, End::Clean),
            Poll::Ready(Ok(())) => body.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(_)) => return (body, End::Broken),
            Poll::Pending => return (body, End::Open),
        }
    }
    panic!("{READS_MAX} reads find no end")
}
