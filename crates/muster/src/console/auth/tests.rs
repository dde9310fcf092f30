//! Guessing, sessions and their ends, in made-up time.

use super::*;
use logic::lockout::LOCK_MIN_MS;
use std::net::Ipv4Addr;
use wire::account::{ApiTokenRecord, UserRecord};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn hash() -> PasswordHash {
    PasswordHash { memory_kib: 8, passes: 1, lanes: 1, salt: "00".into(), hash: "11".into() }
}

fn ci() -> ApiToken {
    ApiToken { name: "ci".into(), secret: [3; 32] }
}

/// A cell with the user anna and the token ci.
fn known() -> Known {
    let anna = UserRecord { role: Role::Operator, password: hash(), created_us: 1, changed_us: 1 };
    let token = ApiTokenRecord {
        role: Role::Viewer,
        hash: hash_of(&ci()),
        created_us: 2,
        expires_ms: 1_000_000,
        by: "admin".into(),
    };
    Known { users: [("anna".into(), anna)].into(), tokens: [("ci".into(), token)].into() }
}

fn at(known: &Known, now_ms: u64) -> Moment<'_> {
    Moment { known, now_ms, unix_ms: now_ms }
}

fn guess(auth: &mut Auth, now_ms: u64, guess: &str) -> Result<Principal, Refusal> {
    auth.check_token(at(&known(), now_ms), HERE, guess)
}

fn guess_wrongly(auth: &mut Auth, now_ms: u64, times: u32) {
    for number in 0..times {
        assert_eq!(guess(auth, now_ms, &format!("{now_ms}-{number}")), Err(Refusal::WrongToken));
    }
}

#[test]
fn a_lock_never_keeps_a_right_token_out() {
    let mut auth = Auth::new(TOKEN.into());
    guess_wrongly(&mut auth, 0, WRONG_TOKENS_MAX);
    assert_eq!(guess(&mut auth, 0, "x"), Err(Refusal::Locked { wait_ms: LOCK_MIN_MS }));
    assert_eq!(guess(&mut auth, 0, TOKEN), Ok(Principal::Administrator), "they may share an address");
    guess_wrongly(&mut auth, 0, WRONG_TOKENS_MAX);
    let token = Principal::Token { name: "ci".into(), created_us: 2 };
    assert_eq!(guess(&mut auth, 0, &ci().to_string()), Ok(token));
    assert_eq!(guess(&mut auth, 0, "z"), Err(Refusal::WrongToken), "a right token forgives");
}

#[test]
fn a_token_of_the_cell_is_its_secret_and_its_time() {
    let mut auth = Auth::new(TOKEN.into());
    let other = ApiToken { secret: [4; 32], ..ci() }.to_string();
    assert_eq!(guess(&mut auth, 0, &other), Err(Refusal::WrongToken));
    let unknown = ApiToken { name: "cd".into(), ..ci() }.to_string();
    assert_eq!(guess(&mut auth, 0, &unknown), Err(Refusal::WrongToken));
    assert!(guess(&mut auth, 999_999, &ci().to_string()).is_ok());
    for _ in 0..100 {
        let refused = guess(&mut auth, 1_000_000, &ci().to_string());
        assert_eq!(refused, Err(Refusal::ExpiredToken), "who has it guesses nothing");
    }
}

#[test]
fn other_addresses_are_not_locked_and_a_network_counts_as_one() {
    let mut auth = Auth::new(TOKEN.into());
    let known = known();
    guess_wrongly(&mut auth, 0, WRONG_TOKENS_MAX);
    let other: IpAddr = "10.0.0.1".parse().expect("an address");
    assert_eq!(auth.check_token(at(&known, 0), other, "x"), Err(Refusal::WrongToken));
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().expect("an address");
    assert_eq!(auth.check_token(at(&known, 0), mapped, "x"), Err(Refusal::Locked { wait_ms: LOCK_MIN_MS }));
    for number in 0..WRONG_TOKENS_MAX {
        let from: IpAddr = format!("2001:db8::{number}").parse().expect("an address");
        assert_eq!(auth.check_token(at(&known, 0), from, &number.to_string()), Err(Refusal::WrongToken));
    }
    let neighbour: IpAddr = "2001:db8::ffff".parse().expect("an address");
    let locked = auth.check_token(at(&known, 0), neighbour, "x");
    assert_eq!(locked, Err(Refusal::Locked { wait_ms: LOCK_MIN_MS }));
}

