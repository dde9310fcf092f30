//! Asks a PostgreSQL server whether it accepts connections, as `pg_isready` does: without a password.
//!
//! A server that asks who we are, or refuses the name, is up; one that says that it cannot serve now (SQLSTATE 57P0x and
//! 53xxx: starting, stopping, recovering, out of connections) is not.

use super::conversation::{Next, Trouble};
use super::line::readable;
use crate::limits::MONITOR_HEAD_MAX_BYTES;

/// Protocol 3.0.
const PROTOCOL: u32 = 3 << 16;

/// One conversation.
#[derive(Debug, Clone, Default)]
pub struct PostgresTalk {
    kept: Vec<u8>,
}

impl PostgresTalk {
    pub fn begin(&mut self) -> Next {
        let parameters = b"user\0muster\0database\0postgres\0application_name\0muster monitor\0\0";
        let length = u32::try_from(8 + parameters.len()).expect("the message is short");
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&PROTOCOL.to_be_bytes());
        bytes.extend_from_slice(parameters);
        Next::Say(bytes)
    }

    pub fn heard(&mut self, bytes: &[u8]) -> Next {
        self.kept.extend_from_slice(bytes);
        let Some((head, rest)) = self.kept.split_first_chunk::<5>() else { return Next::listen() };
        let [kind, a, b, c, d] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if !matches!(kind, b'R' | b'E' | b'v') || !(8..=MONITOR_HEAD_MAX_BYTES).contains(&length) {
            return Next::bad(Trouble::OtherProtocol("the protocol of PostgreSQL"));
        }
        if kind != b'E' {
            // Terminate, so that the server does not log a lost connection.
            return Next::good(b"X\0\0\0\x04");
        }
        match rest.get(..length - 4) {
            None => Next::listen(),
            Some(fields) => refusal(fields),
        }
    }
}

/// Whether an error says that it cannot serve.
fn refusal(fields: &[u8]) -> Next {
    let field = |wanted: u8| {
        let mut fields = fields.split(|byte| *byte == 0);
        fields.find_map(|field| field.strip_prefix(&[wanted]))
    };
    let code = field(b'C').unwrap_or_default();
    if code.starts_with(b"57P0") || code.starts_with(b"53") {
        return Next::bad(Trouble::Said(readable(field(b'M').unwrap_or(code))));
    }
    Next::good(b"")
}

#[cfg(test)]
mod tests;
