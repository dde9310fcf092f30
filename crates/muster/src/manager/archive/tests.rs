//! What a new term finds, and what can no longer happen to it.

use super::*;
use crate::manager::election::Lease;
use crate::manager::fenced::Bounds;
use crate::manager::storage;
use wire::settings::StoreSettings;

/// Runs with a store of its own in a directory that is gone afterwards.
fn with_store(name: &str, work: impl AsyncFnOnce(FencedStore)) {
    let directory = std::env::temp_dir().join(format!("muster-archive-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let opened = storage::open(&StoreSettings::Sqlite, &directory).await;
        let (store, thread) = opened.expect("the store opens");
        let fenced = FencedStore::new(store, Lease::always(), Bounds::of(&StoreSettings::Sqlite));
        work(fenced).await;
        thread.join().expect("the store's thread ends");
    });
    std::fs::remove_dir_all(&directory).expect("the directory is there");
}

fn revision(revision: u64) -> ConfigRevision {
    ConfigRevision { revision, at_ms: 0, who: "anna".into(), changes: Vec::new(), back_to: None }
}

#[test]
fn a_commit_of_before_cannot_come_true_after_the_beginning_of_a_term() {
    with_store("late", async |store| {
        commit_config(&store, 0, &revision(1), "one").await.expect("it is the first");
        let found = store.read(Read::Keys(vec![CURRENT_KEY.into()])).await.expect("it can be read");
        // As one that is still on its way to the server while the term begins.
        let key = CURRENT_KEY.to_owned();
        let checks = vec![Check::Unchanged { key, revision: found.entries[0].revision }];
        let late = Txn { checks, writes: vec![Write::put(CURRENT_KEY, "2")] };
        let begun = begin(&store, 0, None).await.expect("a term begins");
        assert_eq!(begun.current, Some((1, "one".to_owned())));
        assert!(store.commit(late).await.is_err(), "nobody would know of it");
        commit_config(&store, 1, &revision(2), "two").await.expect("the term goes on from what it has found");
        assert_eq!(begin(&store, 0, None).await.expect("another").current, Some((2, "two".to_owned())));
    });
}

#[test]
fn a_damaged_record_of_a_node_lets_nobody_in() {
    with_store("damaged", async |store| {
        let key = |node: &str| format!("{}{node}", enrol::NODE_PREFIX);
        let good = r#"{"valid_since_us":7,"is_removed":false}"#;
        let writes = vec![Write::put(key("good"), good), Write::put(key("bad"), r#"{"valid_since_us":7,"#)];
        store.commit(Txn { checks: Vec::new(), writes }).await.expect("nothing speaks against it");
        let nodes = begin(&store, 0, None).await.expect("a term begins").nodes;
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[&NodeName::from("good")], NodeRecord { valid_since_us: 7, is_removed: false });
        assert!(nodes[&NodeName::from("bad")].is_removed);
    });
}
