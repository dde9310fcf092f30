//! What a group has begun on this machine, in the file that is locked while it runs: for whoever comes after a guardian that
//! was killed.
//!
//! Promise: it is written before something is begun, and empty once nothing is left. It means nothing after the machine was
//! started again, when all of it is gone. The file is as long as the settings without environments, and outlives no format:
//! what is not understood was written by another edition, whose guardian must have cleared up.

use crate::resource;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use wire::group::ResourceSettings;

/// Longest record. 4 MiB: a hundred resources with long commands.
const RECORD_MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Record {
    boot: String,
    /// In the order in which they were begun.
    begun: Vec<ResourceSettings>,
}

/// Waits until nobody holds the group on this machine, and holds it then for as long as the file is open.
pub fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

impl Record {
    /// One more is about to be begun.
    pub fn add(&mut self, file: &File, resource: &ResourceSettings) -> io::Result<()> {
        if self.begun.iter().all(|known| known.name != resource.name) {
            // Nobody needs what may be secret to take it away.
            self.begun.push(ResourceSettings { environment: Default::default(), ..resource.clone() });
        }
        self.boot = boot();
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        clear(file)?;
        (&*file).write_all(&text)
    }
}

/// Nothing of the group is left.
pub fn clear(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()
}

/// Takes away what a guardian has left that was killed, all of whose processes are gone; says what could not be.
pub fn undo(file: &File) -> Vec<String> {
    let mut text = String::new();
    if let Err(error) = file.take(RECORD_MAX_BYTES).read_to_string(&mut text) {
        return vec![format!("cannot read what the group has left: {error}")];
    }
    let Ok(record) = serde_json::from_str::<Record>(&text) else { return Vec::new() };
    if record.boot != boot() {
        return Vec::new();
    }
    let made = record.begun.iter().rev().map(|settings| (settings, resource::make(settings)));
    let mut troubles = Vec::new();
    for (settings, made) in made {
        let undone = made.and_then(|resource| resource.cut().and(resource.release()));
        troubles.extend(undone.err().map(|why| format!("{} is left behind: it {why}", settings.name)));
    }
    if let Err(error) = clear(file) {
        troubles.push(format!("cannot note that nothing of the group is left: {error}"));
    }
    troubles
}

/// Differs with each start of the machine.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
