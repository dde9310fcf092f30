//! The bytes below one HTTP/2 connection to a member, written in few pieces.
//!
//! Frames that are written together leave together: the h2 crate flushes after each large one, so its flush does
//! nothing and `poll_send` is called when it has written all.

use crate::router::streams::Stream;
use crate::router::waits::Waits;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are collected before they must be sent. 64 KiB: as much as the thread reads at once.
const UNSENT_MAX_BYTES: usize = 64 * 1024;
/// A larger buffer than this is given back once it is sent.
const KEPT_BYTES: usize = 4 * 1024;

#[derive(Debug)]
struct Carrier {
    waits: Rc<Waits>,
    stream: Stream,
    unsent: Vec<u8>,
    sent: usize,
    /// When bytes came last: microseconds of the thread's clock.
    received_us: u64,
}

/// A handle; one belongs to the h2 crate, the other to the connection's task.
#[derive(Debug, Clone)]
pub struct Shared(Rc<RefCell<Carrier>>);

impl Shared {
    pub fn new(waits: &Rc<Waits>, stream: Stream) -> Self {
        let received_us = waits.now_us();
        let waits = waits.clone();
        Self(Rc::new(RefCell::new(Carrier { waits, stream, unsent: Vec::new(), sent: 0, received_us })))
    }

    /// Sends what was written; ready when all of it has left.
    pub fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(context)
    }

    pub fn received_us(&self) -> u64 {
        self.0.borrow().received_us
    }
}

impl Carrier {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let stream = Pin::new(&mut self.stream);
            let count = ready!(stream.poll_write(context, &self.unsent[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.sent = 0;
        self.unsent.clear();
        if self.unsent.capacity() > KEPT_BYTES {
            self.unsent = Vec::new();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }
}

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let carrier = &mut *self.0.borrow_mut();
        ready!(Pin::new(&mut carrier.stream).poll_read(context, buffer))?;
        carrier.received_us = carrier.waits.now_us();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let carrier = &mut *self.0.borrow_mut();
        if carrier.unsent.len() >= UNSENT_MAX_BYTES {
            ready!(carrier.poll_send(context))?;
        }
        let count = bytes.len().min(UNSENT_MAX_BYTES);
        carrier.unsent.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    /// See the top of the file.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let carrier = &mut *self.0.borrow_mut();
        ready!(carrier.poll_send(context))?;
        Pin::new(&mut carrier.stream).poll_shutdown(context)
    }
}
