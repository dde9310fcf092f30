//! What every engine must do, told once: histories like those of the model, many at once, watches, broken connections.

use super::relay::Relay;
use logic::model::{Changes, Check, Model, Read, Refused, Revision, Txn, Write};
use logic::seed::Chance;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Store, StoreError, StoreThread, Watch};
use tokio::task::JoinSet;

/// Opens the same store again.
pub trait Open: Clone + Send + Sync + 'static {
    fn open(&self) -> impl Future<Output = Result<(Store, StoreThread), StoreError>> + Send;
}

pub async fn open(place: &impl Open) -> (Store, StoreThread) {
    place.open().await.expect("the store opens")
}

pub async fn close(store: Store, thread: StoreThread) {
    drop(store);
    let joined = tokio::task::spawn_blocking(|| thread.join()).await.expect("joining does not panic");
    joined.expect("the store's thread does not panic");
}

pub fn put(key: &str, value: &str) -> Txn {
    Txn { checks: vec![], writes: vec![Write::put(key, value)] }
}

pub fn all() -> Read {
    Read::Prefix(String::new())
}

/// The same transaction for the model and for an engine, whose revisions are others.
fn random_txn(chance: &mut Chance, model: &Model, real: &BTreeMap<String, Revision>) -> (Txn, Txn) {
    let key = |chance: &mut Chance| {
        let folders = ["a/", "a/b/", "c", "ab"];
        format!("{}{}", folders[chance.below(4) as usize], chance.below(4))
    };
    let (mut ours, mut theirs) = (Txn::default(), Txn::default());
    for _ in 0..chance.below(3) {
        let key = key(chance);
        let known = model.read(&Read::Keys(vec![key.clone()])).entries.first().map(|entry| entry.revision);
        let (check, other) = match chance.below(4) {
            0 => (Check::Absent { key: key.clone() }, Check::Absent { key }),
            1 => (Check::Exists { key: key.clone() }, Check::Exists { key }),
            2 => (
                Check::Unchanged { key: key.clone(), revision: known.unwrap_or(0) },
                Check::Unchanged { revision: real.get(&key).copied().unwrap_or(0), key },
            ),
            _ => {
                let wrong = [0, 1, u64::MAX][chance.below(3) as usize];
                let is_wrong = known != Some(wrong) && real.get(&key) != Some(&wrong);
                let revision = if is_wrong { wrong } else { 1 << 40 };
                let check = Check::Unchanged { key, revision };
                (check.clone(), check)
            }
        };
        ours.checks.push(check);
        theirs.checks.push(other);
    }
    for _ in 0..chance.below(4) {
        let key = key(chance);
        let write = match chance.below(4) {
            0 => Write::Delete { key },
            1 => Write::put(key, vec![chance.below(256) as u8; chance.below(20) as usize]),
            2 => Write::put(key, ""),
            _ => Write::put(key, format!("text {}", chance.below(1000))),
        };
        ours.writes.push(write.clone());
        theirs.writes.push(write);
    }
    (ours, theirs)
}

type State = BTreeMap<String, Vec<u8>>;

