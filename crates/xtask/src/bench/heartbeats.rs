//! Heartbeats that one core of a manager takes: a real manager process is sent as many as it answers.
//!
//! The figure is answered heartbeats per second of processor time of the manager's thread that hears them, so that what
//! else runs on the machine does not count. All is real: process, sockets, keys, codes and answers. All heartbeats are one
//! node's, whose place in the manager's table is in the cache; with ten thousand nodes each costs some tens of
//! nanoseconds more.

use super::candidate::{self, MUSTER_FILE, START_TIME_MAX, free_address, start_manager};
use super::router::Scratch;
use crate::failure::{Doing, Failure, Outcome};
use crate::process::Owned;
use ring::hmac;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use wire::heartbeat::{Code, Datagram, Kind, Parsed, SIZE_MAX_BYTES};
use wire::id::{CellNumber, ManagerNumber, NodeNumber, TermNumber};

/// What one core must take.
const PER_CORE_MIN: f64 = 100_000.0;
pub const SECONDS_DEFAULT: u64 = 5;
/// Heartbeats that are under way at once. 1,000: the manager never waits, and its socket holds five times as many.
const UNDER_WAY_MAX: u64 = 1_000;
/// Sent between two looks for answers.
const AT_ONCE: u64 = 50;
const NODE: &str = "web-1";
/// The thread that hears heartbeats.
const THREAD: &str = "heartbeats";

#[derive(Debug, clap::Args)]
pub struct HeartbeatsArgs {
    /// How long to send
    #[arg(long, default_value_t = SECONDS_DEFAULT)]
    seconds: u64,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// What a manager took.
#[derive(Debug, serde::Serialize)]
pub struct Intake {
    pub seconds: f64,
    pub answered: u64,
    pub lost: u64,
    pub per_second: f64,
    /// Of processor time of the thread that hears them.
    pub per_second_and_core: f64,
}

/// Runs the benchmark by itself; whether its bar was met.
pub fn heartbeats(args: &HeartbeatsArgs) -> Outcome<bool> {
    super::router::build()?;
    let intake = measure(Duration::from_secs(args.seconds.max(1)))?;
    let is_met = intake.per_second_and_core >= PER_CORE_MIN;
    if args.json {
        println!("{}", serde_json::to_string(&intake).doing("write JSON")?);
    } else {
        println!(
            "{:.0} heartbeats/s per core ({} answered in {:.1} s, {:.0}/s; {} lost); at least {PER_CORE_MIN:.0}: {}",
            intake.per_second_and_core,
            intake.answered,
            intake.seconds,
            intake.per_second,
            intake.lost,
            if is_met { "met" } else { "MISSED" }
        );
    }
    Ok(is_met)
}

/// Sends for so long to a manager of its own.
pub fn measure(period: Duration) -> Outcome<Intake> {
    let scratch = Scratch::new("heartbeats")?;
    let (link, heard_at) = (free_address()?, free_udp_address()?);
    let config = scratch.0.join(MUSTER_FILE);
    let text = format!(
        "[cell]\nstate_dir = \"{state}\"\n[manager]\nlisten = \"{link}\"\nheartbeat_port = {port}\n\
         [console]\nlisten = \"{console}\"\n[nodes.{NODE}]\naddress = \"127.0.0.1\"\n\
         [routers.front]\nlisten = [\"127.0.0.1:0\"]\n[clusters.shop.probe]\nkind = \"tcp\"\n\
         [clusters.shop.members.far]\naddress = \"127.0.0.1:9\"\n",
        state = scratch.0.join("state").display(),
        port = heard_at.port(),
        console = free_address()?,
    );
    fs::write(&config, text).doing(format_args!("write {}", config.display()))?;
    let made = Command::new(candidate::muster()?).arg("init").arg("--config").arg(&config).output();
    let made = made.doing("run muster init")?;
    if !made.status.success() {
        return Err(Failure(format!("muster init: {}", String::from_utf8_lossy(&made.stderr))));
    }
    // Without an agent: this is to be the node.
    let manager = start_manager(&candidate::muster()?, &scratch.0, None, &["manager"])?;
    Node::open(&scratch.0.join("state/cell"), heard_at)?.send_for(&manager, period)
}

fn free_udp_address() -> Outcome<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0").doing("find a free port")?;
    socket.local_addr().doing("find a free port")
}

/// The manager's own node, as far as heartbeats tell.
struct Node {
    socket: UdpSocket,
    key: hmac::Key,
    cell: CellNumber,
    run: u64,
    sequence: u64,
    answered: u64,
}

