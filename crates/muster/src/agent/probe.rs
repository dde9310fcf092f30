//! Asks a member whether it is well: a TCP connection, or the status of a GET.
//!
//! Promise: an answer comes within the time-out, whatever the member does; a suspended process still accepts
//! connections, so only an answer to a request proves that it lives.

use crate::role::is_our_want;
use crate::tls::{self, TlsError};
use logic::probe::ProbeAnswer;
use rustls::ClientConfig;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::agent::ProbeKind;
use wire::view::MemberTls;

#[cfg(test)]
mod tests;

/// Longest status line that is waited for. 1 KiB: a sentence after the number is all that may follow.
const STATUS_LINE_MAX_BYTES: usize = 1024;

/// A new certificate is used by probes after this time.
const CONFIG_AGE_MAX: Duration = Duration::from_secs(10);
/// Configurations kept. One for each way in which members are spoken to; beyond that they are read anew.
const CONFIGS_MAX: usize = 256;

/// How members are spoken to in TLS, read from files now and then.
#[derive(Debug, Default)]
pub struct TlsConfigs(RefCell<BTreeMap<MemberTls, (Instant, Arc<ClientConfig>)>>);

impl TlsConfigs {
    pub fn get(&self, tls: &MemberTls) -> Result<Arc<ClientConfig>, TlsError> {
        let mut known = self.0.borrow_mut();
        known.retain(|_, (read, _)| read.elapsed() < CONFIG_AGE_MAX);
        if let Some((_, config)) = known.get(tls) {
            return Ok(config.clone());
        }
        let config = tls::client_config(tls, &[])?;
        if known.len() < CONFIGS_MAX {
            known.insert(tls.clone(), (Instant::now(), config.clone()));
        }
        Ok(config)
    }
}

/// A connection, with or without TLS.
trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

/// Why a member does not count as well; words after "does not answer its probe: ".
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: SocketAddr, source: std::io::Error },
    #[error("{address} broke the connection: {source}")]
    Exchange { address: SocketAddr, source: std::io::Error },
    #[error("{address} closed the connection without an answer")]
    Closed { address: SocketAddr },
    #[error("{address} does not speak HTTP")]
    NotHttp { address: SocketAddr },
    #[error("GET {path} was answered {status}, not {status_min} to {status_max}")]
    Status { path: String, status: u16, status_min: u16, status_max: u16 },
    #[error("{address} did not agree on TLS: {source}")]
    Handshake { address: SocketAddr, source: std::io::Error },
    #[error("its TLS cannot be set up: {source}")]
    Files { source: TlsError },
    #[error("its `tls_server_name` is not the name of a server")]
    Name,
    #[error("no answer within {timeout_ms} ms")]
    Timeout { timeout_ms: u64 },
}

pub async fn probe(
    configs: &TlsConfigs,
    address: SocketAddr,
    kind: &ProbeKind,
    timeout_ms: u64,
) -> ProbeAnswer {
    let limit = Duration::from_millis(timeout_ms);
    let answer = tokio::time::timeout(limit, ask(configs, address, kind)).await;
    match answer.unwrap_or(Err(Trouble::Timeout { timeout_ms })) {
        Ok(()) => ProbeAnswer::Good,
        Err(trouble) => verdict(trouble),
    }
}

/// Whose trouble it is.
fn verdict(trouble: Trouble) -> ProbeAnswer {
    let why = trouble.to_string();
    let source = match trouble {
        Trouble::Connect { source, .. }
        | Trouble::Exchange { source, .. }
        | Trouble::Handshake { source, .. }
        | Trouble::Files { source: TlsError::Unreadable { source, .. } } => Some(source),
        Trouble::Closed { .. }
        | Trouble::NotHttp { .. }
        | Trouble::Status { .. }
        | Trouble::Files { .. }
        | Trouble::Name
        | Trouble::Timeout { .. } => None,
    };
    if source.is_some_and(|source| is_our_want(&source)) {
        return ProbeAnswer::Unasked { why };
    }
    ProbeAnswer::Bad { why }
}

async fn ask(configs: &TlsConfigs, address: SocketAddr, kind: &ProbeKind) -> Result<(), Trouble> {
    let (path, host, status_min, status_max, transport) = match kind {
        ProbeKind::Process => return Ok(()),
        ProbeKind::Tcp => return connect(address).await.map(drop),
        ProbeKind::Http { path, host, status_min, status_max, transport } => {
            (path, host, *status_min, *status_max, transport)
        }
    };
    let mut stream = connect(address).await?;
    if transport.sends_proxy_header {
        let local = stream.local_addr().map_err(|source| Trouble::Exchange { address, source })?;
        let mut header = Vec::new();
        logic::proxy_protocol::write(local, address, &mut header);
        stream.write_all(&header).await.map_err(|source| Trouble::Exchange { address, source })?;
    }
    let mut stream: Box<dyn Both> = match &transport.tls {
        None => Box::new(stream),
        Some(tls) => {
            let config = configs.get(tls).map_err(|source| Trouble::Files { source })?;
            let name = tls::server_name(tls, address.ip()).ok_or(Trouble::Name)?;
            let shaken = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
            Box::new(shaken.map_err(|source| Trouble::Handshake { address, source })?)
        }
    };
    let host = host.clone().unwrap_or_else(|| address.to_string());
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: muster-probe\r\nConnection: close\r\n\r\n"
    );
    let exchange = |source| Trouble::Exchange { address, source };
    stream.write_all(request.as_bytes()).await.map_err(exchange)?;
    let status = read_status(&mut stream, address).await?;
    if (status_min..=status_max).contains(&status) {
        Ok(())
    } else {
        Err(Trouble::Status { path: path.clone(), status, status_min, status_max })
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Trouble> {
    TcpStream::connect(address).await.map_err(|source| Trouble::Connect { address, source })
}

/// The status of the answer, whose rest is of no interest.
async fn read_status(stream: &mut Box<dyn Both>, address: SocketAddr) -> Result<u16, Trouble> {
    let mut read = Vec::with_capacity(STATUS_LINE_MAX_BYTES);
    loop {
        if let Some(end) = read.windows(2).position(|pair| pair == b"\r\n") {
            return parse_status(&read[..end]).ok_or(Trouble::NotHttp { address });
        }
        if read.len() >= STATUS_LINE_MAX_BYTES {
            return Err(Trouble::NotHttp { address });
        }
        match stream.read_buf(&mut read).await {
            Ok(0) if read.is_empty() => return Err(Trouble::Closed { address }),
            Ok(0) => return Err(Trouble::NotHttp { address }),
            Ok(_) => {}
            Err(source) => return Err(Trouble::Exchange { address, source }),
        }
    }
}

/// `HTTP/1.1 200 OK` -> 200.
fn parse_status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0'..=b'9', b' ', number @ ..] = rest else { return None };
    let (number, after) = number.split_at_checked(3)?;
    let is_end = matches!(after.first(), None | Some(b' '));
    let status: u16 = str::from_utf8(number).ok()?.parse().ok()?;
    (is_end && (100..=999).contains(&status)).then_some(status)
}
