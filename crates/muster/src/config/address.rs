//! Addresses as they stand in the configuration: of sockets, of servers and of hosts.
//!
//! Each refusal says what is missing and, where it can be guessed, what was meant. Not here: whether anything answers.

use super::kind::{Form, Refusal};
use std::net::{IpAddr, SocketAddr};

pub(super) fn check_address(form: Form, text: &str) -> Result<(), Refusal> {
    let local = if form == Form::ListenAddress { "0.0.0.0" } else { "127.0.0.1" };
    let refuse = |message: &str, suggestion: Option<String>| {
        Err(Refusal::not_allowed(message, suggestion.map(|text| format!("{text:?}"))))
    };
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match form {
            Form::PeerAddress if address.port() == 0 => refuse("port 0 cannot be connected to", None),
            Form::PeerAddress if address.ip().is_unspecified() => {
                refuse("this address means any, not one", Some(format!("127.0.0.1:{}", address.port())))
            }
            _ => Ok(()),
        };
    }
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return refuse("the IP address is missing", Some(format!("{local}:{port}")));
    }
    if text.parse::<IpAddr>().is_ok() {
        return refuse("the port is missing", None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => match host {
            "localhost" => refuse("host names are not looked up", Some(format!("127.0.0.1:{port}"))),
            "*" | "" => refuse("the IP address is missing", Some(format!("{local}:{port}"))),
            host if host.contains(':') => {
                refuse("an IPv6 address needs brackets before its port", Some(format!("[{host}]:{port}")))
            }
            _ => refuse(
                "host names are not looked up, so that the cell does not depend on a name server; give the IP address",
                None,
            ),
        },
        Some((_, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            refuse("the port is above 65535", None)
        }
        _ => refuse("this is not an IP address and a port", None),
    }
}

/// Host and port of a server, the host without brackets.
pub fn server(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_right = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    };
    is_right.then(|| (inner.unwrap_or(host).to_owned(), port))
}

pub(super) fn check_server(text: &str) -> Result<(), Refusal> {
    if server(text).is_some() {
        return Ok(());
    }
    let start = text.split_once("://").map(|(_, rest)| rest.trim_end_matches('/').to_owned());
    let meant = start.filter(|rest| server(rest).is_some()).map(|rest| format!("{rest:?}"));
    Err(Refusal::not_allowed("this is not a host and a port", meant))
}

pub(super) fn check_host(text: &str) -> Result<(), Refusal> {
    let refuse = |message: &str, suggestion: Option<String>| {
        Err(Refusal::not_allowed(message, suggestion.map(|text| format!("{text:?}"))))
    };
    let is_address = text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if text == "*" || is_address || is_host_name(text) {
        return Ok(());
    }
    if text.contains('*') {
        return refuse("`*` stands alone for any host; it cannot be a part of one", None);
    }
    match text.trim_start_matches("http://").trim_start_matches("https://").split(['/', ':']).next() {
        Some(host) if host != text && is_host_name(host) => {
            refuse("a host is given without scheme, port and path", Some(host.to_owned()))
        }
        _ => refuse("this is not a host", None),
    }
}

pub(super) fn is_host_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    text.len() <= 253 && text.split('.').all(|label| !label.is_empty() && label.bytes().all(is_letter))
}
