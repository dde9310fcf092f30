//! The router: accepts requests and sends each to a member.
//!
//! One thread per core carries requests; each has its own listeners, connections and pools, and shares nothing
//! on the way of a request. One more thread, `control`, follows the manager, hands tables to the data threads and
//! reports what they counted. Serving needs neither manager nor store: the last settings and views are kept on disk.

mod access_log;
mod answers;
mod connect;
mod control;
mod core;
mod exchange;
mod gate;
mod kept;
mod listen;
mod member;
mod pick;
mod queue;
mod reply;
mod report;
mod request;
mod session;
mod splice;
mod streams;
mod table;
mod thread;
mod tunnel;
mod upload;
mod waits;

#[cfg(test)]
mod tests;

use crate::role::RoleHandle;
use std::path::PathBuf;
use tokio::sync::watch;
use wire::id::{NodeName, RouterName};

#[derive(Debug, Clone)]
pub struct RouterOptions {
    pub node: NodeName,
    pub router: RouterName,
    pub state_dir: PathBuf,
    pub manager_socket: PathBuf,
}

/// Nothing was changed; a retry is safe once the cause is gone.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    #[error("could not create the router's directory {path}")]
    Directory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("could not start the router's thread")]
    Thread {
        #[source]
        source: std::io::Error,
    },
}

/// Starts the router on threads of its own. It listens as soon as it knows its settings: from its disk at once,
/// from the manager when that answers.
pub fn start(options: RouterOptions) -> Result<RoleHandle, RouterError> {
    let directory = options.state_dir.join("router");
    std::fs::create_dir_all(&directory)
        .map_err(|source| RouterError::Directory { path: directory.clone(), source })?;
    let kept_path = directory.join(format!("{}.json", options.router));
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::Builder::new()
        .name("router-control".into())
        .spawn(move || control::run(options, kept_path, stopped))
        .map_err(|source| RouterError::Thread { source })?;
    Ok(RoleHandle { name: "router", stop, thread })
}
