//! Tells what a monitoring command has to say: to the terminal, to syslog, and to the list of alerts.
//!
//! The list of alerts is reached through the agent of this machine, which listens at a socket in its state directory. Whether
//! somebody hears it there is not waited for: syslog has it in any case.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use wire::monitor::Alert;
use wire::status::Severity;

/// Where syslog listens, unless `MUSTER_SYSLOG` names another socket.
const SYSLOG: &str = "/dev/log";
/// Facility `daemon` of syslog.
const FACILITY: u8 = 3 << 3;
/// Longest alert in JSON. 4 KiB: an identifier and a sentence fit several times.
pub const ALERT_MAX_BYTES: usize = 4 << 10;

/// Where an agent hears alerts.
pub fn alert_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("agent").join("alerts.sock")
}

/// Says it everywhere. `id` is that of the message in the command's catalogue.
pub fn tell(source: &str, id: u16, severity: Severity, text: &str) {
    // A script that has gone away meanwhile reads nothing, and what it would have read is in syslog.
    let _ = match severity {
        Severity::Info => writeln!(std::io::stdout(), "{text}"),
        Severity::Warning | Severity::Error => writeln!(std::io::stderr(), "{text}"),
    };
    to_syslog(source, severity, id, text);
    let alert = Alert { source: source.to_owned(), id, severity, text: text.to_owned() };
    to_agent(&alert);
}

fn to_syslog(source: &str, severity: Severity, id: u16, text: &str) {
    let level = match severity {
        Severity::Info => 6,
        Severity::Warning => 4,
        Severity::Error => 3,
    };
    let priority = FACILITY | level;
    let line = format!("<{priority}>{source}[{}]: <event: {id}> {text}", std::process::id());
    let path = std::env::var_os("MUSTER_SYSLOG").unwrap_or_else(|| SYSLOG.into());
    send(Path::new(&path), line.as_bytes());
}

fn to_agent(alert: &Alert) {
    let given = std::env::var_os("MUSTER_STATE_DIR").map(PathBuf::from);
    let Some(state_dir) = given.or_else(|| crate::config::default_state_dir().map(PathBuf::from)) else {
        return;
    };
    if let Ok(bytes) = serde_json::to_vec(alert) {
        send(&alert_socket(&state_dir), &bytes);
    }
}

/// Nobody listens on a machine without syslog or agent, and one that does not read shall hold up nobody.
fn send(path: &Path, bytes: &[u8]) {
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let _ = socket.set_nonblocking(true);
    let _ = socket.send_to(bytes, path);
}
