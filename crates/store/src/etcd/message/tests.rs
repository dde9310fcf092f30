//! Messages as bytes, and bytes of strangers.

use super::*;
use proptest::prelude::*;

#[test]
fn request_has_the_bytes_of_the_format() {
    let range = Range { from: b"a", to: b"b", revision: 300, ..Range::default() };
    let expected = [10, 1, b'a', 18, 1, b'b', 32, 0xac, 2, 64, 0, 72, 0, 80, 0];
    assert_eq!(range.request().0, expected);
    // One key: an empty end would ask for all keys from it on.
    let one = Range { from: b"a", ..Range::default() };
    assert_eq!(one.request().0, [10, 1, b'a', 32, 0, 64, 0, 72, 0, 80, 0]);
    // A negative number takes ten bytes.
    assert_eq!(Message::default().number(6, -1).0, [48, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
}

#[test]
fn answers_are_read_and_unknown_fields_passed_over() {
    let header = Message::default().number(1, 7).number(2, 9).number(3, 42).number(4, 2);
    let found = Message::default().bytes(1, b"k").number(2, 3).number(3, 41).number(4, 1).bytes(5, b"v");
    let range = Message::default().message(1, &header).message(2, &found).number(4, 1).bytes(99, b"new");
    let expected = RangeAnswer {
        header: Header { cluster: 7, revision: 42 },
        found: vec![KeyValue { key: b"k".to_vec(), created: 3, changed: 41, value: b"v".to_vec() }],
        count: 1,
    };
    assert_eq!(RangeAnswer::read(&range.0).expect("it is well formed"), expected);

    let operation = Message::default().message(1, &range);
    let written = Message::default().message(2, &Message::default());
    let answer =
        Message::default().message(1, &header).number(2, 1).message(3, &operation).message(3, &written);
    let read = TransactionAnswer::read(&answer.0).expect("it is well formed");
    assert!(read.has_succeeded);
    assert_eq!(read.ranges, [expected, RangeAnswer::default()]);

    let cancelled = Message::default().message(1, &header).number(4, 1).bytes(6, b"no leader");
    let read = WatchAnswer::read(&cancelled.0).expect("it is well formed");
    assert!(read.is_cancelled && !read.is_created && !read.has_events);
    assert_eq!(read.reason, "no leader");
}

#[test]
fn cut_message_is_malformed() {
    let whole = Message::default().bytes(2, b"token").0;
    assert_eq!(token(&whole).expect("it is whole"), "token");
    for length in 1..whole.len() {
        assert!(token(&whole[..length]).is_err(), "{length} bytes");
    }
}

proptest! {
    #[test]
    fn bytes_of_a_stranger_are_no_danger(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        // What is read from nonsense does not matter; that it ends does.
        let _ = RangeAnswer::read(&bytes);
        let _ = TransactionAnswer::read(&bytes);
        let _ = WatchAnswer::read(&bytes);
        let _ = token(&bytes);
    }
}
