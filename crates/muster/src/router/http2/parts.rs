//! What both kinds of streams need of each other's ways: an error that others understand, bytes in two parts.

use std::io::{self, ErrorKind};

/// Of a stream or connection that is over before its time.
pub fn broken(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error.into_io().unwrap_or_else(|| ErrorKind::ConnectionReset.into()),
        false => io::Error::new(ErrorKind::ConnectionReset, error),
    }
}

/// Sends both parts, in order, as far as `send` takes them.
pub fn send_parts(
    first: &[u8],
    second: &[u8],
    mut send: impl FnMut(&[u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut sent = 0;
    for part in [first, second] {
        let mut at = 0;
        while at < part.len() {
            match send(&part[at..]) {
                Ok(count) => at += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock && sent + at > 0 => return Ok(sent + at),
                Err(error) => return Err(error),
            }
        }
        sent += part.len();
    }
    Ok(sent)
}
