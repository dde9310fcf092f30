//! Where clone ids are found in cookies and addresses, and where not.

use super::*;

fn affinity(separator: char) -> Affinity {
    Affinity {
        cookie: "JSESSIONID".into(),
        url_identifier: "jsessionid".into(),
        separator,
        lowers_weight: false,
        ..Affinity::default()
    }
}

#[track_caller]
fn check(cookies: &[&str], path: &str, expected: &[&str]) {
    let affinity = affinity(':');
    let headers = cookies.iter().map(|text| text.as_bytes());
    let found: Vec<&str> = clone_ids(headers, path.as_bytes(), &affinity).collect();
    assert_eq!(found, expected);
}

#[test]
fn clone_ids_come_in_the_order_of_the_session_id() {
    check(&["JSESSIONID=0000A2MB4IJozU_VM8IffsMNfdR:v544d0o0"], "/", &["v544d0o0"]);
    check(&["JSESSIONID=0000abc:c1:c2:c3"], "/", &["c1", "c2", "c3"]);
    check(&["JSESSIONID=0000abc"], "/", &[]);
    check(&["JSESSIONID=0000abc::c2"], "/", &["c2"]);
    check(&["JSESSIONID="], "/", &[]);
}

#[test]
fn every_cookie_of_the_name_is_read_and_no_other() {
    check(&["a=1; JSESSIONID=x:c1;JSESSIONID=y:c2 ; b=2"], "/", &["c1", "c2"]);
    check(&["JSESSIONID=x:c1", "JSESSIONID=y:c2"], "/", &["c1", "c2"]);
    check(&["XJSESSIONID=x:c1; JSESSIONIDX=x:c2; jsessionid=x:c3"], "/", &[]);
    check(&["JSESSIONID=\"x:c1\""], "/", &["c1"]);
    check(&["JSESSIONID =  x:c1"], "/", &["c1"]);
    check(&["JSESSIONID=\"x:c1"], "/", &["c1"]);
}

#[test]
fn the_path_parameter_is_read_before_the_query_only() {
    check(&[], "/a/b;jsessionid=x:c1?q=;jsessionid=y:c2", &["c1"]);
    check(&[], "/a;v=1;jsessionid=x:c1/b", &["c1"]);
    check(&[], "/jsessionid=x:c1", &[]);
    check(&["JSESSIONID=x:c1"], "/a;jsessionid=y:c2", &["c1", "c2"]);
}

#[test]
fn another_separator_leaves_colons_alone() {
    let affinity = affinity('+');
    let headers = [&b"JSESSIONID=a:b+c1"[..]].into_iter();
    assert_eq!(clone_ids(headers, b"/", &affinity).collect::<Vec<_>>(), ["c1"]);
}

#[test]
fn without_an_identifier_the_path_names_nothing() {
    let affinity = Affinity { url_identifier: String::new(), ..affinity(':') };
    assert_eq!(clone_ids(std::iter::empty(), b"/a;=x:c1", &affinity).count(), 0);
}

#[test]
fn a_hostile_cookie_costs_a_bounded_search() {
    let cookie = format!("JSESSIONID=x{}", ":c".repeat(1000));
    let headers = [cookie.as_bytes()].into_iter();
    assert_eq!(clone_ids(headers, b"/", &affinity(':')).count(), CLONE_IDS_MAX);
    let headers = [&b"JSESSIONID=\xff\xfe:c1; JSESSIONID=y:c2"[..]].into_iter();
    assert_eq!(clone_ids(headers, b"/", &affinity(':')).collect::<Vec<_>>(), ["c2"]);
}

#[test]
fn a_session_keeps_its_key_when_its_cache_id_or_clones_change() {
    let affinity = affinity(':');
    let key = |value| session_key(value, &affinity);
    assert_eq!(key("0000A2MB4IJozU_VM8IffsMNfdR:c1"), key("0002A2MB4IJozU_VM8IffsMNfdR:c1:c2"));
    assert_ne!(key("0000A2MB4IJozU_VM8IffsMNfdR:c1"), key("0000A2MB4IJozU_VM8IffsMNfdS:c1"));
    assert_ne!(key("1234short"), key("1235short"));
}
