//! Decides who somebody is and what they may do: users, tokens and roles, and what a change of them leaves behind.
//!
//! Pure: the caller passes the time, and makes secrets and hashes. Not here: passwords and their hashes (see
//! `accounts/password.rs` in the binary), and how often somebody may guess (see `lockout`).

use crate::enrol::{from_hex, to_hex};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use wire::account::{ApiTokenRecord, ApiTokenStatus, PasswordHash, Role, UserRecord, UserStatus};
use wire::error_code::{self, ErrorCode};
use wire::id::{NodeName, TokenName, UserName, is_valid_name};

/// Users of a cell. 1,000: more people than look after one.
pub const USERS_MAX: usize = 1_000;
/// Tokens of a cell, those that have expired included until they make room.
pub const TOKENS_MAX: usize = 1_000;
/// Shortest password. 12 characters: what can still be typed and is not guessed through a lock.
pub const PASSWORD_CHARACTERS_MIN: usize = 12;
/// Longest password. 1 KiB: any phrase; hashing must not be made long.
pub const PASSWORD_SIZE_MAX_BYTES: usize = 1_024;
/// Bytes of a token's secret: 256 bits cannot be guessed however fast one tries.
pub const SECRET_BYTES: usize = 32;
/// Shortest life of a token.
pub const TOKEN_VALID_MIN_MS: u64 = 1_000;
/// Longest life of a token. Ten years: longer than the program that has it.
pub const TOKEN_VALID_MAX_MS: u64 = 3_650 * 24 * 3_600_000;
/// Who has the administrator's token goes by this name, so no user may.
pub const ADMINISTRATOR: &str = "admin";
/// Who has proven nothing goes by this name.
pub const NOBODY: &str = "nobody";
/// What every token begins with; the number is the version of its form.
const TOKEN_START: &str = "mt1";

/// Somebody who has proven who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Has the administrator's token of this manager.
    Administrator,
    User {
        name: UserName,
        /// As the record was when it was proven.
        changed_us: u64,
    },
    Token {
        name: TokenName,
        /// As the record was when it was proven.
        created_us: u64,
    },
    /// A machine of the cell, by its certificate.
    Node(NodeName),
}

impl fmt::Display for Principal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Administrator => out.write_str(ADMINISTRATOR),
            Principal::User { name, .. } => name.fmt(out),
            Principal::Token { name, .. } => write!(out, "token {name}"),
            Principal::Node(name) => write!(out, "node {name}"),
        }
    }
}

/// All users and tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub users: BTreeMap<UserName, UserRecord>,
    pub tokens: BTreeMap<TokenName, ApiTokenRecord>,
}

impl Known {
    /// What somebody may do now; None: what was proven no longer holds.
    pub fn role_of(&self, principal: &Principal, now_ms: u64) -> Option<Role> {
        match principal {
            Principal::Administrator => Some(Role::Admin),
            Principal::User { name, changed_us } => {
                let user = self.users.get(name).filter(|user| user.changed_us == *changed_us);
                user.map(|user| user.role)
            }
            Principal::Token { name, created_us } => {
                let token = self.tokens.get(name).filter(|token| token.created_us == *created_us);
                token.filter(|token| now_ms < token.expires_ms).map(|token| token.role)
            }
            Principal::Node(_) => Some(Role::Viewer),
        }
    }

    pub fn users_told(&self) -> Vec<UserStatus> {
        let told = self.users.iter().map(|(name, user)| UserStatus {
            user: name.clone(),
            role: user.role,
            created_ms: user.created_us / 1_000,
            changed_ms: user.changed_us / 1_000,
        });
        told.collect()
    }

    pub fn tokens_told(&self) -> Vec<ApiTokenStatus> {
        let told = self.tokens.iter().map(|(name, token)| ApiTokenStatus {
            token: name.clone(),
            role: token.role,
            created_ms: token.created_us / 1_000,
            expires_ms: token.expires_ms,
            by: token.by.clone(),
        });
        told.collect()
    }
}

