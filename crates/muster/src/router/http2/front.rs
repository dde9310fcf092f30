//! A client's connection that speaks HTTP/2: takes its streams and makes each a session of one request.
//!
//! Ends by itself: asked to when the router stops or the client has asked for nothing for `idle_ms`, at once when it
//! floods us or takes nothing of what is there for it. Requests have deadlines of their own, as over HTTP/1.1.

use super::connection::{ClientStream, Connection, Over};
use super::request_stream::{Company, RequestStream, Seat};
use super::{HEADER_ROOM_BYTES, crew};
use crate::router::core::Core;
use crate::router::origin::Origin;
use crate::router::session::{Client, Session};
use crate::router::streams::Stream;
use crate::router::waits::{NEVER, Signal, Ticket};
use logic::http2::client::{Begun, Offence};
use logic::http2::frame::Reason;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use wire::router::Timeouts;

/// How long a client may take to go once it was asked to and has no request. Five seconds: a few round trips.
const LEAVE_MS: u64 = 5_000;
/// After which time a connection is asked to be made anew, so that clients spread over threads and routers again, and
/// what a connection remembers for its headers is thrown away. One hour: nobody notices a connection each hour.
const AGE_MAX_MS: u64 = 60 * 60 * 1000;
/// How long a client may go on reading after the end. Half a minute, as long as a router that stops waits for requests.
const LINGER_MAX_MS: u64 = 30_000;
/// How much of what a client says after the end is thrown away. 1 MiB: it acknowledges what it reads, and no more.
const LINGER_MAX_BYTES: usize = 1 << 20;
/// The body bytes that are read with a head, so that a small request goes to its member in one piece.
const BODY_WITH_HEAD_MAX_BYTES: usize = 16 * 1024;

struct Front {
    core: Rc<Core>,
    origin: Rc<Origin>,
    ticket: Ticket,
    connection: Rc<RefCell<Connection>>,
    company: Rc<Company>,
    timeouts: Timeouts,
    /// When its last request was over, or when it began.
    idle_since_us: Cell<u64>,
    is_leaving: Cell<bool>,
    /// It ended by a mistake or a flood, or is gone.
    is_broken: Cell<bool>,
    old_at_us: u64,
    /// Its place among the thread's.
    key: usize,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.connection.borrow_mut().close(&mut Context::from_waker(Waker::noop()));
        self.core.companies.leave(self.key);
    }
}

/// Serves the connection of a session whose client has begun with HTTP/2.
pub async fn serve(session: Session) {
    let Session { ticket, client } = session;
    let Client { core, stream, origin, surplus, .. } = client;
    // Streams have no socket that could be asked.
    let origin = Origin::with_addresses(origin, &stream);
    let (limits, timeouts) = {
        let settings = core.settings.borrow();
        (settings.limits, settings.timeouts)
    };
    let local = stream.socket().and_then(|socket| socket.local_addr().ok());
    let port = local.map_or(0, |local| local.port());
    // What is only a little too large is refused in our own words.
    let list_size_max = limits.head_size_max_bytes + limits.header_count_max * HEADER_ROOM_BYTES;
    let connection = Connection::new(&core.waits, stream, list_size_max as usize);
    ticket.set_idle(true);
    let company = Rc::new(Company {
        count: Cell::new(0),
        of_thread: core.streams.clone(),
        port,
        is_unwanted: Cell::new(false),
        waker: RefCell::new(Waker::noop().clone()),
    });
    let key = core.companies.enter(&company);
    let idle_since_us = Cell::new(ticket.now_us());
    let old_at_us = ticket.in_ms(AGE_MAX_MS);
    let is_leaving = Cell::new(false);
    let connection = Rc::new(RefCell::new(connection));
    let front = Front {
        core,
        origin,
        ticket,
        connection,
        company,
        timeouts,
        idle_since_us,
        is_leaving,
        is_broken: Cell::new(false),
        old_at_us,
        key,
    };
    let began = front.connection.borrow_mut().take(&front.core, &surplus);
    match began {
        Ok(()) => front.run().await,
        Err(over) => front.end(over, &mut Context::from_waker(Waker::noop())),
    }
}

impl Front {
    async fn run(&self) {
        loop {
            let ended = self.ticket.until(self.deadline(), |context| self.poll(context)).await;
            match ended {
                Ok(()) if self.is_leaving.get() && !self.is_broken.get() => return self.linger().await,
                Ok(()) => return,
                // Something happened at the last moment.
                Err(Signal::Deadline) if self.deadline() > self.ticket.now_us() => {}
                Err(Signal::Deadline) if self.company.count.get() > 0 => self.ask_to_leave(),
                Err(Signal::Deadline)
                    if self.is_leaving.get() || self.connection.borrow().machine.has_unsent() =>
                {
                    return tracing::debug!(client = &*self.origin.address, "an HTTP/2 client takes nothing");
                }
                Err(Signal::Deadline) if !self.connection.borrow().machine.has_settings() => {
                    return tracing::debug!(client = &*self.origin.address, "HTTP/2 did not begin");
                }
                Err(Signal::Deadline) => self.ask_to_leave(),
                Err(Signal::Stopping | Signal::MemberLost | Signal::Doubted) => {}
            }
        }
    }

