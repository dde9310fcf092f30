//! Takes lines out of a stream, with a bound.
//!
//! A line ends with LF; a CR before it is taken off. Text that is shown has no control characters.

use super::conversation::Trouble;
use crate::limits::MONITOR_HEAD_MAX_BYTES;

/// What has come and is not taken yet.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    kept: Vec<u8>,
    /// Bytes seen since `forget`.
    seen: usize,
}

impl Lines {
    /// Takes in what was read.
    pub fn take_in(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.seen = self.seen.saturating_add(bytes.len());
        if self.seen > MONITOR_HEAD_MAX_BYTES {
            return Err(Trouble::TooLong(MONITOR_HEAD_MAX_BYTES as u64));
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole line, without its end.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.kept.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.kept.drain(..=end).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }

    /// What has come of the next line.
    pub fn rest(&self) -> &[u8] {
        &self.kept
    }

    /// What came so far does not count any more.
    pub fn forget(&mut self) {
        self.kept.clear();
        self.seen = 0;
    }
}

/// Foreign bytes as text that can be shown.
pub fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect::<String>()
        .trim()
        .to_owned()
}
