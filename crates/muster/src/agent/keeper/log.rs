//! A log file that is turned over before it grows too large, between lines.
//!
//! Promises: never fails and never waits for anything but the file system; what cannot be written is counted. A file
//! exceeds its bound by at most one line of `LINE_MAX_BYTES`; older files are `NAME.1` (newest) to `NAME.N`.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// A line longer than this is cut between two files if it must be.
const LINE_MAX_BYTES: u64 = 64 << 10;
/// Pause between attempts to open a file that could not be opened, so that much output costs few attempts.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    size_max_bytes: u64,
    files_max: u32,
    may_turn_over: bool,
    file: Option<File>,
    size_bytes: u64,
    is_at_line_start: bool,
    opened_at: Option<Instant>,
    dropped_bytes: u64,
    /// Of the bytes dropped, those that the file does not mention yet.
    unmentioned_bytes: u64,
    trouble: Option<String>,
}

impl Log {
    pub fn new(path: PathBuf, size_max_bytes: u64, files_max: u32) -> Self {
        let mut log = Self {
            path,
            size_max_bytes,
            files_max,
            may_turn_over: false,
            file: None,
            size_bytes: 0,
            is_at_line_start: true,
            opened_at: None,
            dropped_bytes: 0,
            unmentioned_bytes: 0,
            trouble: None,
        };
        // Trouble shall be known before the member says its first word.
        log.reopen();
        log
    }

    /// Why output is being dropped, if it is.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    pub fn write(&mut self, bytes: &[u8]) {
        if self.file.is_none() && self.opened_at.is_none_or(|at| at.elapsed() >= REOPEN_PAUSE) {
            self.reopen();
        }
        if self.file.is_none() {
            return self.drop_bytes(bytes.len());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.room_for(rest));
            self.append(now);
            rest = later;
            if !rest.is_empty() {
                self.turn_over();
            }
        }
    }

    /// How many of `bytes` go into the current file: all lines that fit, at least one piece.
    fn room_for(&mut self, bytes: &[u8]) -> usize {
        let left = self.size_max_bytes.saturating_sub(self.size_bytes);
        if !self.may_turn_over || bytes.len() as u64 <= left {
            return bytes.len();
        }
        let fitting = &bytes[..left as usize];
        if let Some(at) = fitting.iter().rposition(|byte| *byte == b'\n') {
            return at + 1;
        }
        // Within a line: it may end in this file, but not go on for ever.
        let line_left = self.size_max_bytes.saturating_add(LINE_MAX_BYTES).saturating_sub(self.size_bytes);
        if line_left == 0 || (self.is_at_line_start && self.size_bytes > 0) {
            self.turn_over();
            return self.room_for(bytes);
        }
        let line = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        line.min(usize::try_from(line_left).unwrap_or(usize::MAX))
    }

    fn append(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return self.drop_bytes(bytes.len()) };
        if self.unmentioned_bytes > 0 && self.is_at_line_start {
            let mention = format!("-- muster dropped {} bytes of output here\n", self.unmentioned_bytes);
            let (written, outcome) = write_some(file, mention.as_bytes());
            self.size_bytes += written as u64;
            if outcome.is_ok() {
                self.unmentioned_bytes = 0;
            }
        }
        let (written, outcome) = write_some(file, bytes);
        self.size_bytes += written as u64;
        self.is_at_line_start = bytes.last() == Some(&b'\n');
        self.drop_bytes(bytes.len() - written);
        self.trouble = outcome.err().map(|error| format!("cannot write {}: {error}", self.path.display()));
    }

    fn drop_bytes(&mut self, count: usize) {
        self.dropped_bytes += count as u64;
        self.unmentioned_bytes += count as u64;
    }

    fn reopen(&mut self) {
        self.opened_at = Some(Instant::now());
        match open(&self.path) {
            Ok(file) => {
                let metadata = file.metadata().ok();
                // A device or a FIFO is never renamed or emptied: it does not grow.
                self.may_turn_over = metadata.as_ref().is_some_and(|metadata| metadata.is_file());
                self.size_bytes = metadata.map_or(0, |metadata| metadata.len());
                self.file = Some(file);
                self.is_at_line_start = true;
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(format!("cannot open {}: {error}", self.path.display())),
        }
    }

    /// Makes room: the current file becomes `.1`, and so on; the oldest goes. Where that is impossible the current
    /// file is emptied, because a full disk is worse than a lost log.
    fn turn_over(&mut self) {
        let Some(file) = &self.file else { return };
        if self.files_max > 0 && shift(&self.path, self.files_max).is_ok() {
            self.file = None;
            self.reopen();
        } else if let Err(error) = file.set_len(0) {
            self.trouble = Some(format!("cannot empty {}: {error}", self.path.display()));
        }
        self.size_bytes = 0;
        self.is_at_line_start = true;
    }
}

/// Opens to append. Non-blocking: a log path that is a FIFO must not hold the member up. Its directory is made.
fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags | OFlags::NOCTTY, Mode::from_raw_mode(0o640))?;
    Ok(file.into())
}

/// Writes as much as it can; says how much that was.
fn write_some(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

fn shift(path: &Path, files_max: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..files_max).rev() {
        match std::fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::rename(path, numbered(1))
}
