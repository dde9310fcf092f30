//! Every input of the corpus through its oracle, whole and cut off anywhere.

use fuzz::TARGETS;
use std::fs;
use std::path::{Path, PathBuf};

/// All of it, in the repository: enough for every branch, little enough to be read.
const CORPUS_MAX_BYTES: u64 = 300_000;
/// Pieces of an input that are tried besides the whole.
const CUTS_MAX: usize = 64;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// A byte string as `escape_ascii` writes it.
fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'x') => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.unwrap_or_default());
                let digits = std::str::from_utf8(&digits).expect("digits");
                u8::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{error}: {line}"))
            }
            Some(other) => other,
            None => panic!("nothing behind the last \\: {line}"),
        });
    }
    bytes
}

#[test]
fn every_input_of_the_corpus_keeps_what_its_target_promises() {
    let mut total = 0;
    for target in TARGETS {
        let path = corpus().join(format!("{}.txt", target.name));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        total += text.len() as u64;
        assert!(text.lines().count() >= 10, "{} has no corpus to speak of", target.name);
        for line in text.lines() {
            let input = unescape(line);
            assert_eq!(input.escape_ascii().to_string(), line, "written as it is read");
            (target.check)(&input);
            let step = input.len().div_ceil(CUTS_MAX).max(1);
            for length in (0..input.len()).step_by(step) {
                (target.check)(&input[..length]);
            }
        }
    }
    assert!(total <= CORPUS_MAX_BYTES, "the corpus has {total} bytes");
}
