//! Frames of HTTP/2 (RFC 9113): their kinds and flags, how they begin, and the reasons why streams end.
//!
//! Bytes only. Not here: what a frame means for a connection (`client`).

/// What a client sends before its first frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// The same bit for SETTINGS and PING.
pub const ACK: u8 = 0x1;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const WITH_PRIORITY: u8 = 0x20;

/// What SETTINGS may name.
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MOST_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const LARGEST_FRAME: u16 = 5;
    pub const LARGEST_HEADER_LIST: u16 = 6;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

pub const HEAD_BYTES: usize = 9;
/// The largest payload of a frame that everybody takes; we neither send nor take larger ones.
pub const PAYLOAD_MAX_BYTES: usize = 16 * 1024;
/// Windows may not become larger.
pub const WINDOW_MAX: i64 = (1 << 31) - 1;
/// A peer's windows before it has said anything.
pub const WINDOW_BYTES: i64 = 65_535;

/// Why a stream or a connection ends (RFC 9113, 7): those that we name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    NoError = 0,
    ProtocolError = 1,
    InternalError = 2,
    FlowControlError = 3,
    StreamClosed = 5,
    FrameSizeError = 6,
    RefusedStream = 7,
    Cancel = 8,
    CompressionError = 9,
    EnhanceYourCalm = 11,
}

/// A whole frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Of bytes that hold exactly one.
    pub fn of(bytes: &'a [u8]) -> Self {
        let (head, payload) = bytes.split_at(HEAD_BYTES);
        let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Self { kind: head[3], flags: head[4], id, payload }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The length of the payload of a frame whose head begins here.
pub fn payload_length(bytes: &[u8]) -> Result<usize, Reason> {
    let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
    if length > PAYLOAD_MAX_BYTES { Err(Reason::FrameSizeError) } else { Ok(length) }
}

/// How many bytes are missing of a frame, as far as its beginning tells.
pub fn missing(partial: &[u8]) -> Result<usize, Reason> {
    if partial.len() < HEAD_BYTES {
        return Ok(HEAD_BYTES - partial.len());
    }
    Ok(HEAD_BYTES + payload_length(partial)? - partial.len())
}

/// Appends the head of a frame.
pub fn write_head(length: usize, kind: u8, flags: u8, id: u32, out: &mut Vec<u8>) {
    let [_, high, middle, low] = (length as u32).to_be_bytes();
    let [a, b, c, d] = id.to_be_bytes();
    out.extend_from_slice(&[high, middle, low, kind, flags, a, b, c, d]);
}
