//! What ends up in which file.

use super::*;
use crate::agent::scratch::Scratch;

/// A log of at most 10 bytes in a fresh directory.
fn log(name: &str, files_max: u32) -> (Scratch, PathBuf, Log) {
    let scratch = Scratch::new(&format!("log-{name}"));
    let path = scratch.0.join("made/on/demand/log");
    let log = Log::new(path.clone(), 10, files_max);
    (scratch, path, log)
}

/// Contents of the current file, `.1`, `.2` and so on, as far as they exist.
fn files(path: &Path) -> Vec<String> {
    let name = |number: usize| match number {
        0 => path.display().to_string(),
        number => format!("{}.{number}", path.display()),
    };
    (0..).map_while(|number| std::fs::read_to_string(name(number)).ok()).collect()
}

#[test]
fn lines_are_not_torn_while_they_fit() {
    let (_scratch, path, mut log) = log("lines", 3);
    log.write(b"one\ntwo\nthr");
    log.write(b"ee\nfour\n");
    log.write(b"five\n");
    assert_eq!(files(&path), ["four\nfive\n", "three\n", "one\ntwo\n"]);
    assert_eq!(log.dropped_bytes(), 0);
}

#[test]
fn a_line_longer_than_the_file_stays_whole() {
    let (_scratch, path, mut log) = log("long", 3);
    log.write(b"a\n");
    log.write(b"0123456789abcdef\nb\n");
    assert_eq!(files(&path), ["b\n", "0123456789abcdef\n", "a\n"]);
}

#[test]
fn a_line_without_end_is_cut_at_its_bound() {
    let (_scratch, path, mut log) = log("endless", 1);
    let piece = vec![b'x'; 40_000];
    for _ in 0..4 {
        log.write(&piece);
    }
    let lengths: Vec<usize> = files(&path).iter().map(String::len).collect();
    assert_eq!(lengths, [160_000 - 65_546 * 2, 65_546]);
}

#[test]
fn without_older_files_the_current_one_starts_again() {
    let (_scratch, path, mut log) = log("none-older", 0);
    log.write(b"one\ntwo\n");
    log.write(b"three\n");
    assert_eq!(files(&path), ["three\n"]);
}

#[test]
fn a_log_goes_on_where_the_last_one_ended() {
    let (_scratch, path, mut log) = log("goes-on", 1);
    log.write(b"one\n");
    let mut next = Log::new(path.clone(), 10, 1);
    next.write(b"two\n");
    next.write(b"three\n");
    assert_eq!(files(&path), ["three\n", "one\ntwo\n"]);
}

#[test]
fn what_cannot_be_written_is_counted_and_mentioned_later() {
    let (_scratch, path, mut log) = log("mentioned", 1);
    let spare = log.file.replace(File::options().write(true).open("/dev/full").expect("there is /dev/full"));
    log.write(b"lost\n");
    assert_eq!(log.dropped_bytes(), 5);
    assert!(log.trouble().is_some_and(|why| why.starts_with("cannot write ")));
    log.file = spare;
    log.size_max_bytes = 1000;
    log.write(b"kept\n");
    assert_eq!(log.trouble(), None);
    assert_eq!(files(&path), ["-- muster dropped 5 bytes of output here\nkept\n"]);
}
