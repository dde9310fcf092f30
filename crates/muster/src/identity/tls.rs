//! TLS 1.3 between the machines of a cell: each side proves who it is; who joins knows at least whom it speaks to.
//!
//! Nothing is resumed: a certificate is looked at anew on every connection.

use super::{Identity, IdentityError, fingerprint};
use crate::tls::{TlsError, provider};
use logic::enrol::FINGERPRINT_BYTES;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use wire::enrol::{API_PROTOCOL, LINK_PROTOCOL, MANAGER_SERVER_NAME, PROTOCOL};
use wire::summary::BRIDGE_PROTOCOL;

fn setup(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Files { source: TlsError::Setup { why: error.to_string() } }
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(setup)?;
    Ok(Arc::new(roots))
}

/// How a manager answers: to nodes of its cell, and to machines without a certificate that want to join.
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, IdentityError> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(&identity.authority)?, provider.clone());
    let verifier = verifier.allow_unauthenticated().build().map_err(setup)?;
    // The authority goes along: machines that join know only its fingerprint.
    let chain = vec![identity.certificate.clone(), identity.authority.clone()];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, identity.key.clone_key())
        .map_err(setup)?;
    let protocols = [LINK_PROTOCOL, API_PROTOCOL, PROTOCOL, BRIDGE_PROTOCOL];
    config.alpn_protocols = protocols.map(<[u8]>::to_vec).to_vec();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// How a node speaks to the managers of its cell.
pub fn client_config(identity: &Identity, protocol: &[u8]) -> Result<Arc<ClientConfig>, IdentityError> {
    let provider = provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(&identity.authority)?, provider.clone());
    let verifier = verifier.build().map_err(setup)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())
        .map_err(setup)?;
    Ok(finished(config, protocol))
}

/// How a machine speaks to the manager whose cell it is to join: it knows only the authority's fingerprint.
pub fn joining_config(authority: [u8; FINGERPRINT_BYTES]) -> Result<Arc<ClientConfig>, IdentityError> {
    pinned_config(authority, PROTOCOL)
}

/// How a cell speaks to the managers of another, of which it knows the authority's fingerprint from a token.
pub fn bridge_config(authority: [u8; FINGERPRINT_BYTES]) -> Result<Arc<ClientConfig>, IdentityError> {
    pinned_config(authority, BRIDGE_PROTOCOL)
}

fn pinned_config(
    authority: [u8; FINGERPRINT_BYTES],
    protocol: &[u8],
) -> Result<Arc<ClientConfig>, IdentityError> {
    let provider = provider();
    let pinned = Arc::new(Pinned { authority, provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_no_client_auth();
    Ok(finished(config, protocol))
}

fn finished(mut config: ClientConfig, protocol: &[u8]) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The name that every manager's certificate carries.
pub fn manager_name() -> ServerName<'static> {
    ServerName::try_from(MANAGER_SERVER_NAME).expect("it is a DNS name")
}

/// Believes managers whose certificate was made by the authority with this fingerprint, which they show as well.
#[derive(Debug)]
struct Pinned {
    authority: [u8; FINGERPRINT_BYTES],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates.iter().find(|shown| fingerprint(shown) == self.authority);
        let authority = authority.ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
