//! Bytes both ways, understood by nobody here: after a switch of protocols (WebSocket), and for TCP listeners.
//!
//! Each direction ends by itself and its end is passed on; the tunnel is over when both have ended, when either
//! side breaks off, when nothing has moved for `tunnel_idle_ms`, or when one has ended and the other says nothing for
//! `HALF_OPEN_MAX_MS`. It ends with its router, which after a hand-over waits for it for a while: nobody can tell when
//! it would end by itself. Memory is bounded by one read each way; what comes in large pieces goes from socket to
//! socket through a pipe.

use super::core::Core;
use super::manner::Manner;
use super::session::Session;
use super::splice::{Pipe, Spliced};
use super::streams::{Outbox, SCRATCH_BYTES, Stream, poll_read};
use super::waits::Ticket;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Longest silence of a side that the other one has left. Thirty seconds, as for the rest of an answer: a member that
/// was killed must not leave its clients' connections here for the hour that a quiet conversation may take.
const HALF_OPEN_MAX_MS: u64 = 30_000;

/// What went through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carried {
    pub up_bytes: u64,
    pub down_bytes: u64,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    unsent: Outbox,
    /// Present while a lot comes at once.
    pipe: Option<Pipe>,
    bytes: u64,
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
        if let (Some(pipe), Some(from), Some(to)) = (&mut self.pipe, from.as_tcp(), to.as_tcp()) {
            let spliced = pipe.poll(from, to, u64::MAX, context);
            return self.spliced(core, spliced);
        }
        let sent = ready!(poll_read(&core.scratch, from, context, |bytes| {
            self.has_ended = bytes.is_empty();
            self.bytes += bytes.len() as u64;
            let is_a_lot = bytes.len() == SCRATCH_BYTES;
            self.unsent.send(to, bytes, &[]).map(|()| is_a_lot)
        }))?;
        let is_a_lot = sent?;
        if is_a_lot && from.as_tcp().is_some() && to.as_tcp().is_some() {
            self.pipe = core.pipes.take();
        }
        Poll::Ready(Ok(()))
    }

    fn spliced(
        &mut self,
        core: &Core,
        spliced: Poll<io::Result<io::Result<Spliced>>>,
    ) -> Poll<io::Result<()>> {
        let result = match spliced {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Ok(Spliced::Sent(count)))) => {
                self.bytes += count as u64;
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(Ok(Spliced::SenderEnded))) => {
                self.has_ended = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(Err(error)) | Err(error)) => return Poll::Ready(Err(error)),
        };
        // A quiet tunnel holds no pipe; one that waits for its receiver still has bytes in it.
        if let Some(pipe) = self.pipe.take() {
            if pipe.is_empty() { core.pipes.give(pipe) } else { self.pipe = Some(pipe) }
        }
        result
    }
}

/// Runs the tunnel between the session's client and `member` to its end.
pub async fn run(session: &mut Session, mut member: Stream, manner: Manner) -> Carried {
    // What the client said ahead of the switch belongs to the new protocol.
    let early = std::mem::take(&mut session.client.surplus);
    let Session { ticket, client } = session;
    carry(&client.core, ticket, &mut client.stream, &mut member, &early, manner).await
}

/// Carries bytes until the end; `early` came from the client before.
pub async fn carry(
    core: &Core,
    ticket: &Ticket,
    client: &mut Stream,
    member: &mut Stream,
    early: &[u8],
    manner: Manner,
) -> Carried {
    let idle_ms = manner.tunnel_idle_ms(core.settings.borrow().timeouts.tunnel_idle_ms);
    let (mut up, mut down) = (Way { bytes: early.len() as u64, ..Way::default() }, Way::default());
    let mut is_sound = up.unsent.send(member, early, &[]).is_ok();
    ticket.set_idle(true);
    while is_sound && !(up.is_over && down.is_over || core.is_ending.get()) {
        let is_half_open = up.is_over || down.is_over;
        let most_ms = if is_half_open { idle_ms.min(HALF_OPEN_MAX_MS) } else { idle_ms };
        // A member that takes nothing is not idle but stuck.
        let most_ms = if up.unsent.is_empty() { most_ms } else { most_ms.min(manner.tunnel_write_ms()) };
        let deadline = ticket.in_ms(most_ms);
        let moved = ticket
            .until(deadline, |context| {
                let sent = up.poll(core, client, member, context);
                let received = down.poll(core, member, client, context);
                match (sent, received) {
                    (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                    (Poll::Pending, Poll::Pending) => Poll::Pending,
                    (Poll::Ready(Ok(())), _) | (_, Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
                }
            })
            .await;
        is_sound = matches!(moved, Ok(Ok(())));
    }
    Carried { up_bytes: up.bytes, down_bytes: down.bytes }
}
