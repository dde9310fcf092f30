//! Clients that people use: curl and wrk, run as they are.

use super::program;
use std::net::SocketAddr;
use std::process::Command;

/// Runs curl and gives what it printed; a failure shows what it said.
pub fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new(program("curl"));
    command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments);
    let output = command.output().unwrap_or_else(|error| panic!("could not start curl: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {} ended with {}: {said}", arguments.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What wrk counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    pub requests: u64,
    /// Answers that were not 2xx or 3xx.
    pub refused: u64,
    /// Connections that failed, reads and writes that failed, and answers that did not come.
    pub broken: u64,
    pub said: String,
}

/// Loads an address with wrk from two threads for some seconds.
pub fn wrk(address: SocketAddr, target: &str, connections: u32, seconds: u32) -> Load {
    let mut command = Command::new(program("wrk"));
    command.args(["--threads", "2", "--connections", &connections.to_string()]);
    command
        .args(["--duration", &format!("{seconds}s"), "--timeout", "10s"])
        .arg(format!("http://{address}{target}"));
    let output = command.output().unwrap_or_else(|error| panic!("could not start wrk: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "wrk ended with {}: {said}", output.status);
    read_wrk(said)
}

/// Reads `  1234 requests in 2.00s, ..`, `Non-2xx or 3xx responses: 1` and `Socket errors: connect 0, read 0, ..`.
fn read_wrk(said: String) -> Load {
    let number =
        |text: &str| -> u64 { text.trim().parse().unwrap_or_else(|_| panic!("no number: {text:?}")) };
    let mut load = Load { requests: 0, refused: 0, broken: 0, said: String::new() };
    for line in said.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in ") {
            load.requests = number(count);
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            load.refused = number(count);
        } else if let Some(counts) = line.strip_prefix("Socket errors:") {
            load.broken = counts
                .split(',')
                .map(|part| number(part.trim().rsplit(' ').next().unwrap_or_default()))
                .sum();
        }
    }
    load.said = said;
    load
}
