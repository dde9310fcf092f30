//! The SQLite driver against the model: the same histories, the same answers.

mod common;

use common::Scratch;
use logic::limits::TOMBSTONES_MAX;
use logic::model::{Check, Model, Read, Refused, Txn, Write};
use logic::seed::Chance;
use store::{Store, StoreError, StoreThread};

const ROOM_BYTES: u64 = 64 << 20;

fn open(scratch: &Scratch) -> (Store, StoreThread) {
    Store::open(&scratch.file(), ROOM_BYTES).expect("a store in a directory of its own opens")
}

fn close(store: Store, thread: StoreThread) {
    drop(store);
    thread.join().expect("the store's thread does not panic");
}

/// A transaction over a few keys, so that checks often meet what was written before.
fn random_txn(chance: &mut Chance) -> Txn {
    let key = |chance: &mut Chance| {
        let folders = ["a/", "a/b/", "c", "ab"];
        format!("{}{}", folders[chance.below(4) as usize], chance.below(4))
    };
    let mut txn = Txn::default();
    for _ in 0..chance.below(3) {
        let key = key(chance);
        txn.checks.push(match chance.below(3) {
            0 => Check::Absent { key },
            1 => Check::Exists { key },
            _ => Check::Unchanged { key, revision: u64::from(chance.below(40)) },
        });
    }
    for _ in 0..chance.below(4) {
        let key = key(chance);
        txn.writes.push(match chance.below(4) {
            0 => Write::Delete { key },
            1 => Write::put(key, vec![chance.below(256) as u8; chance.below(20) as usize]),
            2 => Write::put(key, ""),
            _ => Write::put(key, format!("text {}", chance.below(1000))),
        });
    }
    txn
}

async fn compare(store: &Store, model: &Model, chance: &mut Chance, seed: u64) {
    for prefix in ["", "a", "a/", "a/b/", "nothing", "ä"] {
        let read = Read::Prefix(prefix.into());
        assert_eq!(store.read(read.clone()).await.expect("reads"), model.read(&read), "seed {seed}");
        let since = u64::from(chance.below(60));
        let expected = model.changes(prefix, since);
        // A watch waits where there is nothing to tell.
        if expected.is_whole || !expected.changes.is_empty() {
            let told = store.watch(prefix, since).next().await;
            assert_eq!(told.expect("watches"), expected, "seed {seed}");
        }
    }
    let keys = Read::Keys(vec!["c1".into(), "a/1".into(), "c1".into(), "not there".into()]);
    assert_eq!(store.read(keys.clone()).await.expect("reads"), model.read(&keys), "seed {seed}");
}

#[tokio::test]
async fn random_histories_are_those_of_the_model() {
    for seed in 0..24 {
        let scratch = Scratch::new("conformance");
        let (mut store, mut thread) = open(&scratch);
        let (mut model, mut chance) = (Model::default(), Chance::new(seed));
        for _ in 0..60 {
            let txn = random_txn(&mut chance);
            match (store.commit(txn.clone()).await, model.commit(&txn)) {
                (Ok(ours), Ok(expected)) => assert_eq!(ours, expected, "seed {seed}: {txn:?}"),
                (Err(StoreError::Refused(ours)), Err(expected)) => {
                    assert_eq!(ours, expected, "seed {seed}: {txn:?}");
                }
                (ours, expected) => panic!("seed {seed}: {txn:?}: {ours:?} instead of {expected:?}"),
            }
            compare(&store, &model, &mut chance, seed).await;
            if chance.percent(10) {
                close(store, thread);
                (store, thread) = open(&scratch);
            }
        }
        close(store, thread);
    }
}

