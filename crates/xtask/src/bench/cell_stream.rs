//! Follows a cell by its stream of server-sent events: each status with the moment at which it came.
//!
//! Reads on a thread of its own, so that the moment is that of the arrival and not of the reader's turn. The thread ends
//! with the connection, and so with the cell. Only what Muster's console sends is understood: chunks and one line of data.

use crate::failure::{Doing, Failure, Outcome};
use crate::process::Owned;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use wire::status::CellStatus;

/// Statuses that may wait for their reader. 256: a minute of a busy cell; then the stream waits too.
const WAITING_MAX: usize = 256;
/// Longest chunk that is taken. 16 MiB: a status of tens of thousands of members.
const CHUNK_MAX_BYTES: usize = 16 << 20;
/// Pause between two looks for a console that starts, which cannot tell us.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One status of the cell.
#[derive(Debug)]
pub struct Told {
    pub at: Instant,
    pub status: CellStatus,
}

#[derive(Debug)]
pub struct CellStream {
    pub told: Receiver<Outcome<Told>>,
}

impl CellStream {
    /// Waits until the console of a starting cell answers, and follows it.
    pub fn open(cell: &mut Owned, console: SocketAddr, token: &Path, time_max: Duration) -> Outcome<Self> {
        let started = Instant::now();
        let stream = loop {
            if let Ok(Some(status)) = cell.0.try_wait() {
                return Err(Failure(format!("muster ended with {status}")));
            }
            match (TcpStream::connect(console), fs::read_to_string(token)) {
                (Ok(stream), Ok(token)) => break ask(stream, token.trim())?,
                (Err(_), _) | (_, Err(_)) if started.elapsed() < time_max => std::thread::sleep(LOOK_EVERY),
                (Err(error), _) | (_, Err(error)) => {
                    return Err(Failure(format!("the console at {console} is not there: {error}")));
                }
            }
        };
        let (tell, told) = sync_channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("cell-stream".into())
            .spawn(move || {
                let mut chunks = Chunks(stream);
                let mut open = Vec::new();
                loop {
                    let next = next_status(&mut chunks, &mut open);
                    let is_end = next.is_err();
                    // Nobody listens any more, or there is nothing more to tell.
                    if tell.send(next).is_err() || is_end {
                        break;
                    }
                }
            })
            .doing("start a thread")?;
        Ok(Self { told })
    }
}

/// Asks for the stream and reads the head of the answer.
fn ask(mut stream: TcpStream, token: &str) -> Outcome<BufReader<TcpStream>> {
    stream.set_nodelay(true).doing("set up a connection to the console")?;
    let request = format!(
        "GET /api/v1/stream HTTP/1.1\r\nHost: console\r\nAuthorization: Bearer {token}\r\n\
         Accept: text/event-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).doing("ask the console")?;
    let mut reader = BufReader::new(stream);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first).doing("read the console's answer")?;
    if first.split(' ').nth(1) != Some("200") {
        return Err(Failure(format!("the console answered {}", first.trim())));
    }
    while line != "\r\n" {
        line.clear();
        let count = reader.read_line(&mut line).doing("read the console's answer")?;
        if count == 0 {
            return Err(Failure("the console's answer has no end of its head".into()));
        }
    }
    Ok(reader)
}

/// The payload of a chunked body.
struct Chunks<R>(R);

impl<R: BufRead> Chunks<R> {
    /// Adds the next chunk to `open`.
    fn next(&mut self, open: &mut Vec<u8>) -> Outcome<()> {
        let mut line = String::new();
        self.0.read_line(&mut line).doing("read the cell's stream")?;
        let length = usize::from_str_radix(line.trim(), 16).ok();
        let Some(length) = length.filter(|length| (1..=CHUNK_MAX_BYTES).contains(length)) else {
            return Err(Failure(format!("the cell's stream ended: {:?}", line.trim())));
        };
        let start = open.len();
        open.resize(start + length, 0);
        self.0.read_exact(&mut open[start..]).doing("read the cell's stream")?;
        self.0.read_exact(&mut [0; 2]).doing("read the cell's stream")
    }
}

/// The next status; what is not yet a whole event stays in `open`.
fn next_status<R: BufRead>(chunks: &mut Chunks<R>, open: &mut Vec<u8>) -> Outcome<Told> {
    loop {
        while let Some(end) = open.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = open.drain(..end + 2).collect();
            let at = Instant::now();
            if let Some(status) = status_of(&event)? {
                return Ok(Told { at, status });
            }
        }
        chunks.next(open)?;
    }
}

/// The status in an event; None for events of other kinds.
fn status_of(event: &[u8]) -> Outcome<Option<CellStatus>> {
    let text = std::str::from_utf8(event).doing("read the cell's stream as text")?;
    if !text.lines().any(|line| line == "event: status") {
        return Ok(None);
    }
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
    serde_json::from_str(data).map(Some).doing("read a status of the cell")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = r#"{"cell":"c","version":"0","generation":1,"config_revision":1,"now_ms":7,"nodes":[],"routers":[],"clusters":[]}"#;

    fn chunked(parts: &[&str]) -> Vec<u8> {
        parts.iter().flat_map(|part| format!("{:x}\r\n{part}\r\n", part.len()).into_bytes()).collect()
    }

    #[test]
    fn a_status_is_found_wherever_chunks_are_cut() {
        let events =
            format!("retry: 1000\n\nid: 4\nevent: event\ndata: {{}}\n\nevent: status\ndata: {STATUS}\n\n");
        for cut in 1..events.len() {
            let bytes = chunked(&[&events[..cut], &events[cut..]]);
            let mut chunks = Chunks(bytes.as_slice());
            let mut open = Vec::new();
            let told = next_status(&mut chunks, &mut open).expect("there is a status");
            assert_eq!(told.status.now_ms, 7, "cut at {cut}");
            assert!(next_status(&mut chunks, &mut open).is_err(), "then it ends");
        }
    }
}
