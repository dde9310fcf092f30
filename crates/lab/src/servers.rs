//! The servers that several managers share, on a host of their own: etcd or PostgreSQL as Debian has them.

use crate::host::{Host, Program, Said};
use crate::network::program;
use crate::wait::until;
use crate::{Doing, Outcome, Problem};
use rustix::process::Signal;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// The host's name and address.
pub const NAME: &str = "store";
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 201);
/// Longest time for a server to start. A minute: a busy machine, not a broken server.
const START_TIME_MAX: Duration = Duration::from_secs(60);
const DATA: &str = "/var/lib/muster/data";
const SAVED: &str = "/var/lib/muster/saved";
/// PostgreSQL refuses to run as root; this user owns nothing.
const NOBODY: u32 = 65534;

/// Where a cell keeps what must outlive its managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file of its only manager.
    Sqlite,
    Postgres,
    Etcd,
}

impl Kind {
    /// What the configuration says of it.
    pub fn table(self) -> &'static str {
        match self {
            Kind::Sqlite => "",
            Kind::Postgres => {
                "[store]\nkind = \"postgres\"\nservers = [\"10.0.0.201:5432\"]\ndatabase = \"postgres\"\n\n"
            }
            Kind::Etcd => "[store]\nkind = \"etcd\"\nservers = [\"10.0.0.201:2379\"]\n\n",
        }
    }
}

#[derive(Debug)]
pub struct Server {
    kind: Kind,
    program: Option<Program>,
}

/// Where Debian keeps PostgreSQL's programs.
fn postgres_program(name: &str) -> Outcome<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.is_file());
    found.next().map_or_else(|| program(name), Ok)
}

fn must(host: &Host, words: &[&str]) -> Outcome<Said> {
    match host.run(words)? {
        said if said.code == Some(0) => Ok(said),
        said => Err(Problem(format!("{}: {}", words.join(" "), said.talk.trim()))),
    }
}

impl Server {
    /// Makes it on its host, and starts it. None where a cell needs none.
    pub fn start(kind: Kind, host: &Host) -> Outcome<Option<Self>> {
        match kind {
            Kind::Sqlite => return Ok(None),
            Kind::Etcd => {}
            Kind::Postgres => make_database(host)?,
        }
        let mut server = Self { kind, program: None };
        server.run(host)?;
        Ok(Some(server))
    }

    /// Starts it, again if it ran before.
    pub fn run(&mut self, host: &Host) -> Outcome<()> {
        if self.program.as_mut().is_some_and(|program| !program.has_ended()) {
            return Ok(());
        }
        let data = DATA.to_owned();
        let words: Vec<String> = match self.kind {
            Kind::Sqlite => return Ok(()),
            Kind::Etcd => {
                let (client, peer) = (format!("http://{ADDRESS}:2379"), format!("http://{ADDRESS}:2380"));
                let program = program("etcd")?.display().to_string();
                let cluster = format!("store={peer}");
                let options = [
                    ("--name", "store"),
                    ("--data-dir", &data),
                    ("--listen-client-urls", &client),
                    ("--advertise-client-urls", &client),
                    ("--listen-peer-urls", &peer),
                    ("--initial-advertise-peer-urls", &peer),
                    ("--initial-cluster", &cluster),
                ];
                let options =
                    options.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]);
                std::iter::once(program).chain(options).collect()
            }
            Kind::Postgres => {
                let program = postgres_program("postgres")?.display().to_string();
                let sockets = format!("unix_socket_directories={}", host.home.display());
                let listen = format!("listen_addresses={ADDRESS}");
                let options = [listen.as_str(), "shared_buffers=16MB", &sockets];
                let mut words = as_nobody(&[&program, "-D", &data]);
                words.extend(options.iter().flat_map(|option| ["-c".to_owned(), (*option).to_owned()]));
                words
            }
        };
        self.program = Some(host.start("server", &words)?);
        let port = if self.kind == Kind::Etcd { "2379" } else { "5432" };
        let words = ["bash", "-c", &format!("exec 3<>/dev/tcp/{ADDRESS}/{port}")];
        until(START_TIME_MAX, "the store's server to listen", || must(host, &words).map(drop))
    }

    pub fn signal(&self, host: &Host, signal: Signal) {
        // All of its processes are those of its host.
        host.signal_all(signal);
    }

    /// Ends it as a loss of power does.
    pub fn kill(&mut self, host: &Host) -> Outcome<()> {
        host.signal_all(Signal::KILL);
        match &mut self.program {
            Some(program) => program.wait(START_TIME_MAX),
            None => Ok(()),
        }
    }

    /// Stops it, copies or brings back all that it has, and starts it.
    pub fn copy(&mut self, host: &Host, is_back: bool) -> Outcome<()> {
        self.kill(host)?;
        let (from, to) = if is_back { (SAVED, DATA) } else { (DATA, SAVED) };
        must(host, &["rm", "-rf", to])?;
        must(host, &["cp", "-a", from, to])?;
        self.run(host)
    }
}

fn as_nobody(words: &[&str]) -> Vec<String> {
    let id = NOBODY.to_string();
    let prefix = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"];
    prefix.iter().chain(words).map(|word| (*word).to_owned()).collect()
}

fn make_database(host: &Host) -> Outcome<()> {
    std::os::unix::fs::chown(&host.home, Some(NOBODY), Some(NOBODY)).doing("give a directory away")?;
    must(host, &["chown", &NOBODY.to_string(), "/var/lib/muster"])?;
    let program = postgres_program("initdb")?.display().to_string();
    let words = as_nobody(&[
        &program,
        "--no-sync",
        "-D",
        DATA,
        "-U",
        "muster",
        "--auth=trust",
        "-E",
        "UTF8",
        "--locale=C",
    ]);
    must(host, &words.iter().map(String::as_str).collect::<Vec<_>>())?;
    // The lab's network has nobody else.
    let trust = format!("echo 'host all all 10.0.0.0/24 trust' >{DATA}/pg_hba.conf");
    must(host, &["sh", "-c", &trust]).map(drop)
}
