//! What changes leave behind, whose proof still holds, and what is no password.

use super::*;
use wire::id::NAME_LENGTH_MAX;

fn hash(text: &str) -> PasswordHash {
    PasswordHash { memory_kib: 8, passes: 1, lanes: 1, salt: "00".into(), hash: text.into() }
}

fn apply(known: &mut Known, change: Change, now_us: u64) -> Result<String, (ErrorCode, String)> {
    let (writes, text) = known.change(change, now_us)?;
    for written in writes {
        match written {
            Written::User(name, Some(record)) => drop(known.users.insert(name, record)),
            Written::User(name, None) => drop(known.users.remove(&name)),
            Written::Token(name, Some(record)) => drop(known.tokens.insert(name, record)),
            Written::Token(name, None) => drop(known.tokens.remove(&name)),
        }
    }
    Ok(text)
}

fn add(name: &str, role: Role) -> Change {
    Change::AddUser { name: name.into(), role, password: hash("a") }
}

fn token(name: &str, expires_ms: u64) -> Change {
    let by = "admin".to_owned();
    Change::AddToken { name: name.into(), role: Role::Operator, hash: "b".into(), expires_ms, by }
}

fn proven(known: &Known, name: &str) -> Principal {
    Principal::User { name: name.into(), changed_us: known.users[&UserName::from(name)].changed_us }
}

#[test]
fn roles_are_in_order_and_have_names() {
    assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    for role in Role::ALL {
        assert_eq!(Role::named(role.name()), Some(role));
        assert_eq!(serde_json_name(role), role.name());
    }
    assert_eq!(Role::named("root"), None);
}

/// What serde calls it, without a crate for formats: the name is the variant in small letters.
fn serde_json_name(role: Role) -> String {
    format!("{role:?}").to_lowercase()
}

#[test]
fn what_was_proven_ends_with_each_change_of_the_user() {
    let mut known = Known::default();
    apply(&mut known, add("anna", Role::Viewer), 10).expect("a new name");
    let before = proven(&known, "anna");
    assert_eq!(known.role_of(&before, 0), Some(Role::Viewer));
    // The clock stands still or goes back: what was proven before must not hold all the same.
    apply(&mut known, Change::SetRole { name: "anna".into(), role: Role::Admin }, 10).expect("she is there");
    assert_eq!(known.role_of(&before, 0), None);
    let between = proven(&known, "anna");
    assert_eq!(known.role_of(&between, 0), Some(Role::Admin));
    apply(&mut known, Change::SetPassword { name: "anna".into(), password: hash("c"), proven_us: None }, 3)
        .expect("there");
    assert_eq!(known.role_of(&between, 0), None);
    let last = proven(&known, "anna");
    assert_eq!(known.users[&UserName::from("anna")].created_us, 10);
    apply(&mut known, Change::RemoveUser { name: "anna".into() }, 20).expect("she is there");
    assert_eq!(known.role_of(&last, 0), None);
    apply(&mut known, add("anna", Role::Viewer), 20).expect("the name is free again");
    assert_eq!(known.role_of(&last, 0), None);
}

#[test]
fn a_password_that_was_reset_meanwhile_is_not_set_by_who_knew_the_one_before() {
    let mut known = Known::default();
    apply(&mut known, add("anna", Role::Viewer), 10).expect("a new name");
    let set =
        |text: &str, proven_us| Change::SetPassword { name: "anna".into(), password: hash(text), proven_us };
    apply(&mut known, set("reset", None), 20).expect("an administrator proves nothing");
    let (code, _) = apply(&mut known, set("thief's", Some(10)), 30).expect_err("that one is over");
    assert_eq!(code, error_code::ACT_MAKES_NO_SENSE);
    assert_eq!(known.users[&UserName::from("anna")].password, hash("reset"));
    apply(&mut known, set("own", Some(20)), 40).expect("nothing has changed since");
    assert_eq!(known.users[&UserName::from("anna")].password, hash("own"));
}

#[test]
fn a_token_counts_until_it_expires_or_is_revoked() {
    let mut known = Known::default();
    apply(&mut known, token("ci", 100), 5).expect("a new name");
    let ci = Principal::Token { name: "ci".into(), created_us: 5 };
    assert_eq!((known.role_of(&ci, 99), known.role_of(&ci, 100)), (Some(Role::Operator), None));
    let (code, text) = apply(&mut known, token("ci", 900), 99_000).expect_err("it counts still");
    assert_eq!((code, text.contains("revoke it first")), (error_code::ACT_MAKES_NO_SENSE, true));
    apply(&mut known, token("ci", 900), 100_000).expect("it has expired");
    assert_eq!(known.role_of(&ci, 99), None, "the one before is another one");
    apply(&mut known, Change::RevokeToken { name: "ci".into() }, 6).expect("it is there");
    assert!(known.tokens.is_empty());
    let (code, _) = apply(&mut known, Change::RevokeToken { name: "ci".into() }, 6).expect_err("gone");
    assert_eq!(code, error_code::NO_SUCH_ACCOUNT);
}