/// One login from its beginning to its end.
fn login(
    auth: &mut Auth,
    now_ms: u64,
    from: IpAddr,
    user: &str,
    is_right: bool,
) -> Result<Principal, Refusal> {
    let known = known();
    let offered = if is_right { "right".to_owned() } else { format!("wrong {now_ms} {from}") };
    let compared = auth.begin_password(at(&known, now_ms), from, &user.into(), &offered)?;
    auth.password_was(at(&known, now_ms), from, &user.into(), compared.as_ref(), is_right)
}

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

#[test]
fn passwords_are_guessed_only_a_few_times_from_one_address_or_for_one_user() {
    let mut auth = Auth::new(TOKEN.into());
    for now_ms in 0..u64::from(WRONG_TOKENS_MAX) {
        assert_eq!(login(&mut auth, now_ms, HERE, "anna", false), Err(Refusal::WrongPassword));
    }
    let locked = login(&mut auth, 10, HERE, "anna", true);
    assert!(matches!(locked, Err(Refusal::Locked { .. })), "even the right one: {locked:?}");
    for last in 0..5 {
        assert_eq!(login(&mut auth, 20, address(last), "anna", false), Err(Refusal::WrongPassword));
    }
    let locked = login(&mut auth, 30, address(99), "anna", true);
    assert!(matches!(locked, Err(Refusal::UserLocked { .. })), "wherever they come from: {locked:?}");
    assert_eq!(login(&mut auth, 30, address(99), "otto", false), Err(Refusal::WrongPassword));
    assert!(login(&mut auth, 30 + LOCK_MIN_MS, address(99), "anna", true).is_ok());
}

#[test]
fn nobody_is_kept_out_of_where_they_logged_in_before() {
    let mut auth = Auth::new(TOKEN.into());
    assert!(login(&mut auth, 0, HERE, "anna", true).is_ok());
    for last in 0..40 {
        drop(login(&mut auth, 1, address(last), "anna", false));
    }
    assert!(matches!(login(&mut auth, 2, address(99), "anna", true), Err(Refusal::UserLocked { .. })));
    assert!(login(&mut auth, 2, HERE, "anna", true).is_ok());
}

#[test]
fn who_shares_an_address_neither_keeps_others_out_nor_forgives_guesses_at_them() {
    let mut auth = Auth::new(TOKEN.into());
    assert!(login(&mut auth, 0, HERE, "anna", true).is_ok());
    for now_ms in 1..40 {
        drop(login(&mut auth, now_ms, HERE, "otto", false));
    }
    assert!(login(&mut auth, 40, HERE, "anna", true).is_ok(), "others' guesses at others are not hers");
    // A token that is right forgives the address, and still each guess at her counts.
    for now_ms in 50..50 + u64::from(WRONG_PASSWORDS_MAX) {
        assert_eq!(login(&mut auth, now_ms, HERE, "anna", false), Err(Refusal::WrongPassword));
        let known = known();
        assert!(auth.check_token(at(&known, now_ms), HERE, TOKEN).is_ok());
    }
    let locked = login(&mut auth, 100, HERE, "anna", false);
    assert!(matches!(locked, Err(Refusal::UserLocked { .. })), "{locked:?}");
}

#[test]
fn a_user_that_is_not_there_is_refused_and_locked_like_one_that_is() {
    let mut auth = Auth::new(TOKEN.into());
    for last in 0..10 {
        assert_eq!(login(&mut auth, 0, address(last), "nobody-here", false), Err(Refusal::WrongPassword));
    }
    let locked = login(&mut auth, 0, address(99), "nobody-here", true);
    assert_eq!(locked, Err(Refusal::UserLocked { wait_ms: LOCK_MIN_MS }));
}

