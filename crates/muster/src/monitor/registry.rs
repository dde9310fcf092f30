//! Who monitors under which identifier on this machine: one file each, held by its process.
//!
//! Directory: `MUSTER_RUNTIME_DIR`, or `/run/muster` for root and `$XDG_RUNTIME_DIR/muster` for others; `monitors/IDENTIFIER`
//! names the process, `monitor-sockets/PID` is where it takes orders. The file is locked for as long as the process lives, so
//! that what a killed one leaves behind is known for what it is.

use rustix::fs::{FlockOperation, Mode, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Longest record of an identifier.
const RECORD_MAX_BYTES: u64 = 256;

/// The places of all identifiers.
#[derive(Debug, Clone)]
pub struct Registry {
    directory: PathBuf,
}

/// What is on record of an identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub pid: u32,
    /// The command that monitors.
    pub command: String,
    /// Whether that process still holds it.
    pub is_held: bool,
}

/// An identifier that is ours until this is dropped.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    socket: PathBuf,
    pub orders: UnixListener,
    _held: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // In this order: who finds no file has no socket to look for. Both may be gone with the machine's runtime directory.
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Registry {
    /// None: there is no directory for this user.
    pub fn find() -> Option<Self> {
        let given = std::env::var_os("MUSTER_RUNTIME_DIR").map(PathBuf::from);
        let own = || match rustix::process::geteuid().is_root() {
            true => Some(PathBuf::from("/run/muster")),
            false => {
                std::env::var_os("XDG_RUNTIME_DIR").map(|directory| PathBuf::from(directory).join("muster"))
            }
        };
        given.or_else(own).map(|directory| Self { directory })
    }

    fn path(&self, identifier: &str) -> PathBuf {
        self.directory.join("monitors").join(identifier)
    }

    pub fn socket(&self, pid: u32) -> PathBuf {
        self.directory.join("monitor-sockets").join(pid.to_string())
    }

    /// Takes an identifier for this process. None: another one has it.
    pub fn claim(&self, identifier: &str, command: &str) -> io::Result<Option<Claim>> {
        for name in ["monitors", "monitor-sockets"] {
            let directory = self.directory.join(name);
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        }
        let path = self.path(identifier);
        let Some(mut held) = lock(&path)? else { return Ok(None) };
        let pid = std::process::id();
        self.clear_up(&mut held)?;
        let socket = self.socket(pid);
        // A process that had our number before may have been killed.
        match std::fs::remove_file(&socket) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let orders = UnixListener::bind(&socket)?;
        orders.set_nonblocking(true)?;
        held.set_len(0)?;
        held.rewind()?;
        held.write_all(format!("{pid} {command}\n").as_bytes())?;
        Ok(Some(Claim { path, socket, orders, _held: held }))
    }

    /// Removes what a process has left that had the identifier before and was killed.
    fn clear_up(&self, held: &mut File) -> io::Result<()> {
        let mut text = String::new();
        held.take(RECORD_MAX_BYTES).read_to_string(&mut text)?;
        let Some(pid) = text.split(' ').next().and_then(|pid| pid.parse().ok()) else { return Ok(()) };
        let socket = self.socket(pid);
        // Its number may be that of another monitor by now, which listens there.
        if UnixStream::connect(&socket).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            std::fs::remove_file(&socket)?;
        }
        Ok(())
    }

    /// None: nobody has it, or had it last.
    pub fn look_up(&self, identifier: &str) -> io::Result<Option<Record>> {
        let file = match File::open(self.path(identifier)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        (&file).take(RECORD_MAX_BYTES).read_to_string(&mut text)?;
        let is_held = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
        let (pid, command) = text.trim_end().split_once(' ').unwrap_or_default();
        let Ok(pid) = pid.parse() else { return Ok(None) };
        Ok(Some(Record { pid, command: command.to_owned(), is_held }))
    }

    /// Forgets an identifier that nobody holds. False: somebody does.
    pub fn forget(&self, identifier: &str) -> io::Result<bool> {
        let path = self.path(identifier);
        if !path.exists() {
            return Ok(true);
        }
        let Some(mut held) = lock(&path)? else { return Ok(false) };
        self.clear_up(&mut held)?;
        std::fs::remove_file(&path)?;
        Ok(true)
    }
}

/// Opens and locks the file; None: somebody has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(Mode::from_raw_mode(0o600).as_raw_mode())
            .open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // Who only looks shares it for a moment; who monitors shares it with nobody.
            Err(rustix::io::Errno::WOULDBLOCK)
                if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() =>
            {
                drop(file);
                std::thread::yield_now();
                continue;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Its last holder may have removed it between our opening and locking it: then it is nobody's any more.
        let is_same = std::fs::metadata(path).is_ok_and(|now| {
            file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino()))
        });
        if is_same {
            return Ok(Some(file));
        }
    }
}

#[cfg(test)]
mod tests;
