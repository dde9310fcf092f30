//! Uses an SMTP server as far as NOOP, with STARTTLS where that is wanted, and judges its replies.
//!
//! A reply is one or more lines `250-text`, of which the last has a space after its number. Replies below 400 are good, as in
//! RFC 5321; anything else, and what is no reply at all, is not.

use super::conversation::{Next, Trouble};
use super::line::{Lines, readable};

/// Lines of one reply. A hundred: EHLO of the busiest servers has twenty.
const REPLY_LINES_MAX: usize = 100;

/// How far it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpManner {
    /// NOOP after the greeting, and nothing else.
    Noop,
    /// EHLO, then NOOP.
    Greet,
    /// EHLO, STARTTLS, and over TLS the same again.
    StartTls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Ehlo { is_encrypted: bool },
    StartTls,
    Noop,
}

/// One conversation with a mail server.
#[derive(Debug, Clone)]
pub struct SmtpTalk {
    manner: SmtpManner,
    stage: Stage,
    lines: Lines,
    reply_lines: usize,
    /// The reply under way has STARTTLS among its lines.
    offers_tls: bool,
}

impl SmtpTalk {
    pub fn new(manner: SmtpManner) -> Self {
        let lines = Lines::default();
        Self { manner, stage: Stage::Greeting, lines, reply_lines: 0, offers_tls: false }
    }

    pub fn heard(&mut self, bytes: &[u8]) -> Next {
        if let Err(trouble) = self.lines.take_in(bytes) {
            return Next::bad(trouble);
        }
        while let Some(line) = self.lines.next_line() {
            if let Some(next) = self.line(&line) {
                return next;
            }
        }
        Next::listen()
    }

    fn line(&mut self, line: &[u8]) -> Option<Next> {
        let Some((code, is_last, text)) = parse(line) else {
            return Some(Next::bad(Trouble::Reply { asked: self.asked(), code: 0, text: readable(line) }));
        };
        self.reply_lines += 1;
        if self.reply_lines > REPLY_LINES_MAX {
            return Some(Next::bad(Trouble::OtherProtocol("SMTP")));
        }
        let word = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        self.offers_tls |= word.eq_ignore_ascii_case(b"STARTTLS");
        if !is_last {
            return None;
        }
        if code >= 400 {
            return Some(Next::bad(Trouble::Reply { asked: self.asked(), code, text: readable(text) }));
        }
        let next = self.advance();
        self.lines.forget();
        self.reply_lines = 0;
        self.offers_tls = false;
        Some(next)
    }

    fn asked(&self) -> &'static str {
        match self.stage {
            Stage::Greeting => "the connection",
            Stage::Ehlo { .. } => "EHLO",
            Stage::StartTls => "STARTTLS",
            Stage::Noop => "NOOP",
        }
    }

    /// A good reply has come.
    fn advance(&mut self) -> Next {
        match (self.stage, self.manner) {
            (Stage::Greeting, SmtpManner::Noop) => self.say(Stage::Noop),
            (Stage::Greeting, SmtpManner::Greet | SmtpManner::StartTls) => {
                self.say(Stage::Ehlo { is_encrypted: false })
            }
            (Stage::Ehlo { is_encrypted: false }, SmtpManner::StartTls) => match self.offers_tls {
                true => self.say(Stage::StartTls),
                false => Next::bad(Trouble::NotOffered("STARTTLS")),
            },
            (Stage::Ehlo { .. }, _) => self.say(Stage::Noop),
            (Stage::StartTls, _) => Next::Encrypt,
            (Stage::Noop, _) => Next::good(b"QUIT\r\n"),
        }
    }

    /// TLS is there: what was said before does not count.
    pub fn encrypted(&mut self) -> Next {
        self.lines.forget();
        self.say(Stage::Ehlo { is_encrypted: true })
    }

    fn say(&mut self, stage: Stage) -> Next {
        self.stage = stage;
        Next::Say(match stage {
            Stage::Greeting => Vec::new(),
            // An address literal is right wherever it runs; a name might be refused.
            Stage::Ehlo { .. } => b"EHLO [127.0.0.1]\r\n".to_vec(),
            Stage::StartTls => b"STARTTLS\r\n".to_vec(),
            Stage::Noop => b"NOOP\r\n".to_vec(),
        })
    }
}

/// `250-text` -> (250, whether it is the last line, text).
fn parse(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (number, rest) = line.split_at_checked(3)?;
    let code: u16 =
        number.iter().all(u8::is_ascii_digit).then(|| str::from_utf8(number).ok()?.parse().ok())??;
    let (is_last, text) = match rest {
        [] => (true, rest),
        [b' ', text @ ..] => (true, text),
        [b'-', text @ ..] => (false, text),
        _ => return None,
    };
    (200..600).contains(&code).then_some((code, is_last, text))
}

#[cfg(test)]
mod tests;