    /// Waits for the client to close. What it says while it reads its last answers would otherwise meet a closed
    /// socket, and the reset that follows takes those answers from it.
    async fn linger(&self) {
        let last_us = self.ticket.in_ms(LINGER_MAX_MS);
        let (mut deadline, mut thrown_away) = (self.ticket.in_ms(LEAVE_MS), 0);
        while thrown_away < LINGER_MAX_BYTES {
            let read = |context: &mut Context<'_>| {
                self.connection.borrow_mut().poll_discard(&mut self.core.scratch.borrow_mut(), context)
            };
            match self.ticket.until(deadline, read).await {
                Ok(Ok(bytes)) if bytes > 0 => {
                    thrown_away += bytes;
                    deadline = self.ticket.in_ms(LEAVE_MS).min(last_us);
                }
                Err(Signal::Stopping | Signal::MemberLost | Signal::Doubted) => {}
                Ok(Ok(_) | Err(_)) | Err(Signal::Deadline) => return,
            }
        }
    }

    fn ask_to_leave(&self) {
        if !self.is_leaving.replace(true) {
            self.idle_since_us.set(self.ticket.now_us());
            self.connection.borrow_mut().machine.ask_to_leave();
        }
    }

    /// Takes requests and moves frames; ready when the connection is over.
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if !self.company.waker.borrow().will_wake(context.waker()) {
            *self.company.waker.borrow_mut() = context.waker().clone();
            self.connection.borrow_mut().task = context.waker().clone();
        }
        if self.company.is_unwanted.get() || self.core.is_stopping.get() {
            self.ask_to_leave();
        }
        loop {
            let read = self.connection.borrow_mut().poll_input(&self.core, context);
            self.take_begun(context);
            match read {
                Poll::Ready(Ok(())) => continue,
                Poll::Ready(Err(over)) => {
                    self.end(over, context);
                    return Poll::Ready(());
                }
                Poll::Pending => {}
            }
            let mut connection = self.connection.borrow_mut();
            let was_clogged = connection.machine.is_clogged();
            match connection.poll_send(context) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) if was_clogged => continue,
                Poll::Ready(Ok(())) if connection.machine.is_done() => return Poll::Ready(()),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            drop(connection);
            self.ticket.postpone(self.deadline());
            return Poll::Pending;
        }
    }

    /// Says what is to be said, as far as that is possible at once.
    fn end(&self, over: Over, context: &mut Context<'_>) {
        self.is_broken.set(true);
        let reason = match over {
            Over::Gone => return,
            Over::By(Offence::Wrong(reason)) => {
                tracing::debug!(client = &*self.origin.address, ?reason, "an HTTP/2 connection broke off");
                reason
            }
            Over::By(Offence::Flood) => {
                if self.core.may_tell() {
                    tracing::info!(client = &*self.origin.address, "a client floods its HTTP/2 connection");
                }
                Reason::EnhanceYourCalm
            }
        };
        let connection = &mut *self.connection.borrow_mut();
        connection.machine.end(reason);
        let _ = connection.poll_send(context);
    }

    /// When nothing of what is expected has happened for too long.
    fn deadline(&self) -> u64 {
        let connection = self.connection.borrow();
        let after = |since_us: u64, ms: u64| since_us.saturating_add(ms.saturating_mul(1000));
        let old_at_us = if self.is_leaving.get() { NEVER } else { self.old_at_us };
        if self.company.count.get() > 0 {
            // The requests under way have deadlines of their own.
            self.idle_since_us.set(self.ticket.now_us());
            return old_at_us;
        }
        let silent_at_us = match () {
            () if !connection.machine.has_settings() => {
                after(self.idle_since_us.get(), self.timeouts.head_ms)
            }
            () if connection.machine.has_unsent() => {
                after(connection.sent_us.max(self.idle_since_us.get()), self.timeouts.response_ms)
            }
            () => NEVER,
        };
        let idle_ms = if self.is_leaving.get() { LEAVE_MS } else { self.timeouts.idle_ms };
        after(self.idle_since_us.get(), idle_ms).min(silent_at_us).min(old_at_us)
    }

    /// Begins a session for each request that has come.
    fn take_begun(&self, context: &mut Context<'_>) {
        loop {
            let Some(begun) = self.connection.borrow_mut().take_begun() else { return };
            self.begin(begun, context);
        }
    }

    fn begin(&self, begun: Begun, context: &mut Context<'_>) {
        let Begun { key, head: mut bytes, shape, has_ended } = begun;
        let stream = ClientStream::new(&self.connection, key);
        if self.core.streams.get() as usize >= self.core.sessions_max.get() {
            // The client may ask again, here or elsewhere: nobody has seen the request.
            stream.reset(Reason::RefusedStream);
            stream.leave();
            return self.core.count(|totals| totals.refused += 1);
        }
        let seat = Seat::take(&self.company);
        let mut stream = RequestStream::new(stream, shape, has_ended, seat);
        stream.read_at_hand(context, BODY_WITH_HEAD_MAX_BYTES, &mut bytes);
        let stream = Stream::Http2Client(Box::new(stream));
        let client = Client::new(self.core.clone(), stream, self.origin.clone(), bytes);
        let session = Session { ticket: Ticket::new(&self.core.waits), client };
        crew::carry(&self.core, session);
    }
}
