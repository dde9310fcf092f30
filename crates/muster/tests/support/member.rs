//! A member made of threads of the test: it answers every request with its name and keeps the bytes that it got.
//!
//! For tests that must know what reached a member, byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest silence on a connection before its thread ends.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Ends with the test's process; its port is its own until then.
#[derive(Debug, Clone)]
pub struct RecordingMember {
    pub address: SocketAddr,
    /// What came on each connection that said anything, in the order of their first bytes.
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl RecordingMember {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port is there");
        let address = listener.local_addr().expect("it listens");
        let member = Self { address, received: Arc::default() };
        let copy = member.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let member = copy.clone();
                std::thread::spawn(move || member.serve(stream));
            }
        });
        member
    }

    /// All that came since the last call.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.received.lock().expect("no thread dies while it holds this"))
    }

    fn serve(&self, mut stream: TcpStream) {
        // Without it a silent connection would only keep its thread until the process ends.
        let _ = stream.set_read_timeout(Some(SILENCE_MAX));
        let mut bytes = [0; 16 * 1024];
        let mut pending = Vec::new();
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            self.received.lock().expect("no thread dies while it holds this").push(bytes[..length].to_vec());
            pending.extend_from_slice(&bytes[..length]);
            while let Some(end) = request_end(&pending) {
                pending.drain(..end);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        }
    }
}

/// Where the first request ends: behind its body, as its head announces it; nothing when it is not all there.
fn request_end(bytes: &[u8]) -> Option<usize> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
    let value = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    if value("transfer-encoding:").is_some_and(|coding| coding.ends_with("chunked")) {
        return Some(head_end + chunked_length(&bytes[head_end..])?);
    }
    let length: usize = value("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    (bytes.len() >= head_end + length).then_some(head_end + length)
}

/// Bytes of a chunked body with its trailers; nothing when it is not all there.
fn chunked_length(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = line_length(&body[at..])?;
        let digits = body[at..at + line].split(|byte| !byte.is_ascii_hexdigit()).next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        at += line;
        if size == 0 {
            break;
        }
        at += size + 2;
        body.get(..at)?;
    }
    // Trailers end with an empty line.
    loop {
        let line = line_length(&body[at..])?;
        at += line;
        if line == 2 {
            return Some(at);
        }
    }
}

/// The length of a line with its end.
fn line_length(bytes: &[u8]) -> Option<usize> {
    Some(bytes.windows(2).position(|window| window == b"\r\n")? + 2)
}
