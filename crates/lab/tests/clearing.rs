//! Nothing of a lab outlives it, whatever way its process ends; and what happens to packets happens.
//!
//! Needs root.

use lab::host::Said;
use lab::hosts::Hosts;
use lab::wait::until;
use lab::{Outcome, Problem};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for what takes milliseconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("muster-lab-test-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a new name in a directory for such things");
    path
}

fn namespaces(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("m{pid}x"))).collect()
}

/// Control groups of a lab, wherever this system has them.
fn groups(pid: u32) -> usize {
    let name = format!("muster-lab-m{pid}x*");
    let found = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", &name]).output();
    String::from_utf8_lossy(&found.expect("there is a find").stdout).lines().count()
}

/// Processes whose environment or words have this text.
fn processes(text: &str) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let files = entries.flat_map(|entry| ["cmdline", "environ"].map(|file| entry.path().join(file)));
    let mine = format!("/proc/{}/", std::process::id());
    let others = files.filter(|path| !path.display().to_string().starts_with(&mine));
    others
        .filter(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).contains(text))
        .count()
}

/// Ends a lab in some way, and looks at what is left.
fn check(end: impl FnOnce(&mut std::process::Child)) {
    let directory = directory();
    let test = std::env::current_exe().expect("this test is a program");
    let program = test.parent().and_then(Path::parent).expect("cargo's directories").join("examples/hosts");
    // Who runs the tests may ignore interrupts, as shells do for what they start in the background.
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT")
        .arg(&program)
        .arg(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut lab = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut line = String::new();
    let output = lab.stdout.take().expect("its output is piped");
    BufReader::new(output).read_line(&mut line).expect("it says something");
    assert_eq!(line, "ready\n");
    let pid = lab.id();
    assert_eq!(namespaces(pid).len(), 3, "two hosts and the switch");
    let name = directory.display().to_string();
    assert!(processes(&name) > 0);
    end(&mut lab);
    // Who asked it to end is not asked to wait: what is left to do others do.
    let left = || match (namespaces(pid), groups(pid), processes(&name), directory.exists()) {
        (names, 0, 0, false) if names.is_empty() => Ok(()),
        left => Err(Problem(format!("{left:?}"))),
    };
    until(PATIENCE, "nothing to be left", left).unwrap_or_else(|problem| panic!("{problem}"));
    lab.wait().expect("it has ended");
}

fn send(lab: &std::process::Child, signal: Signal) {
    let pid = i32::try_from(lab.id()).ok().and_then(Pid::from_raw).expect("a process has a number");
    kill_process(pid, signal).expect("it runs");
}

#[test]
fn nothing_outlives_a_lab_whatever_way_it_ends() {
    check(|lab| drop(lab.stdin.take()));
    check(|lab| send(lab, Signal::KILL));
    check(|lab| send(lab, Signal::INT));
}

fn ping(hosts: &Hosts, from: &str, to: u8) -> Outcome<Said> {
    hosts.run(from, &format!("ping -c 1 -W 1 10.0.0.{to}"))
}

/// A busy machine may need more than the second that one that cannot hear is given.
fn must_hear(hosts: &Hosts, from: &str, to: u8) -> Outcome<()> {
    until(PATIENCE, "an answer", || match ping(hosts, from, to)? {
        said if said.code == Some(0) => Ok(()),
        said => Err(Problem(format!("{from} does not hear 10.0.0.{to}: {said:?}"))),
    })
}

#[test]
fn cuts_losses_delays_and_power_do_what_they_say() {
    let directory = directory();
    let story = || {
        let mut hosts = Hosts::new(&directory, &["one", "two", "three"], Path::new("/bin/true"), true)?;
        let hears = |hosts: &Hosts, from, to| Ok::<_, Problem>(ping(hosts, from, to)?.code == Some(0));
        must_hear(&hosts, "one", 2)?;
        must_hear(&hosts, "two", 3)?;
        hosts.cut(&[("one", "two")])?;
        assert!(!hears(&hosts, "one", 2)? && !hears(&hosts, "two", 1)?, "no answer comes back");
        // Only these two.
        must_hear(&hosts, "one", 3)?;
        must_hear(&hosts, "three", 2)?;
        hosts.heal(&["one"])?;
        hosts.lose("three", 1000)?;
        must_hear(&hosts, "one", 2)?;
        assert!(!hears(&hosts, "one", 3)?);
        hosts.heal(&["three"])?;

        let started = Instant::now();
        hosts.delay("two", Duration::from_millis(150))?;
        must_hear(&hosts, "one", 2)?;
        assert!(started.elapsed() > Duration::from_millis(300), "there and back");
        must_hear(&hosts, "one", 3)?;

        let state = hosts.get("two")?.home.join("state/kept");
        hosts.must("two", "touch /var/lib/muster/kept")?;
        let mut program = hosts.start("two", "sleep", "sleep 1000")?;
        hosts.get("two")?.signal_all(Signal::STOP);
        hosts.power_off(&["two"])?;
        program.wait(PATIENCE)?;
        assert!(hosts.run("two", "true").is_err(), "it has no power");
        assert!(state.exists(), "it was on its disk");
        hosts.power_on("two")?;
        hosts.must("two", "ls /var/lib/muster/kept")?;
        assert_eq!(hosts.must("two", "hostname")?, "two\n");
        let seen = hosts.must("two", "ps -e")?;
        assert!(!seen.contains("systemd") && seen.lines().count() < 6, "only its own processes: {seen}");
        Ok::<_, Problem>(())
    };
    story().unwrap_or_else(|problem| panic!("{problem}"));
    assert!(!directory.exists());
}
