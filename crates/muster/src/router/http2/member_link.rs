//! Connections to one member that speaks HTTP/2: each carries many requests of the thread.
//!
//! Promise: a connection that the member is leaving, that is broken, or that has been silent while a request waited in
//! vain gets no further request; those that it has go on. Not here: one request (see `member_stream`).

use super::carrier::Shared;
use super::member_stream::MemberStream;
use super::{
    CONNECTION_WINDOW_BYTES, MEMBER_SMALL_FRAMES_BYTES, STREAM_UNSENT_MAX_BYTES, STREAM_WINDOW_BYTES,
};
use crate::router::core::Core;
use crate::router::streams::Stream;
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::uri::Scheme;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// Requests on a connection before the member has said how many it takes. 100: what servers commonly do; one that takes
/// fewer refuses the others, and they are sent again.
const STREAMS_FIRST_MAX: usize = 100;
/// A connection on which nothing came for so long, although a request waited until it was given up, is used no more:
/// its member may be gone without a word. Two seconds: a lost packet is sent again within one.
const SILENT_MS: u64 = 2_000;
/// Bytes of the headers of one answer. 64 KiB: twice what requests may have.
const HEADER_LIST_MAX_BYTES: u32 = 64 * 1024;

#[derive(Debug)]
pub struct Link {
    sender: SendRequest<Bytes>,
    carrier: Shared,
    core: Rc<Core>,
    scheme: Scheme,
    active: Cell<usize>,
    /// Since when it has had nothing to do.
    idle_since_us: Cell<u64>,
    /// It gets no further request.
    is_retired: Rc<Cell<bool>>,
}

impl Link {
    /// Begins HTTP/2 on a new connection.
    pub async fn open(core: &Rc<Core>, stream: Stream) -> io::Result<Rc<Self>> {
        let scheme = if stream.as_tcp().is_some() { Scheme::HTTP } else { Scheme::HTTPS };
        let carrier = Shared::new(&core.waits, stream);
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(STREAMS_FIRST_MAX)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEADER_LIST_MAX_BYTES)
            .data_frame_budget(MEMBER_SMALL_FRAMES_BYTES)
            .max_send_buffer_size(STREAM_UNSENT_MAX_BYTES);
        // Does not wait: what it writes is collected by the carrier.
        let (sender, connection) = builder.handshake(carrier.clone()).await.map_err(super::broken)?;
        let is_retired = Rc::new(Cell::new(false));
        let link = Self {
            sender,
            carrier: carrier.clone(),
            core: core.clone(),
            scheme,
            active: Cell::new(0),
            idle_since_us: Cell::new(core.waits.now_us()),
            is_retired: is_retired.clone(),
        };
        // Owned by the thread's LocalSet; it ends when nobody holds the link and its last request is over.
        tokio::task::spawn_local(drive(core.clone(), connection, carrier, is_retired));
        Ok(Rc::new(link))
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme.clone()
    }

    pub fn begin(&self) {
        self.active.set(self.active.get() + 1);
    }

    /// A request that began then is over.
    pub fn end(&self, since_us: u64, is_unanswered: bool) {
        self.active.set(self.active.get() - 1);
        let now_us = self.core.waits.now_us();
        self.idle_since_us.set(now_us);
        let waited_us = now_us.saturating_sub(since_us);
        if is_unanswered && waited_us > SILENT_MS * 1000 && self.carrier.received_us() < since_us {
            self.is_retired.set(true);
        }
    }

    fn has_room(&self) -> bool {
        self.active.get() < self.sender.current_max_send_streams()
    }
}

/// Moves the frames of a connection until it is over.
async fn drive(
    core: Rc<Core>,
    mut connection: Connection<Shared, Bytes>,
    carrier: Shared,
    is_retired: Rc<Cell<bool>>,
) {
    let ended = poll_fn(|context| {
        core.waits.refresh();
        let ended = Pin::new(&mut connection).poll(context);
        if let Poll::Ready(Err(error)) = carrier.poll_send(context) {
            return Poll::Ready(Err(h2::Error::from(h2::Reason::CONNECT_ERROR)).inspect_err(|_| {
                tracing::debug!(%error, "a member takes no more frames");
            }));
        }
        ended
    })
    .await;
    is_retired.set(true);
    if let Err(error) = ended {
        tracing::debug!(%error, "a member's HTTP/2 connection broke off");
    }
}

/// The connections to one member that take requests.
#[derive(Debug, Default)]
pub struct Links(RefCell<Vec<Rc<Link>>>);

impl Links {
    /// Room for a request on a connection that is there. With `most` connections requests queue on them.
    pub fn take(&self, most: usize) -> Option<MemberStream> {
        let mut links = self.0.borrow_mut();
        links.retain(|link| !link.is_retired.get());
        let has_all = links.len() >= most.max(1);
        let link =
            links.iter().filter(|link| has_all || link.has_room()).min_by_key(|link| link.active.get())?;
        Some(MemberStream::new(link, link.sender.clone(), link.core.waits.now_us()))
    }

    /// Uses a new connection for a request, and keeps it for others.
    pub async fn add(&self, core: &Rc<Core>, stream: Stream, is_kept: bool) -> io::Result<MemberStream> {
        let link = Link::open(core, stream).await?;
        let stream = MemberStream::new(&link, link.sender.clone(), core.waits.now_us());
        if is_kept {
            self.0.borrow_mut().push(link);
        }
        Ok(stream)
    }

    /// Closes connections that have had nothing to do for so long.
    pub fn close_idle(&self, now_us: u64, idle_ms: u64) {
        let is_in_use = |link: &Rc<Link>| {
            link.active.get() > 0
                || now_us.saturating_sub(link.idle_since_us.get()) < idle_ms.saturating_mul(1000)
        };
        self.0.borrow_mut().retain(is_in_use);
    }

    /// Gives no further request to any of them.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
