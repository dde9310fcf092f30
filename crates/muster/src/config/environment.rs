//! Finds what only this machine can tell: addresses in use, programs, directories and users that are not there.
//!
//! Looks and changes nothing: addresses are bound for a moment and never listened on. What is found may be different
//! a moment later, so whoever starts a thing must still expect that it fails.

use super::document::{At, Document};
use super::listeners;
use super::problem::{KeyPath, Problem, Problems};
use super::programs::{self, directory_that_exists};
use crate::roles::Selection;
use rustix::fs::Access;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use wire::agent::{Launch, Run};
use wire::error_code::{self, ErrorCode};
use wire::id::NodeName;
use wire::settings::{CellSettings, StoreSettings};

/// What on this machine keeps `node` from running these roles of it: the others may run here already and use what
/// is theirs. `text` is the file from which `settings` came, for the lines. Addresses are left out while the cell
/// already runs here: it uses them itself.
pub fn check(
    settings: &CellSettings,
    text: &str,
    file_name: &str,
    node: &NodeName,
    roles: Selection,
) -> Problems {
    // A text that is no TOML never gave settings; without it problems only lack their lines.
    let document = Document::read(text, file_name).or_else(|_| Document::read("", file_name));
    let document = document.expect("an empty text is valid TOML");
    let mut checker =
        Checker { document, problems: Problems::default(), runs_already: runs_already(settings) };
    checker.state_dir(settings);
    if roles.manager {
        checker.store_password(settings);
        checker.address(settings.console.listen, KeyPath::of(&["console", "listen"]));
        if let Some(listen) = settings.manager.listen {
            checker.address(listen, KeyPath::of(&["manager", "listen"]));
        }
        if let Some(listen) = settings.manager.heartbeat_listen() {
            checker.datagrams(listen, KeyPath::of(&["manager", "heartbeat_port"]));
        }
    }
    for router in settings.routers.iter().filter(|router| roles.routers && router.node == *node) {
        let path = KeyPath::of(&["routers", &router.name.0]);
        for (index, address) in router.listeners.iter().map(|listener| &listener.address).enumerate() {
            let at = listeners::address_path_of(&checker.document, &router.name.0, index);
            checker.address(*address, at);
        }
        if !router.access_log.path.is_empty() {
            checker.log_file(Path::new(&router.access_log.path), &path.with("access_log").with("path"));
        }
    }
    for cluster in &settings.clusters {
        for member in cluster.members.iter().filter(|member| roles.agent && member.node == *node) {
            if let Run::Managed(launch) = &member.run {
                checker.member([&cluster.name.0, &member.name.0], launch);
            }
        }
    }
    let mut problems = checker.problems;
    problems.sort();
    problems
}

/// Whether a manager of this cell answers on this machine.
pub fn runs_already(settings: &CellSettings) -> bool {
    let socket = crate::role::manager_socket(Path::new(&settings.state_dir));
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

struct Checker<'a> {
    document: Document<'a>,
    problems: Problems,
    runs_already: bool,
}

