//! Log lines on their way to standard error: taken at once, written by a thread of their own.
//!
//! Promise: nobody who logs ever waits for who reads the log. A pager that is scrolled back, or a collector that hangs, would stop
//! an agent in the middle of its work, while its heartbeats go on. Lines beyond the bound are lost, and counted in the log.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

/// Lines that wait. 4,096: what a busy node says in minutes, in about a mebibyte.
const LINES_MAX: usize = 4_096;
/// How long the end of the process waits for lines to be read.
const END_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    lost: u64,
    is_writing: bool,
}

/// Where lines wait.
#[derive(Debug)]
pub struct Behind {
    queue: Mutex<Queue>,
    came: Condvar,
    emptied: Condvar,
    thread: Once,
    /// Lines are for programs.
    is_json: AtomicBool,
}

/// Of this process.
pub static STDERR: Behind = Behind::new();

impl Behind {
    const fn new() -> Self {
        Self {
            queue: Mutex::new(Queue { lines: VecDeque::new(), lost: 0, is_writing: false }),
            came: Condvar::new(),
            emptied: Condvar::new(),
            thread: Once::new(),
            is_json: AtomicBool::new(false),
        }
    }

    /// What it says itself is JSON from now on.
    pub fn speak_json(&self) {
        self.is_json.store(true, Ordering::Relaxed);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing is half-done when a thread dies within.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.lines.len() >= LINES_MAX {
            queue.lost += 1;
            return;
        }
        queue.lines.push_back(line.to_vec());
        self.came.notify_one();
    }

    fn write_for_ever(&self, mut out: impl Write) {
        let mut queue = self.queue();
        loop {
            let lost = std::mem::take(&mut queue.lost);
            let lines = std::mem::take(&mut queue.lines);
            if lines.is_empty() && lost == 0 {
                queue.is_writing = false;
                self.emptied.notify_all();
                queue = self.came.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.is_writing = true;
            drop(queue);
            for line in lines {
                // Nobody can be told that the log cannot be written.
                let _ = out.write_all(&line);
            }
            if lost > 0 {
                let message = format!("{lost} lines of this log are lost: nobody has read it");
                let _ = if self.is_json.load(Ordering::Relaxed) {
                    writeln!(
                        out,
                        "{}",
                        serde_json::json!({ "level": "WARN", "message": message, "lost": lost })
                    )
                } else {
                    writeln!(out, "{message}")
                };
            }
            queue = self.queue();
        }
    }

    /// Waits until all is written, for a bounded time.
    pub fn finish(&self) {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.lines.is_empty();
        drop(self.emptied.wait_timeout_while(self.queue(), END_WAIT, is_busy));
    }
}

impl Write for &'static Behind {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line);
        self.thread.call_once(|| {
            let out = *self;
            let spawned = std::thread::Builder::new()
                .name("log".into())
                .spawn(move || out.write_for_ever(io::stderr()));
            if let Err(error) = spawned {
                eprintln!("nothing can be logged: no thread: {error}");
            }
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
