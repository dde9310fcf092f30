//! Who may do what: the administrator's token, sessions of browsers, and a lock for those who guess.
//!
//! Pure: the caller passes `now_ms` (milliseconds of any steady clock) and secrets made elsewhere.
//! Secrets are compared in constant time; their lengths are no secret. All tables are bounded.
//!
//! A session has two halves: a cookie, and a key that the page keeps to itself. Reading takes the cookie; changing
//! takes both. Cookies know no ports, so a browser also shows ours to members behind a router on the same host; with
//! the cookie alone they can change nothing.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use subtle::ConstantTimeEq;

/// Sessions of browsers at the same time; the oldest makes room. 64: more people than look after one cell.
pub const SESSIONS_MAX: usize = 64;
/// A session ends this long after its login. 12 h: a working day and its end.
pub const SESSION_LIFE_MS: u64 = 12 * 3_600_000;
/// Different wrong tokens from one address before it is locked. Five: typing errors are forgiven.
pub const WRONG_TOKENS_MAX: u32 = 5;
/// The first lock lasts this long; each further wrong token doubles it.
pub const LOCK_MIN_MS: u64 = 1_000;
/// Longest lock. 60 s: a person who gets it right at last is not kept out for long.
pub const LOCK_MAX_MS: u64 = 60_000;
/// Addresses whose failures are remembered; the one that failed longest ago makes room. 1,024: some 100 kB.
const ADDRESSES_MAX: usize = 1024;
/// Failures this long ago are forgotten.
const FORGIVE_AFTER_MS: u64 = 15 * 60_000;

/// Why a caller is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// None of token and session was shown, or the session has ended.
    NoCredential,
    WrongToken,
    /// Too many wrong tokens from this address.
    Locked {
        wait_ms: u64,
    },
    /// A browser sent this for another site, or the page's key is missing.
    CrossSite,
}

/// Who calls, once proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Has the administrator's token.
    Token,
    /// A browser that logged in; the number names its session.
    Session { number: u64 },
}

#[derive(Debug)]
struct Session {
    number: u64,
    cookie: String,
    key: String,
    ends_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_ms: u64,
    locked_until_ms: u64,
    /// Keyed hash of the last wrong token: a script that goes on with an old token guesses nothing.
    last_token: u64,
}

/// The credentials of this console.
#[derive(Debug)]
pub struct Auth {
    token: String,
    sessions: VecDeque<Session>,
    sessions_opened: u64,
    failures: HashMap<IpAddr, Failures>,
    hash_key: RandomState,
}

fn is_equal(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// One host has as many IPv6 addresses as it likes, so it counts by its /64.
fn guesser(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

impl Auth {
    pub fn new(token: String) -> Self {
        Self {
            token,
            sessions: VecDeque::new(),
            sessions_opened: 0,
            failures: HashMap::new(),
            hash_key: RandomState::new(),
        }
    }

    /// Whether `offered` is the token, asked by `from`.
    pub fn check_token(&mut self, now_ms: u64, from: IpAddr, offered: &str) -> Result<(), Refusal> {
        let from = guesser(from);
        // First of all: a lock must keep guessers out and never the administrator, who may share their address. It
        // gives nothing away that 256 bits do not keep.
        if is_equal(offered, &self.token) {
            self.failures.remove(&from);
            return Ok(());
        }
        let known = self.failures.get(&from).copied();
        let known = known.filter(|failures| now_ms < failures.last_ms + FORGIVE_AFTER_MS);
        let locked_until_ms = known.map_or(0, |failures| failures.locked_until_ms);
        if now_ms < locked_until_ms {
            return Err(Refusal::Locked { wait_ms: locked_until_ms - now_ms });
        }
        let token = self.hash_key.hash_one(offered);
        let count = match known {
            Some(failures) if failures.last_token == token => failures.count,
            Some(failures) => failures.count.saturating_add(1),
            None => 1,
        };
        let is_new_guess = known.is_none_or(|failures| failures.last_token != token);
        let lock_ms = match count.checked_sub(WRONG_TOKENS_MAX) {
            Some(beyond) if is_new_guess => (LOCK_MIN_MS << beyond.min(10)).min(LOCK_MAX_MS),
            _ => 0,
        };
        self.make_room(now_ms, from);
        let failures =
            Failures { count, last_ms: now_ms, locked_until_ms: now_ms + lock_ms, last_token: token };
        self.failures.insert(from, failures);
        assert!(self.failures.len() <= ADDRESSES_MAX, "{} addresses are remembered", self.failures.len());
        Err(Refusal::WrongToken)
    }

    fn make_room(&mut self, now_ms: u64, for_address: IpAddr) {
        if self.failures.len() < ADDRESSES_MAX || self.failures.contains_key(&for_address) {
            return;
        }
        self.failures.retain(|_, failures| now_ms < failures.last_ms + FORGIVE_AFTER_MS);
        if self.failures.len() < ADDRESSES_MAX {
            return;
        }
        let oldest = self.failures.iter().min_by_key(|(_, failures)| failures.last_ms);
        if let Some(oldest) = oldest.map(|(address, _)| *address) {
            self.failures.remove(&oldest);
        }
    }

    /// Opens a session with the two secrets; the caller has checked the token.
    pub fn open_session(&mut self, now_ms: u64, cookie: String, key: String) {
        self.sessions.retain(|session| now_ms < session.ends_ms);
        while self.sessions.len() >= SESSIONS_MAX {
            self.sessions.pop_front();
        }
        self.sessions_opened += 1;
        let ends_ms = now_ms + SESSION_LIFE_MS;
        self.sessions.push_back(Session { number: self.sessions_opened, cookie, key, ends_ms });
    }

    /// The session that the cookie names.
    pub fn find_session(&self, now_ms: u64, cookie: &str) -> Result<Caller, Refusal> {
        self.session(now_ms, cookie)
            .map(|session| Caller::Session { number: session.number })
            .ok_or(Refusal::NoCredential)
    }

    /// Whether the page's key belongs to the session that the cookie names.
    pub fn check_key(&self, now_ms: u64, cookie: &str, key: &str) -> Result<(), Refusal> {
        let session = self.session(now_ms, cookie).ok_or(Refusal::NoCredential)?;
        if is_equal(&session.key, key) { Ok(()) } else { Err(Refusal::CrossSite) }
    }

    /// Whether what was proven earlier still holds; asked by answers that go on for long.
    pub fn is_still(&self, now_ms: u64, caller: Caller) -> bool {
        match caller {
            Caller::Token => true,
            Caller::Session { number } => {
                self.sessions.iter().any(|session| session.number == number && now_ms < session.ends_ms)
            }
        }
    }

    pub fn close_session(&mut self, cookie: &str) {
        self.sessions.retain(|session| !is_equal(&session.cookie, cookie));
    }

    fn session(&self, now_ms: u64, cookie: &str) -> Option<&Session> {
        // Looks at every session whatever it finds, so that time tells nothing.
        let found = self.sessions.iter().fold(None, |found, session| {
            if is_equal(&session.cookie, cookie) { Some(session) } else { found }
        });
        found.filter(|session| now_ms < session.ends_ms)
    }
}

#[cfg(test)]
mod tests;
