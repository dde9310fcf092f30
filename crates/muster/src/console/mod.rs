//! The console and the HTTP API of a manager: one thread, one port, nothing without a credential.
//!
//! Promises: every connection, body, wait and session has a bound (below); a slow or hostile caller costs one
//! connection and never the manager. Everything is asked through `ManagerHandle`. Not here: decisions about the cell.

mod answer;
mod api;
mod auth;
mod behalf;
mod forward;
mod last_known;
mod login;
mod metrics;
mod nodes;
mod noting;
mod page;
mod people;
mod relay;
mod routes;
mod server;
mod stream;
pub mod token;

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use crate::accounts::AccountsHandle;
use crate::identity::Place;
use crate::manager::handle::{ManagerHandle, NodeCallers};
use crate::role::RoleHandle;
pub use last_known::STALE_HEADER;
use server::Asked;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use tokio::sync::watch;
use wire::error_code::{self, ErrorCode};

/// The file in the state directory that holds the console's address, for commands of this machine when the
/// configuration leaves the port open.
pub const ADDRESS_FILE: &str = "console-address";
/// The file in the state directory that holds the administrator's token.
pub const TOKEN_FILE: &str = "admin-token";

/// What the console needs to run.
#[derive(Debug)]
pub struct ConsoleOptions {
    /// Port 0 lets the system choose; `start` returns what it became.
    pub listen: SocketAddr,
    pub state_dir: PathBuf,
    pub manager: ManagerHandle,
    pub accounts: AccountsHandle,
    /// Machines of the cell that the manager lets in.
    pub callers: Option<NodeCallers>,
}

/// Why the console did not start. Nothing runs after any of these; all may be retried once the cause is gone.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The address is taken, not ours, or not allowed. Nothing was changed.
    #[error(
        "{}: the console cannot listen on {address}; choose another address with `listen` in [console]",
        self.code()
    )]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// The token file cannot be read or written. Nothing was changed.
    #[error("{}: the console cannot use its token file {}", self.code(), path.display())]
    Token {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The system gave no thread or runtime. A token file may have been written; it will be used next time.
    #[error("{}: the console's thread cannot start", self.code())]
    Thread {
        #[source]
        source: std::io::Error,
    },
}

impl ConsoleError {
    /// The code under which docs/errors explains this.
    pub fn code(&self) -> ErrorCode {
        match self {
            ConsoleError::Listen { .. } => error_code::ADDRESS_IN_USE,
            ConsoleError::Token { .. } => error_code::STATE_DIRECTORY_NOT_USABLE,
            ConsoleError::Thread { .. } => error_code::CONSOLE_FAILED,
        }
    }
}

/// For the commands on this machine, which find nobody without it; nothing else needs it, so a full disk stops nobody.
fn tell_address(path: &Path, address: SocketAddr) {
    let line = format!("{address}\n");
    if std::fs::read_to_string(path).is_ok_and(|told| told == line) {
        return;
    }
    if let Err(error) = token::write_private(path, &line) {
        // Nobody there is better than somebody else.
        let _ = std::fs::remove_file(path);
        tracing::warn!(path = %path.display(), %error, "commands on this machine do not find the console: its address cannot be kept");
    }
}

/// Starts the console. When this returns `Ok`, connections are accepted at the returned address.
pub fn start(options: ConsoleOptions) -> Result<(RoleHandle, SocketAddr), ConsoleError> {
    let ConsoleOptions { listen, state_dir, manager, accounts, callers } = options;
    let refused = |source| ConsoleError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;

    let path = state_dir.join(TOKEN_FILE);
    let token = token::read_or_create(&path).map_err(|source| ConsoleError::Token { path, source })?;
    tell_address(&state_dir.join(ADDRESS_FILE), address);

    let asked = Asked { manager, accounts, callers, place: Place::of(&state_dir) };
    let (stop, stopping) = watch::channel(false);
    let failed = |source| ConsoleError::Thread { source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let thread = std::thread::Builder::new()
        .name("console".into())
        .spawn(move || {
            tracing::info!(%address, "console listens");
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, server::serve(listener, token, asked, stopping));
        })
        .map_err(failed)?;
    Ok((RoleHandle { name: "console", stop, thread }, address))
}
