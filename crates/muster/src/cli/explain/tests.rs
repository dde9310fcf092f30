//! Explanations as people read them.

use super::*;
use expect_test::expect;

#[test]
fn the_reasons_are_numbered_in_their_order() {
    let explanation = Explanation {
        url: "http://shop.example/cart".into(),
        route: Some("*/".into()),
        cluster: Some("shop".into()),
        member: None,
        level: Some(1),
        candidate_clusters: vec!["shop".into(), "shop".into()],
        candidates: vec!["shop-1".into(), "shop-2".into()],
        why: vec!["No route names the host.".into(), "The session\x1bs member is down.".into()],
    };
    expect![[r#"
        http://shop.example/cart
          route    */
          level    1
          cluster  shop
          member   one of shop-1, shop-2

        1. No route names the host.
        2. The session�s member is down.
    "#]]
    .assert_eq(&tell(&explanation));
}
