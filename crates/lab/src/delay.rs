//! Makes packets take longer: a relay in the switch that holds each for the delays of its two ends.
//!
//! The kernel's own delays (netem) are not in every kernel, so packets pass through an interface of a small program, all of
//! the switch's once there is one delay. Needs python3 and `/dev/net/tun`.

use crate::host::dying_with_us;
use crate::{Doing, Outcome, Problem};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

const PROGRAM: &str = include_str!("delay.py");

#[derive(Debug)]
pub struct Relay {
    child: Child,
    input: ChildStdin,
}

impl Relay {
    pub const INTERFACE: &str = "delay0";

    /// Starts it in the switch's namespace, where its interface then is.
    pub fn start(switch: &str, directory: &Path) -> Outcome<Self> {
        let path = directory.join("delay.py");
        std::fs::write(&path, PROGRAM).doing(format_args!("write {}", path.display()))?;
        let mut command = dying_with_us("ip")?;
        command.args(["netns", "exec", switch, "python3"]).arg(&path).arg(Self::INTERFACE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().doing("start the relay")?;
        let input = child.stdin.take().expect("its input is piped");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).doing("hear the relay")?;
        let relay = Self { child, input };
        if line != "ready\n" {
            return Err(Problem("the relay of delays did not start; is there a /dev/net/tun?".into()));
        }
        crate::network::ip(&format!("-n {switch} link set {} up", Self::INTERFACE))?;
        Ok(relay)
    }

    pub fn set(&mut self, host: Ipv4Addr, delay: Duration) -> Outcome<()> {
        let line = format!("{host} {}\n", delay.as_secs_f64());
        self.input.write_all(line.as_bytes()).doing("tell the relay a delay")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It ends with the lab in any case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
