//! Header compression of HTTP/2 (RFC 7541): blocks of fields from a client, and to it.
//!
//! Pure. Promise: a table takes `TABLE_BYTES` at most, whatever the peer says; a field is looked through once when it
//! comes, not each time that it is named again. Not here: what the fields of a request mean together (`http2::head`).

mod huffman;
mod statics;

use std::collections::VecDeque;

/// Size of either table. What clients expect without being told otherwise, and the most that we keep for them.
pub const TABLE_BYTES: usize = 4096;
/// What each entry counts beside its bytes.
const ENTRY_BYTES: usize = 32;
/// A longer value does not push others out of the table: it is hardly said twice.
const INDEXED_VALUE_MAX_BYTES: usize = 512;
/// Scratch space beyond this is given back.
const KEPT_BYTES: usize = 1024;

/// A block that cannot be read: the tables of both sides differ from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a block of headers could not be unpacked")]
pub struct Corrupt;

/// What a field of a request is. Pseudo headers are of these kinds only where their value is one that they may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Method,
    Scheme,
    Path,
    Authority,
    Protocol,
    Host,
    Cookie,
    ContentLength,
    WebSocketKey,
    Other,
    /// Not allowed in any request.
    Forbidden,
}

impl Kind {
    /// Looks through the whole field.
    pub fn of(name: &[u8], value: &[u8]) -> Self {
        let is_visible = |byte: &u8| (0x21..=0x7e).contains(byte);
        if !value.iter().all(|byte| (*byte >= 0x20 && *byte != 0x7f) || *byte == b'\t') {
            return Self::Forbidden;
        }
        match name {
            b":method" if !value.is_empty() && value.iter().all(|byte| is_token_byte(*byte)) => Self::Method,
            b":scheme" if !value.is_empty() && value.iter().all(is_visible) => Self::Scheme,
            b":path" if (value.starts_with(b"/") || value == b"*") && value.iter().all(is_visible) => {
                Self::Path
            }
            b":authority" if value.iter().all(is_visible) => Self::Authority,
            b":protocol" if !value.is_empty() => Self::Protocol,
            b"host" => Self::Host,
            b"cookie" => Self::Cookie,
            b"content-length" if value.iter().all(u8::is_ascii_digit) => Self::ContentLength,
            b"sec-websocket-key" => Self::WebSocketKey,
            b"te" if value == b"trailers" => Self::Other,
            // Those of one connection (RFC 9113, 8.2.2).
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
            | b"te" | b"content-length" | b"" => Self::Forbidden,
            _ if name.iter().all(|byte| is_token_byte(*byte) && !byte.is_ascii_uppercase()) => Self::Other,
            _ => Self::Forbidden,
        }
    }

    fn of_static(number: usize) -> Self {
        match number {
            1 => Self::Authority,
            2 | 3 => Self::Method,
            4 | 5 => Self::Path,
            6 | 7 => Self::Scheme,
            8..=14 | 57 => Self::Forbidden,
            28 => Self::ContentLength,
            32 => Self::Cookie,
            38 => Self::Host,
            _ => Self::Other,
        }
    }
}

const TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};

fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
    pub kind: Kind,
}

#[derive(Debug)]
struct Entry<T> {
    /// Name and value.
    bytes: Box<[u8]>,
    name_length: usize,
    note: T,
}

impl<T> Entry<T> {
    fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.name_length)
    }
}

/// The fields said before, newest first.
#[derive(Debug)]
struct Table<T> {
    entries: VecDeque<Entry<T>>,
    bytes: usize,
    bytes_max: usize,
}

impl<T> Table<T> {
    fn new() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES }
    }

    fn make_room(&mut self, room: usize) {
        while self.bytes + room > self.bytes_max {
            let Some(old) = self.entries.pop_back() else { return };
            self.bytes -= old.bytes.len() + ENTRY_BYTES;
        }
    }

    fn resize(&mut self, bytes_max: usize) {
        assert!(bytes_max <= TABLE_BYTES, "a table of {bytes_max} bytes");
        self.bytes_max = bytes_max;
        self.make_room(0);
    }

    /// An entry that is larger than the table empties it.
    fn insert(&mut self, entry: Entry<T>) {
        let room = entry.bytes.len() + ENTRY_BYTES;
        self.make_room(room);
        if room <= self.bytes_max {
            self.bytes += room;
            self.entries.push_front(entry);
        }
    }
}

