//! Work of milliseconds that gives other threads of its core a turn now and then.
//!
//! A kernel lets a thread that computes go on until its next tick, several milliseconds later, although a thread that
//! serves has something to do on the same core: each such wait is one that a client sees. Promise: between two turns for
//! others lies about a quarter of a millisecond. Not here: which work this is (tables with thousands of routes).

use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, BufReader, Read, Write};
use std::thread::yield_now;

/// Bytes of JSON between two turns. 64 KiB: about a quarter of a millisecond.
const PIECE_BYTES: usize = 64 * 1024;
/// Things that are dropped between two turns: some microseconds each at most.
const PIECE_THINGS: usize = 32;

/// JSON as a value. A small one is read at once, which costs a little less.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    if bytes.len() <= PIECE_BYTES {
        return serde_json::from_slice(bytes);
    }
    serde_json::from_reader(BufReader::with_capacity(PIECE_BYTES, Pieces(bytes)))
}

/// Appends a value as JSON.
pub fn to_json(value: &impl Serialize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let turn_at = out.len() + PIECE_BYTES;
    serde_json::to_writer(Turns { out, turn_at }, value)
}

/// Drops many things.
pub fn drop_each<T>(things: impl IntoIterator<Item = T>) {
    for (number, thing) in things.into_iter().enumerate() {
        drop(thing);
        if number % PIECE_THINGS == PIECE_THINGS - 1 {
            yield_now();
        }
    }
}

/// Writes many bytes.
pub fn write_all(target: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(4 * PIECE_BYTES) {
        target.write_all(piece)?;
        if piece.len() < bytes.len() {
            yield_now();
        }
    }
    Ok(())
}

struct Pieces<'a>(&'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        yield_now();
        self.0.read(buffer)
    }
}

struct Turns<'a> {
    out: &'a mut Vec<u8>,
    /// With so many bytes others get a turn.
    turn_at: usize,
}

impl Write for Turns<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        if self.out.len() >= self.turn_at {
            self.turn_at = self.out.len() + PIECE_BYTES;
            yield_now();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_size_come_back_as_they_were() {
        for count in [0, 1, 100, 50_000] {
            let value: Vec<(String, u64)> =
                (0..count).map(|number| (format!("\u{e9} \"{number}\""), number)).collect();
            let mut bytes = b"head".to_vec();
            to_json(&value, &mut bytes).expect("plain values");
            assert_eq!(bytes[4..], serde_json::to_vec(&value).expect("plain values"));
            assert_eq!(from_json::<Vec<(String, u64)>>(&bytes[4..]).expect("written by us"), value);
            let mut written = Vec::new();
            write_all(&mut written, &bytes).expect("memory takes all");
            assert_eq!(written, bytes);
            bytes.push(b'x');
            assert!(from_json::<Vec<(String, u64)>>(&bytes[4..]).is_err(), "nothing may follow");
        }
    }
}
