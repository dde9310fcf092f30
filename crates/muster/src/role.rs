//! A role as the rest of the process holds it: its name, the wish that it stop, and its thread.
//!
//! All roles meet at the manager's socket in the state directory, whether they share a process or not.
//! Not here: which roles run and in what order (see `roles`).

use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Lets this process have as many files open as the system allows it at most: an idle client costs one, and the usual
/// soft limit of 1,024 is meant for programs that use `select`. Tells how many that is.
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}

/// Where roles find the manager of this machine.
pub fn manager_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("manager.sock")
}

/// A role that runs on a thread of its own.
#[derive(Debug)]
pub struct RoleHandle {
    pub name: &'static str,
    pub stop: watch::Sender<bool>,
    pub thread: std::thread::JoinHandle<()>,
}

impl RoleHandle {
    /// Waits until the role's thread has let go of everything. Safe to cancel.
    pub async fn ended(&self) -> &'static str {
        self.stop.closed().await;
        self.name
    }

    /// Asks the role to stop and waits until it has. Whether it ended without a panic.
    pub fn stop(self) -> bool {
        self.stop.send_replace(true);
        let ended = self.thread.join();
        if ended.is_err() {
            tracing::error!(role = self.name, "the role has failed; see its panic above");
        }
        ended.is_ok()
    }
}

/// Whether it was our own want of files or memory, which says nothing about whoever was asked.
pub fn is_our_want(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
