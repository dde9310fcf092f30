//! Other programs as this tool runs them: found, watched with a deadline, and ended with all their children.
//!
//! Promise: nothing that was started here outlives the call that started it, unless the tool itself is killed.

use crate::failure::{Doing, Failure, Outcome};
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// How often a long command says that it is still at work.
const PROGRESS_EVERY: Duration = Duration::from_secs(20);

/// Ticks in which `/proc` counts processor time: 100 on every Linux that we know.
pub const TICKS_PER_SECOND: u64 = 100;

/// Where servers lie that Debian keeps out of a user's path.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Cargo, as if it had been called by hand: what describes this tool itself would make it build some crates anew.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let ours = |name: &&std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    for name in std::env::vars_os().map(|(name, _)| name).collect::<Vec<_>>().iter().filter(ours) {
        cargo.env_remove(name);
    }
    cargo
}

/// The first program called `name` in PATH or among the system's own programs.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(SYSTEM_DIRECTORIES.map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}

/// All processes that descend from `pid`, itself first.
pub fn family(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = parent_of(child) {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while at < family.len() {
        family.extend(children.get(&family[at]).into_iter().flatten());
        at += 1;
    }
    family
}

/// The parent, from `/proc/PID/stat`: the second field behind the name, which ends in the last `)`.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let behind_name = &stat[stat.rfind(')')? + 1..];
    behind_name.split_whitespace().nth(1)?.parse().ok()
}

/// Processor time of this process and of every descendant that ended and was waited for. Unlike the time on the
/// clock, it hardly depends on what else the machine does.
pub fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    processor_ticks(&stat)
        .map_or(Duration::ZERO, |ticks| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// User and system time of the process and of its children: fields 14 to 17 of `/proc/PID/stat`, of which the third is
/// the first behind the name.
fn processor_ticks(stat: &str) -> Option<u64> {
    let behind_name = &stat[stat.rfind(')')? + 1..];
    let fields: Vec<u64> =
        behind_name.split_whitespace().skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    (fields.len() == 4).then(|| fields.iter().sum())
}

/// Kills a child with all its descendants and waits for it.
pub fn end(child: &mut Child) {
    // The parent first, so that it starts nothing new while its children go.
    for pid in family(child.id()) {
        send(pid, Signal::KILL);
    }
    // An error means that it has been waited for already.
    let _ = child.wait();
}

/// Sends a signal; a process that is gone already has nothing to hear.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A child that goes when its owner goes.
#[derive(Debug)]
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// Runs a command with its output in `log` and tells on stderr how it goes; ends it at the deadline.
pub fn run_logged(command: &mut Command, log: &Path, deadline: Duration) -> Outcome<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    let file = File::create(log).doing(format_args!("create {}", log.display()))?;
    let copy = file.try_clone().doing(format_args!("share {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file).stderr(copy);
    let started = Instant::now();
    let child = command.spawn().doing(format_args!("start {name}"))?;
    let pid = child.id();
    let (done, ended) = sync_channel(1);
    let mut child = child;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The receiver is gone only after it took an answer.
            let _ = done.send(child.wait());
        });
        loop {
            match ended.recv_timeout(PROGRESS_EVERY) {
                Ok(status) => return status.doing(format_args!("wait for {name}")),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure(format!("nobody waits for {name} any more")));
                }
                Err(RecvTimeoutError::Timeout) if started.elapsed() > deadline => {
                    for member in family(pid) {
                        send(member, Signal::KILL);
                    }
                    return Err(Failure(format!("{name} was ended after {} s", deadline.as_secs())));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let line = last_line(log);
                    eprintln!("        {:4} s  {line}", started.elapsed().as_secs());
                }
            }
        }
    })
}

fn last_line(log: &Path) -> String {
    tail(log, 1).pop().unwrap_or_default().chars().take(100).collect()
}

/// The last lines of a log; bytes that are no text are replaced.
pub fn tail(log: &Path, lines_max: usize) -> Vec<String> {
    let Ok(file) = File::open(log) else { return Vec::new() };
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    let mut last = std::collections::VecDeque::with_capacity(lines_max);
    for line in lines {
        if last.len() == lines_max {
            last.pop_front();
        }
        last.push_back(String::from_utf8_lossy(&line).into_owned());
    }
    last.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_name_with_blanks_and_brackets() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 200 0 0 1 2 3 4 20 0 1 0 100 0 0";
        assert_eq!(processor_ticks(stat), Some(10));
        assert_eq!(processor_ticks("7 (a) S 1"), None);
        let before = processor_time();
        let mut sum = 0u64;
        while processor_time() == before {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
