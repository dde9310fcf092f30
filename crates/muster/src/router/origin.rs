//! Where a connection comes from, as far as its socket does not tell: what a PROXY header said, what TLS agreed on.
//!
//! Plain connections have none of it, so that ten thousand idle ones cost nothing for it.

use super::streams::Stream;
use crate::tls::Certificates;
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Origin {
    /// Client, and the address that it asked for, where these are others than the socket's.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    pub tls: Option<OriginTls>,
}

/// A client's TLS.
#[derive(Debug)]
pub struct OriginTls {
    /// The server that it asked for.
    pub server_name: Option<String>,
    pub certificates: Arc<Certificates>,
    /// Name of the header and the client's certificate as its value, where members shall have it.
    pub client_certificate: Option<(String, String)>,
}

impl Origin {
    /// Whether requests for this host may come this way.
    pub fn allows(&self, host: &[u8]) -> bool {
        let Some(tls) = &self.tls else { return true };
        let (Some(asked), Ok(host)) = (&tls.server_name, std::str::from_utf8(host)) else { return true };
        !tls.certificates.are_others(asked, host)
    }

    pub fn client_certificate(&self) -> Option<(&str, &str)> {
        let (name, value) = self.tls.as_ref()?.client_certificate.as_ref()?;
        Some((name, value))
    }
}

/// Client and the address that it asked for.
pub fn addresses(stream: &Stream, origin: Option<&Origin>) -> Option<(SocketAddr, SocketAddr)> {
    if let Some(addresses) = origin.and_then(|origin| origin.addresses) {
        return Some(addresses);
    }
    let socket = stream.socket()?;
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    Some((canonical(socket.peer_addr().ok()?), canonical(socket.local_addr().ok()?)))
}
