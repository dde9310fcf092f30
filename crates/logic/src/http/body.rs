//! Finds where a message body ends, byte by byte where it must, in runs where it can.
//!
//! Promise: `consume` never takes a byte that belongs to the next message; chunk sizes are hexadecimal digits
//! only, line ends are CRLF only, extensions and trailers are bounded (spec/routing.md 6).
//! Not here: copying. Offsets are bytes.

use super::refusal::Refusal;

/// Longest chunk extension. 256: real ones are signatures of at most 100 bytes.
const CHUNK_EXTENSION_MAX_BYTES: u16 = 256;
/// Longest trailer section: as one line of a head.
const TRAILER_MAX_BYTES: u16 = 8190;
/// Hexadecimal digits of a chunk size: 15 keep any sum of sizes within 64 bits.
const CHUNK_DIGITS_MAX: u8 = 15;
/// Trailers that would change framing or routing for a member that merges them into the head.
const FORBIDDEN_TRAILERS: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"host", b"trailer"];

/// Where a message body ends, and how much of it has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body, or its end has been seen.
    Done,
    /// So many bytes are left; never 0.
    Length(u64),
    Chunked(Chunk),
    /// Until the sender closes.
    UntilClose,
}

/// Place within a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    Size { value: u64, digits: u8 },
    Extension { value: u64, seen_bytes: u16, quoted: bool },
    SizeLineFeed { value: u64 },
    Data { left: u64 },
    DataReturn,
    DataLineFeed,
    TrailerStart { total_bytes: u16 },
    TrailerName { total_bytes: u16, position: u8, candidates: u8 },
    TrailerValue { total_bytes: u16 },
    TrailerLineFeed { total_bytes: u16 },
    EndLineFeed,
}

/// A step through a body: `used` bytes were taken, of which the last `data` are payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub used: usize,
    pub data: usize,
}

impl Framing {
    pub const CHUNKED: Framing = Framing::Chunked(Chunk::Size { value: 0, digits: 0 });

    /// A body of that many bytes.
    pub fn length(bytes: u64) -> Framing {
        if bytes == 0 { Framing::Done } else { Framing::Length(bytes) }
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Framing::Done)
    }

    /// Whether all payload has been seen and only the end of the trailers is missing.
    pub fn is_in_trailers(&self) -> bool {
        match self {
            Framing::Chunked(chunk) => match chunk {
                Chunk::TrailerStart { .. }
                | Chunk::TrailerName { .. }
                | Chunk::TrailerValue { .. }
                | Chunk::TrailerLineFeed { .. }
                | Chunk::EndLineFeed => true,
                Chunk::SizeLineFeed { value } => *value == 0,
                Chunk::Size { .. }
                | Chunk::Extension { .. }
                | Chunk::Data { .. }
                | Chunk::DataReturn
                | Chunk::DataLineFeed => false,
            },
            Framing::Done | Framing::Length(_) | Framing::UntilClose => false,
        }
    }

    /// How many of `bytes` belong to this body, and how many of those are payload.
    pub fn consume(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        let mut total = Step { used: 0, data: 0 };
        while total.used < bytes.len() && !self.is_done() {
            let step = self.step(&bytes[total.used..])?;
            total.used += step.used;
            total.data += step.data;
        }
        Ok(total)
    }

    /// Takes one run of payload, or one byte of what surrounds it. `bytes` is not empty.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        match self {
            Framing::Done => Ok(Step { used: 0, data: 0 }),
            Framing::UntilClose => Ok(Step { used: bytes.len(), data: bytes.len() }),
            Framing::Length(left) => {
                let taken = (*left).min(bytes.len() as u64);
                *self = Framing::length(*left - taken);
                Ok(Step { used: taken as usize, data: taken as usize })
            }
            Framing::Chunked(Chunk::Data { left }) => {
                let taken = (*left).min(bytes.len() as u64);
                let left = *left - taken;
                *self = Framing::Chunked(if left == 0 { Chunk::DataReturn } else { Chunk::Data { left } });
                Ok(Step { used: taken as usize, data: taken as usize })
            }
            Framing::Chunked(chunk) => {
                *self = match chunk.after(bytes[0])? {
                    Some(next) => Framing::Chunked(next),
                    None => Framing::Done,
                };
                Ok(Step { used: 1, data: 0 })
            }
        }
    }
}

