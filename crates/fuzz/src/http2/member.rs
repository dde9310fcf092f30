//! A member's answers: heads and body as HTTP/1.1 are one message that ends where the stream ended.

use super::member_link::Link;
use super::member_stream::MemberStream;
use super::peer::{Wire, speak};
use super::{End, check_body};
use crate::strict;
use bytes::Bytes;
use logic::http::HeaderSpace;
use logic::http::request::HeadLimits;
use logic::http::response::{Asked, parse};
use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

const LIMITS: HeadLimits = HeadLimits { size_max_bytes: 64 * 1024, header_count_max: 100 };
/// Reads of one answer. Inputs are small: more than their bytes are never needed.
const READS_MAX: usize = 20_000;

/// The first byte says what is asked and how it is read; what follows see `peer::speak`, or frames as they are.
pub fn check(bytes: &[u8]) {
    let Some((flags, input)) = bytes.split_first() else { return };
    let (said, payload) = if flags & 1 == 0 {
        let speech = speak(input);
        (speech.bytes, speech.payload)
    } else {
        (input.to_vec(), None)
    };
    let is_head = flags & 4 != 0;
    let mut context = Context::from_waker(Waker::noop());
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(64 * 1024);
    let speaks = Rc::new(Cell::new(false));
    let mut handshake = pin!(builder.handshake::<_, Bytes>(Wire::new(said, flags & 2 != 0, &speaks)));
    let Poll::Ready(Ok((sender, mut connection))) = handshake.as_mut().poll(&mut context) else {
        panic!("the handshake waits for nothing")
    };
    let mut stream = MemberStream::new(&Rc::new(Link), sender, 0);
    let asked = if is_head { "HEAD" } else { "GET" };
    let asked = format!("{asked} /a?b HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let sent = stream.try_send(asked.as_bytes(), b"").expect("there is room for a head");
    assert_eq!(sent, asked.len());
    // The request leaves before it is answered.
    assert!(Pin::new(&mut connection).poll(&mut context).is_pending());
    speaks.set(true);
    let is_over = Pin::new(&mut connection).poll(&mut context).is_ready();
    let read_bytes = if flags & 8 == 0 { 64 * 1024 } else { usize::from(flags >> 4) + 1 };
    let (answer, end) = read(&mut stream, read_bytes);
    check_answer(&answer, end, is_head, payload.as_deref());
    assert!(
        !stream.was_refused() || end == End::Broken || is_over,
        "it may be sent elsewhere while it is answered"
    );
}

fn read(stream: &mut MemberStream, read_bytes: usize) -> (Vec<u8>, End) {
    let mut context = Context::from_waker(Waker::noop());
    let (mut answer, mut room) = (Vec::new(), vec![0; read_bytes]);
    for _ in 0..READS_MAX {
        let mut buffer = ReadBuf::new(&mut room);
        match stream.poll_read(&mut context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return (answer, End::Clean),
            Poll::Ready(Ok(())) => answer.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(_)) => return (answer, End::Broken),
            Poll::Pending => return (answer, End::Open),
        }
    }
    panic!("{READS_MAX} reads find no end")
}

fn check_answer(mut answer: &[u8], end: End, is_head: bool, payload: Option<&[u8]>) {
    loop {
        let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            // Heads are read whole, unless the reader has hardly any room.
            assert!(answer.is_empty(), "half a head: {}", answer.escape_ascii());
            assert!(end != End::Clean, "no answer at all, and a clean end");
            return;
        };
        let asked = Asked { is_head, is_version_11: true, keep_alive: true, upgrade: false };
        let mut space = HeaderSpace::new();
        let Ok(head) = parse(answer, &mut space, LIMITS, asked) else { return };
        let head = head.expect("the end of the head is there");
        assert_eq!(head.length, at + 4);
        let (line, _) = strict::head(&answer[..head.length]);
        assert!(line.starts_with(b"HTTP/1.1 "), "{}", line.escape_ascii());
        answer = &answer[head.length..];
        if head.status >= 200 {
            let read = check_body(head.framing, answer, end);
            // What answers without a body carry nevertheless is not read.
            if let Some(payload) = payload
                && !(is_head || head.status == 204 || head.status == 304)
            {
                assert!(payload.starts_with(&read), "{} was not sent", read.escape_ascii());
                let is_all = end != End::Clean || payload == read;
                assert!(is_all, "{} is missing", payload[read.len()..].escape_ascii());
            }
            return;
        }
    }
}