#[test]
fn a_password_that_was_changed_while_it_was_compared_opens_nothing() {
    let mut auth = Auth::new(TOKEN.into());
    let (before, mut after) = (known(), known());
    let compared = auth.begin_password(at(&before, 0), HERE, &"anna".into(), "right").expect("not locked");
    after.users.values_mut().for_each(|user| user.password.hash = "22".into());
    let opened = auth.password_was(at(&after, 0), HERE, &"anna".into(), compared.as_ref(), true);
    assert_eq!(opened, Err(Refusal::WrongPassword));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut auth = Auth::new(TOKEN.into());
    let known = known();
    for number in 0..PLACES_MAX as u32 + 10 {
        let from = IpAddr::V4(Ipv4Addr::from(number));
        let compared = Some(hash());
        let moment = at(&known, u64::from(number));
        let done = auth.password_was(moment, from, &"anna".into(), compared.as_ref(), true);
        assert!(done.is_ok());
    }
    assert_eq!(auth.places.len(), PLACES_MAX);
    let anna = Principal::User { name: "anna".into(), changed_us: 1 };
    auth.open_session(at(&known, 0), Principal::Administrator, "first".into(), "key".into());
    for number in 0..SESSIONS_MAX + 3 {
        auth.open_session(at(&known, 0), anna.clone(), format!("cookie {number}"), format!("key {number}"));
    }
    assert_eq!(auth.sessions.len(), SESSIONS_PER_USER_MAX + 1);
    assert!(auth.find_session(at(&known, 0), "first").is_ok(), "one user pushes nobody else out");
}

#[test]
fn a_session_ends_with_its_time_and_with_its_logout() {
    let mut auth = Auth::new(TOKEN.into());
    let known = known();
    auth.open_session(at(&known, 5), Principal::Administrator, "cookie".into(), "key".into());
    let caller = auth.find_session(at(&known, 5), "cookie").expect("it is open");
    assert_eq!(caller.role, Role::Admin);
    assert_eq!(auth.check_key(5, "cookie", "key"), Ok(()));
    assert_eq!(auth.check_key(5, "cookie", "other"), Err(Refusal::CrossSite));
    assert_eq!(auth.check_key(5, "other", "key"), Err(Refusal::NoCredential));
    assert!(auth.is_still(at(&known, 4 + SESSION_LIFE_MS), &caller));
    assert!(!auth.is_still(at(&known, 5 + SESSION_LIFE_MS), &caller));
    assert_eq!(auth.find_session(at(&known, 5 + SESSION_LIFE_MS), "cookie"), Err(Refusal::NoCredential));
    auth.close_session("cookie");
    assert!(!auth.is_still(at(&known, 5), &caller));
}

#[test]
fn sessions_and_streams_end_when_the_user_or_the_token_is_another() {
    let mut auth = Auth::new(TOKEN.into());
    let before = known();
    let anna = Principal::User { name: "anna".into(), changed_us: 1 };
    let token = Principal::Token { name: "ci".into(), created_us: 2 };
    auth.open_session(at(&before, 0), anna, "a".into(), "key".into());
    auth.open_session(at(&before, 0), token, "c".into(), "key".into());
    let callers = ["a", "c"].map(|cookie| auth.find_session(at(&before, 0), cookie).expect("open"));
    assert_eq!(callers.each_ref().map(|caller| caller.role), [Role::Operator, Role::Viewer]);
    let mut after = before.clone();
    after.users.values_mut().for_each(|user| (user.role, user.changed_us) = (Role::Admin, 9));
    after.tokens.clear();
    for (cookie, caller) in ["a", "c"].into_iter().zip(&callers) {
        assert_eq!(auth.find_session(at(&after, 0), cookie), Err(Refusal::NoCredential));
        assert!(!auth.is_still(at(&after, 0), caller));
        assert!(auth.is_still(at(&before, 0), caller));
    }
}
