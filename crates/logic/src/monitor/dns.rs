//! A question to a name server, and whether its answer has an address.
//!
//! One datagram each way. Only the head of the answer is judged, and that it is the answer to this question: 12 bytes, then the
//! question as it was asked.

use super::conversation::{Trouble, Verdict};

/// Longest name. 253: what RFC 1035 leaves of 255 with the lengths of its parts.
const NAME_MAX_BYTES: usize = 253;
/// Longest part of a name. 63: RFC 1035.
const LABEL_MAX_BYTES: usize = 63;

/// The question for a name's addresses. None: no name can be like that. `number` must not be easy to guess.
pub fn question(number: u16, name: &str, is_ipv6: bool) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > NAME_MAX_BYTES {
        return None;
    }
    let mut bytes = number.to_be_bytes().to_vec();
    // A standard query, recursion desired, one question.
    bytes.extend_from_slice(&[0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len()).ok()?;
        if !(1..=LABEL_MAX_BYTES).contains(&label.len()) {
            return None;
        }
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    let kind = if is_ipv6 { 28 } else { 1 };
    bytes.extend_from_slice(&[0, 0, kind, 0, 1]);
    Some(bytes)
}

/// None: it is the answer to something else.
pub fn judge(question: &[u8], answer: &[u8]) -> Option<Verdict> {
    let (head, rest) = answer.split_first_chunk::<12>()?;
    let is_ours = head[..2] == question[..2] && head[2] & 0x80 != 0;
    let asked = &question[12..];
    let same = rest.get(..asked.len()).is_some_and(|echo| echo.eq_ignore_ascii_case(asked));
    let code = head[3] & 0x0f;
    // A server that could not read the question need not repeat it.
    if !is_ours || (!same && code != 1) {
        return None;
    }
    let answers = u16::from_be_bytes([head[6], head[7]]);
    Some(match code {
        0 if answers > 0 => Ok(()),
        0 => Err(Trouble::Said("the name has no such address".into())),
        1 => Err(Trouble::Said("FORMERR (1)".into())),
        2 => Err(Trouble::Said("SERVFAIL (2)".into())),
        3 => Err(Trouble::Said("NXDOMAIN (3): there is no such name".into())),
        5 => Err(Trouble::Said("REFUSED (5)".into())),
        other => Err(Trouble::Said(format!("response code {other}"))),
    })
}

#[cfg(test)]
mod tests;
