//! Which authorities are believed when a router or member speaks TLS.

use crate::error::Error;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, OnceLock};
use tokio_rustls::TlsConnector;

/// Made when it is first needed: the system's authorities are some hundred files, and most clients in a cell need none.
pub struct Tls {
    roots: Option<RootCertStore>,
    connector: OnceLock<TlsConnector>,
}

impl Tls {
    /// The authorities of `pem`, or those of the system.
    pub fn new(pem: Option<&[u8]>) -> Result<Self, Error> {
        let roots = pem.map(roots_of).transpose()?;
        Ok(Self { roots, connector: OnceLock::new() })
    }

    pub fn connector(&self) -> &TlsConnector {
        self.connector.get_or_init(|| {
            let roots = self.roots.clone().unwrap_or_else(roots_of_system);
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("the provider has the ciphers of TLS 1.2 and 1.3")
                .with_root_certificates(roots)
                .with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        })
    }
}

fn roots_of(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|why| Error::Authorities { why })?;
    }
    if roots.is_empty() {
        return Err(Error::Authorities { why: "there is no certificate in the text".into() });
    }
    Ok(roots)
}

/// A system without any gives none: whoever needs one then fails when it connects.
fn roots_of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_a_certificate_is_refused() {
        assert!(Tls::new(None).is_ok());
        for wrong in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(Tls::new(Some(wrong.as_bytes())), Err(Error::Authorities { .. })), "{wrong:?}");
        }
    }
}
