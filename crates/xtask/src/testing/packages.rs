//! The programs that tests run against, as Debian packages: what each is for, and how they get here.
//!
//! Installs only what is missing and only as root; otherwise says exactly what to install.

use crate::failure::{Failure, Outcome};
use crate::process;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longest time for one call of apt-get. Ten minutes: a browser over a slow line.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(600);

struct Package {
    name: &'static str,
    /// Its presence means that the package is there, however it was installed.
    program: &'static str,
    reason: &'static str,
}

const PACKAGES: [Package; 34] = [
    Package { name: "gcc", program: "cc", reason: "SQLite is built from source" },
    Package { name: "libc6-dev", program: "cc", reason: "headers for it" },
    Package {
        name: "nginx-light",
        program: "nginx",
        reason: "a member behind the router; a peer in the benchmark",
    },
    Package { name: "postfix", program: "postfix", reason: "a mail server that monitors use" },
    Package { name: "redis-server", program: "redis-server", reason: "a server that monitors use" },
    Package { name: "apache2-bin", program: "apache2", reason: "a member behind the router" },
    Package { name: "fence-agents", program: "fence_dummy", reason: "agents that switch nodes off" },
    Package { name: "iproute2", program: "ip", reason: "hosts of tests are network namespaces" },
    Package { name: "nftables", program: "nft", reason: "packets vanish in the lab" },
    Package { name: "iputils-ping", program: "ping", reason: "tells which hosts of the lab hear each other" },
    Package { name: "procps", program: "ps", reason: "tells what runs on a host of the lab" },
    Package { name: "hostname", program: "hostname", reason: "tells on which host one is" },
    Package { name: "faketime", program: "faketime", reason: "clocks of the lab are stepped" },
    Package { name: "python3", program: "python3", reason: "http.server is a member behind the router" },
    Package { name: "python3-pip", program: "pip3", reason: "fetches the corpus of bad requests" },
    Package { name: "haproxy", program: "haproxy", reason: "the peer that the benchmark measures against" },
    Package { name: "wrk", program: "wrk", reason: "a client that loads the router" },
    Package { name: "curl", program: "curl", reason: "a client that people use" },
    Package {
        name: "nghttp2-client",
        program: "h2load",
        reason: "clients that speak HTTP/2, one of them for load",
    },
    Package { name: "nghttp2-server", program: "nghttpd", reason: "a member that speaks HTTP/2" },
    Package { name: "openssl", program: "openssl", reason: "a TLS client that shows what it gets" },
    Package { name: "testssl.sh", program: "testssl", reason: "looks for weaknesses of TLS" },
    Package { name: "valgrind", program: "valgrind", reason: "counts instructions per request" },
    Package { name: "postgresql-15", program: "postgres", reason: "a server of the store" },
    Package { name: "postgresql-client-15", program: "psql", reason: "reads the store as an operator does" },
    Package { name: "util-linux", program: "setpriv", reason: "PostgreSQL refuses to run as root" },
    Package { name: "resource-agents", program: "ocf-tester", reason: "agents that groups run" },
    Package { name: "systemd", program: "systemd-run", reason: "units that groups run" },
    Package { name: "kmod", program: "modprobe", reason: "an agent for file systems looks for it" },
    Package { name: "libxml2-utils", program: "xmllint", reason: "what ocf-tester reads descriptions with" },
    Package { name: "etcd-server", program: "etcd", reason: "a server of the store" },
    Package { name: "etcd-client", program: "etcdctl", reason: "reads the store as an operator does" },
    Package { name: "chromium", program: "chromium", reason: "looks at the console as a person does" },
    Package { name: "chromium-driver", program: "chromedriver", reason: "pushes the console's buttons" },
];

/// Only for what failover groups are measured beside.
const RIVALS: [Package; 4] = [
    Package { name: "keepalived", program: "keepalived", reason: "a peer in the benchmark of failover" },
    Package { name: "corosync", program: "corosync", reason: "what Pacemaker runs on" },
    Package { name: "pacemaker", program: "pacemakerd", reason: "a peer in the benchmark of failover" },
    Package { name: "pacemaker-cli-utils", program: "crm_mon", reason: "tells Pacemaker what to do" },
];

/// Makes sure that every program is there; says how many were installed.
pub fn install(log: &Path) -> Outcome<String> {
    install_all(&PACKAGES, log)
}

/// The same for what failover groups are measured beside.
pub fn install_rivals(log: &Path) -> Outcome<String> {
    install_all(&RIVALS, log)
}

fn install_all(packages: &'static [Package], log: &Path) -> Outcome<String> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok("all there".into());
    }
    if !rustix::process::geteuid().is_root() || process::find_program("apt-get").is_none() {
        return Err(Failure(wanted(&missing)));
    }
    apt_get(&["update"], log)?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(missing.iter().map(|package| package.name));
    apt_get(&arguments, log)?;
    let still_missing = self::missing(packages);
    if !still_missing.is_empty() {
        return Err(Failure(wanted(&still_missing)));
    }
    Ok(format!("{} installed", missing.len()))
}

fn missing(packages: &'static [Package]) -> Vec<&'static Package> {
    packages.iter().filter(|package| find_program(package.program).is_none()).collect()
}

/// On the path, or where Debian keeps the programs of PostgreSQL, one directory for each version.
fn find_program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut files = versions.map(|version| version.path().join("bin").join(name));
    process::find_program(name).or_else(|| files.find(|file| file.is_file()))
}

fn wanted(missing: &[&Package]) -> String {
    let mut text = String::from("packages are missing:\n");
    for package in missing {
        text.push_str(&format!("  {:16} {}\n", package.name, package.reason));
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    text.push_str(&format!("as root: apt-get install --no-install-recommends {}", names.join(" ")));
    text
}

fn apt_get(arguments: &[&str], log: &Path) -> Outcome<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    let status = process::run_logged(&mut command, log, INSTALL_TIME_MAX)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure(format!(
        "{}\napt-get {} ended with {status}",
        process::tail(log, 20).join("\n"),
        arguments.join(" ")
    )))
}