/// Reads a client's blocks, each whole and in order.
#[derive(Debug)]
pub struct Decoder {
    table: Table<Kind>,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: Table::new(), name: Vec::new(), value: Vec::new() }
    }
}

impl Decoder {
    /// Gives each field of a block to `take`.
    pub fn decode(&mut self, block: &[u8], mut take: impl FnMut(Field<'_>)) -> Result<(), Corrupt> {
        let mut rest = block;
        let mut may_resize = true;
        while let Some(first) = rest.first() {
            match first {
                0x80.. => take(self.field(integer(&mut rest, 7)?)?),
                0x20..=0x3f if may_resize => {
                    let bytes_max = integer(&mut rest, 5)?;
                    if bytes_max > TABLE_BYTES {
                        return Err(Corrupt);
                    }
                    self.table.resize(bytes_max);
                    continue;
                }
                0x20..=0x3f => return Err(Corrupt),
                0x40.. => self.literal(&mut rest, 6, &mut take)?,
                _ => self.literal(&mut rest, 4, &mut take)?,
            }
            may_resize = false;
        }
        self.name.shrink_to(KEPT_BYTES);
        self.value.shrink_to(KEPT_BYTES);
        Ok(())
    }

    /// The field of that number.
    fn field(&self, number: usize) -> Result<Field<'_>, Corrupt> {
        let place = number.checked_sub(1).ok_or(Corrupt)?;
        if let Some((name, value)) = statics::FIELDS.get(place) {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            return Ok(Field { name, value, kind: Kind::of_static(number) });
        }
        let entry = self.table.entries.get(place - statics::FIELDS.len()).ok_or(Corrupt)?;
        let (name, value) = entry.parts();
        Ok(Field { name, value, kind: entry.note })
    }

    /// A field that is spelled out, at least its value. It stays in the table where its number has six bits.
    fn literal(
        &mut self,
        rest: &mut &[u8],
        bits: u32,
        take: &mut impl FnMut(Field<'_>),
    ) -> Result<(), Corrupt> {
        let number = integer(rest, bits)?;
        let (mut name, mut value) = (std::mem::take(&mut self.name), std::mem::take(&mut self.value));
        name.clear();
        value.clear();
        if number == 0 {
            string(rest, &mut name)?;
        } else {
            name.extend_from_slice(self.field(number)?.name);
        }
        string(rest, &mut value)?;
        let kind = Kind::of(&name, &value);
        take(Field { name: &name, value: &value, kind });
        if bits == 6 {
            let bytes = [name.as_slice(), &value].concat().into_boxed_slice();
            self.table.insert(Entry { bytes, name_length: name.len(), note: kind });
        }
        (self.name, self.value) = (name, value);
        Ok(())
    }
}

/// An integer that begins in the last `bits` of the first byte.
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, Corrupt> {
    let most = (1_usize << bits) - 1;
    let (first, mut left) = rest.split_first().ok_or(Corrupt)?;
    let mut number = usize::from(*first) & most;
    if number == most {
        let mut shift = 0;
        loop {
            let (byte, after) = left.split_first().ok_or(Corrupt)?;
            left = after;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            // Four bytes say more than any block holds.
            if shift > 21 {
                return Err(Corrupt);
            }
        }
    }
    *rest = left;
    Ok(number)
}

fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Corrupt> {
    let is_coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (text, after) = rest.split_at_checked(length).ok_or(Corrupt)?;
    *rest = after;
    if is_coded {
        return huffman::decode(text, out);
    }
    out.extend_from_slice(text);
    Ok(())
}

/// Writes blocks to a client.
#[derive(Debug)]
pub struct Encoder {
    table: Table<u32>,
    /// Sizes of the table that the next block must begin with: the least since the last one, and the last.
    resized: Option<(usize, usize)>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { table: Table::new(), resized: None }
    }
}

