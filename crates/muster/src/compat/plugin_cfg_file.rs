//! Puts a plugin-cfg.xml where web servers read it: whole or not at all, after it was read back, the old one kept.
//!
//! Promises: readers find the old file or the new one, never a part; a text that is no right plugin-cfg.xml replaces
//! nothing; the last file that was right stays as `NAME.last-good`; nothing else is left behind, also after a failure.

use logic::plugin_cfg::check::{Severity, check};
use logic::plugin_cfg::{self, Document};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Why a file was not replaced. The old one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// We made something that we would not take ourselves.
    #[error("the new {} is not right: {problem}", path.display())]
    Wrong { path: PathBuf, problem: String },
    #[error("{} cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl PublishError {
    /// With its cause, in one line.
    pub fn told(&self) -> String {
        match self {
            PublishError::Wrong { .. } => self.to_string(),
            PublishError::Write { source, .. } => format!("{self}: {source}"),
        }
    }
}

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It says the same as before, apart from comments.
    Same,
    Replaced,
}

/// Replaces the file at `path`. Comments alone are no change that anybody is told of, but are written too.
pub fn publish(path: &Path, text: &str) -> Result<Published, PublishError> {
    let new =
        judge(text.as_bytes()).map_err(|problem| PublishError::Wrong { path: path.to_owned(), problem })?;
    let failed = |source| PublishError::Write { path: path.to_owned(), source };
    let old = read(path).map_err(failed)?;
    if old.as_deref() == Some(text.as_bytes()) {
        return Ok(Published::Same);
    }
    let old_document = old.as_ref().and_then(|bytes| judge(bytes).ok());
    if let (Some(_), Some(bytes)) = (&old_document, &old) {
        replace(&beside(path, "last-good"), bytes).map_err(failed)?;
    }
    replace(path, text.as_bytes()).map_err(failed)?;
    match old_document {
        Some(old) if is_same(&old, &new) => Ok(Published::Same),
        Some(_) | None => Ok(Published::Replaced),
    }
}

fn is_same(old: &Document, new: &Document) -> bool {
    let plain = |document: &Document| {
        let mut root = document.file.root.clone();
        root.drop_comments();
        root
    };
    plain(old) == plain(new)
}

/// Whether web servers may be given this; the error is the first thing that is wrong.
fn judge(bytes: &[u8]) -> Result<Document, String> {
    let document = plugin_cfg::read(bytes).map_err(|error| error.to_string())?;
    let findings = check(&document);
    match findings.list.iter().find(|finding| finding.severity == Severity::Error) {
        Some(finding) => Err(format!("line {}: {}", finding.place.line, finding.what)),
        None => Ok(document),
    }
}

/// The file's bytes; None where there is none, or one that is too long to be one of ours.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(logic::limits::PLUGIN_CFG_SIZE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= logic::limits::PLUGIN_CFG_SIZE_MAX_BYTES).then_some(bytes))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// Written beside, synced, renamed. A web server of another user reads it, so everybody may.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // The number keeps two processes apart that write the same file.
    let new = beside(path, &format!("new-{}", std::process::id()));
    let written = write_new(&new, bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What is left would only be found by accident; that it cannot be removed says nothing new.
        let _ = fs::remove_file(&new);
        return written;
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Of an earlier process of that number that was killed in between.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
