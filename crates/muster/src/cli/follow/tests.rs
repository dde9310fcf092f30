//! Streams cut into pieces anywhere.

use super::*;
use crate::console::testing::{sample_event, sample_status};

#[test]
fn pieces_may_end_anywhere() {
    let status = serde_json::to_string(&sample_status()).expect("JSON");
    let event = serde_json::to_string(&sample_event(3, "it rains, ünd höw")).expect("JSON");
    let text = format!(
        "retry: 1000\n\n: still here\nevent: beat\ndata: {{}}\n\nid: 3\nevent: event\ndata: {event}\r\n\r\n\
         event: status\ndata:{status}\n\n"
    );
    let wanted =
        vec![News::Event(sample_event(3, "it rains, ünd höw")), News::Status(Box::new(sample_status()))];
    for size in [1, 2, 7, 100, text.len()] {
        let mut parser = Parser::default();
        let mut news = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            news.extend(parser.read(piece).expect("it is well formed"));
        }
        assert_eq!(news, wanted, "in pieces of {size}");
    }
}

#[test]
fn nonsense_is_an_error_and_not_a_status() {
    assert!(Parser::default().read(b"event: status\ndata: {}\n\n").is_err());
    assert!(Parser::default().read(b"event: \xff\n").is_err());
    let long = vec![b'x'; ANSWER_SIZE_MAX_BYTES + 1];
    assert!(Parser::default().read(&long).is_err());
}
