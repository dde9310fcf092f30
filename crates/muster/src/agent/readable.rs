//! A file descriptor that can be waited for, and read without waiting whenever one likes.
//!
//! For pipes and pidfds. Unlike tokio's own pipe, reading does not depend on what the event loop has noticed so far,
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

    /// For a pidfd, which is never read.
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
