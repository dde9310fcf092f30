//! Real servers, started on free ports in a test's own directory: nginx, Apache httpd, Python's http.server.
//!
//! Each answers `/` with its name and a line break, and `/large` with a megabyte. `command` and the files behind it are
//! also what a cell's agent can be told to run.

use super::{Running, Scratch, program, wait_until_listening};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Bytes of `/large`.
pub const LARGE_BYTES: usize = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Apache,
    Python,
}

impl Kind {
    pub fn text(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Apache => "apache",
            Kind::Python => "python",
        }
    }
}

/// A server that runs outside of any cell.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    pub process: Running,
}

/// Prepares files for a server called `name` below `scratch` and gives the command that runs it in the foreground on
/// `address`.
pub fn command(name: &str, kind: Kind, scratch: &Scratch, address: SocketAddr) -> Vec<String> {
    let directory = scratch.join(name);
    let files = directory.join("files");
    fs::create_dir_all(&files).expect("the test's directory can be written");
    fs::write(files.join("index.html"), format!("{name}\n")).expect("it can be written");
    fs::write(files.join("large"), vec![b'x'; LARGE_BYTES]).expect("it can be written");
    match kind {
        Kind::Nginx => {
            let config = directory.join("nginx.conf");
            fs::write(&config, nginx_config(&directory, address)).expect("it can be written");
            let error_log = directory.join("error.log").display().to_string();
            vec![
                path("nginx"),
                "-p".into(),
                display(&directory),
                "-c".into(),
                display(&config),
                "-e".into(),
                error_log,
            ]
        }
        Kind::Apache => {
            let config = directory.join("apache.conf");
            fs::write(&config, apache_config(&directory, address)).expect("it can be written");
            vec![path("apache2"), "-D".into(), "FOREGROUND".into(), "-f".into(), display(&config)]
        }
        Kind::Python => {
            let port = address.port().to_string();
            let words =
                ["-m", "http.server", &port, "--bind", "127.0.0.1", "--protocol", "HTTP/1.1", "--directory"];
            let mut all = vec![path("python3")];
            all.extend(words.map(str::to_owned));
            all.push(display(&files));
            all
        }
    }
}

fn path(name: &str) -> String {
    display(&program(name))
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

/// Starts a server and waits until it listens.
pub fn start(name: &str, kind: Kind, scratch: &Scratch, address: SocketAddr) -> Server {
    let words = command(name, kind, scratch, address);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    start_command(name, &mut command, scratch, address)
}

fn start_command(name: &str, command: &mut Command, scratch: &Scratch, address: SocketAddr) -> Server {
    let mut process = Running::start(name, command, &scratch.join(&format!("{name}.log")));
    wait_until_listening(address, &mut process);
    Server { address, process }
}

fn nginx_config(directory: &Path, address: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "daemon off;\nworker_processes 1;\npid {directory}/nginx.pid;\nerror_log {directory}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {directory}/body;\n  proxy_temp_path {directory}/proxy;\n  \
         fastcgi_temp_path {directory}/fastcgi;\n  uwsgi_temp_path {directory}/uwsgi;\n  \
         scgi_temp_path {directory}/scgi;\n  \
         server {{\n    listen {address};\n    root {directory}/files;\n  }}\n}}\n"
    )
}

fn apache_config(directory: &Path, address: SocketAddr) -> String {
    let directory = directory.display();
    let modules = "/usr/lib/apache2/modules";
    format!(
        "ServerRoot {directory}\nServerName localhost\nPidFile {directory}/apache.pid\n\
         ErrorLog {directory}/error.log\nDefaultRuntimeDir {directory}\nMutex posixsem\n\
         LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
         LoadModule authz_core_module {modules}/mod_authz_core.so\n\
         LoadModule dir_module {modules}/mod_dir.so\n\
         Listen {address}\nStartServers 1\nServerLimit 2\nThreadsPerChild 25\nMaxRequestWorkers 50\n\
         DocumentRoot {directory}/files\n\
         <Directory {directory}/files>\n  Require all granted\n</Directory>\n"
    )
}
