//! A client that writes HTTP/2 frames byte for byte, and reads them without understanding much.

use super::Stage;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

const HEADER_TABLE_SIZE: u16 = 1;

#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status that its block of headers begins with.
    pub fn status(&self) -> u16 {
        let is_size_update = |byte: &u8| (0x20..0x40).contains(byte);
        let skipped = self.payload.iter().take_while(|byte| is_size_update(byte)).count();
        match self.payload[skipped..] {
            [0x88, ..] => 200,
            [0x8c, ..] => 400,
            [0x8d, ..] => 404,
            [0x8e, ..] => 500,
            [_, 3, ref digits @ ..] if digits.len() >= 3 => {
                let digits = std::str::from_utf8(&digits[..3]).expect("digits");
                digits.parse().expect("a status")
            }
            ref other => panic!("a status that no story expects: {other:x?}"),
        }
    }

    /// The error code of a frame that gives something up.
    pub fn reason(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

pub struct Client {
    pub stream: TcpStream,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A block of headers without any compression.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            length(text.len(), &mut bytes);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// An integer with a prefix of seven bits.
fn length(length: usize, bytes: &mut Vec<u8>) {
    if length < 127 {
        return bytes.push(length as u8);
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

pub const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

impl Client {
    /// Says the preface and settings.
    pub fn begin(stage: &Stage) -> Self {
        Self::with_settings(stage, &[])
    }

    /// As `begin`, with settings besides one by which answers come without a table of headers.
    pub fn with_settings(stage: &Stage, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (name, value) in [(HEADER_TABLE_SIZE, 0)].iter().chain(settings) {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut client = Self { stream: stage.connect() };
        client.send(&[logic::http2::PREFACE.to_vec(), frame(SETTINGS, 0, 0, &payload)].concat());
        client
    }

    /// Sends; false when the router reads no more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn ask(&mut self, stream: u32) -> bool {
        self.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET)))
    }

    /// None when the router has ended or broken off the connection.
    pub fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        read_exact(&mut self.stream, &mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        read_exact(&mut self.stream, &mut payload)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], stream, payload })
    }

    pub fn read_to_end(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.read()).collect()
    }

    /// The next frame of this kind for this stream.
    pub fn wait_for(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self.read().unwrap_or_else(|| panic!("the connection ended before frame {kind}"));
            if frame.kind == kind && frame.stream == stream {
                return frame;
            }
            assert!(frame.kind != GOAWAY, "{frame:?}");
        }
    }
}

fn read_exact(stream: &mut TcpStream, bytes: &mut [u8]) -> Option<()> {
    match stream.read_exact(bytes) {
        Ok(()) => Some(()),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => None,
        Err(error) => panic!("reading a frame: {error}"),
    }
}
