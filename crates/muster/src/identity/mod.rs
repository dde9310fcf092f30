//! Who this machine is in its cell: the files that say so, and the certificates and TLS that prove it.
//!
//! Files in `<state_dir>/cell`, which only their owner may read: `authority.pem` (the cell's certificate authority),
//! `identity.pem` (this node's certificate and key, in one file so that they change together), `cell.json` (which cell
//! and node this is, on machines that have joined), `routers.json` (which routers ran here last). Machines with a manager
//! also have `authority-key.pem`, with which nodes' certificates are signed, and where there are several of them
//! `manager.json` (the configuration with which it starts).
//!
//! Keys and tokens are never logged. Not here: who may be a node (see `logic::enrol` and `manager/enrol.rs`).

pub mod api;
pub mod authority;
pub mod connect;
mod error;
pub mod join;
pub mod proof;
pub mod renewal;
pub mod tls;

pub use error::IdentityError;

use crate::kept_file;
use crate::tls::pem;
use logic::certificate::{self, Facts};
use logic::enrol::{Bearer, FINGERPRINT_BYTES, bearer};
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use wire::enrol::MANAGER_SERVER_NAME;
use wire::id::{NodeName, RouterName};

/// The directory with these files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(PathBuf);

impl Place {
    pub fn of(state_dir: &Path) -> Self {
        Self(state_dir.join("cell"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn authority(&self) -> PathBuf {
        self.0.join("authority.pem")
    }

    pub fn authority_key(&self) -> PathBuf {
        self.0.join("authority-key.pem")
    }

    pub fn identity(&self) -> PathBuf {
        self.0.join("identity.pem")
    }

    fn membership_path(&self) -> PathBuf {
        self.0.join("cell.json")
    }

    fn routers_path(&self) -> PathBuf {
        self.0.join("routers.json")
    }

    /// Makes the directory, and what is above it.
    pub fn create(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o700))
    }

    /// The cell that this machine has joined, if it has.
    pub fn membership(&self) -> Option<Membership> {
        kept_file::read(&self.membership_path())
    }

    pub fn keep_membership(&self, membership: &Membership) -> io::Result<()> {
        kept_file::write(&self.membership_path(), membership)
    }

    /// The routers that ran here last, as the manager wanted it.
    pub fn routers(&self) -> Option<Vec<RouterName>> {
        kept_file::read(&self.routers_path())
    }

    pub fn keep_routers(&self, routers: &[RouterName]) -> io::Result<()> {
        kept_file::write(&self.routers_path(), &routers)
    }

    fn manager_path(&self) -> PathBuf {
        self.0.join("manager.json")
    }

    /// What the manager of this node starts with, if it is to have one.
    pub fn manager(&self) -> Option<KeptManager> {
        kept_file::read(&self.manager_path())
    }

    pub fn keep_manager(&self, manager: &KeptManager) -> io::Result<()> {
        kept_file::write(&self.manager_path(), manager)
    }

    /// This node is to have no manager.
    pub fn forget_manager(&self) -> io::Result<()> {
        match std::fs::remove_file(self.manager_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Replaces certificate and key at once.
    pub fn keep_identity(&self, certificate: &CertificateDer<'_>, key: &KeyPair) -> io::Result<()> {
        let text = pem_text(certificate) + &key.serialize_pem();
        kept_file::write_text(&self.identity(), &text)
    }
}

/// What a machine that has joined knows of its cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Name of the cell, for people.
    pub cell: String,
    pub node: NodeName,
    /// Where managers listen, `HOST:PORT`.
    pub managers: Vec<String>,
}

/// What one of several managers knows before it has read the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptManager {
    /// The text of the configuration, which names the store.
    pub config: String,
    /// It is a file of the user's, and not what a leader said.
    #[serde(default)]
    pub is_users: bool,
}

/// A certificate of the cell with its key, and the authority that made it.
#[derive(Debug)]
pub struct Identity {
    pub bearer: Bearer,
    pub not_after_s: i64,
    /// It may answer as a manager.
    pub is_manager: bool,
    pub certificate: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
    pub authority: CertificateDer<'static>,
}

/// Reads this machine's identity.
pub fn load(place: &Place) -> Result<Identity, IdentityError> {
    let path = place.identity();
    if !path.exists() {
        return Err(IdentityError::None { directory: place.path().to_path_buf() });
    }
    let text = path.display().to_string();
    let unusable = |source| IdentityError::Files { source };
    let certificate = first(pem::certificates(&text).map_err(unusable)?);
    let key = pem::key(&text).map_err(unusable)?;
    let authority = authority_of(place)?;
    let meaningless = || IdentityError::Meaningless { path: path.clone() };
    let facts = certificate::read(&certificate).ok_or_else(meaningless)?;
    let bearer = bearer(&facts.uris, &facts.serial).ok_or_else(meaningless)?;
    let is_manager = facts.names.iter().any(|name| name == MANAGER_SERVER_NAME);
    Ok(Identity { bearer, not_after_s: facts.not_after_s, is_manager, certificate, key, authority })
}

/// The certificate of the authority that this machine believes.
pub fn authority_of(place: &Place) -> Result<CertificateDer<'static>, IdentityError> {
    let found = pem::certificates(&place.authority().display().to_string());
    found.map(first).map_err(|source| IdentityError::Files { source })
}

fn first(certificates: Vec<CertificateDer<'static>>) -> CertificateDer<'static> {
    certificates.into_iter().next().expect("a file without certificates is an error")
}

/// SHA-256 of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; FINGERPRINT_BYTES] {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// What stands in a certificate that TLS has verified, and whose it is; None if it is no node's.
pub fn bearer_of(certificate: &CertificateDer<'_>) -> Option<(Bearer, Facts)> {
    let facts = certificate::read(certificate)?;
    Some((bearer(&facts.uris, &facts.serial)?, facts))
}

/// A certificate in PEM.
pub fn pem_text(certificate: &CertificateDer<'_>) -> String {
    let text = crate::tls::base64(certificate);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    let lines: String = lines.collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

/// Microseconds since 1970, as this machine's clock says.
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

#[cfg(test)]
mod tests;
