//! Programs that end, that are dropped, and that do not end though they were killed.

use super::*;
use std::io::Read as _;
use std::process::Stdio;
use std::time::Instant;

fn start(script: &str) -> Started {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null()).process_group(0);
    Started::new(&mut command, HANGING_MAX).expect("a shell can be started")
}

fn is_ours(pid: i32) -> bool {
    let mut is_ours = false;
    while_none_starts(|ours| is_ours = ours(pid));
    is_ours
}

/// Waits for a state that comes.
fn until(mut holds: impl FnMut() -> bool) {
    let late = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < late, "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_program_is_known_until_the_kernel_has_let_go_of_it() {
    let mut started = start("exit 3");
    let pid = started.pid();
    assert!(is_ours(pid));
    let mut status = None;
    until(|| {
        status = started.status().ok();
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(3));
    assert!(!is_ours(pid));
    let dropped = start("sleep 1000");
    let pid = dropped.pid();
    drop(dropped);
    until(|| !is_ours(pid));
}

/// What hangs in the kernel looks so from here: it was killed, and does not end.
#[test]
fn what_does_not_end_when_it_is_killed_is_kept_and_waited_for_by_nobody() {
    let mut hanging = start("sleep 1000");
    let (pid, child) = (hanging.pid(), hanging.child.take().expect("it runs"));
    let mut all = Programs { starting: 0, running: BTreeSet::new(), killed: vec![child] };
    all.bury();
    assert_eq!(all.killed.len(), 1, "it has not ended");
    all.starting = HANGING_MAX - 2;
    let refused = all.begin(HANGING_MAX / 2).expect_err("places are left for others").to_string();
    assert!(refused.contains("hang in the kernel"), "{refused}");
    assert!(all.begin(HANGING_MAX).is_ok());
    let refused = all.begin(HANGING_MAX).expect_err("there are too many").to_string();
    assert!(refused.contains("hang in the kernel"), "{refused}");
    all.killed[0].kill().expect("it is ours");
    until(|| {
        all.bury();
        all.killed.is_empty()
    });
    assert!(all.begin(HANGING_MAX).is_ok());
    programs().running.remove(&pid);
}

#[test]
fn one_that_has_left_its_process_group_is_killed_too() {
    let own = rustix::process::getpgid(None).expect("we have one").as_raw_nonzero().to_string();
    let mut command = Command::new("perl");
    let leave = "$| = 1; setpgrp(0, $ARGV[0]) or die; print 1; sleep 1000";
    command.args(["-e", leave, &own]).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut started = Started::new(&mut command, HANGING_MAX).expect("perl is part of every Debian");
    let mut said = started.child.as_mut().and_then(|child| child.stdout.take()).expect("it is a pipe");
    said.read_exact(&mut [0]).expect("it has left its group");
    started.kill();
    let mut has_ended = false;
    until(|| {
        has_ended = has_ended || started.status().is_ok();
        has_ended
    });
}
