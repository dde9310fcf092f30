//! Decides who may be a node of the cell: one-time tokens, which certificates still count, when they are renewed.
//!
//! Pure: the caller passes the time and makes secrets. A token is a line of text that a person carries to the new
//! machine: it proves to the manager that the machine may join, and to the machine which cell's manager that is.
//!
//! Not here: keys and signatures (see `identity` in the binary).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use wire::enrol::{NodeRecord, TokenRecord, TokenUse};
use wire::id::{CellNumber, NodeName, is_valid_name};

/// Bytes of a token's secret. 20: 160 bits cannot be guessed however fast one tries.
pub const SECRET_BYTES: usize = 20;
/// Bytes of what names an authority: SHA-256 of its certificate.
pub const FINGERPRINT_BYTES: usize = 32;
/// Tokens that are kept at a time. 1,000: one for each node of the largest cell.
pub const TOKENS_MAX: usize = 1000;
/// How long a token that is used or has expired is remembered, so that who shows it is told so. A week.
pub const TOKEN_MEMORY_MS: u64 = 7 * 24 * 3_600_000;
/// Different wrong secrets from one address before it is refused unheard for a while. Ten: nobody types them.
pub const WRONG_SECRETS_MAX: u32 = 10;
/// What every token begins with; the number is the version of its form.
const TOKEN_START: &str = "mj1";

/// What every token of a bridge begins with.
const BRIDGE_TOKEN_START: &str = "mb1";

/// What a person carries to another cell that shall hear of this one: it proves to this cell's managers who asks, and to
/// the other cell that it is this one's managers who answer.
#[derive(Clone, PartialEq, Eq)]
pub struct BridgeToken {
    pub authority: [u8; FINGERPRINT_BYTES],
    pub secret: [u8; SECRET_BYTES],
    /// What the other cell is called in the configuration of this one.
    pub bridge: String,
}

impl BridgeToken {
    /// Tells cells apart, and cannot be claimed: TLS has proven who has this authority.
    pub fn cell(&self) -> CellNumber {
        number_of(&self.authority)
    }
}

/// The number of the cell with this authority.
pub fn number_of(authority: &[u8; FINGERPRINT_BYTES]) -> CellNumber {
    let (first, _) = authority.split_first_chunk().expect("a fingerprint is longer");
    CellNumber(u64::from_be_bytes(*first))
}

impl fmt::Display for BridgeToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{BRIDGE_TOKEN_START}.{}.{}.{}",
            to_hex(&self.authority),
            to_hex(&self.secret),
            self.bridge
        )
    }
}

impl FromStr for BridgeToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let mut parts = text.trim().splitn(4, '.');
        if parts.next() != Some(BRIDGE_TOKEN_START) {
            return Err(NotAToken("a bridge's token begins with `mb1.`"));
        }
        let mut next = || parts.next().unwrap_or_default();
        let whole = NotAToken("it is not whole: copy all of what `muster bridge token` printed");
        let authority = from_hex(next()).and_then(|bytes| bytes.try_into().ok()).ok_or(whole)?;
        let secret = from_hex(next()).and_then(|bytes| bytes.try_into().ok()).ok_or(whole)?;
        let bridge = next();
        if !is_valid_name(bridge) {
            return Err(NotAToken("it does not end with the name of a cell: copy all of it"));
        }
        Ok(Self { authority, secret, bridge: bridge.to_owned() })
    }
}

/// What a person carries to a machine that shall join.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub authority: [u8; FINGERPRINT_BYTES],
    pub secret: [u8; SECRET_BYTES],
    pub node: NodeName,
}

impl fmt::Display for JoinToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{TOKEN_START}.{}.{}.{}", to_hex(&self.authority), to_hex(&self.secret), self.node)
    }
}

/// Why a text is no token. Never says what it was: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAToken(pub &'static str);

