//! `clp_httpmon` and `clp_smtpmon` as scripts use them, against a real nginx and a real Postfix: what they say to syslog and to
//! the list of alerts, and how they end.

mod support;

use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use support::cell::MUSTER;
use support::servers::{self, Kind};
use support::{PATIENCE, Running, Scratch, family, free_address, mail, send, wait_for};
use wire::monitor::Alert;

/// A machine as the commands see it: syslog, an agent, and who monitors under which identifier.
struct Machine {
    scratch: Scratch,
    syslog: UnixDatagram,
    agent: UnixDatagram,
}

impl Machine {
    fn new() -> Self {
        let scratch = Scratch::new();
        let bind = |name: &str| {
            let socket = UnixDatagram::bind(scratch.join(name)).expect("the test's directory can be written");
            socket.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
            socket
        };
        std::fs::create_dir_all(scratch.join("state/agent")).expect("the test's directory can be written");
        let (syslog, agent) = (bind("syslog"), bind("state/agent/alerts.sock"));
        for name in ["clp_httpmon", "clp_smtpmon"] {
            std::os::unix::fs::symlink(MUSTER, scratch.join(name)).expect("it is not there yet");
        }
        Self { scratch, syslog, agent }
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = Command::new(self.scratch.join(words.next().expect("a command")));
        command.args(words).env("MUSTER_RUNTIME_DIR", self.scratch.join("run"));
        command.env("MUSTER_STATE_DIR", self.scratch.join("state"));
        command.env("MUSTER_SYSLOG", self.scratch.join("syslog"));
        command
    }

    /// Runs a command to its end.
    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn code(&self, line: &str) -> Option<i32> {
        self.run(line).status.code()
    }

    /// Starts monitoring and waits until it has begun.
    fn start(&self, line: &str) -> Running {
        let running = Running::start("monitor", &mut self.command(line), &self.scratch.join("monitor.log"));
        self.expect(&[1, 2]);
        running
    }

    /// The next messages have these numbers, in syslog and among the alerts alike; gives the texts.
    fn expect(&self, ids: &[u16]) -> Vec<String> {
        ids.iter().map(|id| self.expect_one(*id)).collect()
    }

    fn expect_one(&self, id: u16) -> String {
        let mut buffer = [0; 4096];
        let length = self.agent.recv(&mut buffer).unwrap_or_else(|error| panic!("no alert {id}: {error}"));
        let alert: Alert = serde_json::from_slice(&buffer[..length]).expect("an alert in JSON");
        assert_eq!(alert.id, id, "{}", alert.text);
        let length = self.syslog.recv(&mut buffer).unwrap_or_else(|error| panic!("no line {id}: {error}"));
        let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(line.ends_with(&format!("]: <event: {id}> {}", alert.text)), "{line}");
        assert!(line.contains(&format!(">{}[", alert.source)), "{line}");
        alert.text
    }

    /// Nothing more was said.
    fn is_silent(&self) -> bool {
        self.agent.set_nonblocking(true).expect("a socket of ours");
        let is_silent = self.agent.recv(&mut [0; 16]).is_err();
        self.agent.set_nonblocking(false).expect("a socket of ours");
        is_silent
    }
}

/// A server that says the same to everybody, once it has heard something, or at once.
fn scripted(answer: &'static str, hears_first: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            if hears_first {
                let _ = stream.read(&mut [0; 4096]);
            }
            let _ = stream.write_all(answer.as_bytes());
            // Until the other side has gone, so that nothing is lost by closing too early.
            while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
        }
    });
    address
}

/// A server that answers `200` and says when it has, until it is dropped.
struct Counted {
    address: SocketAddr,
    served: Receiver<()>,
    end: Arc<AtomicBool>,
}