#[test]
fn names_that_mean_somebody_else_and_those_that_are_taken_are_refused() {
    let mut known = Known::default();
    for name in ["admin", "nobody"] {
        let (code, _) = apply(&mut known, add(name, Role::Admin), 1).expect_err("it is taken");
        assert_eq!(code, error_code::ACT_MAKES_NO_SENSE);
    }
    apply(&mut known, add("anna", Role::Admin), 1).expect("free");
    assert!(apply(&mut known, add("anna", Role::Viewer), 2).is_err());
    assert_eq!(known.users[&UserName::from("anna")].role, Role::Admin);
    for change in [
        Change::SetRole { name: "otto".into(), role: Role::Admin },
        Change::SetPassword { name: "otto".into(), password: hash("d"), proven_us: None },
        Change::RemoveUser { name: "otto".into() },
    ] {
        assert_eq!(
            apply(&mut known, change, 3),
            Err((error_code::NO_SUCH_ACCOUNT, "there is no user otto".into()))
        );
    }
}

#[test]
fn there_are_only_so_many_and_tokens_that_expired_make_room() {
    let mut known = Known::default();
    (0..USERS_MAX).for_each(|number| drop(apply(&mut known, add(&format!("u{number}"), Role::Viewer), 1)));
    assert!(apply(&mut known, add("one-more", Role::Viewer), 1).is_err());
    (0..TOKENS_MAX).for_each(|number| drop(apply(&mut known, token(&format!("t{number}"), 10), 1)));
    assert!(apply(&mut known, token("one-more", 10), 1).is_err());
    apply(&mut known, token("one-more", 20), 10_000).expect("all others have expired");
    assert_eq!((known.users.len(), known.tokens.len()), (USERS_MAX, TOKENS_MAX));
}

#[test]
fn who_somebody_is_reads_the_same_everywhere() {
    let user = Principal::User { name: "anna".into(), changed_us: 1 };
    let token = Principal::Token { name: "ci".into(), created_us: 1 };
    let all = [Principal::Administrator, user, token, Principal::Node("web-2".into())];
    assert_eq!(all.map(|one| one.to_string()), ["admin", "anna", "token ci", "node web-2"]);
    assert_eq!(Known::default().role_of(&Principal::Node("web-2".into()), 0), Some(Role::Viewer));
}

#[test]
fn passwords_are_long_and_otherwise_free() {
    let judge = |password: &str| judge_password(&"anna".into(), password);
    for good in ["correct horse", "zwölf Zeichen", "0123456789ab"] {
        assert_eq!(judge(good), Ok(()), "{good}");
    }
    for bad in ["", "short", "11 letters.", "hello Anna 123", "twelve\nchars", "aaaaaaaaaaaaaaaa"] {
        assert!(judge(bad).is_err(), "{bad:?}");
    }
    assert!(judge(&"ab".repeat(PASSWORD_SIZE_MAX_BYTES)).is_err());
    let judge = |password: &str| judge_password(&"bob".into(), password);
    assert_eq!(judge("bobsleigh in June"), Ok(()), "within a word it is chance");
    for bad in ["bobbobbobbobbob", "Bob is my best friend", "friend-of-bob-7"] {
        assert!(judge(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn tokens_are_read_as_they_are_written() {
    let token = ApiToken { name: "ci.deploy-2".into(), secret: [7; SECRET_BYTES] };
    let text = token.to_string();
    assert!(ApiToken::from_str(&text).is_ok_and(|read| read == token), "{text}");
    let long = "n".repeat(NAME_LENGTH_MAX + 1);
    let hex = "07".repeat(SECRET_BYTES);
    for wrong in [
        "",
        "mt1",
        "mt1.",
        &text[1..],
        &text[..20],
        &format!("mt1.{hex}"),
        &format!("mt1.{hex}.{long}"),
        &format!("mt2.{hex}.ci"),
        &format!("mt1.{}.ci", &hex[2..]),
        &format!("mt1.{hex}00.ci"),
    ] {
        assert!(ApiToken::from_str(wrong).is_err(), "{wrong}");
    }
}
