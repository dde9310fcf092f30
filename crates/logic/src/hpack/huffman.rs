//! The code of characters in header compression (RFC 7541, appendix B).
//!
//! The code is canonical: the lengths say everything. Only decoded: what we send ourselves is mostly in a table, and
//! the rest is cheaper as it is.

use super::Corrupt;

/// A symbol that stands for no byte and must not occur.
const END: usize = 256;
/// Bits of the longest code. 30, because the standard has spread its symbols so.
const LENGTH_MAX: usize = 30;
/// Codes up to this length are found by one look.
const SHORT: u32 = 8;

/// Bits of each byte's code, and of the end's.
#[rustfmt::skip]
const LENGTHS: [u8; END + 1] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

struct Code {
    /// Symbols by length of their code, then by value.
    symbols: [u16; END + 1],
    /// For each length: the first code that is longer, from the left of 32 bits.
    limits: [u64; LENGTH_MAX + 1],
    /// For each length: its first code, and the place of that code's symbol.
    firsts: [(u32, u32); LENGTH_MAX + 1],
    /// Symbol and length for all that begins with these bits; length 0 for longer codes.
    short: [(u8, u8); 1 << SHORT],
}

const CODE: Code = {
    let mut code = Code {
        symbols: [0; END + 1],
        limits: [0; LENGTH_MAX + 1],
        firsts: [(0, 0); LENGTH_MAX + 1],
        short: [(0, 0); 1 << SHORT],
    };
    let (mut next, mut place, mut length) = (0_u32, 0, 1);
    while length <= LENGTH_MAX {
        code.firsts[length] = (next, place as u32);
        let mut symbol = 0;
        while symbol <= END {
            if LENGTHS[symbol] as usize == length {
                code.symbols[place] = symbol as u16;
                if length <= SHORT as usize {
                    let spread = 1 << (SHORT as usize - length);
                    let mut at = 0;
                    while at < spread {
                        code.short[next as usize * spread + at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                place += 1;
                next += 1;
            }
            symbol += 1;
        }
        code.limits[length] = (next as u64) << (32 - length);
        next <<= 1;
        length += 1;
    }
    code
};
const TABLE: &Code = &CODE;

/// Appends what `bytes` stand for.
pub fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Corrupt> {
    // The last `count` bits of `bits` are still to be read.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut rest = bytes.iter();
    loop {
        while count <= 56 {
            let Some(byte) = rest.next() else { break };
            bits = bits << 8 | u64::from(*byte);
            count += 8;
        }
        if count == 0 {
            return Ok(());
        }
        // Ones behind the end, as its padding is.
        let window = match count {
            32.. => (bits >> (count - 32)) as u32,
            _ => (bits << (32 - count)) as u32 | u32::MAX >> count,
        };
        let (symbol, length) = match TABLE.short[(window >> (32 - SHORT)) as usize] {
            (_, 0) => long(window),
            (symbol, length) => (usize::from(symbol), u32::from(length)),
        };
        if length > count {
            // Less than a byte of ones is padding.
            return if count < 8 && window == u32::MAX { Ok(()) } else { Err(Corrupt) };
        }
        if symbol == END {
            return Err(Corrupt);
        }
        out.push(symbol as u8);
        count -= length;
    }
}

fn long(window: u32) -> (usize, u32) {
    let mut length = SHORT as usize + 1;
    while length < LENGTH_MAX && u64::from(window) >= TABLE.limits[length] {
        length += 1;
    }
    let (first, place) = TABLE.firsts[length];
    let offset = (window >> (32 - length)) - first;
    (usize::from(TABLE.symbols[(place + offset) as usize]), length as u32)
}
