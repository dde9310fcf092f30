//! The member's output on its way from the pipe to the log, and the last line of it.

use super::log::Log;

/// Longest line that is remembered. 1,024: an error message, not a dump.
const LAST_LINE_MAX_BYTES: usize = 1024;

#[derive(Debug)]
pub struct Output {
    pub log: Log,
    last: LastLine,
}

/// Listens to output for its last line.
#[derive(Debug, Default)]
pub struct LastLine {
    /// The last complete line that was not blank.
    last_line: Vec<u8>,
    /// Begun and not ended yet.
    open_line: Vec<u8>,
}

impl Output {
    pub fn new(log: Log) -> Self {
        Self { log, last: LastLine::default() }
    }

    pub fn take(&mut self, bytes: &[u8]) {
        self.log.write(bytes);
        self.last.take(bytes);
    }

    pub fn last_line(&self) -> Option<String> {
        self.last.shown()
    }
}

impl LastLine {
    pub fn take(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LAST_LINE_MAX_BYTES - self.open_line.len();
            self.open_line.extend_from_slice(&line[..line.len().min(room)]);
            if line.ends_with(b"\n") {
                if !self.open_line.trim_ascii().is_empty() {
                    std::mem::swap(&mut self.last_line, &mut self.open_line);
                }
                self.open_line.clear();
            }
        }
    }

    /// The last line that was not blank, ended or not, fit to be shown.
    pub fn shown(&self) -> Option<String> {
        let open = self.open_line.trim_ascii();
        let line = if open.is_empty() { self.last_line.trim_ascii() } else { open };
        let text = String::from_utf8_lossy(line);
        let shown: String =
            text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        (!shown.is_empty()).then_some(shown)
    }
}
