//! Chunk framing: the machine that takes bytes as they come agrees with a slow reader of the whole, however the bytes
//! are cut, and never takes a byte of what follows.

use logic::http::body::Framing;

/// Extensions and trailers near their bounds are left to the machine's own tests.
const SIZE_MAX_BYTES: usize = 200;

/// The first byte says how the rest is cut.
pub fn check(bytes: &[u8]) {
    let Some((cut, body)) = bytes.split_first() else { return };
    let whole = machine(body, body.len().max(1));
    for step in [1, usize::from(*cut).max(1), usize::from(*cut % 7) + 2] {
        assert_eq!(machine(body, step), whole, "cut into pieces of {step}");
    }
    let slow = slow(body);
    match (&whole, &slow) {
        (Ok(Some(found)), Some(expected)) => assert_eq!(found, expected),
        (Ok(Some(found)), None) => assert!(is_long(body), "only the machine sees an end: {found:?}"),
        (found, Some(expected)) => assert!(is_long(body), "{found:?} instead of {expected:?}"),
        (Err(_) | Ok(None), None) => {}
    }
}

fn is_long(body: &[u8]) -> bool {
    body.len() > SIZE_MAX_BYTES
}

/// Bytes used and payload, at the end; None before it.
type Seen = Result<Option<(usize, Vec<u8>)>, ()>;

fn machine(body: &[u8], step_bytes: usize) -> Seen {
    let (mut framing, mut used, mut payload) = (Framing::CHUNKED, 0, Vec::new());
    for piece in body.chunks(step_bytes) {
        let mut at = 0;
        while at < piece.len() && !framing.is_done() {
            let step = framing.step(&piece[at..]).map_err(drop)?;
            assert!(step.used > 0 && step.data <= step.used && at + step.used <= piece.len());
            payload.extend_from_slice(&piece[at + step.used - step.data..at + step.used]);
            at += step.used;
        }
        used += at;
        if framing.is_done() {
            return Ok(Some((used, payload)));
        }
    }
    Ok(None)
}

/// The same by reading line after line of the whole.
fn slow(body: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (mut at, mut payload) = (0, Vec::new());
    loop {
        let line = line(&body[at..])?;
        at += line.len() + 2;
        let digits = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
        let (digits, extension) = line.split_at(digits);
        let is_size = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        let is_extension = extension.iter().all(|byte| *byte == b'\t' || (0x20..=0x7e).contains(byte));
        let is_closed = extension.iter().filter(|byte| **byte == b'"').count() % 2 == 0;
        if !is_size || !is_extension || !is_closed {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        payload.extend_from_slice(body.get(at..at.checked_add(size)?)?);
        at += size;
        if body.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let line = line(&body[at..])?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some((at, payload));
        }
        if !is_trailer(line) {
            return None;
        }
    }
}

/// Up to the first CR, which must begin a line end.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\r')?;
    (bytes.get(end + 1) == Some(&b'\n')).then_some(&bytes[..end])
}

fn is_trailer(line: &[u8]) -> bool {
    const FORBIDDEN: [&str; 4] = ["content-length", "transfer-encoding", "host", "trailer"];
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let plain = String::from_utf8_lossy(name).to_ascii_lowercase().replace('_', "-");
    !name.is_empty()
        && name.iter().all(is_token)
        && value.iter().all(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f))
        && !FORBIDDEN.contains(&plain.as_str())
}
