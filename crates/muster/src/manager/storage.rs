//! Opens the store that the configuration names: a file of this machine, or servers that managers share.
//!
//! Credentials are read here, and only here; no error or log line holds one.

use crate::tls::{TlsError, client_config};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use store::etcd;
use store::postgres::{self, Host};
use store::{Store, StoreError, StoreThread};
use wire::settings::{RemoteStore, StoreSettings, StoreTls};
use wire::view::MemberTls;

/// How large the store may grow. 4 GiB: a hundred configurations of the largest size many times over; a mistake
/// must not fill the disk of a machine that also serves.
const STORE_SIZE_MAX_BYTES: u64 = 4 << 30;
/// Longest password.
const PASSWORD_LENGTH_MAX: usize = 4 << 10;

/// Why there is no store. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// See there.
    #[error("the manager's store cannot be opened")]
    Store(#[source] StoreError),
    /// A retry helps once the file is there and right.
    #[error("the password of the store cannot be read from {}", path.display())]
    Password {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A retry helps once the files are there and right.
    #[error("TLS with the store's servers cannot be set up")]
    Tls(#[source] TlsError),
}

/// Opens the store once; what it speaks to may not be there yet.
pub async fn open(settings: &StoreSettings, state_dir: &Path) -> Result<(Store, StoreThread), StorageError> {
    let opened = match settings {
        StoreSettings::Sqlite => Store::open(&state_dir.join("store.sqlite"), STORE_SIZE_MAX_BYTES),
        StoreSettings::Postgres { remote, database, schema } => {
            let hosts = remote.servers.iter();
            let hosts = hosts.map(|server| Host::Tcp { name: server.host.clone(), port: server.port });
            let settings = postgres::Settings {
                hosts: hosts.collect(),
                user: remote.user.clone().unwrap_or_default(),
                password: password(remote)?,
                database: database.clone(),
                schema: schema.clone(),
                tls: tls(remote)?,
            };
            Store::postgres(settings).await
        }
        StoreSettings::Etcd { remote, prefix } => {
            let endpoints = remote.servers.iter();
            let endpoints = endpoints
                .map(|server| etcd::Endpoint { host: server.host.clone(), port: server.port })
                .collect();
            let password = password(remote)?;
            let user = remote.user.clone().zip(password);
            let user = user.map(|(name, password)| etcd::User { name, password });
            let settings = etcd::Settings { endpoints, prefix: prefix.clone(), user, tls: tls(remote)? };
            Store::etcd(settings).await
        }
    };
    opened.map_err(StorageError::Store)
}

fn tls(remote: &RemoteStore) -> Result<Option<std::sync::Arc<rustls::ClientConfig>>, StorageError> {
    let Some(StoreTls { authorities, certificate, key }) = remote.tls.clone() else { return Ok(None) };
    let server_name = String::new();
    let tls = MemberTls { server_name, authorities, certificate, key, is_unverified: false };
    // etcd speaks HTTP/2 and may ask for it; PostgreSQL speaks its own protocol and asks for nothing.
    client_config(&tls, &[]).map(Some).map_err(StorageError::Tls)
}

fn password(remote: &RemoteStore) -> Result<Option<String>, StorageError> {
    let Some(path) = remote.password_file.as_ref().map(PathBuf::from) else { return Ok(None) };
    let read = || -> io::Result<String> {
        if std::fs::metadata(&path)?.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "the file with the store's password was open to others; it is now its owner's alone");
            std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        }
        read_password(&path)
    };
    read().map(Some).map_err(|source| StorageError::Password { path: path.clone(), source })
}

/// The password in a file, of which it is the only line.
pub fn read_password(path: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.len() > PASSWORD_LENGTH_MAX || line.contains('\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it must hold one line with the password"));
    }
    Ok(line.to_owned())
}
