//! An input as a story: what a client sends and takes, and what sessions do meanwhile.

use logic::http2::frame::{self, DATA, END_HEADERS, END_STREAM, HEADERS, PAYLOAD_MAX_BYTES};

/// The most that comes at once.
pub const RECEIVED_MAX_BYTES: usize = PAYLOAD_MAX_BYTES + frame::HEAD_BYTES;

#[derive(Debug)]
pub enum Act {
    Receive(Vec<u8>),
    /// So many bytes of what is to be sent.
    Take(usize),
    Wait(u64),
    AskToLeave,
    Session {
        number: usize,
        deed: u8,
        count: usize,
    },
}

pub struct Script<'a> {
    rest: &'a [u8],
    /// Of the last request that was asked in short.
    last_id: u32,
    requests_left: u8,
}

impl<'a> Script<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, last_id: 0, requests_left: 0 }
    }

    /// Nothing reads as zeros.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    pub fn next_act(&mut self) -> Option<Act> {
        if self.requests_left > 0 {
            self.requests_left -= 1;
            return Some(self.request(0));
        }
        if self.rest.is_empty() {
            return None;
        }
        Some(match self.byte() % 16 {
            0..=3 => self.frame(),
            // DATA whose bytes do not matter.
            4 | 5 => {
                let (id, flags, size) = (self.byte(), self.byte() & END_STREAM, usize::from(self.byte()));
                let payload = vec![b'p'; (size * 64 + size % 3).min(PAYLOAD_MAX_BYTES)];
                Act::Receive(frame_of(DATA, flags, id.into(), &payload))
            }
            6 => {
                let count = usize::from(self.byte());
                Act::Receive(self.bytes(count).to_vec())
            }
            7 => {
                let flags = self.byte();
                self.request(flags & END_STREAM)
            }
            8 => {
                self.requests_left = self.byte() % 140;
                self.request(END_STREAM)
            }
            9..=12 => {
                let (number, deed, size) = (self.byte().into(), self.byte(), usize::from(self.byte()));
                Act::Session { number, deed, count: size * size }
            }
            13 => {
                let size = usize::from(self.byte());
                Act::Take(if size == 0 { usize::MAX } else { size * size })
            }
            14 => Act::Wait(u64::from(self.byte()) * 100),
            _ => Act::AskToLeave,
        })
    }

    /// A frame of any kind.
    fn frame(&mut self) -> Act {
        let (kind, flags, id) = (self.byte() % 12, self.byte(), self.byte());
        let length = usize::from(self.byte());
        Act::Receive(frame_of(kind, flags, id.into(), self.bytes(length)))
    }

    /// GET / of the host "a".
    fn request(&mut self, flags: u8) -> Act {
        self.last_id += 2;
        Act::Receive(frame_of(
            HEADERS,
            flags | END_HEADERS,
            self.last_id - 1,
            &[0x82, 0x84, 0x86, 0x41, 1, b'a'],
        ))
    }
}

fn frame_of(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_head(payload.len(), kind, flags, id, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}
