//! Stories of one connection: what comes in, what goes out, and what is left of its windows.

use super::*;
use crate::http2::frame::{ACK, Frame};

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_head(payload.len(), kind, flags, id, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// POST / of the host "a", whose body follows.
fn post(id: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, id, &[0x83, 0x84, 0x86, 0x41, 1, b'a'])
}

struct Story(Machine);

impl Story {
    fn new() -> Self {
        let mut story = Self(Machine::new(Time(0), 64 * 1024, String::new));
        story.takes(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        story.says();
        story
    }

    fn takes(&mut self, bytes: &[u8]) {
        assert_eq!(self.0.receive(Time(0), bytes, &mut Vec::new()), Ok(()));
    }

    /// What is sent: kind, flags, stream and length of each frame.
    fn says(&mut self) -> Vec<(u8, u8, u32, usize)> {
        let bytes = self.0.unsent().to_vec();
        self.0.was_sent(bytes.len());
        self.0.all_was_sent();
        let (mut rest, mut frames) = (bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (bytes, after) =
                rest.split_at(frame::missing(rest.first_chunk::<9>().expect("a head")).expect("short") + 9);
            let Frame { kind, flags, id, payload } = Frame::of(bytes);
            frames.push((kind, flags, id, payload.len()));
            rest = after;
        }
        frames
    }
}

#[test]
fn bytes_that_were_taken_and_never_passed_on_are_asked_for_again() {
    let mut story = Story::new();
    // Three windows' worth, each request given up with its body half read.
    for number in 0..3 * CONNECTION_WINDOW_BYTES / PAYLOAD_MAX_BYTES as u32 {
        let id = 2 * number + 1;
        story.takes(&[post(id), frame(DATA, 0, id, &[b'x'; PAYLOAD_MAX_BYTES])].concat());
        let key = story.0.take_begun().expect("a request").key;
        assert!(matches!(story.0.take_part(key), Part::Bytes(bytes) if bytes.len() == PAYLOAD_MAX_BYTES));
        story.0.release(key, 100);
        story.0.send_block(key, true, |encoder, out| encoder.status(404, out)).expect("a stream");
        story.0.leave(key);
        story.says();
    }
    assert_eq!(story.0.held_bytes(), 0);
}

#[test]
fn who_is_woken_is_woken_once() {
    let mut story = Story::new();
    story.takes(&post(1));
    let key = story.0.take_begun().expect("a request").key;
    assert_eq!(story.0.take_part(key), Part::Nothing);
    story.takes(&frame(DATA, 0, 1, b"a").repeat(3));
    assert_eq!((story.0.take_woken(), story.0.take_woken()), (Some(key), None));
    assert_eq!(story.0.take_part(key), Part::Bytes(b"aaa".to_vec()));
    story.takes(&frame(DATA, END_STREAM, 1, b"b"));
    assert_eq!((story.0.take_woken(), story.0.take_woken()), (Some(key), None));
    assert_eq!(story.0.take_part(key), Part::Bytes(b"b".to_vec()));
    assert_eq!(story.0.take_part(key), Part::End);
}

#[test]
fn what_was_on_its_way_when_a_client_was_asked_to_leave_is_served() {
    let mut story = Story::new();
    story.0.ask_to_leave();
    assert_eq!(story.says(), [(GOAWAY, 0, 0, 8), (PING, 0, 0, 8)]);
    story.takes(&[post(1), frame(PING, ACK, 0, &LEAVE_PING), post(3)].concat());
    let key = story.0.take_begun().expect("the first request").key;
    assert_eq!(story.0.take_begun(), None);
    assert_eq!(story.says(), [(GOAWAY, 0, 0, 8), (RST_STREAM, 0, 3, 4)]);
    assert!(!story.0.is_done());
    story.0.send_block(key, true, |encoder, out| encoder.status(204, out)).expect("a stream");
    story.0.leave(key);
    assert_eq!(story.says(), [(HEADERS, END_HEADERS | END_STREAM, 1, 1), (RST_STREAM, 0, 1, 4)]);
    assert!(story.0.is_done());
}
