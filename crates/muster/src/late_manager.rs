//! A manager that could not start because of its store, tried again until it can; the other roles serve meanwhile.
//!
//! One thread, which waits between attempts and, once manager and console run, for their end. Promise: whoever stops it
//! stops both. Not here: which errors may pass (see `ManagerError::may_pass`).

use crate::logging::chain;
use crate::manager::ManagerOptions;
use crate::role::RoleHandle;
use crate::roles::{StartError, start_manager};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;

/// Between attempts. Two seconds: nothing tells when a disk has room again, and an attempt costs little.
const PAUSE: Duration = Duration::from_secs(2);

/// Begins to try. `why` is told already.
pub fn start(options: ManagerOptions, console: SocketAddr, why: StartError) -> io::Result<RoleHandle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, mut stopped) = watch::channel(false);
    let thread = std::thread::Builder::new().name("late-manager".into()).spawn(move || {
        let mut told = chain(&why);
        let (manager, console) = loop {
            let wait = async { tokio::time::timeout(PAUSE, stopped.wait_for(|stop| *stop)).await.is_ok() };
            if runtime.block_on(wait) {
                return;
            }
            match start_manager(options.clone(), console) {
                Ok(started) => break (started.manager, started.console),
                Err(error) if chain(&error) != told => {
                    told = chain(&error);
                    tracing::error!(error = told, "the manager still cannot start");
                }
                Err(_) => {}
            }
        };
        tracing::info!("the manager has started after all");
        // What is cancelled only waits.
        runtime.block_on(async {
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => {}
                role = manager.ended() => tracing::error!(role, "a role has ended by itself"),
                role = console.ended() => tracing::error!(role, "a role has ended by itself"),
            }
        });
        console.stop();
        manager.stop();
    })?;
    Ok(RoleHandle { name: "manager", stop, thread })
}
