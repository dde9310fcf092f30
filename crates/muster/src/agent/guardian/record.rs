//! What a group has begun on this machine, in the file that is locked while it runs: for whoever comes after a guardian that
//! was killed, or could not give everything back.
//!
//! Promise: it is written before something is begun, and empty once nothing is left. It means nothing after the machine was
//! started again, when all of it is gone. The file is for its owner only, and outlives no format: what is not understood was
//! written by another edition, whose guardian must have cleared up.

use crate::resource;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use wire::group::ResourceSettings;

/// Longest record. 4 MiB: a hundred resources with long commands.
const RECORD_MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Record {
    boot: String,
    #[serde(default)]
    epoch: u64,
    /// In the order in which they were begun.
    begun: Vec<ResourceSettings>,
}

/// What could not be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Of the guardian that had it.
    pub epoch: u64,
    /// Empty: that cannot be read.
    pub resources: Vec<ResourceSettings>,
    /// A sentence.
    pub why: String,
}

impl Left {
    pub fn unknown(why: String) -> Self {
        Self { epoch: 0, resources: Vec::new(), why }
    }
}

/// Waits until nobody holds the group on this machine, and holds it then for as long as the file is open.
pub fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

/// The record of a guardian that lives.
#[derive(Debug)]
pub struct Book {
    record: Record,
    /// Counts the records that are to be written.
    version: u64,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug)]
struct Disk {
    file: File,
    version: u64,
}

/// A record on its way to the disk, which may take long.
#[derive(Debug)]
pub struct Page {
    record: Record,
    version: u64,
    disk: Arc<Mutex<Disk>>,
}

impl Page {
    /// One that comes late, after a newer one, changes nothing.
    pub fn write(self) -> io::Result<()> {
        // Whoever has panicked within has left a file that is not understood, as a crash would; this one is whole.
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.version > self.version {
            return Ok(());
        }
        disk.version = self.version;
        write(&disk.file, &self.record)
    }
}

impl Book {
    /// Empty, with the lock's file.
    pub fn new(file: File, epoch: u64) -> Self {
        let record = Record { boot: boot(), epoch, begun: Vec::new() };
        Self { record, version: 0, disk: Arc::new(Mutex::new(Disk { file, version: 0 })) }
    }

    /// One more is about to be begun.
    pub fn add(&mut self, resource: &ResourceSettings) -> Page {
        if self.record.begun.iter().all(|known| known.name != resource.name) {
            self.record.begun.push(resource.clone());
        }
        self.page()
    }

    /// It is not here, or not ours.
    pub fn remove(&mut self, resource: &ResourceSettings) -> Page {
        self.record.begun.retain(|known| known.name != resource.name);
        self.page()
    }

    fn page(&mut self) -> Page {
        self.version += 1;
        Page { record: self.record.clone(), version: self.version, disk: self.disk.clone() }
    }
}

fn write(mut file: &File, record: &Record) -> io::Result<()> {
    if record.begun.is_empty() {
        return file.set_len(0);
    }
    let text = serde_json::to_vec(record).map_err(io::Error::other)?;
    let length = text.len() as u64;
    if length > RECORD_MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    // Over the one before, whose rest is cut off then: whoever is killed between leaves one that can be read.
    file.rewind()?;
    file.write_all(&text)?;
    file.set_len(length)
}

/// What stands first in the file; the rest is of a record before, whose end was not cut off.
fn parse(text: &str) -> Option<Record> {
    serde_json::Deserializer::from_str(text).into_iter().next()?.ok()
}

/// Takes away what a guardian has left, all of whose processes are gone. None: nothing is left. The rest stays noted.
pub fn undo(mut file: &File) -> Option<Left> {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(RECORD_MAX_BYTES).read_to_string(&mut text));
    if let Err(error) = read {
        return Some(Left::unknown(format!("what it was cannot be read: {error}")));
    }
    let mut record = parse(&text).filter(|record| record.boot == boot())?;
    let mut troubles = Vec::new();
    let mut rest = Vec::new();
    for settings in record.begun.into_iter().rev() {
        // Both in any case: what cannot be cut may be given back.
        let made = resource::make(&settings);
        let undone = made.and_then(|resource| {
            let cut = resource.cut();
            cut.and(resource.release())
        });
        if let Err(why) = undone {
            troubles.push(format!("{}: it {why}", settings.name));
            rest.insert(0, settings);
        }
    }
    record.begun = rest;
    if let Err(error) = write(file, &record) {
        // What is noted too much is taken away once more, which does nothing.
        tracing::warn!(%error, "cannot note what is left of a group");
    }
    let why = troubles.join("; ");
    (!why.is_empty()).then_some(Left { epoch: record.epoch, resources: record.begun, why })
}

/// Differs with each start of the machine.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_whose_guardian_was_killed_before_it_cut_off_the_one_before_is_read() {
        let record = Record { boot: "today".into(), epoch: 7, begun: Vec::new() };
        let mut text = serde_json::to_string(&record).expect("plain texts always become JSON");
        assert_eq!(parse(&text).map(|found| found.epoch), Some(7));
        text.push_str("of before\"}]}");
        assert_eq!(parse(&text).map(|found| found.epoch), Some(7));
        assert_eq!(parse("").map(|found| found.epoch), None);
        assert_eq!(parse("{\"boot\":").map(|found| found.epoch), None);
    }
}
