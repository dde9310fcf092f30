//! Calls the API of a cell, over one connection that is kept.
//!
//! Only what Muster's console answers is understood: a head and a body of a known length. Not the stream of events:
//! that one is paced for people, and what is measured here takes a few milliseconds.

use crate::failure::{Doing, Failure, Outcome};
use crate::process::Owned;
use lab::host::Host;
use lab::load::enter;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use wire::enrol::IssuedToken;
use wire::id::NodeName;
use wire::status::CellStatus;

/// Longest answer that is taken. 16 MiB: a status of tens of thousands of members.
const ANSWER_MAX_BYTES: usize = 16 << 20;
/// Longest wait for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks for a console that starts, which cannot tell us.
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct CellClient {
    connection: BufReader<TcpStream>,
    /// The administrator's.
    token: String,
}

impl CellClient {
    /// Waits until the console of a starting cell listens, and connects to it.
    pub fn open(cell: &mut Owned, console: SocketAddr, token: &Path, time_max: Duration) -> Outcome<Self> {
        let started = Instant::now();
        loop {
            if let Ok(Some(status)) = cell.0.try_wait() {
                return Err(Failure(format!("muster ended with {status}")));
            }
            match (TcpStream::connect(console), fs::read_to_string(token)) {
                (Ok(stream), Ok(token)) => return Self::over(stream, token.trim()),
                (Err(_), _) | (_, Err(_)) if started.elapsed() < time_max => std::thread::sleep(LOOK_EVERY),
                (Err(error), _) | (_, Err(error)) => {
                    return Err(Failure(format!("the console at {console} is not there: {error}")));
                }
            }
        }
    }

    /// Connects to a console on a host of a lab.
    pub fn open_on(host: &Host, console: SocketAddr, token: &str) -> Outcome<Self> {
        let namespace = host.namespace.clone();
        // A socket stays on the network on which it was made.
        let connect =
            move || enter(&namespace).map(|()| TcpStream::connect_timeout(&console, ANSWER_TIME_MAX));
        let connected = std::thread::spawn(connect).join();
        let connected = connected.map_err(|_| Failure("who connects to the console panicked".into()))?;
        let stream = connected.doing("enter a host's network")?.doing("connect to the console")?;
        Self::over(stream, token)
    }

    fn over(stream: TcpStream, token: &str) -> Outcome<Self> {
        stream.set_nodelay(true).doing("set up a connection to the console")?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).doing("set up a connection to the console")?;
        Ok(Self { connection: BufReader::new(stream), token: token.to_owned() })
    }

    fn call(&mut self, method: &str, path: &str) -> Outcome<Vec<u8>> {
        let token = &self.token;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: console\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        );
        self.connection.get_mut().write_all(request.as_bytes()).doing("ask the console")?;
        read_answer(&mut self.connection)
    }

    pub fn status(&mut self) -> Outcome<CellStatus> {
        let body = self.call("GET", "/api/v1/status")?;
        serde_json::from_slice(&body).doing("read the status of the cell")
    }

    /// A token with which a machine becomes this node.
    pub fn node_token(&mut self, node: &NodeName) -> Outcome<IssuedToken> {
        let body = self.call("POST", &format!("/api/v1/nodes/{node}/token"))?;
        serde_json::from_slice(&body).doing("read a node's token")
    }
}

/// The body of an answer that is a 200.
fn read_answer(connection: &mut impl BufRead) -> Outcome<Vec<u8>> {
    let mut length = None;
    let mut line = String::new();
    connection.read_line(&mut line).doing("read the console's answer")?;
    if line.split(' ').nth(1) != Some("200") {
        return Err(Failure(format!("the console answered {:?}", line.trim())));
    }
    while line != "\r\n" {
        line.clear();
        if connection.read_line(&mut line).doing("read the console's answer")? == 0 {
            return Err(Failure("the console's answer ends within its head".into()));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
    let Some(length) = length.filter(|length| *length <= ANSWER_MAX_BYTES) else {
        return Err(Failure("the console's answer has no length, or is too long".into()));
    };
    let mut body = vec![0; length];
    connection.read_exact(&mut body).doing("read the console's answer")?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_one_after_the_other() {
        let mut bytes: &[u8] =
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo";
        assert_eq!(read_answer(&mut bytes), Ok(b"one".to_vec()));
        assert_eq!(read_answer(&mut bytes), Ok(b"two".to_vec()));
        assert!(read_answer(&mut bytes).is_err(), "there is no third");
    }

    #[test]
    fn a_refusal_and_a_half_answer_are_told() {
        for bad in [
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
        ] {
            assert!(read_answer(&mut bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
