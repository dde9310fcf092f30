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

#[test]
fn no_term_begins_where_nobody_understands_who_may_run_a_group() {
    with_store("group", async |store| {
        let known = "epoch=3 owner=a cause=start previous=- wish=- to=- frozen=no leased=no taken=- mark=-";
        let put = async |value: String| {
            let writes = vec![Write::put("group/pay", value)];
            store.commit(Txn { checks: Vec::new(), writes }).await.expect("nothing speaks against it");
        };
        put(format!("{known} rank=3")).await;
        assert_eq!(begin(&store, 0, None).await.expect("what is added is left aside").generation, 1);
        put(known.replace("cause=start", "cause=omen")).await;
        let refused = begin(&store, 0, None).await.expect_err("the group may run somewhere");
        assert!(refused.to_string().contains("omen"), "{refused}");
        put(known.to_owned()).await;
        assert_eq!(begin(&store, 0, None).await.expect("a term begins").generation, 2, "nothing was written");
    });
}

#[test]
fn what_a_newer_manager_adds_to_records_is_left_aside() {
    with_store("newer", async |store| {
        let key = format!("{}web-1", enrol::NODE_PREFIX);
        let value = r#"{"valid_since_us":7,"is_removed":false,"rank":{"of":3}}"#;
        let leader = r#"{"node":"a","term":3,"address":"1.2.3.4:5","since_ms":7,"rank":3}"#;
        let info = r#"{"revision":1,"at_ms":0,"who":"anna","changes":[],"back_to":null,"rank":3}"#;
        let writes = vec![
            Write::put(key, value),
            Write::put(LEADER_KEY, leader),
            Write::put(info_key(1), info),
            Write::put(config_key(1), "one"),
            Write::put(CURRENT_KEY, "1"),
        ];
        store.commit(Txn { checks: Vec::new(), writes }).await.expect("nothing speaks against it");
        let found = begin(&store, 0, None).await.expect("a term begins");
        let record = NodeRecord { valid_since_us: 7, is_removed: false };
        assert_eq!(found.nodes[&NodeName::from("web-1")], record);
        assert_eq!((found.history, found.current), (vec![revision(1)], Some((1, "one".to_owned()))));
        assert!(serde_json::from_str::<LeaderRecord>(leader).is_ok());
    });
}
