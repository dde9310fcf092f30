//! The node's lease where those see it who end groups without it: memory that the agent writes, and guardians and the warden read.
//!
//! To tell each of them each renewal would wake hundreds of processes several times a second. They look when the time that they
//! know of is over. Its descriptor comes with the first byte of a companion's input; what is read there cannot be changed by it.

use logic::lease::Span;
use logic::time::Time;
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// The number of the span, its end in milliseconds since the machine was started, and what tells a record that is being written.
const RECORD_BYTES: usize = 24;
/// How often a record that is being written is read again. 1,000: writing it takes a microsecond.
const TRIES_MAX: usize = 1_000;
/// Comes with the descriptor.
const FIRST: [u8; 1] = [b'\n'];

/// The agent's side.
#[derive(Debug)]
pub struct Board(File);

impl Board {
    /// Nobody has a lease.
    pub fn new() -> io::Result<Self> {
        let board = Self(File::from(memfd_create(c"lease", MemfdFlags::CLOEXEC)?));
        board.write(Span::default())?;
        Ok(board)
    }

    /// The time is that of the machine's own clock: milliseconds since it was started.
    pub fn write(&self, span: Span) -> io::Result<()> {
        self.0.write_all_at(&record(span), 0)
    }

    /// Lets who has the other end of this socket read it.
    pub fn share(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        let reader = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [reader.as_fd()];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(socket, &[IoSlice::new(&FIRST)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// The side of a companion.
#[derive(Debug)]
pub struct BoardReader(File);

impl BoardReader {
    /// Waits for what comes first on this socket. An error where the agent is gone, or sends something else.
    pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let mut first = FIRST;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        recvmsg(socket, &mut [IoSliceMut::new(&mut first)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let descriptors = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptor = descriptors.flatten().next().ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Self(File::from(descriptor)))
    }

    /// What cannot be read is a lease that has ended.
    pub fn read(&self) -> Span {
        let mut bytes = [0; RECORD_BYTES];
        for _ in 0..TRIES_MAX {
            if self.0.read_exact_at(&mut bytes, 0).is_err() {
                break;
            }
            if let Some(span) = span(&bytes) {
                return span;
            }
        }
        Span::default()
    }
}

/// Different for each pair of numbers that differ in one of them.
fn check(number: u64, until: u64) -> u64 {
    !(number ^ until.rotate_left(32))
}

fn record(span: Span) -> [u8; RECORD_BYTES] {
    let Span { number, until: Time(until) } = span;
    let mut bytes = [0; RECORD_BYTES];
    for (place, part) in bytes.chunks_exact_mut(8).zip([number, until, check(number, until)]) {
        place.copy_from_slice(&part.to_ne_bytes());
    }
    bytes
}

/// None: it is being written.
fn span(bytes: &[u8; RECORD_BYTES]) -> Option<Span> {
    let part = |at: usize| bytes[at..at + 8].try_into().map(u64::from_ne_bytes).ok();
    let (number, until) = (part(0)?, part(8)?);
    (part(16)? == check(number, until)).then_some(Span { number, until: Time(until) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_the_agent_writes_is_read_at_the_other_end_of_a_socket_and_cannot_be_changed_there() {
        let board = Board::new().expect("there is memory");
        let (ours, theirs) = UnixStream::pair().expect("sockets can be made");
        board.share(ours.as_fd()).expect("the socket is empty");
        let reader = BoardReader::receive(theirs.as_fd()).expect("it was sent");
        assert_eq!(reader.read(), Span::default());
        let span = Span { number: 7, until: Time(u64::MAX) };
        board.write(span).expect("there is memory");
        assert_eq!(reader.read(), span);
        assert!(reader.0.write_at(&[1], 0).is_err());
        drop(ours);
        assert!(BoardReader::receive(theirs.as_fd()).is_err(), "nobody is there");
    }

    #[test]
    fn a_record_that_is_being_written_is_none() {
        let old = record(Span { number: 1, until: Time(1_000) });
        for new in [Span { number: 1, until: Time(1_151) }, Span { number: 2, until: Time(9_000) }] {
            let new = record(new);
            for written in 1..RECORD_BYTES {
                let mut bytes = old;
                bytes[..written].copy_from_slice(&new[..written]);
                let is_one = bytes == old || bytes == new;
                assert_eq!(span(&bytes).is_some(), is_one, "{written} bytes of it");
            }
        }
    }
}
