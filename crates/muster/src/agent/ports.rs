//! Finds a port for each member and remembers it, so that a member keeps its port over restarts of it and of the agent.
//!
//! Ports come from below the range that the kernel uses for outgoing connections: from within it, any connection made
//! while a member is down could take its port away. Between finding and use a port may still be taken by somebody
//! else; then the member fails to start and gets another one with its next start.

use crate::kept_file;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;
use wire::id::MemberId;

#[cfg(test)]
mod tests;

const LOWEST: u16 = 20_000;
/// Fewer ports than this are not worth keeping apart from the kernel's.
const WIDTH_MIN: u16 = 1_000;
/// Muster's own, which may be free only because that part has not started yet.
const RESERVED: Range<u16> = 29_001..29_010;

/// There is no free port for now; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("no port of {} to {} is free", .0.start, .0.end - 1)]
    NoneFree(Range<u16>),
    #[error("port {0} is in use by another program")]
    InUse(u16),
}

#[derive(Debug)]
pub struct PortBook {
    path: PathBuf,
    range: Range<u16>,
    ports: BTreeMap<String, u16>,
}

impl PortBook {
    pub fn open(path: PathBuf) -> Self {
        let ports = kept_file::read(&path).unwrap_or_default();
        Self { path, range: range(), ports }
    }

    /// The port that the member shall have: `wanted`, or one of our choice if that is 0.
    pub fn pick(&mut self, id: &MemberId, wanted: u16) -> Result<u16, PortError> {
        if wanted != 0 {
            return if is_free(wanted) { Ok(wanted) } else { Err(PortError::InUse(wanted)) };
        }
        let name = id.to_string();
        if let Some(port) = self.ports.get(&name).copied().filter(|port| is_free(*port)) {
            return Ok(port);
        }
        let port = self.search(&name).ok_or_else(|| PortError::NoneFree(self.range.clone()))?;
        self.ports.insert(name, port);
        if let Err(error) = kept_file::write(&self.path, &self.ports) {
            tracing::warn!(path = %self.path.display(), %error, "ports will not survive the agent");
        }
        Ok(port)
    }

    /// Forgets the ports of all other members; on disk with the next port that is picked.
    pub fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.ports.retain(|name, _| is_known(name));
    }

    /// Starts at a place of the member's own, so that several agents on one machine seldom want the same.
    fn search(&self, name: &str) -> Option<u16> {
        let mut hasher = DefaultHasher::new();
        (name, &self.path).hash(&mut hasher);
        let width = self.range.end - self.range.start;
        let first = (hasher.finish() % u64::from(width)) as u16;
        let candidates = (0..width)
            .map(|step| self.range.start + ((u32::from(first) + u32::from(step)) % u32::from(width)) as u16);
        let is_taken = |port: &u16| RESERVED.contains(port) || self.ports.values().any(|used| used == port);
        candidates.filter(|port| !is_taken(port)).find(|port| is_free(*port))
    }
}

/// Whether somebody could listen there now. Anything but "in use" is left for the member itself to find out.
fn is_free(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    !matches!(TcpListener::bind(address), Err(error) if error.kind() == std::io::ErrorKind::AddrInUse)
}

fn range() -> Range<u16> {
    let kernel = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    below(&kernel.unwrap_or_default())
}

/// What lies below the kernel's range; if that leaves too little, everything that needs no privilege.
fn below(kernel: &str) -> Range<u16> {
    let lowest = kernel.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(32_768);
    if lowest >= LOWEST + WIDTH_MIN { LOWEST..lowest } else { LOWEST..65_535 }
}
