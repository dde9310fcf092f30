//! The last step before a member's own program: joins its control group, becomes its user, changes directory, and
//! turns into the program. A failure goes back to the keeper as a sentence.
//!
//! Called with stdin being the way back to the keeper: it closes when the program has started, so silence means
//! success. One that is to be ready waits in its control group until it hears there what to become. The program itself gets
//! /dev/null as stdin. Promise: the program is killed with its keeper (PDEATHSIG).

use super::cgroup;
use super::message::{Become, LINE_MAX_BYTES, UserNumbers};
use rustix::process::{Gid, Pid, Signal, Uid};
use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What ends this step; nothing of the member runs. A retry may help.
#[derive(Debug, thiserror::Error)]
pub enum MemberExecError {
    #[error("cannot become user {uid}: {source}")]
    User { uid: u32, source: rustix::io::Errno },
    #[error("cannot change to directory {}: {source}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("there is no command {program} in PATH")]
    NoCommand { program: String },
    #[error("there is no file {program}")]
    NoFile { program: String },
    #[error("{program} is there, but not the interpreter that it names")]
    NoInterpreter { program: String },
    #[error("{program} may not be executed: {source}")]
    Forbidden { program: String, source: std::io::Error },
    #[error("cannot execute {program}: {source}")]
    Execute { program: String, source: std::io::Error },
    #[error("cannot tie it to its keeper: {0}")]
    Tie(rustix::io::Errno),
    #[error("its keeper is gone")]
    KeeperGone,
}

/// Whom the process belongs to, and where.
#[derive(Debug)]
pub struct Place {
    pub keeper_pid: i32,
    pub cgroup: Option<PathBuf>,
}

/// Waits for a line that says what to become, and becomes it. Comes back where there is none.
pub fn become_member_when_told(place: &Place) {
    if let Some(group) = &place.cgroup {
        // Only a help, see `cgroup`.
        let _ = cgroup::join(group);
    }
    // Nobody is there to wait for.
    if tie(place).is_err() {
        return;
    }
    if let Some(wish) = hear() {
        become_member(&Place { keeper_pid: place.keeper_pid, cgroup: None }, &wish);
    }
}

/// None: the keeper has nothing to say any more.
fn hear() -> Option<Become> {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    while !line.ends_with(b"\n") && line.len() < LINE_MAX_BYTES {
        match rustix::io::read(std::io::stdin(), &mut buffer) {
            Ok(0) => return None,
            Ok(count) => line.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    serde_json::from_slice(&line).ok()
}

/// Does not return if all goes well. Otherwise the keeper has been told.
pub fn become_member(place: &Place, wish: &Become) {
    // Closed by the kernel when the program starts, which is the good news.
    let way_back = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3);
    let error = match prepare(place, wish) {
        Ok(()) => execute(wish),
        Err(error) => error,
    };
    // If even that fails the keeper sees an exit with a strange status, and nobody can do better.
    let _ = match way_back {
        Ok(way_back) => write!(std::fs::File::from(way_back), "{error}"),
        Err(_) => write!(std::io::stderr(), "muster member-exec: {error}"),
    };
}

fn prepare(place: &Place, wish: &Become) -> Result<(), MemberExecError> {
    if let Some(group) = &place.cgroup {
        // Only a help, see `cgroup`.
        let _ = cgroup::join(group);
    }
    if let Some(user) = &wish.user {
        become_user(user).map_err(|source| MemberExecError::User { uid: user.uid, source })?;
    }
    // After the change of user, which would undo it.
    tie(place)?;
    // As the user: a directory that it may not enter is an error here and not a surprise later.
    if let Some(path) = &wish.directory {
        std::env::set_current_dir(path)
            .map_err(|source| MemberExecError::Directory { path: path.clone(), source })?;
    }
    Ok(())
}

fn tie(place: &Place) -> Result<(), MemberExecError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(MemberExecError::Tie)?;
    let keeper = Pid::from_raw(place.keeper_pid);
    if rustix::process::getppid() == keeper { Ok(()) } else { Err(MemberExecError::KeeperGone) }
}

/// Comes back only if it failed.
fn execute(wish: &Become) -> MemberExecError {
    let Some((program, arguments)) = wish.command.split_first() else {
        return MemberExecError::NoFile { program: String::new() };
    };
    let mut command = Command::new(program);
    if wish.is_bare {
        command.env_clear();
    }
    let error = command.args(arguments).envs(&wish.environment).stdin(Stdio::null()).exec();
    explain(program.clone(), error)
}

fn explain(program: String, source: std::io::Error) -> MemberExecError {
    match (source.kind(), program.contains('/')) {
        (ErrorKind::NotFound, true) if PathBuf::from(&program).exists() => {
            MemberExecError::NoInterpreter { program }
        }
        (ErrorKind::NotFound, true) => MemberExecError::NoFile { program },
        (ErrorKind::NotFound, false) => MemberExecError::NoCommand { program },
        (ErrorKind::PermissionDenied, _) => MemberExecError::Forbidden { program, source },
        _ => MemberExecError::Execute { program, source },
    }
}

/// This process has one thread, so what holds for the thread holds for the process.
fn become_user(user: &UserNumbers) -> rustix::io::Result<()> {
    if rustix::process::getuid().as_raw() == user.uid && rustix::process::getgid().as_raw() == user.gid {
        return Ok(());
    }
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_gid(Gid::from_raw(user.gid))?;
    rustix::thread::set_thread_uid(Uid::from_raw(user.uid))
}
