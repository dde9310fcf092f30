//! What end-to-end tests share: real servers and clients, a running cell, a raw HTTP client, and waiting for states.
//!
//! Promises: everything started here is ended with its test, whatever way that ends; directories and ports are free
//! ones, so tests may run beside each other; a program that is missing fails the test with what to do about it.

#![allow(dead_code, reason = "each test program uses its own part of this")]

pub mod cell;
pub mod certificates;
pub mod clients;
pub mod datagrams;
pub mod groups;
pub mod guide;
pub mod hosts;
pub mod http;
pub mod mail;
pub mod member;
pub mod scripted;
pub mod servers;
pub mod steady;
pub mod stores;
pub mod templates;
pub mod websocket;

use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for something that takes well under a second on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at a state.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines of a log that are shown when a test fails.
const LOG_LINES_MAX: usize = 60;

/// Directories for servers lie here too, out of a user's path.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Counts what must be distinct within this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The first program called `name`; a missing one is a failure, never a skipped test.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(SYSTEM_DIRECTORIES.map(PathBuf::from));
    let found = directories.map(|directory| directory.join(name)).find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: `cargo xtask test --only packages` installs it"))
}

/// The project's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A directory that goes with its test; it stays when the test fails, to be looked at.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("muster-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("could not create {}: {error}", path.display()));
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("could not write {}: {error}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            // What cannot be removed is the system's to clean.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A port of 127.0.0.1 that is free. Below those that the kernel gives to outgoing connections, so that none of the
/// thousands that tests make takes it before its server does.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(number) % COUNT;
        let port = u16::try_from(port).expect("at most 30,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port between {FIRST} and {} is free", FIRST + COUNT)
}

pub fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// Looks until there is an answer; fails with `what` and the last refusal when patience ends.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    wait_at_most(PATIENCE, what, &mut look)
}

pub fn wait_at_most<T>(most: Duration, what: &str, look: &mut dyn FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(refusal) if started.elapsed() > most => {
                panic!("waited {} s for {what}, and still: {refusal}", most.as_secs_f64())
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

pub fn wait_until_listening(address: SocketAddr, process: &mut Running) {
    let name = process.name.clone();
    wait_for(&format!("{name} to listen on {address}"), || {
        process.check();
        TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
    });
}

/// A process that is ended with all its descendants when its owner goes.
#[derive(Debug)]
pub struct Running {
    pub name: String,
    child: Child,
    /// The process that it has led to, on a host of its own.
    inner: Option<u32>,
    log: PathBuf,
}

impl Running {
    /// Starts a command with its output in `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let output =
            File::create(log).unwrap_or_else(|error| panic!("could not create {}: {error}", log.display()));
        let copy =
            output.try_clone().unwrap_or_else(|error| panic!("could not share {}: {error}", log.display()));
        command.stdin(Stdio::null()).stdout(output).stderr(copy);
        let child = command.spawn().unwrap_or_else(|error| panic!("could not start {name}: {error}"));
        Self { name: name.to_owned(), child, inner: None, log: log.to_path_buf() }
    }

    /// What was started leads to a process on a host, to which signals go from now on.
    pub fn leading_in(mut self) -> Self {
        let inner = wait_for("a process on the host", || {
            self.check();
            family(self.pid()).get(1).copied().ok_or_else(|| "there is none".to_owned())
        });
        self.inner = Some(inner);
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Fails with the log when the process has ended.
    pub fn check(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("{} ended with {status}:\n{}", self.name, self.log());
        }
    }

    pub fn signal(&self, signal: Signal) {
        send(self.inner.unwrap_or(self.pid()), signal);
        if self.inner.is_some() && signal == Signal::CONT {
            // The way in has stopped with what it leads to.
            send(self.pid(), signal);
        }
    }

    /// Waits for its end and gives its exit status; none when a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let name = self.name.clone();
        wait_for(&format!("{name} to end"), || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status.code()),
            Ok(None) => Err("it runs".into()),
            Err(error) => Err(error.to_string()),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = family(self.pid());
        let held: Vec<_> = family.iter().filter_map(|pid| hold(*pid)).collect();
        for pid in family {
            send(pid, Signal::KILL);
        }
        // An error means that it has been waited for already.
        let _ = self.child.wait();
        // All that they had is given back only now: files, locks, ports.
        for process in &held {
            wait_until_ended(process);
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES_MAX)..];
            eprintln!("---- {} said, last ----\n{}", self.name, last.join("\n"));
        }
    }
}

/// Sends a signal; a process that is gone already has nothing to hear.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A hold on a process that cannot become one on another; none if it is gone.
fn hold(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Waits until a killed process has ended with all its threads.
fn wait_until_ended(process: &OwnedFd) {
    let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut polled = [rustix::event::PollFd::new(process, rustix::event::PollFlags::IN)];
    // One that hangs in the kernel is what its test is about, or fails it by what it keeps.
    let _ = rustix::event::poll(&mut polled, Some(&patience));
}

/// Whether a process is there and not only waiting to be buried.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// All processes that descend from `pid`, itself first.
pub fn family(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some((_, parent)) = stat(child) {
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

/// State and parent of a process, from `/proc/PID/stat` behind the name, which ends in the last `)`.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = words.next()?.to_owned();
    Some((state, words.next()?.parse().ok()?))
}
