//! The proxies that are compared: Muster as it is shipped, HAProxy and nginx as Debian ships them, all set up for the
//! same work with one thread on one core: four back ends with weights 4, 3, 2 and 1, keep-alive on both sides,
//! X-Forwarded-For, no access log. Everything else is each one's default.
//!
//! Muster's router runs alone in its process, as on a machine that only routes: what is measured is what the others do.
//! Manager and agent are beside the generator; the router follows them and reports to them as always.

use super::meter;
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
/// Arguments that leave everything but the router to other processes.
pub const ROUTER_ONLY: [&str; 2] = ["--role", "router"];

/// Longest wait until a proxy or a manager is there after its start. Ten seconds: ten times what the slowest takes.
pub const START_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks for something that starts, which cannot tell us.
const START_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Client connections that each proxy is set up for.
pub const CONNECTIONS_MAX: usize = 10_100;
const WEIGHTS: [u32; 4] = [4, 3, 2, 1];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Muster,
    Haproxy,
    Nginx,
}

impl Kind {
    pub fn text(self) -> &'static str {
        match self {
            Kind::Muster => "muster",
            Kind::Haproxy => "haproxy",
            Kind::Nginx => "nginx",
        }
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
    pub fn start(kind: Kind, directory: &Path, back_ends: &[SocketAddr]) -> Outcome<Self> {
        let directory = directory.join(kind.text());
        fs::create_dir_all(&directory).doing(format_args!("create {}", directory.display()))?;
        let address = free_address()?;
        let mut command = prepare(kind, &directory, address, back_ends)?;
        let manager = match kind {
            Kind::Muster => Some(start_manager(&directory)?),
            Kind::Haproxy | Kind::Nginx => None,
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

/// Starts manager and agent of the cell that `muster_config` wrote to `directory`; they take routers when this returns.
pub fn start_manager(directory: &Path) -> Outcome<Owned> {
    let mut command = Command::new(muster()?);
    command.arg("run").arg("--config").arg(directory.join(MUSTER_FILE));
    command.args(["--role", "manager", "--role", "agent"]);
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
pub fn version(kind: Kind) -> Outcome<String> {
    let (program, argument) = match kind {
        Kind::Muster => (muster()?, "--version"),
        Kind::Haproxy => (program("haproxy")?, "-v"),
        Kind::Nginx => (program("nginx")?, "-v"),
    };
    let output =
        Command::new(&program).arg(argument).output().doing(format_args!("start {}", program.display()))?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned())
}

fn program(name: &str) -> Outcome<PathBuf> {
    process::find_program(name)
        .ok_or_else(|| Failure(format!("{name} is missing: cargo xtask test --only packages installs it")))
}

/// The binary as it is shipped.
pub fn muster() -> Outcome<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let path = target.unwrap_or_else(|| repository::root().join("target")).join("release/muster");
    match path.is_file() {
        true => Ok(path),
        false => Err(Failure(format!("{} is missing: cargo build --release builds it", path.display()))),
    }
}

fn prepare(kind: Kind, directory: &Path, address: SocketAddr, back_ends: &[SocketAddr]) -> Outcome<Command> {
    let config = directory.join(match kind {
        Kind::Muster => MUSTER_FILE,
        Kind::Haproxy => "haproxy.cfg",
        Kind::Nginx => "nginx.conf",
    });
    let text = match kind {
        Kind::Muster => muster_config(directory, address, back_ends)?,
        Kind::Haproxy => haproxy_config(address, back_ends),
        Kind::Nginx => nginx_config(directory, address, back_ends),
    };
    fs::write(&config, text).doing(format_args!("write {}", config.display()))?;
    let mut command;
    match kind {
        Kind::Muster => {
            command = Command::new(muster()?);
            command.arg("run").arg("--config").arg(&config).args(ROUTER_ONLY);
        }
        Kind::Haproxy => {
            command = Command::new(program("haproxy")?);
            command.arg("-db").arg("-f").arg(&config);
        }
        Kind::Nginx => {
            command = Command::new(program("nginx")?);
            command
                .arg("-p")
                .arg(directory)
                .arg("-c")
                .arg(&config)
                .arg("-e")
                .arg(directory.join("error.log"));
        }
    }
    Ok(command)
}

/// A cell with one router of one thread and one cluster of four members that run elsewhere.
pub fn muster_config(directory: &Path, address: SocketAddr, back_ends: &[SocketAddr]) -> Outcome<String> {
    let console = free_address()?;
    let mut text = format!(
        "[cell]\nstate_dir = \"{}\"\n\n[console]\nlisten = \"{console}\"\n\n[routers.bench]\n\
         listen = [\"{address}\"]\nthreads = 1\n",
        directory.join(STATE).display()
    );
    for (index, (back_end, weight)) in back_ends.iter().zip(WEIGHTS).enumerate() {
        text.push_str(&format!(
            "\n[clusters.bench.members.member-{index}]\naddress = \"{back_end}\"\nweight = {weight}\n"
        ));
    }
    Ok(text)
}

fn haproxy_config(address: SocketAddr, back_ends: &[SocketAddr]) -> String {
    // Without strict limits it starts where it may not open two descriptors for each connection; an idle client
    // connection needs one only.
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn {CONNECTIONS_MAX}\n  no strict-limits\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 75s\n  timeout server 75s\n  \
         timeout http-keep-alive 75s\n  option http-keep-alive\n  http-reuse always\n\
         frontend front\n  bind {address}\n  option forwardfor\n  default_backend back\n\
         backend back\n  balance roundrobin\n"
    );
    for (index, (back_end, weight)) in back_ends.iter().zip(WEIGHTS).enumerate() {
        text.push_str(&format!("  server member-{index} {back_end} weight {weight}\n"));
    }
    text
}

fn nginx_config(directory: &Path, address: SocketAddr, back_ends: &[SocketAddr]) -> String {
    let directory = directory.display();
    let mut servers = String::new();
    for (back_end, weight) in back_ends.iter().zip(WEIGHTS) {
        servers.push_str(&format!("    server {back_end} weight={weight} max_fails=0;\n"));
    }
    format!(
        "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\npid {directory}/nginx.pid;\n\
         error_log {directory}/error.log crit;\n\
         events {{\n  worker_connections 19000;\n}}\n\
         http {{\n  access_log off;\n  tcp_nodelay on;\n  keepalive_timeout 75s;\n  \
         keepalive_requests 1000000000;\n  client_body_temp_path {directory}/body;\n  \
         proxy_temp_path {directory}/proxy;\n  fastcgi_temp_path {directory}/fastcgi;\n  \
         uwsgi_temp_path {directory}/uwsgi;\n  scgi_temp_path {directory}/scgi;\n  \
         upstream back {{\n{servers}    keepalive 256;\n    keepalive_requests 1000000000;\n  }}\n  \
         server {{\n    listen {address} backlog=4096;\n    location / {{\n      proxy_pass http://back;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
         proxy_set_header Host $host;\n      \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n      proxy_max_temp_file_size 0;\n    \
         }}\n  }}\n}}\n"
    )
}