impl Counted {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        // More answers than a test awaits: the rest is not counted.
        let (serve, served) = sync_channel(64);
        let end = Arc::new(AtomicBool::new(false));
        let is_over = end.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
                let _ = serve.try_send(());
            }
        });
        Self { address, served, end }
    }

    fn wait_until_asked(&self) {
        self.served.recv_timeout(PATIENCE).expect("it is asked");
    }

    /// From now on connections are refused.
    fn close(self) {
        self.end.store(true, Ordering::SeqCst);
        // Wakes the thread, which then drops the listener.
        drop(TcpStream::connect(self.address));
        wait_for("the server to be closed", || match TcpStream::connect(self.address) {
            Ok(_) => Err("it still accepts".to_owned()),
            Err(_) => Ok(()),
        });
    }
}

/// Sends a signal to a process and all that descend from it.
fn signal_family(pid: u32, signal: Signal) {
    family(pid).into_iter().for_each(|pid| send(pid, signal));
}

/// Stops a server and all its processes. The first one first, and until it has: it may be about to start another.
fn freeze(pid: u32) {
    send(pid, Signal::STOP);
    wait_for("the server to be stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| error.to_string())?;
        let (_, rest) = stat.rsplit_once(") ").ok_or("no state")?;
        if rest.starts_with('T') { Ok(()) } else { Err(rest.to_owned()) }
    });
    signal_family(pid, Signal::STOP);
}

// ---- clp_httpmon: what is an error ----

