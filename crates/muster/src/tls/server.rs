//! TLS towards clients: which certificate they are shown, and whose certificates of theirs are believed.

use super::error::TlsError;
use super::{pem, provider};
use rustls::RootCertStore;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerConfig,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use wire::settings::{CertificateFiles, ListenerTls};

/// TLS of one listener, ready for use by all threads.
#[derive(Debug)]
pub struct ServerTls {
    pub config: Arc<ServerConfig>,
    pub certificates: Arc<Certificates>,
}

/// The certificates of a listener, the first of which is shown where none fits.
#[derive(Debug)]
pub struct Certificates(Vec<Shown>);

#[derive(Debug)]
struct Shown {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    /// Places of those that fit the name, the best first; the first of all where none does.
    fn fitting(&self, name: Option<&str>) -> impl Iterator<Item = &Shown> {
        let patterns = self.0.iter().flat_map(|shown| shown.names.iter().map(String::as_str));
        let best = logic::server_name::find(patterns, name);
        let best = best.and_then(|place| self.0.iter().flat_map(|shown| shown.names.iter()).nth(place));
        // Several may be for the same name, with keys of different kinds.
        let fits = move |shown: &&Shown| best.is_some_and(|best| shown.names.contains(best));
        let has_any = self.0.iter().any(|shown| fits(&shown));
        self.0
            .iter()
            .enumerate()
            .filter(move |(place, shown)| fits(shown) || (!has_any && *place == 0))
            .map(|(_, shown)| shown)
    }

    /// Whether a connection that was made for `asked` must not carry requests for `host`: another certificate would
    /// have been shown for it, so the client has not seen what it would have to check.
    pub fn are_others(&self, asked: &str, host: &str) -> bool {
        if asked.eq_ignore_ascii_case(host) {
            return false;
        }
        let shown: Vec<&Shown> = self.fitting(Some(asked)).collect();
        !self.fitting(Some(host)).any(|other| shown.iter().any(|shown| std::ptr::eq(*shown, other)))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut fitting = self.fitting(hello.server_name());
        let is_usable = |shown: &&Shown| shown.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let first = fitting.next()?;
        let usable = is_usable(&first).then_some(first).or_else(|| fitting.find(is_usable));
        Some(usable.unwrap_or(first).key.clone())
    }
}

/// `alpn` are the protocols that are offered, the best first. `tickets` encrypts what clients bring back to go on
/// with an earlier session.
pub fn server_config(
    tls: &ListenerTls,
    alpn: &[&[u8]],
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerTls, TlsError> {
    let provider = provider();
    let setup = |error: rustls::Error| TlsError::Setup { why: error.to_string() };
    let shown: Result<Vec<Shown>, TlsError> =
        tls.certificates.iter().map(|files| shown(files, &provider)).collect();
    let certificates = Arc::new(Certificates(shown?));
    let versions = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    let verified = match client_verifier(tls, provider)? {
        Some(verifier) => versions.with_client_cert_verifier(verifier),
        None => versions.with_no_client_auth(),
    };
    let mut config = verified.with_cert_resolver(certificates.clone());
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.ignore_client_order = true;
    // Tickets hold all that is needed, so that nothing is kept here for clients that never come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = tickets;
    Ok(ServerTls { config: Arc::new(config), certificates })
}

fn shown(files: &CertificateFiles, provider: &rustls::crypto::CryptoProvider) -> Result<Shown, TlsError> {
    let chain = pem::certificates(&files.certificate)?;
    let facts = logic::certificate::read(&chain[0]).ok_or_else(|| TlsError::Damaged {
        path: files.certificate.clone(),
        why: "its first certificate cannot be understood".to_owned(),
    })?;
    let key =
        CertifiedKey::from_der(chain, pem::key(&files.key)?, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::OtherKey { certificate: files.certificate.clone(), key: files.key.clone() }
            }
            error => TlsError::Damaged { path: files.key.clone(), why: error.to_string() },
        })?;
    Ok(Shown { names: facts.names, key: Arc::new(key) })
}

fn client_verifier(
    tls: &ListenerTls,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if tls.client_authorities.is_empty() {
        return Ok(None);
    }
    let path = &tls.client_authorities;
    let roots = Arc::new(roots_of(path)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let builder = if tls.client_required { builder } else { builder.allow_unauthenticated() };
    let verifier =
        builder.build().map_err(|error| TlsError::Damaged { path: path.clone(), why: error.to_string() })?;
    Ok(Some(verifier))
}

/// Keys for tickets: they change every few hours, and older ones are taken for as long again.
pub fn tickets() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    rustls::crypto::ring::Ticketer::new().map_err(|error| TlsError::Setup { why: error.to_string() })
}

/// The authorities of a file.
pub fn roots_of(path: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Damaged { path: path.to_owned(), why: error.to_string() })?;
    }
    Ok(roots)
}
