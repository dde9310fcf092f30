//! Who calls: the administrator's token, tokens and users of the cell, sessions of browsers, and a lock for those who
//! guess.
//!
//! Pure: the caller passes `now_ms` (milliseconds of any steady clock), the Unix time where tokens end by it, what is
//! known of users and tokens, and secrets made elsewhere. Secrets are compared in constant time; their lengths are no
//! secret. All tables are bounded.
//!
//! A session has two halves: a cookie, and a key that the page keeps to itself. Reading takes the cookie; changing
//! takes both. Cookies know no ports, so a browser also shows ours to members behind a router on the same host; with
//! the cookie alone they can change nothing.
//!
//! Who guesses is locked out by address, and passwords also by user, wherever the guesses come from. At an address where
//! a user has logged in before only guesses at that user from there count, so that nobody can keep a person out by
//! guessing elsewhere, or at others. The right token is never locked out.

use logic::account::{ApiToken, Known, Principal};
use logic::enrol::{guesser, to_hex};
use logic::lockout::Lockout;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::str::FromStr;
use subtle::ConstantTimeEq;
use wire::account::{PasswordHash, Role};
use wire::id::UserName;

/// Sessions of browsers at the same time; the oldest makes room. 256: every user of a large cell with a few windows.
pub const SESSIONS_MAX: usize = 256;
/// Of those of one user, so that nobody pushes others out.
pub const SESSIONS_PER_USER_MAX: usize = 64;
/// A session ends this long after its login. 12 h: a working day and its end.
pub const SESSION_LIFE_MS: u64 = 12 * 3_600_000;
/// Different wrong tokens and passwords from one address before it is locked. Five: typing errors are forgiven.
pub const WRONG_TOKENS_MAX: u32 = 5;
/// Different wrong passwords for one user before the user is locked: from anywhere, or from where the user has logged in
/// before. Ten: two addresses' worth.
pub const WRONG_PASSWORDS_MAX: u32 = 10;
/// Pairs of users and addresses that are remembered for logins that went well; the oldest makes room.
const PLACES_MAX: usize = 1_024;

/// Why a caller is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// None of token and session was shown, or the session has ended.
    NoCredential,
    WrongToken,
    /// The manager has not read yet which tokens and users there are.
    NotKnownYet,
    /// It was a token once.
    ExpiredToken,
    WrongPassword,
    /// Too many wrong tokens or passwords from this address.
    Locked {
        wait_ms: u64,
    },
    /// Too many wrong passwords for this user.
    UserLocked {
        wait_ms: u64,
    },
    /// Only managers may say for whom they call.
    NotForOthers,
    /// Said for another by a machine that may be a manager, where no manager leads that could tell.
    NotLeading,
    /// A browser sent this for another site, or the page's key is missing.
    CrossSite,
}

/// By what it was proven who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A token with the call itself.
    Token,
    /// A browser that logged in; the number names its session.
    Session { number: u64 },
    /// The certificate of a machine of the cell.
    Certificate,
    /// What another manager says, to which it was proven.
    Manager,
}

/// Who calls, once proven, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub principal: Principal,
    pub role: Role,
    pub way: Way,
}

/// What is known at the moment of a question.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    pub known: &'a Known,
    /// Of a steady clock.
    pub now_ms: u64,
    /// Of the clock that people see.
    pub unix_ms: u64,
}

#[derive(Debug)]
struct Session {
    number: u64,
    cookie: String,
    key: String,
    ends_ms: u64,
    principal: Principal,
}

/// The credentials of this console.
#[derive(Debug)]
pub struct Auth {
    token: String,
    sessions: VecDeque<Session>,
    sessions_opened: u64,
    by_address: Lockout<IpAddr>,
    by_user: Lockout<UserName>,
    /// Of users where they have logged in before: others' guesses there count apart from theirs.
    by_place: Lockout<(UserName, IpAddr)>,
    /// Where users have logged in, and when last.
    places: BTreeMap<(UserName, IpAddr), u64>,
    hash_key: RandomState,
}

