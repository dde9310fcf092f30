//! HTTP/2 on both sides: whatever frames come, what is made of them reads in one way only, and is what they said.
//!
//! The router's own streams, over a connection in memory and without its clocks. What stands beside them here is only
//! what they need of the router around them.

mod client;
mod member;
mod peer;

#[path = "../../muster/src/router/http2/member_stream.rs"]
#[expect(dead_code, reason = "the router around it asks for more")]
mod member_stream;
#[path = "../../muster/src/router/http2/parts.rs"]
mod parts;
#[path = "../../muster/src/router/http2/sink.rs"]
mod sink;
#[path = "../../muster/src/router/http2/source.rs"]
#[expect(dead_code, reason = "the router around it asks for more")]
mod source;

/// A connection to a member, as its streams know it.
mod member_link {
    use http::uri::Scheme;

    #[derive(Debug)]
    pub struct Link;

    impl Link {
        pub fn scheme(&self) -> Scheme {
            Scheme::HTTPS
        }
        pub fn begin(&self) {}
        pub fn end(&self, _since_us: u64, _is_unanswered: bool) {}
    }
}

pub use client::check as check_client;
pub use member::check as check_member;
use parts::{broken, send_parts};

use logic::http::body::Framing;

/// How reading a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The reader was told that nothing more comes.
    Clean,
    Broken,
    /// More may come.
    Open,
}

/// Reads a body as the router does; the payload of it. Panics where it is not framed as its head says.
fn check_body(mut framing: Framing, body: &[u8], end: End) -> Vec<u8> {
    let (mut at, mut payload) = (0, Vec::new());
    while at < body.len() && !framing.is_done() {
        let Ok(step) = framing.step(&body[at..]) else {
            // Only what the peer itself wrote in lines can be wrong: its trailers.
            assert!(
                framing.is_in_trailers() || is_in_end(&body[at..]),
                "{framing:?} of {}",
                body[at..].escape_ascii()
            );
            return payload;
        };
        assert!(step.used > 0 && step.data <= step.used);
        payload.extend_from_slice(&body[at + step.used - step.data..at + step.used]);
        at += step.used;
    }
    assert_eq!(at, body.len(), "{} follows the message", body[at..].escape_ascii());
    // A message that was cut off must not pass for a whole one.
    assert!(end != End::Clean || framing.is_done(), "{framing:?} at the end");
    payload
}

/// Whether only the last chunk and trailers are left, from where a run of bytes began.
fn is_in_end(rest: &[u8]) -> bool {
    rest.starts_with(b"0\r\n") || rest.windows(5).any(|window| window == b"\r\n0\r\n")
}
