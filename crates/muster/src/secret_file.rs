//! Reads a password from a file, without ever waiting for something that is no file.
//!
//! Promise: only a regular file is read, and of it not more than a bound: who puts a pipe there holds up nobody.

use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::{self, Read as _};

/// Longest secret. 4 KiB: a key as people know them.
pub const SECRET_MAX_BYTES: u64 = 4 << 10;

/// All of it, line ends too.
pub fn read(path: &str) -> io::Result<String> {
    // Otherwise opening a pipe would wait for somebody who writes.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = String::new();
    file.take(SECRET_MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than a password (4 KiB)"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, mknodat};

    #[test]
    fn only_a_short_regular_file_is_read() {
        let directory = std::env::temp_dir().join(format!("muster-secret-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory can be written");
        let path = |name: &str| directory.join(name).display().to_string();
        std::fs::write(path("good"), "hunter2\n").expect("the directory is ours");
        std::fs::write(path("long"), "x".repeat(5000)).expect("the directory is ours");
        mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("so it is");
        assert_eq!(read(&path("good")).expect("it is a password"), "hunter2\n");
        for (name, why) in
            [("long", "longer than"), ("pipe", "not a regular file"), ("nobody", "No such file")]
        {
            let error = read(&path(name)).expect_err("it is none").to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
        assert!(read(&directory.display().to_string()).is_err());
        std::fs::remove_dir_all(&directory).expect("it is ours");
    }
}
