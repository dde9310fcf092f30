//! The etcd driver on real servers: like the model, and truthful when connections or servers break.

mod common;

use common::relay::Relay;
use common::servers::{Etcd, trusting};
use common::stories::{self, Open, all, close, open, put};
use logic::model::{Read, Txn, Write};
use rustix::process::Signal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use store::etcd::{Settings, User};
use store::{Store, StoreError, StoreThread};

#[derive(Clone)]
struct Place(Settings);

impl Open for Place {
    async fn open(&self) -> Result<(Store, StoreThread), StoreError> {
        Store::etcd(self.0.clone()).await
    }
}

fn place(servers: &Etcd, prefix: &str) -> Place {
    Place(servers.settings(prefix, &servers.ports))
}

#[tokio::test]
async fn it_does_what_the_model_does() {
    let servers = Etcd::start(1, &[]);
    stories::histories_follow_the_model(|name| place(&servers, &name), 3, 50).await;
    stories::many_at_once(&place(&servers, "many")).await;
    stories::watch_hears_of_others(&place(&servers, "watch")).await;
}

#[tokio::test]
async fn operator_reads_it_with_etcdctl_and_strangers_are_refused() {
    let servers = Etcd::start(1, &[]);
    let shop = place(&servers, "muster/shop");
    let (store, thread) = open(&shop).await;
    store.commit(put("config/1", "[cell]")).await.expect("commits");
    let seen = servers.etcdctl(&["get", "--prefix", "muster/shop/"]).expect("it is there");
    assert_eq!(seen, "muster/shop/entries/config/1\n[cell]\nmuster/shop/format\n1");

    // More keys than one request may have.
    for part in 0..3 {
        let writes = (0..100).map(|number| Write::put(format!("many/{}", part * 100 + number), "1"));
        store.commit(Txn { checks: vec![], writes: writes.collect() }).await.expect("commits");
    }
    let keys: Vec<String> = (0..300).map(|number| format!("many/{number}")).collect();
    assert_eq!(store.read(Read::Keys(keys)).await.expect("reads").entries.len(), 300);

    // More than etcd takes unless it is told otherwise: said, and nothing is done.
    let writes = (0..200).map(|number| Write::put(format!("too-many/{number}"), "1")).collect();
    let error = store.commit(Txn { checks: vec![], writes }).await.expect_err("etcd takes 128");
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error:?}");
    let error = store.commit(put("too-long", &"x".repeat(3 << 20))).await.expect_err("etcd takes 1.5 MiB");
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error:?}");
    assert_eq!(store.read(Read::Prefix("too-".into())).await.expect("reads").entries, []);
    close(store, thread).await;

    servers.etcdctl(&["put", "muster/shop/format", "7"]).expect("it writes");
    let error = shop.open().await.expect_err("its format is not known");
    assert!(matches!(error, StoreError::Newer { found: 7, .. }), "{error:?}");
    servers.etcdctl(&["put", "muster/shop/format", "soup"]).expect("it writes");
    let error = shop.open().await.expect_err("it belongs to another program");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    let nowhere = Place(servers.settings("a", &[common::servers::free_port()]));
    let error = nowhere.open().await.expect_err("nobody listens");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let error = Place(servers.settings("a", &[])).open().await.expect_err("there is no endpoint");
    assert!(matches!(error, StoreError::Engine { .. }), "{error:?}");
}

