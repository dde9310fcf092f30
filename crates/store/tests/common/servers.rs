//! Real servers for one test: PostgreSQL and etcd on free ports, with their data in the test's directory.
//!
//! Each is kept by a shell that ends it when the test ends, in whatever way the test ends.

use super::Scratch;
use rustix::process::{Pid, Signal, kill_process};
use rustls::{ClientConfig, RootCertStore};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use store::etcd;
use store::postgres::{self, Host};

/// Longest time for a server to start. A minute: a busy machine, not a broken server.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest time for a server to stop in its tracks. As long: it takes microseconds on a quiet machine.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
/// PostgreSQL refuses to run as root; this user owns nothing.
const NOBODY: u32 = 65534;
pub const PASSWORD: &str = "a password with ' and \\";

/// A program that runs until it is dropped.
pub struct Running {
    shell: Child,
    pid: Pid,
}

impl Running {
    /// `ending`: the signal at the end, by name.
    fn start(words: &[String], log: &Path, ending: &str) -> Self {
        let log =
            std::fs::File::options().create(true).append(true).open(log).expect("the directory is ours");
        let script = "signal=$1; shift; \"$@\" </dev/null >&2 & echo $!; read line; kill -$signal $!; wait";
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh", ending])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("there is a shell");
        let mut line = String::new();
        let out = shell.stdout.take().expect("its output is piped");
        BufReader::new(out).read_line(&mut line).expect("the shell says the number");
        let number = line.trim().parse().expect("it is a number");
        Self { shell, pid: Pid::from_raw(number).expect("it is above 0") }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the server runs");
        if signal == Signal::STOP {
            self.wait_until_stopped();
        }
    }

    /// Its threads stop one after the other, and the last ones may still answer meanwhile.
    fn wait_until_stopped(&self) {
        let started = Instant::now();
        let tasks = format!("/proc/{}/task", self.pid.as_raw_nonzero());
        let goes_on = |path: PathBuf| {
            // A thread that has ended answers nothing.
            let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['T', 't']))
        };
        let entries = || std::fs::read_dir(&tasks).expect("the server runs").flatten();
        while entries().any(|entry| goes_on(entry.path())) {
            assert!(started.elapsed() < STOP_TIME_MAX, "the server does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The shell sees the end of its input and ends the server. One that was killed before is no error.
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}

/// A port of 127.0.0.1 that is free, another one each time. Below those that the kernel gives to outgoing connections, so
/// that it is still free when its server is started, and when it is started again.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(port).expect("at most 30,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port between {FIRST} and {} is free", FIRST + COUNT)
}

/// A program on the path or where Debian keeps PostgreSQL's. Without it the test fails.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    directories.extend(versions.map(|version| version.path().join("bin")));
    let found = directories.into_iter().map(|directory| directory.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed; `cargo xtask test --only packages` installs it"))
}