/// What an administrator wants to be otherwise. Secrets come as hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    AddUser {
        name: UserName,
        role: Role,
        password: PasswordHash,
    },
    SetRole {
        name: UserName,
        role: Role,
    },
    /// With `proven_us` only if the record is still the one whose password was proven: last changed
    /// at this time.
    SetPassword {
        name: UserName,
        password: PasswordHash,
        proven_us: Option<u64>,
    },
    RemoveUser {
        name: UserName,
    },
    AddToken {
        name: TokenName,
        role: Role,
        hash: String,
        expires_ms: u64,
        by: String,
    },
    RevokeToken {
        name: TokenName,
    },
}

/// A record as it shall be; None: it shall be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    User(UserName, Option<UserRecord>),
    Token(TokenName, Option<ApiTokenRecord>),
}

impl Known {
    /// What a change leaves behind, and a sentence about it. Refused ones change nothing.
    pub fn change(&self, change: Change, now_us: u64) -> Result<(Vec<Written>, String), (ErrorCode, String)> {
        match change {
            Change::AddUser { name, role, password } => self.add_user(name, role, password, now_us),
            Change::SetRole { name, role } => {
                let user = self.user(&name)?;
                let changed_us = now_us.max(user.changed_us + 1);
                let text = format!("user {name} has the role {role} now; sessions that were open have ended");
                let record = UserRecord { role, changed_us, ..user.clone() };
                Ok((vec![Written::User(name, Some(record))], text))
            }
            Change::SetPassword { name, password, proven_us } => {
                let user = self.user(&name)?;
                if proven_us.is_some_and(|proven_us| proven_us != user.changed_us) {
                    let text =
                        format!("user {name} was changed meanwhile, and the password is another already");
                    return Err((error_code::ACT_MAKES_NO_SENSE, text));
                }
                let changed_us = now_us.max(user.changed_us + 1);
                let text = format!("user {name} has another password; sessions that were open have ended");
                let record = UserRecord { password, changed_us, ..user.clone() };
                Ok((vec![Written::User(name, Some(record))], text))
            }
            Change::RemoveUser { name } => {
                self.user(&name)?;
                let text = format!("user {name} is removed, and what was open has ended");
                Ok((vec![Written::User(name, None)], text))
            }
            Change::AddToken { name, role, hash, expires_ms, by } => {
                let record = ApiTokenRecord { role, hash, created_us: now_us, expires_ms, by };
                self.add_token(name, record, now_us)
            }
            Change::RevokeToken { name } => {
                self.token(&name)?;
                let text = format!("token {name} opens nothing any more");
                Ok((vec![Written::Token(name, None)], text))
            }
        }
    }

    fn add_user(
        &self,
        name: UserName,
        role: Role,
        password: PasswordHash,
        now_us: u64,
    ) -> Result<(Vec<Written>, String), (ErrorCode, String)> {
        if [ADMINISTRATOR, NOBODY].contains(&name.0.as_str()) {
            let text = format!("`{name}` is what Muster calls {}; choose another name", whom(&name));
            return Err((error_code::ACT_MAKES_NO_SENSE, text));
        }
        if self.users.contains_key(&name) {
            let text = format!("there is a user {name} already");
            return Err((error_code::ACT_MAKES_NO_SENSE, text));
        }
        if self.users.len() >= USERS_MAX {
            let text = format!("there are {USERS_MAX} users already; remove one");
            return Err((error_code::ACT_MAKES_NO_SENSE, text));
        }
        let text = format!("user {name} is added with the role {role}");
        let record = UserRecord { role, password, created_us: now_us, changed_us: now_us };
        Ok((vec![Written::User(name, Some(record))], text))
    }

