//! Proves people: opens a browser's session for a token or for a user's password, and lets users change their own.
//!
//! Promise: what goes wrong tells nobody whether there is such a user, in words or in time. Every try is in the audit
//! log. Not here: who is locked out (see `auth`), and how passwords are compared (see `accounts::password`).

use super::answer::{self, Answer};
use super::api::{Outcome, bad_request, our_fault, read_body};
use super::auth;
use super::noting::Noting;
use super::routes::Call;
use super::server::{Peer, SESSION_COOKIE, Shared, is_same_origin, turn_away};
use super::{people, token};
use crate::accounts::password::NoHash;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use logic::account::{Change, Principal};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use wire::account::{OwnPassword, Role};
use wire::error_code;
use wire::id::UserName;
use wire::status::Acted;

/// A login holds one token, or a name and a password.
pub const LOGIN_SIZE_MAX_BYTES: usize = 4 << 10;

/// What a page gets: the other half of its session (see `auth`), and who it is.
#[derive(Debug, Serialize)]
struct LoggedIn {
    key: String,
    who: String,
    role: Role,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Login {
    Token { token: String },
    Password { user: UserName, password: String },
}

/// Opens a browser's session for the right token or password.
pub async fn login(shared: &Shared, peer: Peer, request: Request<Incoming>) -> Answer {
    let Some(mut noting) = Noting::begin(shared, &Call::Login, &peer, None) else {
        unreachable!("a login is written down")
    };
    let answer = try_login(shared, &peer, request, &mut noting).await.unwrap_or_else(|refusal| *refusal);
    noting.end(&answer).await;
    answer
}

async fn try_login(shared: &Shared, peer: &Peer, request: Request<Incoming>, noting: &mut Noting) -> Outcome {
    // Another site must not log a browser in either.
    if !is_same_origin(request.headers()) {
        return Err(Box::new(turn_away(auth::Refusal::CrossSite)));
    }
    let body = read_body(request, LOGIN_SIZE_MAX_BYTES).await?;
    // What was sent is not told back: it may be a secret that was mistyped.
    let login: Login = serde_json::from_str(&body).map_err(|_| {
        bad_request(r#"A login is {"token": "..."} or {"user": "...", "password": "..."}."#.to_owned())
    })?;
    let from = peer.address.ip();
    let principal = match login {
        Login::Token { token } => {
            let checked = shared.check_token(from, token.trim());
            checked.map_err(|refusal| Box::new(turn_away(refusal)))?
        }
        Login::Password { user, password } => {
            note_name(shared, noting, &user);
            prove_password(shared, from, &user, password).await?
        }
    };
    let known = shared.known();
    let moment = shared.moment(&known);
    let gone = || Box::new(turn_away(auth::Refusal::NoCredential));
    let role = known.role_of(&principal, moment.unix_ms).ok_or_else(gone)?;
    let secret = || token::new_secret().map_err(|error| our_fault(&error.to_string()));
    let (cookie, key) = (secret()?, secret()?);
    let life_s = auth::SESSION_LIFE_MS / 1_000;
    let value = format!("{SESSION_COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life_s}");
    shared.auth.borrow_mut().open_session(moment, principal.clone(), cookie, key.clone());
    let who = principal.to_string();
    noting.is_by(&principal);
    let mut answer = answer::json(StatusCode::OK, &LoggedIn { key, who, role });
    let value = HeaderValue::from_str(&value).expect("a cookie of hexadecimal digits is plain text");
    answer.headers_mut().insert(header::SET_COOKIE, value);
    Ok(answer)
}

/// Only users that are there are named: people type passwords into the wrong field.
fn note_name(shared: &Shared, noting: &mut Noting, user: &UserName) {
    if shared.known().users.contains_key(user) {
        noting.is_on(&user.0);
    }
}

/// Whether this is the password of that user.
async fn prove_password(
    shared: &Shared,
    from: IpAddr,
    user: &UserName,
    password: String,
) -> Result<Principal, Box<Answer>> {
    let refused = |refusal| Box::new(turn_away(refusal));
    if !shared.accounts.is_read() {
        return Err(refused(auth::Refusal::NotKnownYet));
    }
    let known = shared.known();
    let begun = shared.auth.borrow_mut().begin_password(shared.moment(&known), from, user, &password);
    let record = begun.map_err(refused)?;
    let is_right = shared.hasher.is_right(password, record.clone()).await.map_err(no_hash)?;
    let known = shared.known();
    let mut auth = shared.auth.borrow_mut();
    auth.password_was(shared.moment(&known), from, user, record.as_ref(), is_right).map_err(refused)
}

pub fn no_hash(why: NoHash) -> Box<Answer> {
    match why {
        NoHash::Busy => {
            let text = "Too many people log in at this moment. Try again in a second.";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Box::new(answer::refuse(status, error_code::TOO_MANY_LOGINS, text, true))
        }
        NoHash::Failed => our_fault("a password could not be hashed"),
    }
}

/// Gives a user another password, for whoever knows the present one.
pub async fn own_password(shared: &Shared, peer: Peer, request: Request<Incoming>) -> Answer {
    let Some(mut noting) = Noting::begin(shared, &Call::OwnPassword, &peer, None) else {
        unreachable!("a change of a password is written down")
    };
    let answer = try_own(shared, &peer, request, &mut noting).await.unwrap_or_else(|refusal| *refusal);
    noting.end(&answer).await;
    answer
}

async fn try_own(shared: &Shared, peer: &Peer, request: Request<Incoming>, noting: &mut Noting) -> Outcome {
    let body = read_body(request, LOGIN_SIZE_MAX_BYTES).await?;
    let own: OwnPassword = serde_json::from_str(&body).map_err(|_| {
        bad_request(r#"This takes {"user": "...", "password": "...", "new_password": "..."}."#.to_owned())
    })?;
    let OwnPassword { user, password, new_password } = own;
    note_name(shared, noting, &user);
    let principal = prove_password(shared, peer.address.ip(), &user, password).await?;
    noting.is_by(&principal);
    let password = people::hash(shared, &user, new_password).await?;
    // A password that was reset meanwhile, perhaps because this one is known to others, stays.
    let proven_us = match principal {
        Principal::User { changed_us, .. } => Some(changed_us),
        Principal::Administrator | Principal::Token { .. } | Principal::Node(_) => None,
    };
    let change = Change::SetPassword { name: user, password, proven_us };
    let text = people::change(shared, change).await?;
    Ok(answer::json(StatusCode::OK, &Acted { text }))
}
