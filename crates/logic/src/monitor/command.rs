//! `clp_httpmon` and `clp_smtpmon`: their options, and when a failure counts.
//!
//! Options, ranges and presets are those of ExpressCluster X Internet Server Agent. An error is confirmed when the first probe
//! and each of `retries` repetitions of it have failed, `interval` apart from start to start: after interval x retries and the
//! time of one probe. Times are milliseconds of `Time`.
//! Not here: connections (see `conversation`), and who is told (see `messages` for what).

use super::http::Wanted;
use super::messages::{Message, Service};
use crate::time::Time;

/// Longest identifier.
pub const IDENTIFIER_MAX_BYTES: usize = 255;
/// Range of intervals and waits in seconds, and of retries.
const RANGE: std::ops::RangeInclusive<u64> = 1..=10_000;
const STOP_WAIT_S: u64 = 10;

/// How a service is monitored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub server: String,
    pub port: u16,
    pub interval_s: u64,
    pub retries: u64,
    pub response_wait_s: u64,
    /// Of HTTP only, as the next.
    pub is_version_11: bool,
    pub uri: String,
}

impl Options {
    fn new(service: Service) -> Self {
        Self {
            server: "localhost".into(),
            port: match service {
                Service::Http => 80,
                Service::Smtp => 25,
            },
            interval_s: 60,
            retries: 3,
            response_wait_s: 10,
            is_version_11: true,
            uri: "/".into(),
        }
    }

    /// Which answers to HEAD are good: of `/` any that is HTTP, of a URI that was given all but 4xx and 5xx.
    pub fn wanted(&self) -> Wanted {
        match self.uri.as_str() {
            "/" => Wanted::Protocol,
            _ => Wanted::Status { status_min: 100, status_max: 399, text: None },
        }
    }
}

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Monitor(Options),
    Stop {
        wait_s: u64,
    },
    Pause,
    Resume,
    /// Show the process of the identifier.
    Display,
    /// Forget the identifier.
    Delete,
}

/// What is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    NoIdentifier,
    /// `why` is for people at a terminal.
    BadParameter {
        identifier: String,
        why: String,
    },
}

/// Takes the words after the command's name apart.
pub fn parse(service: Service, words: &[String]) -> Result<(String, Act), Mistake> {
    let (identifier, words) = match words.split_first() {
        Some((first, rest)) if !first.starts_with('-') && !first.is_empty() => (first.clone(), rest),
        Some(_) | None => return Err(Mistake::NoIdentifier),
    };
    let bad = |why: String| Mistake::BadParameter { identifier: identifier.clone(), why };
    if !is_identifier(&identifier) {
        let why = format!("an identifier is 1 to {IDENTIFIER_MAX_BYTES} letters and digits");
        return Err(bad(why));
    }
    let act = match words {
        [word] if word == "--pause" => Act::Pause,
        [word] if word == "--resume" => Act::Resume,
        [word] if word == "--disp" => Act::Display,
        [word] if word == "--del" => Act::Delete,
        [word] if word == "--stop" => Act::Stop { wait_s: STOP_WAIT_S },
        [word, wait] if word == "--stop" => Act::Stop { wait_s: number("--stop", wait).map_err(bad)? },
        words => Act::Monitor(options(service, words).map_err(bad)?),
    };
    Ok((identifier, act))
}

