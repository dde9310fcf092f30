//! What a proxy costs: processor time and memory of all its processes, as the kernel counts them.
//!
//! Processor time is the scheduler's run time of every thread, in nanoseconds. On loopback the kernel does the receiver's
//! part of a send in the sender's time, so a proxy pays for what it sends, and each of them alike.

use crate::failure::{Doing, Failure, Outcome};
use crate::process;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::time::{Duration, Instant};

/// The core that all proxies share, and the one of the generator.
pub const PROXY_CORE: usize = 0;
pub const GENERATOR_CORE: usize = 1;

/// Binds this thread, and what it starts from now on, to one core.
pub fn bind_to(core: usize) -> Outcome<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).doing(format_args!("bind to core {core}"))
}

/// One look at a family of processes and at the core they run on.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    at: Instant,
    run: Duration,
    core_busy_seconds: f64,
}

/// What lies between two readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    pub run: Duration,
    pub wall: Duration,
    /// Share of the core that something else used.
    pub foreign_share: f64,
}

/// Looks at a process and all its descendants.
pub fn read(pid: u32) -> Outcome<Reading> {
    let run = process::family(pid).into_iter().map(run_time).sum();
    Ok(Reading { at: Instant::now(), run, core_busy_seconds: core_busy_seconds(PROXY_CORE)? })
}

impl Reading {
    pub fn usage_until(&self, later: &Reading) -> Usage {
        let wall = later.at - self.at;
        // A thread that ended in between takes its time with it; then the rest counts.
        let run = later.run.saturating_sub(self.run);
        let foreign = later.core_busy_seconds - self.core_busy_seconds - run.as_secs_f64();
        Usage { run, wall, foreign_share: (foreign / wall.as_secs_f64()).max(0.0) }
    }
}

/// First number of each thread's `schedstat`: nanoseconds on a processor.
fn run_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn core_busy_seconds(core: usize) -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/stat").doing("read /proc/stat")?;
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name));
    let line = line.ok_or_else(|| Failure(format!("/proc/stat does not know core {core}")))?;
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, and behind idle and iowait: irq and softirq.
    let busy: f64 = [0, 1, 2, 5, 6].iter().filter_map(|index| ticks.get(*index)).sum();
    Ok(busy / process::TICKS_PER_SECOND as f64)
}

/// Resident memory of a process and all its descendants, in kB.
pub fn memory_kb(pid: u32) -> u64 {
    let resident = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    process::family(pid).into_iter().filter_map(resident).sum()
}

/// The most that a process ever had resident, in kB.
pub fn memory_peak_kb(pid: u32) -> Outcome<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).doing(format_args!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    peak.ok_or_else(|| Failure(format!("{path} tells no peak of memory")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_time_and_memory_of_this_process_are_seen() {
        let before = read(std::process::id()).expect("this process can be read");
        let mut sum = 0u64;
        while before.at.elapsed() < Duration::from_millis(30) {
            sum = std::hint::black_box(sum + 1);
        }
        let usage = before.usage_until(&read(std::process::id()).expect("this process can be read"));
        assert!(usage.run > Duration::ZERO, "{usage:?}");
        assert!(usage.wall >= Duration::from_millis(30), "{usage:?}");
        assert!(memory_kb(std::process::id()) > 100);
    }
}
