//! Small files that a role keeps for its next start, as JSON that only their owner can read.
//!
//! Promise: a file is the old one or the new one, whole, whatever happens meanwhile (written beside, synced, renamed).
//! Files that do not parse are reported and treated as absent: a role that does not start helps nobody.

use crate::polite;
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What was kept; None if there is nothing or it is damaged.
pub fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        // A state directory that cannot be one is told of by whoever needs to write there.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return None;
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read this file, going on without it");
            return None;
        }
    };
    serde_json::from_slice(&bytes)
        .inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "this file is damaged, going on without it");
        })
        .ok()
}

/// Replaces the file. It may hold environments of members, so nobody else reads it.
pub fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut bytes = Vec::new();
    polite::to_json(value, &mut bytes).map_err(io::Error::other)?;
    write_bytes(path, &bytes)
}

/// The same with a text that is not JSON.
pub fn write_text(path: &Path, text: &str) -> io::Result<()> {
    write_bytes(path, text.as_bytes())
}

fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    // Removed first: the mode counts only for a file that is made.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    polite::write_all(&mut file, bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The name too: without this a power cut may bring the old file back.
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_is_its_owners_alone() {
        let directory = std::env::temp_dir().join(format!("muster-kept-file-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let path = directory.join("kept.json");
        assert_eq!(read::<Vec<u32>>(&path), None);
        fs::write(path.with_extension("new"), "half of an old o").expect("ours");
        write(&path, &[1, 2]).expect("written");
        write(&path, &[3]).expect("written");
        assert_eq!(read::<Vec<u32>>(&path), Some(vec![3]));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::write(&path, "[1,").expect("ours");
        assert_eq!(read::<Vec<u32>>(&path), None);
        fs::remove_dir_all(&directory).expect("ours");
    }
}