#[tokio::test]
async fn deletions_are_forgotten_like_those_of_the_model() {
    let scratch = Scratch::new("tombstones");
    let (store, thread) = open(&scratch);
    let mut model = Model::default();
    let keys = || (0..TOMBSTONES_MAX + 5).map(|number| format!("k{number}"));
    let create = Txn { checks: vec![], writes: keys().map(|key| Write::put(key, "1")).collect() };
    let deletes = keys().map(|key| Txn { checks: vec![], writes: vec![Write::Delete { key }] });
    let deleting: Vec<_> = std::iter::once(create).chain(deletes).collect();
    let waiting: Vec<_> = deleting
        .iter()
        .map(|txn| {
            model.commit(txn).expect("nothing is checked");
            let (store, txn) = (store.clone(), txn.clone());
            tokio::spawn(async move { store.commit(txn).await })
        })
        .collect();
    for commit in waiting {
        commit.await.expect("no commit panics").expect("commits");
    }
    for since in [0, 1, 5, 6, 7, 500] {
        let told = store.watch("", since).next().await.expect("watches");
        assert_eq!(told, model.changes("", since), "since {since}");
    }
    close(store, thread);
}

#[tokio::test]
async fn many_at_once_each_happen_once_and_in_some_order() {
    let scratch = Scratch::new("many");
    let (store, thread) = open(&scratch);
    let increments = (0..200).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                let read = store.read(Read::Keys(vec!["count".into()])).await.expect("reads");
                let entry = read.entries.first();
                let count: u64 = entry.map_or(0, |entry| {
                    String::from_utf8_lossy(&entry.value).parse().expect("only counts are written")
                });
                let key = "count".to_owned();
                let check = match entry {
                    None => Check::Absent { key },
                    Some(entry) => Check::Unchanged { key, revision: entry.revision },
                };
                let writes = vec![Write::put("count", (count + 1).to_string())];
                match store.commit(Txn { checks: vec![check], writes }).await {
                    Ok(_) => return,
                    Err(StoreError::Refused(Refused::CheckFailed { .. })) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for increment in increments.collect::<Vec<_>>() {
        increment.await.expect("no increment panics");
    }
    let read = store.read(Read::Keys(vec!["count".into()])).await.expect("reads");
    assert_eq!(read.entries[0].value, b"200");
    assert_eq!(read.revision, 200);
    close(store, thread);
}

#[tokio::test]
async fn watch_tells_what_happens_and_goes_on_where_it_was() {
    let scratch = Scratch::new("watch");
    let (store, thread) = open(&scratch);
    let put = |key: &str, value: &str| Txn { checks: vec![], writes: vec![Write::put(key, value)] };
    store.commit(put("m/a", "1")).await.expect("commits");
    let mut watch = store.watch("m/", 0);
    assert_eq!(watch.next().await.expect("watches").changes[0].key, "m/a");

    let waiting = tokio::spawn(async move {
        let changes = watch.next().await.expect("watches");
        (watch, changes)
    });
    store.commit(put("other", "1")).await.expect("commits");
    store.commit(put("m/b", "2")).await.expect("commits");
    let (mut watch, changes) = waiting.await.expect("the watcher does not panic");
    assert_eq!(changes.changes.len(), 1);
    assert_eq!((changes.changes[0].key.as_str(), changes.changes[0].revision), ("m/b", 3));

    let delete = Txn { checks: vec![], writes: vec![Write::Delete { key: "m/a".into() }] };
    store.commit(delete).await.expect("commits");
    let changes = watch.next().await.expect("watches");
    assert_eq!((changes.changes[0].key.as_str(), &changes.changes[0].value), ("m/a", &None));
    drop(watch);
    close(store, thread);
}

#[tokio::test]
async fn operator_reads_values_with_a_shell_of_the_engine() {
    let scratch = Scratch::new("shell");
    let (store, thread) = open(&scratch);
    let writes = vec![Write::put("config/1", "[cell]\nname = \"shop\"\n"), Write::put("raw", vec![0xff, 0])];
    store.commit(Txn { checks: vec![], writes }).await.expect("commits");
    // While the store is open, as an operator would.
    let shell = rusqlite::Connection::open(scratch.file()).expect("another program may read");
    let sql = "SELECT typeof(value), value FROM entries ORDER BY key";
    let mut statement = shell.prepare(sql).expect("the tables are as documented");
    let types: Vec<String> =
        statement.query_map([], |row| row.get(0)).expect("reads").map(|it| it.expect("reads")).collect();
    assert_eq!(types, ["text", "blob"]);
    drop(statement);
    drop(shell);
    close(store, thread);
}
