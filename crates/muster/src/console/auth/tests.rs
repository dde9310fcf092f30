//! Guessing, sessions and their ends, in made-up time.

use super::*;
use std::net::Ipv4Addr;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn guess(auth: &mut Auth, now_ms: u64, guess: &str) -> Result<(), Refusal> {
    auth.check_token(now_ms, HERE, guess)
}

fn guess_wrongly(auth: &mut Auth, now_ms: u64, times: u32) {
    for number in 0..times {
        assert_eq!(guess(auth, now_ms, &format!("{now_ms}-{number}")), Err(Refusal::WrongToken));
    }
}

#[test]
fn a_lock_doubles_up_to_its_bound_and_never_keeps_the_right_token_out() {
    let mut auth = Auth::new(TOKEN.into());
    guess_wrongly(&mut auth, 0, WRONG_TOKENS_MAX);
    let mut now_ms = 0;
    for wait_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        assert_eq!(guess(&mut auth, now_ms, "x"), Err(Refusal::Locked { wait_ms }));
        assert_eq!(guess(&mut auth, now_ms + wait_ms - 1, "y"), Err(Refusal::Locked { wait_ms: 1 }));
        now_ms += wait_ms;
        guess_wrongly(&mut auth, now_ms, 1);
    }
    assert_eq!(guess(&mut auth, now_ms, TOKEN), Ok(()), "whoever has it may share the guesser's address");
    guess_wrongly(&mut auth, now_ms, 1);
    assert_eq!(guess(&mut auth, now_ms, "z"), Err(Refusal::WrongToken), "the right token forgives");
}

#[test]
fn a_script_with_an_old_token_locks_nobody_out() {
    let mut auth = Auth::new(TOKEN.into());
    for now_ms in 0..1_000 {
        assert_eq!(guess(&mut auth, now_ms, "the old token"), Err(Refusal::WrongToken));
    }
    assert_eq!(guess(&mut auth, 1_000, TOKEN), Ok(()));
}

#[test]
fn other_addresses_are_not_locked_and_a_network_counts_as_one() {
    let mut auth = Auth::new(TOKEN.into());
    guess_wrongly(&mut auth, 0, WRONG_TOKENS_MAX);
    let other: IpAddr = "10.0.0.1".parse().expect("an address");
    assert_eq!(auth.check_token(0, other, TOKEN), Ok(()));
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().expect("an address");
    assert_eq!(auth.check_token(0, mapped, "x"), Err(Refusal::Locked { wait_ms: LOCK_MIN_MS }));
    for number in 0..WRONG_TOKENS_MAX {
        let from: IpAddr = format!("2001:db8::{number}").parse().expect("an address");
        assert_eq!(auth.check_token(0, from, &number.to_string()), Err(Refusal::WrongToken));
    }
    let neighbour: IpAddr = "2001:db8::ffff".parse().expect("an address");
    assert_eq!(auth.check_token(0, neighbour, "x"), Err(Refusal::Locked { wait_ms: LOCK_MIN_MS }));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut auth = Auth::new(TOKEN.into());
    for number in 0..ADDRESSES_MAX as u32 + 10 {
        let from = IpAddr::V4(Ipv4Addr::from(number));
        assert_eq!(auth.check_token(u64::from(number), from, "x"), Err(Refusal::WrongToken));
    }
    assert_eq!(auth.failures.len(), ADDRESSES_MAX);
    assert!(!auth.failures.contains_key(&IpAddr::V4(Ipv4Addr::from(0))), "the oldest made room");
    for number in 0..SESSIONS_MAX + 3 {
        auth.open_session(0, format!("cookie {number}"), format!("key {number}"));
    }
    assert_eq!(auth.sessions.len(), SESSIONS_MAX);
    assert_eq!(auth.find_session(0, "cookie 2"), Err(Refusal::NoCredential));
    assert!(auth.find_session(0, "cookie 3").is_ok());
}

#[test]
fn a_session_ends_with_its_time_and_with_its_logout() {
    let mut auth = Auth::new(TOKEN.into());
    auth.open_session(5, "cookie".into(), "key".into());
    let caller = auth.find_session(5, "cookie").expect("it is open");
    assert_eq!(auth.check_key(5, "cookie", "key"), Ok(()));
    assert_eq!(auth.check_key(5, "cookie", "other"), Err(Refusal::CrossSite));
    assert_eq!(auth.check_key(5, "other", "key"), Err(Refusal::NoCredential));
    assert!(auth.is_still(4 + SESSION_LIFE_MS, caller));
    assert!(!auth.is_still(5 + SESSION_LIFE_MS, caller));
    assert_eq!(auth.find_session(5 + SESSION_LIFE_MS, "cookie"), Err(Refusal::NoCredential));
    auth.close_session("cookie");
    assert!(!auth.is_still(5, caller));
}