#[test]
fn httpmon_ends_when_nginx_is_gone() {
    let machine = Machine::new();
    let mut nginx = servers::start("web", Kind::Nginx, &machine.scratch, free_address());
    let port = nginx.address.port();
    let mut monitor = machine.start(&format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 20"));
    nginx.process.signal(Signal::TERM);
    nginx.process.wait();
    let texts = machine.expect(&[72, 6]);
    let refused = "clp_httpmon has detected network error(connect error[111]). [ID:WATCH1]";
    assert!(texts[0].ends_with(refused), "{texts:?}");
    assert_eq!(texts[1], "clp_httpmon detected an error and will be terminated. [ID:WATCH1]");
    assert_eq!(monitor.wait(), Some(1));
    assert!(machine.is_silent());
    // What it kept is gone with it.
    assert_eq!(machine.code("clp_httpmon WATCH1 --disp"), Some(1));
}

#[test]
fn httpmon_ends_when_nginx_hangs() {
    let machine = Machine::new();
    let nginx = servers::start("web", Kind::Nginx, &machine.scratch, free_address());
    freeze(nginx.process.pid());
    let port = nginx.address.port();
    let mut monitor = machine.start(&format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -i 1 -c 1 -t 1"));
    let texts = machine.expect(&[74, 6]);
    // 110: it took too long.
    assert_eq!(texts[0], "clp_httpmon has detected network error(select error[110]). [ID:WATCH1]");
    assert_eq!(monitor.wait(), Some(1));
    signal_family(nginx.process.pid(), Signal::CONT);
}

#[test]
fn httpmon_with_a_uri_ends_on_a_wrong_status() {
    let machine = Machine::new();
    let nginx = servers::start("web", Kind::Nginx, &machine.scratch, free_address());
    let port = nginx.address.port();
    let line = format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 20 -v 1.0 -h /missing");
    let mut monitor = machine.start(&line);
    let texts = machine.expect(&[83, 6]);
    assert_eq!(texts[0], "clp_httpmon has detected an error in HTTP(invalid status code[404]). [ID:WATCH1]");
    assert_eq!(monitor.wait(), Some(1));
}

#[test]
fn httpmon_goes_on_while_nginx_works_and_ends_when_it_is_stopped() {
    let machine = Machine::new();
    let nginx = servers::start("web", Kind::Nginx, &machine.scratch, free_address());
    let port = nginx.address.port();
    let mut monitor =
        machine.start(&format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 20 -h /index.html"));
    assert_eq!(machine.code("clp_httpmon WATCH1 --stop"), Some(0));
    assert_eq!(machine.expect(&[3]), ["clp_httpmon will stop monitoring the HTTP daemon. [ID:WATCH1]"]);
    assert_eq!(monitor.wait(), Some(0));
    assert!(machine.is_silent());
}

#[test]
fn httpmon_without_a_uri_does_not_look_at_the_status() {
    let machine = Machine::new();
    let server = scripted("HTTP/1.1 500 Oh\r\n\r\n", true);
    let port = server.port();
    let mut monitor = machine.start(&format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 20"));
    // With a URI the same server is in error; so much later the first would have found one as well.
    let mut other =
        machine.command(&format!("clp_httpmon WATCH2 -s 127.0.0.1 -n {port} -i 1 -c 2 -r 20 -h /x"));
    let output = other.output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    machine.expect(&[1, 2, 83, 6]);
    assert!(machine.is_silent());
    assert_eq!(machine.code("clp_httpmon WATCH1 --stop"), Some(0));
    assert_eq!(monitor.wait(), Some(0));
}

#[test]
fn httpmon_ends_when_something_else_answers() {
    let machine = Machine::new();
    let port = scripted("SSH-2.0-OpenSSH_9\r\n", false).port();
    let mut monitor = machine.start(&format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 20"));
    let texts = machine.expect(&[82, 6]);
    assert_eq!(texts[0], "clp_httpmon has detected an error in HTTP(invalid response). [ID:WATCH1]");
    assert_eq!(monitor.wait(), Some(1));
}

#[test]
fn a_connect_error_is_one_of_the_setting_until_it_has_worked() {
    let machine = Machine::new();
    let port = free_address().port();
    let mut monitor = machine.start(&format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -i 1 -c 1"));
    let texts = machine.expect(&[72, 6]);
    assert_eq!(texts[0], "The clp_httpmon has detected network error(connect error[111]). [ID:WATCH1]");
    assert_eq!(monitor.wait(), Some(1));

    let server = Counted::start();
    let port = server.address.port();
    let mut monitor = machine.start(&format!("clp_httpmon WATCH2 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 20"));
    // The second probe begins only after the first one's answer has been judged.
    server.wait_until_asked();
    server.wait_until_asked();
    server.close();
    let texts = machine.expect(&[72, 6]);
    assert_eq!(texts[0], "clp_httpmon has detected network error(connect error[111]). [ID:WATCH2]");
    assert_eq!(monitor.wait(), Some(1));
}

#[test]
fn httpmon_ends_when_its_server_has_no_address() {
    let machine = Machine::new();
    let mut monitor = machine.start("clp_httpmon WATCH1 -s nowhere.invalid -i 1 -c 1 -r 60");
    let texts = machine.expect(&[81, 6]);
    // -2: there is no such name; -3: and nobody could be asked.
    let known =
        [-2, -3].map(|number| format!("Failed to obtain the IP address. (error[{number}]). [ID:WATCH1]"));
    assert!(known.contains(&texts[0]), "{texts:?}");
    assert_eq!(monitor.wait(), Some(1));
}

// ---- clp_smtpmon ----

#[test]
fn smtpmon_goes_on_while_postfix_works_and_ends_when_it_is_gone() {
    let machine = Machine::new();
    let mut postfix = mail::start(&machine.scratch, None);
    let port = postfix.address.port();
    let mut monitor = machine.start(&format!("clp_smtpmon MAIL1 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 20"));
    // Its smtpd would hold the port for a while.
    signal_family(postfix.process.pid(), Signal::KILL);
    postfix.process.wait();
    let texts = machine.expect(&[72, 6]);
    assert_eq!(texts[0], "clp_smtpmon has detected network error(connect error[111]). [ID:MAIL1]");
    assert_eq!(texts[1], "clp_smtpmon detected an error and will be terminated. [ID:MAIL1]");
    assert_eq!(monitor.wait(), Some(1));
}

#[test]
fn smtpmon_ends_when_postfix_hangs() {
    let machine = Machine::new();
    let postfix = mail::start(&machine.scratch, None);
    freeze(postfix.process.pid());
    let port = postfix.address.port();
    let mut monitor = machine.start(&format!("clp_smtpmon MAIL1 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 1"));
    let texts = machine.expect(&[74, 6]);
    assert_eq!(texts[0], "clp_smtpmon has detected network error(select error[110]). [ID:MAIL1]");
    assert_eq!(monitor.wait(), Some(1));
    signal_family(postfix.process.pid(), Signal::CONT);
}

#[test]
fn smtpmon_ends_when_the_server_refuses() {
    let machine = Machine::new();
    let port = scripted("421 4.3.2 too busy\r\n", false).port();
    let mut monitor = machine.start(&format!("clp_smtpmon MAIL1 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 20"));
    let texts = machine.expect(&[83, 6]);
    assert_eq!(texts[0], "clp_smtpmon has detected an error in SMTP (invalid status code[421]). [ID:MAIL1]");
    assert_eq!(monitor.wait(), Some(1));
}

// ---- orders and identifiers ----

#[test]
fn monitoring_is_interrupted_and_resumed() {
    let machine = Machine::new();
    let server = Counted::start();
    let port = server.address.port();
    let mut monitor = machine.start(&format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 20"));
    server.wait_until_asked();
    assert_eq!(machine.code("clp_httpmon WATCH1 --pause"), Some(0));
    assert_eq!(machine.expect(&[7]), ["clp_httpmon will stop monitoring. [ID:WATCH1]"]);
    // Nothing is asked meanwhile, so that the server may go away.
    server.close();
    assert_eq!(machine.code("clp_httpmon WATCH1 --pause"), Some(0));
    assert!(machine.is_silent(), "it is interrupted already");
    assert_eq!(machine.code("clp_httpmon WATCH1 --resume"), Some(0));
    assert_eq!(machine.expect(&[8]), ["clp_httpmon will start monitoring. [ID:WATCH1]"]);
    machine.expect(&[72, 6]);
    assert_eq!(monitor.wait(), Some(1));
    assert_eq!(machine.code("clp_httpmon WATCH1 --pause"), Some(1));
    assert_eq!(machine.code("clp_httpmon WATCH1 --resume"), Some(1));
}

#[test]
fn an_identifier_is_used_once_over_all_commands() {
    let machine = Machine::new();
    let port = Counted::start().address.port();
    let mut monitor = machine.start(&format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -r 20"));
    for command in ["clp_httpmon", "clp_smtpmon"] {
        assert_eq!(machine.code(&format!("{command} WATCH1 -n {port}")), Some(1));
        assert_eq!(machine.expect(&[14]), ["The specified identifier is already used. [ID:WATCH1]"]);
    }
    // Identifiers are case-sensitive, and what another command monitors is none of this one's.
    assert_eq!(machine.code("clp_httpmon watch1 --disp"), Some(1));
    assert_eq!(machine.code("clp_smtpmon WATCH1 --pause"), Some(1));
    let pid = machine.run("clp_httpmon WATCH1 --disp");
    assert_eq!(String::from_utf8_lossy(&pid.stdout).trim(), monitor.pid().to_string());
    // Its information cannot be taken away from it.
    assert_eq!(machine.code("clp_httpmon WATCH1 --del"), Some(1));
    assert_eq!(machine.code("clp_httpmon WATCH1 --stop 20"), Some(0));
    assert_eq!(monitor.wait(), Some(0));
}

#[test]
fn a_monitor_that_was_killed_leaves_an_identifier_that_can_be_used_again() {
    let machine = Machine::new();
    let port = Counted::start().address.port();
    let line = format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -r 20");
    let mut killed = machine.start(&line);
    killed.signal(Signal::KILL);
    killed.wait();
    let shown = machine.run("clp_httpmon WATCH1 --disp");
    assert_eq!(shown.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), killed.pid().to_string());
    let mut monitor = machine.start(&line);
    monitor.signal(Signal::KILL);
    monitor.wait();
    assert_eq!(machine.code("clp_httpmon WATCH1 --del"), Some(0));
    let forgotten = machine.run("clp_httpmon WATCH1 --disp");
    assert_eq!((forgotten.status.code(), forgotten.stdout.len()), (Some(1), 0));
}

#[test]
fn a_stop_that_does_not_come_about_is_told() {
    let machine = Machine::new();
    assert_eq!(machine.code("clp_httpmon WATCH1 --stop"), Some(1));
    let text = "clp_httpmon could not perform the end processing. [ID:WATCH1]";
    assert_eq!(machine.expect(&[15]), [text]);
    let port = Counted::start().address.port();
    let mut monitor = machine.start(&format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -r 20"));
    monitor.signal(Signal::STOP);
    assert_eq!(machine.code("clp_httpmon WATCH1 --stop 1"), Some(1));
    assert_eq!(machine.expect(&[15]), [text]);
    // Once it can, it does what it was told.
    monitor.signal(Signal::CONT);
    machine.expect(&[3]);
    assert_eq!(monitor.wait(), Some(0));
}

#[test]
fn wrong_use_is_told_with_its_number() {
    let machine = Machine::new();
    assert_eq!(machine.code("clp_httpmon"), Some(2));
    assert_eq!(machine.expect(&[13]), ["An identifier is not specified in the clp_httpmon command."]);
    assert_eq!(machine.code("clp_smtpmon MAIL1 -i 0"), Some(2));
    assert_eq!(machine.expect(&[11]), ["The parameter value of clp_smtpmon is invalid. [ID:MAIL1]"]);
    let said = machine.run("clp_httpmon WATCH1 -n 0");
    assert_eq!(said.status.code(), Some(2));
    let talk = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(talk.starts_with("clp_httpmon: `-n` is `0`; allowed: 1 to 65535\n"), "{talk}");
    machine.expect(&[11]);
}

#[test]
fn a_system_error_is_told_with_function_and_number() {
    let machine = Machine::new();
    std::fs::write(machine.scratch.join("run"), "in the way").expect("the test's directory can be written");
    assert_eq!(machine.code("clp_httpmon WATCH1"), Some(4));
    let text = machine.expect(&[42]).remove(0);
    assert!(text.starts_with("clp_httpmon has detected system error (open "), "{text}");
}

#[test]
fn the_same_is_there_without_a_link() {
    let machine = Machine::new();
    let mut command = Command::new(MUSTER);
    command
        .args(["clp", "smtpmon", "MAIL1", "-v", "1.0"])
        .env("MUSTER_RUNTIME_DIR", machine.scratch.join("run"));
    command.env("MUSTER_STATE_DIR", machine.scratch.join("state"));
    command.env("MUSTER_SYSLOG", machine.scratch.join("syslog"));
    assert_eq!(command.output().expect("it runs").status.code(), Some(2));
    machine.expect(&[11]);
}

#[test]
fn a_monitor_takes_less_than_five_megabytes_of_its_own() {
    let machine = Machine::new();
    let server = Counted::start();
    let port = server.address.port();
    let mut monitor = machine.start(&format!("clp_httpmon WATCH1 -s 127.0.0.1 -n {port} -i 1 -c 1 -r 20"));
    server.wait_until_asked();
    server.wait_until_asked();
    let status = std::fs::read_to_string(format!("/proc/{}/status", monitor.pid())).expect("it runs");
    // The binary itself is shared with everything else of Muster that runs, and a debug build has a large one.
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
    let own_kib: u64 = own.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(own_kib < 5 << 10, "{own_kib} KiB");
    assert_eq!(machine.code("clp_httpmon WATCH1 --stop 20"), Some(0));
    monitor.wait();
}
