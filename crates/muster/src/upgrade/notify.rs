//! Tells the service manager (systemd) that this process is ready, or which process has taken its place.
//!
//! Nothing is sent where nobody asks for it with NOTIFY_SOCKET; one that cannot be told is no reason to stop.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Everything that was asked for is running.
pub fn ready() {
    tell("READY=1");
}

/// `pid` serves in our place.
pub fn main_process(pid: u32) {
    tell(&format!("MAINPID={pid}"));
}

fn tell(text: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&path, text) {
        tracing::warn!(%error, text, "the service manager could not be told");
    }
}

fn send(path: &OsStr, text: &str) -> io::Result<()> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_addresses_are_reached() {
        let name = format!("muster-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        let receivers = [
            UnixDatagram::bind(&path).expect("a free path"),
            UnixDatagram::bind_addr(&abstract_name).expect("a free name"),
        ];
        for (receiver, to) in receivers.iter().zip([path.display().to_string(), format!("@{name}")]) {
            send(OsStr::new(&to), "MAINPID=7").expect("sent");
            let mut bytes = [0; 64];
            let length = receiver.recv(&mut bytes).expect("it came");
            assert_eq!(&bytes[..length], b"MAINPID=7");
        }
        std::fs::remove_file(path).expect("ours");
    }
}