fn words(program: &Path, arguments: &[&str]) -> Vec<String> {
    let program = program.display().to_string();
    std::iter::once(program).chain(arguments.iter().map(|word| (*word).to_owned())).collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn as_nobody(program: &Path, arguments: &[&str]) -> Vec<String> {
    if !is_root() {
        return words(program, arguments);
    }
    let id = NOBODY.to_string();
    let mut all = words(
        Path::new("setpriv"),
        &["--reuid", &id, "--regid", &id, "--clear-groups", "--", &program.display().to_string()],
    );
    all.extend(arguments.iter().map(|word| (*word).to_owned()));
    all
}

fn wait_for(port: u16, log: &Path) {
    let started = Instant::now();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        assert!(started.elapsed() < START_TIME_MAX, "it does not listen on {port}:\n{said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes a file that only the servers' user may read.
pub fn give(file: &Path, text: &str) {
    std::fs::write(file, text).expect("the directory is ours");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    if is_root() {
        chown(file, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    }
}

/// A certificate for 127.0.0.1 with its key, a client that trusts it, and one that trusts another.
pub fn trusting() -> (String, String, Arc<ClientConfig>, Arc<ClientConfig>) {
    let make = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("it can be made");
    let (own, other) = (make(), make());
    let client = |certificate: &rcgen::Certificate| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("it is a certificate");
        Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    };
    let (trusting, wary) = (client(&own.cert), client(&other.cert));
    (own.cert.pem(), own.signing_key.serialize_pem(), trusting, wary)
}

/// PostgreSQL with its superuser `muster` and password.
pub struct Postgres {
    pub scratch: Scratch,
    pub port: u16,
    process: Option<Running>,
    options: Vec<String>,
}

impl Postgres {
    /// `options` are settings of the server as `name=value`.
    pub fn start(options: &[&str]) -> Self {
        let scratch = Scratch::new("postgres");
        if is_root() {
            chown(scratch.path(), Some(NOBODY), Some(NOBODY)).expect("root may give it away");
        }
        let password = scratch.path().join("password");
        std::fs::write(&password, PASSWORD).expect("the directory is ours");
        let data = scratch.path().join("data").display().to_string();
        let file = format!("--pwfile={}", password.display());
        let arguments = [
            "-D",
            &data,
            "-U",
            "muster",
            "--auth=scram-sha-256",
            &file,
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ];
        let words = as_nobody(&program("initdb"), &arguments);
        let made = Command::new(&words[0]).args(&words[1..]).output().expect("it can be started");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { scratch, port: free_port(), process: None, options };
        server.start_again();
        server
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    pub fn start_again(&mut self) {
        drop(self.process.take());
        let directory = self.scratch.path().display().to_string();
        let data = format!("{directory}/data");
        let port = self.port.to_string();
        let sockets = format!("unix_socket_directories={directory}");
        let small = ["listen_addresses=127.0.0.1", "shared_buffers=16MB", "max_connections=40", &sockets];
        let mut arguments = vec!["-D", &data, "-p", &port];
        let options = self.options.iter().map(String::as_str);
        for option in small.into_iter().chain(options) {
            arguments.extend(["-c", option]);
        }
        // After a kill the children of the last one may hold its memory for a moment, and it refuses to start.
        let words = as_nobody(&program("postgres"), &arguments);
        let started = Instant::now();
        loop {
            self.process = Some(Running::start(&words, &self.log(), "QUIT"));
            if self.is_ready() {
                return;
            }
            assert!(started.elapsed() < START_TIME_MAX, "{}", self.said());
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// False: the process ended.
    fn is_ready(&self) -> bool {
        let started = Instant::now();
        let process = self.process.as_ref().expect("it was started");
        loop {
            let psql = self.psql("select 1");
            if psql.is_ok() {
                return true;
            }
            assert!(started.elapsed() < START_TIME_MAX, "{}", self.said());
            if !Path::new(&format!("/proc/{}", process.pid.as_raw_nonzero())).exists() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// To the server and the processes that serve its connections.
    pub fn signal_all(&self, signal: Signal) {
        let parent = self.process.as_ref().expect("it runs").pid.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        for child in children.expect("the kernel says whose children they are").split_whitespace() {
            let pid = Pid::from_raw(child.parse().expect("it is a number")).expect("it is above 0");
            // One that has ended since is no matter.
            let _ = kill_process(pid, signal);
        }
        self.signal(signal);
    }

    /// What psql prints, as an operator sees it.
    pub fn psql(&self, sql: &str) -> Result<String, String> {
        let output = Command::new(program("psql"))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "muster",
                "-d",
                "postgres",
                "-At",
                "-c",
                sql,
            ])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("psql can be started");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    pub fn settings(&self, schema: &str, port: u16) -> postgres::Settings {
        postgres::Settings {
            hosts: vec![Host::Tcp { name: "127.0.0.1".into(), port }],
            user: "muster".into(),
            password: Some(PASSWORD.into()),
            database: "postgres".into(),
            schema: schema.into(),
            tls: None,
        }
    }
}

/// etcd servers that are one cluster.
pub struct Etcd {
    pub scratch: Scratch,
    pub ports: Vec<u16>,
    processes: Vec<Option<Running>>,
    commands: Vec<Vec<String>>,
}

impl Etcd {
    /// `options` for each server. The first address of each is for clients.
    pub fn start(count: usize, options: &[&str]) -> Self {
        let scratch = Scratch::new("etcd");
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let peers: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let scheme =
            if options.iter().any(|option| option.starts_with("--cert-file")) { "https" } else { "http" };
        let members: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(number, port)| format!("m{number}=http://127.0.0.1:{port}"))
            .collect();
        let members = members.join(",");
        let commands = (0..count).map(|number| {
            let client = format!("{scheme}://127.0.0.1:{}", ports[number]);
            let peer = format!("http://127.0.0.1:{}", peers[number]);
            let data = scratch.path().join(format!("data{number}")).display().to_string();
            let name = format!("m{number}");
            let mut arguments = vec![
                "--name",
                &name,
                "--data-dir",
                &data,
                // One that is killed has lost nothing, for the system has what it wrote; and one that waits for a busy disk
                // answers too late.
                "--unsafe-no-fsync",
                "--initial-cluster",
                &members,
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ];
            arguments.extend(options);
            words(&program("etcd"), &arguments)
        });
        let commands: Vec<Vec<String>> = commands.collect();
        let mut servers = Self { scratch, ports, processes: (0..count).map(|_| None).collect(), commands };
        // All at once: none is ready without a majority.
        (0..count).for_each(|number| servers.run(number));
        (0..count).for_each(|number| wait_for(servers.ports[number], &servers.log(number)));
        servers
    }

    fn log(&self, number: usize) -> PathBuf {
        self.scratch.path().join(format!("log{number}"))
    }

    fn run(&mut self, number: usize) {
        drop(self.processes[number].take());
        self.processes[number] = Some(Running::start(&self.commands[number], &self.log(number), "KILL"));
    }

    pub fn start_again(&mut self, number: usize) {
        self.run(number);
        wait_for(self.ports[number], &self.log(number));
    }

    pub fn kill(&self, number: usize) {
        self.signal(number, Signal::KILL);
    }

    pub fn signal(&self, number: usize, signal: Signal) {
        self.processes[number].as_ref().expect("it runs").signal(signal);
    }

    /// What etcdctl prints, as an operator sees it.
    pub fn etcdctl(&self, arguments: &[&str]) -> Result<String, String> {
        let endpoint = format!("127.0.0.1:{}", self.ports[0]);
        let own = if arguments.contains(&"--endpoints") { vec![] } else { vec!["--endpoints", &endpoint] };
        let output = Command::new(program("etcdctl"))
            .args(own)
            .args(arguments)
            .env("ETCDCTL_API", "3")
            .output()
            .expect("etcdctl can be started");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    pub fn settings(&self, prefix: &str, ports: &[u16]) -> etcd::Settings {
        let endpoints = ports.iter().map(|&port| etcd::Endpoint { host: "127.0.0.1".into(), port });
        etcd::Settings { endpoints: endpoints.collect(), prefix: prefix.into(), user: None, tls: None }
    }
}
