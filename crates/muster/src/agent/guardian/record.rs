//! What a group has begun on this machine, in the file that is locked while it runs: for whoever comes after a guardian that
//! was killed, or could not give everything back.
//!
//! Promise: it is written before something is begun, and empty once nothing is left. It means nothing after the machine was
//! started again, when all of it is gone. What is there and cannot be read, of this start of the machine, is not taken for
//! nothing: its group stays here. The file is for its owner only.

use crate::resource;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use wire::group::ResourceSettings;

/// Longest record. 4 MiB: a hundred resources with long commands.
const RECORD_MAX_BYTES: u64 = 4 << 20;
/// Ends the sentence that tells what is left.
const TORN: &str =
    "what it was cannot be read: its record is torn. That ends when the machine is started again";

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
    let file = open(path)?;
    file.lock()?;
    Ok(file)
}

/// The same without waiting; None: somebody holds it.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
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

/// What the file tells.
#[derive(Debug)]
enum Found {
    /// Nothing was begun, or the machine was started again since.
    Nothing,
    Begun(Record),
    /// Something was begun: its record was cut short, or is of an edition that writes another form.
    Torn,
}

/// What stands first in the file counts; the rest is of a record before, whose end was not cut off.
fn parse(text: &[u8], boot: &str) -> Found {
    if text.is_empty() {
        return Found::Nothing;
    }
    match serde_json::Deserializer::from_slice(text).into_iter::<Record>().next() {
        Some(Ok(record)) if record.boot == boot => Found::Begun(record),
        Some(Ok(_)) => Found::Nothing,
        _ if boot_of(text).is_some_and(|other| other != boot.as_bytes()) => Found::Nothing,
        _ => Found::Torn,
    }
}

/// It stands first, so that the beginning of a record tells it.
fn boot_of(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(br#"{"boot":""#)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    rest.get(..end)
}

/// Takes away what a guardian has left, all of whose processes are gone. None: nothing is left. The rest stays noted.
pub fn undo(mut file: &File) -> Option<Left> {
    let mut text = Vec::new();
    let read = file.rewind().and_then(|()| file.take(RECORD_MAX_BYTES).read_to_end(&mut text));
    if let Err(error) = read {
        return Some(Left::unknown(format!("what it was cannot be read: {error}")));
    }
    let mut record = match parse(&text, &boot()) {
        Found::Nothing => return None,
        Found::Begun(record) => record,
        Found::Torn => return Some(Left::unknown(TORN.to_owned())),
    };
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
    use std::collections::BTreeMap;
    use wire::group::ResourceKind;

    fn record(boot: &str) -> Vec<u8> {
        let resource = ResourceSettings {
            name: "app".into(),
            kind: ResourceKind::script(&["true".to_owned()]),
            start_timeout_ms: 1_000,
            stop_timeout_ms: 1_000,
            environment: BTreeMap::new(),
            directory: None,
            user: None,
        };
        let begun = vec![resource];
        serde_json::to_vec(&Record { boot: boot.into(), epoch: 7, begun })
            .expect("plain texts always become JSON")
    }

    #[test]
    fn a_record_whose_guardian_was_killed_before_it_cut_off_the_one_before_is_read() {
        let mut text = record("today");
        assert!(matches!(parse(&text, "today"), Found::Begun(found) if found.epoch == 7));
        text.extend(b"of before\"}]}");
        assert!(matches!(parse(&text, "today"), Found::Begun(found) if found.epoch == 7));
        assert!(matches!(parse(b"", "today"), Found::Nothing));
    }

    #[test]
    fn what_is_torn_anywhere_is_not_nothing_unless_the_machine_was_started_again_since() {
        let text = record("today");
        for end in 1..text.len() {
            assert!(matches!(parse(&text[..end], "today"), Found::Torn), "cut at {end}");
        }
        assert!(matches!(parse(&text, "tomorrow"), Found::Nothing));
        assert!(matches!(parse(&text[..text.len() - 1], "tomorrow"), Found::Nothing));
        assert!(matches!(parse(b"{\"boot\":\"tod", "tomorrow"), Found::Torn), "nobody knows of when it is");
    }

    #[test]
    fn a_record_of_another_form_or_of_no_text_is_not_nothing() {
        assert!(matches!(parse(b"{\"boot\":\"today\",\"begun\":{}}", "today"), Found::Torn));
        assert!(matches!(parse(b"{\"boot\":\"today\",\"begun\":[\"\xff", "today"), Found::Torn));
        assert!(matches!(parse(b"\xff\xfe", "today"), Found::Torn));
    }
}
