//! After a switch of protocols (WebSocket): bytes both ways, understood by nobody here.
//!
//! Each direction ends by itself and its end is passed on; the tunnel is over when both have ended, when either
//! side breaks off, when nothing has moved for `tunnel_idle_ms`, or when one has ended and the other says nothing for
//! `HALF_OPEN_MAX_MS`. It ends with its router: nobody can tell when it would end by itself. Memory is bounded by one
//! read each way.

use super::core::Core;
use super::manner::Manner;
use super::session::Session;
use super::streams::{Outbox, Stream, poll_read};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Longest silence of a side that the other one has left. Thirty seconds, as for the rest of an answer: a member that
/// was killed must not leave its clients' connections here for the hour that a quiet conversation may take.
const HALF_OPEN_MAX_MS: u64 = 30_000;

/// One direction.
#[derive(Debug, Default)]
struct Way {
    unsent: Outbox,
    /// The sender has ended; its end is to be passed on.
    has_ended: bool,
    is_over: bool,
}

impl Way {
    /// Moves bytes once. Ready(Ok): something moved.
    fn poll(
        &mut self,
        core: &Core,
        from: &mut Stream,
        to: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over {
            return Poll::Pending;
        }
        if !self.unsent.is_empty() {
            return self.unsent.poll_flush(to, context);
        }
        if self.has_ended {
            ready!(Pin::new(to).poll_shutdown(context))?;
            self.is_over = true;
            return Poll::Ready(Ok(()));
        }
        let sent = ready!(poll_read(&core.scratch, from, context, |bytes| {
            self.has_ended = bytes.is_empty();
            self.unsent.send(to, bytes, &[])
        }))?;
        Poll::Ready(sent)
    }
}

/// Runs the tunnel between the session's client and `member` to its end.
pub async fn run(session: &mut Session, mut member: Stream, manner: Manner) {
    let idle_ms = manner.tunnel_idle_ms(session.client.core.settings.borrow().timeouts.tunnel_idle_ms);
    let (mut up, mut down) = (Way::default(), Way::default());
    // What the client said ahead of the switch belongs to the new protocol.
    let early = std::mem::take(&mut session.client.surplus);
    if up.unsent.send(&mut member, &early, &[]).is_err() {
        return;
    }
    let Session { ticket, client } = session;
    ticket.set_idle(true);
    while !(up.is_over && down.is_over || client.core.is_stopping.get()) {
        let is_half_open = up.is_over || down.is_over;
        let most_ms = if is_half_open { idle_ms.min(HALF_OPEN_MAX_MS) } else { idle_ms };
        // A member that takes nothing is not idle but stuck.
        let most_ms = if up.unsent.is_empty() { most_ms } else { most_ms.min(manner.tunnel_write_ms()) };
        let deadline = ticket.in_ms(most_ms);
        let moved = ticket
            .until(deadline, |context| {
                let sent = up.poll(&client.core, &mut client.stream, &mut member, context);
                let received = down.poll(&client.core, &mut member, &mut client.stream, context);
                match (sent, received) {
                    (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                    (Poll::Pending, Poll::Pending) => Poll::Pending,
                    (Poll::Ready(Ok(())), _) | (_, Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
                }
            })
            .await;
        if !matches!(moved, Ok(Ok(()))) {
            return;
        }
    }
}
