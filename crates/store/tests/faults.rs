//! What the store does when the process, the file or the disk does not do as it should.

mod common;

use common::Scratch;
use logic::model::{Read, Txn, Write};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write as _};
use std::process::{Command, Stdio};
use store::{Store, StoreError};

const ROOM_BYTES: u64 = 64 << 20;
/// Tells the writing child which file is meant.
const CHILD_FILE: &str = "MUSTER_TEST_STORE_FILE";

fn put(key: String, value: Vec<u8>) -> Txn {
    // Two keys that must always agree: half a transaction would show.
    Txn {
        checks: vec![],
        writes: vec![
            Write::put(format!("one/{key}"), value.clone()),
            Write::put(format!("two/{key}"), value),
        ],
    }
}

/// Not a test of its own: the child that the next test kills. It writes from several tasks and says what is safe.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(file) = std::env::var_os(CHILD_FILE) else { return };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let (store, _thread) = Store::open(file.as_ref(), ROOM_BYTES).expect("the store opens");
    runtime.block_on(async {
        let writers = (0..8).map(|writer| {
            let store = store.clone();
            async move {
                for number in 0.. {
                    let key = format!("{writer}-{number}");
                    store
                        .commit(put(key.clone(), vec![b'x'; 600]))
                        .await
                        .expect("commits until it is killed");
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "safe {key}").and_then(|()| out.flush()).expect("the test reads");
                }
            }
        });
        let tasks: Vec<_> = writers.map(tokio::spawn).collect();
        for task in tasks {
            task.await.expect("no writer panics");
        }
    });
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_kill() {
    let scratch = Scratch::new("kill");
    let mut safe = Vec::new();
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().expect("this test has a file"))
            .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD_FILE, scratch.file())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test can start itself");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let mut seen = 0;
        for line in lines {
            // The last line may be cut by the kill; then it counts as not said.
            let Ok(line) = line else { break };
            if let Some(key) = line.strip_prefix("safe ") {
                safe.push(key.to_owned());
                seen += 1;
            }
            if seen == 100 * round {
                child.kill().expect("the child runs");
            }
        }
        child.wait().expect("the child ends");
        let (store, thread) = Store::open(&scratch.file(), ROOM_BYTES).expect("it opens after a kill");
        let one = store.read(Read::Prefix("one/".into())).await.expect("reads").entries;
        let two = store.read(Read::Prefix("two/".into())).await.expect("reads").entries;
        let names = |entries: &[logic::model::Entry]| -> Vec<String> {
            entries.iter().map(|entry| entry.key[4..].to_owned()).collect()
        };
        let there = names(&one);
        assert_eq!(there, names(&two), "half a transaction is there");
        for key in &safe {
            assert!(there.binary_search(key).is_ok(), "{key} was acknowledged and is lost");
        }
        assert!(safe.len() >= 100 * round, "the child wrote less than it should");
        drop(store);
        thread.join().expect("the store's thread does not panic");
        // The next round writes the same keys again; what is safe stays safe.
    }
}

