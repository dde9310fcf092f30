//! Finds and kills everything below this process, whatever group or session it moved to.
//!
//! Works on /proc, so it needs nothing of the kernel's configuration. Promise: no process is signalled that is not
//! below us: each is pinned by a pidfd, looked at once more, and only then killed.

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use std::collections::HashMap;

/// One process as /proc shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    /// In ticks since boot: tells two processes of the same number apart.
    started: u64,
}

/// Children of this process now, zombies included.
pub fn children() -> Vec<i32> {
    let own = own_pid();
    processes().into_iter().filter(|entry| entry.parent == own).map(|entry| entry.pid).collect()
}

/// Kills every process below those of our children that `is_ours` picks, and them too. One sweep: a process that is
/// being born meanwhile may escape it, so callers repeat until nothing is left.
pub fn kill_below(is_ours: impl Fn(i32) -> bool) {
    let own = own_pid();
    let processes = processes();
    let mut of_parent: HashMap<i32, Vec<Entry>> = HashMap::new();
    for entry in processes {
        of_parent.entry(entry.parent).or_default().push(entry);
    }
    let mut open: Vec<Entry> = of_parent.remove(&own).unwrap_or_default();
    open.retain(|entry| is_ours(entry.pid));
    while let Some(entry) = open.pop() {
        kill(entry);
        open.extend(of_parent.remove(&entry.pid).unwrap_or_default());
    }
}

/// Kills and reaps until no child is left. Waits for each; only a process that hangs in the kernel can delay it.
pub fn kill_and_reap_all() {
    loop {
        kill_below(|_| true);
        let children = children();
        if children.is_empty() {
            return;
        }
        for child in children {
            // Gone already is fine: it was a zombie when it was seen.
            if let Some(pid) = Pid::from_raw(child) {
                let _ = waitpid(Some(pid), WaitOptions::empty());
            }
        }
    }
}

fn kill(entry: Entry) {
    let Some(pid) = Pid::from_raw(entry.pid) else { return };
    // Fails only if the process is gone, which is what we want.
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let is_same = read_entry(entry.pid).is_some_and(|now| now.started == entry.started);
    if is_same {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn processes() -> Vec<Entry> {
    let Ok(directory) = std::fs::read_dir("/proc") else { return Vec::new() };
    let names = directory.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    names.filter_map(read_entry).collect()
}

fn read_entry(pid: i32) -> Option<Entry> {
    parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state parent ... started ...`; the name may hold spaces and brackets, so fields count from the last one.
fn parse_stat(stat: &[u8]) -> Option<Entry> {
    let bracket = stat.iter().rposition(|byte| *byte == b')')?;
    let pid = stat.split(|byte| *byte == b' ').next()?;
    let mut fields = stat.get(bracket + 2..)?.split(|byte| *byte == b' ');
    let number = |field: &[u8]| str::from_utf8(field).ok()?.parse::<i64>().ok();
    // Field 4 of the whole line; the state, field 3, is the first here.
    let parent = number(fields.nth(1)?)?;
    // Field 22.
    let started = number(fields.nth(17)?)?;
    Some(Entry {
        pid: number(pid)?.try_into().ok()?,
        parent: parent.try_into().ok()?,
        started: started.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_confuse_the_fields() {
        let line = b"42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 10\n";
        assert_eq!(parse_stat(line), Some(Entry { pid: 42, parent: 7, started: 98765 }));
    }

    #[test]
    fn this_process_is_found_below_its_parent() {
        let own = processes().into_iter().find(|entry| entry.pid == own_pid());
        let parent = std::os::unix::process::parent_id();
        assert_eq!(own.map(|entry| entry.parent as u32), Some(parent));
    }
}
