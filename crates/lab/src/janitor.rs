//! Clears away what a lab has made, whatever way the lab ends.
//!
//! A shell in a session of its own waits for the end of its input, which only the lab's process holds: it comes with a
//! normal end, a panic, Ctrl-C and `kill -9` alike. Processes of hosts need no clearing: the kernel ends them with the lab.
//! Should a janitor itself be killed, the next lab clears up after it (see `sweep`).

use crate::{Doing, Outcome};
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Where `ip netns` keeps names.
const NAMESPACES: &str = "/run/netns";

/// Waits for the end of the lab, or the word that its directory shall stay, then clears.
const SCRIPT: &str = "keep=; while read word; do keep=$word; done
for path in /run/netns/$1-*; do [ -e \"$path\" ] && ip netns del \"${path##*/}\"; done
[ -n \"$keep\" ] || [ -z \"$2\" ] || rm -rf \"$2\"";

#[derive(Debug)]
pub struct Janitor {
    child: Child,
    input: Option<ChildStdin>,
}

impl Janitor {
    /// Clears the namespaces that begin with `prefix`, and removes `directory` if it is given.
    pub fn start(prefix: &str, directory: Option<&Path>) -> Outcome<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "janitor", prefix]);
        command.arg(directory.unwrap_or_else(|| Path::new("")));
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

/// Clears what labs have left whose process is gone.
pub fn sweep() {
    for entry in fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another lab may be faster, which is as good.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
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
