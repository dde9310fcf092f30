//! The way of a request from client to member: what is at hand at once, the rest of the body as it comes.
//!
//! Promise: nothing is read from the client while something is unsent. Body bytes are kept for another attempt as
//! long as they fit `replay_max_bytes`.

use super::core::Core;
use super::request::Request;
use super::session::Client;
use super::streams::{Outbox, Stream, poll_read};
use logic::http::refusal::Refusal;
use logic::retry::Fault;
use std::io;
use std::task::{Context, Poll};

#[derive(Debug, Default)]
pub struct Upload {
    unsent: Outbox,
    /// The member takes no more of the request; its answer may still come.
    is_broken: bool,
    /// The body waits until the member has said that it wants it.
    is_held: bool,
}

impl Upload {
    /// Sends head and body as far as they are at hand. An error means that the member took nothing.
    pub fn begin(member: &mut Stream, request: &Request) -> io::Result<Self> {
        let mut unsent = Outbox::default();
        let is_held = request.holds_body();
        if is_held {
            let (lines, _) = request.buffer.split_at(request.head_length - 2);
            unsent.send(member, lines, b"Expect: 100-continue\r\n\r\n")?;
        } else {
            unsent.send(member, &request.buffer, &[])?;
        }
        Ok(Self { unsent, is_broken: false, is_held })
    }

    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Whether the member has all that it gets before it says that it wants the body.
    pub fn waits_for_leave(&self) -> bool {
        self.is_held && self.unsent.is_empty()
    }

    /// Sends the body after all, as far as it is at hand.
    pub fn release(&mut self, member: &mut Stream, request: &Request) {
        if self.unsent.is_empty() {
            self.is_held = false;
            self.is_broken = self.unsent.send(member, &request.buffer[request.head_length..], &[]).is_err();
        }
    }

    /// Whether the whole request went to the member.
    pub fn is_sent(&self, request: &Request) -> bool {
        request.framing.is_done() && self.unsent.is_empty() && !self.is_broken && !self.is_held
    }

    pub fn waits_for_client(&self, request: &Request) -> bool {
        self.unsent.is_empty() && !request.framing.is_done() && !self.is_broken && !self.is_held
    }

    /// Moves body bytes. Ready(true): something moved; Ready(false): there is nothing to do.
    pub fn poll(
        &mut self,
        member: &mut Stream,
        client: &mut Client,
        request: &mut Request,
        context: &mut Context<'_>,
    ) -> Poll<Result<bool, Fault>> {
        let has_all = request.framing.is_done() || self.is_held;
        if self.is_broken || (has_all && self.unsent.is_empty()) {
            return Poll::Ready(Ok(false));
        }
        if !self.unsent.is_empty() {
            return self.unsent.poll_flush(member, context).map(|flushed| {
                // A member may refuse a body early and close; its answer is still to be read.
                self.is_broken = flushed.is_err();
                Ok(true)
            });
        }
        let Client { stream, surplus, core, .. } = client;
        if !surplus.is_empty() {
            let bytes = std::mem::take(surplus);
            return Poll::Ready(self.take(member, core, request, surplus, &bytes));
        }
        let read = poll_read(&core.scratch, stream, context, |bytes| match bytes {
            [] => Err(Fault::ClientGone),
            bytes => self.take(member, core, request, surplus, bytes),
        });
        read.map(|taken| taken.unwrap_or(Err(Fault::ClientGone)))
    }

    fn take(
        &mut self,
        member: &mut Stream,
        core: &Core,
        request: &mut Request,
        surplus: &mut Vec<u8>,
        bytes: &[u8],
    ) -> Result<bool, Fault> {
        let step = request.framing.consume(bytes).map_err(|why| Fault::RequestRefused { why })?;
        let (body, next) = bytes.split_at(step.used);
        surplus.extend_from_slice(next);
        request.body_bytes += step.data as u64;
        let settings = core.settings.borrow();
        if request.has_too_large_body(settings.limits.body_size_max_bytes) {
            return Err(Fault::RequestRefused { why: Refusal::BodyTooLarge });
        }
        let kept_bytes = request.buffer.len() - request.head_length + body.len();
        if request.is_replayable
            && kept_bytes as u64 <= request.replay_max_bytes(settings.retry.replay_max_bytes)
        {
            request.buffer.extend_from_slice(body);
        } else {
            request.is_replayable = false;
        }
        self.is_broken = self.unsent.send(member, body, &[]).is_err();
        Ok(true)
    }
}
