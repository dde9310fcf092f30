//! Calls about users, tokens and the audit log: takes them apart, hashes secrets, and has the accounts changed.

use super::answer::{self, Answer};
use super::api::{Outcome, bad_request, number, our_fault, query, read_body};
use super::auth::hash_of;
use super::login::{LOGIN_SIZE_MAX_BYTES, no_hash};
use super::server::{Proven, Shared};
use crate::identity::now_us;
use hyper::StatusCode;
use logic::account::{
    ApiToken, Change, SECRET_BYTES, TOKEN_VALID_MAX_MS, TOKEN_VALID_MIN_MS, judge_password,
};
use wire::account::{IssuedApiToken, Me, NewPassword, NewUser, PasswordHash, Role};
use wire::error_code;
use wire::id::{TokenName, UserName};
use wire::status::Acted;

/// Entries of the audit log in one answer, and how many come when nobody says.
const ENTRIES_MAX: usize = 6_000;
const ENTRIES_DEFAULT: usize = 200;

/// Makes a change; a refusal becomes an answer.
pub async fn change(shared: &Shared, change: Change) -> Result<String, Box<Answer>> {
    let changed = shared.accounts.change(change).await;
    changed.map_err(|error| Box::new(answer::refuse_as_manager(&error)))
}

/// The hash of a new password that is good enough.
pub async fn hash(shared: &Shared, user: &UserName, password: String) -> Result<PasswordHash, Box<Answer>> {
    if let Err(why) = judge_password(user, &password) {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let text = format!("Nothing was changed: {why}.");
        return Err(Box::new(answer::refuse(status, error_code::PASSWORD_NOT_TAKEN, text, false)));
    }
    shared.hasher.hash(password).await.map_err(no_hash)
}

fn acted(text: String) -> Answer {
    answer::json(StatusCode::OK, &Acted { text })
}

pub fn me(proven: &Proven) -> Outcome {
    let [] = query(proven, [])?;
    let me = Me { who: proven.caller.principal.to_string(), role: proven.caller.role };
    Ok(answer::json(StatusCode::OK, &me))
}

pub fn users(shared: &Shared, proven: &Proven) -> Outcome {
    let [] = query(proven, [])?;
    Ok(answer::json(StatusCode::OK, &shared.known().users_told()))
}

pub fn tokens(shared: &Shared, proven: &Proven) -> Outcome {
    let [] = query(proven, [])?;
    Ok(answer::json(StatusCode::OK, &shared.known().tokens_told()))
}

pub async fn user_add(shared: &Shared, proven: Proven, name: UserName) -> Outcome {
    let [] = query(&proven, [])?;
    let body = read_body(proven.request, LOGIN_SIZE_MAX_BYTES).await?;
    // What was sent is not told back: it holds a secret.
    let form = r#"A user is {"role": "viewer", "operator" or "admin", "password": "..."}."#;
    let new: NewUser = serde_json::from_str(&body).map_err(|_| bad_request(form.to_owned()))?;
    let password = hash(shared, &name, new.password).await?;
    Ok(acted(change(shared, Change::AddUser { name, role: new.role, password }).await?))
}

pub async fn user_role(shared: &Shared, proven: Proven, name: UserName) -> Outcome {
    let [role] = query(&proven, ["role"])?;
    let role = role_of(role)?;
    Ok(acted(change(shared, Change::SetRole { name, role }).await?))
}

pub async fn user_password(shared: &Shared, proven: Proven, name: UserName) -> Outcome {
    let [] = query(&proven, [])?;
    let body = read_body(proven.request, LOGIN_SIZE_MAX_BYTES).await?;
    let form = r#"A new password is {"password": "..."}."#;
    let new: NewPassword = serde_json::from_str(&body).map_err(|_| bad_request(form.to_owned()))?;
    let password = hash(shared, &name, new.password).await?;
    Ok(acted(change(shared, Change::SetPassword { name, password, proven_us: None }).await?))
}

pub async fn user_remove(shared: &Shared, proven: &Proven, name: UserName) -> Outcome {
    let [] = query(proven, [])?;
    Ok(acted(change(shared, Change::RemoveUser { name }).await?))
}

pub async fn token_create(shared: &Shared, proven: &Proven, name: TokenName) -> Outcome {
    let [role, valid_ms] = query(proven, ["role", "valid_ms"])?;
    let role = role_of(role)?;
    let valid_ms = number("valid_ms", valid_ms, TOKEN_VALID_MAX_MS)?;
    let Some(valid_ms) = valid_ms.filter(|valid_ms| *valid_ms >= TOKEN_VALID_MIN_MS) else {
        let text =
            format!("`valid_ms` says how long it counts: {TOKEN_VALID_MIN_MS} to {TOKEN_VALID_MAX_MS}.");
        return Err(bad_request(text));
    };
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| our_fault(&error.to_string()))?;
    let token = ApiToken { name: name.clone(), secret };
    let expires_ms = now_us() / 1_000 + valid_ms;
    let (hash, by) = (hash_of(&token), proven.caller.principal.to_string());
    change(shared, Change::AddToken { name: name.clone(), role, hash, expires_ms, by }).await?;
    let issued = IssuedApiToken { name, role, token: token.to_string(), expires_ms };
    Ok(answer::json(StatusCode::OK, &issued))
}

pub async fn token_revoke(shared: &Shared, proven: &Proven, name: TokenName) -> Outcome {
    let [] = query(proven, [])?;
    Ok(acted(change(shared, Change::RevokeToken { name }).await?))
}

pub async fn audit(shared: &Shared, proven: &Proven) -> Outcome {
    let [since_ms, most] = query(proven, ["since_ms", "most"])?;
    let since_ms = number("since_ms", since_ms, u64::MAX)?.unwrap_or(0);
    let most = number("most", most, ENTRIES_MAX as u64)?.map_or(ENTRIES_DEFAULT, |most| most as usize);
    let entries = shared.accounts.entries(since_ms, most).await;
    let entries = entries.map_err(|error| Box::new(answer::json(StatusCode::SERVICE_UNAVAILABLE, &error)))?;
    Ok(answer::json(StatusCode::OK, &entries))
}

fn role_of(name: Option<String>) -> Result<Role, Box<Answer>> {
    let role = name.as_deref().and_then(Role::named);
    role.ok_or_else(|| {
        let names = Role::ALL.map(Role::name).join(", ");
        bad_request(format!("`role` is `{}`; allowed: {names}.", name.unwrap_or_default()))
    })
}
