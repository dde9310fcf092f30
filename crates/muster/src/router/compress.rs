//! Compresses the body of an answer while it passes: gzip in chunks of our own.
//!
//! Promise: what came from the member with one read goes out at once and can be read at once (the compressor is flushed),
//! so that server-sent events keep flowing; memory is bounded by `COMPRESSORS_MAX` for each thread, and an answer beyond
//! that goes out as it is. Not here: which answers (see `logic::compress`).

use super::core::Core;
use flate2::Compression;
use flate2::write::GzEncoder;
use logic::compress::{AnswerFacts, Verdict, judge};
use logic::http::response::ResponseHead;
use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;

/// Answers that one thread compresses at once. 128: each takes about 300 kB, together 40 MB.
const COMPRESSORS_MAX: u32 = 128;
/// Of 9. Four: nearly as small as six, at half its cost.
const LEVEL: u32 = 4;

/// The compressors of one thread that are in use.
pub type InUse = Rc<Cell<u32>>;

#[derive(Debug)]
pub struct Compressor {
    encoder: GzEncoder<Vec<u8>>,
    in_use: InUse,
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.in_use.set(self.in_use.get() - 1);
    }
}

impl Compressor {
    /// None when too many are in use.
    pub fn begin(core: &Core) -> Option<Self> {
        let in_use = core.compressors.clone();
        if in_use.get() >= COMPRESSORS_MAX {
            return None;
        }
        in_use.set(in_use.get() + 1);
        Some(Self { encoder: GzEncoder::new(Vec::new(), Compression::new(LEVEL)), in_use })
    }

    pub fn add(&mut self, payload: &[u8]) {
        self.encoder.write_all(payload).expect("a vector takes every byte");
    }

    /// Appends what has come so far as a chunk, so that the client can read all of it.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        self.encoder.flush().expect("a vector takes every byte");
        append_chunk(self.encoder.get_ref(), out);
        self.encoder.get_mut().clear();
    }

    /// Appends the rest and the end of the body.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.encoder.try_finish().expect("a vector takes every byte");
        append_chunk(self.encoder.get_ref(), out);
        self.encoder.get_mut().clear();
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

/// An empty chunk would end the body.
fn append_chunk(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Whether the answer with that head goes out compressed to a client that takes gzip or not.
pub fn judge_head(head: &ResponseHead<'_, '_>, takes_gzip: bool) -> Verdict {
    const BOUND: [&str; 5] = ["content-range", "content-digest", "digest", "content-md5", "signature"];
    let facts = AnswerFacts {
        status: head.status,
        length: head.content_length(),
        content_type: head.header("content-type"),
        content_encoding: head.header("content-encoding"),
        cache_control: head.header("cache-control"),
        is_bound_to_bytes: BOUND.iter().any(|name| head.header(name).is_some()),
    };
    judge(&facts, takes_gzip)
}

/// The headers that change with it: those left out, and the lines in their place.
pub fn change_head(head: &ResponseHead<'_, '_>, verdict: Verdict, lines: &mut Vec<u8>) -> u128 {
    if verdict == Verdict::Leave {
        return 0;
    }
    let vary = head.header("vary").unwrap_or_default().to_ascii_lowercase();
    let is_told =
        vary.split(|byte| *byte == b',').any(|name| matches!(name.trim_ascii(), b"*" | b"accept-encoding"));
    if !is_told {
        lines.extend_from_slice(b"Vary: Accept-Encoding\r\n");
    }
    let mut dropped = 0;
    // The client may hold the compressed form: a strong tag would say that both are the same, byte for byte.
    let strong = head.header("etag").filter(|tag| tag.starts_with(b"\""));
    if let (Some(tag), true) = (strong, verdict == Verdict::Compress || head.status == 304) {
        dropped |= head.named(|name| name.eq_ignore_ascii_case("etag"));
        lines.extend_from_slice(b"ETag: W/");
        lines.extend_from_slice(tag);
        lines.extend_from_slice(b"\r\n");
    }
    if verdict == Verdict::Compress {
        // Ranges of the compressed form cannot be asked for; its length is known when it is over.
        const GONE: [&str; 3] = ["accept-ranges", "content-encoding", "content-length"];
        dropped |= head.named(|name| GONE.iter().any(|gone| name.eq_ignore_ascii_case(gone)));
        lines.extend_from_slice(b"Content-Encoding: gzip\r\n");
    }
    dropped
}
