//! TLS towards members: whom they must prove to be, and who we are.

use super::error::TlsError;
use super::server::roots_of;
use super::{pem, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;
use wire::view::MemberTls;

/// `alpn` are the protocols that are asked for, the best first; none asks for nothing.
pub fn client_config(tls: &MemberTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let setup = |error: rustls::Error| TlsError::Setup { why: error.to_string() };
    let verifier: Arc<dyn ServerCertVerifier> = if tls.is_unverified {
        Arc::new(AnyCertificate(provider.clone()))
    } else {
        let roots = if tls.authorities.is_empty() { of_the_system()? } else { roots_of(&tls.authorities)? };
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        builder
            .build()
            .map_err(|error| TlsError::Damaged { path: tls.authorities.clone(), why: error.to_string() })?
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = if tls.certificate.is_empty() {
        builder.with_no_client_auth()
    } else {
        let (chain, key) = (pem::certificates(&tls.certificate)?, pem::key(&tls.key)?);
        builder.with_client_auth_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::OtherKey { certificate: tls.certificate.clone(), key: tls.key.clone() }
            }
            error => TlsError::Damaged { path: tls.key.clone(), why: error.to_string() },
        })?
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The name that a member's certificate must carry; None if what is configured cannot be one.
pub fn server_name(tls: &MemberTls, address: IpAddr) -> Option<ServerName<'static>> {
    if tls.server_name.is_empty() {
        return Some(ServerName::IpAddress(address.to_canonical().into()));
    }
    ServerName::try_from(tls.server_name.clone()).ok()
}

fn of_the_system() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems carry authorities that nobody can use any more; the others still count.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let why = if why.is_empty() { "none was found".to_owned() } else { why.join("; ") };
        return Err(TlsError::NoSystemAuthorities { why });
    }
    Ok(roots)
}

/// Believes any certificate, if its owner can prove to have its key. Only where the configuration asks for it.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
