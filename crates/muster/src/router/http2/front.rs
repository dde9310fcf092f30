//! A client's connection that speaks HTTP/2: takes its streams and makes each a session of one request.
//!
//! Ends by itself: asked to when the router stops or the client has asked for nothing for `idle_ms`, at once when it
//! floods us or takes nothing of what is there for it. Requests have deadlines of their own, as over HTTP/1.1.

use super::carrier::Shared;
use super::request_stream::{Company, RequestStream, Seat};
use super::{
    CLIENT_SMALL_FRAMES_BYTES, CONNECTION_WINDOW_BYTES, HEADER_ROOM_BYTES, STREAM_UNSENT_MAX_BYTES,
    STREAM_WINDOW_BYTES, STREAMS_MAX, UNSEEN_RESETS_MAX,
};
use crate::router::core::Core;
use crate::router::origin::Origin;
use crate::router::session::{Client, Session, converse};
use crate::router::streams::Stream;
use crate::router::waits::{NEVER, Signal, Ticket};
use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use wire::router::{Limits, Timeouts};

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
    carrier: Shared,
    company: Rc<Company>,
    timeouts: Timeouts,
    /// When its last request was over, or when it began.
    idle_since_us: Cell<u64>,
    is_leaving: Cell<bool>,
    old_at_us: u64,
    /// Its place among the thread's.
    key: usize,
}

impl Drop for Front {
    fn drop(&mut self) {
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
    let carrier = Shared::new(&core.waits, stream, surplus, true);
    let mut handshake = pin!(builder(&limits).handshake(carrier.clone()));
    let deadline = ticket.in_ms(timeouts.head_ms);
    let made = ticket
        .until(deadline, |context| {
            let made = handshake.as_mut().poll(context);
            match carrier.poll_send(context) {
                Poll::Ready(Err(_)) => Poll::Ready(Err(Reason::CONNECT_ERROR.into())),
                // What is not sent now is sent with what follows.
                Poll::Ready(Ok(())) | Poll::Pending => made,
            }
        })
        .await;
    let mut connection = match made {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "HTTP/2 did not begin"),
        Err(_) => return,
    };
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
    let front =
        Front { core, origin, ticket, carrier, company, timeouts, idle_since_us, is_leaving, old_at_us, key };
    front.run(&mut connection).await;
}

fn builder(limits: &Limits) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    // What is only a little too large is refused in our own words.
    let list_size = limits.head_size_max_bytes + limits.header_count_max * HEADER_ROOM_BYTES;
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(list_size)
        .max_send_buffer_size(STREAM_UNSENT_MAX_BYTES)
        .data_frame_budget(CLIENT_SMALL_FRAMES_BYTES)
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .enable_connect_protocol();
    builder
}

type Http2 = Connection<Shared, Bytes>;

impl Front {
    async fn run(&self, connection: &mut Http2) {
        loop {
            let ended =
                self.ticket.until(self.deadline(connection), |context| self.poll(connection, context)).await;
            match ended {
                Ok(()) if self.is_leaving.get() && !self.carrier.is_flooding() => return self.linger().await,
                Ok(()) => return,
                // Something happened at the last moment.
                Err(Signal::Deadline) if self.deadline(connection) > self.ticket.now_us() => {}
                Err(Signal::Deadline) if self.company.count.get() > 0 => self.ask_to_leave(connection),
                Err(Signal::Deadline) if self.is_leaving.get() || connection.has_streams() => {
                    return tracing::debug!(client = &*self.origin.address, "an HTTP/2 client takes nothing");
                }
                Err(Signal::Deadline) => self.ask_to_leave(connection),
                Err(Signal::Stopping | Signal::MemberLost) => {}
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
                self.carrier.poll_discard(&mut self.core.scratch.borrow_mut(), context)
            };
            match self.ticket.until(deadline, read).await {
                Ok(Ok(bytes)) if bytes > 0 => {
                    thrown_away += bytes;
                    deadline = self.ticket.in_ms(LEAVE_MS).min(last_us);
                }
                Err(Signal::Stopping | Signal::MemberLost) => {}
                Ok(Ok(_) | Err(_)) | Err(Signal::Deadline) => return,
            }
        }
    }

    fn ask_to_leave(&self, connection: &mut Http2) {
        if !self.is_leaving.replace(true) {
            self.idle_since_us.set(self.ticket.now_us());
            connection.graceful_shutdown();
        }
    }

    /// Takes requests and moves frames; ready when the connection is over.
    fn poll(&self, connection: &mut Http2, context: &mut Context<'_>) -> Poll<()> {
        if !self.company.waker.borrow().will_wake(context.waker()) {
            *self.company.waker.borrow_mut() = context.waker().clone();
        }
        if self.company.is_unwanted.get() || self.core.is_stopping.get() {
            self.ask_to_leave(connection);
        }
        let is_over = loop {
            match connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => self.take(request, respond, context),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(client = &*self.origin.address, %error, "an HTTP/2 connection broke off");
                    break true;
                }
                Poll::Ready(None) => break true,
                Poll::Pending if self.carrier.is_flooding() => {
                    if self.core.may_tell() {
                        tracing::info!(
                            client = &*self.origin.address,
                            "a client floods its HTTP/2 connection"
                        );
                    }
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    // Writes what is to be said, as far as that is possible at once.
                    let _ = connection.poll_closed(context);
                    break true;
                }
                Poll::Pending => break false,
            }
        };
        match self.carrier.poll_send(context) {
            Poll::Ready(Ok(())) | Poll::Pending if !is_over => {
                self.ticket.postpone(self.deadline(connection));
                Poll::Pending
            }
            Poll::Ready(_) | Poll::Pending => Poll::Ready(()),
        }
    }

    /// When nothing of what is expected has happened for too long.
    fn deadline(&self, connection: &Http2) -> u64 {
        let after = |since_us: u64, ms: u64| since_us.saturating_add(ms.saturating_mul(1000));
        let old_at_us = if self.is_leaving.get() { NEVER } else { self.old_at_us };
        if self.company.count.get() > 0 {
            // The requests under way have deadlines of their own.
            self.idle_since_us.set(self.ticket.now_us());
            return old_at_us;
        }
        let silent_at_us = if connection.has_streams() {
            after(self.carrier.sent_us().max(self.idle_since_us.get()), self.timeouts.response_ms)
        } else {
            NEVER
        };
        let idle_ms = if self.is_leaving.get() { LEAVE_MS } else { self.timeouts.idle_ms };
        after(self.idle_since_us.get(), idle_ms).min(silent_at_us).min(old_at_us)
    }

    /// Begins a session for one request.
    fn take(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        context: &mut Context<'_>,
    ) {
        if self.core.streams.get() as usize >= self.core.sessions_max.get() {
            // The client may ask again, here or elsewhere: nobody has seen the request.
            respond.send_reset(Reason::REFUSED_STREAM);
            return self.core.count(|totals| totals.refused += 1);
        }
        let mut bytes = self.core.take_buffer();
        let seat = Seat::take(&self.company);
        let mut stream = RequestStream::new(request, respond, seat, &mut bytes);
        stream.read_at_hand(context, BODY_WITH_HEAD_MAX_BYTES, &mut bytes);
        let stream = Stream::Http2Client(Box::new(stream));
        let client = Client::new(self.core.clone(), stream, self.origin.clone(), bytes);
        let session = Session { ticket: Ticket::new(&self.core.waits), client };
        // Owned by the thread's LocalSet and counted by its ticket: `thread::run` waits for it.
        tokio::task::spawn_local(converse(session));
    }
}
