//! nginx, httpd and HAProxy that write down each request as they understood it: method, target and body.

use crate::support::{Running, Scratch, free_address, program, wait_for, wait_until_listening};
use serde::Deserialize;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A request as a server understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Understood {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
}

/// A line of a server's log; target and body as text, or behind `hex:` in hexadecimal digits.
#[derive(Debug, Deserialize)]
struct Line {
    method: String,
    target: String,
    body: String,
}

#[derive(Debug)]
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    process: Running,
    log: PathBuf,
    /// Lines that were looked at.
    seen: usize,
}

pub fn start_all(scratch: &Scratch) -> Vec<Server> {
    vec![nginx(scratch), httpd(scratch), haproxy(scratch)]
}

fn start(
    name: &'static str,
    command: &mut Command,
    address: SocketAddr,
    log: PathBuf,
    output: &Path,
) -> Server {
    let mut process = Running::start(name, command, output);
    wait_until_listening(address, &mut process);
    Server { name, address, process, log, seen: 0 }
}

/// A second server stands behind the first, which reads bodies only to pass them on.
fn nginx(scratch: &Scratch) -> Server {
    let (address, sink) = (free_address(), free_address());
    let directory = scratch.join("nginx");
    fs::create_dir_all(&directory).expect("the test's directory can be written");
    let at = directory.display();
    let config = format!(
        "daemon off;\nworker_processes 1;\npid {at}/pid;\nerror_log {at}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n  client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  \
         fastcgi_temp_path {at}/fastcgi;\n  uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n  \
         client_body_in_single_buffer on;\n  client_body_buffer_size 64k;\n  underscores_in_headers on;\n  \
         large_client_header_buffers 4 16k;\n  keepalive_requests 100000;\n  \
         log_format understood escape=json \
         '{{\"method\":\"$request_method\",\"target\":\"$request_uri\",\"body\":\"$request_body\"}}';\n  \
         server {{\n    listen {address};\n    access_log {at}/requests.log understood;\n    \
         location / {{ proxy_pass http://{sink}; }}\n  }}\n  \
         server {{\n    listen {sink};\n    access_log off;\n    location / {{ return 200 \"nginx\"; }}\n  }}\n}}\n"
    );
    fs::write(directory.join("nginx.conf"), config).expect("it can be written");
    let mut command = Command::new(program("nginx"));
    command.arg("-p").arg(&directory).arg("-c").arg(directory.join("nginx.conf"));
    command.arg("-e").arg(directory.join("error.log"));
    start("nginx", &mut command, address, directory.join("requests.log"), &scratch.join("nginx.log"))
}

fn httpd(scratch: &Scratch) -> Server {
    let address = free_address();
    let directory = scratch.join("httpd");
    fs::create_dir_all(&directory).expect("the test's directory can be written");
    let at = directory.display();
    let log = directory.join("requests.log");
    fs::write(&log, "").expect("it can be written");
    // A shell, because it starts fast: once for every request.
    let script = format!(
        "#!/bin/sh\ndigits() {{ od -An -v -tx1 | tr -d ' \\n'; }}\n\
         target=$(printf %s \"$REQUEST_URI\" | digits)\nbody=$(digits)\n\
         printf '{{\"method\":\"%s\",\"target\":\"hex:%s\",\"body\":\"hex:%s\"}}\\n' \
         \"$REQUEST_METHOD\" \"$target\" \"$body\" >> {}\n\
         printf 'Content-Type: text/plain\\r\\n\\r\\nhttpd'\n",
        log.display()
    );
    let handle = directory.join("handle");
    fs::write(&handle, script).expect("it can be written");
    fs::set_permissions(&handle, fs::Permissions::from_mode(0o755)).expect("ours");
    let modules = "/usr/lib/apache2/modules";
    let config = format!(
        "ServerRoot {at}\nServerName localhost\nPidFile {at}/pid\nErrorLog {at}/error.log\n\
         DefaultRuntimeDir {at}\nMutex posixsem\n\
         LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
         LoadModule authz_core_module {modules}/mod_authz_core.so\n\
         LoadModule cgid_module {modules}/mod_cgid.so\n\
         LoadModule alias_module {modules}/mod_alias.so\n\
         ScriptSock {at}/cgid.sock\n\
         Listen {address}\nStartServers 1\nServerLimit 2\nThreadsPerChild 25\nMaxRequestWorkers 50\n\
         KeepAlive On\nMaxKeepAliveRequests 0\nKeepAliveTimeout 60\nAllowEncodedSlashes NoDecode\nMergeSlashes Off\n\
         LimitRequestFieldSize 16380\nTraceEnable extended\n\
         ScriptAliasMatch ^ {at}/handle\n<Directory {at}>\n  Require all granted\n</Directory>\n"
    );
    fs::write(directory.join("httpd.conf"), config).expect("it can be written");
    let mut command = Command::new(program("apache2"));
    command.args(["-D", "FOREGROUND", "-f"]).arg(directory.join("httpd.conf"));
    start("httpd", &mut command, address, log, &scratch.join("httpd.log"))
}

fn haproxy(scratch: &Scratch) -> Server {
    let address = free_address();
    let config = format!(
        "global\n  log stdout format raw local0\n  maxconn 200\n  nbthread 1\n\
         defaults\n  mode http\n  log global\n  option dontlognull\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n  \
         timeout http-keep-alive 60s\n\
         frontend front\n  bind {address}\n  option http-buffer-request\n  \
         http-request set-var(txn.target) url\n  http-request set-var(txn.body) req.body,hex\n  \
         log-format '{{\"method\":\"%HM\",\"target\":\"%[var(txn.target),json(utf8s)]\",\"body\":\"hex:%[var(txn.body)]\"}}'\n  \
         http-request return status 200 content-type text/plain string haproxy\n"
    );
    let config = scratch.write("haproxy.cfg", &config);
    let mut command = Command::new(program("haproxy"));
    command.args(["-db", "-f"]).arg(config);
    let log = scratch.join("haproxy.log");
    start("haproxy", &mut command, address, log.clone(), &log)
}

impl Server {
    /// The requests since the last call, up to the one for `last`, which is waited for.
    pub fn take_until(&mut self, last: &str) -> Vec<Understood> {
        wait_for(&format!("{} to see {last}", self.name), || {
            self.process.check();
            let text = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
            // A line that is not whole yet is not looked at.
            let lines: Vec<&str> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
            let new: Vec<Understood> = lines[self.seen..].iter().filter_map(|line| read(line)).collect();
            let at = new.iter().position(|request| request.target == last);
            let at = at.ok_or_else(|| format!("{new:?}"))?;
            self.seen = lines.len();
            Ok(new[..at].to_vec())
        })
    }
}

/// A line about a request; other lines tell of something else.
fn read(line: &str) -> Option<Understood> {
    let line: Line = serde_json::from_str(line).ok()?;
    let target = String::from_utf8(decoded(line.target)?).ok()?;
    Some(Understood { method: line.method, target, body: decoded(line.body)? })
}

fn decoded(text: String) -> Option<Vec<u8>> {
    match text.strip_prefix("hex:") {
        // How HAProxy writes nothing.
        Some("-") => Some(Vec::new()),
        Some(digits) => {
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            digits.as_bytes().chunks(2).map(byte).collect()
        }
        None => Some(text.into_bytes()),
    }
}
