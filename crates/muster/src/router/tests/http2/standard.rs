//! Frames that the standard (RFC 9113) forbids, and honest ones in unusual shape.

use super::raw::*;
use super::{Stage, named};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const PUSH_PROMISE: u8 = 5;
const ACK: u8 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// What the router says to these frames on a new connection.
fn outcome(stage: &Stage, frames: &[Vec<u8>]) -> String {
    let mut client = Client::begin(stage);
    client.send(&frames.concat());
    loop {
        match client.read() {
            Some(frame) if frame.kind == GOAWAY => return format!("goodbye {}", frame.reason()),
            Some(frame) if frame.kind == RST_STREAM => {
                return format!("reset {} {}", frame.stream, frame.reason());
            }
            Some(_) => {}
            None => return "end".to_owned(),
        }
    }
}

#[test]
fn what_the_standard_forbids_is_answered_as_it_says() {
    let stage = Stage::new();
    stage.member("a", 1, named("a"));
    let open = || frame(HEADERS, END_HEADERS, 1, &block(&GET));
    let ask = |stream: u32| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET));
    let window = |more: u32| more.to_be_bytes().to_vec();
    let setting = |name: u16, value: u32| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let goodbye = |reason: u32| format!("goodbye {reason}");
    let reset = |reason: u32| format!("reset 1 {reason}");
    for (what, frames, wanted) in [
        ("DATA of no stream", vec![frame(DATA, 0, 0, b"x")], goodbye(PROTOCOL_ERROR)),
        ("DATA of a stream that is none yet", vec![frame(DATA, 0, 1, b"x")], goodbye(PROTOCOL_ERROR)),
        ("a stream of ours", vec![ask(2)], goodbye(PROTOCOL_ERROR)),
        ("DATA within a head", vec![frame(HEADERS, 0, 1, &block(&GET)), frame(DATA, 0, 1, b"x")], goodbye(1)),
        ("CONTINUATION of nothing", vec![frame(CONTINUATION, END_HEADERS, 1, b"")], goodbye(PROTOCOL_ERROR)),
        ("DATA behind the end", vec![ask(1), frame(DATA, 0, 1, b"x")], reset(STREAM_CLOSED)),
        ("a head behind the end", vec![ask(1), ask(1)], reset(STREAM_CLOSED)),
        ("trailers without an end", vec![open(), frame(HEADERS, END_HEADERS, 1, &[])], reset(PROTOCOL_ERROR)),
        ("a pseudo header in trailers", vec![open(), ask(1)], reset(PROTOCOL_ERROR)),
        ("PUSH_PROMISE", vec![frame(PUSH_PROMISE, 0, 1, &[0; 4])], goodbye(PROTOCOL_ERROR)),
        ("a PING of seven bytes", vec![frame(PING, 0, 0, &[0; 7])], goodbye(FRAME_SIZE_ERROR)),
        ("SETTINGS of five bytes", vec![frame(SETTINGS, 0, 0, &[0; 5])], goodbye(FRAME_SIZE_ERROR)),
        ("SETTINGS that are confirmed and set", vec![frame(SETTINGS, ACK, 0, &[0; 6])], goodbye(6)),
        (
            "too large a window",
            vec![frame(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 1 << 31))],
            goodbye(3),
        ),
        ("too small a frame size", vec![frame(SETTINGS, 0, 0, &setting(5, 100))], goodbye(PROTOCOL_ERROR)),
        ("a window that grows by nothing", vec![frame(WINDOW_UPDATE, 0, 0, &window(0))], goodbye(1)),
        ("a window beyond all", vec![frame(WINDOW_UPDATE, 0, 0, &window(0x7fff_ffff))], goodbye(3)),
        (
            "a stream's window beyond all",
            vec![open(), frame(WINDOW_UPDATE, 0, 1, &window(0x7fff_ffff))],
            reset(FLOW_CONTROL_ERROR),
        ),
        ("RST_STREAM of no stream yet", vec![frame(RST_STREAM, 0, 1, &window(8))], goodbye(PROTOCOL_ERROR)),
        (
            "RST_STREAM of three bytes",
            vec![open(), frame(RST_STREAM, 0, 1, &[0; 3])],
            goodbye(FRAME_SIZE_ERROR),
        ),
        ("too large a frame", vec![open(), frame(DATA, 0, 1, &[0; 16_385])], goodbye(FRAME_SIZE_ERROR)),
        (
            "more padding than there is",
            vec![open(), frame(DATA, PADDED, 1, &[2, 0])],
            goodbye(PROTOCOL_ERROR),
        ),
        (
            "a field that nobody knows",
            vec![frame(HEADERS, END_HEADERS, 1, &[0xbe])],
            goodbye(COMPRESSION_ERROR),
        ),
        ("a stream behind later ones", vec![ask(3), ask(1)], reset(STREAM_CLOSED)),
    ] {
        assert_eq!(outcome(&stage, &frames), wanted, "{what}");
    }
    assert!(stage.ask("/").ends_with('a'), "others are served");
}

#[test]
fn bodies_beyond_the_window_end_the_stream() {
    let stage = Stage::new();
    let (_never, held) = std::sync::mpsc::sync_channel::<()>(1);
    let held = std::sync::Mutex::new(held);
    // Reads no body until the test is over.
    stage.member("a", 1, move |_caller| {
        let _ = held.lock().expect("one at a time").recv();
    });
    let mut frames = vec![frame(HEADERS, END_HEADERS, 1, &block(&GET))];
    frames.extend((0..400).map(|_| frame(DATA, 0, 1, &[0; 16_000])));
    let found = outcome(&stage, &frames);
    assert!(["reset 1 3", "goodbye 3"].contains(&found.as_str()), "{found}");
}

#[test]
fn a_request_in_single_bytes_is_one_request() {
    let stage = Stage::new();
    stage.member("a", 1, named("a"));
    let mut client = Client::begin(&stage);
    // A head in three frames, with a priority and padding, and what nobody knows before it.
    let block = block(&GET);
    let (first, rest) = block.split_at(7);
    let (second, third) = rest.split_at(20);
    let bytes = [
        frame(0xbe, 0xff, 0, b"unknown"),
        frame(PRIORITY, 0, 5, &[0, 0, 0, 3, 16]),
        frame(HEADERS, END_STREAM | PADDED | 0x20, 1, &[&[2, 0, 0, 0, 0, 9], first, &[0, 0]].concat()),
        frame(CONTINUATION, 0, 1, second),
        frame(CONTINUATION, END_HEADERS, 1, third),
    ]
    .concat();
    for byte in bytes {
        assert!(client.send(&[byte]), "the router reads");
    }
    assert_eq!(client.wait_for(HEADERS, 1).status(), 200);
    assert_eq!(client.wait_for(DATA, 1).payload, b"a");
}
