//! Certificates, keys and what is believed: files become configurations of the TLS library, or an error that names
//! the file.
//!
//! TLS 1.2 and 1.3 with ring. Nothing here waits or talks to anybody; who uses a configuration keeps it by reference
//! count, so that one that changes disturbs no connection.

mod client;
mod error;
pub mod pem;
mod server;

#[cfg(test)]
mod tests;

pub use client::{client_config, server_name};
pub use error::TlsError;
pub use server::{Certificates, ServerTls, server_config, tickets};

use rustls::crypto::CryptoProvider;
use std::sync::Arc;
use wire::settings::ListenerTls;
use wire::view::MemberTls;

/// The ciphers in the order in which a server picks them: AES with the shorter key first, because it costs less and
/// is as safe; ChaCha20 for peers without AES instructions is what they name alone.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    let is_long = |suite: &rustls::SupportedCipherSuite| {
        let name = format!("{:?}", suite.suite());
        (name.contains("CHACHA"), name.contains("AES_256"))
    };
    provider.cipher_suites.sort_by_key(is_long);
    Arc::new(provider)
}

/// Whether a listener could use its files.
pub fn check_listener(tls: &ListenerTls) -> Result<(), TlsError> {
    server_config(tls, &[], tickets()?).map(drop)
}

/// Whether a file holds authorities.
pub fn check_authorities(path: &str) -> Result<(), TlsError> {
    server::roots_of(path).map(drop)
}

/// The files of a listener's TLS.
pub fn files_of_listener(tls: &ListenerTls) -> Vec<&str> {
    let pairs = tls.certificates.iter().flat_map(|pair| [pair.certificate.as_str(), pair.key.as_str()]);
    pairs.chain([tls.client_authorities.as_str()]).filter(|path| !path.is_empty()).collect()
}

/// The files of a member's TLS.
pub fn files_of_member(tls: &MemberTls) -> Vec<&str> {
    let all = [tls.authorities.as_str(), tls.certificate.as_str(), tls.key.as_str()];
    all.into_iter().filter(|path| !path.is_empty()).collect()
}

/// A certificate that is not valid now, as a sentence; None if all is well or nothing can be told.
pub fn time_trouble(path: &str, now_s: i64) -> Option<TlsError> {
    let chain = pem::certificates(path).ok()?;
    let facts = logic::certificate::read(chain.first()?)?;
    if now_s >= facts.not_after_s {
        return Some(TlsError::Expired { path: path.to_owned(), days: (now_s - facts.not_after_s) / 86_400 });
    }
    (now_s < facts.not_before_s).then(|| TlsError::NotYetValid { path: path.to_owned() })
}

/// A certificate that is valid and soon is not, as a sentence; None if there is time or nothing can be told.
pub fn time_warning(path: &str, now_s: i64) -> Option<TlsError> {
    let chain = pem::certificates(path).ok()?;
    let days = logic::certificate::read(chain.first()?)?.days_left(now_s)?;
    Some(TlsError::Expires { path: path.to_owned(), days })
}

/// Seconds since 1970.
pub fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() as i64
}

/// As RFC 4648 has it, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let all = part.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for place in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= part.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
