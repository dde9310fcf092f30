//! A file descriptor that can be waited for, and read without waiting whenever one likes.
//!
//! For pipes, pidfds and epolls. Unlike tokio's own pipe, reading does not depend on what the event loop has noticed so far,
//! so the last words of a process can be read the moment its exit is known.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

#[derive(Debug)]
pub struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// Makes `file` non-blocking and watches it. Must be called within a runtime. Fails for regular files.
    pub fn new(file: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::NONBLOCK)?;
        Self::watch(file)
    }

    /// For what is never read: a pidfd, an epoll.
    pub fn watch(file: OwnedFd) -> io::Result<Self> {
        // Its successor asks for a proof that the descriptor stays open and the same; an `OwnedFd` is that proof.
        #[expect(
            deprecated,
            reason = "the successor is unsafe, and what it guards against cannot happen here"
        )]
        let watched = AsyncFd::with_interest(file, Interest::READABLE)?;
        Ok(Self(watched))
    }

    /// Waits until there is something to read, or the end, or an error. May be cancelled: takes nothing.
    pub async fn ready(&self) {
        loop {
            // Fails only while the runtime shuts down; then the wait is dropped too.
            let Ok(mut guard) = self.0.readable().await else { return std::future::pending().await };
            let mut asked = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut asked, Some(&NOW)) {
                // News that came after `guard` was made survive this.
                Ok(0) => guard.clear_ready(),
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// What is there now: 0 bytes at the end, `WouldBlock` if there is nothing yet.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, buffer)?)
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Lines that come through a descriptor. `next` may be cancelled: what has been read stays here.
#[derive(Debug)]
pub struct Lines {
    file: Readable,
    read: Vec<u8>,
    line_max_bytes: usize,
}

impl Lines {
    pub fn new(file: OwnedFd, line_max_bytes: usize) -> io::Result<Self> {
        Ok(Self { file: Readable::new(file)?, read: Vec::new(), line_max_bytes })
    }

    /// The next line; None at the end, and after a line that is too long.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.next_now() {
                Ok(line) => return Some(line),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.file.ready().await,
                Err(_) => return None,
            }
        }
    }

    /// The next line if it is there already, else `WouldBlock`.
    pub fn next_now(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                return Ok(self.read.drain(..=end).collect());
            }
            if self.read.len() > self.line_max_bytes {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut buffer = [0; 4096];
            match self.file.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
