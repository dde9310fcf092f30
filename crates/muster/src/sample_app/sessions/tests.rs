//! Stories of one browser and several members.

use super::*;

const ID: &str = "ABCDEFGHIJKLMNOPQRSTUVW";

fn random() -> [u8; ID_LENGTH] {
    std::array::from_fn(|index| index as u8)
}

#[test]
fn a_new_visitor_gets_an_id_that_ends_in_the_clone_id() {
    let visit = Sessions::default().visit(None, "c1", random());
    assert_eq!(visit, Visit { id: ID.into(), count: 1, new_cookie: Some(format!("0000{ID}:c1")) });
}

#[test]
fn a_returning_visitor_is_counted_and_keeps_the_cookie() {
    let mut sessions = Sessions::default();
    let cookie = format!("0000{ID}:c1");
    assert_eq!(sessions.visit(Some(&cookie), "c1", random()).count, 1);
    let again = sessions.visit(Some(&cookie), "c1", random());
    assert_eq!(again, Visit { id: ID.into(), count: 2, new_cookie: None });
}

#[test]
fn who_takes_a_session_over_appends_its_clone_id() {
    let visit = Sessions::default().visit(Some(&format!("0001{ID}:c1:c2")), "c3", random());
    assert_eq!(visit.new_cookie, Some(format!("0000{ID}:c1:c2:c3")));
    let back = Sessions::default().visit(Some(&format!("0000{ID}:c1:c2:c3")), "c1", random());
    assert_eq!(back.new_cookie, None);
}

#[test]
fn a_cookie_does_not_grow_without_end() {
    let visit = Sessions::default().visit(Some(&format!("0000{ID}:a:b:c:d:e:f:g:h")), "i", random());
    assert_eq!(visit.new_cookie, Some(format!("0000{ID}:b:c:d:e:f:g:h:i")));
}

#[test]
fn foreign_cookies_start_a_new_session() {
    for foreign in ["", ":", "0000:c1", "0000short:c1", "000", "0000éBCDEFGHIJKLMNOPQRSTU:c1", "no colon"] {
        let visit = Sessions::default().visit(Some(foreign), "c1", random());
        assert_eq!(visit.new_cookie, Some(format!("0000{ID}:c1")), "{foreign:?}");
    }
}

#[test]
fn the_oldest_session_is_forgotten_beyond_the_bound() {
    let mut sessions = Sessions::default();
    let cookie = |number: usize| format!("0000{number:0>23}:c1");
    for number in 0..=SESSIONS_MAX {
        sessions.visit(Some(&cookie(number)), "c1", random());
    }
    assert_eq!(sessions.counts.len(), SESSIONS_MAX);
    assert_eq!(sessions.visit(Some(&cookie(SESSIONS_MAX)), "c1", random()).count, 2);
    assert_eq!(sessions.visit(Some(&cookie(0)), "c1", random()).count, 1);
}
