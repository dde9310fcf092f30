//! A WebSocket client (RFC 6455) that masks, counts and checks like a browser's, on a raw connection.

use super::http::Connection;
use std::net::SocketAddr;

/// Key and answer of RFC 6455, 1.3: a member that computes the answer is one that understood.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn read(byte: u8) -> Opcode {
        match byte {
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            other => panic!("opcode {other} was never sent"),
        }
    }
}

#[derive(Debug)]
pub struct WebSocket {
    /// The member that agreed, as it names itself.
    pub member: String,
    connection: Connection,
}

impl WebSocket {
    /// Opens a WebSocket; fails unless the other side agrees as the standard wants.
    pub fn open(address: SocketAddr, path: &str) -> Self {
        let mut connection = Connection::open(address);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        connection.send(request.as_bytes()).expect("the router takes the request");
        let answer = connection.read_answer("GET").expect("the router answers");
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(answer.header("upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
        let member = answer.header("x-member").unwrap_or_default().to_owned();
        Self { member, connection }
    }

    pub fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode as u8];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.connection.send(&frame).expect("the tunnel takes a frame");
    }

    pub fn receive(&mut self) -> std::io::Result<(Opcode, Vec<u8>)> {
        let head = self.connection.read_exact(2)?;
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let length = match head[1] {
            126 => {
                let bytes = self.connection.read_exact(2)?;
                usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
            }
            127 => {
                let bytes: [u8; 8] =
                    self.connection.read_exact(8)?.try_into().expect("eight bytes were read");
                usize::try_from(u64::from_be_bytes(bytes)).expect("it fits memory")
            }
            length => usize::from(length),
        };
        Ok((Opcode::read(head[0] & 0x0f), self.connection.read_exact(length)?))
    }

    /// Sends a message and expects it back.
    pub fn echo(&mut self, opcode: Opcode, payload: &[u8]) {
        self.send(opcode, payload);
        let (found, back) = self.receive().expect("the message comes back");
        assert_eq!((found, back.len()), (opcode, payload.len()));
        assert!(back == payload, "the message comes back as it was sent");
    }
}
