//! The router: accepts requests and sends each to a member.
//!
//! One thread per core carries requests; each has its own listeners, connections and pools, and shares nothing
//! on the way of a request. One more thread, `control`, follows the manager, hands tables to the data threads and
//! reports what they counted. Serving needs neither manager nor store: the last settings and views are kept on disk.

mod accept;
mod access_log;
mod actions;
mod answers;
mod client_views;
mod compress;
mod connect;
mod control;
mod core;
mod doubt;
mod exchange;
mod finish;
mod forward;
mod gate;
pub mod handover;
mod http2;
pub mod kept;
mod listen;
mod lot;
mod manner;
mod member;
mod origin;
mod own_cookie;
mod pick;
pub mod plugin_cfg;
mod plugin_cfg_output;
mod queue;
mod reply;
mod report;
mod request;
mod session;
mod silence;
mod spill;
mod splice;
mod streams;
mod table;
mod takeover;
mod thread;
mod tls_stream;
mod trace;
mod tunnel;
mod upload;
mod vault;
mod views;
mod waits;

#[cfg(test)]
mod tests;

use crate::link::ManagerAt;
use crate::role::RoleHandle;
use control::{ControlStart, Source};
use handover::{Request, Taken};
use plugin_cfg::{Begun, FileError, FileOptions, FileSource};
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, watch};
use wire::id::{NodeName, RouterName};

#[derive(Debug, Clone)]
pub struct RouterOptions {
    pub node: NodeName,
    pub router: RouterName,
    pub state_dir: PathBuf,
    pub manager: ManagerAt,
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
    #[error("the router has nothing to serve")]
    File(#[source] FileError),
    #[error("could not start the router's thread")]
    Thread {
        #[source]
        source: std::io::Error,
    },
}

/// Starts the router on threads of its own. It listens as soon as it knows its settings: from its disk at once,
/// from the manager when that answers.
///
/// With `taken`, it serves from what another process has handed over, and keeps away from the manager until it is
/// told by `requests` to lead.
pub fn start(
    options: RouterOptions,
    requests: mpsc::Receiver<Request>,
    taken: Option<Taken>,
) -> Result<RoleHandle, RouterError> {
    let directory = options.state_dir.join("router");
    std::fs::create_dir_all(&directory)
        .map_err(|source| RouterError::Directory { path: directory.clone(), source })?;
    let kept_path = directory.join(format!("{}.json", options.router));
    let source = Source::Manager { node: options.node, manager: options.manager };
    let state = taken.as_ref().map_or_else(|| kept::read(&kept_path), |taken| taken.kept.clone());
    start_control(ControlStart { router: options.router, source, state, kept_path, requests, taken })
}

/// Starts the router without a cell: it serves what a plugin-cfg.xml says. Says which file that is. With `taken`, the
/// addresses are those of another process, and the file is read anew.
pub fn start_from_file(
    options: FileOptions,
    state_dir: &Path,
    requests: mpsc::Receiver<Request>,
    taken: Option<Taken>,
) -> Result<(RoleHandle, Begun), RouterError> {
    let directory = state_dir.join("router");
    std::fs::create_dir_all(&directory)
        .map_err(|source| RouterError::Directory { path: directory.clone(), source })?;
    let kept_path = directory.join(options.kept_name());
    let router = options.base.name.clone();
    let (source, state, begun) =
        FileSource::begin(options, kept::read(&kept_path)).map_err(RouterError::File)?;
    let source = Source::File(Box::new(source));
    Ok((start_control(ControlStart { router, source, state, kept_path, requests, taken })?, begun))
}

fn start_control(start: ControlStart) -> Result<RoleHandle, RouterError> {
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::Builder::new()
        .name("router-control".into())
        .spawn(move || control::run(start, stopped))
        .map_err(|source| RouterError::Thread { source })?;
    Ok(RoleHandle { name: "router", stop, thread })
}
