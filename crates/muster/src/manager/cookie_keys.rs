//! The keys that sign the cookies of `kind = "own"`: made once for the cell, in a file that only its owner may read.
//!
//! One key of 64 hexadecimal digits a line. The first signs, all are believed: to change the key, put a new line before
//! the old one and start the manager again; take the old one away when sessions have ended.

use crate::console::token::{new_secret, write_private};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Keys that are believed at once. Eight: each costs a microsecond for every cookie that is not signed by the first.
const KEYS_MAX: usize = 8;

/// The keys in the file at `path`; a new one is written when there is no file.
pub fn read_or_create(path: &Path) -> io::Result<Vec<String>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = new_secret()?;
            write_private(path, &format!("{key}\n"))?;
            return Ok(vec![key]);
        }
        Err(error) => return Err(error),
    };
    if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the file of cookie keys was open to others; it is now its owner's alone");
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    let keys: Vec<String> =
        text.lines().map(|line| line.trim().to_ascii_lowercase()).filter(|line| !line.is_empty()).collect();
    let is_key = |key: &String| key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    if keys.is_empty() || keys.len() > KEYS_MAX || !keys.iter().all(is_key) {
        let text = format!("cookie-keys must hold 1 to {KEYS_MAX} lines of 64 hexadecimal digits each");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_more_may_be_put_before_it() {
        let directory = std::env::temp_dir().join(format!("muster-cookie-keys-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the test");
        let path = directory.join("cookie-keys");
        let first = read_or_create(&path).expect("a new key");
        assert_eq!(read_or_create(&path).expect("the same key"), first);
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let new = "ab".repeat(32);
        std::fs::write(&path, format!("{new}\n{}\n", first[0])).expect("written");
        assert_eq!(read_or_create(&path).expect("two keys"), [new, first[0].clone()]);
        std::fs::write(&path, "short\n").expect("written");
        assert!(read_or_create(&path).is_err(), "what is no key is refused");
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
