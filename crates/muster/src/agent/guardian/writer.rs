//! Takes what a group's programs say to its log, on a thread of its own: the guardian never waits for the log's disk.
//!
//! Promise: nothing is dropped because a disk is slow. Where there is no room for more, programs wait with what they say.

use crate::agent::keeper::log::Log;
use std::io;
use std::sync::mpsc as done;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Pieces that may wait for the disk. 16: a megabyte at most.
const PIECES_MAX: usize = 16;
/// How long the end waits for the last words. They take milliseconds; a disk that hangs keeps them.
const FINISH_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Writer {
    pieces: mpsc::Sender<Vec<u8>>,
    /// Ends with the thread.
    is_done: done::Receiver<()>,
}

impl Writer {
    /// The log is opened on the thread.
    pub fn start(open: impl FnOnce() -> Log + Send + 'static) -> io::Result<Self> {
        let (pieces, mut taken) = mpsc::channel::<Vec<u8>>(PIECES_MAX);
        let (done, is_done) = done::sync_channel::<()>(1);
        std::thread::Builder::new().name("log".into()).spawn(move || {
            let mut log = open();
            while let Some(piece) = taken.blocking_recv() {
                log.write(&piece);
            }
            drop(done);
        })?;
        Ok(Self { pieces, is_done })
    }

    pub fn has_room(&self) -> bool {
        self.pieces.capacity() > 0
    }

    /// Waits until there is room. May be cancelled.
    pub fn room(&self) -> impl Future<Output = ()> + use<> {
        let pieces = self.pieces.clone();
        async move {
            // An error means that the thread is gone: then all is taken and dropped, so that no program waits for ever.
            drop(pieces.reserve().await);
        }
    }

    /// There must be room.
    pub fn take(&self, piece: Vec<u8>) {
        match self.pieces.try_send(piece) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => unreachable!("whoever takes output looks for room before"),
        }
    }

    /// Waits for the last words, for a while.
    pub fn finish(self) {
        let Self { pieces, is_done } = self;
        drop(pieces);
        let _ = is_done.recv_timeout(FINISH_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::time::Instant;

    /// A pipe that nobody reads stands for a disk that hangs: opening it for writing would wait for ever.
    #[tokio::test]
    async fn a_log_that_hangs_keeps_programs_waiting_and_not_the_guardian() {
        let place = std::env::temp_dir().join(format!("muster-writer-{}", std::process::id()));
        mknodat(CWD, &place, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe can be made");
        let path = place.clone();
        let hang = move || {
            drop(std::fs::OpenOptions::new().write(true).open(&path));
            Log::new(path, 1 << 20, 0)
        };
        let writer = Writer::start(hang).expect("a thread can be started");
        for _ in 0..PIECES_MAX {
            assert!(writer.has_room());
            writer.take(b"said\n".to_vec());
        }
        assert!(!writer.has_room());
        let waited = tokio::time::timeout(Duration::from_millis(50), writer.room()).await;
        assert!(waited.is_err(), "there is no room while it hangs");
        let begun = Instant::now();
        writer.finish();
        assert!(begun.elapsed() < FINISH_WAIT + Duration::from_secs(30));
        // Lets the thread go.
        drop(std::fs::File::open(&place));
        let _ = std::fs::remove_file(place);
    }

    #[tokio::test]
    async fn all_that_was_said_is_in_the_log_when_it_is_finished() {
        let place = std::env::temp_dir().join(format!("muster-writer-{}.log", std::process::id()));
        let path = place.clone();
        let writer = Writer::start(move || Log::new(path, 1 << 20, 0)).expect("a thread can be started");
        for _ in 0..100 {
            writer.room().await;
            writer.take(b"said\n".to_vec());
        }
        writer.finish();
        assert_eq!(std::fs::read(&place).expect("it is written").len(), 500);
        let _ = std::fs::remove_file(place);
    }
}
