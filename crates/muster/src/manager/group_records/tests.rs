//! What comes of writes whose end nobody knows.

use super::*;
use crate::console::testing::Directory;
use crate::manager::election::Lease;
use crate::manager::fenced::Bounds;
use logic::model::Refused;
use store::Store;
use wire::settings::StoreSettings;

const KEY: &str = "group/mail";

fn unknown() -> StoreError {
    StoreError::Unknown { place: "test".into(), source: "the connection was lost".into() }
}

fn over(revision: Revision, value: &str) -> Txn {
    let checks = vec![Check::Unchanged { key: KEY.into(), revision }];
    Txn { checks, writes: vec![Write::put(KEY, value)] }
}

#[tokio::test]
async fn what_was_said_not_to_have_happened_cannot_come_later() {
    let directory = Directory::new();
    let (store, thread) = Store::open(&directory.0.join("store.sqlite"), 1 << 30).expect("a new store");
    let store = FencedStore::new(store, Lease::always(), Bounds::of(&StoreSettings::Sqlite));
    let first = Txn { checks: Vec::new(), writes: vec![Write::put(KEY, "owner=a")] };
    let revision = store.commit(first).await.expect("it is committed");
    let records = GroupRecords::new(&[(KEY.to_owned(), "owner=a".to_owned(), revision)]);

    let end = records.find_out(&store, KEY, Some("owner=b"), Some(revision), &unknown()).await;
    assert_eq!(end, CommitEnd::NotDone { found: Some("owner=a".into()) });
    // Now the write arrives that was on its way.
    let late = store.commit(over(revision, "owner=b")).await.expect_err("it comes too late");
    assert!(matches!(late, StoreError::Refused(Refused::CheckFailed { .. })), "{late:?}");

    // One that had arrived is found, and what is written next is written over it.
    let known = records.revisions.borrow()[KEY];
    store.commit(over(known, "owner=c")).await.expect("nothing has changed since");
    let end = records.find_out(&store, KEY, Some("owner=c"), Some(known), &unknown()).await;
    assert_eq!(end, CommitEnd::Done);
    let known = records.revisions.borrow()[KEY];
    store.commit(over(known, "owner=a")).await.expect("it knows the newest");
    drop(store);
    thread.join().expect("the store's thread ends");
}
