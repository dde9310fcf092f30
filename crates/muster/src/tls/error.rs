//! What can be wrong with the files of TLS. Nothing was changed; a retry is safe once the file is right.

use wire::error_code::{self, ErrorCode};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{path} holds no {what} in PEM")]
    Nothing { path: String, what: &'static str },
    #[error("{path} is damaged: {why}")]
    Damaged { path: String, why: String },
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    OtherKey { certificate: String, key: String },
    #[error("the certificate in {path} expired {}", ago(*days))]
    Expired { path: String, days: i64 },
    #[error("the certificate in {path} expires in {}", within(*days))]
    Expires { path: String, days: i64 },
    #[error("the certificate in {path} is not valid yet")]
    NotYetValid { path: String },
    #[error("the system has no certificate authorities: {why}")]
    NoSystemAuthorities { why: String },
    #[error("TLS cannot be set up: {why}")]
    Setup { why: String },
}

impl TlsError {
    /// Whether this file is the one to put right first.
    pub fn is_about(&self, file: &str) -> bool {
        match self {
            TlsError::Unreadable { path, .. }
            | TlsError::Nothing { path, .. }
            | TlsError::Damaged { path, .. }
            | TlsError::Expired { path, .. }
            | TlsError::Expires { path, .. }
            | TlsError::NotYetValid { path } => path == file,
            TlsError::OtherKey { key, .. } => key == file,
            TlsError::NoSystemAuthorities { .. } | TlsError::Setup { .. } => false,
        }
    }

    pub fn code(&self) -> ErrorCode {
        match self {
            TlsError::Unreadable { .. }
            | TlsError::Nothing { .. }
            | TlsError::Damaged { .. }
            | TlsError::NoSystemAuthorities { .. }
            | TlsError::Setup { .. } => error_code::TLS_FILE_NOT_USABLE,
            TlsError::OtherKey { .. } => error_code::KEY_OF_ANOTHER_CERTIFICATE,
            TlsError::Expired { .. } | TlsError::NotYetValid { .. } => error_code::CERTIFICATE_NOT_VALID_NOW,
            TlsError::Expires { .. } => error_code::CERTIFICATE_EXPIRES,
        }
    }
}

/// As much as a whole number of days and less than one more.
fn within(days: i64) -> String {
    match days {
        ..1 => "less than a day".into(),
        1 => "a day".into(),
        days => format!("{days} days"),
    }
}

/// How long a whole number of days is.
fn ago(days: i64) -> String {
    match days {
        ..1 => "less than a day ago".into(),
        1 => "a day ago".into(),
        days => format!("{days} days ago"),
    }
}
