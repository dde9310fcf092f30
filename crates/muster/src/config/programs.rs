//! Finds programs, directories and users on this machine as those who start processes will.

use rustix::fs::Access;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

pub fn directory_that_exists(directory: &Path) -> Result<(), String> {
    match directory.metadata() {
        Ok(found) if !found.is_dir() => Err("is not a directory".to_owned()),
        Ok(_) => rustix::fs::access(directory, Access::EXEC_OK)
            .map_err(|error| format!("cannot be entered: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("does not exist".to_owned()),
        Err(error) => Err(format!("cannot be looked at: {error}")),
    }
}

/// The rules of `execvp`, after the change of directory.
pub fn find(
    program: &str,
    directory: Option<&str>,
    environment: &BTreeMap<String, String>,
) -> Result<PathBuf, String> {
    if program.contains('/') {
        let file = directory.map_or(PathBuf::from(program), |start| Path::new(start).join(program));
        return executable(&file).map(|()| file);
    }
    let own_path = environment.get("PATH").cloned();
    let search =
        own_path.or_else(|| std::env::var("PATH").ok()).unwrap_or_else(|| "/bin:/usr/bin".to_owned());
    let mut candidates = std::env::split_paths(&search).map(|directory| directory.join(program));
    candidates
        .find(|file| executable(file).is_ok())
        .ok_or_else(|| format!("it is in no directory of PATH ({search})"))
}

pub fn executable(file: &Path) -> Result<(), String> {
    match file.metadata() {
        Ok(found) if !found.is_file() => Err(format!("{} is not a file", file.display())),
        // Any of the three bits: as whom the member will run is not who looks here.
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Err(format!("{} is not executable", file.display()))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("{} does not exist", file.display()))
        }
        Err(error) => Err(format!("{} cannot be looked at: {error}", file.display())),
    }
}

pub fn check_user(user: &str) -> Result<(), String> {
    let accounts = std::fs::read_to_string("/etc/passwd")
        .map_err(|error| format!("/etc/passwd cannot be read: {error}"))?;
    let account = accounts.lines().map(|line| line.split(':')).find_map(|mut fields| {
        (fields.next() == Some(user)).then(|| fields.nth(1).and_then(|id| id.parse::<u32>().ok())).flatten()
    });
    let own = rustix::process::geteuid();
    match account {
        None => Err("there is no such user in /etc/passwd".to_owned()),
        Some(id) if own.is_root() || own.as_raw() == id => Ok(()),
        Some(_) => Err("only root may start a process as another user".to_owned()),
    }
}
