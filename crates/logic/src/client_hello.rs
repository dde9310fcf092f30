//! Finds the server's name in the first message of a TLS connection, so that it can be passed on unread.
//!
//! Pure, strict and bounded. Promise: `Ok(None)` only for a true beginning of such a message; what is read here is
//! what a server will read, because anything ambiguous is refused. The message may come in several records.

/// Longest first message. 16 KiB: with keys against quantum computers it has 2 KiB.
const HELLO_MAX_BYTES: usize = 16 * 1024;
/// Bytes that may come before an answer is certain: the message, cut into records of at least 16 bytes each.
pub const WIRE_MAX_BYTES: usize = HELLO_MAX_BYTES * 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Lower case, without a dot at its end.
    pub server_name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the connection does not begin with TLS")]
    NotTls,
    #[error("the first message of TLS is malformed")]
    Malformed,
    #[error("the first message of TLS is too long")]
    TooLong,
}

/// Reads the first message. `Ok(None)`: it is not complete yet.
pub fn parse(bytes: &[u8]) -> Result<Option<Hello>, Refusal> {
    let Some(message) = join_records(bytes)? else { return Ok(None) };
    hello(&message).map(Some).ok_or(Refusal::Malformed)
}

/// The body of the handshake message from as many records as it takes.
fn join_records(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let came = bytes.len();
    let mut joined = Vec::new();
    loop {
        let wanted = match joined.get(..4) {
            Some(&[kind, high, middle, low]) => {
                if kind != 1 {
                    return Err(Refusal::NotTls);
                }
                4 + u32::from_be_bytes([0, high, middle, low]) as usize
            }
            _ => 4,
        };
        if wanted > HELLO_MAX_BYTES {
            return Err(Refusal::TooLong);
        }
        if joined.len() >= wanted && wanted > 4 {
            // Nothing may follow in the same flight: a server's answer comes first.
            if joined.len() > wanted {
                return Err(Refusal::Malformed);
            }
            joined.drain(..4);
            return Ok(Some(joined));
        }
        if joined.len() >= 4 && wanted == 4 {
            return Err(Refusal::Malformed);
        }
        match record(bytes)? {
            Some((payload, rest)) => {
                joined.extend_from_slice(payload);
                bytes = rest;
            }
            None if came >= WIRE_MAX_BYTES => return Err(Refusal::TooLong),
            None => return Ok(None),
        }
    }
}

/// A record's payload and what follows it.
type Record<'a> = (&'a [u8], &'a [u8]);

/// The first record; None if it is not complete.
fn record(bytes: &[u8]) -> Result<Option<Record<'_>>, Refusal> {
    if bytes.first().is_some_and(|kind| *kind != 22) || bytes.get(1).is_some_and(|major| *major != 3) {
        return Err(Refusal::NotTls);
    }
    let Some((header, rest)) = bytes.split_at_checked(5) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if length == 0 || length > HELLO_MAX_BYTES {
        return Err(Refusal::Malformed);
    }
    Ok(rest.split_at_checked(length))
}

fn hello(message: &[u8]) -> Option<Hello> {
    let mut reader = Reader(message);
    // Version and random.
    reader.take(34)?;
    let session = reader.prefixed(1)?;
    let suites = reader.prefixed(2)?;
    let compressions = reader.prefixed(1)?;
    if session.0.len() > 32 || suites.0.len() < 2 || suites.0.len() % 2 != 0 || compressions.0.is_empty() {
        return None;
    }
    let mut server_name = None;
    if !reader.0.is_empty() {
        let mut extensions = reader.prefixed(2)?;
        while !extensions.0.is_empty() {
            let kind = extensions.take(2)?;
            let body = extensions.prefixed(2)?;
            if kind == [0, 0] {
                let is_second = server_name.replace(name(body)?).is_some();
                if is_second {
                    return None;
                }
            }
        }
    }
    reader.0.is_empty().then_some(Hello { server_name })
}

/// The one host name of a server name extension.
fn name(mut body: Reader<'_>) -> Option<String> {
    let mut names = body.prefixed(2)?;
    if names.take(1)? != [0] {
        return None;
    }
    let name = names.prefixed(2)?.0;
    if !names.0.is_empty() || !body.0.is_empty() {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_name = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(is_letter)
    };
    (name.len() <= 253 && name.split('.').all(is_name)).then(|| name.to_ascii_lowercase())
}

/// Takes pieces from the front; None when there is not enough.
#[derive(Clone, Copy)]
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// What a length of so many bytes announces.
    fn prefixed(&mut self, size: usize) -> Option<Reader<'b>> {
        let length = self.take(size)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length).map(Reader)
    }
}

#[cfg(test)]
mod tests;
