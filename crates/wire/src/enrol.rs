//! How a machine becomes a node of a cell and stays one: what it asks a manager for, and what managers keep of it.
//!
//! One frame (see `link`) each way on a TLS connection whose protocol (ALPN) is `PROTOCOL`. Keys, certificates,
//! secrets and signatures are lower-case hexadecimal digits.

use crate::id::NodeName;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// The protocol that a connection for one request names when TLS begins.
pub const PROTOCOL: &[u8] = b"muster-enrol";
/// The same for a link (see `link`).
pub const LINK_PROTOCOL: &[u8] = b"muster-link";
/// The same for HTTP/1.1 with the API of the console, by nodes.
pub const API_PROTOCOL: &[u8] = b"muster-api/1";
/// Raised when a message changes its meaning; the other side is refused with both numbers named.
pub const ENROL_VERSION: u32 = 1;
/// Longest request or answer. 64 KiB: a certificate has some 600 bytes, and strangers may send requests.
pub const ENROL_FRAME_MAX_BYTES: u32 = 64 << 10;
/// The name that the certificate of a manager carries, and no other.
pub const MANAGER_SERVER_NAME: &str = "manager.muster.internal";
/// What is signed to prove that a key is one's own is derived from the connection under this label.
pub const PROOF_LABEL: &[u8] = b"EXPORTER-muster-enrol";

/// What a node wants. `muster` is the version of its program, for people.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnrolRequest {
    /// With a one-time secret, by a machine that has no certificate.
    Join {
        version: u32,
        muster: String,
        secret: String,
        key: PublicKey,
        /// The node that the token names; None from a version that did not say.
        #[serde(default)]
        node: Option<NodeName>,
    },
    /// By a node, on a connection that its present certificate proves.
    Renew { version: u32, muster: String, key: PublicKey },
}

/// The public half of a key pair on the curve P-256, which only the node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// The point, uncompressed.
    pub point: String,
    /// ECDSA with SHA-256 over what both ends derive from the connection.
    pub proof: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnrolAnswer {
    Granted(Grant),
    Refused {
        code: String,
        message: String,
    },
    /// Another manager leads, at this address if it is known; it is to be asked.
    NotLeader {
        #[serde(default)]
        leader: Option<String>,
    },
}

/// What makes a machine a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Name of the cell, for people.
    pub cell: String,
    pub node: NodeName,
    /// DER.
    pub certificate: String,
    /// Where managers listen, `HOST:PORT`.
    pub managers: Vec<String>,
}

/// What a manager keeps of a one-time token, under the hash of its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    pub node: NodeName,
    pub expires_ms: u64,
    #[serde(default)]
    pub used: Option<TokenUse>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    pub at_ms: u64,
    pub from: IpAddr,
}

/// What a manager keeps of a node that has joined once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Microseconds since 1970; certificates that were made earlier are another machine's.
    pub valid_since_us: u64,
    pub is_removed: bool,
}

/// A token as the API gives it, once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedToken {
    pub node: NodeName,
    pub token: String,
    /// Where the node finds the manager.
    pub manager: String,
    pub expires_ms: u64,
    /// Tokens given out earlier for the same node that can still be used.
    #[serde(default)]
    pub others: u32,
    /// A machine is this node already, and the one that uses the token takes its place.
    #[serde(default)]
    pub replaces: bool,
}

/// Without the token: it is a secret.
impl fmt::Debug for IssuedToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "IssuedToken {{ node: {}, expires_ms: {} }}", self.node, self.expires_ms)
    }
}
