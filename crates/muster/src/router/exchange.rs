//! One attempt at one request: bytes to the member, its answer to the client, both ways at once.
//!
//! Not here: which member, and whether to try again (see `session`).

use super::reply::{Reply, State};
use super::request::Request;
use super::session::Client;
use super::streams::{HEAD_READ_BYTES, SCRATCH_BYTES, Stream, poll_read_answer};
use super::upload::Upload;
use super::waits::NEVER;
use logic::pace;
use logic::retry::{Fault, Phase};
use std::io;
use std::task::{Context, Poll};

#[derive(Debug)]
pub struct Exchange {
    pub connection: Stream,
    pub upload: Upload,
    pub reply: Reply,
    /// The member has answered another request on the connection.
    pub is_reused: bool,
    /// Of the member's connections, when this one was made or taken.
    pub generation: u32,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Moved,
    /// The answer is over, or the member switched protocols.
    Finished,
}

impl Exchange {
    /// A request's, on a connection to its member that is good now.
    pub fn new(connection: Stream, request: &Request, now_us: u64) -> Self {
        Self {
            connection,
            upload: Upload::default(),
            reply: Reply::new(now_us, request.started_us),
            is_reused: false,
            generation: request.member.generation(),
        }
    }

    /// Sends what is at hand of the request. An error means that the member took nothing.
    pub fn begin(&mut self, request: &Request) -> io::Result<()> {
        self.upload = Upload::begin(&mut self.connection, request)?;
        self.reply.keeps_continue = self.upload.is_held();
        Ok(())
    }

    pub fn phase(&self, request: &Request) -> Phase {
        match self.reply.state {
            State::AwaitHead if self.upload.is_sent(request) => Phase::AwaitHead,
            State::AwaitHead => Phase::SendBody,
            State::Body(_) | State::Finished | State::Switched => Phase::Body,
        }
    }

    /// Whether the system of the member, of which nobody hears, has not even taken what was sent. A connection that the member may not
    /// have accepted yet says nothing.
    pub fn is_unheard(&self, request: &Request) -> bool {
        let ends = self.connection.ends().filter(|_| self.is_reused);
        ends.is_some_and(|(local, remote)| request.member.doubt.borrow().is_unheard(local, remote))
    }

    /// Whose silence it is when nothing moves any more.
    pub fn silent_side(&self, request: &Request) -> Fault {
        if self.reply.waits_for_client() {
            return Fault::ClientGone;
        }
        // A member that answers before the end of the request may wait for the rest of it.
        if self.reply.state != State::AwaitHead && self.upload.waits_for_client(request) {
            return Fault::ClientGone;
        }
        // A client that waits for 100 (Continue) sends no body until the member has spoken.
        let may_send = !request.expects_continue || self.reply.has_started || request.body_bytes > 0;
        let waits_for_client = self.reply.state == State::AwaitHead && self.upload.waits_for_client(request);
        if waits_for_client && may_send { Fault::RequestTimeout } else { Fault::MemberTimeout }
    }

    /// When the request's body must be whole, where nothing but that is waited for.
    pub fn body_due_us(&self, client: &Client, request: &Request) -> u64 {
        let Some(since_us) = request.body_since_us.filter(|_| !request.framing.is_done()) else {
            return NEVER;
        };
        let may_send = !request.expects_continue || request.body_bytes > 0;
        if self.reply.state != State::AwaitHead || !may_send || !self.upload.waits_for_client(request) {
            return NEVER;
        }
        let body_ms = client.core.settings.borrow().timeouts.body_ms;
        pace::body_due_us(since_us, body_ms, request.body_bytes)
    }

    /// Moves bytes until something was done or everything must wait.
    pub fn poll(
        &mut self,
        client: &mut Client,
        request: &mut Request,
        context: &mut Context<'_>,
    ) -> Poll<Result<Progress, Fault>> {
        if self.upload.is_held() && self.reply.has_continued {
            self.upload.release(&mut self.connection, request);
        }
        let upload = self.upload.poll(&mut self.connection, client, request, context)?;
        let download = self.poll_download(client, request, context);
        match (upload, download) {
            (_, Poll::Ready(result)) => Poll::Ready(result),
            (Poll::Ready(true), Poll::Pending) => Poll::Ready(Ok(Progress::Moved)),
            // While its body is read, the client's going shows there.
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            (Poll::Ready(false), Poll::Pending) => client.poll_gone(context).map(Err),
        }
    }

    fn poll_download(
        &mut self,
        client: &mut Client,
        request: &Request,
        context: &mut Context<'_>,
    ) -> Poll<Result<Progress, Fault>> {
        let Self { connection, reply, .. } = self;
        if !reply.unsent.is_empty() {
            let flushed = reply.unsent.poll_flush(&mut client.stream, context);
            return flushed.map(|flushed| flushed.map(|()| progress(reply)).map_err(|_| Fault::ClientGone));
        }
        let Client { core, stream, .. } = client;
        if let Some(left) = reply.splices(core, connection, stream) {
            return reply
                .poll_splice(left, core, connection, stream, context)
                .map(|sent| sent.map(|()| progress(reply)));
        }
        let most = if reply.state == State::AwaitHead { HEAD_READ_BYTES } else { SCRATCH_BYTES };
        let read = poll_read_answer(&core.scratch, most, connection, context, |read| {
            reply.take(core, request, stream, read)
        });
        read.map(|taken| taken.unwrap_or(Err(Fault::MemberClosed)).map(|()| progress(reply)))
    }
}

fn progress(reply: &Reply) -> Progress {
    match reply.state {
        State::Finished | State::Switched if reply.unsent.is_empty() => Progress::Finished,
        State::AwaitHead | State::Body(_) | State::Finished | State::Switched => Progress::Moved,
    }
}
