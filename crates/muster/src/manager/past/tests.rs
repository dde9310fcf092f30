//! What may come back and what may not.

use super::*;
use crate::console::testing::Directory;
use crate::manager::election::Lease;
use crate::manager::fenced::Bounds;
use store::Store;
use wire::settings::StoreSettings;
use wire::status::ConfigRevision;

const RIGHT: &str =
    "[routers.front]\nlisten = [\"127.0.0.1:9\"]\n[clusters.shop.members.one]\naddress = \"127.0.0.1:9\"\n";

#[tokio::test]
async fn a_text_that_is_not_right_any_more_can_be_read_but_not_come_back() {
    let directory = Directory::new();
    let (store, thread) = Store::open(&directory.0.join("store.sqlite"), 1 << 30).expect("a new store");
    let bounds = Bounds::of(&StoreSettings::Sqlite);
    let store = FencedStore::new(store, Lease::always(), bounds);
    let wrong = RIGHT.replace("address", "adress");
    let texts = [RIGHT, &wrong];
    for (before, text) in (0..).zip(texts) {
        let (who, changes) = ("ann".to_owned(), Vec::new());
        let entry = ConfigRevision { revision: before + 1, at_ms: 0, who, changes, back_to: None };
        archive::commit_config(&store, before, &entry, text).await.expect("it is committed");
    }
    assert_eq!(read_to_return(&store, 1, &[], None).await, Ok(RIGHT.to_owned()));
    let refused = read_to_return(&store, 2, &[], None).await.expect_err("it has a mistake");
    assert_eq!(refused.code, "M1002");
    for part in ["configuration 2 is not right any more", "configuration 2:4:", "adress"] {
        assert!(refused.message.contains(part), "{part}: {}", refused.message);
    }
    assert_eq!(read(&store, 2).await.expect("it is there").text, texts[1]);
    let missing = read_to_return(&store, 3, &[], None).await.expect_err("there are two");
    assert_eq!(missing.code, "M2008");
    drop(store);
    thread.join().expect("the store's thread ends");
}
