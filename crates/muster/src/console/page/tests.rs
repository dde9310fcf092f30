//! What a status holds cannot leave its place in the page.

use super::super::answer::AnswerBody;
use super::super::auth::Way;
use super::super::testing::sample_status;
use super::*;
use logic::account::Principal;
use wire::account::Role;

fn anna() -> Caller {
    let principal = Principal::User { name: "anna".into(), changed_us: 1 };
    Caller { principal, role: Role::Operator, way: Way::Session { number: 1 } }
}

fn text_of(answer: Answer) -> String {
    match answer.into_body() {
        AnswerBody::Whole(bytes) => String::from_utf8(bytes.into()).expect("pages are UTF-8"),
        AnswerBody::Stream(_) => panic!("a page is no stream"),
    }
}

#[test]
fn the_page_holds_the_status_and_every_place_is_filled() {
    let page = text_of(console(&sample_status(), &anna()));
    assert!(!page.contains("{{") && !page.contains("}}</"), "{page}");
    assert!(page.contains(r#"data-role="operator""#) && page.contains(">anna<"), "{page}");
    assert!(page.contains(r#""member":"shop-1""#));
    assert!(page.contains("<td>shop/shop-2</td><td>down</td>"));
}

#[test]
fn hostile_text_stays_text() {
    let mut status = sample_status();
    status.cell = "</script><b>{{version}}".into();
    status.clusters[0].members[0].reason = "</script><script>alert(1)</script><!--".into();
    let page = text_of(console(&status, &anna()));
    assert_eq!(page.matches("<script").count(), 2, "our own two: {page}");
    assert!(!page.contains("<!--") && !page.contains("<b>{{"), "{page}");
    assert!(page.contains("&lt;/script&gt;&lt;b&gt;{{version}} · Muster</title>"), "{page}");
}