#[tokio::test]
async fn who_missed_what_was_compacted_is_told_everything() {
    let servers = Etcd::start(1, &[]);
    let (store, thread) = open(&place(&servers, "compact")).await;
    let first = store.commit(put("a", "1")).await.expect("commits");
    let writes = vec![Write::Delete { key: "a".into() }, Write::put("b", "1")];
    store.commit(Txn { checks: vec![], writes }).await.expect("commits");
    let told = store.watch("", first).next().await.expect("watches");
    let changes: Vec<_> =
        told.changes.iter().map(|change| (change.key.as_str(), change.value.is_some())).collect();
    assert!(!told.is_whole);
    assert_eq!(changes, [("a", false), ("b", true)]);

    let mut waiting = store.watch("", told.revision);
    let last = store.commit(put("c", "1")).await.expect("commits");
    servers.etcdctl(&["compaction", &last.to_string()]).expect("it compacts");
    for watch in [&mut store.watch("", first), &mut waiting] {
        let told = watch.next().await.expect("watches");
        assert!(told.is_whole);
        assert_eq!(told.changes.iter().map(|change| change.key.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    }
    // And it goes on from there.
    store.commit(put("d", "1")).await.expect("commits");
    let told = waiting.next().await.expect("watches");
    assert!(!told.is_whole);
    assert_eq!(told.changes[0].key, "d");
    // A revision of another history.
    assert!(store.watch("", u64::MAX).next().await.expect("watches").is_whole);
    assert!(store.watch("", 1 << 40).next().await.expect("watches").is_whole);
    drop(waiting);
    close(store, thread).await;
}

#[tokio::test]
async fn cut_connections_tell_the_truth() {
    let servers = Etcd::start(1, &[]);
    for seed in 0..2 {
        let relay = Relay::to(servers.ports[0]).await;
        let prefix = format!("cut{seed}");
        let relayed = Place(servers.settings(&prefix, &[relay.port]));
        stories::cut_connections_tell_the_truth(&place(&servers, &prefix), &relayed, &relay, seed, 40).await;
    }
}

/// Three servers: one is killed, another stopped, a third cut off, one after the other.
#[tokio::test]
async fn callers_survive_the_loss_of_any_one_server() {
    let servers = Etcd::start(3, &["--heartbeat-interval", "50", "--election-timeout", "500"]);
    let relay = Relay::to(servers.ports[0]).await;
    let ports = [relay.port, servers.ports[1], servers.ports[2]];
    let all_of_them = Place(servers.settings("survive", &ports));
    let servers = Arc::new(Mutex::new(servers));
    let disturb = async {
        relay.freeze(true);
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        relay.freeze(false);
        for number in 0..3 {
            let servers = servers.clone();
            let restart = move || {
                let mut servers = servers.lock().expect("no holder panics");
                servers.kill(number);
                servers.start_again(number);
            };
            tokio::task::spawn_blocking(restart).await.expect("it starts again");
        }
    };
    stories::callers_survive(&all_of_them, &all_of_them, disturb).await;
}

#[tokio::test]
async fn silent_server_is_noticed() {
    let servers = Etcd::start(1, &[]);
    let (store, thread) = open(&place(&servers, "silent")).await;
    store.commit(put("a", "1")).await.expect("commits");
    servers.signal(0, Signal::STOP);
    let started = Instant::now();
    let error = store.commit(put("b", "1")).await.expect_err("it does not answer");
    assert!(matches!(error, StoreError::Unknown { .. }), "{error:?}");
    let error = store.commit(put("c", "1")).await.expect_err("it does not answer");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    servers.signal(0, Signal::CONT);
    stories::wait_for_read(&store).await;
    let entries = store.read(all()).await.expect("reads").entries;
    assert!(entries.iter().all(|entry| entry.key != "c"), "it was told not to have happened");
    close(store, thread).await;
}

#[tokio::test]
async fn users_and_certificates_are_asked_for() {
    let (certificate, key, trusting, wary) = trusting();
    let files = common::Scratch::new("certificate");
    let (certificate_file, key_file) = (files.path().join("server.crt"), files.path().join("server.key"));
    std::fs::write(&certificate_file, certificate).expect("the directory is ours");
    std::fs::write(&key_file, key).expect("the directory is ours");
    let (certificate_file, key_file) =
        (certificate_file.display().to_string(), key_file.display().to_string());
    let servers = Etcd::start(1, &["--cert-file", &certificate_file, "--key-file", &key_file]);
    let port = servers.ports[0].to_string();
    let endpoint = format!("https://127.0.0.1:{port}");
    let etcdctl = |arguments: &[&str]| {
        let tls = ["--endpoints", &endpoint, "--cacert", &certificate_file];
        servers.etcdctl(&[&tls[..], arguments].concat()).expect("it takes it")
    };
    etcdctl(&["user", "add", "root:secret"]);
    etcdctl(&["user", "grant-role", "root", "root"]);
    etcdctl(&["auth", "enable"]);

    let mut settings = servers.settings("secure", &servers.ports);
    settings.tls = Some(wary);
    let error = Place(settings.clone()).open().await.expect_err("nobody we trust has signed it");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    settings.tls = Some(trusting);
    let error = Place(settings.clone()).open().await.expect_err("it wants a name");
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    settings.user = Some(User { name: "root".into(), password: "wrong".into() });
    let error = Place(settings.clone()).open().await.expect_err("it wants the password");
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    settings.user = Some(User { name: "root".into(), password: "secret".into() });
    let (store, thread) = open(&Place(settings)).await;
    store.commit(put("a", "1")).await.expect("commits");
    assert_eq!(store.read(all()).await.expect("reads").entries.len(), 1);
    close(store, thread).await;
}