    fn add_token(
        &self,
        name: TokenName,
        record: ApiTokenRecord,
        now_us: u64,
    ) -> Result<(Vec<Written>, String), (ErrorCode, String)> {
        let now_ms = now_us / 1_000;
        let is_over = |token: &ApiTokenRecord| now_ms >= token.expires_ms;
        if self.tokens.get(&name).is_some_and(|token| !is_over(token)) {
            let text = format!("there is a token {name} already; revoke it first, or choose another name");
            return Err((error_code::ACT_MAKES_NO_SENSE, text));
        }
        let mut writes = Vec::new();
        if self.tokens.len() >= TOKENS_MAX && !self.tokens.contains_key(&name) {
            let over = self.tokens.iter().find(|(_, token)| is_over(token));
            let Some((over, _)) = over else {
                let text = format!("there are {TOKENS_MAX} tokens already; revoke one");
                return Err((error_code::ACT_MAKES_NO_SENSE, text));
            };
            writes.push(Written::Token(over.clone(), None));
        }
        let text = format!("token {name} has the role {}", record.role);
        writes.push(Written::Token(name, Some(record)));
        Ok((writes, text))
    }

    fn user(&self, name: &UserName) -> Result<&UserRecord, (ErrorCode, String)> {
        let none = || (error_code::NO_SUCH_ACCOUNT, format!("there is no user {name}"));
        self.users.get(name).ok_or_else(none)
    }

    fn token(&self, name: &TokenName) -> Result<&ApiTokenRecord, (ErrorCode, String)> {
        let none = || (error_code::NO_SUCH_ACCOUNT, format!("there is no token {name}"));
        self.tokens.get(name).ok_or_else(none)
    }
}

fn whom(name: &UserName) -> &'static str {
    if name.0 == ADMINISTRATOR { "whoever has the administrator's token" } else { "who has proven nothing" }
}

/// Why a password is not taken. Length is what counts: rules about letters and digits make passwords alike.
pub fn judge_password(user: &UserName, password: &str) -> Result<(), String> {
    let length = password.chars().count();
    if length < PASSWORD_CHARACTERS_MIN {
        return Err(format!("a password has at least {PASSWORD_CHARACTERS_MIN} characters"));
    }
    if password.len() > PASSWORD_SIZE_MAX_BYTES {
        return Err(format!("a password has at most {PASSWORD_SIZE_MAX_BYTES} bytes"));
    }
    if password.chars().any(char::is_control) {
        return Err("a password has no control characters, such as the end of a line".to_owned());
    }
    let (lower, name) = (password.to_lowercase(), user.0.to_lowercase());
    // A name of one to three letters is within words of many good passwords, but is no word of one, nor all of it.
    let mut words = lower.split(|letter: char| !letter.is_alphanumeric());
    let is_held = if user.0.len() > 3 {
        lower.contains(&name)
    } else {
        words.any(|word| word == name) || lower.replace(&name, "").is_empty()
    };
    if is_held {
        return Err("a password does not hold the name of its user".to_owned());
    }
    let first = password.chars().next();
    if password.chars().all(|letter| Some(letter) == first) {
        return Err("a password is more than one character many times".to_owned());
    }
    Ok(())
}

/// What a program shows: the secret, and the name by which its record is found.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken {
    pub name: TokenName,
    pub secret: [u8; SECRET_BYTES],
}

impl fmt::Display for ApiToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name comes last because it may hold dots.
        write!(out, "{TOKEN_START}.{}.{}", to_hex(&self.secret), self.name)
    }
}

/// A text is no token. Never says what it was: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAToken;

impl FromStr for ApiToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let mut parts = text.splitn(3, '.');
        if parts.next() != Some(TOKEN_START) {
            return Err(NotAToken);
        }
        let secret =
            parts.next().and_then(from_hex).and_then(|bytes| bytes.try_into().ok()).ok_or(NotAToken)?;
        let name = parts.next().filter(|name| is_valid_name(name)).ok_or(NotAToken)?;
        Ok(Self { name: name.into(), secret })
    }
}

#[cfg(test)]
mod tests;
