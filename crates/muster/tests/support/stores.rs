//! Servers that managers share a store on: PostgreSQL and etcd, one of each, with their data in the test's directory.

use super::{Scratch, free_port, program};
use std::path::{Path, PathBuf};
use std::process::Command;

/// PostgreSQL refuses to run as root; this user owns nothing.
const NOBODY: u32 = 65534;
pub const PASSWORD: &str = "a-password-with-%27";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    Etcd,
}

/// One server, not running yet.
#[derive(Debug)]
pub struct StoreServer {
    pub kind: Kind,
    directory: PathBuf,
    /// Where it will listen.
    ip: &'static str,
    port: u16,
    /// Of etcd, for servers among themselves.
    peer_port: u16,
}

/// A program on the path or where Debian keeps PostgreSQL's.
fn postgres_program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| program(name))
}

/// Words that begin a command line, which then runs as somebody who is not root.
fn as_nobody() -> Vec<String> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let id = NOBODY.to_string();
    ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"].map(str::to_owned).to_vec()
}

fn must(words: &[String]) {
    let done = Command::new(&words[0]).args(&words[1..]).output();
    let done = done.unwrap_or_else(|error| panic!("could not start {}: {error}", words[0]));
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

impl StoreServer {
    /// Makes the server's files below `scratch`.
    pub fn prepare(scratch: &Scratch, kind: Kind, ip: &'static str, port: u16) -> Self {
        let directory = scratch.join("store");
        std::fs::create_dir_all(&directory).expect("the test's directory can be written");
        let server = Self { kind, directory, ip, port, peer_port: free_port() };
        if kind == Kind::Postgres {
            server.make_database();
        }
        server
    }

    fn make_database(&self) {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&self.directory, Some(NOBODY), Some(NOBODY))
                .expect("root may give it away");
        }
        let password = self.directory.join("password");
        std::fs::write(&password, PASSWORD).expect("it can be written");
        let (initdb, data) = (display(&postgres_program("initdb")), display(&self.data()));
        let file = format!("--pwfile={}", display(&password));
        let words = [
            &initdb,
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
        must(&[as_nobody(), words.map(str::to_owned).to_vec()].concat());
        let rules = "host all all 0.0.0.0/0 scram-sha-256\n";
        let path = self.data().join("pg_hba.conf");
        std::fs::write(path, rules).expect("it can be written");
    }

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What runs it, without blanks within words.
    pub fn command(&self) -> Vec<String> {
        let (ip, port, data) = (self.ip, self.port, display(&self.data()));
        match self.kind {
            Kind::Postgres => {
                let sockets = format!("unix_socket_directories={}", display(&self.directory));
                let listen = format!("listen_addresses={ip}");
                let words = [
                    &display(&postgres_program("postgres")),
                    "-D",
                    &data,
                    "-p",
                    &port.to_string(),
                    "-c",
                    &listen,
                    "-c",
                    &sockets,
                    "-c",
                    "shared_buffers=16MB",
                    "-c",
                    "max_connections=40",
                    "-c",
                    // One that is killed has lost nothing, for the system has what it wrote; and one that waits for a busy
                    // disk would take the lead from managers.
                    "fsync=off",
                ];
                [as_nobody(), words.map(str::to_owned).to_vec()].concat()
            }
            Kind::Etcd => {
                let (client, peer) =
                    (format!("http://{ip}:{port}"), format!("http://{ip}:{}", self.peer_port));
                let cluster = format!("m0={peer}");
                [
                    &display(&program("etcd")),
                    "--name",
                    "m0",
                    "--data-dir",
                    &data,
                    // As above.
                    "--unsafe-no-fsync",
                    "--initial-cluster",
                    &cluster,
                    "--listen-client-urls",
                    &client,
                    "--advertise-client-urls",
                    &client,
                    "--listen-peer-urls",
                    &peer,
                    "--initial-advertise-peer-urls",
                    &peer,
                ]
                .map(str::to_owned)
                .to_vec()
            }
        }
    }

    /// `[store]` as a configuration names it, with the password in that file.
    pub fn table(&self, password_file: &Path) -> String {
        let (ip, port) = (self.ip, self.port);
        match self.kind {
            Kind::Postgres => {
                std::fs::write(password_file, format!("{PASSWORD}\n")).expect("it can be written");
                format!(
                    "[store]\nkind = \"postgres\"\nservers = [\"{ip}:{port}\"]\ndatabase = \"postgres\"\n\
                     password_file = \"{}\"\n",
                    password_file.display()
                )
            }
            Kind::Etcd => format!("[store]\nkind = \"etcd\"\nservers = [\"{ip}:{port}\"]\n"),
        }
    }

    /// Copies the data of a server that does not run; with owners and modes.
    pub fn copy(&self, from: &Path, to: &Path) {
        if to.exists() {
            std::fs::remove_dir_all(to).expect("it can be removed");
        }
        must(&["cp", "-a", &display(from), &display(to)].map(str::to_owned));
    }

    pub fn backup(&self) -> PathBuf {
        self.directory.join("backup")
    }
}
