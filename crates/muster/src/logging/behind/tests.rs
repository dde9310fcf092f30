//! Lines that nobody reads, and lines at the end.

use super::*;
use std::io::{BufRead as _, Read as _};

/// One that nobody else uses, for the rest of the process.
fn behind() -> &'static Behind {
    Box::leak(Box::new(Behind::new()))
}

/// Lines that were written, and those that are said to be lost.
fn counted(text: &[u8]) -> usize {
    let text = String::from_utf8_lossy(text);
    let lost = |line: &str| line.split_once(" lines of")?.0.parse::<usize>().ok();
    text.lines().map(|line| lost(line).unwrap_or(usize::from(line.len() == 99))).sum()
}

#[test]
fn nobody_waits_for_who_reads_the_log_and_what_is_lost_is_counted() {
    let behind = behind();
    let (mut reader, writer) = io::pipe().expect("a pipe can be made");
    std::thread::spawn(move || behind.write_for_ever(writer));
    // More than the pipe and the queue hold together.
    let line = [&[b'x'; 99][..], b"\n"].concat();
    for _ in 0..LINES_MAX * 4 {
        behind.take(&line);
    }
    let (mut text, mut bytes) = (Vec::new(), vec![0; 65_536]);
    // Ends when each is written or counted.
    while counted(&text) != LINES_MAX * 4 {
        let length = reader.read(&mut bytes).expect("the other end is open");
        text.extend_from_slice(&bytes[..length]);
    }
    behind.finish();
    assert!(behind.queue().lines.is_empty());
    assert!(
        String::from_utf8_lossy(&text).contains(" lines of this log are lost"),
        "some were not read in time"
    );
}

#[test]
fn programs_that_read_the_log_can_read_what_is_lost() {
    let behind = behind();
    behind.speak_json();
    behind.queue().lost = 3;
    let (reader, writer) = io::pipe().expect("a pipe can be made");
    std::thread::spawn(move || behind.write_for_ever(writer));
    let mut line = String::new();
    io::BufReader::new(reader).read_line(&mut line).expect("the other end is open");
    let told: serde_json::Value = serde_json::from_str(&line).expect("the line is JSON");
    assert_eq!((&told["lost"], &told["level"]), (&3.into(), &"WARN".into()));
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let behind = behind();
    // Nobody writes.
    behind.take(b"last words\n");
    behind.finish();
    assert_eq!(behind.queue().lines.len(), 1);
}
