//! Reads the lines of a head, looking at each byte once.
//!
//! Promise: what is accepted can be read in one way only. Lines end in CRLF and in nothing else, names are tokens right
//! before their colons, values hold no control bytes but tabs, and no line goes on in the next one. What is wrong is
//! refused as soon as it has come. Written for this because a library's reader was a quarter of what a request cost;
//! the tests hold it against that library.

use super::head::HEADERS_MAX;
use super::refusal::Refusal;

/// Where a header lies in its head. Lengths of names fit 16 bits, because longer ones are refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    start: u32,
    value: u32,
    value_length: u32,
    name_length: u16,
}

impl Field {
    const NONE: Self = Self { start: 0, value: 0, value_length: 0, name_length: 0 };

    /// Where its line begins.
    pub fn start(self) -> usize {
        self.start as usize
    }

    pub fn name(self, head: &[u8]) -> &[u8] {
        let start = self.start();
        &head[start..start + usize::from(self.name_length)]
    }

    /// The name as text: a token is ASCII.
    pub fn name_text(self, head: &[u8]) -> &str {
        std::str::from_utf8(self.name(head)).expect("a token is ASCII")
    }

    pub fn value(self, head: &[u8]) -> &[u8] {
        &head[self.value_start()..self.value_start() + self.value_length as usize]
    }

    pub fn value_start(self) -> usize {
        self.value as usize
    }
}

/// Room for the places of headers, on the caller's stack so that parsing allocates nothing.
#[derive(Debug)]
pub struct HeaderSpace(pub(super) [Field; HEADERS_MAX]);

impl HeaderSpace {
    pub fn new() -> Self {
        Self([Field::NONE; HEADERS_MAX])
    }
}

impl Default for HeaderSpace {
    fn default() -> Self {
        Self::new()
    }
}

const fn table_of_tokens() -> [bool; 256] {
    let mut table = [false; 256];
    let others = b"!#$%&'*+-.^_`|~";
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

/// Bytes of methods and header names (RFC 9110, 5.6.2).
const TOKENS: [bool; 256] = table_of_tokens();

/// A byte of a method or header name.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKENS[usize::from(byte)]
}