pub fn is_identifier(text: &str) -> bool {
    (1..=IDENTIFIER_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn options(service: Service, words: &[String]) -> Result<Options, String> {
    let mut options = Options::new(service);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(letter) = word.strip_prefix('-').and_then(|rest| rest.chars().next()) else {
            return Err(format!("`{word}` is not expected here"));
        };
        let is_known = match service {
            Service::Http => "snicrtvh".contains(letter),
            Service::Smtp => "snicrt".contains(letter),
        };
        if !is_known {
            return Err(format!("there is no option `{word}`"));
        }
        // `-n 80` and `-n80` are the same, as for other commands.
        let flag = format!("-{letter}");
        let value = match &word[2..] {
            "" => words.next().ok_or_else(|| format!("`{flag}` needs a value"))?.as_str(),
            attached => attached,
        };
        match letter {
            's' => options.server = text(&flag, value)?,
            'n' => options.port = port(value)?,
            'i' => options.interval_s = number(&flag, value)?,
            'c' => options.retries = number(&flag, value)?,
            'r' | 't' => options.response_wait_s = number(&flag, value)?,
            'v' => options.is_version_11 = version(value)?,
            _ => options.uri = text(&flag, value)?,
        }
    }
    Ok(options)
}

/// Its length is not looked at: what a server takes is its own affair.
fn text(flag: &str, value: &str) -> Result<String, String> {
    let is_right = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    is_right.then(|| value.to_owned()).ok_or_else(|| format!("`{flag}` needs a text without blanks"))
}

fn number(flag: &str, value: &str) -> Result<u64, String> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|number| is_plain && RANGE.contains(number));
    number.ok_or_else(|| format!("`{flag}` is `{value}`; allowed: {} to {}", RANGE.start(), RANGE.end()))
}

fn port(value: &str) -> Result<u16, String> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit());
    let port = value.parse().ok().filter(|port| is_plain && *port != 0);
    port.ok_or_else(|| format!("`-n` is `{value}`; allowed: 1 to 65535"))
}

fn version(value: &str) -> Result<bool, String> {
    match value {
        "1.0" => Ok(false),
        "1.1" => Ok(true),
        _ => Err(format!("`-v` is `{value}`; allowed: 1.0, 1.1")),
    }
}

/// What went wrong with one probe, as far as messages tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Address {
        number: i32,
    },
    Socket {
        number: i32,
    },
    Connect {
        number: i32,
    },
    Send {
        number: i32,
    },
    /// It took longer than the response wait.
    Wait {
        number: i32,
    },
    Receive {
        number: i32,
    },
    Response,
    Status {
        status: u16,
    },
}

impl Failure {
    fn message(self, is_setting: bool) -> Message {
        match self {
            Failure::Address { number } => Message::NoAddress { number },
            Failure::Socket { number } => Message::SocketError { number },
            Failure::Connect { number } => Message::ConnectError { number, is_setting },
            Failure::Send { number } => Message::SendError { number },
            Failure::Wait { number } => Message::SelectError { number },
            Failure::Receive { number } => Message::ReceiveError { number },
            Failure::Response => Message::InvalidResponse,
            Failure::Status { status } => Message::InvalidStatus { status },
        }
    }
}

/// When to probe, and when it is over.
#[derive(Debug, Clone)]
pub struct Rounds {
    interval_ms: u64,
    retries: u64,
    failures: u64,
    has_worked: bool,
    /// None: interrupted.
    due: Option<Time>,
}

impl Rounds {
    pub fn new(now: Time, options: &Options) -> Self {
        let (interval_ms, retries) = (options.interval_s * 1000, options.retries);
        Self { interval_ms, retries, failures: 0, has_worked: false, due: Some(now) }
    }

    /// When the next probe starts; None while monitoring is interrupted.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// Takes what came of the probe that began at `began`; the messages with which all ends, if the error is confirmed.
    pub fn probed(&mut self, now: Time, began: Time, result: Result<(), Failure>) -> Option<[Message; 2]> {
        self.due = Some((began + self.interval_ms).max(now));
        let Err(failure) = result else {
            self.failures = 0;
            self.has_worked = true;
            return None;
        };
        self.failures += 1;
        let is_confirmed = self.failures > self.retries;
        is_confirmed.then(|| [failure.message(!self.has_worked), Message::Terminates])
    }

    /// Whether that changed anything.
    pub fn pause(&mut self) -> bool {
        self.failures = 0;
        self.due.take().is_some()
    }

    /// Whether that changed anything.
    pub fn resume(&mut self, now: Time) -> bool {
        let was_paused = self.due.is_none();
        if was_paused {
            self.due = Some(now);
        }
        was_paused
    }
}

#[cfg(test)]
mod tests;