fn is_equal(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// What is kept of a token's secret.
pub fn hash_of(token: &ApiToken) -> String {
    to_hex(ring::digest::digest(&ring::digest::SHA256, &token.secret).as_ref())
}

impl Auth {
    pub fn new(token: String) -> Self {
        Self {
            token,
            sessions: VecDeque::new(),
            sessions_opened: 0,
            by_address: Lockout::new(WRONG_TOKENS_MAX),
            by_user: Lockout::new(WRONG_PASSWORDS_MAX),
            by_place: Lockout::new(WRONG_PASSWORDS_MAX),
            places: BTreeMap::new(),
            hash_key: RandomState::new(),
        }
    }

    /// Whether this is the administrator's token of this manager, which is known whatever else is not.
    pub fn is_administrators(&self, offered: &str) -> bool {
        is_equal(offered, &self.token)
    }

    /// Whose token this is, asked by `from`.
    pub fn check_token(&mut self, moment: Moment, from: IpAddr, offered: &str) -> Result<Principal, Refusal> {
        let from = guesser(from);
        // First of all: a lock must keep guessers out and never who has a token, who may share their address. It
        // gives nothing away that 256 bits do not keep.
        match self.whose(moment, offered) {
            Some(Ok(principal)) => {
                self.by_address.forgive(&from);
                return Ok(principal);
            }
            Some(Err(refusal)) => return Err(refusal),
            None => {}
        }
        if let Some(wait_ms) = self.by_address.locked_for_ms(moment.now_ms, &from) {
            return Err(Refusal::Locked { wait_ms });
        }
        let guess = self.hash_key.hash_one(offered);
        self.by_address.guess(moment.now_ms, &from, guess);
        Err(Refusal::WrongToken)
    }

    fn whose(&self, moment: Moment, offered: &str) -> Option<Result<Principal, Refusal>> {
        if self.is_administrators(offered) {
            return Some(Ok(Principal::Administrator));
        }
        let token = ApiToken::from_str(offered).ok()?;
        let record = moment.known.tokens.get(&token.name)?;
        if !is_equal(&hash_of(&token), &record.hash) {
            return None;
        }
        let principal = Principal::Token { name: token.name, created_us: record.created_us };
        let is_valid = moment.known.role_of(&principal, moment.unix_ms).is_some();
        Some(if is_valid { Ok(principal) } else { Err(Refusal::ExpiredToken) })
    }

    /// Somebody offers a password for a user. It counts as wrong until `password_was` says otherwise. The hash to
    /// compare with, if there is such a user.
    pub fn begin_password(
        &mut self,
        moment: Moment,
        from: IpAddr,
        user: &UserName,
        offered: &str,
    ) -> Result<Option<PasswordHash>, Refusal> {
        let (now_ms, place) = (moment.now_ms, (user.clone(), guesser(from)));
        let guess = self.hash_key.hash_one((user, offered));
        // Many may come from one address, through a tunnel or a proxy. There each user who has been there before is counted
        // apart: neither do others' guesses keep that user out, nor does what others get right forgive guesses at them.
        if self.places.contains_key(&place) {
            if let Some(wait_ms) = self.by_place.locked_for_ms(now_ms, &place) {
                return Err(Refusal::UserLocked { wait_ms });
            }
            self.by_place.guess(now_ms, &place, guess);
        } else {
            if let Some(wait_ms) = self.by_address.locked_for_ms(now_ms, &place.1) {
                return Err(Refusal::Locked { wait_ms });
            }
            if let Some(wait_ms) = self.by_user.locked_for_ms(now_ms, user) {
                return Err(Refusal::UserLocked { wait_ms });
            }
            self.by_user.guess(now_ms, user, guess);
            self.by_address.guess(now_ms, &place.1, guess);
        }
        Ok(moment.known.users.get(user).map(|record| record.password.clone()))
    }

    /// How the comparison with `compared` ended. The user may have changed meanwhile.
    pub fn password_was(
        &mut self,
        moment: Moment,
        from: IpAddr,
        user: &UserName,
        compared: Option<&PasswordHash>,
        is_right: bool,
    ) -> Result<Principal, Refusal> {
        let record = moment.known.users.get(user).filter(|record| Some(&record.password) == compared);
        let Some(record) = record.filter(|_| is_right) else { return Err(Refusal::WrongPassword) };
        let place = (user.clone(), guesser(from));
        if !self.places.contains_key(&place) {
            self.by_address.forgive(&place.1);
        }
        self.by_place.forgive(&place);
        self.by_user.forgive(user);
        self.places.insert(place, moment.now_ms);
        if self.places.len() > PLACES_MAX {
            let oldest = self.places.iter().min_by_key(|(_, last_ms)| **last_ms);
            let oldest = oldest.map(|(place, _)| place.clone());
            oldest.and_then(|place| self.places.remove(&place));
        }
        Ok(Principal::User { name: user.clone(), changed_us: record.changed_us })
    }

    /// Opens a session with the two secrets for somebody who has proven who they are.
    pub fn open_session(&mut self, moment: Moment, principal: Principal, cookie: String, key: String) {
        let Moment { known, now_ms, unix_ms } = moment;
        let is_open = |session: &Session| {
            now_ms < session.ends_ms && known.role_of(&session.principal, unix_ms).is_some()
        };
        self.sessions.retain(is_open);
        let of_them = |session: &Session| session.principal == principal;
        if self.sessions.iter().filter(|session| of_them(session)).count() >= SESSIONS_PER_USER_MAX
            && let Some(oldest) = self.sessions.iter().position(of_them)
        {
            self.sessions.remove(oldest);
        }
        while self.sessions.len() >= SESSIONS_MAX {
            self.sessions.pop_front();
        }
        self.sessions_opened += 1;
        let (number, ends_ms) = (self.sessions_opened, now_ms + SESSION_LIFE_MS);
        self.sessions.push_back(Session { number, cookie, key, ends_ms, principal });
    }

    /// Who opened the session that the cookie names.
    pub fn find_session(&self, moment: Moment, cookie: &str) -> Result<Caller, Refusal> {
        let session = self.session(moment.now_ms, cookie).ok_or(Refusal::NoCredential)?;
        let role = moment.known.role_of(&session.principal, moment.unix_ms).ok_or(Refusal::NoCredential)?;
        let way = Way::Session { number: session.number };
        Ok(Caller { principal: session.principal.clone(), role, way })
    }

    /// Whether the page's key belongs to the session that the cookie names.
    pub fn check_key(&self, now_ms: u64, cookie: &str, key: &str) -> Result<(), Refusal> {
        let session = self.session(now_ms, cookie).ok_or(Refusal::NoCredential)?;
        if is_equal(&session.key, key) { Ok(()) } else { Err(Refusal::CrossSite) }
    }

    /// Whether what was proven earlier still holds; asked by answers that go on for long.
    pub fn is_still(&self, moment: Moment, caller: &Caller) -> bool {
        let is_open = match caller.way {
            // That manager looks after it, and ends what goes on for long.
            Way::Manager => return true,
            Way::Token | Way::Certificate => true,
            Way::Session { number } => self
                .sessions
                .iter()
                .any(|session| session.number == number && moment.now_ms < session.ends_ms),
        };
        is_open && moment.known.role_of(&caller.principal, moment.unix_ms) == Some(caller.role)
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
