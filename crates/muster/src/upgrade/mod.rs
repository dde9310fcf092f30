//! One process takes the routers of another over, without a refused connection: sockets go from hand to hand.
//!
//! The process that serves listens at `<state_dir>/router/upgrade.sock`, mode 0600, and speaks only to its own user.
//! An operator's command asks it to start a program in its place; that program asks it for its sockets and says when it
//! is ready. Then the old process lets go, answers each client that it has once more, and ends; the new one accepts, and
//! first whoever came in between: they wait in the sockets' queues.
//! Promise: whatever happens to the new process before it serves, the old one goes on as if nothing had happened; when
//! the old one is killed half way, the new one goes on with what it has.
//! Not here: what a router's control thread does (see `router::control::handover`).

pub mod descriptors;
pub mod message;
pub mod notify;
mod predecessor;
mod serve;
mod spawn;

pub use predecessor::{Before, Predecessor, TakeOverError};
pub use serve::{Seat, ServeError, ServeOptions, serve};
pub use spawn::Origin;

use crate::router::handover::Request;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use wire::id::RouterName;

/// From the start of a new process until it serves. A minute: it reads its configuration and starts threads.
pub const START_MAX: Duration = Duration::from_secs(60);
/// How long clients that are left are answered when the operator says nothing: ten minutes.
pub const DRAIN_SECONDS: u64 = 600;
/// Our version, as the other side tells it.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Where the process that serves a cell's routers can be asked.
pub fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("router").join("upgrade.sock")
}

/// Where the process that serves what a plugin-cfg.xml says can be asked. A number for the file's path: those of
/// sockets end at 108 bytes.
pub fn socket_of_file(state_dir: &Path, plugin_cfg: &Path) -> PathBuf {
    let path = std::path::absolute(plugin_cfg).unwrap_or_else(|_| plugin_cfg.to_path_buf());
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let number = path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fold);
    state_dir.join("router").join(format!("upgrade-{number:016x}.sock"))
}

/// The way to a router's control thread.
#[derive(Debug, Clone)]
pub struct RouterAccess {
    pub router: RouterName,
    pub requests: mpsc::Sender<Request>,
}

impl RouterAccess {
    /// Asks the router; a router that has ended is told nothing, and its silence is noticed where an answer is due.
    async fn ask(&self, request: Request) {
        if self.requests.send(request).await.is_err() {
            tracing::warn!(router = %self.router, "the router has ended");
        }
    }
}