fn state_of(model: &Model) -> State {
    model.read(&all()).entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

/// Reads everything, compares it with the model, and gives the revisions.
async fn compare(store: &Store, model: &Model, seed: u64) -> (Revision, BTreeMap<String, Revision>) {
    let read = store.read(all()).await.expect("reads");
    let found: State = read.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    assert_eq!(found, state_of(model), "seed {seed}");
    for entry in &read.entries {
        assert!(entry.revision <= read.revision, "seed {seed}: {entry:?} is newer than {}", read.revision);
    }
    (read.revision, read.entries.into_iter().map(|entry| (entry.key, entry.revision)).collect())
}

/// What a watcher knows, and that it is never told twice or in disorder.
#[derive(Debug, Default)]
pub struct Heard {
    pub state: State,
    revision: Revision,
    pub wholes: usize,
}

impl Heard {
    pub fn apply(&mut self, news: Changes) {
        let mut last = (0, String::new());
        if news.is_whole {
            self.wholes += 1;
            self.state.clear();
        } else {
            assert!(news.revision >= self.revision, "{} after {}", news.revision, self.revision);
        }
        for change in news.changes {
            assert!(news.is_whole || change.revision > self.revision, "{change:?} is told twice");
            assert!(change.revision <= news.revision, "{change:?} is from the future");
            let place = (change.revision, change.key.clone());
            assert!(last < place, "{change:?} is told after {last:?}");
            last = place;
            match change.value {
                Some(value) => drop(self.state.insert(change.key, value)),
                None => drop(self.state.remove(&change.key)),
            }
        }
        self.revision = news.revision;
    }
}

/// One caller: results, reads and news are those of the model.
pub async fn histories_follow_the_model<P: Open>(make: impl Fn(String) -> P, seeds: u64, steps: u32) {
    for seed in 0..seeds {
        let place = make(format!("history{seed}"));
        let (mut store, mut thread) = open(&place).await;
        let (mut model, mut chance) = (Model::default(), Chance::new(seed));
        let (mut revision, mut real) = compare(&store, &model, seed).await;
        // What was at an earlier revision: news since then must lead to now.
        let mut earlier: Vec<(Revision, State)> = vec![(revision, State::new())];
        for _ in 0..steps {
            let (txn, theirs) = random_txn(&mut chance, &model, &real);
            let before = revision;
            match (store.commit(theirs.clone()).await, model.commit(&txn)) {
                (Ok(ours), Ok(_)) => {
                    assert!(ours >= before, "seed {seed}");
                    (revision, real) = compare(&store, &model, seed).await;
                    assert!(ours <= revision, "seed {seed}: {theirs:?}");
                }
                (Err(StoreError::Refused(ours)), Err(expected)) => {
                    assert_eq!(ours, expected, "seed {seed}: {theirs:?}");
                    let (after, same) = compare(&store, &model, seed).await;
                    assert_eq!(
                        (after, same),
                        (revision, real.clone()),
                        "seed {seed}: a refusal changed something"
                    );
                }
                (ours, expected) => panic!("seed {seed}: {theirs:?}: {ours:?} instead of {expected:?}"),
            }
            let prefix = ["", "a", "a/", "a/b/", "nothing", "ä", "\0"][chance.below(7) as usize];
            let read = store.read(Read::Prefix(prefix.into())).await.expect("reads");
            let keys = |entries: Vec<logic::model::Entry>| {
                entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
            };
            assert_eq!(
                keys(read.entries),
                keys(model.read(&Read::Prefix(prefix.into())).entries),
                "seed {seed}"
            );
            let some = Read::Keys(["c1", "a/1", "c1", "not there", "\0", ""].map(String::from).to_vec());
            let read = store.read(some.clone()).await.expect("reads");
            assert_eq!(keys(read.entries), keys(model.read(&some).entries), "seed {seed}");

            let (since, known) = &earlier[chance.below(earlier.len() as u32) as usize];
            let now = state_of(&model);
            if *known != now {
                let mut heard = Heard { state: known.clone(), revision: *since, wholes: 0 };
                heard.apply(store.watch("", *since).next().await.expect("watches"));
                assert_eq!(heard.state, now, "seed {seed}: since {since}");
            }
            earlier.push((revision, now));
            if chance.percent(5) {
                close(store, thread).await;
                (store, thread) = open(&place).await;
            }
        }
        close(store, thread).await;
    }
}

/// Adds one to a counter, and says which transaction did it.
async fn add_one(store: &Store, name: &str) -> Result<(), StoreError> {
    loop {
        let read = store.read(Read::Keys(vec!["count".into()])).await?;
        let entry = read.entries.first();
        let count: u64 = entry.map_or(0, |entry| {
            String::from_utf8_lossy(&entry.value).parse().expect("only counts are written")
        });
        let key = "count".to_owned();
        let check = match entry {
            None => Check::Absent { key },
            Some(entry) => Check::Unchanged { key, revision: entry.revision },
        };
        let writes = vec![Write::put("count", (count + 1).to_string()), Write::put(format!("by/{name}"), "")];
        match store.commit(Txn { checks: vec![check], writes }).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Refused(Refused::CheckFailed { .. })) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The counter is as high as there are names, and what was acknowledged is among them.
async fn check_counter(store: &Store, safe: &BTreeSet<String>, in_doubt: &BTreeSet<String>) {
    let read = store.read(all()).await.expect("reads");
    let mut names: BTreeSet<String> =
        read.entries.iter().filter_map(|entry| entry.key.strip_prefix("by/").map(str::to_owned)).collect();
    let count = read.entries.iter().find(|entry| entry.key == "count").expect("it was counted");
    assert_eq!(String::from_utf8_lossy(&count.value), names.len().to_string());
    let lost: Vec<_> = safe.difference(&names).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    names.retain(|name| !safe.contains(name));
    let wrong: Vec<_> = names.difference(in_doubt).collect();
    assert!(wrong.is_empty(), "told to have failed, but it happened: {wrong:?}");
}

/// Many callers of two managers: each addition happens once.
pub async fn many_at_once(place: &impl Open) {
    let (one, one_thread) = open(place).await;
    let (other, other_thread) = open(place).await;
    let mut tasks = JoinSet::new();
    for number in 0..60 {
        let store = if number % 2 == 0 { one.clone() } else { other.clone() };
        tasks.spawn(async move {
            let name = number.to_string();
            add_one(&store, &name).await.expect("counts");
            name
        });
    }
    let safe: BTreeSet<String> = tasks.join_all().await.into_iter().collect();
    assert_eq!(safe.len(), 60);
    check_counter(&one, &safe, &BTreeSet::new()).await;
    close(one, one_thread).await;
    close(other, other_thread).await;
}

/// One manager hears what another does, and only of the keys it asked for.
pub async fn watch_hears_of_others(place: &impl Open) {
    let (one, one_thread) = open(place).await;
    let (other, other_thread) = open(place).await;
    other.commit(put("m/a", "1")).await.expect("commits");
    let mut watch = one.watch("m/", 0);
    let mut heard = Heard::default();
    heard.apply(watch.next().await.expect("watches"));
    assert_eq!(heard.state.keys().collect::<Vec<_>>(), ["m/a"]);
    let waiting = tokio::spawn(async move {
        heard.apply(watch.next().await.expect("watches"));
        (watch, heard)
    });
    other.commit(put("other", "1")).await.expect("commits");
    other.commit(put("m/b", "2")).await.expect("commits");
    let (mut watch, mut heard) = waiting.await.expect("the watcher does not panic");
    assert_eq!(heard.state.keys().collect::<Vec<_>>(), ["m/a", "m/b"]);
    let writes = vec![Write::Delete { key: "m/a".into() }, Write::put("m/b", "3")];
    other.commit(Txn { checks: vec![], writes }).await.expect("commits");
    heard.apply(watch.next().await.expect("watches"));
    assert_eq!(heard.state, State::from([("m/b".into(), b"3".to_vec())]));
    assert!(heard.wholes <= 1, "it was told everything though nothing was forgotten");
    // Nothing more to tell: it waits.
    let more = tokio::time::timeout(Duration::from_millis(100), watch.next()).await;
    assert!(more.is_err(), "{more:?}");
    drop(watch);
    close(one, one_thread).await;
    close(other, other_thread).await;
}

/// A watcher that goes on whatever happens to its connection. Ends when it has seen the key `end`.
pub fn keep_watching(mut watch: Watch) -> tokio::task::JoinHandle<Heard> {
    tokio::spawn(async move {
        let mut heard = Heard::default();
        while !heard.state.contains_key("end") {
            match watch.next().await {
                Ok(news) => heard.apply(news),
                Err(StoreError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        heard
    })
}

/// Whether a transaction that wrote `number` under `mark` has happened; after this it never will.
pub async fn settle(direct: &Store, number: &str) -> bool {
    loop {
        let read = direct.read(Read::Keys(vec!["mark".into()])).await.expect("reads");
        let entry = read.entries.first().expect("it is written first");
        let check = Check::Unchanged { key: "mark".into(), revision: entry.revision };
        let writes = vec![Write::put("mark", format!("after {number}"))];
        match direct.commit(Txn { checks: vec![check], writes }).await {
            Ok(_) => return entry.value == number.as_bytes(),
            Err(StoreError::Refused(Refused::CheckFailed { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A history over connections that are cut after any number of bytes. What is told of each transaction is true.
pub async fn cut_connections_tell_the_truth<P: Open>(
    direct: &P,
    relayed: &P,
    relay: &Relay,
    seed: u64,
    steps: u32,
) {
    let (sure, sure_thread) = open(direct).await;
    let (store, thread) = open(relayed).await;
    let watcher = keep_watching(store.watch("", 0));
    let (mut model, mut chance) = (Model::default(), Chance::new(seed));
    model.commit(&put("mark", "begin")).expect("nothing is checked");
    sure.commit(put("mark", "begin")).await.expect("commits");
    let mut outcomes = [0; 3];
    for step in 0..steps {
        let (_, real) = compare(&sure, &model, seed).await;
        let (mut txn, mut theirs) = random_txn(&mut chance, &model, &real);
        let mark = model.read(&Read::Keys(vec!["mark".into()])).entries[0].revision;
        txn.checks.push(Check::Unchanged { key: "mark".into(), revision: mark });
        theirs.checks.push(Check::Unchanged { key: "mark".into(), revision: real["mark"] });
        let number = step.to_string();
        txn.writes.push(Write::put("mark", number.as_str()));
        theirs.writes.push(Write::put("mark", number.as_str()));
        if chance.percent(60) {
            relay.cut_after(1 + chance.below(700) as usize);
        }
        let after = put("mark", &format!("after {number}"));
        match store.commit(theirs).await {
            Ok(_) => {
                model
                    .commit(&txn)
                    .unwrap_or_else(|refused| panic!("seed {seed}: it happened, but {refused}"));
                outcomes[0] += 1;
            }
            Err(StoreError::Refused(refused)) => {
                assert_eq!(model.commit(&txn), Err(refused), "seed {seed}");
                outcomes[0] += 1;
            }
            Err(StoreError::Unavailable { .. }) => {
                assert!(!settle(&sure, &number).await, "seed {seed}: it was told not to have happened");
                model.commit(&after).expect("nothing is checked");
                outcomes[1] += 1;
            }
            Err(StoreError::Unknown { .. }) => {
                if settle(&sure, &number).await {
                    model
                        .commit(&txn)
                        .unwrap_or_else(|refused| panic!("seed {seed}: it happened, but {refused}"));
                }
                model.commit(&after).expect("nothing is checked");
                outcomes[2] += 1;
            }
            Err(error) => panic!("seed {seed}: {error:?}"),
        }
    }
    assert!(outcomes[0] > 0, "seed {seed}: nothing was ever certain: {outcomes:?}");
    sure.commit(put("end", "")).await.expect("commits");
    model.commit(&put("end", "")).expect("nothing is checked");
    compare(&sure, &model, seed).await;
    let heard = watcher.await.expect("the watcher does not panic");
    assert_eq!(heard.state, state_of(&model), "seed {seed}");
    close(store, thread).await;
    close(sure, sure_thread).await;
}

/// Callers that go on while `disturb` does its worst: nothing acknowledged is lost, nothing happens twice, nothing that
/// was told to have failed has happened.
pub async fn callers_survive(place: &impl Open, sure: &impl Open, disturb: impl Future<Output = ()>) {
    let (store, thread) = open(place).await;
    let watcher = keep_watching(store.watch("", 0));
    let results = Arc::new(Mutex::new((BTreeSet::new(), BTreeSet::new())));
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut tasks = JoinSet::new();
    for caller in 0..8 {
        let (store, results, stopping) = (store.clone(), results.clone(), stopping.clone());
        tasks.spawn(async move {
            let mut number = 0;
            while !*stopping.borrow() {
                number += 1;
                let name = format!("{caller}-{number}");
                let result = add_one(&store, &name).await;
                let mut results = results.lock().expect("no holder panics");
                match result {
                    Ok(()) => drop(results.0.insert(name)),
                    Err(StoreError::Unknown { .. }) => drop(results.1.insert(name)),
                    Err(StoreError::Unavailable { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    let count = || results.lock().expect("no holder panics").0.len();
    wait_until(|| count() >= 10).await;
    disturb.await;
    let before = count();
    // It goes on by itself.
    wait_until(|| count() >= before + 10).await;
    stop.send_replace(true);
    tasks.join_all().await;
    let (sure, sure_thread) = open(sure).await;
    sure.commit(put("end", "")).await.expect("commits");
    let (safe, in_doubt) = results.lock().expect("no holder panics").clone();
    check_counter(&sure, &safe, &in_doubt).await;
    let read = sure.read(all()).await.expect("reads");
    let state: State = read.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
    assert_eq!(watcher.await.expect("the watcher does not panic").state, state);
    close(store, thread).await;
    close(sure, sure_thread).await;
}

/// Waits for a state; the tests' own limit is the minute after which it is given up.
pub async fn wait_until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it comes to be within a minute");
}

/// Waits until the connection is there again.
pub async fn wait_for_read(store: &Store) {
    let waiting = async { while store.read(all()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it comes back within a minute");
}
