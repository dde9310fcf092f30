//! Asks a server that speaks the protocol of Redis whether it is there: AUTH where there are credentials, then PING.

use super::conversation::{Next, Trouble};
use super::line::{Lines, readable};

/// One conversation. Both commands go out at once; their replies come in order.
#[derive(Debug, Clone)]
pub struct RedisTalk {
    credentials: Option<(String, String)>,
    awaits_auth: bool,
    lines: Lines,
}

impl RedisTalk {
    /// User and password; an empty user means the default one.
    pub fn new(credentials: Option<(String, String)>) -> Self {
        Self { awaits_auth: credentials.is_some(), credentials, lines: Lines::default() }
    }

    pub fn begin(&mut self) -> Next {
        let mut bytes = Vec::new();
        match self.credentials.take() {
            Some((user, password)) if user.is_empty() => command(&["AUTH", &password], &mut bytes),
            Some((user, password)) => command(&["AUTH", &user, &password], &mut bytes),
            None => {}
        }
        command(&["PING"], &mut bytes);
        Next::Say(bytes)
    }

    pub fn heard(&mut self, bytes: &[u8]) -> Next {
        if let Err(trouble) = self.lines.take_in(bytes) {
            return Next::bad(trouble);
        }
        while let Some(line) = self.lines.next_line() {
            match line.first() {
                Some(b'+') if std::mem::take(&mut self.awaits_auth) => {}
                Some(b'+') => return Next::good(b""),
                Some(b'-') => return Next::bad(Trouble::Said(readable(&line[1..]))),
                _ => return Next::bad(Trouble::OtherProtocol("the protocol of Redis")),
            }
        }
        Next::listen()
    }
}

fn command(words: &[&str], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

#[cfg(test)]
mod tests;
