//! Who may use a cell's API and console: roles, what is kept of users and tokens, what is told of them, the audit log.
//!
//! Times are Unix milliseconds, or microseconds where two moments must not be alike. Hashes and salts are lower-case
//! hexadecimal digits. Nothing here holds a password or a token in clear but `IssuedApiToken` and the bodies of calls,
//! none of which can be printed for debugging.

use crate::id::{TokenName, UserName};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// What somebody may do; each may do all that the one before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks, and changes nothing.
    Viewer,
    /// Starts, stops, drains and restarts.
    Operator,
    /// Changes the configuration, nodes, users and tokens.
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// A password as Argon2id leaves it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
    pub salt: String,
    pub hash: String,
}

/// Without salt and hash: they are of use to who guesses.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PasswordHash {{ {} KiB, {} passes }}", self.memory_kib, self.passes)
    }
}

/// What a manager keeps of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    pub role: Role,
    pub password: PasswordHash,
    pub created_us: u64,
    /// When role or password changed last. Sessions and tokens that began under another moment have ended.
    pub changed_us: u64,
}

/// What a manager keeps of a token for the API.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiTokenRecord {
    pub role: Role,
    /// SHA-256 of the secret, which has 256 bits of chance.
    pub hash: String,
    pub created_us: u64,
    pub expires_ms: u64,
    /// Who made it.
    pub by: String,
}

/// Without the hash.
impl fmt::Debug for ApiTokenRecord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ApiTokenRecord {{ role: {}, expires_ms: {} }}", self.role, self.expires_ms)
    }
}

/// A user as people are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStatus {
    pub user: UserName,
    pub role: Role,
    pub created_ms: u64,
    /// When role or password changed last.
    pub changed_ms: u64,
}

/// A token as people are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiTokenStatus {
    pub token: TokenName,
    pub role: Role,
    pub created_ms: u64,
    pub expires_ms: u64,
    /// Who made it.
    pub by: String,
}

/// A token as the API gives it, once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedApiToken {
    pub name: TokenName,
    pub role: Role,
    pub token: String,
    pub expires_ms: u64,
}

/// Without the token: it is a secret.
impl fmt::Debug for IssuedApiToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "IssuedApiToken {{ name: {}, role: {} }}", self.name, self.role)
    }
}

/// The body of a call that adds a user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    pub role: Role,
    pub password: String,
}

/// The body of a call that gives a user another password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    pub password: String,
}

/// The body of a call by which somebody changes the own password: the one before proves who it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnPassword {
    pub user: UserName,
    pub password: String,
    pub new_password: String,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// As in the audit log.
    pub who: String,
    pub role: Role,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditResult {
    Done,
    /// Nothing was changed.
    Refused,
    /// Muster could not do it, or it is unknown whether it did.
    Failed,
}

impl fmt::Display for AuditResult {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            AuditResult::Done => "done",
            AuditResult::Refused => "refused",
            AuditResult::Failed => "failed",
        })
    }
}

/// One call that changes something, or a login. Holds names and codes, and never what was typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    pub at_ms: u64,
    /// `admin` (the administrator's token), a user, `token NAME`, `node NAME`, or `nobody`: not proven.
    pub who: String,
    /// `console`, `API` or `cell` (the API over the cell's own connections).
    pub way: String,
    pub from: IpAddr,
    /// Stable name of the call, e.g. `config-apply`.
    pub act: String,
    /// What it was done to; empty where the act says all.
    pub on: String,
    pub result: AuditResult,
    /// Of the refusal, e.g. `M2060`.
    #[serde(default)]
    pub code: Option<String>,
    /// How many more like it were not written down, because strangers caused them too fast.
    #[serde(default)]
    pub left_out: u64,
}
