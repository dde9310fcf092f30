//! The cell's certificate authority: made once, signs the certificates of nodes.
//!
//! Its key is on the machines with a manager, and nowhere else. Not here: who gets a certificate (see `manager/enrol.rs`).

use super::{IdentityError, Place, authority_of, fingerprint, load, now_us, pem_text};
use crate::console::token::new_secret;
use crate::kept_file;
use logic::enrol::{FINGERPRINT_BYTES, serial_of, to_hex, uri_of};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use std::time::Duration;
use wire::enrol::MANAGER_SERVER_NAME;
use wire::id::NodeName;

/// How long the authority is valid. Twenty years: it can only be replaced by joining every node again.
const LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);
/// Certificates are valid from so long before they are made: clocks of machines differ. A day: a clock that is set by an
/// hour, or shows the time of another zone, must shut nobody out. Nothing is counted from there: when a certificate is
/// renewed, and whether it still counts, follow from when it was made, as its serial number says.
const BACKDATED: Duration = Duration::from_secs(86_400);
/// What the authority's name begins with; the cell's id follows.
const NAME_START: &str = "Muster cell ";
/// Hexadecimal digits of a cell's id.
const ID_LENGTH: usize = 16;

/// The authority with its key.
#[derive(Debug)]
pub struct Authority {
    /// Distinguishes cells, and stands in every certificate.
    pub id: String,
    pub certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// For whom a certificate is.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub node: &'a NodeName,
    /// It may also answer as a manager.
    pub is_manager: bool,
    pub issued_us: u64,
    pub life: Duration,
}

/// The public half of a key that somebody else has.
#[derive(Debug)]
pub struct Point<'a>(pub &'a [u8]);

impl PublicKeyData for Point<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl Authority {
    /// Makes the authority of a new cell.
    pub fn create(place: &Place) -> Result<Self, IdentityError> {
        for path in [place.authority_key(), place.identity()] {
            if path.exists() {
                return Err(IdentityError::InACell { path });
            }
        }
        let mut id = new_secret().map_err(|error| IdentityError::Make { why: error.to_string() })?;
        id.truncate(ID_LENGTH);
        let key = KeyPair::generate().map_err(make)?;
        let mut params = parameters(&id);
        set_validity(&mut params, now_us(), LIFE);
        let certificate = params.self_signed(&key).map_err(make)?.der().clone();
        let write = |path: std::path::PathBuf, text: &str| {
            kept_file::write_text(&path, text).map_err(|source| IdentityError::Write { path, source })
        };
        place.create().map_err(|source| IdentityError::Write { path: place.path().into(), source })?;
        write(place.authority(), &pem_text(&certificate))?;
        // Last: only with it the authority exists.
        write(place.authority_key(), &key.serialize_pem())?;
        Ok(Self { id, certificate, issuer: Issuer::new(params, key) })
    }

    pub fn load(place: &Place) -> Result<Self, IdentityError> {
        let path = place.authority_key();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(IdentityError::NoAuthority { path });
            }
            Err(source) => {
                let path = path.display().to_string();
                return Err(IdentityError::Files {
                    source: crate::tls::TlsError::Unreadable { path, source },
                });
            }
        };
        let meaningless = |path| move || IdentityError::Meaningless { path };
        let key = KeyPair::from_pem(&text).ok().ok_or_else(meaningless(path))?;
        let certificate = authority_of(place)?;
        let facts = logic::certificate::read(&certificate);
        let names = facts.map(|facts| facts.names).unwrap_or_default();
        let start = NAME_START.to_ascii_lowercase();
        let id = names.first().and_then(|name| name.strip_prefix(&start));
        let id = id.ok_or_else(meaningless(place.authority()))?.to_owned();
        let params = parameters(&id);
        Ok(Self { id, certificate, issuer: Issuer::new(params, key) })
    }

    pub fn fingerprint(&self) -> [u8; FINGERPRINT_BYTES] {
        fingerprint(&self.certificate)
    }

    /// The fingerprint as people compare it.
    pub fn fingerprint_text(&self) -> String {
        to_hex(&self.fingerprint())
    }

    /// Makes a certificate.
    pub fn issue(
        &self,
        key: &impl PublicKeyData,
        subject: &Subject<'_>,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let mut chance = [0; 8];
        getrandom::fill(&mut chance).map_err(|error| IdentityError::Make { why: error.to_string() })?;
        let serial = serial_of(subject.issued_us, u64::from_be_bytes(chance));
        let text = |text: String| Ia5String::try_from(text).map_err(make);
        let mut params = CertificateParams::default();
        set_validity(&mut params, subject.issued_us, subject.life);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject.node.0.as_str());
        params.subject_alt_names = vec![SanType::URI(text(uri_of(&self.id, subject.node))?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if subject.is_manager {
            params.subject_alt_names.push(SanType::DnsName(text(MANAGER_SERVER_NAME.to_owned())?));
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer).map_err(make)?.der().clone())
    }

    /// Makes a key and a certificate for the manager's own node, and keeps them. It is newer than the one before, whatever
    /// the clock says: what is older than the record of a node is refused.
    pub fn issue_own(&self, place: &Place, node: &NodeName, life: Duration) -> Result<(), IdentityError> {
        let key = KeyPair::generate().map_err(make)?;
        let before = load(place).ok().filter(|before| before.bearer.node == *node);
        let issued_us = before.map_or(now_us(), |before| now_us().max(before.bearer.issued_us + 1));
        let subject = Subject { node, is_manager: true, issued_us, life };
        let certificate = self.issue(&key, &subject)?;
        let path = place.identity();
        place.keep_identity(&certificate, &key).map_err(|source| IdentityError::Write { path, source })
    }
}

fn parameters(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{NAME_START}{id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub(super) fn make(error: rcgen::Error) -> IdentityError {
    IdentityError::Make { why: error.to_string() }
}

/// Certificates know whole seconds. A manager whose clock was ahead goes on from there once it is set right (see `issue_own`):
/// what it makes then counts at once all the same.
fn set_validity(params: &mut CertificateParams, issued_us: u64, life: Duration) {
    let at = |us| date_time_ymd(1970, 1, 1) + Duration::from_secs(us / 1_000_000);
    params.not_before = at(issued_us.min(now_us())) - BACKDATED;
    params.not_after = at(issued_us) + life;
}
