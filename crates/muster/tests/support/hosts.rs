//! Machines for tests: network namespaces with a router between them, each with directories of its own where programs
//! expect theirs.
//!
//! Needs root, `ip` and `nsenter`, and no module of the kernel for bridges. All goes with the test; names carry the test's
//! process, so tests run beside each other.

use super::cell::{MUSTER, Said};
use super::{Running, Scratch, program};
use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a host does before each command: its own `/var/lib`, of which `/var/lib/muster` outlives the command.
const PREPARE: &str = "mount --make-rprivate / && mount -t tmpfs none /var/lib && mkdir /var/lib/muster && \
                       mount --bind \"$0/state\" /var/lib/muster && cd \"$0\" && exec \"$@\"";

/// Hosts `names`, the first with the address 10.0.0.1, and so on.
pub struct Hosts {
    prefix: String,
    directory: PathBuf,
    names: Vec<String>,
}

fn ip(arguments: &str) {
    let done = Command::new(program("ip")).args(arguments.split(' ')).output();
    let done = done.unwrap_or_else(|error| panic!("could not start ip: {error}"));
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Hosts {
    pub fn new(scratch: &Scratch, names: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Names of interfaces have at most 15 characters.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("m{}x{number}", std::process::id());
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let hosts = Self { prefix, directory: scratch.path().to_path_buf(), names };
        let switch = hosts.namespace("switch");
        ip(&format!("netns add {switch}"));
        let forward = format!("netns exec {switch} sysctl -q -w net.ipv4.ip_forward=1");
        ip(&forward);
        for (place, name) in hosts.names.iter().enumerate() {
            let (namespace, cable) = (hosts.namespace(name), format!("{}c{place}", hosts.prefix));
            ip(&format!("netns add {namespace}"));
            ip(&format!("link add {cable} netns {switch} type veth peer name eth0 netns {namespace}"));
            ip(&format!("-n {switch} link set {cable} up"));
            ip(&format!("-n {switch} address add 10.0.0.254/32 dev {cable}"));
            ip(&format!("-n {switch} route add 10.0.0.{}/32 dev {cable}", place + 1));
            ip(&format!("-n {namespace} address add 10.0.0.{}/32 dev eth0", place + 1));
            ip(&format!("-n {namespace} link set lo up"));
            hosts.heal(name);
            let state = hosts.home(name).join("state");
            std::fs::create_dir_all(&state).unwrap_or_else(|error| panic!("{}: {error}", state.display()));
        }
        let link = hosts.directory.join("muster");
        std::os::unix::fs::symlink(MUSTER, &link).unwrap_or_else(|error| panic!("a link: {error}"));
        hosts
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Where commands of a host start; `state` in it is the host's `/var/lib/muster`.
    pub fn home(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn command(&self, name: &str, words: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(program("nsenter"));
        command.arg(format!("--net=/run/netns/{}", self.namespace(name)));
        command.args(["unshare", "--mount", "sh", "-c", PREPARE]).arg(self.home(name)).args(words);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.directory.display()));
        command.env_remove("MUSTER_API").env_remove("MUSTER_TOKEN");
        command
    }

    /// Runs a command line (without quotes) on a host to its end.
    pub fn run(&self, name: &str, line: &str) -> Said {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.command(name, &words).output();
        let output = output.unwrap_or_else(|error| panic!("could not start {line}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), data: text(&output.stdout), talk: text(&output.stderr) }
    }

    /// The same, which must end with 0; gives its data.
    pub fn must(&self, name: &str, line: &str) -> String {
        let said = self.run(name, line);
        assert_eq!(said.code, Some(0), "{name}: {line}: {said:?}");
        said.data
    }

    /// Starts a command line that goes on.
    pub fn start(&self, name: &str, line: &str) -> Running {
        self.start_beside(name, line, &self.log(name))
    }

    /// The same with a log of its own, beside what runs there already.
    pub fn start_beside(&self, name: &str, line: &str, log: &Path) -> Running {
        let words: Vec<&str> = line.split_whitespace().collect();
        Running::start(&format!("{line} on {name}"), &mut self.command(name, &words), log)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.home(name).join("log")
    }

    /// Runs `work` on a thread that is on a host's network.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let path = format!("/run/netns/{}", self.namespace(name));
        std::thread::spawn(move || {
            let namespace = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let entered = rustix::thread::move_into_link_name_space(
                namespace.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            );
            entered.unwrap_or_else(|error| panic!("cannot enter {path}: {error}"));
            work()
        })
    }

    /// Plugs a host's cable out.
    pub fn cut(&self, name: &str) {
        ip(&format!("-n {} link set eth0 down", self.namespace(name)));
    }

    /// Plugs it in.
    pub fn heal(&self, name: &str) {
        let namespace = self.namespace(name);
        ip(&format!("-n {namespace} link set eth0 up"));
        // Routes go with the interface.
        ip(&format!("-n {namespace} route add 10.0.0.254/32 dev eth0"));
        ip(&format!("-n {namespace} route add 10.0.0.0/24 via 10.0.0.254"));
    }

    /// Writes a file into a host's home.
    pub fn write(&self, name: &str, file: &str, text: &str) {
        let path: &Path = &self.home(name).join(file);
        std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in self.names.iter().map(String::as_str).chain(["switch"]) {
            // One that was never made is as good as removed.
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(name)]).output();
        }
    }
}
