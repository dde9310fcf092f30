//! The administrator's token: made on the first start, kept in a file that only its owner may read.

use logic::enrol::to_hex;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// 256 bits: cannot be guessed however fast one tries.
const TOKEN_BYTES: usize = 32;
/// Shortest token accepted from a file that a person wrote: 128 bits as hexadecimal digits.
const TOKEN_LENGTH_MIN: usize = 32;
/// Longest token file that is read. A longer one is some other file.
pub const TOKEN_LENGTH_MAX: usize = 1024;

/// A new secret of 256 bits, as 64 hexadecimal digits.
pub fn new_secret() -> io::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(to_hex(&bytes))
}

/// The token in the file at `path`; a new one is written when there is no file.
pub fn read_or_create(path: &Path) -> io::Result<String> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let token = new_secret()?;
            write_private(path, &format!("{token}\n"))?;
            Ok(token)
        }
        other => other,
    }
}

/// The token in the file at `path`, which must hold one line of printable characters.
pub fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the token file was open to others; it is now its owner's alone");
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    let mut text = String::new();
    file.take(TOKEN_LENGTH_MAX as u64 + 1).read_to_string(&mut text)?;
    let token = text.trim();
    let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain || !(TOKEN_LENGTH_MIN..=TOKEN_LENGTH_MAX).contains(&token.len()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "it must hold {TOKEN_LENGTH_MIN} to {TOKEN_LENGTH_MAX} printable characters and holds {}; \
                 remove it to get a new token",
                token.len()
            ),
        ));
    }
    Ok(token.to_owned())
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // Left by a start that was killed half way, or not there.
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}
