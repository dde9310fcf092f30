//! Writes files into an archive of the format that tar reads (ustar).
//!
//! Only what `clplogcc` needs: ordinary files with short names, one after the other.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything is a multiple of this.
const BLOCK: usize = 512;
/// Longest name.
const NAME_MAX: usize = 100;

#[derive(Debug)]
pub struct Archive<W: Write> {
    out: W,
    count: usize,
}

impl<W: Write> Archive<W> {
    pub fn new(out: W) -> Self {
        Self { out, count: 0 }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        // What is cut off is the beginning: names of logs differ at their ends.
        let name = name.as_bytes();
        let name = &name[name.len().saturating_sub(NAME_MAX)..];
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map(|age| age.as_secs()).unwrap_or(0);
        self.out.write_all(&header(name, content.len() as u64, seconds))?;
        self.out.write_all(content)?;
        let rest = content.len().next_multiple_of(BLOCK) - content.len();
        self.out.write_all(&[0; BLOCK][..rest])?;
        self.count += 1;
        Ok(())
    }

    pub fn end(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }
}

fn header(name: &[u8], size: u64, seconds: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    // Eleven octal digits: 8 GiB, far above what one file may have here.
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, format!("{:011o}\0", seconds & 0o77_777_777_777).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
