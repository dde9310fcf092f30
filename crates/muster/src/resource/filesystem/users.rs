//! The processes that use a mounted file system, and what is done to them before it is unmounted.
//!
//! Found by the number of its device, in whatever part of the machine's files they live. Promise: never this process and
//! never its parent, which is the agent.

use rustix::fs::{Dev, major, minor, stat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::path::Path;

/// Sends TERM to all; says who they are.
pub fn ask_to_leave(device: Dev) -> Vec<String> {
    all(device).into_iter().map(|pid| format!("{} {pid}", send(pid, device, Signal::TERM))).collect()
}

pub fn kill(device: Dev) {
    for pid in all(device) {
        send(pid, device, Signal::KILL);
    }
}

/// Says what the process is called. It is pinned first and looked at once more, so that nobody else gets the signal.
fn send(pid: i32, device: Dev, signal: Signal) -> String {
    let place = format!("/proc/{pid}");
    let name = std::fs::read_to_string(format!("{place}/comm")).unwrap_or_default().trim().to_owned();
    let pinned = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    // One that is gone already has left it.
    if let Some(pinned) = pinned.filter(|_| uses(Path::new(&place), device)) {
        let _ = pidfd_send_signal(&pinned, signal);
    }
    name
}

fn all(device: Dev) -> Vec<i32> {
    let own = rustix::process::getpid();
    let ours = [Some(own), rustix::process::getppid()].map(|pid| pid.map(|pid| pid.as_raw_nonzero().get()));
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| !ours.contains(&Some(*pid)) && uses(Path::new(&format!("/proc/{pid}")), device))
        .collect()
}

/// By its directory, its program, an open file or one that it has in memory.
fn uses(process: &Path, device: Dev) -> bool {
    let is_on_it = |path: &Path| stat(path).is_ok_and(|found| found.st_dev == device);
    let places = ["cwd", "root", "exe"].map(|name| process.join(name));
    let files = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    places.iter().any(|place| is_on_it(place))
        || files.map(|entry| entry.path()).any(|path| is_on_it(&path))
        || std::fs::read_to_string(process.join("maps")).is_ok_and(|maps| has_in_memory(&maps, device))
}

/// `7f00-7f01 r-xp 00000000 fe:01 1234 /path`
fn has_in_memory(maps: &str, device: Dev) -> bool {
    let wanted = format!("{:02x}:{:02x}", major(device), minor(device));
    maps.lines().any(|line| line.split(' ').nth(3) == Some(wanted.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::makedev;

    #[test]
    fn files_in_memory_are_found_by_their_device() {
        let maps = "7f00-7f01 r-xp 00000000 fe:01 12 /lib/a\n7f02-7f03 rw-p 00000000 00:00 0\n";
        assert!(has_in_memory(maps, makedev(0xfe, 1)));
        assert!(!has_in_memory(maps, makedev(0xfe, 2)));
    }

    #[test]
    fn a_process_uses_what_its_program_is_on() {
        let own = stat("/proc/self/exe").expect("it runs").st_dev;
        assert!(uses(Path::new("/proc/self"), own));
        assert!(!uses(Path::new("/proc/self"), makedev(0xfff, 0xfff)));
        assert!(!all(own).contains(&rustix::process::getpid().as_raw_nonzero().get()));
    }
}
