//! Where a connection's requests come from: the client, and what its connection's beginning told beyond the socket.
//!
//! Shared by all streams of a connection. What few connections have is in a box: ten thousand idle ones carry its size.

use super::core::Core;
use super::request::Caller;
use super::streams::Stream;
use crate::tls::Certificates;
use logic::http::PrivateTls;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

#[derive(Debug)]
pub struct Origin {
    /// Its address as text.
    pub address: Box<str>,
    pub is_trusted: bool,
    /// The address and the port that it came in on.
    pub server: IpAddr,
    pub port: u16,
    /// None for a plain connection straight from the client.
    beyond: Option<Box<Beyond>>,
}

/// The same while its connection is parked: in a quarter of the memory.
#[derive(Debug)]
pub enum Parked {
    V4 {
        address: Ipv4Addr,
        port: u16,
        is_trusted: bool,
    },
    /// As bytes: those need no place of their own kind.
    V6 {
        address: [u8; 16],
        port: u16,
        is_trusted: bool,
    },
    /// One that knows more than its socket tells.
    Whole(Rc<Origin>),
}

/// What a plain socket does not tell.
#[derive(Debug, Default)]
pub struct Beyond {
    /// Client, and the address that it asked for, where these are others than the socket's.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    pub tls: Option<Arc<OriginTls>>,
}

/// A client's TLS.
#[derive(Debug)]
pub struct OriginTls {
    /// The server that it asked for.
    pub server_name: Option<String>,
    pub certificates: Arc<Certificates>,
    /// As the access log tells it.
    pub version: &'static str,
    /// Name of the header and the client's certificate as its value, where members shall have it.
    pub client_certificate: Option<(String, String)>,
    /// What members hear of it that expect a plug-in before them: the suite by its registered name, and the client's
    /// certificate (DER) in Base64; empty without one.
    pub cipher_suite: &'static str,
    pub certificate: String,
}

impl Parked {
    /// `server` is the address that the client's socket came in on.
    pub fn wake(self, server: impl FnOnce() -> IpAddr) -> Rc<Origin> {
        let (address, port, is_trusted) = match self {
            Parked::V4 { address, port, is_trusted } => (IpAddr::V4(address), port, is_trusted),
            Parked::V6 { address, port, is_trusted } => (IpAddr::V6(address.into()), port, is_trusted),
            Parked::Whole(origin) => return origin,
        };
        Rc::new(Origin {
            address: address.to_string().into(),
            is_trusted,
            server: server().to_canonical(),
            port,
            beyond: None,
        })
    }
}

impl Origin {
    /// A plain connection from `address`.
    #[cfg(test)]
    pub fn for_tests(address: &str, port: u16) -> Self {
        let server = Ipv4Addr::LOCALHOST.into();
        Self { address: address.into(), is_trusted: false, server, port, beyond: None }
    }

    /// Of a connection from `peer`, unless more is known.
    pub fn new(core: &Core, stream: &Stream, peer: SocketAddr, beyond: Option<Beyond>) -> Rc<Self> {
        let told = beyond.as_ref().and_then(|beyond| beyond.addresses);
        let local = stream.socket().and_then(|socket| socket.local_addr().ok());
        // Only a connection that is broken already has none.
        let server = told.map(|(_, server)| server).or(local);
        let server = server.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
        let address = told.map_or(peer, |(client, _)| client).ip().to_canonical();
        Rc::new(Self {
            is_trusted: core.settings.borrow().trusted_proxies.contains(&address),
            address: address.to_string().into_boxed_str(),
            server: server.ip().to_canonical(),
            port: server.port(),
            beyond: beyond.map(Box::new),
        })
    }

    /// The same for streams on this connection, which they cannot ask.
    pub fn with_addresses(origin: Rc<Self>, stream: &Stream) -> Rc<Self> {
        let Some(addresses) = origin.addresses(stream) else { return origin };
        Rc::new(Self {
            address: origin.address.clone(),
            is_trusted: origin.is_trusted,
            server: origin.server,
            port: origin.port,
            beyond: Some(Box::new(Beyond { addresses: Some(addresses), tls: origin.tls().cloned() })),
        })
    }

    pub fn park(origin: Rc<Self>) -> Parked {
        let (port, is_trusted) = (origin.port, origin.is_trusted);
        match (&origin.beyond, origin.address.parse()) {
            (None, Ok(IpAddr::V4(address))) => Parked::V4 { address, port, is_trusted },
            (None, Ok(IpAddr::V6(address))) => Parked::V6 { address: address.octets(), port, is_trusted },
            // An address is written so that it can be read again.
            (Some(_), _) | (None, Err(_)) => Parked::Whole(origin),
        }
    }

    fn tls(&self) -> Option<&Arc<OriginTls>> {
        self.beyond.as_ref()?.tls.as_ref()
    }

    /// Version of the client's TLS; empty without.
    pub fn tls_version(&self) -> &'static str {
        self.tls().map_or("", |tls| tls.version)
    }

    pub fn is_secure(&self) -> bool {
        self.tls().is_some()
    }

    /// As who a request asks that comes by this stream.
    pub fn caller(&self, stream: &Stream) -> Caller<'_> {
        Caller { is_http2: stream.is_single(), origin: self }
    }

    /// Whether requests for this host may come this way.
    pub fn allows(&self, host: &[u8]) -> bool {
        let Some(tls) = self.tls() else { return true };
        let (Some(asked), Ok(host)) = (&tls.server_name, std::str::from_utf8(host)) else { return true };
        !tls.certificates.are_others(asked, host)
    }

    /// Nothing for a plain connection.
    pub fn private(&self) -> PrivateTls<'_> {
        match self.tls() {
            Some(tls) => PrivateTls { certificate: &tls.certificate, cipher_suite: tls.cipher_suite },
            None => PrivateTls::default(),
        }
    }

    pub fn client_certificate(&self) -> Option<(&str, &str)> {
        let (name, value) = self.tls()?.client_certificate.as_ref()?;
        Some((name, value))
    }

    /// Client and the address that it asked for; None if the connection is gone.
    pub fn addresses(&self, stream: &Stream) -> Option<(SocketAddr, SocketAddr)> {
        if let Some(addresses) = self.beyond.as_ref().and_then(|beyond| beyond.addresses) {
            return Some(addresses);
        }
        let socket = stream.socket()?;
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Some((canonical(socket.peer_addr().ok()?), canonical(socket.local_addr().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_comes_back_from_parking_as_it_was() {
        for address in ["127.0.0.1", "2001:db8::7", "::1"] {
            let origin = Rc::new(Origin { is_trusted: true, ..Origin::for_tests(address, 8_080) });
            let parked = Origin::park(origin);
            assert!(!matches!(parked, Parked::Whole(_)));
            let back = parked.wake(|| Ipv4Addr::LOCALHOST.into());
            assert_eq!((&*back.address, back.port, back.is_trusted), (address, 8_080, true));
            assert!(back.beyond.is_none());
        }
        let beyond = Beyond {
            addresses: Some(([127, 0, 0, 2], 1).into()).zip(Some(([127, 0, 0, 3], 2).into())),
            tls: None,
        };
        let origin = Rc::new(Origin { beyond: Some(Box::new(beyond)), ..Origin::for_tests("127.0.0.2", 2) });
        assert!(Rc::ptr_eq(
            &origin,
            &Origin::park(origin.clone()).wake(|| unreachable!("it was kept whole"))
        ));
    }
}
