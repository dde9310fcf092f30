//! A small blocking HTTP/1.1 client that sends exactly the bytes it is given, for tests that must not be helped.
//!
//! Reads answers with Content-Length, chunked, or until the end. Not here: anything that a browser would do for one.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for bytes of an answer. A minute: a browser that is started on a busy machine takes the better part of one.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|error| panic!("could not connect to {address}: {error}"))
    }

    pub fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends bytes; an error means that the other side has closed, which some tests want.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        // Fails only when the other side has closed altogether.
        let _ = self.reader.get_mut().shutdown(Shutdown::Write);
    }

    /// The next answer to a request with this method; interim answers (1xx) are passed over.
    pub fn read_answer(&mut self, method: &str) -> std::io::Result<Answer> {
        loop {
            let answer = self.read_one(method)?;
            if answer.status >= 200 || answer.status == 101 {
                return Ok(answer);
            }
        }
    }

    fn read_one(&mut self, method: &str) -> std::io::Result<Answer> {
        let mut answer = self.read_head()?;
        let status = answer.status;
        let is_empty = method == "HEAD" || status < 200 || status == 204 || status == 304;
        if !is_empty {
            answer.body = self.read_body(&answer)?;
        }
        Ok(answer)
    }

    /// The head of the next answer, whose body is left to be read.
    pub fn read_head(&mut self) -> std::io::Result<Answer> {
        let status_line = self.read_line()?;
        let status = status_line.get(9..12).and_then(|digits| digits.parse().ok());
        let status =
            status.ok_or_else(|| std::io::Error::other(format!("no status line: {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| std::io::Error::other(line.clone()))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Answer { status, headers, body: Vec::new() })
    }

    fn read_body(&mut self, answer: &Answer) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if answer.header("transfer-encoding").is_some() {
            loop {
                let line = self.read_line()?;
                let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
                let size = size.map_err(|_| std::io::Error::other(format!("no chunk size: {line:?}")))?;
                let start = body.len();
                body.resize(start + size, 0);
                self.reader.read_exact(&mut body[start..])?;
                // The empty line behind the chunk; behind the last one there may be trailers first.
                while !self.read_line()?.is_empty() {}
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        match answer.header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => {
                body.resize(length, 0);
                self.reader.read_exact(&mut body)?;
            }
            None => {
                self.reader.read_to_end(&mut body)?;
            }
        }
        Ok(body)
    }

    fn read_line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        let Some(text) = line.strip_suffix(b"\r\n") else {
            return Err(std::io::Error::new(ErrorKind::UnexpectedEof, format!("line is cut off: {line:?}")));
        };
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Exactly so many bytes, for what is no longer HTTP.
    pub fn read_exact(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Everything until the other side closes; a reset is a close too.
    pub fn read_to_end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(bytes),
            Err(error) => Err(error),
        }
    }
}

/// One request on a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut connection = Connection::try_open(address)?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    connection.send(&[head.as_bytes(), body].concat())?;
    connection.read_answer(method)
}

pub fn get(address: SocketAddr, target: &str) -> std::io::Result<Answer> {
    request(address, "GET", target, &[], b"")
}
