//! A network of its own for a measurement: loopback without the machine's packet filters and connection tracking.
//!
//! Those cost each proxy the same, so they would hide a part of what proxies differ in. Without the right to make one,
//! the machine's own network is used, and the report says so.

use crate::failure::{Doing, Failure, Outcome};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::{env, fs};

/// Set for the process that runs within the network of its own.
const INSIDE: &str = "MUSTER_BENCH_INSIDE";
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// In the order in which they are tried. Cubic: what Linux has unless told otherwise. Reno does as well on loopback;
/// a control that paces its sending (BBR) makes large answers wait for timers, now and then.
const CONTROLS: [&str; 2] = ["cubic", "reno"];

/// Starts this program anew within a network of its own, if the system allows that. Returns within it, or where it is
/// not allowed.
pub fn enter() -> Outcome<()> {
    if is_inside() {
        set_congestion_control();
        return Ok(());
    }
    // Root needs no other user namespace, in which fewer files may be written.
    let arguments: &[&str] =
        if rustix::process::geteuid().is_root() { &["--net"] } else { &["--net", "--map-root-user"] };
    let unshare = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(arguments).arg("--").args(command);
        unshare
    };
    let mut probe = unshare(&["ip", "link", "set", "lo", "up"]);
    let probed = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probed.is_ok_and(|status| status.success()) {
        eprintln!("no network of its own can be made: measuring in the machine's");
        return Ok(());
    }
    let mut command = unshare(&["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
    let program = env::current_exe().doing("find this program")?;
    let error = command.arg(program).args(env::args_os().skip(1)).env(INSIDE, "1").exec();
    Err(Failure(format!("could not start again in a network of its own: {error}")))
}

pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

fn set_congestion_control() {
    // The report tells which one it is.
    let _ = CONTROLS.iter().find(|control| fs::write(CONGESTION_CONTROL, control).is_ok());
}

/// What the sockets of a measurement run over, for the report.
pub fn text() -> String {
    let control = fs::read_to_string(CONGESTION_CONTROL).unwrap_or_default();
    let whose = if is_inside() { "a network of its own" } else { "the machine's network" };
    format!("{} on loopback in {whose}", control.trim())
}
