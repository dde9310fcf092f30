//! A node's connection to a manager: TCP, then TLS, each with a bound, and failures in words that say what to do.

use super::IdentityError;
use super::tls::manager_name;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// From nothing to a connection, and from there to a session of TLS. Longer than two lost packets.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The same where another manager can be tried instead. Long enough for one lost packet.
const CONNECT_OF_SEVERAL: Duration = Duration::from_millis(1_500);

/// How long one of so many managers is waited for, for a connection and again for TLS.
pub fn connect_max(managers: usize) -> Duration {
    if managers > 1 { CONNECT_OF_SEVERAL } else { CONNECT_MAX }
}

/// Connects to a manager at `HOST:PORT`.
pub async fn connect(
    address: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, IdentityError> {
    connect_within(address, config, CONNECT_MAX).await
}

/// The same with other bounds for the connection and for TLS.
pub async fn connect_within(
    address: &str,
    config: Arc<ClientConfig>,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, IdentityError> {
    let not_reached = |why: String| IdentityError::NotReached { address: address.to_owned(), why };
    let stream = tokio::time::timeout(limit, TcpStream::connect(address))
        .await
        .map_err(|_| not_reached("no connection came about in time".to_owned()))?
        .map_err(|error| not_reached(error.to_string()))?;
    // What is written is a whole message, which shall not wait for the next. Without it all is only later.
    drop(stream.set_nodelay(true));
    let shaken = TlsConnector::from(config).connect(manager_name(), stream);
    let shaken = tokio::time::timeout(limit, shaken).await;
    match shaken {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failed(address, &error)),
        Err(_) => Err(not_reached("it accepts connections and does not speak TLS".to_owned())),
    }
}

/// Why a handshake failed, or the first read after it: that is when a client hears what became of its certificate.
fn failed(address: &str, error: &io::Error) -> IdentityError {
    let address = address.to_owned();
    match tls_error(error) {
        Some(Error::InvalidCertificate(_)) => IdentityError::OtherCell { address, why: explain(error) },
        Some(_) | None => IdentityError::NotReached { address, why: explain(error) },
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref::<Error>()
}

/// An error of a connection between machines of the cell, in words of the cell.
pub fn explain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the other side ended the connection".to_owned();
    }
    let Some(tls) = tls_error(error) else { return error.to_string() };
    match tls {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate was made by another authority".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. }
            | CertificateError::InvalidPurpose
            | CertificateError::InvalidPurposeContext { .. },
        ) => "its certificate is not a manager's".to_owned(),
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired, or this machine's clock is ahead".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet: this machine's clock is behind".to_owned(),
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "the manager says that the certificate of this node has expired; it must join again".to_owned()
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::DecryptError | AlertDescription::BadCertificate,
        ) => "the manager says that the certificate of this node is not of its cell".to_owned(),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the manager's Muster is an older one and does not speak this".to_owned()
        }
        Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        other => other.to_string(),
    }
}
