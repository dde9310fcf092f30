//! Starts the roles of this process, each on threads of its own, and stops them in order.
//!
//! All roles meet at the manager's socket in the state directory, whether they share a process or not, so there is
//! one path only. Socket: `<state_dir>/manager.sock`, mode 0600: who may not read the directory may not speak.

use std::path::{Path, PathBuf};
use tokio::sync::watch;

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