impl Node {
    fn open(directory: &Path, to: SocketAddr) -> Outcome<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").doing("open a socket")?;
        socket.connect(to).doing("open a socket")?;
        socket.set_nonblocking(true).doing("open a socket")?;
        let secret = fs::read_to_string(directory.join("heartbeat-secret")).doing("read the secret")?;
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &from_hex(secret.trim()));
        // As `muster::heartbeat` makes it, of a machine that has not joined and has the first number.
        let mut context = hmac::Context::with_key(&secret);
        context.update(b"muster heartbeat key 1");
        context.update(&0_u32.to_be_bytes());
        context.update(&0_u64.to_be_bytes());
        context.update(NODE.as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref());
        let cell = cell_number(&directory.join("authority.pem"))?;
        Ok(Self { socket, key, cell, run: 0, sequence: 0, answered: 0 })
    }

    fn code(&self, signed: &[u8]) -> Code {
        let tag = hmac::sign(&self.key, signed);
        *tag.as_ref().first_chunk().expect("HMAC with SHA-256 has 32 bytes")
    }

    fn send(&mut self) -> Outcome<()> {
        self.sequence += 1;
        let datagram = Datagram {
            kind: Kind::Heartbeat { is_deaf: false },
            cell: self.cell,
            node: NodeNumber(0),
            manager: ManagerNumber(0),
            interval_ms: 150,
            incarnation: 1,
            sequence: self.sequence,
            term: TermNumber(0),
            epochs: 0,
            boot: 1,
            run: self.run,
        };
        let bytes = datagram.bytes(|signed| self.code(signed));
        match self.socket.send(&bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(Failure(format!("cannot send a heartbeat: {error}"))),
        }
    }

    /// Answers are believed here: nobody else sends any, and to prove them would measure this process.
    fn take_answers(&mut self) {
        let mut buffer = [0; SIZE_MAX_BYTES];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            if let Ok(parsed) = Parsed::parse(&buffer[..length]) {
                self.run = parsed.datagram.run;
                self.answered += 1;
            }
        }
    }

    fn send_for(mut self, manager: &Owned, period: Duration) -> Outcome<Intake> {
        // The first answer tells the manager's run; later ones are of heartbeats that count.
        let started = Instant::now();
        while self.run == 0 {
            self.send()?;
            std::thread::sleep(Duration::from_millis(20));
            self.take_answers();
            if started.elapsed() > START_TIME_MAX {
                return Err(Failure("the manager answers no heartbeat".into()));
            }
        }
        let thread = thread_of(manager.0.id())?;
        (self.sequence, self.answered) = (self.sequence + 1, 0);
        let before = self.sequence;
        let (cpu_before, started) = (cpu_ns(&thread)?, Instant::now());
        let (mut lost, mut moved_at) = (0, Instant::now());
        while started.elapsed() < period {
            let answered = self.answered;
            if self.sequence - before - self.answered - lost < UNDER_WAY_MAX {
                (0..AT_ONCE).try_for_each(|_| self.send())?;
            } else {
                std::thread::yield_now();
            }
            self.take_answers();
            if self.answered > answered {
                moved_at = Instant::now();
            } else if moved_at.elapsed() > Duration::from_millis(200) {
                // What is under way for so long was lost.
                lost = self.sequence - before - self.answered;
                moved_at = Instant::now();
            }
        }
        let (seconds, cpu_s) =
            (started.elapsed().as_secs_f64(), (cpu_ns(&thread)? - cpu_before) as f64 / 1e9);
        let answered = self.answered;
        let (per_second, per_second_and_core) = (answered as f64 / seconds, answered as f64 / cpu_s);
        Ok(Intake { seconds, answered, lost, per_second, per_second_and_core })
    }
}

pub fn from_hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).filter_map(digit).collect()
}

/// The number in the name of the cell's authority, which stands in its certificate as plain text.
fn cell_number(path: &Path) -> Outcome<CellNumber> {
    let text = fs::read_to_string(path).doing(format_args!("read {}", path.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('-'));
    let certificate = from_base64(&lines.collect::<String>());
    let name = b"Muster cell ";
    let at = certificate.windows(name.len()).position(|window| window == name);
    let digits = at.and_then(|at| certificate.get(at + name.len()..at + name.len() + 16));
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.map(CellNumber).ok_or_else(|| Failure(format!("{} names no cell", path.display())))
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for six in text.bytes().filter_map(value) {
        bits = (bits << 6 | u32::from(six)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// Where the kernel tells of the process's thread that hears heartbeats.
fn thread_of(process: u32) -> Outcome<PathBuf> {
    let tasks = PathBuf::from(format!("/proc/{process}/task"));
    for task in fs::read_dir(&tasks).doing(format_args!("read {}", tasks.display()))?.flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.trim() == THREAD {
            return Ok(task.path().join("schedstat"));
        }
    }
    Err(Failure(format!("process {process} has no thread {THREAD}")))
}

/// Time on a processor.
fn cpu_ns(schedstat: &Path) -> Outcome<u64> {
    let text = fs::read_to_string(schedstat).doing(format_args!("read {}", schedstat.display()))?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| Failure(format!("{} has no number", schedstat.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_certificates_and_secrets_are_written_in_is_read() {
        assert_eq!(from_base64("TXVzdGVyIGNlbGwg"), b"Muster cell ");
        assert_eq!(from_base64("TXU="), b"Mu");
        assert_eq!(from_hex("00ff7A"), [0, 255, 122]);
    }
}
