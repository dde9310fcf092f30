//! Asks an HTTP server and judges its answer: the protocol alone, the status, and a text in the body.
//!
//! Promises: the status line is judged as soon as it is there; interim answers (1xx) are passed over; a body is read only where
//! a text is looked for, and no more of it is kept than the text is long.

use super::conversation::{Next, Trouble, Verdict};
use super::line::Lines;
use crate::http::body::Framing;
use crate::limits::MONITOR_BODY_MAX_BYTES;
use wire::monitor::{HttpAsk, Target};

/// Which answers are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// It begins with `HTTP/`; whatever the status is.
    Protocol,
    Status {
        status_min: u16,
        status_max: u16,
        text: Option<String>,
    },
}

/// The bytes of a request. `authorization` is the value of that header.
pub fn request(ask: &HttpAsk, target: &Target, default_port: u16, authorization: Option<&str>) -> Vec<u8> {
    let method = if ask.is_head { "HEAD" } else { "GET" };
    let version = if ask.is_version_11 { "1.1" } else { "1.0" };
    let host = ask.host.clone().unwrap_or_else(|| {
        let text = target.to_string();
        let port = format!(":{default_port}");
        text.strip_suffix(&port).map_or(text.clone(), str::to_owned)
    });
    let mut request = format!("{method} {} HTTP/{version}\r\nHost: {host}\r\n", ask.path);
    if let Some(value) = authorization {
        request.push_str(&format!("Authorization: {value}\r\n"));
    }
    request.push_str("User-Agent: muster-monitor\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    request.into_bytes()
}

#[derive(Debug, Clone)]
enum Stage {
    StatusLine,
    /// Of the head of an interim answer, which is passed over.
    Interim,
    /// Of the answer, whose body is looked into.
    Head {
        framing: Framing,
    },
    Body {
        framing: Framing,
    },
}

/// One question and its answer.
#[derive(Debug, Clone)]
pub struct HttpTalk {
    wanted: Wanted,
    request: Vec<u8>,
    stage: Stage,
    lines: Lines,
    /// The last bytes of the body, one fewer than the text has.
    tail: Vec<u8>,
    body_bytes: u64,
}

impl HttpTalk {
    pub fn new(wanted: Wanted, request: Vec<u8>) -> Self {
        let (lines, tail) = (Lines::default(), Vec::new());
        Self { wanted, request, stage: Stage::StatusLine, lines, tail, body_bytes: 0 }
    }

    pub fn begin(&mut self) -> Next {
        Next::Say(std::mem::take(&mut self.request))
    }

    pub fn heard(&mut self, bytes: &[u8]) -> Next {
        if let Stage::Body { .. } = self.stage {
            return self.body(bytes);
        }
        if let Err(trouble) = self.lines.take_in(bytes) {
            return Next::bad(trouble);
        }
        // Said before the line is whole: what speaks something else may never end it.
        if let Stage::StatusLine = self.stage {
            let rest = self.lines.rest();
            let known = rest.len().min(PREFIX.len());
            if rest[..known] != PREFIX[..known] {
                return Next::bad(Trouble::OtherProtocol("HTTP"));
            }
            if known == PREFIX.len() && self.wanted == Wanted::Protocol {
                return Next::good(b"");
            }
        }
        while let Some(line) = self.lines.next_line() {
            if let Some(next) = self.line(&line) {
                return next;
            }
        }
        Next::listen()
    }

    fn line(&mut self, line: &[u8]) -> Option<Next> {
        match &mut self.stage {
            Stage::StatusLine => return self.status_line(line),
            Stage::Interim if line.is_empty() => self.stage = Stage::StatusLine,
            Stage::Interim => {}
            Stage::Head { framing } if line.is_empty() => {
                let framing = *framing;
                self.stage = Stage::Body { framing };
                let rest = self.lines.rest().to_vec();
                self.lines.forget();
                return Some(self.body(&rest));
            }
            Stage::Head { framing } => note_framing(framing, line),
            Stage::Body { .. } => unreachable!("a body has no lines"),
        }
        None
    }

    fn status_line(&mut self, line: &[u8]) -> Option<Next> {
        let Some(status) = parse_status(line) else {
            return Some(Next::bad(Trouble::OtherProtocol("HTTP")));
        };
        if (100..200).contains(&status) && status != 101 {
            self.stage = Stage::Interim;
            return None;
        }
        let Wanted::Status { status_min, status_max, text } = &self.wanted else {
            return Some(Next::good(b""));
        };
        let (status_min, status_max) = (*status_min, *status_max);
        if !(status_min..=status_max).contains(&status) {
            return Some(Next::bad(Trouble::Status { status, status_min, status_max }));
        }
        if text.is_none() {
            return Some(Next::good(b""));
        }
        self.stage = Stage::Head { framing: Framing::UntilClose };
        None
    }

    /// Looks for the text in what has come of the body.
    fn body(&mut self, bytes: &[u8]) -> Next {
        let Stage::Body { mut framing } = self.stage else { unreachable!("the head has ended") };
        let Wanted::Status { text: Some(text), .. } = &self.wanted else {
            unreachable!("a body is read for its text only")
        };
        let text = text.as_bytes();
        let mut rest = bytes;
        while !rest.is_empty() && !framing.is_done() {
            let Ok(step) = framing.step(rest) else { return Next::bad(Trouble::OtherProtocol("HTTP")) };
            let (used, left) = rest.split_at(step.used);
            let data = &used[step.used - step.data..];
            self.body_bytes += data.len() as u64;
            self.tail.extend_from_slice(data);
            if self.tail.windows(text.len()).any(|window| window == text) {
                return Next::good(b"");
            }
            let surplus = self.tail.len().saturating_sub(text.len() - 1);
            self.tail.drain(..surplus);
            rest = left;
            if step.used == 0 {
                break;
            }
        }
        self.stage = Stage::Body { framing };
        if framing.is_done() {
            return Next::bad(self.missing());
        }
        if self.body_bytes > MONITOR_BODY_MAX_BYTES {
            return Next::bad(Trouble::TooLong(MONITOR_BODY_MAX_BYTES));
        }
        Next::listen()
    }

    fn missing(&self) -> Trouble {
        match &self.wanted {
            Wanted::Status { text: Some(text), .. } => Trouble::TextMissing(text.clone()),
            Wanted::Status { text: None, .. } | Wanted::Protocol => Trouble::Closed,
        }
    }

    pub fn closed(&self) -> Verdict {
        match self.stage {
            Stage::Body { framing: Framing::UntilClose } => Err(self.missing()),
            Stage::StatusLine if self.lines.rest().is_empty() => Err(Trouble::Closed),
            Stage::StatusLine => Err(Trouble::OtherProtocol("HTTP")),
            Stage::Interim | Stage::Head { .. } | Stage::Body { .. } => Err(Trouble::Closed),
        }
    }
}

const PREFIX: &[u8] = b"HTTP/";

/// `HTTP/1.1 200 OK` -> 200.
fn parse_status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0'..=b'9', b' ', number @ ..] = rest else { return None };
    let (number, after) = number.split_at_checked(3)?;
    let is_end = matches!(after.first(), None | Some(b' '));
    let status: u16 = str::from_utf8(number).ok()?.parse().ok()?;
    (is_end && (100..=999).contains(&status)).then_some(status)
}

fn note_framing(framing: &mut Framing, line: &[u8]) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.eq_ignore_ascii_case(b"transfer-encoding") && value.to_ascii_lowercase().ends_with(b"chunked") {
        *framing = Framing::CHUNKED;
    } else if name.eq_ignore_ascii_case(b"content-length") && *framing == Framing::UntilClose {
        let length = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        *framing = length.map_or(*framing, Framing::length);
    }
}

#[cfg(test)]
mod tests;