#[test]
fn file_of_something_else_is_left_alone() {
    let scratch = Scratch::new("foreign");
    let cases: [(&str, Vec<u8>); 2] = [
        ("text.sqlite", b"this is a letter to a friend, and it is longer than a header".repeat(100)),
        ("short.sqlite", b"x".to_vec()),
    ];
    for (name, content) in cases {
        let path = scratch.path().join(name);
        std::fs::write(&path, &content).expect("the directory can be written");
        let error = Store::open(&path, ROOM_BYTES).expect_err("it is no store");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert_eq!(std::fs::read(&path).expect("it is there"), content);
    }
    let path = scratch.path().join("other.sqlite");
    let other = rusqlite::Connection::open(&path).expect("creates");
    other.execute_batch("CREATE TABLE recipes (name TEXT)").expect("creates");
    drop(other);
    let error = Store::open(&path, ROOM_BYTES).expect_err("it belongs to another program");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn store_of_a_newer_release_is_refused() {
    let scratch = Scratch::new("newer");
    let (store, thread) = Store::open(&scratch.file(), ROOM_BYTES).expect("opens");
    drop(store);
    thread.join().expect("the store's thread does not panic");
    let other = rusqlite::Connection::open(scratch.file()).expect("opens");
    other.pragma_update(None, "user_version", 7).expect("writes");
    drop(other);
    let error = Store::open(&scratch.file(), ROOM_BYTES).expect_err("its format is not known");
    assert!(matches!(error, StoreError::Newer { found: 7, .. }), "{error}");
}

#[tokio::test]
async fn damaged_page_is_found_at_the_next_start() {
    let scratch = Scratch::new("damaged");
    let (store, thread) = Store::open(&scratch.file(), ROOM_BYTES).expect("opens");
    for number in 0..200 {
        store.commit(put(format!("{number}"), vec![b'v'; 500])).await.expect("commits");
    }
    drop(store);
    thread.join().expect("the store's thread does not panic");
    let mut file = std::fs::OpenOptions::new().write(true).open(scratch.file()).expect("it is there");
    // From the third page on: the header stays as it is, tables and indexes do not.
    file.seek(SeekFrom::Start(2 * 4096)).expect("seeks");
    file.write_all(&vec![0xa5; 20 * 4096]).expect("writes");
    drop(file);
    let error = Store::open(&scratch.file(), ROOM_BYTES).expect_err("it is damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

/// Fills a store that may not grow beyond `room_bytes` and checks that it only refuses what does not fit.
async fn check_full(path: &std::path::Path, room_bytes: u64, make_room: impl FnOnce()) {
    let (store, thread) = Store::open(path, room_bytes).expect("an empty store fits");
    let mut written = Vec::new();
    let error = loop {
        let key = format!("{:05}", written.len());
        match store.commit(put(key.clone(), vec![b'v'; 20_000])).await {
            Ok(_) => written.push(key),
            Err(error) => break error,
        }
        assert!(written.len() < 10_000, "it never gets full");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(written.len() > 3, "it is full too early");
    for prefix in ["one/", "two/"] {
        let read = store.read(Read::Prefix(prefix.into())).await.expect("a full store can be read");
        let keys: Vec<_> = read.entries.iter().map(|entry| entry.key[4..].to_owned()).collect();
        assert_eq!(keys, written, "half a transaction was written");
    }
    make_room();
    // Where the bound is our own, deleting makes the room.
    let deletes = written.iter().take(4).map(|key| Write::Delete { key: format!("one/{key}") });
    store
        .commit(Txn { checks: vec![], writes: deletes.collect() })
        .await
        .expect("deleting needs little room");
    store.commit(put("00000".into(), vec![b'v'; 10_000])).await.expect("there is room again");
    drop(store);
    thread.join().expect("the store's thread does not panic");
    let (store, thread) = Store::open(path, ROOM_BYTES).expect("it is not damaged");
    drop(store);
    thread.join().expect("the store's thread does not panic");
}

#[tokio::test]
async fn store_that_may_not_grow_says_so_and_writes_nothing_by_halves() {
    let scratch = Scratch::new("bound");
    check_full(&scratch.file(), 512 << 10, || {}).await;
}

/// Needs the right to mount a small disk; without it the test fails, because a full disk would go untried.
#[tokio::test]
async fn full_disk_is_said_and_nothing_is_written_by_halves() {
    let scratch = Scratch::new("disk");
    let disk = scratch.path().join("disk");
    std::fs::create_dir(&disk).expect("the directory can be written");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    let is_mounted = mounted.is_ok_and(|status| status.success());
    assert!(
        is_mounted,
        "no small disk could be mounted: run this as root, or in `unshare --map-root-user --mount`"
    );
    let checked = tokio::spawn({
        let file = disk.join("store.sqlite");
        let disk = disk.clone();
        let make_room = move || {
            let resized = Command::new("mount").args(["-o", "remount,size=8m"]).arg(disk).status();
            assert!(resized.expect("what was mounted can be resized").success());
        };
        async move { check_full(&file, ROOM_BYTES, make_room).await }
    })
    .await;
    let unmounted = Command::new("umount").arg(&disk).status().expect("what was mounted can be unmounted");
    assert!(unmounted.success());
    checked.expect("the check does not panic");
}

#[tokio::test]
async fn directory_that_is_not_there_is_named() {
    let error =
        Store::open("/nonexistent/muster/store.sqlite".as_ref(), ROOM_BYTES).expect_err("there is none");
    assert!(matches!(error, StoreError::Engine { .. }), "{error:?}");
    assert_eq!(error.to_string(), "could not create or open the store at /nonexistent/muster/store.sqlite");
}

#[tokio::test]
async fn nothing_is_acknowledged_that_went_to_a_file_which_is_gone() {
    let scratch = Scratch::new("gone");
    let (store, thread) = Store::open(&scratch.file(), ROOM_BYTES).expect("the store opens");
    let commit = |key: &str| store.commit(put(key.to_owned(), b"1".to_vec()));
    commit("a").await.expect("it is there");
    let elsewhere = scratch.file().with_extension("moved");
    std::fs::rename(scratch.file(), &elsewhere).expect("it can be moved");
    let refused = commit("b").await.expect_err("it would be lost");
    assert!(matches!(&refused, StoreError::Gone { place } if *place == scratch.file().display().to_string()));
    let unread = store.read(Read::Keys(Vec::new())).await;
    assert!(matches!(unread, Err(StoreError::Gone { .. })), "who asks hears of it before writing");
    std::fs::write(scratch.file(), "another one").expect("the directory is ours");
    assert!(matches!(commit("b").await, Err(StoreError::Gone { .. })));
    std::fs::rename(&elsewhere, scratch.file()).expect("it can be moved");
    commit("b").await.expect("it is back");
    let read = store.read(Read::Prefix("one/".into())).await.expect("it is back");
    assert_eq!(read.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["one/a", "one/b"]);
    drop(store);
    thread.join().expect("the thread ends");
}