impl Encoder {
    /// The client has said what its table may take.
    pub fn set_table_bytes(&mut self, bytes: usize) {
        let bytes = bytes.min(TABLE_BYTES);
        let least = self.resized.map_or(bytes, |(least, _)| least.min(bytes));
        let is_same = least == bytes && bytes == self.table.bytes_max;
        self.resized = (!is_same).then_some((least, bytes));
    }

    /// Begins a block with the status of an answer.
    pub fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        self.begin(out);
        match status {
            200 => out.push(0x88),
            204 => out.push(0x89),
            206 => out.push(0x8a),
            304 => out.push(0x8b),
            400 => out.push(0x8c),
            404 => out.push(0x8d),
            500 => out.push(0x8e),
            _ => {
                let digit = |of: u16| b'0' + (status / of % 10) as u8;
                out.extend_from_slice(&[0x08, 3, digit(100), digit(10), digit(1)]);
            }
        }
    }

    /// Begins a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let Some((least, last)) = self.resized.take() else { return };
        for bytes_max in [least, last] {
            if bytes_max != self.table.bytes_max {
                self.table.resize(bytes_max);
            }
        }
        if least != last {
            write_integer(least, 5, 0x20, out);
        }
        write_integer(last, 5, 0x20, out);
    }

    /// Appends a field. The name may come in any case, and goes out in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        if let Some(number) = said_once(name) {
            write_integer(number, 4, 0, out);
            return write_string(value, out);
        }
        let digest = digest(name, value);
        // Mostly written as the last time.
        let is_it = |entry: &Entry<u32>| {
            let (known_name, known_value) = entry.parts();
            known_value == value && (known_name == name || known_name.eq_ignore_ascii_case(name))
        };
        let mut entries = self.table.entries.iter();
        if let Some(place) = entries.position(|entry| entry.note == digest && is_it(entry)) {
            return write_integer(place + statics::FIELDS.len() + 1, 7, 0x80, out);
        }
        let is_kept = value.len() <= INDEXED_VALUE_MAX_BYTES;
        let (bits, flags) = if is_kept { (6, 0x40) } else { (4, 0) };
        let number = statics::number(name);
        write_integer(number.unwrap_or(0), bits, flags, out);
        if number.is_none() {
            let start = out.len();
            write_string(name, out);
            out[start..].make_ascii_lowercase();
        }
        write_string(value, out);
        if is_kept {
            let bytes = [name, value].concat().into_boxed_slice();
            self.table.insert(Entry { bytes, name_length: name.len(), note: digest });
        }
    }
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    write_integer(text.len(), 7, 0, out);
    out.extend_from_slice(text);
}

/// The number of a header whose values differ from answer to answer: they would push the others out of the table. A
/// cookie shall not be in it, because it is a secret.
fn said_once(name: &[u8]) -> Option<usize> {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    match name.len() {
        3 if is(b"age") => Some(21),
        4 if is(b"etag") => Some(34),
        7 if is(b"expires") => Some(36),
        8 if is(b"location") => Some(46),
        10 if is(b"set-cookie") => Some(55),
        13 if is(b"last-modified") => Some(44),
        13 if is(b"content-range") => Some(30),
        14 if is(b"content-length") => Some(28),
        _ => None,
    }
}

/// Tells most fields apart by a few bytes of each.
fn digest(name: &[u8], value: &[u8]) -> u32 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let eight = |bytes: &[u8]| match bytes.last_chunk() {
        Some(last) => u64::from_le_bytes(*last),
        None => bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    // Capitals and small letters alike.
    let name_bits = eight(name) | 0x2020_2020_2020_2020;
    let lengths = (name.len() as u64) << 32 | value.len() as u64;
    let mixed = (name_bits ^ lengths).wrapping_mul(MIX) ^ eight(value);
    (mixed.wrapping_mul(MIX) >> 32) as u32
}

fn write_integer(number: usize, bits: u32, flags: u8, out: &mut Vec<u8>) {
    let most = (1_usize << bits) - 1;
    if number < most {
        return out.push(flags | number as u8);
    }
    out.push(flags | most as u8);
    let mut rest = number - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests;
