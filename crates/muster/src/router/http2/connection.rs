//! One client's HTTP/2 connection: its socket, and who is woken when something of it moves.
//!
//! The connection's task reads and sends; the sessions of its streams write into the machine and have the task woken once.
//! Not here: what frames mean and what waits (see `logic::http2::client`), and HTTP/1.1 (see `request_stream`).

use super::request_stream::challenge;
use crate::router::core::Core;
use crate::router::streams::Stream;
use crate::router::waits::Waits;
use logic::hpack::Encoder;
use logic::http2::client::{Begun, GivenUp, Machine, Offence, Part};
use logic::http2::frame::Reason;
use logic::time::Time;
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug)]
pub struct Connection {
    waits: Rc<Waits>,
    /// None when the connection is over.
    socket: Option<Stream>,
    pub machine: Machine,
    /// Of the streams' sessions, by key.
    wakers: Vec<Option<Waker>>,
    /// The task that sends, and whether it was woken for that.
    pub task: Waker,
    is_woken: bool,
    /// When the last bytes left: microseconds of the thread's clock.
    pub sent_us: u64,
}

/// Why a connection comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It is closed, or broken.
    Gone,
    By(Offence),
}

impl Connection {
    /// Says what the client must know first.
    pub fn new(waits: &Rc<Waits>, socket: Stream, list_size_max: usize) -> Self {
        let now_us = waits.now_us();
        Self {
            waits: waits.clone(),
            socket: Some(socket),
            machine: Machine::new(Time(now_us / 1000), list_size_max, challenge),
            wakers: Vec::new(),
            task: Waker::noop().clone(),
            is_woken: false,
            sent_us: now_us,
        }
    }

    /// Reads once, and does what the frames say.
    pub fn poll_input(&mut self, core: &Core, context: &mut Context<'_>) -> Poll<Result<(), Over>> {
        if self.machine.is_clogged() {
            return Poll::Pending;
        }
        let Some(socket) = &mut self.socket else { return Poll::Ready(Err(Over::Gone)) };
        let mut scratch = core.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        if ready!(Pin::new(socket).poll_read(context, &mut buffer)).is_err() || buffer.filled().is_empty() {
            return Poll::Ready(Err(Over::Gone));
        }
        Poll::Ready(self.take(core, buffer.filled()))
    }

    /// Does what the frames in these bytes say.
    pub fn take(&mut self, core: &Core, bytes: &[u8]) -> Result<(), Over> {
        let now = Time(self.waits.now_us() / 1000);
        let taken = self.machine.receive(now, bytes, &mut core.spare_buffers.borrow_mut());
        self.wake_streams();
        taken.map_err(Over::By)
    }

    pub fn take_begun(&mut self) -> Option<Begun> {
        self.machine.take_begun()
    }

    /// Has the task send what was written.
    fn wake_task(&mut self) {
        if self.machine.has_unsent() && !std::mem::replace(&mut self.is_woken, true) {
            self.task.wake_by_ref();
        }
    }

    fn wake_streams(&mut self) {
        while let Some(key) = self.machine.take_woken() {
            if let Some(Some(waker)) = self.wakers.get(key) {
                waker.wake_by_ref();
            }
        }
    }

    fn register(&mut self, key: usize, context: &Context<'_>) {
        if self.wakers.len() <= key {
            self.wakers.resize(key + 1, None);
        }
        match &self.wakers[key] {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => self.wakers[key] = Some(context.waker().clone()),
        }
    }