impl Chunk {
    /// Where a byte that is not payload leads; `None` is the end of the body.
    fn after(self, byte: u8) -> Result<Option<Chunk>, Refusal> {
        let next = match self {
            Chunk::Size { value, digits } => size(value, digits, byte)?,
            Chunk::Extension { value, seen_bytes, quoted } => extension(value, seen_bytes, quoted, byte)?,
            Chunk::SizeLineFeed { value } => match (byte, value) {
                (b'\n', 0) => Chunk::TrailerStart { total_bytes: 0 },
                (b'\n', _) => Chunk::Data { left: value },
                _ => return Err(Refusal::ChunkSize),
            },
            Chunk::Data { .. } => unreachable!("payload is taken in runs"),
            Chunk::DataReturn if byte == b'\r' => Chunk::DataLineFeed,
            Chunk::DataLineFeed if byte == b'\n' => Chunk::Size { value: 0, digits: 0 },
            Chunk::DataReturn | Chunk::DataLineFeed => return Err(Refusal::ChunkEnd),
            Chunk::TrailerStart { .. } if byte == b'\r' => Chunk::EndLineFeed,
            Chunk::TrailerStart { total_bytes } => trailer_name(total_bytes, 0, 0b1111, byte)?,
            Chunk::TrailerName { total_bytes, position, candidates } => {
                trailer_name(total_bytes, position, candidates, byte)?
            }
            Chunk::TrailerValue { total_bytes } => trailer_value(total_bytes, byte)?,
            Chunk::TrailerLineFeed { total_bytes } if byte == b'\n' => Chunk::TrailerStart { total_bytes },
            Chunk::EndLineFeed if byte == b'\n' => return Ok(None),
            Chunk::TrailerLineFeed { .. } | Chunk::EndLineFeed => return Err(Refusal::Trailer),
        };
        Ok(Some(next))
    }
}

fn size(value: u64, digits: u8, byte: u8) -> Result<Chunk, Refusal> {
    match (byte, (byte as char).to_digit(16)) {
        (_, Some(digit)) if digits < CHUNK_DIGITS_MAX => {
            Ok(Chunk::Size { value: value * 16 + u64::from(digit), digits: digits + 1 })
        }
        (b'\r', None) if digits > 0 => Ok(Chunk::SizeLineFeed { value }),
        (b';', None) if digits > 0 => Ok(Chunk::Extension { value, seen_bytes: 0, quoted: false }),
        _ => Err(Refusal::ChunkSize),
    }
}

fn extension(value: u64, seen_bytes: u16, quoted: bool, byte: u8) -> Result<Chunk, Refusal> {
    if seen_bytes >= CHUNK_EXTENSION_MAX_BYTES {
        return Err(Refusal::ChunkExtension);
    }
    match byte {
        b'\r' if !quoted => Ok(Chunk::SizeLineFeed { value }),
        b'"' => Ok(Chunk::Extension { value, seen_bytes: seen_bytes + 1, quoted: !quoted }),
        b'\t' | 0x20..=0x7e => Ok(Chunk::Extension { value, seen_bytes: seen_bytes + 1, quoted }),
        _ => Err(Refusal::ChunkExtension),
    }
}

/// `candidates` has a bit for each forbidden name that still fits what was read of this name.
fn trailer_name(total_bytes: u16, position: u8, candidates: u8, byte: u8) -> Result<Chunk, Refusal> {
    if total_bytes >= TRAILER_MAX_BYTES {
        return Err(Refusal::Trailer);
    }
    let total_bytes = total_bytes + 1;
    if byte == b':' && position > 0 {
        let is_forbidden = FORBIDDEN_TRAILERS
            .iter()
            .enumerate()
            .any(|(bit, name)| candidates & (1 << bit) != 0 && name.len() == usize::from(position));
        return if is_forbidden {
            Err(Refusal::TrailerForbidden)
        } else {
            Ok(Chunk::TrailerValue { total_bytes })
        };
    }
    if !is_token_byte(byte) {
        return Err(Refusal::Trailer);
    }
    // `_` counts as `-`: servers that map names to variables do the same.
    let byte = if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let mut still = 0;
    for (bit, name) in FORBIDDEN_TRAILERS.iter().enumerate() {
        let fits = candidates & (1 << bit) != 0 && name.get(usize::from(position)) == Some(&byte);
        still |= u8::from(fits) << bit;
    }
    // Past 255 no candidate is left, so a position that stays there changes nothing.
    Ok(Chunk::TrailerName { total_bytes, position: position.saturating_add(1), candidates: still })
}

fn trailer_value(total_bytes: u16, byte: u8) -> Result<Chunk, Refusal> {
    match byte {
        _ if total_bytes >= TRAILER_MAX_BYTES => Err(Refusal::Trailer),
        b'\r' => Ok(Chunk::TrailerLineFeed { total_bytes }),
        b'\t' | 0x20..=0x7e | 0x80..=0xff => Ok(Chunk::TrailerValue { total_bytes: total_bytes + 1 }),
        _ => Err(Refusal::Trailer),
    }
}

/// A byte of a method or header name (RFC 9110, 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
