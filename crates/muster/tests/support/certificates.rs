//! Certificates for tests: an authority, and what it signs.

use super::Scratch;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority whose certificate lies in the file `NAME-ca.pem`.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub file: String,
}

/// Paths of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(scratch: &Scratch, name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("authority {name}"));
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key"));
        let issuer = issuer.expect("a certificate");
        let file = scratch.write(&format!("{name}-ca.pem"), &issuer.pem());
        Self { issuer, file: file.display().to_string() }
    }

    /// Writes a certificate for these names to `FILE.pem` and its key to `FILE.key`.
    pub fn sign(&self, scratch: &Scratch, file: &str, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("right names");
        let now = rcgen::date_time_ymd(2026, 1, 1);
        (parameters.not_before, parameters.not_after) = (now, rcgen::date_time_ymd(2036, 1, 1));
        parameters.distinguished_name.push(rcgen::DnType::CommonName, file);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        // The key first: whoever watches the certificate then finds both.
        let key = scratch.write(&format!("{file}.key"), &key.serialize_pem());
        let certificate = scratch.write(&format!("{file}.pem"), &certificate.pem());
        Pair { certificate: certificate.display().to_string(), key: key.display().to_string() }
    }
}