    /// Sends what was written; ready when all of it has left.
    pub fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_woken = false;
        let Some(socket) = &mut self.socket else { return Poll::Ready(Err(ErrorKind::BrokenPipe.into())) };
        while self.machine.has_unsent() {
            let count = ready!(Pin::new(&mut *socket).poll_write(context, self.machine.unsent()))?;
            if count == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.machine.was_sent(count);
            self.sent_us = self.waits.now_us();
        }
        let flushed = Pin::new(socket).poll_flush(context);
        self.machine.all_was_sent();
        self.wake_streams();
        flushed
    }

    /// Ends our direction, and throws away what comes; ready with how many bytes that were, none at the end.
    pub fn poll_discard(&mut self, scratch: &mut [u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(socket) = &mut self.socket else { return Poll::Ready(Ok(0)) };
        // Done already where it was called before.
        let _ = Pin::new(&mut *socket).poll_shutdown(context);
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Lets go of the socket; whoever has a stream hears of it.
    pub fn close(&mut self, context: &mut Context<'_>) {
        if let Some(mut socket) = self.socket.take() {
            let _ = Pin::new(&mut socket).poll_shutdown(context);
        }
        self.machine.close();
        self.wake_streams();
    }
}

/// One stream of a connection, for its session.
#[derive(Debug, Clone)]
pub struct ClientStream {
    connection: Rc<RefCell<Connection>>,
    key: usize,
}

impl ClientStream {
    pub fn new(connection: &Rc<RefCell<Connection>>, key: usize) -> Self {
        Self { connection: connection.clone(), key }
    }

    /// Sends a block of headers, which may end the answer.
    pub fn send_block(
        &self,
        is_end: bool,
        fields: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> io::Result<()> {
        let connection = &mut *self.connection.borrow_mut();
        connection.machine.send_block(self.key, is_end, fields).map_err(given_up)?;
        connection.wake_task();
        Ok(())
    }

    /// How many of so many bytes `send_data` takes now.
    pub fn room(&self, wanted: usize) -> usize {
        self.connection.borrow().machine.room(self.key, wanted)
    }

    /// Sends a part of the body for which there is room.
    pub fn send_data(&self, bytes: &[u8], is_end: bool) -> io::Result<()> {
        let connection = &mut *self.connection.borrow_mut();
        connection.machine.send_data(self.key, bytes, is_end).map_err(given_up)?;
        connection.wake_task();
        Ok(())
    }

    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = &mut *self.connection.borrow_mut();
        if connection.machine.ask_for_room(self.key).map_err(given_up)? {
            return Poll::Ready(Ok(()));
        }
        connection.register(self.key, context);
        Poll::Pending
    }

    /// Ready when the client has given the stream up, or the connection is over.
    pub fn poll_reset(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        let connection = &mut *self.connection.borrow_mut();
        if connection.machine.is_given_up(self.key) {
            return Poll::Ready(given_up(GivenUp));
        }
        connection.register(self.key, context);
        Poll::Pending
    }

    /// Received payload; None at its end.
    pub fn poll_data(&self, context: &mut Context<'_>) -> Poll<Option<io::Result<Vec<u8>>>> {
        let connection = &mut *self.connection.borrow_mut();
        match connection.machine.take_part(self.key) {
            Part::Bytes(bytes) => Poll::Ready(Some(Ok(bytes))),
            Part::GivenUp => Poll::Ready(Some(Err(given_up(GivenUp)))),
            Part::End => Poll::Ready(None),
            Part::Nothing => {
                connection.register(self.key, context);
                Poll::Pending
            }
        }
    }

    /// What follows the payload, as lines.
    pub fn take_trailers(&self) -> Vec<u8> {
        self.connection.borrow_mut().machine.take_trailers(self.key)
    }

    /// Payload was passed on.
    pub fn release(&self, count: usize) {
        let connection = &mut *self.connection.borrow_mut();
        connection.machine.release(self.key, count);
        connection.wake_task();
    }

    /// Gives the stream up.
    pub fn reset(&self, reason: Reason) {
        let connection = &mut *self.connection.borrow_mut();
        connection.machine.reset(self.key, reason);
        connection.wake_task();
    }

    /// Leaves the stream for good: unless both sides are through, the client is told.
    pub fn leave(&self) {
        let connection = &mut *self.connection.borrow_mut();
        connection.machine.leave(self.key);
        if let Some(waker) = connection.wakers.get_mut(self.key) {
            *waker = None;
        }
        connection.wake_task();
    }
}

fn given_up(_: GivenUp) -> io::Error {
    ErrorKind::ConnectionReset.into()
}
