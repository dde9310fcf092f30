//! Reads a cell's server-sent events as they come.
//!
//! Promise: what it returns is whole and understood; a stream that is silent for too long has ended.

use super::client::{ANSWER_SIZE_MAX_BYTES, ClientError};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::time::Duration;
use wire::status::{CellStatus, Event};

/// The console says something at least each 10 s; after two and a half of that it is gone.
const SILENCE_MAX_MS: u64 = 25_000;

/// Something that the cell told.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    Status(Box<CellStatus>),
    Event(Event),
}

/// An open stream of news.
#[derive(Debug)]
pub struct Follow {
    body: Incoming,
    address: String,
    parser: Parser,
    ready: VecDeque<News>,
}

impl Follow {
    pub fn new(body: Incoming, address: String) -> Self {
        Self { body, address, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// The next piece of news. Safe to cancel: what has been read stays here.
    pub async fn next(&mut self) -> Result<News, ClientError> {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return Ok(news);
            }
            let silence = Duration::from_millis(SILENCE_MAX_MS);
            let frame = match tokio::time::timeout(silence, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(self.lost(error)),
                Ok(None) => return Err(self.lost("the console ended the stream")),
                Err(_) => return Err(self.lost("nothing was heard for too long")),
            };
            if let Ok(data) = frame.into_data() {
                let news = self.parser.read(&data);
                let garbled = |problem| ClientError::Garbled { address: self.address.clone(), problem };
                self.ready.extend(news.map_err(garbled)?);
            }
        }
    }

    fn lost(&self, problem: impl std::fmt::Display) -> ClientError {
        ClientError::NotReached { address: self.address.clone(), problem: problem.to_string() }
    }
}

/// Puts lines and messages together from pieces that end anywhere.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    kind: String,
    data: String,
}

impl Parser {
    fn read(&mut self, bytes: &[u8]) -> Result<Vec<News>, String> {
        let mut news = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            let line = std::str::from_utf8(&line).map_err(|error| error.to_string())?;
            news.extend(self.on_line(line.trim_end_matches('\r'))?);
        }
        self.line.extend_from_slice(rest);
        if self.line.len() + self.data.len() > ANSWER_SIZE_MAX_BYTES {
            return Err("a message is too long".into());
        }
        Ok(news)
    }

    fn on_line(&mut self, line: &str) -> Result<Option<News>, String> {
        if line.is_empty() {
            let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
            let wrong = |error: serde_json::Error| error.to_string();
            return match kind.as_str() {
                "status" => serde_json::from_str(&data).map(News::Status).map(Some).map_err(wrong),
                "event" => serde_json::from_str(&data).map(News::Event).map(Some).map_err(wrong),
                // Heartbeats, and what later versions may say.
                _ => Ok(None),
            };
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Comments, ids and the time to wait are for browsers.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
