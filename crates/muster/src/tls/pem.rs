//! Reads certificates and keys from PEM files, which may hold other things beside them.

use super::error::TlsError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Read;

/// Largest file. 4 MiB: several times all authorities of a system.
const FILE_MAX_BYTES: u64 = 4 << 20;

fn read(path: &str) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// All certificates in a file, at least one.
pub fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| TlsError::Damaged { path: path.to_owned(), why: error.to_string() })?;
    if all.is_empty() {
        return Err(TlsError::Nothing { path: path.to_owned(), what: "certificate" });
    }
    Ok(all)
}

/// The first private key in a file.
pub fn key(path: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    use rustls::pki_types::pem::Error;
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        Error::NoItemsFound => TlsError::Nothing { path: path.to_owned(), what: "private key" },
        error => TlsError::Damaged { path: path.to_owned(), why: error.to_string() },
    })
}