/// How many bytes are at least `LEAST` and not DEL; eight at a time.
#[inline]
fn run<const LEAST: u8>(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A borrow goes up only, so the lowest mark is always true.
        let is_low = word.wrapping_sub(ONES * u64::from(LEAST)) & !word;
        let delete = word ^ (ONES * 0x7f);
        let is_delete = delete.wrapping_sub(ONES) & !delete;
        let marks = (is_low | is_delete) & HIGHS;
        if marks != 0 {
            return at * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let found = rest.iter().position(|byte| *byte < LEAST || *byte == 0x7f);
    words.len() * 8 + found.unwrap_or(rest.len())
}

/// Reads a head from its beginning. Where a function gives `None`, more bytes are needed.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Up to here everything was read.
    pub fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'b [u8] {
        &self.bytes[self.at..]
    }

    /// A method and the space behind it.
    pub fn method(&mut self) -> Result<Option<&'b str>, Refusal> {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !is_token_byte(*byte));
        self.word(rest, length)
    }

    /// A target and the space behind it: anything that is printed.
    pub fn target(&mut self) -> Result<Option<&'b str>, Refusal> {
        let rest = self.rest();
        let length = run::<0x21>(rest);
        self.word(rest, (length < rest.len()).then_some(length))
    }

    fn word(&mut self, rest: &'b [u8], length: Option<usize>) -> Result<Option<&'b str>, Refusal> {
        let Some(length) = length else { return Ok(None) };
        if length == 0 || rest[length] != b' ' {
            return Err(Refusal::Malformed);
        }
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map(Some).map_err(|_| Refusal::Malformed)
    }

    /// `HTTP/1.1` or `HTTP/1.0`: whether it is the former.
    pub fn version(&mut self) -> Result<Option<bool>, Refusal> {
        let rest = self.rest();
        let Some(text) = rest.first_chunk::<8>() else {
            return if b"HTTP/1.".starts_with(rest) { Ok(None) } else { Err(Refusal::Malformed) };
        };
        self.at += text.len();
        match text {
            b"HTTP/1.1" => Ok(Some(true)),
            b"HTTP/1.0" => Ok(Some(false)),
            _ => Err(Refusal::Malformed),
        }
    }

    /// The space, the three digits of a status and the reason behind them, which may be missing.
    pub fn status(&mut self) -> Result<Option<(u16, &'b [u8])>, Refusal> {
        let rest = self.rest();
        let start = &rest[..rest.len().min(5)];
        let is_right = |(at, byte): (usize, &u8)| match at {
            0 => *byte == b' ',
            1..4 => byte.is_ascii_digit(),
            _ => matches!(byte, b' ' | b'\r' | b'\n'),
        };
        if !start.iter().enumerate().all(is_right) {
            return Err(Refusal::Malformed);
        }
        let [_, digits @ .., behind] = start else { return Ok(None) };
        if digits.len() < 3 {
            return Ok(None);
        }
        let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        self.at += if *behind == b' ' { 5 } else { 4 };
        Ok(self.text()?.map(|reason| (status, reason)))
    }

    /// Printable text up to the end of its line, which is left to be read.
    fn text(&mut self) -> Result<Option<&'b [u8]>, Refusal> {
        let start = self.at;
        loop {
            self.at += run::<0x20>(self.rest());
            match self.bytes.get(self.at) {
                None => return Ok(None),
                Some(b'\t') => self.at += 1,
                Some(b'\r') => return Ok(Some(&self.bytes[start..self.at])),
                Some(b'\n') => return Err(Refusal::BareLineFeed),
                Some(_) => return Err(Refusal::Malformed),
            }
        }
    }

    /// CRLF.
    pub fn line_end(&mut self) -> Result<Option<()>, Refusal> {
        match self.rest() {
            [b'\r', b'\n', ..] => {
                self.at += 2;
                Ok(Some(()))
            }
            [] | [b'\r'] => Ok(None),
            [b'\n', ..] => Err(Refusal::BareLineFeed),
            [_, ..] => Err(Refusal::Malformed),
        }
    }

    /// Whether the empty line that ends the head comes next; then it is read.
    fn is_at_end(&mut self) -> Result<Option<bool>, Refusal> {
        match self.bytes.get(self.at) {
            None => Ok(None),
            Some(b'\r' | b'\n') => Ok(self.line_end()?.map(|()| true)),
            Some(_) => Ok(Some(false)),
        }
    }

    /// One header with the end of its line.
    #[inline]
    fn field(&mut self) -> Result<Option<Field>, Refusal> {
        let start = self.at;
        let rest = self.rest();
        let Some(name_length) = rest.iter().position(|byte| !is_token_byte(*byte)) else { return Ok(None) };
        if name_length == 0 || rest[name_length] != b':' {
            return Err(Refusal::Malformed);
        }
        self.at += name_length + 1;
        while let Some(b' ' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
        let value = self.at;
        let Some(text) = self.text()? else { return Ok(None) };
        let Some(()) = self.line_end()? else { return Ok(None) };
        let place = |at: usize| u32::try_from(at).map_err(|_| Refusal::HeadTooLarge);
        Ok(Some(Field {
            start: place(start)?,
            value: place(value)?,
            value_length: place(trim_end(text))?,
            name_length: u16::try_from(name_length).map_err(|_| Refusal::FieldTooLarge)?,
        }))
    }

    /// All headers and the empty line behind them; `look` sees each as soon as it is read. How many there are.
    pub fn fields(
        &mut self,
        space: &mut HeaderSpace,
        line_max_bytes: usize,
        mut look: impl FnMut(usize, Field) -> Result<(), Refusal>,
    ) -> Result<Option<usize>, Refusal> {
        let mut count = 0;
        loop {
            match self.is_at_end()? {
                None => return Ok(None),
                Some(true) => return Ok(Some(count)),
                Some(false) => {}
            }
            let before = self.at;
            let Some(field) = self.field()? else { return Ok(None) };
            if self.at - before > line_max_bytes {
                return Err(Refusal::FieldTooLarge);
            }
            *space.0.get_mut(count).ok_or(Refusal::TooManyHeaders)? = field;
            look(count, field)?;
            count += 1;
        }
    }
}

/// Its length without spaces and tabs at its end.
fn trim_end(text: &[u8]) -> usize {
    let mut length = text.len();
    while length > 0 && matches!(text[length - 1], b' ' | b'\t') {
        length -= 1;
    }
    length
}

#[cfg(test)]
mod tests;
