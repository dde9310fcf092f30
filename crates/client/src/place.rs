//! Where something listens: a router as it is written in a URL, or a member's address.

use crate::error::Error;
use std::fmt;
use std::net::SocketAddr;

/// Where a connection leads. Equal places may share connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// The name that its certificate must carry; None: no TLS.
    pub tls: Option<String>,
}

impl Place {
    pub fn of_member(address: SocketAddr, tls: Option<&str>) -> Self {
        let host = address.ip().to_string();
        let name = |name: &str| if name.is_empty() { host.clone() } else { name.to_owned() };
        Self { port: address.port(), tls: tls.map(name), host }
    }

    /// As it stands in a Host header.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.authority())
    }
}

/// A place and the path there of a route with `views = true`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterUrl {
    pub place: Place,
    pub path: String,
}

impl RouterUrl {
    /// `http://HOST[:PORT]/PATH`, or with `https`.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let wrong = |why| Error::WrongUse { what: format!("{url:?} is no URL of a router"), why };
        let uri: http::Uri = url.parse().map_err(|_| wrong("it is malformed"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let host = uri.host().ok_or_else(|| wrong("it has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("a user has no meaning here"));
        }
        if uri.path().len() < 2 || uri.query().is_some() {
            return Err(wrong("it needs the path of a route with `views = true`, without query"));
        }
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = is_tls.then(|| host.clone());
        Ok(Self { place: Place { host, port, tls }, path: uri.path().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_strictly() {
        let url = RouterUrl::parse("https://shop.example/muster/views").expect("a URL");
        assert_eq!(
            (url.place.to_string().as_str(), url.path.as_str()),
            ("shop.example:443", "/muster/views")
        );
        assert_eq!(url.place.tls.as_deref(), Some("shop.example"));
        let url = RouterUrl::parse("http://[::1]:8080/v").expect("a URL");
        assert_eq!((url.place.host.as_str(), url.place.authority().as_str()), ("::1", "[::1]:8080"));
        for wrong in [
            "shop.example/v",
            "ftp://shop/v",
            "http://shop",
            "http://shop/",
            "http://shop/v?x",
            "http://u@shop/v",
            "http:///v",
            " ",
        ] {
            assert!(RouterUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_members_certificate_names_its_address_unless_the_view_says_otherwise() {
        let address: SocketAddr = "10.0.0.1:443".parse().expect("an address");
        assert_eq!(Place::of_member(address, None).tls, None);
        assert_eq!(Place::of_member(address, Some("")).tls.as_deref(), Some("10.0.0.1"));
        assert_eq!(Place::of_member(address, Some("shop.example")).tls.as_deref(), Some("shop.example"));
    }
}
