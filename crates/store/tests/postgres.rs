//! The PostgreSQL driver on a real server: like the model, and truthful when connection or server break.

mod common;

use common::relay::Relay;
use common::servers::{Postgres, trusting};
use common::stories::{self, Open, all, close, open, put};
use logic::limits::TOMBSTONES_MAX;
use logic::model::{Txn, Write};
use rustix::process::Signal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use store::postgres::{Host, Settings};
use store::{Store, StoreError, StoreThread};

/// A kill of the server is not one of the machine: the system has what was written.
const FAST: [&str; 1] = ["fsync=off"];

#[derive(Clone)]
struct Place(Settings);

impl Open for Place {
    async fn open(&self) -> Result<(Store, StoreThread), StoreError> {
        Store::postgres(self.0.clone()).await
    }
}

fn place(server: &Postgres, schema: &str) -> Place {
    Place(server.settings(schema, server.port))
}

#[tokio::test]
async fn it_does_what_the_model_does() {
    let server = Postgres::start(&FAST);
    stories::histories_follow_the_model(|name| place(&server, &name), 3, 50).await;
    stories::many_at_once(&place(&server, "many")).await;
    stories::watch_hears_of_others(&place(&server, "watch")).await;
}

#[tokio::test]
async fn operator_reads_it_with_psql_and_strangers_are_refused() {
    let server = Postgres::start(&FAST);
    let shop = place(&server, "shop");
    let (store, thread) = open(&shop).await;
    let writes = vec![Write::put("config/1", "[cell]\nname = \"shop\"\n"), Write::put("raw", vec![0xff, 0])];
    store.commit(Txn { checks: vec![], writes }).await.expect("commits");
    let seen = server.psql("select key, value, bytes from shop.entries order by key").expect("it is there");
    assert_eq!(seen, "config/1|[cell]\nname = \"shop\"\n|\nraw||\\xff00");
    assert_eq!(server.psql("select revision from shop.meta").expect("it is there"), "1");
    let sorted = server.psql("show synchronous_commit").expect("it is a setting");
    assert_eq!(sorted, "on");
    close(store, thread).await;

    // The same over its Unix socket.
    let directory = server.scratch.path().to_owned();
    let mut settings = server.settings("shop", server.port);
    settings.hosts = vec![Host::Socket { directory, port: server.port }];
    let (store, thread) = open(&Place(settings)).await;
    assert_eq!(store.read(all()).await.expect("reads").entries.len(), 2);
    close(store, thread).await;

    let mut settings = server.settings("shop", server.port);
    settings.password = Some("wrong".into());
    let error = Place(settings).open().await.expect_err("the password is wrong");
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert!(!error.to_string().contains("wrong"), "{error}");

    server.psql("create schema recipes; create table recipes.soups (name text)").expect("it creates");
    let error = place(&server, "recipes").open().await.expect_err("it belongs to another program");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    server.psql("update shop.meta set format = 7").expect("it writes");
    let error = shop.open().await.expect_err("its format is not known");
    assert!(matches!(error, StoreError::Newer { found: 7, .. }), "{error:?}");
    for schema in ["", "Shop", "1shop", "a;b", "a b"] {
        let error = place(&server, schema).open().await.expect_err("it is no name");
        assert!(matches!(error, StoreError::Engine { .. }), "{error:?}");
    }
    let mut settings = server.settings("shop", common::servers::free_port());
    settings.password = None;
    let error = Place(settings).open().await.expect_err("nobody listens");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn deletions_are_forgotten_and_who_missed_them_is_told_everything() {
    let server = Postgres::start(&FAST);
    let (store, thread) = open(&place(&server, "forget")).await;
    let keys = || (0..TOMBSTONES_MAX + 5).map(|number| format!("k{number}"));
    let create = keys().map(|key| Write::put(key, "1")).collect();
    store.commit(Txn { checks: vec![], writes: create }).await.expect("commits");
    let mut deletes = tokio::task::JoinSet::new();
    for key in keys() {
        let store = store.clone();
        deletes.spawn(async move {
            let txn = Txn { checks: vec![], writes: vec![Write::Delete { key }] };
            store.commit(txn).await.expect("commits");
        });
    }
    deletes.join_all().await;
    store.commit(put("last", "1")).await.expect("commits");
    for (since, is_whole, count) in
        [(1, true, 1), (5, true, 1), (6, false, TOMBSTONES_MAX + 1), (500, false, 507)]
    {
        let told = store.watch("", since).next().await.expect("watches");
        assert_eq!((told.is_whole, told.changes.len()), (is_whole, count), "since {since}");
    }
    assert_eq!(
        server.psql("select count(*) from forget.entries").expect("counts"),
        (TOMBSTONES_MAX + 1).to_string()
    );
    close(store, thread).await;
}

#[tokio::test]
async fn cut_connections_tell_the_truth() {
    let server = Postgres::start(&FAST);
    for seed in 0..2 {
        let relay = Relay::to(server.port).await;
        let schema = format!("cut{seed}");
        let relayed = Place(server.settings(&schema, relay.port));
        stories::cut_connections_tell_the_truth(&place(&server, &schema), &relayed, &relay, seed, 40).await;
    }
}

#[tokio::test]
async fn callers_survive_kills_of_the_server_and_cuts() {
    let server = Postgres::start(&FAST);
    let relay = Relay::to(server.port).await;
    let (relayed, sure) = (Place(server.settings("survive", relay.port)), place(&server, "survive"));
    let server = Arc::new(Mutex::new(server));
    let disturb = async {
        for _ in 0..5 {
            relay.cut();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..2 {
            let server = server.clone();
            let restart = move || {
                let mut server = server.lock().expect("no holder panics");
                server.kill();
                server.start_again();
            };
            tokio::task::spawn_blocking(restart).await.expect("it starts again");
        }
    };
    stories::callers_survive(&relayed, &sure, disturb).await;
}

#[tokio::test]
async fn silent_server_is_noticed_and_what_it_was_asked_is_settled() {
    let server = Postgres::start(&FAST);
    let relay = Relay::to(server.port).await;
    let (store, thread) = open(&Place(server.settings("silent", relay.port))).await;
    let (sure, sure_thread) = open(&place(&server, "silent")).await;
    store.commit(put("a", "1")).await.expect("commits");

    // Silence before the question: nobody knows, and it is told within seconds.
    relay.freeze(true);
    let started = Instant::now();
    let error = store.commit(put("a", "2")).await.expect_err("nothing passes");
    assert!(matches!(error, StoreError::Unavailable { .. } | StoreError::Unknown { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    relay.freeze(false);
    stories::wait_for_read(&store).await;

    // A server that is stopped with the question in its hands: the answer is found out after it goes on.
    sure.commit(put("mark", "begin")).await.expect("commits");
    let stopped = store.clone();
    server.signal_all(Signal::STOP);
    let commit = tokio::spawn(async move { stopped.commit(put("mark", "late")).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.signal_all(Signal::CONT);
    let told = commit.await.expect("it does not panic");
    let has_happened = stories::settle(&sure, "late").await;
    match told {
        Ok(_) => assert!(has_happened, "it was only late"),
        // It was late by more than the driver waits: the test machine stood still.
        Err(StoreError::Unknown { .. }) => {}
        Err(StoreError::Unavailable { .. }) => assert!(!has_happened, "it was told not to have happened"),
        Err(error) => panic!("{error:?}"),
    }
    close(store, thread).await;
    close(sure, sure_thread).await;
}

/// Cut in every place between question and answer: nobody else writes, so the driver finds out what happened.
#[tokio::test]
async fn answer_that_was_lost_is_found_again() {
    let server = Postgres::start(&FAST);
    let relay = Relay::to(server.port).await;
    let (store, thread) = open(&Place(server.settings("found", relay.port))).await;
    for number in 0..40 {
        let key = format!("k{number}");
        // From the middle of the question to the middle of the answer.
        relay.cut_after(300 + number * 20);
        let result = store.commit(put(&key, "1")).await;
        assert!(result.is_ok(), "nobody else writes, so it is certain what happened: {result:?}");
    }
    let read = store.read(all()).await.expect("reads");
    assert_eq!(read.entries.len(), 40);
    let revisions: std::collections::BTreeSet<u64> =
        read.entries.iter().map(|entry| entry.revision).collect();
    assert_eq!(revisions.len(), 40);
    close(store, thread).await;
}

#[tokio::test]
async fn server_with_a_certificate_is_reached_by_tls_and_only_if_it_is_ours() {
    let (certificate, key, trusting, wary) = trusting();
    let files = common::Scratch::new("certificate");
    let (certificate_file, key_file) = (files.path().join("server.crt"), files.path().join("server.key"));
    common::servers::give(&certificate_file, &certificate);
    common::servers::give(&key_file, &key);
    let options = [
        "fsync=off".to_owned(),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate_file.display()),
        format!("ssl_key_file={}", key_file.display()),
    ];
    let server = Postgres::start(&options.each_ref().map(String::as_str));
    let mut settings = server.settings("secure", server.port);
    settings.tls = Some(trusting);
    let (store, thread) = open(&Place(settings.clone())).await;
    store.commit(put("a", "1")).await.expect("commits");
    let encrypted = "select bool_and(ssl) from pg_stat_ssl s join pg_stat_activity a using (pid) where application_name = 'muster'";
    assert_eq!(server.psql(encrypted).expect("it says"), "t");
    close(store, thread).await;
    settings.tls = Some(wary);
    let error = Place(settings).open().await.expect_err("nobody we trust has signed it");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}