impl FromStr for JoinToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        // The name comes last because it may hold dots.
        let mut parts = text.trim().splitn(4, '.');
        if parts.next() != Some(TOKEN_START) {
            return Err(NotAToken("a join token begins with `mj1.`"));
        }
        let mut next = || parts.next().unwrap_or_default();
        let whole = NotAToken("it is not whole: copy all of what `muster node token` printed");
        let authority = from_hex(next()).and_then(|bytes| bytes.try_into().ok()).ok_or(whole)?;
        let secret = from_hex(next()).and_then(|bytes| bytes.try_into().ok()).ok_or(whole)?;
        let node = next();
        if !is_valid_name(node) {
            return Err(NotAToken("it does not end with the name of a node: copy all of it"));
        }
        Ok(Self { authority, secret, node: node.into() })
    }
}

/// `bytes` as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("a nibble is below 16");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// None if `text` is not pairs of hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// Why a token opens nothing. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    Unknown,
    Expired { ago_ms: u64 },
    Used { ago_ms: u64, from: IpAddr },
}

/// The token as it is once it was used, if it may be used now.
pub fn redeem(found: Option<&TokenRecord>, now_ms: u64, from: IpAddr) -> Result<TokenRecord, Unusable> {
    let token = found.ok_or(Unusable::Unknown)?;
    if let Some(used) = &token.used {
        return Err(Unusable::Used { ago_ms: now_ms.saturating_sub(used.at_ms), from: used.from });
    }
    if now_ms >= token.expires_ms {
        return Err(Unusable::Expired { ago_ms: now_ms - token.expires_ms });
    }
    Ok(TokenRecord { used: Some(TokenUse { at_ms: now_ms, from }), ..token.clone() })
}

/// Whether a token need not be remembered any longer.
pub fn is_forgotten(token: &TokenRecord, now_ms: u64) -> bool {
    now_ms >= token.expires_ms.saturating_add(TOKEN_MEMORY_MS)
}

/// Why a certificate that the cell has made counts no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outdated {
    Removed,
    /// The node has joined again since, on this machine or another.
    Replaced,
}

/// Whether a certificate made at `issued_us` still speaks for its node.
pub fn admit(record: Option<&NodeRecord>, issued_us: u64) -> Result<(), Outdated> {
    match record {
        Some(record) if record.is_removed => Err(Outdated::Removed),
        Some(record) if issued_us < record.valid_since_us => Err(Outdated::Replaced),
        // One that was never noted was made before a store that came from a backup.
        Some(_) | None => Ok(()),
    }
}

/// When a certificate is made, so that it counts and those before it do not, even if the clock was set back.
pub fn issue_time_us(record: Option<&NodeRecord>, now_us: u64) -> u64 {
    record.map_or(now_us, |record| now_us.max(record.valid_since_us + 1))
}

/// A certificate is renewed when two thirds of its life are over: what is left lets a node be away for a while.
pub fn renew_at_s(issued_s: i64, not_after_s: i64) -> i64 {
    issued_s + (not_after_s - issued_s).max(0) * 2 / 3
}

/// Whether somebody should look why it was not renewed: half of the time for that is over.
pub fn is_overdue(issued_s: i64, not_after_s: i64, now_s: i64) -> bool {
    let due_s = renew_at_s(issued_s, not_after_s);
    now_s > due_s + (not_after_s - due_s).max(0) / 2
}

/// Who the bearer of a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Names the cell's authority.
    pub cell: String,
    pub node: NodeName,
    pub issued_us: u64,
}

/// How a certificate names its node.
pub fn uri_of(cell: &str, node: &NodeName) -> String {
    format!("muster://{cell}/nodes/{node}")
}

/// Reads who it is from a certificate's URIs and serial number; None if it is not a node's.
pub fn bearer(uris: &[String], serial: &[u8]) -> Option<Bearer> {
    let [uri] = uris else { return None };
    let (cell, node) = uri.strip_prefix("muster://")?.split_once("/nodes/")?;
    if !is_valid_name(node) || serial.len() > 16 {
        return None;
    }
    let number = serial.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let issued_us = u64::try_from(number >> 64).ok()?;
    Some(Bearer { cell: cell.to_owned(), node: node.into(), issued_us })
}

/// The serial number of a certificate: when it was made, and chance, so that no two are alike.
pub fn serial_of(issued_us: u64, chance: u64) -> [u8; 16] {
    (u128::from(issued_us) << 64 | u128::from(chance)).to_be_bytes()
}

/// One host has as many IPv6 addresses as it likes, so it counts by its /64.
pub fn guesser(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests;
