//! What both ends of heartbeats need: the cell's secret, the keys that nodes have of it, and the code of a datagram.
//!
//! Each node has a key of its own, made of the cell's secret, the node's name and number and the time since which its
//! machine is the node: who has taken one machine can send no other's heartbeats, and who takes a node's name gets
//! another key. Managers prove themselves to each other with one more. The secret never leaves managers; keys of nodes
//! travel over links, which prove both sides.
//! Not here: which datagrams count (see `logic::heartbeat::admit`), sockets (see `manager` and `agent`).

use crate::kept_file;
use logic::cell::NodePlace;
use logic::enrol::{from_hex, to_hex};
use ring::hmac;
use rustix::process::setpriority_process;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use wire::heartbeat::{CODE_SIZE_BYTES, Code, HeartbeatKey};

/// What keys are made of begins so: the secret may serve for something else one day.
const KEY_LABEL: &[u8] = b"muster heartbeat key 1";
/// And the key of managers.
const MANAGERS_LABEL: &[u8] = b"muster managers key 1";
/// Of the secret, and of each key. 32: what HMAC with SHA-256 can use.
const SECRET_BYTES: usize = 32;
/// Priority of threads that send or hear heartbeats, as `nice` counts. The highest: a machine at its limit shall not look
/// like one that is dead, and they do little.
const NICENESS: i32 = -20;

/// The secret of which nodes' keys are made.
#[derive(Debug, Clone)]
pub struct CellSecret(hmac::Key);

impl CellSecret {
    /// The secret in the file at `path`; a new one is written when there is no file.
    pub fn read_or_create(path: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = crate::console::token::new_secret()?;
                kept_file::write_text(path, &text)?;
                text
            }
            Err(error) => return Err(error),
        };
        if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "the secret of heartbeats was open to others; it is now its owner's alone");
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        }
        let meaningless = || io::Error::new(io::ErrorKind::InvalidData, "it must hold 64 hexadecimal digits");
        let secret = bytes_of(text.trim()).ok_or_else(meaningless)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    /// The key of a node, whose machine is it since `joined_us`.
    pub fn key_of(&self, place: &NodePlace, joined_us: u64) -> HeartbeatKey {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(KEY_LABEL);
        context.update(&place.number.0.to_be_bytes());
        context.update(&joined_us.to_be_bytes());
        context.update(place.node.0.as_bytes());
        HeartbeatKey(to_hex(context.sign().as_ref()))
    }

    /// The key by which managers prove themselves to each other, which no node has.
    pub fn key_of_managers(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.0, MANAGERS_LABEL).as_ref())
    }
}

/// A key to be used; None for a text that is none.
pub fn usable(key: &HeartbeatKey) -> Option<hmac::Key> {
    Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes_of(&key.0)?))
}

fn bytes_of(text: &str) -> Option<[u8; SECRET_BYTES]> {
    from_hex(text)?.try_into().ok()
}

/// The code that proves who has sent `signed`.
pub fn code(key: &hmac::Key, signed: &[u8]) -> Code {
    let tag = hmac::sign(key, signed);
    let start: Option<&[u8; CODE_SIZE_BYTES]> = tag.as_ref().first_chunk();
    *start.expect("HMAC with SHA-256 has 32 bytes")
}

/// Lets the running thread come before others of the machine, where that is allowed.
pub fn come_first() {
    if let Err(error) = setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "heartbeats have the usual priority");
    }
}

#[cfg(test)]
mod tests;
