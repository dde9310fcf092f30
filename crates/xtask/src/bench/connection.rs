//! Both ends that the generator plays: a client that sends one request after the other, and a back end that answers.
//!
//! Sockets do not block and are edge-triggered: each step goes on until the socket has no more to give or take.

use super::message::{self, Exchange, Exchanges};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// A connection that a proxy made to us.
#[derive(Debug)]
pub struct BackEnd {
    stream: TcpStream,
    /// The beginning of a head of which the rest is still to come.
    partial: Vec<u8>,
    /// Answers still to send, by index.
    waiting: VecDeque<usize>,
    /// What of the first of them is sent.
    sent: usize,
}

/// What became of a connection after its socket moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    Open,
    Closed,
}

impl BackEnd {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, partial: Vec::new(), waiting: VecDeque::new(), sent: 0 }
    }

    /// Reads what has come and answers it; adds the number of requests to `served`.
    pub fn step(&mut self, exchanges: &Exchanges, scratch: &mut [u8], served: &mut u64) -> Moved {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Moved::Closed,
                Ok(length) => {
                    *served += self.take(&scratch[..length], exchanges);
                    if length < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Moved::Closed,
            }
        }
        self.answer(exchanges)
    }

    fn take(&mut self, bytes: &[u8], exchanges: &Exchanges) -> u64 {
        let kept;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            self.partial.extend_from_slice(bytes);
            kept = std::mem::take(&mut self.partial);
            &kept[..]
        };
        let mut requests = 0;
        while let Some(length) = message::head_length(rest) {
            self.waiting.push_back(exchanges.index_of_request(&rest[..length]));
            rest = &rest[length..];
            requests += 1;
        }
        self.partial.extend_from_slice(rest);
        requests
    }

    fn answer(&mut self, exchanges: &Exchanges) -> Moved {
        while let Some(index) = self.waiting.front() {
            let answer = exchanges.answer(*index);
            match self.stream.write(&answer[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Moved::Open,
                Err(_) => return Moved::Closed,
            }
            if self.sent == answer.len() {
                self.waiting.pop_front();
                self.sent = 0;
            }
        }
        Moved::Open
    }
}

/// A client that has at most one request under way.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    started: Instant,
    sent: usize,
    state: Waiting,
}

#[derive(Debug)]
enum Waiting {
    Idle,
    /// For an answer's head, of which this much has come.
    Head(Vec<u8>),
    /// For so many bytes of body.
    Body(usize),
}

/// How a step of a client ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    Underway,
    /// The answer is there, in nanoseconds since the request; u32 reaches 4 s and longer ones count as that.
    Answered(u32),
    /// The answer is not what the back end sent, or there is none.
    Wrong(String),
}

impl Client {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, started: Instant::now(), sent: 0, state: Waiting::Idle }
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, Waiting::Idle)
    }

    /// Begins the next request.
    pub fn begin(&mut self, exchange: &Exchange) -> Progress {
        assert!(self.is_idle(), "one request at a time");
        self.started = Instant::now();
        self.sent = 0;
        self.state = Waiting::Head(Vec::new());
        self.send(exchange)
    }

    fn send(&mut self, exchange: &Exchange) -> Progress {
        while self.sent < exchange.request.len() {
            match self.stream.write(&exchange.request[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Progress::Wrong(format!("request not sent: {error}")),
            }
        }
        Progress::Underway
    }

    /// Goes on with whatever the socket allows.
    pub fn step(&mut self, exchange: &Exchange, scratch: &mut [u8]) -> Progress {
        if !self.is_idle() && self.sent < exchange.request.len() {
            let progress = self.send(exchange);
            if progress != Progress::Underway {
                return progress;
            }
        }
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Progress::Wrong("connection closed by the proxy".into()),
                Ok(length) => {
                    let progress = self.take(&scratch[..length], exchange);
                    if progress != Progress::Underway || length < scratch.len() {
                        return progress;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Underway,
                Err(error) => return Progress::Wrong(format!("no answer: {error}")),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], exchange: &Exchange) -> Progress {
        let left = match &mut self.state {
            Waiting::Idle => return Progress::Wrong("bytes that nobody asked for".into()),
            Waiting::Body(left) => left.checked_sub(bytes.len()),
            Waiting::Head(partial) => {
                let whole: &[u8] = if partial.is_empty() {
                    bytes
                } else {
                    partial.extend_from_slice(bytes);
                    partial
                };
                let Some(length) = message::head_length(whole) else {
                    if partial.is_empty() {
                        partial.extend_from_slice(bytes);
                    }
                    return Progress::Underway;
                };
                let (head, body) = whole.split_at(length);
                let wanted = (Some(200), Some(exchange.size_bytes as u64));
                if message::status_and_length(head) != wanted {
                    return Progress::Wrong(format!("wrong answer: {}", String::from_utf8_lossy(head)));
                }
                exchange.size_bytes.checked_sub(body.len())
            }
        };
        match left {
            None => Progress::Wrong("more body than announced".into()),
            Some(0) => {
                self.state = Waiting::Idle;
                Progress::Answered(u32::try_from(self.started.elapsed().as_nanos()).unwrap_or(u32::MAX))
            }
            Some(left) => {
                self.state = Waiting::Body(left);
                Progress::Underway
            }
        }
    }
}

impl AsFd for BackEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
