//! Clears away what a lab has made, whatever way the lab ends.
//!
//! A shell in a session of its own waits for the end of its input, which only the lab's process holds: it comes with a
//! normal end, a panic, Ctrl-C and `kill -9` alike. Processes of hosts need no clearing: the kernel ends them with the lab.
//! Should a janitor itself be killed, the next lab clears up after it (see `sweep`).

use crate::{Doing, Outcome};
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The beginning of names of labs' control groups.
const GROUP_START: &str = "muster-lab-";
/// Where `ip netns` keeps names.
const NAMESPACES: &str = "/run/netns";

/// Waits for the end of the lab, or the word that its directory shall stay, then clears.
const SCRIPT: &str = "keep=; while read word; do keep=$word; done
for path in /run/netns/$1-*; do [ -e \"$path\" ] && ip netns del \"${path##*/}\"; done
[ -n \"$keep\" ] || [ -z \"$2\" ] || rm -rf \"$2\"
for try in 1 2 3 4 5 6 7 8 9 10; do
  [ -n \"$3\" ] && [ -e \"$3\" ] || break
  find \"$3\" -depth -type d -exec rmdir {} + || sleep 0.2
done";

#[derive(Debug)]
pub struct Janitor {
    child: Child,
    input: Option<ChildStdin>,
}

impl Janitor {
    /// Clears the namespaces that begin with `prefix`, removes `directory` and the control groups below `groups`, if they are
    /// given.
    pub fn start(prefix: &str, directory: Option<&Path>, groups: Option<&Path>) -> Outcome<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "janitor", prefix]);
        command.arg(directory.unwrap_or(Path::new(""))).arg(groups.unwrap_or(Path::new("")));
        // In a group of its own, so that Ctrl-C does not reach it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().doing("start the janitor")?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }

    /// The directory shall stay, for a look.
    pub fn keep_directory(&mut self) {
        if let Some(input) = &mut self.input {
            // A janitor that is gone removes nothing either.
            let _ = input.write_all(b"keep\n");
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.input.take());
        // What it could not clear the next lab does.
        let _ = self.child.wait();
    }
}

/// The beginning of all names of a lab of this process.
pub fn prefix(number: u32) -> String {
    // Names of interfaces have at most 15 characters.
    format!("m{}x{number}", std::process::id())
}

/// A control group (version 2) for those of the hosts, if this system has any and lets us.
pub fn make_groups(prefix: &str) -> Option<PathBuf> {
    let path = groups_directory()?.join(format!("{GROUP_START}{prefix}"));
    fs::create_dir(&path).ok()?;
    path.join("cgroup.procs").exists().then_some(path)
}

/// The group of this process.
fn groups_directory() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (mount, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| mount.to_owned())
    });
    Some(Path::new(&mount?).join(own))
}

/// Removes groups without processes, the innermost first.
fn remove_groups(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if entry.is_dir() {
            remove_groups(&entry);
        }
    }
    // One in which something still runs stays.
    let _ = fs::remove_dir(path);
}

/// Clears what labs have left whose process is gone.
pub fn sweep() {
    let groups = groups_directory().and_then(|path| fs::read_dir(path).ok());
    for entry in groups.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let prefix = name.to_str().and_then(|name| name.strip_prefix(GROUP_START));
        if prefix.and_then(|prefix| owner(&format!("{prefix}-"))).is_some_and(is_gone) {
            remove_groups(&entry.path());
        }
    }
    for entry in fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if owner(name).is_some_and(is_gone) {
            // Another lab may be faster, which is as good.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// The process whose lab a namespace belongs to.
fn owner(name: &str) -> Option<u32> {
    let (prefix, _) = name.strip_prefix('m')?.split_once('-')?;
    let (pid, number) = prefix.split_once('x')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_labs_have_an_owner() {
        assert_eq!(owner("m12x3-web-1"), Some(12));
        for other in ["m12x3", "m12-web", "x", "mx-1", "web-1", "m12xy-web"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