impl Checker<'_> {
    /// A problem with something that was written at `path`, or followed from what was not.
    fn refuse(&mut self, code: ErrorCode, path: &KeyPath, value: &str, message: String, allowed: &str) {
        let mut problem: Problem = self.document.problem(code, path, At::Value, message).allowing(allowed);
        problem.value.get_or_insert_with(|| value.to_owned());
        self.problems.push(problem);
    }

    /// Where a member's key stands: with the member, else in its cluster's defaults.
    fn member_path(&self, [cluster, member]: [&str; 2], keys: &[&str]) -> KeyPath {
        let extend = |start: &[&str]| KeyPath::of(&[start, keys].concat());
        let own = extend(&["clusters", cluster, "members", member]);
        let shared = extend(&["clusters", cluster, "defaults"]);
        if self.document.has(&shared) && !self.document.has(&own) { shared } else { own }
    }

    fn state_dir(&mut self, settings: &CellSettings) {
        let directory = Path::new(&settings.state_dir);
        // The first that exists decides: what is missing below it would be created.
        let existing = directory.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok());
        let nearest = existing.unwrap_or(Path::new("/"));
        if let Err(why) = writable_directory(nearest) {
            let message = format!("the state directory cannot be used: {} {why}", nearest.display());
            let path = KeyPath::of(&["cell", "state_dir"]);
            let allowed = "a directory that this user may create and write";
            self.refuse(error_code::STATE_DIRECTORY_NOT_USABLE, &path, &settings.state_dir, message, allowed);
        }
    }

    /// Whether the file is there and can be read; nobody is asked whether the password is right.
    fn store_password(&mut self, settings: &CellSettings) {
        let remote = match &settings.store {
            StoreSettings::Sqlite => return,
            StoreSettings::Postgres { remote, .. } | StoreSettings::Etcd { remote, .. } => remote,
        };
        let Some(file) = &remote.password_file else { return };
        if let Err(error) = crate::manager::read_store_password(Path::new(file)) {
            let message = format!("the password of the store cannot be read: {error}");
            let allowed = "a file of one line, which this user can read";
            self.refuse(
                error_code::STORE_NOT_REACHED,
                &KeyPath::of(&["store", "password_file"]),
                file,
                message,
                allowed,
            );
        }
    }

    fn address(&mut self, address: SocketAddr, path: KeyPath) {
        if address.port() == 0 || self.runs_already {
            return;
        }
        if let Err(error) = TcpListener::bind(address) {
            self.cannot_listen(&address.to_string(), &error, path);
        }
    }

    fn datagrams(&mut self, address: SocketAddr, path: KeyPath) {
        if let Err(error) = UdpSocket::bind(address)
            && !self.runs_already
        {
            self.cannot_listen(&format!("UDP {address}"), &error, path);
        }
    }

    fn cannot_listen(&mut self, address: &str, error: &std::io::Error, path: KeyPath) {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another process uses it".to_owned(),
            std::io::ErrorKind::AddrNotAvailable => {
                "no interface of this machine has this address".to_owned()
            }
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need more rights".to_owned(),
            _ => error.to_string(),
        };
        let message = format!("{address} cannot be listened on: {why}");
        let allowed = "a free address of this machine, or port 0 for any free one";
        self.refuse(error_code::ADDRESS_IN_USE, &path, address, message, allowed);
    }

    fn member(&mut self, member: [&str; 2], launch: &Launch) {
        if launch.port != 0 {
            let own = launch.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let address = SocketAddr::new(own, launch.port);
            self.address(address, self.member_path(member, &["port"]));
        }
        let mut has_directory = true;
        if let Some(directory) = &launch.directory
            && let Err(why) = directory_that_exists(Path::new(directory))
        {
            has_directory = false;
            let path = self.member_path(member, &["directory"]);
            let message = format!("the working directory cannot be used: {directory} {why}");
            let allowed = "a directory of this machine";
            self.refuse(error_code::DIRECTORY_NOT_USABLE, &path, directory, message, allowed);
        }
        let program = launch.command.first().map_or("", String::as_str);
        // A program below a missing directory is not a second problem.
        let depends_on_directory = program.contains('/') && !program.starts_with('/');
        if (has_directory || !depends_on_directory)
            && let Err(why) = programs::find(program, launch.directory.as_deref(), &launch.environment)
        {
            let path = self.member_path(member, &["command"]);
            let message = format!("the program `{program}` cannot be run: {why}");
            let allowed = "a program in PATH, or the path of an executable file";
            self.refuse(error_code::COMMAND_NOT_FOUND, &path, program, message, allowed);
        }
        if let Some(user) = &launch.user
            && let Err(why) = programs::check_user(user)
        {
            let path = self.member_path(member, &["user"]);
            let message = format!("the member cannot run as `{user}`: {why}");
            self.refuse(error_code::USER_NOT_USABLE, &path, user, message, "a user of this machine");
        }
        if let Some(log) = &launch.log.path {
            let path = self.member_path(member, &["log", "path"]);
            self.log_file(Path::new(log), &path);
        }
    }

    fn log_file(&mut self, file: &Path, path: &KeyPath) {
        let why = match file.metadata() {
            Ok(found) if found.is_dir() => format!("{} is a directory", file.display()),
            Ok(_) => match rustix::fs::access(file, Access::WRITE_OK) {
                Ok(()) => return,
                Err(error) => format!("{} cannot be written: {error}", file.display()),
            },
            Err(_) => {
                let directory = file.parent().unwrap_or(Path::new("/"));
                match writable_directory(directory) {
                    Ok(()) => return,
                    Err(why) => format!("{} {why}", directory.display()),
                }
            }
        };
        let message = format!("the log file cannot be written: {why}");
        let allowed = "a file in a directory that exists and that this user may write";
        self.refuse(error_code::DIRECTORY_NOT_USABLE, path, &file.display().to_string(), message, allowed);
    }
}

fn writable_directory(directory: &Path) -> Result<(), String> {
    directory_that_exists(directory)?;
    let access = rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK);
    access.map_err(|error| format!("cannot be written: {error}"))
}
