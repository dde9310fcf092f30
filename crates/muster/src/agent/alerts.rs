//! Hears what monitoring commands of this machine have to say, and passes it on to the manager.
//!
//! Promise: whoever says it never waits; what comes while no manager is connected is dropped here, and is in syslog.

use super::monitors::Way;
use crate::monitor::tell::ALERT_MAX_BYTES;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixDatagram;
use wire::link::ToManager;
use wire::monitor::Alert;

/// Pause after the socket could not be read. One second: it is our own machine's want of something.
const PAUSE: Duration = Duration::from_secs(1);

/// Removes the socket with its task.
struct Bound(PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub async fn listen(path: PathBuf, way: Way) {
    let socket = match bind(&path) {
        Ok(socket) => socket,
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "messages of monitoring commands will not become alerts");
            return;
        }
    };
    let _bound = Bound(path);
    let mut buffer = vec![0; ALERT_MAX_BYTES];
    loop {
        let length = match socket.recv(&mut buffer).await {
            Ok(length) => length,
            Err(error) => {
                tracing::debug!(%error, "an alert was not heard");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match serde_json::from_slice::<Alert>(&buffer[..length]) {
            Ok(alert) => way.say(ToManager::Alert(alert)),
            Err(error) => tracing::debug!(%error, "what came to the socket of alerts is none"),
        }
    }
}

/// Only its own user may say something: alerts come from commands that run as the agent does.
fn bind(path: &Path) -> std::io::Result<UnixDatagram> {
    // The agent holds the lock of its directory, so that whoever left it is gone.
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = UnixDatagram::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}
