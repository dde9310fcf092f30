//! How one member wants to be spoken to: its own times, and what comes before a request. Copied, never shared.

use super::streams::{Stream, poll_read};
use super::waits::{Signal, Ticket};
use logic::http::HeaderSpace;
use logic::http::request::HeadLimits;
use logic::http::response::{Asked, parse};
use logic::retry::Fault;
use std::cell::RefCell;
use wire::view::Transport;

/// What a view says about times and beginnings; see `wire::view::Transport`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    connect_ms: Option<u64>,
    response_ms: Option<u64>,
    upgrade_ms: Option<u64>,
    tunnel_idle_ms: Option<u64>,
    pub unacknowledged_ms: Option<u32>,
    pub marks_silence: bool,
    pub asks_first: bool,
    pub waits_for_continue: bool,
}

/// The member's own time before the router's; 0 means no bound.
fn bound(own: Option<u64>, general_ms: u64) -> u64 {
    match own {
        None => general_ms,
        Some(0) => u64::MAX,
        Some(own_ms) => own_ms,
    }
}

impl Manner {
    pub fn of(transport: &Transport) -> Self {
        Self {
            connect_ms: transport.connect_ms,
            response_ms: transport.response_ms,
            upgrade_ms: transport.upgrade_ms,
            tunnel_idle_ms: transport.tunnel_idle_ms,
            unacknowledged_ms: transport.unacknowledged_ms,
            marks_silence: transport.marks_silence,
            asks_first: transport.asks_first,
            waits_for_continue: transport.waits_for_continue,
        }
    }

    pub fn connect_ms(self, general_ms: u64) -> u64 {
        bound(self.connect_ms, general_ms)
    }

    pub fn response_ms(self, is_upgrade: bool, general_ms: u64) -> u64 {
        bound(self.upgrade_ms.filter(|_| is_upgrade).or(self.response_ms), general_ms)
    }

    pub fn tunnel_idle_ms(self, general_ms: u64) -> u64 {
        bound(self.tunnel_idle_ms, general_ms)
    }

    /// How long a tunnel may wait for the member to take what was sent; no bound where nothing is said.
    pub fn tunnel_write_ms(self) -> u64 {
        bound(self.upgrade_ms, u64::MAX)
    }
}

/// What is asked before the first request of a connection. `*` belongs to no application, so nothing is carried out.
const QUESTION: &[u8] = b"OPTIONS * HTTP/1.1\r\nHost: muster\r\nContent-Length: 0\r\n\r\n";
/// Longest head of its answer.
const ANSWER_MAX_BYTES: usize = 16 * 1024;

/// Whether somebody who speaks HTTP is at the other end: a firewall between may take connections for a dead server.
/// Any answer will do. True: the connection can carry requests; false: it was used up, and another one is needed.
pub async fn ask_first(
    ticket: &Ticket,
    scratch: &RefCell<Box<[u8]>>,
    connection: &mut Stream,
    deadline: u64,
) -> Result<bool, Fault> {
    let mut unsent = super::streams::Outbox::default();
    unsent.send(connection, QUESTION, &[]).map_err(|_| Fault::ConnectFailed)?;
    let mut head = Vec::new();
    loop {
        let read = ticket.until(deadline, |context| {
            if !unsent.is_empty() {
                std::task::ready!(unsent.poll_flush(connection, context))?;
            }
            poll_read(scratch, connection, context, |bytes| {
                head.extend_from_slice(bytes);
                bytes.len()
            })
        });
        match read.await {
            // Who doubts it has not heard of this connection.
            Ok(Ok(1..)) | Err(Signal::Doubted) => {}
            Ok(Ok(0) | Err(_)) | Err(Signal::MemberLost | Signal::Stopping) => {
                return Err(Fault::ConnectFailed);
            }
            Err(Signal::Deadline) => return Err(Fault::ConnectTimeout),
        }
        let asked = Asked { is_head: false, is_version_11: true, keep_alive: true, upgrade: false };
        let limits =
            HeadLimits { size_max_bytes: ANSWER_MAX_BYTES, header_count_max: logic::http::HEADERS_MAX };
        let mut space = HeaderSpace::new();
        match parse(&head, &mut space, limits, asked) {
            Ok(None) => {}
            // A body would have to be read to its end; another connection is cheaper than a second reader.
            Ok(Some(answer)) => {
                let is_whole = answer.framing.is_done() && answer.length == head.len();
                return Ok(is_whole && answer.member_keeps_alive && !answer.is_interim());
            }
            Err(_) => return Err(Fault::ConnectFailed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_own_times_come_before_the_routers_and_zero_means_no_bound() {
        let none = Manner::default();
        assert_eq!((none.connect_ms(5), none.response_ms(true, 6), none.tunnel_idle_ms(7)), (5, 6, 7));
        assert_eq!(none.tunnel_write_ms(), u64::MAX);
        let own = Manner::of(&Transport {
            connect_ms: Some(0),
            response_ms: Some(60),
            upgrade_ms: Some(70),
            tunnel_idle_ms: Some(0),
            ..Transport::default()
        });
        assert_eq!((own.connect_ms(5), own.tunnel_idle_ms(7)), (u64::MAX, u64::MAX));
        assert_eq!((own.response_ms(false, 6), own.response_ms(true, 6)), (60, 70));
        assert_eq!(own.tunnel_write_ms(), 70);
    }
}
