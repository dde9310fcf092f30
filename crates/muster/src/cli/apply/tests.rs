//! Differences as people read them.

use super::*;
use expect_test::expect;

#[test]
fn a_dry_run_never_sounds_like_a_change() {
    let applied =
        Applied { revision: 4, changes: vec!["weight of shop/shop-1: 1 -> 2".into()], replaced: Some(3) };
    expect![[r#"
        weight of shop/shop-1: 1 -> 2
        1 change would be made; nothing has changed
    "#]]
    .assert_eq(&tell(&applied, true));
    expect![[r#"
        weight of shop/shop-1: 1 -> 2
        1 change made; this is configuration 4, in place of 3
    "#]]
    .assert_eq(&tell(&applied, false));
    expect![[r#"
        nothing differs from configuration 4
    "#]]
    .assert_eq(&tell(&Applied { revision: 4, changes: vec![], replaced: None }, true));
}
