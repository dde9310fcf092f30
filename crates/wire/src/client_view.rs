//! What clients of a cluster know of it, and how they learn of changes; for other languages in docs/reference/wire.md.
//!
//! A client shows in `HEADER` which epoch it has. An answer of a router says nothing if that is the newest; otherwise it
//! has what changed since in a header of the same name, or a hint that it is to be fetched. Nobody without a token of the
//! cell hears anything.
//! Promise: a view is never replaced by an older one, and a change is only applied to the view that it was made for.
//! Not here: what is a change and for how long it is remembered (see `logic::delta`).

use crate::id::{ClusterName, Epoch, MemberName, is_valid_name};
use crate::is_default;
use crate::view::Policy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// Header of requests and answers.
pub const HEADER: &str = "Muster-View";
/// Longest value of it in an answer. 1,400: with the rest of a head it fits the first packet of an answer.
pub const NEWS_MAX_BYTES: usize = 1_400;
/// Longest value of it in a request: a name, two numbers of twenty digits, a token, and what is between them.
pub const CLAIM_MAX_BYTES: usize = 64 + 1 + 41 + 1 + TOKEN_MAX_BYTES;
/// Longest token. 128: twice what `muster client token` makes.
pub const TOKEN_MAX_BYTES: usize = 128;
/// Shortest token. 32: 128 bits in hexadecimal digits cannot be guessed.
pub const TOKEN_MIN_BYTES: usize = 32;

/// All that a client needs to choose a member of one cluster. Members are in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    pub cluster: ClusterName,
    #[serde(with = "epoch_text")]
    pub epoch: Epoch,
    pub policy: Policy,
    pub members: Vec<ClientMember>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientMember {
    pub name: MemberName,
    /// None while nobody knows where it listens.
    #[serde(default, skip_serializing_if = "is_default")]
    pub address: Option<SocketAddr>,
    pub state: ClientState,
    /// 0: takes no new conversations.
    pub weight: u32,
    /// Where it runs, for clients that prefer what is near; empty means nowhere in particular.
    #[serde(default, skip_serializing_if = "is_default")]
    pub zone: String,
    /// Used only while no other member can be, the first in order first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_backup: bool,
    /// It speaks TLS, under this name; empty means its address. None: it speaks without.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: Option<String>,
}

/// What of a member's run state matters to those who call it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientState {
    /// Takes requests.
    Up,
    /// Takes only requests of conversations that it already has.
    Draining,
    /// Takes nothing.
    #[default]
    Down,
    /// Takes nothing, and what waits for its answer shall be given up.
    Lost,
}

impl fmt::Display for ClientState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            ClientState::Up => "up",
            ClientState::Draining => "draining",
            ClientState::Down => "down",
            ClientState::Lost => "lost",
        })
    }
}

/// What a client shows of itself with a request: `CLUSTER GENERATION.NUMBER TOKEN`. `0.0` says that it has no view.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    pub cluster: ClusterName,
    pub epoch: Epoch,
    pub token: String,
}

impl Claim {
    /// Strict: what a client of ours would not write is none.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= CLAIM_MAX_BYTES)?;
        let mut parts = text.split(' ');
        let (cluster, epoch, token) = (parts.next()?, parts.next()?, parts.next()?);
        let is_right = is_valid_name(cluster) && is_valid_token(token) && parts.next().is_none();
        let epoch = parse_epoch(epoch).filter(|_| is_right)?;
        Some(Self { cluster: cluster.into(), epoch, token: token.into() })
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.cluster, self.epoch, self.token)
    }
}

/// Without the token: this may end in a log.
impl fmt::Debug for Claim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Claim({} {})", self.cluster, self.epoch)
    }
}

/// Whether that may be a client's token.
pub fn is_valid_token(token: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (TOKEN_MIN_BYTES..=TOKEN_MAX_BYTES).contains(&token.len()) && token.bytes().all(is_plain)
}

/// Digits only, without needless zeros, so that one epoch is written in one way.
fn parse_epoch(text: &str) -> Option<Epoch> {
    let number = |text: &str| {
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse().ok().filter(|_| is_plain)
    };
    let (generation, count) = text.split_once('.')?;
    Some(Epoch { generation: number(generation)?, number: number(count)? })
}

/// What an answer says to a client that is behind; a JSON object in the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ViewNews {
    /// What changed since the client's epoch.
    Delta(ViewDelta),
    /// It is too much, or too long ago: it is to be fetched.
    Fetch(FetchHint),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchHint {
    pub cluster: ClusterName,
    /// The newest.
    #[serde(with = "epoch_text")]
    pub to: Epoch,
    /// Path on the same router; empty where it gives none out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub path: String,
}

/// What turns one view into a later one. Applied in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDelta {
    pub cluster: ClusterName,
    #[serde(with = "epoch_text")]
    pub from: Epoch,
    #[serde(with = "epoch_text")]
    pub to: Epoch,
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: Option<Policy>,
    /// Members that are there no more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gone: Vec<MemberName>,
    /// Members of which nothing but the state changed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub states: BTreeMap<ClientState, Vec<MemberName>>,
    /// Members that are new, or changed, or stand elsewhere: each is taken out if it is there, and then all are put in,
    /// one after the other, each at its place.
    #[serde(default, skip_serializing_if = "is_default")]
    pub put: Vec<PutMember>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutMember {
    /// Its place in the new view, from 0; they ascend.
    pub at: u32,
    #[serde(flatten)]
    pub member: ClientMember,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The view is newer now.
    Now,
    /// It was at least as new before.
    Known,
    /// The change is for another view than this one; the newest must be fetched.
    Unfit,
}

impl ClientView {
    /// Takes a change over.
    pub fn apply(&mut self, delta: &ViewDelta) -> Applied {
        if delta.cluster != self.cluster {
            return Applied::Unfit;
        }
        if delta.to <= self.epoch {
            return Applied::Known;
        }
        if delta.from != self.epoch {
            return Applied::Unfit;
        }
        let leaves = |name: &MemberName| {
            delta.gone.contains(name) || delta.put.iter().any(|put| put.member.name == *name)
        };
        self.members.retain(|member| !leaves(&member.name));
        for (state, names) in &delta.states {
            let changed = self.members.iter_mut().filter(|member| names.contains(&member.name));
            changed.for_each(|member| member.state = *state);
        }
        for put in &delta.put {
            let at = (put.at as usize).min(self.members.len());
            self.members.insert(at, put.member.clone());
        }
        if let Some(policy) = delta.policy {
            self.policy = policy;
        }
        self.epoch = delta.to;
        Applied::Now
    }

    /// Takes a whole view over.
    pub fn replace(&mut self, newer: ClientView) -> Applied {
        if newer.cluster != self.cluster {
            return Applied::Unfit;
        }
        if newer.epoch <= self.epoch {
            return Applied::Known;
        }
        *self = newer;
        Applied::Now
    }
}

/// An epoch as people write it: `3.17`.
mod epoch_text {
    use crate::id::Epoch;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(epoch)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_epoch(&text).ok_or_else(|| serde::de::Error::custom("an epoch is GENERATION.NUMBER"))
    }
}

#[cfg(test)]
mod tests;
