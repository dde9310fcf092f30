//! Looks at this machine: a process, a file system, a network interface, an address.
//!
//! On threads of their own that may block (see `lookers`): a file system that hangs shall hold up nothing else. A look cannot be
//! ended, so that nobody waits for one that hangs, and its monitor gets no second one meanwhile.

mod lookers;

use logic::monitor::Answer;
use lookers::Lookers;
use rustix::process::{Pid, test_kill_process};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use wire::id::MonitorName;
use wire::monitor::Check;

/// Longest file with a process number, and of an interface's state.
const SMALL_MAX_BYTES: u64 = 4 << 10;

/// How long a look may wait for those before it. 10 ms: a thousand times what one takes that does not hang.
const BUSY_MAX: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub struct Looks {
    /// Those that have hung until nobody waited any more: one at most for each monitor.
    hanging: RefCell<BTreeMap<MonitorName, Look>>,
    lookers: Lookers,
}

#[derive(Debug)]
struct Look {
    check: Check,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

/// Puts a look that nobody waits for any more where the next one finds it.
struct Kept<'a> {
    looks: &'a Looks,
    name: &'a MonitorName,
    look: Option<Look>,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if let Some(look) = self.look.take() {
            self.looks.hanging.borrow_mut().insert(self.name.clone(), look);
        }
    }
}

impl Looks {
    /// Takes as long as it takes: the caller has a time-out, and may cancel it. What an earlier look finds that has hung until
    /// now is taken for this one's answer.
    pub async fn look(&self, name: &MonitorName, check: &Check) -> Answer {
        let earlier = self.hanging.borrow_mut().remove(name).filter(|look| look.check == *check);
        let look = match earlier.map_or_else(|| self.begin(check), Ok) {
            Ok(look) => look,
            Err(error) => return Answer::Unasked { why: error.to_string() },
        };
        let mut kept = Kept { looks: self, name, look: Some(look) };
        let look = kept.look.as_mut().expect("it was put there just now");
        let answer = match timeout(BUSY_MAX, &mut look.answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.lookers.help(look.number);
                (&mut look.answer).await
            }
        };
        kept.look = None;
        answer.unwrap_or_else(|_| Answer::Unasked { why: "looking has failed".into() })
    }

    fn begin(&self, check: &Check) -> std::io::Result<Look> {
        let (answering, answer) = oneshot::channel();
        let own = check.clone();
        let number = self.lookers.begin(Box::new(move || drop(answering.send(look(&own)))))?;
        Ok(Look { check: check.clone(), number, answer })
    }
}

fn look(check: &Check) -> Answer {
    match check {
        Check::Pid { file } => pid(file),
        Check::Disk { path, free_min_percent } => disk(path, *free_min_percent),
        Check::Link { interface } => link(interface),
        Check::Address { address } => address_is_here(*address),
        Check::Tcp { .. }
        | Check::Http { .. }
        | Check::Smtp { .. }
        | Check::Redis { .. }
        | Check::Postgres { .. }
        | Check::Dns { .. }
        | Check::Program { .. }
        | Check::Ocf { .. } => unreachable!("only this machine is looked at here"),
    }
}

fn read(path: &str) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(SMALL_MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn pid(file: &str) -> Answer {
    let text = match read(file) {
        Ok(text) => text,
        Err(error) => return Answer::bad(format!("{file}: {error}")),
    };
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    let Some(pid) = number.filter(|number| *number > 0).and_then(Pid::from_raw) else {
        return Answer::bad(format!("{file} holds no process number"));
    };
    let number = pid.as_raw_nonzero();
    // One that belongs to somebody else cannot be signalled, and is there.
    if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) || is_zombie(number.get()) {
        return Answer::bad(format!("process {number} is not there"));
    }
    Answer::good()
}

/// It has ended, and only its parent has not heard.
fn is_zombie(pid: i32) -> bool {
    // After the name, which may hold anything but ends with the last bracket.
    let stat = read(&format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

fn disk(path: &str, free_min_percent: u32) -> Answer {
    let told = match rustix::fs::statvfs(path) {
        Ok(told) => told,
        Err(error) => return Answer::bad(format!("{path}: {error}")),
    };
    // As `df` counts: what only root may use is not free.
    let free = told.f_bavail as f64;
    let all = (told.f_blocks - told.f_bfree) as f64 + free;
    let percent = if all > 0.0 { free * 100.0 / all } else { 100.0 };
    let figures = vec![wire::monitor::Figure { label: "free".into(), value: percent, unit: "%".into() }];
    if percent < f64::from(free_min_percent) {
        return Answer::bad(format!("less than {free_min_percent}% of {path} is free"));
    }
    Answer::Good { warning: None, figures }
}

fn link(interface: &str) -> Answer {
    let directory = format!("/sys/class/net/{interface}");
    let Ok(state) = read(&format!("{directory}/operstate")) else {
        return Answer::bad(format!("there is no interface {interface}"));
    };
    match state.trim() {
        "up" => Answer::good(),
        // Loopback and tunnels do not say; whether they are up, and what carries them, does.
        "unknown" => match read(&format!("{directory}/carrier")).as_deref().map(str::trim) {
            Ok("1") => Answer::good(),
            Ok(_) | Err(_) => Answer::bad(format!("{interface} has no carrier")),
        },
        state => Answer::bad(format!("{interface} is {state}")),
    }
}

/// Only an address of this machine can be bound.
fn address_is_here(address: IpAddr) -> Answer {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Answer::good(),
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
            Answer::bad(format!("this machine does not have {address}"))
        }
        Err(error) => Answer::Unasked { why: error.to_string() },
    }
}
